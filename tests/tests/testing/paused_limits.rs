//! Do time limits go by a paused clock, in all three places?

use std::future::pending;
use std::sync::mpsc;
use std::time::Duration;

use atasker::{
    MpPoolConfig, PoolConfig, Priority, Supervisor, Task, TaskBuilder, TaskContext, TaskError,
    TaskStatus, background_task, testing,
};
use atasker_tests::{FAR, Gate, eventually, mp, occupy, pool};

const HOUR: Duration = Duration::from_secs(3600);
const NANO: Duration = Duration::from_nanos(1);

fn supervisor() -> Supervisor {
    let sup =
        Supervisor::builder().thread_pool(PoolConfig::new(2)).mp_pool(MpPoolConfig::new(1)).build();
    mp::run_pid(&sup);
    sup
}

#[background_task(retries = 1)]
fn on_thread(ctx: &TaskContext<(), u32>) -> u32 {
    let _ = ctx.send(ctx.attempt());
    while !ctx.wait_stop(FAR) {}
    ctx.attempt()
}

#[background_task(retries = 1)]
async fn on_aloop(ctx: TaskContext<(), u32>) -> u32 {
    let _ = ctx.send_async(ctx.attempt()).await;
    pending().await
}

#[background_task(tt = "mp")]
fn in_process(ctx: &TaskContext<(), u32>) -> u32 {
    let _ = ctx.send(ctx.attempt());
    loop {
        std::thread::sleep(FAR);
    }
}

type Start = fn(&Supervisor, u32) -> Task<u32, (), u32>;

/// Launches a task with a time limit and this number of retries, without a pause between them.
const PLACES: [(&str, Start); 3] = [
    ("thread", |sup, retries| {
        on_thread::builder().timeout(HOUR).retries(retries).supervisor(sup).start()
    }),
    ("async", |sup, retries| {
        on_aloop::builder().timeout(HOUR).retries(retries).supervisor(sup).start()
    }),
    ("mp", |sup, retries| {
        in_process::builder().timeout(HOUR).retries(retries).supervisor(sup).start()
    }),
];

#[test]
fn limit_is_exceeded_at_its_time() {
    let sup = supervisor();
    let clock = testing::pause(&sup);
    for (place, start) in PLACES {
        let task = start(&sup, 0);
        // It has begun before the time moves.
        clock.advance(HOUR - NANO);
        assert_eq!((place, task.status()), (place, TaskStatus::Started));
        assert_eq!(task.recv(), Ok(1), "{place}");
        clock.advance(NANO);
        assert!(
            matches!(task.error(), Some(TaskError::TimedOut { limit, .. }) if *limit == HOUR),
            "{place}"
        );
    }
    // Their places are free again.
    mp::run_pid(&sup);
    eventually(|| sup.info().thread_pool.running == 0);
}

#[test]
fn limit_of_a_run_that_has_begun_before_counts() {
    for (place, start) in PLACES {
        let sup = supervisor();
        let task = start(&sup, 0);
        assert_eq!(task.recv(), Ok(1));
        let clock = testing::pause(&sup);
        clock.advance(HOUR / 2);
        assert_eq!((place, task.status()), (place, TaskStatus::Started));
        clock.advance(HOUR / 2);
        assert!(task.error().is_some_and(TaskError::is_timeout), "{place}");
    }
}

#[test]
fn limit_runs_on_when_the_guard_is_dropped() {
    for (place, start) in PLACES {
        let sup = supervisor();
        let clock = testing::pause(&sup);
        let task = start(&sup, 0);
        clock.advance(HOUR - Duration::from_millis(50));
        assert_eq!((place, task.status()), (place, TaskStatus::Started));
        drop(clock);
        assert!(task.join().unwrap_err().is_timeout(), "{place}");
        // And those of later runs go by the real time.
        let task = start(&sup, 0);
        assert_eq!(task.recv(), Ok(1));
        assert_eq!((place, task.status()), (place, TaskStatus::Started));
        // Also by a clock that is paused again.
        let clock = testing::pause(&sup);
        clock.advance(HOUR);
        assert!(task.error().is_some_and(TaskError::is_timeout), "{place}");
    }
}

