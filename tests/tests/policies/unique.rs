//! What happens to the launch of a unique task while another one holds its key?

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use atasker::{
    Observer, Outcome, Priority, Supervisor, Task, TaskBuilder, TaskError, TaskEvent, TaskStatus,
};
use atasker_tests::{Gate, occupy, pool};

/// A task that holds the key until the gate is opened.
fn holder(sup: &Supervisor) -> (Task<u32>, Gate) {
    let gate = Gate::new();
    let waits = gate.clone();
    let task = TaskBuilder::new(move || {
        waits.wait();
        1
    });
    let task = task.name("sync").unique(7u32).supervisor(sup).start_unique();
    (task.expect("the key is free"), gate)
}

fn second(sup: &Supervisor) -> TaskBuilder<u32> {
    TaskBuilder::new(|| 2).name("sync").unique(7u32).supervisor(sup)
}

#[test]
fn plain_launch_ends_as_duplicate() {
    let sup = pool(4);
    let (first, gate) = holder(&sup);
    let argument = Arc::new(());
    let held = Arc::clone(&argument);
    let (told, tells) = mpsc::channel();
    let task = TaskBuilder::new(move || drop(held))
        .name("sync")
        .unique(7u32)
        .on_complete(move |result| told.send(result.clone()).unwrap())
        .supervisor(&sup)
        .start();
    let error = task.wait().unwrap_err();
    assert_eq!(error, TaskError::Duplicate { id: first.id() });
    assert!(error.is_duplicate() && !error.is_canceled());
    assert!(error.to_string().contains(&first.id().to_string()), "{error}");
    assert_eq!(tells.recv().unwrap(), Err(error));
    assert_eq!(Arc::strong_count(&argument), 1, "the arguments are dropped before the end");
    let info = task.info();
    assert_eq!((info.status, info.outcome), (TaskStatus::Completed, Some(Outcome::Failed)));
    gate.open();
    assert_eq!(first.join().unwrap(), 1);
    assert_eq!(second(&sup).start().join().unwrap(), 2);
}

#[test]
fn start_unique_returns_the_task_that_holds_the_key() {
    let sup = pool(4);
    let (first, gate) = holder(&sup);
    let found = second(&sup).start_unique().expect_err("the key is held");
    assert_eq!((found.id(), found.is_completed()), (first.id(), false));
    gate.open();
    found.wait().unwrap();
    // The reference keeps the result.
    drop(first);
    assert_eq!(found.result_cloned::<u32>(), Some(Ok(1)));
    assert_eq!(second(&sup).start_unique().expect("the key is free").join().unwrap(), 2);
}

/// Counts what observers are told.
#[derive(Clone, Default)]
struct Counts(Arc<Mutex<(u32, u32)>>);

impl Observer for Counts {
    fn launched(&self, _: &TaskEvent<'_>) {
        self.0.lock().unwrap().0 += 1;
    }
    fn ended(&self, _: &TaskEvent<'_>, _: Result<(), &TaskError>) {
        self.0.lock().unwrap().1 += 1;
    }
}

#[test]
fn start_unique_launches_nothing_while_the_key_is_held() {
    let sup = pool(4);
    let counts = Counts::default();
    sup.observe(counts.clone()).keep();
    let (first, gate) = holder(&sup);
    let argument = Arc::new(());
    let called = Arc::new(AtomicU32::new(0));
    for _ in 0..300 {
        let (held, calls) = (Arc::clone(&argument), Arc::clone(&called));
        let builder = TaskBuilder::new(move || drop(held))
            .name("sync")
            .unique(7u32)
            .on_complete(move |_| _ = calls.fetch_add(1, Ordering::SeqCst))
            .supervisor(&sup);
        assert!(builder.start_unique().is_err());
    }
    assert_eq!(Arc::strong_count(&argument), 1);
    assert_eq!(called.load(Ordering::SeqCst), 0);
    assert_eq!(sup.tasks().len(), 1);
    assert_eq!(*counts.0.lock().unwrap(), (1, 0));
    gate.open();
    first.join().unwrap();
    let info = sup.info().thread_pool;
    assert_eq!((info.completed, info.failed), (1, 0));
    assert_eq!(*counts.0.lock().unwrap(), (1, 1));
}

#[test]
fn observers_are_told_of_a_duplicate() {
    let sup = pool(4);
    let (first, gate) = holder(&sup);
    let counts = Counts::default();
    sup.observe(counts.clone()).keep();
    assert!(second(&sup).start().join().unwrap_err().is_duplicate());
    assert_eq!(*counts.0.lock().unwrap(), (1, 1));
    gate.open();
    first.join().unwrap();
}

#[test]
fn key_is_held_while_its_task_waits() {
    let sup = pool(1);
    let delayed = second(&sup).delay(Duration::from_secs(3600)).start();
    assert_eq!(second(&sup).start_unique().unwrap_err().id(), delayed.id());
    assert!(delayed.cancel());
    let (busy, gate) = occupy(&sup, Priority::Normal);
    let queued = second(&sup).start();
    assert_eq!(second(&sup).start_unique().unwrap_err().id(), queued.id());
    gate.open();
    busy.join().unwrap();
    assert_eq!(queued.join().unwrap(), 2);
    let retrying = TaskBuilder::<u32>::repeatable(|| panic!("again")).name("sync").unique(7u32);
    let retrying = retrying.retries(1).retry_delay(Duration::from_secs(3600)).supervisor(&sup);
    let retrying = retrying.start();
    atasker_tests::eventually(|| retrying.status() == TaskStatus::Delayed);
    assert_eq!(second(&sup).start_unique().unwrap_err().id(), retrying.id());
    assert!(retrying.cancel());
}

#[test]
fn keys_differ_by_name_type_value_and_supervisor() {
    let (sup, other) = (pool(8), pool(8));
    let (first, gate) = holder(&sup);
    let waiting = |builder: TaskBuilder<u32>| builder.start_unique().expect("a different key");
    let builder = || TaskBuilder::new(|| 3).supervisor(&sup).name("sync");
    let tasks = [
        waiting(builder().name("another").unique(7u32)),
        waiting(builder().unique(8u32)),
        waiting(builder().unique(7u64)),
        waiting(builder().unique((7u32,))),
        waiting(builder().unique("7".to_owned())),
        waiting(builder().unique(())),
        waiting(builder().unique(7u32).supervisor(&other)),
        // Without a key.
        waiting(builder()),
    ];
    for task in tasks {
        assert_eq!(task.join().unwrap(), 3);
    }
    // The same name, although it was created at run time.
    let same = builder().name(String::from("sync")).unique(7u32);
    assert_eq!(same.start_unique().unwrap_err().id(), first.id());
    gate.open();
    first.join().unwrap();
}

#[test]
fn later_key_replaces_earlier_one() {
    let sup = pool(4);
    let (first, gate) = holder(&sup);
    let task = second(&sup).unique(8u32).start();
    assert_eq!(task.join().unwrap(), 2);
    gate.open();
    first.join().unwrap();
}

#[test]
fn callback_still_finds_the_key_held() {
    let sup = pool(4);
    let (told, tells) = mpsc::channel();
    let ours = sup.clone();
    let task = second(&sup)
        .on_complete(move |_| told.send(second(&ours).start_unique().is_err()).unwrap())
        .start();
    task.join().unwrap();
    assert!(tells.recv().unwrap(), "the task has not ended while its callbacks run");
    assert!(second(&sup).start_unique().is_ok());
}
