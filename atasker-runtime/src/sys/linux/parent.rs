//! How a worker process knows its parent, and notices its end: by the credentials of the socket,
//! a pidfd, and the signal that the kernel sends when the parent ends.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open};

use crate::sys::stdio;
use crate::sys::worker::{Credentials, exit_with_group, has_parent, is_parent, set_parent};

/// Returns the creator of a socket pair. Not by rustix, because a process in another PID namespace
/// has the pid 0 here.
pub(crate) fn creator(socket: BorrowedFd<'_>) -> Option<Credentials> {
    let mut found = libc::ucred { pid: 0, uid: u32::MAX, gid: u32::MAX };
    let mut length = size_of::<libc::ucred>() as libc::socklen_t;
    let (level, option) = (libc::SOL_SOCKET, libc::SO_PEERCRED);
    // SAFETY: the pointer is to a `ucred` of this length, and any bytes are a valid value.
    let result = unsafe {
        let found = (&raw mut found).cast();
        libc::getsockopt(socket.as_raw_fd(), level, option, found, &mut length)
    };
    (result == 0 && length as usize == size_of::<libc::ucred>()).then_some(Credentials {
        pid: Some(found.pid.cast_unsigned()),
        uid: found.uid,
        gid: found.gid,
    })
}

/// Notices the end of the parent: a pidfd that is readable then, if the system supports it. It
/// covers cases that the socket does not (a process that the parent has forked holds a copy of its
/// end), and that the signal does not (it is ignored, or the process has changed its user).
#[derive(Debug)]
pub(crate) struct Parent(Option<OwnedFd>);

impl Parent {
    /// Asks the kernel to notify this process when its parent ends. The process then kills its
    /// descendants and exits. Returns an `UnexpectedEof` error if the parent has ended already.
    ///
    /// The signal is SIGHUP and not SIGKILL, because SIGKILL would end this process alone, and
    /// leave its descendants. If this process is stopped at that time, a second signal continues
    /// it: see [`continue_after_parent`].
    pub(crate) fn follow(parent: u32) -> io::Result<Parent> {
        let pid = i32::try_from(parent).ok().and_then(Pid::from_raw);
        if pid.is_none() {
            let text = "its parent is in another PID namespace: after `unshare(CLONE_NEWPID)` a program \
                        must fork before it starts worker processes";
            return Err(io::Error::other(text));
        }
        let pidfd = pid.and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok());
        let pidfd = pidfd.map(stdio::above_stdio).transpose()?;
        set_parent(parent);
        // SAFETY: all zero is a valid `sigaction`; the handler is async-signal-safe.
        unsafe {
            let mut action: libc::sigaction = MaybeUninit::zeroed().assume_init();
            action.sa_flags = libc::SA_RESTART | libc::SA_SIGINFO;
            action.sa_sigaction = on_parent_hangup as *const () as usize;
            libc::sigaction(libc::SIGHUP, &action, std::ptr::null_mut());
        }
        rustix::process::set_parent_process_death_signal(Some(Signal::HUP))?;
        // Checked last: only now is it certain that the pidfd refers to the parent.
        if has_parent() { Ok(Parent(pidfd)) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    }

    /// Like [`follow`](Self::follow), in a process that was forked from one that follows the same
    /// parent: the kernel has forgotten the signal. Must be called on a thread that lives as long as
    /// the process.
    pub(crate) fn follow_again(&self) -> io::Result<()> {
        rustix::process::set_parent_process_death_signal(Some(Signal::HUP))?;
        if has_parent() { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    }

    /// Blocks until there is something to read from the socket. Returns `false` if the parent has
    /// ended.
    pub(crate) fn wait_for_bytes(&self, socket: &OwnedFd) -> bool {
        let end = (self.0.as_ref())
            .map_or(PollFd::new(socket, PollFlags::empty()), |fd| PollFd::new(fd, PollFlags::IN));
        let mut fds = [PollFd::new(socket, PollFlags::IN), end];
        // An error is an interruption or a lack of memory, and then the caller blocks in its read.
        rustix::event::poll(&mut fds, None).is_err() || !fds[1].revents().contains(PollFlags::IN)
    }
}

/// Asks the kernel to continue this process, if it is stopped, when its parent ends.
///
/// The signal is set per thread. So this must be called on another thread than [`Parent::follow`],
/// and on one that lives as long as the process.
pub(crate) fn continue_after_parent() {
    let _ = rustix::process::set_parent_process_death_signal(Some(Signal::CONT));
}

unsafe extern "C" fn on_parent_hangup(
    signal: libc::c_int,
    info: *mut libc::siginfo_t,
    _context: *mut libc::c_void,
) {
    // This is a signal handler, so it makes only system calls.
    // SAFETY: the kernel passes a valid description of the signal.
    let (code, sender) = unsafe { ((*info).si_code, (*info).si_pid()) };
    // A dying parent counts as the sender, and may still have threads at this moment.
    if code == libc::SI_KERNEL || is_parent(sender.cast_unsigned()) || !has_parent() {
        exit_with_group();
    }
    // Sent by another process: take the default action.
    // SAFETY: `signal` and `raise` are async-signal-safe; SIG_DFL is a valid disposition.
    unsafe {
        libc::signal(signal, libc::SIG_DFL);
        libc::raise(signal);
    }
}
