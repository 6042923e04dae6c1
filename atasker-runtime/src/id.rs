//! Identifiers: of tasks, unique across processes, and of schedulers.

use std::cell::Cell;
use std::collections::hash_map::RandomState;
use std::fmt;
use std::hash::{BuildHasher, Hasher};
use std::num::NonZeroU32;
use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::sys::once::Once;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// The id of a task, unique across all supervisors and processes of a program.
///
/// An id has 128 bits: a random number for the process that launched the task, and a number within
/// that process. It is displayed as two hexadecimal numbers separated by a dash, and can be parsed
/// from that text.
///
/// ```
/// # use atasker_runtime as atasker;
/// use atasker::{Supervisor, TaskId};
/// let sup = Supervisor::builder().build();
/// let task = sup.spawn(|| ());
/// let text = task.id().to_string();
/// assert_eq!(text.parse::<TaskId>().unwrap(), task.id());
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TaskId {
    origin: u64,
    number: u64,
}

/// The key of a scheduler (a supervisor), by which its tasks and its timer entries refer to it. Not
/// reused before all others were used.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct SchedulerKey(pub(crate) NonZeroU32);

impl SchedulerKey {
    /// Returns the key as a number.
    #[cfg_attr(not(feature = "dashboard"), allow(dead_code))]
    pub(crate) fn get(self) -> u64 {
        self.0.get().into()
    }
}

/// The number of bits that hold the index of the task in the task table.
const INDEX_BITS: u32 = 28;

/// The index of a task that is not in the table.
const NO_INDEX: u32 = (1 << INDEX_BITS) - 1;

/// The number of ids per origin. When they are used up, another origin follows, so that ids are
/// never reused.
const NUMBERS: u64 = 1 << (64 - INDEX_BITS);

/// Returns the random half of this process's ids for numbers of this era.
fn origin(era: u64) -> u64 {
    static ORIGIN: Once<u64> = Once::new();
    let first = *ORIGIN.get_or_init(|| {
        // `RandomState` is seeded by the operating system. The process id separates processes that
        // share a seed, such as a fork of a process that had drawn one.
        let mut hasher = RandomState::new().build_hasher();
        hasher.write_u32(std::process::id());
        hasher.finish() | 1
    });
    first.wrapping_add(era << 1)
}

/// A range of numbers reserved by one thread, so that launching threads do not contend on a
/// counter.
#[derive(Clone, Copy)]
struct Block {
    origin: u64,
    next: u64,
    end: u64,
}

impl Block {
    const LENGTH: u64 = 1024;

    fn new() -> Block {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let start = NEXT.fetch_add(Block::LENGTH, Ordering::Relaxed);
        let next = start % NUMBERS;
        Block { origin: origin(start / NUMBERS), next, end: next + Block::LENGTH }
    }
}

impl TaskId {
    /// Not the id of any task.
    pub(crate) const NONE: TaskId = TaskId { origin: 0, number: NO_INDEX as u64 };

    /// Returns a new id for a task that is not in the table.
    pub(crate) fn next() -> TaskId {
        TaskId::with_index(NO_INDEX)
    }

    /// Returns a new id for the task at this index of the table.
    #[inline]
    pub(crate) fn with_index(index: u32) -> TaskId {
        thread_local! {
            static BLOCK: Cell<Block> = const { Cell::new(Block { origin: 0, next: 0, end: 0 }) };
        }
        debug_assert!(index <= NO_INDEX);
        let mut block = BLOCK.get();
        if block.next == block.end {
            block = Block::new();
        }
        BLOCK.set(Block { next: block.next + 1, ..block });
        TaskId { origin: block.origin, number: block.next << INDEX_BITS | u64::from(index) }
    }

    /// Returns the index of the task in the table, if the task is in this process's table.
    #[inline]
    pub(crate) fn table_index(self) -> Option<u32> {
        let index = self.number as u32 & NO_INDEX;
        (index != NO_INDEX).then_some(index)
    }

    /// Returns the number without the index. Not unique by itself, and never 0.
    #[inline]
    pub(crate) fn serial(self) -> u64 {
        (self.number >> INDEX_BITS) + 1
    }

    /// Returns the id as two numbers, for encoding.
    pub(crate) fn to_parts(self) -> (u64, u64) {
        (self.origin, self.number)
    }

    /// The inverse of [`to_parts`](Self::to_parts).
    pub(crate) fn from_parts(origin: u64, number: u64) -> TaskId {
        TaskId { origin, number }
    }
}

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}-{:x}", self.origin, self.number)
    }
}

impl fmt::Debug for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TaskId({self})")
    }
}

/// The error for a text that is not a [`TaskId`].
///
/// ```
/// # use atasker_runtime as atasker;
/// use atasker::{ParseTaskIdError, TaskId};
/// let error: ParseTaskIdError = "seven".parse::<TaskId>().unwrap_err();
/// println!("{error}");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a task id (two hexadecimal numbers joined by a dash): {0:?}")]
pub struct ParseTaskIdError(String);

impl FromStr for TaskId {
    type Err = ParseTaskIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bad = || ParseTaskIdError(text.chars().take(64).collect());
        let hex = |part: &str| {
            let digits = !part.is_empty() && part.bytes().all(|b| b.is_ascii_hexdigit());
            digits.then(|| u64::from_str_radix(part, 16).ok()).flatten().ok_or_else(bad)
        };
        let (origin, number) = text.split_once('-').ok_or_else(bad)?;
        Ok(TaskId { origin: hex(origin)?, number: hex(number)? })
    }
}

impl Serialize for TaskId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for TaskId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_back() {
        let id = TaskId::next();
        assert_eq!(id.to_string().parse::<TaskId>().unwrap(), id);
        let json = serde_json::to_string(&id).unwrap();
        assert_eq!(json, format!("\"{id}\""));
        assert_eq!(serde_json::from_str::<TaskId>(&json).unwrap(), id);
    }

    #[test]
    fn all_differ_whoever_draws_them() {
        let draw = || (0..5_000).map(TaskId::with_index).collect::<Vec<_>>();
        let threads: Vec<_> = (0..4).map(|_| std::thread::spawn(draw)).collect();
        let drawn: Vec<_> = threads.into_iter().flat_map(|t| t.join().unwrap()).collect();
        for (i, id) in drawn.iter().enumerate() {
            assert_eq!(id.table_index(), Some(i as u32 % 5_000));
        }
        let different: std::collections::HashSet<_> = drawn.iter().collect();
        assert_eq!(different.len(), drawn.len());
        assert_eq!(TaskId::next().table_index(), None);
    }

    #[test]
    fn rejects_other_texts() {
        for text in ["", "-", "1-", "-1", "+1-2", "xyz-1", "11111111111111111-1", "1-2-3"] {
            assert!(text.parse::<TaskId>().is_err(), "{text:?}");
        }
    }
}
