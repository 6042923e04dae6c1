//! The queues of the broker in memory.
//!
//! Like those of a real broker, they only deliver: what is acknowledged, given back or kept is decided
//! by the number of the entry, also if someone else holds it by now.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::store::Remembered;
use crate::cluster::broker::{BrokerError, Delivery, DeliveryToken, Entry, EntryKey, QueueCounts};
use crate::priority::Priority;

/// Acknowledged entries that may come back with a restart of the broker.
const RECENT: usize = 64;

/// One priority of one queue.
#[derive(Debug, Default)]
struct Source {
    /// Entries that wait. Those that have come back are first.
    waiting: BTreeSet<(Rank, u64)>,
    /// When entries that are given out come back.
    due: BTreeSet<(Instant, u64)>,
    /// Is notified when something waits, or comes back earlier.
    changed: Arc<Notify>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    Returned,
    New,
}

#[derive(Debug)]
struct Item {
    entry: Entry,
    delivered: u64,
    state: State,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Waits(Rank),
    GivenOut { until: Instant },
}

type SourceKey = (String, Priority);

#[derive(Debug)]
pub(super) struct Queues {
    sources: BTreeMap<SourceKey, Source>,
    items: BTreeMap<u64, Item>,
    by_id: HashMap<String, u64>,
    appended: Remembered<()>,
    last: u64,
    redeliver_after: Duration,
    limit: usize,
    /// Entries that were acknowledged last, if they may come back.
    recent: VecDeque<Entry>,
}

impl Queues {
    pub(super) fn new(redeliver_after: Duration, limit: usize) -> Queues {
        Queues {
            sources: BTreeMap::new(),
            items: BTreeMap::new(),
            by_id: HashMap::new(),
            appended: Remembered::default(),
            last: 0,
            redeliver_after,
            limit,
            recent: VecDeque::new(),
        }
    }

    pub(super) fn open(&mut self, queue: &str) {
        for priority in Priority::ALL {
            self.sources.entry((queue.to_owned(), priority)).or_default();
        }
    }

    /// Returns what is notified when there may be something to take.
    pub(super) fn changed(&mut self, queue: &str, priority: Priority) -> Arc<Notify> {
        self.sources.entry((queue.to_owned(), priority)).or_default().changed.clone()
    }

    pub(super) fn enqueue(
        &mut self,
        now: Instant,
        time: u64,
        key: &EntryKey,
        value: &[u8],
    ) -> Result<(), BrokerError> {
        if self.appended.get(&key.id, now).is_some() || self.by_id.contains_key(&key.id) {
            return Ok(());
        }
        let waiting: usize = self.sources.values().map(|source| source.waiting.len()).sum();
        if waiting >= self.limit {
            return Err(BrokerError::Full);
        }
        self.appended.insert(&key.id, (), now);
        self.append(Entry { key: key.clone(), time, value: value.to_vec() });
        Ok(())
    }

    fn append(&mut self, entry: Entry) {
        self.last += 1;
        let number = self.last;
        let key = (entry.key.queue.clone(), entry.key.priority);
        self.by_id.insert(entry.key.id.clone(), number);
        let item = Item { entry, delivered: 0, state: State::Waits(Rank::New) };
        self.items.insert(number, item);
        let source = self.sources.entry(key).or_default();
        source.waiting.insert((Rank::New, number));
        source.changed.notify_waiters();
    }

    /// Replaces an entry by one that waits as a new one. Once, also if it is asked for again.
    pub(super) fn renew(
        &mut self,
        now: Instant,
        delivery: &DeliveryToken,
        token: &str,
        entry: Entry,
    ) {
        if self.appended.get(token, now).is_some() {
            return;
        }
        self.appended.insert(token, (), now);
        if let Some(number) = number_of(delivery) {
            self.remove(number);
        }
        self.append(entry);
    }

    /// Returns up to `most` entries, and when the next one comes back.
    pub(super) fn take(
        &mut self,
        now: Instant,
        queue: &str,
        priority: Priority,
        most: usize,
    ) -> (Vec<Delivery>, Option<Instant>) {
        self.come_back(now, queue, priority);
        let source = self.sources.entry((queue.to_owned(), priority)).or_default();
        let mut taken = Vec::new();
        while taken.len() < most
            && let Some((_, number)) = source.waiting.pop_first()
        {
            let until = now + self.redeliver_after;
            source.due.insert((until, number));
            let item = self.items.get_mut(&number).expect("what waits is kept");
            item.delivered += 1;
            item.state = State::GivenOut { until };
            let token = DeliveryToken(format!("{number}.{}", item.delivered).into());
            taken.push(Delivery { entry: item.entry.clone(), delivered: item.delivered, token });
        }
        (taken, source.due.first().map(|(until, _)| *until))
    }

