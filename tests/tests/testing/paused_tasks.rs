//! Do delays, retries and alarms of tasks go by a paused clock?

use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use atasker::{
    MpPoolConfig, Priority, TaskBuilder, TaskContext, TaskError, TaskStatus, background_task,
    testing,
};
use atasker_tests::{FAR, Gate, mp, occupy, pool};

const HOUR: Duration = Duration::from_secs(3600);

#[test]
fn delay_ends_at_its_time() {
    let sup = pool(1);
    let clock = testing::pause(&sup);
    let task = TaskBuilder::new(|| 42).delay(HOUR).supervisor(&sup).start();
    clock.advance(HOUR - Duration::from_nanos(1));
    assert_eq!(task.status(), TaskStatus::Delayed);
    clock.advance(Duration::from_nanos(1));
    assert_eq!(task.result(), Some(&42));
    let info = task.info();
    assert!(info.time_queued <= info.time_started.unwrap());
    assert!(info.time_started <= info.time_completed);
    assert_eq!(info.delay, Some(HOUR));
}

#[test]
fn delays_that_have_begun_before_count() {
    let sup = pool(1);
    let task = TaskBuilder::new(|| 42).delay(HOUR).supervisor(&sup).start();
    let clock = testing::pause(&sup);
    clock.advance(HOUR / 2);
    assert!(!task.is_started());
    clock.advance(HOUR / 2);
    assert_eq!(task.result(), Some(&42));
}

#[test]
fn due_times_come_in_order_and_tasks_end_before_the_next() {
    let sup = pool(4);
    let clock = testing::pause(&sup);
    let log = Arc::new(Mutex::new(Vec::new()));
    for hours in [3, 1, 2, 5] {
        let log = Arc::clone(&log);
        TaskBuilder::new(move || {
            log.lock().unwrap().push(format!("begin {hours}"));
            std::thread::sleep(Duration::from_millis(5));
            log.lock().unwrap().push(format!("end {hours}"));
        })
        .delay(HOUR * hours)
        .supervisor(&sup)
        .start()
        .detach();
    }
    clock.advance(HOUR * 4);
    let expected = ["begin 1", "end 1", "begin 2", "end 2", "begin 3", "end 3"];
    assert_eq!(*log.lock().unwrap(), expected);
    assert_eq!(sup.tasks().len(), 1);
}

#[test]
fn delayed_task_of_every_kind_has_ended() {
    let sup = mp::supervisor(MpPoolConfig::new(1));
    // The worker process has started.
    mp::run_pid(&sup);
    let clock = testing::pause(&sup);
    let thread = TaskBuilder::new(|| 1).delay(HOUR).supervisor(&sup).start();
    let future = TaskBuilder::future(async {
        tokio::time::sleep(Duration::from_millis(5)).await;
        2
    });
    let future = future.delay(HOUR).supervisor(&sup).start();
    let process = mp::pid::builder().delay(HOUR).supervisor(&sup).start();
    clock.advance(HOUR);
    assert_eq!((thread.result(), future.result()), (Some(&1), Some(&2)));
    assert!(process.result().is_some());
}

#[test]
fn nested_delay_counts_from_its_launch() {
    let sup = pool(1);
    let clock = testing::pause(&sup);
    let (tx, rx) = mpsc::channel();
    let ours = sup.clone();
    let task = TaskBuilder::new(move || {
        TaskBuilder::new(move || tx.send(()).unwrap())
            .delay(HOUR)
            .supervisor(&ours)
            .start()
            .detach();
    });
    task.delay(HOUR).supervisor(&sup).start().detach();
    clock.advance(HOUR * 2 - Duration::from_nanos(1));
    assert!(rx.try_recv().is_err());
    clock.advance(Duration::from_nanos(1));
    assert!(rx.try_recv().is_ok());
}

#[test]
fn what_a_delayed_task_launches_has_ended() {
    let sup = pool(2);
    let clock = testing::pause(&sup);
    let (tx, rx) = mpsc::channel();
    let ours = sup.clone();
    let task = TaskBuilder::new(move || {
        let inner = ours.clone();
        ours.spawn(move || {
            std::thread::sleep(Duration::from_millis(5));
            inner.spawn(move || tx.send(()).unwrap()).detach();
        })
        .detach();
    });
    task.delay(HOUR).supervisor(&sup).start().detach();
    clock.advance(HOUR);
    assert!(rx.try_recv().is_ok());
}

#[test]
fn callbacks_of_a_delayed_task_have_returned() {
    let sup = pool(1);
    let clock = testing::pause(&sup);
    let (tx, rx) = mpsc::channel();
    let task = TaskBuilder::future(async { 42 }).on_complete(move |result| {
        std::thread::sleep(Duration::from_millis(5));
        tx.send(result.clone().unwrap()).unwrap();
    });
    let task = task.delay(HOUR).supervisor(&sup).start();
    clock.advance(HOUR);
    assert_eq!((rx.try_recv(), task.result()), (Ok(42), Some(&42)));
}

