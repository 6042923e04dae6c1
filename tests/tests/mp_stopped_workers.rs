//! Does a worker process that is stopped (by SIGSTOP, by a debugger) hold anything up but the task that
//! it runs?

use std::time::Duration;

use atasker::{
    MpPoolConfig, Priority, StopOptions, Supervisor, Task, TaskContext, background_task,
};
use atasker_tests::processes::{Process, signal, stop};
use atasker_tests::{FAR, Watchdog, eventually};

#[background_task(tt = "mp")]
fn pid() -> u32 {
    std::process::id()
}

#[background_task(tt = "mp")]
fn length(bytes: &[u8]) -> (usize, u32) {
    (bytes.len(), std::process::id())
}

#[background_task(tt = "mp")]
fn until_stopped(ctx: &TaskContext<(), u32>) -> u32 {
    ctx.send(std::process::id()).unwrap();
    while !ctx.wait_stop(FAR) {}
    std::process::id()
}

fn with(config: MpPoolConfig) -> Supervisor {
    Supervisor::builder().id("stopped").mp_pool(config).build()
}

fn run_pid(sup: &Supervisor) -> u32 {
    pid::builder().supervisor(sup).start().join().unwrap()
}

fn workers(sup: &Supervisor) -> Vec<u32> {
    sup.info().mp_pool.unwrap().workers.iter().map(|worker| worker.pid).collect()
}

fn go_on(pid: u32) {
    signal(pid, libc::SIGCONT);
}

/// Has begun when this returns: where it runs.
fn occupy(sup: &Supervisor) -> (Task<u32, (), u32>, u32) {
    let task = until_stopped::builder().supervisor(sup).start();
    let pid = task.recv().unwrap();
    (task, pid)
}

#[test]
fn calls_for_an_idle_one_that_is_stopped_run_elsewhere() {
    let _watchdog = Watchdog::new("calls for a stopped worker", FAR);
    let sup = with(MpPoolConfig::new(1));
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
    assert!(workers(&sup).contains(&there), "somebody may want to look at it");

    // It goes on where it was, and serves again.
    go_on(there);
    let (busy, _) = occupy(&sup);
    let deal = || {
        sup.set_mp_pool(MpPoolConfig::new(2));
        let second = run_pid(&sup);
        second == there || busy.info().worker_pid == Some(there)
    };
    eventually(deal);
    busy.stop();
    busy.join().unwrap();
    assert_eq!(sup.info().mp_pool.unwrap().restarts, 0);
}

#[test]
fn no_matter_how_many_are() {
    let _watchdog = Watchdog::new("all workers are stopped", FAR);
    let sup = with(MpPoolConfig::new(2));
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
    go_on(one);
    go_on(other);
}

#[test]
fn the_task_that_runs_there_waits_and_no_other() {
    let _watchdog = Watchdog::new("a stopped worker runs a task", FAR);
    let sup = with(MpPoolConfig::new(2));
    // The pool has learnt that calls are short, and sends ahead.
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
    go_on(there);
    busy.stop();
    assert_eq!(busy.join().unwrap(), there);
}

#[test]
fn one_that_stays_so_leaves_like_an_idle_one() {
    let _watchdog = Watchdog::new("a stopped worker leaves", FAR);
    let config = MpPoolConfig::new(1).min_size(1).idle_timeout(Duration::from_millis(10));
    let sup = with(config);
    let there = run_pid(&sup);
    stop(there);
    // It gets this one, does not begin it, and is not what `min_size` asks for.
    let elsewhere = run_pid(&sup);
    assert_ne!(elsewhere, there);
    eventually(|| Process::is_gone(there));
    eventually(|| workers(&sup) == [elsewhere]);
}

#[test]
fn a_stop_of_the_supervisor_ends_it() {
    let _watchdog = Watchdog::new("a stop with a stopped worker", FAR);
    let sup = with(MpPoolConfig::new(2));
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
fn a_drop_of_the_supervisor_ends_it() {
    let _watchdog = Watchdog::new("a drop with a stopped worker", FAR);
    let sup = with(MpPoolConfig::new(1));
    let there = run_pid(&sup);
    stop(there);
    drop(sup);
    eventually(|| Process::is_gone(there));
}

/// While a worker is stopped, calls to it are launched and taken back again: what waits for it must
/// not grow.
#[test]
fn what_is_taken_back_from_it_is_not_kept() {
    let _watchdog = Watchdog::new("canceled calls for a stopped worker", FAR);
    let sup = with(MpPoolConfig::new(1));
    let there = run_pid(&sup);
    stop(there);
    let bytes = vec![1; 8 << 20];
    let before = atasker_tests::processes::resident();
    for _ in 0..100 {
        let task = length::builder(&bytes).supervisor(&sup).start();
        assert!(task.cancel());
    }
    let grown = atasker_tests::processes::resident().saturating_sub(before);
    // One of them may be on its way in part, and stays until it is there.
    assert!(grown < 4 * bytes.len() as u64, "{grown} bytes are kept");
    go_on(there);
    assert_eq!(length::builder(&bytes).supervisor(&sup).start().join().unwrap().0, bytes.len());
}
