//! Can tasks use scopes, at any depth and in a pool of one thread, without a deadlock?

use atasker::{Supervisor, scope};
use atasker_tests::{FAR, Watchdog, pool};

/// The number of leaves of a tree of scopes.
fn leaves(sup: &Supervisor, depth: u32) -> u32 {
    if depth == 0 {
        return 1;
    }
    sup.scope(|s| {
        let tasks = [(); 2].map(|()| s.spawn(|| leaves(sup, depth - 1)));
        tasks.map(|task| task.join().unwrap()).iter().sum()
    })
}

/// The same, without `join`: only the end of the scope waits.
fn count(sup: &Supervisor, depth: u32, into: &std::sync::atomic::AtomicU32) {
    if depth == 0 {
        into.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        return;
    }
    sup.scope(|s| {
        for _ in 0..2 {
            s.spawn(|| count(sup, depth - 1, into));
        }
    });
}

#[test]
fn pool_of_one_thread_runs_nested_scopes() {
    let sup = pool(1);
    let watchdog = Watchdog::new("nested scopes", FAR);
    watchdog.watch(&sup);
    assert_eq!(leaves(&sup, 5), 32);
    let total = std::sync::atomic::AtomicU32::new(0);
    count(&sup, 5, &total);
    assert_eq!(total.into_inner(), 32);
}

#[test]
fn scope_in_a_task_releases_its_slot() {
    let sup = pool(1);
    let watchdog = Watchdog::new("a scope in a task", FAR);
    watchdog.watch(&sup);
    let inner = sup.clone();
    let task = sup.spawn(move || {
        let mut seen = Vec::new();
        inner.scope(|s| {
            s.spawn(|| seen.push(1));
        });
        seen
    });
    assert_eq!(task.join().unwrap(), [1]);
}

#[test]
fn scopes_of_different_supervisors_are_nested() {
    let sup = pool(1);
    let mut number = 0;
    scope(|outer| {
        outer.spawn(|| {
            sup.scope(|inner| {
                inner.spawn(|| number += 1);
            });
            number += 1;
        });
    });
    assert_eq!(number, 2);
}
