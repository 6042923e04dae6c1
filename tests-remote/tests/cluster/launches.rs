//! Launches, their outcomes, and what `info` tells.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use atasker::{
    ClusterError, CodecStage, Outcome, Priority, Supervisor, TaskContext, TaskError, TaskStatus,
    TaskType, background_task,
};

use crate::{LIMIT, join, joined, serve, until};

#[background_task(tt = "remote")]
fn add(a: u32, b: u32) -> u32 {
    a + b
}

#[background_task(tt = "remote", priority = "high", name = "says hello")]
fn greet(ctx: &TaskContext, name: &str) -> (String, u32, String) {
    assert_eq!((ctx.priority(), ctx.tt()), (Priority::High, TaskType::Thread));
    (format!("hello {name}"), ctx.attempt(), ctx.name().to_owned())
}

#[background_task(tt = "remote")]
fn panics() -> u32 {
    panic!("no luck")
}

#[background_task(tt = "remote")]
fn echo(block: Vec<u8>) -> Vec<u8> {
    block
}

/// Fails until it was called often enough.
#[background_task(tt = "remote", retries = 3)]
fn flaky(ctx: &TaskContext, good: u32) -> Result<u32, String> {
    match ctx.attempt() {
        attempt if attempt < good => Err(format!("attempt {attempt}")),
        attempt => Ok(attempt),
    }
}

#[background_task(tt = "remote")]
fn waits(ctx: &TaskContext) -> bool {
    ctx.wait_stop(LIMIT)
}

#[background_task(tt = "remote", timeout = "50ms")]
fn overruns(ctx: &TaskContext) {
    while !ctx.stopped() {
        std::thread::yield_now();
    }
}

#[test]
fn remote_task_runs_on_a_node_and_returns_its_result() {
    let (sup, cluster) = joined();
    let _node = serve(&cluster, "one", 2);
    let tasks: Vec<_> = (0..200).map(|n| add::builder(n, n).supervisor(&sup).start()).collect();
    assert!(tasks.iter().all(|task| task.tt() == TaskType::Remote));
    for (n, task) in tasks.into_iter().enumerate() {
        assert_eq!(task.join().unwrap(), 2 * n as u32);
    }
    let task = greet::builder("you").supervisor(&sup).start();
    assert_eq!((task.name(), task.priority()), ("says hello", Priority::High));
    assert_eq!(*task.wait().unwrap(), ("hello you".to_owned(), 1, "says hello".to_owned()));
    let info = task.info();
    assert_eq!((info.tt, info.status), (TaskType::Remote, TaskStatus::Completed));
    assert_eq!((info.node.as_deref(), info.losses, info.attempt), (Some("one"), 0, 1));
    assert_eq!(info.outcome, Some(Outcome::Ok));
    assert!(sup.tasks().is_empty());
}

#[test]
fn blocks_of_any_length_go_there_and_back() {
    let (sup, cluster) = joined();
    let _node = serve(&cluster, "one", 2);
    for len in [0, 1, 300 << 10, 3 << 20] {
        let block: Vec<u8> = (0..len).map(|i| i as u8).collect();
        let task = echo::builder(block.clone()).supervisor(&sup).start();
        assert!(task.join().unwrap() == block, "{len} bytes");
    }
}

#[test]
fn panic_is_the_error_of_the_task() {
    let (sup, cluster) = joined();
    let _node = serve(&cluster, "one", 1);
    let task = panics::builder().supervisor(&sup).start();
    let error = task.wait().unwrap_err().clone();
    let TaskError::Panicked { message, location, .. } = &error else { panic!("{error}") };
    assert_eq!(message, "no luck");
    assert!(location.as_ref().unwrap().contains("launches.rs"));
    assert_eq!(task.info().outcome, Some(Outcome::Failed));
}

#[test]
fn nodes_retry_what_has_ended_badly() {
    let (sup, cluster) = joined();
    let _node = serve(&cluster, "one", 1);
    let task = flaky::builder(3).supervisor(&sup).start();
    assert_eq!(*task.wait().unwrap(), Ok(3));
    assert_eq!((task.info().attempt, task.info().losses), (3, 0));
    // The last attempt decides.
    let task = flaky::builder(9).supervisor(&sup).start();
    assert_eq!(*task.wait().unwrap(), Err("attempt 4".to_owned()));
    assert_eq!(task.info().outcome, Some(Outcome::ReturnedErr));
    let found = cluster.find(task.id()).unwrap().unwrap();
    assert_eq!(found.info().unwrap().outcome, Some(Outcome::ReturnedErr));
    // The outcome may be known a little before its letter is.
    until("there is a letter", || !cluster.dead_letters().unwrap().is_empty());
    let letters = cluster.dead_letters().unwrap();
    assert_eq!(letters.len(), 1);
    assert_eq!(letters[0].id, task.id());
    assert!(letters[0].name.ends_with("flaky"));
    let again = cluster.retry_dead(task.id()).unwrap();
    assert_ne!(again, task.id());
    assert!(cluster.dead_letters().unwrap().iter().all(|letter| letter.id != task.id()));
}

