//! Which return types count as a `Result`, whose `Err` is run again?

use std::io;

use atasker::{Outcome, Task, background, background_task};

type QueryResult<T> = Result<T, String>;
type Plain = Result<u32, String>;

/// Its name ends in `Result`, and it is none.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
struct TestResult {
    passed: bool,
}

/// As in other libraries, with the name of the `Result` of std.
mod library {
    #[derive(Debug, PartialEq)]
    pub enum Result<T> {
        Fine(T),
        Err(T),
    }
}

#[background_task(retries = 2)]
fn written(n: u32) -> Result<u32, String> {
    Err(n.to_string())
}

#[background_task(retries = 2)]
fn alias(n: u32) -> QueryResult<u32> {
    Err(n.to_string())
}

#[background_task(tt = "mp", retries = 2)]
fn alias_in_process(n: u32) -> QueryResult<u32> {
    Err(n.to_string())
}

#[background_task(retries = 2)]
async fn alias_on_loop(n: u32) -> QueryResult<u32> {
    Err(n.to_string())
}

#[background_task(retries = 2)]
fn io_alias() -> io::Result<()> {
    Err(io::Error::other("no disk"))
}

#[background_task(retries = 2)]
fn generic<T: Clone + Send + 'static>(value: T) -> self::QueryResult<T> {
    let _ = value;
    Err("no".to_owned())
}

#[background_task(retries = 2)]
fn another_name(n: u32) -> Plain {
    Err(n.to_string())
}

#[background_task(retries = 2)]
fn no_result() -> TestResult {
    TestResult { passed: false }
}

#[background_task(tt = "mp", retries = 2)]
fn no_result_in_process() -> TestResult {
    TestResult { passed: false }
}

#[background_task(retries = 2)]
async fn no_result_on_loop() -> TestResult {
    TestResult { passed: false }
}

#[background_task(retries = 2)]
fn of_a_library(fails: bool) -> library::Result<u32> {
    if fails { library::Result::Err(1) } else { library::Result::Fine(2) }
}

#[background_task(retries = 2)]
fn parameter<SomeResult: Clone + Send + 'static>(value: SomeResult) -> SomeResult {
    value
}

#[track_caller]
fn check<R: Send + 'static>(task: &Task<R>, attempts: u32, outcome: Outcome) {
    let _ = task.wait();
    let info = task.info();
    assert_eq!((info.attempt, info.outcome), (attempts, Some(outcome)));
}

#[test]
fn err_of_an_alias_is_run_again() {
    check(&written(1), 3, Outcome::ReturnedErr);
    check(&alias(1), 3, Outcome::ReturnedErr);
    check(&alias_in_process(1), 3, Outcome::ReturnedErr);
    check(&alias_on_loop(1), 3, Outcome::ReturnedErr);
    check(&io_alias(), 3, Outcome::ReturnedErr);
    check(&generic(1), 3, Outcome::ReturnedErr);
}

#[test]
fn alias_of_another_name_is_no_result() {
    check(&another_name(1), 1, Outcome::Ok);
}

#[test]
fn type_that_only_looks_like_a_result_is_none() {
    check(&no_result(), 1, Outcome::Ok);
    check(&no_result_in_process(), 1, Outcome::Ok);
    check(&no_result_on_loop(), 1, Outcome::Ok);
    check(&of_a_library(true), 1, Outcome::Ok);
    assert_eq!(of_a_library(false).join().unwrap(), library::Result::Fine(2));
    check(&parameter(1), 1, Outcome::Ok);
    // Not even if it is one: the function is compiled once for all types.
    check(&parameter(Err::<u32, u32>(1)), 1, Outcome::Ok);
}

#[test]
fn written_type_of_a_closure_counts() {
    let task = background!(|| -> QueryResult<u32> { Err("no".to_owned()) }, retries = 2);
    check(&task, 3, Outcome::ReturnedErr);
    let task =
        background!(|| -> Result<u32, String> { Err("no".to_owned()) }, tt = "mp", retries = 2);
    check(&task, 3, Outcome::ReturnedErr);
    let task = background!(|| -> TestResult { TestResult { passed: false } }, retries = 2);
    check(&task, 1, Outcome::Ok);
}
