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
use crate::cluster::door::CallEvent;
use crate::cluster::error::ClusterError;
use crate::cluster::protocol::dead;
use crate::cluster::protocol::member::Member;
use crate::cluster::protocol::overview::waits_for;
use crate::cluster::protocol::record::{CallState, Outcome, encode_record, record_key};
use crate::cluster::protocol::surely::in_background;
use crate::error::TaskError;
use crate::id::TaskId;

/// A node that has just taken a call is not disturbed by its launcher.
const MARGIN: Duration = Duration::from_millis(20);

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

/// Returns how long the first run of a call may be waited for.
pub(super) fn expires_after(member: &Member, call: &Call) -> Duration {
    call.head.expires.unwrap_or(member.shared.limits.keep)
}

/// Returns when a call expires that was stored just now.
pub(super) fn first_deadline(member: &Member, call: &Call) -> Instant {
    Instant::now() + expires_after(member, call) + MARGIN
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
        Some(expect) => expire(&member, &call, expect).await,
        None => look(&member, &call).await,
    }
}

/// Nothing was heard of the record for as long as the broker keeps it.
async fn look(member: &Rc<Member>, call: &Rc<Call>) {
    if member.read_surely(&record_key(call.head.id)).await.is_some() {
        let deadline = Instant::now() + member.shared.limits.keep;
        return member.launcher.deadlines.set(call, Some(deadline));
    }
    let detail = format!("the outcome of call {}", call.head.id);
    let error = TaskError::Cluster(ClusterError::NotFound { detail });
    member.launcher.fail(member, call, error);
}

/// Ends a call with `Expired`, unless a node has begun it.
async fn expire(member: &Rc<Member>, call: &Rc<Call>, expect: Expect) {
    let detail = waits_for(member, &call.head).await;
    let error = TaskError::Expired { after: expires_after(member, call), detail };
    let outcome = Outcome::Failed(error.clone());
    let ended = CallState::Ended { outcome, attempt: 0, losses: 0, node: None };
    let value = encode_record(&call.head, &ended);
    let id = call.head.id;
    if member.write_surely(&record_key(id), expect, value).await.is_err() {
        // It has begun, or has ended: the watch tells.
        let deadline = Instant::now() + member.shared.limits.keep;
        return member.launcher.deadlines.set(call, Some(deadline));
    }
    dead::bury_waiting(member, id, error).await;
    let entry = call.head.entry_key();
    in_background(member, async move |member: &Member| member.broker.remove_entry(&entry).await);
}
