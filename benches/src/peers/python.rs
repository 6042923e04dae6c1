//! Python's `multiprocessing.Pool`, `concurrent.futures.ProcessPoolExecutor`, and `mpire`: the script in this
//! directory does the work and measures the times.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::OnceLock;

use crate::measure::Contender;
use crate::rows::latency;

/// One of the pools (`kind`: `pool`, `executor` or `mpire`), if it is installed. Each repetition runs a
/// command; per-call times become a curve.
pub fn contender(name: &'static str, kind: &'static str, command: &str) -> Option<Contender> {
    let command = command.to_owned();
    let is_there = Python::is_there() && (kind != "mpire" || Python::has_mpire());
    is_there.then(|| {
        Contender::peer(name, move || {
            let mut python = Python::start(kind);
            move || match python.figures(&command) {
                calls if calls.len() > 1 => latency::figures(calls),
                figure => figure,
            }
        })
    })
}

/// A Python process that waits for commands.
struct Python {
    process: Child,
    commands: Option<ChildStdin>,
    figures: BufReader<ChildStdout>,
}

impl Python {
    /// Whether Python is installed.
    fn is_there() -> bool {
        static THERE: OnceLock<bool> = OnceLock::new();
        let runs = || Command::new("python3").args(["-c", ""]).status().is_ok_and(|s| s.success());
        *THERE.get_or_init(runs)
    }

    /// Whether the package `mpire` is installed.
    fn has_mpire() -> bool {
        static THERE: OnceLock<bool> = OnceLock::new();
        let imports = || {
            let import =
                Command::new("python3").args(["-c", "import mpire"]).stderr(Stdio::null()).status();
            import.is_ok_and(|status| status.success())
        };
        *THERE.get_or_init(imports)
    }

    fn start(kind: &str) -> Python {
        let mut process = Command::new("python3")
            .args(["-c", include_str!("pools.py"), kind])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let commands = process.stdin.take();
        let figures = BufReader::new(process.stdout.take().expect("stdout is piped"));
        Python { process, commands, figures }
    }

    /// Runs a command and returns its figures.
    fn figures(&mut self, command: &str) -> Vec<f64> {
        let commands = self.commands.as_mut().expect("open until the end");
        writeln!(commands, "{command}").unwrap();
        let mut line = String::new();
        self.figures.read_line(&mut line).unwrap();
        let numbers: Result<Vec<f64>, _> = line.split_whitespace().map(str::parse).collect();
        let numbers = numbers.ok().filter(|numbers| !numbers.is_empty());
        numbers.unwrap_or_else(|| panic!("Python failed at `{command}`"))
    }
}

impl Drop for Python {
    fn drop(&mut self) {
        drop(self.commands.take());
        let _ = self.process.wait();
    }
}
