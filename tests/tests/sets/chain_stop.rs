//! What does the stop of a supervisor do to chained tasks?

use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use atasker::{StopOptions, StopReport, Supervisor, Task, TaskError, TaskRef, TaskStatus};
use atasker_tests::{FAR, Gate, Watchdog, eventually, pool};

use crate::{gated, until_stopped};

/// Stops the supervisor on another thread. Returns once it is draining.
fn begin_stop(sup: &Supervisor, options: StopOptions) -> thread::JoinHandle<StopReport> {
    let ours = sup.clone();
    let stop = thread::spawn(move || ours.stop(options));
    eventually(|| !sup.is_active());
    stop
}

#[test]
fn stop_waits_for_chained_tasks() {
    let _watchdog = Watchdog::new("stop_waits_for_chained_tasks", 2 * FAR);
    let sup = pool(1);
    let (first, gate) = gated(&sup);
    let chained = first.chain(|n| n + 1).chain(|n| n + 1);
    let stop = begin_stop(&sup, StopOptions::new());
    assert_eq!(chained.status(), TaskStatus::Delayed);
    gate.open();
    assert_eq!(stop.join().unwrap().completed, 3);
    assert_eq!(chained.join().unwrap(), 9);
}

#[test]
fn stop_cancels_chained_tasks() {
    let _watchdog = Watchdog::new("stop_cancels_chained_tasks", 2 * FAR);
    let sup = pool(1);
    let first = until_stopped(&sup);
    let chained = first.chain(|_| 1).chain(|n| n + 1);
    let report = sup.stop(StopOptions::new().cancel_tasks(true));
    assert_eq!((report.completed, report.canceled, report.abandoned), (1, 2, 0));
    assert!(chained.join().unwrap_err().is_canceled());
}

#[test]
fn chained_task_ends_at_deadline() {
    let _watchdog = Watchdog::new("chained_task_ends_at_deadline", 2 * FAR);
    let sup = pool(1);
    let (first, gate) = gated(&sup);
    let found = first.to_ref();
    let chained = first.chain(|n| n + 1);
    let report = sup.stop(StopOptions::new().wait(Duration::from_millis(1)));
    assert_eq!(report.abandoned, 2);
    assert_eq!(chained.join().unwrap_err(), TaskError::SupervisorStopped);
    assert_eq!(found.error(), Some(&TaskError::SupervisorStopped));
    gate.open();
}

#[test]
fn stopped_supervisor_refuses_chained_task() {
    let sup = pool(1);
    let (good, bad) = (sup.spawn(|| 1), sup.spawn(|| -> u32 { panic!("before") }));
    assert!(good.wait().is_ok() && bad.wait().is_err());
    sup.stop(StopOptions::new());
    let refused = good.chain(|n| n + 1);
    assert_eq!(refused.status(), TaskStatus::Completed);
    assert_eq!(refused.join().unwrap_err(), TaskError::SupervisorStopped);
    // How the first one has ended says more.
    assert!(bad.chain(|n| n + 1).join().unwrap_err().is_panic());
    // A start accepts launches again.
    let again = sup.spawn(|| 1);
    assert_eq!(again.chain(|n| n + 1).join().unwrap_err(), TaskError::SupervisorStopped);
    sup.start();
    assert_eq!(sup.spawn(|| 1).chain(|n| n + 1).join().unwrap(), 2);
}

#[test]
fn draining_supervisor_refuses_launch_from_outside() {
    let _watchdog = Watchdog::new("draining_supervisor_refuses_launch_from_outside", 2 * FAR);
    let sup = pool(2);
    let (busy, gate) = gated(&sup);
    let (first, opens) = gated(&sup);
    let found = first.to_ref();
    let stop = begin_stop(&sup, StopOptions::new());
    let refused = first.chain(|n| n + 1);
    assert_eq!(refused.join().unwrap_err(), TaskError::SupervisorStopped);
    // The first one goes on without a handle.
    assert!(!found.is_completed());
    gate.open();
    opens.open();
    assert_eq!(stop.join().unwrap().completed, 2);
    busy.join().unwrap();
}

#[test]
fn draining_supervisor_accepts_chain_of_its_task() {
    let _watchdog = Watchdog::new("draining_supervisor_accepts_chain_of_its_task", 2 * FAR);
    let sup = pool(2);
    let (gate, begun) = (Gate::new(), Gate::new());
    let (waits, begins, inner) = (gate.clone(), begun.clone(), sup.clone());
    let outer = sup.spawn(move || {
        begins.open();
        waits.wait();
        inner.spawn(|| 1).chain(|n| n + 1)
    });
    begun.wait();
    let stop = begin_stop(&sup, StopOptions::new());
    gate.open();
    assert_eq!(outer.join().unwrap().join().unwrap(), 2);
    assert_eq!(stop.join().unwrap().completed, 3);
}

/// A task that stops its own supervisor, to which tasks are chained that existed before the stop
/// or, with `late`, are launched while it drains.
fn stops_itself(late: bool) {
    let sup = pool(3);
    let (begun, go) = (Gate::new(), Gate::new());
    let (stopped, reports) = mpsc::channel();
    let (ours, begins, waits) = (sup.clone(), begun.clone(), go.clone());
    let first = sup.spawn(move || {
        begins.open();
        waits.wait();
        stopped.send(ours.stop(StopOptions::new())).unwrap();
        5
    });
    begun.wait();
    let found = first.to_ref();
    let chained: Task<u32> = if late {
        // Another task of the supervisor, which may still launch.
        let opens = go.clone();
        let (ours, here) = (sup.clone(), found.clone());
        drop(first);
        let other = sup.spawn(move || {
            opens.open();
            eventually(|| !ours.is_active());
            let first: Task<u32> = here.typed().unwrap();
            first.chain(|n| n + 1).chain(|n| n + 1)
        });
        other.join().unwrap()
    } else {
        let chained = first.chain(|n| n + 1).chain(|n| n + 1);
        go.open();
        chained
    };
    let report = reports.recv_timeout(FAR).expect("the stop does not wait for what waits for it");
    assert_eq!((report.completed, report.abandoned), (u64::from(late), 0));
    found.wait().unwrap();
    // Its supervisor is stopped by then.
    assert_eq!(chained.join().unwrap_err(), TaskError::SupervisorStopped);
    eventually(|| sup.tasks().is_empty());
}

#[test]
fn task_that_stops_its_supervisor_is_chained() {
    let _watchdog = Watchdog::new("task_that_stops_its_supervisor_is_chained", 3 * FAR);
    stops_itself(false);
    stops_itself(true);
}

#[test]
fn dropped_supervisor_completes_chain() {
    let _watchdog = Watchdog::new("dropped_supervisor_completes_chain", 2 * FAR);
    let sup = pool(1);
    let (first, gate) = gated(&sup);
    let chained = first.chain(|n| n + 1);
    let found: TaskRef = chained.to_ref();
    drop(sup);
    assert!(!found.is_completed());
    gate.open();
    assert_eq!(chained.join().unwrap(), 8);
}
