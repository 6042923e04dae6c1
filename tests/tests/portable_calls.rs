//! Does the portable backend make do without the calls that only Linux has?
//!
//! A filter ends the test program and its worker processes for such a call, and `/proc` is hidden from
//! them. In this environment tasks run, fail, are killed, and exceed their limits.
#![cfg(all(target_os = "linux", atasker_portable))]

use std::time::Duration;

use atasker::{
    MpPoolConfig, Priority, StopOptions, Supervisor, TaskContext, WorkerStdio, background_task,
};
use atasker_tests::mp::{occupy, pid, run_pid, spins};
use atasker_tests::processes::rerun;
use atasker_tests::{FAR, Watchdog};

/// A statement of a filter.
fn op(code: u32, jt: u8, jf: u8, k: u32) -> libc::sock_filter {
    libc::sock_filter { code: code as u16, jt, jf, k }
}

/// Loads the number of the call, or an argument of it.
fn load(argument: Option<u32>) -> libc::sock_filter {
    const NUMBER: u32 = 0;
    const ARGUMENTS: u32 = 16;
    let at = argument.map_or(NUMBER, |argument| ARGUMENTS + 8 * argument);
    op(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, at)
}

/// Ends the process for this call, if the argument has one of the values, which are followed by a mask
/// of the bits to compare.
fn forbid(
    filter: &mut Vec<libc::sock_filter>,
    call: libc::c_long,
    when: Option<(u32, &[u32], u32)>,
) {
    let compare = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
    let end = op(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_KILL_PROCESS);
    let mut rest = Vec::new();
    match when {
        None => rest.push(end),
        Some((argument, values, mask)) => {
            rest.push(load(Some(argument)));
            rest.push(op(libc::BPF_ALU | libc::BPF_AND | libc::BPF_K, 0, 0, mask));
            for value in values {
                rest.push(op(compare, 0, 1, *value));
                rest.push(end);
            }
        }
    }
    filter.push(load(None));
    filter.push(op(compare, 0, rest.len() as u8, call as u32));
    filter.append(&mut rest);
}

/// Ends this process, and those that it starts, for the calls that only Linux has.
fn forbid_linux_calls() -> std::io::Result<()> {
    const ALL: u32 = u32::MAX;
    /// The bits of an operation of `futex` but its choice of a clock.
    const FUTEX_OPERATION: u32 = !(libc::FUTEX_CLOCK_REALTIME as u32);
    let futexes = [libc::FUTEX_WAIT as u32, libc::FUTEX_WAKE as u32];
    let processes = [libc::PR_SET_PDEATHSIG, libc::PR_SET_CHILD_SUBREAPER, libc::PR_SET_DUMPABLE];
    let advice = [libc::MADV_REMOVE, libc::MADV_DONTFORK, libc::MADV_WIPEONFORK];
    let filter = &mut Vec::new();
    for call in [
        libc::SYS_memfd_create,
        libc::SYS_pidfd_open,
        libc::SYS_pidfd_send_signal,
        libc::SYS_pidfd_getfd,
        libc::SYS_eventfd2,
        libc::SYS_timerfd_create,
        libc::SYS_signalfd4,
        libc::SYS_epoll_create1,
        libc::SYS_getdents64,
    ] {
        forbid(filter, call, None);
    }
    // Without `FUTEX_PRIVATE_FLAG`: on memory that is shared with other processes.
    forbid(filter, libc::SYS_futex, Some((1, &futexes, FUTEX_OPERATION)));
    forbid(filter, libc::SYS_prctl, Some((0, &processes.map(|it| it as u32), ALL)));
    forbid(filter, libc::SYS_madvise, Some((2, &advice.map(|it| it as u32), ALL)));
    forbid(filter, libc::SYS_getsockopt, Some((2, &[libc::SO_PEERCRED as u32], ALL)));
    filter.push(op(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ALLOW));
    let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };
    // SAFETY: the filter outlives the calls.
    let set = unsafe {
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
            | libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program)
    };
    if set == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) }
}

