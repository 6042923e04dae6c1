//! Stress test: several submitters launch tasks of all kinds on threads, aloops and worker
//! processes, while worker processes are killed at random and pools are resized, for a given time.
//! ```text
//! cargo run --release -p atasker-tests --bin stress -- \
//!     --seconds 60 --kill-every 20ms --tasks mixed --seed 7
//! ```
//!
//! At the end, a table shows the outcomes. The program fails unless every task has ended exactly
//! once with an outcome that matches what was done to it, and descriptors, threads, processes and
//! memory are back at their initial level.

mod kinds;
mod options;
mod pending;
mod report;

use std::collections::VecDeque;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use atasker::{MpPoolConfig, PoolConfig, StopOptions, Supervisor};
use atasker_tests::Watchdog;
use atasker_tests::mp::pool_of;
use atasker_tests::processes::{self, Process};

use atasker_tests::random::Random;
use options::{Options, Tasks};
use pending::{AnyPending, Scene};
use report::Report;

/// No task takes this long, whatever is done to it.
const FAR: Duration = Duration::from_secs(60);

/// The maximum number of tasks in flight per submitter.
const UNDER_WAY: u64 = 200;

fn main() -> ExitCode {
    let options = match Options::from_args(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(error) => {
            eprintln!("{error}\n\n{}", options::USAGE);
            return ExitCode::from(2);
        }
    };
    println!("{options}");
    quiet();
    keep_little();

    // Creates what persists: the timer, the spawner thread, the allocator's arenas.
    let warm_up = Options {
        length: Duration::from_secs(1),
        tasks: Tasks::Mixed,
        seed: !options.seed,
        ..options
    };
    let mut problems = Vec::new();
    problems.extend(run(&warm_up).problems());
    let before = Traces::of_this_process();
    let report = run(&options);
    println!("{report}");
    problems.extend(report.problems());
    problems.extend(Traces::of_this_process().compare(&before));
    if problems.is_empty() {
        println!("all outcomes match");
        return ExitCode::SUCCESS;
    }
    for problem in &problems {
        println!("PROBLEM: {problem}");
    }
    println!("again with: {options}");
    ExitCode::FAILURE
}

/// Silences the expected panics.
fn quiet() {
    std::panic::set_hook(Box::new(|_| {}));
}

/// Makes the allocator return free memory. It would otherwise retain some megabytes for each of a
/// dozen threads, which would hide a leak of the library.
fn keep_little() {
    // SAFETY: these only change how much memory is retained.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 1);
        libc::mallopt(libc::M_MMAP_THRESHOLD, 64 << 10);
        libc::mallopt(libc::M_TRIM_THRESHOLD, 64 << 10);
    }
}

/// One life of a supervisor, from start to end.
fn run(options: &Options) -> Report {
    let sup = Supervisor::builder()
        .id("stress")
        .thread_pool(PoolConfig::new(4).reserve_normal(1).reserve_high(1))
        .mp_pool(processes_of(2))
        .build();
    let scene = Arc::new(Scene::new(sup.clone(), options.tasks));
    let end = Instant::now() + options.length;
    let over = AtomicBool::new(false);
    let mut random = Random::new(options.seed);
    let started = Instant::now();
    std::thread::scope(|scope| {
        let submitters: Vec<_> = (0..options.submitters)
            .map(|_| {
                let (scene, mut random) = (Arc::clone(&scene), random.fork());
                scope.spawn(move || submit(&scene, &mut random, end))
            })
            .collect();
        let others = [
            options.kill_every.map(|every| {
                let (scene, over, mut random) = (&scene, &over, random.fork());
                scope.spawn(move || kill_workers(scene, &mut random, every, over))
            }),
            Some({
                let (scene, over, mut random) = (&scene, &over, random.fork());
                scope.spawn(move || resize(scene, &mut random, over))
            }),
        ];
        for submitter in submitters {
            submitter.join().expect("the submitter does not panic");
        }
        over.store(true, Ordering::Relaxed);
        for other in others.into_iter().flatten() {
            other.thread().unpark();
            other.join().expect("the thread does not panic");
        }
    });
    let took = started.elapsed();
    let info = sup.info();
    scene.check_idle(&info);
    let _watchdog = Watchdog::new("the stop of the supervisor", FAR);
    sup.stop(StopOptions::new());
    scene.report(&info, took)
}

/// Launches tasks until `end` and checks the outcomes of all of them.
fn submit(scene: &Arc<Scene>, random: &mut Random, end: Instant) {
    let mut under_way: VecDeque<Box<dyn AnyPending>> = VecDeque::new();
    while Instant::now() < end {
        for _ in 0..random.below(20) {
            under_way.push_back(kinds::launch(scene, random));
        }
        // Applies an operation to some tasks in flight, in whichever state they are.
        for _ in 0..random.below(4) {
            if !under_way.is_empty() {
                let one = random.below(under_way.len() as u64) as usize;
                under_way[one].meddle(random);
            }
        }
        let keep = random.below(UNDER_WAY) as usize;
        while under_way.len() > keep
            && let Some(task) = under_way.pop_front()
        {
            task.settle(scene);
        }
    }
    for task in under_way {
        task.settle(scene);
    }
}

