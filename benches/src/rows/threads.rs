//! Threads: a pool of two and one submitter, unless the row states otherwise. Async tasks: one
//! loop.

use std::sync::{Arc, LazyLock, RwLock};
use std::time::{Duration, Instant};

use atasker::{PoolConfig, Priority, Supervisor, background_task, wait_completed};

use crate::measure::{Better, Contender, Metric, Row, percentile};
use crate::memory::heap;
#[cfg(feature = "peers")]
use crate::peers;
use crate::pools::futures;
use crate::pools::threads::{Ours, Pool, THREADS, Urgent};
use crate::rows::latency;

pub const RATE: &[Metric] = &[Metric::rate("M tasks/s")];
const TRIP: &[Metric] = &[Metric::cost("us")];
const MEMORY: &[Metric] = &[Metric::cost("B")];
const DELAYS: &[Metric] = &[
    Metric { name: "median", unit: "us", better: Better::Less },
    Metric { name: "p99", unit: "us", better: Better::Less },
];

/// One contender per pool of the peers, each of which runs `$work(&pool, ..)`.
#[cfg(feature = "peers")]
macro_rules! peers {
    ([$($pool:expr => $name:literal),* $(,)?] $work:ident($count:expr)) => {
        vec![$(Contender::peer($name, move || {
            let pool = $pool;
            move || $work(&pool, $count)
        })),*]
    };
}

#[cfg(not(feature = "peers"))]
macro_rules! peers {
    ($($ignored:tt)*) => {
        Vec::<Contender>::new()
    };
}

/// All pools on two threads, this project first.
macro_rules! on_threads {
    ($work:ident($count:expr)) => {{
        let mut all = vec![Contender::ours("atasker", move || {
            let pool = Ours::new();
            move || $work(&pool, $count)
        })];
        all.extend(peers!([
            peers::threads::Channel::new() => "crossbeam-channel pool + oneshot",
            peers::threads::Rayon::new() => "rayon::spawn + oneshot",
            peers::threads::Threadpool::new() => "threadpool + oneshot",
            peers::threads::SpawnBlocking::new() => "tokio spawn_blocking",
            peers::threads::Spawn::new() => "tokio spawn",
            peers::threads::Blocking::new() => "blocking",
            peers::threads::Smol::new() => "async-executor (smol)",
        ] $work($count)));
        all
    }};
}

/// Loops on one thread.
macro_rules! peers_on_a_loop {
    ($work:ident($count:expr)) => {
        peers!([
            peers::futures::CurrentThread::new() => "tokio spawn, current-thread",
            peers::futures::OneThread::new() => "tokio spawn, one worker thread",
            peers::threads::Smol::on(1) => "async-executor (smol), one thread",
        ] $work($count))
    };
}

/// All rows of this module.
pub fn rows() -> Vec<Row> {
    vec![
        Row::new("T1", "200k empty tasks: submitted, then all waited for", RATE, || {
            let mut all = bursts(BURST);
            all.insert(1, Contender::ours("atasker, attribute", || || attribute(BURST)));
            all
        }),
        Row::new("T2", "submit one, wait, repeat", TRIP, || on_threads!(round_trips(TRIPS))),
        Row::new("T3", "4 x 50k empty tasks, from four threads", RATE, || {
            on_threads!(four_submitters(BURST / 4))
        }),
        Row::new(
            "T4",
            "an urgent task behind 2400 sleeps of 1 ms: submit to start",
            DELAYS,
            urgent_behind_many,
        ),
        Row::new("T5", "a queued task and its handle", MEMORY, || on_threads!(memory(100_000))),
        Row::new("A1", "200k trivial async tasks from outside, then all waited for", RATE, || {
            let mut all = vec![Contender::ours("atasker", || {
                let pool = futures::Ours::new();
                move || burst(&pool, BURST)
            })];
            all.extend(peers_on_a_loop!(burst(BURST)));
            all
        }),
        Row::new("A2", "run a coroutine on a loop and block for it", TRIP, || {
            let mut all = vec![
                Contender::ours("atasker, Aloop::run", || {
                    let pool = futures::Ours::new();
                    move || runs(&pool, TRIPS)
                }),
                Contender::ours("atasker, task", || {
                    let pool = futures::Ours::new();
                    move || round_trips(&pool, TRIPS)
                }),
            ];
            all.extend(peers_on_a_loop!(round_trips(TRIPS)));
            all
        }),
    ]
}

/// T1 with this number of tasks.
pub fn bursts(tasks: u64) -> Vec<Contender> {
    on_threads!(burst(tasks))
}

/// T2, with each round trip timed.
pub fn latencies() -> Vec<Contender> {
    on_threads!(timed_round_trips(TRIPS))
}

const BURST: u64 = 200_000;
const TRIPS: u64 = 20_000;

