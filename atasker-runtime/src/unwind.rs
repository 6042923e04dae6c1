//! The only path from the library to user code: panics are caught, and no lock is held.
//!
//! A panic in user code must not affect other tasks, and the payload of a panic can itself panic
//! when it is dropped. So everything that runs or drops user values on a thread of the library, or
//! in the middle of a change that must be completed, goes through this module:
//!
//! | what | by |
//! |---|---|
//! | functions, futures, callbacks, predicates, hooks, `Deserialize`, wakers | [`catch`] |
//! | code that calls user code indirectly (the end of a task, a timer's action, a poll) | [`contained`], [`attempt`], [`guarded`] |
//! | dropping results, closures, futures, messages, items, wakers and payloads | [`discard`] |
//! | user values stored in something that other code drops | [`Guarded`] |
//! | events for tracing subscribers | [`log!`](macro@log) |
//!
//! Each of them panics in debug builds if the caller holds a lock of the library (`lock`).
//!
//! Only the panic hook learns the location of a panic: see `panic_hook`.

use std::any::Any;
use std::ops::{Deref, DerefMut};
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::error::TaskError;
use crate::panic_hook::{PanicLocation, Watch};
use crate::sync::lock::assert_none_held;

/// Emits a tracing event of the library: `log!(warn, fields.., "text")`. A panic of a subscriber is
/// contained.
macro_rules! log {
    ($level:ident, $($event:tt)+) => {
        $crate::unwind::guarded(|| tracing::$level!(target: "atasker", $($event)+))
    };
}
pub(crate) use log;

/// Runs code that may call user code. A panic is contained; the panic hook has reported it.
#[track_caller]
pub(crate) fn guarded(f: impl FnOnce()) {
    attempt(f);
}

/// Runs `f`. Returns false if it panicked.
#[track_caller]
pub(crate) fn contained(f: impl FnOnce()) -> bool {
    attempt(f).is_some()
}

/// Runs `f`. Returns `None` if it panicked.
#[inline]
#[track_caller]
pub(crate) fn attempt<T>(f: impl FnOnce() -> T) -> Option<T> {
    assert_none_held();
    match catch_unwind(AssertUnwindSafe(f)) {
        Ok(value) => Some(value),
        Err(payload) => {
            discard_payload(payload);
            None
        }
    }
}

/// Drops a user value.
#[inline]
#[track_caller]
pub(crate) fn discard<T>(value: T) {
    if std::mem::needs_drop::<T>() {
        guarded(|| drop(value));
    }
}

/// The destructor of the payload may panic. The payload of that panic is leaked, as in std.
fn discard_payload(payload: Box<dyn Any + Send>) {
    if let Err(second) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
        std::mem::forget(second);
    }
}

/// A user value that is always dropped by [`discard`].
pub(crate) struct Guarded<T>(
    /// `None` while it is being dropped.
    Option<T>,
);

impl<T> Guarded<T> {
    pub(crate) fn new(value: T) -> Self {
        Guarded(Some(value))
    }

    /// Returns the value. From then on the caller is responsible for its use and drop.
    pub(crate) fn into_inner(mut self) -> T {
        self.0.take().expect("the value is there until it is dropped")
    }
}

impl<T> Deref for Guarded<T> {
    type Target = T;
    fn deref(&self) -> &T {
        self.0.as_ref().expect("the value is there until it is dropped")
    }
}

impl<T> DerefMut for Guarded<T> {
    fn deref_mut(&mut self) -> &mut T {
        self.0.as_mut().expect("the value is there until it is dropped")
    }
}

impl<T> Drop for Guarded<T> {
    fn drop(&mut self) {
        discard(self.0.take());
    }
}

/// Runs `f` and converts a panic to an error.
#[inline]
#[track_caller]
pub(crate) fn catch<T>(f: impl FnOnce() -> T) -> Result<T, TaskError> {
    #[cold]
    fn panicked(watch: &Watch, payload: Box<dyn Any + Send>) -> TaskError {
        let PanicLocation { location, backtrace } = watch.location_of(&*payload);
        let message = message(&*payload);
        discard_payload(payload);
        TaskError::Panicked { message, location, backtrace }
    }
    assert_none_held();
    let watch = Watch::begin();
    catch_unwind(AssertUnwindSafe(f)).map_err(|payload| panicked(&watch, payload))
}

/// Returns the text of a panic's payload.
pub(crate) fn message(payload: &(dyn Any + Send)) -> String {
    if let Some(text) = payload.downcast_ref::<&str>() {
        (*text).to_string()
    } else if let Some(text) = payload.downcast_ref::<String>() {
        text.clone()
    } else {
        "a panic with a payload that is not a string".to_string()
    }
}

#[cfg(all(test, not(atasker_loom)))]
mod tests {
    use super::*;
    use std::panic::panic_any;

    /// Panics when it is dropped, nested as often as the number says.
    struct Bomb(u32);

    impl Drop for Bomb {
        fn drop(&mut self) {
            match self.0 {
                0 => panic!("a destructor"),
                more => panic_any(Bomb(more - 1)),
            }
        }
    }

    #[test]
    fn a_payload_that_panics_is_the_end_of_it() {
        for more in 0..3 {
            assert!(catch(|| panic_any(Bomb(more))).unwrap_err().is_panic());
            assert!(!contained(|| panic_any(Bomb(more))));
            guarded(|| panic_any(Bomb(more)));
            discard(Bomb(more));
            drop(Guarded::new(Bomb(more)));
        }
    }

    #[test]
    fn a_panic_while_another_unwinds_is_contained() {
        struct Discards;
        impl Drop for Discards {
            fn drop(&mut self) {
                assert!(std::thread::panicking());
                discard(Bomb(1));
                assert!(catch(|| panic!("inner")).is_err());
            }
        }
        assert!(
            attempt(|| {
                let _discards = Discards;
                panic!("outer")
            })
            .is_none()
        );
    }
}
