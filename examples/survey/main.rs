//! Surveys a tree of source code: lines per language, duplicates, frequent identifiers.
//!
//! ```text
//! cargo run --release --example survey -- [DIR]
//! ```
//!
//! Three kinds of tasks are used. A thread task lists the files (`list_files`). For each file, a
//! task of low priority reads it in a worker process (`scan::scan_file`), with at most `IN_FLIGHT`
//! tasks at a time. Once per second, a thread task of high priority prints the status line
//! (`show_status`).

mod args;
mod count;
mod language;
mod report;
mod scan;

use std::error::Error;
use std::fmt;
use std::io::{self, BufWriter, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use atasker::{
    MpPoolConfig, PoolConfig, Priority, StopOptions, TaskBuilder, TaskContext, background_task,
    bounded, supervisor,
};
use ignore::WalkBuilder;
use indicatif::{HumanCount, ProgressBar, ProgressState, ProgressStyle};

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
    // the threads, so the status line never waits for a file.
    supervisor().set_mp_pool(MpPoolConfig::new(args.jobs));
    supervisor().set_thread_pool(PoolConfig::new(args.jobs).reserve_high(1));
    // Worker processes have separate process groups, so Ctrl-C reaches only this process.
    ctrlc::set_handler(interrupt)?;

    let style = "{wide_bar} {pos}/{len} files, {rate} files/s, {eta} left\n{msg}";
    let rate = |bar: &ProgressState, out: &mut dyn fmt::Write| {
        let _ = write!(out, "{:.0}", bar.per_sec());
    };
    let bar = ProgressBar::new(0)
        .with_style(ProgressStyle::with_template(style)?.with_key("rate", rate))
        .with_message("listing files");
    bar.tick();
    let status = Arc::new(Status::new(bar.clone(), args.threads));
    // The handle is not needed: a task continues without it.
    drop(show_status(status.clone(), Instant::now() + EVERY));

    let started = Instant::now();
    let listing = list_files(args.root.clone(), args.all).join()?;
    let files = &listing.files;
    bar.set_length(files.len() as u64);

    let mut report = Report::default();
    let scans =
        files.iter().take_while(|_| !INTERRUPTED.load(Relaxed)).map(|file| scan(file, args));
    for (place, outcome) in bounded(IN_FLIGHT, scans) {
        match outcome {
            Ok(Ok(file)) => report.add(place, file),
            // The function returned an error.
            Ok(Err(ScanError::Unreadable(cause))) => report.fail(place, cause),
            Ok(Err(ScanError::Stopped)) => continue,
            // There is no result: canceled before it began, or its worker process died.
            Err(error) if error.is_canceled() => continue,
            Err(error) => report.fail(place, error.to_string()),
        }
        bar.inc(1);
    }
    let took = started.elapsed();
    bar.finish_and_clear();
    let replaced = supervisor().info().mp_pool.map_or(0, |pool| pool.restarts);
    // The task of the next status line is still delayed.
    supervisor().stop(StopOptions::new().cancel_tasks(true));

    let mut out = BufWriter::new(std::io::stdout().lock());
    let interrupted = INTERRUPTED.load(Relaxed);
    if files.is_empty() && !interrupted {
        writeln!(out, "no files in {root}")?;
    } else {
        report.print(&args.root, files, took, &mut out)?;
        let place = if args.threads { "threads" } else { "worker processes" };
        writeln!(out, "{} {place}, {replaced} replaced; {}", args.jobs, status.summary())?;
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

/// The progress bar, and whether its status line was on time.
struct Status {
    bar: ProgressBar,
    threads: bool,
    times: AtomicU64,
    /// The maximum delay in microseconds.
    late: AtomicU64,
}

const EVERY: Duration = Duration::from_secs(1);

impl Status {
    fn new(bar: ProgressBar, threads: bool) -> Status {
        Status { bar, threads, times: AtomicU64::new(0), late: AtomicU64::new(0) }
    }

    fn summary(&self) -> String {
        let late = Duration::from_micros(self.late.load(Relaxed));
        match self.times.load(Relaxed) {
            0 => "done before the first status line was due".into(),
            times => format!("{times} status lines, at most {late:.1?} late"),
        }
    }
}

/// Prints the state of the pool every second: the task launches its successor.
#[background_task(priority = "high", delay = EVERY)]
fn show_status(status: Arc<Status>, due: Instant) {
    status.times.fetch_add(1, Relaxed);
    status.late.fetch_max(due.elapsed().as_micros() as u64, Relaxed);

    let info = supervisor().info();
    let (running, waiting, workers) = match info.mp_pool {
        Some(pool) if !status.threads => {
            (pool.running, pool.waiting, format!("{} worker processes", pool.workers.len()))
        }
        _ => {
            let pool = info.thread_pool;
            (pool.running, pool.waiting, format!("{} threads", pool.threads))
        }
    };
    let waiting = waiting.total();
    status.bar.set_message(format!("{running} running, {waiting} waiting, {workers}"));

    if !status.bar.is_finished() {
        drop(show_status(status, Instant::now() + EVERY));
    }
}
