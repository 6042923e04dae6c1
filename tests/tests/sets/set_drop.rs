//! What becomes of the tasks of a set that is dropped, or that gives them up?

use std::future::pending;
use std::sync::mpsc;

use atasker::{MpPoolConfig, Priority, TaskBuilder, TaskContext, TaskSet, TaskStatus};
use atasker_tests::processes::Process;
use atasker_tests::{FAR, Gate, eventually, mp, occupy, pool};

use crate::{Drops, gated, sends_pid, until_stopped};

#[test]
fn drop_cancels_waiting_and_asks_running_tasks() {
    let sup = pool(1);
    let mut set = TaskSet::new();
    let running = until_stopped(&sup);
    let (found, gate) = (running.to_ref(), Gate::new());
    set.push(running);
    let drops = Drops::default();
    for _ in 0..5 {
        let guard = drops.guard();
        set.spawn(
            TaskBuilder::new(move || {
                let _guard = guard;
                unreachable!("it was canceled")
            })
            .supervisor(&sup),
        );
    }
    drop(set);
    assert_eq!(drops.count(), 5);
    found.wait().unwrap();
    assert!(found.result_cloned::<bool>().unwrap().unwrap());
    gate.open();
    assert_eq!(sup.spawn(|| 1).join().unwrap(), 1);
}

#[test]
fn drop_does_not_wait() {
    let sup = pool(1);
    let (first, gate) = gated(&sup);
    let found = first.to_ref();
    let mut set = TaskSet::new();
    set.push(first);
    drop(set);
    assert_eq!(found.status(), TaskStatus::Started);
    gate.open();
    found.wait().unwrap();
}

#[test]
fn dropped_set_kills_if_asked_to() {
    let sup = mp::supervisor(MpPoolConfig::new(2));
    let mut set = TaskSet::new().kill_on_drop();
    // It never asks whether it was stopped.
    let spins = mp::spins::builder().supervisor(&sup).start();
    let pid = spins.recv().unwrap();
    let found = spins.to_ref();
    set.push(spins);
    let drops = Drops::default();
    let guard = drops.guard();
    let future = async move {
        let _guard = guard;
        pending::<()>().await
    };
    set.spawn(TaskBuilder::future(future).supervisor(&sup));
    let thread = TaskBuilder::with_context(|ctx: &TaskContext| _ = ctx.wait_stop(FAR));
    let thread = thread.supervisor(&sup).start();
    let asked = thread.to_ref();
    eventually(|| thread.is_started());
    set.push(thread);
    drop(set);
    assert!(found.wait().unwrap_err().is_canceled());
    eventually(|| Process::is_gone(pid));
    eventually(|| drops.count() == 1);
    asked.wait().unwrap();
}

#[test]
fn dropped_set_stops_mp_tasks() {
    let sup = mp::supervisor(MpPoolConfig::new(1));
    let task = sends_pid::builder().supervisor(&sup).start();
    task.recv().unwrap();
    let found = task.to_ref();
    let set: TaskSet<u32> = [task].into_iter().collect();
    drop(set);
    found.wait().unwrap();
    assert_eq!(found.result_cloned::<u32>().unwrap().unwrap(), 1);
}

#[test]
fn drop_cancels_chained_and_first_task() {
    let sup = pool(1);
    let first = until_stopped(&sup);
    let found = first.to_ref();
    let mut set = TaskSet::new();
    set.push(first.chain(|_| -> u32 { unreachable!("it was canceled") }));
    drop(set);
    found.wait().unwrap();
}

#[test]
fn detached_tasks_go_on() {
    let sup = pool(1);
    let (busy, gate) = occupy(&sup, Priority::Normal);
    let (tx, rx) = mpsc::channel();
    let mut set = TaskSet::new().kill_on_drop();
    for n in 0..3 {
        let tx = tx.clone();
        set.push(sup.spawn(move || tx.send(n).unwrap()).stop_on_drop());
    }
    set.detach_all();
    assert!(set.is_empty() && set.join_next().is_none());
    // The set is used again.
    set.spawn(TaskBuilder::new(|| ()).supervisor(&sup));
    gate.open();
    assert!(set.join_next().unwrap().1.is_ok() && set.join_next().is_none());
    drop((set, tx));
    assert_eq!(rx.iter().collect::<Vec<_>>(), [0, 1, 2]);
    busy.join().unwrap();
}

#[test]
fn results_of_dropped_set_are_dropped() {
    let sup = pool(1);
    let drops = Drops::default();
    let mut set = TaskSet::new();
    for _ in 0..3 {
        let guard = drops.guard();
        let task = sup.spawn(move || guard);
        task.wait().unwrap();
        set.push(task);
    }
    assert_eq!(drops.count(), 0);
    drop(set);
    assert_eq!(drops.count(), 3);
}

#[test]
fn panicking_results_are_contained() {
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("dropped");
        }
    }
    let sup = pool(1);
    let set: TaskSet<Bomb> = (0..3).map(|_| sup.spawn(|| Bomb)).collect();
    sup.spawn(|| ()).join().unwrap();
    drop(set);
}
