//! Starts, kills and reaps worker processes, by pidfds.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;

use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, WaitId, WaitIdOptions};

use crate::error::DeathCause;
use crate::sys::reap::{CrashHint, Output, cause_of_death, retry};
use crate::sys::system::tree;
use crate::sys::{copy, stdio};

/// A child process that has not been reaped, so that its pid is not reused.
#[derive(Debug)]
pub(crate) struct Process {
    pid: Pid,
    pidfd: Arc<OwnedFd>,
}

/// The executable of this process, even if the file on disk was replaced or removed.
const PROGRAM: &str = "/proc/self/exe";

/// Starts a copy of this program with `stdin` as its descriptor 0.
pub(crate) fn spawn_copy(
    name: &str,
    stdin: OwnedFd,
    env: impl Iterator<Item = (String, String)>,
    output: Output,
) -> io::Result<Process> {
    let program = Path::new(PROGRAM);
    let mut command = copy::command(program, name, stdin, env, output)?;
    let mut child = command.spawn().map_err(|error| {
        let no_proc = std::fs::symlink_metadata(program).is_err();
        copy::not_started(
            error,
            program,
            no_proc.then_some(
                "worker processes are started from it: mount /proc (`mount -t proc proc /proc`)",
            ),
        )
    })?;
    let pid = Pid::from_child(&child);
    // From here on `Process` reaps the child; dropping std's handle has no effect.
    match rustix::process::pidfd_open(pid, PidfdFlags::empty()).and_then(stdio::above_stdio) {
        Ok(pidfd) => Ok(Process { pid, pidfd: Arc::new(pidfd) }),
        // The child has ended already and, if SIGCHLD is ignored, has left no zombie: its pid may
        // already be reused.
        Err(error @ Errno::SRCH) => Err(error.into()),
        Err(error) => {
            // Without a pidfd there is only the pid, which may be reused once the program has
            // waited for any child.
            if is_unreaped(WaitId::Pid(pid)) {
                let _ = child.kill();
                let _ = child.wait();
            }
            Err(error.into())
        }
    }
}

/// Whether a child, dead or alive, has not been waited for, so that its pid is not reused.
fn is_unreaped(id: WaitId<'_>) -> bool {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT | WaitIdOptions::NOHANG;
    retry(|| rustix::process::waitid(id.clone(), options)).is_ok()
}

/// Signals the process group of this process, by the pidfd, which refers to that group even after
/// the pid was reused. Returns an error before Linux 6.9.
fn signal_group(pidfd: &OwnedFd, signal: Signal) -> io::Result<()> {
    const PIDFD_SIGNAL_PROCESS_GROUP: libc::c_uint = 1 << 2;
    // SAFETY: the call reads no memory; the pointer to a `siginfo_t` may be null.
    let sent = unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            pidfd.as_raw_fd(),
            signal.as_raw(),
            std::ptr::null::<libc::siginfo_t>(),
            PIDFD_SIGNAL_PROCESS_GROUP,
        )
    };
    if sent == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// The process that a pidfd refers to.
fn pid_of(pidfd: &OwnedFd) -> io::Result<Pid> {
    let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", pidfd.as_raw_fd()))?;
    let pid = info.lines().find_map(|line| line.strip_prefix("Pid:"));
    // -1 once the process was reaped, 0 in another PID namespace.
    let pid = pid.and_then(|pid| pid.trim().parse::<i32>().ok()).filter(|pid| *pid > 0);
    pid.and_then(Pid::from_raw).ok_or_else(|| io::Error::other("a pidfd of no process"))
}

impl Process {
    /// Takes over a child that another process has forked for this one. The child leaves the
    /// process group of the other process now, and must not do so before.
    pub(crate) fn adopt(pidfd: OwnedFd) -> io::Result<Process> {
        let pid = pid_of(&pidfd)?;
        // From here on, the pid is not reused, unless other code reaps the child.
        if !is_unreaped(WaitId::PidFd(pidfd.as_fd())) {
            return Err(io::Error::other("a process that is no child of this one"));
        }
        let process = Process { pid, pidfd: Arc::new(pidfd) };
        if let Err(error) = rustix::process::setpgid(Some(pid), Some(pid)) {
            // Not its group, which is that of the other process.
            let _ = rustix::process::pidfd_send_signal(&process.pidfd, Signal::KILL);
            let id = WaitId::PidFd(process.pidfd.as_fd());
            let _ = retry(|| rustix::process::waitid(id.clone(), WaitIdOptions::EXITED));
            return Err(error.into());
        }
        Ok(process)
    }

    /// Like [`reap`](Self::reap), and also reaps the children of this process that are in the group
    /// of that process: those that it has forked and that were not [adopted](Self::adopt).
    pub(crate) fn reap_with_group(self) -> DeathCause {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        let id = WaitId::PidFd(self.pidfd.as_fd());
        let status = retry(|| rustix::process::waitid(id.clone(), options));
        self.kill_group();
        // Blocks until each member has ended, which was killed. An error means that no child of this
        // process is left in the group.
        let group = WaitId::Pgid(Some(self.pid));
        while retry(|| rustix::process::waitid(group.clone(), WaitIdOptions::EXITED)).is_ok() {}
        // If it has left its group.
        let _ = retry(|| rustix::process::waitid(id.clone(), WaitIdOptions::EXITED));
        cause_of_death(status.ok().flatten(), || CrashHint::None)
    }

