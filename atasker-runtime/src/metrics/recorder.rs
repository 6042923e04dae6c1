//! Access to the global recorder.
//!
//! The facade lends the recorder of the current thread: the global one, unless the thread has a
//! local one. The thread of the timer never has. On other threads a local recorder can't be
//! recognized, except that its address is not the one that the timer has seen.

use ::metrics::Recorder;

/// Returns the address of the recorder of this thread.
///
/// A recorder that is installed stays installed, so its address is not reused. Until then the
/// facade lends a static one that does nothing.
#[inline]
pub(super) fn address() -> usize {
    ::metrics::with_recorder(address_of)
}

/// Returns whether no recorder is installed, on this thread or globally.
///
/// What the facade lends then is a static value without a size. A recorder of a user that has no
/// size either is in a box, and an empty box has no distinct address.
pub(super) fn is_none() -> bool {
    const LEAST_ADDRESS: usize = 1 << 16;
    ::metrics::with_recorder(|recorder| {
        size_of_val(recorder) == 0 && address_of(recorder) >= LEAST_ADDRESS
    })
}

fn address_of(recorder: &dyn Recorder) -> usize {
    std::ptr::from_ref(recorder).cast::<()>() as usize
}

/// Calls `f` on this thread, or on a new one if the recorder of this thread may be a local one:
/// unless its address is `known`, that of the global recorder.
pub(super) fn with_global(known: usize, f: impl FnOnce() + Send) {
    if address() == known {
        return f();
    }
    let f = crate::sync::lock::Mutex::new(Some(f));
    let call = || {
        let f = f.lock().take();
        if let Some(f) = f {
            f();
        }
    };
    let is_done = std::thread::scope(|scope| {
        let name = "atasker metrics".to_owned();
        std::thread::Builder::new().name(name).spawn_scoped(scope, call).is_ok()
    });
    if !is_done {
        // The system can't start a thread.
        call();
    }
}
