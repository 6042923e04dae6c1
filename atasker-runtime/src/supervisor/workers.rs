//! The background workers and jobs of a supervisor.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

use crate::sync::lock::Mutex;

use super::core::Core;
use crate::id::TaskId;
use crate::info::{BackgroundWorkerInfo, JobInfo, SupervisorInfo};

/// A background worker or a job.
#[cfg_attr(not(feature = "dashboard"), allow(dead_code))]
pub(crate) trait ActiveWorker: Send + Sync {
    /// Starts no further runs, and asks the current one to stop.
    fn stop_nowait(&self);

    /// Returns the task of the current run, unless the worker is a loop, which has one task for all
    /// runs.
    fn timed_run(&self) -> Option<TaskId>;

    /// Returns a snapshot.
    fn snapshot(&self) -> WorkerSnapshot;

    /// Returns a number that no other worker of the process has.
    fn key(&self) -> u64;

    /// Returns which operations are possible now.
    fn operations(&self) -> Vec<Operation>;

    /// Performs an operation. Does not wait for runs, but calls hooks, which may block.
    fn perform(&self, operation: Operation);
}

/// What can be done with a worker from outside.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(not(feature = "dashboard"), allow(dead_code))]
pub(crate) enum Operation {
    Start,
    Stop,
    Trigger,
}

/// A snapshot of a background worker or a job.
pub(crate) enum WorkerSnapshot {
    Worker(BackgroundWorkerInfo),
    Job(JobInfo),
}

/// The workers of a supervisor.
#[derive(Default)]
pub(super) struct ActiveWorkers {
    list: Mutex<List>,
}

#[derive(Default)]
struct List {
    /// In the order of their starts.
    active: BTreeMap<u64, Arc<dyn ActiveWorker>>,
    next: u64,
    /// All workers whose handles live, in the order of their creation; and some that are gone.
    known: Vec<Weak<dyn ActiveWorker>>,
    /// The length of `known` at which those that are gone are removed.
    most_known: usize,
}

impl ActiveWorkers {
    fn all(&self) -> Vec<Arc<dyn ActiveWorker>> {
        self.list.lock().active.values().cloned().collect()
    }

    pub(super) fn stop(&self) {
        for one in self.all() {
            one.stop_nowait();
        }
    }

    pub(super) fn show(&self, info: &mut SupervisorInfo) {
        for one in self.all() {
            match one.snapshot() {
                WorkerSnapshot::Worker(worker) => info.workers.push(worker),
                WorkerSnapshot::Job(job) => info.jobs.push(job),
            }
        }
    }
}

impl Core {
    /// Registers a worker that becomes active, starting the supervisor if necessary. Returns `None`
    /// if the supervisor is stopped.
    pub(crate) fn register(&self, one: Arc<dyn ActiveWorker>) -> Option<u64> {
        let key = {
            let mut list = self.workers.list.lock();
            let key = list.next;
            list.next += 1;
            list.active.insert(key, one);
            key
        };
        // A stop changes the phase before it reads the list, so at least one side observes the
        // other.
        if self.admits() {
            return Some(key);
        }
        self.unregister(key);
        None
    }

    /// Returns the tasks of the runs in progress, without those of loops.
    pub(crate) fn timed_runs(&self) -> Vec<TaskId> {
        self.workers.all().iter().filter_map(|one| one.timed_run()).collect()
    }

    /// Removes a worker that is no longer active.
    pub(crate) fn unregister(&self, key: u64) {
        let gone = self.workers.list.lock().active.remove(&key);
        drop(gone);
    }

    /// Adds a new worker to those that can be found while their handles live.
    pub(crate) fn add_known(&self, one: Weak<dyn ActiveWorker>) {
        const FEW: usize = 32;
        let mut list = self.workers.list.lock();
        if list.known.len() >= list.most_known.max(FEW) {
            // Each removal is paid for by as many additions.
            list.known.retain(|one| one.strong_count() > 0);
            list.most_known = 2 * list.known.len();
        }
        list.known.push(one);
    }

    /// Returns the workers that are active or have a handle, in the order of their creation.
    #[cfg_attr(not(feature = "dashboard"), allow(dead_code))]
    pub(crate) fn known_workers(&self) -> Vec<Arc<dyn ActiveWorker>> {
        self.workers.list.lock().known.iter().filter_map(Weak::upgrade).collect()
    }
}
