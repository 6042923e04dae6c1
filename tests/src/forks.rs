//! Forking in tests.

use std::time::{Duration, Instant};

use atasker::TaskError;

use crate::FAR;

/// Forks, calls `f` in the fork, and ends the fork by `exit` or by `_exit`. Returns its exit code.
///
/// # Panics
/// If the fork hangs or crashes.
pub fn fork(exits: bool, f: impl FnOnce() -> i32) -> i32 {
    // SAFETY: the fork has only this thread, and uses only what is permitted in a fork, which is
    // what these tests verify.
    let child = unsafe { libc::fork() };
    assert!(child >= 0);
    if child == 0 {
        let code = std::panic::catch_unwind(std::panic::AssertUnwindSafe(f)).unwrap_or(99);
        if exits {
            // Not std's, which first waits for a lock of std that a thread may have held during the
            // fork because it was starting or exiting.
            // SAFETY: no other thread calls it in the fork.
            unsafe { libc::exit(code) };
        }
        // SAFETY: no preconditions.
        unsafe { libc::_exit(code) };
    }
    wait_for(child)
}

/// Waits for a child and returns its exit code.
///
/// # Panics
/// If the child hangs or crashes.
pub fn wait_for(child: i32) -> i32 {
    let end = Instant::now() + FAR;
    loop {
        let mut status = 0;
        // SAFETY: the process is a child of this one, and the pointer is valid.
        match unsafe { libc::waitpid(child, &mut status, libc::WNOHANG) } {
            0 if Instant::now() > end => {
                // SAFETY: the process is a child of this one and has not been waited for.
                unsafe { libc::kill(child, libc::SIGKILL) };
                panic!("the fork hangs");
            }
            0 => std::thread::sleep(Duration::from_millis(1)),
            _ => {
                assert!(libc::WIFEXITED(status), "the fork crashed: {status:#x}");
                return libc::WEXITSTATUS(status);
            }
        }
    }
}

/// Returns whether the result is the error of launches and waits in a fork.
pub fn refused<T>(result: Result<T, TaskError>) -> bool {
    match result {
        Err(TaskError::NotStarted { detail, .. }) => detail.contains("fork"),
        _ => false,
    }
}

/// Evaluates the checks in order. Returns 0, or from the function the number of the failed check.
#[macro_export]
macro_rules! checks {
    ($($check:expr),+ $(,)?) => {{
        let mut number = 0;
        $(
            number += 1;
            if !$check {
                eprintln!("check failed in the fork: {}", stringify!($check));
                return number;
            }
        )+
        let _ = number;
        0
    }};
}
