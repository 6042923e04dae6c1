//! Does `as_completed` give every task once, in the order in which they end?

use std::sync::mpsc;

use atasker::{PoolConfig, Supervisor, Task, TaskBuilder, TaskContext, as_completed};

fn supervisor() -> Supervisor {
    Supervisor::builder().thread_pool(PoolConfig::unlimited()).build()
}

fn gated(sup: &Supervisor, n: usize) -> (mpsc::Sender<()>, Task<usize>) {
    let (open, gate) = mpsc::channel();
    let task = sup.spawn(move || {
        gate.recv().unwrap();
        n
    });
    (open, task)
}

#[test]
fn in_the_order_of_their_ends() {
    let sup = supervisor();
    let (gates, tasks): (Vec<_>, Vec<_>) = (0..6).map(|n| gated(&sup, n)).unzip();
    let order = [3, 0, 5, 1, 4, 2];
    // Two have ended before anybody looks.
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
fn failures_are_among_them() {
    let sup = supervisor();
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
fn by_reference_the_tasks_live_on() {
    let sup = supervisor();
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
fn dropped_early_the_others_go_on() {
    let sup = supervisor();
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
fn nothing_is_nothing() {
    assert_eq!(as_completed(Vec::<Task<u32>>::new()).count(), 0);
}

#[test]
fn a_request_to_stop_is_no_end() {
    let sup = supervisor();
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
    // This uses the waker at the first task up.
    found.stop();
    first_gate.send(()).unwrap();
    let (index, result) = these.next().unwrap();
    assert_eq!((index, result.unwrap()), (1, 7));
    open.send(()).unwrap();
    let (index, result) = these.next().unwrap();
    assert_eq!((index, result.unwrap()), (0, 1));
}

#[test]
fn a_hundred_thousand() {
    // A wait that looked at all tasks at each step would take hours over this.
    let sup = supervisor();
    sup.set_thread_pool(PoolConfig::new(4));
    let n = 100_000_usize;
    let tasks: Vec<Task<usize>> = (0..n).map(|i| sup.spawn(move || i)).collect();
    let mut seen = vec![false; n];
    for (i, result) in as_completed(tasks) {
        assert_eq!(result.unwrap(), i);
        assert!(!std::mem::replace(&mut seen[i], true), "{i} came twice");
    }
    assert!(seen.into_iter().all(|seen| seen));
}