/// Kills a worker process from time to time.
fn kill_workers(scene: &Scene, random: &mut Random, every: Duration, over: &AtomicBool) {
    while !over.load(Ordering::Relaxed) {
        std::thread::park_timeout(every.mul_f64(0.5 + random.below(1000) as f64 / 1000.0));
        let workers = scene.supervisor().info().mp_pool.map_or(Vec::new(), |pool| pool.workers);
        if workers.is_empty() {
            continue;
        }
        let pid = workers[random.below(workers.len() as u64) as usize].pid;
        // The id may have been reused by another process, which would not be a worker process.
        if Process::of(pid).is_some_and(|process| process.parent == std::process::id()) {
            scene.kill_worker(pid);
        }
    }
}

fn processes_of(workers: usize) -> MpPoolConfig {
    pool_of(workers).critical_extra(1).worker_init(quiet)
}

/// Resizes the pools from time to time.
fn resize(scene: &Scene, random: &mut Random, over: &AtomicBool) {
    while !over.load(Ordering::Relaxed) {
        std::thread::park_timeout(Duration::from_millis(50 + random.below(300)));
        let mut config = processes_of(1 + random.below(4) as usize)
            .reserve_normal(random.below(2) as usize)
            .reserve_high(random.below(2) as usize)
            .min_size(random.below(3) as usize);
        if random.below(2) == 0 {
            config = config.idle_timeout(Duration::from_millis(random.below(20)));
        }
        if random.below(3) == 0 {
            config = config.max_tasks_per_worker(1 + random.below(50));
        }
        scene.supervisor().set_mp_pool(config);
        let threads = PoolConfig::new(1 + random.below(8) as usize)
            .reserve_normal(random.below(3) as usize)
            .idle_timeout(Duration::from_millis(1 + random.below(2000)));
        scene.supervisor().set_thread_pool(threads);
        scene.resized();
    }
}

/// The resources of a process.
struct Traces {
    descriptors: usize,
    threads: Vec<String>,
    children: usize,
    resident: u64,
    /// Bytes that are allocated.
    allocated: u64,
}

/// The tolerance: fragmentation, stacks cached by the C library, memory of the report.
const RESIDENT_SLACK: u64 = 32 << 20;
const ALLOCATED_SLACK: u64 = 2 << 20;

impl Traces {
    /// The resources after everything that is ending has ended.
    fn of_this_process() -> Traces {
        let look = || {
            let mut threads = processes::thread_names();
            threads.sort();
            Traces {
                descriptors: processes::descriptors(),
                children: processes::children().len(),
                resident: 0,
                allocated: 0,
                threads,
            }
        };
        // Threads end slightly after they are counted as ended.
        let deadline = Instant::now() + Duration::from_secs(10);
        let mut traces = look();
        while (traces.children > 0 || traces.threads.iter().any(|name| is_of_a_pool(name)))
            && Instant::now() < deadline
        {
            std::thread::sleep(Duration::from_millis(10));
            traces = look();
        }
        // SAFETY: no preconditions.
        let heap = unsafe {
            libc::malloc_trim(0);
            libc::mallinfo2()
        };
        traces.resident = processes::resident();
        traces.allocated = (heap.uordblks + heap.hblkhd) as u64;
        traces
    }

    fn compare(&self, before: &Traces) -> Vec<String> {
        let mut problems = Vec::new();
        println!(
            "descriptors {} -> {}, threads {} -> {}, child processes {} -> {}, \
             resident MB {} -> {}, allocated KB {} -> {}",
            before.descriptors,
            self.descriptors,
            before.threads.len(),
            self.threads.len(),
            before.children,
            self.children,
            before.resident >> 20,
            self.resident >> 20,
            before.allocated >> 10,
            self.allocated >> 10,
        );
        if self.descriptors > before.descriptors {
            problems.push("descriptors were left open".to_owned());
        }
        if self.threads != before.threads {
            problems.push(format!("threads: {:?}, and were {:?}", self.threads, before.threads));
        }
        if self.children > 0 {
            problems.push("processes were left behind".to_owned());
        }
        if self.resident > before.resident + RESIDENT_SLACK
            || self.allocated > before.allocated + ALLOCATED_SLACK
        {
            problems.push("memory has grown".to_owned());
        }
        problems
    }
}

/// The kernel truncates the name of a thread to 15 bytes.
fn is_of_a_pool(name: &str) -> bool {
    ["supervisor_str", "atasker reader", "atasker temp"].iter().any(|of| name.starts_with(of))
}
