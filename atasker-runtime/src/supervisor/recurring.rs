//! What makes tasks again and again, as the supervisor sees it: the background workers and jobs that
//! are active.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;

use super::core::Core;
use crate::info::SupervisorInfo;

/// A background worker, or a job.
pub(crate) trait Recurring: Send + Sync {
    /// Makes no further tasks; the one under way is asked to stop.
    fn stop_nowait(&self);

    /// Shows itself.
    fn show(&self, info: &mut SupervisorInfo);
}

/// Those that are active, in the order of their starts.
#[derive(Default)]
pub(super) struct Recurrings {
    list: Mutex<List>,
}

#[derive(Default)]
struct List {
    active: BTreeMap<u64, Arc<dyn Recurring>>,
    next: u64,
}

impl Recurrings {
    fn all(&self) -> Vec<Arc<dyn Recurring>> {
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
    /// Takes a worker in that becomes active, and starts the supervisor if need be. `None`: it is
    /// stopped.
    pub(crate) fn register(&self, one: Arc<dyn Recurring>) -> Option<u64> {
        let key = {
            let mut list = self.recurring.list.lock();
            let key = list.next;
            list.next += 1;
            list.active.insert(key, one);
            key
        };
        // A stop turns the phase first and looks at the list then: one of the two sees the other.
        if self.admits() {
            return Some(key);
        }
        self.unregister(key);
        None
    }

    /// It is not active any more.
    pub(crate) fn unregister(&self, key: u64) {
        let gone = self.recurring.list.lock().active.remove(&key);
        drop(gone);
    }
}