#[test]
fn time_limit_applies_on_the_node() {
    let (sup, cluster) = joined();
    let _node = serve(&cluster, "one", 1);
    let error = overruns::builder().supervisor(&sup).start().join().unwrap_err();
    assert_eq!(error, TaskError::TimedOut { limit: Duration::from_millis(50) });
}

#[test]
fn launch_without_a_cluster_ends_at_once() {
    let sup = Supervisor::builder().build();
    let error = add::builder(1, 2).supervisor(&sup).start().join().unwrap_err();
    assert_eq!(error, TaskError::Cluster(ClusterError::NotJoined));
    // The builder can name one.
    let (_, cluster) = joined();
    let _node = serve(&cluster, "one", 1);
    let task = add::builder(1, 2).supervisor(&sup).cluster(&cluster).start();
    assert_eq!(task.join().unwrap(), 3);
}

#[test]
fn only_nodes_of_its_queue_take_a_task() {
    let (sup, cluster) = joined();
    let _default = serve(&cluster, "default", 1);
    let task = add::builder(1, 2).queue("gpu").supervisor(&sup).start();
    cluster.flush(LIMIT).unwrap();
    let other = add::builder(2, 2).supervisor(&sup).start();
    assert_eq!(other.join().unwrap(), 4);
    assert_eq!(task.status(), TaskStatus::Queued);
    let queues = cluster.info().unwrap().queues;
    let waiting = |name: &str| {
        queues.iter().find(|queue| queue.name == name).map_or(0, |queue| queue.waiting.normal)
    };
    assert_eq!((waiting("gpu"), waiting("default")), (1, 0));
    let config = atasker::NodeConfig::threads(atasker::PoolConfig::new(1)).queues(["gpu"]);
    let _gpu = cluster.member("gpu").serve(config.name("gpu")).unwrap();
    assert_eq!(task.join().unwrap(), 3);
    let task = add::builder(1, 2).queue("no such.queue").supervisor(&sup).start();
    let error = task.join().unwrap_err();
    assert!(matches!(error, TaskError::Cluster(ClusterError::Invalid { .. })), "{error}");
}

#[test]
fn task_expires_without_a_node() {
    let (sup, _cluster) = joined();
    let after = Duration::from_millis(100);
    let error = add::builder(1, 2).expires(after).supervisor(&sup).start().join().unwrap_err();
    let TaskError::Expired { after: told, detail } = &error else { panic!("{error}") };
    assert_eq!(*told, after);
    assert!(detail.contains("node"), "{detail}");
}

#[test]
fn delay_is_waited_for_here() {
    let (sup, cluster) = joined();
    let _node = serve(&cluster, "one", 1);
    let task = add::builder(1, 2).delay(Duration::from_millis(20)).supervisor(&sup).start();
    assert_eq!(task.status(), TaskStatus::Delayed);
    assert_eq!(task.join().unwrap(), 3);
    let task = add::builder(1, 2).delay(LIMIT).supervisor(&sup).start();
    assert!(task.cancel());
    assert!(task.join().unwrap_err().is_canceled());
}

#[test]
fn unique_key_holds_in_the_whole_namespace() {
    let (sup, cluster) = joined();
    let _node = serve(&cluster, "one", 2);
    let first = waits::builder().unique(7).supervisor(&sup).start_unique().unwrap();
    let second = waits::builder().unique(7).supervisor(&sup).start();
    assert_eq!(second.join().unwrap_err(), TaskError::Duplicate { id: first.id() });
    // As another process would.
    let other = join(&cluster.member("other"));
    let held = waits::builder().unique(7).supervisor(&other).start_unique().unwrap_err();
    assert_eq!(held.id(), first.id());
    let free = waits::builder().unique(8).supervisor(&other).start_unique().unwrap();
    // The process is told to the latest handle.
    let has_begun = |info: atasker::TaskInfo| info.worker_pid.is_some();
    until("both begin", || {
        (has_begun(first.info()) || has_begun(held.info())) && has_begun(free.info())
    });
    first.stop();
    free.stop();
    assert!(first.join().unwrap() && free.join().unwrap());
    held.wait().unwrap();
    assert_eq!(held.result_cloned::<bool>(), Some(Ok(true)));
    let next = waits::builder().unique(7).supervisor(&other).start_unique().unwrap();
    assert!(next.cancel() || next.join().unwrap());
}

