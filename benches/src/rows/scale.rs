//! Costs at growing sizes, so that a cost per task that is not constant becomes visible. Every
//! repetition creates a new supervisor.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, RwLock, mpsc};
use std::time::{Duration, Instant};

use atasker::{
    IntervalWorker, Job, MpPoolConfig, PoolConfig, QueueWorker, StopOptions, Supervisor,
    WorkerContext, background_task,
};

use crate::calm;
use crate::measure::{Better, Contender, Metric, Row, Shown};
use crate::memory::{heap, proportional, resident, trim};

const fn less(name: &'static str, unit: &'static str) -> Metric {
    Metric { name, unit, better: Better::Less }
}

const QUEUED: &[Metric] =
    &[less("submit", "ns each"), less("run and join", "ns each"), less("memory", "B each")];
const NESTED: &[Metric] =
    &[less("round trip", "us each"), less("memory", "KiB each"), less("stop", "us each")];
const WAITING: &[Metric] = &[less("round trip", "us each"), less("stop", "us each")];
const WORKERS: &[Metric] = &[
    less("create and start", "us each"),
    less("a run, CPU", "us"),
    less("stop", "us each"),
    less("memory", "B each"),
];
const ITEMS: &[Metric] = &[less("an item", "us"), less("create, start, stop", "us each")];
const JOBS: &[Metric] = &[
    less("create", "us each"),
    less("a run, CPU", "us"),
    less("cancel", "us each"),
    less("memory", "B each"),
];
const PROCESSES: &[Metric] = &[
    less("start", "ms each"),
    Metric { name: "calls", unit: "k/s", better: Better::More },
    less("memory", "MiB PSS each"),
    less("stop", "ms each"),
];

/// All rows of this module.
pub fn rows() -> Vec<Row> {
    let mut rows = Vec::new();
    let mut add = |id: &str, size: u64, what: &str, metrics, reps, work: fn(u64) -> Vec<f64>| {
        let (id, title) = (format!("{id}-{}", short(size)), what);
        let contenders = move || vec![Contender::ours("atasker", move || move || work(size))];
        rows.push(Row::new(id, title, metrics, contenders).at_most(reps).shown(Shown::AtSizes));
    };
    for (size, reps) in [(10_000, 3), (100_000, 3), (1_000_000, 2), (10_000_000, 1)] {
        add("S1", size, "queued thread tasks", QUEUED, reps, queued);
    }
    for size in [100, 1_000, 10_000] {
        add("S2", size, "nested tasks, each waiting for the next one", NESTED, 2, chain);
    }
    for size in [100, 1_000, 10_000] {
        add("S2W", size, "tasks that all wait for the same task", WAITING, 2, fan);
    }
    for size in [10, 100, 1_000] {
        add("S3", size, "interval workers, 2,000 runs/s together", WORKERS, 1, interval_workers);
    }
    for size in [10, 100, 1_000] {
        add("S3Q", size, "queue workers, 200k items together", ITEMS, 2, queue_workers);
    }
    for size in [1_000, 10_000, 100_000] {
        add("S4", size, "jobs, 20k runs/s together", JOBS, 1, jobs);
    }
    for size in [1, 2, 4, 16, 64] {
        add("S5", size, "worker processes, 100k calls", PROCESSES, 2, processes);
    }
    for (size, reps) in [(10_000, 3), (100_000, 3), (1_000_000, 2)] {
        add("S6", size, "queued mp calls", QUEUED, reps, queued_calls);
    }
    rows
}

fn short(size: u64) -> String {
    match size {
        _ if size >= 1_000_000 => format!("{}M", size / 1_000_000),
        _ if size >= 1_000 => format!("{}k", size / 1_000),
        _ => size.to_string(),
    }
}

/// Units of `unit` seconds per task.
fn each(time: Duration, unit: f64, count: u64) -> f64 {
    time.as_secs_f64() / unit / count as f64
}

