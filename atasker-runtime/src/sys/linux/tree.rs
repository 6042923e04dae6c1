//! Finds the descendants of a process in `/proc`, and kills them.
//!
//! A process group is killed by one signal, but a process that calls `setsid` or `setpgid` leaves
//! the group. Such a process is still known as a child while its parent lives. A worker that is
//! killed is stopped first, and its descendants are killed from the leaves up. A worker that ends
//! by itself becomes a subreaper, and so gets the children of those that it kills.
//!
//! Two things survive: what has left the group of a worker that crashes, and a daemon whose parent
//! has ended before. To catch these, workers would have to be subreapers from their start. They
//! could then not tell the orphans that they have to wait for from the task's own children, whose
//! exit status the task needs.
//!
//! Nothing here allocates, because it also runs in a signal handler.

use std::ffi::CStr;
use std::fmt::{self, Write as _};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;

use rustix::fs::{Mode, OFlags, RawDir};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, WaitId, WaitIdOptions};
use rustix::time::Timespec;

use crate::sys::reap::retry;
use crate::sys::stdio;

/// Kills all descendants of this process, which is about to exit.
pub(crate) fn kill_descendants() {
    /// With a pause after each round, about a second in total. Bounded, because a descendant may
    /// start new processes all the time, or be unkillable.
    const ROUNDS: u32 = 1000;
    // From here on, this process inherits the children of those that end, and finds them in the
    // next round. Not earlier, because the dead ones among them, which no other process waits for,
    // would pile up here.
    let own = rustix::process::getpid();
    let _ = rustix::process::set_child_subreaper(Some(own));
    if !has_children() {
        // Most often. Nothing below `/proc` is opened then, which would cost the parent milliseconds
        // when it reaps this process on a busy machine: the system removes the entries of each
        // thread twice at the same time, and spins until both are done.
        return;
    }
    let mut quiet = 0;
    for round in 0..ROUNDS {
        let mut found = false;
        for_each_child(raw_pid(own), &mut |child| {
            found |=
                open_child(raw_pid(own), child).is_some_and(|pidfd| signal(&pidfd, Signal::KILL));
        });
        if !found {
            quiet += 1;
            // A process that was inherited unnoticed during the first quiet round is found in the
            // second.
            if quiet == 2 {
                return;
            }
            continue;
        }
        quiet = 0;
        pause(if round < 10 { 50_000 } else { 1_000_000 });
    }
}

/// Whether this process has children, of any of its threads and dead ones included.
fn has_children() -> bool {
    /// Those that report their end by another signal than SIGCHLD, too.
    const ALL: WaitIdOptions = WaitIdOptions::from_bits_retain(libc::__WALL as u32);
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT | ALL;
    !matches!(retry(|| rustix::process::waitid(WaitId::All, options)), Err(Errno::CHILD))
}

/// Stops another process and kills all its descendants.
pub(crate) fn kill_descendants_of(pid: Pid, pidfd: &OwnedFd) {
    /// The depth that is searched. Process trees are not that deep, and each level takes some
    /// stack.
    const DEPTH: u32 = 32;
    stop_and_kill_below(raw_pid(pid), pidfd, DEPTH);
}

/// Stopped first, because a stopped process can't start further ones unnoticed.
fn stop_and_kill_below(pid: i32, pidfd: &OwnedFd, depth: u32) {
    /// A child may have been starting when the process stopped.
    const ROUNDS: u32 = 4;
    if depth == 0 || !signal(pidfd, Signal::STOP) {
        return;
    }
    wait_until_stopped(pid);
    for _ in 0..ROUNDS {
        let mut found = false;
        for_each_child(pid, &mut |child| {
            // The parent's pid may be reused if the process was waited for. The children are
            // certain to be its children if the pidfd still refers to a process now.
            if let Some(child_fd) = open_child(pid, child)
                && signal(pidfd, Signal::STOP)
            {
                // Leaves first: once the parent has ended, they would not be found.
                stop_and_kill_below(child, &child_fd, depth - 1);
                found |= signal(&child_fd, Signal::KILL);
            }
        });
        if !found {
            return;
        }
    }
}

/// Opens a pidfd of a child, if it is alive and a child of this parent.
fn open_child(parent: i32, child: i32) -> Option<OwnedFd> {
    let pidfd = rustix::process::pidfd_open(Pid::from_raw(child)?, PidfdFlags::empty()).ok()?;
    let pidfd = stdio::above_stdio(pidfd).ok()?;
    // Checked after opening: a pid may be reused, while a pidfd refers to one process for good.
    let (state, of) = state_and_parent(child)?;
    (of == parent && !matches!(state, b'Z' | b'X')).then_some(pidfd)
}

fn signal(pidfd: &OwnedFd, signal: Signal) -> bool {
    rustix::process::pidfd_send_signal(pidfd, signal).is_ok()
}

/// Waits until a process that was sent SIGSTOP is stopped. Once its first thread has stopped, no
/// other thread runs code of the program. On a busy machine this takes as long as it takes to get a
/// CPU. A process in uninterruptible sleep does not stop, and starts nothing either.
fn wait_until_stopped(pid: i32) {
    for round in 0..500 {
        match state_and_parent(pid) {
            Some((b'R' | b'S', _)) => {}
            Some((b'D', _)) if round < 20 => {}
            _ => return,
        }
        pause(if round < 20 { 50_000 } else { 1_000_000 });
    }
}

