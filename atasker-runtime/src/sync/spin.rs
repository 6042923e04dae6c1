//! Spinning for a moment before a thread blocks: whether, and for how long.
//!
//! Waking a thread costs some microseconds, and several times that if its CPU has gone idle
//! meanwhile, as those of virtual machines do. So a thread that waits for something likely to
//! happen soon spins for about as long as waking it would take. That costs at most twice as much as
//! the optimal choice made with knowledge of the future (Karlin et al., "Competitive snoopy
//! caching", 1988).
//!
//! With a single CPU no thread spins ([`has_other_cpus`]), because no other one could run meanwhile.
//! A quota of CPU time, as containers have, counts like the number of CPUs.
//!
//! **Waits within a process** ([`until`]) spin for a fixed time. The bound assumes that the CPU has
//! nothing better to do. So the thread yields between short spins. If a yield takes longer than an
//! empty one does, another thread has run meanwhile: this wait blocks, and so do the next few,
//! without spinning.
//!
//! **Waits for another process** ([`SpinWindow`]) adapt: waking a thread on a sleeping CPU takes 3 to
//! 40 us, many times what a short call takes. The window is halved by a spin without success and
//! doubled by a successful one. The thread yields to other threads that want the CPU. Sleeping at
//! once in that case was measured: it gave a tenth more calls when many were in progress, but a
//! single call of 1 us took 7 us whenever anything else was running.

use std::cell::Cell;
use std::time::{Duration, Instant};

use crate::sys::once::Once;

/// About the cost of waking a thread on an idle CPU.
const MAX_SPIN: Duration = Duration::from_micros(20);

/// A yield to no other thread takes well below this.
const EMPTY_YIELD: Duration = Duration::from_micros(3);

/// Checks between two yields: about half a microsecond.
const SPINS: u32 = 16;

/// The number of waits that do not spin after the CPU turned out to be needed.
const SKIPS: u32 = 16;

/// Returns whether another CPU can make progress while this thread spins.
pub(crate) fn has_other_cpus() -> bool {
    static SEVERAL: Once<bool> = Once::new();
    *SEVERAL.get_or_init(|| std::thread::available_parallelism().is_ok_and(|n| n.get() > 1))
}

thread_local! {
    static SKIPS_LEFT: Cell<u32> = const { Cell::new(0) };
}

/// Whether an idle thread yields before it parks, where no thread spins because there is a single
/// CPU.
///
/// There, a woken thread takes the CPU from the thread that submits tasks, finds one task and parks,
/// and the next task wakes it again. A yield instead lets the submitter go on, until it waits or its
/// time is up. But it may let a third program run for its whole time, which a woken thread would
/// not have to wait for. The thread can't tell before, so it judges by what it finds afterwards: if a
/// yield took long and at most one task has come, it parks the next times at once.
pub(crate) struct Yields {
    /// The number of times to park at once.
    skips_left: u32,
    /// The number after the next yield that was not worth it.
    skips: u32,
}

impl Yields {
    const MIN_SKIPS: u32 = 16;
    const MAX_SKIPS: u32 = 4096;
    /// Some changes of threads that end with this one take less.
    const LONG: Duration = Duration::from_micros(200);

    pub(crate) fn new() -> Yields {
        let skips_left = if has_other_cpus() { u32::MAX } else { 0 };
        Yields { skips_left, skips: Self::MIN_SKIPS }
    }

    /// Returns whether the thread is to yield now.
    #[inline]
    pub(crate) fn may_yield(&mut self) -> bool {
        match self.skips_left {
            0 => true,
            u32::MAX => false,
            _ => {
                self.skips_left -= 1;
                false
            }
        }
    }

    /// Records how long a yield took, and whether several tasks have come meanwhile.
    pub(crate) fn record(&mut self, took: Duration, have_several_come: bool) {
        if have_several_come {
            self.skips = Self::MIN_SKIPS;
        } else if took > Self::LONG {
            self.skips_left = self.skips;
            self.skips = (self.skips * 4).min(Self::MAX_SKIPS);
        }
    }
}

/// Spins for a moment. Returns whether `ready` has returned true.
pub(crate) fn until(mut ready: impl FnMut() -> bool) -> bool {
    if ready() {
        return true;
    }
    if !has_other_cpus() {
        return false;
    }
    let skips_left = SKIPS_LEFT.get();
    if skips_left > 0 {
        SKIPS_LEFT.set(skips_left - 1);
        return false;
    }
    let mut spin = || {
        (0..SPINS).any(|_| {
            std::hint::spin_loop();
            ready()
        })
    };
    if spin() {
        return true;
    }
    let begin = Instant::now();
    let mut before = begin;
    loop {
        std::thread::yield_now();
        let now = Instant::now();
        if spin() {
            return true;
        }
        if now - before > EMPTY_YIELD {
            SKIPS_LEFT.set(SKIPS);
            return false;
        }
        if now - begin > MAX_SPIN {
            return false;
        }
        // Spinning is not part of the time of the next yield.
        before = Instant::now();
    }
}

