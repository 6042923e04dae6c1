//! The pauses between the attempts of a task, as a pure rule.

use std::time::Duration;

/// Pauses that grow with each attempt of a task that is run again, for
/// [`TaskBuilder::backoff`](crate::TaskBuilder::backoff).
///
/// The first pause is `min`. Each further one is `factor` times as long (default: 2), and `max` at
/// most. With jitter, which is on by default, a pause has a random length between half of that
/// and all of it, so that tasks which have failed together are not run again together.
///
/// ```
/// # use atasker_runtime as atasker;
/// use std::time::Duration;
/// use atasker::{Backoff, TaskBuilder};
///
/// const BACKOFF: Backoff =
///     Backoff::exponential(Duration::from_millis(1), Duration::from_millis(5)).jitter(false);
/// assert_eq!(BACKOFF.pause(1), Duration::from_millis(1)); // after the first attempt
/// assert_eq!(BACKOFF.pause(2), Duration::from_millis(2));
/// assert_eq!(BACKOFF.pause(3), Duration::from_millis(4));
/// assert_eq!(BACKOFF.pause(4), Duration::from_millis(5));
///
/// let mut attempts = 0;
/// let task = TaskBuilder::repeatable(move || {
///     attempts += 1;
///     assert!(attempts > 2, "not yet");
///     attempts
/// })
/// .retries(5)
/// .backoff(BACKOFF)
/// .start();
/// assert_eq!(task.join().unwrap(), 3);
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
#[must_use = "a back-off does nothing until it is given to a task"]
pub struct Backoff {
    min: Duration,
    max: Duration,
    factor: f64,
    jitter: bool,
}

impl Backoff {
    /// Creates a back-off whose pauses begin at `min` and double up to `max`, with jitter.
    ///
    /// # Panics
    ///
    /// Panics if `min` is longer than `max`. In a constant, that is a compile error.
    #[track_caller]
    pub const fn exponential(min: Duration, max: Duration) -> Self {
        assert!(
            min.as_nanos() <= max.as_nanos(),
            "the shortest pause of a back-off is longer than the longest: \
             write `Backoff::exponential(min, max)`"
        );
        Backoff { min, max, factor: 2.0, jitter: true }
    }

    /// Sets how many times as long as the one before each pause is (default: 2).
    ///
    /// # Panics
    ///
    /// Panics if `factor` is below 1, or not a number. In a constant, that is a compile error.
    #[track_caller]
    pub const fn factor(mut self, factor: f64) -> Self {
        assert!(factor >= 1.0, "the factor of a back-off is at least 1");
        self.factor = factor;
        self
    }

    /// Sets whether pauses have a random length between half of their full length and all of it
    /// (default: true).
    pub const fn jitter(mut self, jitter: bool) -> Self {
        self.jitter = jitter;
        self
    }

    /// Returns the pause after the attempt with this number, counted from 1. With jitter, each call
    /// returns another one.
    ///
    /// ```
    /// # use atasker_runtime as atasker;
    /// use std::time::Duration;
    /// use atasker::Backoff;
    /// let backoff = Backoff::exponential(Duration::from_millis(100), Duration::from_secs(30));
    /// let pause = backoff.pause(3);
    /// assert!(pause >= Duration::from_millis(200) && pause <= Duration::from_millis(400));
    /// ```
    pub fn pause(&self, attempt: u32) -> Duration {
        let full = self.full_pause(attempt);
        if !self.jitter {
            return full;
        }
        let half = full / 2;
        // Rounded, so the sum might exceed the full pause by a nanosecond.
        half.saturating_add(half.mul_f64(fastrand::f64())).min(full)
    }

    /// Returns the first pause, the longest one, the factor, and whether pauses are random.
    #[cfg(feature = "remote")]
    pub(crate) fn parts(&self) -> (Duration, Duration, f64, bool) {
        (self.min, self.max, self.factor, self.jitter)
    }

    /// Returns the pause without jitter after the attempt with this number, for parts that another
    /// machine has sent.
    #[cfg(feature = "remote")]
    pub(crate) fn full_pause_of(
        min: Duration,
        max: Duration,
        factor: f64,
        attempt: u32,
    ) -> Duration {
        let factor = if factor >= 1.0 { factor } else { 1.0 };
        Backoff { min, max: max.max(min), factor, jitter: false }.full_pause(attempt)
    }

    /// Returns the pause without jitter.
    fn full_pause(&self, attempt: u32) -> Duration {
        let steps = attempt.saturating_sub(1);
        if steps == 0 {
            return self.min;
        }
        // Not `powi`: its rounding errors grow with the exponent, so that a pause could be shorter
        // than the one before if the factor is close to 1. A product of the exponent is rounded
        // once, which keeps the order. The power may be infinite.
        let power = (self.factor.log2() * f64::from(steps)).exp2();
        Duration::try_from_secs_f64(self.min.as_secs_f64() * power)
            // Too long for a `Duration`, or zero times infinity.
            .unwrap_or(if self.min.is_zero() { self.min } else { self.max })
            .clamp(self.min, self.max)
    }
}

