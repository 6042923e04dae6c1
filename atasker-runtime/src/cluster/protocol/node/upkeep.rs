//! What the broker would forget of a run that lasts for long: its record and its entry, whose age counts
//! from the last write and from the append.

use std::rc::Rc;
use std::time::Duration;

use tokio::time::Instant;

use super::Node;
use super::claim::Claim;
use super::held::Held;
use crate::cluster::broker::Expect;
use crate::cluster::protocol::launcher::unique;
use crate::cluster::protocol::record::{CallState, encode_record, record_key};
use crate::cluster::protocol::surely::Conflict;

/// When the age of an entry is looked at that can't be told at once.
const UNKNOWN_AGE: Duration = Duration::from_secs(60);

/// The upkeep of one run.
pub(super) struct Upkeep {
    keep: Duration,
    /// When the record was written.
    written: Instant,
    /// When something may have to be done.
    pub(super) next: Instant,
}

impl Upkeep {
    /// To be called when the run was claimed just now.
    pub(super) fn new(node: &Node, held: &Held) -> Upkeep {
        let (keep, now) = (node.member.shared.limits.keep, Instant::now());
        let pause = match node.member.known_since(held.appended.get()) {
            Some(age) if age <= keep / 2 => keep / 3,
            Some(_) => Duration::ZERO,
            None => UNKNOWN_AGE.min(keep / 3),
        };
        Upkeep { keep, written: now, next: now + pause }
    }

    /// Writes the record and the entry anew, as far as they are old. Returns false if another node holds
    /// the call.
    pub(super) async fn renew(&mut self, node: &Rc<Node>, held: &Held, claim: &mut Claim) -> bool {
        if self.written.elapsed() >= self.keep / 4 && !self.write(node, held, claim).await {
            return false;
        }
        if node.member.since(held.appended.get()).await > self.keep / 2 {
            renew_entry(node, held).await;
        }
        self.next = self.written + self.keep / 3;
        true
    }

    /// Writes everything again, after the broker has forgotten the call because it was away for longer than
    /// `keep`.
    /// Returns false if another node holds the call.
    pub(super) async fn restore(
        &mut self,
        node: &Rc<Node>,
        held: &Held,
        claim: &mut Claim,
    ) -> bool {
        if !self.write(node, held, claim).await {
            return false;
        }
        renew_entry(node, held).await;
        self.next = self.written + self.keep / 3;
        true
    }

    async fn write(&mut self, node: &Rc<Node>, held: &Held, claim: &mut Claim) -> bool {
        let state = CallState::Running {
            node: node.me.clone(),
            claim: held.claim,
            attempt: claim.attempt,
            losses: claim.losses,
        };
        match write_claimed(node, held, claim, &state).await {
            Ok(number) => {
                claim.number = number;
                self.written = Instant::now();
                unique::refresh(&node.member, &held.entry.head, false).await;
                true
            }
            Err(Conflict) => false,
        }
    }
}

/// Writes the record of a call that this node has claimed, unless another member has changed it. A record
/// that the broker has forgotten was changed by no one: what is written is forgotten only after it was kept
/// for its time.
pub(super) async fn write_claimed(
    node: &Node,
    held: &Held,
    claim: &Claim,
    state: &CallState,
) -> Result<u64, Conflict> {
    let (member, head) = (&node.member, &held.entry.head);
    let key = record_key(head.id);
    let write = |expect| member.write_surely(&key, expect, || encode_record(head, state));
    match write(Expect::Number(claim.number)).await {
        // In boxes, because they are rare.
        Err(Conflict) if Box::pin(member.read_surely(&key)).await.is_none() => {
            Box::pin(write(Expect::Absent)).await
        }
        written => written,
    }
}

/// Replaces the entry by one that waits as a new one. Whichever node gets it finds out that this one holds
/// the call, which keeps the new entry then.
pub(super) async fn renew_entry(node: &Rc<Node>, held: &Held) {
    let (member, delivery) = (&node.member, held.token());
    let (key, value) = (held.entry.head.entry_key(), held.entry.encode());
    // From now on, the new entry may be delivered.
    held.is_renewed.set(true);
    let token = member.token();
    let renew = || member.broker.renew_entry(&delivery, &key, &token, value.clone());
    member.surely("renew an entry", renew).await;
    held.appended.set(member.broker_time().await);
}
