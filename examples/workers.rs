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
use std::sync::{LazyLock, Mutex, OnceLock};
use std::time::Duration;

use atasker::{
    EventWorker, Job, Priority, QueueWorker, StopOptions, WorkerContext, WorkerError,
    background_worker, supervisor,
};

/// The state of the machine.
#[derive(Debug, Default)]
struct Picture {
    load: f64,
    free_mib: u64,
    samples: u64,
    alerts: u64,
}

static PICTURE: LazyLock<Mutex<Picture>> = LazyLock::new(Mutex::default);
static ALERTS: OnceLock<QueueWorker<Alert>> = OnceLock::new();
static SNAPSHOT: OnceLock<EventWorker> = OnceLock::new();

/// A problem. The smallest comes first, so the variants are ordered by severity.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Alert {
    NoMemory { free_mib: u64 },
    DiskFull { used_percent: u64 },
    Busy { percent: u64 },
}

fn raise(alert: Alert) {
    // A worker that is already stopped refuses it: the monitor is about to end.
    let _ = ALERTS.get().map(|alerts| alerts.put(alert));
}

/// Reads the numbers. `average`, over about a minute, is kept from run to run.
#[background_worker(interval = "1s", priority = "high", on_error = complain)]
fn sample(ctx: &WorkerContext, average: &mut f64) -> Result<(), Box<dyn Error>> {
    let field = |text: &str, index| text.split_whitespace().nth(index).map(str::to_owned);
    let load = std::fs::read_to_string("/proc/loadavg")?;
    let load: f64 = field(&load, 0).ok_or("no load")?.parse()?;
    let memory = std::fs::read_to_string("/proc/meminfo")?;
    let line = memory.lines().find(|line| line.starts_with("MemAvailable:"));
    let free: u64 = line.and_then(|line| field(line, 1)).ok_or("no MemAvailable")?.parse()?;
    *average += (load - *average) / 60.0_f64.min(ctx.runs() as f64 + 1.0);
    {
        let mut picture = PICTURE.lock().unwrap();
        (picture.load, picture.free_mib) = (load, free / 1024);
        picture.samples += 1;
    }
    let percent = (*average * 100.0 / std::thread::available_parallelism()?.get() as f64) as u64;
    // At most one alert per minute.
    if percent > 150 && ctx.runs().is_multiple_of(60) {
        raise(Alert::Busy { percent });
    }
    if free < 256 * 1024 {
        raise(Alert::NoMemory { free_mib: free / 1024 });
    }
    Ok(())
}

/// A check may take long: the pause is between its end and the next start.
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
    println!("{:#?}", PICTURE.lock().unwrap());
}

/// Blocks its dedicated thread until the end of a line.
#[background_worker]
fn keyboard() -> ControlFlow<()> {
    match std::io::stdin().lock().read_line(&mut String::new()) {
        // There is no further input: the monitor continues without it.
        Ok(0) | Err(_) => return ControlFlow::Break(()),
        Ok(_) => _ = SNAPSHOT.get().map(|snapshot| snapshot.trigger()),
    }
    ControlFlow::Continue(())
}

/// The worker continues: the next sample may succeed.
fn complain(error: &WorkerError) -> ControlFlow<()> {
    eprintln!("{error}");
    ControlFlow::Continue(())
}

fn main() -> Result<(), Box<dyn Error>> {
    let seconds = std::env::args().skip_while(|argument| argument != "--seconds").nth(1);
    let sup = supervisor();

    let alerts = ALERTS.get_or_init(alert);
    let snapshots = SNAPSHOT.get_or_init(snapshot);
    let (samples, disk, keys) = (sample(0.0), watch_disk("/".into()), keyboard());
    for worker in [&**alerts, snapshots, &samples, &disk, &keys] {
        worker.start();
    }
    sup.create_job(Job::cron("0 * * * *").name("summary").priority(Priority::Low), || {
        println!("{:?}", PICTURE.lock().unwrap());
    });
    println!("{} workers; Enter for a snapshot, Ctrl-C to end", sup.info().workers.len());

    // Either one stops the supervisor, which stops the workers.
    ctrlc::set_handler(stop)?;
    if let Some(seconds) = seconds {
        sup.create_job(Job::once(Duration::from_secs(seconds.parse()?)).name("the end"), stop);
    }
    sup.block();

    assert!(PICTURE.lock().unwrap().samples > 0);
    Ok(())
}

fn stop() {
    // The keyboard worker may block in a read: its thread is abandoned.
    let report = supervisor().stop(StopOptions::new().wait(Duration::from_secs(2)));
    println!("stopped: {} tasks done, {} left behind", report.completed, report.abandoned);
}
