//! Does code that the macros generate trigger no lints of the user's crate?

#![forbid(unsafe_code)]
#![deny(
    warnings,
    missing_docs,
    missing_debug_implementations,
    rust_2018_idioms,
    unreachable_pub,
    unused_qualifications,
    single_use_lifetimes,
    clippy::all,
    clippy::pedantic
)]

use std::sync::Arc;

use atasker::{TaskContext, WorkerContext, background, background_task, background_worker};

/// Runs on a thread.
#[background_task(retries = 1)]
#[expect(clippy::needless_pass_by_value, reason = "a task owns its arguments")]
fn thread(ctx: &TaskContext<u8>, name: String, mut n: usize) -> usize {
    n += name.len();
    if ctx.stopped() { 0 } else { n }
}

/// On an aloop.
#[background_task]
async fn on_aloop<T: Send + 'static>(ctx: &TaskContext, value: T) -> T {
    ctx.stop_requested().await;
    value
}

/// In a worker process.
#[background_task(tt = "mp")]
fn process(text: &str, _: Vec<u8>, (a, b): (u8, u8)) -> Result<usize, String> {
    if text.is_empty() { Err(format!("{a}{b}")) } else { Ok(text.len()) }
}

/// With lifetimes.
#[background_task(tt = "mp", companion = false)]
fn alone<'a>(text: &'a str, more: &'a [u64]) -> u64 {
    text.len() as u64 + more.iter().sum::<u64>()
}

/// Nothing at all.
#[background_task]
fn nothing() {}

/// Has methods.
#[derive(Debug)]
struct Service(u32);

impl Service {
    /// A method.
    #[background_task]
    fn method(self: Arc<Self>, n: u32) -> u32 {
        self.0 + n
    }
}

/// A worker on threads.
#[background_worker(queue = "priority", queue_limit = 3)]
#[expect(clippy::needless_pass_by_value, reason = "a worker owns its items")]
fn worker(
    ctx: &WorkerContext,
    item: String,
    cloned: Arc<u32>,
    kept: &mut Vec<u8>,
    lent: &str,
) -> bool {
    kept.push(0);
    ctx.stopped() || item.len() + kept.len() + lent.len() > *cloned as usize
}

/// A worker on an aloop.
#[background_worker(interval = "1h", on_error = |_| std::ops::ControlFlow::Continue(()))]
async fn worker_on_aloop<T: ToString + Send + Sync + 'static>(
    ctx: WorkerContext,
    (a, b): (u8, u8),
    kept: &mut Vec<u8>,
    lent: &T,
) -> Result<(), String> {
    std::future::ready(()).await;
    kept.push(a + b);
    if ctx.runs() == 0 { Ok(()) } else { Err(lent.to_string()) }
}

/// A worker in worker processes.
#[background_worker(event, tt = "mp", process_result = |n| assert!(*n > 0))]
fn worker_in_process<'a>(ctx: &WorkerContext, text: &'a str, more: &'a [u8], n: u32) -> usize {
    assert!(!ctx.stopped());
    text.len() + more.len() + n as usize
}

fn area(a: u32, b: u32) -> u32 {
    a * b
}

#[test]
fn generated_code_passes_lints() {
    assert_eq!(thread("abc".into(), 1).join().unwrap(), 4);
    let task = on_aloop(3);
    while !task.is_started() {
        std::thread::yield_now();
    }
    task.stop();
    assert_eq!(task.join().unwrap(), 3);
    nothing().join().unwrap();
    assert_eq!(Arc::new(Service(1)).method(2).join().unwrap(), 3);
    assert_eq!(background!(area(2, 3), priority = "low").join().unwrap(), 6);
    assert_eq!(background!(|| area(2, 3), callback = |r| assert!(r.is_ok())).join().unwrap(), 6);
    assert_eq!(background!(async { 1 }).join().unwrap(), 1);
    assert_eq!(process("", vec![], (1, 2)).join().unwrap(), Err("12".to_owned()));
    assert_eq!(alone("ab", &[3]).join().unwrap(), 5);
    assert_eq!(background!(area(1, 2), tt = "mp").join().unwrap(), 2);
    assert_eq!(process::call("x", vec![], (1, 2)), Ok(1));
    let queue = worker(Arc::new(0), vec![], "x".to_owned());
    queue.start();
    queue.put("y".to_owned()).unwrap();
    let interval = worker_on_aloop((1, 2), vec![], 'x');
    interval.start();
    let event = worker_in_process("x".to_owned(), vec![], 1);
    event.start();
    event.trigger();
    while queue.runs() == 0 || interval.runs() == 0 || event.runs() == 0 {
        std::thread::yield_now();
    }
    for worker in [&*queue, &*interval, &*event] {
        worker.stop();
    }
}
