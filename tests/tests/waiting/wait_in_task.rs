//! Can a task in a pool of one use every kind of wait, and does an aloop reject blocking waits?

use std::time::Duration;

use atasker::{
    Supervisor, Task, TaskBuilder, as_completed, bounded, wait_any, wait_completed, wait_settled,
};

use crate::one_slot;

#[test]
fn every_kind_of_wait_in_pool_of_one() {
    let sup = one_slot();
    let inner = sup.clone();
    let outer = sup.spawn(move || {
        let sup = inner;
        let task = |n: u32| sup.spawn(move || n);
        let (a, b) = wait_completed!(task(1), task(2)).unwrap();
        let list = wait_completed!(vec![task(3), task(4)], timeout = Duration::MAX).unwrap();
        let (c, d) = wait_settled!(task(5), task(6));
        let (_, e) = wait_any!([task(7), task(7)]).unwrap();
        let f: u32 = as_completed(vec![task(8), task(9)]).map(|(_, r)| r.unwrap()).sum();
        let builders = (10..13).map(|n| TaskBuilder::new(move || n).supervisor(&sup));
        let g: u32 = bounded(2, builders).map(|(_, r)| r.unwrap()).sum();
        a + b + list.iter().sum::<u32>() + c.unwrap() + d.unwrap() + e + f + g
    });
    assert_eq!(outer.join().unwrap(), (1..13).sum::<u32>());
    assert_eq!(sup.info().thread_pool.blocked, 0);
}

#[test]
fn waits_at_any_depth() {
    fn count(sup: &Supervisor, depth: u32) -> u64 {
        if depth == 0 {
            return 1;
        }
        let half = || {
            let sup2 = sup.clone();
            sup.spawn(move || count(&sup2, depth - 1))
        };
        match depth % 3 {
            0 => as_completed([half(), half()]).map(|(_, r)| r.unwrap()).sum(),
            1 => wait_completed!(half(), half()).map(|(a, b)| a + b).unwrap(),
            _ => {
                let both = [half(), half()];
                let (first, n) = wait_any!(&both).unwrap();
                n + both[1 - first].wait().unwrap()
            }
        }
    }
    let sup = one_slot();
    let inner = sup.clone();
    assert_eq!(sup.spawn(move || count(&inner, 7)).join().unwrap(), 1 << 7);
}

#[test]
fn blocking_wait_on_aloop_panics_with_advice() {
    let sup = one_slot();
    // The loop cannot end the task before the wait has panicked.
    let refused = |wait: fn(Task<u32>)| {
        let never = sup.spawn_async(std::future::pending::<u32>());
        let id = never.id();
        let error = sup.spawn_async(async move { wait(never) }).join().unwrap_err();
        assert!(error.is_panic());
        assert!(error.to_string().contains(".await"), "{error}");
        if let Some(task) = sup.task(id) {
            task.kill().unwrap();
        }
    };
    refused(|task| drop(wait_completed!(task)));
    refused(|task| drop(wait_settled!(task)));
    refused(|task| drop(wait_any!(task)));
    refused(|task| drop(as_completed([task]).next()));
    // These waits do not have to block.
    let done = sup.spawn(|| 1);
    done.wait().unwrap();
    let both = sup.spawn_async(async move {
        let (n, _) = (*wait_completed!(&done).unwrap(), wait_any!(&done).unwrap());
        n + as_completed([done]).map(|(_, r)| r.unwrap()).sum::<i32>()
    });
    assert_eq!(both.join().unwrap(), 2);
}

#[test]
fn non_sync_results_are_moved_and_borrowed() {
    let sup = one_slot();
    let tasks: Vec<_> = (0..3).map(|n| sup.spawn(move || std::cell::Cell::new(n))).collect();
    let (first, second) = tasks.split_at(1);
    let (a, b) = wait_completed!(first, second).unwrap();
    b[1].set(a[0].get() + 10);
    let values: Vec<i32> = wait_completed!(tasks).unwrap().iter().map(|c| c.get()).collect();
    assert_eq!(values, [0, 1, 10]);
}
