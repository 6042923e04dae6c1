//! What a new worker process does to itself before it serves.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::fs::FileType;
use rustix::net::RecvFlags;
use rustix::process::{Pid, Resource, Rlimit, Signal};

use crate::sys::system::limits::{address_space, may_lower_nice};
use crate::sys::system::{parent, privileges, tree};
use crate::sys::{entry, stdio};

#[cfg_attr(not(feature = "mp"), allow(unused_imports))]
pub(crate) use crate::sys::system::limits::{forbid_dumps, set_name};
#[cfg_attr(not(feature = "mp"), allow(unused_imports))]
pub(crate) use crate::sys::system::parent::{Parent, continue_after_parent};

/// What the parent writes to a worker's socket before it starts the worker, ahead of everything
/// else. A worker process is recognized by the bytes waiting at its descriptor 0. Neither the
/// environment nor the arguments are involved, so nothing has to be removed from them, and programs
/// that tasks start inherit nothing.
///
/// The number is the offset of this code in the executable. A copy of the executable has it at the
/// same offset; another version of this crate in the same program has it elsewhere.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Greeting([u8; Greeting::LENGTH]);

impl Greeting {
    pub(crate) const LENGTH: usize = 16;

    /// Returns `None` if this code is not part of the executable.
    pub(crate) fn ours() -> Option<Self> {
        let mut bytes = *b"atasker1........";
        bytes[8..].copy_from_slice(&entry::offset_in_program()?.to_ne_bytes());
        Some(Greeting(bytes))
    }

    pub(crate) fn bytes(&self) -> &[u8; Self::LENGTH] {
        &self.0
    }
}

/// Returns the parent of this process, if the process was started as a worker and has not been
/// recognized yet.
///
/// The parent is identified by what its invoker can't forge. The kernel tells which process has
/// created the socket, and that must be a process of the same user and group, or of root. So a
/// program that runs with more privileges than its invoker (`sudo -E`, for example) is never a
/// worker, whatever the invoker has put at descriptor 0. If the kernel itself has raised the
/// privileges (setuid, file capabilities), nothing is read at all. [`Parent::follow`] checks that
/// the creator is the parent of this process.
///
/// Exits if the creator is the parent of this process and another user or group than this process:
/// either the parent has changed its user while it started this worker, or an invoker has placed the
/// greeting. In the first case `main` would run a second time, and the second case loses nothing.
pub(crate) fn recognize() -> Option<u32> {
    if privileges::are_elevated() {
        return None;
    }
    match creator_of(rustix::stdio::stdin(), parent_pid().unwrap_or(0))? {
        Creator::Trusted(pid) => Some(pid),
        Creator::OtherUser(pid) if Some(pid) == parent_pid() => {
            let text = "atasker: this worker process has another user or group than the process that \
                        started it: it ends\n";
            let _ = rustix::io::write(rustix::stdio::stderr(), text.as_bytes());
            // SAFETY: `_exit` has no preconditions.
            unsafe { libc::_exit(1) }
        }
        Creator::OtherUser(_) => None,
    }
}

/// The process that has created a socket with a worker's greeting.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Creator {
    /// A process of this user and group, or of root.
    Trusted(u32),
    /// A process of another user or group.
    OtherUser(u32),
}

/// What the system reports about the process that has created a socket.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Credentials {
    /// `None` on systems that report only its user and group.
    pub(crate) pid: Option<u32>,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

/// Returns the process that has created a socket with a worker's greeting. `presumed` is its pid, on
/// systems that do not report it.
pub(crate) fn creator_of(socket: impl AsFd, presumed: u32) -> Option<Creator> {
    // In most programs this is the only system call, because descriptor 0 is not a socket. Only
    // sockets are received from, because a seccomp filter may end a process for the attempt.
    let kind = FileType::from_raw_mode(rustix::fs::fstat(&socket).ok()?.st_mode);
    if kind != FileType::Socket {
        return None;
    }
    let mut greeting = [0; Greeting::LENGTH];
    let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
    let (waits, _) = rustix::net::recv(&socket, &mut greeting[..], flags).ok()?;
    if waits < Greeting::LENGTH || Greeting::ours() != Some(Greeting(greeting)) {
        return None;
    }
    let creator = parent::creator(socket.as_fd())?;
    let (user, group) = (rustix::process::geteuid(), rustix::process::getegid());
    let is_same = (creator.uid, creator.gid) == (user.as_raw(), group.as_raw());
    let pid = creator.pid.unwrap_or(presumed);
    Some(match creator.uid == 0 || is_same {
        true => Creator::Trusted(pid),
        false => Creator::OtherUser(pid),
    })
}

/// Moves the socket from descriptor 0 and puts `/dev/null` there, and into the other standard
/// streams that are closed.
pub(crate) fn take_stdin() -> io::Result<OwnedFd> {
    // First of all, so that no descriptor opened below gets their numbers.
    stdio::open_closed_streams()?;
    let socket = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3)?;
    rustix::stdio::dup2_stdin(&stdio::null()?)?;
    Ok(socket)
}

/// The parent process of this worker process.
static PARENT: AtomicU32 = AtomicU32::new(0);

/// Records the parent of this worker process.
pub(super) fn set_parent(parent: u32) {
    PARENT.store(parent, Ordering::Relaxed);
}

/// Whether this is the pid of the parent, which may have ended.
#[cfg_attr(sys_portable, allow(dead_code))]
pub(super) fn is_parent(pid: u32) -> bool {
    pid == PARENT.load(Ordering::Relaxed)
}

