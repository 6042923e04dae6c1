//! The end of a node's part in a call: the record first, then everything that follows from it.
//!
//! The order makes it safe to die in between. Until the record says that the call has ended, the entry
//! comes back and the call is run again. After that, the node that gets the entry does the rest.

use std::rc::Rc;
use std::time::Duration;

use super::Node;
use super::claim::Claim;
use super::held::Held;
use super::hold::Ending;
use super::upkeep::{renew_entry, write_claimed};
use crate::backoff::Backoff;
use crate::cluster::door::{CallHead, RetryPause, RunEnd};
use crate::cluster::error::ClusterError;
use crate::cluster::protocol::control::Reply;
use crate::cluster::protocol::launcher::unique;
use crate::cluster::protocol::payload::{self, result_key};
use crate::cluster::protocol::record::{CallState, Outcome, Payload};
use crate::cluster::protocol::surely::in_background;
use crate::cluster::protocol::{dead, surely::Conflict};
use crate::error::TaskError;

/// Writes what became of a call that this node has claimed.
pub(super) async fn finish(node: &Rc<Node>, held: &Rc<Held>, claim: &Claim, ending: Ending) {
    let Claim { attempt, losses, .. } = *claim;
    match ending {
        Ending::Ran { end, may_retry } => ran(node, held, claim, end, may_retry).await,
        Ending::Canceled(reply) => {
            let outcome = Outcome::Failed(TaskError::Canceled);
            let answer = match Box::pin(end_call(node, held, claim, outcome)).await {
                Ok(()) => Reply::Canceled,
                Err(Conflict) => Reply::NotHeld,
            };
            node.reply(reply, answer);
        }
        // The run has not begun, so it does not count.
        Ending::HandedBack => {
            node.counted(|counts| counts.handed_back += 1);
            let runs = (attempt - 1, losses);
            Box::pin(wait_again(node, held, claim, Duration::ZERO, runs)).await;
        }
        Ending::CutOff => {
            node.counted(|counts| counts.cut_off += 1);
            let losses = losses + 1;
            if losses > held.entry.head.redeliver {
                let error = TaskError::NodeLost { node: node.me.name.to_string(), losses };
                let claim = Claim { losses, ..*claim };
                _ = Box::pin(end_call(node, held, &claim, Outcome::Failed(error))).await;
            } else {
                let runs = (attempt, losses);
                Box::pin(wait_again(node, held, claim, Duration::ZERO, runs)).await;
            }
        }
        Ending::Lost => node.release(held),
    }
}

/// A run has ended by itself.
async fn ran(node: &Rc<Node>, held: &Rc<Held>, claim: &Claim, end: RunEnd, may_retry: bool) {
    node.counted(|counts| counts.ended += 1);
    if super::channel::is_to_be_delivered(held) {
        Box::pin(super::channel::wait_until_delivered(node, held)).await;
    }
    let head = &held.entry.head;
    let failures = claim.attempt - claim.losses;
    if end.is_bad() && may_retry && failures <= head.retries {
        let pause = retry_pause(node, head, failures);
        let runs = (claim.attempt, claim.losses);
        return Box::pin(wait_again(node, held, claim, pause, runs)).await;
    }
    let outcome = match end {
        RunEnd::Failed(error) => Outcome::Failed(error),
        RunEnd::Returned { result, .. } if result.len() as u64 > payload::LIMIT => {
            let (bytes, limit) = (result.len() as u64, payload::LIMIT);
            Outcome::Failed(TaskError::Cluster(ClusterError::TooLarge { bytes, limit }))
        }
        RunEnd::Returned { result, is_err } => {
            let key = || result_key(head.id, held.claim);
            Outcome::Returned { result: node.member.put_payload(result, key).await, is_err }
        }
    };
    _ = end_call(node, held, claim, outcome).await;
}

/// Ends a call. A conflict means that another node holds it, or has ended it.
async fn end_call(
    node: &Rc<Node>,
    held: &Rc<Held>,
    claim: &Claim,
    outcome: Outcome,
) -> Result<(), Conflict> {
    let head = &held.entry.head;
    let state = CallState::Ended {
        outcome,
        attempt: claim.attempt,
        losses: claim.losses,
        node: Some(node.me.clone()),
    };
    let written = write_claimed(node, held, claim, &state).await;
    let CallState::Ended { outcome, .. } = state else { unreachable!("it was made above") };
    if written.is_err() {
        node.release(held);
        if let Outcome::Returned { result: result @ Payload::Blocks { .. }, .. } = outcome {
            in_background(&node.member, async move |member| member.remove_payload(&result).await);
        }
        return Err(Conflict);
    }
    if head.unique.is_some() {
        Box::pin(unique::refresh(&node.member, head, true)).await;
    }
    bury(node, held, &outcome).await;
    clean_up(node, held).await;
    Ok(())
}

/// Lets a call be run again after a pause.
async fn wait_again(
    node: &Rc<Node>,
    held: &Rc<Held>,
    claim: &Claim,
    delay: Duration,
    (attempt, losses): (u32, u32),
) {
    let state = CallState::Waiting { delay, attempt, losses };
    if write_claimed(node, held, claim, &state).await.is_err() {
        return node.release(held);
    }
    let keep = node.member.shared.limits.keep;
    let age = node.member.since(held.appended.get()).await;
    if age + delay <= keep / 3 * 2 {
        return node.hand_back(held, delay);
    }
    // The entry would be forgotten before the next run. A node that gets the new one too early hands it back.
    renew_entry(node, held).await;
    node.release(held);
}

fn retry_pause(node: &Node, head: &CallHead, failures: u32) -> Duration {
    match head.retry {
        RetryPause::Fixed(pause) => pause,
        RetryPause::Backoff { first, max, factor, jitter } => {
            let full = Backoff::full_pause_of(first, max, f64::from_bits(factor), failures);
            if !jitter {
                return full;
            }
            let half = full / 2;
            half + half.mul_f64(node.member.random.borrow_mut().f64())
        }
    }
}

/// Appends a dead letter if the outcome is a bad one.
pub(super) async fn bury(node: &Node, held: &Held, outcome: &Outcome) {
    if outcome.is_dead() {
        let error = match outcome {
            Outcome::Failed(error) => Some(error.clone()),
            Outcome::Returned { .. } => None,
        };
        // In a box, because most outcomes need no room for it.
        Box::pin(dead::bury(&node.member, &held.entry, error)).await;
    }
}

/// The call has its outcome: its entry and its arguments are not needed any more.
pub(super) async fn clean_up(node: &Rc<Node>, held: &Rc<Held>) {
    node.release(held);
    node.member.broker.ack(&held.token());
    if held.is_renewed.get() {
        // It was not delivered yet.
        let key = held.entry.head.entry_key();
        in_background(&node.member, async move |member| member.broker.remove_entry(&key).await);
    }
    if let args @ Payload::Blocks { .. } = &held.entry.args {
        let args = args.clone();
        in_background(&node.member, async move |member| member.remove_payload(&args).await);
    }
}

impl Node {
    fn counted(&self, count: impl FnOnce(&mut crate::cluster::door::Drained)) {
        let mut counts = self.counts.get();
        count(&mut counts);
        self.counts.set(counts);
    }
}
