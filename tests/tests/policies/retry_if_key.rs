//! Does the key `retry_if` select the results that are run again, in each place?

use std::sync::atomic::{AtomicU32, Ordering};

use atasker::{Task, background, background_task};

#[derive(Debug, PartialEq, serde::Serialize, serde::Deserialize)]
enum Failure {
    Busy,
    Broken,
}

/// Replaces the rule that every `Err` is run again.
fn is_busy(result: &Result<u32, Failure>) -> bool {
    matches!(result, Err(Failure::Busy))
}

fn fails(broken: bool) -> Result<u32, Failure> {
    Err(if broken { Failure::Broken } else { Failure::Busy })
}

#[background_task(retries = 2, retry_if = is_busy)]
fn on_thread(broken: bool) -> Result<u32, Failure> {
    fails(broken)
}

#[background_task(retries = 2, retry_if = is_busy)]
async fn on_loop(broken: bool) -> Result<u32, Failure> {
    fails(broken)
}

#[background_task(tt = "mp", retries = 2, retry_if = is_busy)]
fn in_process(broken: bool) -> Result<u32, Failure> {
    fails(broken)
}

#[background_task(retries = 2, retry_if = |n: &u32| *n < 10)]
fn number(n: u32) -> u32 {
    n
}

#[background_task(tt = "mp", retries = 2, retry_if = is_busy)]
fn panics() -> Result<u32, Failure> {
    panic!("again")
}

fn attempts<R: Send + 'static>(task: &Task<R>) -> u32 {
    let _ = task.wait();
    task.info().attempt
}

#[test]
fn key_replaces_rule_for_err() {
    for (broken, expected) in [(false, 3), (true, 1)] {
        for task in [on_thread(broken), on_loop(broken), in_process(broken)] {
            assert_eq!(attempts(&task), expected, "{task:?}");
            assert_eq!(task.join().unwrap(), fails(broken));
        }
    }
}

#[test]
fn builder_replaces_key() {
    for builder in [on_thread::builder(true), on_loop::builder(true), in_process::builder(true)] {
        let task = builder.retry_if(Result::is_err).start();
        assert_eq!(attempts(&task), 3, "{task:?}");
    }
}

#[test]
fn key_selects_other_results() {
    assert_eq!(attempts(&number(9)), 3);
    assert_eq!(attempts(&number(10)), 1);
}

#[test]
fn failures_are_run_again_anyway() {
    let task = panics();
    assert_eq!(attempts(&task), 3);
    assert!(task.error().unwrap().is_panic());
}

#[test]
fn call_accepts_retry_if() {
    for (broken, expected) in [(false, 3), (true, 1)] {
        let thread = background!(fails(broken), retries = 2, retry_if = is_busy);
        let process = background!(fails(broken), tt = "mp", retries = 2, retry_if = is_busy);
        for task in [thread, process] {
            assert_eq!(attempts(&task), expected, "{task:?}");
        }
    }
    static RUNS: AtomicU32 = AtomicU32::new(0);
    let task = background!(
        || RUNS.fetch_add(1, Ordering::SeqCst) + 1,
        retries = 5,
        retry_if = |runs: &u32| *runs < 4
    );
    assert_eq!(task.join().unwrap(), 4);
}

/// No retries, but the key is there: the other keys stay as they are.
#[background_task(retries = 0, backoff = "1s..2s", retry_if = is_busy)]
fn never_again() -> Result<u32, Failure> {
    fails(false)
}

#[test]
fn zero_retries_allow_the_other_keys() {
    assert_eq!(attempts(&never_again()), 1);
}
