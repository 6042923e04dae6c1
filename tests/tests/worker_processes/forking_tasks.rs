//! If a task forks, does the copy of its worker process ever reply to its call or take another one?

use std::fs::File;
use std::io::Write;

use atasker::{Supervisor, background_task};
use atasker_tests::mp::pool_of;
use atasker_tests::processes::Process;
use atasker_tests::{FAR, Watchdog, eventually};

/// Returns in two processes, or in one if the forked copy exits first.
#[background_task(tt = "mp")]
fn forks(exits: bool) -> (u32, u32) {
    // SAFETY: the fork has only this thread, and does only what this test verifies.
    let child = unsafe { libc::fork() };
    assert!(child >= 0);
    if child == 0 && exits {
        // SAFETY: no preconditions.
        unsafe { libc::_exit(3) };
    }
    (std::process::id(), child as u32)
}

#[background_task(tt = "mp")]
fn notes(path: &str, n: u32) -> u32 {
    let mut file = File::options().append(true).create(true).open(path).unwrap();
    file.write_all(format!("{n}\n").as_bytes()).unwrap();
    n
}

/// Borrowed arguments are readable in the fork: returns their sum as the exit code of the fork.
#[background_task(tt = "mp")]
fn sum_in_a_fork(bytes: &[u8]) -> i32 {
    // SAFETY: the fork has only this thread, only reads, and exits.
    let child = unsafe { libc::fork() };
    assert!(child >= 0);
    if child == 0 {
        let sum = bytes.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte));
        // SAFETY: no preconditions.
        unsafe { libc::_exit(sum.into()) };
    }
    let mut status = 0;
    // SAFETY: the process is a child of this one, and the pointer is valid.
    assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
    status
}

#[test]
fn fork_can_read_borrowed_arguments() {
    let _watchdog = Watchdog::new("forks that read", FAR);
    let sup = Supervisor::builder().id("lent").mp_pool(pool_of(1)).build();
    for size in [10, 1000, 100_000, 2_000_000] {
        let status = sum_in_a_fork::builder(&vec![1; size]).supervisor(&sup).start().join();
        let status = status.unwrap();
        assert!(libc::WIFEXITED(status), "{size} bytes: {status:#x}");
        assert_eq!(libc::WEXITSTATUS(status), (size % 256) as i32);
    }
}

#[test]
fn fork_neither_replies_nor_takes_calls() {
    let path = std::env::temp_dir().join(format!("atasker-{}-forks", std::process::id()));
    let sup = Supervisor::builder().id("forks").mp_pool(pool_of(1)).build();
    for round in 0..20 {
        for exits in [true, false] {
            let _watchdog = Watchdog::new(format!("round {round}, exits: {exits}"), FAR);
            let _ = std::fs::remove_file(&path);
            let forks = forks::builder(exits).supervisor(&sup).start();
            let launch = |n| notes::builder(path.to_str().unwrap(), n).supervisor(&sup).start();
            let tasks: Vec<_> = (0..20).map(launch).collect();
            let (worker, child) = forks.join().unwrap();
            assert_ne!(child, 0, "the fork has replied");
            assert_eq!(sup.info().mp_pool.unwrap().workers[0].pid, worker);
            for (n, task) in tasks.into_iter().enumerate() {
                assert_eq!(task.join().unwrap(), n as u32);
            }
            eventually(|| Process::is_gone(child));
            let lines = std::fs::read_to_string(&path).unwrap();
            assert_eq!(lines.lines().count(), 20, "{lines}");
        }
    }
    std::fs::remove_file(path).unwrap();
}
