//! Pools that run functions in worker processes.
//!
//! Each pool adds two numbers (all calls submitted at once, or one after the other), echoes bytes
//! with two calls in flight, starts, and reports the id of a worker process.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use atasker::{MpPoolConfig, Priority, StopOptions, Supervisor, background_task};

use crate::memory::proportional;

/// The interface of a pool of worker processes.
pub trait Processes: 'static {
    /// Whether a call takes much longer than with other pools, so that it gets fewer calls.
    const SLOW: bool = false;
    /// Creates a pool with this number of worker processes.
    fn new(workers: usize) -> Self;
    /// Adds `i` and `i + 1` for each `i` below `calls`: submits all calls, then checks all results.
    fn add_all(&mut self, calls: u64);
    /// One call, with a wait for its result.
    fn add(&mut self, a: u64, b: u64) -> u64;
    /// Echoes `payload` `calls` times, with two calls in flight at a time.
    fn echo(&mut self, payload: &[u8], calls: usize);
    /// The id of a running worker process.
    fn worker_pid(&mut self) -> u32;
    /// Ends the pool.
    fn close(self);
}

/// Keeps two calls in flight, at least `calls` in total: `submit` starts one, `collect` ends the
/// oldest.
pub fn two_under_way<H>(calls: usize, mut submit: impl FnMut() -> H, mut collect: impl FnMut(H)) {
    let mut under_way = VecDeque::new();
    for _ in 0..calls {
        under_way.push_back(submit());
        if under_way.len() == 2 {
            collect(under_way.pop_front().expect("two are in flight"));
        }
    }
    under_way.into_iter().for_each(collect);
}

/// Whether a reply is the payload: completely where that is cheap, otherwise by samples.
pub fn check_echo(payload: &[u8], answer: &[u8]) {
    assert_eq!(payload.len(), answer.len());
    let step = (payload.len() / 64).max(1);
    for at in (0..payload.len()).step_by(step).chain([payload.len() - 1]) {
        assert_eq!(payload[at], answer[at]);
    }
}

/// This project.
pub struct Ours(Supervisor);

#[background_task(tt = "mp")]
fn add(a: u64, b: u64) -> u64 {
    a + b
}

#[background_task(tt = "mp")]
fn echo(bytes: &[u8]) -> Vec<u8> {
    bytes.to_vec()
}

#[background_task(tt = "mp")]
fn pid() -> u32 {
    std::process::id()
}

impl Processes for Ours {
    fn new(workers: usize) -> Self {
        Ours(Supervisor::builder().id("bench").mp_pool(MpPoolConfig::new(workers)).build())
    }
    fn add_all(&mut self, calls: u64) {
        let tasks: Vec<_> =
            (0..calls).map(|i| add::builder(i, i + 1).supervisor(&self.0).start()).collect();
        for (i, task) in (0..).zip(tasks) {
            assert_eq!(task.join().unwrap(), 2 * i + 1);
        }
    }
    fn add(&mut self, a: u64, b: u64) -> u64 {
        add::builder(a, b).supervisor(&self.0).start().join().unwrap()
    }
    fn echo(&mut self, payload: &[u8], calls: usize) {
        two_under_way(
            calls,
            || echo::builder(payload).supervisor(&self.0).start(),
            |task| check_echo(payload, &task.join().unwrap()),
        );
    }
    fn worker_pid(&mut self) -> u32 {
        pid::builder().supervisor(&self.0).start().join().unwrap()
    }
    fn close(self) {
        self.0.stop(StopOptions::new());
    }
}

#[background_task(tt = "mp")]
fn pause(micros: u64) {
    std::thread::sleep(Duration::from_micros(micros));
}

#[background_task(tt = "mp")]
fn begun_at() -> u64 {
    monotonic()
}

/// Nanoseconds of the clock that all processes of a machine share.
fn monotonic() -> u64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is to a `timespec`, which the call initializes.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut now) };
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

/// The microseconds between the launch of an urgent call and its start, while the pool is busy with
/// calls of lower priority that sleep for 50 us to 1 ms.
pub fn urgent_delays(config: MpPoolConfig, urgent: Priority) -> Vec<f64> {
    const BEHIND: u64 = 2400;
    const URGENT: usize = 200;
    const APART: Duration = Duration::from_micros(700);
    let sup = Supervisor::builder().id("urgent").mp_pool(config).build();
    // Short calls first, so that the pool classifies its calls as short when the longer ones come.
    let short: Vec<_> = (0..500).map(|_| pause::builder(0).supervisor(&sup).start()).collect();
    short.into_iter().for_each(|task| task.join().unwrap());
    let launch = || begun_at::builder().priority(urgent).supervisor(&sup).start();
    // Reserved worker processes start before the measurement.
    while sup.info().mp_pool.is_some_and(|pool| pool.workers.len() < 3 && pool.reserve_high > 0) {
        let together: Vec<_> = (0..3)
            .map(|_| pause::builder(2_000).priority(urgent).supervisor(&sup).start())
            .collect();
        together.into_iter().for_each(|task| task.join().unwrap());
    }
    launch().join().unwrap();
    let slow: Vec<_> = (0..BEHIND)
        .map(|i| {
            let micros = 50 + i * 7919 % 951;
            pause::builder(micros).priority(Priority::Low).supervisor(&sup).start()
        })
        .collect();
    let handles: Vec<_> = (0..URGENT)
        .map(|_| {
            std::thread::sleep(APART);
            (monotonic(), launch())
        })
        .collect();
    let delay = |(launched, task): (u64, atasker::Task<u64>)| {
        (task.join().unwrap() - launched) as f64 / 1e3
    };
    let delays = handles.into_iter().map(delay).collect();
    slow.into_iter().for_each(|task| task.join().unwrap());
    sup.stop(StopOptions::new());
    delays
}

