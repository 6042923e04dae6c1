//! The door to a broker: what the protocol of the cluster needs from it, as plain data.
//!
//! `atasker-nats` implements it on JetStream, and `memory` within this process. Everything else, in
//! particular what makes a call have exactly one outcome, is in `protocol`, above this door, so the
//! tests of the protocol on the scripted broker in memory are tests of the code that runs on a real
//! one.
//!
//! A broker keeps three things and forwards a fourth:
//!
//! * *records*: a value per key, with compare-and-set by the number of the last write. The truth.
//! * *queues*: entries that wait for a consumer, by queue and priority. An entry that was given out
//!   comes back unless it is acknowledged, or touched, in time. Queues only deliver: an entry may
//!   come more than once, also after its acknowledgment.
//! * *blocks*: parts of large payloads.
//! * *messages*: to those that listen at this moment.
//!
//! Anything that is sent may be lost, repeated or delayed. Each future ends in a time that the
//! implementation bounds (seconds), also while there is no connection.

mod data;

use std::collections::BTreeSet;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

pub use data::{
    BrokerError, BrokerLimits, Delivery, DeliveryToken, Entry, EntryKey, Expect, Kept, LogEntry,
    Message, QueueCounts, Record, ReplyTo, Since,
};

use crate::priority::Priority;

