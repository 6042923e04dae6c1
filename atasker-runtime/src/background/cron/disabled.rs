//! Cron expressions of a program without the feature `cron`: there are none.

use std::convert::Infallible;
use std::time::{Duration, Instant, SystemTime};

use crate::background::now::Now;

/// A cron expression, which does not exist.
#[derive(Clone, Debug)]
pub(super) struct Cron(Infallible);

impl Cron {
    pub(super) fn next(&self, _now: &Now, _first: Duration) -> Option<(Instant, SystemTime)> {
        match self.0 {}
    }
}
