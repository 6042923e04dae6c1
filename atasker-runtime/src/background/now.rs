//! The time by both clocks.

use std::time::{Instant, SystemTime};

/// Both clocks, read together.
#[derive(Clone, Copy, Debug)]
pub(super) struct Now {
    pub(super) monotonic: Instant,
    pub(super) wall: SystemTime,
}

impl Now {
    pub(super) fn read() -> Now {
        Now { monotonic: Instant::now(), wall: SystemTime::now() }
    }
}
