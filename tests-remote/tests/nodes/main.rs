//! Do nodes do what they promise: slots and priorities, worker processes that crash, the end of a
//! node in each phase of its calls, and signals?

#![forbid(unsafe_code)]

mod ends;
mod order;
mod runs;
#[cfg(unix)]
mod signals;

use std::time::{Duration, Instant};

use atasker::{
    Cluster, MpPoolConfig, Node, NodeConfig, PoolConfig, Supervisor, Task, TaskContext,
    background_task,
};

/// Longer than anything takes that works.
const LIMIT: Duration = Duration::from_secs(60);

#[background_task(tt = "remote")]
fn process_id() -> u32 {
    std::process::id()
}

/// Runs until it is asked to stop, and tells when it has begun.
#[background_task(tt = "remote")]
fn until_stop(ctx: &TaskContext<(), u32>) -> String {
    let _ = ctx.send(ctx.attempt());
    while !ctx.wait_stop(LIMIT) {}
    "stopped".to_owned()
}

/// Ignores requests to stop, on its first `attempts` runs.
#[background_task(tt = "remote")]
fn ignores_stop(ctx: &TaskContext<(), u32>, attempts: u32) -> u32 {
    let _ = ctx.send(ctx.attempt());
    while ctx.attempt() <= attempts {
        std::thread::sleep(Duration::from_millis(1));
    }
    ctx.attempt()
}

#[background_task(tt = "remote")]
fn crashes(ctx: &TaskContext, attempts: u32) -> u32 {
    if ctx.attempt() <= attempts {
        std::process::abort();
    }
    ctx.attempt()
}

/// The slot of a task that waits for a message.
#[background_task(tt = "remote")]
fn occupies(ctx: &TaskContext<(), ()>) {
    let _ = ctx.send(());
    let _ = ctx.recv();
}

fn join(cluster: &Cluster) -> Supervisor {
    let sup = Supervisor::builder().thread_pool(PoolConfig::new(2)).build();
    sup.join_cluster(cluster);
    sup
}

/// A supervisor that has joined a new cluster.
fn joined() -> (Supervisor, Cluster) {
    let cluster = Cluster::in_memory();
    (join(&cluster), cluster)
}

fn threads(slots: usize) -> NodeConfig {
    NodeConfig::threads(PoolConfig::new(slots))
}

fn processes(slots: usize) -> NodeConfig {
    NodeConfig::new(MpPoolConfig::new(slots))
}

/// Starts a node as a member by itself.
fn serve(cluster: &Cluster, name: &str, config: NodeConfig) -> Node {
    cluster.member(name).serve(config.name(name)).unwrap()
}

/// Waits until something holds that is not waited for otherwise.
#[track_caller]
fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < LIMIT, "has not happened: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Returns the number of the attempt that has begun.
#[track_caller]
fn begun<R: Send + 'static>(task: &Task<R, (), u32>) -> u32 {
    task.recv_timeout(LIMIT).expect("the task begins")
}

fn drain(node: &Node, limit: Duration) -> (u64, u64, u64) {
    let report = node.drain(limit);
    (report.completed, report.canceled, report.abandoned)
}
