//! What a fresh worker process does to itself before it serves.

use std::ffi::CStr;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open};

use crate::sys::tree;

/// Marks a process as a worker: the parent's process id.
pub(crate) const MARKER: &str = "ATASKER_WORKER_OF";

/// Takes the marker out of the environment, so that no program which a task starts is taken for a
/// worker.
///
/// To be called while this process has one thread: at its very start.
pub(crate) fn take_marker() -> Option<u32> {
    let marker = std::env::var_os(MARKER)?;
    // SAFETY: the process is at its start, before `main` or in its first line, and has one thread.
    unsafe { std::env::remove_var(MARKER) };
    marker.to_str()?.parse().ok()
}

/// Whether this process was started as a worker and has not taken its marker.
pub(crate) fn is_unrecognised() -> bool {
    std::env::var_os(MARKER).is_some() && stdin_is_socket()
}

/// Whether descriptor 0 is a socket, as it is in a worker.
pub(crate) fn stdin_is_socket() -> bool {
    let kind = rustix::net::sockopt::socket_type(rustix::stdio::stdin());
    kind == Ok(rustix::net::SocketType::STREAM)
}

/// Takes the socket from descriptor 0 and puts `/dev/null` there.
pub(crate) fn take_stdin() -> io::Result<OwnedFd> {
    let stdin: BorrowedFd<'_> = rustix::stdio::stdin();
    let socket = rustix::io::fcntl_dupfd_cloexec(stdin.as_fd(), 3)?;
    let null = std::fs::File::open("/dev/null")?;
    rustix::stdio::dup2_stdin(&null)?;
    Ok(socket)
}

/// The process that this worker belongs to.
static PARENT: AtomicU32 = AtomicU32::new(0);

/// Has the kernel tell this process when its parent is gone; it then ends, and all that it started.
/// An error, `UnexpectedEof`, if the parent is gone already.
///
/// Gives a descriptor that is readable once the parent has ended, if the system has one. It sees what the
/// socket does not while a process that the parent has forked holds a copy of its end, and what the
/// signal does not in a process that ignores it or has changed its user.
///
/// The signal is SIGHUP and not SIGKILL: that would end this process alone, and leave what it has
/// started. A process that is stopped at that time is continued by a second signal: see
/// [`continue_after_parent`].
pub(crate) fn follow_parent(parent: u32) -> io::Result<Option<OwnedFd>> {
    let pid = i32::try_from(parent).ok().and_then(Pid::from_raw);
    let pidfd = pid.and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok());
    PARENT.store(parent, Ordering::Relaxed);
    // SAFETY: all zero is a valid `sigaction`; the handler keeps to what handlers may do.
    unsafe {
        let mut action: libc::sigaction = MaybeUninit::zeroed().assume_init();
        action.sa_flags = libc::SA_RESTART | libc::SA_SIGINFO;
        action.sa_sigaction = hang_up as *const () as usize;
        libc::sigaction(libc::SIGHUP, &action, std::ptr::null_mut());
    }
    rustix::process::set_parent_process_death_signal(Some(Signal::HUP))?;
    // Only now is it certain that the descriptor means the parent.
    if has_parent() { Ok(pidfd) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}

/// Has the kernel continue this process, should it be stopped, when its parent is gone.
///
/// Each thread has a signal of its own for that moment: to be called on another thread than
/// [`follow_parent`], one that lives as long as the process.
pub(crate) fn continue_after_parent() {
    let _ = rustix::process::set_parent_process_death_signal(Some(Signal::CONT));
}

fn has_parent() -> bool {
    let now = rustix::process::getppid().map(|pid| pid.as_raw_nonzero().get().unsigned_abs());
    now == Some(PARENT.load(Ordering::Relaxed))
}

