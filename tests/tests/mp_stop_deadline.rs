//! Does a stop end at its deadline regardless of the state of the worker processes?

use std::time::{Duration, Instant};

use atasker::{StopOptions, Supervisor, TaskError};
use atasker_tests::mp::{pid, pool_of, supervisor};
use atasker_tests::processes::{Process, children};
use atasker_tests::{FAR, Watchdog, eventually};

fn never_ends() {
    loop {
        std::thread::park();
    }
}

/// Stops with a deadline of half a second, and asserts that it takes less than the 5 s that a
/// worker process has without a deadline.
#[track_caller]
fn stop(sup: &Supervisor) {
    let begin = Instant::now();
    sup.stop(StopOptions::new().wait(Duration::from_millis(500)));
    let time = begin.elapsed();
    assert!(time < Duration::from_secs(3), "{time:?}");
}

fn first_worker(sup: &Supervisor) -> u32 {
    let first = || sup.info().mp_pool.unwrap().workers.first().map(|worker| worker.pid);
    eventually(|| first().is_some());
    first().unwrap()
}

#[test]
fn worker_in_init_is_killed() {
    let _watchdog = Watchdog::new("a worker_init that never ends", FAR);
    let sup = supervisor(pool_of(1).worker_init(never_ends));
    let task = pid::builder().supervisor(&sup).start();
    let worker = first_worker(&sup);
    stop(&sup);
    assert_eq!(task.join().unwrap_err(), TaskError::SupervisorStopped);
    assert!(Process::is_gone(worker));
}

#[test]
fn eagerly_started_worker_is_killed() {
    let _watchdog = Watchdog::new("a worker_init that never ends", FAR);
    let sup = supervisor(pool_of(2).min_size(2).worker_init(never_ends));
    sup.start();
    first_worker(&sup);
    stop(&sup);
    eventually(|| children().is_empty());
}

#[test]
fn worker_in_exit_is_killed() {
    let _watchdog = Watchdog::new("a worker_exit that never ends", FAR);
    let sup = supervisor(pool_of(1).worker_exit(never_ends));
    let worker = pid::builder().supervisor(&sup).start().join().unwrap();
    stop(&sup);
    assert!(Process::is_gone(worker));
    // The same again after a restart.
    sup.start();
    let worker = pid::builder().supervisor(&sup).start().join().unwrap();
    stop(&sup);
    assert!(Process::is_gone(worker));
}

#[test]
fn retiring_worker_is_killed() {
    let _watchdog = Watchdog::new("a worker_exit that never ends", FAR);
    // The worker process has run its maximum number of tasks, or has old settings.
    for replaced in [false, true] {
        let config = pool_of(1).worker_exit(never_ends);
        let tasks = if replaced { 1_000 } else { 1 };
        let sup = supervisor(config.max_tasks_per_worker(tasks));
        let worker = pid::builder().supervisor(&sup).start().join().unwrap();
        if replaced {
            sup.set_mp_pool(pool_of(1));
        }
        stop(&sup);
        assert!(Process::is_gone(worker));
    }
}

#[test]
fn expired_deadline_allows_orderly_exit() {
    let sup = supervisor(pool_of(1));
    let worker = pid::builder().supervisor(&sup).start().join().unwrap();
    sup.stop(StopOptions::new().wait(Duration::ZERO));
    assert!(Process::is_gone(worker));
}
