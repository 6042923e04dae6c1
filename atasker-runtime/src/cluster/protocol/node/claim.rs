//! Claiming a call: putting this node into its record.
//!
//! Every write expects the record to be as it was read, so of two nodes that decide at the same time,
//! one has to look again.

use std::rc::Rc;
use std::time::Duration;

use super::held::{Held, Stage};
use super::loss::{self, Certain};
use super::take::pause_of;
use super::{Node, finish};
use crate::cluster::broker::{Expect, Record};
use crate::cluster::door::NodeRef;
use crate::cluster::protocol::overview::waits_for;
use crate::cluster::protocol::record::{CallState, Outcome, encode_record, record_key};
use crate::error::TaskError;
use crate::unwind::attempt;

/// A claim that is written.
#[derive(Clone, Copy, Debug)]
pub(super) struct Claim {
    /// The number of the write.
    pub(super) number: u64,
    /// The number of this run.
    pub(super) attempt: u32,
    pub(super) losses: u32,
}

/// What came of it.
pub(super) enum Claimed {
    Ours(Claim),
    /// The call has its outcome.
    HasEnded,
    /// It is to be delivered again after a pause.
    NotNow(Duration),
    /// Another node holds it, and keeps the delivery.
    Elsewhere,
}

/// What may be written to the record, and when.
enum Next {
    Run { expect: Expect, attempt: u32, losses: u32 },
    End { expect: Expect, outcome: TaskError, attempt: u32, losses: u32, node: Option<NodeRef> },
    Stop(Claimed),
    LookAgain,
}

/// Claims a call that was delivered.
pub(super) async fn claim(node: &Rc<Node>, held: &Rc<Held>, delivered: u64) -> Claimed {
    let head = &held.entry.head;
    let key = record_key(head.id);
    let has_function = attempt(|| node.runner.has(&head.function)).unwrap_or(false);
    // The first delivery of an entry has no record, but for a rare one. So the record is written
    // without a look at it.
    let mut look = delivered > 1 || !has_function;
    loop {
        let record = if look {
            match Box::pin(node.member.read_state(head.id)).await {
                Ok(record) => record,
                Err(error) => {
                    node.complain_unreadable(&error);
                    return Claimed::NotNow(pause_of(delivered));
                }
            }
        } else {
            None
        };
        look = true;
        let next = match record {
            None if head.expires.is_none() => {
                Next::Run { expect: Expect::Absent, attempt: 1, losses: 0 }
            }
            // In a box, because most claims need no room for it.
            record => Box::pin(next(node, held, record)).await,
        };
        let next = match next {
            Next::Run { .. } if !has_function => {
                node.complain_missing(&head.function);
                return Claimed::NotNow(pause_of(delivered));
            }
            next => next,
        };
        let (expect, state, claimed) = match next {
            Next::LookAgain => continue,
            Next::Stop(claimed) => return claimed,
            Next::Run { expect, attempt, losses } => {
                let (me, claim) = (node.me.clone(), held.claim);
                let state = CallState::Running { node: me, claim, attempt, losses };
                (expect, state, Some((attempt, losses)))
            }
            Next::End { expect, outcome, attempt, losses, node } => {
                let outcome = Outcome::Failed(outcome);
                (expect, CallState::Ended { outcome, attempt, losses, node }, None)
            }
        };
        let written = node.member.write_surely(&key, expect, || encode_record(head, &state)).await;
        let Ok(number) = written else { continue };
        return match (claimed, state) {
            (Some((attempt, losses)), _) => Claimed::Ours(Claim { number, attempt, losses }),
            (None, CallState::Ended { outcome, .. }) => {
                Box::pin(finish::bury(node, held, &outcome)).await;
                Claimed::HasEnded
            }
            (None, _) => Claimed::HasEnded,
        };
    }
}

/// Decides what follows from the record of a call.
async fn next(node: &Rc<Node>, held: &Rc<Held>, record: Option<(Record, CallState)>) -> Next {
    let Some((record, state)) = record else {
        return first_run(node, held, Expect::Absent).await;
    };
    let expect = Expect::Number(record.number);
    match state {
        CallState::Ended { outcome, .. } => {
            // The node that has written this may have died before it was done.
            finish::bury(node, held, &outcome).await;
            Next::Stop(Claimed::HasEnded)
        }
        CallState::Waiting { delay, attempt, losses } => {
            let left = delay.saturating_sub(node.member.since(record.time).await);
            if !left.is_zero() {
                return Next::Stop(Claimed::NotNow(left));
            }
            if attempt == 0 {
                return first_run(node, held, expect).await;
            }
            Next::Run { expect, attempt: attempt + 1, losses }
        }
        CallState::Running { node: other, claim, attempt, losses } => {
            node.set_stage(held, Stage::Judging);
            let judgment = loss::judge(node, held, &other, claim).await;
            node.set_stage(held, Stage::Claiming);
            match judgment {
                Err(pause) => Next::Stop(Claimed::NotNow(pause)),
                Ok(Certain::Alive) => Next::Stop(Claimed::Elsewhere),
                Ok(Certain::LookAgain) => Next::LookAgain,
                Ok(Certain::Lost) => {
                    let losses = losses + 1;
                    if losses > held.entry.head.redeliver {
                        let outcome = TaskError::NodeLost { node: other.name.to_string(), losses };
                        return Next::End { expect, outcome, attempt, losses, node: Some(other) };
                    }
                    Next::Run { expect, attempt: attempt + 1, losses }
                }
            }
        }
    }
}

/// No run has begun: the call may have expired.
async fn first_run(node: &Rc<Node>, held: &Rc<Held>, expect: Expect) -> Next {
    let head = &held.entry.head;
    if let Some(after) = head.expires
        && node.member.since(held.appended.get()).await > after
    {
        let detail = waits_for(&node.member, head).await;
        let outcome = TaskError::Expired { after, detail };
        return Next::End { expect, outcome, attempt: 0, losses: 0, node: None };
    }
    Next::Run { expect, attempt: 1, losses: 0 }
}
