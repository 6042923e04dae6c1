//! What happens to the tasks and threads of a supervisor after its last handle is dropped?

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use atasker::{PoolConfig, StopOptions, Supervisor, TaskBuilder, TaskError};
use atasker_tests::{Gate, eventually};

/// The threads of this process whose names have this prefix. (The system truncates names to 15
/// characters.)
fn threads(prefix: &str) -> usize {
    let all = std::fs::read_dir("/proc/self/task").unwrap();
    all.filter_map(|thread| std::fs::read_to_string(thread.ok()?.path().join("comm")).ok())
        .filter(|name| name.starts_with(prefix))
        .count()
}

fn named(id: &str, slots: usize) -> Supervisor {
    Supervisor::builder().id(id).thread_pool(PoolConfig::new(slots)).build()
}

#[test]
fn drop_completes_queued_tasks_without_blocking() {
    let sup = named("d1", 1);
    let gate = Gate::new();
    let waits = gate.clone();
    let first = sup.spawn(move || waits.wait());
    let tasks: Vec<_> = (0..20).map(|n| sup.spawn(move || n)).collect();
    let future = sup.spawn_async(async {
        tokio::task::yield_now().await;
        1
    });
    let delayed = TaskBuilder::new(|| 2).delay(Duration::from_millis(10)).supervisor(&sup).start();
    drop(sup);
    gate.open();
    first.join().unwrap();
    for (n, task) in tasks.into_iter().enumerate() {
        assert_eq!(task.join().unwrap(), n);
    }
    assert_eq!(future.join().unwrap() + delayed.join().unwrap(), 3);
    eventually(|| threads("supervisor_d1") == 0);
}

#[test]
fn drop_ends_threads() {
    let sup = Supervisor::builder().id("d2").thread_pool(PoolConfig::new(4).min_size(4)).build();
    sup.start();
    sup.create_aloop("a");
    sup.create_aloop_multi("b", 2);
    eventually(|| threads("supervisor_d2") >= 4 + 1 + 2);
    let clone = sup.clone();
    drop(sup);
    assert!(clone.is_active(), "another handle exists");
    assert_eq!(clone.spawn(|| 1).join().unwrap(), 1);
    drop(clone);
    eventually(|| threads("supervisor_d2") == 0);
}

#[test]
fn drop_before_start_ends_aloops() {
    let sup = named("d3", 1);
    let aloop = sup.create_aloop("a");
    eventually(|| threads("supervisor_d3") == 1);
    drop(sup);
    eventually(|| threads("supervisor_d3") == 0);
    assert!(matches!(aloop.spawn(async {}).join(), Err(TaskError::SupervisorStopped)));

    let sup = named("d4", 1);
    sup.stop(StopOptions::new());
    sup.create_aloop("late");
    drop(sup);
    eventually(|| threads("supervisor_d4") == 0);
}

#[test]
fn last_handle_may_drop_in_own_task() {
    let sup = named("d5", 1);
    let inner = sup.clone();
    let gate = Gate::new();
    let waits = gate.clone();
    let task = sup.spawn(move || {
        waits.wait();
        let next = inner.spawn(|| 1);
        drop(inner);
        next
    });
    drop(sup);
    gate.open();
    assert_eq!(task.join().unwrap().join().unwrap(), 1);
    eventually(|| threads("supervisor_d5") == 0);

    let sup = named("d6", 1);
    let inner = sup.clone();
    let task = sup.spawn_async(async move {
        tokio::task::yield_now().await;
        drop(inner);
        tokio::time::sleep(Duration::from_millis(5)).await;
        7
    });
    drop(sup);
    assert_eq!(task.join().unwrap(), 7);
    eventually(|| threads("supervisor_d6") == 0);
}

#[test]
fn nested_launch_after_drop_is_accepted() {
    let sup = named("d7", 1);
    let counts = Arc::new(AtomicU32::new(0));
    let inner = sup.clone();
    let (seen, gate) = (Arc::clone(&counts), Gate::new());
    let waits = gate.clone();
    let task = sup.spawn(move || {
        waits.wait();
        let children: Vec<_> = (0..5)
            .map(|_| {
                let seen = Arc::clone(&seen);
                inner.spawn(move || seen.fetch_add(1, Ordering::SeqCst))
            })
            .collect();
        drop(inner);
        drop(children);
    });
    drop(sup);
    gate.open();
    task.join().unwrap();
    eventually(|| counts.load(Ordering::SeqCst) == 5);
    eventually(|| threads("supervisor_d7") == 0);
}

#[test]
fn results_outlive_supervisor() {
    let task = named("d8", 1).spawn(|| vec![1, 2, 3]);
    task.wait().unwrap();
    eventually(|| threads("supervisor_d8") == 0);
    assert_eq!(task.join().unwrap(), [1, 2, 3]);
}

#[test]
fn builder_does_not_keep_supervisor_alive() {
    let sup = named("d9", 1);
    let builder = TaskBuilder::new(|| 1).supervisor(&sup);
    drop(sup);
    assert!(matches!(builder.start().join(), Err(TaskError::SupervisorStopped)));
}

#[test]
fn repeated_create_and_drop_leaks_nothing() {
    for n in 0..200 {
        let sup = named("da", 2);
        let task = sup.spawn(move || n);
        let future = sup.spawn_async(async move { n });
        drop(sup);
        assert_eq!(task.join().unwrap() + future.join().unwrap(), 2 * n);
    }
    eventually(|| threads("supervisor_da") == 0);
}
