//! Metrics of supervisors, through the facade `metrics`.
//!
//! An exported supervisor has one more observer, the exporter. It counts what happens, and writes
//! the counts to the recorder a moment later, on the thread of the timer:
//!
//! ```text
//!   observer calls ---> pending facts ---(timer, 0.4 s after the first fact)---> writer ---> recorder
//!   (any thread)        (a shard)                     gauges: samples of the supervisor
//! ```
//!
//! | concern | file |
//! |---|---|
//! | `export_metrics`, and which supervisors are exported | here |
//! | the names, units and descriptions of all metrics | `catalog` |
//! | the observer, and when facts are written | `exporter` |
//! | what has happened and is not written yet | `pending` |
//! | the names of tasks and background workers that have series | `names` |
//! | the handles of all series, and writing through them | `series` |
//! | the gauges | `gauges` |
//! | the gauges of clusters, and what is counted of remote tasks | `cluster` |
//!
//! All calls of the recorder are made without locks, and their panics are contained. Handles come
//! from the global recorder, although the thread that drops a guard may have a local one: see
//! [`recorder`].

mod catalog;
#[cfg(feature = "remote")]
mod cluster;
#[cfg(not(feature = "remote"))]
#[path = "cluster_disabled.rs"]
mod cluster;
mod exporter;
mod gauges;
mod names;
mod pending;
mod recorder;
mod series;

use std::sync::{Arc, Weak};

use crate::fork;
use crate::observe::registry::ObserverGuard;
use crate::supervisor::Supervisor;
use crate::sync::lock::Mutex;
use crate::task::scheduler::SchedulerKey;
use crate::unwind::log;
use exporter::Exporter;

/// An exported supervisor.
struct Export {
    supervisor: SchedulerKey,
    id: Arc<str>,
    exporter: Weak<Exporter>,
    /// The number of guards that were not dropped, kept ones included.
    guards: usize,
}

static EXPORTS: Mutex<Vec<Export>> = Mutex::new(Vec::new());

