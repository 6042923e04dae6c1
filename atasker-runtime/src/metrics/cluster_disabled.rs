//! What takes the place of `cluster` in a program without the feature `remote`.

use std::time::Duration;

use super::gauges::Refresh;
use super::series::Pass;
use crate::observe::observer::TaskEvent;
use crate::supervisor::Core;

/// Never used, because nothing is joined.
pub(super) const EVERY: Duration = Duration::MAX;

pub(super) struct Facts;

impl Facts {
    pub(super) fn new() -> Self {
        Facts
    }

    pub(super) fn begun(&self, _task: &TaskEvent<'_>) {}

    pub(super) fn over(&self, _task: &TaskEvent<'_>) {}

    pub(super) fn running(&self, _sample: &Sample) -> Option<usize> {
        None
    }

    pub(super) fn take_lost(&self) -> u64 {
        0
    }
}

#[derive(Clone, Default, PartialEq, Debug)]
pub(super) struct Sample {
    pub(super) is_joined: bool,
    pub(super) is_under_way: bool,
}

impl Sample {
    pub(super) fn of(_core: &Core) -> Sample {
        Sample::default()
    }
}

#[derive(Default)]
pub(super) struct Series;

impl Series {
    pub(super) fn count(&mut self, _pass: &mut Pass<'_>, _lost: u64, _sample: Option<&Sample>) {}

    pub(super) fn write(&mut self, _pass: &mut Pass<'_>, _sample: &Sample, _: Refresh) -> bool {
        false
    }
}
