//! Forks a process that becomes a child of this process's parent, and what such a process inherits.
//!
//! The C library's `fork` can't do that, so the system call is made directly. What `fork` does
//! besides is done here, as far as it concerns a copy with one thread:
//!
//! * The C library has the thread's id in its description of the thread. The kernel writes the new
//!   id there. A C library that keeps the id elsewhere is not supported: see [`Forker::new`].
//! * The kernel forgets the list of robust mutexes, which is registered again.
//! * Locks need no care, because no other thread has one: the caller is the only thread that runs.
//!
//! Handlers of `pthread_atfork` do not run.

use std::ffi::OsString;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::process::{Gid, Resource, Rlimit, Uid};

use crate::sys::stdio;
use crate::sys::system::lifeline::Lifeline;
use crate::sys::worker::exit_with_group;

/// Whether this system can fork worker processes from a template.
pub(crate) const CAN_FORK: bool = true;

/// The argument of `clone3`, in its first version.
#[repr(C)]
#[derive(Default)]
struct CloneArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
}

/// The right to fork this process, from the thread that has created it.
pub(crate) struct Forker {
    /// Where the C library keeps the id of this thread.
    tid: *mut libc::pid_t,
    /// The list of robust mutexes of this thread, and its length.
    robust_list: (usize, usize),
}

/// The two sides of a fork.
pub(crate) enum Forked {
    /// In the process that has forked: a pidfd of the copy.
    Original(OwnedFd),
    Copy,
}

/// Set once the initial thread does nothing any more.
static IS_STILL: AtomicBool = AtomicBool::new(false);

/// Has the initial thread of this process do nothing until the other thread has ended, which ends the
/// process. It then holds no lock, and nothing interrupts it, so that a copy of the process does not
/// need it.
pub(crate) fn hold_still(other: Option<&Lifeline>) -> ! {
    // SAFETY: the first call makes it a valid set.
    unsafe {
        let mut all = MaybeUninit::<libc::sigset_t>::zeroed().assume_init();
        libc::sigfillset(&mut all);
        libc::pthread_sigmask(libc::SIG_SETMASK, &all, std::ptr::null_mut());
    }
    // Release: all that this thread has done comes before the fork.
    IS_STILL.store(true, Ordering::Release);
    if other.is_some_and(Lifeline::wait) {
        exit_with_group();
    }
    loop {
        // SAFETY: `pause` has no preconditions.
        unsafe { libc::pause() };
    }
}

impl Forker {
    /// Returns the right to fork, or why this process can't be forked. The initial thread is about
    /// to [hold still](hold_still), and no other thread may exist except the caller.
    pub(crate) fn new() -> Result<Forker, String> {
        // A few instructions of the other thread remain.
        while !IS_STILL.load(Ordering::Acquire) {
            std::thread::yield_now();
        }
        match threads() {
            Ok(2) => {}
            Ok(count) => {
                let others = count.saturating_sub(2);
                return Err(format!("`worker_init` has left {others} more threads running"));
            }
            Err(error) => return Err(format!("its threads can't be counted: {error}")),
        }
        if rustix::process::getpgrp() != rustix::process::getpid() {
            return Err("`worker_init` has moved it to another process group".into());
        }
        Ok(Forker { tid: address_of_tid()?, robust_list: robust_list()? })
    }

    /// Forks this process. The copy is a child of the parent of this process, which it reports its
    /// end to as this process does, and it is in the same process group.
    pub(crate) fn fork(&self) -> io::Result<Forked> {
        let mut pidfd: libc::c_int = -1;
        let flags = libc::CLONE_PARENT
            | libc::CLONE_PIDFD
            | libc::CLONE_CHILD_SETTID
            | libc::CLONE_CHILD_CLEARTID;
        let args = CloneArgs {
            flags: u64::from(flags.cast_unsigned()),
            pidfd: (&raw mut pidfd).expose_provenance() as u64,
            child_tid: self.tid.expose_provenance() as u64,
            ..CloneArgs::default()
        };
        // SAFETY: the sets are initialized by the calls. No signal handler runs in the copy before
        // the C library's description of the thread is right again.
        let before = unsafe {
            let mut all = MaybeUninit::<libc::sigset_t>::zeroed().assume_init();
            let mut before = MaybeUninit::<libc::sigset_t>::zeroed().assume_init();
            libc::sigfillset(&mut all);
            libc::pthread_sigmask(libc::SIG_SETMASK, &all, &mut before);
            before
        };
        // SAFETY: the memory is not shared, so the copy continues on a copy of this stack. The
        // other thread of this process holds nothing, and is not needed: see `hold_still`. The
        // kernel writes to `pidfd` here, and to `tid` in the copy, both of which are valid.
        let pid = unsafe {
            libc::syscall(libc::SYS_clone3 as libc::c_long, &raw const args, size_of::<CloneArgs>())
        };
        let error = io::Error::last_os_error();
        if pid == 0 {
            let (head, len) = self.robust_list;
            // SAFETY: this is what the C library has registered for this thread.
            unsafe { libc::syscall(libc::SYS_set_robust_list as libc::c_long, head, len) };
        }
        // SAFETY: the set was returned by the call above.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &before, std::ptr::null_mut()) };
        match pid {
            0 => Ok(Forked::Copy),
            1.. => {
                // SAFETY: the kernel has opened it, and nothing else owns it.
                let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
                Ok(Forked::Original(stdio::above_stdio(pidfd)?))
            }
            _ => Err(error),
        }
    }
}

