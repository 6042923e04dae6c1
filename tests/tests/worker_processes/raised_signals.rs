//! Does a signal that a task raises end its worker process as a fault would?

use atasker::{TaskError, background_task};

#[background_task(tt = "mp")]
fn raise(signal: i32) {
    // SAFETY: `raise` may be called at any time.
    unsafe { libc::raise(signal) };
}

#[background_task(tt = "mp")]
fn fault() -> u8 {
    // SAFETY: none; this crash is the subject of the test.
    unsafe { std::ptr::without_provenance::<u8>(8).read_volatile() }
}

fn cause<R>(outcome: Result<R, TaskError>) -> String {
    match outcome {
        Err(TaskError::WorkerDied(death)) => death.cause().to_string(),
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("the task survived"),
    }
}

#[test]
fn raised_signal_is_cause_of_death() {
    for (signal, name) in [
        (libc::SIGSEGV, "SIGSEGV (11)"),
        (libc::SIGBUS, "SIGBUS (7)"),
        (libc::SIGHUP, "SIGHUP (1)"),
        (libc::SIGABRT, "SIGABRT (6)"),
        (libc::SIGTERM, "SIGTERM (15)"),
        (libc::SIGKILL, "SIGKILL (9)"),
    ] {
        assert_eq!(cause(raise(signal).join()), name);
    }
    assert_eq!(cause(fault().join()), "SIGSEGV (11)");
}
