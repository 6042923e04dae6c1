//! Can a program end a worker process that it may no longer signal because the program has changed
//! its user?

use std::process::Stdio;

use atasker::{Supervisor, TaskContext, background_task};
use atasker_tests::mp::{pid, pool_of};
use atasker_tests::processes::{Process, rerun};
use atasker_tests::{FAR, Watchdog};

#[background_task(tt = "mp")]
fn spins(ctx: &TaskContext<(), u32>) {
    ctx.send(std::process::id()).unwrap();
    loop {
        std::hint::spin_loop();
    }
}

#[test]
#[ignore = "run by another test in a separate process"]
fn as_another_user() {
    let _watchdog = Watchdog::new("a worker process of another user", FAR);
    let sup = Supervisor::builder().mp_pool(pool_of(1)).build();
    let task = spins::builder().supervisor(&sup).start();
    let there = task.recv().unwrap();
    // SAFETY: plain system calls.
    unsafe {
        // Without the privilege, nothing changes, and the test passes trivially.
        if libc::getuid() == 0 {
            assert_eq!(libc::setuid(65534), 0);
            assert_eq!(libc::kill(there.cast_signed(), 0), -1);
        }
    }
    task.kill().unwrap();
    assert!(task.join().unwrap_err().is_canceled());
    assert!(Process::is_gone(there));
    // This user may lack permission to run the program; the pool handles that.
    let next = pid::builder().supervisor(&sup).start().join();
    assert!(next.as_ref().map_or(true, |next| *next != there), "{next:?}");
}

#[test]
fn worker_of_another_user_ends() {
    let child = rerun("as_another_user").stderr(Stdio::inherit()).output().unwrap();
    let output = String::from_utf8_lossy(&child.stdout);
    assert!(child.status.success() && output.contains("1 passed"), "{output}");
}
