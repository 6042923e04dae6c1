//! Do all attributes and macros work with a renamed dependency: `at = { package = "atasker" }`?

use std::time::Duration;

use at::{
    FunctionCollection, TaskContext, WorkerContext, background, background_task, background_worker,
    collect, collection, wait_any, wait_completed, wait_settled,
};

#[background_task(crate = at, priority = "high", retries = 1)]
fn thread(ctx: &TaskContext<u8>, n: u32) -> Result<u32, String> {
    if ctx.stopped() { Err("stopped".to_owned()) } else { Ok(n) }
}

#[background_task(tt = "mp", crate = at)]
fn process(_: &TaskContext<u8>, text: &str, n: u32) -> Result<usize, String> {
    Ok(text.len() + n as usize)
}

// The key may follow keys whose code depends on it.
#[background_task(priority = "low", delay = "1us", codec = "msgpack", tt = "mp", crate = at)]
async fn future_in_process(n: u32) -> u32 {
    n
}

#[background_task(crate = at)]
async fn on_aloop(n: u32) -> u32 {
    n
}

#[background_task(crate = at, companion = false)]
fn alone(n: u32) -> u32 {
    n
}

struct Service(u32);

impl Service {
    #[background_task(crate = at)]
    fn method(self: std::sync::Arc<Self>) -> u32 {
        self.0
    }
}

#[background_worker(crate = at, queue = "priority")]
fn queue(_: &WorkerContext, item: u32, kept: &mut u32) -> bool {
    *kept += item;
    true
}

#[background_worker(event, tt = "mp", process_result = |n| assert_eq!(*n, 1), crate = at)]
fn event(_: &WorkerContext, n: u32) -> u32 {
    n
}

#[background_worker(interval = "1h", overrun = "burst", crate = at)]
async fn interval(kept: &mut u32) {
    *kept += 1;
}

collection!(static BEHIND: FunctionCollection<u32>, crate = at);
collection! {
    crate = at;
    static BEFORE: FunctionCollection<u32>;
}

#[collect(BEHIND, crate = at, priority = "high")]
fn behind() -> u32 {
    1
}

#[collect(BEFORE, priority = "low", crate = at)]
fn before() -> u32 {
    2
}

#[at::main(crate = at)]
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

    assert_eq!(background!(sum(1, 2), crate = at).join().unwrap(), 3);
    assert_eq!(background!(sum(1, 2), tt = "mp", crate = at).join().unwrap(), 3);
    let task = background!(sum(1, 2), priority = "low", retries = 1, crate = at);
    assert_eq!(task.join().unwrap(), 3);
    assert_eq!(background!(|| 1, crate = at).join().unwrap(), 1);
    assert_eq!(background!(|| 1, tt = "mp", crate = at).join().unwrap(), 1);
    assert_eq!(background!(async { 1 }, crate = at).join().unwrap(), 1);

    assert_eq!(wait_completed!(alone(1), alone(2)).unwrap(), (1, 2));
    let limit = Duration::from_secs(60);
    let done = wait_completed!(alone(1), crate = at, alone(2), timeout = limit, crate = at);
    assert_eq!(done.unwrap(), (1, 2));
    assert_eq!(wait_settled!(alone(1), crate = at).unwrap(), 1);
    assert_eq!(wait_any!([alone(1)], timeout = limit, crate = at).unwrap(), (0, 1));

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
