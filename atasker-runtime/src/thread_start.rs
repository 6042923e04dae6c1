//! What a thread that runs tasks does first: nothing, but in a worker process, which looks after
//! the stacks of all of them. The places don't know each other; this is where they meet.

use std::sync::OnceLock;

static FIRST: OnceLock<fn()> = OnceLock::new();

/// Has every thread of a place do this first, from now on.
#[cfg_attr(not(feature = "mp"), allow(dead_code))]
pub(crate) fn set(first: fn()) {
    let _ = FIRST.set(first);
}

/// To be called where such a thread begins.
pub(crate) fn thread_starts() {
    if let Some(first) = FIRST.get() {
        first();
    }
}
