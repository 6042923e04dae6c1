//! How many short calls are worth taking in advance.

use std::time::Duration;

/// Calls that take less are taken in advance.
const SHORT: Duration = Duration::from_millis(5);

/// As many as are likely to end within this time.
const AHEAD: Duration = Duration::from_millis(20);

/// The most.
const MOST: usize = 512;

/// Runs that are looked at before anything is taken in advance.
const WARM_UP: u32 = 4;

/// The pace of a node: the mean time of its runs, in which later ones weigh more.
#[derive(Debug)]
pub(super) struct Pace {
    slots: usize,
    most: usize,
    runs: u32,
    /// In seconds.
    mean: f64,
}

impl Pace {
    pub(super) fn new(slots: usize, most: Option<usize>) -> Pace {
        Pace { slots: slots.max(1), most: most.unwrap_or(MOST), runs: 0, mean: 0.0 }
    }

    pub(super) fn ran(&mut self, took: Duration) {
        self.runs = self.runs.saturating_add(1);
        let weight = 1.0 / f64::from(self.runs.min(16));
        self.mean += (took.as_secs_f64() - self.mean) * weight;
    }

    /// Returns how many calls may be held that have not begun.
    pub(super) fn in_advance(&self) -> usize {
        if self.runs < WARM_UP || self.mean >= SHORT.as_secs_f64() {
            return 0;
        }
        let per_slot = AHEAD.as_secs_f64() / self.mean.max(1e-6);
        ((per_slot * self.slots as f64) as usize).min(self.most)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_runs_are_taken_in_advance() {
        let mut pace = Pace::new(2, None);
        assert_eq!(pace.in_advance(), 0);
        for _ in 0..50 {
            pace.ran(Duration::from_millis(1));
        }
        let ahead = pace.in_advance();
        assert!((39..=40).contains(&ahead), "{ahead}");
        // One long run ends that at once.
        pace.ran(Duration::from_millis(200));
        assert_eq!(pace.in_advance(), 0);
    }

    #[test]
    fn the_setting_bounds_it() {
        let mut pace = Pace::new(8, Some(3));
        let mut never = Pace::new(8, Some(0));
        for _ in 0..10 {
            pace.ran(Duration::ZERO);
            never.ran(Duration::ZERO);
        }
        assert_eq!((pace.in_advance(), never.in_advance()), (3, 0));
    }
}
