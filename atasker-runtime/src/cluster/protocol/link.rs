//! One end of the stream of items between a task and its handle: what was sent and has not arrived,
//! and what has arrived.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::control::{Frame, Item, Stream};
use super::member::Member;

/// How long the arrival of an item is waited for before it is sent again.
pub(super) const RESEND_AFTER: Duration = Duration::from_millis(250);

/// Items in one frame.
const BATCH: usize = 64;

/// Items that were sent and have not arrived for certain.
#[derive(Debug)]
pub(super) struct Sent<T> {
    /// The number of the first item of `items`.
    first: u64,
    items: VecDeque<T>,
    /// How many of `items` were sent at least once.
    under_way: usize,
    /// When items were sent last.
    at: Option<Instant>,
}

impl<T> Default for Sent<T> {
    fn default() -> Self {
        Sent { first: 0, items: VecDeque::new(), under_way: 0, at: None }
    }
}

impl<T: Clone> Sent<T> {
    pub(super) fn push(&mut self, item: T) {
        self.items.push_back(item);
    }

    pub(super) fn last_mut(&mut self) -> Option<&mut T> {
        // One that is under way may not be changed.
        if self.items.len() > self.under_way { self.items.back_mut() } else { None }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Returns the items that were not sent yet, with the number of the first.
    pub(super) fn unsent(&mut self, now: Instant) -> Option<(u64, Vec<T>)> {
        let items: Vec<_> = self.items.iter().skip(self.under_way).take(BATCH).cloned().collect();
        if items.is_empty() {
            return None;
        }
        let first = self.first + self.under_way as u64;
        self.under_way += items.len();
        self.at = Some(now);
        Some((first, items))
    }

    /// Lets all items be sent again that have not arrived in time. Returns whether there are any.
    pub(super) fn resend(&mut self, now: Instant) -> bool {
        let is_late = self.under_way > 0 && self.at.is_none_or(|at| now >= at + RESEND_AFTER);
        if is_late {
            self.under_way = 0;
        }
        is_late
    }

    /// Everything before `next` has arrived.
    pub(super) fn arrived(&mut self, next: u64) {
        while self.first < next && self.under_way > 0 {
            self.items.pop_front();
            self.first += 1;
            self.under_way -= 1;
        }
    }

    /// Begins a new stream with what has not arrived.
    pub(super) fn restart(&mut self) {
        (self.first, self.under_way, self.at) = (0, 0, None);
    }
}

/// Items that have arrived.
#[derive(Debug)]
pub(super) struct Received<T> {
    /// The number of the next item.
    next: u64,
    /// Those that have overtaken it.
    early: BTreeMap<u64, T>,
}

impl<T> Default for Received<T> {
    fn default() -> Self {
        Received { next: 0, early: BTreeMap::new() }
    }
}

impl<T> Received<T> {
    /// Returns the items that can be delivered now, in order.
    pub(super) fn arrived(&mut self, first: u64, items: Vec<T>) -> Vec<T> {
        for (number, item) in (first..).zip(items) {
            if number >= self.next {
                self.early.entry(number).or_insert(item);
            }
        }
        let mut ready = Vec::new();
        while let Some(item) = self.early.remove(&self.next) {
            ready.push(item);
            self.next += 1;
        }
        ready
    }

    pub(super) fn next(&self) -> u64 {
        self.next
    }
}

/// One end of a call's two streams: to and from the member at the other end.
#[derive(Debug)]
pub(super) struct Link {
    /// The member at this end.
    own: Arc<str>,
    /// The member at the other end.
    peer: Arc<str>,
    /// What is sent. The member in it is that of the handle, on either side.
    stream: Stream,
    sent: Sent<Item>,
    /// The epoch of the other direction.
    received_epoch: u32,
    received: Received<Item>,
}

impl Link {
    /// Allocates nothing, because most calls never send an item.
    pub(super) fn new(own: Arc<str>, peer: Arc<str>, stream: Stream) -> Link {
        Link {
            own,
            peer,
            stream,
            sent: Sent::default(),
            received_epoch: 0,
            received: Received::default(),
        }
    }

