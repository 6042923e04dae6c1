//! What is the life of a paused clock: other supervisors, the end of the guard, stops, wrong use?

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use atasker::{
    IntervalWorker, Job, StopOptions, Supervisor, TaskBuilder, TaskContext, TaskError, TaskStatus,
    testing,
};
use atasker_tests::{FAR, Gate, Watchdog, eventually, pool};

const HOUR: Duration = Duration::from_secs(3600);

fn delayed(sup: &Supervisor, delay: Duration) -> atasker::Task<u32> {
    TaskBuilder::new(|| 42).delay(delay).supervisor(sup).start()
}

#[test]
fn other_supervisors_are_not_affected() {
    let (sup, other) = (pool(1), pool(1));
    let (clock, theirs) = (testing::pause(&sup), delayed(&other, HOUR));
    let ours = delayed(&sup, Duration::from_millis(10));
    assert_eq!(delayed(&other, Duration::from_millis(10)).join().unwrap(), 42);
    assert_eq!(ours.status(), TaskStatus::Delayed);
    clock.advance(HOUR * 2);
    assert_eq!((ours.result(), theirs.status()), (Some(&42), TaskStatus::Delayed));
    // Two paused ones have two clocks.
    let second = testing::pause(&other);
    clock.advance(HOUR * 2);
    assert_eq!(theirs.status(), TaskStatus::Delayed);
    second.advance(HOUR);
    assert_eq!(theirs.result(), Some(&42));
}

#[test]
fn time_goes_on_from_where_it_stands() {
    let sup = pool(1);
    let clock = testing::pause(&sup);
    let (soon, later) = (delayed(&sup, HOUR), delayed(&sup, HOUR * 2));
    clock.advance(HOUR - Duration::from_millis(50));
    assert_eq!(soon.status(), TaskStatus::Delayed);
    drop(clock);
    assert_eq!(soon.join().unwrap(), 42);
    assert_eq!(later.status(), TaskStatus::Delayed);
    // Delays count from the same time.
    assert_eq!(delayed(&sup, Duration::from_millis(10)).join().unwrap(), 42);
    let clock = testing::pause(&sup);
    clock.advance(HOUR);
    assert_eq!(later.result(), Some(&42));
}

#[test]
fn second_pause_panics() {
    let sup = Supervisor::builder().id("twice").build();
    let clock = testing::pause(&sup);
    let panic = catch_unwind(AssertUnwindSafe(|| testing::pause(&sup))).unwrap_err();
    let text = panic.downcast::<String>().unwrap();
    assert!(text.contains("`twice` is paused already"), "{text}");
    // The first one is not affected.
    let task = delayed(&sup, HOUR);
    clock.advance(HOUR);
    assert_eq!(task.result(), Some(&42));
    drop(clock);
    drop(testing::pause(&sup));
}

#[test]
fn deadline_of_a_stop_is_real() {
    let _watchdog = Watchdog::new("stop", FAR);
    let sup = pool(1);
    let clock = testing::pause(&sup);
    let task = delayed(&sup, HOUR);
    let report = sup.stop(StopOptions::new().wait(Duration::from_millis(50)));
    assert_eq!((report.abandoned, task.join()), (1, Err(TaskError::SupervisorStopped)));
    clock.advance(HOUR * 2);
    // A stopped supervisor can be started again, and its time is still paused.
    sup.start();
    let task = delayed(&sup, HOUR);
    clock.advance(HOUR / 2);
    assert!(!task.is_completed());
    let report = sup.stop(StopOptions::new().cancel_tasks(true));
    assert_eq!((report.canceled, task.join()), (1, Err(TaskError::Canceled)));
}

#[test]
fn stop_without_a_deadline_waits_for_the_clock() {
    let sup = pool(1);
    let clock = testing::pause(&sup);
    let task = delayed(&sup, HOUR);
    let stopped = thread::spawn({
        let sup = sup.clone();
        move || sup.stop(StopOptions::new())
    });
    eventually(|| !sup.is_active());
    assert!(!task.is_completed());
    clock.advance(HOUR);
    assert_eq!(stopped.join().unwrap().completed, 1);
    assert_eq!(task.join().unwrap(), 42);
}

