//! Who wants to know of a change: threads and futures alike, as wakers.

use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Waker;

/// Names one waiter, so that it can renew or take back its waker.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct WaiterKey(u64);

impl WaiterKey {
    pub(crate) fn next() -> WaiterKey {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        WaiterKey(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

/// A list of wakers. Most lists hold none or one, and then own no memory.
#[derive(Debug, Default)]
pub(crate) enum Waiters {
    #[default]
    None,
    One(WaiterKey, Waker),
    // Boxed to keep every task small: a list this long is rare.
    #[allow(clippy::box_collection)]
    Many(Box<Vec<(WaiterKey, Waker)>>),
}

impl Waiters {
    /// Adds a waker, or renews the one with this key.
    pub(crate) fn add(&mut self, key: WaiterKey, waker: &Waker) {
        match self {
            Waiters::None => *self = Waiters::One(key, waker.clone()),
            Waiters::One(k, w) if *k == key => w.clone_from(waker),
            Waiters::One(..) => {
                let Waiters::One(k, w) = std::mem::take(self) else { unreachable!() };
                *self = Waiters::Many(Box::new(vec![(k, w), (key, waker.clone())]));
            }
            Waiters::Many(list) => match list.iter_mut().find(|(k, _)| *k == key) {
                Some((_, w)) => w.clone_from(waker),
                None => list.push((key, waker.clone())),
            },
        }
    }

    /// Takes a waker back, if it is still there.
    pub(crate) fn remove(&mut self, key: WaiterKey) {
        match self {
            Waiters::One(k, _) if *k == key => *self = Waiters::None,
            Waiters::Many(list) => list.retain(|(k, _)| *k != key),
            _ => {}
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        match self {
            Waiters::None => true,
            Waiters::One(..) => false,
            Waiters::Many(list) => list.is_empty(),
        }
    }

    /// Wakes all; whoever still waits then, adds itself again. Call it on a list that was taken out
    /// of its lock: a waker may run anything.
    pub(crate) fn wake(self) {
        match self {
            Waiters::None => {}
            Waiters::One(_, waker) => waker.wake(),
            Waiters::Many(list) => list.into_iter().for_each(|(_, waker)| waker.wake()),
        }
    }
}
