//! The metrics: names, units, descriptions, and the values of their labels.

use ::metrics::{Level, Metadata, Recorder, Unit};

use crate::unwind::contained;

pub(super) const LAUNCHED: &str = "atasker_tasks_launched_total";
pub(super) const COMPLETED: &str = "atasker_tasks_completed_total";
pub(super) const RETRIES: &str = "atasker_task_retries_total";
pub(super) const QUEUE: &str = "atasker_task_queue_seconds";
pub(super) const RUN: &str = "atasker_task_run_seconds";
pub(super) const WAITING: &str = "atasker_tasks_waiting";
pub(super) const RUNNING: &str = "atasker_tasks_running";
pub(super) const SLOTS: &str = "atasker_slots";
pub(super) const THREADS: &str = "atasker_pool_threads";
pub(super) const PROCESSES: &str = "atasker_worker_processes";
pub(super) const DEATHS: &str = "atasker_worker_deaths_total";
pub(super) const BACKGROUND_RUNS: &str = "atasker_background_runs_total";
pub(super) const LATENESS: &str = "atasker_background_lateness_seconds";
#[cfg(feature = "remote")]
pub(super) const CLUSTER_WAITING: &str = "atasker_cluster_waiting";
#[cfg(feature = "remote")]
pub(super) const CLUSTER_NODES: &str = "atasker_cluster_nodes";
#[cfg(feature = "remote")]
pub(super) const CLUSTER_LOST: &str = "atasker_cluster_lost_total";
#[cfg(feature = "remote")]
pub(super) const CLUSTER_DEAD: &str = "atasker_cluster_dead_letters";

/// The value of a label for what has no separate series.
pub(super) const OTHER: &str = "other";

/// The outcomes of runs of background workers.
pub(super) const RUN_OUTCOMES: [&str; 2] = ["ok", "error"];

/// What recorders may filter by.
pub(super) static METADATA: Metadata<'static> =
    Metadata::new("atasker", Level::INFO, Some("atasker"));

enum Kind {
    Counter,
    Gauge,
    Histogram,
}

const ALL: &[(&str, Kind, Unit, &str)] = &[
    (LAUNCHED, Kind::Counter, Unit::Count, "Tasks launched, including those that were rejected."),
    (COMPLETED, Kind::Counter, Unit::Count, "Tasks ended, by outcome."),
    (RETRIES, Kind::Counter, Unit::Count, "Attempts of tasks that were followed by another one."),
    (
        QUEUE,
        Kind::Histogram,
        Unit::Seconds,
        "Time from being queued to the begin, of each attempt of a task.",
    ),
    (RUN, Kind::Histogram, Unit::Seconds, "Run time of each attempt of a task."),
    (WAITING, Kind::Gauge, Unit::Count, "Tasks that wait for a slot."),
    (RUNNING, Kind::Gauge, Unit::Count, "Tasks that run."),
    (SLOTS, Kind::Gauge, Unit::Count, "Slots of the pool, including its reserves."),
    (THREADS, Kind::Gauge, Unit::Count, "Threads of the thread pool."),
    (PROCESSES, Kind::Gauge, Unit::Count, "Worker processes."),
    (DEATHS, Kind::Counter, Unit::Count, "Worker processes that died, by cause."),
    (
        BACKGROUND_RUNS,
        Kind::Counter,
        Unit::Count,
        "Completed runs of background workers and jobs, by outcome.",
    ),
    (
        LATENESS,
        Kind::Histogram,
        Unit::Seconds,
        "Delay of runs of background workers and jobs against their schedule.",
    ),
    #[cfg(feature = "remote")]
    (
        CLUSTER_WAITING,
        Kind::Gauge,
        Unit::Count,
        "Calls that wait for a node, in the whole cluster.",
    ),
    #[cfg(feature = "remote")]
    (CLUSTER_NODES, Kind::Gauge, Unit::Count, "Nodes of the cluster."),
    #[cfg(feature = "remote")]
    (
        CLUSTER_LOST,
        Kind::Counter,
        Unit::Count,
        "Runs of remote tasks that were lost, because their node was.",
    ),
    #[cfg(feature = "remote")]
    (CLUSTER_DEAD, Kind::Gauge, Unit::Count, "Dead letters of the cluster."),
];

/// Describes all metrics. Returns false if the recorder panicked.
pub(super) fn describe(recorder: &dyn Recorder) -> bool {
    ALL.iter().fold(true, |ok, (name, kind, unit, text)| {
        let (name, unit, text) = ((*name).into(), *unit, (*text).into());
        let described = contained(|| match kind {
            Kind::Counter => recorder.describe_counter(name, Some(unit), text),
            Kind::Gauge => recorder.describe_gauge(name, Some(unit), text),
            Kind::Histogram => recorder.describe_histogram(name, Some(unit), text),
        });
        ok && described
    })
}
