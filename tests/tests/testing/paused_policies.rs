//! Do rates, expiries, back-offs and chains go by a paused clock?

use std::sync::{Arc, Mutex};
use std::time::Duration;

use atasker::{
    Backoff, KeyedLimit, Limit, MpPoolConfig, Priority, Supervisor, Task, TaskBuilder, TaskError,
    TaskStatus, background_task, testing,
};
use atasker_tests::{mp, occupy, pool};

const HOUR: Duration = Duration::from_secs(3600);
const NANO: Duration = Duration::from_nanos(1);

/// Takes a moment, so that a test that does not wait for it fails.
fn slow() {
    std::thread::sleep(Duration::from_millis(5));
}

fn ended(tasks: &[Task<()>]) -> usize {
    tasks.iter().filter(|task| task.is_completed()).count()
}

#[test]
fn tokens_of_a_rate_come_at_their_times() {
    let sup = mp::supervisor(MpPoolConfig::new(1));
    mp::run_pid(&sup);
    let clock = testing::pause(&sup);
    let places: [fn() -> TaskBuilder<()>; 3] = [
        || TaskBuilder::new(slow),
        || TaskBuilder::future(async { tokio::time::sleep(Duration::from_millis(5)).await }),
        || naps::builder(),
    ];
    for place in places {
        let limit = Arc::new(Limit::rate(1, HOUR));
        let start = |_| place().limit(&limit).supervisor(&sup).start();
        let tasks: Vec<_> = (0..5).map(start).collect();
        // The burst is one token.
        tasks[0].wait().unwrap();
        clock.advance(HOUR - NANO);
        assert_eq!(ended(&tasks), 1);
        clock.advance(NANO);
        assert_eq!(ended(&tasks), 2);
        clock.advance(HOUR * 2);
        assert_eq!(ended(&tasks), 4);
        assert_eq!(tasks[4].status(), TaskStatus::Queued);
        clock.advance(HOUR);
        assert_eq!(ended(&tasks), 5);
    }
}

#[background_task(tt = "mp")]
fn naps() {
    slow();
}

#[test]
fn keys_of_a_rate_have_their_own_times() {
    static KEYED: KeyedLimit<u32> = KeyedLimit::rate(2, HOUR);
    let sup = pool(4);
    let clock = testing::pause(&sup);
    let start = |key| TaskBuilder::new(slow).limit(KEYED.key(&key)).supervisor(&sup).start();
    let first: Vec<_> = (0..3).map(|_| start(1)).collect();
    let second: Vec<_> = (0..5).map(|_| start(2)).collect();
    clock.advance(HOUR / 2);
    assert_eq!((ended(&first[2..]), ended(&second[2..])), (1, 1));
    clock.advance(HOUR);
    assert_eq!((ended(&first[2..]), ended(&second[2..])), (1, 3));
}

#[test]
fn tasks_that_share_a_limit_at_one_due_time_have_ended() {
    let sup = pool(4);
    let clock = testing::pause(&sup);
    let limit = Arc::new(Limit::concurrency(1));
    let start = |_| TaskBuilder::new(slow).limit(&limit).delay(HOUR).supervisor(&sup).start();
    let tasks: Vec<_> = (0..5).map(start).collect();
    clock.advance(HOUR);
    assert_eq!(ended(&tasks), 5);
}

#[test]
fn wait_for_a_limit_is_not_waited_for() {
    let sup = pool(2);
    let limit = Arc::new(Limit::concurrency(1));
    let (waits, gate) = (atasker_tests::Gate::new(), atasker_tests::Gate::new());
    let (begun, opens) = (waits.clone(), gate.clone());
    let held = TaskBuilder::new(move || {
        begun.open();
        opens.wait();
    });
    let held = held.limit(&limit).supervisor(&sup).start();
    waits.wait();
    let clock = testing::pause(&sup);
    let waiting = TaskBuilder::new(|| ()).limit(&limit).supervisor(&sup).start();
    let delayed = TaskBuilder::new(|| ()).limit(&limit).delay(HOUR).supervisor(&sup).start();
    let begin = std::time::Instant::now();
    (0..20).for_each(|_| clock.advance(HOUR));
    assert!(begin.elapsed() < Duration::from_secs(10));
    gate.open();
    for task in [held, waiting, delayed] {
        task.join().unwrap();
    }
}

