//! Which task may start now, and which one is next?

use std::sync::mpsc;
use std::sync::{Arc, Barrier};

use atasker::{PoolConfig, Priority, Supervisor, Task, TaskBuilder, TaskStatus};
use atasker_tests::{Gate, occupy, pool, pool_with};

use Priority::{Critical, High, Low, Normal};

/// Whether a task of this priority starts while `held` slots are occupied.
fn starts(config: PoolConfig, held: usize, priority: Priority) -> bool {
    let sup = pool_with(config);
    let holders: Vec<_> = (0..held).map(|_| occupy(&sup, High)).collect();
    assert_eq!(sup.info().thread_pool.running, held);
    let begun = Gate::new();
    let begins = begun.clone();
    let task = TaskBuilder::new(move || begins.open()).priority(priority).supervisor(&sup).start();
    // A task that may start has its slot before the launch returns.
    let waits = sup.info().thread_pool.waiting.total() > 0;
    if !waits {
        begun.wait();
    } else {
        assert_eq!(task.status(), TaskStatus::Queued);
        assert!(!begun.is_open());
    }
    holders.iter().for_each(|(_, gate)| gate.open());
    task.join().unwrap();
    !waits
}

#[test]
fn each_priority_has_its_slots() {
    let config = || PoolConfig::new(2).reserve_normal(1).reserve_high(2);
    for held in 0..=5 {
        assert_eq!(starts(config(), held, Low), held < 2, "low, {held} held");
        assert_eq!(starts(config(), held, Normal), held < 3, "normal, {held} held");
        assert_eq!(starts(config(), held, High), held < 5, "high, {held} held");
        assert!(starts(config(), held, Critical), "critical, {held} held");
    }
}

#[test]
fn max_size_limits_all_but_critical() {
    let config = || PoolConfig::new(5).reserve_normal(5).reserve_high(5).max_size(2);
    for held in 0..=2 {
        for priority in [Low, Normal, High] {
            assert_eq!(starts(config(), held, priority), held < 2, "{priority}, {held} held");
        }
        assert!(starts(config(), held, Critical));
    }
    let unlimited = || PoolConfig::unlimited().max_size(1);
    assert!(starts(unlimited(), 0, Low) && !starts(unlimited(), 1, High));
}

#[test]
fn config_has_no_reserves_by_default() {
    for priority in [Low, Normal, High] {
        assert!(starts(PoolConfig::new(1), 0, priority));
        assert!(!starts(PoolConfig::new(1), 1, priority));
    }
}

#[test]
fn default_pool_has_documented_slots() {
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    let info = Supervisor::builder().build().info().thread_pool;
    assert_eq!((info.pool_size, info.reserve_normal, info.reserve_high), (5 * cpus, 5, 5));
    assert_eq!(info.threads, 0, "threads start on demand");
}

#[test]
fn critical_tasks_occupy_no_slot() {
    let sup = pool(1);
    let critical: Vec<_> = (0..5).map(|_| occupy(&sup, Critical)).collect();
    let info = sup.info().thread_pool;
    assert_eq!((info.running, info.running_critical), (0, 5));
    // The slot is available for other tasks.
    assert_eq!(sup.spawn(|| 1).join().unwrap(), 1);
    critical.iter().for_each(|(_, gate)| gate.open());
    for (task, _) in critical {
        task.join().unwrap();
    }
}

#[test]
fn unlimited_pool_runs_all_concurrently() {
    let sup = pool_with(PoolConfig::unlimited());
    let all = Arc::new(Barrier::new(60));
    let tasks: Vec<Task<()>> = (0..60)
        .map(|n| {
            let all = Arc::clone(&all);
            let run = move || {
                all.wait();
            };
            let priority = Priority::ALL[n % 4];
            TaskBuilder::new(run).priority(priority).supervisor(&sup).start()
        })
        .collect();
    for task in tasks {
        task.join().unwrap();
    }
}

