//! The end of supervisors and clusters, full queues, and a broker that is away.

use std::sync::mpsc;
use std::time::Duration;

use atasker::{
    Cluster, ClusterError, Limit, StopOptions, TaskContext, TaskError, TaskStatus, TaskType,
    background_task,
};

use crate::{LIMIT, join, joined, serve, until};

#[background_task(tt = "remote")]
fn add(a: u32, b: u32) -> u32 {
    a + b
}

#[background_task(tt = "remote")]
fn waits(ctx: &TaskContext) -> bool {
    ctx.wait_stop(LIMIT)
}

#[test]
fn stop_waits_for_remote_tasks() {
    let (sup, cluster) = joined();
    let task = add::builder(1, 2).supervisor(&sup).start();
    cluster.flush(LIMIT).unwrap();
    let stopper = sup.clone();
    let stopping = std::thread::spawn(move || stopper.stop(StopOptions::new().wait(LIMIT)));
    until("the supervisor stops", || !sup.is_active());
    assert_eq!(task.status(), TaskStatus::Queued);
    let _node = serve(&cluster, "one", 1);
    let report = stopping.join().unwrap();
    assert_eq!((report.completed, report.abandoned), (1, 0));
    assert_eq!(task.join().unwrap(), 3);
}

#[test]
fn calls_go_on_after_the_deadline_of_a_stop() {
    let (sup, cluster) = joined();
    let _node = serve(&cluster, "one", 1);
    let running = waits::builder().supervisor(&sup).start();
    until("the task begins", || running.info().worker_pid.is_some());
    let queued = add::builder(1, 2).supervisor(&sup).start();
    cluster.flush(LIMIT).unwrap();
    let report = sup.stop(StopOptions::new().wait(Duration::ZERO));
    assert_eq!((report.completed, report.abandoned), (0, 2));
    let (running_id, queued_id) = (running.id(), queued.id());
    assert_eq!(running.join().unwrap_err(), TaskError::SupervisorStopped);
    assert_eq!(queued.join().unwrap_err(), TaskError::SupervisorStopped);
    let call = cluster.find(running_id).unwrap().unwrap();
    assert_eq!(call.info().unwrap().status, TaskStatus::Started);
    call.stop();
    let other = cluster.member("other");
    let _sup = join(&other);
    assert!(waits::attach(&other, running_id).unwrap().join().unwrap());
    assert_eq!(add::attach(&other, queued_id).unwrap().join().unwrap(), 3);
    // The supervisor can be used again, and is still a member.
    assert!(sup.start());
    assert_eq!(add::builder(2, 2).supervisor(&sup).start().join().unwrap(), 4);
}

#[test]
fn stop_can_cancel_calls_in_the_cluster() {
    let (sup, cluster) = joined();
    let _node = serve(&cluster, "one", 1);
    let running = waits::builder().supervisor(&sup).start();
    until("the task begins", || running.info().worker_pid.is_some());
    let queued = add::builder(1, 2).supervisor(&sup).start();
    let report = sup.stop(StopOptions::new().wait(LIMIT).cancel_tasks(true));
    assert_eq!((report.completed, report.canceled, report.abandoned), (1, 1, 0));
    assert!(running.join().unwrap());
    let id = queued.id();
    assert!(queued.join().unwrap_err().is_canceled());
    let found = cluster.find(id).unwrap().unwrap();
    assert_eq!(found.info().unwrap().status, TaskStatus::Canceled);
}

#[test]
fn full_queue_rejects_a_launch() {
    let cluster = Cluster::__in_memory_with(2, false, Duration::from_secs(10));
    let sup = join(&cluster);
    let tasks: Vec<_> = (0..2).map(|n| add::builder(n, 0).supervisor(&sup).start()).collect();
    cluster.flush(LIMIT).unwrap();
    let error = add::builder(9, 9).supervisor(&sup).start().join().unwrap_err();
    assert_eq!(error, TaskError::QueueFull);
    let _node = serve(&cluster, "one", 1);
    for (n, task) in tasks.into_iter().enumerate() {
        assert_eq!(task.join().unwrap(), n as u32);
    }
    assert_eq!(add::builder(9, 9).supervisor(&sup).start().join().unwrap(), 18);
}

