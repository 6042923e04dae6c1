//! Locks and atomics of the lock-free parts: the real ones, or loom's when a model is checked
//! (`--cfg atasker_loom`). Chosen here and nowhere else.

#[cfg(not(atasker_loom))]
pub(crate) use real::*;

#[cfg(not(atasker_loom))]
mod real {
    #[cfg(feature = "async")]
    pub(crate) use crossbeam_queue::SegQueue as Fifo;
    pub(crate) use parking_lot::{Condvar, Mutex, MutexGuard};
    pub(crate) use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};

    /// Lets some time pass, the `looks`th time that something is not there yet.
    pub(crate) fn spin(looks: u32) {
        if looks.is_multiple_of(64) {
            std::thread::yield_now();
        } else {
            std::hint::spin_loop();
        }
    }

    /// Waits until notified (true), or until the deadline (false).
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

    /// A cell whose users agree among themselves who may touch it.
    #[derive(Debug)]
    pub(crate) struct UnsafeCell<T>(std::cell::UnsafeCell<T>);

    impl<T> UnsafeCell<T> {
        pub(crate) fn new(value: T) -> Self {
            UnsafeCell(std::cell::UnsafeCell::new(value))
        }
        /// Lends the value's address for reading.
        pub(crate) fn with<R>(&self, f: impl FnOnce(*const T) -> R) -> R {
            f(self.0.get())
        }
        /// Lends the value's address for writing.
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
    pub(crate) use loom::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};

    /// Lets the others go on.
    pub(crate) fn spin(_looks: u32) {
        loom::thread::yield_now();
    }
    pub(crate) use loom::sync::{Condvar, MutexGuard};

    /// A queue that all may add to and take from. As the real one, it tells without a lock, and in
    /// no order with what else the caller does, whether it is empty.
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

    /// loom's mutex with parking_lot's interface: no poison.
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

    /// Waits until notified; a model has no time, so the deadline never comes.
    pub(crate) fn wait_until<T>(
        condvar: &Condvar,
        guard: &mut MutexGuard<'_, T>,
        _deadline: Option<std::time::Instant>,
    ) -> bool {
        // loom's condvar takes the guard by value, as std's does: hand it over and put it back.
        // SAFETY: the guard is read out once and a valid guard of the same mutex is written back
        // before anybody can look; `wait` does not unwind in a model.
        unsafe {
            let owned = std::ptr::read(guard);
            std::ptr::write(guard, condvar.wait(owned).expect("not poisoned"));
        }
        true
    }
}
