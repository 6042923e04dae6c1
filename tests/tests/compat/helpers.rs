//! Do the helpers in `compat` behave like those of the Python libraries?

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use atasker::TaskBuilder;
use atasker::compat::{Locker, g, wait_until_done};
use atasker_tests::{FAR, pool};

#[test]
fn values_are_found_by_name_and_type() {
    assert!(!g().has("n"));
    assert_eq!(g().get::<i32>("n"), None);
    g().set("n", 5);
    g().set(String::from("text"), "five");
    assert_eq!(g().get("n"), Some(5));
    assert_eq!(g().get::<u32>("n"), None);
    assert_eq!(g().get::<&str>("text"), Some("five"));
    g().set("n", vec![1]);
    assert_eq!((g().get::<i32>("n"), g().get("n")), (None, Some(vec![1])));
    assert!(g().clear("n") && !g().clear("n") && !g().has("n"));
    assert!(g().has("text"));
    g().clear_all();
    assert!(!g().has("text"));
}

#[test]
fn values_are_thread_local() {
    let sup = pool(1);
    g().set("whose", "the test's");
    // The pool's only thread has a separate value.
    let set = || {
        let before = g().get::<&str>("whose");
        g().set("whose", "the pool's");
        before
    };
    assert_eq!(sup.spawn(set).join().unwrap(), None);
    assert_eq!(sup.spawn(set).join().unwrap(), Some("the pool's"));
    assert_eq!(g().get::<&str>("whose"), Some("the test's"));
}

#[test]
fn lock_is_reentrant() {
    static LOCK: Locker = Locker::new("static").timeout(FAR);
    let count = Arc::new(AtomicU32::new(0));
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..100 {
                    let outer = LOCK.lock().unwrap();
                    let before = count.load(Ordering::Relaxed);
                    LOCK.with(thread::yield_now).unwrap();
                    count.store(before + 1, Ordering::Relaxed);
                    drop(outer);
                }
            });
        }
    });
    assert_eq!(count.load(Ordering::Relaxed), 400);
}

#[test]
fn lock_times_out() {
    let calls = Arc::new(AtomicU32::new(0));
    let called = Arc::clone(&calls);
    let lock = Locker::new("main").timeout(Duration::from_millis(10)).on_critical(move || {
        called.fetch_add(1, Ordering::Relaxed);
        panic!("expected panic");
    });
    let guard = lock.lock().unwrap();
    thread::scope(|scope| {
        scope.spawn(|| {
            let error = lock.lock().unwrap_err();
            assert_eq!((error.name(), error.timeout()), ("main", Duration::from_millis(10)));
            assert_eq!(error.to_string(), "the lock `main` was not free within 10ms");
            assert_eq!(lock.with(|| 1), None);
        });
    });
    assert_eq!(calls.load(Ordering::Relaxed), 2);
    drop(guard);
    // The lock is released, also by a panic.
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        lock.with(|| panic!("inside"));
    }));
    assert!(panicked.is_err());
    thread::scope(|scope| {
        scope.spawn(|| assert_eq!(lock.with(|| 1), Some(1)));
    });
    assert_eq!(calls.load(Ordering::Relaxed), 2);
}

#[test]
fn wait_until_done_returns_result() {
    let sup = pool(1);
    let (go, gate) = mpsc::channel();
    let task = TaskBuilder::new(move || gate.recv().unwrap()).supervisor(&sup).start();
    let waiter = thread::spawn(move || wait_until_done(task));
    go.send(7).unwrap();
    assert_eq!(waiter.join().unwrap(), Ok(7));
    // The same within a task, in a pool of one.
    let inner = sup.clone();
    let outer = sup.spawn(move || wait_until_done(inner.spawn(|| panic!("deliberate panic"))));
    let failed: Result<(), _> = outer.join().unwrap();
    assert!(failed.unwrap_err().is_panic());
}
