//! Every kind of task once, with assertions: `cargo run --example tour`.

use std::error::Error;
use std::thread::sleep;
use std::time::{Duration, Instant};

use atasker::{
    Priority, RecvError, TaskContext, TaskStatus, TaskType, WaitError, background, background_task,
    wait_any, wait_completed, wait_settled,
};

/// Runs on a pool thread.
#[background_task]
fn greet(name: String) -> String {
    format!("hello {name}")
}

/// Runs in a worker process, a copy of this program.
#[background_task(priority = "low", tt = "mp")]
fn count_primes(upto: u64) -> u64 {
    (2..upto).filter(|n| (2..*n).all(|d| n % d != 0)).count() as u64
}

/// Runs on an aloop: a tokio runtime on a dedicated thread.
#[background_task]
async fn fetch(id: u32) -> Result<String, std::io::Error> {
    Ok(format!("page {id}"))
}

/// The context is supplied by the supervisor and is not an argument of the launcher. It works the
/// same on a thread, in a worker process and on an aloop.
#[background_task(tt = "mp")]
fn simple_task(ctx: &TaskContext, greeting: String) -> String {
    assert_eq!(greeting, "hello");
    while !ctx.stopped() {
        sleep(Duration::from_millis(100));
    }
    "done.".into()
}

/// Receives one message: how long to sleep.
#[background_task]
fn sleep_task(ctx: &TaskContext<u64>) {
    let millis = ctx.recv().unwrap();
    sleep(Duration::from_millis(millis));
}

/// Receives numbers, sends their squares and reports progress, from another process.
#[background_task(tt = "mp")]
fn squares(ctx: &TaskContext<u64, u64>) -> u64 {
    let mut done = 0;
    loop {
        match ctx.recv() {
            Ok(n) => ctx.send(n * n).unwrap(),
            Err(RecvError::Stopped) => return done,
            Err(error) => panic!("{error}"),
        }
        done += 1;
        ctx.progress(done, 3);
    }
}

/// An `mp` function may borrow: the launcher encodes its arguments before it returns.
#[background_task(tt = "mp")]
fn total(numbers: &[u64]) -> u64 {
    numbers.iter().sum()
}

#[background_task(tt = "mp")]
fn crash() {
    std::process::abort();
}

#[background_task(tt = "mp", timeout = "100ms")]
fn spin() {
    loop {
        std::hint::spin_loop();
    }
}

/// A function without an attribute, launched by `background!`.
fn area(width: u64, height: u64) -> u64 {
    width * height
}

fn main() -> Result<(), Box<dyn Error>> {
    three_places()?;
    inside_a_task();
    without_annotation()?;
    when_things_go_wrong();
    waiting()?;
    println!("all assertions hold");
    Ok(())
}

fn three_places() -> Result<(), Box<dyn Error>> {
    let a = greet("world".into());
    let b = count_primes(1_000);
    let c = fetch(7);
    assert_eq!((a.tt(), b.tt(), c.tt()), (TaskType::Thread, TaskType::Mp, TaskType::Async));
    let (a, b, c) = wait_completed!(a, b, c, timeout = Duration::from_secs(5))?;
    println!("{a}, {b} primes, {}", c?);
    assert_eq!((a.as_str(), b), ("hello world", 168));

    // Calls the function itself on this thread.
    assert_eq!(greet::call("me".into()), "hello me");
    // Options for one call.
    let urgent = greet::builder("you".into()).priority(Priority::High).name("urgent").start();
    assert_eq!((urgent.name(), urgent.priority()), ("urgent", Priority::High));
    assert_eq!(urgent.join()?, "hello you");
    Ok(())
}

fn inside_a_task() {
    let t1 = simple_task("hello".into());
    assert!(!t1.is_completed());
    t1.stop();
    assert_eq!(t1.wait().unwrap(), "done.");
    assert!(t1.is_completed());
    assert!(t1.error().is_none());

    let t3 = sleep_task();
    assert!(!t3.is_completed());
    t3.send(50).unwrap();
    t3.join().unwrap();

    let t4 = squares();
    for n in [2, 3, 4] {
        t4.send(n).unwrap();
        assert_eq!(t4.recv().unwrap(), n * n);
    }
    t4.stop();
    assert_eq!(t4.wait().unwrap(), &3);
    assert_eq!(t4.progress().map(|p| (p.done, p.total)), Some((3, 3)));
}

fn without_annotation() -> Result<(), Box<dyn Error>> {
    let on_thread = background!(area(3, 4), priority = "high", name = "mine");
    let in_process = background!(area(5, 6), tt = "mp");
    let offset = 7;
    let closure = background!(move || area(1, 1) + offset);
    assert_eq!(wait_completed!(on_thread, in_process, closure)?, (12, 30, 8));

    let numbers: Vec<u64> = (1..=1_000).collect();
    assert_eq!(total(&numbers).join()?, 500_500);
    Ok(())
}

fn when_things_go_wrong() {
    let (crashed, late, fine) = wait_settled!(crash(), spin(), count_primes(10));
    let crashed = crashed.unwrap_err();
    assert!(crashed.is_worker_died());
    println!("crash: {crashed}");
    let late = late.unwrap_err();
    assert!(late.is_timeout());
    println!("spin: {late}");
    // The death of a worker process fails only one task.
    assert_eq!(fine.unwrap(), 4);

    let panics = background!(|| area(1, 0).checked_div(0).expect("no number"));
    let error = panics.join().unwrap_err();
    assert!(error.is_panic() && error.to_string().contains("no number"));
}

fn waiting() -> Result<(), Box<dyn Error>> {
    let begun = Instant::now();
    let slow = || background!(|| sleep(Duration::from_millis(300)));
    let fast = || background!(|| sleep(Duration::from_millis(1)));
    let (first, ()) = wait_any!(vec![slow(), fast()])?;
    assert_eq!(first, 1);
    assert!(begun.elapsed() < Duration::from_millis(300));

    // By reference: the tasks remain usable.
    let task = slow();
    match wait_completed!(&task, timeout = Duration::from_millis(10)) {
        Err(WaitError::Timeout { pending, .. }) => assert_eq!(pending, [task.id()]),
        other => panic!("{other:?}"),
    }
    task.wait()?;
    assert_eq!(task.status(), TaskStatus::Completed);
    Ok(())
}
