//! The end of a node, by what its calls are doing.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use atasker::{
    Cluster, ClusterError, MpPoolConfig, NodeConfig, StopOptions, TaskError, TaskStatus,
    background_task,
};

use crate::*;

#[test]
fn idle_node_ends_at_once() {
    let (_sup, cluster) = joined();
    for config in [threads(1), NodeConfig::new(MpPoolConfig::new(2).min_size(2))] {
        let node = serve(&cluster, "one", config);
        let other = node.clone();
        let blocked = std::thread::spawn(move || other.block());
        assert_eq!(drain(&node, LIMIT), (0, 0, 0));
        blocked.join().unwrap();
        assert!(node.info().draining && !node.supervisor().is_active());
        assert!(cluster.info().unwrap().nodes.is_empty());
        // Nothing is left to be done.
        assert_eq!(drain(&node, LIMIT), (0, 0, 0));
        node.block();
    }
}

#[test]
fn drain_waits_for_calls_that_run() {
    for config in [threads(1), processes(1)] {
        let (sup, cluster) = joined();
        let node = serve(&cluster, "one", config);
        let task = until_stop::builder().supervisor(&sup).start();
        begun(&task);
        // One that waits at the broker is left there.
        let waiting = until_stop::builder().supervisor(&sup).start();
        cluster.flush(LIMIT).unwrap();
        let draining = {
            let node = node.clone();
            std::thread::spawn(move || drain(&node, LIMIT))
        };
        until("the node shows it", || cluster.info().unwrap().nodes.iter().all(|n| n.draining));
        assert!(!task.is_completed() && !draining.is_finished());
        task.stop();
        assert_eq!(task.join().unwrap(), "stopped");
        assert_eq!(draining.join().unwrap(), (1, 0, 0));
        assert_eq!(waiting.status(), TaskStatus::Queued);
        let _next = serve(&cluster, "next", threads(1));
        assert_eq!(begun(&waiting), 1);
        waiting.stop();
        assert_eq!(waiting.join().unwrap(), "stopped");
    }
}

#[test]
fn drain_asks_calls_to_stop_in_the_end() {
    let (sup, cluster) = joined();
    for config in [threads(1), processes(1)] {
        let node = serve(&cluster, "one", config);
        let task = until_stop::builder().supervisor(&sup).start();
        begun(&task);
        assert_eq!(drain(&node, Duration::ZERO), (1, 0, 0));
        assert_eq!(*task.wait().unwrap(), "stopped");
        assert_eq!(task.info().losses, 0);
    }
}

#[test]
fn calls_that_ignore_that_run_elsewhere() {
    let (sup, cluster) = joined();
    for (first, second) in [("processes", "threads"), ("threads", "processes")] {
        let config = |name: &str| if name == "threads" { threads(1) } else { processes(1) };
        let node = serve(&cluster, first, config(first));
        let task = ignores_stop::builder(1).supervisor(&sup).start();
        assert_eq!(begun(&task), 1);
        let next = serve(&cluster, second, config(second));
        assert_eq!(drain(&node, Duration::ZERO), (0, 0, 1));
        assert_eq!(begun(&task), 2);
        assert_eq!(*task.wait().unwrap(), 2);
        assert_eq!((task.info().losses, task.info().node.as_deref()), (1, Some(second)));
        assert_eq!(drain(&next, LIMIT).2, 0);
    }
}

#[test]
fn a_call_that_may_run_once_is_lost_with_its_node() {
    let (sup, cluster) = joined();
    let node = serve(&cluster, "one", processes(1));
    let task = ignores_stop::builder(9).redeliver(0).supervisor(&sup).start();
    begun(&task);
    assert_eq!(drain(&node, Duration::ZERO), (0, 0, 1));
    let error = task.join().unwrap_err();
    assert_eq!(error, TaskError::NodeLost { node: "one".into(), losses: 1 });
}

static RUNS: AtomicU32 = AtomicU32::new(0);

#[background_task(tt = "remote")]
fn counts(n: u32) -> u32 {
    RUNS.fetch_add(1, Ordering::SeqCst);
    n
}

#[test]
fn drain_amid_short_calls_repeats_and_loses_none() {
    const CALLS: u32 = 3_000;
    let (sup, cluster) = joined();
    let first = serve(&cluster, "first", threads(2));
    let tasks: Vec<_> = (0..CALLS).map(|n| counts::builder(n).supervisor(&sup).start()).collect();
    until("some have run", || RUNS.load(Ordering::SeqCst) > 100);
    let second = serve(&cluster, "second", threads(2));
    let report = first.drain(LIMIT);
    assert_eq!(report.abandoned, 0);
    for (n, task) in tasks.into_iter().enumerate() {
        assert_eq!(*task.wait().unwrap(), n as u32);
        assert_eq!((task.info().attempt, task.info().losses), (1, 0));
    }
    assert_eq!(RUNS.load(Ordering::SeqCst), CALLS);
    assert_eq!(drain(&second, LIMIT).2, 0);
}

#[test]
fn stop_waits_for_as_long_as_it_says() {
    let (sup, cluster) = joined();
    let node = serve(&cluster, "one", threads(2));
    let task = until_stop::builder().supervisor(&sup).start();
    begun(&task);
    let options = StopOptions::new().wait(LIMIT).cancel_tasks(true);
    assert_eq!(node.stop(options).completed, 1);
    assert_eq!(task.join().unwrap(), "stopped");
    let node = serve(&cluster, "two", processes(1));
    let task = ignores_stop::builder(1).supervisor(&sup).start();
    begun(&task);
    let wait = Duration::from_millis(10);
    assert_eq!(node.stop(StopOptions::new().wait(wait).cancel_tasks(true)).abandoned, 1);
    let _next = serve(&cluster, "three", processes(1));
    assert_eq!(task.join().unwrap(), 2);
}

#[test]
fn dropped_handle_changes_nothing() {
    let (sup, cluster) = joined();
    drop(serve(&cluster, "one", processes(1)));
    process_id::builder().supervisor(&sup).start().join().unwrap();
    assert_eq!(cluster.info().unwrap().nodes.len(), 1);
}

#[test]
fn closed_cluster_ends_its_nodes() {
    let (_sup, cluster) = joined();
    let member = cluster.member("member");
    let node = member.serve(threads(1)).unwrap();
    member.close();
    node.block();
    assert!(node.info().draining);
    assert_eq!(drain(&node, LIMIT), (0, 0, 0));
    assert_eq!(member.serve(threads(1)).unwrap_err(), ClusterError::Closed);
}

#[test]
fn wrong_settings_are_errors() {
    let cluster = Cluster::in_memory();
    let error = |config: NodeConfig| cluster.serve(config).unwrap_err().to_string();
    assert!(error(threads(1).queues(["a b"])).contains("\"a b\""));
    assert!(error(threads(1).queues([""; 0])).contains("without queues"));
    assert!(error(threads(1).name("")).contains("name"));
}