#[test]
fn limit_of_another_supervisor_is_not_affected() {
    static SHARED: Limit = Limit::rate(1, Duration::from_millis(1));
    let (sup, other) = (pool(1), pool(1));
    let clock = testing::pause(&sup);
    let start = |sup: &Supervisor| TaskBuilder::new(|| ()).limit(&SHARED).supervisor(sup).start();
    (0..10).for_each(|_| start(&other).join().unwrap());
    start(&sup).detach();
    clock.advance(HOUR);
    (0..10).for_each(|_| start(&other).join().unwrap());
}

#[test]
fn task_expires_at_its_time() {
    let sup = mp::supervisor(MpPoolConfig::new(1));
    sup.set_thread_pool(atasker::PoolConfig::new(1));
    let (busy, gate) = occupy(&sup, Priority::Normal);
    let (process, _) = mp::occupy(&sup);
    let clock = testing::pause(&sup);
    let seen = Arc::new(Mutex::new(Vec::new()));
    let expiring = |builder: TaskBuilder<u32>, name| {
        let seen = Arc::clone(&seen);
        let builder = builder.name(name).expires(HOUR).on_complete(move |result| {
            slow();
            seen.lock().unwrap().push((name, result.clone().unwrap_err().is_expired()));
        });
        builder.supervisor(&sup)
    };
    let thread = expiring(TaskBuilder::new(|| 1), "thread").start();
    let process_task = expiring(mp::pid::builder(), "mp").start();
    // The delay does not count.
    let delayed = expiring(TaskBuilder::new(|| 1), "delayed").delay(HOUR).start();
    clock.advance(HOUR - NANO);
    assert!(!thread.is_completed() && !process_task.is_completed());
    clock.advance(NANO);
    let error: TaskError = thread.join().unwrap_err();
    assert!(matches!(error, TaskError::Expired { after, .. } if after == HOUR));
    assert!(process_task.join().unwrap_err().is_expired());
    assert_eq!(delayed.status(), TaskStatus::Queued);
    clock.advance(HOUR);
    assert_eq!(delayed.status(), TaskStatus::Completed);
    let mut seen = seen.lock().unwrap().clone();
    seen.sort_unstable();
    assert_eq!(seen, [("delayed", true), ("mp", true), ("thread", true)]);
    gate.open();
    process.stop();
    busy.join().unwrap();
    process.join().unwrap();
}

#[test]
fn back_off_grows_by_the_clock() {
    let sup = pool(1);
    let clock = testing::pause(&sup);
    let backoff = Backoff::exponential(HOUR, HOUR * 3).factor(2.0).jitter(false);
    let task = TaskBuilder::repeatable(|| ()).retries(4).retry_if(|()| true).backoff(backoff);
    let task = task.supervisor(&sup).start();
    // Pauses of 1, 2, 3 and 3 hours.
    for (hours, attempt) in [(0, 1), (1, 2), (1, 2), (1, 3), (3, 4), (2, 4), (1, 5)] {
        clock.advance(HOUR * hours);
        assert_eq!(task.info().attempt, attempt);
    }
    assert!(task.is_completed());
}

#[test]
fn chained_task_has_ended_as_well() {
    let sup = pool(1);
    let clock = testing::pause(&sup);
    let first = TaskBuilder::new(|| 20).delay(HOUR).supervisor(&sup).start();
    let last = (0..20).fold(first, |task, _| {
        task.chain(|n| {
            std::thread::sleep(Duration::from_millis(1));
            n + 1
        })
    });
    clock.advance(HOUR);
    assert_eq!(last.result(), Some(&40));
}
