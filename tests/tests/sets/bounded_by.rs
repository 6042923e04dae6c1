//! Does `bounded_by` yield each key with the outcome of its task, like `bounded`?

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use atasker::{MpPoolConfig, PoolConfig, TaskBuilder, bounded_by};
use atasker_tests::{Gate, mp, pool, pool_with};

use crate::{Drops, doubles};

/// Neither copied nor cloned.
#[derive(Debug, PartialEq)]
struct Key(String);

#[test]
fn outcomes_come_with_their_keys() {
    let sup = pool(3);
    let builders = (0..50_u32).map(|n| {
        let builder = TaskBuilder::new(move || 10 / (n % 7)).supervisor(&sup);
        (Key(n.to_string()), builder)
    });
    let mut seen = 0;
    for (Key(key), outcome) in bounded_by(4, builders) {
        let n: u32 = key.parse().unwrap();
        seen += 1;
        match outcome {
            Ok(result) => assert_eq!(result, 10 / (n % 7)),
            Err(error) => assert!(n.is_multiple_of(7) && error.is_panic()),
        }
    }
    assert_eq!(seen, 50);
}

#[test]
fn tasks_of_worker_processes_are_bounded() {
    let sup = mp::supervisor(MpPoolConfig::new(2));
    let builders = (0..20).map(|n| (n, doubles::builder(n).supervisor(&sup)));
    let mut these: Vec<_> = bounded_by(3, builders).map(|(n, r)| (n, r.unwrap())).collect();
    these.sort_unstable();
    assert!(these.iter().enumerate().all(|(n, these)| *these == (n as u32, 2 * n as u32)));
}

#[test]
fn limit_is_kept_and_zero_counts_as_one() {
    let sup = pool_with(PoolConfig::unlimited());
    for (limit, most) in [(0, 1), (1, 1), (3, 3)] {
        let running = Arc::new(AtomicUsize::new(0));
        let builders = (0..100).map(|n| {
            let running = Arc::clone(&running);
            let builder = TaskBuilder::new(move || {
                let now = running.fetch_add(1, Ordering::SeqCst) + 1;
                std::thread::yield_now();
                running.fetch_sub(1, Ordering::SeqCst);
                now
            });
            (n, builder.supervisor(&sup))
        });
        assert!(bounded_by(limit, builders).all(|(_, now)| now.unwrap() <= most));
    }
}

#[test]
fn source_is_polled_lazily() {
    let sup = pool(3);
    let asked = AtomicUsize::new(0);
    let endless = (0_u64..).map(|n| {
        asked.fetch_add(1, Ordering::Relaxed);
        (n, TaskBuilder::new(move || n).supervisor(&sup))
    });
    let mut these = bounded_by(3, endless);
    for taken in 0..10 {
        let (key, result) = these.next().unwrap();
        assert_eq!(result.unwrap(), key);
        assert_eq!(asked.load(Ordering::Relaxed), taken + 3);
    }
    assert_eq!(format!("{these:?}"), "BoundedBy { limit: 3, launched: 12, in_flight: 2, .. }");
}

#[test]
fn size_is_known_as_far_as_that_of_the_source() {
    let sup = pool(3);
    let builders = (0..5).map(|n| (n, TaskBuilder::new(|| ()).supervisor(&sup)));
    let mut these = bounded_by(2, builders);
    for left in (0..5).rev() {
        assert_eq!(these.size_hint(), (left + 1, Some(left + 1)));
        assert!(these.next().is_some());
    }
    assert_eq!((these.size_hint(), these.next().is_none()), ((0, Some(0)), true));
    assert!(these.next().is_none());
}

#[test]
fn keys_of_dropped_iterator_are_dropped_one_by_one() {
    struct Bomb {
        _guard: crate::DropGuard,
    }
    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("dropped");
        }
    }
    let sup = pool(1);
    let (drops, gate) = (Drops::default(), Gate::new());
    let builders = (0..4).map(|n| {
        let waits = gate.clone();
        let builder = TaskBuilder::new(move || (n > 0).then(|| waits.wait()));
        (Bomb { _guard: drops.guard() }, builder.supervisor(&sup))
    });
    let mut these = bounded_by(3, builders);
    std::mem::forget(these.next());
    // Each of the two that are in flight panics.
    drop(these);
    assert_eq!(drops.count(), 2);
    gate.open();
}
