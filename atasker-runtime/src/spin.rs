//! Looking for a moment before a thread sleeps.
//!
//! To wake a thread costs some microseconds, and several times that where its CPU has gone to sleep
//! with it, as those of virtual machines do. So who waits for something that often comes at once
//! looks for about as long as the waking would take: then it costs at most twice what it would have
//! cost to know the future (Karlin et al., "Competitive snoopy caching", 1988). In between it
//! yields its CPU to whoever else wants to run there; with one CPU it does not look at all.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// About what it costs to wake a thread on a CPU that sleeps.
const LIMIT: Duration = Duration::from_micros(20);

/// Looks without a pause between them at first: about two microseconds.
const FIRST: u32 = 64;

/// Looks between two yields.
const BETWEEN: u32 = 16;

/// Whether somebody else can run while this thread looks.
pub(crate) fn pays() -> bool {
    static SEVERAL: OnceLock<bool> = OnceLock::new();
    *SEVERAL.get_or_init(|| std::thread::available_parallelism().is_ok_and(|n| n.get() > 1))
}

/// Looks for a moment. Whether it is ready now.
pub(crate) fn until(mut ready: impl FnMut() -> bool) -> bool {
    if ready() {
        return true;
    }
    if !pays() {
        return false;
    }
    let mut look = |times| {
        (0..times).any(|_| {
            std::hint::spin_loop();
            ready()
        })
    };
    if look(FIRST) {
        return true;
    }
    let begin = Instant::now();
    while begin.elapsed() < LIMIT {
        std::thread::yield_now();
        if look(BETWEEN) {
            return true;
        }
    }
    false
}
