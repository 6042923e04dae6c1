//! The time of a supervisor by both clocks.

use std::cell::OnceCell;
use std::time::{Instant, SystemTime};

use crate::id::SchedulerKey;
use crate::time::source;

/// One moment by both clocks. The wall clock is read once, when it is needed first: most schedules
/// don't depend on it.
#[derive(Clone, Debug)]
pub(super) struct Now {
    pub(super) monotonic: Instant,
    wall: OnceCell<SystemTime>,
    owner: Option<SchedulerKey>,
}

impl Now {
    pub(super) fn read(owner: Option<SchedulerKey>) -> Now {
        Now { monotonic: source::now(owner), wall: OnceCell::new(), owner }
    }

    pub(super) fn wall(&self) -> SystemTime {
        *self.wall.get_or_init(|| source::wall(self.owner))
    }

    #[cfg(test)]
    pub(super) fn at(monotonic: Instant, wall: SystemTime) -> Now {
        Now { monotonic, wall: wall.into(), owner: None }
    }
}
