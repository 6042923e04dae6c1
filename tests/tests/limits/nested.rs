//! Does a task that waits for another one of its limit deadlock?

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use atasker::{
    KeyedLimit, Limit, Supervisor, TaskBuilder, WaitError, as_completed, bounded, wait_any,
    wait_completed, wait_settled,
};
use atasker_tests::{FAR, Gate, Watchdog, pool};

fn nested(sup: &Supervisor, limit: &Arc<Limit>, depth: u32) -> u32 {
    if depth == 0 {
        return 0;
    }
    let (ours, its) = (sup.clone(), Arc::clone(limit));
    let task = TaskBuilder::new(move || nested(&ours, &its, depth - 1) + 1);
    task.limit(limit).supervisor(sup).start().join().unwrap()
}

#[test]
fn nesting_to_any_depth_runs_on_one_share() {
    let _watchdog = Watchdog::new("nested limits", FAR);
    let limit = Arc::new(Limit::concurrency(1));
    let sup = pool(1);
    assert_eq!(nested(&sup, &limit, 20), 20);
}

#[test]
fn every_kind_of_wait_lends_the_share() {
    let _watchdog = Watchdog::new("waits with limits", FAR);
    let limit = Arc::new(Limit::concurrency(1));
    let sup = pool(1);
    let (ours, its) = (sup.clone(), Arc::clone(&limit));
    let outer = TaskBuilder::new(move || {
        let one = |n: u32| TaskBuilder::new(move || n).limit(&its).supervisor(&ours);
        let start = |n: u32| one(n).start();
        assert_eq!(start(1).wait().unwrap(), &1);
        assert_eq!(start(1).wait_timeout(FAR).unwrap(), &1);
        assert_eq!(wait_completed!(start(1), vec![start(2), start(3)]).unwrap(), (1, vec![2, 3]));
        assert!(wait_settled!(start(1), start(2)).1.is_ok());
        assert_eq!(wait_any!(vec![start(7)]).unwrap(), (0, 7));
        let tasks: Vec<_> = (0..100).map(start).collect();
        assert_eq!(as_completed(tasks).map(|(_, n)| n.unwrap()).sum::<u32>(), 4_950);
        let builders = (0..100).map(one);
        assert_eq!(bounded(7, builders).map(|(_, n)| n.unwrap()).sum::<u32>(), 4_950);
        let reference = start(5).to_ref();
        reference.wait().unwrap();
    });
    outer.limit(&limit).supervisor(&sup).start().join().unwrap();
}

#[test]
fn an_await_lends_the_share() {
    let _watchdog = Watchdog::new("awaits with limits", FAR);
    let limit = Arc::new(Limit::concurrency(1));
    let sup = pool(1);
    let (ours, its) = (sup.clone(), Arc::clone(&limit));
    let outer = TaskBuilder::future(async move {
        let start = |n: u32| TaskBuilder::new(move || n).limit(&its).supervisor(&ours).start();
        let on_loop = TaskBuilder::future(async { 2 }).limit(&its).supervisor(&ours).start();
        let mut sum = start(1).await.unwrap() + on_loop.await.unwrap();
        let (a, b) = (start(10), start(20));
        sum += b.await.unwrap() + a.await.unwrap();
        sum
    });
    assert_eq!(outer.limit(&limit).supervisor(&sup).start().join(), Ok(33));
}

#[test]
fn tasks_on_a_share_run_one_at_a_time() {
    let limit = Arc::new(Limit::concurrency(1));
    let sup = pool(4);
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (ours, its, peak) = (sup.clone(), Arc::clone(&limit), Arc::clone(&most));
    let outer = TaskBuilder::new(move || {
        let tasks: Vec<_> = (0..200)
            .map(|_| {
                let (now, most) = (Arc::clone(&now), Arc::clone(&peak));
                TaskBuilder::new(move || {
                    most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    std::thread::yield_now();
                    now.fetch_sub(1, Ordering::SeqCst);
                })
                .limit(&its)
                .supervisor(&ours)
                .start()
            })
            .collect();
        wait_completed!(tasks).unwrap();
    });
    outer.limit(&limit).supervisor(&sup).start().join().unwrap();
    assert_eq!(most.load(Ordering::SeqCst), 1);
}

