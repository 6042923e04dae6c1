//! Joining a call that was launched before, here or elsewhere.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::expiry::first_deadline;
use super::{Call, Progress};
use crate::cluster::broker::Since;
use crate::cluster::door::{CallEvent, CallHead, CallSink};
use crate::cluster::error::ClusterError;
use crate::cluster::protocol::control::{Frame, Reply, subject};
use crate::cluster::protocol::member::Member;
use crate::cluster::protocol::overview;
use crate::cluster::protocol::pause::Pause;
use crate::cluster::protocol::pending::Answer;
use crate::cluster::protocol::record::record_key;
use crate::id::TaskId;
use crate::unwind::guarded;

/// Where the messages of a call go from now on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cluster::protocol) enum Messages {
    Here,
    /// As before.
    Elsewhere,
}

/// Attaches to a call, and tells its head.
pub(in crate::cluster::protocol) async fn attach(
    member: Rc<Member>,
    id: TaskId,
    sink: Arc<dyn CallSink>,
    messages: Messages,
    answer: Answer<Result<CallHead, ClusterError>>,
) {
    if let Some(call) = member.launcher.get(id) {
        join(&member, &call, sink, messages);
        return drop(answer.send(Ok(call.head.clone())));
    }
    let (head, age) = match overview::find_with_age(&member, id).await {
        Ok(Some((found, age))) => (found.head, age),
        Ok(None) => {
            let detail = format!("call {id}");
            return drop(answer.send(Err(ClusterError::NotFound { detail })));
        }
        Err(error) => return drop(answer.send(Err(error))),
    };
    // It may have been joined meanwhile.
    if let Some(call) = member.launcher.get(id) {
        join(&member, &call, sink, messages);
        return drop(answer.send(Ok(call.head.clone())));
    }
    let call = member.launcher.add(head.clone(), sink);
    call.is_sent.set(true);
    call.channel.borrow_mut().attaches = messages == Messages::Here;
    *call.progress.borrow_mut() = Progress::Stored;
    if let Some(age) = age {
        // Its launcher may be gone.
        let expires_at = Some(first_deadline(&member, &call.head, age));
        call.expires_at.set(expires_at);
        member.launcher.deadlines.set(&call, expires_at);
    }
    drop(answer.send(Ok(head)));
    member.listen().await;
    let key = record_key(id);
    let watch = member.surely("watch", || {
        let reporter = member.reporter();
        let sink = Box::new(move |record| {
            reporter.report(move |member| member.launcher.written(member, record));
        });
        member.broker.watch(&key, Since::LastOfEach, sink)
    });
    let watch = watch.await;
    if !call.has_ended() {
        *call.watch.borrow_mut() = Some(watch);
    }
}

/// Tells a further sink about a call that this member knows.
fn join(member: &Rc<Member>, call: &Rc<Call>, sink: Arc<dyn CallSink>, messages: Messages) {
    let now = match &*call.progress.borrow() {
        Progress::Submitted | Progress::Ended => None,
        Progress::Stored => Some(CallEvent::Stored),
        Progress::Running(event) | Progress::Waiting(event) => Some(event.clone()),
    };
    if let Some(event) = now {
        guarded(|| sink.event(event));
    }
    if messages == Messages::Elsewhere {
        // The latest one gets the messages.
        return call.sinks.borrow_mut().insert(0, sink);
    }
    call.sinks.borrow_mut().push(sink);
    let claim = {
        let mut channel = call.channel.borrow_mut();
        channel.attaches = true;
        channel.claim()
    };
    if let Some(claim) = claim {
        member.spawn(attach_to_run(member.clone(), call.clone(), claim));
    }
}

/// Asks the node that runs a call to send its messages here, until it does or no longer runs it.
pub(super) async fn attach_to_run(member: Rc<Member>, call: Rc<Call>, claim: u64) {
    let me = member.id().clone();
    let attach = Frame::Attach { id: call.head.id, claim, member: me }.encode();
    let mut pause = Pause::new();
    loop {
        let is_current = !call.has_ended() && call.channel.borrow().is_of(claim);
        let Some(node) = call.node().filter(|_| is_current) else { return };
        let timeout = Duration::from_secs(1);
        match member.broker.request(&subject(&node.id), attach.clone(), timeout).await {
            Ok(reply) => match Reply::decode(&reply) {
                Ok(Reply::Yes) => return member.launcher.attached(&member, &call, claim),
                Ok(Reply::NotHeld) => return,
                _ => {}
            },
            Err(error) => member.trouble("attach", &error),
        }
        pause.wait(&member).await;
    }
}

impl super::Launcher {
    fn attached(&self, member: &Member, call: &Call, claim: u64) {
        let is_current = call.channel.borrow().is_of(claim);
        if is_current {
            call.channel.borrow_mut().attached(member);
            self.watch_arrival(call);
        }
    }
}
