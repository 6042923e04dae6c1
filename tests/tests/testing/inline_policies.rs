//! What becomes of limits, unique keys, expiries, back-offs, chains, sets and `start_async` under
//! `testing::inline`?

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use atasker::{
    Backoff, Limit, Overflow, PoolConfig, Priority, TaskBuilder, TaskError, TaskSet, map, testing,
};
use atasker_tests::{FAR, Watchdog, occupy, pool, pool_with};

#[test]
fn limits_have_no_effect() {
    let _watchdog = Watchdog::new("inline", FAR);
    let sup = pool(1);
    let (one, hourly) = (Arc::new(Limit::concurrency(1)), Arc::new(Limit::rate(1, FAR)));
    let guard = testing::inline();
    let (inner, ours) = (Arc::clone(&one), sup.clone());
    let task = TaskBuilder::new(move || {
        let nested = TaskBuilder::new(|| 1).limit(&inner).supervisor(&ours).start();
        nested.join().unwrap() + 1
    });
    assert_eq!(task.limit(&one).supervisor(&sup).start().join().unwrap(), 2);
    for n in 0..5 {
        let task = TaskBuilder::new(move || n).limit(&hourly).supervisor(&sup).start();
        assert_eq!(task.result(), Some(&n));
    }
    drop(guard);
    // None of them has taken anything.
    for limit in [one, hourly] {
        let task = TaskBuilder::new(|| 1).limit(limit).supervisor(&sup).start();
        assert_eq!(task.join().unwrap(), 1);
    }
}

#[test]
fn unique_keys_are_held_while_a_task_runs() {
    let sup = pool(1);
    let _guard = testing::inline();
    let ours = sup.clone();
    let task = TaskBuilder::new(move || {
        let again = || TaskBuilder::new(|| 1).name("one").unique(7).supervisor(&ours);
        let duplicate = again().start().join().unwrap_err();
        let running = again().start_unique().unwrap_err().id();
        let other = TaskBuilder::new(|| 2).name("one").unique(8).supervisor(&ours).start();
        assert_eq!(other.join().unwrap(), 2);
        (duplicate, running)
    });
    let task = task.name("one").unique(7).supervisor(&sup).start();
    let id = task.id();
    let (duplicate, running) = task.join().unwrap();
    assert!(matches!(duplicate, TaskError::Duplicate { id: held, .. } if held == id));
    assert_eq!(running, id);
    let next = TaskBuilder::new(|| 3).name("one").unique(7).supervisor(&sup).start_unique();
    assert_eq!(next.unwrap().join().unwrap(), 3);
}

#[test]
fn expiry_and_back_off_have_no_effect() {
    let sup = pool(1);
    let _guard = testing::inline();
    for _ in 0..50 {
        let task = TaskBuilder::new(|| 1).expires(Duration::ZERO).delay(FAR).supervisor(&sup);
        assert_eq!(task.start().join().unwrap(), 1);
    }
    let mut left = 5;
    let task = TaskBuilder::repeatable(move || {
        left -= 1;
        left
    });
    let task = task.retries(9).retry_if(|left| *left > 0).backoff(Backoff::exponential(FAR, FAR));
    assert_eq!(task.supervisor(&sup).start().join().unwrap(), 0);
}

#[test]
fn chained_task_runs_before_its_launch_returns() {
    let sup = pool(1);
    let here = thread::current().id();
    let _guard = testing::inline();
    let chained = sup.spawn(|| 1).chain(move |n| (n + 1, thread::current().id()));
    assert_eq!(chained.result(), Some(&(2, here)));
    let failed = sup.spawn(|| -> u32 { panic!("first") }).chain(|n| n + 1);
    assert!(failed.error().is_some_and(TaskError::is_panic));
    let tried = sup.spawn(|| "7".parse::<u8>()).try_chain(|n| Ok(n + 1));
    assert_eq!(tried.join().unwrap(), Ok(8));
}

#[test]
fn task_chained_to_one_that_runs_elsewhere_is_not_affected() {
    let sup = pool(1);
    let (busy, gate) = occupy(&sup, Priority::Normal);
    let here = thread::current().id();
    let _guard = testing::inline();
    let chained = busy.chain(move |()| thread::current().id());
    assert!(!chained.is_completed());
    gate.open();
    assert_ne!(chained.join().unwrap(), here);
}

#[test]
fn set_gives_out_tasks_that_have_ended() {
    let sup = pool(1);
    let _guard = testing::inline();
    let mut set = TaskSet::new();
    for n in 0..3 {
        set.spawn(TaskBuilder::new(move || n).supervisor(&sup));
    }
    let mut results: Vec<u32> =
        std::iter::from_fn(|| set.join_next()).map(|(_, result)| result.unwrap()).collect();
    results.sort_unstable();
    assert_eq!(results, [0, 1, 2]);
}

#[test]
fn start_async_waits_for_no_room() {
    let _watchdog = Watchdog::new("inline", FAR);
    let sup = pool_with(PoolConfig::new(1).queue_limit(0, Overflow::Block));
    let (busy, gate) = occupy(&sup, Priority::Normal);
    let guard = testing::inline();
    let start = TaskBuilder::new(|| 42).supervisor(&sup).start_async();
    let task = futures_lite::future::block_on(start);
    assert_eq!(task.result(), Some(&42));
    drop(guard);
    gate.open();
    busy.join().unwrap();
}

#[test]
fn scoped_tasks_run_on_the_launching_thread() {
    let sup = pool(1);
    let here = thread::current().id();
    let _guard = testing::inline();
    let mut numbers = [1, 2, 3];
    let sum = sup.scope(|s| {
        let sum = s.spawn(|| (numbers.iter().sum::<u32>(), thread::current().id()));
        assert!(sum.is_completed());
        sum.join().unwrap()
    });
    assert_eq!(sum, (6, here));
    let error = sup.scope(|s| {
        s.builder(|| numbers[0] = 7).timeout(Duration::ZERO).start().join().unwrap();
        s.spawn(|| panic!("scoped")).join().unwrap_err()
    });
    assert!(error.is_panic() && numbers[0] == 7);
}

fn squared(n: u64) -> u64 {
    // Long enough for a map to launch further tasks.
    thread::sleep(Duration::from_micros(50));
    assert_ne!(n, 13);
    n * n
}

#[test]
fn maps_run_inline() {
    let _watchdog = Watchdog::new("inline", FAR);
    let sup = pool(4);
    let here = thread::current().id();
    let _guard = testing::inline();
    let threads = map!(0..100u64, |n| (squared(n), thread::current().id()), supervisor = &sup);
    let processes = map!(0..100u64, squared, tt = "mp", supervisor = &sup);
    for (n, (thread, process)) in (0..).zip(threads.into_iter().zip(processes)) {
        if n == 13 {
            assert!(thread.unwrap_err().is_panic() && process.unwrap_err().is_panic());
        } else {
            assert_eq!((thread.unwrap(), process.unwrap()), ((n * n, here), n * n));
        }
    }
    assert!(sup.info().mp_pool.unwrap().workers.is_empty());
}
