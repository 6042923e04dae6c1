//! Questions about the namespace: a call by its id, the nodes and queues, the first to use a name.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use super::dead;
use super::launcher::expiry::{expire, waits_at_most};
use super::member::Member;
use super::record::{CallEntry, CallState, Outcome};
use super::surely::Conflict;
use crate::cluster::broker::{Expect, Record, Since};
use crate::cluster::door::{CallHead, Found, FoundState, NodeDescription, Overview};
use crate::cluster::error::ClusterError;
use crate::id::TaskId;

/// How long the records of nodes are waited for. There is no end mark in a watch.
const NODES_WITHIN: Duration = Duration::from_millis(200);

/// How long a caller waits for the broker.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// Looks a call up.
pub(super) async fn find(member: &Rc<Member>, id: TaskId) -> Result<Option<Found>, ClusterError> {
    Ok(find_with_age(member, id).await?.map(|(found, _)| found))
}

/// Looks a call up, and tells how long ago one was stored that has not begun. If that is longer than it
/// may wait, it expires now: its launcher may be gone, and no node may serve its queue.
pub(super) async fn find_with_age(
    member: &Rc<Member>,
    id: TaskId,
) -> Result<Option<(Found, Option<Duration>)>, ClusterError> {
    let Some((found, waits)) = super::within(ANSWER_WITHIN, look_up(member, id)).await?? else {
        return Ok(None);
    };
    let Some((appended, expect)) = waits else { return Ok(Some((found, None))) };
    let age = super::within(ANSWER_WITHIN, member.since(appended)).await?;
    if age <= waits_at_most(member, &found.head) {
        return Ok(Some((found, Some(age))));
    }
    let (of, head) = (member.clone(), found.head.clone());
    // A task of its own, so that it is done also if the caller has been told that it takes too long.
    let expired = tokio::task::spawn_local(async move { expire(&of, &head, expect).await });
    drop(super::within(ANSWER_WITHIN, expired).await?);
    let found = super::within(ANSWER_WITHIN, look_up(member, id)).await??;
    Ok(found.map(|(found, _)| (found, Some(age))))
}

/// When an entry was appended whose call has not begun, and what its record is then.
type Waits = (u64, Expect);

async fn look_up(
    member: &Rc<Member>,
    id: TaskId,
) -> Result<Option<(Found, Option<Waits>)>, ClusterError> {
    let unreadable = |what, error: super::bytes::Unreadable| ClusterError::Incompatible {
        detail: format!("the {what} of call {id}: {error}"),
    };
    // Its entry is removed after the outcome is written, so one of the two is there.
    for _ in 0..2 {
        let record = member.read_call(id).await.map_err(|error| unreadable("record", error))?;
        let has_begun = match &record {
            Some((_, call)) => !matches!(call.state, CallState::Waiting { attempt: 0, .. }),
            None => false,
        };
        let key = id.to_string();
        let entry = match has_begun {
            true => None,
            false => member.surely("find an entry", || member.broker.find_entry(&key)).await,
        };
        if let Some((record, call)) = record {
            let waits = entry.map(|entry| (entry.time, Expect::Number(record.number)));
            return Ok(Some((Found { head: call.head, state: found(call.state) }, waits)));
        }
        if let Some(entry) = entry {
            let waits = Some((entry.time, Expect::Absent));
            let entry = CallEntry::decode(&entry.value);
            let head = entry.map_err(|error| unreadable("entry", error))?.head;
            let head = Arc::unwrap_or_clone(head);
            return Ok(Some((Found { head, state: FoundState::Queued }, waits)));
        }
    }
    let found = |head: CallHead| (Found { head, state: FoundState::Queued }, None);
    Ok(member.launcher.get(id).map(|call| found(call.head.clone())))
}

fn found(state: CallState) -> FoundState {
    match state {
        CallState::Running { node, attempt, losses, .. } => {
            FoundState::Running { node, attempt, losses }
        }
        CallState::Waiting { attempt, losses, .. } => FoundState::Waiting { attempt, losses },
        CallState::Ended { outcome, attempt, losses, node } => {
            let (error, is_err) = match outcome {
                Outcome::Failed(error) => (Some(error), false),
                Outcome::Returned { is_err, .. } => (None, is_err),
            };
            FoundState::Ended { error, is_err, attempt, losses, node }
        }
    }
}

/// Returns the nodes and queues of the namespace.
pub(super) async fn info(member: &Rc<Member>) -> Result<Overview, ClusterError> {
    Ok(Overview {
        broker: member.broker.version(),
        nodes: nodes(member).await?,
        queues: member.broker.queues().await?,
        dead: member.broker.log_len(dead::LOG).await?,
    })
}

/// Returns the nodes, and how long ago they were heard of.
pub(super) async fn nodes(
    member: &Rc<Member>,
) -> Result<Vec<(NodeDescription, Duration)>, ClusterError> {
    let (sender, mut records) = mpsc::unbounded_channel::<Record>();
    let sink = Box::new(move |record| drop(sender.send(record)));
    let guard = member.broker.watch("n.*", Since::LastOfEach, sink).await?;
    let mut nodes: Vec<(NodeDescription, Duration)> = Vec::new();
    while let Ok(Some(record)) = tokio::time::timeout(NODES_WITHIN, records.recv()).await {
        let Some(node) = super::node::presence::decode(&record.value) else { continue };
        let heard = member.since(record.time).await;
        nodes.retain(|(before, _)| before.id != node.id);
        if heard <= node.lost_after {
            nodes.push((node, heard));
        }
    }
    drop(guard);
    nodes.sort_by(|(a, _), (b, _)| (&a.name, &a.id).cmp(&(&b.name, &b.id)));
    Ok(nodes)
}

/// Says what a call waits for that has not begun, for people.
pub(super) async fn waits_for(member: &Rc<Member>, head: &CallHead) -> String {
    let Ok(nodes) = nodes(member).await else {
        return "a free slot of a node".to_owned();
    };
    let serving: Vec<_> =
        nodes.iter().filter(|(node, _)| node.queues.contains(&head.queue)).collect();
    let queue = &head.queue;
    if nodes.is_empty() {
        format!("a node that serves the queue `{queue}`: the cluster has no nodes")
    } else if serving.is_empty() {
        format!("a node that serves the queue `{queue}`: no node of the cluster does")
    } else if !serving.iter().any(|(node, _)| node.functions.contains(&head.function)) {
        format!(
            "a node that has the function `{}` with this signature: no node of the queue `{queue}` does",
            head.function.name
        )
    } else {
        format!("a free slot of a node that serves the queue `{queue}`")
    }
}

/// Returns true to the first member that calls it with this name.
pub(super) async fn first(member: &Rc<Member>, name: &str) -> Result<bool, ClusterError> {
    let key = format!("t.{:016x}{:016x}", fnv(0, name), fnv(1, name));
    let value = format!("{} {name}", member.token());
    let decide = async {
        match member.write_surely(&key, Expect::Absent, || value.clone().into_bytes()).await {
            Ok(_) => true,
            Err(Conflict) => false,
        }
    };
    super::within(ANSWER_WITHIN, decide).await
}

/// FNV-1a, which is the same in all builds.
fn fnv(seed: u8, text: &str) -> u64 {
    let bytes = std::iter::once(seed).chain(text.bytes());
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}
