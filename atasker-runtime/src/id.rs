//! Who a task is: a number that no other task of any process has.

use std::cell::Cell;
use std::collections::hash_map::RandomState;
use std::fmt;
use std::hash::{BuildHasher, Hasher};
use std::str::FromStr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// The identity of a task, unique over all supervisors and processes of a program.
///
/// 128 bits: a random number for the process that launched the task, and one of its own. It prints
/// as two hexadecimal numbers with a dash, and is read back from the same text.
///
/// ```
/// use atasker_runtime::{Supervisor, TaskId};
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

/// Bits of a number that say where in the books its task stands.
const PLACE_BITS: u32 = 28;

/// The place of a task that stands in no books.
const NO_PLACE: u32 = (1 << PLACE_BITS) - 1;

/// Numbers of one origin; after that another one is taken, so that ids never come twice.
const NUMBERS: u64 = 1 << (64 - PLACE_BITS);

/// The random half of this process's ids, for numbers of this era.
fn origin(era: u64) -> u64 {
    static ORIGIN: OnceLock<u64> = OnceLock::new();
    let first = *ORIGIN.get_or_init(|| {
        // RandomState is seeded by the operating system; the process id keeps apart copies that
        // share a seed (a fork of a process that had drawn it already).
        let mut hasher = RandomState::new().build_hasher();
        hasher.write_u32(std::process::id());
        hasher.finish() | 1
    });
    first.wrapping_add(era << 1)
}

/// Numbers that one thread may give: threads that launch share no counter for each task.
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
    /// A new id of this process, for a task that stands in no books.
    pub(crate) fn next() -> TaskId {
        TaskId::at(NO_PLACE)
    }

    /// A new id of this process, for the task that stands at this place in the books.
    #[inline]
    pub(crate) fn at(place: u32) -> TaskId {
        thread_local! {
            static BLOCK: Cell<Block> = const { Cell::new(Block { origin: 0, next: 0, end: 0 }) };
        }
        debug_assert!(place <= NO_PLACE);
        let mut block = BLOCK.get();
        if block.next == block.end {
            block = Block::new();
        }
        BLOCK.set(Block { next: block.next + 1, ..block });
        TaskId { origin: block.origin, number: block.next << PLACE_BITS | u64::from(place) }
    }

    /// Where in the books the task stands, if it does and is one of this process.
    #[inline]
    pub(crate) fn place(self) -> Option<u32> {
        let place = self.number as u32 & NO_PLACE;
        (place != NO_PLACE).then_some(place)
    }

    /// The number without the place. Not unique by itself, nor ever 0.
    #[inline]
    pub(crate) fn serial(self) -> u64 {
        (self.number >> PLACE_BITS) + 1
    }

    /// The id as one number, for the wire.
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

/// A text that is not a [`TaskId`].
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
        let draw = || (0..5_000).map(TaskId::at).collect::<Vec<_>>();
        let threads: Vec<_> = (0..4).map(|_| std::thread::spawn(draw)).collect();
        let drawn: Vec<_> = threads.into_iter().flat_map(|t| t.join().unwrap()).collect();
        for (i, id) in drawn.iter().enumerate() {
            assert_eq!(id.place(), Some(i as u32 % 5_000));
        }
        let different: std::collections::HashSet<_> = drawn.iter().collect();
        assert_eq!(different.len(), drawn.len());
        assert_eq!(TaskId::next().place(), None);
    }

    #[test]
    fn rejects_other_texts() {
        for text in ["", "-", "1-", "-1", "+1-2", "xyz-1", "11111111111111111-1", "1-2-3"] {
            assert!(text.parse::<TaskId>().is_err(), "{text:?}");
        }
    }
}
