//! Values that are computed at their first use, without waiting.
//!
//! A `OnceLock` makes other threads wait while one of them computes the value. A copy of the
//! process that is made meanwhile by `fork` would wait forever. Here several threads may compute
//! the value, and the first one that has it decides. [`OnceBox`] is also half as large as a
//! `OnceLock` of a box.

use std::marker::PhantomData;
use std::ptr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicPtr, Ordering};

/// A value on the heap, which its owner drops.
pub(crate) struct OnceBox<T> {
    /// Null, or from `Box::into_raw`. Changes from null once, until the owner has exclusive access.
    value: AtomicPtr<T>,
    /// Shared between threads under the same conditions.
    _like: PhantomData<OnceLock<Box<T>>>,
}

impl<T> OnceBox<T> {
    pub(crate) const fn new() -> Self {
        OnceBox { value: AtomicPtr::new(ptr::null_mut()), _like: PhantomData }
    }

    /// Returns the value if there is one.
    #[inline]
    pub(crate) fn get(&self) -> Option<&T> {
        // SAFETY: the pointer is null or that of a box which is dropped with `self`. Acquire: its
        // contents were written before it was stored.
        unsafe { self.value.load(Ordering::Acquire).as_ref() }
    }

    #[inline]
    pub(crate) fn get_mut(&mut self) -> Option<&mut T> {
        // SAFETY: as above; `self` is borrowed mutably, so this is the only reference.
        unsafe { self.value.get_mut().as_mut() }
    }

    /// Returns the value, creating it if necessary.
    #[inline]
    pub(crate) fn get_or_init(&self, compute: impl FnOnce() -> T) -> &T {
        match self.get() {
            Some(value) => value,
            None => self.init(compute()),
        }
    }

    #[cold]
    fn init(&self, value: T) -> &T {
        let ours = Box::into_raw(Box::new(value));
        let null = ptr::null_mut();
        match self.value.compare_exchange(null, ours, Ordering::AcqRel, Ordering::Acquire) {
            // SAFETY: the box belongs to `self` from here on.
            Ok(_) => unsafe { &*ours },
            Err(first) => {
                // SAFETY: the pointer came from the box above, and no other thread has seen it.
                drop(unsafe { Box::from_raw(ours) });
                // SAFETY: as in `get`; it is not null, because the exchange has failed.
                unsafe { &*first }
            }
        }
    }
}

impl<T> Drop for OnceBox<T> {
    #[inline]
    fn drop(&mut self) {
        /// # Safety
        ///
        /// The pointer came from a box, which belongs to the caller.
        #[inline(never)]
        unsafe fn free<T>(value: *mut T) {
            // SAFETY: the caller guarantees it.
            drop(unsafe { Box::from_raw(value) });
        }
        let value = *self.value.get_mut();
        if !value.is_null() {
            // SAFETY: the pointer came from a box, which belongs to `self`. Not inline, because few
            // values are ever computed.
            unsafe { free(value) };
        }
    }
}

/// A value for the life of the process. For statics: it is never dropped.
pub(crate) struct Once<T>(OnceBox<T>);

impl<T: Send + Sync + 'static> Once<T> {
    pub(crate) const fn new() -> Self {
        Once(OnceBox::new())
    }

    /// Returns the value.
    #[inline]
    pub(crate) fn get_or_init(&'static self, compute: impl FnOnce() -> T) -> &'static T {
        self.0.get_or_init(compute)
    }
}

#[cfg(all(test, not(atasker_loom)))]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn first_value_is_kept() {
        static ONCE: Once<u32> = Once::new();
        assert_eq!(*ONCE.get_or_init(|| ONCE.get_or_init(|| 1) + 1), 1);
        assert_eq!(*ONCE.get_or_init(|| 3), 1);
    }

    #[test]
    fn boxes_are_dropped_once() {
        let value = Arc::new(());
        let once = OnceBox::new();
        assert!(once.get().is_none());
        let first = once.get_or_init(|| {
            // Computed meanwhile, by this thread instead of another one.
            once.get_or_init(|| (1, Arc::clone(&value)));
            (2, Arc::clone(&value))
        });
        assert_eq!((first.0, Arc::strong_count(&value)), (1, 2));
        drop(once);
        assert_eq!(Arc::strong_count(&value), 1);
    }
}
