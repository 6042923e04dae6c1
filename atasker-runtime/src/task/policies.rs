//! What few tasks have: a back-off, an expiry, a unique key.

use std::time::Duration;

use crate::backoff::Backoff;
use crate::task::unique::UniqueSlot;

/// The policies of a task. Set by the builder.
#[derive(Default)]
pub(crate) struct Policies {
    /// The pauses between attempts, instead of the same pause each time.
    pub(crate) backoff: Option<Backoff>,
    /// How long after it was queued the first attempt must have begun.
    pub(crate) expires: Option<Duration>,
    /// The key of which no other task of this name may be live.
    pub(crate) unique: UniqueSlot,
}
