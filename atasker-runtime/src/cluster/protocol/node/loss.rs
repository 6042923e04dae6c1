//! Whether another node is lost.
//!
//! Nodes publish a beat, which all nodes hear, their own included. A node is lost when the broker says
//! that it does not listen any more, or when it was not heard of for `lost_after`. Both count only as
//! far as this node itself was connected: it may be the one that is cut off. It knows that by its own
//! beats. If it has not heard those for a while, because it was frozen or cut off, the silence of
//! others begins anew.
//!
//! A wrong judgment costs a run. It never makes two outcomes, because the loser's write is refused.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use tokio::time::Instant;

use super::Node;
use super::held::{Happened, Held};
use crate::cluster::broker::BrokerError;
use crate::cluster::door::NodeRef;
use crate::cluster::protocol::control::{Frame, Reply, subject};
use crate::cluster::protocol::record::CallState;

/// The broker has to say twice, this far apart, that a node does not listen: it may be connecting
/// again.
const AGAIN_AFTER: Duration = Duration::from_millis(300);

/// How long a node that was not heard of may take to connect again, after this one has.
const PATIENCE: Duration = Duration::from_secs(3);

/// The same after this node has connected for the first time. It is less likely that the others are
/// connecting at this moment.
const FIRST_PATIENCE: Duration = Duration::from_secs(1);

/// How long a node that was silent for long enough has for a last answer.
const LAST_ANSWER: Duration = Duration::from_millis(300);

/// What is certain about the node that holds a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Certain {
    /// It holds the call, and keeps the delivery.
    Alive,
    Lost,
    /// The record is likely to have changed.
    LookAgain,
}

/// What is thought of the node that holds a call, after it was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Judgment {
    Alive,
    Lost,
    LookAgain,
    /// Ask again after this time.
    Unsure(Duration),
}

/// When nodes were heard of.
#[derive(Debug)]
pub(super) struct Heard {
    others: RefCell<BTreeMap<String, Instant>>,
    own: Cell<Instant>,
    /// Since when this node has heard everything.
    since: Cell<Instant>,
    /// How long after `since` a node is expected to be back that does not listen.
    patience: Cell<Duration>,
}

impl Default for Heard {
    fn default() -> Self {
        let now = Instant::now();
        let patience = Cell::new(FIRST_PATIENCE);
        Heard { others: RefCell::default(), own: Cell::new(now), since: Cell::new(now), patience }
    }
}

impl Heard {
    /// Something may have been missed.
    pub(super) fn begin_anew(&self, now: Instant) {
        self.since.set(now);
        self.own.set(now);
        self.patience.set(PATIENCE);
    }

    fn hear(&self, node: &str) {
        self.others.borrow_mut().insert(node.to_owned(), Instant::now());
    }

    /// Returns for how long a node was silent, as far as this node can tell.
    fn silence(&self, node: &str) -> Duration {
        let last = self.others.borrow().get(node).copied();
        last.map_or(self.since.get(), |last| last.max(self.since.get())).elapsed()
    }

    /// Returns whether a node that does not listen would be back by now, if it was connecting again.
    fn has_been_patient(&self, lost_after: Duration) -> bool {
        self.since.get().elapsed() >= self.patience.get().min(lost_after)
    }

    fn has_heard(&self, node: &str) -> bool {
        self.others.borrow().get(node).is_some_and(|last| *last >= self.since.get())
    }
}

impl Node {
    pub(super) fn heard_beat(self: &Rc<Self>, of: &[u8]) {
        let Ok(of) = std::str::from_utf8(of) else { return };
        if of != &*self.me.id {
            return self.heard.hear(of);
        }
        let (now, lost_after) = (Instant::now(), self.lost_after());
        if self.heard.own.replace(now) + lost_after / 2 < now {
            // It was frozen or cut off, and may have been taken for lost.
            self.heard.begin_anew(now);
            self.member.spawn(verify_held(self.clone()));
        }
        let forget_before = now.checked_sub(lost_after * 10);
        if let Some(limit) = forget_before {
            self.heard.others.borrow_mut().retain(|_, last| *last > limit);
        }
    }

    /// Returns whether this node hears its own beats.
    pub(super) fn is_hearing(&self) -> bool {
        self.heard.own.get().elapsed() < self.lost_after() / 2
    }
}

