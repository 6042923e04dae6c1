//! Can errors and reports be matched field by field and compared?
#![deny(warnings)]

use std::time::Duration;

use atasker::{
    Progress, StopOptions, StopReport, Supervisor, TaskBuilder, TaskContext, TaskError, WaitError,
    wait_completed,
};

const LIMIT: Duration = Duration::from_millis(10);

#[test]
fn task_errors() {
    let slow = TaskBuilder::<()>::with_context(|ctx: &TaskContext| while !ctx.stopped() {});
    match slow.timeout(LIMIT).start().join() {
        Err(TaskError::TimedOut { limit }) => assert_eq!(limit, LIMIT),
        other => panic!("{other:?}"),
    }
    let panics = TaskBuilder::<()>::new(|| panic!("deliberate panic"));
    match panics.start().join() {
        Err(TaskError::Panicked { message, location, backtrace: _ }) => {
            assert_eq!(message, "deliberate panic");
            assert!(location.unwrap().contains("error_patterns.rs:"));
        }
        other => panic!("{other:?}"),
    }
    let canceled = TaskBuilder::new(|| ()).delay(Duration::from_secs(3600)).start();
    assert!(canceled.cancel());
    assert_eq!(canceled.error(), Some(&TaskError::Canceled));
    assert_ne!(canceled.join(), Err(TaskError::QueueFull));
}

#[test]
fn wait_errors() {
    let never = TaskBuilder::<bool>::with_context(|ctx: &TaskContext| ctx.recv().is_err()).start();
    match wait_completed!(&never, timeout = LIMIT) {
        Err(WaitError::Timeout { pending }) => assert_eq!(pending, [never.id()]),
        other => panic!("{other:?}"),
    }
    never.stop();
    let panics = TaskBuilder::<()>::new(|| panic!("deliberate panic")).start();
    match wait_completed!(&never, &panics) {
        Err(WaitError::Task { index, id, name, error }) => {
            assert_eq!((index, id, &*name), (1, panics.id(), panics.name()));
            assert_eq!(Some(&error), panics.error());
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn reports_and_progress() {
    let sup = Supervisor::builder().build();
    let task = TaskBuilder::<()>::with_context(|ctx: &TaskContext| ctx.progress(1, 2))
        .supervisor(&sup)
        .start();
    task.wait().unwrap();
    assert_eq!(task.progress(), Some(Progress { done: 1, total: 2, message: None }));
    sup.spawn(|| 1).join().unwrap();
    let StopReport { completed, canceled, abandoned } = sup.stop(StopOptions::new());
    assert_eq!((completed, canceled, abandoned), (0, 0, 0));
}
