//! Which failures of the tasks of a scope are logged? Those that no caller of `join` has received.

use std::time::Duration;

use atasker::{ScopedTask, TaskError, TaskId, scope};
use atasker_tests::events::{self, Seen};
use atasker_tests::{Gate, pool};
use tracing::Level;

/// What was logged about a task at WARN or above.
fn of(id: TaskId) -> Vec<Seen> {
    events::seen(|event| event.level <= Level::WARN && event.field("task") == id.to_string())
}

#[track_caller]
fn assert_logged_once(id: TaskId) {
    // No wait: when the scope has returned, the failure is logged.
    let seen = of(id);
    assert_eq!(seen.len(), 1, "{seen:?}");
    assert_eq!((seen[0].level, &*seen[0].message), (Level::ERROR, "task ended"));
    assert!(seen[0].field("error").contains("expected panic"), "{seen:?}");
    assert_eq!(seen[0].field("supervisor"), "t");
}

fn until_ended<R>(task: &ScopedTask<'_, R>) {
    while !task.is_completed() {
        std::thread::yield_now();
    }
}

#[test]
fn failure_without_join_is_logged_once() {
    events::record();
    let sup = pool(2);
    let fails = || panic!("expected panic");

    let gate = Gate::new();
    let dropped_before = sup.scope(|s| {
        let task = s.spawn(|| {
            gate.wait();
            fails()
        });
        let id = task.id();
        drop(task);
        gate.open();
        id
    });
    assert_logged_once(dropped_before);

    let dropped_after = sup.scope(|s| {
        let task = s.spawn(fails);
        until_ended(&task);
        assert!(of(task.id()).is_empty(), "it may still be joined");
        task.id()
    });
    assert_logged_once(dropped_after);

    let leaked = sup.scope(|s| {
        let task = s.spawn(fails);
        let id = task.id();
        std::mem::forget(task);
        id
    });
    assert_logged_once(leaked);

    let joined = scope(|s| {
        let task = s.spawn(fails);
        let id = task.id();
        assert!(task.join().unwrap_err().is_panic());
        id
    });
    assert!(of(joined).is_empty());
}

#[test]
fn race_of_end_and_drop_is_logged_once() {
    events::record();
    let sup = pool(2);
    for round in 0..300 {
        let ids = sup.scope(|s| {
            let task = s.spawn(|| panic!("expected panic"));
            let id = task.id();
            for _ in 0..round * 10 {
                std::hint::spin_loop();
            }
            match round % 3 {
                0 => drop(task),
                1 => std::mem::forget(task),
                _ => assert!(task.join().map(|(): ()| ()).unwrap_err().is_panic()),
            }
            (id, round % 3 != 2)
        });
        assert_eq!(of(ids.0).len(), usize::from(ids.1), "round {round}");
    }
}

#[test]
fn canceled_task_and_success_are_not_logged() {
    events::record();
    let sup = pool(1);
    let gate = Gate::new();
    let (fine, canceled, timed_out) = sup.scope(|s| {
        let begun = Gate::new();
        let (begins, gate) = (begun.clone(), &gate);
        let fine = s.spawn(move || {
            begins.open();
            gate.wait();
        });
        begun.wait();
        let canceled = s.spawn(|| ());
        assert!(canceled.cancel());
        gate.open();
        let late = Gate::new();
        let waits = late.clone();
        let timed_out = s.builder(move || waits.wait()).timeout(Duration::from_millis(1)).start();
        let id = timed_out.id();
        assert!(matches!(timed_out.join(), Err(TaskError::TimedOut { .. })));
        late.open();
        (fine.id(), canceled.id(), id)
    });
    assert!(of(fine).is_empty() && of(canceled).is_empty());
    // The pool says that it still occupies its slot. Its failure was passed on.
    assert!(of(timed_out).iter().all(|event| event.level == Level::WARN));
}

#[test]
fn map_logs_no_failure_of_items() {
    events::record();
    let results =
        atasker::map(0..50, |n: u32| assert!(!n.is_multiple_of(3), "expected panic of an item"));
    assert_eq!(results.iter().filter(|result| result.is_err()).count(), 17);
    let of_items = events::seen(|event| event.field("error").contains("panic of an item"));
    assert!(of_items.is_empty(), "{of_items:?}");
}
