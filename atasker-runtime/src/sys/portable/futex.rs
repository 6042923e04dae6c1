//! Stands in for futexes, which only worker processes with shared memory need.

use std::sync::atomic::AtomicU32;
use std::time::Duration;

use crate::sys::ipc::WakeReason;

/// Never called, because no task thread sleeps on a page that no other process sees.
pub(crate) fn wait(_word: &AtomicU32, _value: u32, _timeout: Option<Duration>) -> WakeReason {
    unreachable!("no memory is shared")
}

/// Never called, as [`wait`].
pub(crate) fn wake(_word: &AtomicU32) {
    unreachable!("no memory is shared")
}
