//! Which metrics do background workers and jobs have?

use std::ops::ControlFlow;
use std::sync::{OnceLock, mpsc};
use std::time::Duration;

use atasker::{
    EventWorker, IntervalWorker, Job, QueueWorker, Supervisor, WorkerContext, background_worker,
};
use atasker_tests::FAR;
use atasker_tests_seen::metrics::recorder;

fn supervisor(id: &str) -> Supervisor {
    recorder();
    Supervisor::builder().id(id).build()
}

#[test]
fn runs_are_counted_by_outcome_with_their_lateness() {
    let sup = supervisor("interval");
    let _export = sup.export_metrics();
    let (ran, runs) = mpsc::channel();
    let worker = IntervalWorker::builder(Duration::from_millis(5)).name("ticks").supervisor(&sup);
    let worker = worker.on_error(|_| ControlFlow::Continue(())).run(move |ctx: &WorkerContext| {
        ran.send(()).unwrap();
        if ctx.runs() % 2 == 1 { Err("odd") } else { Ok(()) }
    });
    worker.start();
    for _ in 0..6 {
        runs.recv_timeout(FAR).unwrap();
    }
    worker.stop();
    let all = 6 + runs.try_iter().count();
    let (seen, of) = (recorder(), "supervisor=interval,worker=ticks");
    let errors = (all / 2) as f64;
    seen.wait(&format!("atasker_background_runs_total{{{of},outcome=error}}"), errors);
    let oks = all as f64 - errors;
    seen.wait(&format!("atasker_background_runs_total{{{of},outcome=ok}}"), oks);
    let late = seen.wait_values(&format!("atasker_background_lateness_seconds{{{of}}}"), all);
    assert!(late.iter().all(|late| (0.0..60.0).contains(late)), "{late:?}");
}

#[test]
fn runs_without_a_schedule_have_no_lateness() {
    let sup = supervisor("events");
    let _export = sup.export_metrics();
    let (ran, runs) = mpsc::channel();
    let worker = EventWorker::builder().name("rings").supervisor(&sup);
    let worker = worker.run(move |_: &WorkerContext| ran.send(()).unwrap());
    worker.start();
    worker.trigger();
    runs.recv_timeout(FAR).unwrap();
    worker.stop();
    let of = "supervisor=events,worker=rings";
    recorder().wait(&format!("atasker_background_runs_total{{{of},outcome=ok}}"), 1.0);
    assert!(!recorder().has(&format!("atasker_background_lateness_seconds{{{of}}}")));
}

#[test]
fn items_of_a_queue_are_runs() {
    let sup = supervisor("queue");
    let _export = sup.export_metrics();
    let (ran, runs) = mpsc::channel();
    let worker = QueueWorker::builder().name("items").supervisor(&sup);
    let worker = worker.run(move |_: &WorkerContext, n: u32| ran.send(n).unwrap());
    worker.start();
    for n in 0..100 {
        worker.put(n).unwrap();
    }
    for _ in 0..100 {
        runs.recv_timeout(FAR).unwrap();
    }
    let of = "supervisor=queue,worker=items";
    recorder().wait(&format!("atasker_background_runs_total{{{of},outcome=ok}}"), 100.0);
    worker.stop();
}

#[test]
fn jobs_are_counted() {
    let sup = supervisor("jobs");
    let _export = sup.export_metrics();
    let (ran, runs) = mpsc::channel();
    let job = Job::every(Duration::from_millis(5)).times(3).name("thrice");
    let _job = sup.create_job(job, move || ran.send(()).unwrap());
    for _ in 0..3 {
        runs.recv_timeout(FAR).unwrap();
    }
    let of = "supervisor=jobs,worker=thrice";
    recorder().wait(&format!("atasker_background_runs_total{{{of},outcome=ok}}"), 3.0);
    recorder().wait_values(&format!("atasker_background_lateness_seconds{{{of}}}"), 3);
}

static SUPERVISOR: OnceLock<Supervisor> = OnceLock::new();

#[background_worker(
    interval = "5ms",
    tt = "mp",
    name = "elsewhere",
    supervisor = SUPERVISOR.get_or_init(|| supervisor("mp runs"))
)]
fn elsewhere() {}

#[test]
fn runs_in_worker_processes_are_counted() {
    let worker = elsewhere();
    let _export = SUPERVISOR.get().unwrap().export_metrics();
    worker.start();
    let of = "supervisor=mp runs,worker=elsewhere";
    let series = format!("atasker_background_runs_total{{{of},outcome=ok}}");
    atasker_tests::eventually(|| recorder().get(&series).value >= 3.0);
    worker.stop();
}
