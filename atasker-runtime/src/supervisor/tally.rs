//! How many tasks a supervisor has, counted by all threads that launch and end them without a word
//! that they share.
//!
//! A launch is counted before it looks at the phase of life, an end before it does; a stop turns the
//! phase and counts afterwards. All of that is sequentially consistent, so that one of the two
//! always sees the other (Dekker's rule).

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use crossbeam_utils::CachePadded;

const SHARDS: usize = 8;

/// The counts of the threads that share it.
#[derive(Default)]
struct Shard {
    booked: AtomicU64,
    /// Those of them that live no longer.
    left: AtomicU64,
    /// Of those: no longer wanted before they began.
    canceled: AtomicU64,
    /// Of those: the supervisor took no tasks.
    refused: AtomicU64,
}

/// See the module's documentation.
#[derive(Default)]
pub(super) struct Tally {
    shards: [CachePadded<Shard>; SHARDS],
}

/// How a task has come to its end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Left {
    Ended,
    Canceled,
}

/// What has become of tasks since the beginning.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Ends {
    pub(super) ended: u64,
    pub(super) canceled: u64,
}

fn shard() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static MINE: Cell<usize> = const { Cell::new(usize::MAX) };
    }
    let mine = MINE.get();
    if mine != usize::MAX {
        return mine;
    }
    let mine = NEXT.fetch_add(1, Ordering::Relaxed) % SHARDS;
    MINE.set(mine);
    mine
}

impl Tally {
    /// A task is launched.
    #[inline]
    pub(super) fn book(&self) {
        self.shards[shard()].booked.fetch_add(1, Ordering::SeqCst);
    }

    /// A task has ended.
    #[inline]
    pub(super) fn leave(&self, how: Left) {
        let shard = &self.shards[shard()];
        // Before the sum that a stop waits for.
        if how == Left::Canceled {
            shard.canceled.fetch_add(1, Ordering::Relaxed);
        }
        shard.left.fetch_add(1, Ordering::SeqCst);
    }

    /// A task that is counted in, and about to be counted out, was not taken.
    #[inline]
    pub(super) fn refuse(&self) {
        self.shards[shard()].refused.fetch_add(1, Ordering::Relaxed);
    }

    /// Tasks that live. Never too few: of one that is counted as left, the launch is counted, too.
    #[inline]
    pub(super) fn live(&self) -> u64 {
        let sum = |of: fn(&Shard) -> &AtomicU64| {
            self.shards.iter().map(|shard| of(shard).load(Ordering::SeqCst)).sum::<u64>()
        };
        let left = sum(|shard| &shard.left);
        sum(|shard| &shard.booked).saturating_sub(left)
    }

    /// Tasks that have ended.
    #[inline]
    pub(super) fn ends(&self) -> Ends {
        let (mut ends, mut refused) = (Ends::default(), 0);
        for shard in &self.shards {
            ends.ended += shard.left.load(Ordering::SeqCst);
            refused += shard.refused.load(Ordering::Relaxed);
            ends.canceled += shard.canceled.load(Ordering::Relaxed);
        }
        // One may be refused and not have left yet.
        ends.ended = ends.ended.saturating_sub(refused);
        ends
    }
}

#[cfg(all(test, not(atasker_loom)))]
mod tests {
    use super::*;

    #[test]
    fn sums_are_those_of_all_threads() {
        let tally = Tally::default();
        std::thread::scope(|scope| {
            for _ in 0..20 {
                scope.spawn(|| {
                    for how in [Left::Ended, Left::Ended, Left::Canceled, Left::Ended] {
                        tally.book();
                        tally.book();
                        tally.leave(how);
                    }
                    tally.refuse();
                });
            }
        });
        assert_eq!(tally.live(), 80);
        let Ends { ended, canceled } = tally.ends();
        assert_eq!((ended, canceled), (60, 20));
    }
}