/// Hides `/proc` from this thread, and from the threads and processes that it starts. Returns false if
/// that is not permitted.
fn hide_proc() -> bool {
    let (none, flags) = (std::ptr::null(), libc::MS_REC | libc::MS_PRIVATE);
    // SAFETY: the strings are NUL-terminated; the other calls take plain numbers.
    unsafe {
        libc::unshare(libc::CLONE_NEWNS) == 0
            && libc::mount(none, c"/".as_ptr(), none, flags, none.cast()) == 0
            && libc::mount(none, c"/proc".as_ptr(), c"tmpfs".as_ptr(), 0, none.cast()) == 0
    }
}

#[background_task(tt = "mp")]
fn converses(ctx: &TaskContext<u32, u32>, bytes: Vec<u8>) -> usize {
    ctx.progress(1, 2);
    ctx.send(ctx.recv().unwrap() + 1).unwrap();
    println!("a line of a task");
    bytes.len()
}

#[background_task(tt = "mp")]
fn crashes() {
    std::process::abort();
}

#[background_task(tt = "mp")]
fn exceeds(bytes: usize) -> usize {
    let much = vec![1u8; bytes];
    std::hint::black_box(&much).len()
}

/// Ends by a call that the filter forbids.
#[background_task(tt = "mp")]
fn uses_a_forbidden_call() -> i32 {
    // SAFETY: a plain number.
    unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, 0) }
}

#[test]
#[ignore = "run by another test in a separate process"]
fn under_the_filter() {
    let _watchdog = Watchdog::new("worker processes without the calls of Linux", FAR);
    if hide_proc() {
        assert!(std::fs::read_link("/proc/self/exe").is_err());
    } else {
        println!("skipped: /proc can't be hidden");
    }
    forbid_linux_calls().expect("this system has filters");

    let config = MpPoolConfig::new(2).idle_timeout(Duration::ZERO).stdio(WorkerStdio::Log);
    let config = config.nice_by_priority(true).dumpable(false).memory_limit(256 << 20);
    let sup = Supervisor::builder().id("t").mp_pool(config).build();
    assert_ne!(run_pid(&sup), std::process::id());

    let talk = converses::builder(vec![7; 3 << 20]).supervisor(&sup).start();
    talk.send(1).unwrap();
    assert_eq!(talk.recv().unwrap(), 2);
    assert_eq!(talk.join().unwrap(), 3 << 20);

    let (stopped, there) = occupy(&sup);
    stopped.stop();
    assert_eq!(stopped.join().unwrap(), there);

    let killed = spins::builder().supervisor(&sup).start();
    killed.recv().unwrap();
    killed.kill().unwrap();
    assert!(killed.join().unwrap_err().is_canceled());
    let limited = spins::builder().supervisor(&sup).timeout(Duration::from_millis(50)).start();
    assert!(limited.join().unwrap_err().is_timeout());

    let error = crashes::builder().supervisor(&sup).start().join().unwrap_err().to_string();
    assert!(error.contains("SIGABRT (6)"), "{error}");
    let error = exceeds::builder(1 << 30).supervisor(&sup).start().join().unwrap_err().to_string();
    assert!(error.contains("memory limit"), "{error}");
    let error = uses_a_forbidden_call::builder().supervisor(&sup).start().join().unwrap_err();
    assert!(error.to_string().contains("SIGSYS"), "the filter is in force: {error}");

    let low = pid::builder().supervisor(&sup).priority(Priority::Low).start();
    assert_ne!(low.join().unwrap(), std::process::id());
    sup.stop(StopOptions::new());
}

#[test]
fn no_call_of_linux_is_needed() {
    let child = rerun("under_the_filter").output().unwrap();
    let output = String::from_utf8_lossy(&child.stdout);
    let errors = String::from_utf8_lossy(&child.stderr);
    let passed = child.status.success() && output.contains("1 passed");
    assert!(passed, "{}: {output}\n{errors}", child.status);
}
