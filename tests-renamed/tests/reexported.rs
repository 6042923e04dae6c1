//! Do all attributes and macros work from a crate that re-exports the facade?

use std::time::Duration;

use other::atasker::{
    FunctionCollection, TaskContext, WorkerContext, background, background_task, background_worker,
    collect, collection, wait_any, wait_completed, wait_settled,
};

#[background_task(crate = other::atasker, priority = "high", retries = 1)]
fn thread(ctx: &TaskContext<u8>, n: u32) -> Result<u32, String> {
    if ctx.stopped() { Err("stopped".to_owned()) } else { Ok(n) }
}

#[background_task(tt = "mp", crate = other::atasker)]
fn process(_: &TaskContext<u8>, text: &str, n: u32) -> Result<usize, String> {
    Ok(text.len() + n as usize)
}

// The key may follow keys whose code depends on it.
#[background_task(priority = "low", delay = "1us", codec = "msgpack", tt = "mp", crate = other::atasker)]
async fn future_in_process(n: u32) -> u32 {
    n
}

#[background_task(crate = other::atasker)]
async fn on_aloop(n: u32) -> u32 {
    n
}

#[background_task(crate = other::atasker, companion = false)]
fn alone(n: u32) -> u32 {
    n
}

struct Service(u32);

impl Service {
    #[background_task(crate = other::atasker)]
    fn method(self: std::sync::Arc<Self>) -> u32 {
        self.0
    }
}

#[background_worker(crate = other::atasker, queue = "priority")]
fn queue(_: &WorkerContext, item: u32, kept: &mut u32) -> bool {
    *kept += item;
    true
}

#[background_worker(event, tt = "mp", process_result = |n| assert_eq!(*n, 1), crate = other::atasker)]
fn event(_: &WorkerContext, n: u32) -> u32 {
    n
}

#[background_worker(interval = "1h", overrun = "burst", crate = other::atasker)]
async fn interval(kept: &mut u32) {
    *kept += 1;
}

collection!(static BEHIND: FunctionCollection<u32>, crate = other::atasker);
collection! {
    crate = other::atasker;
    static BEFORE: FunctionCollection<u32>;
}

#[collect(BEHIND, crate = other::atasker, priority = "high")]
fn behind() -> u32 {
    1
}

#[collect(BEFORE, priority = "low", crate = other::atasker)]
fn before() -> u32 {
    2
}

#[other::atasker::main(crate = other::atasker)]
#[allow(dead_code)]
fn main() {}

fn sum(a: u32, b: u32) -> u32 {
    a + b
}

#[test]
fn every_attribute_and_macro_finds_crate() {
    assert_eq!(thread(1).join().unwrap(), Ok(1));
    assert_eq!(process("a", 1).join().unwrap(), Ok(2));
    assert_eq!(future_in_process(1).join().unwrap(), 1);
    assert_eq!(on_aloop(1).join().unwrap(), 1);
    assert_eq!(alone(1).join().unwrap(), 1);
    assert_eq!(std::sync::Arc::new(Service(1)).method().join().unwrap(), 1);

    assert_eq!(background!(sum(1, 2), crate = other::atasker).join().unwrap(), 3);
    assert_eq!(background!(sum(1, 2), tt = "mp", crate = other::atasker).join().unwrap(), 3);
    let task = background!(sum(1, 2), priority = "low", retries = 1, crate = other::atasker);
    assert_eq!(task.join().unwrap(), 3);
    assert_eq!(background!(|| 1, crate = other::atasker).join().unwrap(), 1);
    assert_eq!(background!(|| 1, tt = "mp", crate = other::atasker).join().unwrap(), 1);
    assert_eq!(background!(async { 1 }, crate = other::atasker).join().unwrap(), 1);

    assert_eq!(wait_completed!(alone(1), alone(2)).unwrap(), (1, 2));
    let limit = Duration::from_secs(60);
    let done = wait_completed!(
        alone(1),
        crate = other::atasker,
        alone(2),
        timeout = limit,
        crate = other::atasker
    );
    assert_eq!(done.unwrap(), (1, 2));
    assert_eq!(wait_settled!(alone(1), crate = other::atasker).unwrap(), 1);
    assert_eq!(wait_any!([alone(1)], timeout = limit, crate = other::atasker).unwrap(), (0, 1));

    assert_eq!(BEHIND.execute().results[0].1, Ok(1));
    assert_eq!(BEFORE.execute().results[0].1, Ok(2));

    let (queue, event, interval) = (queue(0), event(1), interval(0));
    for worker in [&*queue, &*event, &*interval] {
        worker.start();
    }
    queue.put(1).unwrap();
    event.trigger();
    while queue.runs() == 0 || event.runs() == 0 || interval.runs() == 0 {
        std::thread::yield_now();
    }
    for worker in [&*queue, &*event, &*interval] {
        worker.stop();
    }
}

other::process_task!(by_macro(text: &str) -> usize { text.len() });

#[test]
fn macros_of_reexporting_crate_find_crate() {
    assert_eq!(by_macro("ab").join().unwrap(), 2);
    assert_eq!(other::in_process!(sum, 1, 2).join().unwrap(), 3);
}
