//! The locks of the library: those of parking_lot. Debug builds check that no user code runs while
//! one of them is held.
//!
//! User code (a destructor, `Clone`, `Deserialize`, a waker, a tracing subscriber, a hook) can call
//! the library again, and would then wait for a lock held by its own thread. All calls to such code
//! go through `unwind`, which calls [`assert_none_held`]. Release builds use the plain locks.
//!
//! A lock that another thread holds during a `fork` stays locked in the copy forever. Calls in a
//! copy are refused before they take a lock. For calls that are not, the locks are the last resort:
//! a copy does not wait for them, and exits if it can't go on without one. A program is watched for
//! forks from its first lock on, so every copy with such a lock is known to be a copy.
//!
//! `sync` exports the same mutex, unless a loom model replaces it.

#[cfg(not(debug_assertions))]
pub(crate) use parking_lot::{Condvar, MutexGuard};
#[cfg(not(debug_assertions))]
pub(crate) use plain::{Mutex, RwLock};

#[cfg(debug_assertions)]
pub(crate) use checked::{Condvar, Mutex, MutexGuard, RwLock};

/// Panics in a debug build if this thread holds a lock of the library.
#[inline]
#[track_caller]
pub(crate) fn assert_none_held() {
    #[cfg(debug_assertions)]
    checked::assert_none_held();
}

/// parking_lot's locks, which a copy made by `fork` does not wait for.
mod plain {
    use std::ops::{Deref, DerefMut};
    use std::time::Duration;

    use parking_lot::MutexGuard;

    use crate::fork;

    #[derive(Debug, Default)]
    pub(crate) struct Mutex<T: ?Sized>(parking_lot::Mutex<T>);

    impl<T> Mutex<T> {
        #[inline]
        pub(crate) const fn new(value: T) -> Self {
            Mutex(parking_lot::Mutex::new(value))
        }
        #[allow(dead_code)]
        pub(crate) fn into_inner(self) -> T {
            self.0.into_inner()
        }
    }

    impl<T: ?Sized> Mutex<T> {
        #[inline]
        pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
            match fork::watch_and_check() {
                false => self.0.lock(),
                true => fork::acquire_in_copy(|| self.0.try_lock()),
            }
        }
        #[allow(dead_code)]
        #[inline]
        pub(crate) fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
            fork::watch();
            self.0.try_lock()
        }
        #[allow(dead_code)]
        pub(crate) fn try_lock_for(&self, most: Duration) -> Option<MutexGuard<'_, T>> {
            match fork::watch_and_check() {
                false => self.0.try_lock_for(most),
                true => self.0.try_lock(),
            }
        }
        #[allow(dead_code)]
        #[inline]
        pub(crate) fn get_mut(&mut self) -> &mut T {
            self.0.get_mut()
        }
    }

    #[derive(Debug)]
    pub(crate) struct RwLock<T>(parking_lot::RwLock<T>);

    impl<T> RwLock<T> {
        #[inline]
        pub(crate) const fn new(value: T) -> Self {
            RwLock(parking_lot::RwLock::new(value))
        }
        #[inline]
        pub(crate) fn read(&self) -> impl Deref<Target = T> {
            match fork::watch_and_check() {
                false => self.0.read(),
                true => fork::acquire_in_copy(|| self.0.try_read()),
            }
        }
        #[inline]
        pub(crate) fn write(&self) -> impl DerefMut<Target = T> {
            match fork::watch_and_check() {
                false => self.0.write(),
                true => fork::acquire_in_copy(|| self.0.try_write()),
            }
        }
    }
}

#[cfg(debug_assertions)]
mod checked {
    use std::cell::Cell;
    use std::marker::PhantomData;
    use std::ops::{Deref, DerefMut};
    use std::panic::Location;
    use std::time::{Duration, Instant};

    use parking_lot::WaitTimeoutResult;

    use super::plain;

    thread_local! {
        // No destructors, so both are usable while a thread exits.
        static COUNT: Cell<usize> = const { Cell::new(0) };
        /// Where this thread has taken its latest lock.
        static LAST: Cell<Option<&'static Location<'static>>> = const { Cell::new(None) };
    }

    #[track_caller]
    pub(super) fn assert_none_held() {
        // A second panic would abort the process and hide the first one.
        if COUNT.get() > 0 && !std::thread::panicking() {
            let taken = LAST.get().map(ToString::to_string).unwrap_or_default();
            panic!("user code would run under a lock of the library, taken at {taken}");
        }
    }

    /// A lock held by this thread. Not `Send`, because it is counted per thread.
    struct Held(PhantomData<*const ()>);

    impl Held {
        #[track_caller]
        fn new() -> Held {
            COUNT.set(COUNT.get() + 1);
            LAST.set(Some(Location::caller()));
            Held(PhantomData)
        }
    }

    impl Drop for Held {
        fn drop(&mut self) {
            COUNT.set(COUNT.get() - 1);
        }
    }

    /// Decrements the count while the lock of a guard is released.
    struct Uncounted(usize);

    impl Uncounted {
        fn new() -> Uncounted {
            Uncounted(COUNT.replace(COUNT.get() - 1))
        }
    }

    impl Drop for Uncounted {
        fn drop(&mut self) {
            COUNT.set(self.0);
        }
    }

