//! Changes of a supervisor's load that are no event of a task, for the parts of this library that
//! show it: metrics.

use std::sync::{Arc, Weak};

use super::interest;
use crate::sync::lock::RwLock;
use crate::task::scheduler::{self, SchedulerKey};

/// Learns that the load of a supervisor has changed. It is also an observer of the supervisor.
pub(crate) trait LoadListener: Send + Sync {
    /// Threads, slots, or the tasks that occupy them, have changed. Runs no user code.
    fn load_changed(&self);

    /// The supervisor is stopped. Called without a lock.
    fn stopped(&self);
}

/// The listeners of one supervisor.
pub(crate) struct Listeners(RwLock<Vec<Weak<dyn LoadListener>>>);

impl Listeners {
    pub(super) fn new() -> Self {
        Listeners(RwLock::new(Vec::new()))
    }

    /// Adds a listener, which stays while it exists.
    #[cfg_attr(not(feature = "metrics"), allow(dead_code))]
    pub(crate) fn add(&self, listener: Weak<dyn LoadListener>) {
        let mut listeners = self.0.write();
        listeners.retain(|listener| listener.strong_count() > 0);
        listeners.push(listener);
    }

    fn all(&self) -> Vec<Arc<dyn LoadListener>> {
        self.0.read().iter().filter_map(Weak::upgrade).collect()
    }

    /// See [`LoadListener::load_changed`].
    pub(crate) fn changed(&self) {
        self.all().iter().for_each(|listener| listener.load_changed());
    }

    /// See [`LoadListener::stopped`].
    pub(crate) fn stopped(&self) {
        self.all().iter().for_each(|listener| listener.stopped());
    }
}

/// The load of the supervisor with this key has changed.
pub(crate) fn changed(supervisor: SchedulerKey) {
    if !interest::is_on() {
        return;
    }
    let observers = scheduler::with(supervisor, |scheduler| scheduler.observers().cloned());
    if let Some(Some(observers)) = observers {
        observers.load.changed();
    }
}
