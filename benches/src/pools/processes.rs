//! Pools that run functions in worker processes.
//!
//! Each has the same four things to do: add two numbers (all submitted at once, or one after the
//! other), send bytes there and back with two calls under way, start, and tell a worker's id.

use std::collections::VecDeque;
use std::time::Instant;

use atasker::{MpPoolConfig, StopOptions, Supervisor, background_task};

use crate::memory::proportional;

/// What a row wants of a pool of worker processes.
pub trait Processes: 'static {
    /// Whether it takes much longer than others for a call, and is given fewer.
    const SLOW: bool = false;
    /// With so many worker processes.
    fn new(workers: usize) -> Self;
    /// Adds `i` and `i + 1`, for each `i` below `calls`: all submitted, then all results looked at.
    fn add_all(&mut self, calls: u64);
    /// One call, waited for.
    fn add(&mut self, a: u64, b: u64) -> u64;
    /// Sends `payload` there and back `calls` times, two of them under way at a time.
    fn echo(&mut self, payload: &[u8], calls: usize);
    /// The process id of a worker that is there.
    fn worker_pid(&mut self) -> u32;
    /// Ends it.
    fn close(self);
}

/// Two calls under way, at least `calls` in all: `submit` starts one, `collect` ends the oldest.
pub fn two_under_way<H>(calls: usize, mut submit: impl FnMut() -> H, mut collect: impl FnMut(H)) {
    let mut under_way = VecDeque::new();
    for _ in 0..calls {
        under_way.push_back(submit());
        if under_way.len() == 2 {
            collect(under_way.pop_front().expect("two are under way"));
        }
    }
    under_way.into_iter().for_each(collect);
}

/// Whether an answer is the payload: all of it where that is cheap, else samples.
pub fn check_echo(payload: &[u8], answer: &[u8]) {
    assert_eq!(payload.len(), answer.len());
    let step = (payload.len() / 64).max(1);
    for at in (0..payload.len()).step_by(step).chain([payload.len() - 1]) {
        assert_eq!(payload[at], answer[at]);
    }
}

/// This project's.
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

/// Calls per second, in thousands, of `calls` that are all submitted and then collected; of
/// `of_slow`, where the pool is slow.
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

/// The microseconds of each.
pub fn timed_round_trips(pool: &mut impl Processes, calls: u64) -> Vec<f64> {
    let timed = |i| {
        let begin = Instant::now();
        assert_eq!(pool.add(i, 2 * i), 3 * i);
        begin.elapsed().as_secs_f64() * 1e6
    };
    (1..=calls).map(timed).collect()
}

/// Megabytes per second, both ways counted.
pub fn echo_rate(pool: &mut impl Processes, size: usize, calls: usize) -> f64 {
    let payload: Vec<u8> = (0..size).map(|i| (i % 251) as u8).collect();
    let begin = Instant::now();
    pool.echo(&payload, calls);
    (2 * payload.len() * calls) as f64 / begin.elapsed().as_secs_f64() / 1e6
}

/// Milliseconds from making a pool to its first result; its end is not counted.
pub fn first_result<P: Processes>() -> f64 {
    let begin = Instant::now();
    let mut pool = P::new(1);
    assert_eq!(pool.add(20, 22), 42);
    let time = begin.elapsed().as_secs_f64() * 1e3;
    pool.close();
    time
}

/// Mebibytes of an idle worker: its proportional set size.
pub fn idle_memory<P: Processes>() -> f64 {
    let mut pool = P::new(1);
    assert_eq!(pool.add(20, 22), 42);
    let pid = pool.worker_pid();
    std::thread::sleep(std::time::Duration::from_millis(50));
    let memory = proportional(pid) / (1 << 20) as f64;
    pool.close();
    memory
}
