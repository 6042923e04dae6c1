//! Does a delayed task occupy neither slot nor queue until its delay is over?

use std::sync::mpsc;
use std::time::{Duration, Instant};

use atasker::{Priority, StopOptions, Supervisor, TaskBuilder, TaskStatus};
use atasker_tests::{Gate, eventually, occupy, pool};

const LONG: Duration = Duration::from_secs(3600);

fn after<R: Send + 'static>(
    sup: &Supervisor,
    delay: Duration,
    f: impl FnOnce() -> R + Send + 'static,
) -> atasker::Task<R> {
    TaskBuilder::new(f).delay(delay).supervisor(sup).start()
}

#[test]
fn delayed_task_occupies_no_slot_or_queue() {
    let sup = pool(1);
    let delayed: Vec<_> = (0..10).map(|_| after(&sup, LONG, || ())).collect();
    let info = sup.info();
    assert_eq!((info.thread_pool.running, info.thread_pool.waiting.total()), (0, 0));
    assert_eq!((info.thread_pool.threads, info.tasks), (0, 10));
    assert_eq!(sup.spawn(|| 1).join().unwrap(), 1);
    for task in delayed {
        assert_eq!(task.status(), TaskStatus::Delayed);
        assert!(!task.is_started() && task.time_started().is_none());
        assert_eq!(task.info().delay, Some(LONG));
        assert!(task.cancel());
    }
}

#[test]
fn delayed_task_starts_when_due() {
    let sup = pool(1);
    let delay = Duration::from_millis(40);
    let launched = Instant::now();
    let task = after(&sup, delay, Instant::now);
    let asynchronous =
        TaskBuilder::future(async { Instant::now() }).delay(delay).supervisor(&sup).start();
    assert!(*task.wait().unwrap() - launched >= delay);
    let info = task.info();
    assert!(info.time_started.unwrap() >= info.time_queued + delay);
    assert!(asynchronous.join().unwrap() - launched >= delay);
}

#[test]
fn delayed_tasks_start_in_due_order() {
    let sup = pool(1);
    let (tx, rx) = mpsc::channel();
    let (busy, gate) = occupy(&sup, Priority::Normal);
    let delays = [30, 10, 20];
    let tasks = delays.map(|ms| {
        let tx = tx.clone();
        after(&sup, Duration::from_millis(ms), move || tx.send(ms).unwrap())
    });
    // Usually 10, 20, 30; a busy machine may delay a launch by more than the difference.
    let mut due: Vec<_> = std::iter::zip(&tasks, delays)
        .map(|(task, ms)| (task.info().time_queued + Duration::from_millis(ms), ms))
        .collect();
    due.sort();
    let expected: Vec<_> = due.into_iter().map(|(_, ms)| ms).collect();
    eventually(|| sup.info().thread_pool.waiting.total() == 3);
    gate.open();
    busy.join().unwrap();
    drop(tx);
    assert_eq!(rx.iter().collect::<Vec<_>>(), expected);
    drop(tasks);
}

#[test]
fn due_task_is_queued_by_priority() {
    let sup = pool(1);
    let (busy, gate) = occupy(&sup, Priority::Normal);
    let (tx, rx) = mpsc::channel();
    let launch = |priority, delay, n| {
        let tx = tx.clone();
        let run = move || tx.send(n).unwrap();
        TaskBuilder::new(run).priority(priority).delay(delay).supervisor(&sup).start()
    };
    let tasks = [
        launch(Priority::Normal, Duration::ZERO, 2),
        launch(Priority::High, Duration::from_millis(10), 1),
    ];
    eventually(|| sup.info().thread_pool.waiting.total() == 2);
    gate.open();
    busy.join().unwrap();
    drop(tx);
    assert_eq!(rx.iter().collect::<Vec<_>>(), [1, 2]);
    drop(tasks);
}

#[test]
fn zero_delay_starts_immediately() {
    let sup = pool(1);
    let (busy, gate) = occupy(&sup, Priority::Normal);
    let task = after(&sup, Duration::ZERO, || ());
    assert_eq!(task.status(), TaskStatus::Queued);
    gate.open();
    busy.join().unwrap();
    task.join().unwrap();
}

#[test]
fn maximum_delay_never_starts() {
    let sup = pool(1);
    let task = after(&sup, Duration::MAX, || ());
    assert_eq!(task.status(), TaskStatus::Delayed);
    task.stop();
    assert!(task.join().unwrap_err().is_canceled());
}

#[test]
fn canceled_delayed_task_is_dropped() {
    let sup = pool(1);
    let held = std::sync::Arc::new(());
    let args = held.clone();
    let task = after(&sup, LONG, move || drop(args));
    let weak = std::sync::Arc::downgrade(&held);
    drop(held);
    assert!(task.cancel());
    assert!(weak.upgrade().is_none());
}

#[test]
fn stop_waits_for_or_cancels_delayed_tasks() {
    let sup = pool(1);
    let ran = Gate::new();
    let runs = ran.clone();
    let task = after(&sup, Duration::from_millis(30), move || runs.open());
    let report = sup.stop(StopOptions::new());
    assert!(ran.is_open());
    assert_eq!((report.completed, report.canceled, report.abandoned), (1, 0, 0));
    task.join().unwrap();

    sup.start();
    let task = after(&sup, LONG, || ());
    let report = sup.stop(StopOptions::new().cancel_tasks(true));
    assert_eq!((report.completed, report.canceled, report.abandoned), (0, 1, 0));
    assert!(task.join().unwrap_err().is_canceled());
}
