//! Does `as_completed` yield every task once, in order of completion?

use std::sync::mpsc;

use atasker::{PoolConfig, Task, TaskBuilder, TaskContext, as_completed, wait_any, wait_completed};

use crate::{gated, unlimited};

#[test]
fn yields_in_completion_order() {
    let sup = unlimited();
    let (gates, tasks): (Vec<_>, Vec<_>) = (0..6_usize).map(|n| gated(&sup, n)).unzip();
    let order = [3, 0, 5, 1, 4, 2];
    // Two tasks have ended before the first call of `next`.
    for n in &order[..2] {
        gates[*n].send(()).unwrap();
        tasks[*n].wait().unwrap();
    }
    let mut these = as_completed(tasks);
    assert_eq!(these.len(), 6);
    for (done, n) in order.into_iter().enumerate() {
        if done >= 2 {
            gates[n].send(()).unwrap();
        }
        let (index, result) = these.next().unwrap();
        assert_eq!((index, result.unwrap()), (n, n));
        assert_eq!(these.len(), 5 - done);
    }
    assert!(these.next().is_none());
    assert!(these.next().is_none());
}

#[test]
fn yields_failures() {
    let sup = unlimited();
    let tasks: Vec<Task<u32>> = (0..20_u32)
        .map(|n| sup.spawn(move || if n % 5 == 0 { panic!("{n}") } else { n }))
        .collect();
    let mut seen: Vec<(usize, Option<u32>)> =
        as_completed(tasks).map(|(i, result)| (i, result.ok())).collect();
    seen.sort();
    let expected: Vec<_> = (0..20).map(|n| (n as usize, (n % 5 != 0).then_some(n))).collect();
    assert_eq!(seen, expected);
}

#[test]
fn borrowed_tasks_live_on() {
    let sup = unlimited();
    let tasks: Vec<Task<usize>> = (0..10).map(|n| sup.spawn(move || n)).collect();
    let mut sum = 0;
    for (i, result) in as_completed(&tasks) {
        let n: &usize = result.unwrap();
        assert_eq!(*n, i);
        sum += n;
    }
    assert_eq!(sum, 45);
    assert_eq!(as_completed(tasks.iter().skip(8)).count(), 2);
    assert_eq!(tasks.into_iter().map(|t| t.join().unwrap()).sum::<usize>(), 45);
}

#[test]
fn dropped_iterator_keeps_tasks_running() {
    let sup = unlimited();
    let (say, said) = mpsc::channel();
    let (open, gate) = mpsc::channel::<()>();
    let quick = sup.spawn(|| ());
    let slow = sup.spawn(move || {
        gate.recv().unwrap();
        say.send("done").unwrap();
    });
    let mut these = as_completed(vec![slow, quick]);
    assert_eq!(these.next().unwrap().0, 1);
    drop(these);
    open.send(()).unwrap();
    assert_eq!(said.recv().unwrap(), "done");
}

#[test]
fn empty_list_yields_nothing() {
    assert_eq!(as_completed(Vec::<Task<u32>>::new()).count(), 0);
}

#[test]
fn stop_request_is_not_an_end() {
    let sup = unlimited();
    let (begin, begun) = mpsc::channel();
    let (open, gate) = mpsc::channel::<()>();
    let stubborn = TaskBuilder::with_context(move |ctx: &TaskContext| {
        begin.send(()).unwrap();
        gate.recv().unwrap();
        usize::from(ctx.stopped())
    })
    .supervisor(&sup)
    .start();
    let found = sup.task(stubborn.id()).unwrap();
    let (first_gate, first) = {
        let (open, gate) = mpsc::channel::<()>();
        let task = TaskBuilder::with_context(move |_: &TaskContext| {
            gate.recv().unwrap();
            7
        })
        .supervisor(&sup)
        .start();
        (open, task)
    };
    let mut these = as_completed(vec![stubborn, first]);
    begun.recv().unwrap();
    // This consumes the waker registered at the first task.
    found.stop();
    first_gate.send(()).unwrap();
    let (index, result) = these.next().unwrap();
    assert_eq!((index, result.unwrap()), (1, 7));
    open.send(()).unwrap();
    let (index, result) = these.next().unwrap();
    assert_eq!((index, result.unwrap()), (0, 1));
}

#[test]
fn hundred_thousand_tasks() {
    // A wait that checks all tasks at each step would take hours.
    let sup = unlimited();
    sup.set_thread_pool(PoolConfig::new(4));
    let n = 100_000_usize;
    let tasks: Vec<Task<usize>> = (0..n).map(|i| sup.spawn(move || i)).collect();
    let mut seen = vec![false; n];
    for (i, result) in as_completed(tasks) {
        assert_eq!(result.unwrap(), i);
        assert!(!std::mem::replace(&mut seen[i], true), "{i} was yielded twice");
    }
    assert!(seen.into_iter().all(|seen| seen));
}

#[test]
fn task_listed_twice_is_yielded_twice() {
    let sup = unlimited();
    let (gate, task) = gated(&sup, ());
    let mut listed = as_completed([&task, &task]);
    gate.send(()).unwrap();
    assert_eq!(listed.by_ref().count(), 2);
    assert!(listed.next().is_none());
    wait_completed!([&task, &task]).unwrap();
    assert!(wait_any!([&task, &task]).is_ok());
}
