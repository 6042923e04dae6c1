//! Counts of ended tasks, by how they ended.

use std::ops::AddAssign;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::task::state::Ending;

/// The counters that one place, or one shard of it, increments.
#[derive(Default)]
pub(crate) struct EndCounters {
    ended: AtomicU64,
    /// These are parts of `ended`.
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
        // Before the total, so that the parts never seem larger.
        match ending {
            Ending::Ok | Ending::ReturnedErr => {}
            Ending::Failed => _ = self.failed.fetch_add(1, Ordering::Relaxed),
            Ending::TimedOut => _ = self.timed_out.fetch_add(1, Ordering::Relaxed),
            Ending::Canceled => _ = self.canceled.fetch_add(1, Ordering::Relaxed),
        }
        // SeqCst: see `supervisor::counters`.
        self.ended.fetch_add(1, Ordering::SeqCst);
    }

    /// Returns the number of ended tasks.
    #[inline]
    pub(crate) fn ended(&self) -> u64 {
        self.ended.load(Ordering::SeqCst)
    }

    /// Returns the counts.
    pub(crate) fn counts(&self) -> EndCounts {
        let ended = self.ended();
        let failed = self.failed.load(Ordering::Relaxed);
        let timed_out = self.timed_out.load(Ordering::Relaxed);
        let canceled = self.canceled.load(Ordering::Relaxed);
        let completed = ended.saturating_sub(failed + timed_out + canceled);
        EndCounts { completed, failed, timed_out, canceled }
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
