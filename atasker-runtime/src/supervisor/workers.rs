//! The background workers and jobs of a supervisor.

use std::sync::{Arc, Weak};

use slab::Slab;

use crate::slab_memory;
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
    /// Each with the number of its start.
    active: Slab<(u64, Arc<dyn ActiveWorker>)>,
    starts: u64,
    /// All workers whose handles live, apart from jobs, which are of interest while they are active
    /// only; and some workers that are gone. In the order of their creation.
    known: Vec<Weak<dyn ActiveWorker>>,
    /// The length of `known` at which those that are gone are removed.
    most_known: usize,
}

impl ActiveWorkers {
    /// Returns the active ones, in the order of their starts.
    fn all(&self) -> Vec<Arc<dyn ActiveWorker>> {
        let mut all: Vec<_> = self.list.lock().active.iter().map(|(_, one)| one.clone()).collect();
        all.sort_unstable_by_key(|(start, _)| *start);
        all.into_iter().map(|(_, one)| one).collect()
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
    pub(crate) fn register(&self, one: Arc<dyn ActiveWorker>) -> Option<usize> {
        let key = {
            let mut list = self.workers.list.lock();
            let start = list.starts;
            list.starts += 1;
            list.active.insert((start, one))
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
    pub(crate) fn unregister(&self, key: usize) {
        let gone = slab_memory::remove(&mut self.workers.list.lock().active, key);
        drop(gone);
    }

    /// Adds a new worker that is not a job to those that can be found while their handles live.
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
        let mut all: Vec<_> = {
            let list = self.workers.list.lock();
            let active = list.active.iter().map(|(_, (_, one))| Arc::clone(one));
            list.known.iter().filter_map(Weak::upgrade).chain(active).collect()
        };
        all.sort_unstable_by_key(|one| one.key());
        all.dedup_by_key(|one| one.key());
        all
    }
}
