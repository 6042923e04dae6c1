//! The pause before another attempt to start a thread or a worker process.

use std::time::Duration;

/// The pause after the first failure.
const FIRST: Duration = Duration::from_millis(20);

/// Returns the pause after this many failures in a row. It doubles with each, up to `max`.
pub(crate) fn backoff(failures: u32, max: Duration) -> Duration {
    FIRST.saturating_mul(2u32.saturating_pow(failures.saturating_sub(1))).min(max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backoff_doubles_up_to_the_maximum() {
        let max = Duration::from_secs(1);
        let pauses: Vec<u128> = (0..9).map(|n| backoff(n, max).as_millis()).collect();
        assert_eq!(pauses, [20, 20, 40, 80, 160, 320, 640, 1000, 1000]);
        assert_eq!(backoff(u32::MAX, max), max);
    }
}
