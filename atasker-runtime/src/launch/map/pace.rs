//! When a thread that runs items reads the clock: after a few items if they are short, else after
//! each.

use std::time::{Duration, Instant};

/// See the module documentation.
pub(super) struct Pace {
    last: Instant,
    items: u32,
    /// The number of items after which it is read.
    step: u32,
}

impl Pace {
    /// Reading the clock takes about as long as a very short item.
    const MOST_ITEMS: u32 = 16;
    const LONG: Duration = Duration::from_micros(20);

    pub(super) fn new() -> Self {
        Pace { last: Instant::now(), items: 0, step: 1 }
    }

    /// Records an item. Returns the time per item if it has read the clock.
    #[inline]
    pub(super) fn measure(&mut self) -> Option<Duration> {
        self.items += 1;
        if self.items < self.step {
            return None;
        }
        let now = Instant::now();
        let elapsed = now.saturating_duration_since(self.last);
        let per_item = elapsed / self.items;
        self.step = if elapsed > Self::LONG { 1 } else { (2 * self.step).min(Self::MOST_ITEMS) };
        (self.last, self.items) = (now, 0);
        Some(per_item)
    }
}
