//! Does `wait_any!` return the first task to complete, and leave the others unaffected?

use std::sync::mpsc;
use std::time::Duration;

use atasker::{Task, TaskBuilder, TaskContext, WaitError, wait_any, wait_completed};

use crate::{gated, unlimited};

#[test]
fn returns_first_of_list() {
    let sup = unlimited();
    for winner in 0..5 {
        let (gates, tasks): (Vec<_>, Vec<_>) = (0..5_usize).map(|n| gated(&sup, n)).unzip();
        gates[winner].send(()).unwrap();
        assert_eq!(wait_any!(&tasks).unwrap(), (winner, &winner));
        assert_eq!(wait_any!(&tasks[winner..]).unwrap(), (0, &winner));
        assert_eq!(tasks.iter().filter(|task| task.is_completed()).count(), 1);
        assert_eq!(wait_any!(tasks).unwrap(), (winner, winner));
        for (n, gate) in gates.iter().enumerate() {
            // All tasks but the first still receive messages: they are unaffected.
            assert_eq!(gate.send(()).is_ok(), n != winner);
        }
    }
}

#[test]
fn other_tasks_remain_usable() {
    let sup = unlimited();
    let (gates, tasks): (Vec<_>, Vec<_>) = (0..3_usize).map(|n| gated(&sup, n)).unzip();
    gates[2].send(()).unwrap();
    assert_eq!(wait_any!(&tasks).unwrap(), (2, &2));
    gates[0].send(()).unwrap();
    gates[1].send(()).unwrap();
    assert_eq!(wait_completed!(tasks).unwrap(), [0, 1, 2]);
}

#[test]
fn accepts_arrays_tuples_and_single_tasks() {
    let sup = unlimited();
    let (open, waits) = gated(&sup, "late".to_string());
    let array = [waits, sup.spawn(|| "early".to_string())];
    assert_eq!(wait_any!(&array).unwrap(), (1, &"early".to_string()));
    assert_eq!(wait_any!(array).unwrap(), (1, "early".to_string()));
    assert!(open.send(()).is_ok());

    // One result type, regardless of other differences.
    let (open, waits) = gated(&sup, 1);
    let future = sup.spawn_async(std::future::pending::<i32>());
    let talker = TaskBuilder::with_context(|ctx: &TaskContext<i32, u8>| ctx.recv().unwrap())
        .supervisor(&sup)
        .start();
    talker.send(3).unwrap();
    assert_eq!(wait_any!(&waits, &future, &talker).unwrap(), (2, &3));
    assert_eq!(wait_any!(waits, future, talker, timeout = None).unwrap(), (2, 3));
    open.send(()).unwrap();

    let one = sup.spawn(|| 4);
    assert_eq!(wait_any!(&one).unwrap(), (0, &4));
    assert_eq!(wait_any!(one,).unwrap(), (0, 4));

    let t = |n: u32| {
        sup.spawn_async(async move { if n == 11 { n } else { std::future::pending().await } })
    };
    let r = wait_any!(t(0), t(1), t(2), t(3), t(4), t(5), t(6), t(7), t(8), t(9), t(10), t(11));
    assert_eq!(r.unwrap(), (11, 11));
}

#[test]
fn returns_earliest_of_completed_tasks() {
    let sup = unlimited();
    let (gates, tasks): (Vec<_>, Vec<_>) = (0..4_usize).map(|n| gated(&sup, n)).unzip();
    for n in [2, 0, 3] {
        gates[n].send(()).unwrap();
        tasks[n].wait().unwrap();
    }
    assert_eq!(wait_any!(&tasks).unwrap(), (2, &2));
    assert_eq!(wait_any!(&tasks[3..]).unwrap(), (0, &3));
    gates[1].send(()).unwrap();
    assert_eq!(wait_any!(tasks).unwrap(), (2, 2));
}

#[test]
fn failure_counts_as_end() {
    let sup = unlimited();
    let (open, waits) = gated(&sup, 1_u32);
    let fails = sup.spawn(|| -> u32 { panic!("first to end") });
    let id = fails.id();
    let check = |error: WaitError| match error {
        WaitError::Task { index, id: of, error, .. } => {
            assert_eq!((index, of), (1, id));
            assert!(error.to_string().contains("first to end"));
        }
        other => panic!("{other:?}"),
    };
    check(wait_any!(&waits, &fails).unwrap_err());
    let list = vec![waits, fails];
    check(wait_any!(&list).unwrap_err());
    check(wait_any!(list).unwrap_err());
    open.send(()).unwrap();
}

#[test]
fn empty_list_is_an_error() {
    assert!(matches!(wait_any!(Vec::<Task<u32>>::new()), Err(WaitError::Empty)));
    let none: &[Task<u32>] = &[];
    assert!(matches!(wait_any!(none, timeout = Duration::MAX), Err(WaitError::Empty)));
}

#[test]
fn timeout_expires_first() {
    let sup = unlimited();
    let (gates, tasks): (Vec<_>, Vec<_>) = (0..3_usize).map(|n| gated(&sup, n)).unzip();
    match wait_any!(&tasks, timeout = Duration::from_millis(20)) {
        Err(WaitError::Timeout { pending, .. }) => {
            assert_eq!(pending, tasks.iter().map(Task::id).collect::<Vec<_>>());
        }
        other => panic!("{other:?}"),
    }
    gates[1].send(()).unwrap();
    assert_eq!(wait_any!(tasks, timeout = Duration::from_secs(600)).unwrap(), (1, 1));
}

#[test]
fn stop_request_is_not_an_end() {
    let sup = unlimited();
    let (open, gate) = mpsc::channel::<()>();
    let (say, asked) = mpsc::channel();
    let stubborn = TaskBuilder::with_context(move |ctx: &TaskContext| {
        say.send(()).unwrap();
        gate.recv().unwrap();
        ctx.stopped()
    })
    .supervisor(&sup)
    .start();
    asked.recv().unwrap();
    let (never, other) = gated(&sup, false);
    let found = sup.task(stubborn.id()).unwrap();
    let waiter = {
        let tasks = [other, stubborn];
        sup.spawn(move || wait_any!(tasks).unwrap())
    };
    // In either order, the waiter must neither take the stop request for the end, nor miss the end
    // because the request has consumed its waker.
    found.stop();
    open.send(()).unwrap();
    assert_eq!(waiter.join().unwrap(), (1, true));
    assert!(never.send(()).is_ok());
}

#[test]
fn same_task_twice() {
    let sup = unlimited();
    let (open, task) = gated(&sup, 6);
    let twice = [&task, &task];
    assert!(wait_any!(twice, timeout = Duration::ZERO).is_err());
    open.send(()).unwrap();
    let (index, result) = wait_any!(twice).unwrap();
    assert!(index < 2);
    assert_eq!(result, &6);
}

#[test]
fn many_waiters_for_same_tasks() {
    let sup = unlimited();
    let (gates, tasks): (Vec<_>, Vec<_>) = (0..3_usize).map(|n| gated(&sup, n)).unzip();
    std::thread::scope(|scope| {
        let waiters: Vec<_> = (0..4).map(|_| scope.spawn(|| wait_any!(&tasks).unwrap())).collect();
        gates[1].send(()).unwrap();
        for waiter in waiters {
            assert_eq!(waiter.join().unwrap(), (1, &1));
        }
    });
    gates[0].send(()).unwrap();
    gates[2].send(()).unwrap();
}
