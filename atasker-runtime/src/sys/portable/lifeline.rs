//! Detects the end of a thread of this process, whatever caused it, as `join` does.

use std::io;

/// The watched thread. It must neither be detached nor be joined elsewhere.
pub(crate) struct Lifeline(libc::pthread_t);

// SAFETY: a `pthread_t` identifies a thread, also for other threads of the process.
unsafe impl Send for Lifeline {}
// SAFETY: as above.
unsafe impl Sync for Lifeline {}

impl Lifeline {
    /// Creates a lifeline of the calling thread.
    pub(crate) fn hold() -> io::Result<&'static Lifeline> {
        // SAFETY: `pthread_self` has no preconditions.
        let thread = unsafe { libc::pthread_self() };
        Ok(Box::leak(Box::new(Lifeline(thread))))
    }

    /// Blocks until the thread has ended. Called once. Returns `false` if waiting failed.
    pub(crate) fn wait(&self) -> bool {
        // SAFETY: the thread is joinable, and joined here alone; its result is not used.
        unsafe { libc::pthread_join(self.0, std::ptr::null_mut()) == 0 }
    }
}
