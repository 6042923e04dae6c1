//! Functions that are called when the process exits in order.

/// Has `f` called when `main` returns or `exit` is called, at most once. A process that is ended by
/// a signal does not call it. A copy made by `fork` does when it exits.
#[cfg_attr(not(feature = "progress"), allow(dead_code))]
pub(crate) fn at_exit(f: extern "C" fn()) {
    // SAFETY: the function is part of this program or library, and the C library calls it before it
    // unloads that. An error means that there is no memory, and then it is not called.
    unsafe { libc::atexit(f) };
}
