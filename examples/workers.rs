//! A small system monitor made of background workers: `cargo run --example workers`. Ctrl-C shuts
//! it down gracefully; `--seconds 5` limits its run time.
//!
//! | worker | kind | what |
//! |---|---|---|
//! | `sample` | interval | reads load and memory from `/proc` every second |
//! | `watch_disk` | delay | checks the disk, with a pause between two checks |
//! | `alert` | queue, by priority | reports problems, the most severe first |
//! | `snapshot` | event | prints the whole state on request |
//! | `keyboard` | loop | waits for Enter on a dedicated thread and triggers a snapshot |
//! | `summary` | job, by cron | every hour, on the hour |

use std::error::Error;
use std::io::BufRead;
use std::ops::ControlFlow;
use std::sync::Mutex;
use std::sync::OnceLock;
use std::time::Duration;

use atasker::{
    EventWorker, Job, Priority, QueueWorker, StopOptions, WorkerContext, WorkerError,
    background_worker, supervisor,
};

/// The state of the machine.
#[derive(Clone, Debug, Default)]
struct Picture {
    load: f64,
    free_mib: u64,
    samples: u64,
    alerts: u64,
}

static PICTURE: Mutex<Picture> =
    Mutex::new(Picture { load: 0.0, free_mib: 0, samples: 0, alerts: 0 });
static ALERTS: OnceLock<QueueWorker<Alert>> = OnceLock::new();
static SNAPSHOT: OnceLock<EventWorker> = OnceLock::new();

/// A problem. The smallest comes first, so the variants are ordered by severity.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Alert {
    NoMemory {
        free_mib: u64,
    },
    DiskFull {
        used_percent: u64,
    },
    /// Per CPU, in percent.
    Busy {
        load: u64,
    },
}

fn raise(alert: Alert) {
    // If the worker is already stopped, the monitor is about to end.
    if let Some(Err(error)) = ALERTS.get().map(|alerts| alerts.put(alert)) {
        eprintln!("not reported: {:?}", error.into_inner());
    }
}

/// Reads the numbers and keeps an average with a half-life of one minute.
#[background_worker(interval = "1s", priority = "high", on_error = complain)]
fn sample(ctx: &WorkerContext, average: &mut f64) -> Result<(), Box<dyn Error>> {
    let load: f64 = field(&std::fs::read_to_string("/proc/loadavg")?, 0)?.parse()?;
    let meminfo = std::fs::read_to_string("/proc/meminfo")?;
    let line = meminfo.lines().find(|line| line.starts_with("MemAvailable:"));
    let free_mib = field(line.ok_or("no MemAvailable")?, 1)?.parse::<u64>()? / 1024;

    let weight = if ctx.runs() == 0 { 1.0 } else { 1.0 - 0.5f64.powf(1.0 / 60.0) };
    *average += (load - *average) * weight;

    let mut picture = PICTURE.lock().unwrap();
    (picture.load, picture.free_mib) = (load, free_mib);
    picture.samples += 1;
    drop(picture);

    let cpus = std::thread::available_parallelism()?.get();
    let percent = (*average * 100.0 / cpus as f64) as u64;
    // At most one alert per minute.
    if percent > 150 && ctx.runs().is_multiple_of(60) {
        raise(Alert::Busy { load: percent });
    }
    if free_mib < 256 {
        raise(Alert::NoMemory { free_mib });
    }
    Ok(())
}

fn field(line: &str, index: usize) -> Result<&str, String> {
    line.split_whitespace().nth(index).ok_or_else(|| format!("`{line}` has too few fields"))
}

/// A check may take long if the disk is in standby, so the pause is between its end and the next
/// start.
#[background_worker(delay = "30s", tt = "mp", process_result = disk_seen, on_error = complain)]
fn watch_disk(path: String) -> Option<u64> {
    let output = std::process::Command::new("df").args(["--output=pcent", &path]).output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.lines().nth(1)?.trim().trim_end_matches('%').parse().ok()
}

/// Runs in the program itself, with the result of the worker process.
fn disk_seen(used_percent: &Option<u64>) {
    if let Some(used_percent) = used_percent.filter(|used| *used > 95) {
        raise(Alert::DiskFull { used_percent });
    }
}

#[background_worker(queue = "priority", queue_limit = 100)]
fn alert(alert: Alert) {
    PICTURE.lock().unwrap().alerts += 1;
    println!("ALERT: {alert:?}");
}

#[background_worker(event, priority = "high")]
async fn snapshot() {
    let picture = PICTURE.lock().unwrap().clone();
    println!("{picture:#?}");
}

/// Blocks its dedicated thread until the end of a line.
#[background_worker]
fn keyboard() -> ControlFlow<()> {
    let mut line = String::new();
    match std::io::stdin().lock().read_line(&mut line) {
        // The input has ended or does not exist: the monitor continues without it.
        Ok(0) | Err(_) => return ControlFlow::Break(()),
        Ok(_) => {}
    }
    if let Some(snapshot) = SNAPSHOT.get() {
        snapshot.trigger();
    }
    ControlFlow::Continue(())
}

/// The worker continues: the next sample may succeed.
fn complain(error: &WorkerError) -> ControlFlow<()> {
    eprintln!("{error}");
    ControlFlow::Continue(())
}

fn main() -> Result<(), Box<dyn Error>> {
    let seconds = seconds()?;
    let sup = supervisor();

    let alerts = ALERTS.get_or_init(alert);
    let snapshots = SNAPSHOT.get_or_init(snapshot);
    let (samples, disk, keys) = (sample(0.0), watch_disk("/".into()), keyboard());
    for worker in [&**alerts, snapshots, &samples, &disk, &keys] {
        worker.start();
    }
    sup.create_job(Job::cron("0 * * * *").name("summary").priority(Priority::Low), || {
        let picture = PICTURE.lock().unwrap().clone();
        println!("in this hour: {} samples, {} alerts", picture.samples, picture.alerts);
    });
    println!("{} workers; Enter for a snapshot, Ctrl-C to end", sup.info().workers.len());

    // Either one stops the supervisor, which stops the workers.
    ctrlc::set_handler(stop)?;
    if let Some(seconds) = seconds {
        sup.create_job(Job::once(Duration::from_secs(seconds)).name("the end"), stop);
    }
    sup.block();

    let picture = PICTURE.lock().unwrap().clone();
    println!("{} samples, {} alerts", picture.samples, picture.alerts);
    assert!(picture.samples > 0);
    Ok(())
}

fn stop() {
    // The keyboard worker may block in a read: its thread is abandoned.
    let report = supervisor().stop(StopOptions::new().wait(Duration::from_secs(2)));
    println!("stopped: {} tasks done, {} left behind", report.completed, report.abandoned);
}

/// The run time, if one is given.
fn seconds() -> Result<Option<u64>, lexopt::Error> {
    use lexopt::prelude::*;
    let mut parser = lexopt::Parser::from_env();
    let mut seconds = None;
    while let Some(argument) = parser.next()? {
        match argument {
            Long("seconds") => seconds = Some(parser.value()?.parse()?),
            other => return Err(other.unexpected()),
        }
    }
    Ok(seconds)
}
