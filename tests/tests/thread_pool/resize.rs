//! Can the pool be resized while it runs, and which threads exist then?

use std::sync::{Arc, Barrier};
use std::time::Duration;

use atasker::{PoolConfig, Priority, StopOptions, Supervisor, TaskStatus};
use atasker_tests::{eventually, occupy, pool, pool_with};

#[test]
fn enlarged_pool_starts_queued_tasks() {
    let sup = pool(1);
    let (busy, gate) = occupy(&sup, Priority::Normal);
    let all = Arc::new(Barrier::new(4));
    let tasks: Vec<_> = (0..4)
        .map(|_| {
            let all = Arc::clone(&all);
            sup.spawn(move || {
                all.wait();
            })
        })
        .collect();
    assert_eq!(sup.info().thread_pool.waiting.total(), 4);
    sup.set_thread_pool(PoolConfig::new(5));
    for task in tasks {
        task.join().unwrap();
    }
    assert_eq!(sup.info().thread_pool.pool_size, 5);
    gate.open();
    busy.join().unwrap();
}

#[test]
fn shrunk_pool_finishes_running_tasks() {
    let sup = pool(3);
    let mut holders: Vec<_> = (0..3).map(|_| occupy(&sup, Priority::Normal)).collect();
    sup.set_thread_pool(PoolConfig::new(1));
    let next = sup.spawn(|| 1);
    for left in [2, 1] {
        let (task, gate) = holders.pop().unwrap();
        gate.open();
        task.join().unwrap();
        eventually(|| sup.info().thread_pool.running == left);
        assert_eq!(next.status(), TaskStatus::Queued, "{left} tasks still run");
    }
    let (task, gate) = holders.pop().unwrap();
    gate.open();
    task.join().unwrap();
    assert_eq!(next.join().unwrap(), 1);
}

#[test]
fn new_reserves_apply_immediately() {
    let sup = pool(1);
    let (busy, gate) = occupy(&sup, Priority::Normal);
    let launch = |priority| {
        atasker::TaskBuilder::new(move || priority).priority(priority).supervisor(&sup).start()
    };
    let (low, normal, high) =
        (launch(Priority::Low), launch(Priority::Normal), launch(Priority::High));
    sup.set_thread_pool(PoolConfig::new(1).reserve_high(1));
    high.join().unwrap();
    assert_eq!(normal.status(), TaskStatus::Queued);
    sup.set_thread_pool(PoolConfig::new(1).reserve_normal(1));
    normal.join().unwrap();
    assert_eq!(low.status(), TaskStatus::Queued);
    gate.open();
    busy.join().unwrap();
    low.join().unwrap();
}

#[test]
fn limit_can_be_removed() {
    let sup = pool(1);
    let (busy, gate) = occupy(&sup, Priority::Normal);
    let task = sup.spawn(|| 1);
    assert_eq!(task.status(), TaskStatus::Queued);
    sup.set_thread_pool(PoolConfig::unlimited());
    task.join().unwrap();
    gate.open();
    busy.join().unwrap();
}

#[test]
fn min_size_threads_start_eagerly() {
    let sup = pool_with(PoolConfig::new(4).min_size(3));
    assert_eq!(sup.info().thread_pool.threads, 0, "no thread before the start");
    assert!(sup.start());
    eventually(|| sup.info().thread_pool.idle == 3);
    assert_eq!(sup.info().thread_pool.threads, 3);
    // A larger `min_size` while the pool runs.
    sup.set_thread_pool(PoolConfig::new(4).min_size(5));
    eventually(|| sup.info().thread_pool.idle == 5);
    // The same after a restart, regardless of how soon.
    for _ in 0..20 {
        sup.stop(StopOptions::new());
        assert!(sup.start());
        eventually(|| sup.info().thread_pool.idle == 5);
        assert_eq!(sup.info().thread_pool.threads, 5);
    }
}

#[test]
fn idle_threads_end_down_to_min_size() {
    let timeout = Duration::from_millis(30);
    let sup = pool_with(PoolConfig::new(8).min_size(2).idle_timeout(timeout));
    let all = Arc::new(Barrier::new(8));
    let tasks: Vec<_> = (0..8)
        .map(|_| {
            let all = Arc::clone(&all);
            sup.spawn(move || {
                all.wait();
            })
        })
        .collect();
    for task in tasks {
        task.join().unwrap();
    }
    assert!(sup.info().thread_pool.threads >= 2);
    eventually(|| sup.info().thread_pool.threads == 2);
    eventually(|| sup.info().thread_pool.idle == 2);
    assert_eq!(sup.spawn(|| 1).join().unwrap(), 1);
    // Without `min_size`, no thread stays.
    sup.set_thread_pool(PoolConfig::new(8).idle_timeout(timeout));
    for _ in 0..2 {
        sup.spawn(|| ()).join().unwrap();
    }
    let sup = pool_with(PoolConfig::new(8).idle_timeout(timeout));
    sup.spawn(|| ()).join().unwrap();
    eventually(|| sup.info().thread_pool.threads == 0);
    assert_eq!(sup.spawn(|| 1).join().unwrap(), 1, "new threads start on demand");
}

#[test]
fn launch_races_with_idle_exit() {
    let sup = pool_with(PoolConfig::new(2).idle_timeout(Duration::from_micros(50)));
    for n in 0..2000 {
        assert_eq!(sup.spawn(move || n).join().unwrap(), n);
        if n % 3 == 0 {
            std::thread::yield_now();
        }
    }
}

#[test]
fn resize_under_load_loses_no_task() {
    let sup = pool(2);
    let tasks: Vec<_> = (0..3000_usize)
        .map(|n| {
            if n % 50 == 0 {
                sup.set_thread_pool(PoolConfig::new(n / 50 % 4).max_size(3));
            }
            sup.spawn(move || n)
        })
        .collect();
    for (n, task) in tasks.into_iter().enumerate() {
        assert_eq!(task.join().unwrap(), n);
    }
}

#[test]
fn one_slot_uses_one_thread() {
    let sup = pool(1);
    let name = || std::thread::current().id();
    let first = sup.spawn(name).join().unwrap();
    for _ in 0..100 {
        assert_eq!(sup.spawn(name).join().unwrap(), first);
    }
    assert_eq!(sup.info().thread_pool.threads, 1);
}

#[test]
fn pool_threads_have_name_and_stack_size() {
    fn deep(n: u64) -> u64 {
        let frame = std::hint::black_box([n; 128]);
        if n == 0 { 0 } else { deep(n - 1) + frame[127] - n + 1 }
    }
    let sup = Supervisor::builder()
        .id("named")
        .thread_pool(PoolConfig::new(1).stack_size(64 << 20))
        .build();
    let name = sup.spawn(|| std::thread::current().name().map(str::to_owned)).join().unwrap();
    assert!(name.unwrap().starts_with("supervisor_named_pool_"));
    assert_eq!(sup.spawn(|| deep(10_000)).join().unwrap(), 10_000);
}
