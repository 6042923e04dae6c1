//! Does the pool work in a program that reaps all its children or ignores SIGCHLD?
//!
//! This is one test, because it affects the whole process.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use atasker::{StopOptions, Supervisor, TaskError, background_task};
use atasker_tests::mp::{pid, pool_of, until_stopped};
use atasker_tests::processes::Process;
use atasker_tests::{FAR, Watchdog, eventually};

#[background_task(tt = "mp")]
fn aborts() {
    std::process::abort();
}

fn crash_kill_limit_and_stop() {
    let sup = Supervisor::builder().id("reaped").mp_pool(pool_of(1)).build();
    for _ in 0..10 {
        let before = pid::builder().supervisor(&sup).start().join().unwrap();
        let error = aborts::builder().supervisor(&sup).start().join().unwrap_err();
        let TaskError::WorkerDied(death) = error else { panic!("{error}") };
        assert_eq!(death.pid(), before);

        let task = until_stopped::builder().supervisor(&sup).start();
        let worker = task.recv().unwrap();
        task.kill().unwrap();
        assert!(task.join().unwrap_err().is_canceled());
        eventually(|| Process::is_gone(worker));

        let limit = Duration::from_millis(20);
        let task = until_stopped::builder().timeout(limit).supervisor(&sup).start();
        assert!(task.join().unwrap_err().is_timeout());
    }
    let last = pid::builder().supervisor(&sup).start().join().unwrap();
    sup.stop(StopOptions::new());
    assert!(Process::is_gone(last));
}

#[test]
fn tasks_end_correctly_with_foreign_reaping() {
    let _watchdog = Watchdog::new("a program that reaps all children", FAR * 2);
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                // SAFETY: the status may be null.
                if unsafe { libc::waitpid(-1, std::ptr::null_mut(), 0) } < 0 {
                    // There is no child at the moment.
                    std::thread::sleep(Duration::from_millis(1));
                }
            }
        });
        crash_kill_limit_and_stop();
        over.store(true, Ordering::Relaxed);
    });
    // SAFETY: SIG_IGN is a valid disposition.
    unsafe { libc::signal(libc::SIGCHLD, libc::SIG_IGN) };
    crash_kill_limit_and_stop();
}
