//! How far apart two CPUs are at the moment, and how long a sleeping thread needs to get up.
//!
//! Virtual CPUs may be two threads of one core, or sit on different cores, and move between the
//! two while measurements run; every hand-over between threads costs twice to five times as much
//! then. And a CPU that has nothing to do is taken away by the host, or not, depending on what else
//! that has to do: waking a thread on it costs 2 us or 40. So each row says how both were.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use crate::measure::median;

/// What two CPUs do to a hand-over between threads, in microseconds.
#[derive(Clone, Copy)]
pub struct Probe {
    /// There and back between two spinning threads.
    pub distance: f64,
    /// From the wake-up of a thread that sleeps on a futex to its first step.
    pub wake: f64,
}

const TRIPS: u32 = 300;
const CHUNKS: usize = 9;
/// Below, the CPUs are near each other.
const FAR: f64 = 0.25;

const WAKES: u32 = 31;
/// So long a thread has slept when it is woken.
const ASLEEP: Duration = Duration::from_micros(60);

impl Probe {
    /// Takes a few milliseconds. `None` where there is one CPU only.
    pub fn take() -> Option<Probe> {
        let cpus = two_cpus()?;
        Some(Probe { distance: distance(cpus), wake: wake(cpus) })
    }

    /// The distance in a word.
    pub fn word(self) -> &'static str {
        word(self.distance)
    }
}

/// A distance in a word.
pub fn word(distance: f64) -> &'static str {
    if distance < FAR { "near" } else { "far" }
}

fn distance((here, there): (usize, usize)) -> f64 {
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
    median(chunks)
}

/// The median over some wake-ups, each of a thread that has slept for a moment.
fn wake((here, there): (usize, usize)) -> f64 {
    let bell = AtomicU32::new(0);
    let (asleep, up) = (AtomicU32::new(0), AtomicU32::new(0));
    let times = std::thread::scope(|scope| {
        let sleeper = scope.spawn(|| {
            pin(there);
            let mut times = Vec::new();
            for turn in 1..=WAKES {
                asleep.store(turn, Ordering::Release);
                while bell.load(Ordering::Acquire) < turn {
                    futex_wait(&bell, turn - 1);
                }
                times.push(Instant::now());
                up.store(turn, Ordering::Release);
            }
            times
        });
        let waker = scope.spawn(|| {
            pin(here);
            let mut times = Vec::new();
            for turn in 1..=WAKES {
                await_ball(&asleep, turn);
                let now = Instant::now();
                while now.elapsed() < ASLEEP {
                    std::hint::spin_loop();
                }
                times.push(Instant::now());
                bell.store(turn, Ordering::Release);
                futex_wake(&bell);
                await_ball(&up, turn);
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
    // SAFETY: the word outlives the call; no time limit.
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
