//! How a worker process knows its parent, and notices its end: by the owner of the socket, the end of
//! the socket, and the pid of the parent.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec};

use crate::sys::worker::{Credentials, exit_with_group, has_parent, set_parent};

/// Returns the user and the group that have created a socket. All these systems report them as the
/// owner of the socket, which cannot be changed. `getpeereid` reports nothing about a socket pair.
pub(crate) fn creator(socket: BorrowedFd<'_>) -> Option<Credentials> {
    let stat = rustix::fs::fstat(socket).ok()?;
    Some(Credentials { pid: None, uid: stat.st_uid, gid: stat.st_gid })
}

/// Notices the end of the parent.
#[derive(Debug)]
pub(crate) struct Parent(());

impl Parent {
    /// Returns an `UnexpectedEof` error if the parent has ended already.
    ///
    /// If this process is stopped when its parent ends, the system continues it and sends SIGHUP,
    /// as it does to all members of a process group that is orphaned then and has a stopped member.
    pub(crate) fn follow(parent: u32) -> io::Result<Parent> {
        set_parent(parent);
        // SAFETY: all zero is a valid `sigaction`; the handler is async-signal-safe.
        unsafe {
            let mut action: libc::sigaction = MaybeUninit::zeroed().assume_init();
            action.sa_flags = libc::SA_RESTART;
            action.sa_sigaction = on_hangup as *const () as usize;
            libc::sigaction(libc::SIGHUP, &action, std::ptr::null_mut());
        }
        if has_parent() { Ok(Parent(())) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    }

    /// Never called: see `template`.
    pub(crate) fn follow_again(&self) -> io::Result<()> {
        Ok(())
    }

    /// Blocks until there is something to read from the socket, which its end is, too. Returns `false`
    /// if the parent has ended.
    ///
    /// A process that the parent has forked may hold a copy of its end. Therefore it is also checked
    /// once a second whether this process still has the same parent.
    pub(crate) fn wait_for_bytes(&self, socket: &OwnedFd) -> bool {
        let second = Timespec { tv_sec: 1, tv_nsec: 0 };
        loop {
            let mut fds = [PollFd::new(socket, PollFlags::IN)];
            match rustix::event::poll(&mut fds, Some(&second)) {
                Ok(0) if has_parent() => {}
                Ok(0) => return false,
                // An error is an interruption or a lack of memory, and then the caller blocks in
                // its read.
                _ => return true,
            }
        }
    }
}

/// Does nothing: see [`Parent::follow`].
pub(crate) fn continue_after_parent() {}

extern "C" fn on_hangup(signal: libc::c_int) {
    // This is a signal handler, so it makes only system calls.
    if !has_parent() {
        exit_with_group();
    }
    // Sent by another process: take the default action.
    // SAFETY: `signal` and `raise` are async-signal-safe; SIG_DFL is a valid disposition.
    unsafe {
        libc::signal(signal, libc::SIG_DFL);
        libc::raise(signal);
    }
}
