//! What a process has started, and what that has started in turn: found in `/proc`, and ended.
//!
//! A process group is ended by one signal, but who calls `setsid` or `setpgid` leaves it. Such a one is
//! still known as somebody's child, as long as the one that started it lives. A daemon by the book
//! (its starter has ended, its session is its own) is nobody's child any more, and lives on.
//!
//! Nothing here allocates: it also runs in a signal handler.

use std::ffi::CStr;
use std::fmt::{self, Write as _};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;

use rustix::fs::{Mode, OFlags, RawDir};
use rustix::process::{Pid, PidfdFlags, Signal};
use rustix::time::Timespec;

/// Ends all that this very process has started: it is about to end itself.
pub(crate) fn end_what_this_has_started() {
    /// With a pause after each, a second: for who starts new ones all the time, or can't be killed.
    const ROUNDS: u32 = 1000;
    // From here on, the children of those that end become ours, and are found in the next round.
    // Not before: the dead ones among them, of which nobody else takes note, would pile up here.
    let own = rustix::process::getpid();
    let _ = rustix::process::set_child_subreaper(Some(own));
    let mut quiet = 0;
    for round in 0..ROUNDS {
        let mut found = false;
        each_child(number_of(own), &mut |child| {
            found |= hold(number_of(own), child).is_some_and(|pidfd| signal(&pidfd, Signal::KILL));
        });
        if !found {
            quiet += 1;
            // One that became ours during the first quiet round, behind our back, shows in the second.
            if quiet == 2 {
                return;
            }
            continue;
        }
        quiet = 0;
        pause(if round < 10 { 50_000 } else { 1_000_000 });
    }
}

/// Stops another process and ends all that it has started.
pub(crate) fn end_what_was_started_by(pid: Pid, pidfd: &OwnedFd) {
    /// Deeper than anybody's tree; each level takes some stack.
    const DEPTH: u32 = 32;
    stop_and_end_below(number_of(pid), pidfd, DEPTH);
}

/// A stopped process starts nothing that we would not see.
fn stop_and_end_below(pid: i32, pidfd: &OwnedFd, depth: u32) {
    /// One may have been about to start when the process stopped.
    const ROUNDS: u32 = 4;
    if depth == 0 || !signal(pidfd, Signal::STOP) {
        return;
    }
    wait_until_stopped(pid);
    for _ in 0..ROUNDS {
        let mut found = false;
        each_child(pid, &mut |child| {
            if let Some(pidfd) = hold(pid, child) {
                // The deepest first: by its parent's end it would be out of sight.
                stop_and_end_below(child, &pidfd, depth - 1);
                found |= signal(&pidfd, Signal::KILL);
            }
        });
        if !found {
            return;
        }
    }
}

/// A descriptor of a child of this parent, if it is that and lives.
fn hold(parent: i32, child: i32) -> Option<OwnedFd> {
    let pidfd = rustix::process::pidfd_open(Pid::from_raw(child)?, PidfdFlags::empty()).ok()?;
    // Only now: a number may have been given to another process, the descriptor means one for good.
    let (state, of) = state_and_parent(child)?;
    (of == parent && !matches!(state, b'Z' | b'X')).then_some(pidfd)
}

fn signal(pidfd: &OwnedFd, signal: Signal) -> bool {
    rustix::process::pidfd_send_signal(pidfd, signal).is_ok()
}

/// Waits until a process that was told to stop does so: once its first thread has, no other runs any
/// further code of the program's. On a busy machine that takes as long as it takes to get a CPU; one
/// that sleeps deep in the kernel does not stop, and starts nothing either.
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

fn number_of(pid: Pid) -> i32 {
    pid.as_raw_nonzero().get()
}

/// A path, on the stack.
struct Path {
    bytes: [u8; 64],
    len: usize,
}

impl Path {
    fn of(what: fmt::Arguments<'_>) -> Path {
        let mut path = Path { bytes: [0; 64], len: 0 };
        // All of ours are shorter; of a longer one the file would not be there.
        let _ = path.write_fmt(what);
        path
    }

    fn open(&self, flags: OFlags) -> Option<OwnedFd> {
        let path = CStr::from_bytes_until_nul(&self.bytes).ok()?;
        rustix::fs::open(path, flags | OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).ok()
    }
}

impl fmt::Write for Path {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        // One byte stays for the end.
        let end = self.len + text.len();
        let room = self.bytes.get_mut(self.len..end).filter(|_| end < 64).ok_or(fmt::Error)?;
        room.copy_from_slice(text.as_bytes());
        self.len = end;
        Ok(())
    }
}

/// What a process does, and whose child it is.
pub(super) fn state_and_parent(pid: i32) -> Option<(u8, i32)> {
    let file = Path::of(format_args!("/proc/{pid}/stat")).open(OFlags::empty())?;
    let mut bytes = [0; 128];
    let len = rustix::io::read(&file, &mut bytes).ok()?;
    // `pid (name) state parent ..`; the name may hold anything, and is short.
    let after = bytes[..len].iter().rposition(|byte| *byte == b')')? + 1;
    let mut fields = bytes[after..len].split(|byte| *byte == b' ').skip(1);
    let state = *fields.next()?.first()?;
    Some((state, number(fields.next()?)?))
}

fn number(digits: &[u8]) -> Option<i32> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// Children are kept by the thread that has started them.
fn each_child(of: i32, f: &mut dyn FnMut(i32)) {
    let Some(threads) = Path::of(format_args!("/proc/{of}/task")).open(OFlags::DIRECTORY) else {
        return;
    };
    let mut space = [MaybeUninit::uninit(); 512];
    let mut threads = RawDir::new(threads, &mut space);
    while let Some(Ok(thread)) = threads.next() {
        if let Some(thread) = number(thread.file_name().to_bytes()) {
            each_child_of_thread(of, thread, f);
        }
    }
}

fn each_child_of_thread(of: i32, thread: i32, f: &mut dyn FnMut(i32)) {
    let path = Path::of(format_args!("/proc/{of}/task/{thread}/children"));
    let Some(file) = path.open(OFlags::empty()) else { return };
    // Numbers, each with a space behind; one may come in two pieces.
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
