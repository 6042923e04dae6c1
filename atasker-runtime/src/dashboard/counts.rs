//! What a dashboard counts about the tasks of one supervisor. The counters are sharded, because all
//! threads that launch and end tasks increment them, and only grow: a second is the difference of
//! two readings.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use crossbeam_utils::CachePadded;

use crate::info::TaskType;
use crate::observe::outcome::WORDS;
use crate::supervisor::{SHARDS, shard};

/// The number of places: the variants of [`TaskType`].
pub(super) const PLACES: usize = 4;

/// Durations are counted in buckets that are a quarter of an octave wide, from 1 us to 13 days.
const FIRST_OCTAVE: u32 = 10;
const STEPS: usize = 4;
pub(super) const BUCKETS: usize = 40 * STEPS;

/// Returns the bucket of a duration.
#[inline]
fn bucket(duration: Duration) -> usize {
    let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX).max(1 << FIRST_OCTAVE);
    let octave = nanos.ilog2();
    // The two bits below the highest one.
    let step = (nanos >> (octave - 2)) as usize & (STEPS - 1);
    ((octave - FIRST_OCTAVE) as usize * STEPS + step).min(BUCKETS - 1)
}

/// Returns the middle of a bucket, in seconds.
fn middle(bucket: usize) -> f32 {
    let octave = 2f64.powi((bucket / STEPS) as i32 + FIRST_OCTAVE as i32);
    (octave * (1.0 + ((bucket % STEPS) as f64 + 0.5) / STEPS as f64) / 1e9) as f32
}

struct PlaceCounts {
    launched: AtomicU32,
    ended: [AtomicU32; WORDS.len()],
    queue: [AtomicU32; BUCKETS],
    run: [AtomicU32; BUCKETS],
}

impl PlaceCounts {
    fn new() -> Self {
        PlaceCounts {
            launched: AtomicU32::new(0),
            ended: [const { AtomicU32::new(0) }; WORDS.len()],
            queue: [const { AtomicU32::new(0) }; BUCKETS],
            run: [const { AtomicU32::new(0) }; BUCKETS],
        }
    }
}

/// See the module documentation.
pub(super) struct Counts {
    shards: Box<[CachePadded<[PlaceCounts; PLACES]>]>,
}

impl Counts {
    pub(super) fn new() -> Self {
        let place = |_| PlaceCounts::new();
        let shard = |_| CachePadded::new(std::array::from_fn(place));
        Counts { shards: (0..SHARDS).map(shard).collect() }
    }

    #[inline]
    fn of(&self, tt: TaskType) -> &PlaceCounts {
        &self.shards[shard()][tt as usize]
    }

    #[inline]
    pub(super) fn launched(&self, tt: TaskType) {
        increment(&self.of(tt).launched);
    }

    #[inline]
    pub(super) fn queued_for(&self, tt: TaskType, duration: Duration) {
        increment(&self.of(tt).queue[bucket(duration)]);
    }

    #[inline]
    pub(super) fn ran_for(&self, tt: TaskType, duration: Duration) {
        increment(&self.of(tt).run[bucket(duration)]);
    }

    #[inline]
    pub(super) fn ended(&self, tt: TaskType, outcome: usize) {
        increment(&self.of(tt).ended[outcome]);
    }

    /// Returns the sums of all threads.
    pub(super) fn read(&self) -> Totals {
        let mut totals = Totals::zero();
        for shard in &self.shards {
            for (place, total) in shard.iter().zip(&mut *totals.places) {
                total.launched = total.launched.wrapping_add(load(&place.launched));
                add(&mut total.ended, &place.ended);
                add(&mut total.queue, &place.queue);
                add(&mut total.run, &place.run);
            }
        }
        totals
    }
}

/// SeqCst, as the reading: see `Recorder::touch`.
#[inline]
fn increment(counter: &AtomicU32) {
    counter.fetch_add(1, Ordering::SeqCst);
}

fn load(counter: &AtomicU32) -> u32 {
    counter.load(Ordering::SeqCst)
}

