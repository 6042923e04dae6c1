//! The locks and atomics of the lock-free code: the real ones, or those of loom for a model (`--cfg
//! atasker_loom`). Only this module makes that choice.

pub(crate) mod lock;
pub(crate) mod spin;

#[cfg(not(atasker_loom))]
pub(crate) use real::*;

#[cfg(not(atasker_loom))]
mod real {
    pub(crate) use crate::sync::lock::{Condvar, Mutex, MutexGuard};
    #[cfg(feature = "async")]
    pub(crate) use crossbeam_queue::SegQueue as Fifo;
    pub(crate) use std::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, Ordering, fence};

    /// Backs off for a moment. `attempts` is the number of unsuccessful checks.
    pub(crate) fn back_off(attempts: u32) {
        if attempts.is_multiple_of(64) {
            std::thread::yield_now();
        } else {
            std::hint::spin_loop();
        }
    }

    /// Waits until notified, then returns true; or until the deadline, then returns false.
    pub(crate) fn wait_until<T>(
        condvar: &Condvar,
        guard: &mut MutexGuard<'_, T>,
        deadline: Option<std::time::Instant>,
    ) -> bool {
        match deadline {
            None => {
                condvar.wait(guard);
                true
            }
            Some(deadline) => !condvar.wait_until(guard, deadline).timed_out(),
        }
    }

    /// A cell whose users coordinate access themselves.
    #[derive(Debug)]
    pub(crate) struct UnsafeCell<T>(std::cell::UnsafeCell<T>);

    impl<T> UnsafeCell<T> {
        pub(crate) fn new(value: T) -> Self {
            UnsafeCell(std::cell::UnsafeCell::new(value))
        }
        /// Calls `f` with a pointer for reading.
        pub(crate) fn with<R>(&self, f: impl FnOnce(*const T) -> R) -> R {
            f(self.0.get())
        }
        /// Calls `f` with a pointer for writing.
        pub(crate) fn with_mut<R>(&self, f: impl FnOnce(*mut T) -> R) -> R {
            f(self.0.get())
        }
    }
}

#[cfg(atasker_loom)]
pub(crate) use model::*;

#[cfg(atasker_loom)]
mod model {
    pub(crate) use loom::cell::UnsafeCell;
    pub(crate) use loom::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, Ordering, fence};

    /// Lets the other threads of the model run.
    pub(crate) fn back_off(_attempts: u32) {
        loom::thread::yield_now();
    }
    pub(crate) use loom::sync::{Condvar, MutexGuard};

    /// A queue for multiple producers and consumers. Like the real one, `is_empty` takes no lock
    /// and is not ordered with other operations of the caller.
    pub(crate) struct Fifo<T> {
        list: Mutex<std::collections::VecDeque<T>>,
        len: AtomicU32,
    }

    #[allow(dead_code)]
    impl<T> Fifo<T> {
        pub(crate) fn new() -> Self {
            Fifo { list: Mutex::new(std::collections::VecDeque::new()), len: AtomicU32::new(0) }
        }
        pub(crate) fn push(&self, value: T) {
            let mut list = self.list.lock();
            list.push_back(value);
            self.len.fetch_add(1, Ordering::AcqRel);
        }
        pub(crate) fn pop(&self) -> Option<T> {
            let mut list = self.list.lock();
            let value = list.pop_front();
            if value.is_some() {
                self.len.fetch_sub(1, Ordering::AcqRel);
            }
            value
        }
        pub(crate) fn is_empty(&self) -> bool {
            self.len.load(Ordering::Acquire) == 0
        }
    }

    /// loom's mutex with the interface of parking_lot, without poisoning.
    #[derive(Debug)]
    pub(crate) struct Mutex<T>(loom::sync::Mutex<T>);

    impl<T> Mutex<T> {
        pub(crate) fn new(value: T) -> Self {
            Mutex(loom::sync::Mutex::new(value))
        }
        pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
            self.0.lock().expect("a model does not panic under a lock")
        }
        pub(crate) fn get_mut(&mut self) -> &mut T {
            self.0.get_mut().expect("a model does not panic under a lock")
        }
    }

    impl<T: Default> Default for Mutex<T> {
        fn default() -> Self {
            Mutex::new(T::default())
        }
    }

    /// Waits until notified. A model has no time, so the deadline never passes.
    pub(crate) fn wait_until<T>(
        condvar: &Condvar,
        guard: &mut MutexGuard<'_, T>,
        _deadline: Option<std::time::Instant>,
    ) -> bool {
        // loom's condvar takes the guard by value, like std's: move it out and back. SAFETY: the
        // guard is read once, and a valid guard of the same mutex is written back before any other
        // access; `wait` does not unwind in a model.
        unsafe {
            let owned = std::ptr::read(guard);
            std::ptr::write(guard, condvar.wait(owned).expect("not poisoned"));
        }
        true
    }
}
