//! Does `background!` launch calls of plain functions, closures and futures?

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc;

use atasker::{Outcome, Priority, Supervisor, Task, TaskType, background};

mod geometry {
    pub fn area(a: u32, b: u32) -> u32 {
        a * b
    }
    pub fn bytes(all: Box<dyn AsRef<[u8]> + Send>) -> usize {
        (*all).as_ref().len()
    }
    pub fn halve(n: u64) -> Result<u64, String> {
        if n.is_multiple_of(2) { Ok(n / 2) } else { Err(format!("{n} is odd")) }
    }
    pub async fn later(n: u64) -> u64 {
        n
    }
}

#[test]
fn call_runs_on_thread() {
    let task: Task<u32> = background!(geometry::area(3, 4), priority = "high", name = "mine");
    assert_eq!(task.tt(), TaskType::Thread);
    assert_eq!((task.name(), task.priority()), ("mine", Priority::High));
    assert_eq!(task.join().unwrap(), 12);
    let task = background!(geometry::area(1, "5".parse().unwrap()));
    assert_eq!(task.name(), "macros::background::geometry::area");
    assert_eq!(task.join().unwrap(), 5);
    assert_eq!(background!(geometry::bytes(Box::new(vec![1, 2]))).join().unwrap(), 2);
    assert_eq!(background!(std::cmp::max::<u8>(3, 4)).join().unwrap(), 4);
    assert_eq!(background!(Some(3u8)).join().unwrap(), Some(3));
}

#[test]
fn arguments_are_evaluated_before_launch() {
    let caller = std::thread::current().id();
    fn same(id: std::thread::ThreadId) -> bool {
        std::thread::current().id() == id
    }
    fn pass(id: std::thread::ThreadId) -> std::thread::ThreadId {
        id
    }
    assert_eq!(background!(pass(std::thread::current().id())).join().unwrap(), caller);
    assert!(!background!(same(caller)).join().unwrap());
    // `?` belongs to the caller.
    fn fails() -> Result<Task<u32>, std::num::ParseIntError> {
        Ok(background!(geometry::area(1, "x".parse()?)))
    }
    assert!(fails().is_err());
}

#[test]
fn closures_own_captured_values() {
    let (x, text) = (20u32, String::from("abc"));
    let task = background!(|| x + text.len() as u32, priority = Priority::Low);
    assert!(task.name().contains("closure"), "{}", task.name());
    assert_eq!((task.priority(), task.join().unwrap()), (Priority::Low, 23));
    assert_eq!(x, 20);
    let error = background!(|| -> u32 { panic!("boom") }).join().unwrap_err();
    assert!(error.is_panic());
    background!(|| {}).join().unwrap();
    background!(|| panic!("boom")).wait().map(|_: &()| ()).unwrap_err();
}

#[test]
fn futures_run_on_loop() {
    let n = 5;
    let task = background!(async move { geometry::later(n).await }, name = "f");
    assert_eq!((task.tt(), task.name()), (TaskType::Async, "f"));
    assert_eq!(task.join().unwrap(), 5);
    assert_eq!(background!(async { n + 1 }).join().unwrap(), 6);
    assert_eq!(background!(geometry::later(7), tt = "async").join().unwrap(), 7);
    assert_eq!(background!(async || n + 3).join().unwrap(), 8);
    // An async function needs no marker.
    let task: Task<u64> = background!(geometry::later(8));
    assert_eq!((task.tt(), task.join().unwrap()), (TaskType::Async, 8));
    let task: Task<u64> = background!(geometry::later(8), retries = 2);
    assert_eq!((task.tt(), task.join().unwrap()), (TaskType::Async, 8));
    let future = geometry::later(9);
    assert_eq!(background!(future, tt = "async").join().unwrap(), 9);
    let awaited = futures_lite::future::block_on(async { background!(geometry::area(2, 2)).await });
    assert_eq!(awaited.unwrap(), 4);
}

#[test]
fn callback_type_is_inferred() {
    let (sender, receiver) = mpsc::channel();
    let task = background!(
        geometry::area(3, 4),
        callback = move |r| sender.send(r.as_ref().unwrap() + 1).unwrap()
    );
    task.join().unwrap();
    assert_eq!(receiver.recv().unwrap(), 13);
}

#[test]
fn call_is_retried() {
    static TRIES: AtomicU32 = AtomicU32::new(0);
    fn third(text: String) -> Result<String, String> {
        if TRIES.fetch_add(1, Ordering::SeqCst) < 2 { Err(text) } else { Ok(text) }
    }
    let task = background!(third("x".into()), retries = 2, retry_delay = "1ms");
    assert_eq!(task.join().unwrap(), Ok("x".to_owned()));

    let tries = Arc::new(AtomicU32::new(0));
    let task = background!(
        || -> Result<u32, u32> {
            let n = tries.fetch_add(1, Ordering::SeqCst);
            if n < 1 { Err(n) } else { Ok(n) }
        },
        retries = 5
    );
    assert_eq!(task.join().unwrap(), Ok(1));
    let task = background!(|| async { 3 }, tt = "async", retries = 1);
    assert_eq!(task.join().unwrap(), 3);
}

#[test]
fn returned_err_is_delivered() {
    let task = background!(geometry::halve(3));
    assert_eq!(task.wait().unwrap(), &Err("3 is odd".to_owned()));
    assert_eq!(task.info().outcome, Some(Outcome::ReturnedErr));
}

#[test]
fn supervisor_key_selects_supervisor() {
    let mine = Supervisor::builder().id("background").build();
    let task = background!(geometry::area(1, 1), supervisor = &mine);
    assert_eq!(task.join().unwrap(), 1);
    assert!(mine.is_active());
}
