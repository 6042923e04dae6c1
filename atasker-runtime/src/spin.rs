//! Looking for a moment before a thread sleeps.
//!
//! To wake a thread costs some microseconds, and several times that where its CPU has gone to sleep
//! with it, as those of virtual machines do. So who waits for something that often comes at once
//! looks for about as long as the waking would take: then it costs at most twice what it would have
//! cost to know the future (Karlin et al., "Competitive snoopy caching", 1988).
//!
//! That holds while the CPU has nothing better to do. So after each few looks the thread yields; if
//! that takes longer than an empty yield does, somebody else has run in between, and the thread
//! goes to sleep: this time, and the next few times without more than a glance. With one CPU
//! nobody looks at all.

use std::cell::Cell;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// About what it costs to wake a thread on a CPU that sleeps.
const LIMIT: Duration = Duration::from_micros(20);

/// A yield to nobody is well below.
const YIELDED: Duration = Duration::from_micros(3);

/// Looks between two yields: about half a microsecond.
const LOOKS: u32 = 16;

/// So many waits are without looking, where CPUs turned out to be wanted.
const REST: u32 = 16;

/// Whether somebody else can run while this thread looks.
pub(crate) fn pays() -> bool {
    static SEVERAL: OnceLock<bool> = OnceLock::new();
    *SEVERAL.get_or_init(|| std::thread::available_parallelism().is_ok_and(|n| n.get() > 1))
}

thread_local! {
    static RESTS: Cell<u32> = const { Cell::new(0) };
}

/// Looks for a moment. Whether it is ready now.
pub(crate) fn until(mut ready: impl FnMut() -> bool) -> bool {
    if ready() {
        return true;
    }
    if !pays() {
        return false;
    }
    let rests = RESTS.get();
    if rests > 0 {
        RESTS.set(rests - 1);
        return false;
    }
    let mut look = || {
        (0..LOOKS).any(|_| {
            std::hint::spin_loop();
            ready()
        })
    };
    if look() {
        return true;
    }
    let begin = Instant::now();
    let mut before = begin;
    loop {
        std::thread::yield_now();
        let now = Instant::now();
        if look() {
            return true;
        }
        if now - before > YIELDED {
            RESTS.set(REST);
            return false;
        }
        if now - begin > LIMIT {
            return false;
        }
        // The looks are not part of what the yield takes.
        before = Instant::now();
    }
}
