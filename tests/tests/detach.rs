//! Does `detach` let a task continue, regardless of what its handle does on drop?

use std::future::pending;

use atasker::{Supervisor, Task, TaskBuilder, TaskContext, TaskId, background_task};
use atasker_tests::events::{self, Seen};
use atasker_tests::{Gate, eventually, pool};
use futures_lite::future::{block_on, poll_once};
use tracing::Level;

#[background_task]
fn refuses(gate: Gate) -> Result<u32, String> {
    gate.wait();
    Err("not today".into())
}

#[background_task]
fn panics(gate: Gate) -> u32 {
    gate.wait();
    panic!("not at all");
}

#[background_task(tt = "mp")]
fn asks_if_stopped(ctx: &TaskContext<u32>) -> Result<bool, String> {
    ctx.recv().map_err(|error| error.to_string())?;
    Ok(ctx.stopped())
}

/// A task that has begun and returns whether it was asked to stop, once the gate is open.
fn begun(sup: &Supervisor, gate: &Gate) -> Task<bool> {
    let (begins, waits) = (Gate::new(), gate.clone());
    let opens = begins.clone();
    let task = TaskBuilder::with_context(move |ctx: &TaskContext| {
        opens.open();
        waits.wait();
        ctx.stopped()
    })
    .supervisor(sup)
    .start();
    begins.wait();
    task
}

/// The result of a task without a typed handle.
fn detached_result<R: Clone + Send + Sync + 'static>(task: Task<R>, gate: &Gate) -> R {
    let found = task.to_ref();
    task.detach();
    gate.open();
    found.wait().unwrap();
    found.result_cloned().unwrap().unwrap()
}

#[test]
fn detached_thread_task_is_not_stopped() {
    let sup = pool(1);
    let handles: [fn(Task<bool>) -> Task<bool>; 3] =
        [Task::stop_on_drop, Task::kill_on_drop, |task| task];
    for adapt in handles {
        let gate = Gate::new();
        let task = adapt(begun(&sup, &gate));
        assert!(!detached_result(task, &gate));
    }
}

#[test]
fn detached_queued_task_runs() {
    let sup = pool(1);
    let gate = Gate::new();
    let first = begun(&sup, &gate);
    let queued = sup.spawn(|| 7).stop_on_drop();
    assert_eq!(detached_result(queued, &gate), 7);
    first.join().unwrap();
}

#[test]
fn detached_async_task_is_not_dropped() {
    let sup = pool(1);
    let gate = Gate::new();
    let waits = gate.clone();
    let task = sup.spawn_async(async move {
        while !waits.is_open() {
            tokio::task::yield_now().await;
        }
        8
    });
    assert_eq!(detached_result(task.kill_on_drop(), &gate), 8);
}

#[test]
fn detached_mp_task_is_not_killed() {
    let task = asks_if_stopped().kill_on_drop();
    task.send(1).unwrap();
    let found = task.to_ref();
    task.detach();
    found.wait().unwrap();
    let result = found.result_cloned::<Result<bool, String>>().unwrap().unwrap();
    assert_eq!(result, Ok(false));
}

#[test]
fn detached_result_is_dropped_with_the_task() {
    struct Tells(Gate);
    impl Drop for Tells {
        fn drop(&mut self) {
            self.0.open();
        }
    }
    let sup = pool(1);
    let (gate, dropped) = (Gate::new(), Gate::new());
    let (waits, result) = (gate.clone(), Tells(dropped.clone()));
    let task = sup.spawn(move || {
        waits.wait();
        result
    });
    task.detach();
    assert!(!dropped.is_open());
    gate.open();
    dropped.wait();
    // A completed task drops its result in the call.
    let dropped = Gate::new();
    let result = Tells(dropped.clone());
    let task = sup.spawn(move || result);
    task.wait().unwrap();
    task.detach();
    dropped.wait();
}

#[test]
fn polled_task_can_be_detached() {
    let sup = pool(1);
    let gate = Gate::new();
    let mut task = begun(&sup, &gate).kill_on_drop();
    assert!(block_on(poll_once(&mut task)).is_none());
    assert!(!detached_result(task, &gate));
    let forever = sup.spawn_async(pending::<()>());
    let found = forever.to_ref();
    forever.detach();
    // The task can still be ended by its id.
    found.kill().unwrap();
    assert!(found.wait().unwrap_err().is_canceled());
}

fn logged(id: TaskId) -> Vec<Seen> {
    events::seen(|event| event.level <= Level::WARN && event.field("task") == id.to_string())
}

#[test]
fn detached_failure_is_logged_as_after_a_drop() {
    events::record();
    let gates = [Gate::new(), Gate::new()];
    let returns_err = refuses(gates[0].clone()).stop_on_drop();
    let fails = panics(gates[1].clone()).kill_on_drop();
    let ids = [returns_err.id(), fails.id()];
    returns_err.detach();
    fails.detach();
    for ((id, gate), level) in ids.into_iter().zip(gates).zip([Level::WARN, Level::ERROR]) {
        gate.open();
        eventually(|| !logged(id).is_empty());
        let seen = logged(id);
        assert_eq!(seen.len(), 1, "{seen:?}");
        assert_eq!(seen[0].level, level);
    }
}
