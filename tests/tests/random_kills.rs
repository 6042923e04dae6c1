//! Does every task end once, with its value or with the death of its worker process, when worker
//! processes are killed at arbitrary instructions: while they take calls from shared memory, copy
//! arguments and replies, send messages, or panic? At most one task may fail per death, and nothing
//! may leak.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use atasker::{
    StopOptions, Supervisor, TaskBuilder, TaskContext, TaskError, WorkerStdio, background_task,
};
use atasker_tests::mp::pool_of;
use atasker_tests::processes::{children, mappings, open_descriptors, resident};
use atasker_tests::{FAR, Patience, Watchdog, report};

/// A repeatable random number generator. `SEED=...` sets the seed.
struct Random(u64);

impl Random {
    fn new(what: u64) -> Self {
        let seed = std::env::var("SEED").ok().and_then(|seed| seed.parse::<u64>().ok());
        Random(seed.unwrap_or(7).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ what | 1)
    }

    fn below(&mut self, most: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % most
    }
}

/// Schedules a SIGKILL of this process in that many nanoseconds. A second call replaces the first.
fn arm(nanos: u64) {
    static TIMER: Mutex<Option<usize>> = Mutex::new(None);
    let mut timer = TIMER.lock().unwrap();
    // SAFETY: valid descriptions of a timer and of a time, and a timer that was created.
    unsafe {
        let timer = *timer.get_or_insert_with(|| {
            let mut event: libc::sigevent = std::mem::zeroed();
            event.sigev_notify = libc::SIGEV_SIGNAL;
            event.sigev_signo = libc::SIGKILL;
            let mut made: libc::timer_t = std::ptr::null_mut();
            let clock = libc::CLOCK_MONOTONIC;
            assert_eq!(libc::timer_create(clock, &mut event, &mut made), 0);
            made as usize
        });
        let mut time: libc::itimerspec = std::mem::zeroed();
        time.it_value.tv_sec = (nanos / 1_000_000_000) as _;
        time.it_value.tv_nsec = (nanos % 1_000_000_000).max(1) as _;
        let none = std::ptr::null_mut();
        assert_eq!(libc::timer_settime(timer as libc::timer_t, 0, &time, none), 0);
    }
}

fn pattern(seed: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![seed as u8; len];
    bytes.iter_mut().step_by(509).enumerate().for_each(|(i, byte)| *byte = (i as u64 + seed) as u8);
    bytes
}

/// The last call that this process begins. The size of the result is random.
#[background_task(tt = "mp")]
fn arms(nanos: u64, len: usize) -> Vec<u8> {
    arm(nanos);
    pattern(nanos, len)
}

#[background_task(tt = "mp")]
fn add(a: u64, b: u64) -> u64 {
    a + b
}

#[background_task(tt = "mp")]
fn echo(bytes: &[u8]) -> Vec<u8> {
    bytes.to_vec()
}

#[background_task(tt = "mp")]
fn length(bytes: &[u8]) -> usize {
    bytes.len()
}

#[background_task(tt = "mp")]
fn grows(seed: u64, len: usize) -> Vec<u8> {
    pattern(seed, len)
}

#[background_task(tt = "mp")]
fn texts(n: usize) -> Vec<String> {
    (0..n).map(|n| n.to_string()).collect()
}

#[background_task(tt = "mp")]
fn panics(len: usize) {
    panic!("{}", "x".repeat(len));
}

#[background_task(tt = "mp")]
fn answers(ctx: TaskContext<u64, u64>) -> u64 {
    let mut sum = 0;
    for _ in 0..3 {
        let Ok(n) = ctx.recv() else { break };
        sum += n;
        ctx.progress(sum, 6);
        let _ = ctx.send(sum);
    }
    sum
}

/// How the tasks of a test have ended.
#[derive(Default)]
struct Ends {
    launched: usize,
    fine: Arc<AtomicUsize>,
    died: Arc<AtomicUsize>,
    /// The errors of the other tasks.
    wrong: Arc<Mutex<Vec<String>>>,
}

