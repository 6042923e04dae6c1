//! Is a set joined in async code, and is no outcome lost if a future is dropped?

use std::time::Duration;

use atasker::{TaskBuilder, TaskSet};
use atasker_tests::pool;
use futures_lite::future::{block_on, poll_once};

use crate::gated;

#[tokio::test]
async fn outcomes_are_awaited() {
    let sup = pool(2);
    let mut set: TaskSet<u32> = (0..100).map(|n| sup.spawn(move || n)).collect();
    let mut sum = 0;
    while let Some((_, outcome)) = set.join_next_async().await {
        sum += outcome.unwrap();
    }
    assert_eq!(sum, 4950);
}

#[test]
fn dropped_future_loses_nothing() {
    let sup = pool(4);
    let mut set = TaskSet::new();
    let (tasks, gates): (Vec<_>, Vec<_>) = (0..3).map(|_| gated(&sup)).unzip();
    let found: Vec<_> = tasks.iter().map(|task| task.to_ref()).collect();
    set.extend(tasks);
    for n in [1, 2, 0] {
        // A future that has registered its waker is dropped, before and after a task has ended.
        assert!(block_on(poll_once(set.join_next_async())).is_none());
        gates[n].open();
        found[n].wait().unwrap();
        drop(set.join_next_async());
        let (id, outcome) = block_on(set.join_next_async()).unwrap();
        assert_eq!((id, outcome), (found[n].id(), Ok(7)));
    }
    assert!(block_on(set.join_next_async()).is_none());
}

#[tokio::test]
async fn future_is_selected() {
    let sup = pool(2);
    let (first, gate) = gated(&sup);
    let mut set = TaskSet::new();
    set.push(first);
    for _ in 0..3 {
        tokio::select! {
            _ = set.join_next_async() => unreachable!("the task waits"),
            () = tokio::time::sleep(Duration::from_millis(1)) => {}
        }
    }
    set.spawn(TaskBuilder::new(|| 1).supervisor(&sup));
    assert_eq!(set.join_next_async().await.unwrap().1, Ok(1));
    gate.open();
    assert_eq!(set.join_next_async().await.unwrap().1, Ok(7));
}

#[test]
fn set_is_awaited_on_aloop() {
    let sup = pool(2);
    let inner = sup.clone();
    let task = sup.spawn_async(async move {
        let mut set: TaskSet<u32> = (0..10).map(|n| inner.spawn(move || n)).collect();
        let mut sum = 0;
        while let Some((_, outcome)) = set.join_next_async().await {
            sum += outcome.unwrap();
        }
        sum
    });
    assert_eq!(task.join().unwrap(), 45);
}
