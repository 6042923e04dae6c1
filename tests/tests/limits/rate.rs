//! How many tasks of a rate begin, and when?

use std::sync::Arc;
use std::time::{Duration, Instant};

use atasker::{Limit, TaskBuilder, TaskStatus, wait_completed};
use atasker_tests::pool;

#[test]
fn a_burst_begins_at_once_and_the_rest_later() {
    let limit = Arc::new(Limit::rate(1, Duration::from_secs(3600)).burst(3));
    let sup = pool(8);
    let builder = || TaskBuilder::new(|| ()).limit(&limit).supervisor(&sup);
    let burst: Vec<_> = (0..3).map(|_| builder().start()).collect();
    wait_completed!(burst).unwrap();
    let waits = builder().start();
    assert_eq!(sup.spawn(|| ()).join(), Ok(()));
    assert_eq!(waits.status(), TaskStatus::Queued);
    assert_eq!(sup.info().thread_pool.waiting.normal, 1);
    assert!(waits.cancel());
    assert_eq!(sup.info().thread_pool.waiting.normal, 0);
}

#[test]
fn a_rate_holds_over_any_window() {
    const PER: Duration = Duration::from_millis(40);
    let limit = Arc::new(Limit::rate(4, PER).burst(2));
    let sup = pool(8);
    let start = Instant::now();
    let tasks: Vec<_> = (0..60)
        .map(|_| TaskBuilder::new(move || start.elapsed()).limit(&limit).supervisor(&sup).start())
        .collect();
    let mut begun = wait_completed!(tasks).unwrap();
    begun.sort();
    // The times are taken after the tasks have begun, each somewhat later. So only lower bounds of
    // whole windows from the first launch are exact.
    for (n, at) in begun.iter().enumerate() {
        let tokens = (n as u32 + 1).saturating_sub(2);
        let earliest = PER * tokens / 4;
        assert!(*at + Duration::from_micros(10) >= earliest, "task {n} begins at {at:?}");
    }
}

#[test]
fn the_default_burst_is_the_rate() {
    let limit = Arc::new(Limit::rate(5, Duration::from_secs(3600)));
    let sup = pool(8);
    let tasks: Vec<_> =
        (0..6).map(|_| TaskBuilder::new(|| ()).limit(&limit).supervisor(&sup).start()).collect();
    for task in &tasks[..5] {
        task.wait().unwrap();
    }
    assert!(tasks[5].cancel());
}

#[test]
fn async_tasks_wait_for_a_rate_without_a_thread() {
    let limit = Arc::new(Limit::rate(100, Duration::from_secs(1)).burst(1));
    let sup = pool(1);
    let tasks: Vec<_> = (0..10)
        .map(|n| TaskBuilder::future(async move { n }).limit(&limit).supervisor(&sup).start())
        .collect();
    assert_eq!(wait_completed!(tasks).unwrap(), (0..10).collect::<Vec<_>>());
    assert_eq!(sup.info().thread_pool.threads, 0);
}

#[test]
#[should_panic(expected = "a limit of 0 tasks would never run one")]
fn a_limit_of_nothing_panics() {
    let _ = Limit::concurrency(0);
}

#[test]
#[should_panic(expected = "a rate of 0 tasks would never run one")]
fn a_rate_of_nothing_panics() {
    let _ = Limit::rate(0, Duration::from_secs(1));
}

#[test]
#[should_panic(expected = "the period of a rate is longer than zero")]
fn a_rate_without_a_period_panics() {
    let _ = Limit::rate(1, Duration::ZERO);
}

#[test]
#[should_panic(expected = "only a rate has a burst")]
fn a_burst_of_a_concurrency_panics() {
    let _ = Limit::concurrency(1).burst(2);
}
