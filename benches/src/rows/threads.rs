//! Threads: a pool of two, and one that submits, unless the row says otherwise. Async tasks: one loop.

use std::sync::{Arc, LazyLock, RwLock};
use std::time::{Duration, Instant};

use atasker::{PoolConfig, Priority, Supervisor, background_task, wait_completed};

use crate::measure::{Better, Contender, Metric, Row, percentile};
use crate::peers::futures;
use crate::peers::threads::{
    Blocking, Channel, Ours, Pool, Rayon, Smol, Spawn, SpawnBlocking, THREADS, Threadpool, Urgent,
};

const RATE: &[Metric] = &[Metric::rate("M tasks/s")];
const TRIP: &[Metric] = &[Metric::cost("us")];
const MEMORY: &[Metric] = &[Metric::cost("B")];
const DELAYS: &[Metric] = &[
    Metric { name: "median", unit: "us", better: Better::Less },
    Metric { name: "p99", unit: "us", better: Better::Less },
];

/// A contender per pool, each of which does `$work(&pool, ..)`.
macro_rules! on {
    ([$($pool:expr => $name:literal),* $(,)?] $work:ident($count:expr)) => {
        vec![$(Contender::peer($name, || {
            let pool = $pool;
            move || vec![$work(&pool, $count)]
        })),*]
    };
}

/// The same with ours at the head, on two threads.
macro_rules! on_threads {
    ($work:ident($count:expr)) => {{
        let mut all = vec![Contender::ours("atasker", || {
            let pool = Ours::new();
            move || vec![$work(&pool, $count)]
        })];
        all.extend(on!([
            Channel::new() => "crossbeam-channel pool + oneshot",
            Rayon::new() => "rayon::spawn + oneshot",
            Threadpool::new() => "threadpool + oneshot",
            SpawnBlocking::new() => "tokio spawn_blocking",
            Spawn::new() => "tokio spawn",
            Blocking::new() => "blocking",
            Smol::new() => "async-executor (smol)",
        ] $work($count)));
        all
    }};
}

/// All rows of this part.
pub fn rows() -> Vec<Row> {
    vec![
        Row {
            id: "T1",
            title: "200k empty tasks: submitted, then all waited for",
            metrics: RATE,
            contenders: || {
                let mut all = on_threads!(burst(BURST));
                all.insert(1, Contender::ours("atasker, attribute", || || vec![attribute(BURST)]));
                all
            },
        },
        Row {
            id: "T2",
            title: "submit one, wait, repeat",
            metrics: TRIP,
            contenders: || on_threads!(round_trips(20_000)),
        },
        Row {
            id: "T3",
            title: "4 x 50k empty tasks, from four threads",
            metrics: RATE,
            contenders: || on_threads!(four_submitters(BURST / 4)),
        },
        Row {
            id: "T4",
            title: "an urgent task behind 2400 sleeps of 1 ms: submit to start",
            metrics: DELAYS,
            contenders: urgent_behind_many,
        },
        Row {
            id: "T5",
            title: "a queued task and its handle",
            metrics: MEMORY,
            contenders: || on_threads!(memory(100_000)),
        },
        Row {
            id: "A1",
            title: "200k trivial async tasks from outside, then all waited for",
            metrics: RATE,
            contenders: || {
                let mut all = vec![Contender::ours("atasker", || {
                    let pool = futures::Ours::new();
                    move || vec![burst(&pool, BURST)]
                })];
                all.extend(on!([
                    futures::CurrentThread::new() => "tokio spawn, current-thread",
                    futures::OneThread::new() => "tokio spawn, one worker thread",
                    Smol::on(1) => "async-executor (smol), one thread",
                ] burst(BURST)));
                all
            },
        },
        Row {
            id: "A2",
            title: "run a coroutine on a loop and block for it",
            metrics: TRIP,
            contenders: || {
                let mut all = vec![
                    Contender::ours("atasker, Aloop::run", || {
                        let pool = futures::Ours::new();
                        move || vec![runs(&pool, TRIPS)]
                    }),
                    Contender::ours("atasker, task", || {
                        let pool = futures::Ours::new();
                        move || vec![round_trips(&pool, TRIPS)]
                    }),
                ];
                all.extend(on!([
                    futures::CurrentThread::new() => "tokio spawn, current-thread",
                    futures::OneThread::new() => "tokio spawn, one worker thread",
                    Smol::on(1) => "async-executor (smol), one thread",
                ] round_trips(TRIPS)));
                all
            },
        },
    ]
}

const BURST: u64 = 200_000;
const TRIPS: u64 = 20_000;

/// Millions of tasks per second, from the first submission to the last result.
fn burst(pool: &impl Pool, tasks: u64) -> f64 {
    let begin = Instant::now();
    let handles: Vec<_> = (0..tasks).map(|i| pool.spawn(move || i)).collect();
    let mut sum = 0;
    pool.join_all(handles, |i| sum += i);
    let time = begin.elapsed();
    assert_eq!(sum, tasks * (tasks - 1) / 2);
    tasks as f64 / time.as_secs_f64() / 1e6
}

