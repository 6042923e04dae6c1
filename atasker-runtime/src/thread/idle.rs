//! How an idle thread is given something to do.

use std::time::Instant;

use crate::sync::{AtomicU32, Condvar, Mutex, Ordering};

/// Nothing is there, and the thread looks by itself (or has not come yet).
const EMPTY: u32 = 0;
/// An order is there.
const FULL: u32 = 1;
/// Nothing is there, and the thread sleeps.
const SLEEPING: u32 = 2;

/// Where one idle thread waits for its next order. At most one order is handed to it at a time:
/// whoever takes it off the list of idle threads is the one who hands it something.
pub(crate) struct Idler<T> {
    /// What a spinning thread looks at; changed under the lock of `order`.
    word: AtomicU32,
    order: Mutex<Option<T>>,
    wake: Condvar,
}

impl<T> Idler<T> {
    pub(crate) fn new() -> Self {
        Idler { word: AtomicU32::new(EMPTY), order: Mutex::new(None), wake: Condvar::new() }
    }

    /// Hands the thread an order; wakes it only if it sleeps.
    pub(crate) fn hand(&self, order: T) {
        let mut slot = self.order.lock();
        debug_assert!(slot.is_none(), "one order at a time");
        *slot = Some(order);
        let before = self.word.swap(FULL, Ordering::AcqRel);
        drop(slot);
        if before == SLEEPING {
            self.wake.notify_one();
        }
    }

    /// Takes the order that is there.
    pub(crate) fn take(&self) -> Option<T> {
        let mut slot = self.order.lock();
        let order = slot.take()?;
        self.word.store(EMPTY, Ordering::Release);
        Some(order)
    }

    /// Whether an order is there: for a thread that looks without sleeping.
    pub(crate) fn is_called(&self) -> bool {
        self.word.load(Ordering::Acquire) == FULL
    }

    /// Sleeps until there is an order, or until the deadline.
    pub(crate) fn sleep(&self, deadline: Option<Instant>) -> Option<T> {
        let mut slot = self.order.lock();
        loop {
            if let Some(order) = slot.take() {
                self.word.store(EMPTY, Ordering::Release);
                return Some(order);
            }
            self.word.store(SLEEPING, Ordering::Release);
            let in_time = crate::sync::wait_until(&self.wake, &mut slot, deadline);
            if !in_time && slot.is_none() {
                self.word.store(EMPTY, Ordering::Release);
                return None;
            }
        }
    }
}