#[test]
fn queued_tasks_start_by_priority_then_launch_order() {
    let sup = pool(1);
    let (busy, gate) = occupy(&sup, Normal);
    let (tx, order) = mpsc::channel();
    let mut expected = Vec::new();
    let mut tasks = Vec::new();
    for n in 0..100 {
        let priority = [Normal, Low, High, Low, Normal][n % 5];
        expected.push((priority, n));
        let tx = tx.clone();
        let run = move || tx.send((priority, n)).unwrap();
        tasks.push(TaskBuilder::new(run).priority(priority).supervisor(&sup).start());
    }
    let waiting = sup.info().thread_pool.waiting;
    assert_eq!((waiting.low, waiting.normal, waiting.high, waiting.critical), (40, 40, 20, 0));
    gate.open();
    busy.join().unwrap();
    drop(tx);
    expected.sort_by_key(|(priority, n)| (std::cmp::Reverse(*priority), *n));
    assert_eq!(order.iter().collect::<Vec<_>>(), expected);
    for task in tasks {
        task.join().unwrap();
    }
}

#[test]
fn canceled_task_keeps_order_of_others() {
    let sup = pool(1);
    let (busy, gate) = occupy(&sup, Normal);
    let (tx, order) = mpsc::channel();
    let tasks: Vec<_> = (0..30)
        .map(|n| {
            let tx = tx.clone();
            sup.spawn(move || tx.send(n).unwrap())
        })
        .collect();
    drop(tx);
    for task in tasks.iter().step_by(3) {
        assert!(task.cancel());
    }
    gate.open();
    busy.join().unwrap();
    let expected: Vec<_> = (0..30).filter(|n| n % 3 != 0).collect();
    assert_eq!(order.iter().collect::<Vec<_>>(), expected);
}

#[test]
fn lower_priority_does_not_overtake() {
    let sup = pool_with(PoolConfig::new(1).reserve_high(1));
    let (low, low_gate) = occupy(&sup, Low);
    let (high, high_gate) = occupy(&sup, High);
    let low_began = Gate::new();
    let begins = low_began.clone();
    let next_low = TaskBuilder::new(move || begins.open()).priority(Low).supervisor(&sup).start();
    let (high_began, gate) = (Gate::new(), Gate::new());
    let (begins, waits) = (high_began.clone(), gate.clone());
    let next_high = TaskBuilder::new(move || {
        begins.open();
        waits.wait();
    })
    .priority(High)
    .supervisor(&sup)
    .start();
    low_gate.open();
    low.join().unwrap();
    high_began.wait();
    assert_eq!(next_low.status(), TaskStatus::Queued);
    assert!(!low_began.is_open());
    // One high task less: one still occupies a slot, so a low task must wait.
    high_gate.open();
    high.join().unwrap();
    atasker_tests::eventually(|| sup.info().thread_pool.running == 1);
    assert_eq!(next_low.status(), TaskStatus::Queued);
    gate.open();
    next_high.join().unwrap();
    next_low.join().unwrap();
}

#[test]
fn concurrency_never_exceeds_slots() {
    use std::sync::atomic::{AtomicUsize, Ordering};
    let sup = pool_with(PoolConfig::new(3).reserve_high(1));
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let tasks: Vec<_> = (0..2000)
        .map(|n| {
            let (now, most) = (Arc::clone(&now), Arc::clone(&most));
            let run = move || {
                most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                std::thread::yield_now();
                now.fetch_sub(1, Ordering::SeqCst);
            };
            let priority = [Low, Normal, High][n % 3];
            TaskBuilder::new(run).priority(priority).supervisor(&sup).start()
        })
        .collect();
    for task in tasks {
        task.join().unwrap();
    }
    let most = most.load(Ordering::SeqCst);
    assert!(most <= 4, "{most} tasks ran concurrently");
    atasker_tests::eventually(|| sup.info().thread_pool.running == 0);
    assert_eq!(sup.info().thread_pool.tasks_run, 2000);
}