#[cfg(feature = "metrics")]
impl Supervisor {
    /// Exports metrics of this supervisor through the crate [`metrics`](https://docs.rs/metrics),
    /// until the returned guard is dropped.
    ///
    /// The recorder is the global one at the time of each record. It can be installed before or
    /// after this call; what happened before it was installed is not recorded.
    ///
    /// | name | kind | labels |
    /// |---|---|---|
    /// | `atasker_tasks_launched_total` | counter | `supervisor`, `name`, `tt`, `priority` |
    /// | `atasker_tasks_completed_total` | counter | `supervisor`, `name`, `tt`, `outcome` |
    /// | `atasker_task_retries_total` | counter | `supervisor`, `name`, `tt` |
    /// | `atasker_task_queue_seconds` | histogram | `supervisor`, `name`, `tt`, `priority` |
    /// | `atasker_task_run_seconds` | histogram | `supervisor`, `name`, `tt`, `priority` |
    /// | `atasker_tasks_waiting` | gauge | `supervisor`, `tt`, `priority` |
    /// | `atasker_tasks_running` | gauge | `supervisor`, `tt` |
    /// | `atasker_slots` | gauge | `supervisor`, `tt` |
    /// | `atasker_pool_threads` | gauge | `supervisor` |
    /// | `atasker_worker_processes` | gauge | `supervisor` |
    /// | `atasker_worker_deaths_total` | counter | `supervisor`, `cause` |
    /// | `atasker_background_runs_total` | counter | `supervisor`, `worker`, `outcome` |
    /// | `atasker_background_lateness_seconds` | histogram | `supervisor`, `worker` |
    /// | `atasker_cluster_waiting` | gauge | `supervisor`, `queue`, `priority` |
    /// | `atasker_cluster_nodes` | gauge | `supervisor` |
    /// | `atasker_cluster_lost_total` | counter | `supervisor` |
    /// | `atasker_cluster_dead_letters` | gauge | `supervisor` |
    ///
    /// * `outcome` of a task is `ok`, `returned_err`, `panicked`, `canceled`, `timed_out`,
    ///   `worker_died`, `expired`, `rejected` (the task was not accepted) or `other`; of a run of a
    ///   background worker or job it is `ok` or `error`.
    /// * `tt` is `thread`, `mp`, `async` or `remote`; `priority` is as the attribute writes it. The
    ///   metrics with `tt="remote"` are those of the program that has launched a task; the supervisor
    ///   of a node has those of its pool.
    /// * The histograms of tasks have one value per attempt, in seconds. The time in the queue does
    ///   not include the delay of a task or the pause before an attempt.
    /// * `atasker_tasks_running` includes tasks that are blocked in a wait and have released their
    ///   slot, and those that have exceeded their time limit and still occupy one.
    /// * `atasker_slots` is the size of the pool with its reserves. An unlimited pool has no such
    ///   series, and neither have aloops.
    /// * `cause` is the text of [`DeathCause`](crate::DeathCause), for example `SIGSEGV (11)` or
    ///   `exit code 3`; it is `other` for [`DeathCause::Other`](crate::DeathCause::Other).
    /// * The metrics `atasker_cluster_*` are those of the cluster that the supervisor has joined, as
    ///   the broker tells them: of all programs, except that lost runs are counted by the program that
    ///   has launched the task. The broker is asked every 5 seconds, and once a second while something
    ///   changes. While it is away, the gauges keep their values. Queues beyond 250 are recorded as
    ///   `other`.
    ///
    /// Counters are written half a second after the fact at the latest. Gauges are written half a
    /// second after a change, and at most twice a second. An idle supervisor writes nothing.
    ///
    /// A supervisor has series for 1,000 names of tasks and for 1,000 names of background workers.
    /// Later names are recorded as `other`, and a warning is logged once.
    ///
    /// Dropping the guard writes what is due and sets the gauges to 0, and so does the end of the
    /// supervisor. Gauges of a stopped supervisor are 0 until it is started again. If a supervisor
    /// is exported several times, nothing is counted twice, and the export ends with the last
    /// guard. The ids of exported supervisors should differ, because they are the label
    /// `supervisor`; otherwise a warning is logged.
    ///
    /// In a fork of the process this does nothing.
    ///
    /// ```
    /// # use atasker_runtime as atasker;
    /// use atasker::Supervisor;
    ///
    /// // Installs the recorder of an exporter, for example:
    /// // metrics_exporter_prometheus::PrometheusBuilder::new().install()?;
    /// let sup = Supervisor::builder().id("batch").build();
    /// let export = sup.export_metrics();
    /// assert_eq!(sup.spawn(|| 6 * 7).join().unwrap(), 42);
    /// drop(export); // or `export.keep()`: for the life of the supervisor
    /// ```
    pub fn export_metrics(&self) -> ObserverGuard {
        if fork::is_copy() {
            return ObserverGuard::inert();
        }
        let exporter = self.exporter();
        // A thread that exports the same supervisor concurrently waits here for the registration.
        exporter.register(self.core());
        let exporter = Arc::downgrade(&exporter);
        ObserverGuard::with_end(move || release(&exporter))
    }

    /// Returns the exporter of this supervisor with one more guard, created if necessary.
    fn exporter(&self) -> Arc<Exporter> {
        let core = self.core();
        let new = Exporter::new(core);
        let mut exports = EXPORTS.lock();
        let known = exports.iter_mut().find(|export| export.supervisor == core.key());
        if let Some(export) = known
            && let Some(exporter) = export.exporter.upgrade()
        {
            export.guards += 1;
            drop(exports);
            return exporter;
        }
        let id = Arc::clone(&core.observers().supervisor);
        let clashes = exports.iter().any(|other| other.id == id);
        exports.push(Export {
            supervisor: core.key(),
            id,
            exporter: Arc::downgrade(&new),
            guards: 1,
        });
        drop(exports);
        if clashes {
            log!(
                warn,
                supervisor = self.id(),
                "metrics of two supervisors with the same id are exported: their gauges mix; give each \
                 supervisor its own id with `SupervisorBuilder::id`"
            );
        }
        new
    }
}

/// A guard was dropped. Ends the export with the last one.
fn release(exporter: &Weak<Exporter>) {
    let ends = {
        let mut exports = EXPORTS.lock();
        let Some(at) = exports.iter().position(|export| export.exporter.ptr_eq(exporter)) else {
            return;
        };
        exports[at].guards -= 1;
        let ends = exports[at].guards == 0;
        if ends {
            exports.swap_remove(at);
        }
        ends
    };
    if ends && let Some(exporter) = exporter.upgrade() {
        exporter.end();
    }
}

/// The supervisor of an exporter has ended.
fn forget(exporter: &Weak<Exporter>) {
    EXPORTS.lock().retain(|export| !export.exporter.ptr_eq(exporter));
}
