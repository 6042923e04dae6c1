//! An allocator for ranges of shared memory that are freed in order. Pure: values in, values out.

use std::collections::VecDeque;
use std::ops::Range;

/// The alignment of ranges, so that no two share a cache line.
const ALIGN: usize = 64;

/// Allocates ranges within `size` bytes for calls, one after the other. The default has no space.
#[derive(Debug, Default)]
pub(crate) struct Ring {
    size: usize,
    /// Allocation wraps around after this offset as soon as there is space at the front, so that
    /// the same few pages, which are in the caches, are reused.
    wrap_at: usize,
    allocated: VecDeque<(u64, Range<usize>)>,
    /// The end of the memory that was used.
    high_water: usize,
}

impl Ring {
    pub(crate) const fn new(size: usize, wrap_at: usize) -> Self {
        Ring { size, wrap_at, allocated: VecDeque::new(), high_water: 0 }
    }

    /// Allocates `len` bytes for a call, and returns their offset.
    pub(crate) fn alloc(&mut self, call: u64, len: usize) -> Option<usize> {
        let len = len.max(1).checked_next_multiple_of(ALIGN)?;
        let at = match (self.allocated.front(), self.allocated.back()) {
            (Some((_, first)), Some((_, last))) => {
                let (begin, end) = (first.start, last.end);
                // Once the last range is before the first one, the free space is between them.
                let limit = if last.start < begin { begin } else { self.size };
                let before = limit == self.size && len <= begin;
                let behind = len <= limit - end;
                match () {
                    () if before && (end >= self.wrap_at || !behind) => 0,
                    () if behind => end,
                    () => return None,
                }
            }
            _ if len <= self.size => 0,
            _ => return None,
        };
        self.high_water = self.high_water.max(at + len);
        self.allocated.push_back((call, at..at + len));
        Some(at)
    }

    /// Frees the range that was allocated last.
    pub(crate) fn undo(&mut self) {
        self.allocated.pop_back();
    }

    /// Frees the ranges of this call and of all calls before it.
    pub(crate) fn free(&mut self, call: u64) {
        while self.allocated.front().is_some_and(|(of, _)| *of <= call) {
            self.allocated.pop_front();
        }
    }

    /// Frees the `count` oldest ranges.
    pub(crate) fn free_oldest(&mut self, count: u64) {
        let count = usize::try_from(count).unwrap_or(usize::MAX).min(self.allocated.len());
        self.allocated.drain(..count);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.allocated.is_empty()
    }

    /// Returns the end of the memory that was used since the last call. Call this when all ranges
    /// are free.
    pub(crate) fn take_high_water(&mut self) -> usize {
        std::mem::take(&mut self.high_water)
    }

    /// Returns the end of the memory that was used.
    pub(crate) fn high_water(&self) -> usize {
        self.high_water
    }
}

#[cfg(test)]
mod unit {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn space_is_reused() {
        let mut ring = Ring::new(1 << 20, 1 << 12);
        for call in 0..1000 {
            let at = ring.alloc(call, 1000).unwrap();
            assert!(at < (1 << 12) + 3000, "{at}");
            ring.free(call.saturating_sub(2));
        }
        assert!(ring.high_water() < (1 << 12) + 4000);
        ring.free(1000);
        assert_eq!(ring.alloc(1001, 1 << 20), Some(0));
        assert_eq!(ring.alloc(1002, 1), None);
        assert_eq!(ring.alloc(1003, usize::MAX), None);
    }

    proptest! {
        #[test]
        fn ranges_are_within_bounds_and_disjoint(
            mirror in prop::collection::vec((any::<bool>(), 0usize..600), 1..200),
            wrap_at in 0usize..1024,
        ) {
            let mut ring = Ring::new(1024, wrap_at);
            let mut held: VecDeque<(u64, Range<usize>)> = VecDeque::new();
            for (call, (take, len)) in (0..).zip(mirror) {
                if !take {
                    if let Some((first, _)) = held.pop_front() {
                        ring.free(first);
                    }
                    continue;
                }
                let Some(at) = ring.alloc(call, len) else {
                    prop_assert!(!held.is_empty(), "an empty one has room for {}", len);
                    continue;
                };
                let place = at..at + len;
                prop_assert!(place.end <= 1024);
                for (_, other) in &held {
                    let apart = place.end <= other.start || other.end <= place.start;
                    prop_assert!(apart || len == 0 || other.is_empty(), "{:?} {:?}", place, other);
                }
                held.push_back((call, place));
            }
        }
    }
}
