//! The clock by which time limits of calls are measured: that of the supervisor.
//!
//! It is the real clock, unless a test has paused the time of the supervisor. Everything else in the
//! scheduler is measured by the real clock.

use crate::time::Reading;
use crate::time::clock::Stamp;

/// See the module documentation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct LimitClock {
    /// Its time at `real`.
    at: Stamp,
    real: Stamp,
    /// It advances with the real time.
    runs: bool,
}

impl LimitClock {
    pub(crate) const REAL: LimitClock = LimitClock { at: 0, real: 0, runs: true };

    pub(crate) fn new(at: Stamp, real: Stamp, runs: bool) -> Self {
        LimitClock { at, real, runs }
    }

    pub(crate) fn is_real(self) -> bool {
        self == LimitClock::REAL
    }

    /// Returns its time at a real time.
    pub(crate) fn at(self, real: Stamp) -> Stamp {
        if !self.runs {
            self.at
        } else if real >= self.real {
            self.at.saturating_add(real - self.real)
        } else {
            self.at.saturating_sub(self.real - real)
        }
    }

    /// Returns the real time at which it shows `at`, if it runs.
    #[cfg(test)]
    pub(crate) fn real(self, at: Stamp) -> Option<Stamp> {
        self.runs.then(|| self.real.saturating_add(at.saturating_sub(self.at)))
    }
}

impl From<Reading> for LimitClock {
    fn from(reading: Reading) -> Self {
        let (at, real) = reading.stamps();
        LimitClock::new(at, real, reading.runs())
    }
}