/// The number of threads of this process.
fn threads() -> io::Result<usize> {
    Ok(std::fs::read_dir("/proc/self/task")?.count())
}

/// Returns where the C library keeps the id of this thread.
///
/// glibc has the kernel clear it when the thread ends, and the kernel reports what it is to clear.
/// It is part of the description of the thread. With another C library the kernel may clear
/// something else.
fn address_of_tid() -> Result<*mut libc::pid_t, String> {
    /// More than the size of the description of a thread.
    const MOST: usize = 8192;
    let mut address: *mut libc::pid_t = std::ptr::null_mut();
    // SAFETY: the option writes a pointer to the given address.
    let asked = unsafe { libc::prctl(libc::PR_GET_TID_ADDRESS, &raw mut address) };
    if asked != 0 {
        let error = io::Error::last_os_error();
        return Err(format!("the kernel does not tell where the id of a thread is: {error}"));
    }
    // SAFETY: `pthread_self` has no preconditions.
    let thread = unsafe { libc::pthread_self() } as usize;
    let is_inside = cfg!(target_env = "gnu")
        && address.is_aligned()
        && (thread..thread + MOST).contains(&address.addr());
    // SAFETY: the address is within the description of this thread, which is mapped.
    if is_inside && unsafe { address.read() } == rustix::thread::gettid().as_raw_nonzero().get() {
        Ok(address)
    } else {
        Err("the C library keeps the id of a thread where it can't be renewed".into())
    }
}

fn robust_list() -> Result<(usize, usize), String> {
    let (mut head, mut len) = (0_usize, 0_usize);
    // SAFETY: 0 stands for this thread, and the call writes a pointer and a length.
    let asked = unsafe {
        let call = libc::SYS_get_robust_list as libc::c_long;
        libc::syscall(call, 0, &raw mut head, &raw mut len)
    };
    if asked == 0 {
        Ok((head, len))
    } else {
        let error = io::Error::last_os_error();
        Err(format!("the kernel does not report the robust mutexes of a thread: {error}"))
    }
}

/// What a new process inherits from the thread that starts it, as far as a program may change it
/// while it runs. A process that is forked from a template inherits it from the template instead,
/// so it must be the same there.
#[derive(PartialEq)]
pub(crate) struct Inherited {
    users: (Uid, Uid),
    groups: (Gid, Gid, Vec<Gid>),
    capabilities: Option<rustix::thread::CapabilitySets>,
    no_new_privs: Option<bool>,
    nice: Option<i32>,
    cpus: Vec<u8>,
    limits: Vec<Rlimit>,
    /// The device and inode of the root and of the working directory.
    directories: [Option<(u64, u64)>; 2],
    env: Vec<(OsString, OsString)>,
}

impl Inherited {
    /// What a process would inherit that this thread starts now.
    pub(crate) fn now() -> Inherited {
        use rustix::process::{getegid, geteuid, getgid, getuid};
        let limits = [
            Resource::As,
            Resource::Core,
            Resource::Cpu,
            Resource::Data,
            Resource::Fsize,
            Resource::Memlock,
            Resource::Msgqueue,
            Resource::Nice,
            Resource::Nofile,
            Resource::Nproc,
            Resource::Rtprio,
            Resource::Rttime,
            Resource::Sigpending,
            Resource::Stack,
        ];
        let inode = |path: &std::ffi::CStr| {
            let stat = rustix::fs::stat(path).ok()?;
            Some((stat.st_dev as u64, stat.st_ino as u64))
        };
        Inherited {
            users: (getuid(), geteuid()),
            groups: (getgid(), getegid(), rustix::process::getgroups().unwrap_or_default()),
            capabilities: rustix::thread::capabilities(None).ok(),
            no_new_privs: rustix::thread::no_new_privs().ok(),
            nice: rustix::process::getpriority_process(None).ok(),
            cpus: allowed_cpus(),
            limits: limits.map(rustix::process::getrlimit).into(),
            directories: [inode(c"/"), inode(c".")],
            env: std::env::vars_os().collect(),
        }
    }
}

