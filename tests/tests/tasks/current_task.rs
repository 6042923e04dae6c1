//! Can code deep in a call stack find the task that it runs in?

use atasker::{TaskBuilder, TaskContext, TaskId, current};
use atasker_tests::{eventually, pool};

fn here() -> Option<TaskId> {
    current().map(|task| task.id())
}

#[test]
fn outside_tasks_current_is_none() {
    assert!(current().is_none());
    let sup = pool(1);
    assert!(sup.create_aloop("jobs").run(async { here() }).is_none());
    sup.spawn(|| ()).join().unwrap();
    assert!(current().is_none());
}

#[test]
fn thread_task_has_id_and_name() {
    let sup = pool(1);
    let named = TaskBuilder::new(|| (here(), current().unwrap().name().to_owned()));
    let task = named.name("mine").supervisor(&sup).start();
    assert_eq!(*task.wait().unwrap(), (Some(task.id()), "mine".to_owned()));
}

#[test]
fn interleaved_futures_have_own_current() {
    let sup = pool(1);
    let tasks: Vec<_> = (0..20)
        .map(|_| {
            sup.spawn_async(async {
                let mut all = Vec::new();
                for _ in 0..10 {
                    all.push(here());
                    tokio::task::yield_now().await;
                }
                all
            })
        })
        .collect();
    for task in tasks {
        assert_eq!(*task.wait().unwrap(), vec![Some(task.id()); 10]);
    }
}

#[test]
fn current_is_restored_after_wait() {
    let sup = pool(1);
    let inner = sup.clone();
    let task = sup.spawn(move || {
        let before = here();
        let other = inner.spawn(here);
        let id = other.id();
        assert_eq!(other.join().unwrap(), Some(id));
        (before, here())
    });
    let id = Some(task.id());
    assert_eq!(task.join().unwrap(), (id, id));
}

#[test]
fn stop_request_is_visible() {
    let sup = pool(1);
    let task = TaskBuilder::with_context(|ctx: &TaskContext| {
        assert!(!current().unwrap().stopped());
        ctx.recv().unwrap_err();
        current().unwrap().stopped()
    })
    .supervisor(&sup)
    .start();
    eventually(|| sup.info().thread_pool.blocked == 1);
    task.stop();
    assert!(task.join().unwrap());
}
