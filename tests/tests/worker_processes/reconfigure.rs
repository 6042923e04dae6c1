//! Do tasks that begin after `set_mp_pool` run in worker processes with the new settings?

use std::time::Duration;

use atasker::{
    MpPoolConfig, Overflow, Priority, Supervisor, Task, TaskContext, TaskError, WorkerStdio,
    background_task, wait_completed, worker_data,
};
use atasker_tests::mp::{pool_of, supervisor, workers};
use atasker_tests::processes::Process;
use atasker_tests::{FAR, Watchdog, eventually};

const KEY: &str = "ATASKER_TEST_SETTING";

#[background_task(tt = "mp")]
fn setting() -> (u32, Option<String>) {
    (std::process::id(), std::env::var(KEY).ok())
}

#[background_task(tt = "mp")]
fn data() -> Option<String> {
    worker_data::<String>().cloned()
}

#[background_task(tt = "mp")]
fn until_stopped(ctx: &TaskContext<(), u32>) -> Option<String> {
    ctx.send(std::process::id()).unwrap();
    while !ctx.wait_stop(FAR) {}
    std::env::var(KEY).ok()
}

#[background_task(tt = "mp")]
fn length(bytes: &[u8]) -> usize {
    bytes.len()
}

fn launch(sup: &Supervisor) -> Task<(u32, Option<String>)> {
    setting::builder().supervisor(sup).start()
}

fn slow_init() {
    std::thread::sleep(Duration::from_millis(300));
}

fn some_init() {}

fn some_exit() {}

#[test]
fn changed_process_setting_replaces_idle_worker() {
    let base = || pool_of(1).env(KEY, "old");
    let others: [(&str, MpPoolConfig); 10] = [
        ("env", base().env(KEY, "new")),
        ("one more variable", base().env("ATASKER_TEST_OTHER", "")),
        ("worker_data", base().worker_data(&7u32)),
        ("worker_init", base().worker_init(some_init)),
        ("worker_exit", base().worker_exit(some_exit)),
        ("stdio", base().stdio(WorkerStdio::Null)),
        ("memory_limit", base().memory_limit(1 << 32)),
        ("nice", base().nice(1)),
        ("nice_by_priority", base().nice_by_priority(true)),
        ("dumpable", base().dumpable(false)),
    ];
    let sup = supervisor(base());
    for (name, other) in others {
        let (before, _) = launch(&sup).join().unwrap();
        sup.set_mp_pool(other.clone());
        // Immediately, without a task that triggers it.
        eventually(|| Process::is_gone(before));
        eventually(|| workers(&sup).iter().any(|pid| *pid != before));
        let (after, _) = launch(&sup).join().unwrap();
        assert_ne!(before, after, "{name}");
        // Applying the same settings again changes nothing.
        sup.set_mp_pool(other);
        assert_eq!(launch(&sup).join().unwrap().0, after, "{name}");
        sup.set_mp_pool(base());
    }
    assert_eq!(sup.info().mp_pool.unwrap().restarts, 0);
}

#[test]
fn changed_pool_setting_keeps_workers() {
    let base = || pool_of(1).env("A", "1").env(KEY, "x").worker_data(&"d".to_owned());
    let sup = supervisor(base());
    let (before, _) = launch(&sup).join().unwrap();
    let rules = base().reserve_high(1).critical_extra(3).max_tasks_per_worker(1_000);
    let other_way = pool_of(1).env(KEY, "y").env(KEY, "x").env("A", "1");
    for config in [rules, base().min_size(1), other_way.worker_data(&"d".to_owned())] {
        sup.set_mp_pool(config);
        assert_eq!(launch(&sup).join().unwrap().0, before);
    }
}

#[test]
fn busy_worker_is_replaced_after_task() {
    let _watchdog = Watchdog::new("a busy worker process with old settings", FAR);
    let sup = supervisor(pool_of(1).env(KEY, "old"));
    let running = until_stopped::builder().supervisor(&sup).start();
    let before = running.recv().unwrap();
    let queued: Vec<_> = (0..5).map(|_| launch(&sup)).collect();
    sup.set_mp_pool(pool_of(1).env(KEY, "new"));
    running.stop();
    assert_eq!(running.join().unwrap().as_deref(), Some("old"));
    for (pid, value) in wait_completed!(queued).unwrap() {
        assert_eq!(value.as_deref(), Some("new"));
        assert_ne!(pid, before);
    }
    eventually(|| Process::is_gone(before));
}

#[test]
fn busy_worker_is_replaced_even_if_nothing_waits() {
    let _watchdog = Watchdog::new("a busy worker process with old settings", FAR);
    let sup = supervisor(pool_of(1).env(KEY, "old"));
    let running = until_stopped::builder().supervisor(&sup).start();
    let before = running.recv().unwrap();
    sup.set_mp_pool(pool_of(1).env(KEY, "new"));
    assert_eq!(workers(&sup), [before]);
    running.stop();
    running.join().unwrap();
    eventually(|| workers(&sup).iter().any(|pid| *pid != before));
    assert_eq!(launch(&sup).join().unwrap().1.as_deref(), Some("new"));
}