/// The CPUs that this thread may run on, as a set of bits.
fn allowed_cpus() -> Vec<u8> {
    let mut set = vec![0; 1024];
    // SAFETY: the kernel writes at most the given length.
    let written = unsafe {
        let call = libc::SYS_sched_getaffinity as libc::c_long;
        libc::syscall(call, 0, set.len(), set.as_mut_ptr())
    };
    set.truncate(usize::try_from(written).unwrap_or(0));
    set
}

/// Makes `to` a duplicate of a descriptor: 1 or 2, the standard output or error.
pub(crate) fn replace_stream(to: libc::c_int, by: &OwnedFd) -> io::Result<()> {
    // SAFETY: `dup2` takes any two integers. No code owns a standard stream.
    if unsafe { libc::dup2(by.as_raw_fd(), to) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Writes what C code has buffered for its streams. A copy would write it again.
pub(crate) fn flush_c_streams() {
    // SAFETY: a null pointer stands for all streams.
    unsafe { libc::fflush(std::ptr::null_mut()) };
}

/// A random number of the system, which no copy of this process has in common with it.
pub(crate) fn random() -> u64 {
    let mut bytes = [0; 8];
    // SAFETY: the kernel writes at most the given length.
    let written = unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), bytes.len(), 0) };
    match written {
        8 => u64::from_ne_bytes(bytes),
        // Before Linux 3.17, which has no template.
        _ => u64::from(rustix::process::getpid().as_raw_nonzero().get().unsigned_abs()),
    }
}

/// The title of this process for `ps`: the memory of its arguments. A copy has it at the same place.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Title {
    start: usize,
    len: usize,
}

impl Title {
    /// Asks the kernel where it has put the arguments.
    pub(crate) fn find() -> Option<Title> {
        let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
        // The name may contain any character. `arg_start` is the 48th field of all.
        let mut fields = stat.rsplit_once(") ")?.1.split(' ').skip(48 - 3);
        let start: usize = fields.next()?.parse().ok()?;
        let end: usize = fields.next()?.trim().parse().ok()?;
        (start != 0 && start < end).then_some(Title { start, len: end - start })
    }

    /// Replaces the arguments, as far as there is room.
    pub(crate) fn set(self, title: &str) {
        let bytes = title.as_bytes();
        let count = bytes.len().min(self.len - 1);
        let to = std::ptr::with_exposed_provenance_mut::<u8>(self.start);
        // SAFETY: the kernel has put the arguments there, on the initial stack, which is never
        // unmapped. A worker process has no argument but its name, and nothing refers to it: std
        // copies what it returns.
        unsafe {
            std::ptr::copy_nonoverlapping(bytes.as_ptr(), to, count);
            std::ptr::write_bytes(to.add(count), 0, self.len - count);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn address_of_tid_is_found() {
        let find = || address_of_tid().map(|address| address.addr());
        let here = find();
        assert_eq!(here.is_ok(), cfg!(target_env = "gnu"), "{here:?}");
        assert_ne!(std::thread::spawn(find).join().unwrap(), here);
    }

    #[test]
    fn process_with_more_threads_is_not_forked() {
        // The harness has started this thread, and this test starts two more.
        IS_STILL.store(true, Ordering::Release);
        let (end, wait) = std::sync::mpsc::channel::<()>();
        let waits = std::thread::spawn(move || wait.recv());
        let waits_for_it = std::thread::spawn(move || waits.join());
        let refused = Forker::new().err().unwrap();
        assert!(refused.contains("more threads"), "{refused}");
        drop(end);
        let _ = waits_for_it.join();
    }

    #[test]
    fn inherited_state_is_compared() {
        let before = Inherited::now();
        assert!(before == Inherited::now());
        let lowered = std::thread::spawn(|| {
            let usual = rustix::process::getpriority_process(None).unwrap();
            rustix::process::setpriority_process(None, (usual + 1).min(19)).unwrap();
            (usual < 19, Inherited::now())
        });
        let (is_lowered, other) = lowered.join().unwrap();
        assert_eq!(before != other, is_lowered);
    }

    #[test]
    fn arguments_are_where_the_kernel_says() {
        let title = Title::find().unwrap();
        let first = std::env::args_os().next().unwrap();
        assert!(title.len > first.len());
    }
}
