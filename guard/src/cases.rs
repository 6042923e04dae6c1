//! The measured cases. In each case one thread, loop or worker process is blocked while tasks are
//! queued behind it; then all tasks run, and then they are joined. No thread waits or spins within
//! a part, so the counts are reproducible.

use std::ffi::CStr;
use std::path::PathBuf;
use std::sync::{Arc, Barrier};
use std::time::Duration;

use atasker::{MpPoolConfig, PoolConfig, Priority, Supervisor, Task, TaskBuilder, background_task};

use crate::steps::{mark, wait_for_counter};
use crate::valgrind::dump;

/// The cases that run under valgrind.
pub const BY_VALGRIND: [&str; 3] = ["thread", "limited", "async"];
/// The case that is counted step by step; its parts, and the name of the code between the rounds.
pub const BY_STEPS: (&str, [&str; 4]) = ("mp", ["launch", "replies", "join", BETWEEN]);

const BETWEEN: &str = "";

/// The number of tasks of a part.
pub const TASKS: u32 = 5_000;
/// The same for a part that is counted step by step.
pub const CALLS: u32 = 16;
/// The number of rounds. The least count of a part is used, because disturbances only add
/// instructions.
pub const ROUNDS: usize = 6;

/// The name of instructions outside of all parts.
pub const BEGIN: &CStr = c"begin";

/// Runs a case.
pub fn run(case: &str) {
    // Ends a case that hangs.
    // SAFETY: no preconditions.
    unsafe { libc::alarm(240) };
    one_cpu();
    match case {
        "thread" => thread(),
        "limited" => limited(),
        "async" => aloop(),
        "mp" => {
            wait_for_counter();
            mp();
        }
        other => panic!("no case `{other}`"),
    }
}

/// Restricts the process to one CPU, where no thread spins.
pub fn one_cpu() {
    // SAFETY: plain data, valid when zeroed; the pointers and sizes are those of `set` and `one`.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        assert_eq!(libc::sched_getaffinity(0, size_of_val(&set), &mut set), 0);
        let mut cpus = 0..libc::CPU_SETSIZE as usize;
        let first = cpus.find(|cpu| libc::CPU_ISSET(*cpu, &set)).expect("it runs on one");
        let mut one: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(first, &mut one);
        assert_eq!(libc::sched_setaffinity(0, size_of_val(&one), &one), 0);
    }
}

/// Permits all CPUs: with a second CPU, the worker process completes all calls before its parent
/// receives the first reply.
fn all_cpus() {
    // SAFETY: plain data, valid when zeroed; all CPUs are below CPU_SETSIZE.
    unsafe {
        let mut all: libc::cpu_set_t = std::mem::zeroed();
        (0..libc::CPU_SETSIZE as usize).for_each(|cpu| libc::CPU_SET(cpu, &mut all));
        libc::sched_setaffinity(0, size_of_val(&all), &all);
    }
}

fn thread() {
    let sup = Supervisor::builder().id("guard").thread_pool(PoolConfig::new(1)).build();
    in_order(|i| sup.spawn(move || i), |barrier| sup.spawn(move || meet(&barrier)));
}

/// Tasks with what users usually set.
fn limited() {
    let sup = Supervisor::builder().id("guard").thread_pool(PoolConfig::new(1)).build();
    let builder = |i| {
        let builder = TaskBuilder::new(move || i).name("limited").priority(Priority::Normal);
        builder.timeout(Duration::from_secs(60)).supervisor(&sup)
    };
    in_order(|i| builder(i).start(), |barrier| sup.spawn(move || meet(&barrier)));
}

fn aloop() {
    let sup = Supervisor::builder().id("guard").build();
    in_order(
        |i| sup.spawn_async(async move { i }),
        |barrier| sup.spawn_async(async move { meet(&barrier) }),
    );
}

fn meet(barrier: &Barrier) {
    barrier.wait();
}

/// Runs `spawn` tasks and tasks that wait at a barrier, in this order, one after the other.
fn in_order(spawn: impl Fn(u32) -> Task<u32>, spawn_wait: impl Fn(Arc<Barrier>) -> Task<()>) {
    let launch = || (0..TASKS).map(&spawn).collect();
    let join = |tasks: Vec<Task<u32>>| {
        for (i, task) in (0..).zip(tasks) {
            assert_eq!(task.join().unwrap(), i);
        }
    };
    let barrier = || Arc::new(Barrier::new(2));
    // All buffers have their final size after the first round.
    let first = [BEGIN; 4];
    let counted = [BEGIN, c"launch", c"run", c"join"];
    for [begin, launched, ran, joined] in [first].into_iter().chain([counted; ROUNDS]) {
        let (inside, open, done) = (barrier(), barrier(), barrier());
        let first = spawn_wait(Arc::clone(&inside));
        let held = spawn_wait(Arc::clone(&open));
        inside.wait();
        first.join().unwrap();
        dump(begin);
        let tasks = launch();
        dump(launched);
        let last = spawn_wait(Arc::clone(&done));
        open.wait();
        done.wait();
        dump(ran);
        join(tasks);
        dump(joined);
        held.join().unwrap();
        last.join().unwrap();
    }
}

#[background_task(tt = "mp")]
fn add(a: u64, b: u64) -> u64 {
    a + b
}

/// Busy until a file exists.
#[background_task(tt = "mp")]
fn hold(file: PathBuf) {
    while !file.exists() {
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// The parent's side. Meanwhile the worker process runs the calls, much faster than its parent can
/// follow.
fn mp() {
    let pool = MpPoolConfig::new(1).worker_init(all_cpus);
    let sup = Supervisor::builder().id("guard").mp_pool(pool).build();
    let gate = std::env::temp_dir().join(format!("atasker-guard-{}", std::process::id()));
    let round = |calls: u32, mark: fn()| {
        let held = hold::builder(gate.clone()).supervisor(&sup).start();
        until(|| held.is_started());
        let add = |i| add::builder(i, 1).supervisor(&sup).start();
        mark();
        let tasks: Vec<Task<u64>> = (0..u64::from(calls)).map(add).collect();
        mark();
        std::fs::write(&gate, "").unwrap();
        until(|| tasks.last().is_some_and(Task::is_completed));
        mark();
        for (i, task) in (1..).zip(tasks) {
            assert_eq!(task.join().unwrap(), i);
        }
        mark();
        held.join().unwrap();
        std::fs::remove_file(&gate).unwrap();
    };
    // All buffers have their final size after the first round.
    round(200 * CALLS, || ());
    (0..ROUNDS).for_each(|_| round(CALLS, mark));
}

/// Polls so rarely that the cost is negligible.
fn until(done: impl Fn() -> bool) {
    while !done() {
        std::thread::sleep(Duration::from_millis(100));
    }
}
