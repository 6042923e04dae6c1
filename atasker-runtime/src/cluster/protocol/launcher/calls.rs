//! What becomes of a call, from the writes to its record.

use std::rc::Rc;

use tokio::time::Instant;

use super::{Call, Launcher, Progress};
use crate::cluster::broker::Record;
use crate::cluster::door::{CallEnd, CallEvent, NodeRef};
use crate::cluster::error::ClusterError;
use crate::cluster::protocol::member::Member;
use crate::cluster::protocol::record::{CallState, Outcome, Payload, id_of_key};
use crate::error::TaskError;

impl Launcher {
    /// A record was written, of any call of an origin that is watched.
    pub(super) fn written(&self, member: &Rc<Member>, record: Record) {
        let Some(call) = id_of_key(&record.key).and_then(|id| self.get(id)) else { return };
        // Writes may be reported by two watches, and again after a lost connection.
        if record.number <= call.last_write.get() {
            return;
        }
        call.last_write.set(record.number);
        match CallState::decode(&record.value) {
            Ok(state) => self.advance(member, &call, state),
            Err(error) => {
                let detail = format!("the record of call {}: {error}", call.head.id);
                let error = TaskError::Cluster(ClusterError::Incompatible { detail });
                self.fail(member, &call, error);
            }
        }
    }

    fn advance(&self, member: &Rc<Member>, call: &Rc<Call>, state: CallState) {
        self.no_longer_pending(member, call);
        match state {
            CallState::Running { node, claim, attempt, losses } => {
                self.keeps(member, call);
                // The node writes the record again and again while a run lasts for long.
                if call.channel.borrow().is_of(claim) {
                    return;
                }
                let event = CallEvent::Begun { node: node.clone(), attempt, losses };
                *call.progress.borrow_mut() = Progress::Running(event.clone());
                call.tell(event);
                self.connect(member, call, &node, claim);
            }
            CallState::Waiting { attempt, losses, .. } => {
                let event = CallEvent::WaitsAgain { attempt, losses };
                match call.expires_at.get() {
                    // It was handed back before it began.
                    Some(expires_at) if attempt == 0 => {
                        self.deadlines.set(call, Some(expires_at));
                    }
                    _ => self.keeps(member, call),
                }
                *call.progress.borrow_mut() = Progress::Waiting(event.clone());
                call.channel.borrow_mut().disconnect();
                call.tell(event);
            }
            CallState::Ended { outcome, attempt, losses, node } => {
                let end = move |outcome| CallEnd { outcome, attempt, losses, node };
                self.ended(member, call, outcome, end);
            }
        }
    }

    /// There is a record of the call, which the broker keeps from now on for a certain time.
    fn keeps(&self, member: &Member, call: &Rc<Call>) {
        let (now, keep) = (Instant::now(), member.shared.limits.keep);
        // Most calls end long before. If this one does not, a look finds the record, and sets another
        // deadline.
        if call.deadline.get().is_none_or(|deadline| deadline < now + keep / 2) {
            self.deadlines.set(call, Some(now + keep));
        }
    }

    fn ended(
        &self,
        member: &Rc<Member>,
        call: &Rc<Call>,
        outcome: Outcome,
        end: impl FnOnce(Result<Vec<u8>, TaskError>) -> CallEnd + 'static,
    ) {
        *call.progress.borrow_mut() = Progress::Ended;
        self.deadlines.set(call, None);
        match outcome {
            Outcome::Failed(error) => self.end(member, call, end(Err(error))),
            Outcome::Returned { result: Payload::Inline(bytes), .. } => {
                self.end(member, call, end(Ok(bytes)));
            }
            Outcome::Returned { result, .. } => {
                let (of, call) = (member.clone(), call.clone());
                member.spawn(async move {
                    let result = of.get_payload(result).await.map_err(|error| {
                        let detail = format!("the result of call {}: {error}", call.head.id);
                        TaskError::Cluster(ClusterError::NotFound { detail })
                    });
                    of.launcher.end(&of, &call, end(result));
                });
            }
        }
    }

    /// Ends a call that was never handed over to the broker.
    pub(super) fn cancel_unsent(&self, member: &Member, call: &Call) {
        self.fail(member, call, TaskError::Canceled);
    }
}

impl Call {
    /// Returns the node that runs it, if one does.
    pub(super) fn node(&self) -> Option<NodeRef> {
        match &*self.progress.borrow() {
            Progress::Running(CallEvent::Begun { node, .. }) => Some(node.clone()),
            _ => None,
        }
    }
}
