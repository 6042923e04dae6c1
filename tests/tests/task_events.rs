//! Which tracing events does the life of a task and of a worker process emit?

use std::time::Duration;

use atasker::{
    StopOptions, Supervisor, TaskBuilder, TaskError, WaitError, background_task, wait_completed,
};
use atasker_tests::events::{self, Seen};
use atasker_tests::mp::pool_of;
use atasker_tests::{Gate, eventually, pool};
use tracing::Level;

fn of(id: atasker::TaskId) -> Vec<Seen> {
    let id = id.to_string();
    events::seen(|event| event.field("task") == id)
}

fn ends_of(id: atasker::TaskId) -> Vec<Seen> {
    of(id).into_iter().filter(|event| event.message == "task ended").collect()
}

#[test]
fn each_stage_of_a_task_is_an_event() {
    events::record();
    let sup = pool(1);
    let mut calls = 0;
    let task = TaskBuilder::repeatable(move || {
        calls += 1;
        assert!(calls > 1, "no luck");
    })
    .name("seen")
    .retries(1)
    .retry_delay(Duration::from_millis(1))
    .supervisor(&sup)
    .start();
    let id = task.id();
    task.join().unwrap();
    // The event of the end follows the outcome.
    eventually(|| !ends_of(id).is_empty());
    let events = of(id);
    let told: Vec<_> = events.iter().map(|event| (&*event.message, event.level)).collect();
    let expected = [
        ("task queued", Level::TRACE),
        ("task started", Level::DEBUG),
        ("task retries", Level::DEBUG),
        ("task queued", Level::TRACE),
        ("task started", Level::DEBUG),
        ("task ended", Level::DEBUG),
    ];
    assert_eq!(told, expected);
    for event in &events {
        let fields = ["name", "tt", "supervisor"].map(|name| event.field(name));
        assert_eq!(fields, ["seen", "thread", "t"]);
    }
    assert_eq!(events[1].field("attempt"), "1");
    assert_eq!((events[2].field("attempt"), events[2].field("pause")), ("1", "1ms"));
    assert!(events[2].field("error").contains("no luck"));
    assert_eq!((events[4].field("attempt"), events[5].field("outcome")), ("2", "ok"));
}

#[test]
fn delayed_task_is_queued_after_its_delay() {
    events::record();
    let sup = pool(1);
    let task = TaskBuilder::new(|| ()).delay(Duration::from_secs(600)).supervisor(&sup).start();
    assert!(of(task.id()).is_empty());
    task.cancel();
    let id = task.id();
    let error = task.join().unwrap_err();
    eventually(|| !ends_of(id).is_empty());
    let [end] = &of(id)[..] else { panic!("{:?}", of(id)) };
    assert_eq!((&*end.message, end.field("outcome")), ("task ended", "canceled"));
    assert_eq!((end.level, end.field("error")), (Level::DEBUG, &*error.to_string()));
}

#[background_task]
fn fails(gate: Gate) -> Result<(), String> {
    gate.wait();
    Err("out of paper".into())
}

#[test]
fn failure_without_a_handle_is_louder() {
    events::record();
    let sup = pool(1);
    let check = |id, level, outcome| {
        eventually(|| !ends_of(id).is_empty());
        let [end] = &ends_of(id)[..] else { panic!("{:?}", of(id)) };
        assert_eq!((end.level, end.field("outcome")), (level, outcome));
    };
    let panics = |gate: Gate| {
        sup.spawn(move || {
            gate.wait();
            panic!("no luck");
        })
    };
    let gate = Gate::new();
    let (held, detached) = (panics(gate.clone()), panics(gate.clone()));
    let ids = (held.id(), detached.id());
    detached.detach();
    gate.open();
    assert!(held.join().is_err());
    check(ids.0, Level::DEBUG, "panicked");
    check(ids.1, Level::ERROR, "panicked");

    let fails = |gate: &Gate| fails::builder(gate.clone()).supervisor(&sup).start();
    let gate = Gate::new();
    let (held, detached) = (fails(&gate), fails(&gate));
    let ids = (held.id(), detached.id());
    detached.detach();
    gate.open();
    assert!(held.join().unwrap().is_err());
    check(ids.0, Level::DEBUG, "returned_err");
    check(ids.1, Level::WARN, "returned_err");
}

#[background_task(tt = "mp")]
fn exits(code: i32) {
    std::process::exit(code);
}

#[test]
fn life_of_a_worker_process_is_told() {
    events::record();
    let sup = Supervisor::builder().id("life").mp_pool(pool_of(1)).build();
    let Err(TaskError::WorkerDied(death)) = exits::builder(3).supervisor(&sup).start().join()
    else {
        panic!("the worker process has exited")
    };
    let told = |message: &'static str| {
        events::seen(|event| event.message == message && event.field("supervisor") == "life")
    };
    eventually(|| !told("worker process died").is_empty());
    let [died] = &told("worker process died")[..] else { panic!() };
    let pid = death.pid().to_string();
    assert_eq!((died.level, died.field("pid")), (Level::WARN, &*pid));
    assert_eq!((died.field("cause"), died.field("number")), ("exit code 3", "1"));
    assert!(
        told("worker process started")
            .iter()
            .any(|started| { (started.level, started.field("pid")) == (Level::DEBUG, &*pid) })
    );
    // Another one is started for the next task, and ends in order.
    let _ = exits::builder(0).supervisor(&sup).start().join();
    sup.stop(StopOptions::new());
    assert_eq!(told("worker process ended").iter().filter(|e| e.level != Level::DEBUG).count(), 0);
}

#[test]
fn wait_error_names_the_task() {
    let sup = pool(1);
    let task = TaskBuilder::new(|| panic!("no luck")).name("resize").supervisor(&sup).start();
    let error = wait_completed!(task).unwrap_err();
    let WaitError::Task { name, error: of_task, .. } = &error else { panic!("{error:?}") };
    assert_eq!(name, "resize");
    assert!(error.to_string().contains("`resize`"), "{error}");
    assert!(!of_task.to_string().contains("resize"));
}