#[background_task(tt = "remote")]
fn counts(ctx: &TaskContext<u32, u32>) -> u32 {
    let mut sum = 0;
    while let Ok(n) = ctx.recv() {
        sum += n;
        let _ = ctx.send(sum);
    }
    sum
}

#[test]
fn second_launch_of_a_unique_task_leaves_its_messages_alone() {
    let (sup, cluster) = joined();
    let _node = serve(&cluster, "one", 1);
    let task = counts::builder().unique(1).supervisor(&sup).start_unique().unwrap();
    task.send(1).unwrap();
    assert_eq!(task.recv_timeout(LIMIT), Ok(1));
    let other = join(&cluster.member("other"));
    for sup in [&sup, &other] {
        let held = counts::builder().unique(1).supervisor(sup).start_unique().unwrap_err();
        assert_eq!(held.id(), task.id());
        drop(held);
        task.send(1).unwrap();
        assert!(task.recv_timeout(LIMIT).is_ok());
    }
    task.stop();
    assert_eq!(task.join().unwrap(), 3);
}

#[test]
fn unique_key_can_stay_taken_after_the_end() {
    let (sup, cluster) = joined();
    let _node = serve(&cluster, "one", 2);
    let keep = Duration::from_secs(3600);
    let start =
        |key: u32| add::builder(1, key).unique(key).unique_for(keep).supervisor(&sup).start();
    let first = start(1);
    first.wait().unwrap();
    assert_eq!(start(1).join().unwrap_err(), TaskError::Duplicate { id: first.id() });
    assert_eq!(start(2).join().unwrap(), 3);
}

static PREDICATE_CALLS: AtomicU32 = AtomicU32::new(0);

#[test]
fn retry_if_has_no_effect() {
    let (sup, cluster) = joined();
    let _node = serve(&cluster, "one", 1);
    let task = add::builder(1, 2).retries(3).retry_if(|_| {
        PREDICATE_CALLS.fetch_add(1, Ordering::Relaxed);
        true
    });
    assert_eq!(task.supervisor(&sup).start().join().unwrap(), 3);
    assert_eq!(PREDICATE_CALLS.load(Ordering::Relaxed), 0);
}

#[test]
fn callbacks_run_where_the_task_was_launched() {
    let (sup, cluster) = joined();
    let _node = serve(&cluster, "one", 1);
    let (sender, outcomes) = std::sync::mpsc::channel();
    let task = add::builder(1, 2).supervisor(&sup).on_complete(move |outcome| {
        sender.send(outcome.clone()).unwrap();
    });
    task.start().detach();
    assert_eq!(outcomes.recv().unwrap(), Ok(3));
}

#[derive(serde::Serialize, Debug, Clone, PartialEq)]
struct OneWay(u32);

impl<'de> serde::Deserialize<'de> for OneWay {
    fn deserialize<D: serde::Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
        Err(serde::de::Error::custom("it never comes back"))
    }
}

#[background_task(tt = "remote")]
fn one_way() -> OneWay {
    OneWay(1)
}

#[test]
fn result_that_cannot_be_decoded_is_an_error_of_the_task() {
    let (sup, cluster) = joined();
    let _node = serve(&cluster, "one", 1);
    let error = one_way::builder().supervisor(&sup).start().join().unwrap_err();
    let TaskError::Codec { stage, detail, .. } = &error else { panic!("{error}") };
    assert_eq!(*stage, CodecStage::DecodeResult);
    assert!(detail.contains("never comes back"));
}

#[test]
fn status_follows_the_node() {
    let (sup, cluster) = joined();
    let task = waits::builder().supervisor(&sup).start();
    cluster.flush(LIMIT).unwrap();
    assert_eq!((task.status(), task.info().node), (TaskStatus::Queued, None));
    assert_eq!(sup.tasks_of(TaskType::Remote).len(), 1);
    let _node = serve(&cluster, "one", 1);
    until("the task begins", || task.info().worker_pid.is_some());
    assert_eq!(task.info().node.as_deref(), Some("one"));
    assert!(task.info().time_started.is_some());
    task.stop();
    assert!(task.join().unwrap());
}
