//! Do aloops run, block and stop as documented, and do their threads have the documented names?

use std::future::pending;
use std::sync::{Arc, Barrier};
use std::time::Duration;

use atasker::{StopOptions, Supervisor, Task, TaskBuilder, TaskError};
use atasker_tests::{Gate, eventually, pool};

fn here() -> Option<String> {
    std::thread::current().name().map(str::to_owned)
}

fn stopped<R: Send + 'static>(task: Task<R>) -> bool {
    matches!(task.join(), Err(TaskError::SupervisorStopped))
}

#[test]
fn loop_thread_is_named() {
    let sup = Supervisor::builder().id("al").build();
    let aloop = sup.create_aloop("jobs");
    assert_eq!(aloop.name(), "jobs");
    let name = Some("supervisor_al_aloop_jobs".to_owned());
    assert_eq!(aloop.spawn(async { here() }).join().unwrap(), name);
    assert_eq!(aloop.run(async { here() }), name);
    let builder = TaskBuilder::future(async { here() }).aloop("jobs").supervisor(&sup);
    assert_eq!(builder.start().join().unwrap(), name);
    let multi = sup.create_aloop_multi("many", 3);
    let name = multi.spawn(async { here() }).join().unwrap().unwrap();
    assert!(name.starts_with("supervisor_al_aloop_many"), "{name}");
}

#[test]
fn same_name_returns_same_loop() {
    let sup = Supervisor::builder().id("al").build();
    let first = sup.create_aloop("jobs");
    let thread =
        |aloop: &atasker::Aloop| aloop.spawn(async { std::thread::current().id() }).join().unwrap();
    let id = thread(&first);
    assert_eq!(thread(&sup.create_aloop("jobs")), id);
    assert_eq!(thread(&sup.create_aloop_multi("jobs", 4)), id);
    assert_eq!(thread(&sup.aloop("jobs").unwrap()), id);
    assert!(sup.aloop("other").is_none());
    assert_eq!(sup.info().aloops.len(), 1);
    // An unknown name creates a loop.
    let named = TaskBuilder::future(async { here() }).aloop("other").supervisor(&sup).start();
    assert_eq!(named.join().unwrap().as_deref(), Some("supervisor_al_aloop_other"));
    assert!(sup.aloop("other").is_some());
}

#[test]
fn default_loop_can_be_replaced() {
    let sup = Supervisor::builder().id("al").build();
    sup.create_aloop("jobs");
    sup.set_default_aloop("jobs");
    let name = sup.spawn_async(async { here() }).join().unwrap();
    assert_eq!(name.as_deref(), Some("supervisor_al_aloop_jobs"));
    assert!(sup.aloop("default").is_none());
}

#[test]
fn loop_threads_run_in_parallel() {
    let sup = pool(1);
    let aloop = sup.create_aloop_multi("many", 3);
    let all = Arc::new(Barrier::new(3));
    let tasks: Vec<_> = (0..3)
        .map(|_| {
            let all = Arc::clone(&all);
            aloop.spawn(async move {
                all.wait();
            })
        })
        .collect();
    tasks.into_iter().for_each(|task| task.join().unwrap());
}

#[test]
fn spawn_blocking_threads_may_block() {
    let sup = pool(2);
    for threads in [1, 2] {
        let aloop = sup.create_aloop_multi(&format!("with {threads}"), threads);
        let inner = sup.clone();
        let task = aloop.spawn(async move {
            let blocking = tokio::task::spawn_blocking(move || {
                let gate = Gate::new();
                let opens = gate.clone();
                let task = inner.spawn(move || {
                    opens.wait();
                    7
                });
                gate.open();
                task.join()
            });
            blocking.await.unwrap().unwrap()
        });
        assert_eq!(task.join().unwrap(), 7, "{threads}");
        // The loop's own threads must not block.
        let never = sup.spawn_async(pending::<()>());
        let found = never.to_ref();
        let error = aloop.spawn(async move { drop(never.join()) }).join().unwrap_err();
        assert!(error.to_string().contains(".await"));
        found.kill().unwrap();
    }
}

#[test]
fn run_returns_result_or_panics() {
    let sup = pool(1);
    let aloop = sup.create_aloop("jobs");
    assert_eq!(aloop.run(async { 42 }), 42);
    let inner = aloop.clone();
    let task = sup.spawn(move || inner.run(async { panic!("deliberate panic") }));
    let error: Result<(), _> = task.join();
    assert!(error.unwrap_err().to_string().contains("deliberate panic"));
    assert_eq!(aloop.handle().block_on(async { 1 }), 1);
}

