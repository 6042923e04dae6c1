//! How many tasks of a limit run at once, in which order, and what do those that wait occupy?

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use atasker::{
    Limit, Overflow, PoolConfig, Priority, StopOptions, Supervisor, Task, TaskBuilder, TaskError,
    TaskStatus, wait_completed,
};
use atasker_tests::{Gate, eventually, occupy, pool, pool_with};

/// Occupies the limit until the gate is opened.
fn hold(sup: &Supervisor, limit: &Arc<Limit>) -> (Task<()>, Gate) {
    let (begun, gate) = (Gate::new(), Gate::new());
    let (begins, waits) = (begun.clone(), gate.clone());
    let task = TaskBuilder::new(move || {
        begins.open();
        waits.wait();
    })
    .limit(limit)
    .supervisor(sup)
    .start();
    begun.wait();
    (task, gate)
}

fn waiting(sup: &Supervisor) -> usize {
    let waiting = sup.info().thread_pool.waiting;
    waiting.low + waiting.normal + waiting.high + waiting.critical
}

#[test]
fn at_most_the_limit_runs_at_once_and_all_run() {
    static LIMIT: Limit = Limit::concurrency(3);
    let sup = pool(8);
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let tasks: Vec<_> = (0..2_000)
        .map(|n: u64| {
            let (now, most) = (Arc::clone(&now), Arc::clone(&most));
            TaskBuilder::new(move || {
                most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                std::hint::black_box((0..n % 500).sum::<u64>());
                now.fetch_sub(1, Ordering::SeqCst);
                n
            })
            .limit(&LIMIT)
            .supervisor(&sup)
            .start()
        })
        .collect();
    let results = wait_completed!(tasks).unwrap();
    assert_eq!(results, (0..2_000).collect::<Vec<_>>());
    assert!(most.load(Ordering::SeqCst) <= 3);
    assert_eq!(waiting(&sup), 0);
}

#[test]
fn a_task_that_waits_holds_no_slot_and_others_pass_it() {
    let limit = Arc::new(Limit::concurrency(1));
    let sup = pool(1);
    let other = pool(1);
    let (holder, gate) = hold(&other, &limit);
    let waits = TaskBuilder::new(|| 1).limit(&limit).supervisor(&sup).start();
    assert_eq!(waits.status(), TaskStatus::Queued);
    assert_eq!(waiting(&sup), 1);
    // The only slot is free.
    assert_eq!(sup.spawn(|| 2).join().unwrap(), 2);
    eventually(|| sup.info().thread_pool.running == 0);
    assert_eq!(waits.status(), TaskStatus::Queued);
    gate.open();
    assert_eq!(waits.join().unwrap(), 1);
    holder.join().unwrap();
}

#[test]
fn tasks_begin_by_priority_and_then_by_launch() {
    let limit = Arc::new(Limit::concurrency(1));
    let sup = pool(4);
    let (holder, gate) = hold(&sup, &limit);
    let order = Arc::new(Mutex::new(Vec::new()));
    let tasks: Vec<_> = [
        ("low", Priority::Low),
        ("first", Priority::Normal),
        ("second", Priority::Normal),
        ("high", Priority::High),
        ("critical", Priority::Critical),
    ]
    .into_iter()
    .map(|(name, priority)| {
        let order = Arc::clone(&order);
        TaskBuilder::new(move || order.lock().unwrap().push(name))
            .priority(priority)
            .limit(&limit)
            .supervisor(&sup)
            .start()
    })
    .collect();
    gate.open();
    wait_completed!(tasks).unwrap();
    holder.join().unwrap();
    assert_eq!(*order.lock().unwrap(), ["critical", "high", "first", "second", "low"]);
}

#[test]
fn a_task_that_waits_for_a_slot_does_not_keep_the_limit() {
    let limit = Arc::new(Limit::concurrency(1));
    let (full, free) = (pool(1), pool(1));
    let (occupying, gate) = occupy(&full, Priority::Normal);
    let waits = TaskBuilder::new(|| 1).limit(&limit).supervisor(&full).start();
    // The limit is free, and so is the slot of the other pool.
    let task = TaskBuilder::new(|| 2).limit(&limit).supervisor(&free).start();
    assert_eq!(task.join().unwrap(), 2);
    assert_eq!(waits.status(), TaskStatus::Queued);
    gate.open();
    assert_eq!(waits.join().unwrap(), 1);
    occupying.join().unwrap();
}

