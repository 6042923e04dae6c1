//! What does a stop wait for, what does it end, and what does it report?

use std::future::pending;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use atasker::{
    Priority, StopOptions, StopReport, Supervisor, Task, TaskBuilder, TaskContext, TaskError,
    TaskStatus,
};
use atasker_tests::{FAR, Gate, eventually, occupy, pool};

const NOW: Duration = Duration::ZERO;

fn report(report: StopReport) -> (u64, u64, u64) {
    (report.completed, report.canceled, report.abandoned)
}

fn refused<R: Send + 'static>(task: Task<R>) -> bool {
    matches!(task.join(), Err(TaskError::SupervisorStopped))
}

#[test]
fn stop_completes_queued_and_running_tasks() {
    for _ in 0..50 {
        let sup = pool(2);
        let mut tasks: Vec<_> = (0..20).map(|n| sup.spawn(move || n)).collect();
        tasks.extend((20..30).map(|n| {
            sup.spawn_async(async move {
                tokio::task::yield_now().await;
                n
            })
        }));
        let (completed, canceled, abandoned) = report(sup.stop(StopOptions::new()));
        assert!(tasks.iter().all(Task::is_completed), "the stop has returned");
        // Some may have ended before the stop began.
        assert!(completed <= 30 && canceled == 0 && abandoned == 0);
        let info = sup.info();
        assert_eq!((info.active, info.tasks), (false, 0));
        for (n, task) in tasks.into_iter().enumerate() {
            assert_eq!(task.join().unwrap(), n);
        }
    }
}

#[test]
fn report_counts_outcomes() {
    let sup = pool(1);
    let (busy, gate) = occupy(&sup, Priority::Normal);
    let mut tasks: Vec<_> = (0..5).map(|n| sup.spawn(move || n)).collect();
    tasks.push(sup.spawn(|| panic!("expected panic")));
    let stopped = thread::scope(|scope| {
        let stop = scope.spawn(|| sup.stop(StopOptions::new()));
        eventually(|| !sup.is_active());
        // Rejected tasks are not counted.
        for _ in 0..10 {
            assert!(refused(sup.spawn(|| ())));
        }
        assert!(tasks[4].cancel());
        gate.open();
        stop.join().unwrap()
    });
    assert_eq!(report(stopped), (6, 1, 0));
    busy.join().unwrap();
}

#[test]
fn launch_while_stopping_is_rejected() {
    let sup = pool(1);
    sup.spawn(|| ()).join().unwrap();
    sup.stop(StopOptions::new());
    assert!(!sup.is_active());
    let (tx, rx) = mpsc::channel();
    let task = TaskBuilder::new(|| 1)
        .on_complete(move |result| tx.send(result.is_err()).unwrap())
        .supervisor(&sup)
        .start();
    assert_eq!(rx.recv(), Ok(true));
    assert!(task.wait().is_err() && task.is_completed() && !task.is_started());
    assert_eq!(task.status(), TaskStatus::Completed);
    assert!(refused(task));
    let delayed = TaskBuilder::new(|| 1).delay(FAR).supervisor(&sup).start();
    assert!(delayed.is_completed() && refused(delayed));
    let future = sup.spawn_async(async { 1 });
    assert!(future.is_completed() && refused(future));
    assert_eq!(sup.info().tasks, 0);
    assert!(!sup.is_active(), "a launch does not restart a stopped supervisor");
}

