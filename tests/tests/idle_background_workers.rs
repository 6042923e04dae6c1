//! Do background workers and jobs use CPU time between their runs? This test has its own program
//! because it measures the whole process.

use std::time::Duration;

use atasker::{
    BackgroundWorker, EventWorker, IntervalWorker, Job, LoopWorker, QueueWorker, WorkerContext,
};
use atasker_tests::{eventually, pool, processes::cpu_time};

const LONG: Duration = Duration::from_secs(3600);

#[test]
fn idle_workers_and_jobs_use_no_cpu() {
    let sup = pool(2);
    let mut workers: Vec<BackgroundWorker> = Vec::new();
    for n in 0..1_000 {
        workers.push(match n % 4 {
            0 => IntervalWorker::builder(LONG).supervisor(&sup).run(|_| ()).into(),
            1 => EventWorker::builder().supervisor(&sup).run(|_| ()).into(),
            2 => QueueWorker::builder().supervisor(&sup).run(|_, _: String| ()).into(),
            _ => IntervalWorker::with_delay(LONG).supervisor(&sup).run_async(async |_| ()).into(),
        });
    }
    // Each of these occupies a thread.
    for _ in 0..10 {
        let sleeper = LoopWorker::builder().supervisor(&sup).run(|ctx: &WorkerContext| {
            ctx.wait_stop(LONG);
        });
        workers.push(sleeper.into());
    }
    let due_once = workers.iter().filter(|worker| worker.kind() == atasker::WorkerKind::Interval);
    for worker in &workers {
        assert!(worker.start());
    }
    let jobs: Vec<_> = (0..10_000).map(|_| sup.create_job(Job::once(LONG), || ())).collect();
    eventually(|| due_once.clone().all(|worker| worker.runs() == 1));
    eventually(|| sup.info().thread_pool.running == 0);

    let before = cpu_time();
    std::thread::sleep(Duration::from_secs(1));
    let busy = cpu_time() - before;
    assert!(busy < Duration::from_millis(20), "{busy:?} in a second");

    assert!(jobs.iter().all(|job| job.is_active() && job.runs() == 0));
    sup.stop(atasker::StopOptions::new());
    assert!(workers.iter().all(|worker| worker.is_stopped()));
}
