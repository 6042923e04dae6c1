//! Do launches under `testing::inline` run tasks of all kinds before they return, on their thread?

use std::sync::{Arc, Mutex};
use std::thread::{self, ThreadId};
use std::time::Duration;

use atasker::{
    Outcome, Priority, Supervisor, TaskBuilder, TaskCollection, TaskContext, TaskError, TaskStatus,
    TaskType, background, background_task, current, testing, wait_completed,
};
use atasker_tests::{FAR, pool};

#[background_task(name = "adds", tt = "mp")]
fn add(a: u64, b: u64) -> (u64, u32) {
    (a + b, std::process::id())
}

#[background_task(delay = "1h", timeout = "1ns")]
fn thread_id() -> ThreadId {
    thread::current().id()
}

#[background_task]
async fn async_thread_id() -> ThreadId {
    tokio::time::sleep(Duration::from_millis(1)).await;
    thread::current().id()
}

#[test]
fn tasks_of_all_kinds_run_on_the_launching_thread() {
    let here = thread::current().id();
    let guard = testing::inline();
    let (one, two, three) = (thread_id(), async_thread_id(), add(1, 2));
    assert!(one.is_completed() && two.is_completed() && three.is_completed());
    assert_eq!(wait_completed!(one, two).unwrap(), (here, here));
    assert_eq!(three.join().unwrap(), (3, std::process::id()));
    drop(guard);
    assert_ne!(async_thread_id().join().unwrap(), here);
    assert_ne!(add(1, 2).join().unwrap().1, std::process::id());
}

#[test]
fn every_way_to_launch_runs_inline() {
    let sup = pool(1);
    let here = thread::current().id();
    let id = || thread::current().id();
    let _guard = testing::inline();
    assert_eq!(sup.spawn(id).result(), Some(&here));
    assert_eq!(sup.spawn_async(async move { id() }).result(), Some(&here));
    assert_eq!(TaskBuilder::new(id).supervisor(&sup).start().result(), Some(&here));
    assert_eq!(background!(|| id(), supervisor = &sup).result(), Some(&here));
    assert_eq!(background!(async move { id() }, supervisor = &sup).result(), Some(&here));
    assert_eq!(background!(doubled(4), tt = "mp", supervisor = &sup).result(), Some(&8));
    let jobs = sup.create_aloop("jobs");
    assert_eq!(jobs.spawn(async move { id() }).result(), Some(&here));
    // Not a launch: it runs on the aloop.
    assert_ne!(jobs.run(async move { id() }), here);
    let bounded = atasker::bounded(2, (0..5).map(|_| TaskBuilder::new(id)));
    assert!(bounded.map(|(_, result)| result.unwrap()).eq([here; 5]));
    let collection = TaskCollection::new();
    collection.add("one", Priority::Normal, id);
    collection.add("two", Priority::High, id);
    let results = collection.execute().results;
    assert!(results.len() == 2 && results.into_iter().all(|(_, result)| result == Ok(here)));
}

#[test]
fn handle_tells_of_a_task_that_has_ended() {
    let sup = pool(1);
    let _guard = testing::inline();
    let task = add::builder(1, 2).supervisor(&sup).start();
    let info = task.info();
    assert_eq!((info.name.as_str(), info.tt, info.attempt), ("adds", TaskType::Mp, 1));
    assert_eq!((info.status, info.outcome), (TaskStatus::Completed, Some(Outcome::Ok)));
    assert!(info.time_queued <= info.time_started.unwrap());
    assert!(info.time_started <= info.time_completed);
    assert!(sup.tasks().is_empty() && sup.task(task.id()).is_none());
    let reference = task.to_ref();
    assert_eq!(reference.result_cloned::<(u64, u32)>().unwrap().unwrap().0, 3);
    task.stop();
    assert!(!task.cancel() && task.kill().is_ok());
    assert_eq!(futures_lite::future::block_on(task).unwrap().0, 3);
    let info = sup.info();
    let pool = info.mp_pool.unwrap();
    assert_eq!((pool.completed, pool.workers.len(), info.thread_pool.threads), (1, 0, 0));
}

