//! What is the effect of each operation (stop, cancel, kill, time limit, drop) on a task that
//! waits, runs or has ended? This is the documented table, cell by cell.

use std::future::{pending, ready};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use atasker::{
    KillError, Outcome, Supervisor, Task, TaskBuilder, TaskContext, TaskError, TaskStatus,
};
use atasker_tests::{Gate, eventually, occupy, pool};

use atasker::Priority;

const LONG: Duration = Duration::from_secs(3600);

/// Counts the runs of functions that must not run (again).
#[derive(Clone, Default)]
struct Runs(Arc<AtomicU32>);

impl Runs {
    fn one(&self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
    fn so_far(&self) -> u32 {
        self.0.load(Ordering::SeqCst)
    }
}

/// One task in each waiting state, in a supervisor whose only slot is occupied, with the number of
/// runs before.
fn waiting(sup: &Supervisor, runs: &Runs) -> Vec<(&'static str, Task<()>, u32)> {
    let run = |runs: &Runs| {
        let runs = runs.clone();
        move || runs.one()
    };
    let delayed = TaskBuilder::new(run(runs)).delay(LONG).supervisor(sup).start();
    assert_eq!(delayed.status(), TaskStatus::Delayed);
    let future = |runs: &Runs| {
        let runs = runs.clone();
        async move { runs.one() }
    };
    let delayed_async = TaskBuilder::future(future(runs)).delay(LONG).supervisor(sup).start();
    assert_eq!(delayed_async.status(), TaskStatus::Delayed);

    let counts = runs.clone();
    let retrying = TaskBuilder::repeatable(move || {
        counts.one();
        panic!("deliberate panic")
    })
    .retries(5)
    .retry_delay(LONG)
    .priority(Priority::Critical)
    .supervisor(sup)
    .start();
    eventually(|| retrying.info().attempt == 1 && retrying.status() == TaskStatus::Delayed);

    let counts = runs.clone();
    let retrying_async = TaskBuilder::<()>::__repeatable_future(move || {
        counts.one();
        async { panic!("deliberate panic") }
    })
    .retries(5)
    .retry_delay(LONG)
    .supervisor(sup)
    .start();
    eventually(|| {
        retrying_async.info().attempt == 1 && retrying_async.status() == TaskStatus::Delayed
    });

    let queued = sup.spawn(run(runs));
    assert_eq!(queued.status(), TaskStatus::Queued);
    vec![
        ("delayed", delayed, 0),
        ("delayed, async", delayed_async, 0),
        ("waiting to retry", retrying, 1),
        ("waiting to retry, async", retrying_async, 1),
        ("queued", queued, 0),
    ]
}

fn assert_cancels_waiting_tasks(operation: impl Fn(&str, &Task<()>)) {
    let sup = pool(1);
    let (busy, gate) = occupy(&sup, Priority::Normal);
    let runs = Runs::default();
    let tasks = waiting(&sup, &runs);
    let before = runs.so_far();
    for (state, task, attempts) in &tasks {
        operation(state, task);
        assert!(task.is_completed(), "{state}");
        assert_eq!(task.status(), TaskStatus::Canceled, "{state}");
        assert!(task.error().unwrap().is_canceled(), "{state}");
        assert!(task.wait().unwrap_err().is_canceled(), "{state}");
        assert_eq!(task.info().attempt, *attempts, "{state}");
        assert_eq!(task.is_started(), *attempts > 0, "{state}");
        assert_eq!(task.info().outcome, Some(Outcome::Failed), "{state}");
        assert!(sup.task(task.id()).is_none(), "{state}");
    }
    assert_eq!(sup.info().thread_pool.waiting.total(), 0);
    assert_eq!(sup.info().tasks, 1);
    gate.open();
    busy.join().unwrap();
    sup.spawn(|| ()).join().unwrap();
    sup.spawn_async(ready(())).join().unwrap();
    assert_eq!(runs.so_far(), before, "the task never runs (again)");
    for (_, task, _) in tasks {
        assert!(task.join().unwrap_err().is_canceled());
    }
}

#[test]
fn stop_cancels_waiting_task() {
    assert_cancels_waiting_tasks(|_, task| task.stop());
}

#[test]
fn cancel_cancels_waiting_task() {
    assert_cancels_waiting_tasks(|state, task| assert!(task.cancel(), "{state}"));
}

#[test]
fn kill_cancels_waiting_task() {
    assert_cancels_waiting_tasks(|_, task| task.kill().unwrap());
}

#[test]
fn references_have_same_operations() {
    let sup = pool(1);
    for operation in 0..3 {
        let (busy, gate) = occupy(&sup, Priority::Normal);
        let task = sup.spawn(|| ());
        let found = sup.task(task.id()).unwrap();
        match operation {
            0 => found.stop(),
            1 => assert!(found.cancel()),
            _ => found.kill().unwrap(),
        }
        assert_eq!(task.status(), TaskStatus::Canceled);
        let running = sup.task(busy.id()).unwrap();
        assert!(!running.cancel());
        assert_eq!(running.kill(), Err(KillError::Unsupported));
        running.stop();
        gate.open();
        busy.join().unwrap();
    }
}

#[test]
fn time_limit_does_not_apply_to_waiting_task() {
    let sup = pool(1);
    let (busy, gate) = occupy(&sup, Priority::Normal);
    let task = TaskBuilder::new(|| 7).timeout(Duration::from_millis(1)).supervisor(&sup).start();
    // A limit of the same length that does apply has expired.
    let limited = TaskBuilder::new({
        let gate = gate.clone();
        move || gate.wait()
    })
    .timeout(Duration::from_millis(20))
    .priority(Priority::Critical)
    .supervisor(&sup)
    .start();
    assert!(limited.wait().unwrap_err().is_timeout());
    assert_eq!(task.status(), TaskStatus::Queued);
    gate.open();
    busy.join().unwrap();
    assert!(task.wait().is_ok() || task.error().unwrap().is_timeout());
}

#[test]
fn dropped_waiting_task_continues() {
    let sup = pool(1);
    let (busy, gate) = occupy(&sup, Priority::Normal);
    let ran = Gate::new();
    let runs = ran.clone();
    drop(sup.spawn(move || runs.open()));
    let delayed_ran = Gate::new();
    let runs = delayed_ran.clone();
    let delay = Duration::from_millis(10);
    drop(TaskBuilder::new(move || runs.open()).delay(delay).supervisor(&sup).start());
    gate.open();
    busy.join().unwrap();
    ran.wait();
    delayed_ran.wait();
}

/// A running task with a context, which reports whether a stop was requested.
fn running_thread(sup: &Supervisor) -> Task<bool, (), ()> {
    let begun = Gate::new();
    let begins = begun.clone();
    let task = TaskBuilder::with_context(move |ctx: &TaskContext| {
        begins.open();
        ctx.recv().is_err() && ctx.stopped()
    })
    .supervisor(sup)
    .start();
    begun.wait();
    task
}

fn running_async(sup: &Supervisor) -> Task<bool, (), ()> {
    let begun = Gate::new();
    let begins = begun.clone();
    let task = TaskBuilder::__future_with_context(move |ctx: TaskContext| async move {
        begins.open();
        ctx.stop_requested().await;
        ctx.stopped()
    })
    .supervisor(sup)
    .start();
    begun.wait();
    task
}

#[test]
fn stop_requests_stop_of_running_task() {
    let sup = pool(1);
    for task in [running_thread(&sup), running_async(&sup)] {
        assert_eq!(task.status(), TaskStatus::Started);
        task.stop();
        assert!(task.wait().unwrap());
        assert_eq!(task.status(), TaskStatus::Completed);
        assert_eq!(task.info().outcome, Some(Outcome::Ok));
    }
}

#[test]
fn cancel_requests_stop_of_running_task() {
    let sup = pool(1);
    for task in [running_thread(&sup), running_async(&sup)] {
        assert!(!task.cancel());
        assert!(task.wait().unwrap());
        assert_eq!(task.status(), TaskStatus::Completed);
    }
}

#[test]
fn kill_of_running_thread_task_is_unsupported() {
    let sup = pool(1);
    let task = running_thread(&sup);
    assert_eq!(task.kill(), Err(KillError::Unsupported));
    assert!(!task.is_completed());
    task.stop();
    assert!(task.join().unwrap());
}

/// Opens the gate when dropped.
struct Reports(Gate);

impl Drop for Reports {
    fn drop(&mut self) {
        self.0.open();
    }
}

#[test]
fn kill_drops_future_at_next_await() {
    let sup = pool(1);
    let (begun, dropped) = (Gate::new(), Gate::new());
    let (begins, tells) = (begun.clone(), Reports(dropped.clone()));
    let task = sup.spawn_async(async move {
        let _tells = tells;
        begins.open();
        pending::<u32>().await
    });
    begun.wait();
    task.kill().unwrap();
    assert!(task.wait().unwrap_err().is_canceled());
    assert_eq!(task.status(), TaskStatus::Canceled);
    assert!(dropped.is_open(), "the future is dropped before the end is visible");
    // The loop continues.
    assert_eq!(sup.spawn_async(ready(1)).join().unwrap(), 1);
}

#[test]
fn time_limit_ends_thread_task_but_keeps_slot() {
    let sup = pool(1);
    let (begun, gate, stopped) = (Gate::new(), Gate::new(), Gate::new());
    let (begins, waits, was_asked) = (begun.clone(), gate.clone(), stopped.clone());
    let limit = Duration::from_millis(20);
    let task = TaskBuilder::with_context(move |ctx: &TaskContext| {
        begins.open();
        while !ctx.stopped() {
            std::thread::yield_now();
        }
        was_asked.open();
        waits.wait();
        42
    })
    .timeout(limit)
    .supervisor(&sup)
    .start();
    begun.wait();
    match task.wait().unwrap_err() {
        TaskError::TimedOut { limit: reported, .. } => assert_eq!(reported, limit),
        other => panic!("{other:?}"),
    }
    assert_eq!(task.status(), TaskStatus::Completed);
    assert_eq!(task.info().outcome, Some(Outcome::Failed));
    stopped.wait();
    // The task still runs: its slot is occupied, and the occupying task is visible.
    let next = sup.spawn(|| 1);
    let info = sup.info().thread_pool;
    assert_eq!((info.running, info.waiting.total()), (1, 1));
    assert_eq!(info.overstayed, [task.id()]);
    assert_eq!(next.status(), TaskStatus::Queued);
    gate.open();
    assert_eq!(next.join().unwrap(), 1);
    assert!(sup.info().thread_pool.overstayed.is_empty());
    assert!(task.join().unwrap_err().is_timeout(), "a late result is not the outcome");
}

#[test]
fn time_limit_drops_future() {
    let sup = pool(1);
    let dropped = Gate::new();
    let tells = Reports(dropped.clone());
    let limit = Duration::from_millis(20);
    let task = TaskBuilder::future(async move {
        let _tells = tells;
        pending::<()>().await
    })
    .timeout(limit)
    .supervisor(&sup)
    .start();
    assert!(task.wait().unwrap_err().is_timeout());
    assert_eq!(task.status(), TaskStatus::Completed);
    dropped.wait();
}

#[test]
fn dropped_running_task_continues() {
    let sup = pool(1);
    let (begun, gate, ended) = (Gate::new(), Gate::new(), Gate::new());
    let (begins, waits, ends) = (begun.clone(), gate.clone(), ended.clone());
    let task = sup.spawn(move || {
        begins.open();
        waits.wait();
        ends.open();
    });
    begun.wait();
    drop(task);
    gate.open();
    ended.wait();

    let (begun, ended) = (Gate::new(), Gate::new());
    let (begins, ends) = (begun.clone(), ended.clone());
    let (go, goes) = tokio::sync::oneshot::channel();
    let task = sup.spawn_async(async move {
        begins.open();
        goes.await.unwrap();
        ends.open();
    });
    begun.wait();
    drop(task);
    go.send(()).unwrap();
    ended.wait();
}

#[test]
fn ended_task_is_unchanged() {
    let sup = pool(1);
    for task in [sup.spawn(|| 5), sup.spawn_async(ready(5))] {
        task.wait().unwrap();
        let before = task.info();
        task.stop();
        assert!(!task.cancel());
        assert_eq!(task.kill(), Ok(()));
        let after = task.info();
        assert_eq!(task.status(), TaskStatus::Completed);
        assert_eq!(after.time_completed, before.time_completed);
        assert_eq!(after.outcome, Some(Outcome::Ok));
        assert_eq!(task.join().unwrap(), 5);
    }
}

#[test]
fn dropped_ended_task_drops_result() {
    let sup = pool(1);
    let dropped = Gate::new();
    let tells = Reports(dropped.clone());
    let task = sup.spawn(move || tells);
    task.wait().unwrap();
    assert!(!dropped.is_open());
    drop(task);
    dropped.wait();
}

#[test]
fn first_end_wins() {
    let sup = pool(1);
    let (busy, gate) = occupy(&sup, Priority::Normal);
    let task = sup.spawn(|| 1);
    assert!(task.cancel());
    assert!(!task.cancel(), "the task has ended");
    task.kill().unwrap();
    task.stop();
    gate.open();
    busy.join().unwrap();
    assert!(task.join().unwrap_err().is_canceled());
    // A timed-out task cannot be canceled.
    let gate = Gate::new();
    let waits = gate.clone();
    let task = TaskBuilder::new(move || waits.wait())
        .timeout(Duration::from_millis(5))
        .supervisor(&sup)
        .start();
    assert!(task.wait().unwrap_err().is_timeout());
    assert!(!task.cancel());
    task.kill().unwrap();
    assert!(task.wait().unwrap_err().is_timeout());
    gate.open();
}

#[test]
fn concurrent_cancels_report_one_success() {
    let sup = pool(1);
    for _ in 0..50 {
        let (busy, gate) = occupy(&sup, Priority::Normal);
        let runs = Runs::default();
        let counts = runs.clone();
        let task = sup.spawn(move || counts.one());
        let reported = AtomicU32::new(0);
        let start = std::sync::Barrier::new(4);
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    start.wait();
                    reported.fetch_add(u32::from(task.cancel()), Ordering::SeqCst);
                });
            }
            start.wait();
            gate.open();
        });
        busy.join().unwrap();
        let canceled = task.wait().is_err();
        assert_eq!(reported.load(Ordering::SeqCst), u32::from(canceled));
        assert_eq!(runs.so_far(), u32::from(!canceled));
    }
}

#[test]
fn on_drop_stops_or_kills() {
    let sup = pool(1);
    let ended = Gate::new();
    let ends = ended.clone();
    let begun = Gate::new();
    let begins = begun.clone();
    let task = TaskBuilder::with_context(move |ctx: &TaskContext| {
        begins.open();
        assert!(ctx.recv().is_err());
        ends.open();
    })
    .supervisor(&sup)
    .start()
    .stop_on_drop();
    begun.wait();
    drop(task);
    ended.wait();

    let dropped = Gate::new();
    let tells = Reports(dropped.clone());
    let task = sup.spawn_async(async move {
        let _tells = tells;
        pending::<()>().await
    });
    drop(task.kill_on_drop());
    dropped.wait();

    // A thread cannot be killed, so the task is asked to stop.
    let ended = Gate::new();
    let ends = ended.clone();
    let task = TaskBuilder::with_context(move |ctx: &TaskContext| {
        assert!(ctx.recv().is_err());
        ends.open();
    })
    .supervisor(&sup)
    .start();
    eventually(|| task.is_started());
    drop(task.kill_on_drop());
    ended.wait();
}