const NS: f64 = 1e-9;
const US: f64 = 1e-6;
const MS: f64 = 1e-3;

fn timed<R>(work: impl FnOnce() -> R) -> (R, Duration) {
    let begin = Instant::now();
    let result = work();
    (result, begin.elapsed())
}

fn stop(sup: &Supervisor) -> Duration {
    timed(|| sup.stop(StopOptions::new())).1
}

/// S1: tasks queued behind a busy pool.
fn queued(tasks: u64) -> Vec<f64> {
    let sup = Supervisor::builder().id("scale").thread_pool(PoolConfig::new(2)).build();
    let gate = Arc::new(RwLock::new(()));
    let shut = gate.write().unwrap();
    let busy = [(); 2].map(|()| {
        let gate = Arc::clone(&gate);
        sup.spawn(move || drop(gate.read().unwrap()))
    });
    let mut handles = Vec::with_capacity(tasks as usize);
    let before = heap();
    let ((), submit) = timed(|| handles.extend((0..tasks).map(|i| sup.spawn(move || i))));
    let used = heap() - before;
    drop(shut);
    let (sum, join) = timed(|| handles.into_iter().map(|task| task.join().unwrap()).sum::<u64>());
    assert_eq!(sum, tasks * (tasks - 1) / 2);
    busy.into_iter().for_each(|task| task.join().unwrap());
    stop(&sup);
    trim();
    vec![each(submit, NS, tasks), each(join, NS, tasks), used / tasks as f64]
}

/// Each waiting task occupies a thread.
fn small_stacks() -> Supervisor {
    let pool = PoolConfig::new(2).stack_size(64 << 10);
    Supervisor::builder().id("scale").thread_pool(pool).build()
}

/// S2: a chain of tasks that each launch the next and wait for it.
fn chain(depth: u64) -> Vec<f64> {
    fn chain_link(sup: Supervisor, left: u64, deepest: mpsc::Sender<f64>) -> u64 {
        if left == 0 {
            deepest.send(resident()).unwrap();
            return 0;
        }
        let next = {
            let sup = sup.clone();
            sup.clone().spawn(move || chain_link(sup, left - 1, deepest))
        };
        1 + next.join().unwrap()
    }
    let sup = small_stacks();
    let (tx, rx) = mpsc::channel();
    let before = resident();
    let (length, time) = timed(|| {
        let sup = sup.clone();
        sup.clone().spawn(move || chain_link(sup, depth, tx)).join().unwrap()
    });
    assert_eq!(length, depth);
    let used = (rx.recv().unwrap() - before) / 1024.0;
    let stop = stop(&sup);
    vec![each(time, US, depth), used / depth as f64, each(stop, US, depth)]
}

/// S2W: tasks that wait for the same task, and all wake when it ends.
fn fan(waiters: u64) -> Vec<f64> {
    let sup = small_stacks();
    let (begin, (open, gate)) = (Instant::now(), mpsc::channel::<()>());
    // The awaited task runs in a separate pool, because it would otherwise queue behind the tasks
    // that wait for it.
    let other = Supervisor::builder().id("gate").thread_pool(PoolConfig::new(1)).build();
    let awaited = Arc::new(other.spawn(move || gate.recv().unwrap()));
    let waiting = Arc::new(AtomicU64::new(0));
    let tasks: Vec<_> = (0..waiters)
        .map(|_| {
            let (awaited, waiting) = (Arc::clone(&awaited), Arc::clone(&waiting));
            sup.spawn(move || {
                waiting.fetch_add(1, Ordering::Relaxed);
                awaited.wait().unwrap();
            })
        })
        .collect();
    while waiting.load(Ordering::Relaxed) < waiters {
        std::thread::sleep(Duration::from_micros(200));
    }
    open.send(()).unwrap();
    tasks.into_iter().for_each(|task| task.join().unwrap());
    let time = begin.elapsed();
    let stop = stop(&sup);
    vec![each(time, US, waiters), each(stop, US, waiters)]
}

