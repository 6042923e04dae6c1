//! Is the key of a unique task free again as soon as its end is visible, however the task ends?

use std::time::Duration;

use atasker::{
    MpPoolConfig, Overflow, PoolConfig, Priority, StopOptions, Supervisor, Task, TaskBuilder,
    background_task,
};
use atasker_tests::{FAR, Gate, eventually, mp, occupy, pool, pool_with};

/// Launches with the same name and key as the tasks below.
#[track_caller]
fn assert_free(sup: &Supervisor) {
    let probe = TaskBuilder::new(|| ()).name("job").unique(1).supervisor(sup);
    let task = probe.start_unique().expect("the key is free");
    let _ = task.join();
}

fn job<R: Send + 'static, I: Send + 'static, O: Send + 'static>(
    builder: TaskBuilder<R, I, O>,
    sup: &Supervisor,
) -> Task<R, I, O> {
    builder.name("job").unique(1).supervisor(sup).start_unique().expect("the key is free")
}

#[test]
fn finished_task_frees_its_key() {
    let sup = pool(2);
    for n in 0..2_000 {
        let task = job(TaskBuilder::new(move || n), &sup);
        assert_eq!(task.join().unwrap(), n);
    }
    assert!(job(TaskBuilder::<()>::new(|| panic!("no")), &sup).join().unwrap_err().is_panic());
    assert_free(&sup);
    let waits = TaskBuilder::future(async { 1 });
    assert_eq!(job(waits, &sup).join().unwrap(), 1);
    assert_free(&sup);
}

#[test]
fn dropped_handle_frees_the_key_at_the_end() {
    let sup = pool(2);
    let gate = Gate::new();
    let waits = gate.clone();
    drop(job(TaskBuilder::new(move || waits.wait()), &sup));
    let probe = || TaskBuilder::new(|| ()).name("job").unique(1).supervisor(&sup).start_unique();
    let found = probe().expect_err("the task runs on");
    gate.open();
    found.wait().unwrap();
    probe().unwrap().join().unwrap();
}

#[test]
fn canceled_expired_and_timed_out_tasks_free_their_key() {
    let sup = pool(1);
    let (busy, gate) = occupy(&sup, Priority::Normal);
    let task = job(TaskBuilder::new(|| ()), &sup);
    assert!(task.cancel());
    let task = job(TaskBuilder::new(|| ()).expires(Duration::from_millis(1)), &sup);
    assert!(task.wait().unwrap_err().is_expired());
    let task = job(TaskBuilder::new(|| ()).delay(FAR), &sup);
    task.stop();
    assert!(task.wait().unwrap_err().is_canceled());
    gate.open();
    busy.join().unwrap();
    assert_free(&sup);
    // The function still runs when the end is visible.
    let (late, waits) = (Gate::new(), Gate::new());
    let gate = waits.clone();
    let begun = late.clone();
    let runs = TaskBuilder::new(move || {
        begun.open();
        waits.wait();
    });
    let task = job(runs.timeout(Duration::from_millis(1)), &sup);
    late.wait();
    assert!(task.wait().unwrap_err().is_timeout());
    let next = job(TaskBuilder::new(|| ()), &sup);
    gate.open();
    next.join().unwrap();
}

#[test]
fn rejected_tasks_free_their_key() {
    let sup = pool_with(PoolConfig::new(1).queue_limit(0, Overflow::Reject));
    let (busy, gate) = occupy(&sup, Priority::Normal);
    for _ in 0..3 {
        let task = job(TaskBuilder::new(|| ()), &sup);
        assert!(matches!(task.join().unwrap_err(), atasker::TaskError::QueueFull));
    }
    gate.open();
    busy.join().unwrap();
    sup.stop(StopOptions::new());
    for _ in 0..3 {
        let task = job(TaskBuilder::new(|| ()), &sup);
        assert!(matches!(task.join().unwrap_err(), atasker::TaskError::SupervisorStopped));
    }
    sup.start();
    assert_free(&sup);
}

#[test]
fn abandoned_task_frees_its_key() {
    let sup = pool(2);
    let gate = Gate::new();
    let waits = gate.clone();
    let task = job(TaskBuilder::new(move || waits.wait()), &sup);
    eventually(|| task.is_started());
    sup.stop(StopOptions::new().wait(Duration::ZERO));
    assert!(task.is_completed());
    sup.start();
    assert_free(&sup);
    gate.open();
}

#[background_task(tt = "mp")]
fn dies() {
    std::process::abort();
}

/// Can be encoded by serde, but not by this function.
struct Unencodable;

impl serde::Serialize for Unencodable {
    fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        Err(serde::ser::Error::custom("not today"))
    }
}

impl<'de> serde::Deserialize<'de> for Unencodable {
    fn deserialize<D: serde::Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
        Ok(Unencodable)
    }
}

#[background_task(tt = "mp")]
fn takes(value: Unencodable) {
    let Unencodable = value;
}

#[test]
fn task_in_a_worker_process_frees_its_key() {
    let sup = mp::supervisor(MpPoolConfig::new(1));
    for _ in 0..3 {
        assert!(job(dies::builder(), &sup).join().unwrap_err().is_worker_died());
    }
    for _ in 0..200 {
        job(mp::pid::builder(), &sup).join().unwrap();
    }
    for _ in 0..3 {
        let task = job(mp::until_stopped::builder(), &sup);
        task.recv().unwrap();
        task.kill().unwrap();
        assert!(task.wait().unwrap_err().is_canceled());
    }
    for _ in 0..3 {
        let task = job(takes::builder(Unencodable), &sup);
        assert!(matches!(task.join().unwrap_err(), atasker::TaskError::Codec { .. }));
    }
    assert_free(&sup);
}
