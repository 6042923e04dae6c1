//! Does the program of the example `testing` work, and do the tests in its file pass?

use std::process::{Command, Output, Stdio};

/// With its tests. The example is built as a program, which `test = true` would prevent.
#[path = "../testing.rs"]
#[allow(dead_code)]
mod program;

fn run(args: &[&str]) -> Output {
    // Next to the directory of the tests. `cargo test` builds the examples before it runs tests;
    // with `--test testing` it does not.
    let path = std::env::current_exe().unwrap();
    let path = path.parent().unwrap().parent().unwrap().join("examples/testing");
    let mut command = Command::new(path);
    command.args(args).stdin(Stdio::null());
    command.output().expect("run `cargo build --examples` first")
}

#[test]
fn invoices_are_booked_and_reminders_canceled() {
    let output = run(&["ada=1999", "bob=5"]);
    let out = String::from_utf8(output.stdout).unwrap();
    let lines = ["Dear ada, please pay 19.99", "Dear bob, please pay 0.05"];
    let sum = "2004 cents booked, 2 reminders canceled";
    assert_eq!(out, format!("{}\n{sum}\n", lines.join("\n")));
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn invalid_invoice_is_refused() {
    let output = run(&["ada"]);
    let err = String::from_utf8(output.stderr).unwrap();
    assert!(err.contains("`ada` is not CUSTOMER=CENTS"), "{err}");
    assert_eq!(output.status.code(), Some(1));
}
