//! A hook for the start of threads that run tasks. Worker processes use it to register the stacks
//! of these threads. It has a separate module because places do not depend on each other.

use std::sync::OnceLock;

static HOOK: OnceLock<fn()> = OnceLock::new();

/// Sets the hook for all threads started from now on.
#[cfg_attr(not(feature = "mp"), allow(dead_code))]
pub(crate) fn set_hook(hook: fn()) {
    let _ = HOOK.set(hook);
}

/// Runs the hook. Called at the start of every thread that runs tasks.
pub(crate) fn on_thread_start() {
    if let Some(hook) = HOOK.get() {
        hook();
    }
}
