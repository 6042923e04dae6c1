//! How far apart two CPUs are at the moment.
//!
//! Virtual CPUs may be two threads of one core, or sit on different cores, and move between the
//! two while measurements run; every hand-over between threads costs twice to five times as much
//! then. So each row says where they were.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use crate::measure::median;

/// A there-and-back between two spinning threads on two CPUs, in microseconds.
#[derive(Clone, Copy)]
pub struct Probe(pub f64);

const TRIPS: u32 = 300;
const CHUNKS: usize = 9;
/// Below, the CPUs are near each other.
const FAR: f64 = 0.25;

impl Probe {
    /// Takes a few milliseconds. `None` where there is one CPU only.
    pub fn take() -> Option<Probe> {
        let (here, there) = two_cpus()?;
        let ball = AtomicU32::new(0);
        let last = 2 * TRIPS * CHUNKS as u32;
        // On threads of their own: pinning ends with them.
        let chunks = std::thread::scope(|scope| {
            scope.spawn(|| {
                pin(there);
                for back in (1..last).step_by(2) {
                    await_ball(&ball, back);
                    ball.store(back + 1, Ordering::Release);
                }
            });
            let timed = scope.spawn(|| {
                pin(here);
                let mut next = 0;
                let mut chunks = Vec::with_capacity(CHUNKS);
                for _ in 0..CHUNKS {
                    let begin = Instant::now();
                    for _ in 0..TRIPS {
                        await_ball(&ball, next);
                        ball.store(next + 1, Ordering::Release);
                        next += 2;
                    }
                    chunks.push(begin.elapsed().as_secs_f64() * 1e6 / f64::from(TRIPS));
                }
                chunks
            });
            timed.join().expect("the probe does not panic")
        });
        Some(Probe(median(chunks)))
    }

    /// In a word.
    pub fn word(self) -> &'static str {
        if self.0 < FAR { "near" } else { "far" }
    }
}

fn await_ball(ball: &AtomicU32, number: u32) {
    let mut looks = 0_u32;
    while ball.load(Ordering::Acquire) != number {
        std::hint::spin_loop();
        looks += 1;
        // The other one may have lost its CPU to another program.
        if looks.is_multiple_of(1 << 16) {
            std::thread::yield_now();
        }
    }
}

/// The first two CPUs that this process may use.
fn two_cpus() -> Option<(usize, usize)> {
    // SAFETY: plain data, valid when zeroed.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: the pointer and the size are those of `set`.
    let result = unsafe { libc::sched_getaffinity(0, size_of_val(&set), &mut set) };
    // SAFETY: below CPU_SETSIZE.
    let mut cpus =
        (0..libc::CPU_SETSIZE as usize).filter(|cpu| unsafe { libc::CPU_ISSET(*cpu, &set) });
    let pair = (cpus.next()?, cpus.next()?);
    (result == 0).then_some(pair)
}

/// The calling thread stays on this CPU.
fn pin(cpu: usize) {
    // SAFETY: plain data, valid when zeroed; `cpu` came out of such a set.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(cpu, &mut set);
        libc::sched_setaffinity(0, size_of_val(&set), &set);
    }
}
