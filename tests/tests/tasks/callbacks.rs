//! When and where do callbacks run, and what are they allowed to do?

use std::future::pending;
use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use atasker::{
    Overflow, PoolConfig, Priority, StopOptions, Supervisor, Task, TaskBuilder, TaskError,
    TaskStatus, current,
};
use atasker_tests::{FAR, Gate, occupy, pool};

fn thread_name() -> String {
    std::thread::current().name().unwrap_or_default().to_owned()
}

/// Ends a task in the given way and returns what its callback observed.
fn seen(sup: &Supervisor, end: &str) -> Vec<(Result<u32, TaskError>, String)> {
    let (tx, rx) = mpsc::channel();
    let callback = move |result: &Result<u32, TaskError>| {
        tx.send((result.clone(), thread_name())).unwrap();
    };
    let limit = Duration::from_millis(10);
    let gate = Gate::new();
    let waits = gate.clone();
    let builder = match end {
        "result" | "cancel" => TaskBuilder::new(|| 7),
        "panic" => TaskBuilder::new(|| panic!("deliberate panic")),
        "limit" => TaskBuilder::new(move || {
            waits.wait();
            0
        })
        .timeout(limit),
        "async result" => TaskBuilder::future(async { 7 }),
        "async panic" => TaskBuilder::future(async { panic!("deliberate panic") }),
        "async limit" => TaskBuilder::future(pending()).timeout(limit),
        _ => TaskBuilder::future(pending()),
    };
    let busy = (end == "cancel").then(|| occupy(sup, Priority::Normal));
    let task = builder.on_complete(callback).supervisor(sup).start();
    match end {
        "cancel" => assert!(task.cancel()),
        "async kill" => task.kill().unwrap(),
        _ => {}
    }
    let result = task.join();
    let all: Vec<_> = rx.try_iter().collect();
    assert_eq!(all.len(), 1, "{end}: expected one call, before the outcome is visible");
    assert_eq!(
        format!("{:?}", all[0].0),
        format!("{result:?}"),
        "{end}: callback and handle differ"
    );
    gate.open();
    if let Some((busy, gate)) = busy {
        gate.open();
        busy.join().unwrap();
    }
    all
}

#[test]
fn ended_task_runs_callback_once_on_pool_thread() {
    let sup = Supervisor::builder().id("cb").thread_pool(PoolConfig::new(1)).build();
    for end in [
        "result",
        "panic",
        "cancel",
        "limit",
        "async result",
        "async panic",
        "async kill",
        "async limit",
    ] {
        let all = seen(&sup, end);
        assert!(all[0].1.starts_with("supervisor_cb_pool_"), "{end}: on {}", all[0].1);
        assert_eq!(all[0].0.is_ok(), end.ends_with("result"), "{end}");
    }
}

#[test]
fn outcome_is_published_after_callback() {
    let sup = pool(1);
    for kind in 0..2 {
        let (begun, gate) = (Gate::new(), Gate::new());
        let (begins, waits) = (begun.clone(), gate.clone());
        let builder = match kind {
            0 => TaskBuilder::new(|| 7),
            _ => TaskBuilder::future(async { 7 }),
        };
        let task = builder
            .on_complete(move |_| {
                begins.open();
                waits.wait();
            })
            .supervisor(&sup)
            .start();
        begun.wait();
        assert!(!task.is_completed());
        assert_eq!(task.status(), TaskStatus::Started);
        assert!(task.result().is_none() && task.error().is_none());
        assert!(task.info().outcome.is_none() && task.time_completed().is_none());
        assert!(sup.task(task.id()).is_some());
        // The task has its outcome, which cannot change any more.
        assert!(!task.cancel());
        assert_eq!(task.kill(), Ok(()));
        gate.open();
        assert_eq!(task.join().unwrap(), 7);
    }
}

#[test]
fn panicking_callback_is_isolated() {
    let sup = pool(1);
    for kind in 0..2 {
        let builder = match kind {
            0 => TaskBuilder::new(|| 7),
            _ => TaskBuilder::future(async { 7 }),
        };
        let (tx, rx) = mpsc::channel();
        let task = builder
            .on_complete(|_| panic!("in a callback"))
            .on_complete(move |_| tx.send(()).unwrap())
            .supervisor(&sup)
            .start();
        assert_eq!(task.wait().unwrap(), &7);
        rx.try_recv().expect("the next callback runs");
    }
    assert_eq!(sup.spawn(|| 1).join().unwrap(), 1);
}

#[test]
fn callbacks_run_in_registration_order() {
    let sup = pool(1);
    let order = Arc::new(Mutex::new(Vec::new()));
    let mut builder = TaskBuilder::new(|| ());
    for n in 0..5 {
        let order = Arc::clone(&order);
        builder = builder.on_complete(move |_| order.lock().unwrap().push(n));
    }
    builder.supervisor(&sup).start().join().unwrap();
    assert_eq!(*order.lock().unwrap(), [0, 1, 2, 3, 4]);
}

#[test]
fn retried_task_runs_callback_after_last_attempt() {
    let sup = pool(1);
    let (tx, rx) = mpsc::channel();
    let mut runs = 0;
    let task = TaskBuilder::repeatable(move || {
        runs += 1;
        assert!(runs > 2, "run {runs}");
        runs
    })
    .retries(2)
    .on_complete(move |result| tx.send(result.clone().unwrap()).unwrap())
    .supervisor(&sup)
    .start();
    assert_eq!(task.join().unwrap(), 3);
    assert_eq!(rx.iter().collect::<Vec<_>>(), [3]);
}

