//! The node's end of what travels between a task and its handle.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::Node;
use super::held::{Happened, Held};
use crate::cluster::broker::BrokerError;
use crate::cluster::protocol::control::{Frame, Item, Stream, subject};
use crate::cluster::protocol::link::{Link, RESEND_AFTER};
use crate::cluster::protocol::record::CallEntry;

/// Progress is sent this often at most, and runs that are shorter send none.
const LATER: Duration = Duration::from_millis(100);

/// How often a handle that does not acknowledge messages is asked whether it is there, and how long its
/// answer is waited for.
const ASK_EVERY: Duration = Duration::from_millis(300);
const ANSWER_WITHIN: Duration = Duration::from_millis(500);

/// See the [module documentation](self).
#[derive(Debug)]
pub(super) struct Channel {
    link: Link,
    /// Messages for the handle that it has not taken.
    outstanding: u32,
    /// Messages that the task has not taken: those of this handle, and those of handles before it.
    untaken: u32,
    untaken_before: u32,
    /// The handle is gone: there is no receiver for messages.
    is_gone: bool,
    /// Since when the broker says that the handle does not listen.
    silent_since: Option<Instant>,
}

impl Channel {
    pub(super) fn new(node: &Node, entry: &CallEntry, claim: u64) -> Channel {
        let launcher = entry.launcher.clone();
        let stream = Stream { id: entry.head.id, claim, member: launcher.clone(), epoch: 0 };
        let link = Link::new(node.me.id.clone(), launcher, stream);
        Channel {
            link,
            outstanding: 0,
            untaken: 0,
            untaken_before: 0,
            is_gone: false,
            silent_since: None,
        }
    }

    /// Sends a message of the task.
    pub(super) fn message(&mut self, node: &Node, message: Arc<[u8]>) {
        self.outstanding += 1;
        self.push(node, Item::Message(message));
    }

    /// The task has taken messages. The handle is told of its own.
    pub(super) fn taken(&mut self, node: &Node, count: usize) {
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        let of_before = count.min(self.untaken_before);
        self.untaken_before -= of_before;
        let count = count - of_before;
        self.untaken = self.untaken.saturating_sub(count);
        if count > 0 {
            self.push(node, Item::Taken(count));
        }
    }

    /// Sends an item now.
    fn push(&mut self, node: &Node, item: Item) {
        if !self.is_gone {
            self.link.push(item);
            self.link.flush(&node.member);
            node.to_resend();
        }
    }

    /// Sends what waits, if the end of the run has to wait for it.
    fn flush_messages(&mut self, node: &Node) {
        if self.link.has_unacknowledged_messages() {
            self.link.flush(&node.member);
        }
    }

    /// Sends an item soon, if no later one of its kind has replaced it by then.
    pub(super) fn push_later(&mut self, node: &Node, item: Item) {
        if !self.is_gone {
            self.link.push(item);
            node.to_resend();
        }
    }

    /// The handle is at that member now. Returns how many messages the one before had got and not
    /// taken: they will not be.
    pub(super) fn attach(&mut self, node: &Node, member: &Arc<str>) -> u32 {
        (self.is_gone, self.silent_since) = (false, None);
        if self.link.member() == &**member {
            return 0;
        }
        self.link.move_to(member);
        self.link.flush(&node.member);
        node.to_resend();
        self.untaken_before += std::mem::take(&mut self.untaken);
        let under_way = self.link.unacknowledged_messages();
        let gone = self.outstanding.saturating_sub(under_way);
        self.outstanding -= gone;
        gone
    }

    /// Returns the items that are delivered now.
    pub(super) fn arrived(
        &mut self,
        node: &Node,
        from: &str,
        stream: Stream,
        first: u64,
        items: Vec<Item>,
    ) -> Vec<Item> {
        if from != &**self.link.peer() {
            node.member.tell(from, &Frame::Detached { stream });
            return Vec::new();
        }
        self.silent_since = None;
        let items = self.link.arrived(&node.member, stream, first, items).unwrap_or_default();
        for item in &items {
            match item {
                Item::Message(_) => self.untaken += 1,
                Item::Taken(count) => self.outstanding = self.outstanding.saturating_sub(*count),
                _ => {}
            }
        }
        items
    }

