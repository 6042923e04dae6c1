//! Which bytes of a shared memory are taken: ranges, given out and freed in order. Values in, values
//! out.

use std::collections::VecDeque;
use std::ops::Range;

/// Ranges begin at multiples of this: two never share a cache line.
const ALIGN: usize = 64;

/// Gives out ranges of `room` bytes for calls, one after the other. By default there are none.
#[derive(Debug, Default)]
pub(super) struct Ring {
    room: usize,
    /// Past this it begins anew as soon as there is room, so that the same few pages, which are in
    /// the caches, serve again and again.
    usual: usize,
    taken: VecDeque<(u64, Range<usize>)>,
    /// Up to here it has been used.
    used: usize,
}

impl Ring {
    pub(super) const fn new(room: usize, usual: usize) -> Self {
        Ring { room, usual, taken: VecDeque::new(), used: 0 }
    }

    /// A place for so many bytes of a call.
    pub(super) fn take(&mut self, call: u64, len: usize) -> Option<usize> {
        let len = len.max(1).checked_next_multiple_of(ALIGN)?;
        let at = match (self.taken.front(), self.taken.back()) {
            (Some((_, first)), Some((_, last))) => {
                let (begin, end) = (first.start, last.end);
                // The free part is in the middle once the last one stands before the first one.
                let limit = if last.start < begin { begin } else { self.room };
                let before = limit == self.room && len <= begin;
                let behind = len <= limit - end;
                match () {
                    () if before && (end >= self.usual || !behind) => 0,
                    () if behind => end,
                    () => return None,
                }
            }
            _ if len <= self.room => 0,
            _ => return None,
        };
        self.used = self.used.max(at + len);
        self.taken.push_back((call, at..at + len));
        Some(at)
    }

    /// The last place is free again.
    pub(super) fn untake(&mut self) {
        self.taken.pop_back();
    }

    /// The places of this call and of those before it are free.
    pub(super) fn free(&mut self, call: u64) {
        while self.taken.front().is_some_and(|(of, _)| *of <= call) {
            self.taken.pop_front();
        }
    }

    /// So many of the first places are free.
    pub(super) fn free_first(&mut self, count: u64) {
        let count = usize::try_from(count).unwrap_or(usize::MAX).min(self.taken.len());
        self.taken.drain(..count);
    }

    pub(super) fn is_free(&self) -> bool {
        self.taken.is_empty()
    }

    /// Up to where the memory was used since this was last asked; to be asked when all is free.
    pub(super) fn take_used(&mut self) -> usize {
        std::mem::take(&mut self.used)
    }

    /// Up to where it was used.
    pub(super) fn used(&self) -> usize {
        self.used
    }
}

#[cfg(test)]
mod unit {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_same_bytes_serve_again() {
        let mut ring = Ring::new(1 << 20, 1 << 12);
        for call in 0..1000 {
            let at = ring.take(call, 1000).unwrap();
            assert!(at < (1 << 12) + 3000, "{at}");
            ring.free(call.saturating_sub(2));
        }
        assert!(ring.used() < (1 << 12) + 4000);
        ring.free(1000);
        assert_eq!(ring.take(1001, 1 << 20), Some(0));
        assert_eq!(ring.take(1002, 1), None);
        assert_eq!(ring.take(1003, usize::MAX), None);
    }

    proptest! {
        #[test]
        fn places_are_within_and_apart(
            steps in prop::collection::vec((any::<bool>(), 0usize..600), 1..200),
            usual in 0usize..1024,
        ) {
            let mut ring = Ring::new(1024, usual);
            let mut held: VecDeque<(u64, Range<usize>)> = VecDeque::new();
            for (call, (take, len)) in (0..).zip(steps) {
                if !take {
                    if let Some((first, _)) = held.pop_front() {
                        ring.free(first);
                    }
                    continue;
                }
                let Some(at) = ring.take(call, len) else {
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
