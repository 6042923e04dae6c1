//! Nodes that are lost, and failures of the broker.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use atasker::{
    Cluster, NodeConfig, PoolConfig, StopOptions, Supervisor, Task, TaskContext, TaskError,
    TaskStatus, background_task,
};

use crate::{LIMIT, join, joined, serve, until};

#[background_task(tt = "remote")]
fn add(a: u32, b: u32) -> u32 {
    a + b
}

#[background_task(tt = "remote", redeliver = 1)]
fn waits(ctx: &TaskContext) -> (bool, u32) {
    (ctx.wait_stop(LIMIT), ctx.attempt())
}

/// A cluster whose silent members are lost soon.
fn hasty() -> (Supervisor, Cluster) {
    let cluster = Cluster::__in_memory_with(1_000, false, Duration::from_secs(1));
    (join(&cluster), cluster)
}

fn on_node(task: &Task<(bool, u32)>, name: &str) {
    until("the node runs it", || {
        let info = task.info();
        info.status == TaskStatus::Started && info.node.as_deref() == Some(name)
    });
    until("the run begins", || task.info().worker_pid.is_some());
}

#[test]
fn run_of_a_frozen_node_is_begun_elsewhere_until_none_is_left() {
    let (sup, cluster) = hasty();
    let _one = serve(&cluster, "one", 1);
    let task = waits::builder().supervisor(&sup).start();
    on_node(&task, "one");
    let _two = serve(&cluster, "two", 1);
    cluster.faults().freeze_node("one");
    on_node(&task, "two");
    assert_eq!((task.info().losses, task.info().attempt), (1, 2));
    // The late node finds that the call is not its any more.
    cluster.faults().thaw_node("one");
    task.stop();
    assert_eq!(*task.wait().unwrap(), (true, 2));
    let once = waits::builder().redeliver(0).supervisor(&sup).start();
    until("a node runs it", || once.info().worker_pid.is_some());
    let node = once.info().node.unwrap();
    cluster.faults().freeze_node(&node);
    let error = once.join().unwrap_err();
    assert_eq!(error, TaskError::NodeLost { node: node.clone(), losses: 1 });
    assert!(error.is_node_lost());
    cluster.faults().thaw_node(&node);
    until("there is a letter", || !cluster.dead_letters().unwrap().is_empty());
    let letters = cluster.dead_letters().unwrap();
    assert!(letters.len() == 1 && letters[0].error.contains(&node), "{letters:?}");
    assert!(cluster.drop_dead(letters[0].id).unwrap());
    assert!(!cluster.drop_dead(letters[0].id).unwrap());
}

/// Does not stop at first when it is asked to.
#[background_task(tt = "remote")]
fn stubborn(ctx: &TaskContext) -> u32 {
    static GO_ON: AtomicU32 = AtomicU32::new(0);
    while ctx.attempt() == 1 && GO_ON.load(Ordering::Relaxed) == 0 {
        std::thread::sleep(Duration::from_millis(1));
    }
    GO_ON.store(1, Ordering::Relaxed);
    ctx.attempt()
}

#[test]
fn stopped_node_hands_its_calls_over() {
    let (sup, cluster) = hasty();
    let one = serve(&cluster, "one", 1);
    let task = stubborn::builder().supervisor(&sup).start();
    until("the run begins", || task.info().worker_pid.is_some());
    let queued = add::builder(1, 2).supervisor(&sup).start();
    let _two = serve(&cluster, "two", 2);
    one.stop(StopOptions::new().wait(Duration::ZERO));
    assert_eq!(queued.join().unwrap(), 3);
    assert_eq!(*task.wait().unwrap(), 2);
    let info = task.info();
    assert_eq!((info.node.as_deref(), info.attempt, info.losses), (Some("two"), 2, 1));
}

#[test]
fn every_call_has_one_outcome_whatever_is_lost() {
    static RUNS: AtomicU32 = AtomicU32::new(0);
    #[background_task(tt = "remote")]
    fn counts(n: u32) -> u32 {
        RUNS.fetch_add(1, Ordering::Relaxed);
        n
    }
    let (sup, cluster) = joined();
    let nodes: Vec<_> = (0..2).map(|n| serve(&cluster, &format!("node {n}"), 4)).collect();
    let faults = cluster.faults();
    faults.seed(7);
    faults.lose(0.05);
    faults.repeat(0.1);
    faults.reorder(true);
    let start = |n| counts::builder(n).supervisor(&sup).start();
    let tasks: Vec<_> = (0..300).map(start).collect();
    faults.stop_broker();
    std::thread::sleep(Duration::from_millis(300));
    faults.start_broker();
    for (n, task) in tasks.into_iter().enumerate() {
        assert_eq!(task.join().unwrap(), n as u32);
    }
    faults.end();
    assert!(RUNS.load(Ordering::Relaxed) >= 300);
    until("nothing is left in the queue", || {
        let queues = cluster.info().unwrap().queues;
        queues.iter().all(|queue| queue.waiting.total() == 0 && queue.given_out == 0)
    });
    drop(nodes);
}

#[test]
fn nodes_are_shown_by_info() {
    let (sup, cluster) = joined();
    let config = NodeConfig::threads(PoolConfig::new(3).reserve_high(1)).name("shown");
    let node = cluster.member("shown").serve(config).unwrap();
    assert_eq!(add::builder(1, 2).supervisor(&sup).start().join().unwrap(), 3);
    let info = cluster.info().unwrap();
    let [shown] = &info.nodes[..] else { panic!("{info:?}") };
    assert_eq!((shown.name.as_str(), shown.id.as_str()), ("shown", node.id()));
    assert_eq!((shown.slots, shown.reserve_high, shown.draining), (3, 1, false));
    assert!(shown.functions.iter().any(|name| name.ends_with("losses::add")), "{shown:?}");
    assert_eq!(shown.pid, std::process::id());
    assert!(shown.heard_of < LIMIT);
}