    /// Lets entries wait again that were given out for too long.
    fn come_back(&mut self, now: Instant, queue: &str, priority: Priority) {
        let source = self.sources.entry((queue.to_owned(), priority)).or_default();
        while source.due.first().is_some_and(|(until, _)| *until <= now) {
            let Some((_, number)) = source.due.pop_first() else { return };
            source.waiting.insert((Rank::Returned, number));
            let item = self.items.get_mut(&number).expect("what is given out is kept");
            item.state = State::Waits(Rank::Returned);
        }
    }

    pub(super) fn ack(&mut self, token: &DeliveryToken, may_return: bool) {
        if let Some(number) = number_of(token)
            && let Some(item) = self.remove(number)
            && may_return
        {
            self.recent.push_back(item.entry);
            if self.recent.len() > RECENT {
                self.recent.pop_front();
            }
        }
    }

    /// Gives an entry back after this time, if it is given out.
    pub(super) fn hold(&mut self, token: &DeliveryToken, until: Instant) {
        let Some(number) = number_of(token) else { return };
        let Some(item) = self.items.get_mut(&number) else { return };
        let State::GivenOut { until: before } = item.state else { return };
        item.state = State::GivenOut { until };
        let key = (item.entry.key.queue.clone(), item.entry.key.priority);
        let source = self.sources.entry(key).or_default();
        source.due.remove(&(before, number));
        source.due.insert((until, number));
        if until < before {
            source.changed.notify_waiters();
        }
    }

    pub(super) fn find(&self, id: &str) -> Option<&Entry> {
        Some(&self.items.get(self.by_id.get(id)?)?.entry)
    }

    #[cfg(test)]
    pub(super) fn ids(&self) -> Vec<String> {
        self.items.values().map(|item| format!("{} {:?}", item.entry.key.id, item.state)).collect()
    }

    pub(super) fn remove_id(&mut self, id: &str) {
        if let Some(number) = self.by_id.get(id).copied() {
            self.remove(number);
        }
    }

    fn remove(&mut self, number: u64) -> Option<Item> {
        let item = self.items.remove(&number)?;
        // A later entry of the same id may have replaced this one.
        if self.by_id.get(&item.entry.key.id) == Some(&number) {
            self.by_id.remove(&item.entry.key.id);
        }
        let key = (item.entry.key.queue.clone(), item.entry.key.priority);
        let source = self.sources.entry(key).or_default();
        match item.state {
            State::Waits(rank) => source.waiting.remove(&(rank, number)),
            State::GivenOut { until } => source.due.remove(&(until, number)),
        };
        Some(item)
    }

    /// Removes the entries that were appended before this time.
    pub(super) fn forget_before(&mut self, time: u64) {
        while let Some((number, item)) = self.items.first_key_value()
            && item.entry.time < time
        {
            let number = *number;
            self.remove(number);
        }
    }

    /// The broker has crashed: some of the entries that were acknowledged last are there again.
    pub(super) fn bring_back(&mut self, mut comes_back: impl FnMut() -> bool) {
        for entry in std::mem::take(&mut self.recent) {
            if comes_back() && !self.by_id.contains_key(&entry.key.id) {
                self.append(entry);
            }
        }
    }

    pub(super) fn counts(&mut self, now: Instant) -> Vec<QueueCounts> {
        let keys: Vec<_> = self.sources.keys().cloned().collect();
        let mut counts: BTreeMap<String, QueueCounts> = BTreeMap::new();
        for (queue, priority) in keys {
            self.come_back(now, &queue, priority);
            let source = &self.sources[&(queue.clone(), priority)];
            let counts = counts.entry(queue.clone()).or_default();
            counts.queue = queue;
            // The most urgent priority is first.
            counts.waiting[3 - priority.index()] = source.waiting.len() as u64;
            counts.given_out += source.due.len() as u64;
        }
        counts.into_values().collect()
    }
}

fn number_of(token: &DeliveryToken) -> Option<u64> {
    token.0.split('.').next()?.parse().ok()
}
