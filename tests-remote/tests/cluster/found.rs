//! Calls that are found again by their id.

use atasker::{
    ClusterError, KillError, Outcome, Task, TaskContext, TaskId, TaskStatus, TaskType,
    background_task,
};

use crate::{LIMIT, join, joined, serve, until};

#[background_task(tt = "remote")]
fn doubles(ctx: &TaskContext<u64, u64>, first: u64) -> Result<Vec<u8>, String> {
    let mut count = first as u8;
    while let Ok(n) = ctx.recv() {
        let _ = ctx.send(2 * n);
        count += 1;
    }
    Ok(vec![count, 255])
}

#[background_task(tt = "remote")]
fn waits(ctx: &TaskContext) -> bool {
    ctx.wait_stop(LIMIT)
}

#[background_task(tt = "remote", codec = "bincode")]
fn in_bincode(n: u32) -> u32 {
    n
}

#[background_task(tt = "remote")]
fn fails() {
    panic!("no luck")
}

type Doubles = Task<Result<Vec<u8>, String>, u64, u64>;

#[test]
fn attached_handle_gets_messages_and_the_outcome() {
    let (sup, cluster) = joined();
    let _node = serve(&cluster, "one", 1);
    let task = doubles::builder(7).supervisor(&sup).start();
    task.send(1).unwrap();
    assert_eq!(task.recv_timeout(LIMIT), Ok(2));
    // As another process would.
    let member = cluster.member("other");
    let other = join(&member);
    let attached = doubles::attach(&member, task.id()).unwrap();
    assert_eq!((attached.id(), attached.name()), (task.id(), task.name()));
    assert_eq!(attached.tt(), TaskType::Remote);
    assert_eq!(other.tasks()[0].id, task.id());
    assert_eq!(other.task(task.id()).unwrap().id(), task.id());
    attached.send(2).unwrap();
    assert_eq!(attached.recv_timeout(LIMIT), Ok(4));
    until("the node is known", || attached.info().node.as_deref() == Some("one"));
    attached.stop();
    assert_eq!(attached.join().unwrap(), Ok(vec![9, 255]));
    assert_eq!(task.join().unwrap(), Ok(vec![9, 255]));
    assert!(other.tasks().is_empty() && sup.tasks().is_empty());
}

#[test]
fn handle_by_types_decodes_the_outcome_after_the_end() {
    let (sup, cluster) = joined();
    let _node = serve(&cluster, "one", 1);
    let task = doubles::builder(3).supervisor(&sup).start();
    let id = task.id();
    until("the task begins", || task.info().worker_pid.is_some());
    task.send(1).unwrap();
    assert_eq!(task.recv_timeout(LIMIT), Ok(2));
    task.stop();
    task.wait().unwrap();
    drop(task);
    let found: Doubles = cluster.task(id).unwrap();
    assert_eq!(found.join().unwrap(), Ok(vec![4, 255]));
    // Several times, also in another process.
    let found = cluster.member("other").task::<Doubles>(id).unwrap();
    assert_eq!(found.join().unwrap(), Ok(vec![4, 255]));
}

#[test]
fn errors_are_found_as_well() {
    let (sup, cluster) = joined();
    let _node = serve(&cluster, "one", 1);
    let task = fails::builder().supervisor(&sup).start();
    assert!(task.wait().is_err());
    let found = fails::attach(&cluster.member("other"), task.id()).unwrap();
    assert!(found.join().unwrap_err().is_panic());
}

#[test]
fn other_functions_and_types_are_refused() {
    let (sup, cluster) = joined();
    let task = waits::builder().supervisor(&sup).start();
    cluster.flush(LIMIT).unwrap();
    let error = doubles::attach(&cluster, task.id()).unwrap_err();
    let ClusterError::OtherFunction { here, there } = &error else { panic!("{error}") };
    assert!(here.ends_with("doubles") && there.ends_with("waits"), "{error}");
    let error = cluster.task::<Task<u32>>(task.id()).unwrap_err();
    let ClusterError::OtherFunction { here, there } = &error else { panic!("{error}") };
    assert_eq!((here.as_str(), there.as_str()), ("(u32, (), ())", "(bool, (), ())"));
    // It would be decoded with the wrong codec.
    let coded = in_bincode::builder(1).supervisor(&sup).start();
    cluster.flush(LIMIT).unwrap();
    let error = cluster.task::<Task<u32>>(coded.id()).unwrap_err();
    assert!(error.to_string().contains("bincode"), "{error}");
    let attached = in_bincode::attach(&cluster, coded.id()).unwrap();
    let unknown: TaskId = "123456789abcdef-1".parse().unwrap();
    assert!(matches!(waits::attach(&cluster, unknown), Err(ClusterError::NotFound { .. })));
    assert!(cluster.find(unknown).unwrap().is_none());
    let _node = serve(&cluster, "one", 2);
    assert_eq!((attached.join().unwrap(), coded.join().unwrap()), (1, 1));
    task.stop();
    task.join().unwrap();
}

#[test]
fn untyped_call_is_controlled_by_its_id() {
    let (sup, cluster) = joined();
    let member = cluster.member("other");
    let start = || {
        let task = waits::builder().supervisor(&sup).start();
        cluster.flush(LIMIT).unwrap();
        let found = member.find(task.id()).unwrap().unwrap();
        assert_eq!(found.id(), task.id());
        (task, found)
    };
    let (task, found) = start();
    let info = found.info().unwrap();
    assert_eq!((info.id, info.tt, info.status), (task.id(), TaskType::Remote, TaskStatus::Queued));
    assert!(info.name.ends_with("waits") && info.node.is_none());
    assert!(found.cancel());
    assert!(found.wait().unwrap_err().is_canceled());
    assert!(task.join().unwrap_err().is_canceled());
    assert_eq!(found.info().unwrap().status, TaskStatus::Canceled);
    let _node = serve(&cluster, "one", 1);
    let (task, found) = start();
    until("the call begins", || task.info().worker_pid.is_some());
    let info = found.info().unwrap();
    assert_eq!(info.status, TaskStatus::Started);
    assert_eq!((info.node.as_deref(), info.attempt), (Some("one"), 1));
    assert_eq!(found.kill(), Err(KillError::Unsupported));
    assert!(!found.cancel());
    found.wait().unwrap();
    assert!(task.join().unwrap());
    assert_eq!(found.info().unwrap().outcome, Some(Outcome::Ok));
}

#[test]
fn calls_are_found_without_blocking() {
    let (sup, cluster) = joined();
    let task = waits::builder().supervisor(&sup).start();
    cluster.flush(LIMIT).unwrap();
    let id = task.id();
    let member = cluster.member("other");
    let outcome = sup.spawn_async(async move {
        let found = member.find_async(id).await.unwrap().unwrap();
        let handle = member.task_async::<Task<bool>>(id).await.unwrap();
        assert!(found.cancel_async().await);
        handle.await
    });
    assert!(outcome.join().unwrap().unwrap_err().is_canceled());
    assert!(task.join().unwrap_err().is_canceled());
}
