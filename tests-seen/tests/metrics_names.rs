//! How many names have series, and what is logged about exports?

use atasker::{EventWorker, Supervisor, Task, TaskBuilder, WorkerContext};
use atasker_tests::{FAR, events, eventually};
use atasker_tests_seen::metrics::recorder;

const MOST: usize = 1_000;

fn named(sup: &Supervisor, name: String) -> Task<()> {
    TaskBuilder::new(|| ()).name(name).supervisor(sup).start()
}

/// The warnings about this supervisor.
fn warnings(id: &str) -> usize {
    let about =
        |seen: &events::Seen| seen.level == tracing::Level::WARN && seen.field("supervisor") == id;
    events::seen(about).len()
}

#[test]
fn later_names_of_tasks_are_other_with_one_warning() {
    events::record();
    let seen = recorder();
    let sup = Supervisor::builder().id("names").build();
    let export = sup.export_metrics();
    for number in 0..MOST {
        named(&sup, format!("task {number}")).join().unwrap();
    }
    assert_eq!(warnings("names"), 0);
    for number in MOST..MOST + 20 {
        named(&sup, format!("task {number}")).join().unwrap();
    }
    // Names with series keep them.
    named(&sup, "task 0".to_owned()).join().unwrap();
    let later: &'static str = "a later name of the program";
    TaskBuilder::new(|| ()).name(later).supervisor(&sup).start().join().unwrap();
    assert_eq!(warnings("names"), 1);
    drop(export);
    let launched = |name: &str| {
        let of = format!("supervisor=names,tt=thread,name={name},priority=normal");
        seen.get(&format!("atasker_tasks_launched_total{{{of}}}")).value
    };
    assert_eq!((launched("task 0"), launched("task 999"), launched("other")), (2.0, 1.0, 21.0));
    assert_eq!((launched("task 1000"), launched(later)), (0.0, 0.0));
    let names = seen.series("names").into_keys().filter(|name| name.contains("launched")).count();
    assert_eq!(names, MOST + 1);
}

#[test]
fn later_names_of_background_workers_are_other_with_one_warning() {
    events::record();
    let seen = recorder();
    let sup = Supervisor::builder().id("workers").build();
    let export = sup.export_metrics();
    for number in 0..MOST + 3 {
        let (ran, runs) = std::sync::mpsc::channel();
        let worker = EventWorker::builder().name(format!("worker {number}")).supervisor(&sup);
        let worker = worker.run(move |_: &WorkerContext| ran.send(()).unwrap());
        worker.start();
        worker.trigger();
        runs.recv_timeout(FAR).unwrap();
        // Waits for the end of the run.
        worker.stop();
    }
    drop(export);
    let runs = |name: &str| {
        let of = format!("supervisor=workers,worker={name},outcome=ok");
        seen.get(&format!("atasker_background_runs_total{{{of}}}")).value
    };
    assert_eq!((runs("worker 0"), runs("worker 999"), runs("other")), (1.0, 1.0, 3.0));
    let of_workers = |seen: &events::Seen| {
        seen.level == tracing::Level::WARN && seen.message.contains("names of background workers")
    };
    assert_eq!(events::seen(of_workers).len(), 1);
}

#[test]
fn equal_ids_are_warned_of() {
    events::record();
    recorder();
    let supervisors: Vec<_> = (0..2).map(|_| Supervisor::builder().id("same").build()).collect();
    let first = supervisors[0].export_metrics();
    let again = supervisors[0].export_metrics();
    assert_eq!(warnings("same"), 0);
    let second = supervisors[1].export_metrics();
    eventually(|| warnings("same") == 1);
    drop((first, again, second));
    let _alone = supervisors[1].export_metrics();
    assert_eq!(warnings("same"), 1);
}
