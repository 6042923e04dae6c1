//! Holding a call: from its delivery until this node's part in it has ended.
//!
//! Each call has a task ([`carry`]) that owns it and makes all of its transitions. Whatever happens to
//! the call reaches that task as a [`Happened`], in order: reports of the run, requests of other
//! members, the end of serving.

use std::rc::Rc;
use std::time::Duration;

use tokio::sync::mpsc;

use super::claim::{self, Claim, Claimed};
use super::held::{Happened, Held, Stage};
use super::upkeep::Upkeep;
use super::{Node, finish};
use crate::cluster::broker::{Delivery, ReplyTo};
use crate::cluster::door::{NewRun, RunEnd, RunHandle};
use crate::cluster::protocol::control::{Item, Reply, Verb};
use crate::cluster::protocol::record::{CallEntry, Payload};
use crate::error::TaskError;
use crate::unwind::attempt;

/// How the part of this node in a call has ended.
#[derive(Debug)]
pub(super) enum Ending {
    /// The run has ended. It may run again if `may_retry`.
    Ran { end: RunEnd, may_retry: bool },
    /// It was canceled before it began.
    Canceled(Option<ReplyTo>),
    /// It has not begun, and may run elsewhere.
    HandedBack,
    /// Its run was ended by force, and may begin again elsewhere.
    CutOff,
    /// Another node holds it.
    Lost,
}

/// Begins to hold a call that was delivered.
pub(super) fn begin(node: &Rc<Node>, entry: CallEntry, delivery: Delivery) {
    let (held, events) = Held::new(node, entry, &delivery);
    let held = Rc::new(held);
    node.hold(&held);
    node.member.spawn(carry(node.clone(), held, events, delivery.delivered));
}

/// Carries a call through this node.
async fn carry(
    node: Rc<Node>,
    held: Rc<Held>,
    mut events: mpsc::UnboundedReceiver<Happened>,
    delivered: u64,
) {
    match claim::claim(&node, &held, delivered).await {
        Claimed::Ours(mut claim) => {
            let ending = run(&node, &held, &mut claim, &mut events).await;
            finish::finish(&node, &held, &claim, ending).await;
        }
        Claimed::HasEnded => finish::clean_up(&node, &held).await,
        Claimed::NotNow(pause) => node.hand_back(&held, pause),
        Claimed::Elsewhere => node.release(&held),
    }
    // These came too late: a member that asks looks at the record again.
    while let Ok(event) = events.try_recv() {
        if let Happened::Asked(_, reply) = event {
            node.reply(reply, Reply::NotHeld);
        }
    }
}

/// Runs a call that was claimed, until this node's part in it has ended.
async fn run(
    node: &Rc<Node>,
    held: &Rc<Held>,
    claim: &mut Claim,
    events: &mut mpsc::UnboundedReceiver<Happened>,
) -> Ending {
    let turn = held.take_turn();
    if let (Some(turn), Payload::Inline(_)) = (turn, &held.entry.args) {
        turn.come().await;
    }
    let args = match &held.entry.args {
        Payload::Inline(args) => Ok(args.clone()),
        // In a box, because most calls need no room for it.
        blocks => Box::pin(node.member.get_payload(blocks.clone())).await,
    };
    let args = match args {
        Ok(args) => args,
        Err(error) => {
            let detail = format!("its arguments are gone: {error}");
            let end = RunEnd::Failed(TaskError::not_started(detail));
            return Ending::Ran { end, may_retry: false };
        }
    };
    // What was asked for while the call was claimed comes before the run.
    let mut arrived = Vec::new();
    while let Ok(event) = events.try_recv() {
        match event {
            Happened::Asked(_, reply) => return Ending::Canceled(reply),
            Happened::HandBack | Happened::Stop | Happened::CutOff => return Ending::HandedBack,
            Happened::Lost => return Ending::Lost,
            other => arrived.push(other),
        }
    }
    if node.is_draining.get() {
        return Ending::HandedBack;
    }
    node.set_stage(held, Stage::Given);
    let new = NewRun { head: held.entry.head.clone(), args, attempt: claim.attempt };
    let Some(handle) = attempt(|| node.runner.run(new, held.reports(node))) else {
        let end = RunEnd::Failed(TaskError::not_started("the node failed to begin the run"));
        return Ending::Ran { end, may_retry: true };
    };
    held.given(handle);
    let may_redeliver = claim.losses < held.entry.head.redeliver;
    let mut wishes = Wishes { may_redeliver, ..Wishes::default() };
    for event in arrived {
        if let Some(ending) = happened(node, held, event, &mut wishes) {
            return ending;
        }
    }
    let mut upkeep = Upkeep::new(node, held);
    loop {
        let is_ours = match tokio::time::timeout_at(upkeep.next, events.recv()).await {
            Err(_) => Box::pin(upkeep.renew(node, held, claim)).await,
            Ok(Some(Happened::Forgotten)) => Box::pin(upkeep.restore(node, held, claim)).await,
            Ok(Some(event)) => match happened(node, held, event, &mut wishes) {
                Some(ending) => return ending,
                None => continue,
            },
            // The node holds a sender itself.
            Ok(None) => return Ending::Lost,
        };
        if !is_ours {
            return lost(held);
        }
    }
}