#[test]
fn nested_launch_while_draining_is_accepted() {
    let sup = pool(1);
    let (gate, inner) = (Gate::new(), sup.clone());
    let waits = gate.clone();
    let outer = sup.spawn(move || {
        waits.wait();
        let (sup, again) = (inner.clone(), inner.clone());
        let thread = inner.spawn(move || sup.spawn(|| 1).join().unwrap());
        let future = inner.spawn_async(async move { again.spawn(|| 2).await.unwrap() });
        // The stop does not wait for this task.
        let left = inner.spawn(|| 3);
        (thread.join().unwrap(), future.join().unwrap(), left)
    });
    let stopped = thread::scope(|scope| {
        let stop = scope.spawn(|| sup.stop(StopOptions::new()));
        eventually(|| !sup.is_active());
        assert!(refused(sup.spawn(|| ())));
        gate.open();
        stop.join().unwrap()
    });
    let (a, b, left) = outer.join().unwrap();
    assert!(left.is_completed());
    assert_eq!((a, b, left.join().unwrap()), (1, 2, 3));
    assert_eq!(report(stopped), (6, 0, 0));
}

#[test]
fn cancel_tasks_cancels_queued_and_stops_running() {
    let sup = pool(1);
    let begun = Gate::new();
    let begins = begun.clone();
    let running = TaskBuilder::with_context(move |ctx: &TaskContext| {
        begins.open();
        ctx.recv().unwrap_err();
        7
    })
    .supervisor(&sup)
    .start();
    begun.wait();
    let (busy, gate) = occupy(&sup, Priority::Normal);
    let queued = sup.spawn(|| 1);
    let delayed = TaskBuilder::new(|| 1).delay(FAR).supervisor(&sup).start();
    let stopped = thread::scope(|scope| {
        let stop = scope.spawn(|| sup.stop(StopOptions::new().cancel_tasks(true)));
        assert!(queued.wait().unwrap_err().is_canceled());
        assert!(delayed.wait().unwrap_err().is_canceled());
        gate.open();
        stop.join().unwrap()
    });
    assert_eq!(running.join().unwrap(), 7);
    busy.join().unwrap();
    assert_eq!(report(stopped), (2, 2, 0));
}

#[test]
fn deadline_resolves_rest_as_supervisor_stopped() {
    struct Reports(Gate);
    impl Drop for Reports {
        fn drop(&mut self) {
            self.0.open();
        }
    }
    let sup = pool(1);
    let (busy, gate) = occupy(&sup, Priority::Normal);
    let dropped = Gate::new();
    let tells = Reports(dropped.clone());
    let future = sup.spawn_async(async move {
        let _tells = tells;
        pending::<()>().await
    });
    let queued = sup.spawn(|| ());
    let delayed = TaskBuilder::new(|| ()).delay(FAR).supervisor(&sup).start();
    let stopped = sup.stop(StopOptions::new().wait(Duration::from_millis(10)));
    assert_eq!(report(stopped), (0, 0, 4));
    for task in [&busy, &future, &queued, &delayed] {
        assert!(task.is_completed());
        assert_eq!(task.status(), TaskStatus::Completed);
    }
    for task in [busy, future, queued, delayed] {
        assert!(refused(task));
    }
    dropped.wait();
    assert_eq!(sup.info().tasks, 0);
    gate.open();
}

#[test]
fn stop_returns_before_unneeded_deadline() {
    let sup = pool(1);
    let task = sup.spawn(|| 1);
    let before = Instant::now();
    sup.stop(StopOptions::new().wait(FAR));
    assert!(before.elapsed() < FAR);
    assert_eq!(task.join().unwrap(), 1);
    // A supervisor that has never run a task.
    assert_eq!(report(pool(1).stop(StopOptions::new())), (0, 0, 0));
}

#[test]
fn stop_in_own_task_does_not_wait_for_it() {
    for kind in 0..2 {
        let sup = pool(2);
        let (busy, gate) = occupy(&sup, Priority::Normal);
        let inner = sup.clone();
        let own = match kind {
            0 => sup.spawn(move || {
                let stopped = inner.stop(StopOptions::new());
                assert!(refused(inner.spawn(|| ())));
                (report(stopped), 42)
            }),
            _ => sup.spawn_async(async move {
                let stopped = inner.stop_async(StopOptions::new()).await;
                // The task runs until the loop has ended.
                tokio::time::sleep(Duration::from_millis(5)).await;
                tokio::task::yield_now().await;
                (report(stopped), 42)
            }),
        };
        eventually(|| !sup.is_active());
        assert!(!own.is_completed(), "the stop waits for the other task");
        gate.open();
        let (stopped, result) = own.join().unwrap();
        assert_eq!((stopped, result), ((1, 0, 0), 42), "kind {kind}");
        busy.join().unwrap();
        assert!(!sup.is_active());
    }
}