#[test]
fn nested_tasks_run_inline_as_well() {
    let sup = Supervisor::builder().id("nested").build();
    let here = thread::current().id();
    let _guard = testing::inline();
    let ours = sup.clone();
    let task = sup.spawn_async(async move {
        let outer = current().unwrap().id();
        let inner = ours.clone();
        let nested = ours.spawn(move || {
            let deepest = inner.spawn_async(async {
                tokio::time::sleep(Duration::from_millis(1)).await;
                (thread::current().id(), current().unwrap().id())
            });
            (current().unwrap().id(), deepest.join().unwrap())
        });
        // It has ended, so the wait does not block the thread of the future.
        assert!(nested.is_completed());
        let (middle, (thread, deepest)) = nested.await.unwrap();
        assert!(outer != middle && middle != deepest);
        assert_eq!(current().unwrap().id(), outer);
        tokio::time::sleep(Duration::from_millis(1)).await;
        thread
    });
    assert_eq!(task.join().unwrap(), here);
    assert!(current().is_none());
}

#[test]
fn panic_is_the_error_of_its_task() {
    let sup = pool(1);
    let _guard = testing::inline();
    let tasks = [
        sup.spawn(|| panic!("on a thread")),
        sup.spawn_async(async { panic!("async") }),
        background!(panics(), tt = "mp", supervisor = &sup),
    ];
    for (task, text) in tasks.into_iter().zip(["on a thread", "async", "mp"]) {
        let error: TaskError = task.join().unwrap_err();
        let TaskError::Panicked { message, location, .. } = error else { panic!("{error}") };
        assert_eq!(message, text);
        assert!(location.unwrap().contains("inline_kinds.rs"));
    }
}

fn doubled(n: u32) -> u32 {
    2 * n
}

fn panics() {
    panic!("mp");
}

#[background_task(retries = 3, retry_delay = "1h")]
fn fails_twice(attempts: Arc<Mutex<Vec<u32>>>) -> Result<u32, String> {
    let attempt = attempts.lock().unwrap().len() as u32 + 1;
    attempts.lock().unwrap().push(attempt);
    match attempt {
        1 => Err("first".into()),
        2 => panic!("second"),
        _ => Ok(attempt),
    }
}

#[test]
fn all_attempts_and_callbacks_precede_the_return() {
    let here = thread::current().id();
    let attempts = Arc::default();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let (first, second) = (Arc::clone(&seen), Arc::clone(&seen));
    let _guard = testing::inline();
    let task = fails_twice::builder(Arc::clone(&attempts))
        .on_complete(move |result| {
            assert_eq!(thread::current().id(), here);
            first.lock().unwrap().push(result.clone().unwrap().unwrap());
        })
        .on_complete(move |_| {
            second.lock().unwrap().push(0);
            panic!("a callback");
        })
        .start();
    assert_eq!(*seen.lock().unwrap(), [3, 0]);
    assert_eq!(*attempts.lock().unwrap(), [1, 2, 3]);
    assert_eq!((task.info().attempt, task.join().unwrap()), (3, Ok(3)));
}

#[test]
fn async_and_mp_tasks_are_retried() {
    let sup = pool(1);
    let _guard = testing::inline();
    let task = retried_async::builder().supervisor(&sup).start();
    assert_eq!((task.info().attempt, task.join().unwrap()), (3, Err(3)));
    let task = retried_mp::builder().supervisor(&sup).start();
    assert_eq!((task.info().attempt, task.join().unwrap()), (3, Ok(3)));
}

#[background_task(retries = 2, retry_delay = "1h")]
async fn retried_async(ctx: TaskContext) -> Result<(), u32> {
    tokio::task::yield_now().await;
    Err(ctx.attempt())
}

#[background_task(tt = "mp", retries = 5, retry_delay = "1h")]
fn retried_mp(ctx: &TaskContext) -> Result<u32, String> {
    if ctx.attempt() < 3 { Err("again".into()) } else { Ok(ctx.attempt()) }
}

#[test]
fn deep_nesting_and_many_attempts_use_little_stack() {
    let sup = pool(1);
    let _guard = testing::inline();
    let mut left = 20_000;
    let task = TaskBuilder::repeatable(move || {
        left -= 1;
        left
    })
    .retries(u32::MAX)
    .retry_if(|left: &u32| *left > 0)
    .retry_delay(FAR)
    .supervisor(&sup)
    .start();
    assert_eq!(task.info().attempt, 20_000);
}
