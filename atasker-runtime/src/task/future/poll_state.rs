//! The poll state of a future: which thread may touch it, and which one pushes it to the queue.
//!
//! ```text
//!          start            begin_poll          end_poll
//!   0 ----------> SCHEDULED ----------> RUNNING ----------> idle      wake: idle -> SCHEDULED, and push
//!   ^                 ^                  |  |                |              RUNNING -> also SCHEDULED
//!   |                 +------------------+  | finish         | wake         otherwise nothing
//!   |                 woken meanwhile       |                +-----> SCHEDULED
//!   +---------------------------------------+
//! ```
//!
//! The flag `ALIVE` is set in every state but 0. The thread that sets `SCHEDULED` pushes the task
//! to the queue, so the task is there at most once. The thread that takes it from the queue begins
//! the poll, and is the only one to touch the future until it ends the poll or finishes. In state 0
//! there is no future, and leftover wakers of a previous one have no effect.

use crate::sync::{AtomicU32, Ordering};

/// A future exists.
const ALIVE: u32 = 1;
/// The task is in the queue, or was woken during a poll.
const SCHEDULED: u32 = 1 << 1;
/// The future is being polled.
const RUNNING: u32 = 1 << 2;

/// See the module's documentation. Every transition is a read-modify-write, even where it changes
/// nothing, so that the poll that follows a wake-up sees what was done before that wake-up.
#[derive(Debug)]
pub(crate) struct PollState(AtomicU32);

impl PollState {
    pub(crate) fn new() -> Self {
        PollState(AtomicU32::new(0))
    }

    /// Schedules the first poll of a new future. The caller pushes the task to the queue.
    pub(crate) fn start(&self) {
        let before = self.0.swap(ALIVE | SCHEDULED, Ordering::AcqRel);
        debug_assert_eq!(before & !SCHEDULED, 0, "one future at a time");
    }

    /// Schedules a poll. Returns true if the caller must push the task to the queue.
    #[must_use]
    pub(crate) fn wake(&self) -> bool {
        // Also if it changes nothing, it releases the writes of the waker to the next `begin_poll`.
        self.0.fetch_or(SCHEDULED, Ordering::AcqRel) == ALIVE
    }

    /// Returns whether a future exists.
    #[cfg(feature = "async")]
    pub(crate) fn is_alive(&self) -> bool {
        // Acquire: the caller moves the body if there is none.
        self.0.load(Ordering::Acquire) & ALIVE != 0
    }

    /// Begins the poll of a task that was taken from the queue.
    pub(crate) fn begin_poll(&self) {
        let before = self.0.swap(ALIVE | RUNNING, Ordering::AcqRel);
        debug_assert_eq!(
            before,
            ALIVE | SCHEDULED,
            "polled by the thread that took it from the queue"
        );
    }

    /// Ends the poll of a pending future. Returns false if it was woken meanwhile, in which case
    /// the caller pushes the task to the queue again.
    #[must_use]
    pub(crate) fn end_poll(&self) -> bool {
        let running = ALIVE | RUNNING;
        let is_idle =
            self.0.compare_exchange(running, ALIVE, Ordering::AcqRel, Ordering::Acquire).is_ok();
        if !is_idle {
            let before = self.0.swap(ALIVE | SCHEDULED, Ordering::AcqRel);
            debug_assert_eq!(before, ALIVE | SCHEDULED | RUNNING);
        }
        is_idle
    }

    /// Ends the poll of a future that was dropped.
    pub(crate) fn finish(&self) {
        let before = self.0.swap(0, Ordering::AcqRel);
        debug_assert_eq!(before & !SCHEDULED, ALIVE | RUNNING);
    }
}
