//! A panic in a worker process reaches the handle with its message and location, also in a program
//! built with `panic = "abort"`, and the pool still works.

use atasker::{TaskError, background_task, map};
use atasker_tests_init::add;

#[background_task(tt = "mp")]
fn panics(text: &str) {
    panic!("deliberate panic with {text}");
}

fn panics_at_seven(n: u32) -> u32 {
    assert!(n % 10 != 7, "deliberate panic of item {n}");
    n
}

fn main() {
    atasker::init();
    for text in ["this", "that"] {
        let error = panics(text).join().expect_err("it panics");
        let TaskError::Panicked { message, location, .. } = &error else { panic!("{error}") };
        assert_eq!(message, &format!("deliberate panic with {text}"));
        assert!(location.as_ref().is_some_and(|place| place.contains("panics.rs:")), "{error}");
        assert_eq!(add(1, 2).join().expect("the pool still works").0, 3);
    }
    for (n, result) in (0..).zip(map!(0..100, panics_at_seven, tt = "mp")) {
        match result {
            Err(TaskError::Panicked { message, .. }) => {
                assert_eq!(message, format!("deliberate panic of item {n}"));
            }
            result => assert!(n % 10 != 7 && result == Ok(n), "item {n}: {result:?}"),
        }
    }
    let mode = if cfg!(panic = "abort") { "abort" } else { "unwind" };
    println!("panics are reported, and panics {mode}");
}
