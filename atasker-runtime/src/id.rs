//! Identifiers: of tasks, unique across processes, and of schedulers.

use std::cell::RefCell;
use std::collections::hash_map::RandomState;
use std::fmt;
use std::hash::{BuildHasher, Hasher};
use std::num::NonZeroU32;
use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::sys::once::Once;
use crate::task::table;
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

/// The number of indices. The last one is none.
pub(crate) const INDICES: u32 = 1 << INDEX_BITS;

/// The index of a task that is not in the table.
const NO_INDEX: u32 = INDICES - 1;

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
    let first = match FORKED.load(Ordering::Relaxed) {
        0 => first,
        forked => forked,
    };
    first.wrapping_add(era << 1)
}

/// The origin of an id in one byte: its position in a list of those that this process knows.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct OriginKey(u8);

/// The first origins that were seen, in this order; 0 for none. Few processes ever see more than
/// one: their own, or in a worker process that of the program.
static ORIGINS: [AtomicU64; 255] = [const { AtomicU64::new(0) }; 255];

impl OriginKey {
    /// The key of the origins that have none.
    pub(crate) const NONE: OriginKey = OriginKey(u8::MAX);

    /// Returns the key of an origin, which is [`NONE`](Self::NONE) once the list is full.
    #[inline]
    fn of(origin: u64) -> OriginKey {
        if origin == 0 { OriginKey::NONE } else { OriginKey::in_list(&ORIGINS, origin) }
    }

    #[inline]
    fn in_list(list: &[AtomicU64; 255], origin: u64) -> OriginKey {
        for (slot, key) in list.iter().zip(0..) {
            // Relaxed: nothing else depends on an entry.
            let known = match slot.load(Ordering::Relaxed) {
                0 => slot
                    .compare_exchange(0, origin, Ordering::Relaxed, Ordering::Relaxed)
                    .map_or_else(|first| first, |_| origin),
                known => known,
            };
            if known == origin {
                return OriginKey(key);
            }
        }
        OriginKey::NONE
    }
}

/// The random half instead, in a process that continues as a copy of another one; otherwise 0.
static FORKED: AtomicU64 = AtomicU64::new(0);

thread_local! {
    /// For ids of tasks that are not in the table.
    static LOCAL: RefCell<Numbers> = const { RefCell::new(Numbers::NONE) };
}

/// Makes the ids of this process different from those of the process that it is a copy of, by a
/// random number. No other thread exists.
#[cfg_attr(not(feature = "mp"), allow(dead_code))]
pub(crate) fn renew(random: u64) {
    FORKED.store(random | 1, Ordering::Relaxed);
    LOCAL.set(Numbers::NONE);
    table::renew_numbers();
}

/// A range of numbers reserved by one thread, so that launching threads do not contend on a
/// counter.
pub(crate) struct Numbers {
    origin: u64,
    next: u64,
    end: u64,
}

impl Numbers {
    /// No numbers: the first draw reserves some.
    pub(crate) const NONE: Numbers = Numbers { origin: 0, next: 0, end: 0 };
    const LENGTH: u64 = 1024;

    /// Returns a new id for the task at this index of the table.
    #[inline]
    pub(crate) fn draw(&mut self, index: u32) -> TaskId {
        debug_assert!(index <= NO_INDEX);
        if self.next == self.end {
            self.reserve();
        }
        self.next += 1;
        let number = (self.next - 1) << INDEX_BITS | u64::from(index);
        TaskId { origin: self.origin, number }
    }

    #[cold]
    fn reserve(&mut self) {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let start = NEXT.fetch_add(Self::LENGTH, Ordering::Relaxed);
        let next = start % NUMBERS;
        *self = Numbers { origin: origin(start / NUMBERS), next, end: next + Self::LENGTH };
    }
}

/// Returns the index in the task table that the number of an id contains.
#[inline]
pub(crate) fn index_of(number: u64) -> u32 {
    number as u32 & NO_INDEX
}

impl TaskId {
    /// Not the id of any task.
    pub(crate) const NONE: TaskId = TaskId { origin: 0, number: NO_INDEX as u64 };

    /// Returns a new id for a task that is not in the table.
    pub(crate) fn next() -> TaskId {
        LOCAL.with_borrow_mut(|numbers| numbers.draw(NO_INDEX))
    }

    /// Returns the index of the task in the table, if the task is in this process's table.
    #[inline]
    pub(crate) fn table_index(self) -> Option<u32> {
        let index = index_of(self.number);
        (index != NO_INDEX).then_some(index)
    }

    /// Returns the number without the index. Not unique by itself.
    pub(crate) fn serial(self) -> u64 {
        self.number >> INDEX_BITS
    }

    /// Returns the id in less space. The origin may have no key.
    #[inline]
    pub(crate) fn to_short(self) -> (OriginKey, u64) {
        (OriginKey::of(self.origin), self.number)
    }

    /// The inverse of [`to_short`](Self::to_short), if the origin has a key.
    #[inline]
    pub(crate) fn from_short(origin: OriginKey, number: u64) -> Option<TaskId> {
        let origin = ORIGINS.get(usize::from(origin.0))?.load(Ordering::Relaxed);
        Some(TaskId { origin, number })
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
        let draw = || {
            let mut numbers = Numbers::NONE;
            (0..5_000).map(|index| numbers.draw(index)).collect::<Vec<_>>()
        };
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
    fn origins_have_keys_until_the_list_is_full() {
        let list = [const { AtomicU64::new(0) }; 255];
        for _ in 0..2 {
            for origin in 1..=300 {
                let key = u8::try_from(origin - 1).map_or(OriginKey::NONE, OriginKey);
                assert!(OriginKey::in_list(&list, origin) == key, "{origin}");
            }
        }
    }

    #[test]
    fn rejects_other_texts() {
        for text in ["", "-", "1-", "-1", "+1-2", "xyz-1", "11111111111111111-1", "1-2-3"] {
            assert!(text.parse::<TaskId>().is_err(), "{text:?}");
        }
    }
}
