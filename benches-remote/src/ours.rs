//! This project: a node, and launchers, each a process.

use std::time::{Duration, Instant};

use atasker::{
    Cluster, MpPoolConfig, Nats, NodeConfig, PoolConfig, Priority, Supervisor, Task, TaskContext,
    background_task,
};

use crate::figures::{Latencies, cpu_time, now, tell};

/// The work of most rows.
#[background_task(tt = "remote")]
fn add(a: u64, b: u64) -> u64 {
    a + b
}

/// Sleeps, and returns when it has begun.
#[background_task(tt = "remote")]
fn sleeps(micros: u64) -> u64 {
    let begun = now();
    std::thread::sleep(Duration::from_micros(micros));
    begun
}

/// Tells when and in which process it has begun. Its first run lasts until it is killed.
#[background_task(tt = "remote", redeliver = 5)]
fn begins(ctx: &TaskContext<(), (u64, u32)>) -> u32 {
    let _ = ctx.send((now(), std::process::id()));
    while ctx.attempt() == 1 && !ctx.wait_stop(Duration::from_secs(3600)) {}
    ctx.attempt()
}

#[background_task(tt = "remote")]
fn echo(bytes: &[u8]) -> Vec<u8> {
    bytes.to_vec()
}

fn connect(url: &str, lost_after: u64) -> Cluster {
    let nats = Nats::new(url).lost_after(Duration::from_secs(lost_after));
    nats.connect().expect("the server is there")
}

/// Serves until the process is asked to end.
pub fn node(url: &str, lost_after: u64, kind: &str, slots: usize, reserve: usize) {
    let cluster = connect(url, lost_after);
    let config = match kind {
        "threads" => NodeConfig::threads(PoolConfig::new(slots).reserve_high(reserve)),
        _ => NodeConfig::new(MpPoolConfig::new(slots).reserve_high(reserve)),
    };
    let node = cluster.serve(config).expect("the node serves");
    println!("ready");
    node.run_until_signal(Duration::from_secs(30));
}

fn launcher(url: &str, lost_after: u64) -> (Supervisor, Cluster) {
    let cluster = connect(url, lost_after);
    let sup = Supervisor::builder().thread_pool(PoolConfig::new(1)).build();
    sup.join_cluster(&cluster);
    (sup, cluster)
}

/// The default of `lost_after`, in seconds.
pub const LOST_AFTER: u64 = 10;

/// Launches all calls, then waits for all results.
pub fn rate(url: &str, count: u64) {
    let (sup, _cluster) = launcher(url, LOST_AFTER);
    let launch = |n: u64| add::builder(n, 1).supervisor(&sup).start();
    let warm: Vec<_> = (0..500).map(launch).collect();
    for task in warm {
        task.join().expect("it runs");
    }
    println!("begin");
    let (begin, cpu) = (Instant::now(), cpu_time());
    let tasks: Vec<_> = (0..count).map(launch).collect();
    for (n, task) in tasks.into_iter().enumerate() {
        assert_eq!(task.join().expect("it runs"), n as u64 + 1);
    }
    tell(&[count as f64 / begin.elapsed().as_secs_f64(), (cpu_time() - cpu) * 1e6 / count as f64]);
}

/// One call at a time.
pub fn round_trips(url: &str, count: u64) {
    let (sup, _cluster) = launcher(url, LOST_AFTER);
    let mut times = Latencies::new();
    let mut launches = Latencies::new();
    for n in 0..count + 200 {
        let begin = Instant::now();
        let task = add::builder(n, 1).supervisor(&sup).start();
        let launched = begin.elapsed();
        assert_eq!(task.join().expect("it runs"), n + 1);
        if n >= 200 {
            times.push(begin.elapsed());
            launches.push(launched);
        }
    }
    // Launches in a row: nothing is woken by most of them.
    let begin = Instant::now();
    let tasks: Vec<_> = (0..count).map(|n| add::builder(n, 1).supervisor(&sup).start()).collect();
    let launch = begin.elapsed().as_secs_f64() * 1e6 / count as f64;
    for task in tasks {
        task.join().expect("it runs");
    }
    tell(&[times.share(0.5), times.share(0.99), launches.share(0.5), launch]);
}

/// Urgent calls while 10,000 low ones wait: from the launch to the begin of the function.
pub fn urgent(url: &str, count: u64) {
    let (sup, cluster) = launcher(url, LOST_AFTER);
    let launch =
        |micros: u64, priority| sleeps::builder(micros).supervisor(&sup).priority(priority).start();
    let low: Vec<_> = (0..10_000).map(|_| launch(1000, Priority::Low)).collect();
    cluster.flush(Duration::from_secs(60)).expect("they are stored");
    let mut times = Latencies::new();
    for _ in 0..count {
        std::thread::sleep(Duration::from_millis(10));
        let launched = now();
        let begun = launch(0, Priority::High).join().expect("it runs");
        times.push(Duration::from_nanos(begun.saturating_sub(launched)));
    }
    let waits = low.iter().any(|task| !task.is_completed());
    assert!(waits, "urgent calls were to be launched while low ones wait");
    tell(&[times.share(0.5), times.share(0.99)]);
    // The rest is not waited for.
    std::process::exit(0);
}

/// A call whose node is stopped in some way by the reader of the lines: each begin is a line.
pub fn recovery(url: &str, lost_after: u64) {
    let (sup, _cluster) = launcher(url, lost_after);
    let task: Task<u32, (), (u64, u32)> = begins::builder().supervisor(&sup).start();
    for (time, pid) in task.messages() {
        println!("begun {time} {pid}");
    }
    assert_eq!(task.join().expect("it runs again"), 2);
}

/// Many short calls, in order: each result is a line.
pub fn results(url: &str, lost_after: u64, count: u64, micros: u64) {
    let (sup, cluster) = launcher(url, lost_after);
    let launch = |_| sleeps::builder(micros).supervisor(&sup).start();
    let tasks: Vec<_> = (0..count).map(launch).collect();
    cluster.flush(Duration::from_secs(60)).expect("they are stored");
    println!("stored");
    for task in tasks {
        task.join().expect("it runs");
        println!("ended {}", now());
    }
}

/// Echoes of a payload: MB/s of both directions together.
pub fn echoes(url: &str, bytes: usize) {
    let (sup, _cluster) = launcher(url, LOST_AFTER);
    let payload: Vec<u8> = (0..bytes).map(|at| (at / 7) as u8).collect();
    let mut times = Latencies::new();
    for _ in 0..3 {
        let begin = Instant::now();
        let back = echo::builder(&payload).supervisor(&sup).start().join().expect("it runs");
        times.push(begin.elapsed());
        assert!(back == payload, "the payload is what comes back");
    }
    tell(&[2.0 * bytes as f64 / times.share(0.5)]);
}

/// Keeps a connection, and nothing else.
pub fn idle(url: &str) {
    let (sup, _cluster) = launcher(url, LOST_AFTER);
    add::builder(1, 1).supervisor(&sup).start().join().expect("it runs");
    println!("ready");
    loop {
        std::thread::sleep(Duration::from_secs(3600));
    }
}
