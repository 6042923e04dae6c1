//! Tasks and pools of worker processes that many tests use.

use atasker::{MpPoolConfig, Supervisor, Task, TaskContext, background_task};

use crate::FAR;

/// The id of the worker process that runs this task.
#[background_task(tt = "mp")]
pub fn pid() -> u32 {
    std::process::id()
}

/// Returns whether `bytes` of memory can be allocated in a worker process.
#[background_task(tt = "mp")]
pub fn allocate(bytes: usize) -> bool {
    let mut room = Vec::<u8>::new();
    let got = room.try_reserve_exact(bytes).is_ok();
    std::hint::black_box(&room);
    got
}

/// Sends the id of its worker process, and returns it once a stop is requested.
#[background_task(tt = "mp")]
pub fn until_stopped(ctx: &TaskContext<(), u32>) -> u32 {
    ctx.send(std::process::id()).unwrap();
    while !ctx.wait_stop(FAR) {}
    std::process::id()
}

/// Sends the id of its worker process, and then ignores stop requests forever.
#[background_task(tt = "mp")]
pub fn spins(ctx: &TaskContext<(), u32>) {
    ctx.send(std::process::id()).unwrap();
    loop {
        std::hint::spin_loop();
    }
}

/// The configuration of a pool with this number of worker processes, which the environment may change:
/// with `TEST_TEMPLATE=1`, all worker processes are forked from a template, the first one too. So the
/// suites of worker processes run on both kinds.
pub fn pool_of(size: usize) -> MpPoolConfig {
    let config = MpPoolConfig::new(size);
    match by_template() {
        true => config.template(true).__template_first(true),
        false => config,
    }
}

/// Whether [`pool_of`] configures pools whose worker processes are forked from a template.
pub fn by_template() -> bool {
    std::env::var_os("TEST_TEMPLATE").is_some_and(|value| value == "1")
}

/// A supervisor with this pool of worker processes.
pub fn supervisor(config: MpPoolConfig) -> Supervisor {
    Supervisor::builder().id("t").mp_pool(config).build()
}

/// Runs [`pid()`] and returns its result.
#[track_caller]
pub fn run_pid(sup: &Supervisor) -> u32 {
    pid::builder().supervisor(sup).start().join().unwrap()
}

/// Occupies a worker process until the task is stopped. Returns the task, which has begun, and the
/// id of the worker process.
#[track_caller]
pub fn occupy(sup: &Supervisor) -> (Task<u32, (), u32>, u32) {
    let task = until_stopped::builder().supervisor(sup).start();
    let pid = task.recv().unwrap();
    (task, pid)
}

/// The ids of the worker processes.
#[track_caller]
pub fn workers(sup: &Supervisor) -> Vec<u32> {
    sup.info().mp_pool.unwrap().workers.iter().map(|worker| worker.pid).collect()
}
