//! Python's `multiprocessing.Pool` and `concurrent.futures.ProcessPoolExecutor`: the script beside
//! this file does the work and takes the times.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// A Python that waits for commands.
pub struct Python {
    process: Child,
    commands: Option<ChildStdin>,
    figures: BufReader<ChildStdout>,
}

impl Python {
    /// `kind`: `pool` or `executor`. `None` where there is no Python.
    pub fn start(kind: &str) -> Option<Python> {
        let mut process = Command::new("python3")
            .args(["-c", include_str!("pools.py"), kind])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .ok()?;
        let commands = process.stdin.take();
        let figures = BufReader::new(process.stdout.take().expect("it is piped"));
        Some(Python { process, commands, figures })
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
