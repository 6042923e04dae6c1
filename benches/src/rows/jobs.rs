//! Rows of jobs.

use std::future::poll_fn;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use atasker::{Job, PoolConfig, Supervisor};

use crate::measure::{Better, Contender, Metric, Row, percentile};

const LATENESS: &[Metric] = &[
    Metric { name: "median", unit: "us", better: Better::Less },
    Metric { name: "p99", unit: "us", better: Better::Less },
];

const CREATION: &[Metric] = &[
    Metric { name: "create", unit: "us", better: Better::Less },
    Metric { name: "cancel", unit: "us", better: Better::Less },
];

/// All rows of this part.
pub fn rows() -> Vec<Row> {
    vec![
        Row::new("J1", "a job every 5 ms on an idle machine: how late it begins", LATENESS, || {
            vec![
                Contender::ours("atasker, plain", || || ours(false)),
                Contender::ours("atasker, async", || || ours(true)),
                Contender::peer("tokio interval, current-thread", || tokio_interval),
            ]
        }),
        Row::new("J2", "100k jobs within an hour: create and cancel each", CREATION, || {
            vec![
                Contender::ours("atasker", || || many_jobs(100_000)),
                Contender::peer("tokio interval, a task each", || || many_intervals(100_000)),
            ]
        }),
    ]
}

const PERIOD: Duration = Duration::from_millis(5);
const RUNS: u32 = 200;

/// Median and 99th percentile of the microseconds from the planned time to the run.
fn ours(on_loop: bool) -> Vec<f64> {
    let sup = Supervisor::builder().id("jobs").thread_pool(PoolConfig::new(2)).build();
    let (tx, rx) = mpsc::channel();
    let created = Instant::now();
    let job = Job::every(PERIOD).after(PERIOD).times(RUNS.into());
    let _job = if on_loop {
        sup.create_job(job, move || {
            let _ = tx.send(Instant::now());
            async {}
        })
    } else {
        sup.create_job(job, move || {
            let _ = tx.send(Instant::now());
        })
    };
    let runs: Vec<Instant> = rx.iter().collect();
    // The planned times are the creation plus multiples of the period.
    let mut late: Vec<f64> = runs
        .iter()
        .enumerate()
        .map(|(n, run)| (*run - created - PERIOD * (n as u32 + 1)).as_secs_f64() * 1e6)
        .collect();
    assert_eq!(late.len(), RUNS as usize);
    vec![percentile(&mut late, 0.5), percentile(&mut late, 0.99)]
}

fn tokio_interval() -> Vec<f64> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async {
        let mut interval = tokio::time::interval(PERIOD);
        let created = interval.tick().await;
        let mut late = Vec::new();
        for n in 1..=RUNS {
            interval.tick().await;
            late.push((Instant::now() - created.into_std() - PERIOD * n).as_secs_f64() * 1e6);
        }
        vec![percentile(&mut late, 0.5), percentile(&mut late, 0.99)]
    })
}

fn each(time: Duration, count: u32) -> f64 {
    time.as_secs_f64() * 1e6 / f64::from(count)
}

const HOUR: Duration = Duration::from_secs(3600);

fn many_jobs(count: u32) -> Vec<f64> {
    let sup = Supervisor::builder().id("jobs").thread_pool(PoolConfig::new(2)).build();
    let begin = Instant::now();
    let jobs: Vec<_> =
        (0..count).map(|_| sup.create_job(Job::every(HOUR).after(HOUR), || ())).collect();
    let created = begin.elapsed();
    let begin = Instant::now();
    jobs.iter().for_each(|job| job.cancel());
    vec![each(created, count), each(begin.elapsed(), count)]
}

/// The number of tasks whose first poll has registered their timer, and whose future is not dropped.
/// The runtime has one thread, so a load and a store do: they cost less than an atomic addition.
static ALIVE: AtomicU32 = AtomicU32::new(0);

struct Alive;

impl Alive {
    fn new() -> Self {
        ALIVE.store(ALIVE.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        Alive
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        ALIVE.store(ALIVE.load(Ordering::Relaxed) - 1, Ordering::Relaxed);
    }
}

async fn interval_job() {
    let at = tokio::time::Instant::now() + HOUR;
    let mut interval = tokio::time::interval_at(at, HOUR);
    let mut alive = None;
    loop {
        poll_fn(|cx| {
            let tick = interval.poll_tick(cx);
            alive.get_or_insert_with(Alive::new);
            tick
        })
        .await;
    }
}

/// Each job exists, and each is gone, when its time is taken: a task that is only spawned has no
/// timer yet, and one that is only aborted still has its future. A yield polls some of them, not all.
fn many_intervals(count: u32) -> Vec<f64> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async {
        let until = async |jobs| {
            while ALIVE.load(Ordering::Relaxed) != jobs {
                tokio::task::yield_now().await;
            }
        };
        let begin = Instant::now();
        let tasks: Vec<_> = (0..count).map(|_| tokio::spawn(interval_job())).collect();
        until(count).await;
        let created = begin.elapsed();
        let begin = Instant::now();
        tasks.iter().for_each(|task| task.abort());
        until(0).await;
        vec![each(created, count), each(begin.elapsed(), count)]
    })
}
