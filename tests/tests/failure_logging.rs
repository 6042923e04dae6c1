//! Which events are logged for failed tasks without a handle, and for worker processes that reach
//! their memory limit?

use atasker::{
    DeathCause, MpPoolConfig, Supervisor, Task, TaskBuilder, TaskError, TaskId, background_task,
};
use atasker_tests::events::{self, Seen};
use atasker_tests::{Gate, eventually};
use tracing::Level;

#[background_task]
fn refuses(gate: Gate) -> Result<u32, String> {
    gate.wait();
    Err("not today".into())
}

#[background_task]
async fn refuses_async(gate: Gate) -> Result<u32, String> {
    gate.wait();
    Err("not today".into())
}

#[background_task(tt = "mp", retries = 1)]
fn refuses_in_process() -> Result<u32, String> {
    Err("not today".into())
}

#[background_task]
fn panics(gate: Gate) -> Result<u32, String> {
    gate.wait();
    panic!("expected panic");
}

#[background_task]
fn succeeds(gate: Gate) -> Result<u32, String> {
    gate.wait();
    Ok(1)
}

fn of(id: TaskId) -> Vec<Seen> {
    events::seen(|event| event.level <= Level::WARN && event.field("task") == id.to_string())
}

/// Drops the handle of a task that then runs to its end.
fn unseen<R: Send + 'static>(launch: impl FnOnce(Gate) -> Task<R>) -> TaskId {
    let gate = Gate::new();
    let task = launch(gate.clone());
    let (id, found) = (task.id(), task.to_ref());
    drop(task);
    gate.open();
    let _ = found.wait();
    id
}

#[test]
fn unobserved_failure_is_logged_once() {
    events::record();
    for id in [unseen(refuses), unseen(refuses_async), unseen(|_| refuses_in_process())] {
        eventually(|| !of(id).is_empty());
        let said = of(id);
        assert_eq!(said.len(), 1, "{said:?}");
        assert_eq!((said[0].level, &*said[0].message), (Level::WARN, "task ended"));
        assert_eq!(said[0].field("outcome"), "returned_err");
        assert!(said[0].field("name").contains("refuses"), "{said:?}");
        assert!(said[0].field("error").contains("Err"), "{said:?}");
    }
    let failed = unseen(panics);
    eventually(|| !of(failed).is_empty());
    let levels: Vec<_> = of(failed).into_iter().map(|event| event.level).collect();
    assert_eq!(levels, [Level::ERROR]);

    let fine = unseen(succeeds);
    let gate = Gate::new();
    gate.open();
    let held = refuses(gate);
    held.wait().unwrap().as_ref().unwrap_err();
    // Both tasks have ended, because another task's event was logged after theirs.
    let last = unseen(refuses);
    eventually(|| !of(last).is_empty());
    assert!(of(fine).is_empty() && of(held.id()).is_empty());
}

#[background_task(tt = "mp")]
fn takes(bytes: usize, tries_first: bool) -> usize {
    if tries_first {
        assert!(Vec::<u8>::new().try_reserve_exact(bytes).is_err());
        return 0;
    }
    vec![1_u8; bytes].iter().map(|byte| usize::from(*byte)).sum()
}

#[background_task(tt = "mp")]
fn takes_bit_by_bit() -> usize {
    let mut all = Vec::new();
    loop {
        all.push(Box::new([1_u8; 1000]));
    }
}

#[background_task(tt = "mp")]
fn aborts() {
    std::process::abort();
}

#[test]
fn memory_limit_is_named_as_cause() {
    for over_sockets in [false, true] {
        let config = MpPoolConfig::new(1).memory_limit(128 << 20).__over_sockets(over_sockets);
        let sup = Supervisor::builder().id("limited").mp_pool(config).build();
        let cause = |result: Result<usize, TaskError>| match result.unwrap_err() {
            TaskError::WorkerDied(death) => death.cause().clone(),
            other => panic!("{other}"),
        };
        let one = takes::builder(1 << 30, false).supervisor(&sup).start().join();
        assert!(one.as_ref().unwrap_err().to_string().ends_with("memory limit, SIGABRT (6)"));
        assert_eq!(cause(one), DeathCause::MemoryLimit(6));
        let many = takes_bit_by_bit::builder().supervisor(&sup).start().join();
        assert_eq!(cause(many), DeathCause::MemoryLimit(6));
        // Other failures have other causes, and a refused allocation that was handled causes none.
        let plain = aborts::builder().supervisor(&sup).start().join().map(|()| 0);
        assert_eq!(cause(plain), DeathCause::Signal(6));
        assert_eq!(takes::builder(1 << 30, true).supervisor(&sup).start().join().unwrap(), 0);
        assert_eq!(
            takes::builder(1 << 20, false).supervisor(&sup).start().join().unwrap(),
            1 << 20
        );
    }
    // The same without a limit.
    let task = TaskBuilder::new(|| aborts().join());
    let error = task.start().join().unwrap().unwrap_err();
    assert!(error.to_string().ends_with("died: SIGABRT (6)"), "{error}");
}