#[test]
fn successor_that_is_starting_is_replaced() {
    let _watchdog = Watchdog::new("two changes of settings", FAR);
    let sup = supervisor(pool_of(1).env(KEY, "0"));
    let (first, _) = launch(&sup).join().unwrap();
    for value in ["1", "2", "3"] {
        sup.set_mp_pool(pool_of(1).env(KEY, value).worker_init(slow_init));
    }
    // Without a task that triggers it.
    eventually(|| Process::is_gone(first) && workers(&sup).len() == 1);
    assert_eq!(launch(&sup).join().unwrap().1.as_deref(), Some("3"));
}

#[test]
fn lower_task_limit_replaces_worker_that_exceeds_it() {
    let sup = supervisor(pool_of(1));
    let (before, _) = launch(&sup).join().unwrap();
    assert_eq!(launch(&sup).join().unwrap().0, before);
    sup.set_mp_pool(pool_of(1).max_tasks_per_worker(3));
    assert_eq!(launch(&sup).join().unwrap().0, before);
    eventually(|| Process::is_gone(before));
    let (next, _) = launch(&sup).join().unwrap();
    sup.set_mp_pool(pool_of(1).max_tasks_per_worker(1));
    eventually(|| Process::is_gone(next));
    assert_ne!(launch(&sup).join().unwrap().0, next);
}

#[test]
fn new_queue_limit_counts_waiting_arguments() {
    let _watchdog = Watchdog::new("a full queue", FAR);
    let sup = supervisor(pool_of(1));
    let running = until_stopped::builder().supervisor(&sup).start();
    running.recv().unwrap();
    let waiting = length::builder(&[0; 10_000]).supervisor(&sup).start();
    sup.set_mp_pool(pool_of(1).queue_bytes(15_000, Overflow::Reject));
    let rejected = length::builder(&[0; 10_000]).supervisor(&sup).start();
    assert_eq!(rejected.join(), Err(TaskError::QueueFull));
    let fits = length::builder(&[0; 1_000]).supervisor(&sup).start();
    running.stop();
    assert_eq!((waiting.join(), fits.join()), (Ok(10_000), Ok(1_000)));
}

// A call that was sent over a socket cannot be revoked.
#[cfg(not(atasker_portable))]
#[test]
fn unbegun_calls_of_old_worker_are_revoked() {
    let _watchdog = Watchdog::new("calls that were sent to old worker processes", FAR);
    for over_sockets in [false, true] {
        let with = |value: &str, size| pool_of(size).env(KEY, value).__over_sockets(over_sockets);
        let sup = supervisor(with("0", 2));
        for round in 1..20 {
            // Some of them are running, many have been sent.
            let tasks: Vec<_> = (0..300).map(|_| launch(&sup)).collect();
            let new = round.to_string();
            sup.set_mp_pool(with(&new, 1 + round % 2));
            // By the clock that start times use.
            let at = sup.spawn(|| ()).time_queued();
            let later = launch(&sup);
            let mut old_after = 0;
            for task in tasks.iter().chain([&later]) {
                let (_, value) = task.wait().unwrap();
                if task.time_started().unwrap() > at && value.as_ref() != Some(&new) {
                    old_after += 1;
                }
            }
            // Over sockets, a call that was sent counts as begun.
            assert!(old_after <= if over_sockets { 2 } else { 0 }, "round {round}: {old_after}");
            assert_eq!(later.join().unwrap().1, Some(new));
        }
    }
}

#[test]
fn starting_worker_is_replaced() {
    let _watchdog = Watchdog::new("a worker process that starts with old settings", FAR);
    let old = pool_of(1).env(KEY, "old").worker_init(slow_init);
    let sup = supervisor(old);
    let task = launch(&sup);
    sup.set_mp_pool(pool_of(1).env(KEY, "new"));
    assert_eq!(task.join().unwrap().1.as_deref(), Some("new"));
    // The same for a worker process that is in its `worker_init`.
    sup.set_mp_pool(pool_of(1).env(KEY, "old").worker_init(slow_init));
    let task = launch(&sup);
    eventually(|| !workers(&sup).is_empty());
    sup.set_mp_pool(pool_of(1).env(KEY, "new"));
    assert_eq!(task.join().unwrap().1.as_deref(), Some("new"));
}

#[test]
fn new_worker_data_reaches_next_task() {
    let sup = supervisor(pool_of(2).worker_data(&"old".to_owned()));
    let find = |priority: Priority| {
        data::builder().priority(priority).supervisor(&sup).start().join().unwrap()
    };
    assert_eq!(find(Priority::Normal).as_deref(), Some("old"));
    sup.set_mp_pool(pool_of(2).worker_data(&"new".to_owned()));
    for priority in Priority::ALL {
        assert_eq!(find(priority).as_deref(), Some("new"));
    }
}
