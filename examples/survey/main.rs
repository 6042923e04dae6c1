//! Surveys a tree of source code: lines per language, duplicates, frequent identifiers.
//!
//! ```text
//! cargo run --release --example survey -- [--dashboard] [DIR]
//! ```
//!
//! Three kinds of tasks are used. A thread task lists the files (`list_files`). For each file, a
//! task of low priority reads it in a worker process (`scan::scan_file`), with at most `IN_FLIGHT`
//! tasks at a time. A thread task of high priority reports the state of the pool once per second
//! (`watch_pool`). Each has a progress bar.

mod args;
mod count;
mod language;
mod report;
mod scan;

use std::error::Error;
use std::io::{self, BufWriter, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use atasker::progress::indicatif::HumanCount;
use atasker::{
    Dashboard, MpPoolConfig, PoolConfig, Priority, StopOptions, TaskBuilder, TaskContext,
    background_task, bounded, supervisor,
};
use ignore::WalkBuilder;

use crate::args::Args;
use crate::report::Report;
use crate::scan::{FileReport, ScanError, scan_file};

/// The number of files in flight; the others wait in the list of paths. Large enough to keep every
/// worker process busy, small enough to bound the memory.
const IN_FLIGHT: usize = 256;

/// Ctrl-C was pressed.
static INTERRUPTED: AtomicBool = AtomicBool::new(false);

fn main() -> ExitCode {
    let result = match Args::parse() {
        Ok(Some(args)) => survey(&args),
        Ok(None) => Ok(ExitCode::SUCCESS),
        Err(problem) => Err(problem.into()),
    };
    result.unwrap_or_else(|problem| {
        eprintln!("survey: {problem}");
        ExitCode::from(2)
    })
}

fn survey(args: &Args) -> Result<ExitCode, Box<dyn Error>> {
    let root = args.root.display();
    let kind = std::fs::metadata(&args.root).map_err(|error| format!("{root}: {error}"))?;
    if !kind.is_dir() && !kind.is_file() {
        return Err(format!("{root}: neither a directory nor a file").into());
    }

    // Tasks of low and normal priority share `jobs` slots; tasks of high priority have one more on
    // the threads, so the status never waits for a file.
    supervisor().set_mp_pool(MpPoolConfig::new(args.jobs));
    supervisor().set_thread_pool(PoolConfig::new(args.jobs).reserve_high(1));
    // Worker processes have separate process groups, so Ctrl-C reaches only this process.
    ctrlc::set_handler(interrupt)?;

    if args.dashboard {
        // Without a token it listens on loopback only. It ends with the program.
        let dashboard = Dashboard::new().title("survey").serve("127.0.0.1:0")?;
        eprintln!("dashboard: {}", dashboard.url());
    }

    let status = watch_pool(args.threads).show_progress("pool");
    let started = Instant::now();
    let listing = list_files(args.root.clone(), args.all).show_progress("listing files").join()?;
    let files = &listing.files;

    let mut report = Report::default();
    let scans = files.iter().map(|file| scan(file, args));
    let mut outcomes = bounded(IN_FLIGHT, scans).progress("reading files");
    while !INTERRUPTED.load(Relaxed)
        && let Some((place, outcome)) = outcomes.next()
    {
        match outcome {
            Ok(Ok(file)) => report.add(place, file),
            // The function returned an error.
            Ok(Err(ScanError::Unreadable(cause))) => report.fail(place, cause),
            Ok(Err(ScanError::Stopped)) => {}
            // There is no result: canceled before it began, or its worker process died.
            Err(error) if error.is_canceled() => {}
            Err(error) => report.fail(place, error.to_string()),
        }
    }
    // Clears the bar. After an interrupt, this also detaches the tasks in flight.
    drop(outcomes);
    let took = started.elapsed();
    status.stop();
    let status = status.join().unwrap_or_else(|error| error.to_string());
    let replaced = supervisor().info().mp_pool.map_or(0, |pool| pool.restarts);
    supervisor().stop(StopOptions::new().cancel_tasks(true));

    let mut out = BufWriter::new(std::io::stdout().lock());
    let interrupted = INTERRUPTED.load(Relaxed);
    if files.is_empty() && !interrupted {
        writeln!(out, "no files in {root}")?;
    } else {
        report.print(&args.root, files, took, &mut out)?;
        let place = if args.threads { "threads" } else { "worker processes" };
        writeln!(out, "{} {place}, {replaced} replaced; {status}", args.jobs)?;
    }
    listing.print_rest(&mut out)?;
    if interrupted {
        let [read, all] = [report.files(), files.len() as u64].map(HumanCount);
        writeln!(out, "interrupted: {read} of {all} files read")?;
    }
    out.flush()?;
    Ok(if interrupted { ExitCode::from(130) } else { ExitCode::SUCCESS })
}

/// The task for one file, not started yet: [`bounded`] starts it.
fn scan(file: &Path, args: &Args) -> TaskBuilder<Result<FileReport, ScanError>> {
    let name = file.file_name().unwrap_or_default();
    let crash = args.crash.as_ref().is_some_and(|pattern| pattern.is_match(name));
    if !args.threads {
        return scan_file::builder(file.as_os_str().as_bytes(), crash);
    }
    // The same function on a pool thread. A thread shares the caller's memory but may outlive the
    // call, so it needs an owned path.
    let file = file.to_owned();
    TaskBuilder::with_context(move |ctx: &TaskContext| {
        scan_file::call(ctx, file.as_os_str().as_bytes(), crash)
    })
    .priority(Priority::Low)
}

/// Requests a stop: no further task is launched, queued tasks are canceled, and running tasks
/// observe the request through their context. The second Ctrl-C ends the program with its worker
/// processes.
fn interrupt() {
    if INTERRUPTED.swap(true, Relaxed) {
        std::process::exit(130);
    }
    for task in supervisor().tasks() {
        if let Some(task) = supervisor().task(task.id) {
            task.stop();
        }
    }
}

/// The files to read.
#[derive(Default)]
struct Listing {
    files: Vec<PathBuf>,
    /// Directories that cannot be read.
    problems: Vec<String>,
    /// Links, pipes, sockets, devices. Reading a pipe could block forever.
    special: usize,
}

impl Listing {
    fn print_rest(&self, out: &mut dyn Write) -> io::Result<()> {
        for problem in &self.problems {
            writeln!(out, "not listed: {problem}")?;
        }
        match self.special {
            0 => Ok(()),
            special => writeln!(out, "skipped: {special} links, pipes and other special files"),
        }
    }
}

/// Lists all files below `root`, as a task, so that Ctrl-C can stop it.
#[background_task]
fn list_files(ctx: &TaskContext, root: PathBuf, all: bool) -> Listing {
    let mut listing = Listing::default();
    let walk = WalkBuilder::new(root).standard_filters(!all).sort_by_file_name(Ord::cmp).build();
    for entry in walk.take_while(|_| !ctx.stopped()) {
        ctx.progress(listing.files.len() as u64, 0);
        match entry {
            Ok(entry) => match entry.file_type() {
                Some(kind) if kind.is_dir() => {}
                Some(kind) if kind.is_file() => {
                    let path = entry.path();
                    listing.files.push(path.strip_prefix(".").unwrap_or(path).to_owned());
                }
                _ => listing.special += 1,
            },
            Err(problem) => listing.problems.push(problem.to_string()),
        }
    }
    listing
}

/// Reports the state of the pool every second until it is stopped. Returns how punctual it was.
#[background_task(priority = "high")]
fn watch_pool(ctx: &TaskContext, threads: bool) -> String {
    const EVERY: Duration = Duration::from_secs(1);
    let (mut times, mut latest) = (0, Duration::ZERO);
    let mut due = Instant::now() + EVERY;
    while !ctx.wait_stop(due.saturating_duration_since(Instant::now())) {
        times += 1;
        latest = latest.max(due.elapsed());
        due += EVERY;

        let info = supervisor().info();
        let (running, waiting, workers) = match info.mp_pool {
            Some(pool) if !threads => {
                (pool.running, pool.waiting, format!("{} worker processes", pool.workers.len()))
            }
            _ => {
                let pool = info.thread_pool;
                (pool.running, pool.waiting, format!("{} threads", pool.threads))
            }
        };
        let waiting = waiting.total();
        ctx.message(&format!("{running} running, {waiting} waiting, {workers}"));
    }
    match times {
        0 => "done before the first status was due".into(),
        times => format!("status reported {times} times, at most {latest:.1?} late"),
    }
}
