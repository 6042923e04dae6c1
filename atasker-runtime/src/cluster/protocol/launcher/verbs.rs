//! Stop, cancel and kill, of any call of the namespace, from any member.
//!
//! All three begin with the record. A call that no node holds is ended by writing `Canceled` to its
//! record: from then on no node can begin it, because each has to write there first. For one that a
//! node holds, the node is asked. If the node is gone, `Canceled` is written as well, but `cancel` does not
//! say that the call does not run: a node that is only cut off runs it until it hears of that.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use crate::cluster::broker::{BrokerError, Expect, Kept};
use crate::cluster::door::{CallHead, Canceled, Killed, NodeRef};
use crate::cluster::protocol::control::{Frame, Reply, Verb, subject};
use crate::cluster::protocol::member::Member;
use crate::cluster::protocol::pause::Pause;
use crate::cluster::protocol::payload::args_key;
use crate::cluster::protocol::pending::Answer;
use crate::cluster::protocol::record::{CallEntry, CallState, Outcome, encode_record, record_key};
use crate::cluster::protocol::surely::in_background;
use crate::error::TaskError;
use crate::id::TaskId;

/// How long the caller waits. The request stands after that.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// How long a node is waited for.
const NODE_WITHIN: Duration = Duration::from_secs(1);

/// How often, and how far apart, the broker has to say that a node is gone.
const GONE: (u32, Duration) = (2, Duration::from_millis(300));

/// How long nodes have to connect again.
const CONNECTED_FOR: Duration = Duration::from_secs(3);

/// What became of the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Done {
    /// The call has ended with `Canceled` by it.
    Canceled,
    /// The call runs, and its node has asked it to stop or kills it.
    Asked,
    /// The call has ended with `Canceled` by it, and its node is gone. If that node is only cut off, the
    /// run may go on until the node finds out.
    CanceledAtLostNode,
    Unsupported,
    /// It had ended before, or is not known.
    HadEnded,
}

pub(in crate::cluster::protocol) async fn stop(member: Rc<Member>, id: TaskId) {
    carry_out(&member, id, Verb::Stop).await;
}

pub(in crate::cluster::protocol) async fn cancel(
    member: Rc<Member>,
    id: TaskId,
    answer: Answer<Canceled>,
) {
    let canceled = |done| match done {
        Done::Canceled => Canceled::Yes,
        Done::Asked | Done::CanceledAtLostNode | Done::Unsupported | Done::HadEnded => Canceled::No,
    };
    within_limit(carry_out(&member, id, Verb::Cancel), answer, Canceled::Unknown, canceled).await;
}

pub(in crate::cluster::protocol) async fn kill(
    member: Rc<Member>,
    id: TaskId,
    answer: Answer<Killed>,
) {
    let killed = |done| match done {
        Done::Canceled | Done::CanceledAtLostNode | Done::Asked | Done::HadEnded => Killed::Yes,
        Done::Unsupported => Killed::Unsupported,
    };
    within_limit(carry_out(&member, id, Verb::Kill), answer, Killed::Unknown, killed).await;
}

/// Answers in time, and carries the request out in any case.
async fn within_limit<T>(
    request: impl Future<Output = Done>,
    answer: Answer<T>,
    unknown: T,
    known: impl FnOnce(Done) -> T,
) {
    tokio::pin!(request);
    match tokio::time::timeout(ANSWER_WITHIN, &mut request).await {
        Ok(done) => drop(answer.send(known(done))),
        Err(_) => {
            drop(answer.send(unknown));
            request.await;
        }
    }
}

async fn carry_out(member: &Rc<Member>, id: TaskId, verb: Verb) -> Done {
    let mut pause = Pause::new();
    let mut gone = 0;
    // A call of this member is most likely to have no record yet.
    if let Some(call) = member.launcher.get(id) {
        if !call.is_sent.get() {
            member.launcher.cancel_unsent(member, &call);
            return Done::Canceled;
        }
        if call.node().is_none() && cancel(member, id, &call.head, Expect::Absent, (0, 0)).await {
            return Done::Canceled;
        }
    }
    loop {
        let Ok(record) = member.read_call(id).await else { return Done::HadEnded };
        let Some((record, call)) = record else {
            let Some(head) = find_head(member, id).await else { return Done::HadEnded };
            if cancel(member, id, &head, Expect::Absent, (0, 0)).await {
                return Done::Canceled;
            }
            continue;
        };
        let expect = Expect::Number(record.number);
        let (node, claim, runs) = match call.state {
            CallState::Ended { .. } => return Done::HadEnded,
            CallState::Waiting { attempt, losses, .. } => {
                if cancel(member, id, &call.head, expect, (attempt, losses)).await {
                    return Done::Canceled;
                }
                continue;
            }
            CallState::Running { node, claim, attempt, losses } => (node, claim, (attempt, losses)),
        };
        match ask(member, &node, Frame::Do { id, claim, verb }).await {
            Some(Ok(Reply::Canceled)) => return Done::Canceled,
            Some(Ok(Reply::Asked)) => return Done::Asked,
            Some(Ok(Reply::Unsupported)) => return Done::Unsupported,
            // The record says otherwise by now, or soon.
            Some(Ok(Reply::NotHeld | Reply::Yes)) => {}
            Some(Err(BrokerError::NoResponders)) => {
                // After a restart of the broker, the node may be about to connect again.
                gone += u32::from(member.connected_since.get().elapsed() > CONNECTED_FOR);
                if gone >= GONE.0 && cancel(member, id, &call.head, expect, runs).await {
                    return Done::CanceledAtLostNode;
                }
                tokio::time::sleep(GONE.1).await;
                continue;
            }
            Some(Err(_)) | None => {}
        }
        gone = 0;
        pause.wait(member).await;
    }

    /// Writes `Canceled`, and removes what is no longer needed.
    async fn cancel(
        member: &Rc<Member>,
        id: TaskId,
        head: &CallHead,
        expect: Expect,
        (attempt, losses): (u32, u32),
    ) -> bool {
        let outcome = Outcome::Failed(TaskError::Canceled);
        let ended = CallState::Ended { outcome, attempt, losses, node: None };
        let value = || encode_record(head, &ended);
        if member.write_surely(&record_key(id), expect, value).await.is_err() {
            return false;
        }
        let entry = head.entry_key();
        in_background(member, async move |member: &Member| {
            member.broker.remove_entry(&entry).await?;
            member.broker.remove_blocks(Kept::AsRecords, &args_key(id)).await
        });
        true
    }
}

async fn ask(
    member: &Rc<Member>,
    node: &NodeRef,
    frame: Frame,
) -> Option<Result<Reply, BrokerError>> {
    match member.broker.request(&subject(&node.id), frame.encode(), NODE_WITHIN).await {
        Ok(reply) => Reply::decode(&reply).ok().map(Ok),
        Err(error) => Some(Err(error)),
    }
}

/// Returns the head of a call without a record.
async fn find_head(member: &Rc<Member>, id: TaskId) -> Option<CallHead> {
    if let Some(call) = member.launcher.get(id) {
        return Some(call.head.clone());
    }
    let key = id.to_string();
    let entry = member.surely("find an entry", || member.broker.find_entry(&key)).await?;
    Some(Arc::unwrap_or_clone(CallEntry::decode(&entry.value).ok()?.head))
}