#[test]
fn tasks_keep_their_place_among_others_of_the_pool() {
    let limit = Arc::new(Limit::concurrency(4));
    let sup = pool(1);
    let (occupying, gate) = occupy(&sup, Priority::Normal);
    let order = Arc::new(Mutex::new(Vec::new()));
    let tasks: Vec<_> = (0..9)
        .map(|n| {
            let order = Arc::clone(&order);
            let builder = TaskBuilder::new(move || order.lock().unwrap().push(n)).supervisor(&sup);
            if n % 3 == 0 { builder.start() } else { builder.limit(&limit).start() }
        })
        .collect();
    gate.open();
    wait_completed!(tasks).unwrap();
    occupying.join().unwrap();
    assert_eq!(*order.lock().unwrap(), (0..9).collect::<Vec<_>>());
}

#[test]
fn waiting_tasks_count_for_the_queue_limit() {
    let limit = Arc::new(Limit::concurrency(1));
    let sup = pool_with(PoolConfig::new(4).queue_limit(2, Overflow::Reject));
    let (holder, gate) = hold(&sup, &limit);
    let builder = || TaskBuilder::new(|| ()).limit(&limit).supervisor(&sup);
    let tasks = [builder().start(), builder().start()];
    assert_eq!(builder().start().join(), Err(TaskError::QueueFull));
    // A task without the limit needs no room, because it has a slot.
    assert!(sup.spawn(|| ()).join().is_ok());
    // One that is canceled makes room.
    assert!(tasks[1].cancel());
    let third = builder().start();
    assert_eq!(third.status(), TaskStatus::Queued);
    gate.open();
    let [first, _] = tasks;
    wait_completed!(holder, first, third).unwrap();
}

#[test]
fn a_blocked_launch_goes_on_when_a_waiting_task_begins() {
    let limit = Arc::new(Limit::concurrency(1));
    let sup = pool_with(PoolConfig::new(4).queue_limit(1, Overflow::Block));
    let (holder, gate) = hold(&sup, &limit);
    let waits = TaskBuilder::new(|| 1).limit(&limit).supervisor(&sup).start();
    let launcher = std::thread::spawn({
        let (sup, limit) = (sup.clone(), Arc::clone(&limit));
        move || TaskBuilder::new(|| 2).limit(&limit).supervisor(&sup).start().join()
    });
    gate.open();
    assert_eq!(launcher.join().unwrap(), Ok(2));
    assert_eq!(waits.join(), Ok(1));
    holder.join().unwrap();
}

#[test]
fn canceled_and_stopped_tasks_leave_the_limit() {
    let limit = Arc::new(Limit::concurrency(1));
    let sup = pool(4);
    let (holder, gate) = hold(&sup, &limit);
    let builder = || TaskBuilder::new(|| ()).limit(&limit).supervisor(&sup);
    let tasks = [builder().start(), builder().start(), builder().start(), builder().start()];
    assert!(tasks[0].cancel());
    tasks[1].stop();
    tasks[2].kill().unwrap();
    let [a, b, c, last] = tasks;
    for task in [a, b, c] {
        assert_eq!(task.join(), Err(TaskError::Canceled));
    }
    assert_eq!(waiting(&sup), 1);
    gate.open();
    assert!(last.join().is_ok());
    holder.join().unwrap();
}

#[test]
fn a_stop_ends_tasks_that_wait_for_the_limit() {
    let limit = Arc::new(Limit::concurrency(1));
    let (sup, other) = (pool(4), pool(1));
    let (holder, gate) = hold(&other, &limit);
    let waits = TaskBuilder::new(|| ()).limit(&limit).supervisor(&sup).start();
    let report = sup.stop(StopOptions::new().wait(Duration::ZERO));
    assert_eq!((report.completed, report.abandoned), (0, 1));
    assert_eq!(waits.join(), Err(TaskError::SupervisorStopped));
    gate.open();
    holder.join().unwrap();
    // Nothing of it is left in the limit.
    let task = TaskBuilder::new(|| 3).limit(&limit).supervisor(&other).start();
    assert_eq!(task.join(), Ok(3));
}

#[test]
fn a_draining_supervisor_runs_tasks_that_wait_for_the_limit() {
    let limit = Arc::new(Limit::concurrency(1));
    let (sup, other) = (pool(4), pool(1));
    let (holder, gate) = hold(&other, &limit);
    let waits = TaskBuilder::new(|| 1).limit(&limit).supervisor(&sup).start();
    let stopper = std::thread::spawn(move || sup.stop(StopOptions::new()));
    gate.open();
    stopper.join().unwrap();
    assert_eq!(waits.join(), Ok(1));
    holder.join().unwrap();
}