#[test]
fn several_own_tasks_may_stop() {
    for _ in 0..50 {
        let sup = pool(4);
        let (busy, gate) = occupy(&sup, Priority::Normal);
        let start = std::sync::Arc::new(std::sync::Barrier::new(3));
        let own: Vec<_> = (0..3)
            .map(|n| {
                let (inner, start) = (sup.clone(), start.clone());
                sup.spawn(move || {
                    start.wait();
                    inner.stop(StopOptions::new());
                    n
                })
            })
            .collect();
        eventually(|| own.iter().filter(|task| task.is_completed()).count() == 2);
        // The tasks whose stop was not the first continued immediately; the first stop waits for
        // the busy task.
        assert!(!busy.is_completed());
        gate.open();
        for (n, task) in own.into_iter().enumerate() {
            assert_eq!(task.join().unwrap(), n, "its own result is delivered");
        }
        busy.join().unwrap();
    }
}

#[test]
fn second_stop_uses_own_options() {
    let sup = pool(1);
    let (busy, gate) = occupy(&sup, Priority::Normal);
    let queued = sup.spawn(|| ());
    thread::scope(|scope| {
        let patient = scope.spawn(|| sup.stop(StopOptions::new()));
        eventually(|| !sup.is_active());
        // The second stop cancels queued tasks, and its deadline ends the others.
        let hasty = sup.stop(StopOptions::new().wait(NOW).cancel_tasks(true));
        assert_eq!(report(hasty), (0, 1, 1));
        assert!(queued.join().unwrap_err().is_canceled());
        assert!(refused(busy));
        patient.join().unwrap();
    });
    gate.open();
}

#[test]
fn concurrent_stops_return() {
    for n in 0..50 {
        let sup = pool(2);
        let tasks: Vec<_> = (0..10).map(|n| sup.spawn(move || n)).collect();
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| sup.stop(StopOptions::new().cancel_tasks(n % 2 == 0)));
            }
        });
        assert!(tasks.iter().all(Task::is_completed));
        assert!(!sup.is_active());
    }
}

#[test]
fn stopped_supervisor_can_restart() {
    let sup = pool(1);
    for n in 0..20 {
        assert!(sup.start());
        assert!(sup.is_active() && !sup.start());
        assert_eq!(sup.spawn(move || n).join().unwrap(), n);
        assert_eq!(sup.spawn_async(async move { n }).join().unwrap(), n);
        sup.stop(StopOptions::new());
        assert!(!sup.is_active());
        assert!(refused(sup.spawn(|| ())));
        assert_eq!(report(sup.stop(StopOptions::new())), (0, 0, 0));
    }
}

#[test]
fn first_launch_or_start_starts() {
    let sup = pool(1);
    assert!(!sup.is_active());
    sup.spawn(|| ()).join().unwrap();
    assert!(sup.is_active());
    let sup = pool(1);
    assert!(sup.start() && sup.is_active());
    // After a stop before the first use, only `start` restarts.
    let sup = pool(1);
    sup.stop(StopOptions::new());
    assert!(refused(sup.spawn(|| ())));
    assert!(sup.start());
    sup.spawn(|| ()).join().unwrap();
}

#[test]
fn restarted_supervisor_accepts_launches() {
    let sup = pool(2);
    for _ in 0..300 {
        sup.stop(StopOptions::new());
        thread::scope(|scope| {
            let launcher = scope.spawn(|| {
                while !sup.is_active() {
                    std::hint::spin_loop();
                }
                sup.spawn(|| 1).join()
            });
            assert!(sup.start());
            assert_eq!(launcher.join().unwrap().unwrap(), 1);
        });
    }
}