#[test]
fn supervisor_may_be_dropped_first() {
    let sup = pool(1);
    let clock = testing::pause(&sup);
    let task = delayed(&sup, HOUR);
    let job = sup.create_job(Job::every(HOUR), || ());
    // It stops after its tasks.
    drop(sup);
    clock.advance(HOUR / 2);
    assert_eq!(task.status(), TaskStatus::Delayed);
    clock.advance(HOUR / 2);
    assert_eq!(task.join().unwrap(), 42);
    eventually(|| !job.is_active());
    clock.advance(HOUR);
    drop(clock);
}

#[test]
fn waits_and_sleeps_stay_real() {
    let sup = pool(1);
    let _clock = testing::pause(&sup);
    let task = TaskBuilder::with_context(|ctx: &TaskContext<u8>| {
        let short = Duration::from_millis(5);
        assert!(!ctx.wait_stop(short));
        ctx.recv_timeout(short)
    });
    assert!(task.supervisor(&sup).start().join().unwrap().is_err());
    let slow = sup.spawn_async(async {
        tokio::time::sleep(Duration::from_millis(20)).await;
        1
    });
    assert_eq!(slow.join().unwrap(), 1);
    let task = delayed(&sup, HOUR);
    assert!(task.wait_timeout(Duration::from_millis(5)).is_err());
}

#[test]
fn advances_of_two_threads_add_up() {
    let sup = pool(2);
    let clock = testing::pause(&sup);
    let worker = IntervalWorker::builder(HOUR).supervisor(&sup).run(|_| ());
    worker.start();
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| (0..10).for_each(|_| clock.advance(HOUR)));
        }
    });
    assert_eq!(worker.runs(), 21);
}

#[test]
fn task_may_advance_the_clock() {
    let _watchdog = Watchdog::new("advance", FAR);
    // One slot, which the advance of a task must give up.
    let sup = pool(1);
    let clock = std::sync::Arc::new(testing::pause(&sup));
    let task = delayed(&sup, HOUR);
    let moves = std::sync::Arc::clone(&clock);
    sup.spawn(move || moves.advance(HOUR)).join().unwrap();
    assert_eq!(task.result(), Some(&42));
    // Also a task that another advance has made begin, and would wait for.
    let (moves, later) = (std::sync::Arc::clone(&clock), delayed(&sup, HOUR * 3));
    let (tx, rx) = mpsc::channel();
    let nested = TaskBuilder::new(move || {
        moves.advance(HOUR * 2);
        tx.send(()).unwrap();
    });
    nested.delay(HOUR).supervisor(&sup).start().detach();
    let begin = Instant::now();
    clock.advance(HOUR);
    rx.recv().unwrap();
    // Neither has waited for the other.
    assert!(begin.elapsed() < FAR);
    assert_eq!(later.result(), Some(&42));
}

#[test]
fn advance_on_the_thread_of_an_aloop_panics() {
    let sup = pool(1);
    let clock = testing::pause(&sup);
    let task = sup.spawn_async(async move { clock.advance(HOUR) });
    let error = task.join().unwrap_err();
    assert!(error.to_string().contains("would block the thread of an aloop"), "{error}");
}

#[test]
fn pauses_race_with_tasks() {
    let sup = pool(2);
    let tasks: Vec<_> = (0..200u64)
        .map(|n| {
            if n % 10 == 0 {
                let clock = testing::pause(&sup);
                clock.advance(Duration::from_millis(n % 3));
            }
            let task = TaskBuilder::new(move || n).delay(Duration::from_millis(n % 7));
            task.timeout(HOUR).supervisor(&sup).start()
        })
        .collect();
    for (n, task) in (0..).zip(tasks) {
        assert_eq!(task.join().unwrap(), n);
    }
}

#[test]
fn launches_before_an_advance_have_begun_or_wait_for_a_slot() {
    let sup = pool(1);
    let clock = testing::pause(&sup);
    let gate = Gate::new();
    let waits = gate.clone();
    let running = sup.spawn(move || waits.wait());
    let waiting = sup.spawn(|| ());
    let begin = Instant::now();
    (0..20).for_each(|_| clock.advance(HOUR));
    assert!(running.is_started() && !waiting.is_started());
    // One that runs, and one that waits for a slot, are not waited for.
    assert!(begin.elapsed() < Duration::from_secs(10));
    gate.open();
    running.join().unwrap();
    waiting.join().unwrap();
}
