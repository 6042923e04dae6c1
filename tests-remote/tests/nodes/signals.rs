//! A program that serves until a signal comes.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;

use std::os::unix::process::ExitStatusExt;

use atasker_tests::processes::rerun;

use crate::*;

/// Prints a line as soon as this process handles SIGTERM and SIGINT.
fn tell_when_ready() {
    std::thread::spawn(|| {
        until("the signals are handled", || {
            let status = std::fs::read_to_string("/proc/self/status").unwrap();
            let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap();
            let caught = u64::from_str_radix(caught.trim(), 16).unwrap();
            [15, 2].iter().all(|signal| caught & 1 << (signal - 1) != 0)
        });
        println!("ready");
    });
}

/// Prints the report of a node that ends by a signal.
#[test]
#[ignore = "run by other tests, in another process"]
fn program_with_a_call_that_stops() {
    let (sup, cluster) = joined();
    let node = serve(&cluster, "one", processes(1));
    let task = until_stop::builder().supervisor(&sup).start();
    begun(&task);
    tell_when_ready();
    let report = node.run_until_signal(Duration::ZERO);
    println!("completed {}, {}", report.completed, task.join().unwrap());
}

#[test]
#[ignore = "run by other tests, in another process"]
fn program_with_a_call_that_does_not_stop() {
    let (sup, cluster) = joined();
    let node = serve(&cluster, "one", processes(1));
    let task = ignores_stop::builder(9).supervisor(&sup).start();
    begun(&task);
    let watched = node.clone();
    std::thread::spawn(move || {
        until("it drains", || watched.info().draining);
        println!("draining");
    });
    tell_when_ready();
    node.run_until_signal(Duration::from_secs(3600));
    println!("not reached");
}

#[test]
#[ignore = "run by other tests, in another process"]
fn program_that_ends_its_node_itself() {
    let (_sup, cluster) = joined();
    let node = serve(&cluster, "one", threads(1));
    let ending = node.clone();
    let thread = std::thread::spawn(move || ending.drain(LIMIT));
    let report = node.run_until_signal(LIMIT);
    assert_eq!(report.completed, 0);
    thread.join().unwrap();
    println!("ready");
    std::thread::sleep(LIMIT);
}

struct Program {
    child: Child,
    lines: mpsc::Receiver<String>,
}

impl Program {
    fn start(test: &str) -> Program {
        let mut child = rerun(&format!("signals::{test}"))
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let (sender, lines) = mpsc::channel();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        std::thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                let _ = sender.send(line);
            }
        });
        let program = Program { child, lines };
        program.wait_for("ready");
        program
    }

    /// Waits for a line that contains this.
    #[track_caller]
    fn wait_for(&self, text: &str) -> String {
        loop {
            match self.lines.recv_timeout(LIMIT) {
                Ok(line) if line.contains(text) => return line,
                Ok(_) => {}
                Err(error) => panic!("no {text:?}: {error}"),
            }
        }
    }

    fn signal(&self, signal: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
    }

    fn status(&mut self) -> ExitStatus {
        self.child.wait().unwrap()
    }
}

#[test]
fn signal_drains_the_node() {
    for signal in ["-TERM", "-INT"] {
        let mut program = Program::start("program_with_a_call_that_stops");
        program.signal(signal);
        assert!(program.wait_for("completed").contains("completed 1, stopped"));
        assert!(program.status().success());
    }
}

#[test]
fn second_signal_ends_the_program_at_once() {
    for (first, second, number) in [("-TERM", "-INT", 2), ("-INT", "-INT", 2)] {
        let mut program = Program::start("program_with_a_call_that_does_not_stop");
        program.signal(first);
        program.wait_for("draining");
        program.signal(second);
        assert_eq!(program.status().signal(), Some(number));
    }
}

#[test]
fn handlers_are_restored() {
    let mut program = Program::start("program_that_ends_its_node_itself");
    program.signal("-TERM");
    assert_eq!(program.status().signal(), Some(15));
}
