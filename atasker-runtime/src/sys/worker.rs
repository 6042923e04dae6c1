//! What a new worker process does to itself before it serves.

use std::ffi::CStr;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::fs::FileType;
use rustix::net::RecvFlags;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open};

use crate::sys::{entry, privileges, stdio, tree};

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
/// privileges (setuid, file capabilities), nothing is read at all. [`follow_parent`] checks that
/// the creator is the parent of this process.
///
/// Exits if the creator is the parent of this process and another user or group than this process:
/// either the parent has changed its user while it started this worker, or an invoker has placed the
/// greeting. In the first case `main` would run a second time, and the second case loses nothing.
pub(crate) fn recognize() -> Option<u32> {
    if privileges::are_elevated() {
        return None;
    }
    match creator_of(rustix::stdio::stdin())? {
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

/// Returns the process that has created a socket with a worker's greeting.
pub(crate) fn creator_of(socket: impl AsFd) -> Option<Creator> {
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
    let creator = credentials(socket.as_fd())?;
    let (user, group) = (rustix::process::geteuid(), rustix::process::getegid());
    let is_same = (creator.uid, creator.gid) == (user.as_raw(), group.as_raw());
    let pid = creator.pid.cast_unsigned();
    Some(match creator.uid == 0 || is_same {
        true => Creator::Trusted(pid),
        false => Creator::OtherUser(pid),
    })
}

/// Returns the creator of a socket pair. Not by rustix, because a process in another PID namespace
/// has the pid 0 here.
fn credentials(socket: BorrowedFd<'_>) -> Option<libc::ucred> {
    let mut found = libc::ucred { pid: 0, uid: u32::MAX, gid: u32::MAX };
    let mut length = size_of::<libc::ucred>() as libc::socklen_t;
    let (level, option) = (libc::SOL_SOCKET, libc::SO_PEERCRED);
    // SAFETY: the pointer is to a `ucred` of this length, and any bytes are a valid value.
    let result = unsafe {
        let found = (&raw mut found).cast();
        libc::getsockopt(socket.as_raw_fd(), level, option, found, &mut length)
    };
    (result == 0 && length as usize == size_of::<libc::ucred>()).then_some(found)
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

/// Asks the kernel to notify this process when its parent ends. The process then kills its
/// descendants and exits. Returns an `UnexpectedEof` error if the parent has ended already.
///
/// Returns a pidfd that is readable once the parent has ended, if the system supports it. The pidfd
/// covers cases that the socket does not (a process that the parent has forked holds a copy of its
/// end), and that the signal does not (it is ignored, or the process has changed its user).
///
/// The signal is SIGHUP and not SIGKILL, because SIGKILL would end this process alone, and leave
/// its descendants. If this process is stopped at that time, a second signal continues it: see
/// [`continue_after_parent`].
pub(crate) fn follow_parent(parent: u32) -> io::Result<Option<OwnedFd>> {
    let pid = i32::try_from(parent).ok().and_then(Pid::from_raw);
    if pid.is_none() {
        let text = "its parent is in another PID namespace: after `unshare(CLONE_NEWPID)` a program \
                    must fork before it starts worker processes";
        return Err(io::Error::other(text));
    }
    let pidfd = pid.and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok());
    let pidfd = pidfd.map(stdio::above_stdio).transpose()?;
    PARENT.store(parent, Ordering::Relaxed);
    // SAFETY: all zero is a valid `sigaction`; the handler is async-signal-safe.
    unsafe {
        let mut action: libc::sigaction = MaybeUninit::zeroed().assume_init();
        action.sa_flags = libc::SA_RESTART | libc::SA_SIGINFO;
        action.sa_sigaction = on_parent_hangup as *const () as usize;
        libc::sigaction(libc::SIGHUP, &action, std::ptr::null_mut());
    }
    rustix::process::set_parent_process_death_signal(Some(Signal::HUP))?;
    // Checked last: only now is it certain that the pidfd refers to the parent.
    if has_parent() { Ok(pidfd) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}

/// Asks the kernel to continue this process, if it is stopped, when its parent ends.
///
/// The signal is set per thread. So this must be called on another thread than [`follow_parent`],
/// and on one that lives as long as the process.
pub(crate) fn continue_after_parent() {
    let _ = rustix::process::set_parent_process_death_signal(Some(Signal::CONT));
}

fn has_parent() -> bool {
    parent_pid() == Some(PARENT.load(Ordering::Relaxed))
}

fn parent_pid() -> Option<u32> {
    rustix::process::getppid().map(|pid| pid.as_raw_nonzero().get().unsigned_abs())
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
    let from_parent = sender.cast_unsigned() == PARENT.load(Ordering::Relaxed);
    if code == libc::SI_KERNEL || from_parent || !has_parent() {
        exit_with_group();
    }
    // Sent by another process: take the default action.
    // SAFETY: `signal` and `raise` are async-signal-safe; SIG_DFL is a valid disposition.
    unsafe {
        libc::signal(signal, libc::SIG_DFL);
        libc::raise(signal);
    }
}

/// Sets the short name of the process, in addition to its `argv[0]`.
pub(crate) fn set_name(name: &CStr) {
    let _ = rustix::thread::set_name(name);
}

/// Resets ignored signals to their defaults, which a new process does not do by itself. Programs
/// that tasks start must end by SIGTERM, and their exit status must be available.
///
/// SIGPIPE is ignored instead, as std does before `main`; std's `Command` resets it in child
/// processes.
pub(crate) fn reset_signals() {
    for signal in 1..=libc::SIGRTMAX() {
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

/// Makes the system treat this process as one with secrets: no core file is written, and other
/// processes of the same user can't trace it or read its memory. Processes that tasks start are not
/// affected.
pub(crate) fn forbid_dumps() -> io::Result<()> {
    // SAFETY: the option takes plain integers.
    match unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 0, 0, 0, 0) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
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

/// Raises and restores the nice value of the calling thread. On Linux each thread has its own nice
/// value, which the threads and processes that it starts inherit.
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
        // Tried on a temporary thread, because the value may stay raised.
        let try_both = move || {
            let set = |nice| rustix::process::setpriority_process(None, nice).is_ok();
            set((usual + 1).min(19)) && set(usual)
        };
        let tried = std::thread::Builder::new().name("atasker nice".into()).spawn(try_both);
        let permitted = tried.ok()?.join().unwrap_or(false);
        permitted.then_some(Niceness { usual, now: usual })
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
    let statm = std::fs::read_to_string("/proc/self/statm")?;
    let pages = statm.split(' ').next().and_then(|pages| pages.parse::<u64>().ok());
    let now = pages.ok_or(io::ErrorKind::InvalidData)? * rustix::param::page_size() as u64;
    let old = rustix::process::getrlimit(rustix::process::Resource::As);
    let limit = now.saturating_add(bytes).min(old.maximum.unwrap_or(u64::MAX));
    let new = rustix::process::Rlimit { current: Some(limit), maximum: old.maximum };
    rustix::process::setrlimit(rustix::process::Resource::As, new)?;
    Ok(())
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
