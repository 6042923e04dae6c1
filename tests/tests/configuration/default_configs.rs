//! Which configuration does an unconfigured supervisor use, and which one does it return?

use std::num::NonZero;
use std::time::Duration;

use atasker::{MpPoolConfig, Overflow, PoolConfig, StopOptions, Supervisor, WorkerStdio};

fn cpus() -> usize {
    std::thread::available_parallelism().map_or(1, NonZero::get)
}

#[test]
fn unconfigured_supervisor_uses_the_defaults() {
    let sup = Supervisor::builder().build();
    assert_eq!(sup.thread_pool(), PoolConfig::default());
    assert_eq!(sup.mp_pool(), MpPoolConfig::default());
    assert_eq!(atasker::supervisor().thread_pool(), PoolConfig::default());
    assert_eq!(atasker::supervisor().mp_pool(), MpPoolConfig::default());
    let info = sup.info();
    let threads = info.thread_pool;
    assert_eq!(
        (threads.pool_size, threads.reserve_normal, threads.reserve_high),
        (5 * cpus(), 5, 5)
    );
    let processes = info.mp_pool.unwrap();
    let sizes = (processes.pool_size, processes.reserve_normal, processes.reserve_high);
    assert_eq!(sizes, (cpus(), 1, 1));
}

#[test]
fn default_fields_are_as_documented() {
    let threads = PoolConfig::default();
    assert_eq!(
        (threads.pool_size, threads.reserve_normal, threads.reserve_high),
        (5 * cpus(), 5, 5)
    );
    assert_eq!((threads.min_size, threads.max_size, threads.stack_size), (0, None, None));
    assert_eq!((threads.idle_timeout, threads.queue_limit), (Duration::from_secs(30), None));

    let processes = MpPoolConfig::default();
    let sizes = (processes.pool_size, processes.reserve_normal, processes.reserve_high);
    assert_eq!(sizes, (cpus(), 1, 1));
    assert_eq!((processes.critical_extra, processes.min_size), (cpus(), 0));
    assert_eq!(processes.idle_timeout, Duration::from_secs(30));
    assert_eq!((processes.max_tasks_per_worker, processes.memory_limit), (None, None));
    assert!(processes.env.is_empty() && processes.dumpable);
    assert!(!processes.nice_by_priority && !processes.template);
    assert_eq!((processes.stdio, processes.nice), (WorkerStdio::Inherit, 0));
    assert_eq!((processes.queue_limit, processes.queue_bytes), (None, None));

    let stop = StopOptions::default();
    assert_eq!((stop.wait, stop.cancel_tasks), (None, false));
    assert_eq!(stop, StopOptions::new());
}

#[test]
fn configuration_is_returned_as_given() {
    let threads = PoolConfig::new(3)
        .reserve_normal(2)
        .reserve_high(1)
        .min_size(1)
        .max_size(4)
        .idle_timeout(Duration::from_secs(1))
        .queue_limit(9, Overflow::Reject)
        .stack_size(1 << 20);
    let processes = MpPoolConfig::new(2)
        .critical_extra(0)
        .env("MODE", "a")
        .env("MODE", "b")
        .stdio(WorkerStdio::Null)
        .nice(3)
        .worker_data("data")
        .worker_init(|| ());
    let sup = Supervisor::builder().thread_pool(threads.clone()).mp_pool(processes.clone()).build();
    assert_eq!(sup.thread_pool(), threads);
    assert_eq!(sup.mp_pool(), processes);
    assert_eq!(sup.mp_pool().env["MODE"], "b");
    assert_ne!(sup.mp_pool(), processes.clone().worker_data("other"));

    // The same after it was set, and after a restart.
    let mut changed = sup.thread_pool();
    changed.pool_size = 7;
    sup.set_thread_pool(changed.clone());
    sup.set_mp_pool(sup.mp_pool().max_tasks_per_worker(5));
    assert_eq!(sup.thread_pool(), changed);
    assert_eq!(sup.info().thread_pool.pool_size, 7);
    assert_eq!(sup.mp_pool(), processes.max_tasks_per_worker(5));
    sup.spawn(|| ()).join().unwrap();
    sup.stop(StopOptions::new());
    assert_eq!(sup.thread_pool(), changed);
    sup.start();
    assert_eq!(sup.thread_pool(), changed);
}
