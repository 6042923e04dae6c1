//! The schedulers of tasks (their supervisors), by a key that each task keeps in its header.
//!
//! Tasks refer to their supervisor by key rather than by `Arc`; otherwise every launch and
//! completion would contend on one reference count. The supervisor outlives its tasks anyway,
//! because its stop waits for them, including the stop when the last handle is dropped. Threads
//! that work for one supervisor (pool threads, reader threads, loops) keep it in a thread-local, so
//! that the end of a task needs no lookup.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::{Arc, Weak};

use crate::fork;
use crate::sync::lock::RwLock;

pub(crate) use crate::id::SchedulerKey;
use crate::task::Schedule;

struct Schedulers {
    by_key: BTreeMap<SchedulerKey, Weak<dyn Schedule>>,
    last: u32,
}

static SCHEDULERS: RwLock<Schedulers> =
    RwLock::new(Schedulers { by_key: BTreeMap::new(), last: 0 });

thread_local! {
    static CURRENT: RefCell<Option<(SchedulerKey, Arc<dyn Schedule>)>> = const { RefCell::new(None) };
}

/// Registers a scheduler and returns its key.
pub(crate) fn register(scheduler: Weak<dyn Schedule>) -> SchedulerKey {
    if fork::is_copy() {
        return SchedulerKey(NonZeroU32::MAX);
    }
    let mut schedulers = SCHEDULERS.write();
    let key = loop {
        schedulers.last = schedulers.last.wrapping_add(1);
        let key = NonZeroU32::new(schedulers.last).map(SchedulerKey);
        // From the second time around on, some keys may be in use.
        if let Some(key) = key.filter(|key| !schedulers.by_key.contains_key(key)) {
            break key;
        }
    };
    schedulers.by_key.insert(key, scheduler);
    key
}

/// Removes a scheduler that is about to be dropped.
pub(crate) fn unregister(key: SchedulerKey) {
    if fork::is_copy() {
        return;
    }
    let gone = SCHEDULERS.write().by_key.remove(&key);
    drop(gone);
}

/// Returns the scheduler with this key if it still exists.
pub(crate) fn get(key: SchedulerKey) -> Option<Arc<dyn Schedule>> {
    with(key, Arc::clone)
}

/// Calls `f` with the scheduler with this key if it still exists.
#[inline]
pub(crate) fn with<T>(key: SchedulerKey, f: impl FnOnce(&Arc<dyn Schedule>) -> T) -> Option<T> {
    #[cold]
    fn far(key: SchedulerKey) -> Option<Arc<dyn Schedule>> {
        SCHEDULERS.read().by_key.get(&key).and_then(Weak::upgrade)
    }
    if fork::is_copy() {
        // Also not the one at hand: its worker processes and locks are those of another process.
        return None;
    }
    let mut f = Some(f);
    let near = CURRENT.try_with(|current| match &*current.borrow() {
        Some((near, scheduler)) if *near == key => f.take().map(|f| f(scheduler)),
        _ => None,
    });
    if let Ok(Some(done)) = near {
        return Some(done);
    }
    let scheduler = far(key)?;
    f.map(|f| f(&scheduler))
}

/// Makes a scheduler the current one of this thread until the guard is dropped.
pub(crate) fn enter(key: SchedulerKey) -> EnterGuard {
    let scheduler = get(key).map(|scheduler| (key, scheduler));
    // Skipped if the current scheduler is in use at this moment, or the thread is exiting.
    let before = CURRENT.try_with(|current| {
        current.try_borrow_mut().ok().map(|mut current| std::mem::replace(&mut *current, scheduler))
    });
    EnterGuard { before: before.ok().flatten() }
}

/// See [`enter`].
pub(crate) struct EnterGuard {
    /// `None` if nothing was changed.
    before: Option<Option<(SchedulerKey, Arc<dyn Schedule>)>>,
}

impl Drop for EnterGuard {
    fn drop(&mut self) {
        let Some(before) = self.before.take() else { return };
        // Dropped after the borrow ends, because this may be the last reference to the scheduler.
        let scheduler = CURRENT.try_with(|current| current.replace(before));
        drop(scheduler);
    }
}