/// Whether the parent has not ended.
pub(super) fn has_parent() -> bool {
    parent_pid().is_some_and(is_parent)
}

fn parent_pid() -> Option<u32> {
    rustix::process::getppid().map(|pid| pid.as_raw_nonzero().get().unsigned_abs())
}

/// Resets ignored signals to their defaults, which a new process does not do by itself. Programs
/// that tasks start must end by SIGTERM, and their exit status must be available.
///
/// SIGPIPE is ignored instead, as std does before `main`; std's `Command` resets it in child
/// processes.
pub(crate) fn reset_signals() {
    /// No system has as many. A number that is no signal is rejected.
    const MOST: libc::c_int = 128;
    for signal in 1..=MOST {
        // SAFETY: all zero is a valid `sigaction`, which the first call fills in; SIG_DFL and
        // SIG_IGN are valid dispositions. At this time, a handler can only have been installed by a
        // static constructor, and it is kept.
        unsafe {
            let mut now: libc::sigaction = MaybeUninit::zeroed().assume_init();
            if libc::sigaction(signal, std::ptr::null(), &mut now) == 0
                && now.sa_sigaction == libc::SIG_IGN
            {
                libc::signal(signal, libc::SIG_DFL);
            }
            if signal == libc::SIGPIPE {
                libc::signal(signal, libc::SIG_IGN);
            }
        }
    }
}

/// Unblocks all signals. A program that receives its signals by `sigwait` or a signalfd blocks them
/// in all its threads, and a new process inherits that. Processes that tasks start could then not
/// be ended by SIGTERM.
///
/// Must be called while this process has one thread, because later threads inherit the mask from
/// it.
pub(crate) fn unblock_signals() {
    // SAFETY: the first call makes it a valid set.
    unsafe {
        let mut none = MaybeUninit::<libc::sigset_t>::zeroed().assume_init();
        libc::sigemptyset(&mut none);
        libc::pthread_sigmask(libc::SIG_SETMASK, &none, std::ptr::null_mut());
    }
}

/// Adds `more` to the nice value of this process.
pub(crate) fn add_nice(more: i32) -> io::Result<()> {
    if more != 0 {
        let now = rustix::process::getpriority_process(None)?;
        let nice = now.saturating_add(more).clamp(-20, 19);
        rustix::process::setpriority_process(None, nice)?;
    }
    Ok(())
}

/// Raises and restores the nice value of the thread that runs tasks. Where threads have no nice value
/// of their own, it is that of the process. Threads and processes that a task starts inherit it.
#[derive(Debug)]
pub(crate) struct Niceness {
    usual: i32,
    now: i32,
}

impl Niceness {
    /// Returns `None` if this process is not permitted to lower its nice value again once it was
    /// raised. Otherwise a worker process that has run one low-priority task would be slow for all
    /// later tasks.
    pub(crate) fn new() -> Option<Self> {
        let usual = rustix::process::getpriority_process(None).ok()?;
        may_lower_nice(usual).then_some(Niceness { usual, now: usual })
    }

    /// Sets the nice value of this thread to the usual value plus `more`.
    pub(crate) fn set_extra(&mut self, more: i32) {
        let wanted = (self.usual + more).clamp(-20, 19);
        if wanted != self.now && rustix::process::setpriority_process(None, wanted).is_ok() {
            self.now = wanted;
        }
    }
}

/// Returns unused memory of the allocator to the system, with glibc only.
pub(crate) fn trim_memory() {
    #[cfg(target_env = "gnu")]
    // SAFETY: `malloc_trim` may be called at any time.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Limits the address space that this process may add to its present size.
pub(crate) fn limit_memory(bytes: u64) -> io::Result<()> {
    MemoryLimit::set(bytes).map(drop)
}

/// A limit of the address space that can be lifted.
#[derive(Debug)]
pub(crate) struct MemoryLimit {
    /// The address space before, in bytes.
    before: u64,
    old: Rlimit,
}

impl MemoryLimit {
    /// Limits the address space that this process may add to its present size.
    pub(crate) fn set(bytes: u64) -> io::Result<MemoryLimit> {
        let before = address_space()?;
        let old = rustix::process::getrlimit(Resource::As);
        let limit = before.saturating_add(bytes).min(old.maximum.unwrap_or(u64::MAX));
        let new = Rlimit { current: Some(limit), maximum: old.maximum };
        rustix::process::setrlimit(Resource::As, new)?;
        Ok(MemoryLimit { before, old })
    }

    /// Returns what this process has added since. The limit is as before.
    pub(crate) fn lift(self) -> io::Result<u64> {
        rustix::process::setrlimit(Resource::As, self.old)?;
        Ok(address_space()?.saturating_sub(self.before))
    }
}

/// Kills this process and its descendants immediately, because its parent has ended.
pub(crate) fn exit_with_group() -> ! {
    tree::kill_descendants();
    // Not if this process has left its own group: another group is not its own to kill.
    if rustix::process::getpgrp() == rustix::process::getpid() {
        let _ = rustix::process::kill_current_process_group(Signal::KILL);
    }
    let _ = rustix::process::kill_process(rustix::process::getpid(), Signal::KILL);
    std::process::abort();
}

/// Returns the pid of this process.
pub(crate) fn pid() -> u32 {
    Pid::as_raw_nonzero(rustix::process::getpid()).get().unsigned_abs()
}
