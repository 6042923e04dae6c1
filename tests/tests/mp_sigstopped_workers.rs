//! Does a stopped worker process (by SIGSTOP or by a debugger) delay anything except the task that
//! it runs?

use std::time::Duration;

use atasker::{Priority, StopOptions, background_task};
use atasker_tests::mp::{occupy, pid, pool_of, run_pid, supervisor, workers};
use atasker_tests::processes::{Process, signal, stop};
use atasker_tests::{FAR, Watchdog, eventually};

#[background_task(tt = "mp")]
fn length(bytes: &[u8]) -> (usize, u32) {
    (bytes.len(), std::process::id())
}

fn resume(pid: u32) {
    signal(pid, libc::SIGCONT);
}

/// Whether a call can be taken back from a stopped worker process. A call that was sent over a socket
/// cannot: the worker process is killed, so that another one gets the call.
const CAN_REVOKE: bool = !cfg!(atasker_portable);

#[test]
fn calls_for_stopped_idle_worker_are_reassigned() {
    let _watchdog = Watchdog::new("calls for a stopped worker", FAR);
    let sup = supervisor(pool_of(1));
    let there = run_pid(&sup);
    stop(there);
    let tasks: Vec<_> = (0..20).map(|_| pid::builder().supervisor(&sup).start()).collect();
    let large = length::builder(&vec![7; 4 << 20]).supervisor(&sup).start();
    for task in tasks {
        assert_ne!(task.join().unwrap(), there);
    }
    let (len, elsewhere) = large.join().unwrap();
    assert_eq!(len, 4 << 20);
    assert_ne!(elsewhere, there);
    if !CAN_REVOKE {
        eventually(|| Process::is_gone(there));
        return;
    }
    assert!(
        workers(&sup).contains(&there),
        "a stopped worker process is kept, because it may be under a debugger"
    );

    // The worker process continues and serves again.
    resume(there);
    let (busy, _) = occupy(&sup);
    let deal = || {
        sup.set_mp_pool(pool_of(2));
        let second = run_pid(&sup);
        second == there || busy.info().worker_pid == Some(there)
    };
    eventually(deal);
    busy.stop();
    busy.join().unwrap();
    assert_eq!(sup.info().mp_pool.unwrap().restarts, 0);
}

#[test]
fn all_workers_stopped_calls_are_reassigned() {
    let _watchdog = Watchdog::new("all workers are stopped", FAR);
    let sup = supervisor(pool_of(2));
    let (first, one) = occupy(&sup);
    let (second, other) = occupy(&sup);
    for task in [first, second] {
        task.stop();
        task.join().unwrap();
    }
    stop(one);
    stop(other);
    let priorities = [Priority::Low, Priority::Normal, Priority::High, Priority::Critical];
    let launch = |n: usize| pid::builder().priority(priorities[n % 4]).supervisor(&sup).start();
    for task in (0..40).map(launch).collect::<Vec<_>>() {
        let there = task.join().unwrap();
        assert!(there != one && there != other);
    }
    if CAN_REVOKE {
        resume(one);
        resume(other);
    }
}

#[test]
fn stopped_busy_worker_delays_only_its_task() {
    let _watchdog = Watchdog::new("a stopped worker runs a task", FAR);
    let sup = supervisor(pool_of(2));
    // The pool has learned that calls are short, and sends ahead.
    for _ in 0..300 {
        run_pid(&sup);
    }
    let (busy, there) = occupy(&sup);
    stop(there);
    let others: Vec<_> = (0..300).map(|_| pid::builder().supervisor(&sup).start()).collect();
    for task in others {
        assert_ne!(task.join().unwrap(), there);
    }
    assert!(!busy.is_completed());
    resume(there);
    busy.stop();
    assert_eq!(busy.join().unwrap(), there);
}

#[test]
fn worker_that_stays_stopped_is_retired() {
    let _watchdog = Watchdog::new("a stopped worker leaves", FAR);
    let config = pool_of(1).min_size(1).idle_timeout(Duration::from_millis(10));
    let sup = supervisor(config);
    let there = run_pid(&sup);
    stop(there);
    // The stopped worker process is sent this call, does not begin it, and does not count towards
    // `min_size`.
    let elsewhere = run_pid(&sup);
    assert_ne!(elsewhere, there);
    eventually(|| Process::is_gone(there));
    eventually(|| workers(&sup) == [elsewhere]);
}

#[test]
fn supervisor_stop_ends_stopped_worker() {
    let _watchdog = Watchdog::new("a stop with a stopped worker", FAR);
    let sup = supervisor(pool_of(2));
    let (busy, one) = occupy(&sup);
    let other = run_pid(&sup);
    stop(one);
    stop(other);
    let report = sup.stop(StopOptions::new().wait(Duration::from_millis(10)));
    assert_eq!(report.abandoned, 1);
    assert!(busy.join().is_err());
    assert!(Process::is_gone(one) && Process::is_gone(other));
    assert!(sup.start());
    run_pid(&sup);
}

#[test]
fn supervisor_drop_ends_stopped_worker() {
    let _watchdog = Watchdog::new("a drop with a stopped worker", FAR);
    let sup = supervisor(pool_of(1));
    let there = run_pid(&sup);
    stop(there);
    drop(sup);
    eventually(|| Process::is_gone(there));
}

/// While a worker process is stopped, calls to it are launched and revoked: what is pending for it
/// must not grow.
#[test]
#[cfg_attr(atasker_portable, ignore = "a call that was sent over a socket cannot be canceled")]
fn revoked_calls_are_not_retained() {
    let _watchdog = Watchdog::new("canceled calls for a stopped worker", FAR);
    let sup = supervisor(pool_of(1));
    let there = run_pid(&sup);
    stop(there);
    let bytes = vec![1; 8 << 20];
    let before = atasker_tests::processes::resident();
    for _ in 0..100 {
        let task = length::builder(&bytes).supervisor(&sup).start();
        assert!(task.cancel());
    }
    let grown = atasker_tests::processes::resident().saturating_sub(before);
    // One call may be partly sent and remains until it has been delivered.
    assert!(grown < 4 * bytes.len() as u64, "{grown} bytes are retained");
    resume(there);
    assert_eq!(length::builder(&bytes).supervisor(&sup).start().join().unwrap().0, bytes.len());
}
