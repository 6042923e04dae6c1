//! Calls on three servers that replicate everything, one of which is killed.

mod support;

use std::time::{Duration, Instant};

use atasker::{Cluster, ClusterError, Nats, NodeConfig, PoolConfig, Supervisor, background_task};
use support::{LIMIT, Server};

/// Servers that elect leaders take their time on a busy machine.
const FAR: Duration = Duration::from_secs(120);

#[background_task(tt = "remote", redeliver = 20)]
fn doubled(number: u64) -> u64 {
    number * 2
}

#[background_task(tt = "remote", redeliver = 20)]
fn length(bytes: Vec<u8>) -> usize {
    bytes.len()
}

/// Connects once the servers have a leader.
fn connect(nats: &Nats) -> Cluster {
    let end = Instant::now() + FAR;
    loop {
        match nats.clone().connect() {
            Ok(cluster) => return cluster,
            Err(error @ ClusterError::Mismatch { .. }) => panic!("{error}"),
            Err(error) => assert!(Instant::now() < end, "{error}"),
        }
        std::thread::sleep(Duration::from_millis(200));
    }
}

#[test]
fn a_killed_server_of_three_loses_nothing() {
    let mut servers = Server::replicated(3);
    let urls: Vec<_> = servers.iter().map(Server::url).collect();
    let nats = Nats::new(urls.join(",")).replicas(3).connect_timeout(LIMIT);
    let nats = nats.lost_after(Duration::from_secs(5));
    let (launching, serving) = (connect(&nats), connect(&nats));
    let _node = serving.serve(NodeConfig::threads(PoolConfig::new(2))).unwrap();
    let sup = Supervisor::builder().thread_pool(PoolConfig::new(2)).build();
    sup.join_cluster(&launching);
    let start = |number| doubled::builder(number).supervisor(&sup).start();
    // Stored on all three.
    let before: Vec<_> = (0..100).map(start).collect();
    launching.flush(FAR).unwrap();
    // Both members are connected to the first server, which may lead any of the streams.
    servers[0].kill();
    let during: Vec<_> = (100..200).map(start).collect();
    let bytes = length::builder(vec![7; 2_000_000]).supervisor(&sup).start();
    for (number, task) in (0..).zip(before.into_iter().chain(during)) {
        if task.wait_timeout(FAR).is_err() {
            panic!("call {number} has not ended: {:?}, {:?}", task.info(), launching.info());
        }
        assert_eq!(task.join().unwrap(), 2 * number);
    }
    assert!(matches!(bytes.wait_timeout(FAR), Ok(2_000_000)));
    // It comes back, and another one goes: what was written meanwhile is on two servers at least.
    servers[0].run();
    let last: Vec<_> = (200..250).map(start).collect();
    for (number, task) in (200..).zip(last) {
        let doubled = task.wait_timeout(FAR);
        assert!(matches!(doubled, Ok(doubled) if *doubled == 2 * number), "{doubled:?}");
    }
}
