//! Does `bounded` respect its limit, stay lazy, and yield every outcome?

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, mpsc};

use atasker::{TaskBuilder, TaskContext, bounded};

use crate::unlimited;

#[test]
fn concurrency_never_exceeds_limit() {
    let sup = unlimited();
    let running = Arc::new(AtomicUsize::new(0));
    let builders = (0..500_usize).map(|n| {
        let running = Arc::clone(&running);
        TaskBuilder::new(move || {
            let now = running.fetch_add(1, Ordering::SeqCst) + 1;
            std::thread::yield_now();
            running.fetch_sub(1, Ordering::SeqCst);
            (n, now)
        })
        .supervisor(&sup)
    });
    let mut seen = vec![0; 500];
    for (i, result) in bounded(7, builders) {
        let (n, most) = result.unwrap();
        assert_eq!(i, n);
        assert!(most <= 7, "{most} tasks ran concurrently");
        seen[i] += 1;
    }
    assert!(seen.iter().all(|times| *times == 1));
}

#[test]
fn concurrency_reaches_limit() {
    let sup = unlimited();
    // No task passes the barrier unless all seven run concurrently.
    let barrier = Arc::new(Barrier::new(7));
    let builders = (0..21).map(|_| {
        let barrier = Arc::clone(&barrier);
        TaskBuilder::new(move || barrier.wait().is_leader()).supervisor(&sup)
    });
    // One group after the other: a new task starts when an outcome is taken.
    assert_eq!(bounded(7, builders).filter(|(_, result)| result.is_ok()).count(), 21);
}

#[test]
fn source_is_polled_lazily() {
    let sup = unlimited();
    let asked = AtomicUsize::new(0);
    let endless = (0_u64..).map(|n| {
        asked.fetch_add(1, Ordering::Relaxed);
        TaskBuilder::new(move || n).supervisor(&sup)
    });
    let mut these = bounded(3, endless);
    assert_eq!(asked.load(Ordering::Relaxed), 0);
    for taken in 0..10 {
        let (i, result) = these.next().unwrap();
        assert_eq!(result.unwrap(), i as u64);
        assert_eq!(asked.load(Ordering::Relaxed), taken + 3);
    }
}

#[test]
fn yields_in_completion_order() {
    let sup = unlimited();
    let (gates, waits): (Vec<_>, Vec<_>) = (0..4).map(|_| mpsc::channel::<()>()).unzip();
    let builders = waits.into_iter().enumerate().map(|(n, gate)| {
        TaskBuilder::new(move || {
            gate.recv().unwrap();
            n
        })
        .supervisor(&sup)
    });
    let mut these = bounded(4, builders);
    for n in [2, 0, 3, 1] {
        gates[n].send(()).unwrap();
        let (i, result) = these.next().unwrap();
        assert_eq!((i, result.unwrap()), (n, n));
    }
    assert!(these.next().is_none());
    assert!(these.next().is_none());
}

#[test]
fn failure_does_not_stop_others() {
    let sup = unlimited();
    let builders = (0..30_u32).map(|n| {
        TaskBuilder::new(move || if n % 3 == 0 { panic!("{n}") } else { n }).supervisor(&sup)
    });
    let (good, bad): (Vec<_>, Vec<_>) =
        bounded(4, builders).partition(|(_, result)| result.is_ok());
    assert_eq!((good.len(), bad.len()), (20, 10));
    assert!(bad.iter().all(|(i, _)| i % 3 == 0));
}

#[test]
fn dropped_iterator_starts_no_more_tasks() {
    let sup = unlimited();
    let started = Arc::new(AtomicUsize::new(0));
    let (open, gates): (Vec<_>, Vec<_>) = (0..10).map(|_| mpsc::channel::<()>()).unzip();
    let (say, said) = mpsc::channel();
    let builders = gates.into_iter().enumerate().map(|(n, gate)| {
        started.fetch_add(1, Ordering::SeqCst);
        let say = say.clone();
        TaskBuilder::new(move || {
            gate.recv().unwrap();
            say.send(n).unwrap();
        })
        .supervisor(&sup)
    });
    let mut these = bounded(3, builders);
    open[1].send(()).unwrap();
    assert_eq!(these.next().unwrap().0, 1);
    assert_eq!(said.recv().unwrap(), 1);
    drop(these);
    assert_eq!(started.load(Ordering::SeqCst), 3);
    open[0].send(()).unwrap();
    assert_eq!(said.recv().unwrap(), 0);
    open[2].send(()).unwrap();
    assert_eq!(said.recv().unwrap(), 2);
}

#[test]
fn accepts_any_iterator_of_builders() {
    let sup = unlimited();
    let list = vec![
        TaskBuilder::new(|| 1).supervisor(&sup),
        TaskBuilder::future(async { 2 }).supervisor(&sup),
        TaskBuilder::repeatable(|| 3).supervisor(&sup),
    ];
    let mut seen: Vec<_> = bounded(2, list).map(|(i, r)| (i, r.unwrap())).collect();
    seen.sort();
    assert_eq!(seen, [(0, 1), (1, 2), (2, 3)]);

    // With contexts, one at a time; a limit of 0 is raised to 1.
    let with_context = (0..3).map(|n| {
        TaskBuilder::with_context(move |ctx: &TaskContext<u8, u8>| {
            ctx.progress(n, 3);
            n
        })
        .supervisor(&sup)
    });
    let seen: Vec<_> = bounded(0, with_context).map(|(i, r)| (i, r.unwrap())).collect();
    assert_eq!(seen, [(0, 0), (1, 1), (2, 2)]);

    assert_eq!(bounded(5, Vec::<TaskBuilder<u8>>::new()).count(), 0);
    let half = bounded(usize::MAX, (0..4).map(|n| TaskBuilder::new(move || n).supervisor(&sup)));
    assert_eq!(half.size_hint(), (4, Some(4)));
    assert_eq!(half.map(|(_, r)| r.unwrap()).sum::<i32>(), 6);
}

#[test]
fn panicking_source_loses_no_task() {
    let sup = unlimited();
    let builders = (0..6).map(|n| {
        assert!(n != 3, "panic in the source");
        TaskBuilder::new(move || n).supervisor(&sup)
    });
    let mut these = bounded(2, builders);
    let mut seen = Vec::new();
    for _ in 0..3 {
        let step = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| these.next()));
        seen.extend(step.ok().flatten().map(|(_, result)| result.unwrap()));
    }
    seen.extend(these.map(|(_, result)| result.unwrap()));
    seen.sort();
    assert_eq!(seen, [0, 1, 2, 4, 5]);
}
