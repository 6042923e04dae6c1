//! What is the bar of `wait_completed!` and `wait_settled!`?

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;
use std::time::Duration;

use atasker::{Task, TaskError, WaitError, wait_completed, wait_settled};
use atasker_tests::{FAR, eventually};
use atasker_tests_seen::screen::Screen;

use crate::{SHORT, gated, unlimited};

#[test]
fn bar_counts_ended_tasks_of_all() {
    let (sup, screen) = (unlimited(), Screen::new());
    let (gates, tasks): (Vec<_>, Vec<_>) = (0..3).map(|n| gated(&sup, n)).unzip();
    let waiter = thread::spawn(move || wait_completed!(tasks, progress = "indexing"));
    eventually(|| screen.shows("indexing"));
    assert!(screen.shows("0/3"), "{}", screen.text());
    for (n, gate) in [(1, &gates[1]), (2, &gates[0])] {
        gate.open();
        eventually(|| screen.shows(&format!("{n}/3")));
        assert!(screen.shows("indexing"), "{}", screen.text());
    }
    gates[2].open();
    assert_eq!(waiter.join().unwrap().unwrap(), [0, 1, 2]);
    assert!(screen.is_clear(), "{}", screen.text());
}

#[test]
fn bar_counts_failures_and_cancellations() {
    let (sup, screen) = (unlimited(), Screen::new());
    let (gate, task) = gated(&sup, 1);
    let fails = sup.spawn(|| panic!("expected"));
    let delayed = atasker::TaskBuilder::new(|| 1).delay(FAR).supervisor(&sup).start();
    delayed.cancel();
    let waiter = thread::spawn(move || wait_settled!(task, fails, delayed, progress = "settling"));
    eventually(|| screen.shows("settling") && screen.shows("2/3"));
    gate.open();
    let (task, fails, delayed): (_, Result<(), TaskError>, _) = waiter.join().unwrap();
    assert_eq!(task.unwrap(), 1);
    assert!(fails.unwrap_err().is_panic());
    assert!(delayed.unwrap_err().is_canceled());
    assert!(screen.is_clear(), "{}", screen.text());
}

#[test]
fn every_task_of_nested_lists_counts() {
    let (sup, screen) = (unlimited(), Screen::new());
    let (gates, tasks): (Vec<_>, Vec<_>) = (0..6).map(|n| gated(&sup, n)).unzip();
    thread::scope(|scope| {
        let (one, rest) = tasks.split_first().unwrap();
        let waiter = scope.spawn(move || {
            let references: Vec<&Task<i32>> = rest[2..].iter().collect();
            let nested = (&rest[..2], [&rest[2]]);
            let _ = wait_settled!(one, nested, &references, progress = "nested");
        });
        // One task is in two lists.
        eventually(|| screen.shows("0/7"));
        gates[3].open();
        eventually(|| screen.shows("2/7"));
        gates.iter().for_each(|gate| gate.open());
        waiter.join().unwrap();
    });
    assert!(screen.is_clear(), "{}", screen.text());
}

#[test]
fn single_task_has_a_bar() {
    let (sup, screen) = (unlimited(), Screen::new());
    let (gate, task) = gated(&sup, "done");
    let waiter = thread::spawn(move || wait_completed!(task, progress = String::from("one")));
    eventually(|| screen.shows("one") && screen.shows("0/1"));
    gate.open();
    assert_eq!(waiter.join().unwrap().unwrap(), "done");
    assert!(screen.is_clear(), "{}", screen.text());
}

#[test]
fn stop_request_does_not_count_as_end() {
    let (sup, screen) = (unlimited(), Screen::new());
    let (gates, tasks): (Vec<_>, Vec<_>) = (0..2).map(|n| gated(&sup, n)).unzip();
    thread::scope(|scope| {
        let waiter = scope.spawn(|| wait_completed!(&tasks, progress = "stopping"));
        eventually(|| screen.shows("0/2"));
        tasks[0].stop();
        gates[1].open();
        eventually(|| screen.shows("1/2"));
        gates[0].open();
        assert_eq!(waiter.join().unwrap().unwrap(), [&0, &1]);
    });
}

