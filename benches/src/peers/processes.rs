//! Pools that run functions in worker processes.
//!
//! Each has the same four things to do: add two numbers (all submitted at once, or one after the
//! other), send bytes there and back with two calls under way, start, and tell a worker's id.

use std::collections::VecDeque;
use std::time::Instant;

use atasker::{MpPoolConfig, StopOptions, Supervisor, background_task};

/// What a row wants of a pool of worker processes.
pub trait Processes: 'static {
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
fn two_under_way<H>(calls: usize, mut submit: impl FnMut() -> H, mut collect: impl FnMut(H)) {
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

/// procspawn's pool.
pub struct Procspawn(procspawn::Pool);

/// Bytes that serde sees as bytes: what a user of procspawn would write to have them travel as one
/// block.
struct Bytes(Vec<u8>);

impl serde::Serialize for Bytes {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_bytes(&self.0)
    }
}

impl<'de> serde::Deserialize<'de> for Bytes {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl serde::de::Visitor<'_> for Visitor {
            type Value = Bytes;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("bytes")
            }
            fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Bytes, E> {
                Ok(Bytes(bytes.to_vec()))
            }
            fn visit_byte_buf<E>(self, bytes: Vec<u8>) -> Result<Bytes, E> {
                Ok(Bytes(bytes))
            }
        }
        from.deserialize_byte_buf(Visitor)
    }
}

/// Each call that is submitted holds descriptors of its own, so that not all can be at once.
const PROCSPAWN_AT_ONCE: u64 = 1000;

impl Processes for Procspawn {
    fn new(workers: usize) -> Self {
        Procspawn(procspawn::Pool::new(workers).unwrap())
    }
    fn add_all(&mut self, calls: u64) {
        for first in (0..calls).step_by(PROCSPAWN_AT_ONCE as usize) {
            let some = first..calls.min(first + PROCSPAWN_AT_ONCE);
            let handles: Vec<_> =
                some.clone().map(|i| self.0.spawn((i, i + 1), |(a, b)| a + b)).collect();
            for (i, handle) in some.zip(handles) {
                assert_eq!(handle.join().unwrap(), 2 * i + 1);
            }
        }
    }
    fn add(&mut self, a: u64, b: u64) -> u64 {
        self.0.spawn((a, b), |(a, b)| a + b).join().unwrap()
    }
    fn echo(&mut self, payload: &[u8], calls: usize) {
        // It wants to own what it sends: two copies go round and round.
        let spare = std::cell::RefCell::new(vec![payload.to_vec(), payload.to_vec()]);
        two_under_way(
            calls,
            || {
                let bytes = Bytes(spare.borrow_mut().pop().expect("two are under way at most"));
                self.0.spawn(bytes, |bytes| bytes)
            },
            |handle| {
                let Bytes(answer) = handle.join().unwrap();
                check_echo(payload, &answer);
                spare.borrow_mut().push(answer);
            },
        );
    }
    fn worker_pid(&mut self) -> u32 {
        self.0.spawn((), |()| std::process::id()).join().unwrap()
    }
    fn close(self) {
        self.0.shutdown();
    }
}

/// Calls per second, in thousands, of `calls` that are all submitted and then collected.
pub fn burst(pool: &mut impl Processes, calls: u64) -> f64 {
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

/// Megabytes per second, both ways counted.
pub fn echo_rate(pool: &mut impl Processes, payload: &[u8], calls: usize) -> f64 {
    let begin = Instant::now();
    pool.echo(payload, calls);
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
    let memory = proportional_set_size(pid);
    pool.close();
    memory
}

fn proportional_set_size(pid: u32) -> f64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
    let line =
        text.lines().find_map(|line| line.strip_prefix("Pss:")).expect("a line of that name");
    let kib: f64 = line.trim().trim_end_matches("kB").trim().parse().unwrap();
    kib / 1024.0
}
