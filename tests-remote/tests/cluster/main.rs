//! Remote tasks through the public interface, on clusters in memory whose nodes run on threads of
//! this process.

#![forbid(unsafe_code)]

mod found;
mod launches;
mod losses;
mod messages;
mod once;
mod stops;
mod verbs;

use std::time::{Duration, Instant};

use atasker::{Cluster, Node, NodeConfig, PoolConfig, Supervisor};

/// Longer than anything takes that works.
const LIMIT: Duration = Duration::from_secs(60);

/// A supervisor that has joined a new cluster.
fn joined() -> (Supervisor, Cluster) {
    let cluster = Cluster::in_memory();
    (join(&cluster), cluster)
}

fn join(cluster: &Cluster) -> Supervisor {
    let sup = Supervisor::builder().thread_pool(PoolConfig::new(2)).build();
    sup.join_cluster(cluster);
    sup
}

/// Starts a node with this many slots, as a member by itself.
fn serve(cluster: &Cluster, name: &str, slots: usize) -> Node {
    let config = NodeConfig::threads(PoolConfig::new(slots)).name(name);
    cluster.member(name).serve(config).unwrap()
}

/// Waits until something holds that is not waited for otherwise.
#[track_caller]
fn until(what: &str, holds: impl Fn() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < LIMIT, "has not happened: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}
