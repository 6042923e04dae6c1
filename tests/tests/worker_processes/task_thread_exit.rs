//! What happens to a call whose thread ends without its worker process?

use atasker::{TaskError, background_task};
use atasker_tests::mp::{pid, pool_of, supervisor};
use atasker_tests::{FAR, Watchdog};

#[background_task(tt = "mp")]
fn ends_its_thread() {
    end_thread();
}

fn end_thread() {
    // SAFETY: this thread, of a worker process, holds nothing that other threads wait for.
    unsafe { libc::syscall(libc::SYS_exit, 0) };
}

#[background_task(tt = "mp")]
fn is_killed_by_a_filter() {
    filter_getppid();
    // SAFETY: no preconditions.
    unsafe { libc::getppid() };
}

/// The kernel kills each thread under this filter that calls `getppid`.
fn filter_getppid() {
    let [load, equal, back] = [
        libc::BPF_LD | libc::BPF_W | libc::BPF_ABS,
        libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K,
        libc::BPF_RET | libc::BPF_K,
    ]
    .map(|code| code as u16);
    let step = |code, jt, jf, k| libc::sock_filter { code, jt, jf, k };
    let mut steps = [
        // The number of the system call.
        step(load, 0, 0, 0),
        step(equal, 0, 1, libc::SYS_getppid as u32),
        step(back, 0, 0, libc::SECCOMP_RET_KILL_THREAD),
        step(back, 0, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let program = libc::sock_fprog { len: steps.len() as u16, filter: steps.as_mut_ptr() };
    // SAFETY: the filter program is valid until the call returns.
    let set = unsafe {
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
        libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &program)
    };
    assert_eq!(set, 0, "{}", std::io::Error::last_os_error());
}

#[test]
fn ended_task_thread_is_cause_of_death() {
    let _watchdog = Watchdog::new("a call without a thread", FAR);
    for over_sockets in [false, true] {
        let sup = supervisor(pool_of(1).__over_sockets(over_sockets));
        for launch in [ends_its_thread::builder, is_killed_by_a_filter::builder] {
            let before = pid::builder().supervisor(&sup).start().join().unwrap();
            let task = launch().supervisor(&sup).start();
            let next = pid::builder().supervisor(&sup).start();
            let error = task.join().unwrap_err();
            let TaskError::WorkerDied(death) = error else { panic!("{error}") };
            assert_eq!(death.pid(), before);
            assert_eq!(death.cause().to_string(), "its task thread has ended");
            assert_ne!(next.join().unwrap(), before);
        }
    }
}

#[test]
fn worker_init_ending_thread_fails_start() {
    let _watchdog = Watchdog::new("a worker_init without a thread", FAR);
    let sup = supervisor(pool_of(1).worker_init(end_thread));
    let error = pid::builder().supervisor(&sup).start().join().unwrap_err();
    assert!(error.to_string().contains("its task thread has ended"), "{error}");
}

#[test]
fn worker_exit_ending_thread_does_not_delay_exit() {
    let _watchdog = Watchdog::new("a worker_exit without a thread", FAR);
    let sup = supervisor(pool_of(1).worker_exit(end_thread));
    let worker = pid::builder().supervisor(&sup).start().join().unwrap();
    let begin = std::time::Instant::now();
    sup.stop(atasker::StopOptions::new());
    // The worker process has 5 s to exit.
    assert!(begin.elapsed().as_secs() < 4);
    assert!(atasker_tests::processes::Process::is_gone(worker));
}
