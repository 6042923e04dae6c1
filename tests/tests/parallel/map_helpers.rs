//! How many tasks does a map use, and what if the pool is small, busy or stopped?

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Barrier};
use std::time::Duration;

use atasker::__private::MapOptions;
use atasker::{Overflow, PoolConfig, Priority, StopOptions, Supervisor, TaskError};
use atasker_tests::{FAR, Gate, Watchdog, eventually, occupy, pool, pool_with};

fn over(sup: &Supervisor) -> MapOptions {
    MapOptions::new().supervisor(sup)
}

#[test]
fn small_map_uses_one_task() {
    let sup = pool(4);
    // A busy machine may make ten items take longer than it takes to wake a thread.
    eventually(|| {
        let before = sup.info().thread_pool.tasks_run;
        let results = over(&sup).threads(0..10, |n: u32| n + 1);
        assert_eq!(results.len(), 10);
        eventually(|| sup.info().thread_pool.running == 0);
        sup.info().thread_pool.tasks_run - before == 1
    });
}

#[test]
fn items_that_wait_for_each_other_use_all_slots() {
    let _watchdog = Watchdog::new("items that wait for each other", FAR);
    for short in [0, 20_000] {
        let sup = pool(5);
        let barrier = Arc::new(Barrier::new(5));
        // Even if they come after many short ones.
        let results = over(&sup).threads(0..short + 5, move |n| {
            if n >= short {
                barrier.wait();
            }
        });
        assert!(results.iter().all(Result::is_ok));
        eventually(|| sup.info().thread_pool.running == 0);
        assert!(sup.info().thread_pool.tasks_run <= 5, "no more tasks than slots");
    }
}

#[test]
fn nested_maps_work_in_a_pool_of_one_thread() {
    let sup = pool(1);
    let watchdog = Watchdog::new("nested maps", FAR);
    watchdog.watch(&sup);
    fn leaves(sup: &Supervisor, depth: u32) -> u32 {
        if depth == 0 {
            return 1;
        }
        let inner = sup.clone();
        let results = over(sup).threads(0..3, move |_| leaves(&inner, depth - 1));
        results.into_iter().map(Result::unwrap).sum()
    }
    assert_eq!(leaves(&sup, 4), 81);
    let inner = sup.clone();
    assert_eq!(sup.spawn(move || leaves(&inner, 3)).join().unwrap(), 27);
}

#[test]
fn map_does_not_wait_for_a_slot_that_is_not_needed() {
    let sup = pool(2);
    let watchdog = Watchdog::new("a map in a busy pool", FAR);
    watchdog.watch(&sup);
    let (task, gate) = occupy(&sup, Priority::Normal);
    let results = over(&sup).threads(0..20, |n| {
        std::thread::sleep(Duration::from_millis(1));
        n
    });
    assert!(results.into_iter().map(Result::unwrap).eq(0..20));
    assert!(!gate.is_open() && sup.tasks().len() == 1);
    gate.open();
    task.join().unwrap();
}

#[test]
fn stopped_supervisor_fails_all_items() {
    let sup = pool(2);
    sup.stop(StopOptions::new());
    let results = over(&sup).threads(0..10, |_| -> u32 { unreachable!() });
    assert!(results.iter().all(|result| *result == Err(TaskError::SupervisorStopped)));
}

#[test]
fn full_queue_fails_all_items() {
    let sup = pool_with(PoolConfig::new(1).queue_limit(0, Overflow::Reject));
    let (task, gate) = occupy(&sup, Priority::Normal);
    let results = over(&sup).threads(0..10, |n| n);
    assert!(results.iter().all(|result| *result == Err(TaskError::QueueFull)));
    gate.open();
    task.join().unwrap();
    eventually(|| sup.info().thread_pool.running == 0);
    assert!(over(&sup).threads(0..10, |n| n).into_iter().map(Result::unwrap).eq(0..10));
}

/// Counts its drops.
struct Counted(Arc<AtomicU32>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn canceled_map_drops_its_items() {
    let sup = pool(1);
    let (task, gate) = occupy(&sup, Priority::Normal);
    let drops = Arc::new(AtomicU32::new(0));
    let items = [(); 10].map(|()| Counted(drops.clone()));
    let results = std::thread::scope(|s| {
        let map = s.spawn(|| over(&sup).name("canceled").threads(items, drop));
        let queued = || sup.tasks().into_iter().find(|task| task.name == "canceled");
        eventually(|| queued().is_some());
        assert!(sup.task(queued().unwrap().id).unwrap().cancel());
        map.join().unwrap()
    });
    assert!(results.iter().all(|result| *result == Err(TaskError::Canceled)));
    assert_eq!(drops.load(Ordering::Relaxed), 10);
    gate.open();
    task.join().unwrap();
}

#[test]
fn stop_ends_the_map_with_the_items_in_progress() {
    let sup = pool(2);
    let begun = Gate::new();
    let begins = begun.clone();
    let results = std::thread::scope(|s| {
        let map = s.spawn(|| {
            over(&sup).threads(0..1000, move |n| {
                begins.open();
                while !atasker::current().unwrap().stopped() {
                    std::thread::yield_now();
                }
                n
            })
        });
        begun.wait();
        sup.stop(StopOptions::new().cancel_tasks(true));
        map.join().unwrap()
    });
    let done = results.iter().filter(|result| result.is_ok()).count();
    assert!((1..=2).contains(&done), "{done}");
    let others = results.iter().filter(|result| result.is_err());
    assert!({ others }.all(|result| *result == Err(TaskError::Canceled)));
}

#[test]
fn deadline_of_a_stop_ends_the_map_with_the_items_in_progress() {
    let sup = pool(1);
    let (begun, gate) = (Gate::new(), Gate::new());
    let (begins, waits) = (begun.clone(), gate.clone());
    let results = std::thread::scope(|s| {
        let map = s.spawn(|| {
            over(&sup).threads(0..10, move |n| {
                begins.open();
                waits.wait();
                n
            })
        });
        begun.wait();
        let report = sup.stop(StopOptions::new().wait(Duration::ZERO));
        assert_eq!(report.abandoned, 1);
        gate.open();
        map.join().unwrap()
    });
    assert_eq!(results[0], Ok(0));
    assert!(results[1..].iter().all(|result| *result == Err(TaskError::SupervisorStopped)));
}

#[test]
fn critical_map_runs_in_a_busy_pool() {
    let sup = pool(1);
    let (task, gate) = occupy(&sup, Priority::Normal);
    let options = over(&sup).priority(Priority::Critical);
    assert!(options.threads(0..10, |n| n).into_iter().map(Result::unwrap).eq(0..10));
    gate.open();
    task.join().unwrap();
}
