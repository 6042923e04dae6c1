//! Does every function that takes a duration accept the longest one, as "never", without a panic?

use std::future::pending;
use std::time::Duration;

use atasker::compat::Locker;
use atasker::{
    IntervalWorker, Job, MpPoolConfig, PoolConfig, StopOptions, Supervisor, TaskBuilder,
    TaskContext, TaskStatus, WorkerContext, background_task, wait_any, wait_completed,
};
use atasker_tests::{FAR as TEST_LIMIT, Watchdog, eventually};

/// The longest duration, and some near the limits of clocks: seconds and nanoseconds of 64 bits.
fn far() -> impl Iterator<Item = Duration> {
    let edges = [u64::MAX / 1_000_000_000, u64::MAX / 2_000_000_000, 1 << 62, i64::MAX as u64];
    let seconds = edges.into_iter().flat_map(|s| [s - 1, s, s + 1]).map(Duration::from_secs);
    seconds.chain([Duration::MAX, Duration::MAX - Duration::from_nanos(1)])
}

#[background_task(tt = "mp")]
fn double(n: u64) -> u64 {
    2 * n
}

#[background_task(tt = "mp", retries = 1)]
fn waits(ctx: &TaskContext, far: Duration) -> bool {
    ctx.wait_stop(far)
}

#[test]
fn jobs() {
    let sup = Supervisor::builder().build();
    for far in far() {
        let jobs = [
            sup.create_job(Job::cron("* * * * * *").after(far), || ()),
            sup.create_job(Job::cron("@daily").after(far).times(1), || ()),
            sup.create_job(Job::every(Duration::from_millis(1)).after(far), || ()),
            sup.create_job(Job::once(far), || ()),
        ];
        let first_only = sup.create_job(Job::every(far), || ());
        eventually(|| first_only.runs() == 1);
        let info = sup.info();
        assert_eq!(info.jobs.len(), 5);
        for job in &jobs {
            assert!(job.is_active());
            assert_eq!(job.runs(), 0);
            job.cancel();
        }
        assert!(first_only.is_active());
        first_only.cancel();
        eventually(|| sup.info().jobs.is_empty());
    }
}

#[test]
fn workers() {
    let sup = Supervisor::builder().build();
    for far in far() {
        let run = |_: &WorkerContext| ();
        let interval = IntervalWorker::builder(far).supervisor(&sup).run(run);
        let later = IntervalWorker::builder(far).delay_before(far).supervisor(&sup).run(run);
        let pause = IntervalWorker::with_delay(far).delay_before(far).supervisor(&sup).run(run);
        for worker in [&interval, &later, &pause] {
            assert!(worker.start());
        }
        eventually(|| interval.runs() == 1);
        assert_eq!(sup.info().workers.len(), 3);
        assert_eq!((later.runs(), pause.runs()), (0, 0));
        assert!(later.trigger());
        eventually(|| later.runs() == 1);
        for worker in [&interval, &later, &pause] {
            worker.stop();
        }
    }
}

#[test]
fn tasks() {
    let _watchdog = Watchdog::new("extreme durations of tasks", TEST_LIMIT);
    let threads = PoolConfig::new(2).idle_timeout(Duration::MAX);
    let processes = MpPoolConfig::new(1).idle_timeout(Duration::MAX);
    let sup = Supervisor::builder().thread_pool(threads).mp_pool(processes).build();
    for far in far() {
        sup.on_queued_for(far, |_| unreachable!("the alarm is never due"));
        let delayed = TaskBuilder::new(|| ()).delay(far).supervisor(&sup).start();
        assert_eq!(delayed.info().status, TaskStatus::Delayed);
        assert!(delayed.cancel());

        let limited = TaskBuilder::new(|| 1).timeout(far).supervisor(&sup).start();
        assert_eq!(limited.wait_timeout(far).unwrap(), &1);
        let limited = TaskBuilder::future(async { 2 }).timeout(far).supervisor(&sup).start();
        assert_eq!(limited.join().unwrap(), 2);
        let limited = double::builder(3).timeout(far).supervisor(&sup).start();
        assert_eq!(limited.join().unwrap(), 6);

        let fails = TaskBuilder::repeatable(|| panic!("again, later"));
        let fails = fails.retries(1).retry_delay(far).supervisor(&sup).start();
        eventually(|| fails.info().attempt == 1 && fails.info().status == TaskStatus::Delayed);
        assert!(fails.cancel());

        let quick = sup.spawn(|| 5);
        assert_eq!(wait_completed!(quick, timeout = far).unwrap(), 5);
        let (one, never) = (sup.spawn(|| 6), sup.spawn_async(pending::<u32>()));
        assert!(wait_any!([&one, &never], timeout = far).is_ok());
        let _ = never.kill();

        let stopped = waits::builder(far).supervisor(&sup).start();
        eventually(|| stopped.info().status == TaskStatus::Started);
        stopped.stop();
        assert!(stopped.join().unwrap());
    }
    sup.stop(StopOptions::new().wait(Duration::MAX));
}

#[test]
fn locks_and_receivers() {
    for far in far() {
        let locker = Locker::new("far").timeout(far);
        assert!(locker.with(|| ()).is_some());
        let task = TaskBuilder::with_context(|ctx: &TaskContext<u8, u8>| ctx.send(1));
        let task = task.start();
        assert_eq!(task.recv_timeout(far), Ok(1));
        assert!(task.recv_timeout(far).is_err());
    }
}