    #[derive(Debug, Default)]
    pub(crate) struct Mutex<T: ?Sized>(plain::Mutex<T>);

    impl<T> Mutex<T> {
        pub(crate) const fn new(value: T) -> Self {
            Mutex(plain::Mutex::new(value))
        }
        #[allow(dead_code)]
        pub(crate) fn into_inner(self) -> T {
            self.0.into_inner()
        }
    }

    impl<T: ?Sized> Mutex<T> {
        #[track_caller]
        pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
            let guard = self.0.lock();
            MutexGuard { guard, _held: Held::new() }
        }
        #[allow(dead_code)]
        #[track_caller]
        pub(crate) fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
            let guard = self.0.try_lock()?;
            Some(MutexGuard { guard, _held: Held::new() })
        }
        #[allow(dead_code)]
        #[track_caller]
        pub(crate) fn try_lock_for(&self, most: Duration) -> Option<MutexGuard<'_, T>> {
            let guard = self.0.try_lock_for(most)?;
            Some(MutexGuard { guard, _held: Held::new() })
        }
        #[allow(dead_code)]
        pub(crate) fn get_mut(&mut self) -> &mut T {
            self.0.get_mut()
        }
    }

    /// Releases the lock before decrementing the count.
    #[derive(Debug)]
    pub(crate) struct MutexGuard<'a, T: ?Sized> {
        guard: parking_lot::MutexGuard<'a, T>,
        _held: Held,
    }

    impl std::fmt::Debug for Held {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("Held")
        }
    }

    impl<T: ?Sized> MutexGuard<'_, T> {
        pub(crate) fn unlocked<R>(this: &mut Self, f: impl FnOnce() -> R) -> R {
            parking_lot::MutexGuard::unlocked(&mut this.guard, || {
                let _uncounted = Uncounted::new();
                f()
            })
        }
    }

    impl<T: ?Sized> MutexGuard<'_, T> {
        #[allow(dead_code)]
        pub(crate) fn bump(this: &mut Self) {
            parking_lot::MutexGuard::bump(&mut this.guard);
        }
    }

    impl<T: ?Sized> Deref for MutexGuard<'_, T> {
        type Target = T;
        fn deref(&self) -> &T {
            &self.guard
        }
    }

    impl<T: ?Sized> DerefMut for MutexGuard<'_, T> {
        fn deref_mut(&mut self) -> &mut T {
            &mut self.guard
        }
    }

    #[derive(Debug)]
    pub(crate) struct RwLock<T>(plain::RwLock<T>);

    impl<T> RwLock<T> {
        pub(crate) const fn new(value: T) -> Self {
            RwLock(plain::RwLock::new(value))
        }
        #[track_caller]
        pub(crate) fn read(&self) -> impl Deref<Target = T> {
            Counted { guard: self.0.read(), _held: Held::new() }
        }
        #[track_caller]
        pub(crate) fn write(&self) -> impl DerefMut<Target = T> {
            Counted { guard: self.0.write(), _held: Held::new() }
        }
    }

    /// A guard of a read-write lock.
    struct Counted<G> {
        guard: G,
        _held: Held,
    }

    impl<G: Deref> Deref for Counted<G> {
        type Target = G::Target;
        fn deref(&self) -> &G::Target {
            &self.guard
        }
    }

    impl<G: DerefMut> DerefMut for Counted<G> {
        fn deref_mut(&mut self) -> &mut G::Target {
            &mut self.guard
        }
    }

    #[derive(Debug, Default)]
    pub(crate) struct Condvar(parking_lot::Condvar);

    impl Condvar {
        pub(crate) const fn new() -> Self {
            Condvar(parking_lot::Condvar::new())
        }
        pub(crate) fn notify_one(&self) {
            self.0.notify_one();
        }
        #[allow(dead_code)]
        pub(crate) fn notify_all(&self) {
            self.0.notify_all();
        }
        pub(crate) fn wait<T: ?Sized>(&self, guard: &mut MutexGuard<'_, T>) {
            self.0.wait(&mut guard.guard);
        }
        pub(crate) fn wait_until<T: ?Sized>(
            &self,
            guard: &mut MutexGuard<'_, T>,
            deadline: Instant,
        ) -> WaitTimeoutResult {
            self.0.wait_until(&mut guard.guard, deadline)
        }
    }

    #[cfg(all(test, not(atasker_loom)))]
    mod tests {
        use super::*;

        fn is_refused() -> bool {
            std::panic::catch_unwind(assert_none_held).is_err()
        }

        #[test]
        fn code_of_the_users_is_refused_under_a_lock() {
            static OUTER: Mutex<()> = Mutex::new(());
            let inner = RwLock::new(());
            assert!(!is_refused());
            let mut guard = OUTER.lock();
            assert!(is_refused());
            MutexGuard::unlocked(&mut guard, || assert!(!is_refused()));
            let read = inner.read();
            drop(guard);
            assert!(is_refused());
            drop(read);
            assert!(!is_refused());
            // Counted for the thread that holds the lock only.
            let _guard = OUTER.lock();
            std::thread::scope(|scope| scope.spawn(|| assert!(!is_refused())).join()).unwrap();
        }
    }
}