const WATCHED: Duration = Duration::from_millis(1500);

/// The CPU time of one run, over the runs that are counted while nothing else is done.
fn cpu_per_run(runs: &AtomicU64) -> f64 {
    let (before, ran) = (calm::cpu_time(), runs.load(Ordering::Relaxed));
    std::thread::sleep(WATCHED);
    let (after, ran) = (calm::cpu_time(), runs.load(Ordering::Relaxed) - ran);
    each(after.saturating_sub(before), US, ran.max(1))
}

/// S3: the same number of runs per second at every size.
fn interval_workers(count: u64) -> Vec<f64> {
    let sup = Supervisor::builder().id("scale").thread_pool(PoolConfig::new(2)).build();
    let runs = Arc::new(AtomicU64::new(0));
    let interval = Duration::from_secs(1) * count as u32 / 2_000;
    let mut workers = Vec::with_capacity(count as usize);
    let before = heap();
    let ((), start) = timed(|| {
        workers.extend((0..count).map(|i| {
            let runs = Arc::clone(&runs);
            let builder = IntervalWorker::builder(interval).name(format!("w{i}")).supervisor(&sup);
            let worker = builder.run(move |_: &WorkerContext| {
                runs.fetch_add(1, Ordering::Relaxed);
            });
            assert!(worker.start());
            worker
        }));
    });
    let used = heap() - before;
    let cpu = cpu_per_run(&runs);
    let ((), stopping) = timed(|| workers.iter().for_each(|worker| worker.stop()));
    stop(&sup);
    vec![each(start, US, count), cpu, each(stopping, US, count), used / count as f64]
}

/// S3Q: items distributed round-robin to queue workers.
fn queue_workers(count: u64) -> Vec<f64> {
    const ITEMS: u64 = 200_000;
    let sup = Supervisor::builder().id("scale").thread_pool(PoolConfig::new(2)).build();
    let (done, all_done) = mpsc::channel();
    let sum = Arc::new(Mutex::new((0_u64, 0_u64)));
    let (workers, start) = timed(|| {
        let make = |i| {
            let (sum, done) = (Arc::clone(&sum), done.clone());
            let builder = QueueWorker::<u64>::builder().name(format!("w{i}")).supervisor(&sup);
            let worker = builder.run(move |_: &WorkerContext, item: u64| {
                let mut sum = sum.lock().unwrap();
                sum.0 += item;
                sum.1 += 1;
                if sum.1 == ITEMS {
                    done.send(()).unwrap();
                }
            });
            assert!(worker.start());
            worker
        };
        (0..count).map(make).collect::<Vec<_>>()
    });
    let ((), time) = timed(|| {
        for item in 0..ITEMS {
            workers[(item % count) as usize].put(item).unwrap();
        }
        all_done.recv().unwrap();
    });
    assert_eq!(sum.lock().unwrap().0, ITEMS * (ITEMS - 1) / 2);
    let ((), stopping) = timed(|| workers.iter().for_each(|worker| worker.stop()));
    stop(&sup);
    vec![each(time, US, ITEMS), each(start + stopping, US, count)]
}

/// S4: the same number of runs per second at every size.
fn jobs(count: u64) -> Vec<f64> {
    let sup = Supervisor::builder().id("scale").thread_pool(PoolConfig::new(2)).build();
    let runs = Arc::new(AtomicU64::new(0));
    let period = Duration::from_secs(1) * count as u32 / 20_000;
    let mut jobs = Vec::with_capacity(count as usize);
    let before = heap();
    let ((), make) = timed(|| {
        jobs.extend((0..count).map(|i| {
            let runs = Arc::clone(&runs);
            let first = period * i as u32 / count as u32;
            sup.create_job(Job::every(period).after(first), move || {
                runs.fetch_add(1, Ordering::Relaxed);
            })
        }));
    });
    let used = heap() - before;
    let cpu = cpu_per_run(&runs);
    let ((), cancel) = timed(|| jobs.iter().for_each(|job| job.cancel()));
    stop(&sup);
    vec![each(make, US, count), cpu, each(cancel, US, count), used / count as f64]
}

