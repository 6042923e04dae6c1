//! The priority of tasks.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The priority of a task. Among waiting tasks the one with the highest priority always starts
/// first, and a pool can reserve slots for higher priorities.
///
/// Priorities are ordered by urgency: `Low < Normal < High < Critical`.
///
/// ```
/// # use atasker_runtime as atasker;
/// use atasker::Priority;
/// assert!(Priority::Critical > Priority::Low);
/// assert_eq!(Priority::High.value(), 50);
/// assert_eq!(Priority::default(), Priority::Normal);
/// ```
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Priority {
    /// Starts only if one of the pool's own slots is free; never uses a reserve.
    Low = 0,
    /// The default. Can also use the slots of `reserve_normal`.
    #[default]
    Normal = 1,
    /// Can also use the slots of `reserve_high`.
    High = 2,
    /// Starts immediately and is not counted against the pool. In a pool of worker processes, only
    /// `MpPoolConfig::critical_extra` critical tasks start beyond the pool; further ones wait ahead
    /// of all other tasks.
    Critical = 3,
}

impl Priority {
    /// All priorities, most urgent first.
    pub const ALL: [Priority; 4] =
        [Priority::Critical, Priority::High, Priority::Normal, Priority::Low];

    /// Returns the number that collections sort by: critical 0, high 50, normal 100, low 200.
    pub const fn value(self) -> i64 {
        match self {
            Priority::Critical => 0,
            Priority::High => 50,
            Priority::Normal => 100,
            Priority::Low => 200,
        }
    }

    /// Returns the index of this priority in tables, from 0 for `Low` to 3 for `Critical`.
    pub(crate) const fn index(self) -> usize {
        self as usize
    }

    /// Returns the name as written in the attribute.
    pub const fn as_str(self) -> &'static str {
        match self {
            Priority::Low => "low",
            Priority::Normal => "normal",
            Priority::High => "high",
            Priority::Critical => "critical",
        }
    }

    /// The inverse of [`index`](Self::index), for values from another process.
    /// Returns the most urgent priority of a set, in which the bit at its index stands for each.
    #[inline]
    pub(crate) const fn highest(bits: u8) -> Option<Priority> {
        // Indices increase with the urgency.
        Priority::from_index(7u8.wrapping_sub(bits.leading_zeros() as u8))
    }

    pub(crate) const fn from_index(index: u8) -> Option<Priority> {
        match index {
            0 => Some(Priority::Low),
            1 => Some(Priority::Normal),
            2 => Some(Priority::High),
            3 => Some(Priority::Critical),
            _ => None,
        }
    }
}

impl fmt::Display for Priority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}
