//! Which output do tasks in worker processes, and the worker processes themselves, write to
//! standard output?

use std::process::{Command, Output, Stdio};

use std::time::Duration;

use atasker::{StopOptions, Supervisor, TaskContext, TaskError, WorkerStdio, background_task};
use atasker_tests::mp::pool_of;
use atasker_tests::{FAR, Watchdog};

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
fn output_is_flushed_before_result() {
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
fn worker_of_ended_program_prints_nothing() {
    for _ in 0..20 {
        let output = run("ends_at_once");
        assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    }
}

/// More than the capacity of a pipe.
#[background_task(tt = "mp")]
fn prints_much(ctx: &TaskContext<(), u32>) {
    ctx.send(std::process::id()).unwrap();
    (0..10_000).for_each(|n| println!("line {n} of many, many lines"));
    ctx.send(0).unwrap();
}

#[test]
#[ignore = "a program for the test below"]
fn prints_to_full_pipe() {
    let sup = Supervisor::builder().mp_pool(pool_of(2)).build();
    let limited = prints_much::builder().timeout(Duration::from_millis(200));
    let limited = limited.supervisor(&sup).start();
    assert!(limited.join().unwrap_err().is_timeout());
    let (one, other) = (
        prints_much::builder().supervisor(&sup).start(),
        prints_much::builder().supervisor(&sup).start(),
    );
    one.recv().unwrap();
    other.recv().unwrap();
    one.kill().unwrap();
    assert!(one.join().unwrap_err().is_canceled());
    sup.stop(StopOptions::new().wait(Duration::from_millis(200)));
    let error = other.join().unwrap_err();
    assert!(matches!(error, TaskError::SupervisorStopped), "{error}");
    std::process::exit(7);
}

/// The program's standard output is a full pipe: a writer blocks, and can be killed.
#[test]
fn worker_with_unread_output_can_be_killed() {
    let _watchdog = Watchdog::new("unread output", FAR);
    let mut program = Command::new(std::env::current_exe().unwrap())
        .args(["prints_to_full_pipe", "--exact", "--ignored", "--nocapture"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    assert_eq!(program.wait().unwrap().code(), Some(7));
}

#[test]
#[ignore = "a program for the test below"]
fn logs_without_subscriber() {
    let config = pool_of(1).stdio(WorkerStdio::Log);
    let sup = Supervisor::builder().mp_pool(config).build();
    prints_much::builder().supervisor(&sup).start().join().unwrap();
    std::process::exit(7);
}

/// Without a subscriber, the lines are read and discarded.
#[test]
fn worker_with_unread_log_continues() {
    let _watchdog = Watchdog::new("unread log", FAR);
    let output = run("logs_without_subscriber");
    assert_eq!(output.status.code(), Some(7));
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(!printed.contains("many lines"), "{printed}");
}
