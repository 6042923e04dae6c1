//! Parks an idle thread, and passes it a signal when it is unparked.
//!
//! ```text
//!            unpark               try_take, park
//!   EMPTY ------------> NOTIFIED ---------------> EMPTY
//!     |                    ^
//!     | park               | unpark, which also notifies the condition variable
//!     v                    |
//!   PARKED ----------------+
//!     |
//!     +--> EMPTY, at the deadline
//! ```

use std::time::Instant;

use crate::sync::{AtomicU32, Condvar, Mutex, Ordering};

/// There is no signal, and the thread is not parked.
const EMPTY: u32 = 0;
/// There is a signal.
const NOTIFIED: u32 = 1;
/// There is no signal, and the thread is parked.
const PARKED: u32 = 2;

/// Where one idle thread waits for its next signal.
///
/// A parker holds at most one signal, because a caller of `unpark` must first take the parker out
/// of the list of idle threads.
pub(crate) struct Parker<T> {
    /// One of the constants above, for a spinning thread. Changes only while `signal` is locked, so
    /// that both agree.
    state: AtomicU32,
    signal: Mutex<Option<T>>,
    condvar: Condvar,
}

impl<T> Parker<T> {
    pub(crate) fn new() -> Self {
        Parker { state: AtomicU32::new(EMPTY), signal: Mutex::new(None), condvar: Condvar::new() }
    }

    /// Stores a signal, and wakes the thread if it is parked.
    pub(crate) fn unpark(&self, signal: T) {
        let mut guard = self.signal.lock();
        debug_assert!(guard.is_none(), "one signal at a time");
        *guard = Some(signal);
        // Release: a spinning thread that sees NOTIFIED also sees what was done before this call.
        let before = self.state.swap(NOTIFIED, Ordering::AcqRel);
        // Before the notification: otherwise the thread would wake up only to block on the lock.
        drop(guard);
        // A thread that spins needs no system call.
        if before == PARKED {
            self.condvar.notify_one();
        }
    }

    /// Takes the signal, if there is one.
    pub(crate) fn try_take(&self) -> Option<T> {
        let mut guard = self.signal.lock();
        let signal = guard.take()?;
        self.state.store(EMPTY, Ordering::Release);
        Some(signal)
    }

    /// Returns whether there is a signal, without the lock. For a thread that spins.
    pub(crate) fn is_notified(&self) -> bool {
        self.state.load(Ordering::Acquire) == NOTIFIED
    }

    /// Blocks until there is a signal, or until the deadline.
    pub(crate) fn park(&self, deadline: Option<Instant>) -> Option<T> {
        let mut guard = self.signal.lock();
        loop {
            if let Some(signal) = guard.take() {
                self.state.store(EMPTY, Ordering::Release);
                return Some(signal);
            }
            // Under the lock: an `unpark` from here on sees PARKED, and the wait below can't miss
            // its notification.
            self.state.store(PARKED, Ordering::Release);
            let in_time = crate::sync::wait_until(&self.condvar, &mut guard, deadline);
            // A signal may have arrived together with the deadline.
            if !in_time && guard.is_none() {
                self.state.store(EMPTY, Ordering::Release);
                return None;
            }
        }
    }
}