/// Millions of tasks per second, from the first submission to the last result.
fn burst(pool: &impl Pool, tasks: u64) -> Vec<f64> {
    let begin = Instant::now();
    let handles: Vec<_> = (0..tasks).map(|i| pool.spawn(move || i)).collect();
    let mut sum = 0;
    pool.join_all(handles, |i| sum += i);
    let time = begin.elapsed();
    assert_eq!(sum, tasks * (tasks - 1) / 2);
    vec![tasks as f64 / time.as_secs_f64() / 1e6]
}

static PAIR: LazyLock<Supervisor> = LazyLock::new(|| {
    Supervisor::builder().id("pair").thread_pool(PoolConfig::new(THREADS)).build()
});

#[background_task(supervisor = &PAIR)]
fn same(i: u64) -> u64 {
    i
}

/// The same with the attribute.
fn attribute(tasks: u64) -> Vec<f64> {
    let begin = Instant::now();
    let all: Vec<_> = (0..tasks).map(same).collect();
    let results = wait_completed!(all).unwrap();
    let time = begin.elapsed();
    assert!((0..tasks).eq(results));
    vec![tasks as f64 / time.as_secs_f64() / 1e6]
}

/// Microseconds from a submission to its result.
fn round_trips(pool: &impl Pool, trips: u64) -> Vec<f64> {
    let begin = Instant::now();
    for i in 0..trips {
        assert_eq!(pool.join(pool.spawn(move || i)), i);
    }
    vec![begin.elapsed().as_secs_f64() * 1e6 / trips as f64]
}

/// The microseconds of each round trip, as percentiles.
fn timed_round_trips(pool: &impl Pool, trips: u64) -> Vec<f64> {
    let timed = |i| {
        let begin = Instant::now();
        assert_eq!(pool.join(pool.spawn(move || i)), i);
        begin.elapsed().as_secs_f64() * 1e6
    };
    latency::figures((0..trips).map(timed).collect())
}

/// The same as [`round_trips`] with coroutines that are not tasks.
fn runs(loops: &futures::Ours, trips: u64) -> Vec<f64> {
    let aloop = loops.aloop();
    let begin = Instant::now();
    for i in 0..trips {
        assert_eq!(aloop.run(async move { i }), i);
    }
    vec![begin.elapsed().as_secs_f64() * 1e6 / trips as f64]
}

/// Like [`burst`], from four threads at once.
fn four_submitters(pool: &impl Pool, each: u64) -> Vec<f64> {
    let begin = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| burst(pool, each));
        }
    });
    vec![4.0 * each as f64 / begin.elapsed().as_secs_f64() / 1e6]
}

/// Heap bytes per task that is queued behind a busy pool, with its handle.
fn memory(pool: &impl Pool, tasks: u64) -> Vec<f64> {
    let gate = Arc::new(RwLock::new(()));
    let shut = gate.write().unwrap();
    let busy: Vec<_> = (0..THREADS)
        .map(|_| {
            let gate = Arc::clone(&gate);
            pool.spawn(move || drop(gate.read().unwrap()))
        })
        .collect();
    let before = heap();
    let mut handles = Vec::with_capacity(tasks as usize);
    handles.extend((0..tasks).map(|i| pool.spawn(move || i)));
    let used = heap() - before;
    drop(shut);
    pool.join_all(busy, drop);
    let mut sum = 0;
    pool.join_all(handles, |i| sum += i);
    assert_eq!(sum, tasks * (tasks - 1) / 2);
    vec![used / tasks as f64]
}

fn urgent_behind_many() -> Vec<Contender> {
    fn ours(name: &'static str, config: fn() -> PoolConfig, priority: Priority) -> Contender {
        Contender::ours(name, move || {
            let pool = Ours::with(config());
            move || delays(&pool, &Urgent(pool.clone(), priority))
        })
    }
    let plain = || PoolConfig::new(THREADS);
    let mut all = vec![
        ours(
            "atasker, high, one slot in reserve",
            || PoolConfig::new(THREADS).reserve_high(1),
            Priority::High,
        ),
        ours("atasker, high, no reserve", plain, Priority::High),
        ours("atasker, critical", plain, Priority::Critical),
    ];
    all.extend(peers!([
        (peers::threads::Channel::new(), peers::threads::Channel::new())
            => "crossbeam-channel, a second pool",
    ] urgent_on_second(())));
    all.extend(peers!([
        peers::threads::Rayon::new() => "rayon::spawn",
        peers::threads::SpawnBlocking::new() => "tokio spawn_blocking",
    ] urgent_on_same(())));
    all
}

#[cfg(feature = "peers")]
fn urgent_on_second<P: Pool>((slow, second): &(P, P), _: ()) -> Vec<f64> {
    delays(slow, second)
}

#[cfg(feature = "peers")]
fn urgent_on_same(pool: &impl Pool, _: ()) -> Vec<f64> {
    delays(pool, pool)
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
            // A submitter that spins in between would occupy the CPU of the woken thread.
            std::thread::sleep(APART);
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
