//! The division of the items of a map among threads. No tasks, no clock.
//!
//! Each thread takes the items of its own part, from the front, one by one. A thread whose part is
//! empty takes the later half of the largest part. So whatever a thread has not begun can be taken
//! over, even while it is busy with a single long item.

use std::mem::{MaybeUninit, take};

use crossbeam_utils::CachePadded;

use crate::sync::lock::Mutex;

/// See the module documentation.
pub(super) struct Parts<'a, T, U> {
    parts: Box<[Locked<'a, T, U>]>,
    /// Locked while a thread moves items from one part to another, so that no thread overlooks
    /// items that are being moved.
    moving: Mutex<()>,
}

type Locked<'a, T, U> = CachePadded<Mutex<Part<'a, T, U>>>;

/// Items that no thread has begun, and where their results belong.
struct Part<'a, T, U> {
    items: &'a mut [Option<T>],
    slots: &'a mut [MaybeUninit<U>],
}

/// Where the result of an item belongs. There is one for each result.
pub(super) struct Slot<'a, U>(&'a mut MaybeUninit<U>);

impl<U> Slot<'_, U> {
    pub(super) fn fill(self, result: U) {
        self.0.write(result);
    }
}

impl<T, U> Part<'_, T, U> {
    fn empty() -> Self {
        Part { items: &mut [], slots: &mut [] }
    }
}

impl<'a, T, U> Parts<'a, T, U> {
    /// Divides `items` into `count` parts, all but the first of which are empty. The items are all
    /// there, and the slots are as many.
    pub(super) fn new(
        items: &'a mut [Option<T>],
        slots: &'a mut [MaybeUninit<U>],
        count: usize,
    ) -> Self {
        debug_assert_eq!(items.len(), slots.len());
        let all = Part { items, slots };
        let others = (1..count).map(|_| Part::empty());
        let parts = std::iter::once(all).chain(others);
        Parts {
            parts: parts.map(|part| CachePadded::new(Mutex::new(part))).collect(),
            moving: Mutex::new(()),
        }
    }

    /// Takes the next item of a part.
    #[inline]
    pub(super) fn next(&self, part: usize) -> Option<(T, Slot<'a, U>)> {
        let mut part = self.parts[part].lock();
        let (item, items) = take(&mut part.items).split_first_mut()?;
        let (slot, slots) = take(&mut part.slots).split_first_mut()?;
        (part.items, part.slots) = (items, slots);
        Some((item.take()?, Slot(slot)))
    }

    /// Returns the number of items in a part.
    pub(super) fn len(&self, part: usize) -> usize {
        self.parts[part].lock().items.len()
    }

    /// Moves the later half of the largest part to `to`, which is empty. Returns false if all parts
    /// are empty, and therefore will be.
    pub(super) fn steal(&self, to: usize) -> bool {
        let _moving = self.moving.lock();
        loop {
            let largest = (0..self.parts.len()).map(|part| (self.len(part), part)).max();
            let Some((1.., from)) = largest else { return false };
            let stolen = {
                let mut part = self.parts[from].lock();
                let keep = part.items.len() / 2;
                let (items, stolen_items) = take(&mut part.items).split_at_mut(keep);
                let (slots, stolen_slots) = take(&mut part.slots).split_at_mut(keep);
                (part.items, part.slots) = (items, slots);
                Part { items: stolen_items, slots: stolen_slots }
            };
            // Otherwise its thread has taken the last items meanwhile.
            if !stolen.items.is_empty() {
                *self.parts[to].lock() = stolen;
                return true;
            }
        }
    }

    /// Returns what no thread has begun.
    pub(super) fn into_rest(self) -> impl Iterator<Item = (T, Slot<'a, U>)> {
        self.parts.into_iter().flat_map(|part| {
            let Part { items, slots } = part.into_inner().into_inner();
            let items = items.iter_mut().filter_map(Option::take);
            items.zip(slots.iter_mut().map(Slot))
        })
    }
}

#[cfg(all(test, not(atasker_loom)))]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Items `0..count`, the results of which are ten times as large.
    fn divided(
        count: usize,
        parts: usize,
        run: impl FnOnce(Parts<'_, usize, usize>),
    ) -> Vec<usize> {
        let mut items: Vec<_> = (0..count).map(Some).collect();
        let mut results = Vec::with_capacity(count);
        let slots = &mut results.spare_capacity_mut()[..count];
        slots.iter_mut().for_each(|slot| *slot = MaybeUninit::new(usize::MAX));
        run(Parts::new(&mut items, slots, parts));
        // SAFETY: all slots were written above.
        unsafe { results.set_len(count) };
        results
    }

    #[test]
    fn later_half_of_the_largest_part_is_stolen() {
        divided(5, 3, |parts| {
            assert!(parts.steal(1));
            assert_eq!([0, 1, 2].map(|part| parts.len(part)), [2, 3, 0]);
            assert!(parts.steal(2));
            assert_eq!([0, 1, 2].map(|part| parts.len(part)), [2, 1, 2]);
            assert_eq!(parts.next(2).unwrap().0, 3);
            assert_eq!(parts.next(0).unwrap().0, 0);
        });
    }

    #[test]
    fn last_item_is_stolen() {
        divided(1, 2, |parts| {
            assert!(parts.steal(1));
            assert!(parts.next(0).is_none());
            assert_eq!(parts.next(1).unwrap().0, 0);
            assert!(!parts.steal(0));
        });
    }

    proptest! {
        /// Each item is taken once, with its own slot, in whichever order parts are used.
        #[test]
        fn every_item_is_taken_once(
            count in 0..40_usize,
            parts in 1..6_usize,
            steps in prop::collection::vec((any::<bool>(), 0..6_usize), 0..120),
        ) {
            let mut taken = vec![];
            let results = divided(count, parts, |divided| {
                for (steals, part) in steps {
                    let part = part % parts;
                    if steals && divided.len(part) == 0 {
                        let before = count - taken.len();
                        assert_eq!(divided.steal(part), before > 0);
                    } else if let Some((item, slot)) = divided.next(part) {
                        taken.push(item);
                        slot.fill(10 * item);
                    }
                }
                let left = (0..parts).map(|part| divided.len(part)).sum::<usize>();
                assert_eq!(left, count - taken.len());
                for (item, slot) in divided.into_rest() {
                    taken.push(item);
                    slot.fill(10 * item);
                }
            });
            taken.sort();
            prop_assert_eq!(taken, Vec::from_iter(0..count));
            prop_assert_eq!(results, Vec::from_iter((0..count).map(|item| 10 * item)));
        }
    }
}
