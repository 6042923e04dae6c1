//! A node: serves until SIGTERM.

use std::time::Duration;

use atasker::{MpPoolConfig, NodeConfig, PoolConfig};

use crate::connect;
use crate::options::Role;

pub fn main(role: &Role) {
    let cluster = connect::connect(role, 1);
    // Some have threads, which can't be killed, for the calls that don't insist on a process. The first
    // one always has processes.
    let config = match role.seed % 3 {
        0 if !role.name.starts_with("n0-") => {
            NodeConfig::threads(PoolConfig::new(3).reserve_high(1))
        }
        _ => NodeConfig::new(MpPoolConfig::new(2).reserve_high(1)).queues(["default", "processes"]),
    };
    let node = match cluster.serve(config.name(&role.name)) {
        Ok(node) => node,
        Err(error) => {
            // The broker has gone since.
            eprintln!("can't serve: {error}");
            std::process::exit(3);
        }
    };
    let report = node.run_until_signal(Duration::from_secs(3));
    eprintln!("drained: {report:?}");
}
