//! `stop`, `cancel` and `kill`, by what the call is doing.

use std::time::Duration;

use atasker::{
    Cluster, KillError, MpPoolConfig, NodeConfig, Supervisor, Task, TaskContext, TaskStatus,
    background_task,
};

use crate::{LIMIT, joined, serve, until};

/// Returns whether it was asked to stop.
#[background_task(tt = "remote")]
fn waits(ctx: &TaskContext) -> bool {
    ctx.wait_stop(LIMIT)
}

#[background_task(tt = "remote", retries = 5, retry_delay = "1h")]
fn fails() -> Result<(), String> {
    Err("again".to_owned())
}

#[background_task(tt = "remote")]
fn sleeps() {
    std::thread::sleep(LIMIT);
}

fn queued(sup: &Supervisor, cluster: &Cluster) -> Task<bool> {
    let task = waits::builder().supervisor(sup).start();
    cluster.flush(LIMIT).unwrap();
    task
}

fn running(sup: &Supervisor) -> Task<bool> {
    let task = waits::builder().supervisor(sup).start();
    // Its node has begun it, and has not only taken it.
    until("the task begins", || task.info().worker_pid.is_some());
    assert_eq!(task.status(), TaskStatus::Started);
    task
}

/// A task that waits for another attempt.
fn between_attempts(sup: &Supervisor) -> Task<Result<(), String>> {
    let task = fails::builder().supervisor(sup).start();
    until("the first attempt fails", || task.status() == TaskStatus::Delayed);
    assert_eq!(task.info().attempt, 1);
    task
}

#[test]
fn queued_task_is_canceled_by_each_verb() {
    let (sup, cluster) = joined();
    let task = queued(&sup, &cluster);
    task.stop();
    assert!(task.join().unwrap_err().is_canceled());
    let task = queued(&sup, &cluster);
    assert!(task.cancel());
    assert!(task.is_completed() && !task.cancel());
    assert!(task.join().unwrap_err().is_canceled());
    let task = queued(&sup, &cluster);
    task.kill().unwrap();
    assert!(task.join().unwrap_err().is_canceled());
    // They never run: a node that comes now finds nothing.
    let _node = serve(&cluster, "one", 1);
    let task = running(&sup);
    assert!(cluster.info().unwrap().queues.iter().all(|queue| queue.waiting.total() == 0));
    task.stop();
    assert!(task.join().unwrap());
}

#[test]
fn running_task_is_asked_to_stop() {
    let (sup, cluster) = joined();
    let _node = serve(&cluster, "one", 1);
    let task = running(&sup);
    task.stop();
    assert!(task.join().unwrap());
    let task = running(&sup);
    assert!(!task.cancel());
    assert!(task.join().unwrap());
}

#[test]
fn task_between_attempts_is_canceled_by_each_verb() {
    let (sup, cluster) = joined();
    let _node = serve(&cluster, "one", 1);
    let task = between_attempts(&sup);
    task.stop();
    assert!(task.join().unwrap_err().is_canceled());
    let task = between_attempts(&sup);
    assert!(task.cancel());
    assert!(task.join().unwrap_err().is_canceled());
    let task = between_attempts(&sup);
    task.kill().unwrap();
    assert!(task.join().unwrap_err().is_canceled());
}

#[test]
fn thread_of_a_node_cannot_be_killed() {
    let (sup, cluster) = joined();
    let _node = serve(&cluster, "one", 1);
    let task = running(&sup);
    assert_eq!(task.kill(), Err(KillError::Unsupported));
    task.stop();
    assert!(task.join().is_ok());
}

#[test]
fn worker_process_of_a_node_is_killed() {
    let (sup, cluster) = joined();
    let config = NodeConfig::new(MpPoolConfig::new(1)).name("processes");
    let node = cluster.member("processes").serve(config).unwrap();
    let task = sleeps::builder().supervisor(&sup).start();
    until("the task begins", || task.info().worker_pid.is_some());
    until("its process is known", || task.info().worker_pid.is_some());
    task.kill().unwrap();
    assert!(task.join().unwrap_err().is_canceled());
    // Another process takes its place.
    let task = running(&sup);
    task.stop();
    assert!(task.join().unwrap());
    drop(node);
}

#[test]
fn ended_task_is_left_alone() {
    let (sup, cluster) = joined();
    let _node = serve(&cluster, "one", 1);
    let task = running(&sup);
    task.stop();
    task.wait().unwrap();
    task.stop();
    assert!(!task.cancel());
    assert_eq!(task.kill(), Ok(()));
    assert!(task.join().unwrap());
}

#[test]
fn verbs_without_a_broker_stand_until_it_is_back() {
    let (sup, cluster) = joined();
    let canceled = queued(&sup, &cluster);
    let killed = queued(&sup, &cluster);
    cluster.faults().stop_broker();
    // Both wait for five seconds, at the same time.
    std::thread::scope(|scope| {
        scope.spawn(|| assert!(!canceled.cancel()));
        scope.spawn(|| assert_eq!(killed.kill(), Err(KillError::Unreachable)));
    });
    assert!(!canceled.is_completed() && !killed.is_completed());
    cluster.faults().start_broker();
    assert!(canceled.join().unwrap_err().is_canceled());
    assert!(killed.join().unwrap_err().is_canceled());
}

#[test]
fn cancel_async_blocks_no_thread() {
    let (sup, cluster) = joined();
    let task = queued(&sup, &cluster);
    let canceled = sup.spawn_async(async move {
        let canceled = task.cancel_async().await;
        (canceled, task.await.unwrap_err().is_canceled())
    });
    assert_eq!(canceled.join().unwrap(), (true, true));
    // On an aloop, `cancel` does not wait: the request stands.
    let task = queued(&sup, &cluster);
    let asked = sup.spawn_async(async move { (task.cancel(), task.await) });
    let (canceled, outcome) = asked.join().unwrap();
    assert!(!canceled && outcome.unwrap_err().is_canceled());
    // Local tasks as well.
    let task = atasker::TaskBuilder::new(|| 42).delay(LIMIT).supervisor(&sup).start();
    assert!(ready(task.cancel_async()));
    let task = atasker::TaskBuilder::new(|| 42).supervisor(&sup).start();
    task.wait().unwrap();
    assert!(!ready(task.cancel_async()));
}

/// Polls a future that is ready at once.
fn ready<T>(future: impl Future<Output = T>) -> T {
    let mut future = std::pin::pin!(future);
    match future.as_mut().poll(&mut std::task::Context::from_waker(std::task::Waker::noop())) {
        std::task::Poll::Ready(value) => value,
        std::task::Poll::Pending => panic!("a local task is canceled at once"),
    }
}

#[test]
fn dropped_handle_changes_nothing() {
    let (sup, cluster) = joined();
    let id = queued(&sup, &cluster).id();
    let _node = serve(&cluster, "one", 1);
    let found = sup.task(id).unwrap();
    until("the task begins", || found.info().worker_pid.is_some());
    std::thread::sleep(Duration::from_millis(20));
    assert!(!found.is_completed());
    found.stop();
    found.wait().unwrap();
}