fn pause(nanos: i64) {
    let _ = rustix::thread::nanosleep(&Timespec { tv_sec: 0, tv_nsec: nanos });
}

fn raw_pid(pid: Pid) -> i32 {
    pid.as_raw_nonzero().get()
}

/// A path on the stack.
struct Path {
    bytes: [u8; 64],
    len: usize,
}

impl Path {
    fn of(what: fmt::Arguments<'_>) -> Path {
        let mut path = Path { bytes: [0; 64], len: 0 };
        // All paths here fit. For a longer one, no such file would exist.
        let _ = path.write_fmt(what);
        path
    }

    fn open(&self, flags: OFlags) -> Option<OwnedFd> {
        let path = CStr::from_bytes_until_nul(&self.bytes).ok()?;
        let flags = flags | OFlags::RDONLY | OFlags::CLOEXEC;
        stdio::above_stdio(rustix::fs::open(path, flags, Mode::empty()).ok()?).ok()
    }
}

impl fmt::Write for Path {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        // One byte is left for the NUL.
        let end = self.len + text.len();
        let room = self.bytes.get_mut(self.len..end).filter(|_| end < 64).ok_or(fmt::Error)?;
        room.copy_from_slice(text.as_bytes());
        self.len = end;
        Ok(())
    }
}

/// Returns the state of a process and its parent's pid.
pub(super) fn state_and_parent(pid: i32) -> Option<(u8, i32)> {
    with_stat(pid, |fields| Some((*fields.next()?.first()?, parse(fields.next()?)?)))
}

/// Whether a process has begun to exit. The system closes its descriptors some time before its end
/// can be waited for.
pub(super) fn is_exiting(pid: i32) -> bool {
    /// As in the kernel's `sched.h`.
    const PF_EXITING: u32 = 0x4;
    let flags = with_stat(pid, |fields| std::str::from_utf8(fields.nth(6)?).ok()?.parse().ok());
    flags.is_some_and(|flags: u32| flags & PF_EXITING != 0)
}

/// Passes the fields of `/proc/<pid>/stat`, from the state on.
fn with_stat<T>(
    pid: i32,
    f: impl FnOnce(&mut dyn Iterator<Item = &[u8]>) -> Option<T>,
) -> Option<T> {
    let file = Path::of(format_args!("/proc/{pid}/stat")).open(OFlags::empty())?;
    let mut bytes = [0; 128];
    let len = rustix::io::read(&file, &mut bytes).ok()?;
    // `pid (name) state parent ..`; the name may contain any character, and is short.
    let after = bytes[..len].iter().rposition(|byte| *byte == b')')? + 1;
    f(&mut bytes[after..len].split(|byte| *byte == b' ').skip(1))
}

fn parse(digits: &[u8]) -> Option<i32> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// The kernel lists children by the thread that has started them.
fn for_each_child(of: i32, f: &mut dyn FnMut(i32)) {
    let Some(threads) = Path::of(format_args!("/proc/{of}/task")).open(OFlags::DIRECTORY) else {
        return;
    };
    let mut space = [MaybeUninit::uninit(); 512];
    let mut threads = RawDir::new(threads, &mut space);
    while let Some(Ok(thread)) = threads.next() {
        if let Some(thread) = parse(thread.file_name().to_bytes()) {
            for_each_child_of_thread(of, thread, f);
        }
    }
}

fn for_each_child_of_thread(of: i32, thread: i32, f: &mut dyn FnMut(i32)) {
    let path = Path::of(format_args!("/proc/{of}/task/{thread}/children"));
    let Some(file) = path.open(OFlags::empty()) else { return };
    // Numbers, each followed by a space; one may be split over two reads.
    let (mut bytes, mut child) = ([0; 128], 0i32);
    while let Ok(len @ 1..) = rustix::io::read(&file, &mut bytes) {
        for byte in &bytes[..len] {
            match byte {
                b'0'..=b'9' => {
                    child = child.saturating_mul(10).saturating_add(i32::from(byte - b'0'));
                }
                _ => {
                    if child != 0 {
                        f(child);
                    }
                    child = 0;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn child_of_any_thread_is_noticed() {
        let run = |command: &str| std::process::Command::new("sh").args(["-c", command]).spawn();
        let mut child = std::thread::spawn(move || run("read line").unwrap()).join().unwrap();
        assert!(has_children());
        child.kill().unwrap();
        assert!(has_children(), "a dead child");
        child.wait().unwrap();
    }

    #[test]
    fn killed_process_is_exiting() {
        let mut child = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
        let pid = child.id().cast_signed();
        assert!(!is_exiting(pid));
        child.kill().unwrap();
        let pidfd = pidfd_open(&child);
        crate::sys::reap::wait_for_end(&pidfd);
        // Not reaped yet: only its exit status is left.
        assert!(is_exiting(pid));
        child.wait().unwrap();
        assert!(!is_exiting(pid));
    }

    fn pidfd_open(child: &std::process::Child) -> OwnedFd {
        rustix::process::pidfd_open(Pid::from_child(child), PidfdFlags::empty()).unwrap()
    }
}