    pub(super) fn acknowledged(&mut self, node: &Node, stream: &Stream, next: u64) {
        self.silent_since = None;
        self.link.acknowledged(stream, next);
        if !self.link.has_unacknowledged() {
            node.released.notify_waiters();
        }
    }
}

impl Node {
    fn to_resend(&self) {
        self.unacknowledged.notify_one();
    }
}

/// Sends what waits, and again what has not arrived, as long as the node serves.
pub(super) async fn resend(node: Rc<Node>) {
    loop {
        let more = node.unacknowledged.notified();
        let all: Vec<_> = node.held.borrow().values().cloned().collect();
        let mut is_waiting = false;
        for held in all {
            let channel = &mut *held.channel.borrow_mut();
            channel.link.flush(&node.member);
            is_waiting |= channel.link.resend(&node.member);
        }
        if !is_waiting {
            more.await;
        }
        tokio::time::sleep(LATER).await;
    }
}

/// Returns whether messages of a run that has ended have still to arrive.
pub(super) fn is_to_be_delivered(held: &Held) -> bool {
    let channel = held.channel.borrow();
    !channel.is_gone && channel.link.has_unacknowledged_messages()
}

/// Waits until the handle has all messages of a run that has ended, so that they come before its end.
/// Does not wait for a handle that was silent for as long as makes a member lost.
///
/// Silence is counted by questions without an answer, and not by the clock: a node that was frozen, or
/// is cut off itself, has heard of no one, and its handle may wait for the messages.
pub(super) async fn wait_until_delivered(node: &Rc<Node>, held: &Held) {
    let mut silence = Duration::ZERO;
    let mut ask_at = Instant::now() + ASK_EVERY;
    held.channel.borrow_mut().flush_messages(node);
    loop {
        let acknowledged = node.released.notified();
        let peer = {
            let channel = held.channel.borrow();
            if channel.is_gone || !channel.link.has_unacknowledged_messages() {
                return;
            }
            channel.link.peer().clone()
        };
        // Calls of other handles wake it as well, and may do so all the time.
        if tokio::time::timeout_at(ask_at, acknowledged).await.is_ok() {
            continue;
        }
        let ping = Frame::Ping.encode();
        let answer = node.member.broker.request(&subject(&peer), ping, ANSWER_WITHIN).await;
        match answer {
            Ok(_) => silence = Duration::ZERO,
            Err(BrokerError::NoResponders) if node.is_hearing() => silence += ASK_EVERY,
            Err(_) if node.is_hearing() => silence += ASK_EVERY + ANSWER_WITHIN,
            Err(_) => silence = Duration::ZERO,
        }
        if silence >= node.lost_after() {
            return;
        }
        ask_at = Instant::now() + ASK_EVERY;
    }
}

/// Looks after the handles of runs that have messages for them.
pub(super) async fn look_after_handles(node: Rc<Node>) {
    let every = (node.lost_after() / 4).min(Duration::from_secs(1));
    loop {
        tokio::time::sleep(every).await;
        let all: Vec<_> = node.held.borrow().values().cloned().collect();
        for held in all {
            look_after_handle(&node, &held).await;
        }
    }
}

async fn look_after_handle(node: &Rc<Node>, held: &Rc<Held>) {
    let peer = {
        let channel = held.channel.borrow();
        if channel.is_gone || !channel.link.has_unacknowledged_messages() {
            return;
        }
        channel.link.peer().clone()
    };
    let ping = Frame::Ping.encode();
    let answer = node.member.broker.request(&subject(&peer), ping, ANSWER_WITHIN).await;
    let channel = &mut *held.channel.borrow_mut();
    if *channel.link.peer() != peer {
        return;
    }
    match answer {
        Err(BrokerError::NoResponders) => {
            let since = *channel.silent_since.get_or_insert_with(Instant::now);
            if since.elapsed() >= node.lost_after() {
                channel.is_gone = true;
                held.happen(Happened::Arrived(vec![Item::HasReceiver(false)]));
            }
        }
        _ => channel.silent_since = None,
    }
}

const _: () = assert!(LATER.as_millis() <= RESEND_AFTER.as_millis());
