//! How do tasks in worker processes take a limit, and when do they give it back?

use std::sync::Arc;
use std::time::Duration;

use atasker::{Limit, MpPoolConfig, Overflow, Priority, TaskError, TaskStatus, background_task};
use atasker::{TaskBuilder, wait_completed};
use atasker_tests::{eventually, mp};

#[background_task(tt = "mp")]
fn crash() {
    std::process::abort();
}

#[background_task(tt = "mp")]
fn double(n: u64) -> u64 {
    n * 2
}

#[test]
fn many_calls_share_a_limit() {
    let limit = Arc::new(Limit::concurrency(2));
    let sup = mp::supervisor(MpPoolConfig::new(3));
    let tasks: Vec<_> = (0..500_u64)
        .map(|n| {
            let priority = Priority::ALL[n as usize % 4];
            double::builder(n).priority(priority).limit(&limit).supervisor(&sup).start()
        })
        .collect();
    let results = wait_completed!(tasks).unwrap();
    assert_eq!(results, (0..500).map(|n| n * 2).collect::<Vec<_>>());
    let waiting = sup.info().mp_pool.unwrap().waiting;
    assert_eq!(waiting.low + waiting.normal + waiting.high + waiting.critical, 0);
}

#[test]
fn a_call_with_a_limit_is_not_sent_ahead() {
    let limit = Arc::new(Limit::concurrency(1));
    let sup = mp::supervisor(MpPoolConfig::new(2));
    let running = mp::until_stopped::builder().limit(&limit).supervisor(&sup).start();
    running.recv().unwrap();
    let waits: Vec<_> =
        (0..50).map(|n| double::builder(n).limit(&limit).supervisor(&sup).start()).collect();
    // The other worker process is free for others.
    for n in 0..50 {
        assert_eq!(double::builder(n).supervisor(&sup).start().join(), Ok(n * 2));
    }
    assert!(waits.iter().all(|task| task.status() == TaskStatus::Queued));
    running.stop();
    wait_completed!(running, waits).unwrap();
}

#[test]
fn a_worker_that_dies_gives_the_limit_back() {
    let limit = Arc::new(Limit::concurrency(1));
    let sup = mp::supervisor(MpPoolConfig::new(2));
    for _ in 0..3 {
        let dies = crash::builder().limit(&limit).supervisor(&sup).start();
        let next = double::builder(4).limit(&limit).supervisor(&sup).start();
        assert!(dies.join().unwrap_err().is_worker_died());
        assert_eq!(next.join(), Ok(8));
    }
}

#[test]
fn time_limits_and_kills_give_the_limit_back() {
    let limit = Arc::new(Limit::concurrency(1));
    let sup = mp::supervisor(MpPoolConfig::new(2));
    let overdue = mp::spins::builder()
        .timeout(Duration::from_millis(50))
        .limit(&limit)
        .supervisor(&sup)
        .start();
    let killed = mp::spins::builder().limit(&limit).supervisor(&sup).start();
    assert!(overdue.join().unwrap_err().is_timeout());
    killed.recv().unwrap();
    killed.kill().unwrap();
    assert_eq!(killed.join(), Err(TaskError::Canceled));
    assert_eq!(double::builder(4).limit(&limit).supervisor(&sup).start().join(), Ok(8));
}

#[test]
fn waiting_calls_count_for_the_queue_limit_and_can_be_canceled() {
    let limit = Arc::new(Limit::concurrency(1));
    let sup = mp::supervisor(MpPoolConfig::new(2).queue_limit(2, Overflow::Reject));
    let running = mp::until_stopped::builder().limit(&limit).supervisor(&sup).start();
    running.recv().unwrap();
    let builder = |n| double::builder(n).limit(&limit).supervisor(&sup);
    let (first, second) = (builder(1).start(), builder(2).start());
    assert_eq!(builder(3).start().join(), Err(TaskError::QueueFull));
    assert!(first.cancel());
    let fourth = builder(4).start();
    assert_eq!(fourth.status(), TaskStatus::Queued);
    running.stop();
    assert_eq!(wait_completed!(running, second, fourth).unwrap().1, 4);
}

#[test]
fn a_call_that_is_overtaken_before_it_begins_waits_again() {
    let limit = Arc::new(Limit::concurrency(2));
    let sup = mp::supervisor(MpPoolConfig::new(1));
    for round in 0..30 {
        let low = double::builder(round).priority(Priority::Low).limit(&limit);
        let low = low.supervisor(&sup).start();
        let high = double::builder(round).priority(Priority::High).limit(&limit);
        let high = high.supervisor(&sup).start();
        assert_eq!(wait_completed!(low, high).unwrap(), (round * 2, round * 2));
    }
    eventually(|| sup.info().tasks == 0);
    let task = TaskBuilder::new(|| 1).limit(&limit).supervisor(&sup).start();
    assert_eq!(task.join(), Ok(1));
}
