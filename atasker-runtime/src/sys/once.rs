//! Values that are computed at their first use, without waiting.
//!
//! A `OnceLock` makes other threads wait while one of them computes the value. A copy of the
//! process that is made meanwhile by `fork` would wait forever. Here several threads may compute
//! the value, and the first one that has it decides.

use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};

/// A value for the life of the process. For statics: it is never dropped.
pub(crate) struct Once<T>(AtomicPtr<T>);

impl<T: Send + Sync + 'static> Once<T> {
    pub(crate) const fn new() -> Self {
        Once(AtomicPtr::new(ptr::null_mut()))
    }

    /// Returns the value.
    #[inline]
    pub(crate) fn get_or_init(&self, compute: impl FnOnce() -> T) -> &'static T {
        let value = self.0.load(Ordering::Acquire);
        // SAFETY: the pointer is null, or came from the leaked box of `init`, which never changes.
        match unsafe { value.as_ref() } {
            Some(value) => value,
            None => self.init(compute()),
        }
    }

    #[cold]
    fn init(&self, value: T) -> &'static T {
        let ours = Box::into_raw(Box::new(value));
        let set =
            self.0.compare_exchange(ptr::null_mut(), ours, Ordering::AcqRel, Ordering::Acquire);
        match set {
            // SAFETY: the box is leaked, and from here on only shared.
            Ok(_) => unsafe { &*ours },
            Err(first) => {
                // SAFETY: the pointer came from the box above, and no other thread has seen it.
                drop(unsafe { Box::from_raw(ours) });
                // SAFETY: as in `get_or_init`; it is not null, because the exchange has failed.
                unsafe { &*first }
            }
        }
    }
}

#[cfg(all(test, not(atasker_loom)))]
mod tests {
    use super::*;

    #[test]
    fn first_value_is_kept() {
        static ONCE: Once<u32> = Once::new();
        assert_eq!(*ONCE.get_or_init(|| ONCE.get_or_init(|| 1) + 1), 1);
        assert_eq!(*ONCE.get_or_init(|| 3), 1);
    }
}