/// Finds out whether the node that holds a call, by that claim, is lost.
///
/// Keeps the delivery until that is certain. If it was given back meanwhile, the broker could give it to the
/// very node that is frozen, which had asked for entries before: the entry would be stuck there until it
/// comes back by itself.
///
/// # Errors
///
/// Returns the pause after which the call is to be delivered again if it stays uncertain, this node is
/// drained, or this node has no room for the call by then.
pub(super) async fn judge(
    node: &Node,
    held: &Held,
    other: &NodeRef,
    claim: u64,
) -> Result<Certain, Duration> {
    let until = Instant::now() + node.lost_after() * 2 + PATIENCE;
    let mut has_waited = false;
    loop {
        let drained = node.drained.notified();
        match judge_now(node, held, other, claim).await {
            Judgment::Alive => return Ok(Certain::Alive),
            Judgment::LookAgain => return Ok(Certain::LookAgain),
            // A slot that was free when the entry arrived may be taken by now, and another node have one.
            Judgment::Lost if has_waited && node.accepts(held.priority()) == 0 => {
                return Err(Duration::ZERO);
            }
            Judgment::Lost => return Ok(Certain::Lost),
            Judgment::Unsure(_) if node.is_draining.get() => return Err(Duration::ZERO),
            Judgment::Unsure(pause) if Instant::now() >= until => return Err(pause),
            Judgment::Unsure(pause) => drop(tokio::time::timeout(pause, drained).await),
        }
        has_waited = true;
    }
}

/// Asks the node that holds a call, once.
async fn judge_now(node: &Node, held: &Held, other: &NodeRef, claim: u64) -> Judgment {
    let lost_after = node.lost_after();
    let again = Judgment::Unsure((lost_after / 4).max(Duration::from_millis(100)));
    if other.id == node.me.id {
        // This node has let go of that claim, so it is not about to write there.
        return Judgment::Lost;
    }
    let answer = ask(node, held, other, claim).await;
    match answer {
        Ok(Reply::Yes) => {
            node.heard.hear(&other.id);
            Judgment::Alive
        }
        // It has just ended the call, or was taken for lost before.
        Ok(_) => match is_unchanged(node, held, claim).await {
            true => Judgment::Lost,
            false => Judgment::LookAgain,
        },
        Err(BrokerError::NoResponders) => {
            tokio::time::sleep(AGAIN_AFTER).await;
            match ask(node, held, other, claim).await {
                Err(BrokerError::NoResponders) => {}
                Ok(_) => return Judgment::LookAgain,
                Err(_) => return again,
            }
            // After a restart of the broker, some are back before others.
            let was_connected =
                node.heard.has_heard(&other.id) || node.heard.has_been_patient(lost_after);
            if was_connected && node.is_hearing() { Judgment::Lost } else { again }
        }
        Err(_) => {
            let silence = node.heard.silence(&other.id);
            if silence >= lost_after && node.is_hearing() {
                return Judgment::Lost;
            }
            let left = lost_after.saturating_sub(silence) + Duration::from_millis(50);
            Judgment::Unsure(left.min(lost_after / 4).max(Duration::from_millis(100)))
        }
    }
}

async fn ask(node: &Node, held: &Held, other: &NodeRef, claim: u64) -> Result<Reply, BrokerError> {
    let (id, token) = (held.entry.head.id, Some(held.token().0.to_string()));
    let holds = Frame::Holds { id, claim, token }.encode();
    // Not much longer than until the node has been silent for long enough, so that the end of that time
    // decides, and not that of a question that was asked shortly before.
    let left = node.lost_after().saturating_sub(node.heard.silence(&other.id));
    let timeout = (node.lost_after() / 4).min(Duration::from_secs(1));
    let timeout = timeout.min(left + LAST_ANSWER);
    let reply = node.member.broker.request(&subject(&other.id), holds, timeout).await?;
    Reply::decode(&reply).map_err(|error| BrokerError::NoAnswer(error.to_string()))
}

/// Returns whether the record still has that claim.
async fn is_unchanged(node: &Node, held: &Held, claim: u64) -> bool {
    match node.member.read_state(held.entry.head.id).await {
        Ok(Some((_, CallState::Running { claim: now, .. }))) => now == claim,
        _ => false,
    }
}

/// Looks whether the calls that a node holds still belong to it, after it may have been taken for
/// lost.
pub(super) async fn verify_held(node: Rc<Node>) {
    let all: Vec<_> = node.held.borrow().values().cloned().collect();
    for held in all {
        let claim = held.claim;
        // One that is being claimed is handled by its claim.
        let has_run = held.has_run();
        let happened = match node.member.read_state(held.entry.head.id).await {
            Ok(Some((_, CallState::Running { claim: now, .. }))) if now == claim => None,
            Ok(Some(_)) => Some(Happened::Lost),
            Ok(None) => Some(Happened::Forgotten),
            Err(_) => None,
        };
        if let Some(happened) = happened.filter(|_| has_run) {
            held.happen(happened);
        }
    }
}
