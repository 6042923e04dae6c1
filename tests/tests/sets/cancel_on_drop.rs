//! Does `cancel_on_drop` cancel exactly the tasks whose outcomes were not given out?

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use atasker::{MpPoolConfig, Supervisor, Task, TaskBuilder, as_completed, bounded, bounded_by};
use atasker_tests::{Gate, eventually, mp, pool};
use futures_lite::{Stream, StreamExt, future::block_on};

use crate::{sends_pid, until_stopped};

/// A task that has ended, one that runs until it is stopped, and two that are queued.
fn tasks(sup: &Supervisor) -> [Task<bool>; 4] {
    let ended = sup.spawn(|| false);
    ended.wait().unwrap();
    [ended, until_stopped(sup), sup.spawn(|| false), sup.spawn(|| false)]
}

/// Takes one outcome, drops the rest, and checks what has become of the tasks.
fn check(sup: &Supervisor, take: impl FnOnce([Task<bool>; 4]) -> bool) {
    let tasks = tasks(sup);
    let found = [0, 1, 2, 3].map(|n| tasks[n].to_ref());
    assert!(!take(tasks), "the first one was given out");
    assert!(found[2].wait().unwrap_err().is_canceled());
    assert!(found[3].wait().unwrap_err().is_canceled());
    found[1].wait().unwrap();
    assert!(found[1].result_cloned::<bool>().unwrap().unwrap(), "it was asked to stop");
}

fn first(stream: impl Stream<Item = (usize, Result<bool, atasker::TaskError>)> + Unpin) -> bool {
    let mut stream = stream;
    block_on(stream.next()).unwrap().1.unwrap()
}

#[test]
fn iterator_over_tasks_cancels() {
    let sup = pool(1);
    check(&sup, |tasks| as_completed(tasks).cancel_on_drop().next().unwrap().1.unwrap());
    check(&sup, |tasks| first(as_completed(tasks).cancel_on_drop().into_stream()));
}

#[test]
fn iterator_over_references_cancels() {
    let sup = pool(1);
    check(&sup, |tasks| *as_completed(&tasks).cancel_on_drop().next().unwrap().1.unwrap());
    // Without it, the tasks go on.
    let tasks = tasks(&sup);
    assert!(!*as_completed(&tasks).next().unwrap().1.unwrap());
    tasks[1].stop();
    assert!(tasks[1].wait().unwrap() & !tasks[2].wait().unwrap() & !tasks[3].wait().unwrap());
}

/// Builders of tasks of which the first returns, and the others run until they are stopped.
fn builders(
    sup: &Supervisor,
    ended: &Arc<AtomicUsize>,
) -> impl Iterator<Item = TaskBuilder<bool>> + Send {
    let (sup, ended) = (sup.clone(), Arc::clone(ended));
    (0..4).map(move |n| {
        let ended = Arc::clone(&ended);
        let builder = TaskBuilder::with_context(move |ctx: &atasker::TaskContext| {
            let stopped = n > 0 && ctx.wait_stop(atasker_tests::FAR);
            ended.fetch_add(1, Ordering::SeqCst);
            stopped
        });
        builder.supervisor(&sup)
    })
}

#[test]
fn bounded_iterators_cancel() {
    let sup = pool(2);
    let ended = Arc::new(AtomicUsize::new(0));
    let by = || builders(&sup, &ended).enumerate();
    for case in 0..4 {
        let first = match case {
            0 => bounded(3, builders(&sup, &ended)).cancel_on_drop().next().unwrap().1.unwrap(),
            1 => bounded_by(3, by()).cancel_on_drop().next().unwrap().1.unwrap(),
            2 => first(bounded(3, builders(&sup, &ended)).cancel_on_drop().into_stream()),
            _ => first(bounded_by(3, by()).cancel_on_drop().into_stream()),
        };
        assert!(!first);
        // Those that run return, those that wait never begin.
        eventually(|| sup.tasks().is_empty());
        assert!((1..=3).contains(&ended.swap(0, Ordering::SeqCst)));
    }
}

#[test]
fn tasks_in_worker_processes_are_canceled() {
    let sup = mp::supervisor(MpPoolConfig::new(1));
    let running = sends_pid::builder().supervisor(&sup).start();
    running.recv().unwrap();
    let queued: Vec<_> = (0..3).map(|_| sends_pid::builder().supervisor(&sup).start()).collect();
    let tasks: Vec<_> = std::iter::once(running).chain(queued).collect();
    let found: Vec<_> = tasks.iter().map(|task| task.to_ref()).collect();
    drop(as_completed(tasks).cancel_on_drop());
    found[0].wait().unwrap();
    assert!(found[1..].iter().all(|task| task.wait().unwrap_err().is_canceled()));
}

#[test]
fn exhausted_iterator_cancels_nothing() {
    let sup = pool(1);
    let gate = Gate::new();
    gate.open();
    let mut these = as_completed((0..3).map(|n| sup.spawn(move || n))).cancel_on_drop();
    assert_eq!(these.by_ref().map(|(_, n)| n.unwrap()).sum::<i32>(), 3);
    assert!(these.next().is_none());
    drop(these);
    eventually(|| sup.info().thread_pool.completed == 3);
    assert_eq!(sup.info().thread_pool.canceled, 0);
}