/// What was asked of a run.
#[derive(Debug, Default)]
struct Wishes {
    /// It is to stop: it is not run again.
    stop: bool,
    /// It is being killed: its end is `Canceled`, unless it returned before.
    kill: bool,
    /// Its node is drained, and has asked it to stop.
    drained: bool,
    /// It is being cut off.
    cut_off: bool,
    /// It may run again if its node is lost, or gives it up.
    may_redeliver: bool,
}

/// Handles what has happened to a run. Returns how this node's part in the call ends, if it does.
fn happened(
    node: &Rc<Node>,
    held: &Rc<Held>,
    event: Happened,
    wishes: &mut Wishes,
) -> Option<Ending> {
    let with_run = |f: &dyn Fn(&dyn RunHandle)| held.with_run(f).unwrap_or_default();
    match event {
        Happened::Begun { pid } => {
            node.set_stage(held, Stage::Begun);
            held.channel.borrow_mut().push_later(node, Item::Process(pid));
        }
        Happened::Progress { done, total } => {
            held.channel.borrow_mut().push_later(node, Item::Progress { done, total });
        }
        Happened::Text(text) => held.channel.borrow_mut().push_later(node, Item::Text(text)),
        Happened::Message(message) => {
            held.channel.borrow_mut().message(node, message);
        }
        Happened::Taken(count) => held.channel.borrow_mut().taken(node, count),
        Happened::Arrived(items) => {
            for item in items {
                match item {
                    Item::Message(message) => with_run(&|run| run.message(message.clone())),
                    Item::Taken(count) => with_run(&|run| run.taken(count as usize)),
                    Item::HasReceiver(is_there) => with_run(&|run| run.has_receiver(is_there)),
                    Item::Process(_) | Item::Progress { .. } | Item::Text(_) => {}
                }
            }
        }
        Happened::Asked(verb, reply) => return asked(node, held, verb, reply, wishes),
        Happened::HandBack => {
            if held.revoke() {
                return Some(Ending::HandedBack);
            }
        }
        Happened::Stop => {
            wishes.drained = true;
            with_run(&|run| run.stop());
        }
        Happened::CutOff => {
            if held.revoke() {
                return Some(Ending::HandedBack);
            }
            // A run on a thread can't be killed. It is left alone: its end is not waited for.
            if held.with_run(|run| run.kill()) != Some(true) {
                return Some(Ending::CutOff);
            }
            wishes.cut_off = true;
        }
        // Handled before, because it takes time.
        Happened::Forgotten => {}
        Happened::Lost => return Some(lost(held)),
        Happened::Ended(end, ran_for) => return Some(ended(node, end, ran_for, wishes)),
    }
    None
}

fn asked(
    node: &Rc<Node>,
    held: &Rc<Held>,
    verb: Verb,
    reply: Option<ReplyTo>,
    wishes: &mut Wishes,
) -> Option<Ending> {
    if held.revoke() {
        return Some(Ending::Canceled(reply));
    }
    let answer = match verb {
        Verb::Cancel | Verb::Stop => {
            wishes.stop = true;
            held.with_run(|run| run.stop());
            Reply::Asked
        }
        Verb::Kill => match held.with_run(|run| run.kill()) {
            Some(true) => {
                wishes.kill = true;
                Reply::Asked
            }
            _ => Reply::Unsupported,
        },
    };
    node.reply(reply, answer);
    None
}

fn ended(node: &Rc<Node>, end: RunEnd, ran_for: Option<Duration>, wishes: &Wishes) -> Ending {
    if let Some(took) = ran_for {
        node.pace.borrow_mut().ran(took);
    }
    match end {
        RunEnd::Failed(_) if wishes.kill => {
            let end = RunEnd::Failed(TaskError::Canceled);
            Ending::Ran { end, may_retry: false }
        }
        RunEnd::Failed(_) if wishes.cut_off => Ending::CutOff,
        // The node's pool was stopped under it.
        RunEnd::Failed(TaskError::SupervisorStopped) if ran_for.is_none() => Ending::HandedBack,
        RunEnd::Failed(TaskError::SupervisorStopped) => Ending::CutOff,
        // It ends badly because its node is drained, as if it had been cut off a moment later. So it costs a
        // loss and no retry. Without a loss that is left, what the run says counts.
        end if wishes.drained && wishes.may_redeliver && !wishes.stop && end.is_bad() => {
            Ending::CutOff
        }
        end => Ending::Ran { end, may_retry: !wishes.stop },
    }
}

/// The call belongs to another node by now: what this one does is of no use.
fn lost(held: &Held) -> Ending {
    if !held.revoke() && held.with_run(|run| run.kill()) != Some(true) {
        // A thread can't be killed.
        held.with_run(|run| run.stop());
    }
    Ending::Lost
}
