//! Every kind of task once, with assertions: `cargo run --example tour`.

use std::error::Error;
use std::thread::sleep;
use std::time::Duration;

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

/// The context is no argument of the launcher. It works the same in every place.
#[background_task(tt = "mp")]
fn simple_task(ctx: &TaskContext, greeting: String) -> String {
    while !ctx.wait_stop(Duration::from_secs(10)) {}
    format!("{greeting}, done.")
}

/// Receives numbers, sends their squares and reports progress, from another process.
#[background_task(tt = "mp")]
fn squares(ctx: &TaskContext<u64, u64>) -> u64 {
    for done in 0.. {
        ctx.progress(done, 3);
        match ctx.recv() {
            Ok(n) => ctx.send(n * n).unwrap(),
            Err(RecvError::Stopped) => return done,
            Err(error) => panic!("{error}"),
        }
    }
    unreachable!("it returns when it is stopped")
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
    while std::hint::black_box(true) {}
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
    let (a, b, c) = (greet("world".into()), count_primes(1_000), fetch(7));
    assert_eq!((a.tt(), b.tt(), c.tt()), (TaskType::Thread, TaskType::Mp, TaskType::Async));
    let (a, b, c) = wait_completed!(a, b, c, timeout = Duration::from_secs(5))?;
    assert_eq!((a.as_str(), b, c?.as_str()), ("hello world", 168, "page 7"));

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
    t1.stop();
    assert_eq!(t1.wait().unwrap(), "hello, done.");

    let t2 = squares();
    for n in [2, 3, 4] {
        t2.send(n).unwrap();
        assert_eq!(t2.recv().unwrap(), n * n);
    }
    t2.stop();
    assert_eq!(t2.wait().unwrap(), &3);
    assert_eq!(t2.progress().map(|p| (p.done, p.total)), Some((3, 3)));
}

fn without_annotation() -> Result<(), Box<dyn Error>> {
    let on_thread = background!(area(3, 4), priority = "high", name = "mine");
    let in_process = background!(area(5, 6), tt = "mp");
    let offset = 7;
    let closure = background!(move || area(1, 1) + offset);
    assert_eq!(wait_completed!(on_thread, in_process, closure)?, (12, 30, 8));

    assert_eq!(total(&[500, 500, 1]).join()?, 1_001);
    Ok(())
}

fn when_things_go_wrong() {
    let (crashed, late, fine) = wait_settled!(crash(), spin(), count_primes(10));
    let (crashed, late) = (crashed.unwrap_err(), late.unwrap_err());
    assert!(crashed.is_worker_died() && late.is_timeout());
    println!("crash: {crashed}\nspin: {late}");
    // The death of a worker process fails only one task.
    assert_eq!(fine.unwrap(), 4);

    let panics = background!(|| area(1, 0).checked_div(0).expect("no number"));
    let error = panics.join().unwrap_err();
    assert!(error.is_panic() && error.to_string().contains("no number"));
}

fn waiting() -> Result<(), Box<dyn Error>> {
    let slow = || background!(|| sleep(Duration::from_millis(300)));
    let fast = || background!(|| sleep(Duration::from_millis(1)));
    let (first, ()) = wait_any!(vec![slow(), fast()])?;
    assert_eq!(first, 1);

    // By reference: the tasks remain usable.
    let task = slow();
    let late = wait_completed!(&task, timeout = Duration::from_millis(10)).unwrap_err();
    assert!(matches!(late, WaitError::Timeout { pending, .. } if pending == [task.id()]));
    task.wait()?;
    assert_eq!(task.status(), TaskStatus::Completed);
    Ok(())
}