#[test]
fn the_limit_is_given_back_after_a_panic_and_between_attempts() {
    let limit = Arc::new(Limit::concurrency(1));
    let sup = pool(4);
    let panics = TaskBuilder::new(|| panic!("on purpose")).limit(&limit).supervisor(&sup).start();
    assert!(panics.join().unwrap_err().is_panic());
    // The second attempt waits behind the task that was launched during the first.
    let order = Arc::new(Mutex::new(Vec::new()));
    let (begun, gate) = (Gate::new(), Gate::new());
    let mut attempts = 0;
    let twice = {
        let (order, begun, gate) = (Arc::clone(&order), begun.clone(), gate.clone());
        TaskBuilder::repeatable(move || {
            attempts += 1;
            order.lock().unwrap().push(attempts);
            begun.open();
            gate.wait();
            attempts
        })
        .retries(1)
        .retry_if(|attempts| *attempts == 1)
        .limit(&limit)
        .supervisor(&sup)
        .start()
    };
    begun.wait();
    let between = {
        let order = Arc::clone(&order);
        let task = TaskBuilder::new(move || order.lock().unwrap().push(10));
        task.limit(&limit).supervisor(&sup).start()
    };
    gate.open();
    assert_eq!(twice.join(), Ok(2));
    between.join().unwrap();
    assert_eq!(*order.lock().unwrap(), [1, 10, 2]);
}

#[test]
fn a_task_beyond_its_time_limit_keeps_the_limit_until_it_returns() {
    let limit = Arc::new(Limit::concurrency(1));
    let sup = pool(4);
    let gate = Gate::new();
    let waits = gate.clone();
    let overdue = TaskBuilder::new(move || waits.wait())
        .timeout(Duration::from_millis(1))
        .limit(&limit)
        .supervisor(&sup)
        .start();
    assert!(overdue.join().unwrap_err().is_timeout());
    let next = TaskBuilder::new(|| 1).limit(&limit).supervisor(&sup).start();
    assert_eq!(sup.spawn(|| ()).join(), Ok(()));
    assert_eq!(next.status(), TaskStatus::Queued);
    gate.open();
    assert_eq!(next.join(), Ok(1));
}

#[test]
fn a_later_limit_replaces_an_earlier_one() {
    let (first, second) = (Arc::new(Limit::concurrency(1)), Arc::new(Limit::concurrency(1)));
    let sup = pool(4);
    let (holder, gate) = hold(&sup, &first);
    let builder = || TaskBuilder::new(|| 1).supervisor(&sup);
    assert_eq!(builder().limit(&first).limit(&second).start().join(), Ok(1));
    let waits = builder().limit(&second).limit(&first).start();
    assert_eq!(waits.status(), TaskStatus::Queued);
    gate.open();
    assert_eq!(waits.join(), Ok(1));
    holder.join().unwrap();
}

#[test]
fn a_limit_is_free_before_the_end_of_its_task_is_visible() {
    let limit = Arc::new(Limit::concurrency(1));
    let sup = pool_with(PoolConfig::new(4).queue_limit(0, Overflow::Reject));
    for _ in 0..500 {
        TaskBuilder::new(|| ()).limit(&limit).supervisor(&sup).start().join().unwrap();
        // Needs no room in the queue, unless the slot is not free yet.
        eventually(|| sup.info().thread_pool.running == 0);
    }
}

#[test]
fn threads_that_launch_and_cancel_at_once_lose_no_task() {
    let limit = Arc::new(Limit::concurrency(2));
    let sup = pool(3);
    let launchers: Vec<_> = (0..4)
        .map(|seed: u64| {
            let (sup, limit) = (sup.clone(), Arc::clone(&limit));
            std::thread::spawn(move || {
                let mut random = seed + 1;
                let tasks: Vec<_> = (0..500)
                    .map(|n| {
                        random = random.wrapping_mul(6364136223846793005).wrapping_add(1);
                        let priority = Priority::ALL[(random >> 33) as usize % 4];
                        let task = TaskBuilder::new(move || n).priority(priority);
                        let task = task.limit(&limit).supervisor(&sup).start();
                        if random >> 40 & 3 == 0 {
                            task.cancel();
                        }
                        (n, task)
                    })
                    .collect();
                for (n, task) in tasks {
                    match task.join() {
                        Ok(result) => assert_eq!(result, n),
                        Err(error) => assert!(error.is_canceled()),
                    }
                }
            })
        })
        .collect();
    for launcher in launchers {
        launcher.join().unwrap();
    }
    assert_eq!(waiting(&sup), 0);
    let task = TaskBuilder::new(|| 1).limit(&limit).supervisor(&sup).start();
    assert_eq!(task.join(), Ok(1));
}
