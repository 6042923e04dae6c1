//! The broker in memory itself, which connections share.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::inbox::{Event, Inbox, Sinks};
use super::queues::Queues;
use super::script::Script;
use super::store::{Blobs, Records};
use crate::cluster::broker::{BrokerError, BrokerLimits, Expect, Message, Record, ReplyTo, Since};
use crate::sync::lock::{Mutex, MutexGuard};

/// What a broker in memory is set up with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MemoryOptions {
    pub(crate) limits: BrokerLimits,
    /// Entries that may wait, in all queues together.
    pub(crate) queue_limit: usize,
}

impl Default for MemoryOptions {
    fn default() -> Self {
        let limits = BrokerLimits {
            redeliver_after: Duration::from_millis(1_500),
            lost_after: Duration::from_secs(10),
            keep: Duration::from_secs(24 * 3_600),
            large_after: 256 << 10,
            pending_bytes: 64 << 20,
            blocks_when_full: false,
        };
        MemoryOptions { limits, queue_limit: 1_000_000 }
    }
}

/// A broker in this process.
pub(crate) struct Hub {
    pub(super) options: MemoryOptions,
    started: Instant,
    epoch: u64,
    state: Mutex<State>,
}

/// Everything that a broker knows.
pub(super) struct State {
    pub(super) records: Records,
    pub(super) queues: Queues,
    pub(super) blobs: Blobs,
    pub(super) script: Script,
    pub(super) connections: BTreeMap<u64, Connected>,
    listeners: HashMap<String, Vec<(u64, u64)>>,
    watches: Vec<Watching>,
    replies: HashMap<Arc<str>, (u64, oneshot::Sender<Vec<u8>>)>,
    last_id: u64,
    /// Requests and messages of all members.
    #[cfg(test)]
    pub(super) sent: u64,
}

/// A connection, as the broker sees it.
pub(super) struct Connected {
    pub(super) names: Vec<String>,
    pub(super) inbox: Arc<Inbox>,
    /// It has noticed that the broker is there again.
    pub(super) is_back: bool,
}

struct Watching {
    connection: u64,
    id: u64,
    filter: Vec<String>,
}

impl fmt::Debug for Hub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hub").finish_non_exhaustive()
    }
}

impl Hub {
    pub(crate) fn new(options: MemoryOptions) -> Arc<Hub> {
        let epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Hub::with_epoch(options, epoch.as_nanos() as u64)
    }

    /// `epoch` is the time of the broker at this moment.
    pub(in crate::cluster) fn with_epoch(options: MemoryOptions, epoch: u64) -> Arc<Hub> {
        let state = State {
            records: Records::default(),
            queues: Queues::new(options.limits.redeliver_after, options.queue_limit),
            blobs: Blobs::default(),
            script: Script::default(),
            connections: BTreeMap::new(),
            listeners: HashMap::new(),
            watches: Vec::new(),
            replies: HashMap::new(),
            last_id: 0,
            #[cfg(test)]
            sent: 0,
        };
        Arc::new(Hub { options, started: Instant::now(), epoch, state: Mutex::new(state) })
    }

    /// Returns the ids of all entries.
    #[cfg(test)]
    pub(in crate::cluster) fn entries(&self) -> Vec<String> {
        self.state().queues.ids()
    }

    #[cfg(test)]
    pub(in crate::cluster) fn block_keys(&self) -> Vec<String> {
        self.state().blobs.block_keys()
    }

    /// Returns how many requests and messages all members have sent.
    #[cfg(test)]
    pub(in crate::cluster) fn sent(&self) -> u64 {
        self.state().sent
    }

    /// Returns all writes to records, in their order.
    #[cfg(test)]
    pub(in crate::cluster) fn history(&self) -> Vec<Record> {
        self.state().records.history.clone()
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    pub(super) fn time_at(&self, now: Instant) -> u64 {
        self.epoch + now.saturating_duration_since(self.started).as_nanos() as u64
    }

    /// Returns the moment, and the time of the broker.
    pub(super) fn now(&self) -> (Instant, u64) {
        let now = Instant::now();
        (now, self.time_at(now))
    }

    /// Forgets what was kept for long enough.
    pub(super) fn forget_old(&self, state: &mut State, time: u64) {
        let keep = self.options.limits.keep.as_nanos() as u64;
        if let Some(limit) = time.checked_sub(keep) {
            state.records.forget_before(limit);
            state.queues.forget_before(limit);
        }
    }

    /// Writes a record and tells those that watch it.
    pub(super) fn write(
        &self,
        key: &str,
        expect: Expect,
        value: &[u8],
    ) -> Result<u64, BrokerError> {
        let (now, time) = self.now();
        let mut state = self.state();
        let state = &mut *state;
        self.forget_old(state, time);
        let number = state.records.write(time, key, expect, value)?;
        for watch in state.watches.iter().filter(|watch| watch.matches(key)) {
            if let Some(connected) = state.connections.get(&watch.connection) {
                let due = now + state.script.random_delay();
                connected.inbox.record(watch.id, due, number, key);
            }
        }
        Ok(number)
    }

    /// Delivers a message to those that listen. Returns whether there is one.
    pub(super) fn route(&self, subject: &str, value: &[u8], reply: Option<&ReplyTo>) -> bool {
        let now = Instant::now();
        let mut state = self.state();
        let state = &mut *state;
        let mut is_heard = false;
        for (connection, id) in state.listeners.get(subject).into_iter().flatten() {
            let Some(connected) = state.connections.get(connection) else { continue };
            if !connected.is_back {
                continue;
            }
            is_heard = true;
            for _ in 0..state.script.copies() {
                let (value, reply) = (value.to_vec(), reply.cloned());
                let message = Message { subject: subject.to_owned(), value, reply };
                let due = now + state.script.random_delay();
                connected.inbox.push(due, Event::Message(*id, message));
            }
        }
        is_heard
    }

    pub(super) fn expect_reply(&self, connection: u64) -> (ReplyTo, oneshot::Receiver<Vec<u8>>) {
        let (sender, receiver) = oneshot::channel();
        let mut state = self.state();
        let to: Arc<str> = format!("r.{}", state.new_id()).into();
        state.replies.insert(to.clone(), (connection, sender));
        (ReplyTo(to), receiver)
    }

    pub(super) fn forget_reply(&self, to: &ReplyTo) {
        self.state().replies.remove(&to.0);
    }

    pub(super) fn reply(&self, to: &ReplyTo, value: Vec<u8>) {
        let reply = self.state().replies.remove(&to.0);
        if let Some((_, sender)) = reply {
            drop(sender.send(value));
        }
    }
}

impl State {
    pub(super) fn new_id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }

