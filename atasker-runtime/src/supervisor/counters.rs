//! The numbers of a supervisor's tasks, sharded so that threads that launch and end tasks don't
//! contend on a counter.
//!
//! A launch increments its counter before it reads the phase of the supervisor, and so does an end.
//! A stop changes the phase before it reads the counters. All of these operations are SeqCst, so at
//! least one side observes the other (Dekker's algorithm).

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use crossbeam_utils::CachePadded;

use crate::info::TaskType;
use crate::task::end_counts::{EndCounters, EndCounts};
use crate::task::state::Ending;

pub(crate) const SHARDS: usize = 8;

/// The counters of the threads that share a shard.
#[derive(Default)]
struct Shard {
    launched: AtomicU64,
    /// Tasks of `launched` that have ended, by place.
    ends: [EndCounters; 4],
    /// Ended tasks that the supervisor did not accept.
    rejected: AtomicU64,
}

/// See the module's documentation.
#[derive(Default)]
pub(super) struct Counters {
    shards: [CachePadded<Shard>; SHARDS],
}

/// The totals since the supervisor was created.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Totals {
    pub(super) ended: u64,
    pub(super) canceled: u64,
}

/// Returns the shard of the current thread.
#[inline]
pub(crate) fn shard() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static INDEX: Cell<usize> = const { Cell::new(usize::MAX) };
    }
    let index = INDEX.get();
    if index != usize::MAX {
        return index;
    }
    // Once per thread, so this shared counter is not contended.
    let index = NEXT.fetch_add(1, Ordering::Relaxed) % SHARDS;
    INDEX.set(index);
    index
}

impl Counters {
    /// Counts a launch.
    #[inline]
    pub(super) fn record_launch(&self) {
        self.shards[shard()].launched.fetch_add(1, Ordering::SeqCst);
    }

    /// Counts the end of a task.
    #[inline]
    pub(super) fn record_end(&self, tt: TaskType, ending: Ending) {
        self.shards[shard()].ends[tt as usize].record(ending);
    }

    /// Counts a task as rejected. It was counted as launched, and its end will be counted.
    #[inline]
    pub(super) fn record_rejection(&self) {
        self.shards[shard()].rejected.fetch_add(1, Ordering::Relaxed);
    }

    /// Returns the number of live tasks, never too low: `ended` is read first, so every task
    /// counted there is also counted as launched.
    #[inline]
    pub(super) fn live(&self) -> u64 {
        let ended: u64 = self
            .shards
            .iter()
            .flat_map(|shard| &shard.ends)
            .map(|ends| ends.counts().ended())
            .sum();
        let launched = |shard: &CachePadded<Shard>| shard.launched.load(Ordering::SeqCst);
        self.shards.iter().map(launched).sum::<u64>().saturating_sub(ended)
    }

    /// Returns how the tasks of a place have ended.
    pub(super) fn ends_of(&self, tt: TaskType) -> EndCounts {
        let mut counts = EndCounts::default();
        self.shards.iter().for_each(|shard| counts += shard.ends[tt as usize].counts());
        counts
    }

    /// Returns the numbers of ended tasks.
    #[inline]
    pub(super) fn totals(&self) -> Totals {
        let (mut totals, mut rejected) = (Totals::default(), 0);
        for shard in &self.shards {
            for ends in &shard.ends {
                let counts = ends.counts();
                totals.ended += counts.ended();
                totals.canceled += counts.canceled;
            }
            rejected += shard.rejected.load(Ordering::Relaxed);
        }
        // A rejected task may not have been counted as ended yet.
        totals.ended = totals.ended.saturating_sub(rejected);
        totals
    }
}

#[cfg(all(test, not(atasker_loom)))]
mod tests {
    use super::*;

    #[test]
    fn sums_are_those_of_all_threads() {
        let counters = Counters::default();
        std::thread::scope(|scope| {
            for _ in 0..20 {
                scope.spawn(|| {
                    for ending in
                        [Ending::Ok, Ending::ReturnedErr, Ending::Canceled, Ending::Failed]
                    {
                        counters.record_launch();
                        counters.record_launch();
                        counters.record_end(TaskType::Mp, ending);
                    }
                    counters.record_rejection();
                });
            }
        });
        assert_eq!(counters.live(), 80);
        let Totals { ended, canceled } = counters.totals();
        assert_eq!((ended, canceled), (60, 20));
        let ends = EndCounts { completed: 40, failed: 20, timed_out: 0, canceled: 20 };
        assert_eq!(counters.ends_of(TaskType::Mp), ends);
        assert_eq!(counters.ends_of(TaskType::Thread), EndCounts::default());
    }
}
