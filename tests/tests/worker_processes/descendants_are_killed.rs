//! Do processes that a task has started end with its worker process, also outside of its process
//! group or session: after a kill, a time limit, a stop, and an idle timeout?

use std::time::Duration;

use atasker::{StopOptions, Supervisor, Task, TaskContext, background_task};
use atasker_tests::mp::{pool_of, supervisor};
use atasker_tests::processes::{Process, shell};
use atasker_tests::{FAR, Watchdog, eventually};

/// Starts a shell in a separate session, with a child, both of which ignore signals, and a shell in
/// the group of the worker process whose child has a separate session.
fn start_others() -> Vec<u32> {
    let ignoring = "trap '' TERM HUP INT; sleep 1000 & echo $!; wait";
    [shell(ignoring, true), shell("setsid sleep 1000 & echo $!; wait", false)].concat()
}

#[background_task(tt = "mp")]
fn starts_others(ctx: &TaskContext<(), Vec<u32>>, stays: bool) {
    // On a thread that ends: the children belong to its process.
    let pids = std::thread::spawn(start_others).join().unwrap();
    ctx.send([pids, start_others()].concat()).unwrap();
    if stays {
        loop {
            std::hint::spin_loop();
        }
    }
}

fn start(sup: &Supervisor, stays: bool) -> (Task<(), (), Vec<u32>>, Vec<u32>) {
    let task = starts_others::builder(stays).supervisor(sup).start();
    let pids = task.recv().unwrap();
    assert_eq!(pids.len(), 8);
    (task, pids)
}

#[track_caller]
fn all_go(pids: &[u32]) {
    for pid in pids {
        eventually(|| Process::is_gone(*pid));
    }
}

#[test]
fn kill_ends_descendants() {
    let _watchdog = Watchdog::new("descendants of a killed task", 2 * FAR);
    let sup = supervisor(pool_of(2));
    let (other, others) = start(&sup, true);
    let (task, pids) = start(&sup, true);
    assert!(pids.iter().all(|pid| !Process::is_gone(*pid)));
    task.kill().unwrap();
    assert!(task.join().unwrap_err().is_canceled());
    all_go(&pids);
    // The other worker process is unaffected.
    assert!(!other.is_completed() && others.iter().all(|pid| !Process::is_gone(*pid)));
    other.kill().unwrap();
    all_go(&others);
}

#[test]
fn time_limit_ends_descendants() {
    let _watchdog = Watchdog::new("descendants of a timed-out task", 2 * FAR);
    let sup = supervisor(pool_of(1));
    let task =
        starts_others::builder(true).timeout(Duration::from_secs(6)).supervisor(&sup).start();
    let pids = task.recv().unwrap();
    assert!(task.join().unwrap_err().is_timeout());
    all_go(&pids);
}

#[test]
fn supervisor_stop_ends_descendants() {
    let _watchdog = Watchdog::new("descendants of stopped worker processes", 2 * FAR);
    let sup = supervisor(pool_of(2));
    let (idle, mut pids) = start(&sup, false);
    idle.join().unwrap();
    let (busy, others) = start(&sup, true);
    pids.extend(others);
    sup.stop(StopOptions::new().wait(Duration::from_millis(1)));
    assert!(busy.join().is_err());
    all_go(&pids);
}

#[test]
fn idle_timeout_ends_descendants() {
    let _watchdog = Watchdog::new("descendants of an idle worker process", 2 * FAR);
    let sup = supervisor(pool_of(1).idle_timeout(Duration::from_millis(1)));
    let (task, pids) = start(&sup, false);
    task.join().unwrap();
    all_go(&pids);
    let info = sup.info().mp_pool.unwrap();
    assert_eq!((info.restarts, info.tasks_run), (0, 1));
}
