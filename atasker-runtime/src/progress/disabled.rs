//! Progress bars of a program without the feature `progress`: there are none.

use crate::id::TaskId;
use crate::task::TaskArc;

/// The bar of a waiter.
pub(crate) struct Meter;

impl Meter {
    /// No bar.
    pub(crate) const NONE: Meter = Meter;

    #[inline]
    pub(crate) fn add(&mut self, _position: usize, _task: impl FnOnce() -> TaskArc) {}

    #[inline]
    pub(crate) fn end(&mut self) {}
}

#[inline]
pub(crate) fn report_changed() {}

#[inline]
pub(crate) fn end_of(_task: impl FnOnce() -> TaskId) {}

/// Calls a wait with a progress bar.
#[doc(hidden)]
#[macro_export]
macro_rules! __wait_with_progress {
    ($($any:tt)*) => {
        ::core::compile_error!(
            "a wait with `progress` needs the feature `progress` of the crate `atasker`"
        )
    };
}
