//! The time of a supervisor by both clocks.

use std::time::{Instant, SystemTime};

use crate::id::SchedulerKey;
use crate::time::source;

/// Both clocks, read together.
#[derive(Clone, Copy, Debug)]
pub(super) struct Now {
    pub(super) monotonic: Instant,
    pub(super) wall: SystemTime,
}

impl Now {
    pub(super) fn read(owner: Option<SchedulerKey>) -> Now {
        Now { monotonic: source::now(owner), wall: source::wall(owner) }
    }
}
