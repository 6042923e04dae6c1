//! The active background workers and jobs of a supervisor.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::sync::lock::Mutex;

use super::core::Core;
use crate::info::SupervisorInfo;

/// A background worker or a job.
pub(crate) trait ActiveWorker: Send + Sync {
    /// Starts no further runs, and asks the current one to stop.
    fn stop_nowait(&self);

    /// Adds a snapshot of itself to `info`.
    fn show(&self, info: &mut SupervisorInfo);
}

/// The active workers in the order of their starts.
#[derive(Default)]
pub(super) struct ActiveWorkers {
    list: Mutex<List>,
}

#[derive(Default)]
struct List {
    active: BTreeMap<u64, Arc<dyn ActiveWorker>>,
    next: u64,
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
            one.show(info);
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

    /// Removes a worker that is no longer active.
    pub(crate) fn unregister(&self, key: u64) {
        let gone = self.workers.list.lock().active.remove(&key);
        drop(gone);
    }
}