#[test]
fn full_queue_can_block_launches() {
    let cluster = Cluster::__in_memory_with(2, true, Duration::from_secs(10));
    let sup = join(&cluster);
    let (sender, tasks) = mpsc::channel();
    let (launcher, member) = (sup.clone(), cluster.clone());
    let launching = std::thread::spawn(move || {
        for n in 0..20 {
            sender.send(add::builder(n, 0).supervisor(&launcher).start()).unwrap();
            // Until the broker has it, or has said that its queue is full.
            let _ = member.flush(Duration::from_millis(200));
        }
    });
    // The third one is not stored, and the next launch waits.
    let first: Vec<_> = tasks.iter().take(3).collect();
    assert!(tasks.recv_timeout(Duration::from_secs(1)).is_err());
    assert!(!launching.is_finished());
    let _node = serve(&cluster, "one", 1);
    for (n, task) in first.into_iter().chain(tasks.iter()).enumerate() {
        assert_eq!(task.join().unwrap(), n as u32);
    }
    launching.join().unwrap();
}

#[test]
fn future_waits_for_room_in_a_full_queue() {
    let cluster = Cluster::__in_memory_with(1, true, Duration::from_secs(10));
    let sup = join(&cluster);
    let first = add::builder(1, 0).supervisor(&sup).start();
    let second = add::builder(2, 0).supervisor(&sup).start();
    assert!(cluster.flush(Duration::from_millis(200)).is_err(), "there is room for one");
    let launching = sup.clone();
    let third = sup.spawn_async(async move {
        add::builder(3, 0).supervisor(&launching).start_async().await.await
    });
    std::thread::sleep(Duration::from_millis(50));
    assert_eq!(sup.tasks_of(TaskType::Remote).len(), 2);
    let _node = serve(&cluster, "one", 1);
    assert_eq!(third.join().unwrap().unwrap(), 3);
    assert_eq!((first.join().unwrap(), second.join().unwrap()), (1, 2));
}

#[test]
fn launches_wait_here_while_the_broker_is_away() {
    let (sup, cluster) = joined();
    let _node = serve(&cluster, "one", 2);
    assert_eq!(add::builder(0, 0).supervisor(&sup).start().join().unwrap(), 0);
    cluster.faults().stop_broker();
    let tasks: Vec<_> = (0..50).map(|n| add::builder(n, n).supervisor(&sup).start()).collect();
    let error = cluster.flush(Duration::from_millis(50)).unwrap_err();
    assert!(matches!(error, ClusterError::Unreachable { .. }), "{error}");
    assert!(tasks.iter().all(|task| !task.is_completed()));
    until("the lost connection is noticed", || !cluster.is_connected());
    cluster.faults().start_broker();
    for (n, task) in tasks.into_iter().enumerate() {
        assert_eq!(task.join().unwrap(), 2 * n as u32);
    }
    cluster.flush(LIMIT).unwrap();
    assert!(cluster.is_connected());
}

#[background_task(tt = "remote")]
fn length(block: Vec<u8>) -> usize {
    block.len()
}

#[test]
fn launches_wait_here_up_to_a_number_of_bytes() {
    let (sup, cluster) = joined();
    let _node = serve(&cluster, "one", 1);
    cluster.faults().stop_broker();
    let half = 40 << 20;
    let start = |len: usize| length::builder(vec![7; len]).supervisor(&sup).start();
    let first = start(half);
    assert_eq!(start(half).join().unwrap_err(), TaskError::QueueFull);
    let short = start(1_000);
    cluster.faults().start_broker();
    assert_eq!((first.join().unwrap(), short.join().unwrap()), (half, 1_000));
    assert_eq!(start(half).join().unwrap(), half);
}