    pub(super) fn subscribe(&mut self, connection: u64, subject: &str, id: u64) {
        self.listeners.entry(subject.to_owned()).or_default().push((connection, id));
        if let Some(member) = subject.strip_prefix("m.")
            && let Some(connected) = self.connections.get_mut(&connection)
        {
            connected.names.push(member.to_owned());
        }
    }

    pub(super) fn unsubscribe(&mut self, subject: &str, id: u64) {
        if let Some(listeners) = self.listeners.get_mut(subject) {
            listeners.retain(|(_, other)| *other != id);
            if listeners.is_empty() {
                self.listeners.remove(subject);
            }
        }
    }

    pub(super) fn watch(&mut self, connection: u64, filter: &str, since: Since, id: u64) {
        let filter = filter.split('.').map(str::to_owned).collect();
        let watch = Watching { connection, id, filter };
        if since == Since::LastOfEach
            && let Some(connected) = self.connections.get(&connection)
        {
            for (number, key) in self.records.keys().filter(|(_, key)| watch.matches(key)) {
                connected.inbox.record(id, Instant::now(), number, key);
            }
        }
        self.watches.push(watch);
    }

    pub(super) fn unwatch(&mut self, id: u64) {
        self.watches.retain(|watch| watch.id != id);
    }

    /// Forgets a connection and what belongs to it.
    pub(super) fn disconnect(&mut self, connection: u64) {
        if let Some(connected) = self.connections.remove(&connection) {
            connected.inbox.close();
        }
        self.watches.retain(|watch| watch.connection != connection);
        for listeners in self.listeners.values_mut() {
            listeners.retain(|(of, _)| *of != connection);
        }
        self.listeners.retain(|_, listeners| !listeners.is_empty());
        self.replies.retain(|_, (of, _)| *of != connection);
    }

    pub(super) fn is_frozen(&self, connection: u64) -> bool {
        self.connections
            .get(&connection)
            .is_some_and(|connected| self.script.is_frozen(&connected.names))
    }

    pub(super) fn record_if(&self, key: &str, number: u64) -> Option<Record> {
        self.records.get(key).filter(|record| record.number == number).cloned()
    }
}

impl Watching {
    fn matches(&self, key: &str) -> bool {
        let mut tokens = key.split('.');
        let all = self
            .filter
            .iter()
            .all(|wanted| tokens.next().is_some_and(|token| wanted == "*" || wanted == token));
        all && tokens.next().is_none()
    }
}

/// Delivers what has arrived at a connection, until it is closed.
pub(super) async fn deliver(hub: Arc<Hub>, connection: u64, inbox: Arc<Inbox>, sinks: Arc<Sinks>) {
    while !inbox.is_closed() {
        let frozen = {
            let state = hub.state();
            state.is_frozen(connection).then(|| state.script.changed())
        };
        if let Some(changed) = frozen {
            let thawed = changed.notified();
            if hub.state().is_frozen(connection) && !inbox.is_closed() {
                thawed.await;
            }
            continue;
        }
        match inbox.next(Instant::now()) {
            Ok(Event::Message(id, message)) => sinks.message(id, message),
            Ok(Event::Record { watch, number, key }) => {
                // If there is a later write, it is on its way.
                let record = hub.state().record_if(&key, number);
                if let Some(record) = record {
                    sinks.record(watch, record);
                }
            }
            Ok(Event::Connection(is_there)) => {
                if let Some(connected) = hub.state().connections.get_mut(&connection) {
                    connected.is_back = is_there;
                }
                sinks.connection(is_there);
            }
            Err(due) => inbox.wait(due).await,
        }
    }
}
