//! Measures the current distance of two CPUs, and the wake-up time of a sleeping thread.
//!
//! Virtual CPUs may be two threads of one core or belong to different cores, and may move between
//! the two while measurements run. A handover between threads then costs two to five times as much.
//! In addition, the host may deschedule an idle CPU, depending on its load: waking a thread on it
//! costs 2 us or 40 us. Therefore each row reports both.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use crate::measure::median;

/// The cost of a handover between threads on two CPUs, in microseconds.
#[derive(Clone, Copy)]
pub struct Probe {
    /// A round trip between two spinning threads.
    pub distance: f64,
    /// From the wake-up of a thread that sleeps on a futex until it runs.
    pub wake: f64,
}

const TRIPS: u32 = 300;
const CHUNKS: usize = 9;
/// Below this value, the CPUs are near each other.
const FAR: f64 = 0.25;

const WAKES: u32 = 31;
/// How long a thread has slept when it is woken.
const ASLEEP: Duration = Duration::from_micros(60);

impl Probe {
    /// Takes a few milliseconds. Returns `None` if there is only one CPU.
    pub fn take() -> Option<Probe> {
        let cpus = two_cpus()?;
        Some(Probe { distance: distance(cpus), wake: wake(cpus) })
    }

    /// The distance as a word.
    pub fn word(self) -> &'static str {
        word(self.distance)
    }
}

/// A distance as a word.
pub fn word(distance: f64) -> &'static str {
    if distance < FAR { "near" } else { "far" }
}

fn distance((here, there): (usize, usize)) -> f64 {
    let ball = AtomicU32::new(0);
    let last = 2 * TRIPS * CHUNKS as u32;
    // On dedicated threads: their CPU affinity ends with them.
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
    median(chunks)
}

/// The median over several wake-ups of a thread that has slept for a short time.
fn wake((here, there): (usize, usize)) -> f64 {
    let bell = AtomicU32::new(0);
    let (asleep, up) = (AtomicU32::new(0), AtomicU32::new(0));
    let times = std::thread::scope(|scope| {
        let sleeper = scope.spawn(|| {
            pin(there);
            let mut times = Vec::new();
            for round in 1..=WAKES {
                asleep.store(round, Ordering::Release);
                while bell.load(Ordering::Acquire) < round {
                    futex_wait(&bell, round - 1);
                }
                times.push(Instant::now());
                up.store(round, Ordering::Release);
            }
            times
        });
        let waker = scope.spawn(|| {
            pin(here);
            let mut times = Vec::new();
            for round in 1..=WAKES {
                await_ball(&asleep, round);
                let now = Instant::now();
                while now.elapsed() < ASLEEP {
                    std::hint::spin_loop();
                }
                times.push(Instant::now());
                bell.store(round, Ordering::Release);
                futex_wake(&bell);
                await_ball(&up, round);
            }
            times
        });
        let rung = waker.join().expect("the probe does not panic");
        let awake = sleeper.join().expect("the probe does not panic");
        let pairs = rung.into_iter().zip(awake);
        pairs.map(|(rung, awake)| (awake - rung).as_secs_f64() * 1e6).collect()
    });
    median(times)
}

fn futex_wait(word: &AtomicU32, value: u32) {
    // SAFETY: the word outlives the call; there is no timeout.
    unsafe {
        libc::syscall(
            libc::SYS_futex,
            word.as_ptr(),
            libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG,
            value,
            std::ptr::null::<libc::timespec>(),
        );
    }
}

fn futex_wake(word: &AtomicU32) {
    // SAFETY: the word outlives the call.
    unsafe {
        libc::syscall(
            libc::SYS_futex,
            word.as_ptr(),
            libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG,
            1,
        );
    }
}

fn await_ball(ball: &AtomicU32, number: u32) {
    let mut looks = 0_u32;
    while ball.load(Ordering::Acquire) != number {
        std::hint::spin_loop();
        looks += 1;
        // The other thread may have lost its CPU to another program.
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
    // SAFETY: the index is below CPU_SETSIZE.
    let mut cpus =
        (0..libc::CPU_SETSIZE as usize).filter(|cpu| unsafe { libc::CPU_ISSET(*cpu, &set) });
    let pair = (cpus.next()?, cpus.next()?);
    (result == 0).then_some(pair)
}

/// Pins the calling thread to this CPU.
fn pin(cpu: usize) {
    // SAFETY: plain data, valid when zeroed; `cpu` comes from such a set.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(cpu, &mut set);
        libc::sched_setaffinity(0, size_of_val(&set), &set);
    }
}
