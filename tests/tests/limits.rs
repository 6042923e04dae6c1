//! What does a time limit do around the task that overstays it?

use std::future::pending;
use std::sync::mpsc;
use std::time::Duration;

use atasker::{RecvError, StopOptions, TaskBuilder, TaskContext, TaskError};
use atasker_tests::{FAR, Gate, eventually, pool};

const SHORT: Duration = Duration::from_millis(10);

#[test]
fn it_does_not_touch_a_task_that_is_in_time() {
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
fn it_counts_from_the_start_of_the_run() {
    let sup = pool(1);
    let (busy, gate) = atasker_tests::occupy(&sup, atasker::Priority::Normal);
    let task = TaskBuilder::new(|| 1).timeout(FAR).delay(SHORT).supervisor(&sup).start();
    eventually(|| sup.info().thread_pool.waiting.total() == 1);
    gate.open();
    busy.join().unwrap();
    assert_eq!(task.join().unwrap(), 1);
}

#[test]
fn it_ends_what_the_task_waits_for() {
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
        // The channel closes with the end of the task.
        assert!(matches!(error, RecvError::Stopped | RecvError::Closed), "{error:?}");
    }
    assert!(task.try_send(1).is_err());
}

#[test]
fn it_tells_its_length() {
    let sup = pool(1);
    let task = TaskBuilder::future(pending::<()>()).timeout(SHORT).supervisor(&sup).start();
    let error = task.join().unwrap_err();
    assert!(matches!(error, TaskError::TimedOut { limit, .. } if limit == SHORT));
    assert!(error.to_string().contains("10ms"), "{error}");
    assert!(error.is_timeout() && !error.is_panic() && !error.is_canceled());
}

#[test]
fn a_limit_of_nothing_ends_at_once() {
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
fn limits_that_end_with_the_run_leave_one_outcome() {
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
    // Every slot is free again, and nobody overstays.
    eventually(|| sup.info().thread_pool.running == 0);
    assert!(sup.info().thread_pool.overstayed.is_empty());
    let report = sup.stop(StopOptions::new());
    assert_eq!(report.abandoned, 0);
}

#[test]
fn a_stop_does_not_wait_for_a_thread_whose_task_has_timed_out() {
    let sup = pool(1);
    let gate = Gate::new();
    let waits = gate.clone();
    let task = TaskBuilder::new(move || waits.wait()).timeout(SHORT).supervisor(&sup).start();
    assert!(task.wait().unwrap_err().is_timeout());
    let report = sup.stop(StopOptions::new());
    assert_eq!(report.abandoned, 0, "it has its outcome");
    gate.open();
}