    pub(crate) fn id(&self) -> u32 {
        self.pid.as_raw_nonzero().get().unsigned_abs()
    }

    /// A descriptor that is readable once the process has ended: the pidfd.
    pub(crate) fn end(&self) -> &Arc<OwnedFd> {
        &self.pidfd
    }

    /// Kills the process and its descendants.
    pub(crate) fn kill(&self) {
        // Descendants first: those that have left the group can't be found once the process has
        // ended.
        tree::kill_descendants_of(self.pid, &self.pidfd);
        self.kill_group();
    }

    fn kill_group(&self) {
        let by_descriptor = signal_group(&self.pidfd, Signal::KILL);
        let too_old = by_descriptor.is_err_and(|error| error.raw_os_error() != Some(libc::ESRCH));
        // The pid, and with it the group's id, is not reused while the process has not been waited
        // for. The program itself may have done that, by a `wait` for any child, or the system, if
        // SIGCHLD is ignored.
        if too_old && is_unreaped(WaitId::PidFd(self.pidfd.as_fd())) {
            let _ = rustix::process::kill_process_group(self.pid, Signal::KILL);
        }
        // For a worker process that has not entered its own group yet, or has left it.
        let _ = rustix::process::pidfd_send_signal(&self.pidfd, Signal::KILL);
    }

    /// Whether the process is stopped, by a signal or by a debugger.
    pub(crate) fn is_stopped(&self) -> bool {
        // `waitid` would not report a stop by a debugger.
        let state = tree::state_and_parent(self.pid.as_raw_nonzero().get());
        matches!(state, Some((b'T' | b't', _)))
    }

    /// Whether the process has begun to exit. Its descriptors are closed before its end can be
    /// observed.
    pub(crate) fn is_exiting(&self) -> bool {
        tree::is_exiting(self.pid.as_raw_nonzero().get())
    }

    /// Kills what is left of the process and its group, waits for its end, and returns the cause.
    /// `crash_hint` is what the process itself has recorded.
    pub(crate) fn reap(self, crash_hint: impl FnOnce() -> CrashHint) -> DeathCause {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        let id = || WaitId::PidFd(self.pidfd.as_fd());
        // Peek at the status, then kill the group, then reap: until the leader is reaped, the
        // group's id refers to this group.
        let status = retry(|| rustix::process::waitid(id(), options));
        self.kill_group();
        let _ = retry(|| rustix::process::waitid(id(), WaitIdOptions::EXITED));
        cause_of_death(status.ok().flatten(), crash_hint)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::CommandExt;
    use std::process::{Command, Stdio};

    use super::*;
    use crate::sys::reap::{has_ended, wait_for_end};

    /// A process in its own group, which ends once its input is closed.
    fn child() -> (std::process::Child, Process) {
        let mut command = Command::new("cat");
        let child = command.stdin(Stdio::piped()).process_group(0).spawn().unwrap();
        let pid = Pid::from_child(&child);
        let pidfd = rustix::process::pidfd_open(pid, PidfdFlags::empty()).unwrap();
        (child, Process { pid, pidfd: Arc::new(pidfd) })
    }

    #[test]
    fn child_is_unreaped_until_it_is_waited_for() {
        let (mut child, process) = child();
        assert!(is_unreaped(WaitId::Pid(process.pid)));
        drop(child.stdin.take());
        wait_for_end(&process.pidfd);
        assert!(is_unreaped(WaitId::Pid(process.pid)));
        child.wait().unwrap();
        assert!(!is_unreaped(WaitId::Pid(process.pid)));
        assert!(!is_unreaped(WaitId::PidFd(process.pidfd.as_fd())));
    }

    /// The pid of a process that another waiter has reaped now belongs to another process.
    #[test]
    fn reused_pid_is_not_signaled() {
        let (mut first, process) = child();
        let (mut other, other_process) = child();
        drop(first.stdin.take());
        first.wait().unwrap();
        // Making the pid wrap around would take as many processes as there are pids.
        let stale = Process { pid: other_process.pid, pidfd: Arc::clone(&process.pidfd) };
        stale.kill();
        let cause = stale.reap(|| CrashHint::None);
        assert!(cause.to_string().contains("other code"), "{cause}");
        assert!(!has_ended(&other_process.pidfd), "it was signaled");
        drop(other.stdin.take());
        assert!(other.wait().unwrap().success());
    }

    #[test]
    fn group_is_killed_after_its_leader_has_ended() {
        let (mut child, process) = child();
        let mut member = Command::new("cat");
        let mut member = member
            .stdin(Stdio::piped())
            .process_group(process.pid.as_raw_nonzero().get())
            .spawn()
            .unwrap();
        drop(child.stdin.take());
        let cause = process.reap(|| CrashHint::None);
        assert_eq!(cause, DeathCause::Exit(0));
        use std::os::unix::process::ExitStatusExt;
        assert_eq!(member.wait().unwrap().signal(), Some(libc::SIGKILL));
    }
}
