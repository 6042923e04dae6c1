//! Does a program that uses the interface of worker processes compile on platforms without them,
//! and does everything else work?

use std::ops::ControlFlow;
use std::time::Duration;

use atasker::{
    FunctionCollection, Job, MpPoolConfig, Supervisor, TaskType, WorkerStdio, background,
    background_task, background_worker, collect, collection, supervisor, worker_data,
};

#[background_task]
fn thread(n: u32) -> u32 {
    n + 1
}

#[background_task]
async fn on_aloop(n: u32) -> u32 {
    n + 2
}

#[background_worker(queue)]
fn queue(item: u32) -> bool {
    item > 0
}

#[background_worker(interval = "1us")]
async fn interval(runs: &mut u32) -> ControlFlow<()> {
    *runs += 1;
    if *runs > 2 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
}

collection!(static COLLECTION: FunctionCollection<u32>);

#[collect(COLLECTION)]
fn collected() -> u32 {
    3
}

#[atasker::main(drain = "1s")]
#[allow(dead_code)]
fn main() {}

#[test]
fn threads_aloops_workers_jobs_and_collections_run() {
    atasker::init();
    assert_eq!(thread(1).join().unwrap(), 2);
    assert_eq!(on_aloop(1).join().unwrap(), 3);
    assert_eq!(background!(thread::call(1)).join().unwrap(), 2);
    assert_eq!(COLLECTION.execute().results[0].1, Ok(3));
    let (queue, interval) = (queue(), interval(0));
    queue.start();
    interval.start();
    queue.put(1).unwrap();
    while queue.runs() == 0 || interval.is_active() {
        std::thread::yield_now();
    }
    queue.stop();
    let job = supervisor().create_job(Job::once(Duration::ZERO), || ());
    while job.runs() == 0 {
        std::thread::yield_now();
    }
}

#[test]
fn worker_pool_can_be_configured() {
    let config = MpPoolConfig::new(2)
        .reserve_high(1)
        .stdio(WorkerStdio::Log)
        .env("KEY", "value")
        .worker_data(&"for all".to_owned());
    let sup = Supervisor::builder().id("portable").mp_pool(config.clone()).build();
    sup.set_mp_pool(config.max_tasks_per_worker(10));
    let pool = sup.info().mp_pool.unwrap();
    assert_eq!((pool.pool_size, pool.reserve_high, pool.workers.len()), (2, 1, 0));
    assert_eq!(worker_data::<String>().unwrap(), "for all");
    assert!(sup.tasks_of(TaskType::Mp).is_empty());
    assert_eq!(sup.spawn(|| 1).join().unwrap(), 1);
    sup.stop(atasker::StopOptions::new());
}