#[background_task(tt = "mp")]
fn crash() {
    std::process::abort();
}

/// Creates a pool that has had time to prepare a template, if it has one.
fn warm_pool(config: MpPoolConfig) -> Supervisor {
    let sup = Supervisor::builder().id("fresh").mp_pool(config).build();
    for _ in 0..2 {
        assert_eq!(add::builder(20, 22).supervisor(&sup).start().join().unwrap(), 42);
        std::thread::sleep(Duration::from_millis(100));
    }
    sup
}

/// Calls per second with two in flight, each in a process that runs nothing else.
pub fn fresh_process_per_call(template: bool, calls: usize) -> f64 {
    let config = MpPoolConfig::new(2).max_tasks_per_worker(1).template(template);
    let sup = warm_pool(config);
    let begin = Instant::now();
    two_under_way(
        calls,
        || add::builder(20, 22).supervisor(&sup).start(),
        |task| assert_eq!(task.join().unwrap(), 42),
    );
    let rate = calls as f64 / begin.elapsed().as_secs_f64();
    sup.stop(StopOptions::new());
    rate
}

/// Milliseconds from the end of a task that has crashed its worker process to the result of the next
/// one, in another process.
pub fn replacement(template: bool) -> f64 {
    let sup = warm_pool(MpPoolConfig::new(1).template(template));
    assert!(crash::builder().supervisor(&sup).start().join().is_err());
    let begin = Instant::now();
    assert_eq!(add::builder(20, 22).supervisor(&sup).start().join().unwrap(), 42);
    let time = begin.elapsed().as_secs_f64() * 1e3;
    sup.stop(StopOptions::new());
    time
}

/// The proportional set size of an idle worker process, in mebibytes: the mean of `count` of them.
/// They start one after the other, so that all but the first can be forked from a template.
pub fn idle_memory_of(count: usize, template: bool) -> f64 {
    let sup = warm_pool(MpPoolConfig::new(1).template(template));
    assert!(crash::builder().supervisor(&sup).start().join().is_err());
    sup.set_mp_pool(sup.mp_pool().min_size(count));
    while sup.info().mp_pool.is_none_or(|pool| pool.workers.len() < count) {
        std::thread::sleep(Duration::from_millis(1));
    }
    let mut config = sup.mp_pool();
    config.pool_size = count;
    sup.set_mp_pool(config);
    for _ in 0..20 {
        let tasks: Vec<_> =
            (0..count).map(|_| pause::builder(1_000).supervisor(&sup).start()).collect();
        tasks.into_iter().for_each(|task| task.join().unwrap());
    }
    std::thread::sleep(Duration::from_millis(50));
    let workers = sup.info().mp_pool.expect("there is a pool").workers;
    let memory: f64 = workers.iter().map(|worker| proportional(worker.pid)).sum();
    sup.stop(StopOptions::new());
    memory / workers.len() as f64 / (1 << 20) as f64
}

/// Thousands of calls per second, for `calls` calls that are all submitted and then collected;
/// `of_slow` calls if the pool is slow.
pub fn burst<P: Processes>(pool: &mut P, calls: u64, of_slow: u64) -> f64 {
    let calls = if P::SLOW { of_slow } else { calls };
    let begin = Instant::now();
    pool.add_all(calls);
    calls as f64 / begin.elapsed().as_secs_f64() / 1e3
}

/// Microseconds per call, one after the other.
pub fn round_trips(pool: &mut impl Processes, calls: u64) -> f64 {
    let begin = Instant::now();
    for i in 1..=calls {
        assert_eq!(pool.add(i, 2 * i), 3 * i);
    }
    begin.elapsed().as_secs_f64() * 1e6 / calls as f64
}

/// The microseconds of each call.
pub fn timed_round_trips(pool: &mut impl Processes, calls: u64) -> Vec<f64> {
    let timed = |i| {
        let begin = Instant::now();
        assert_eq!(pool.add(i, 2 * i), 3 * i);
        begin.elapsed().as_secs_f64() * 1e6
    };
    (1..=calls).map(timed).collect()
}

/// Megabytes per second, counting both directions.
pub fn echo_rate(pool: &mut impl Processes, size: usize, calls: usize) -> f64 {
    let payload: Vec<u8> = (0..size).map(|i| (i % 251) as u8).collect();
    let begin = Instant::now();
    pool.echo(&payload, calls);
    (2 * payload.len() * calls) as f64 / begin.elapsed().as_secs_f64() / 1e6
}

/// Milliseconds from creating a pool to its first result; its end is not counted.
pub fn first_result<P: Processes>() -> f64 {
    let begin = Instant::now();
    let mut pool = P::new(1);
    assert_eq!(pool.add(20, 22), 42);
    let time = begin.elapsed().as_secs_f64() * 1e3;
    pool.close();
    time
}

/// The proportional set size of an idle worker process in mebibytes.
pub fn idle_memory<P: Processes>() -> f64 {
    let mut pool = P::new(1);
    assert_eq!(pool.add(20, 22), 42);
    let pid = pool.worker_pid();
    std::thread::sleep(std::time::Duration::from_millis(50));
    let memory = proportional(pid) / (1 << 20) as f64;
    pool.close();
    memory
}
