//! Watching, ending and burying a worker process.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::Arc;

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::process::{Pid, PidfdFlags, Signal, WaitId, WaitIdOptions};

use crate::error::DeathCause;
use crate::sys::tree;

/// A child process that has been started and not been buried: its number can't be given to another.
#[derive(Debug)]
pub(crate) struct Process {
    pid: Pid,
    pidfd: Arc<OwnedFd>,
}

/// Where a copy's standard output and error go.
#[derive(Debug)]
pub(crate) enum Output {
    /// To where the program's own go.
    Inherit,
    Null,
    To(OwnedFd, OwnedFd),
}

/// Starts a copy of this very program with `stdin` as its descriptor 0.
///
/// The copy is made from `/proc/self/exe`: also when the file on disk was replaced or removed, it
/// is the same program.
pub(crate) fn start_copy(
    name: &str,
    stdin: OwnedFd,
    env: impl Iterator<Item = (String, String)>,
    output: Output,
) -> io::Result<Process> {
    let mut command = Command::new("/proc/self/exe");
    command.arg0(name).envs(env).stdin(Stdio::from(stdin)).process_group(0);
    match output {
        Output::Inherit => {}
        Output::Null => {
            command.stdout(Stdio::null()).stderr(Stdio::null());
        }
        Output::To(out, err) => {
            command.stdout(Stdio::from(out)).stderr(Stdio::from(err));
        }
    }
    let mut child = command.spawn()?;
    let pid = Pid::from_child(&child);
    // From here on `Process` buries it; std's handle does nothing when it is dropped.
    match rustix::process::pidfd_open(pid, PidfdFlags::empty()) {
        Ok(pidfd) => Ok(Process { pid, pidfd: Arc::new(pidfd) }),
        Err(error) => {
            let _ = child.kill();
            let _ = child.wait();
            Err(error.into())
        }
    }
}

impl Process {
    pub(crate) fn id(&self) -> u32 {
        self.pid.as_raw_nonzero().get().unsigned_abs()
    }

    /// Readable once the process has ended.
    pub(crate) fn pidfd(&self) -> &Arc<OwnedFd> {
        &self.pidfd
    }

    /// Ends it, and all that it has started, at once.
    pub(crate) fn kill(&self) {
        // What has left its group can't be found any more once it has ended.
        tree::end_what_was_started_by(self.pid, &self.pidfd);
        self.kill_group();
    }

    fn kill_group(&self) {
        // The group's number is not given anew before the process is buried, and only `bury` does
        // that, which takes `self`.
        let _ = rustix::process::kill_process_group(self.pid, Signal::KILL);
        // A worker that has not come to stand in its own group, or has left it.
        let _ = rustix::process::pidfd_send_signal(&self.pidfd, Signal::KILL);
    }

    /// Whether it is stopped, by a signal or by a debugger.
    pub(crate) fn is_stopped(&self) -> bool {
        // `waitid` would not tell of a debugger's.
        let state = tree::state_and_parent(self.pid.as_raw_nonzero().get());
        matches!(state, Some((b'T' | b't', _)))
    }

    /// Whether the process of this pidfd has ended; waits for that if told so.
    pub(crate) fn has_ended(pidfd: &OwnedFd, wait: bool) -> bool {
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        loop {
            let mut fds = [PollFd::new(pidfd, PollFlags::IN)];
            match rustix::event::poll(&mut fds, if wait { None } else { Some(&now) }) {
                Ok(count) => return count > 0,
                Err(rustix::io::Errno::INTR) => {}
                Err(_) => return false,
            }
        }
    }

    /// Ends it and what is left of its group, waits for its end, and says what it was.
    pub(crate) fn bury(self, overflow: impl FnOnce() -> bool) -> DeathCause {
        let look = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        let id = || WaitId::PidFd(self.pidfd.as_fd());
        // First look, then end the group, then bury: as long as the leader is not buried, the
        // group's number means this group.
        let status = loop {
            match rustix::process::waitid(id(), look) {
                Err(rustix::io::Errno::INTR) => {}
                other => break other,
            }
        };
        self.kill_group();
        while matches!(
            rustix::process::waitid(id(), WaitIdOptions::EXITED),
            Err(rustix::io::Errno::INTR)
        ) {}
        match status {
            Ok(Some(status)) => match (status.exit_status(), status.terminating_signal()) {
                (Some(code), _) => DeathCause::Exit(code),
                (_, Some(signal)) if overflow() => DeathCause::StackOverflow(signal),
                (_, Some(signal)) => DeathCause::Signal(signal),
                _ => DeathCause::Other("it ended in an unknown way".into()),
            },
            // Somebody else has waited for it: SIGCHLD is ignored, or a `wait` for any child.
            _ => DeathCause::Other("it ended; its exit status went to somebody else".into()),
        }
    }
}
