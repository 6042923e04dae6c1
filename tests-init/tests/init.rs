//! Is a worker copy recognised without the pre-main hook, and does `main` never run twice?

use std::process::{Command, Stdio};

fn output(program: &str) -> String {
    let output = Command::new(program).stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn init_in_the_first_line() {
    assert_eq!(output(env!("CARGO_BIN_EXE_by_init")), "main\nsum 3, elsewhere: true\n");
}

#[test]
fn the_attribute_on_main() {
    assert_eq!(output(env!("CARGO_BIN_EXE_by_attribute")), "main\nsum 3, elsewhere: true\n");
}

#[test]
fn neither_is_an_error_that_says_what_to_do() {
    let output = output(env!("CARGO_BIN_EXE_by_nothing"));
    // In a build of the whole workspace another package has turned the hook on.
    if atasker::__private::PRE_MAIN {
        assert_eq!(output, "main\nsum 3, elsewhere: true\n");
        return;
    }
    assert_eq!(output.matches("main\n").count(), 1, "{output}");
    for way in ["pre-main", "#[atasker::main]", "atasker::init()"] {
        assert!(output.contains(way), "{output}");
    }
}

/// The marker of a worker, handed down to a program that is none.
#[test]
fn a_stray_marker_does_no_harm() {
    let output = Command::new(env!("CARGO_BIN_EXE_by_init"))
        .stdin(Stdio::null())
        .env("ATASKER_WORKER_OF", "1")
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "main\nsum 3, elsewhere: true\n");
}

#[test]
fn panics_are_told() {
    assert_eq!(output(env!("CARGO_BIN_EXE_panics")), "panics are told, and panics unwind\n");
}
