//! What the broker in memory keeps besides its queues: records, blocks and logs.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::Duration;

use tokio::time::Instant;

use crate::cluster::broker::{BrokerError, Expect, Kept, LogEntry, Record};

/// How long the id of an entry is remembered.
pub(super) const REMEMBERED: Duration = Duration::from_secs(120);

/// The bounds of a log.
const LOG_LENGTH: usize = 10_000;
const LOG_AGE: u64 = 7 * 24 * 3_600 * 1_000_000_000;

/// Names that were used within the last two minutes.
#[derive(Debug)]
pub(super) struct Remembered<T> {
    values: HashMap<String, T>,
    order: VecDeque<(Instant, String)>,
}

impl<T> Default for Remembered<T> {
    fn default() -> Self {
        Remembered { values: HashMap::new(), order: VecDeque::new() }
    }
}

impl<T: Copy> Remembered<T> {
    pub(super) fn get(&mut self, name: &str, now: Instant) -> Option<T> {
        while self.order.front().is_some_and(|(since, _)| *since + REMEMBERED < now) {
            if let Some((_, name)) = self.order.pop_front() {
                self.values.remove(&name);
            }
        }
        self.values.get(name).copied()
    }

    pub(super) fn insert(&mut self, name: &str, value: T, now: Instant) {
        if self.values.insert(name.to_owned(), value).is_none() {
            self.order.push_back((now, name.to_owned()));
        }
    }
}

/// Records, with compare-and-set.
#[derive(Debug, Default)]
pub(super) struct Records {
    by_key: HashMap<String, Record>,
    /// The keys by the number of their last write, which is the order of their age.
    by_number: BTreeMap<u64, String>,
    last_number: u64,
    #[cfg(test)]
    pub(super) history: Vec<Record>,
}

impl Records {
    pub(super) fn get(&self, key: &str) -> Option<&Record> {
        self.by_key.get(key)
    }

    /// Returns the keys in the order of their last writes.
    pub(super) fn keys(&self) -> impl Iterator<Item = (u64, &str)> {
        self.by_number.iter().map(|(number, key)| (*number, key.as_str()))
    }

    pub(super) fn write(
        &mut self,
        time: u64,
        key: &str,
        expect: Expect,
        value: &[u8],
    ) -> Result<u64, BrokerError> {
        let last = self.by_key.get(key).map(|record| record.number);
        let as_expected = match expect {
            Expect::Absent => last.is_none(),
            Expect::Number(number) => last == Some(number),
            Expect::Anything => true,
        };
        if !as_expected {
            return Err(BrokerError::Conflict);
        }
        self.last_number += 1;
        let number = self.last_number;
        if let Some(last) = last {
            self.by_number.remove(&last);
        }
        self.by_number.insert(number, key.to_owned());
        let record = Record { key: key.to_owned(), number, time, value: value.to_vec() };
        #[cfg(test)]
        self.history.push(record.clone());
        self.by_key.insert(key.to_owned(), record);
        Ok(number)
    }

    pub(super) fn remove(&mut self, key: &str) {
        if let Some(record) = self.by_key.remove(key) {
            self.by_number.remove(&record.number);
        }
    }

    /// Removes the records that were written before this time.
    pub(super) fn forget_before(&mut self, time: u64) {
        while let Some((number, key)) = self.by_number.first_key_value() {
            if self.by_key.get(key).is_some_and(|record| record.time >= time) {
                return;
            }
            let number = *number;
            if let Some(key) = self.by_number.remove(&number) {
                self.by_key.remove(&key);
            }
        }
    }
}

/// The blocks of payloads, and logs.
#[derive(Debug, Default)]
pub(super) struct Blobs {
    /// Each with the time at which it was stored.
    blocks: BTreeMap<(Kept, String, u32), (u64, Vec<u8>)>,
    logs: HashMap<String, VecDeque<LogEntry>>,
}

impl Blobs {
    pub(super) fn put_block(
        &mut self,
        kept: Kept,
        key: &str,
        index: u32,
        (time, value): (u64, &[u8]),
    ) {
        self.blocks.insert((kept, key.to_owned(), index), (time, value.to_vec()));
    }

    pub(super) fn get_blocks(
        &self,
        kept: Kept,
        key: &str,
        count: u32,
    ) -> Result<Vec<u8>, BrokerError> {
        let mut joined = Vec::new();
        for index in 0..count {
            let block = self.blocks.get(&(kept, key.to_owned(), index));
            let missing = || BrokerError::NotFound(format!("block {index} of `{key}`"));
            joined.extend_from_slice(&block.ok_or_else(missing)?.1);
        }
        Ok(joined)
    }

    /// Removes the blocks that are kept for long enough: `keep` is for those that are kept as records.
    pub(super) fn forget_blocks(&mut self, time: u64, keep: u64) {
        self.blocks.retain(|(kept, ..), (stored, _)| {
            let keep = match kept {
                Kept::AsRecords => keep,
                Kept::AsLogs => LOG_AGE,
            };
            stored.saturating_add(keep) >= time
        });
    }

    pub(super) fn remove_blocks(&mut self, kept: Kept, key: &str) {
        let all = (kept, key.to_owned(), 0)..=(kept, key.to_owned(), u32::MAX);
        let keys: Vec<_> = self.blocks.range(all).map(|(key, _)| key.clone()).collect();
        for key in keys {
            self.blocks.remove(&key);
        }
    }

    #[cfg(test)]
    pub(super) fn block_keys(&self) -> Vec<String> {
        let mut keys: Vec<_> = self.blocks.keys().map(|(_, key, _)| key.clone()).collect();
        keys.dedup();
        keys
    }

    pub(super) fn append(&mut self, log: &str, key: &str, time: u64, value: &[u8]) {
        let log = self.logs.entry(log.to_owned()).or_default();
        while log.front().is_some_and(|entry| entry.time.saturating_add(LOG_AGE) < time)
            || log.len() >= LOG_LENGTH
        {
            log.pop_front();
        }
        log.push_back(LogEntry { key: key.to_owned(), time, value: value.to_vec() });
    }

    pub(super) fn log(&self, log: &str, time: u64) -> Vec<LogEntry> {
        let entries = self.logs.get(log).into_iter().flatten();
        entries.filter(|entry| entry.time.saturating_add(LOG_AGE) >= time).cloned().collect()
    }

    pub(super) fn remove_logged(&mut self, log: &str, key: &str) -> bool {
        let Some(log) = self.logs.get_mut(log) else { return false };
        let before = log.len();
        log.retain(|entry| entry.key != key);
        log.len() != before
    }
}