#[test]
fn start_waits_for_ongoing_stop() {
    let sup = pool(1);
    let (busy, gate) = occupy(&sup, Priority::Normal);
    thread::scope(|scope| {
        scope.spawn(|| sup.stop(StopOptions::new()));
        eventually(|| !sup.is_active());
        let starter = scope.spawn(|| sup.start());
        gate.open();
        assert!(starter.join().unwrap());
    });
    busy.join().unwrap();
    assert_eq!(sup.spawn(|| 1).join().unwrap(), 1);
}

#[test]
fn start_inside_task_while_draining_does_not_deadlock() {
    let sup = pool(1);
    let (gate, inner) = (Gate::new(), sup.clone());
    let waits = gate.clone();
    let task = sup.spawn(move || {
        waits.wait();
        inner.start()
    });
    thread::scope(|scope| {
        scope.spawn(|| sup.stop(StopOptions::new()));
        eventually(|| !sup.is_active());
        gate.open();
    });
    assert!(!task.join().unwrap());
}

#[test]
fn block_returns_on_stop_despite_restart() {
    let other = pool(1);
    for _ in 0..100 {
        let sup = pool(1);
        sup.start();
        let blocks = sup.clone();
        let blocked = other.spawn(move || blocks.block());
        eventually(|| other.info().thread_pool.blocked == 1);
        assert!(!blocked.is_completed());
        sup.stop(StopOptions::new());
        sup.start();
        blocked.join().unwrap();
    }
    let sup = pool(1);
    sup.stop(StopOptions::new());
    sup.block();
}

#[test]
fn stop_async_works() {
    let sup = pool(1);
    let (busy, gate) = occupy(&sup, Priority::Normal);
    let queued = sup.spawn(|| 5);
    futures_lite::future::block_on(async {
        let stop = sup.stop_async(StopOptions::new().wait(FAR));
        let open = async { gate.open() };
        let (stopped, ()) = futures_lite::future::zip(stop, open).await;
        assert_eq!(report(stopped), (2, 0, 0));
    });
    assert_eq!(queued.join().unwrap(), 5);
    busy.join().unwrap();
    // The deadline wakes the stop.
    sup.start();
    let (busy, gate) = occupy(&sup, Priority::Normal);
    let soon = StopOptions::new().wait(Duration::from_millis(10));
    let stopped = futures_lite::future::block_on(sup.stop_async(soon));
    assert_eq!(report(stopped), (0, 0, 1));
    assert!(refused(busy));
    gate.open();
    // After a dropped stop future, the next stop continues.
    sup.start();
    let (busy, gate) = occupy(&sup, Priority::Critical);
    futures_lite::future::block_on(async {
        let mut stop = Box::pin(sup.stop_async(StopOptions::new()));
        assert!(futures_lite::future::poll_once(&mut stop).await.is_none());
    });
    assert!(!sup.is_active());
    gate.open();
    sup.stop(StopOptions::new());
    busy.join().unwrap();
    assert!(sup.start());
}

#[test]
fn stop_on_aloop_panics_with_advice() {
    let sup = pool(1);
    let inner: Supervisor = sup.clone();
    let error = sup
        .spawn_async(async move {
            inner.stop(StopOptions::new());
        })
        .join();
    assert!(error.unwrap_err().to_string().contains("stop_async"));
    assert!(sup.is_active());
}

#[test]
fn stop_ends_threads() {
    let sup = Supervisor::builder().thread_pool(atasker::PoolConfig::new(4).min_size(4)).build();
    sup.start();
    eventually(|| sup.info().thread_pool.idle == 4);
    sup.spawn_async(async {}).join().unwrap();
    assert_eq!(sup.info().aloops.len(), 1);
    sup.stop(StopOptions::new());
    assert_eq!(sup.info().thread_pool.threads, 0);
    assert!(sup.info().aloops.is_empty());
}
