//! How urgent a task is.

use std::fmt;

use serde::{Deserialize, Serialize};

/// How urgent a task is. Among waiting tasks a higher priority always starts first, and a pool can
/// hold slots in reserve for the higher ones.
///
/// The order is by urgency: `Low < Normal < High < Critical`.
///
/// ```
/// use atasker_runtime::Priority;
/// assert!(Priority::Critical > Priority::Low);
/// assert_eq!(Priority::High.value(), 50);
/// assert_eq!(Priority::default(), Priority::Normal);
/// ```
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Priority {
    /// Starts only while the pool's own slots suffice; never uses a reserve.
    Low = 0,
    /// The default; may also use the slots of `reserve_normal`.
    #[default]
    Normal = 1,
    /// May also use the slots of `reserve_high`.
    High = 2,
    /// Starts at once and is not counted against the pool.
    Critical = 3,
}

impl Priority {
    /// All priorities, the most urgent first.
    pub const ALL: [Priority; 4] =
        [Priority::Critical, Priority::High, Priority::Normal, Priority::Low];

    /// The number that the collections sort by: critical 0, high 50, normal 100, low 200.
    pub const fn value(self) -> i64 {
        match self {
            Priority::Critical => 0,
            Priority::High => 50,
            Priority::Normal => 100,
            Priority::Low => 200,
        }
    }

    /// The index of this priority in tables: `Low` 0 up to `Critical` 3.
    pub(crate) const fn index(self) -> usize {
        self as usize
    }

    /// The name as the attribute spells it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Priority::Low => "low",
            Priority::Normal => "normal",
            Priority::High => "high",
            Priority::Critical => "critical",
        }
    }

    /// The inverse of [`index`](Self::index), for what crosses a process boundary.
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
