//! What does a task in a worker process print, and what does the worker itself?

use std::process::{Command, Output, Stdio};

use atasker::background_task;

#[background_task(tt = "mp")]
fn print_word(word: &str) {
    print!("<{word}>");
}

/// Runs one of the programs below.
fn run(program: &str) -> Output {
    Command::new(std::env::current_exe().unwrap())
        .args([program, "--exact", "--ignored", "--nocapture"])
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

#[test]
#[ignore = "a program for the test below"]
fn prints_words() {
    print_word("one").join().unwrap();
    print_word("two").join().unwrap();
    // As at the end of `main`; the worker process is killed.
    std::process::exit(0);
}

#[test]
fn what_a_task_has_printed_is_out_when_its_result_is() {
    let output = run("prints_words");
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(printed.contains("<one><two>"), "{printed}");
}

#[test]
#[ignore = "a program for the test below"]
fn ends_at_once() {
    for _ in 0..4 {
        drop(print_word("never seen"));
    }
    std::process::exit(0);
}

#[test]
fn a_worker_whose_program_has_ended_says_nothing() {
    for _ in 0..20 {
        let output = run("ends_at_once");
        assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    }
}