/// The shortest and the longest window in nanoseconds.
const MIN_WINDOW: u64 = 3_000;
pub(crate) const MAX_WINDOW: u64 = 48_000;
/// After this many nanoseconds, a spinning thread yields between checks.
pub(crate) const YIELD_AFTER: u64 = 2_000;

/// An adaptive spin window. See the module documentation.
pub(crate) struct SpinWindow {
    /// How long the next spin may take, in nanoseconds; 0 disables spinning.
    window: u64,
}

impl SpinWindow {
    pub(crate) fn new(has_other_cpus: bool) -> Self {
        SpinWindow { window: if has_other_cpus { MAX_WINDOW } else { 0 } }
    }

    /// Spins until `found` returns true, given the elapsed nanoseconds. Returns `false` on timeout.
    pub(crate) fn spin(&mut self, found: impl FnMut(u64) -> bool) -> bool {
        if self.window == 0 {
            return false;
        }
        let found_it = spin_for(self.window, found, std::thread::yield_now);
        self.window = next_window(self.window, found_it);
        found_it
    }
}

/// Returns the next window after a spin with or without success.
pub(crate) fn next_window(window: u64, found: bool) -> u64 {
    match found {
        true => (window * 2).min(MAX_WINDOW),
        false => (window / 2).max(MIN_WINDOW),
    }
}

/// Spins for at most `window` nanoseconds. Between checks, `yield_cpu` gives up the CPU.
pub(crate) fn spin_for(
    window: u64,
    mut found: impl FnMut(u64) -> bool,
    mut yield_cpu: impl FnMut(),
) -> bool {
    const CHECKS_PER_CLOCK_READ: u32 = 8;
    let start = Instant::now();
    let since_start = || u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX);
    let mut elapsed = 0;
    loop {
        for _ in 0..CHECKS_PER_CLOCK_READ {
            if found(elapsed) {
                return true;
            }
            std::hint::spin_loop();
        }
        elapsed = since_start();
        if elapsed >= window {
            return false;
        }
        if elapsed >= YIELD_AFTER {
            yield_cpu();
            // Check once more, however long the yield took.
            elapsed = since_start().min(window - 1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread::yield_now;

    #[test]
    fn yields_stop_for_longer_and_longer_while_they_are_not_worth_it() {
        let mut yields = Yields { skips_left: 0, skips: Yields::MIN_SKIPS };
        let (short, long) = (Yields::LONG, Yields::LONG * 10);
        let skipped = |yields: &mut Yields| (0..).take_while(|_: &u32| !yields.may_yield()).count();
        // A short one costs nothing, whatever it has brought.
        yields.record(short, false);
        assert_eq!(skipped(&mut yields), 0);
        for expected in [16, 64, 256, 1024, 4096, 4096] {
            yields.record(long, false);
            assert_eq!(skipped(&mut yields), expected);
        }
        yields.record(long, true);
        assert_eq!(skipped(&mut yields), 0);
        yields.record(long, false);
        assert_eq!(skipped(&mut yields), 16);
    }

    #[test]
    fn window_shrinks_on_failure_and_grows_on_success() {
        let mut spin = SpinWindow::new(true);
        for _ in 0..20 {
            assert!(!spin.spin(|_| false));
        }
        assert_eq!(spin.window, MIN_WINDOW);
        for _ in 0..20 {
            assert!(spin.spin(|_| true));
        }
        assert_eq!(spin.window, MAX_WINDOW);
    }

    #[test]
    fn single_cpu_never_spins() {
        let mut spin = SpinWindow::new(false);
        assert!(!spin.spin(|_| unreachable!("there is no other thread to wait for")));
        assert_eq!(spin.window, 0);
    }

    #[test]
    fn spin_passes_the_elapsed_time() {
        let long_enough = || {
            let mut last = 0;
            let found = |elapsed| {
                assert!(elapsed >= last);
                last = elapsed;
                elapsed > YIELD_AFTER
            };
            spin_for(u64::MAX, found, yield_now)
        };
        // This takes some attempts while other threads want the CPU.
        assert!((0..100_000).any(|_| long_enough()));
        let never = |elapsed| {
            assert!(elapsed < MIN_WINDOW);
            false
        };
        assert!(!spin_for(MIN_WINDOW, never, yield_now));
    }
}
