//! Can a worker process be ended by a program that may not signal it any more, for it has become
//! another user since?

use std::process::Stdio;

use atasker::{MpPoolConfig, Supervisor, TaskContext, background_task};
use atasker_tests::processes::{Process, rerun};
use atasker_tests::{FAR, Watchdog};

#[background_task(tt = "mp")]
fn spins(ctx: &TaskContext<(), u32>) {
    ctx.send(std::process::id()).unwrap();
    loop {
        std::hint::spin_loop();
    }
}

#[background_task(tt = "mp")]
fn pid() -> u32 {
    std::process::id()
}

#[test]
#[ignore = "is run by another test, in a process of its own"]
fn as_another_user() {
    let _watchdog = Watchdog::new("a worker of another user's", FAR);
    let sup = Supervisor::builder().mp_pool(MpPoolConfig::new(1)).build();
    let task = spins::builder().supervisor(&sup).start();
    let there = task.recv().unwrap();
    // SAFETY: plain system calls.
    unsafe {
        // Without the right to do so, all stays as it is, and the test is an easy one.
        if libc::getuid() == 0 {
            assert_eq!(libc::setuid(65534), 0);
            assert_eq!(libc::kill(there.cast_signed(), 0), -1);
        }
    }
    task.kill().unwrap();
    assert!(task.join().unwrap_err().is_canceled());
    assert!(Process::is_gone(there));
    // Whether this user may run the program is another question; the pool has an answer.
    let next = pid::builder().supervisor(&sup).start().join();
    assert!(next.as_ref().map_or(true, |next| *next != there), "{next:?}");
}

#[test]
fn a_worker_of_another_user_ends() {
    let child = rerun("as_another_user").stderr(Stdio::inherit()).output().unwrap();
    let output = String::from_utf8_lossy(&child.stdout);
    assert!(child.status.success() && output.contains("1 passed"), "{output}");
}
