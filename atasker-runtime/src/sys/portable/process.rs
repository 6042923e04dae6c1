//! Starts, kills and reaps worker processes, by their pids.
//!
//! A pid refers to a process until that process is reaped. So a process is signaled only under the
//! lock of its owner under which it is also reaped, and only after a check that no other code of the
//! program has reaped it, by a `wait` for any child. Only between that check and the signal could
//! such a `wait` reap it, and the system reuse its pid.
//!
//! A thread waits for the end of each worker process, without reaping it, and then closes a pipe. The
//! reader thread of the worker polls that pipe together with its sockets.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;

use rustix::event::Timespec;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions};

use crate::error::DeathCause;
use crate::sys::reap::{CrashHint, Output, cause_of_death, poll, retry};
use crate::sys::system::image;
use crate::sys::{copy, ipc};

/// A child process that has not been reaped, so that its pid is not reused.
#[derive(Debug)]
pub(crate) struct Process {
    pid: Pid,
    end: Arc<OwnedFd>,
}

/// Starts a copy of this program with `stdin` as its descriptor 0.
pub(crate) fn spawn_copy(
    name: &str,
    stdin: OwnedFd,
    env: impl Iterator<Item = (String, String)>,
    output: Output,
) -> io::Result<Process> {
    let program = image::program()?;
    let mut command = copy::command(program, name, stdin, env, output)?;
    // Before the process is started, because a failure would leave a process that is not waited for.
    let (tell, told) = sync_channel::<Pid>(1);
    let (end, ends) = ipc::pipe()?;
    /// The thread only waits.
    const STACK: usize = 64 << 10;
    let waiter = std::thread::Builder::new().name("atasker waiter".into()).stack_size(STACK);
    waiter.spawn(move || {
        if let Ok(pid) = told.recv() {
            wait_without_reaping(pid);
        }
        drop(ends);
    })?;
    let child = command.spawn().map_err(|error| copy::not_started(error, program, None))?;
    // From here on `Process` reaps the child; dropping std's handle has no effect.
    let pid = Pid::from_child(&child);
    // The thread waits for it.
    let _ = tell.send(pid);
    Ok(Process { pid, end: Arc::new(end) })
}

/// Blocks until a child has ended, and leaves its status to others.
fn wait_without_reaping(pid: Pid) {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
    // An error means that other code has reaped it.
    let _ = retry(|| rustix::process::waitid(WaitId::Pid(pid), options));
}

impl Process {
    /// Never called: see `template`.
    pub(crate) fn adopt(_end: OwnedFd) -> io::Result<Process> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Never called: see `template`.
    pub(crate) fn reap_with_group(self) -> DeathCause {
        self.reap(|| CrashHint::None)
    }

    pub(crate) fn id(&self) -> u32 {
        self.pid.as_raw_nonzero().get().unsigned_abs()
    }

    /// A descriptor that is readable once the process has ended: a pipe whose other end is closed.
    pub(crate) fn end(&self) -> &Arc<OwnedFd> {
        &self.end
    }

    /// Kills the process and its group. Descendants that have left the group survive.
    pub(crate) fn kill(&self) {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT | WaitIdOptions::NOHANG;
        if self.wait(options).is_err() {
            // Other code has reaped it, and its pid may belong to another process.
            return;
        }
        let _ = rustix::process::kill_process_group(self.pid, Signal::KILL);
        // For a worker process that has not entered its own group yet, or has left it.
        let _ = rustix::process::kill_process(self.pid, Signal::KILL);
    }

    /// Whether the process is stopped by a signal. A stop by a debugger is not reported.
    pub(crate) fn is_stopped(&self) -> bool {
        let options = WaitIdOptions::STOPPED | WaitIdOptions::NOWAIT | WaitIdOptions::NOHANG;
        self.wait(options).is_ok_and(|status| status.is_some())
    }

    /// Whether the process, whose sockets are closed, is about to end. That takes some moments.
    pub(crate) fn is_exiting(&self) -> bool {
        poll(&self.end, Some(&Timespec { tv_sec: 1, tv_nsec: 0 }))
    }

    fn wait(
        &self,
        options: WaitIdOptions,
    ) -> rustix::io::Result<Option<rustix::process::WaitIdStatus>> {
        retry(|| rustix::process::waitid(WaitId::Pid(self.pid), options))
    }

    /// Kills what is left of the process and its group, waits for its end, and returns the cause.
    /// `crash_hint` is what the process itself has recorded.
    pub(crate) fn reap(self, crash_hint: impl FnOnce() -> CrashHint) -> DeathCause {
        // The thread that waits is done with the pid.
        poll(&self.end, None);
        // Peek at the status, then kill the group, then reap: until the leader is reaped, the
        // group's id refers to this group.
        let status = self.wait(WaitIdOptions::EXITED | WaitIdOptions::NOWAIT);
        self.kill();
        let _ = self.wait(WaitIdOptions::EXITED);
        cause_of_death(status.ok().flatten(), crash_hint)
    }
}
