//! What does a task in a worker process print, and what does the worker itself?

use std::process::{Command, Output, Stdio};

use std::time::Duration;

use atasker::{
    MpPoolConfig, StopOptions, Supervisor, TaskContext, TaskError, WorkerStdio, background_task,
};
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

/// More than a pipe holds.
#[background_task(tt = "mp")]
fn prints_much(ctx: &TaskContext<(), u32>) {
    ctx.send(std::process::id()).unwrap();
    (0..10_000).for_each(|n| println!("line {n} of many, many lines"));
    ctx.send(0).unwrap();
}

#[test]
#[ignore = "a program for the test below"]
fn prints_to_nobody() {
    let sup = Supervisor::builder().mp_pool(MpPoolConfig::new(2)).build();
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

/// The program's own standard output is a pipe that is full: who writes there waits, and can be ended.
#[test]
fn a_worker_whose_output_nobody_reads_can_be_ended() {
    let _watchdog = Watchdog::new("output that nobody reads", FAR);
    let mut program = Command::new(std::env::current_exe().unwrap())
        .args(["prints_to_nobody", "--exact", "--ignored", "--nocapture"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    assert_eq!(program.wait().unwrap().code(), Some(7));
}

#[test]
#[ignore = "a program for the test below"]
fn logs_to_nobody() {
    let config = MpPoolConfig::new(1).stdio(WorkerStdio::Log);
    let sup = Supervisor::builder().mp_pool(config).build();
    prints_much::builder().supervisor(&sup).start().join().unwrap();
    std::process::exit(7);
}

/// No subscriber is there: the lines are read all the same, and nobody sees them.
#[test]
fn a_worker_whose_log_nobody_reads_goes_on() {
    let _watchdog = Watchdog::new("a log that nobody reads", FAR);
    let output = run("logs_to_nobody");
    assert_eq!(output.status.code(), Some(7));
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(!printed.contains("many lines"), "{printed}");
}