/// A future of a broker.
pub type BrokerFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// See the module documentation. Keys, queues and subjects consist of tokens of
/// `[A-Za-z0-9_-]{1,64}`, separated by dots; in filters, `*` stands for any token.
///
/// Methods that return a future are called within the tokio runtime of the cluster. Sinks are called
/// there as well, one at a time per sink, and don't block.
pub trait Broker: Send + Sync + 'static {
    // Records.

    /// Returns the record of a key.
    fn read<'a>(&'a self, key: &'a str) -> BrokerFuture<'a, Result<Option<Record>, BrokerError>>;

    /// Writes a record if its last write is as expected, and returns the number of this write.
    ///
    /// A write that expects something is requested once. After [`BrokerError::Conflict`] it was not
    /// carried out by this request. After any other error it may have been, and a further request of
    /// the same write is refused then, because the last write is no longer as expected: a caller that asks
    /// again compares the value. `token` identifies the write. A broker may recognize further requests by
    /// it, and return the number of the write to them as well.
    fn write<'a>(
        &'a self,
        key: &'a str,
        expect: Expect,
        token: &'a str,
        value: Vec<u8>,
    ) -> BrokerFuture<'a, Result<u64, BrokerError>>;

    /// Removes a record, if its last write is as expected. Keys without a record are fine.
    fn remove<'a>(&'a self, key: &'a str) -> BrokerFuture<'a, Result<(), BrokerError>>;

    /// Reports the writes to the keys that match a filter, in their order, until the guard is
    /// dropped. A write that was followed by another one to the same key may be left out. Goes on by
    /// itself after a lost connection, without gaps. Returns once it is in effect.
    fn watch<'a>(
        &'a self,
        filter: &'a str,
        since: Since,
        sink: Sink<Record>,
    ) -> BrokerFuture<'a, Result<Guard, BrokerError>>;

    // Queues.

    /// Prepares to pull from a queue. To be called by each member that does so, once.
    fn open_queue<'a>(&'a self, queue: &'a str) -> BrokerFuture<'a, Result<(), BrokerError>>;

    /// Appends an entry. If one with the same id was appended before, and that is not too long ago,
    /// nothing happens.
    fn enqueue<'a>(
        &'a self,
        entry: &'a EntryKey,
        value: Vec<u8>,
    ) -> BrokerFuture<'a, Result<(), BrokerError>>;

    /// Returns up to `batch` entries that wait now: first those that have come back, then in the
    /// order in which they were appended. May return less, also nothing, although more wait.
    ///
    /// Dropping the future gives entries back that it was about to return.
    fn pull_now<'a>(
        &'a self,
        queue: &'a str,
        priority: Priority,
        batch: usize,
    ) -> BrokerFuture<'a, Result<Vec<Delivery>, BrokerError>>;

    /// Waits for an entry, for `wait` at most, and returns it. `None` once the time is over. The same
    /// applies when it is dropped.
    fn pull_next<'a>(
        &'a self,
        queue: &'a str,
        priority: Priority,
        wait: Duration,
    ) -> BrokerFuture<'a, Result<Option<Delivery>, BrokerError>>;

    /// Replaces an entry that was given out by one with the same key and this value, which waits as if
    /// it was appended now. So a call that is held for long does not become too old. `token` identifies
    /// the request: with the same one, this happens once.
    fn renew_entry<'a>(
        &'a self,
        delivery: &'a DeliveryToken,
        entry: &'a EntryKey,
        token: &'a str,
        value: Vec<u8>,
    ) -> BrokerFuture<'a, Result<(), BrokerError>>;

    /// Removes an entry that was given out. May be lost.
    fn ack(&self, delivery: &DeliveryToken);

    /// Gives an entry back, which is delivered again after `delay`. May be lost.
    fn nak(&self, delivery: &DeliveryToken, delay: Duration);

    /// Keeps an entry for another [`BrokerLimits::redeliver_after`]. May be lost.
    fn touch(&self, delivery: &DeliveryToken);

    /// Finds an entry by its id, whether it waits or is given out.
    fn find_entry<'a>(
        &'a self,
        id: &'a str,
    ) -> BrokerFuture<'a, Result<Option<Entry>, BrokerError>>;

    /// Removes an entry, whether it waits or is given out.
    fn remove_entry<'a>(&'a self, entry: &'a EntryKey)
    -> BrokerFuture<'a, Result<(), BrokerError>>;

    /// Returns the queues that have been opened or have entries, with the numbers of entries.
    fn queues(&self) -> BrokerFuture<'_, Result<Vec<QueueCounts>, BrokerError>>;

    // Logs: dead letters.

    /// Appends to a log, which keeps its latest entries: see [`BrokerLimits`].
    fn append<'a>(
        &'a self,
        log: &'a str,
        key: &'a str,
        value: Vec<u8>,
    ) -> BrokerFuture<'a, Result<(), BrokerError>>;

    /// Returns the entries of a log, the oldest first.
    fn log<'a>(&'a self, log: &'a str) -> BrokerFuture<'a, Result<Vec<LogEntry>, BrokerError>>;

    /// Returns the number of keys in a log. Asked often, so a broker that can tell it without the
    /// entries does.
    fn log_len<'a>(&'a self, log: &'a str) -> BrokerFuture<'a, Result<u64, BrokerError>> {
        Box::pin(async move {
            let entries = self.log(log).await?;
            // An append that was repeated may have two entries.
            let keys: BTreeSet<&str> = entries.iter().map(|entry| &*entry.key).collect();
            Ok(keys.len() as u64)
        })
    }

    /// Removes an entry by its key. Returns whether there was one.
    fn remove_logged<'a>(
        &'a self,
        log: &'a str,
        key: &'a str,
    ) -> BrokerFuture<'a, Result<bool, BrokerError>>;

    // Blocks.

    /// Stores one block of a payload.
    fn put_block<'a>(
        &'a self,
        kept: Kept,
        key: &'a str,
        index: u32,
        value: Vec<u8>,
    ) -> BrokerFuture<'a, Result<(), BrokerError>>;

    /// Returns the blocks of a payload, joined in their order. Returns an error if one of them is
    /// missing.
    fn get_blocks<'a>(
        &'a self,
        kept: Kept,
        key: &'a str,
        count: u32,
    ) -> BrokerFuture<'a, Result<Vec<u8>, BrokerError>>;

    /// Removes the blocks of a payload.
    fn remove_blocks<'a>(
        &'a self,
        kept: Kept,
        key: &'a str,
    ) -> BrokerFuture<'a, Result<(), BrokerError>>;

    // Messages.

    /// Listens to a subject until the guard is dropped. Goes on by itself after a lost connection.
    fn subscribe<'a>(
        &'a self,
        subject: &'a str,
        sink: Sink<Message>,
    ) -> BrokerFuture<'a, Result<Guard, BrokerError>>;

    /// Sends a message to those that listen. May be lost.
    fn publish(&self, subject: &str, value: Vec<u8>);

    /// Sends a message and returns the first reply.
    ///
    /// # Errors
    ///
    /// [`BrokerError::NoResponders`] if the broker says that no one listens.
    fn request<'a>(
        &'a self,
        subject: &'a str,
        value: Vec<u8>,
        timeout: Duration,
    ) -> BrokerFuture<'a, Result<Vec<u8>, BrokerError>>;

    /// Replies to a message. May be lost.
    fn reply(&self, to: &ReplyTo, value: Vec<u8>);

    // The broker itself.

    /// Returns the time of the broker, in nanoseconds since the Unix epoch. That of [`Record`] and
    /// [`Entry`] is by the same clock.
    fn time(&self) -> BrokerFuture<'_, Result<u64, BrokerError>>;

    /// Returns whether there is a connection.
    fn is_connected(&self) -> bool;

    /// Reports when the connection is lost (`false`), and when it is back (`true`).
    fn on_connection(&self, sink: Sink<bool>);

    /// Returns the limits that apply.
    fn limits(&self) -> BrokerLimits;

    /// Returns a description, such as "nats-server 2.9.10".
    fn version(&self) -> String;

    /// Sends what was handed over, and ends the connection.
    fn close(&self) -> BrokerFuture<'_, ()>;
}

/// Receives what a broker reports.
pub type Sink<T> = Box<dyn FnMut(T) + Send>;

/// Ends a watch or a subscription when it is dropped.
pub struct Guard(Option<Box<dyn FnOnce() + Send>>);

impl Guard {
    /// Calls `end` when it is dropped.
    pub fn new(end: impl FnOnce() + Send + 'static) -> Guard {
        Guard(Some(Box::new(end)))
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if let Some(end) = self.0.take() {
            end();
        }
    }
}

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Guard")
    }
}
