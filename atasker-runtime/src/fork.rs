//! Forked processes, in which the library does nothing.
//!
//! A process forked from one that uses the library has a single thread. The pools, loops, timer and
//! worker processes belong to the parent, and any lock of the library may have been held by a
//! thread that does not exist in the child. So in a forked process every entry point returns before
//! it takes a lock, writes to a socket or touches a shared page: launches and waits with an error,
//! everything else without effect.
//!
//! Where a forked process comes to a lock after all, because it returns from a callback for
//! example, it does not wait for the lock: see [`acquire_in_copy`].
//!
//! The check reads a byte in a page that the kernel wipes in forked processes (see `sys::fork`).

use std::time::Duration;

use crate::error::TaskError;

#[cfg(unix)]
pub(crate) use crate::sys::fork::{end_copy, is_copy, say_and_end_copy, watch, watch_and_check};

/// The message for users.
pub(crate) const REFUSED: &str = "this process was forked from one that uses atasker: tasks, aloops and \
    worker processes belong to the parent; call `exec` in the fork, or fork before the first use";

/// Returns the error of launches and waits.
#[cold]
pub(crate) fn error() -> TaskError {
    TaskError::not_started(REFUSED)
}

/// Ends a forked process that returns from a task's function, because the parent completes the
/// task.
#[inline]
pub(crate) fn end_if_copy() {
    if is_copy() {
        end_copy();
    }
}

/// Acquires a lock in a copy. If it is held by a thread that does not exist here, the copy ends.
#[cold]
pub(crate) fn acquire_in_copy<G>(try_lock: impl Fn() -> Option<G>) -> G {
    // The copy may have started threads. Those hold a lock of the library for moments only.
    const ATTEMPTS: u32 = 100;
    for _ in 0..ATTEMPTS {
        if let Some(guard) = try_lock() {
            return guard;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    say_and_end_copy(
        b"atasker: this process is a fork of one that had used atasker, and ends here, because \
          otherwise it would wait forever for a thread that was not copied\n",
    )
}

#[cfg(not(unix))]
mod none {
    pub(crate) fn is_copy() -> bool {
        false
    }
    pub(crate) fn watch() {}
    pub(crate) fn watch_and_check() -> bool {
        false
    }
    pub(crate) fn say_and_end_copy(_message: &[u8]) -> ! {
        end_copy()
    }
    pub(crate) fn end_copy() -> ! {
        unreachable!("there are no copies here")
    }
}
#[cfg(not(unix))]
pub(crate) use none::{end_copy, is_copy, say_and_end_copy, watch, watch_and_check};
