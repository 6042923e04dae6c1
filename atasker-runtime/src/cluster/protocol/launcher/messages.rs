//! The messages of calls, at the launcher's end, and whatever else members tell this one.
//!
//! Messages to a task are kept until an attempt has taken them: what one has not taken goes to the
//! next.

use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;

use super::{Call, Launcher};
use crate::cluster::broker::Message;
use crate::cluster::door::{CallEvent, NodeRef};
use crate::cluster::protocol::control::{Frame, Item, Reply, Stream};
use crate::cluster::protocol::link::{Link, RESEND_AFTER};
use crate::cluster::protocol::member::Member;
use crate::id::TaskId;

/// Frames that may arrive before the record says who runs the call.
const MOST_EARLY: usize = 64;

/// The launcher's end of what travels between a task and its handle.
#[derive(Debug, Default)]
pub(super) struct Channel {
    /// To the node that runs the call.
    link: Option<Link>,
    /// Messages that no attempt has taken.
    untaken: VecDeque<Arc<[u8]>>,
    has_no_receiver: bool,
    /// Another member has attached: messages go there.
    is_detached: bool,
    /// This member has attached, so each node that runs the call has to be told.
    pub(super) attaches: bool,
    early: Vec<(Stream, u64, Vec<Item>)>,
}

impl Channel {
    /// Returns whether the link is to the run of this claim.
    pub(super) fn is_of(&self, claim: u64) -> bool {
        self.link.as_ref().is_some_and(|link| link.claim() == claim)
    }

    pub(super) fn claim(&self) -> Option<u64> {
        self.link.as_ref().map(Link::claim)
    }

    pub(super) fn disconnect(&mut self) {
        self.link = None;
    }

    /// The node takes items from this member now.
    pub(super) fn attached(&mut self, member: &Member) {
        if std::mem::take(&mut self.is_detached)
            && let Some(link) = &mut self.link
        {
            link.restart();
            link.flush(member);
        }
    }

    fn push(&mut self, member: &Member, item: Item) {
        if let Some(link) = &mut self.link {
            // While the node has not heard that this member has attached, it waits here.
            link.push(item);
            if !self.is_detached {
                link.flush(member);
            }
        }
    }
}

impl Launcher {
    pub(in crate::cluster::protocol) fn message(
        &self,
        member: &Member,
        id: TaskId,
        message: Arc<[u8]>,
    ) {
        let Some(call) = self.get(id) else { return };
        call.channel.borrow_mut().untaken.push_back(message.clone());
        self.push(member, &call, Item::Message(message));
    }

    pub(in crate::cluster::protocol) fn taken(&self, member: &Member, id: TaskId, count: usize) {
        let Some(call) = self.get(id) else { return };
        self.push(member, &call, Item::Taken(u32::try_from(count).unwrap_or(u32::MAX)));
    }

    pub(in crate::cluster::protocol) fn has_receiver(
        &self,
        member: &Member,
        id: TaskId,
        is_there: bool,
    ) {
        let Some(call) = self.get(id) else { return };
        call.channel.borrow_mut().has_no_receiver = !is_there;
        self.push(member, &call, Item::HasReceiver(is_there));
    }

    fn push(&self, member: &Member, call: &Call, item: Item) {
        call.channel.borrow_mut().push(member, item);
        self.watch_arrival(call);
    }

    /// Sends again what has not arrived in a while.
    pub(super) fn watch_arrival(&self, call: &Call) {
        let channel = call.channel.borrow();
        if channel.link.as_ref().is_some_and(Link::has_unacknowledged) {
            self.unacknowledged.borrow_mut().insert(call.head.id);
            self.has_unacknowledged.notify_one();
        }
    }

