//! Who wants to know of a change: threads and futures alike, as wakers.

use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Waker;

use crate::task::panic;

/// Names one waiter, so that it can renew or take back its waker.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct WaiterKey(u64);

impl WaiterKey {
    /// The typed handle, of which each task has one at a time.
    pub(crate) const HANDLE: WaiterKey = WaiterKey(0);

    pub(crate) fn next() -> WaiterKey {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        WaiterKey(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

/// A list of wakers. Most lists hold none or one, and then own no memory.
#[derive(Debug)]
pub(crate) enum Waiters {
    One(WaiterKey, Waker),
    // None, or several. Boxed, and not a variant more, to keep every task small: a list this long is
    // rare.
    #[allow(clippy::box_collection)]
    Many(Option<Box<Vec<(WaiterKey, Waker)>>>),
}

impl Default for Waiters {
    fn default() -> Self {
        Waiters::NONE
    }
}

impl Waiters {
    /// Nobody.
    pub(crate) const NONE: Waiters = Waiters::Many(None);

    /// Adds a waker, or renews the one with this key. The old one is given back.
    #[must_use = "a waker's destructor may run anything: drop it outside the list's lock"]
    pub(crate) fn add(&mut self, key: WaiterKey, waker: &Waker) -> Option<Waker> {
        match self {
            Waiters::Many(None) => *self = Waiters::One(key, waker.clone()),
            Waiters::One(k, w) if *k == key => return renew(w, waker),
            Waiters::One(..) => {
                let waker = waker.clone();
                let Waiters::One(k, w) = std::mem::take(self) else { unreachable!() };
                *self = Waiters::Many(Some(Box::new(vec![(k, w), (key, waker)])));
            }
            Waiters::Many(Some(list)) => match list.iter_mut().find(|(k, _)| *k == key) {
                Some((_, w)) => return renew(w, waker),
                None => list.push((key, waker.clone())),
            },
        }
        None
    }

    /// Takes a waker back, if it is still there.
    #[must_use = "a waker's destructor may run anything: drop it outside the list's lock"]
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

    /// Wakes all; whoever still waits then, adds itself again. Call it on a list that was taken out
    /// of its lock: a waker may run anything.
    pub(crate) fn wake(self) {
        match self {
            Waiters::One(_, waker) => wake(waker),
            Waiters::Many(list) => {
                list.into_iter().flat_map(|list| *list).for_each(|(_, waker)| wake(waker))
            }
        }
    }
}

fn renew(old: &mut Waker, new: &Waker) -> Option<Waker> {
    (!old.will_wake(new)).then(|| std::mem::replace(old, new.clone()))
}

/// A waker that panics must not keep the others asleep.
fn wake(waker: Waker) {
    if panic::catch(|| waker.wake()).is_err() {
        panic::guarded(|| {
            tracing::error!(
                target: "atasker",
                "the waker of somebody who waits for a task panicked"
            );
        });
    }
}
