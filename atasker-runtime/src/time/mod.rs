//! Time: what a task records, and what happens later.
//!
//! | file | content |
//! |---|---|
//! | `clock` | stamps of the real time |
//! | `timer` | what happens later, by the real time |
//! | `source` | the time of a supervisor, which a test may pause |
//! | `own_clock`, `activity` | such a clock, and what an advance of it waits for |
//! | `backoff` | the pause before another attempt to start a thread or a worker process |

pub(crate) mod activity;
pub(crate) mod backoff;
pub(crate) mod clock;
pub(crate) mod duration_syntax;
mod own_clock;
pub(crate) mod source;
pub(crate) mod timer;

pub(crate) use own_clock::{Move, Reading};
