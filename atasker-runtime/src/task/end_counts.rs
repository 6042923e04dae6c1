//! Counts of ended tasks, by how they ended.

use std::ops::AddAssign;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::task::state::Ending;

/// The counters that one place, or one shard of it, increments.
#[derive(Default)]
pub(crate) struct EndCounters {
    completed: AtomicU64,
    failed: AtomicU64,
    timed_out: AtomicU64,
    canceled: AtomicU64,
}

/// A sum of [`EndCounters`].
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub(crate) struct EndCounts {
    pub(crate) completed: u64,
    pub(crate) failed: u64,
    pub(crate) timed_out: u64,
    pub(crate) canceled: u64,
}

impl EndCounters {
    /// Counts a task that has ended.
    #[inline]
    pub(crate) fn record(&self, ending: Ending) {
        let counter = match ending {
            Ending::Ok | Ending::ReturnedErr => &self.completed,
            Ending::Failed => &self.failed,
            Ending::TimedOut => &self.timed_out,
            Ending::Canceled => &self.canceled,
        };
        // SeqCst: see `supervisor::counters`.
        counter.fetch_add(1, Ordering::SeqCst);
    }

    /// Returns the counts.
    #[inline]
    pub(crate) fn counts(&self) -> EndCounts {
        EndCounts {
            completed: self.completed.load(Ordering::SeqCst),
            failed: self.failed.load(Ordering::SeqCst),
            timed_out: self.timed_out.load(Ordering::SeqCst),
            canceled: self.canceled.load(Ordering::SeqCst),
        }
    }
}

impl EndCounts {
    /// Returns the number of ended tasks.
    pub(crate) fn ended(&self) -> u64 {
        self.completed + self.failed + self.timed_out + self.canceled
    }
}

impl AddAssign for EndCounts {
    fn add_assign(&mut self, other: EndCounts) {
        self.completed += other.completed;
        self.failed += other.failed;
        self.timed_out += other.timed_out;
        self.canceled += other.canceled;
    }
}
