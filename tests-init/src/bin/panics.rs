//! A panic in a worker process reaches the handle with its message and location, also in a program
//! built with `panic = "abort"`, and the pool still works.

use atasker::{TaskError, background_task};
use atasker_tests_init::add;

#[background_task(tt = "mp")]
fn panics(text: &str) {
    panic!("deliberate panic with {text}");
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
    let mode = if cfg!(panic = "abort") { "abort" } else { "unwind" };
    println!("panics are reported, and panics {mode}");
}
