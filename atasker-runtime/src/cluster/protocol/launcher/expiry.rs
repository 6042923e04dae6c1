//! The deadlines of calls: when one expires that has not begun, and when the record of one that has
//! begun is gone.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::{Call, Progress};
use crate::cluster::broker::Expect;
use crate::cluster::door::{CallEvent, CallHead};
use crate::cluster::error::ClusterError;
use crate::cluster::protocol::dead;
use crate::cluster::protocol::member::Member;
use crate::cluster::protocol::overview::waits_for;
use crate::cluster::protocol::record::{CallState, Outcome, encode_record, record_key};
use crate::error::TaskError;
use crate::id::TaskId;

/// A node that has just taken a call is not disturbed by its launcher.
const MARGIN: Duration = Duration::from_millis(20);

/// How long nodes have to connect again, and to write what the broker has forgotten.
const PATIENCE: Duration = Duration::from_secs(10);

/// The deadlines of all calls.
#[derive(Debug, Default)]
pub(super) struct Deadlines {
    all: RefCell<BTreeSet<(Instant, TaskId)>>,
    first_changed: Notify,
}

impl Deadlines {
    pub(super) fn set(&self, call: &Call, deadline: Option<Instant>) {
        let mut all = self.all.borrow_mut();
        if let Some(before) = call.deadline.replace(deadline) {
            all.remove(&(before, call.head.id));
        }
        if let Some(deadline) = deadline {
            all.insert((deadline, call.head.id));
            if all.first() == Some(&(deadline, call.head.id)) {
                self.first_changed.notify_one();
            }
        }
    }
}

/// Returns how long the first run of a call may be waited for. The broker keeps no call for longer than
/// `keep`, whatever the call asks for.
fn expires_after(member: &Member, head: &CallHead) -> Duration {
    let keep = member.shared.limits.keep;
    head.expires.map_or(keep, |expires| expires.min(keep))
}

/// Returns how long the entry of a call may wait. At the end of `keep` the broker forgets it, and it could
/// not become a dead letter any more.
pub(in crate::cluster::protocol) fn waits_at_most(member: &Member, head: &CallHead) -> Duration {
    let keep = member.shared.limits.keep;
    expires_after(member, head).min(keep - (keep / 20).min(Duration::from_secs(5)))
}

/// Returns when a call expires whose entry was appended this long ago.
pub(super) fn first_deadline(member: &Member, head: &CallHead, age: Duration) -> Instant {
    Instant::now() + waits_at_most(member, head).saturating_sub(age) + MARGIN
}

/// Waits for the deadlines, as long as the member lives.
pub(in crate::cluster::protocol) async fn watch_deadlines(member: Rc<Member>) {
    let deadlines = &member.launcher.deadlines;
    loop {
        let changed = deadlines.first_changed.notified();
        let first = deadlines.all.borrow().first().copied();
        match first {
            Some((deadline, id)) if deadline <= Instant::now() => {
                deadlines.all.borrow_mut().remove(&(deadline, id));
                if let Some(call) = member.launcher.get(id) {
                    call.deadline.set(None);
                    member.spawn(overdue(member.clone(), call));
                }
            }
            Some((deadline, _)) => drop(tokio::time::timeout_at(deadline, changed).await),
            None => changed.await,
        }
    }
}

async fn overdue(member: Rc<Member>, call: Rc<Call>) {
    // The write that is known to be the last one of a call that has not begun.
    let expect = match &*call.progress.borrow() {
        Progress::Submitted | Progress::Stored => Some(Expect::Absent),
        Progress::Waiting(CallEvent::WaitsAgain { attempt: 0, .. }) => {
            Some(Expect::Number(call.last_write.get()))
        }
        Progress::Running(_) | Progress::Waiting(_) => None,
        Progress::Ended => return,
    };
    match expect {
        Some(expect) => {
            if !expire(&member, &call.head, expect).await {
                // It has begun, or has ended: the watch tells.
                let deadline = Instant::now() + member.shared.limits.keep;
                member.launcher.deadlines.set(&call, Some(deadline));
            }
        }
        None => look(&member, &call).await,
    }
}

/// Nothing was heard of the record for as long as the broker keeps it.
async fn look(member: &Rc<Member>, call: &Rc<Call>) {
    let last_write = call.last_write.get();
    // A broker that was away for that long has forgotten runs that go on. Their nodes write the records again
    // once they are connected.
    let patience = if call.node().is_some() { PATIENCE } else { Duration::ZERO };
    let mut until = None;
    while member.read_surely(&record_key(call.head.id)).await.is_none() {
        if call.has_ended() {
            return;
        }
        if Instant::now() >= *until.get_or_insert_with(|| Instant::now() + patience) {
            let detail = format!("the outcome of call {}", call.head.id);
            let error = TaskError::Cluster(ClusterError::NotFound { detail });
            return member.launcher.fail(member, call, error);
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    if !call.has_ended() && call.last_write.get() == last_write {
        let deadline = Instant::now() + member.shared.limits.keep;
        member.launcher.deadlines.set(call, Some(deadline));
    }
}

/// Ends a call with `Expired`, unless a node has begun it. Returns whether that was done.
pub(in crate::cluster::protocol) async fn expire(
    member: &Rc<Member>,
    head: &CallHead,
    expect: Expect,
) -> bool {
    let detail = waits_for(member, head).await;
    let error = TaskError::Expired { after: expires_after(member, head), detail };
    let outcome = Outcome::Failed(error.clone());
    let ended = CallState::Ended { outcome, attempt: 0, losses: 0, node: None };
    let value = || encode_record(head, &ended);
    if member.write_surely(&record_key(head.id), expect, value).await.is_err() {
        return false;
    }
    dead::bury_waiting(member, head, error).await;
    true
}
