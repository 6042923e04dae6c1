//! When does a scope return? Not before all functions have returned and everything that borrows is
//! dropped, whatever has become of the tasks and of their handles.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use atasker::{Overflow, PoolConfig, Priority, StopOptions, TaskError, scope, supervisor};
use atasker_tests::{FAR, Gate, Watchdog, occupy, pool, pool_with};

/// Counts its drops in a variable of the test.
struct Counted<'a>(&'a AtomicU32);

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// Reads the borrowed variable a while after the gate is open, so that a scope that does not wait
/// for it is likely to be noticed.
fn slow(gate: &Gate, done: &AtomicBool) {
    gate.wait();
    std::thread::sleep(Duration::from_millis(20));
    done.store(true, Ordering::Relaxed);
}

#[test]
fn unjoined_tasks_are_waited_for() {
    let (gate, done) = (Gate::new(), AtomicBool::new(false));
    scope(|s| {
        s.spawn(|| slow(&gate, &done));
        gate.open();
    });
    assert!(done.into_inner());
}

#[test]
fn leaked_handles_are_waited_for_and_keep_their_results() {
    let _watchdog = Watchdog::new("a scope with leaked handles", FAR);
    let (gate, done, drops) = (Gate::new(), AtomicBool::new(false), AtomicU32::new(0));
    scope(|s| {
        let function = Counted(&drops);
        std::mem::forget(s.spawn(|| {
            let _function = function;
            slow(&gate, &done);
            Counted(&drops)
        }));
        gate.open();
    });
    assert!(done.into_inner());
    // The function was dropped. The result was leaked together with its owner.
    assert_eq!(drops.into_inner(), 1);
}

#[test]
fn panic_in_scope_continues_after_the_wait() {
    let (gate, done) = (Gate::new(), AtomicBool::new(false));
    let result = catch_unwind(AssertUnwindSafe(|| {
        scope(|s| {
            s.spawn(|| slow(&gate, &done));
            gate.open();
            panic!("in the scope");
        })
    }));
    let payload = result.map(|(): ()| ()).unwrap_err();
    assert_eq!(payload.downcast_ref(), Some(&"in the scope"));
    assert!(done.into_inner());
}

#[test]
fn time_limit_ends_the_task_but_not_the_wait() {
    let (gate, done, drops) = (Gate::new(), AtomicBool::new(false), AtomicU32::new(0));
    scope(|s| {
        let (gate, done, drops) = (&gate, &done, &drops);
        let task = s
            .builder(move || {
                slow(gate, done);
                Counted(drops)
            })
            .timeout(Duration::from_millis(1))
            .start();
        let result = task.join().map(drop);
        assert!(matches!(result, Err(TaskError::TimedOut { .. })), "{result:?}");
        assert!(!done.load(Ordering::Relaxed), "the function still runs");
        gate.open();
    });
    assert!(done.into_inner());
    assert_eq!(drops.into_inner(), 1, "its late result is dropped before the scope returns");
}

#[test]
fn stopped_supervisor_abandons_tasks_that_the_scope_waits_for() {
    let sup = pool(1);
    let (begun, gate) = (Gate::new(), Gate::new());
    let (done, drops) = (AtomicBool::new(false), AtomicU32::new(0));
    sup.scope(|s| {
        let running = s.spawn(|| {
            begun.open();
            slow(&gate, &done);
        });
        begun.wait();
        let counted = Counted(&drops);
        let queued = s.spawn(move || drop(counted));
        let report = sup.stop(StopOptions::new().wait(Duration::ZERO));
        assert_eq!(report.abandoned, 2);
        for task in [running, queued] {
            assert!(matches!(task.join(), Err(TaskError::SupervisorStopped)));
        }
        assert!(!done.load(Ordering::Relaxed));
        assert_eq!(drops.load(Ordering::Relaxed), 1, "a task that never runs drops its function");
        // A late launch is rejected, and its function dropped at once.
        let counted = Counted(&drops);
        let late = s.spawn(move || drop(counted));
        assert!(late.is_completed());
        assert_eq!(drops.load(Ordering::Relaxed), 2);
        assert!(matches!(late.join(), Err(TaskError::SupervisorStopped)));
        gate.open();
    });
    assert!(done.into_inner());
}