#[test]
fn timeout_and_progress_are_accepted_in_any_order_and_place() {
    let (sup, screen) = (unlimited(), Screen::new());
    let quick = |n: i32| sup.spawn(move || n);
    let (far, label) = (Some(FAR), "any order");
    assert_eq!(wait_completed!(quick(1), timeout = far, progress = label).unwrap(), 1);
    assert_eq!(wait_completed!(quick(1), progress = label, timeout = FAR,).unwrap(), 1);
    assert_eq!(wait_completed!(progress = label, quick(1), timeout = FAR).unwrap(), 1);
    assert_eq!(wait_completed!(timeout = FAR, quick(1), progress = label).unwrap(), 1);
    let pair = wait_completed!(timeout = FAR, progress = label, quick(1), quick(2)).unwrap();
    assert_eq!(pair, (1, 2));
    let pair = wait_completed!(quick(1), progress = label, quick(2), timeout = far).unwrap();
    assert_eq!(pair, (1, 2));
    let pair =
        wait_completed!(quick(1), timeout = None, quick(2), progress = label, crate = atasker);
    assert_eq!(pair.unwrap(), (1, 2));
    let (a, b) = wait_settled!(quick(1), progress = label, quick(2));
    assert_eq!((a.unwrap(), b.unwrap()), (1, 2));
    assert_eq!(wait_settled!(progress = label, quick(1)).unwrap(), 1);
    assert!(screen.is_clear(), "{}", screen.text());
}

#[test]
fn bar_is_cleared_after_a_timeout() {
    let (sup, screen) = (unlimited(), Screen::new());
    let (gate, task) = gated(&sup, 1);
    let outcome = wait_completed!(&task, progress = "late", timeout = SHORT);
    assert!(matches!(outcome, Err(WaitError::Timeout { pending }) if pending == [task.id()]));
    assert!(screen.is_clear(), "{}", screen.text());
    assert!(screen.draws() > 0);
    gate.open();
    assert_eq!(task.join().unwrap(), 1);
    assert!(screen.is_clear(), "{}", screen.text());
}

#[test]
fn bar_is_cleared_by_a_panicking_wait() {
    let (sup, screen) = (unlimited(), Screen::new());
    let (gate, task) = gated(&sup, 1);
    // A blocking wait panics on the thread of an aloop.
    let wait = sup.spawn_async(async move {
        let wait = || wait_completed!(&task, progress = "on a loop");
        catch_unwind(AssertUnwindSafe(wait)).is_err()
    });
    assert!(wait.join().unwrap());
    assert!(screen.is_clear(), "{}", screen.text());
    assert!(screen.draws() > 0);
    gate.open();
}

#[test]
fn waits_of_several_threads_have_a_bar_each() {
    let (sup, screen) = (unlimited(), Screen::new());
    let (gates, tasks): (Vec<_>, Vec<_>) = (0..5).map(|n| gated(&sup, n)).unzip();
    thread::scope(|scope| {
        let first = scope.spawn(|| wait_completed!(&tasks[..2], progress = "first"));
        let second = scope.spawn(|| wait_completed!(&tasks[2..], progress = "second"));
        eventually(|| screen.shows("0/2") && screen.shows("0/3"));
        gates[..2].iter().for_each(|gate| gate.open());
        first.join().unwrap().unwrap();
        let text = screen.text();
        assert!(!text.contains("first") && text.contains("second"), "{text}");
        gates[2..].iter().for_each(|gate| gate.open());
        second.join().unwrap().unwrap();
    });
    assert!(screen.is_clear(), "{}", screen.text());
}

#[test]
fn empty_list_is_complete() {
    let screen = Screen::new();
    let none: Vec<Task<()>> =
        wait_completed!(Vec::<Task<Task<()>>>::new(), progress = "none").unwrap_or_default();
    assert!(none.is_empty());
    assert!(screen.is_clear(), "{}", screen.text());
}

#[test]
fn many_short_waits_leave_nothing() {
    let (sup, screen) = (unlimited(), Screen::new());
    for n in 0..200 {
        assert_eq!(wait_completed!(sup.spawn(move || n), progress = "short").unwrap(), n);
        assert!(screen.is_clear(), "{n}: {}", screen.text());
    }
    eventually(|| !crate::draws());
}

#[test]
fn long_label_and_narrow_terminal_are_cleared() {
    let (sup, screen) = (unlimited(), Screen::new());
    let (gate, task) = gated(&sup, 1);
    let label = "x".repeat(usize::from(Screen::COLUMNS) * 2);
    let waiter = thread::spawn(move || {
        wait_completed!(task, progress = label, timeout = Duration::from_secs(60))
    });
    eventually(|| screen.shows("0/1"));
    gate.open();
    waiter.join().unwrap().unwrap();
    assert!(screen.is_clear(), "{}", screen.text());
}