#[test]
fn callback_may_launch_and_wait() {
    let sup = pool(1);
    for kind in 0..4 {
        let inner = sup.clone();
        let gate = Gate::new();
        let waits = gate.clone();
        let builder = match kind {
            0 => TaskBuilder::new(|| 1),
            1 => TaskBuilder::future(async { 1 }),
            2 => TaskBuilder::future(pending()).timeout(Duration::from_millis(5)),
            _ => TaskBuilder::new(move || {
                waits.wait();
                1
            })
            // The callback's slot stays occupied; a critical task starts nevertheless.
            .timeout(Duration::from_millis(5)),
        };
        let (tx, rx) = mpsc::channel();
        let task = builder
            .on_complete(move |_| {
                let launch = |n| {
                    TaskBuilder::new(move || n)
                        .priority(Priority::Critical)
                        .supervisor(&inner)
                        .start()
                };
                let (a, b) = atasker::wait_completed!(launch(20), launch(22)).unwrap();
                let c = inner.spawn_async(async { 0 }).join().unwrap();
                tx.send(a + b + c).unwrap();
            })
            .supervisor(&sup)
            .start();
        let _ = task.wait();
        assert_eq!(rx.try_recv(), Ok(42), "kind {kind}");
        gate.open();
    }
}

#[test]
fn full_pool_runs_callback() {
    for overflow in [Overflow::Reject, Overflow::Block] {
        let sup =
            Supervisor::builder().thread_pool(PoolConfig::new(1).queue_limit(1, overflow)).build();
        let (busy, gate) = occupy(&sup, Priority::Normal);
        let waits = sup.spawn(|| ());
        let (tx, rx) = mpsc::channel();
        let task = TaskBuilder::future(async { 1 })
            .on_complete(move |_| tx.send(()).unwrap())
            .supervisor(&sup)
            .start();
        assert_eq!(task.wait_timeout(FAR).unwrap(), &1);
        rx.try_recv().expect("the callback has run");
        gate.open();
        busy.join().unwrap();
        waits.join().unwrap();
    }
}

#[test]
fn callback_runs_in_task_context() {
    let sup = pool(1);
    for kind in 0..2 {
        let builder = match kind {
            0 => TaskBuilder::new(|| ()),
            _ => TaskBuilder::future(async {}),
        };
        let (tx, rx) = mpsc::channel();
        let task = builder
            .name("mine")
            .on_complete(move |_| {
                let task = current().unwrap();
                tx.send((task.id(), task.name().to_owned())).unwrap();
            })
            .supervisor(&sup)
            .start();
        task.wait().unwrap();
        assert_eq!(rx.try_recv().unwrap(), (task.id(), "mine".to_owned()), "kind {kind}");
    }
}

#[test]
fn callback_launch_is_accepted_while_draining() {
    for kind in 0..2 {
        let sup = pool(1);
        let gate = Gate::new();
        let waits = gate.clone();
        let builder = match kind {
            0 => TaskBuilder::new(move || waits.wait()),
            _ => TaskBuilder::future(async move { waits.wait() }),
        };
        let inner = sup.clone();
        let (tx, rx) = mpsc::channel();
        let task = builder
            .on_complete(move |_| tx.send(inner.spawn(|| 42).join()).unwrap())
            .supervisor(&sup)
            .start();
        std::thread::scope(|scope| {
            scope.spawn(|| sup.stop(StopOptions::new()));
            atasker_tests::eventually(|| !sup.is_active());
            gate.open();
        });
        task.join().unwrap();
        assert_eq!(rx.recv().unwrap().unwrap(), 42, "kind {kind}");
    }
}

#[test]
fn callback_may_stop_supervisor() {
    for kind in 0..2 {
        let sup = pool(1);
        let builder = match kind {
            0 => TaskBuilder::new(|| 7),
            _ => TaskBuilder::future(async { 7 }),
        };
        let inner = sup.clone();
        let task = builder
            .on_complete(move |_| {
                inner.stop(StopOptions::new());
            })
            .supervisor(&sup)
            .start();
        assert_eq!(task.wait_timeout(FAR).unwrap(), &7, "kind {kind}");
        assert!(!sup.is_active());
    }
}

#[test]
fn abandoned_task_runs_callback() {
    let sup = pool(1);
    let gate = Gate::new();
    let (tx, rx) = mpsc::channel();
    let launch = |builder: TaskBuilder<()>| {
        let tx = tx.clone();
        builder
            .on_complete(move |result| tx.send(result.clone().unwrap_err()).unwrap())
            .supervisor(&sup)
            .start()
    };
    let waits = gate.clone();
    let tasks: Vec<Task<()>> = vec![
        launch(TaskBuilder::new(move || waits.wait())),
        launch(TaskBuilder::future(pending())),
        launch(TaskBuilder::new(|| ())),
        launch(TaskBuilder::new(|| ()).delay(FAR)),
    ];
    drop(tx);
    sup.stop(StopOptions::new().wait(Duration::from_millis(1)));
    for task in tasks {
        assert!(matches!(task.join(), Err(TaskError::SupervisorStopped)));
    }
    let reported: Vec<_> = rx.iter().collect();
    assert_eq!(reported.len(), 4);
    assert!(reported.iter().all(|error| matches!(error, TaskError::SupervisorStopped)));
    gate.open();
}
