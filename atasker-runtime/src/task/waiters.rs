//! Lists of wakers: the waiters for a change, threads and futures alike.

use crate::unwind::{self, log};
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Waker;

/// Identifies a waiter, so that it can replace or remove its waker.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct WaiterKey(u64);

impl WaiterKey {
    /// The key of the typed handle; each task has at most one at a time.
    pub(crate) const HANDLE: WaiterKey = WaiterKey(0);

    pub(crate) fn next() -> WaiterKey {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        WaiterKey(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

/// A list of wakers. Most lists have zero or one and allocate nothing.
#[derive(Debug)]
pub(crate) enum Waiters {
    One(WaiterKey, Waker),
    // None, or several. Boxed, because a third variant would make every task larger for a rare
    // case.
    #[allow(clippy::box_collection)]
    Many(Option<Box<Vec<(WaiterKey, Waker)>>>),
}

impl Default for Waiters {
    fn default() -> Self {
        Waiters::NONE
    }
}

impl Waiters {
    /// The empty list.
    pub(crate) const NONE: Waiters = Waiters::Many(None);

    /// Adds a waker, or replaces the one with this key and returns the old one. Clone the waker
    /// outside the lock of the list, because cloning can run arbitrary code.
    #[must_use = "a waker's destructor can run user code: call `drop_waker` outside the list's lock"]
    pub(crate) fn add(&mut self, key: WaiterKey, waker: Waker) -> Option<Waker> {
        match self {
            Waiters::Many(None) => *self = Waiters::One(key, waker),
            Waiters::One(k, w) if *k == key => return Some(std::mem::replace(w, waker)),
            Waiters::One(..) => {
                let Waiters::One(k, w) = std::mem::take(self) else { unreachable!() };
                *self = Waiters::Many(Some(Box::new(vec![(k, w), (key, waker)])));
            }
            Waiters::Many(Some(list)) => match list.iter_mut().find(|(k, _)| *k == key) {
                Some((_, w)) => return Some(std::mem::replace(w, waker)),
                None => list.push((key, waker)),
            },
        }
        None
    }

    /// Removes a waker if it is still in the list.
    #[must_use = "a waker's destructor can run user code: call `drop_waker` outside the list's lock"]
    pub(crate) fn remove(&mut self, key: WaiterKey) -> Option<Waker> {
        match self {
            Waiters::One(k, _) if *k == key => match std::mem::take(self) {
                Waiters::One(_, waker) => Some(waker),
                _ => unreachable!(),
            },
            Waiters::Many(Some(list)) => {
                let at = list.iter().position(|(k, _)| *k == key)?;
                Some(list.remove(at).1)
            }
            _ => None,
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        match self {
            Waiters::One(..) => false,
            Waiters::Many(list) => list.as_ref().is_none_or(|list| list.is_empty()),
        }
    }

    /// Drops all wakers. Call this on a list taken out of its lock.
    pub(crate) fn discard(self) {
        match self {
            Waiters::One(_, waker) => drop_waker(Some(waker)),
            Waiters::Many(list) => list
                .into_iter()
                .flat_map(|list| *list)
                .for_each(|(_, waker)| drop_waker(Some(waker))),
        }
    }

    /// Wakes all waiters. Those that still have to wait register again. Call this on a list taken
    /// out of its lock, because wakers can run arbitrary code.
    #[track_caller]
    pub(crate) fn wake(self) {
        match self {
            Waiters::One(_, waker) => wake(waker),
            Waiters::Many(list) => {
                list.into_iter().flat_map(|list| *list).for_each(|(_, waker)| wake(waker))
            }
        }
    }
}

/// Drops a waker that is not needed any more.
#[track_caller]
pub(crate) fn drop_waker(waker: Option<Waker>) {
    if let Some(waker) = waker {
        unwind::discard(waker);
    }
}

/// Wakes several waiters. Call this without a lock.
#[inline]
#[track_caller]
pub(crate) fn wake_all(wakers: Vec<Waker>) {
    wakers.into_iter().for_each(wake);
}

/// Wakes a waiter, containing a panic so that the other waiters are woken, too.
#[track_caller]
fn wake(waker: Waker) {
    if !unwind::contained(|| waker.wake()) {
        log!(error, "a waker registered with a task panicked");
    }
}
