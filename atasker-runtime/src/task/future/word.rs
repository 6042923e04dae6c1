//! The word that says whose turn a future is: who may touch it, and who puts it into the queue.
//!
//! ```text
//!        start            take            rest
//!   0 ----------> ready ------> polled ---------> here     wake: here -> ready, and into the queue
//!   ^                 ^           |  |               |           polled -> polled and ready
//!   |                 +-----------+  | end           |           else nothing
//!   |                 woken meanwhile|               | wake
//!   +--------------------------------+               +-------> ready
//! ```
//!
//! Whoever turns it to *ready* puts the future into the queue, so it stands there once; whoever
//! takes it out of the queue *takes* it, and touches it until he lets it rest, hands it on or ends
//! it. At 0 there is no future; wakers that are left over from one change nothing then.

use crate::sync::{AtomicU32, Ordering};

/// There is a future.
const HERE: u32 = 1;
/// It stands in the queue, or was woken while it was polled.
const READY: u32 = 1 << 1;
/// It is being polled.
const POLLED: u32 = 1 << 2;

/// See the module's documentation. Every step reads and writes in one, also where it changes
/// nothing: what was done before a wake is seen by the poll that follows it.
#[derive(Debug)]
pub(crate) struct Word(AtomicU32);

impl Word {
    pub(crate) fn new() -> Self {
        Word(AtomicU32::new(0))
    }

    /// A future has come. The caller puts it into the queue.
    pub(crate) fn start(&self) {
        let before = self.0.swap(HERE | READY, Ordering::AcqRel);
        debug_assert_eq!(before & !READY, 0, "one future at a time");
    }

    /// It wants to be polled. True: the caller puts it into the queue.
    #[must_use]
    pub(crate) fn wake(&self) -> bool {
        self.0.fetch_or(READY, Ordering::AcqRel) == HERE
    }

    /// It came out of the queue: the caller polls it.
    pub(crate) fn take(&self) {
        let before = self.0.swap(HERE | POLLED, Ordering::AcqRel);
        debug_assert_eq!(before, HERE | READY, "taken by whoever had it from the queue");
    }

    /// It is polled, and waits. False: it was woken meanwhile, and the caller puts it into the
    /// queue again.
    #[must_use]
    pub(crate) fn rest(&self) -> bool {
        let polled = HERE | POLLED;
        let rests =
            self.0.compare_exchange(polled, HERE, Ordering::AcqRel, Ordering::Acquire).is_ok();
        if !rests {
            let before = self.0.swap(HERE | READY, Ordering::AcqRel);
            debug_assert_eq!(before, HERE | READY | POLLED);
        }
        rests
    }

    /// It is polled, and gone.
    pub(crate) fn end(&self) {
        let before = self.0.swap(0, Ordering::AcqRel);
        debug_assert_eq!(before & !READY, HERE | POLLED);
    }
}