#[test]
fn limit_counts_from_begin() {
    for (place, start) in PLACES {
        let sup = Supervisor::builder()
            .thread_pool(PoolConfig::new(1))
            .mp_pool(MpPoolConfig::new(1))
            .build();
        let (held, gate) = occupy(&sup, Priority::Normal);
        let (process, _) = mp::occupy(&sup);
        let clock = testing::pause(&sup);
        let task = start(&sup, 0);
        // It waits for a slot, unless it needs none.
        clock.advance(HOUR / 2);
        gate.open();
        process.stop();
        held.join().unwrap();
        process.join().unwrap();
        assert_eq!(task.recv(), Ok(1));
        if place == "async" {
            clock.advance(HOUR / 2);
        } else {
            clock.advance(HOUR - NANO);
            assert_eq!((place, task.status()), (place, TaskStatus::Started));
            clock.advance(NANO);
        }
        assert!(task.error().is_some_and(TaskError::is_timeout), "{place}");
    }
}

#[test]
fn each_attempt_has_its_limit() {
    let of_place = |(place, start): (&str, Start)| {
        let sup = supervisor();
        let clock = testing::pause(&sup);
        let task = start(&sup, 1);
        // An attempt that waits for the clock is waited for, for a second.
        clock.advance(HOUR);
        // The first attempt is over, and the second one has begun.
        assert_eq!((task.recv(), task.recv()), (Ok(1), Ok(2)), "{place}");
        clock.advance(HOUR - NANO);
        assert_eq!((place, task.status(), task.info().attempt), (place, TaskStatus::Started, 2));
        clock.advance(NANO);
        assert!(task.error().is_some_and(TaskError::is_timeout), "{place}");
    };
    std::thread::scope(|scope| {
        for place in PLACES {
            scope.spawn(move || of_place(place));
        }
    });
}

#[test]
fn callback_of_a_task_that_times_out_has_returned() {
    let sup = supervisor();
    let clock = testing::pause(&sup);
    let (tx, rx) = mpsc::channel();
    let task = in_process::builder().timeout(HOUR).on_complete(move |result| {
        std::thread::sleep(Duration::from_millis(5));
        tx.send(result.clone()).unwrap();
    });
    let task = task.supervisor(&sup).start();
    clock.advance(HOUR);
    assert!(rx.try_recv().unwrap().unwrap_err().is_timeout() && task.is_completed());
    let (tx, rx) = mpsc::channel();
    let task = TaskBuilder::future(pending::<()>()).timeout(HOUR).on_complete(move |result| {
        std::thread::sleep(Duration::from_millis(5));
        tx.send(result.clone()).unwrap();
    });
    let task = task.supervisor(&sup).start();
    clock.advance(HOUR);
    assert!(rx.try_recv().unwrap().unwrap_err().is_timeout() && task.is_completed());
}

#[test]
fn task_that_ends_in_time_has_no_limit_left() {
    let sup = supervisor();
    let clock = testing::pause(&sup);
    let gate = Gate::new();
    for _ in 0..3 {
        let waits = gate.clone();
        let task = TaskBuilder::new(move || waits.wait()).timeout(HOUR).supervisor(&sup).start();
        let process = mp::pid::builder().timeout(HOUR).supervisor(&sup).start();
        clock.advance(HOUR / 2);
        gate.open();
        task.join().unwrap();
        process.join().unwrap();
    }
    clock.advance(HOUR * 10);
    assert!(sup.info().thread_pool.overstayed.is_empty());
    assert_eq!(sup.info().mp_pool.unwrap().restarts, 0);
}

#[test]
fn limits_of_others_are_not_affected() {
    let (sup, other) = (supervisor(), pool(1));
    let clock = testing::pause(&sup);
    let task = TaskBuilder::future(pending::<()>());
    let task = task.timeout(Duration::from_millis(10)).supervisor(&other).start();
    assert!(task.join().unwrap_err().is_timeout());
    let task = TaskBuilder::future(pending::<()>()).timeout(HOUR).supervisor(&other).start();
    clock.advance(HOUR * 2);
    assert!(!task.is_completed());
}
