//! Where drivers sleep while their queue is empty, and how they are woken.
//!
//! A pusher adds to the queue and then looks for somebody asleep; a driver lies down and then looks
//! at the queue. One of the two sees the other, whichever comes first.

use std::task::{Poll, Waker};

use crate::sync::{AtomicU32, Mutex, Ordering, fence};

/// See the module's documentation.
pub(crate) struct Beds {
    /// How many lie in `list`. Written under its lock.
    asleep: AtomicU32,
    list: Mutex<Vec<(usize, Waker)>>,
}

impl Beds {
    pub(crate) fn new() -> Self {
        Beds { asleep: AtomicU32::new(0), list: Mutex::new(Vec::new()) }
    }

    /// Lies down as number `who`; ready at once if there is something to do after all.
    pub(crate) fn lie_down(
        &self,
        who: usize,
        waker: &Waker,
        to_do: impl FnOnce() -> bool,
    ) -> Poll<()> {
        let mut list = self.list.lock();
        debug_assert!(list.iter().all(|(other, _)| *other != who));
        list.push((who, waker.clone()));
        self.asleep.store(list.len() as u32, Ordering::Relaxed);
        drop(list);
        fence(Ordering::SeqCst);
        if to_do() {
            self.get_up(who);
            return Poll::Ready(());
        }
        Poll::Pending
    }

    /// Gets up, if nobody has woken this one.
    pub(crate) fn get_up(&self, who: usize) {
        let mut list = self.list.lock();
        let at = list.iter().position(|(other, _)| *other == who);
        let waker = at.map(|at| list.swap_remove(at));
        self.asleep.store(list.len() as u32, Ordering::Relaxed);
        drop(list);
        drop(waker);
    }

    /// Something was added to the queue: wakes one driver, if any is asleep.
    pub(crate) fn wake_one(&self) {
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
