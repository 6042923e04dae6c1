//! Does `map` return the result of each item, in order, whatever happens to the others?

use std::collections::BTreeSet;
use std::panic::catch_unwind;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use atasker::{TaskError, map};
use atasker_tests::Gate;

fn values<R: std::fmt::Debug>(results: Vec<Result<R, TaskError>>) -> Vec<R> {
    results.into_iter().map(Result::unwrap).collect()
}

#[test]
fn results_are_in_order() {
    for count in [0, 1, 2, 3, 10, 1000, 100_000] {
        let results = values(map(0..count, |n: u64| n.to_string()));
        assert_eq!(results.len() as u64, count);
        assert!(results.iter().enumerate().all(|(n, text)| *text == n.to_string()));
    }
}

#[test]
fn every_item_runs_once() {
    let seen = Arc::new(Mutex::new(BTreeSet::new()));
    let sees = seen.clone();
    let results = map(vec![(); 500].into_iter().enumerate(), move |(n, ())| {
        if n % 50 == 0 {
            std::thread::sleep(std::time::Duration::from_micros(300));
        }
        assert!(sees.lock().unwrap().insert(n), "item {n} has run already");
        n
    });
    assert_eq!(values(results), Vec::from_iter(0..500));
    assert_eq!(seen.lock().unwrap().len(), 500);
}

#[test]
fn panic_costs_its_item() {
    let results = map(0..100_u32, |n| {
        assert!(n % 10 != 3, "item {n} is bad");
        n
    });
    for (n, result) in (0..).zip(results) {
        match result {
            Err(TaskError::Panicked { message, location, .. }) => {
                assert_eq!(message, format!("item {n} is bad"));
                assert!(location.unwrap().contains("map_threads.rs"));
                assert_eq!(n % 10, 3);
            }
            other => assert_eq!(other.unwrap(), n),
        }
    }
}

#[test]
fn panic_of_iterator_is_passed_on() {
    static CALLS: AtomicU32 = AtomicU32::new(0);
    let result = catch_unwind(|| {
        let items = (0..10).inspect(|n| assert!(*n < 5, "no item 5"));
        map(items, |_| CALLS.fetch_add(1, Ordering::Relaxed))
    });
    assert!(result.is_err());
    assert_eq!(CALLS.load(Ordering::Relaxed), 0, "nothing was launched");
}

/// Panics when it is dropped.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        panic!("expected panic in a destructor");
    }
}

#[test]
fn panicking_destructors_cost_their_items() {
    let results = map((0..6).map(|n| (n, Bomb)), |(n, bomb)| {
        if n < 3 {
            std::mem::forget(bomb);
        }
        n
    });
    let ok: Vec<_> = results.iter().map(Result::is_ok).collect();
    assert_eq!(ok, [true, true, true, false, false, false]);
}

#[test]
fn values_need_only_be_send() {
    let results = map((0..10).map(std::cell::Cell::new), |cell| {
        cell.set(cell.get() + 1);
        cell
    });
    let sum: u32 = values(results).iter().map(std::cell::Cell::get).sum();
    assert_eq!(sum, 55);
}

#[test]
fn items_run_in_tasks() {
    let results = map(0..3, |_| {
        let task = atasker::current().unwrap();
        (task.id(), task.name().to_owned())
    });
    for (id, name) in values(results) {
        assert!(atasker::supervisor().task(id).is_none_or(|task| task.id() == id));
        assert!(name.contains("items_run_in_tasks"), "{name}");
    }
}

#[test]
fn gate_in_an_item_does_not_block_the_others() {
    let gate = Gate::new();
    let waits = gate.clone();
    // The first one waits for the last one.
    let results = map(0..40, move |n| match n {
        0 => waits.wait(),
        39 => waits.open(),
        _ => {}
    });
    assert_eq!(values(results).len(), 40);
    assert!(gate.is_open());
}
