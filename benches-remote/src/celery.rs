//! Celery on Redis, if `CELERY_PYTHON` names a Python that has it: see `scripts/bench-remote`.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::stage::{Process, Server, Stage};

const APP: &str = include_str!("celery_app.py");

fn python() -> Option<String> {
    std::env::var("CELERY_PYTHON").ok()
}

pub fn is_there() -> bool {
    python().is_some()
}

fn command(folder: &tempfile::TempDir, url: &str, prefetch: &str) -> Command {
    let app: PathBuf = folder.path().join("celery_app.py");
    std::fs::write(app, APP).expect("a folder");
    let mut command = Command::new(python().expect("it is asked before"));
    let command_ = command.current_dir(folder.path()).env("BROKER", url).env("PREFETCH", prefetch);
    command_.stderr(Stdio::null());
    command
}

/// Two worker processes, and a launcher.
pub fn run(what: &str, count: u64) -> Vec<f64> {
    let server = Server::redis();
    let folder = tempfile::tempdir().expect("a folder");
    let prefetch = if what == "urgent" { "1" } else { "4" };
    let mut worker = command(&folder, &server.url(), prefetch);
    worker.args(["-m", "celery", "-A", "celery_app", "worker", "--concurrency", "2"]);
    worker.args(["--pool", "prefork", "--loglevel", "WARNING"]);
    let mut worker = Process::start(&mut worker);
    worker.unread();
    let stage = Stage { server, workers: vec![worker] };
    let mut launcher = command(&folder, &stage.server.url(), prefetch);
    launcher.args(["celery_app.py", what, &count.to_string()]);
    let mut launcher = Process::start(&mut launcher);
    match what {
        "rate" => stage.rate(launcher, count),
        _ => launcher.figures(),
    }
}
