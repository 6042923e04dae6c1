//! Python's `multiprocessing.Pool` and `concurrent.futures.ProcessPoolExecutor`: the script beside
//! this file does the work and takes the times.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::OnceLock;

/// A Python that waits for commands.
pub struct Python {
    process: Child,
    commands: Option<ChildStdin>,
    figures: BufReader<ChildStdout>,
}

impl Python {
    /// Whether there is one.
    pub fn is_there() -> bool {
        static THERE: OnceLock<bool> = OnceLock::new();
        let runs = || Command::new("python3").args(["-c", ""]).status().is_ok_and(|s| s.success());
        *THERE.get_or_init(runs)
    }

    /// `kind`: `pool` or `executor`.
    pub fn start(kind: &str) -> Python {
        let mut process = Command::new("python3")
            .args(["-c", include_str!("pools.py"), kind])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let commands = process.stdin.take();
        let figures = BufReader::new(process.stdout.take().expect("it is piped"));
        Python { process, commands, figures }
    }

    /// Has a command done; its figure.
    pub fn figure(&mut self, command: &str) -> f64 {
        let commands = self.commands.as_mut().expect("open until the end");
        writeln!(commands, "{command}").unwrap();
        let mut line = String::new();
        self.figures.read_line(&mut line).unwrap();
        line.trim().parse().unwrap_or_else(|_| panic!("Python failed at `{command}`"))
    }
}

impl Drop for Python {
    fn drop(&mut self) {
        drop(self.commands.take());
        let _ = self.process.wait();
    }
}