fn add<const N: usize>(total: &mut [u32; N], counters: &[AtomicU32; N]) {
    for (total, counter) in total.iter_mut().zip(counters) {
        *total = total.wrapping_add(load(counter));
    }
}

/// A reading of [`Counts`], or the difference of two. The numbers wrap around.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Totals {
    pub(super) places: Box<[PlaceTotals; PLACES]>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct PlaceTotals {
    pub(super) launched: u32,
    pub(super) ended: [u32; WORDS.len()],
    queue: [u32; BUCKETS],
    run: [u32; BUCKETS],
}

/// Percentiles in seconds. `None` where nothing was measured.
#[derive(Clone, Copy, Default, PartialEq, Debug)]
pub(super) struct Percentiles(pub(super) [Option<f32>; 3]);

impl Totals {
    pub(super) fn zero() -> Self {
        let place = || PlaceTotals {
            launched: 0,
            ended: [0; WORDS.len()],
            queue: [0; BUCKETS],
            run: [0; BUCKETS],
        };
        Totals { places: Box::new(std::array::from_fn(|_| place())) }
    }

    /// Returns what was counted since an earlier reading.
    pub(super) fn since(&self, before: &Totals) -> Totals {
        let mut difference = self.clone();
        for (place, before) in difference.places.iter_mut().zip(&*before.places) {
            place.launched = place.launched.wrapping_sub(before.launched);
            subtract(&mut place.ended, &before.ended);
            subtract(&mut place.queue, &before.queue);
            subtract(&mut place.run, &before.run);
        }
        difference
    }
}

impl PlaceTotals {
    pub(super) fn queue(&self) -> Percentiles {
        percentiles(&self.queue)
    }

    pub(super) fn run(&self) -> Percentiles {
        percentiles(&self.run)
    }
}

fn subtract<const N: usize>(total: &mut [u32; N], before: &[u32; N]) {
    for (total, before) in total.iter_mut().zip(before) {
        *total = total.wrapping_sub(*before);
    }
}

/// Returns p50, p95 and p99.
fn percentiles(buckets: &[u32; BUCKETS]) -> Percentiles {
    let count: u64 = buckets.iter().map(|n| u64::from(*n)).sum();
    if count == 0 {
        return Percentiles::default();
    }
    Percentiles([50, 95, 99].map(|percent| {
        // The rank of the value, counted from 1.
        let rank = (count * percent).div_ceil(100);
        let mut below = 0;
        let found = buckets.iter().position(|n| {
            below += u64::from(*n);
            below >= rank
        });
        found.map(middle)
    }))
}

#[cfg(all(test, not(atasker_loom)))]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_within_an_eighth() {
        let counts = Counts::new();
        for millis in 1..=1000 {
            counts.ran_for(TaskType::Thread, Duration::from_millis(millis));
        }
        let run = counts.read().places[TaskType::Thread as usize].run();
        for (found, exact) in run.0.iter().zip([0.5, 0.95, 0.99]) {
            let found = found.unwrap();
            assert!((found / exact - 1.0).abs() <= 0.125, "{found} for {exact}");
        }
        assert_eq!(counts.read().places[TaskType::Thread as usize].queue(), Percentiles([None; 3]));
    }

    #[test]
    fn extreme_durations_have_a_bucket() {
        assert_eq!(bucket(Duration::ZERO), 0);
        assert_eq!(bucket(Duration::MAX), BUCKETS - 1);
        for nanos in (0..63).map(|bits| 1u64 << bits) {
            let (below, above) = (
                bucket(Duration::from_nanos(nanos)),
                bucket(Duration::from_nanos(nanos + nanos / 2)),
            );
            assert!(below <= above && above < BUCKETS);
            assert!(middle(below) > 0.0);
        }
    }

    #[test]
    fn differences_survive_an_overflow() {
        let counts = Counts::new();
        counts.shards[0][0].launched.store(u32::MAX, Ordering::Relaxed);
        let before = counts.read();
        counts.shards[0][0].launched.store(2, Ordering::Relaxed);
        assert_eq!(counts.read().since(&before).places[0].launched, 3);
    }
}
