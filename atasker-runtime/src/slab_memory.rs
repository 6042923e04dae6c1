//! Slabs that give their memory back.

use slab::Slab;

/// Removes a value, if there is one. The last one takes the memory of the slab with it, so that a
/// burst of values does not keep it.
pub(crate) fn remove<T>(slab: &mut Slab<T>, index: usize) -> Option<T> {
    /// Places that are kept, so that a single value that comes and goes allocates nothing.
    const KEPT: usize = 64;
    let value = slab.try_remove(index)?;
    if slab.is_empty() && slab.capacity() > KEPT {
        *slab = Slab::new();
    }
    Some(value)
}

#[cfg(all(test, not(atasker_loom)))]
mod tests {
    use super::*;

    #[test]
    fn memory_goes_with_the_last_value() {
        let mut slab = Slab::new();
        let indices: Vec<_> = (0..1_000).map(|value| slab.insert(value)).collect();
        for (value, index) in (0..).zip(indices) {
            assert!(slab.capacity() >= 1_000);
            assert_eq!(remove(&mut slab, index), Some(value));
            assert_eq!(remove(&mut slab, index), None);
        }
        assert_eq!(slab.capacity(), 0);
        let index = slab.insert(1);
        let capacity = slab.capacity();
        assert_eq!((remove(&mut slab, index), slab.capacity()), (Some(1), capacity));
    }
}