#[test]
fn only_the_same_key_runs_on_the_share() {
    static LIMIT: KeyedLimit<u8> = KeyedLimit::concurrency(1);
    let sup = pool(4);
    let (begun, gate) = (Gate::new(), Gate::new());
    let (begins, waits) = (begun.clone(), gate.clone());
    let other_key = TaskBuilder::new(move || {
        begins.open();
        waits.wait();
    });
    let other_key = other_key.limit(LIMIT.key(&2)).supervisor(&sup).start();
    begun.wait();
    let ours = sup.clone();
    let outer = TaskBuilder::new(move || {
        let same = TaskBuilder::new(|| 1).limit(LIMIT.key(&1)).supervisor(&ours).start();
        assert_eq!(same.join(), Ok(1));
        let other = TaskBuilder::new(|| 2).limit(LIMIT.key(&2)).supervisor(&ours).start();
        match other.wait_timeout(Duration::from_millis(20)) {
            Err(WaitError::Timeout { .. }) => {}
            result => panic!("it runs although its key is taken: {result:?}"),
        }
        other
    });
    let other = outer.limit(LIMIT.key(&1)).supervisor(&sup).start().join().unwrap();
    gate.open();
    assert_eq!(other.join(), Ok(2));
    other_key.join().unwrap();
}

#[test]
fn a_wait_that_is_given_up_takes_the_share_back() {
    let limit = Arc::new(Limit::concurrency(1));
    let sup = pool(4);
    let (ours, its) = (sup.clone(), Arc::clone(&limit));
    let outer = TaskBuilder::new(move || {
        let gate = Gate::new();
        let waits = gate.clone();
        let builder = TaskBuilder::new(move || waits.wait());
        let task = builder.limit(&its).supervisor(&ours).start();
        assert!(task.wait_timeout(Duration::from_millis(20)).is_err());
        // It runs on the share until it returns, then the next one may.
        let next = TaskBuilder::new(|| 1).limit(&its).supervisor(&ours).start();
        gate.open();
        task.join().unwrap();
        next.join().unwrap()
    });
    assert_eq!(outer.limit(&limit).supervisor(&sup).start().join(), Ok(1));
    let after = TaskBuilder::new(|| 2).limit(&limit).supervisor(&sup).start();
    assert_eq!(after.join(), Ok(2));
}

#[test]
fn a_scope_lends_the_share_of_the_task_that_waits_for_it() {
    let _watchdog = Watchdog::new("scopes with limits", FAR);
    let limit = Arc::new(Limit::concurrency(1));
    let sup = pool(2);
    let (ours, its) = (sup.clone(), Arc::clone(&limit));
    let outer = TaskBuilder::new(move || {
        let (count, its) = (AtomicUsize::new(0), &its);
        ours.scope(|s| {
            for _ in 0..10 {
                let nested = || {
                    // Launched while the scope waits.
                    s.builder(|| count.fetch_add(1, Ordering::SeqCst)).limit(its).start();
                };
                s.builder(nested).limit(its).start();
            }
        });
        count.into_inner()
    });
    assert_eq!(outer.limit(&limit).supervisor(&sup).start().join(), Ok(10));
}

#[test]
fn a_wait_for_a_chained_task_lends_to_the_first_one() {
    let _watchdog = Watchdog::new("chains with limits", FAR);
    let limit = Arc::new(Limit::concurrency(1));
    let sup = pool(2);
    let (ours, its) = (sup.clone(), Arc::clone(&limit));
    let outer = TaskBuilder::new(move || {
        let first = TaskBuilder::new(|| 1).limit(&its).supervisor(&ours).start();
        first.chain(|n| n + 1).chain(|n| n + 1).join().unwrap()
    });
    assert_eq!(outer.limit(&limit).supervisor(&sup).start().join(), Ok(3));
}