unsafe extern "C" fn hang_up(
    signal: libc::c_int,
    info: *mut libc::siginfo_t,
    _context: *mut libc::c_void,
) {
    // Only system calls here: this is a signal handler.
    // SAFETY: the kernel gives a valid description of the signal.
    let (code, sender) = unsafe { ((*info).si_code, (*info).si_pid()) };
    // The dying parent counts as the sender, and may have threads left at this moment.
    let from_parent = sender.cast_unsigned() == PARENT.load(Ordering::Relaxed);
    if code == libc::SI_KERNEL || from_parent || !has_parent() {
        end_group();
    }
    // Somebody else has sent it: it does what it would do without us.
    // SAFETY: `signal` and `raise` may be called in a handler; SIG_DFL is a valid disposition.
    unsafe {
        libc::signal(signal, libc::SIG_DFL);
        libc::raise(signal);
    }
}

/// The process's short name, beside its `argv[0]`.
pub(crate) fn set_name(name: &CStr) {
    let _ = rustix::thread::set_name(name);
}

/// Ignores SIGPIPE, as std does before `main`.
pub(crate) fn ignore_sigpipe() {
    // SAFETY: SIG_IGN is a valid disposition, and no handler of ours runs.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_IGN) };
}

/// Blocks no signal. A program that takes its signals by `sigwait` or a signalfd blocks them in all
/// its threads, and a new process inherits that: what tasks start could not be ended by SIGTERM.
///
/// To be called while this process has one thread: the others inherit from it.
pub(crate) fn unblock_signals() {
    // SAFETY: the first call makes it a valid set.
    unsafe {
        let mut none = MaybeUninit::<libc::sigset_t>::zeroed().assume_init();
        libc::sigemptyset(&mut none);
        libc::pthread_sigmask(libc::SIG_SETMASK, &none, std::ptr::null_mut());
    }
}

/// Makes this process so much nicer to others than it was.
pub(crate) fn add_nice(more: i32) -> io::Result<()> {
    if more != 0 {
        let now = rustix::process::getpriority_process(None)?;
        let nice = now.saturating_add(more).clamp(-20, 19);
        rustix::process::setpriority_process(None, nice)?;
    }
    Ok(())
}

/// Has the calling thread be nicer to others, and less nice again. On Linux each thread has a
/// niceness of its own, which the threads and processes inherit that it starts.
#[derive(Debug)]
pub(crate) struct Niceness {
    usual: i32,
    now: i32,
}

impl Niceness {
    /// `None` if this process is not permitted to be less nice again, once it was nicer.
    pub(crate) fn new() -> Option<Self> {
        let usual = rustix::process::getpriority_process(None).ok()?;
        // Tried on a thread that is not needed any more if it stays as it is.
        let there_and_back = move || {
            let set = |nice| rustix::process::setpriority_process(None, nice).is_ok();
            set((usual + 1).min(19)) && set(usual)
        };
        let tried = std::thread::Builder::new().name("atasker nice".into()).spawn(there_and_back);
        let permitted = tried.ok()?.join().unwrap_or(false);
        permitted.then_some(Niceness { usual, now: usual })
    }

    /// This thread is so much nicer than usual from now on.
    pub(crate) fn be(&mut self, more: i32) {
        let wanted = (self.usual + more).clamp(-20, 19);
        if wanted != self.now && rustix::process::setpriority_process(None, wanted).is_ok() {
            self.now = wanted;
        }
    }
}

/// Gives back what the allocator holds and nobody uses, if it is glibc's.
pub(crate) fn trim_memory() {
    #[cfg(target_env = "gnu")]
    // SAFETY: it may be called at any time.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Caps what this process may add to its address space.
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

/// Ends this process and all that it started, now: its parent is gone.
pub(crate) fn end_group() -> ! {
    tree::end_what_this_has_started();
    // Not if this process has left its own group: the other one is none of ours.
    if rustix::process::getpgrp() == rustix::process::getpid() {
        let _ = rustix::process::kill_current_process_group(Signal::KILL);
    }
    let _ = rustix::process::kill_process(rustix::process::getpid(), Signal::KILL);
    std::process::abort();
}

/// This process's number.
pub(crate) fn pid() -> u32 {
    Pid::as_raw_nonzero(rustix::process::getpid()).get().unsigned_abs()
}
