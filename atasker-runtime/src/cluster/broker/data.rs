//! What is exchanged with a broker.

use std::sync::Arc;
use std::time::Duration;

use crate::priority::Priority;

/// A record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its key.
    pub key: String,
    /// The number of the write. Greater than that of every earlier write to any key.
    pub number: u64,
    /// When it was written, by the clock of the broker, in nanoseconds since the Unix epoch.
    pub time: u64,
    /// The value.
    pub value: Vec<u8>,
}

/// What the last write to a key must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    /// There is none, or the record was removed.
    Absent,
    /// The write with this number.
    Number(u64),
    /// Anything.
    Anything,
}

/// Which writes a watch reports first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Since {
    /// Those after it has begun.
    Now,
    /// The last one of each key.
    LastOfEach,
}

/// Which entry of which queue.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct EntryKey {
    /// The name of the queue: one token.
    pub queue: String,
    /// The priority.
    pub priority: Priority,
    /// The id, unique in the namespace: one token.
    pub id: String,
}

/// An entry of a queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Which.
    pub key: EntryKey,
    /// When it was appended, by the clock of the broker, in nanoseconds since the Unix epoch.
    pub time: u64,
    /// The value.
    pub value: Vec<u8>,
}

/// An entry that is given out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// The entry.
    pub entry: Entry,
    /// How often it was given out, this time included.
    pub delivered: u64,
    /// Identifies it at the broker.
    pub token: DeliveryToken,
}

/// Identifies an entry that is given out.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct DeliveryToken(pub Arc<str>);

/// The entries of a queue.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QueueCounts {
    /// The name of the queue.
    pub queue: String,
    /// Entries that wait: critical, high, normal, low.
    pub waiting: [u64; 4],
    /// Entries that are given out.
    pub given_out: u64,
}

/// An entry of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogEntry {
    /// Its key.
    pub key: String,
    /// When it was appended, by the clock of the broker, in nanoseconds since the Unix epoch.
    pub time: u64,
    /// The value.
    pub value: Vec<u8>,
}

/// How long blocks are kept. Each has keys of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kept {
    /// As long as records: [`BrokerLimits::keep`].
    AsRecords,
    /// As long as the entries of a log.
    AsLogs,
}

/// A message that has arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The subject.
    pub subject: String,
    /// The value.
    pub value: Vec<u8>,
    /// Where a reply is expected.
    pub reply: Option<ReplyTo>,
}

/// Where a reply is expected.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ReplyTo(pub Arc<str>);

/// The limits of a broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BrokerLimits {
    /// When an entry that was neither acknowledged nor touched comes back.
    pub redeliver_after: Duration,
    /// The silence after which a member is lost.
    pub lost_after: Duration,
    /// How long records, blocks and entries are kept.
    pub keep: Duration,
    /// Larger payloads go in blocks of at most 512 KiB.
    pub large_after: usize,
    /// How many bytes may be handed over while there is no connection.
    pub pending_bytes: usize,
    /// Whether a launch waits while the queues are full.
    pub blocks_when_full: bool,
}

/// Why a broker has not done what was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BrokerError {
    /// The last write to the key is another one. Nothing was written.
    #[error("the record has changed")]
    Conflict,
    /// The queues have as many entries as they may. Nothing was appended.
    #[error("the queues are full")]
    Full,
    /// No one listens.
    #[error("no one listens to that subject")]
    NoResponders,
    /// There was no answer: it may have happened or not.
    #[error("the broker has not answered: {0}")]
    NoAnswer(String),
    /// The broker refuses it for lack of rights.
    #[error("the broker refuses it: {0}")]
    Denied(String),
    /// The broker is there, but can't do it.
    #[error("the broker can't do it: {0}")]
    Unavailable(String),
    /// A block or an entry is missing.
    #[error("not found: {0}")]
    NotFound(String),
    /// The connection was closed by this program.
    #[error("the connection was closed")]
    Closed,
}