impl Ends {
    /// Starts a task and checks its result when it is available.
    fn start<R: Send + Sync + 'static>(
        &mut self,
        task: TaskBuilder<R>,
        fine: impl FnOnce(Result<&R, String>) -> bool + Send + 'static,
    ) {
        self.launched += 1;
        drop(task.on_complete(self.check_result(fine)).start());
    }

    /// Counts how a task ends.
    fn check_result<R>(
        &self,
        fine: impl FnOnce(Result<&R, String>) -> bool + Send + 'static,
    ) -> impl FnOnce(&Result<R, TaskError>) + Send + 'static {
        let (is_fine, has_died) = (Arc::clone(&self.fine), Arc::clone(&self.died));
        let wrong = Arc::clone(&self.wrong);
        move |result| {
            let error = result.as_ref().err().map(ToString::to_string);
            if result.as_ref().is_err_and(TaskError::is_worker_died) {
                has_died.fetch_add(1, Ordering::Relaxed);
            } else if fine(result.as_ref().map_err(|error| error.to_string())) {
                is_fine.fetch_add(1, Ordering::Relaxed);
            } else {
                let task = atasker::current().map_or(String::new(), |task| task.name().to_owned());
                wrong.lock().unwrap().push(format!("{task}: {error:?}"));
            }
        }
    }

    fn ended(&self) -> usize {
        self.fine.load(Ordering::Relaxed) + self.died.load(Ordering::Relaxed)
    }
}

/// Launches a task of a random kind.
fn launch_any(sup: &Supervisor, ends: &mut Ends, random: &mut Random) {
    const SIZES: [usize; 9] = [0, 200, 257, 1_000, 4_000, 60_000, 100_000, 1 << 20, 3 << 20];
    let len = SIZES[random.below(SIZES.len() as u64) as usize] + random.below(50) as usize;
    let seed = random.below(1 << 40);
    match random.below(8) {
        0 | 1 => {
            ends.start(add::builder(seed, 1).supervisor(sup), move |sum| sum == Ok(&(seed + 1)))
        }
        2 => {
            let bytes = pattern(seed, len);
            ends.start(echo::builder(&bytes).supervisor(sup), move |back| back == Ok(&bytes));
        }
        3 => {
            let bytes = pattern(seed, len);
            ends.start(length::builder(&bytes).supervisor(sup), move |n| n == Ok(&len));
        }
        4 => ends.start(grows::builder(seed, len).supervisor(sup), move |back| {
            back == Ok(&pattern(seed, len))
        }),
        5 => {
            let n = len.min(20_000);
            ends.start(texts::builder(n).supervisor(sup), move |texts| {
                texts.is_ok_and(|texts| {
                    texts.len() == n
                        && texts.iter().enumerate().all(|(i, text)| *text == i.to_string())
                })
            });
        }
        6 => {
            let len = len.min(70_000);
            ends.start(panics::builder(len).supervisor(sup), move |error| {
                error.is_err_and(|error| error.matches('x').count() >= len)
            });
        }
        _ => {
            // Messages in both directions; the replies are not awaited.
            ends.launched += 1;
            let look = ends.check_result(|sum| sum == Ok(&6));
            let task = answers::builder().supervisor(sup).on_complete(look).start();
            for n in 1..=3 {
                // The task may have ended.
                let _ = task.send(n);
            }
        }
    }
}