#[cfg(all(test, not(atasker_loom)))]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn default_doubles_with_jitter() {
        let backoff = Backoff::exponential(100 * MS, 30_000 * MS);
        assert_eq!(backoff, backoff.factor(2.0).jitter(true));
        let exact: Vec<_> = (0..=12).map(|n| backoff.jitter(false).pause(n).as_millis()).collect();
        let expected =
            [100, 100, 200, 400, 800, 1600, 3200, 6400, 12800, 25600, 30000, 30000, 30000];
        assert_eq!(exact, expected);
        let differing = (0..100).map(|_| backoff.pause(5)).filter(|p| *p != backoff.pause(5));
        assert!(differing.count() > 90);
    }

    #[test]
    fn factors_are_exact_to_the_nanosecond() {
        let pauses = |factor: f64| {
            let backoff = Backoff::exponential(100 * MS, 3600 * 1000 * MS).factor(factor);
            (1..=5).map(move |n| backoff.jitter(false).pause(n).as_nanos()).collect::<Vec<_>>()
        };
        assert_eq!(pauses(1.0), [100_000_000; 5]);
        assert_eq!(pauses(1.5), [100_000_000, 150_000_000, 225_000_000, 337_500_000, 506_250_000]);
        assert_eq!(
            pauses(3.0),
            [100_000_000, 300_000_000, 900_000_000, 2_700_000_000, 8_100_000_000]
        );
        assert_eq!(pauses(10.0)[4], 1_000_000_000_000);
    }

    #[test]
    fn extreme_values_saturate() {
        let all = Backoff::exponential(Duration::ZERO, Duration::MAX);
        for attempt in [0, 1, 2, 3, 1_000, u32::MAX] {
            assert_eq!(all.factor(f64::INFINITY).pause(attempt), Duration::ZERO);
            let longest = Backoff::exponential(Duration::MAX, Duration::MAX);
            assert!(longest.pause(attempt) >= Duration::MAX / 2);
            assert_eq!(longest.jitter(false).factor(1e300).pause(attempt), Duration::MAX);
        }
        let soon = Backoff::exponential(MS, Duration::MAX).jitter(false);
        assert_eq!(soon.pause(u32::MAX), Duration::MAX);
        assert_eq!(soon.factor(f64::INFINITY).pause(2), Duration::MAX);
        assert_eq!(soon.factor(f64::INFINITY).pause(1), MS);
    }

    #[test]
    fn impossible_values_are_rejected() {
        use std::panic::catch_unwind;
        assert!(catch_unwind(|| Backoff::exponential(2 * MS, MS)).is_err());
        for factor in [0.99, 0.0, -1.0, f64::NAN, f64::NEG_INFINITY] {
            let backoff = Backoff::exponential(MS, MS);
            assert!(catch_unwind(|| backoff.factor(factor)).is_err(), "{factor}");
        }
    }

    fn any_backoff() -> impl Strategy<Value = Backoff> {
        let duration = prop_oneof![
            (0..=10_000_000_000u64).prop_map(Duration::from_nanos),
            any::<u64>().prop_map(Duration::from_nanos),
            any::<u64>().prop_map(Duration::from_secs),
        ];
        let factor = prop_oneof![
            Just(1.0),
            1.0..1.000_000_1f64,
            1.0..10.0f64,
            1.0..1e9f64,
            (0..64u64).prop_map(|ulps| f64::from_bits(1f64.to_bits() + ulps)),
        ];
        (duration.clone(), duration, factor)
            .prop_map(|(a, b, factor)| Backoff::exponential(a.min(b), a.max(b)).factor(factor))
    }

    proptest! {
        #[test]
        fn pauses_never_shrink_without_jitter(
            backoff in any_backoff(),
            first in prop_oneof![0..100u32, any::<u32>()],
        ) {
            let backoff = backoff.jitter(false);
            let mut before = backoff.pause(first);
            prop_assert!(before >= backoff.min && before <= backoff.max);
            for more in 1..50 {
                let pause = backoff.pause(first.saturating_add(more));
                prop_assert!(pause >= before && pause <= backoff.max, "{before:?} {pause:?}");
                before = pause;
            }
        }

        #[test]
        fn jitter_takes_up_to_half(backoff in any_backoff(), attempt: u32) {
            let full = backoff.jitter(false).pause(attempt);
            for _ in 0..20 {
                let pause = backoff.pause(attempt);
                prop_assert!(pause >= full / 2 && pause <= full, "{pause:?} of {full:?}");
            }
        }

        #[test]
        fn pauses_follow_the_factor(ms in 1..1_000u64, factor in 1.0..4.0f64, attempt in 1..12u32) {
            let min = Duration::from_millis(ms);
            let backoff = Backoff::exponential(min, Duration::MAX).factor(factor).jitter(false);
            let expected = min.as_secs_f64() * factor.powi(attempt as i32 - 1);
            let pause = backoff.pause(attempt).as_secs_f64();
            prop_assert!((pause - expected).abs() <= 2e-9 + expected * 1e-12, "{pause} {expected}");
        }
    }

    #[cfg(feature = "remote")]
    #[test]
    fn parts_make_the_same_pauses() {
        let (min, max) = (Duration::from_millis(3), Duration::from_secs(5));
        let backoff = Backoff::exponential(min, max).factor(1.7).jitter(false);
        let (min, max, factor, _) = backoff.parts();
        for attempt in 1..20 {
            assert_eq!(Backoff::full_pause_of(min, max, factor, attempt), backoff.pause(attempt));
        }
        // Nothing that is received panics.
        for factor in [f64::NAN, -1.0, 0.0, f64::INFINITY] {
            let pause = Backoff::full_pause_of(max, min, factor, u32::MAX);
            assert_eq!(pause, max);
        }
    }
}
