//! Time: what a task records, and what happens later.

pub(crate) mod backoff;
pub(crate) mod clock;
pub(crate) mod duration_syntax;
pub(crate) mod timer;