#[test]
fn zero_delays_need_no_advance() {
    let sup = pool(1);
    let _clock = testing::pause(&sup);
    let mut left = 3;
    let task = TaskBuilder::repeatable(move || {
        left -= 1;
        left
    });
    let task = task.retries(5).retry_if(|left| *left > 0).supervisor(&sup).start();
    assert_eq!(task.join().unwrap(), 0);
    assert_eq!(
        TaskBuilder::new(|| 1).delay(Duration::ZERO).supervisor(&sup).start().join().unwrap(),
        1
    );
}

fn attempts(kind: &str) -> atasker::Task<Result<u32, u32>> {
    let sup = mp::supervisor(MpPoolConfig::new(1));
    mp::run_pid(&sup);
    let clock = testing::pause(&sup);
    let task = match kind {
        "thread" => on_thread::builder().supervisor(&sup).start(),
        "async" => on_aloop::builder().supervisor(&sup).start(),
        _ => in_process::builder().supervisor(&sup).start(),
    };
    // The first attempt begins at once, and is waited for.
    clock.advance(HOUR - Duration::from_nanos(1));
    assert_eq!((task.info().attempt, task.status()), (1, TaskStatus::Delayed));
    clock.advance(Duration::from_nanos(1));
    assert_eq!((task.info().attempt, task.status()), (2, TaskStatus::Delayed));
    clock.advance(HOUR * 5);
    assert_eq!((task.info().attempt, task.status()), (4, TaskStatus::Completed));
    task
}

#[background_task(retries = 3, retry_delay = "1h")]
fn on_thread(ctx: &TaskContext) -> Result<u32, u32> {
    Err(ctx.attempt())
}

#[background_task(retries = 3, retry_delay = "1h")]
async fn on_aloop(ctx: TaskContext) -> Result<u32, u32> {
    tokio::task::yield_now().await;
    Err(ctx.attempt())
}

#[background_task(tt = "mp", retries = 3, retry_delay = "1h")]
fn in_process(ctx: &TaskContext) -> Result<u32, u32> {
    Err(ctx.attempt())
}

#[test]
fn attempts_are_an_hour_apart() {
    for kind in ["thread", "async", "mp"] {
        assert_eq!(attempts(kind).join().unwrap(), Err(4), "{kind}");
    }
}

#[test]
fn alarm_rings_at_its_time_for_what_still_waits() {
    let sup = pool(1);
    let (tx, rx) = mpsc::channel();
    sup.on_queued_for(HOUR, move |info| tx.send(info.name.clone()).unwrap());
    let (busy, gate) = occupy(&sup, Priority::Normal);
    let early = TaskBuilder::new(|| ()).name("early").supervisor(&sup).start();
    let clock = testing::pause(&sup);
    clock.advance(HOUR / 2);
    let late = TaskBuilder::new(|| ()).name("late").supervisor(&sup).start();
    assert!(rx.try_recv().is_err());
    // By less than the real time between the launch and the pause.
    clock.advance(HOUR / 2);
    assert_eq!(rx.try_recv().as_deref(), Ok("early"));
    assert!(rx.try_recv().is_err());
    late.cancel();
    clock.advance(HOUR);
    assert!(rx.try_recv().is_err());
    gate.open();
    busy.join().unwrap();
    early.join().unwrap();
}

#[test]
fn delayed_task_can_be_canceled_or_stopped() {
    let sup = pool(1);
    let clock = testing::pause(&sup);
    let delayed = || TaskBuilder::new(|| 1).delay(HOUR).supervisor(&sup).start();
    let (canceled, stopped) = (delayed(), delayed());
    assert!(canceled.cancel());
    stopped.stop();
    clock.advance(HOUR);
    assert_eq!(canceled.join(), Err(TaskError::Canceled));
    assert_eq!(stopped.join(), Err(TaskError::Canceled));
}

#[test]
fn wait_is_bounded_by_a_second_at_each_due_time() {
    let sup = pool(4);
    let clock = testing::pause(&sup);
    let gate = Gate::new();
    let waits = |hours| {
        let gate = gate.clone();
        TaskBuilder::new(move || gate.wait()).delay(HOUR * hours).supervisor(&sup).start()
    };
    let tasks = [waits(1), waits(2)];
    let begin = std::time::Instant::now();
    clock.advance(HOUR * 3);
    assert!(begin.elapsed() >= Duration::from_secs(2) && begin.elapsed() < FAR);
    assert!(tasks.iter().all(|task| task.status() == TaskStatus::Started));
    // They are not waited for again.
    let begin = std::time::Instant::now();
    (0..20).for_each(|_| clock.advance(HOUR));
    assert!(begin.elapsed() < Duration::from_secs(10));
    gate.open();
    tasks.into_iter().for_each(|task| task.join().unwrap());
}
