//! What can the tasks of a scope borrow, and what do their handles return?

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

use atasker::{Priority, ScopedTask, TaskError, TaskStatus, current, scope, supervisor};
use atasker_tests::{Gate, pool};

#[test]
fn tasks_borrow_from_caller() {
    let words = [String::from("a"), String::from("bb"), String::from("ccc")];
    let mut lengths = [0; 3];
    let returned = scope(|s| {
        for (word, length) in words.iter().zip(&mut lengths) {
            s.spawn(move || *length = word.len());
        }
        "returned"
    });
    assert_eq!((returned, lengths), ("returned", [1, 2, 3]));
    assert_eq!(words.concat(), "abbccc");
}

#[test]
fn results_borrow_from_caller() {
    let text = String::from("left right");
    let halves: (&str, &str) = scope(|s| {
        let left = s.spawn(|| text.split(' ').next().unwrap());
        let right = s.spawn(|| text.split(' ').next_back().unwrap());
        (left.join().unwrap(), right.join().unwrap())
    });
    assert_eq!(halves, ("left", "right"));
}

#[test]
fn values_that_are_only_send_are_moved_in_and_out() {
    let cell = std::cell::Cell::new(1);
    let cell = scope(|s| {
        let task = s.spawn(move || {
            cell.set(cell.get() + 1);
            cell
        });
        task.join().unwrap()
    });
    assert_eq!(cell.get(), 2);
}

#[test]
fn tasks_spawn_tasks_of_the_same_scope() {
    let seen = Mutex::new(Vec::new());
    scope(|s| {
        let seen = &seen;
        s.spawn(move || {
            for n in 0..10 {
                s.spawn(move || {
                    s.spawn(move || seen.lock().unwrap().push(n));
                });
            }
        });
    });
    let mut seen = seen.into_inner().unwrap();
    seen.sort();
    assert_eq!(seen, Vec::from_iter(0..10));
}

#[test]
fn handle_is_joined_by_another_task() {
    let base = 20;
    let sum = scope(|s| {
        let first: ScopedTask<'_, i32> = s.spawn(|| base + 1);
        let second = s.spawn(move || first.join().unwrap() * 2);
        second.join().unwrap()
    });
    assert_eq!(sum, 42);
}

#[test]
fn panic_is_error_of_its_task() {
    let text = String::from("borrowed");
    scope(|s| {
        let bad = s.spawn(|| -> usize { panic!("about {text}") });
        let good = s.spawn(|| text.len());
        match bad.join().unwrap_err() {
            TaskError::Panicked { message, location, .. } => {
                assert_eq!(message, "about borrowed");
                assert!(location.unwrap().contains("scope_results.rs"));
            }
            other => panic!("{other}"),
        }
        assert_eq!(good.join().unwrap(), 8);
    });
}

#[test]
fn builder_sets_options() {
    let sup = pool(1);
    let info = sup.scope(|s| {
        let task = s
            .builder(|| {
                let task = current().unwrap();
                (task.id(), task.name().to_owned(), sup.tasks())
            })
            .name(format!("number {}", 7))
            .priority(Priority::High)
            .timeout(Duration::from_secs(600))
            .start();
        let id = task.id();
        let (seen, name, tasks) = task.join().unwrap();
        assert_eq!((seen, &*name), (id, "number 7"));
        tasks.into_iter().find(|task| task.id == id).unwrap()
    });
    assert_eq!((&*info.name, info.priority), ("number 7", Priority::High));
    assert_eq!(info.status, TaskStatus::Started);
}

#[test]
fn unused_builder_drops_its_function() {
    let number = std::sync::Arc::new(1);
    let kept = number.clone();
    scope(|s| {
        drop(s.builder(move || kept));
        // A leaked one drops nothing, and is not waited for.
        std::mem::forget(s.builder(|| ()));
    });
    assert_eq!(std::sync::Arc::strong_count(&number), 1);
}

#[test]
fn canceled_task_never_runs() {
    let sup = pool(1);
    let gate = Gate::new();
    let mut ran = false;
    sup.scope(|s| {
        let begun = Gate::new();
        let (begins, gate) = (begun.clone(), &gate);
        let first = s.spawn(move || {
            begins.open();
            gate.wait();
        });
        begun.wait();
        let second = s.spawn(|| ran = true);
        assert!(!first.is_completed() && !second.is_completed());
        assert!(second.cancel());
        assert!(second.is_completed());
        assert!(matches!(second.join(), Err(TaskError::Canceled)));
        assert!(!first.cancel(), "it runs");
        gate.open();
        first.join().unwrap();
    });
    assert!(!ran);
}

#[test]
fn stop_is_seen_by_the_task() {
    let begun = Gate::new();
    scope(|s| {
        let task = s.spawn(|| {
            begun.open();
            while !current().unwrap().stopped() {
                std::thread::yield_now();
            }
            "stopped"
        });
        begun.wait();
        task.stop();
        assert_eq!(task.join().unwrap(), "stopped");
    });
}

#[test]
fn untyped_handle_does_not_reach_the_result() {
    let (begun, gate) = (Gate::new(), Gate::new());
    let number = 5;
    scope(|s| {
        let task = s.spawn(|| {
            begun.open();
            gate.wait();
            &number
        });
        begun.wait();
        let found = supervisor().task(task.id()).unwrap();
        gate.open();
        found.wait().unwrap();
        assert!(found.result_cloned::<&'static i32>().is_none());
        assert_eq!(found.result_cloned::<()>().unwrap().unwrap(), ());
        assert_eq!(task.join().unwrap(), &5);
    });
}

#[test]
fn many_tasks_fill_one_map() {
    let totals: Mutex<HashMap<u32, u32>> = Mutex::default();
    let sup = pool(4);
    sup.scope(|s| {
        for n in 0..1000 {
            let totals = &totals;
            s.spawn(move || *totals.lock().unwrap().entry(n % 7).or_default() += n);
        }
    });
    let sum: u32 = totals.into_inner().unwrap().into_values().sum();
    assert_eq!(sum, 999 * 1000 / 2);
    assert!(sup.tasks().is_empty(), "when the scope has returned, its tasks have ended");
}
