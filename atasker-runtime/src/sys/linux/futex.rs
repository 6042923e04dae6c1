//! Futexes in memory that two processes share.

use std::io;
use std::sync::atomic::AtomicU32;
use std::time::Duration;

use rustix::event::Timespec;
use rustix::io::Errno;
use rustix::thread::futex;

use crate::sys::ipc::WakeReason;

/// Sleeps while `word` equals `value`, for at most `timeout`.
pub(crate) fn wait(word: &AtomicU32, value: u32, timeout: Option<Duration>) -> WakeReason {
    let timeout = timeout.map(|timeout| Timespec {
        tv_sec: timeout.as_secs() as _,
        tv_nsec: timeout.subsec_nanos() as _,
    });
    // Not a private futex, because the word is in memory shared by two processes.
    match futex::wait(word, futex::Flags::empty(), value, timeout.as_ref()) {
        Err(Errno::TIMEDOUT) => WakeReason::Timeout,
        _ => WakeReason::Woken,
    }
}

/// Wakes one thread that sleeps on `word`.
pub(crate) fn wake(word: &AtomicU32) {
    let _ = futex::wake(word, futex::Flags::empty(), 1);
}

/// Checks whether futexes in shared memory work on this system.
pub(crate) fn probe(word: &AtomicU32, other_value: u32) -> io::Result<()> {
    let flags = futex::Flags::empty();
    futex::wake(word, flags, 1)?;
    match futex::wait(word, flags, other_value, None) {
        // The word has another value, so nothing sleeps.
        Ok(()) | Err(Errno::AGAIN) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
