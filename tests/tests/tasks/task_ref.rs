//! What can be done with a task that was found by its id?

use std::sync::Arc;

use atasker::{Priority, Task, TaskBuilder, TaskContext, TaskError, TaskRef, TaskStatus};
use atasker_tests::{FAR, occupy, pool};

#[test]
fn live_task_is_found_by_id() {
    let sup = pool(1);
    let (busy, gate) = occupy(&sup, Priority::Normal);
    let queued = sup.spawn(|| ());
    let delayed = TaskBuilder::new(|| ()).delay(FAR).supervisor(&sup).start();
    let all = [&busy, &queued, &delayed];
    let found: Vec<TaskRef> = all.iter().map(|task| sup.task(task.id()).unwrap()).collect();
    for (task, found) in all.iter().zip(&found) {
        assert_eq!(task.id(), found.id());
        assert_eq!(task.status(), found.status());
        assert_eq!(task.name(), found.info().name);
        assert!(!found.is_completed() && found.error().is_none());
    }
    // A task of another supervisor is not found.
    assert!(pool(1).task(busy.id()).is_none());
    assert!(found[2].cancel());
    gate.open();
    found[0].wait().unwrap();
    found[1].wait().unwrap();
    assert!(found[2].wait().unwrap_err().is_canceled());
    assert!(found[2].error().unwrap().is_canceled());
    for found in &found {
        assert!(found.is_completed());
        assert!(sup.task(found.id()).is_none());
    }
}

#[test]
fn result_lives_with_handle_or_reference() {
    let sup = pool(1);
    let held = Arc::new(5);
    let weak = Arc::downgrade(&held);
    let (busy, gate) = occupy(&sup, Priority::Normal);
    let task = sup.spawn(move || held);
    let (found, second) = (sup.task(task.id()).unwrap(), task.to_ref());
    gate.open();
    busy.join().unwrap();
    found.wait().unwrap();
    drop(task);
    assert!(weak.upgrade().is_some());
    assert_eq!(found.result_cloned::<Arc<i32>>().unwrap().unwrap(), Arc::new(5));
    drop(found);
    assert!(weak.upgrade().is_some());
    drop(second);
    atasker_tests::eventually(|| weak.upgrade().is_none());
}

#[test]
fn result_is_cloned_for_matching_type() {
    let sup = pool(1);
    let task = sup.spawn(|| String::from("hello"));
    let found = task.to_ref();
    task.wait().unwrap();
    assert_eq!(found.result_cloned::<String>().unwrap().unwrap(), "hello");
    assert!(found.result_cloned::<u32>().is_none());
    assert_eq!(task.wait().unwrap(), "hello", "the reference received a copy");
    assert_eq!(task.join().unwrap(), "hello");
    assert!(found.result_cloned::<String>().is_none(), "the result was moved out");
    assert_eq!(found.status(), TaskStatus::Completed);
    found.wait().unwrap();
    let failed: Task<u32> = sup.spawn(|| panic!("deliberate panic"));
    let found = failed.to_ref();
    assert!(found.wait().unwrap_err().is_panic());
    assert!(found.result_cloned::<u32>().unwrap().unwrap_err().is_panic());
    assert!(failed.join().is_err());
    assert!(found.error().unwrap().is_panic(), "an error is never moved out");
    assert!(sup.spawn(|| ()).to_ref().result_cloned::<u8>().is_none());
}

#[test]
fn typed_handle_is_recreated_if_none_exists() {
    let sup = pool(1);
    let (busy, gate) = occupy(&sup, Priority::Normal);
    let task = sup.spawn(|| 42_u32);
    let found = sup.task(task.id()).unwrap();
    let found = found.typed::<Task<u32>>().unwrap_err();
    drop(task);
    let found = found.typed::<Task<u64>>().unwrap_err();
    let found = found.typed::<Task<u32, u8, ()>>().unwrap_err();
    let copy = found.clone();
    let task: Task<u32> = found.typed().unwrap();
    assert!(copy.clone().typed::<Task<u32>>().is_err(), "only one typed handle at a time");
    gate.open();
    busy.join().unwrap();
    assert_eq!(task.wait().unwrap(), &42);
    drop(task);
    // The same for an ended task.
    let task: Task<u32> = copy.clone().typed().unwrap();
    assert_eq!(task.join().unwrap(), 42);
    // The result was moved out, so there is nothing for a typed handle to return.
    assert!(copy.typed::<Task<u32>>().is_err());
}

#[test]
fn typed_handle_has_channels() {
    let sup = pool(1);
    let task = TaskBuilder::with_context(|ctx: &TaskContext<u8, String>| {
        let n = ctx.recv().unwrap();
        ctx.send(n.to_string()).unwrap();
        n
    })
    .supervisor(&sup)
    .start();
    let found = task.to_ref();
    drop(task);
    let found = found.typed::<Task<u8>>().unwrap_err();
    let found = found.typed::<Task<u8, String, u8>>().unwrap_err();
    let task: Task<u8, u8, String> = found.typed().unwrap();
    // Channels close when the task ends, not when a handle is dropped.
    task.send(7).unwrap();
    assert_eq!(task.recv().unwrap(), "7");
    assert_eq!(task.join().unwrap(), 7);
}

#[test]
fn concurrent_typed_calls_yield_one_handle() {
    let sup = pool(1);
    for _ in 0..200 {
        let task = sup.spawn(|| 1);
        let found = task.to_ref();
        task.wait().unwrap();
        drop(task);
        let start = std::sync::Barrier::new(3);
        let joined: usize = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..3)
                .map(|_| {
                    scope.spawn(|| {
                        start.wait();
                        let typed = found.clone().typed::<Task<i32>>();
                        typed.is_ok_and(|task| task.join().unwrap() == 1)
                    })
                })
                .collect();
            threads.into_iter().map(|thread| usize::from(thread.join().unwrap())).sum()
        });
        assert_eq!(joined, 1);
    }
}

#[test]
fn references_wait_anywhere() {
    let sup = pool(1);
    let (busy, gate) = occupy(&sup, Priority::Normal);
    let found = busy.to_ref();
    drop(busy);
    std::thread::scope(|scope| {
        let waiters: Vec<_> = (0..5)
            .map(|_| {
                let found = found.clone();
                scope.spawn(move || found.wait())
            })
            .collect();
        gate.open();
        for waiter in waiters {
            waiter.join().unwrap().unwrap();
        }
    });
    let error = sup.spawn_async(std::future::pending::<()>()).to_ref();
    error.kill().unwrap();
    assert!(matches!(error.wait(), Err(TaskError::Canceled)));
}
