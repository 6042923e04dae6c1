//! Which calls a node takes, and in which order they begin.

use std::collections::HashMap;
use std::sync::Mutex;

use atasker::{NodeConfig, PoolConfig, Priority, TaskStatus, background_task};

use crate::*;

/// What tasks have recorded, by the key of their test.
static RECORDS: Mutex<Option<HashMap<String, Vec<String>>>> = Mutex::new(None);

fn record(key: &str, what: String) {
    let mut records = RECORDS.lock().unwrap();
    records.get_or_insert_default().entry(key.to_owned()).or_default().push(what);
}

fn recorded(key: &str) -> Vec<String> {
    let records = RECORDS.lock().unwrap();
    records.as_ref().and_then(|records| records.get(key).cloned()).unwrap_or_default()
}

/// Only on threads of this process.
#[background_task(tt = "remote")]
fn records(key: &str, what: String) {
    record(key, what);
}

#[test]
fn nothing_is_taken_in_advance_if_that_is_forbidden() {
    let (sup, cluster) = joined();
    let node = serve(&cluster, "one", threads(1).prefetch(0));
    let calls: Vec<_> =
        (0..300).map(|n| counts_no_more::builder(n).supervisor(&sup).start()).collect();
    let mut most = 0;
    for task in calls {
        most = most.max(node.info().running);
        task.join().unwrap();
    }
    assert!(most <= 1, "{most}");
}

#[background_task(tt = "remote")]
fn counts_no_more(n: u32) -> u32 {
    n
}

#[test]
fn calls_go_to_nodes_that_serve_their_queue() {
    let (sup, cluster) = joined();
    let _gpu = serve(&cluster, "gpu", threads(2).queues(["gpu"]));
    let _both = serve(&cluster, "both", threads(2).queues(["slow", "default"]));
    for (queue, name) in [("gpu", "gpu"), ("default", "both"), ("slow", "both")] {
        for _ in 0..5 {
            let task = process_id::builder().queue(queue).supervisor(&sup).start();
            task.wait().unwrap();
            assert_eq!(task.info().node.as_deref(), Some(name), "{queue}");
        }
    }
    let waits = process_id::builder().queue("nowhere").supervisor(&sup).start();
    cluster.flush(LIMIT).unwrap();
    assert_eq!(waits.status(), TaskStatus::Queued);
    assert!(waits.cancel());
}

#[test]
fn reserves_are_for_higher_priorities() {
    let (sup, cluster) = joined();
    let config = NodeConfig::threads(PoolConfig::new(1).reserve_normal(1).reserve_high(1));
    let node = serve(&cluster, "one", config);
    let occupy = |priority| {
        let task = occupies::builder().priority(priority).supervisor(&sup).start();
        (task.recv_timeout(LIMIT).expect("there is a slot"), task)
    };
    let low = occupy(Priority::Low);
    let waiting_low = occupies::builder().priority(Priority::Low).supervisor(&sup).start();
    let normal = occupy(Priority::Normal);
    let waiting_normal = occupies::builder().priority(Priority::Normal).supervisor(&sup).start();
    let high = occupy(Priority::High);
    // Without limit.
    let critical: Vec<_> = (0..3).map(|_| occupy(Priority::Critical)).collect();
    cluster.flush(LIMIT).unwrap();
    assert_eq!(node.info().running, 6);
    for waiting in [&waiting_low, &waiting_normal] {
        assert_eq!(waiting.status(), TaskStatus::Queued);
    }
    for (_, task) in critical.into_iter().chain([low, normal, high]) {
        task.send(()).unwrap();
        task.join().unwrap();
    }
    for task in [waiting_normal, waiting_low] {
        task.recv_timeout(LIMIT).expect("there is a slot again");
        task.send(()).unwrap();
        task.join().unwrap();
    }
}

#[test]
fn a_free_slot_is_for_the_highest_priority_in_order() {
    let (sup, cluster) = joined();
    let _node = serve(&cluster, "one", threads(1));
    let occupying = occupies::builder().supervisor(&sup).start();
    occupying.recv_timeout(LIMIT).unwrap();
    let mut tasks = Vec::new();
    for priority in [Priority::Low, Priority::Normal, Priority::High] {
        for n in 0..3 {
            let what = format!("{} {n}", priority.as_str());
            let task = records::builder("in order", what).priority(priority);
            tasks.push(task.supervisor(&sup).start());
        }
    }
    cluster.flush(LIMIT).unwrap();
    occupying.send(()).unwrap();
    tasks.into_iter().for_each(|task| task.join().unwrap());
    let expected: Vec<_> = ["high", "normal", "low"]
        .iter()
        .flat_map(|priority| (0..3).map(move |n| format!("{priority} {n}")))
        .collect();
    assert_eq!(recorded("in order"), expected);
}

#[test]
fn pool_of_a_node_can_be_enlarged() {
    let (sup, cluster) = joined();
    let node = serve(&cluster, "one", threads(1));
    let first = until_stop::builder().supervisor(&sup).start();
    begun(&first);
    let second = until_stop::builder().supervisor(&sup).start();
    cluster.flush(LIMIT).unwrap();
    assert_eq!(second.status(), TaskStatus::Queued);
    node.supervisor().set_thread_pool(PoolConfig::new(2));
    begun(&second);
    assert_eq!(node.info().slots, 2);
    for task in [first, second] {
        task.stop();
        task.join().unwrap();
    }
}
