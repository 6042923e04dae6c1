//! What are the effects of a time limit on a task that exceeds it?

use std::future::pending;
use std::sync::mpsc;
use std::time::Duration;

use atasker::{RecvError, StopOptions, TaskBuilder, TaskContext, TaskError};
use atasker_tests::{FAR, Gate, eventually, pool};

const SHORT: Duration = Duration::from_millis(10);

#[test]
fn task_within_limit_is_unaffected() {
    let sup = pool(2);
    let tasks: Vec<_> = (0..200)
        .map(|n| {
            let builder = match n % 2 {
                0 => TaskBuilder::new(move || n),
                _ => TaskBuilder::future(async move { n }),
            };
            builder.timeout(FAR).supervisor(&sup).start()
        })
        .collect();
    for (n, task) in tasks.into_iter().enumerate() {
        assert_eq!(task.join().unwrap(), n);
    }
    assert!(sup.info().thread_pool.overstayed.is_empty());
}

#[test]
fn limit_counts_from_start_of_run() {
    let sup = pool(1);
    let (busy, gate) = atasker_tests::occupy(&sup, atasker::Priority::Normal);
    let task = TaskBuilder::new(|| 1).timeout(FAR).delay(SHORT).supervisor(&sup).start();
    eventually(|| sup.info().thread_pool.waiting.total() == 1);
    gate.open();
    busy.join().unwrap();
    assert_eq!(task.join().unwrap(), 1);
}

#[test]
fn limit_ends_waits_of_task() {
    let sup = pool(1);
    let (tx, rx) = mpsc::channel();
    let task = TaskBuilder::with_context(move |ctx: &TaskContext<u8>| {
        tx.send(ctx.recv().unwrap_err()).unwrap();
        assert!(ctx.wait_stop(FAR));
        tx.send(ctx.recv_timeout(FAR).unwrap_err()).unwrap();
    })
    .timeout(SHORT)
    .supervisor(&sup)
    .start();
    assert!(task.wait().unwrap_err().is_timeout());
    for error in rx.iter() {
        // The channel closes when the task ends.
        assert!(matches!(error, RecvError::Stopped | RecvError::Closed), "{error:?}");
    }
    assert!(task.try_send(1).is_err());
}

#[test]
fn timeout_error_has_limit() {
    let sup = pool(1);
    let task = TaskBuilder::future(pending::<()>()).timeout(SHORT).supervisor(&sup).start();
    let error = task.join().unwrap_err();
    assert!(matches!(error, TaskError::TimedOut { limit, .. } if limit == SHORT));
    assert!(error.to_string().contains("10ms"), "{error}");
    assert!(error.is_timeout() && !error.is_panic() && !error.is_canceled());
}

#[test]
fn zero_limit_ends_immediately() {
    let sup = pool(1);
    let limit = Duration::ZERO;
    let gate = Gate::new();
    let waits = gate.clone();
    let task = TaskBuilder::new(move || waits.wait()).timeout(limit).supervisor(&sup).start();
    assert!(task.join().unwrap_err().is_timeout());
    gate.open();
    let task = TaskBuilder::future(pending::<()>()).timeout(limit).supervisor(&sup).start();
    assert!(task.join().unwrap_err().is_timeout());
    let task = TaskBuilder::new(|| 1).timeout(Duration::MAX).supervisor(&sup).start();
    assert_eq!(task.join().unwrap(), 1);
}

#[test]
fn limit_races_with_end_of_run() {
    let sup = pool(2);
    let limit = Duration::from_micros(200);
    let tasks: Vec<_> = (0..400)
        .map(|n| {
            let builder = match n % 2 {
                0 => TaskBuilder::new(move || {
                    std::thread::sleep(limit);
                    n
                }),
                _ => TaskBuilder::future(async move {
                    tokio::time::sleep(limit).await;
                    n
                }),
            };
            builder.timeout(limit).supervisor(&sup).start()
        })
        .collect();
    for (n, task) in tasks.iter().enumerate() {
        match task.wait() {
            Ok(value) => assert_eq!(*value, n),
            Err(error) => assert!(error.is_timeout()),
        }
    }
    // Every slot is free again, and no task is overdue.
    eventually(|| sup.info().thread_pool.running == 0);
    assert!(sup.info().thread_pool.overstayed.is_empty());
    let report = sup.stop(StopOptions::new());
    assert_eq!(report.abandoned, 0);
}

#[test]
fn stop_does_not_wait_for_timed_out_thread() {
    let sup = pool(1);
    let gate = Gate::new();
    let waits = gate.clone();
    let task = TaskBuilder::new(move || waits.wait()).timeout(SHORT).supervisor(&sup).start();
    assert!(task.wait().unwrap_err().is_timeout());
    let report = sup.stop(StopOptions::new());
    assert_eq!(report.abandoned, 0, "the timed-out task already has its outcome");
    gate.open();
}