    pub(super) fn claim(&self) -> u64 {
        self.stream.claim
    }

    pub(super) fn peer(&self) -> &Arc<str> {
        &self.peer
    }

    /// The member of the handle.
    pub(super) fn member(&self) -> &str {
        &self.stream.member
    }

    /// Sends an item, in order, and again until it has arrived.
    pub(super) fn push(&mut self, item: Item) {
        // Counts, and states of which only the last one matters, are merged while they wait.
        match (self.sent.last_mut(), &item) {
            (Some(Item::Taken(before)), Item::Taken(count)) => {
                *before = before.saturating_add(*count)
            }
            (Some(last @ Item::Progress { .. }), Item::Progress { .. })
            | (Some(last @ Item::Text(_)), Item::Text(_))
            | (Some(last @ Item::HasReceiver(_)), Item::HasReceiver(_)) => *last = item,
            _ => self.sent.push(item),
        }
    }

    /// Sends what was not sent yet.
    pub(super) fn flush(&mut self, member: &Member) {
        while let Some((first, items)) = self.sent.unsent(Instant::now()) {
            let (from, stream) = (self.own.clone(), self.stream.clone());
            member.tell(&self.peer, &Frame::Items { from, stream, first, items });
        }
    }

    /// Sends again what has not arrived in time. Returns whether anything has still to arrive.
    pub(super) fn resend(&mut self, member: &Member) -> bool {
        if self.sent.resend(Instant::now()) {
            self.flush(member);
        }
        !self.sent.is_empty()
    }

    pub(super) fn has_unacknowledged(&self) -> bool {
        !self.sent.is_empty()
    }

    /// Returns whether messages, counts of messages, or the progress have still to arrive. The end of
    /// the call waits for these, because nothing is told of a call after its end.
    pub(super) fn has_unacknowledged_messages(&self) -> bool {
        let matters = |item: &Item| !matches!(item, Item::Process(_) | Item::HasReceiver(_));
        self.sent.items.iter().any(matters)
    }

    /// Returns the number of messages that have still to arrive.
    pub(super) fn unacknowledged_messages(&self) -> u32 {
        let messages = self.sent.items.iter().filter(|item| matches!(item, Item::Message(_)));
        u32::try_from(messages.count()).unwrap_or(u32::MAX)
    }

    pub(super) fn acknowledged(&mut self, stream: &Stream, next: u64) {
        if *stream == self.stream {
            self.sent.arrived(next);
        }
    }

    /// Acknowledges items, and returns those that can be delivered now. `None` if they belong to
    /// another stream.
    pub(super) fn arrived(
        &mut self,
        member: &Member,
        stream: Stream,
        first: u64,
        items: Vec<Item>,
    ) -> Option<Vec<Item>> {
        let is_ours = (stream.claim, &stream.member) == (self.stream.claim, &self.stream.member);
        if !is_ours || stream.epoch < self.received_epoch {
            return None;
        }
        if stream.epoch > self.received_epoch {
            self.received_epoch = stream.epoch;
            self.received = Received::default();
        }
        let ready = self.received.arrived(first, items);
        let next = self.received.next();
        member.tell(&self.peer, &Frame::Ack { stream, next });
        Some(ready)
    }

    /// The handle is at that member now, which is `peer` for a node. What has not arrived is sent
    /// there.
    pub(super) fn move_to(&mut self, handle: &Arc<str>) {
        self.peer = handle.clone();
        self.stream.member = handle.clone();
        self.stream.epoch += 1;
        self.sent.restart();
        (self.received_epoch, self.received) = (0, Received::default());
    }

    /// Begins the stream of this end anew, because the other end has forgotten what has arrived.
    pub(super) fn restart(&mut self) {
        self.stream.epoch += 1;
        self.sent.restart();
    }
}