static PAIR: LazyLock<Supervisor> = LazyLock::new(|| {
    Supervisor::builder().id("pair").thread_pool(PoolConfig::new(THREADS)).build()
});

#[background_task(supervisor = &PAIR)]
fn same(i: u64) -> u64 {
    i
}

/// The same as users write it.
fn attribute(tasks: u64) -> f64 {
    let begin = Instant::now();
    let all: Vec<_> = (0..tasks).map(same).collect();
    let results = wait_completed!(all).unwrap();
    let time = begin.elapsed();
    assert!((0..tasks).eq(results));
    tasks as f64 / time.as_secs_f64() / 1e6
}

/// Microseconds from a submission to its result.
fn round_trips(pool: &impl Pool, trips: u64) -> f64 {
    let begin = Instant::now();
    for i in 0..trips {
        assert_eq!(pool.join(pool.spawn(move || i)), i);
    }
    begin.elapsed().as_secs_f64() * 1e6 / trips as f64
}

/// The same with coroutines that are no tasks.
fn runs(loops: &futures::Ours, trips: u64) -> f64 {
    let aloop = loops.aloop();
    let begin = Instant::now();
    for i in 0..trips {
        assert_eq!(aloop.run(async move { i }), i);
    }
    begin.elapsed().as_secs_f64() * 1e6 / trips as f64
}

/// As [`burst`], from four threads at once.
fn four_submitters(pool: &impl Pool, each: u64) -> f64 {
    let begin = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| burst(pool, each));
        }
    });
    4.0 * each as f64 / begin.elapsed().as_secs_f64() / 1e6
}

/// Bytes of the heap per task that waits behind a busy pool, with its handle.
fn memory(pool: &impl Pool, tasks: u64) -> f64 {
    let gate = Arc::new(RwLock::new(()));
    let shut = gate.write().unwrap();
    let busy: Vec<_> = (0..THREADS)
        .map(|_| {
            let gate = Arc::clone(&gate);
            pool.spawn(move || drop(gate.read().unwrap()))
        })
        .collect();
    let before = heap_in_use();
    let mut handles = Vec::with_capacity(tasks as usize);
    handles.extend((0..tasks).map(|i| pool.spawn(move || i)));
    let used = heap_in_use() - before;
    drop(shut);
    pool.join_all(busy, drop);
    let mut sum = 0;
    pool.join_all(handles, |i| sum += i);
    assert_eq!(sum, tasks * (tasks - 1) / 2);
    used / tasks as f64
}

/// With the allocator's own words beside each block.
fn heap_in_use() -> f64 {
    // SAFETY: no preconditions.
    let info = unsafe { libc::mallinfo2() };
    (info.uordblks + info.hblkhd) as f64
}

fn urgent_behind_many() -> Vec<Contender> {
    fn ours(name: &'static str, config: fn() -> PoolConfig, priority: Priority) -> Contender {
        Contender::ours(name, move || {
            let pool = Ours::with(config());
            move || delays(&pool, &Urgent(pool.clone(), priority))
        })
    }
    let plain = || PoolConfig::new(THREADS);
    vec![
        ours(
            "atasker, high, one slot in reserve",
            || PoolConfig::new(THREADS).reserve_high(1),
            Priority::High,
        ),
        ours("atasker, high, no reserve", plain, Priority::High),
        ours("atasker, critical", plain, Priority::Critical),
        Contender::peer("crossbeam-channel, a second pool", || {
            let (slow, second) = (Channel::new(), Channel::new());
            move || delays(&slow, &second)
        }),
        Contender::peer("rayon::spawn", || {
            let pool = Rayon::new();
            move || delays(&pool, &pool)
        }),
        Contender::peer("tokio spawn_blocking", || {
            let pool = SpawnBlocking::new();
            move || delays(&pool, &pool)
        }),
    ]
}

/// Median and 99th percentile of the microseconds between the submission of an urgent task and its
/// start, while a pool is busy with tasks that sleep.
fn delays(pool: &impl Pool, urgent: &impl Pool) -> Vec<f64> {
    const BEHIND: u64 = 2400;
    const URGENT: u64 = 200;
    const APART: Duration = Duration::from_micros(700);
    let slow: Vec<_> = (0..BEHIND)
        .map(|i| {
            pool.spawn(move || {
                std::thread::sleep(Duration::from_millis(1));
                i
            })
        })
        .collect();
    let handles: Vec<_> = (0..URGENT)
        .map(|_| {
            let next = Instant::now() + APART;
            // A sleep would measure how long this very thread needs to get up.
            while Instant::now() < next {
                std::hint::spin_loop();
            }
            let submitted = Instant::now();
            urgent.spawn(move || submitted.elapsed())
        })
        .collect();
    let mut delays = Vec::new();
    urgent.join_all(handles, |delay: Duration| delays.push(delay.as_secs_f64() * 1e6));
    let mut sum = 0;
    pool.join_all(slow, |i| sum += i);
    assert_eq!(sum, BEHIND * (BEHIND - 1) / 2);
    vec![percentile(&mut delays, 0.5), percentile(&mut delays, 0.99)]
}
