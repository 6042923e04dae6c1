//! The runners that sleep while their queue is empty.
//!
//! `notify_one` follows a push and then looks for a sleeper; `register` adds a sleeper and then
//! looks at the queue. A SeqCst fence between the two steps of each guarantees that one of them
//! sees the other.

use std::task::{Poll, Waker};

use crate::sync::{AtomicU32, Mutex, Ordering, fence};

/// See the module's documentation.
pub(crate) struct Sleepers {
    /// The length of `list`. Written under its lock.
    asleep: AtomicU32,
    list: Mutex<Vec<(usize, Waker)>>,
}

impl Sleepers {
    pub(crate) fn new() -> Self {
        Sleepers { asleep: AtomicU32::new(0), list: Mutex::new(Vec::new()) }
    }

    /// Registers number `who` as asleep. Ready immediately if `to_do` returns true.
    pub(crate) fn register(
        &self,
        who: usize,
        waker: &Waker,
        to_do: impl FnOnce() -> bool,
    ) -> Poll<()> {
        let waker = waker.clone();
        let mut list = self.list.lock();
        debug_assert!(list.iter().all(|(other, _)| *other != who));
        list.push((who, waker));
        self.asleep.store(list.len() as u32, Ordering::Relaxed);
        drop(list);
        // Between adding the sleeper and looking at the queue: pairs with the fence of
        // `notify_one`.
        fence(Ordering::SeqCst);
        if to_do() {
            self.unregister(who);
            return Poll::Ready(());
        }
        Poll::Pending
    }

    /// Removes a sleeper that was not woken.
    pub(crate) fn unregister(&self, who: usize) {
        let mut list = self.list.lock();
        let at = list.iter().position(|(other, _)| *other == who);
        let waker = at.map(|at| list.swap_remove(at));
        self.asleep.store(list.len() as u32, Ordering::Relaxed);
        drop(list);
        drop(waker);
    }

    /// Wakes one runner, if any is asleep, after a push to the queue.
    pub(crate) fn notify_one(&self) {
        // Between the push and looking for sleepers: pairs with the fence of `register`.
        fence(Ordering::SeqCst);
        if self.asleep.load(Ordering::Relaxed) == 0 {
            return;
        }
        let mut list = self.list.lock();
        let woken = list.pop();
        self.asleep.store(list.len() as u32, Ordering::Relaxed);
        drop(list);
        if let Some((_, waker)) = woken {
            waker.wake();
        }
    }
}