#[background_task(tt = "mp")]
fn add(a: u64, b: u64) -> u64 {
    a + b
}

/// Busy until a file exists.
#[background_task(tt = "mp")]
fn hold(file: PathBuf) {
    while !file.exists() {
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// A file that does not exist yet.
struct Gate(PathBuf);

impl Gate {
    fn shut() -> Gate {
        static GATES: AtomicU64 = AtomicU64::new(0);
        let number = GATES.fetch_add(1, Ordering::Relaxed);
        let name = format!("atasker-benches-{}-{number}", std::process::id());
        Gate(std::env::temp_dir().join(name))
    }

    fn open(&self) {
        std::fs::write(&self.0, "").unwrap();
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Occupies all worker processes of a pool, each with a call that lasts until the gate is open.
fn hold_all(sup: &Supervisor, workers: u64, gate: &Gate) -> Vec<atasker::Task<()>> {
    let hold = |_| hold::builder(gate.0.clone()).supervisor(sup).start();
    let held: Vec<_> = (0..workers).map(hold).collect();
    while !held.iter().all(atasker::Task::is_started) {
        std::thread::sleep(Duration::from_micros(200));
    }
    held
}

/// S5: a growing number of worker processes on the existing CPUs.
fn processes(workers: u64) -> Vec<f64> {
    const CALLS: u64 = 100_000;
    let sup =
        Supervisor::builder().id("scale").mp_pool(MpPoolConfig::new(workers as usize)).build();
    let gate = Gate::shut();
    let (held, start) = timed(|| hold_all(&sup, workers, &gate));
    gate.open();
    held.into_iter().for_each(|task| task.join().unwrap());
    let mut calls = Duration::ZERO;
    // The first run is a warm-up.
    for _ in 0..2 {
        calls = timed(|| {
            let add = |i| add::builder(i, i + 1).supervisor(&sup).start();
            let tasks: Vec<_> = (0..CALLS).map(add).collect();
            for (i, task) in (0..).zip(tasks) {
                assert_eq!(task.join().unwrap(), 2 * i + 1);
            }
        })
        .1;
    }
    let info = sup.info().mp_pool.expect("worker processes were used");
    let memory: f64 = info.workers.iter().map(|worker| proportional(worker.pid)).sum();
    assert_eq!(info.workers.len() as u64, workers);
    let stop = stop(&sup);
    vec![
        each(start, MS, workers),
        CALLS as f64 / calls.as_secs_f64() / 1e3,
        memory / (1 << 20) as f64 / workers as f64,
        each(stop, MS, workers),
    ]
}

/// S6: calls queued behind busy worker processes.
fn queued_calls(calls: u64) -> Vec<f64> {
    let sup = Supervisor::builder().id("scale").mp_pool(MpPoolConfig::new(2)).build();
    let gate = Gate::shut();
    let held = hold_all(&sup, 2, &gate);
    let mut handles = Vec::with_capacity(calls as usize);
    let before = heap();
    let add = |i| add::builder(i, i + 1).supervisor(&sup).start();
    let ((), submit) = timed(|| handles.extend((0..calls).map(add)));
    let used = heap() - before;
    gate.open();
    held.into_iter().for_each(|task| task.join().unwrap());
    let ((), join) = timed(|| {
        for (i, task) in (0..).zip(handles) {
            assert_eq!(task.join().unwrap(), 2 * i + 1);
        }
    });
    stop(&sup);
    trim();
    vec![each(submit, NS, calls), each(join, NS, calls), used / calls as f64]
}