    /// A node has begun a run: everything that was not taken goes there.
    pub(super) fn connect(&self, member: &Rc<Member>, call: &Rc<Call>, node: &NodeRef, claim: u64) {
        let (attaches, early) = {
            let mut channel = call.channel.borrow_mut();
            let stream = Stream { id: call.head.id, claim, member: member.id().clone(), epoch: 0 };
            let mut link = Link::new(member.id().clone(), node.id.clone(), stream);
            if channel.has_no_receiver {
                link.push(Item::HasReceiver(false));
            }
            for message in &channel.untaken {
                link.push(Item::Message(message.clone()));
            }
            channel.is_detached = channel.attaches;
            if !channel.is_detached {
                link.flush(member);
            }
            channel.link = Some(link);
            (channel.attaches, std::mem::take(&mut channel.early))
        };
        self.watch_arrival(call);
        if attaches {
            member.spawn(super::attach::attach_to_run(member.clone(), call.clone(), claim));
        }
        for (stream, first, items) in early {
            self.items_arrived(member, call, stream, first, items);
        }
    }

    fn items_arrived(
        &self,
        member: &Rc<Member>,
        call: &Rc<Call>,
        stream: Stream,
        first: u64,
        items: Vec<Item>,
    ) {
        let items = {
            let mut channel = call.channel.borrow_mut();
            if !channel.is_of(stream.claim) {
                // The record that names this run is on its way, or it is an old one.
                if channel.early.len() < MOST_EARLY {
                    channel.early.push((stream, first, items));
                }
                return;
            }
            let link = channel.link.as_mut().expect("it is of that claim");
            link.arrived(member, stream, first, items).unwrap_or_default()
        };
        for item in items {
            match item {
                Item::Message(message) => call.tell_latest(CallEvent::Message(message)),
                Item::Taken(count) => {
                    {
                        let untaken = &mut call.channel.borrow_mut().untaken;
                        let count = untaken.len().min(count as usize);
                        untaken.drain(..count);
                    }
                    call.tell_latest(CallEvent::Taken(count as usize));
                }
                Item::Process(pid) => call.tell(CallEvent::Process { pid }),
                Item::Progress { done, total } => call.tell(CallEvent::Progress { done, total }),
                Item::Text(text) => call.tell(CallEvent::Text(text)),
                Item::HasReceiver(_) => {}
            }
        }
    }
}

/// A message of another member has arrived.
pub(in crate::cluster::protocol) fn arrived(member: &Rc<Member>, message: Message) {
    let Ok(frame) = Frame::decode(&message.value) else { return };
    let launcher = &member.launcher;
    let reply = |reply: Reply| {
        if let Some(to) = &message.reply {
            member.broker.reply(to, reply.encode());
        }
    };
    match frame {
        Frame::Items { from, stream, first, items } => match launcher.get(stream.id) {
            Some(call) => launcher.items_arrived(member, &call, stream, first, items),
            // The call has ended here: nothing more of it is waited for.
            None => {
                let next = first + items.len() as u64;
                member.tell(&from, &Frame::Ack { stream, next });
            }
        },
        Frame::Ack { stream, next } => {
            if let Some(call) = launcher.get(stream.id)
                && let Some(link) = &mut call.channel.borrow_mut().link
            {
                link.acknowledged(&stream, next);
            }
        }
        Frame::Detached { stream } => {
            if let Some(call) = launcher.get(stream.id)
                && call.channel.borrow().is_of(stream.claim)
            {
                call.channel.borrow_mut().is_detached = true;
            }
        }
        Frame::Holds { id, .. } => {
            let holds = launcher.has(id);
            reply(if holds { Reply::Yes } else { Reply::NotHeld });
        }
        Frame::Ping => reply(Reply::Yes),
        Frame::Do { .. } | Frame::Attach { .. } => reply(Reply::NotHeld),
    }
}

/// Sends items again that have not arrived, as long as the member lives.
pub(in crate::cluster::protocol) async fn resend(member: Rc<Member>) {
    let launcher = &member.launcher;
    loop {
        let more = launcher.has_unacknowledged.notified();
        if launcher.unacknowledged.borrow().is_empty() {
            more.await;
        }
        tokio::time::sleep(RESEND_AFTER).await;
        let ids: Vec<_> = launcher.unacknowledged.borrow().iter().copied().collect();
        for id in ids {
            let is_waiting = launcher.get(id).is_some_and(|call| {
                let channel = &mut *call.channel.borrow_mut();
                let link = channel.link.as_mut().filter(|_| !channel.is_detached);
                link.is_some_and(|link| link.resend(&member))
            });
            if !is_waiting {
                launcher.unacknowledged.borrow_mut().remove(&id);
            }
        }
    }
}
