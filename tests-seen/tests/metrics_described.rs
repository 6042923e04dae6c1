//! Which metrics exist, with which kinds, labels, units and descriptions?
//!
//! One test: it looks at everything that a program records.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use atasker::{
    Cluster, IntervalWorker, MpPoolConfig, PoolConfig, Supervisor, TaskBuilder, WorkerContext,
    background_task,
};
use atasker_tests::eventually;
use metrics::Unit;
use metrics_util::MetricKind::{self, Counter, Gauge, Histogram};
use metrics_util::debugging::DebuggingRecorder;

#[background_task(tt = "mp")]
fn dies() {
    std::process::exit(3);
}

#[background_task(tt = "remote")]
fn waits_for_a_node() {}

const ALL: [(&str, MetricKind, Unit, &[&str]); 17] = [
    (
        "atasker_tasks_launched_total",
        Counter,
        Unit::Count,
        &["name", "priority", "supervisor", "tt"],
    ),
    (
        "atasker_tasks_completed_total",
        Counter,
        Unit::Count,
        &["name", "outcome", "supervisor", "tt"],
    ),
    ("atasker_task_retries_total", Counter, Unit::Count, &["name", "supervisor", "tt"]),
    (
        "atasker_task_queue_seconds",
        Histogram,
        Unit::Seconds,
        &["name", "priority", "supervisor", "tt"],
    ),
    (
        "atasker_task_run_seconds",
        Histogram,
        Unit::Seconds,
        &["name", "priority", "supervisor", "tt"],
    ),
    ("atasker_tasks_waiting", Gauge, Unit::Count, &["priority", "supervisor", "tt"]),
    ("atasker_tasks_running", Gauge, Unit::Count, &["supervisor", "tt"]),
    ("atasker_slots", Gauge, Unit::Count, &["supervisor", "tt"]),
    ("atasker_pool_threads", Gauge, Unit::Count, &["supervisor"]),
    ("atasker_worker_processes", Gauge, Unit::Count, &["supervisor"]),
    ("atasker_worker_deaths_total", Counter, Unit::Count, &["cause", "supervisor"]),
    ("atasker_background_runs_total", Counter, Unit::Count, &["outcome", "supervisor", "worker"]),
    ("atasker_background_lateness_seconds", Histogram, Unit::Seconds, &["supervisor", "worker"]),
    ("atasker_cluster_waiting", Gauge, Unit::Count, &["priority", "queue", "supervisor"]),
    ("atasker_cluster_nodes", Gauge, Unit::Count, &["supervisor"]),
    ("atasker_cluster_lost_total", Counter, Unit::Count, &["supervisor"]),
    ("atasker_cluster_dead_letters", Gauge, Unit::Count, &["supervisor"]),
];

#[test]
fn all_metrics_are_described() {
    let recorder = DebuggingRecorder::new();
    let seen = recorder.snapshotter();
    recorder.install().unwrap();
    let sup = Supervisor::builder().id("all").thread_pool(PoolConfig::new(1));
    let sup = sup.mp_pool(MpPoolConfig::new(1)).build();
    let export = sup.export_metrics();
    let cluster = Cluster::in_memory();
    sup.join_cluster(&cluster);
    let remote = waits_for_a_node::builder().supervisor(&sup).start();
    let mut fails = true;
    let task = TaskBuilder::repeatable(move || assert!(!std::mem::take(&mut fails)));
    task.retries(1).supervisor(&sup).start().join().unwrap();
    dies::builder().supervisor(&sup).start().join().unwrap_err();
    let worker = IntervalWorker::builder(Duration::from_millis(1)).supervisor(&sup);
    let worker = worker.run(|ctx: &WorkerContext| ctx.runs() < 2);
    worker.start();
    eventually(|| !worker.is_started());
    let has_cluster = || {
        let mut keys = seen.snapshot().into_vec().into_iter().map(|(key, ..)| key);
        keys.any(|key| key.key().name() == "atasker_cluster_waiting")
    };
    eventually(has_cluster);
    assert!(remote.cancel());
    drop(export);

    type Found = (MetricKind, Option<Unit>, BTreeSet<String>);
    let mut found: BTreeMap<String, Found> = BTreeMap::new();
    for (key, unit, description, _) in seen.snapshot().into_vec() {
        let (kind, key) = key.into_parts();
        let labels = key.labels().map(|label| label.key().to_owned()).collect();
        assert!(description.is_some_and(|text| text.ends_with('.')), "{}", key.name());
        let before = found.insert(key.name().to_owned(), (kind, unit, labels));
        if let Some(before) = before {
            assert_eq!(before, found[key.name()], "one kind and one set of labels");
        }
        let id = key.labels().find(|label| label.key() == "supervisor").unwrap();
        assert_eq!(id.value(), "all");
    }
    let wanted = ALL.into_iter().map(|(name, kind, unit, labels)| {
        let labels = labels.iter().map(|label| (*label).to_owned()).collect();
        (name.to_owned(), (kind, Some(unit), labels))
    });
    assert_eq!(found, wanted.collect());
}