#[test]
fn task_expires_while_it_waits_here() {
    static ONE: Limit = Limit::concurrency(1);
    let (sup, cluster) = joined();
    let _node = serve(&cluster, "one", 2);
    let first = waits::builder().limit(&ONE).supervisor(&sup).start();
    until("the task begins", || first.info().worker_pid.is_some());
    let after = Duration::from_millis(50);
    let second = add::builder(1, 2).limit(&ONE).expires(after).supervisor(&sup).start();
    let error = second.join().unwrap_err();
    assert!(error.is_expired() && error.to_string().contains("its limit"), "{error}");
    // The end of the first one makes room.
    let third = add::builder(1, 2).limit(&ONE).supervisor(&sup).start();
    first.stop();
    assert!(first.join().unwrap());
    assert_eq!(third.join().unwrap(), 3);
    // So does the one that is canceled, or taken back at the end of the supervisor.
    let canceled = waits::builder().queue("none").limit(&ONE).supervisor(&sup).start();
    assert!(canceled.cancel());
    assert_eq!(add::builder(1, 2).limit(&ONE).supervisor(&sup).start().join().unwrap(), 3);
    let left = waits::builder().limit(&ONE).supervisor(&sup).start();
    until("the task begins", || left.info().worker_pid.is_some());
    sup.stop(StopOptions::new().wait(Duration::ZERO));
    assert_eq!(left.join().unwrap_err(), TaskError::SupervisorStopped);
    sup.start();
    assert_eq!(add::builder(1, 2).limit(&ONE).supervisor(&sup).start().join().unwrap(), 3);
}

#[test]
fn closed_cluster_ends_handles_and_refuses_launches() {
    let (sup, cluster) = joined();
    let task = add::builder(1, 2).supervisor(&sup).start();
    cluster.flush(LIMIT).unwrap();
    let other = cluster.member("other");
    cluster.close();
    assert!(!cluster.is_connected());
    let id = task.id();
    assert_eq!(task.join().unwrap_err(), TaskError::Cluster(ClusterError::Closed));
    let refused = add::builder(1, 2).supervisor(&sup).start();
    assert_eq!(refused.join().unwrap_err(), TaskError::Cluster(ClusterError::Closed));
    assert_eq!(cluster.info().unwrap_err(), ClusterError::Closed);
    // The call goes on.
    let _sup = join(&other);
    let _node = serve(&other, "one", 1);
    assert_eq!(add::attach(&other, id).unwrap().join().unwrap(), 3);
}

/// Blocks while it is decoded, until it is told to go on.
#[derive(serde::Serialize, Debug)]
struct Slow(u8);

static GO_ON: std::sync::Mutex<Option<mpsc::Receiver<()>>> = std::sync::Mutex::new(None);
static BEGUN: std::sync::atomic::AtomicBool = std::sync::atomic::AtomicBool::new(false);

impl<'de> serde::Deserialize<'de> for Slow {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let number = u8::deserialize(from)?;
        BEGUN.store(true, std::sync::atomic::Ordering::SeqCst);
        if let Some(go_on) = GO_ON.lock().unwrap().take() {
            go_on.recv().unwrap();
        }
        Ok(Slow(number))
    }
}

#[background_task(tt = "remote")]
fn slow() -> Slow {
    Slow(7)
}

#[test]
fn blocked_decoder_stops_no_other_cluster() {
    let (sup, cluster) = joined();
    let _node = serve(&cluster, "one", 1);
    let (go_on, wait) = mpsc::channel();
    *GO_ON.lock().unwrap() = Some(wait);
    let blocked = slow::builder().supervisor(&sup).start();
    until("the decoder runs", || BEGUN.load(std::sync::atomic::Ordering::SeqCst));
    let (other_sup, other) = joined();
    let _other_node = serve(&other, "one", 1);
    assert_eq!(add::builder(1, 2).supervisor(&other_sup).start().join().unwrap(), 3);
    // Nor the connection of its own.
    cluster.flush(LIMIT).unwrap();
    assert_eq!(cluster.info().unwrap().nodes.len(), 1);
    assert!(!blocked.is_completed());
    go_on.send(()).unwrap();
    assert_eq!(blocked.join().unwrap().0, 7);
}