#[test]
fn rejected_launch_drops_its_function_at_once() {
    let sup = pool_with(PoolConfig::new(1).queue_limit(1, Overflow::Reject));
    let (task, gate) = occupy(&sup, Priority::Normal);
    let drops = AtomicU32::new(0);
    sup.scope(|s| {
        let first = s.spawn(|| ());
        let counted = Counted(&drops);
        let second = s.spawn(move || drop(counted));
        assert!(matches!(second.join(), Err(TaskError::QueueFull)));
        assert_eq!(drops.load(Ordering::Relaxed), 1);
        gate.open();
        first.join().unwrap();
    });
    task.join().unwrap();
}

#[test]
fn canceled_task_drops_its_function_before_the_scope_returns() {
    let sup = pool(1);
    let (task, gate) = occupy(&sup, Priority::Normal);
    let drops = AtomicU32::new(0);
    sup.scope(|s| {
        let counted = Counted(&drops);
        // Canceled by an untyped handle, which also keeps the task alive.
        let found = sup.task(s.spawn(move || drop(counted)).id()).unwrap();
        assert!(found.cancel());
        assert_eq!(drops.load(Ordering::Relaxed), 1);
        std::mem::forget(found);
    });
    gate.open();
    task.join().unwrap();
}

#[test]
fn result_is_dropped_although_an_untyped_handle_keeps_the_task() {
    let (begun, gate, drops) = (Gate::new(), Gate::new(), AtomicU32::new(0));
    let mut found = None;
    scope(|s| {
        let task = s.spawn(|| {
            begun.open();
            gate.wait();
            Counted(&drops)
        });
        begun.wait();
        found = supervisor().task(task.id());
        gate.open();
    });
    assert_eq!(drops.into_inner(), 1);
    found.unwrap().wait().unwrap();
}

#[test]
fn results_that_own_handles_are_dropped() {
    let drops = AtomicU32::new(0);
    scope(|s| {
        let inner = s.spawn(|| Counted(&drops));
        let outer = s.spawn(move || inner);
        let outermost = s.spawn(move || outer);
        drop(outermost);
    });
    assert_eq!(drops.into_inner(), 1);
}

/// Panics when it is dropped.
struct Bomb<'a>(&'a AtomicU32);

impl Drop for Bomb<'_> {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::Relaxed);
        panic!("expected panic in a destructor");
    }
}

#[test]
fn panicking_destructors_harm_nothing() {
    let _watchdog = Watchdog::new("a scope with panicking destructors", FAR);
    let sup = pool(1);
    let drops = AtomicU32::new(0);
    let done = AtomicBool::new(false);
    sup.scope(|s| {
        let (gate, begun) = (Gate::new(), Gate::new());
        let (waits, begins) = (gate.clone(), begun.clone());
        s.spawn(move || {
            begins.open();
            waits.wait();
        });
        begun.wait();
        let bomb = Bomb(&drops);
        let canceled = s.spawn(move || {
            let _bomb = bomb;
        });
        assert!(canceled.cancel());
        assert_eq!(drops.load(Ordering::Relaxed), 1);
        // Dropped by the function itself.
        let bomb = Bomb(&drops);
        let panicked = s.spawn(move || drop(bomb));
        // A result that nobody takes, and one that is dropped with its handle.
        s.spawn(|| Bomb(&drops));
        let unwanted = s.spawn(|| Bomb(&drops));
        s.spawn(|| done.store(true, Ordering::Relaxed));
        gate.open();
        assert!(panicked.join().unwrap_err().is_panic());
        while !unwanted.is_completed() {
            std::thread::yield_now();
        }
        drop(unwanted);
    });
    assert_eq!(drops.into_inner(), 4);
    assert!(done.into_inner());
}

#[test]
fn exit_in_scope_ends_the_process() {
    const CHILD: &str = "scope_waits::exits_while_tasks_run";
    let output = atasker_tests::processes::rerun(CHILD).output().unwrap();
    assert_eq!(output.status.code(), Some(7), "{output:?}");
}

#[test]
#[ignore = "run by another test"]
fn exits_while_tasks_run() {
    let gate = Gate::new();
    let begun = Gate::new();
    scope(|s| {
        s.spawn(|| {
            begun.open();
            gate.wait();
        });
        begun.wait();
        std::process::exit(7);
    });
}
