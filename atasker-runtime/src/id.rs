//! Who a task is: a number that no other task of any process has.

use std::collections::hash_map::RandomState;
use std::fmt;
use std::hash::{BuildHasher, Hasher};
use std::str::FromStr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// The identity of a task, unique over all supervisors and processes of a program.
///
/// 128 bits: a random number for the process that launched the task, and a counter. It prints as
/// two hexadecimal numbers with a dash, and is read back from the same text.
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

/// The random half of this process's ids.
fn origin() -> u64 {
    static ORIGIN: OnceLock<u64> = OnceLock::new();
    *ORIGIN.get_or_init(|| {
        // RandomState is seeded by the operating system; the process id keeps apart copies that
        // share a seed (a fork of a process that had drawn it already).
        let mut hasher = RandomState::new().build_hasher();
        hasher.write_u32(std::process::id());
        hasher.finish() | 1
    })
}

impl TaskId {
    /// A new id of this process.
    pub(crate) fn next() -> TaskId {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        TaskId::local(NEXT.fetch_add(1, Ordering::Relaxed))
    }

    /// The id that this process gave as its `number`th.
    pub(crate) fn local(number: u64) -> TaskId {
        TaskId { origin: origin(), number }
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
    fn rejects_other_texts() {
        for text in ["", "-", "1-", "-1", "+1-2", "xyz-1", "11111111111111111-1", "1-2-3"] {
            assert!(text.parse::<TaskId>().is_err(), "{text:?}");
        }
    }
}
