//! Values at indices that are reused.

/// Values, each at an index that is its own until it is removed. All operations are O(1), apart from
/// growth.
///
/// An index is reused, so a holder of an outdated one has to compare something in the value.
pub(crate) struct Slab<T> {
    places: Vec<Place<T>>,
    /// The first vacant place, if there is one.
    vacant: Option<u32>,
    len: u32,
}

enum Place<T> {
    Occupied(T),
    /// The next vacant place.
    Vacant(Option<u32>),
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Slab::EMPTY
    }
}

impl<T> Slab<T> {
    /// A slab without memory.
    pub(crate) const EMPTY: Slab<T> = Slab { places: Vec::new(), vacant: None, len: 0 };

    /// Adds a value, and returns its index.
    pub(crate) fn insert(&mut self, value: T) -> u32 {
        self.len += 1;
        let Some(index) = self.vacant else {
            let index = u32::try_from(self.places.len()).expect("memory is exhausted earlier");
            self.places.push(Place::Occupied(value));
            return index;
        };
        let place = std::mem::replace(&mut self.places[index as usize], Place::Occupied(value));
        if let Place::Vacant(next) = place {
            self.vacant = next;
        }
        index
    }

    pub(crate) fn get(&self, index: u32) -> Option<&T> {
        match self.places.get(index as usize)? {
            Place::Occupied(value) => Some(value),
            Place::Vacant(_) => None,
        }
    }

    /// Removes a value. The last one takes the memory with it.
    pub(crate) fn remove(&mut self, index: u32) -> Option<T> {
        let place = self.places.get_mut(index as usize)?;
        if let Place::Vacant(_) = place {
            return None;
        }
        let Place::Occupied(value) = std::mem::replace(place, Place::Vacant(self.vacant)) else {
            return None;
        };
        self.vacant = Some(index);
        self.len -= 1;
        // A few places are kept, so that a single value that comes and goes allocates nothing.
        const KEPT: usize = 64;
        if self.len == 0 && self.places.capacity() > KEPT {
            *self = Slab::EMPTY;
        }
        Some(value)
    }

    /// Returns all values, in no particular order.
    pub(crate) fn values(&self) -> impl Iterator<Item = &T> {
        self.places.iter().filter_map(|place| match place {
            Place::Occupied(value) => Some(value),
            Place::Vacant(_) => None,
        })
    }
}

#[cfg(all(test, not(atasker_loom)))]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    proptest! {
        /// A slab is a map from the indices that it has given away and not got back.
        #[test]
        fn slab_agrees_with_map(steps in prop::collection::vec((any::<bool>(), 0u32..200), 1..600)) {
            let mut slab = Slab::EMPTY;
            let mut map = BTreeMap::new();
            for (value, (insert, index)) in steps.into_iter().enumerate() {
                if insert {
                    prop_assert!(map.insert(slab.insert(value), value).is_none());
                } else {
                    prop_assert_eq!(slab.remove(index), map.remove(&index));
                }
                prop_assert_eq!(slab.get(index), map.get(&index));
                prop_assert_eq!(slab.len as usize, map.len());
                prop_assert!(slab.values().eq(map.values()));
            }
            map.keys().for_each(|index| _ = slab.remove(*index));
            prop_assert!(slab.places.capacity() <= 64);
        }
    }
}
