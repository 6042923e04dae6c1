//! Does a thread task run, and does its handle show that?

use std::sync::mpsc;
use std::time::Duration;

use atasker::{
    Outcome, PoolConfig, Priority, Supervisor, Task, TaskBuilder, TaskContext, TaskError,
    TaskStatus, TaskType,
};

fn one_thread() -> Supervisor {
    Supervisor::builder().id("one").thread_pool(PoolConfig::new(1)).build()
}

#[test]
fn task_returns_result() {
    let sup = one_thread();
    let task = sup.spawn(|| String::from("hello"));
    assert_eq!(task.wait().unwrap(), "hello");
    assert_eq!(task.wait_timeout(Duration::from_secs(1)).unwrap(), "hello");
    assert_eq!(task.status(), TaskStatus::Completed);
    assert_eq!(task.tt(), TaskType::Thread);
    assert!(task.is_started() && task.is_completed() && task.error().is_none());
    let info = task.info();
    assert_eq!(info.outcome, Some(Outcome::Ok));
    assert_eq!(info.attempt, 1);
    assert!(info.time_queued <= info.time_started.unwrap());
    assert!(info.time_started <= info.time_completed);
    assert_eq!(task.join().unwrap(), "hello");
}

#[test]
fn panic_is_error_with_location() {
    let sup = one_thread();
    let task: Task<()> = sup.spawn(|| panic!("deliberate {}", "panic"));
    let error = task.join().unwrap_err();
    let TaskError::Panicked { message, location, .. } = &error else { panic!("{error:?}") };
    assert_eq!(message, "deliberate panic");
    let location = location.as_deref().unwrap();
    assert!(location.contains("thread_tasks.rs:"), "{location}");
    assert_eq!(location.rsplit(':').take(2).filter(|p| p.parse::<u32>().is_ok()).count(), 2);
    // The pool works after the failure.
    assert_eq!(sup.spawn(|| 1).join().unwrap(), 1);
}

#[test]
fn nested_waits_in_pool_of_one() {
    fn depth(sup: &Supervisor, n: u32) -> u32 {
        if n == 0 {
            return 0;
        }
        let inner = sup.clone();
        sup.spawn(move || depth(&inner, n - 1)).join().unwrap() + 1
    }
    let sup = one_thread();
    let inner = sup.clone();
    assert_eq!(sup.spawn(move || depth(&inner, 50)).join().unwrap(), 50);
    assert_eq!(sup.info().thread_pool.blocked, 0);
}

#[test]
fn tasks_start_by_priority() {
    let sup = one_thread();
    let (release, gate) = mpsc::channel::<()>();
    let blocker = sup.spawn(move || gate.recv().unwrap());
    let (tx, rx) = mpsc::channel();
    let tasks: Vec<_> = [
        (Priority::Low, 1),
        (Priority::Normal, 2),
        (Priority::High, 3),
        (Priority::Low, 4),
        (Priority::High, 5),
    ]
    .into_iter()
    .map(|(priority, n)| {
        let tx = tx.clone();
        TaskBuilder::new(move || tx.send(n).unwrap()).priority(priority).supervisor(&sup).start()
    })
    .collect();
    assert_eq!(sup.info().thread_pool.waiting.total(), 5);
    // A critical task starts immediately, although the pool's only slot is occupied.
    let critical = TaskBuilder::new(|| 0).priority(Priority::Critical).supervisor(&sup).start();
    assert_eq!(critical.join().unwrap(), 0);
    release.send(()).unwrap();
    blocker.join().unwrap();
    for task in tasks {
        task.join().unwrap();
    }
    assert_eq!(rx.try_iter().collect::<Vec<_>>(), [3, 5, 2, 1, 4]);
}

#[test]
fn task_exchanges_messages() {
    let sup = one_thread();
    let task = TaskBuilder::with_context(|ctx: &TaskContext<u64, String>| {
        let mut seen = 0;
        while let Ok(n) = ctx.recv() {
            seen += n;
            ctx.progress(seen, 100);
            ctx.send(seen.to_string()).unwrap();
        }
        seen
    })
    .supervisor(&sup)
    .start();
    task.send(3).unwrap();
    assert_eq!(task.recv().unwrap(), "3");
    assert_eq!(task.progress().unwrap().done, 3);
    task.send(4).unwrap();
    task.stop();
    assert_eq!(task.wait().unwrap(), &7);
    assert_eq!(task.messages().collect::<Vec<_>>(), ["7"]);
    assert!(task.send(1).is_err());
}
