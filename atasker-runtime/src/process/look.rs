//! How long a thread looks for what it waits for before it sleeps.
//!
//! To wake a thread costs both sides some microseconds, many where its CPU sleeps, too; looking
//! costs a CPU. So a thread looks for about as long as a wake-up takes: less after looks in vain,
//! more after those that found something, and not at all where nobody else could run meanwhile.
//! In between it makes room for whoever waits for the CPU. (To sleep at once where somebody did gave a
//! tenth more calls where many are under way, and cost single ones their looks: a trip of 1 us was
//! one of 7 us whenever anything else ran.)

use crate::sys::link::monotonic;

/// The shortest and the longest look, in nanoseconds.
const LEAST: u64 = 3_000;
pub(super) const MOST: u64 = 48_000;
/// After so long a thread makes room in between.
pub(super) const ALONE: u64 = 2_000;

/// See the module's documentation.
pub(super) struct Look {
    /// How long the next look may take; 0: there is none.
    window: u64,
}

impl Look {
    pub(super) fn new(several_cpus: bool) -> Self {
        Look { window: if several_cpus { MOST } else { 0 } }
    }

    /// Looks until `found` says yes; it is told how many nanoseconds have passed. False: not in time.
    pub(super) fn look(&mut self, found: impl FnMut(u64) -> bool) -> bool {
        if self.window == 0 {
            return false;
        }
        let was = look_for(self.window, found, std::thread::yield_now);
        self.window = next(self.window, was);
        was
    }
}

/// The window after one in which something was found, or not.
pub(super) fn next(window: u64, found: bool) -> u64 {
    match found {
        true => (window * 2).min(MOST),
        false => (window / 2).max(LEAST),
    }
}

/// Looks for so many nanoseconds. `make_room` yields.
pub(super) fn look_for(
    window: u64,
    mut found: impl FnMut(u64) -> bool,
    mut make_room: impl FnMut(),
) -> bool {
    const LOOKS: u32 = 8;
    let begin = monotonic();
    let mut passed = 0;
    loop {
        for _ in 0..LOOKS {
            if found(passed) {
                return true;
            }
            std::hint::spin_loop();
        }
        passed = monotonic() - begin;
        if passed >= window {
            return false;
        }
        if passed >= ALONE {
            make_room();
            // Once more, however long that took.
            passed = (monotonic() - begin).min(window - 1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread::yield_now;

    #[test]
    fn looks_in_vain_get_shorter_and_others_longer() {
        let mut look = Look::new(true);
        for _ in 0..20 {
            assert!(!look.look(|_| false));
        }
        assert_eq!(look.window, LEAST);
        for _ in 0..20 {
            assert!(look.look(|_| true));
        }
        assert_eq!(look.window, MOST);
    }

    #[test]
    fn nobody_looks_on_one_cpu() {
        let mut look = Look::new(false);
        assert!(!look.look(|_| unreachable!("there is nobody to wait for")));
        assert_eq!(look.window, 0);
    }

    #[test]
    fn a_look_is_told_how_long_it_has_taken() {
        let long_enough = || {
            let mut last = 0;
            let found = |passed| {
                assert!(passed >= last);
                last = passed;
                passed > ALONE
            };
            look_for(u64::MAX, found, yield_now)
        };
        // Where others want the CPU, it takes some tries.
        assert!((0..100_000).any(|_| long_enough()));
        let in_vain = |passed| {
            assert!(passed < LEAST);
            false
        };
        assert!(!look_for(LEAST, in_vain, yield_now));
    }
}