#[test]
fn dropped_handle_keeps_loop() {
    let sup = pool(1);
    let (go, goes) = tokio::sync::oneshot::channel();
    let aloop = sup.create_aloop("jobs");
    let task = aloop.spawn(async move { goes.await.unwrap() });
    drop(aloop);
    go.send(3).unwrap();
    assert_eq!(task.join().unwrap(), 3);
    assert!(sup.aloop("jobs").is_some());
}

#[test]
fn stop_ends_running_and_later_tasks() {
    for threads in [1, 2] {
        let sup = pool(1);
        let aloop = sup.create_aloop_multi("jobs", threads);
        let begun = Gate::new();
        let begins = begun.clone();
        let task = aloop.spawn(async move {
            begins.open();
            pending::<()>().await
        });
        begun.wait();
        aloop.stop();
        assert!(stopped(task));
        let late = aloop.spawn(async {});
        assert!(stopped(late));
        // The supervisor and its other loops continue.
        assert_eq!(sup.spawn_async(async { 1 }).join().unwrap(), 1);
        let inner = aloop.clone();
        let error = sup.spawn(move || inner.run(async {})).join().unwrap_err();
        assert!(error.to_string().contains("stopped"));
    }
}

#[test]
fn stopped_loop_is_replaced() {
    for threads in [1, 2] {
        let sup = pool(1);
        for name in ["jobs", "default"] {
            let launch = |sup: &Supervisor| {
                let builder = TaskBuilder::future(async { 5 }).supervisor(sup);
                if name == "default" { builder.start() } else { builder.aloop(name).start() }
            };
            let first = sup.create_aloop_multi(name, threads);
            assert_eq!(launch(&sup).join().unwrap(), 5);
            let count = sup.info().aloops.len();
            first.stop();
            // By its handle, and by its name.
            for error in [first.spawn(async { 5 }).join(), launch(&sup).join()] {
                let error = error.unwrap_err();
                assert!(matches!(error, TaskError::SupervisorStopped));
                assert!(error.to_string().contains("aloop"), "{error}");
            }
            assert!(sup.is_active());
            assert!(sup.aloop(name).is_none());
            assert_eq!(sup.info().aloops.len(), count - 1);

            let second = sup.create_aloop_multi(name, threads);
            assert_eq!(second.spawn(async { 6 }).join().unwrap(), 6);
            assert_eq!(second.run(async { 7 }), 7);
            assert_eq!(launch(&sup).join().unwrap(), 5);
            assert_eq!(sup.aloop(name).unwrap().spawn(async { 8 }).join().unwrap(), 8);
            assert_eq!(sup.info().aloops.len(), count);
            // This neither restarts the stopped loop nor stops the new one.
            assert!(stopped(first.spawn(async {})));
            first.stop();
            drop(first);
            assert_eq!(second.spawn(async { 9 }).join().unwrap(), 9);
        }
    }
}

#[test]
fn spawn_races_with_stop_and_ends() {
    for _ in 0..50 {
        let sup = pool(1);
        let aloop = sup.create_aloop("jobs");
        let tasks: Vec<_> = std::thread::scope(|scope| {
            let spawner =
                scope.spawn(|| (0..100).map(|n| aloop.spawn(async move { n })).collect::<Vec<_>>());
            aloop.stop();
            spawner.join().unwrap()
        });
        for task in tasks {
            assert!(task.wait().is_ok() || stopped(task));
        }
        assert_eq!(sup.info().tasks, 0);
    }
}

#[test]
fn supervisor_stop_drains_loop() {
    let sup = pool(1);
    let aloop = sup.create_aloop("jobs");
    let task = aloop.spawn(async {
        tokio::time::sleep(Duration::from_millis(20)).await;
        1
    });
    sup.stop(StopOptions::new());
    assert!(task.is_completed());
    assert_eq!(task.join().unwrap(), 1);
    assert!(stopped(aloop.spawn(async {})));
    assert!(sup.aloop("jobs").is_none());
    sup.start();
    eventually(|| sup.create_aloop("jobs").spawn(async { 1 }).join().is_ok());
}