fn wait_for(sup: &Supervisor, ends: &Ends) {
    let (mut patience, mut seen) = (Patience::new(), ends.ended());
    while ends.ended() < ends.launched {
        if ends.ended() > seen {
            (patience, seen) = (Patience::new(), ends.ended());
        }
        let wrong = ends.wrong.lock().unwrap();
        assert!(
            wrong.is_empty() && !patience.is_over(),
            "{} launched; fine {}, died {}, wrong {wrong:#?}\n{}",
            ends.launched,
            ends.fine.load(Ordering::Relaxed),
            ends.died.load(Ordering::Relaxed),
            report(std::slice::from_ref(sup)),
        );
        drop(wrong);
        std::thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(ends.ended(), ends.launched, "a task has ended twice");
}

fn supervisor() -> Supervisor {
    // Collecting a backtrace for each panic would dominate the run time.
    let config = pool_of(2).stdio(WorkerStdio::Null).env("RUST_BACKTRACE", "0");
    Supervisor::builder().id("random").mp_pool(config).build()
}

/// Asserts that at most one task is blamed for each death.
fn check_blame(sup: &Supervisor, ends: &Ends) {
    let deaths = sup.info().mp_pool.unwrap().restarts as usize;
    let died = ends.died.load(Ordering::Relaxed);
    println!("{} tasks, {deaths} deaths, {died} tasks died", ends.launched);
    assert!(died <= deaths, "{died} tasks for {deaths} deaths");
    assert!(deaths > 0 && died < ends.launched / 2, "too few or too many deaths to be conclusive");
}

/// A timer in the worker process kills it at an arbitrary nanosecond.
fn killed_by_a_timer(rounds: u64) {
    let sup = supervisor();
    let mut random = Random::new(rounds);
    let mut ends = Ends::default();
    for _ in 0..rounds {
        // Often within this call or the next one, sometimes later.
        let most = [30_000, 300_000, 3_000_000][random.below(3) as usize];
        let nanos = 1_000 + random.below(most);
        let len = [10, 5_000, 200_000, 2 << 20][random.below(4) as usize];
        let armed = arms::builder(nanos, len).supervisor(&sup);
        ends.start(armed, move |back| back == Ok(&pattern(nanos, len)));
        for _ in 0..6 {
            launch_any(&sup, &mut ends, &mut random);
        }
        if ends.launched - ends.ended() > 40 {
            wait_for(&sup, &ends);
        }
    }
    wait_for(&sup, &ends);
    check_blame(&sup, &ends);
    sup.stop(StopOptions::new());
}

/// The parent sends a signal after some microseconds to a random worker process.
fn killed_from_outside(rounds: u64) {
    let sup = supervisor();
    let mut random = Random::new(rounds + 1);
    let mut ends = Ends::default();
    for _ in 0..rounds {
        for _ in 0..8 {
            launch_any(&sup, &mut ends, &mut random);
        }
        let (begin, delay) = (Instant::now(), Duration::from_nanos(random.below(300_000)));
        while begin.elapsed() < delay {
            std::hint::spin_loop();
        }
        let workers = sup.info().mp_pool.unwrap().workers;
        if !workers.is_empty() {
            let victim = workers[random.below(workers.len() as u64) as usize].pid;
            // The process is an unreaped child or a reaped one, whose id is not reused this soon.
            // SAFETY: sends a signal to a process of this test.
            unsafe { libc::kill(victim.cast_signed(), libc::SIGKILL) };
        }
        if ends.launched - ends.ended() > 40 {
            wait_for(&sup, &ends);
        }
    }
    wait_for(&sup, &ends);
    check_blame(&sup, &ends);
    sup.stop(StopOptions::new());
}

#[test]
fn killed_workers_end_every_task_once() {
    let _watchdog = Watchdog::new("random kills of worker processes", 20 * FAR);
    let before = open_descriptors();
    // All at once: each stop waits until nothing is left of the worker processes.
    let left = || {
        assert!(children().is_empty(), "{}", report(&[]));
        let areas = mappings().into_iter().filter(|line| line.contains("memfd:"));
        assert_eq!(areas.collect::<Vec<_>>(), [""; 0]);
        assert_eq!(open_descriptors(), before, "{}", report(&[]));
        resident()
    };
    // The first runs create what persists: the timer, the spawner thread, the allocator's heaps.
    killed_by_a_timer(20);
    killed_from_outside(20);
    let resident = left();
    killed_by_a_timer(150);
    killed_from_outside(150);
    let after = left();
    assert!(after < resident + (64 << 20), "resident {resident} -> {after}");
}
