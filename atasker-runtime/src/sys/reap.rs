//! What is known about the life and death of a worker process, on each system.

use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec};

use crate::error::DeathCause;

#[cfg_attr(not(feature = "mp"), allow(unused_imports))]
pub(crate) use crate::sys::system::process::{Process, spawn_copy};

/// Why a worker process ends by a signal, in a byte that it writes itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum CrashHint {
    None,
    /// A stack has overflowed.
    Overflow,
    /// The thread that runs its tasks has ended, while the process has not.
    ThreadEnded,
    /// An allocation failed in a process with a memory limit.
    Memory,
}

impl CrashHint {
    pub(crate) const OVERFLOW: u8 = 1;
    pub(crate) const THREAD_ENDED: u8 = 2;
    pub(crate) const MEMORY: u8 = 3;

    pub(crate) fn decode(byte: u8) -> Self {
        match byte {
            Self::OVERFLOW => CrashHint::Overflow,
            Self::THREAD_ENDED => CrashHint::ThreadEnded,
            Self::MEMORY => CrashHint::Memory,
            _ => CrashHint::None,
        }
    }
}

/// Where the standard output and error of a copy go.
#[derive(Debug)]
pub(crate) enum Output {
    /// To those of the program.
    Inherit,
    Null,
    To(OwnedFd, OwnedFd),
}

/// Whether a process has ended, whose [`Process::end`] this is.
pub(crate) fn has_ended(end: &OwnedFd) -> bool {
    poll(end, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }))
}

/// Whether a process, whose [`Process::end`] this is, ends within this time.
pub(crate) fn ends_within(end: &OwnedFd, time: Duration) -> bool {
    let time = Timespec { tv_sec: time.as_secs() as _, tv_nsec: time.subsec_nanos() as _ };
    poll(end, Some(&time))
}

/// Blocks until a process has ended, whose [`Process::end`] this is.
pub(crate) fn wait_for_end(end: &OwnedFd) {
    poll(end, None);
}

pub(super) fn poll(end: &OwnedFd, timeout: Option<&Timespec>) -> bool {
    loop {
        let mut fds = [PollFd::new(end, PollFlags::IN)];
        match rustix::event::poll(&mut fds, timeout) {
            Ok(count) => return count > 0,
            Err(rustix::io::Errno::INTR) => {}
            Err(_) => return false,
        }
    }
}

/// Repeats a system call while it is interrupted.
pub(super) fn retry<T>(mut f: impl FnMut() -> rustix::io::Result<T>) -> rustix::io::Result<T> {
    loop {
        match f() {
            Err(rustix::io::Errno::INTR) => {}
            other => return other,
        }
    }
}

/// The cause of death of a process, by its exit status. `None` stands for a status that another
/// waiter has collected: SIGCHLD is ignored, or the program waits for any child.
pub(super) fn cause_of_death(
    status: Option<rustix::process::WaitIdStatus>,
    crash_hint: impl FnOnce() -> CrashHint,
) -> DeathCause {
    let Some(status) = status else {
        return DeathCause::Other(
            "it ended, but its exit status was collected by other code".into(),
        );
    };
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => DeathCause::Exit(code),
        (_, Some(signal)) => match crash_hint() {
            CrashHint::Overflow => DeathCause::StackOverflow(signal),
            CrashHint::Memory if signal == libc::SIGABRT => DeathCause::MemoryLimit(signal),
            CrashHint::ThreadEnded => DeathCause::Other("its task thread has ended".into()),
            CrashHint::None | CrashHint::Memory => DeathCause::Signal(signal),
        },
        _ => DeathCause::Other("it ended in an unknown way".into()),
    }
}
