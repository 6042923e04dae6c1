//! This project: a node, and launchers, each a process.

use std::time::{Duration, Instant};

use atasker::{Cluster, MpPoolConfig, Nats, NodeConfig, PoolConfig, Supervisor, background_task};

use crate::figures::{Latencies, tell};

/// The work of most rows.
#[background_task(tt = "remote", priority = "normal")]
fn add(a: u64, b: u64) -> u64 {
    a + b
}

fn connect(url: &str) -> Cluster {
    Nats::new(url).connect().expect("the server is there")
}

/// Serves until the process is killed.
pub fn node(url: &str, kind: &str, slots: usize) {
    let cluster = connect(url);
    let config = match kind {
        "threads" => NodeConfig::threads(PoolConfig::new(slots)),
        _ => NodeConfig::new(MpPoolConfig::new(slots)),
    };
    let _node = cluster.serve(config).expect("the node serves");
    println!("ready");
    loop {
        std::thread::sleep(Duration::from_secs(3600));
    }
}

fn launcher(url: &str) -> (Supervisor, Cluster) {
    let cluster = connect(url);
    let sup = Supervisor::builder().thread_pool(PoolConfig::new(1)).build();
    sup.join_cluster(&cluster);
    (sup, cluster)
}

/// Launches all calls, then waits for all results.
pub fn rate(url: &str, count: u64) {
    let (sup, _cluster) = launcher(url);
    let launch = |n: u64| add::builder(n, 1).supervisor(&sup).start();
    let warm: Vec<_> = (0..500).map(launch).collect();
    warm.into_iter().for_each(|task| drop(task.join().expect("it runs")));
    let begin = Instant::now();
    let tasks: Vec<_> = (0..count).map(launch).collect();
    let launched = begin.elapsed();
    for (n, task) in tasks.into_iter().enumerate() {
        assert_eq!(task.join().expect("it runs"), n as u64 + 1);
    }
    let took = begin.elapsed();
    tell(&[count as f64 / took.as_secs_f64(), launched.as_secs_f64() * 1e6 / count as f64]);
}

/// One call at a time.
pub fn round_trips(url: &str, count: u64) {
    let (sup, _cluster) = launcher(url);
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
    tell(&[times.share(0.5), times.share(0.99), launches.share(0.5)]);
}
