//! A lock that reports a time-out.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::fork;
use crate::unwind::{self, log};
use parking_lot::{ReentrantMutex, ReentrantMutexGuard};

/// A named, reentrant lock with a time limit.
///
/// The thread that holds the lock may lock it again. If [`lock`](Self::lock) can't acquire the lock
/// within `timeout` (5 seconds by default), it logs the error at level ERROR, calls `on_critical`,
/// which may for example terminate a program that hangs, and returns the error.
///
/// ```
/// # use atasker_runtime as atasker;
/// use std::time::Duration;
/// use atasker::compat::Locker;
///
/// static STATE: Locker = Locker::new("state").timeout(Duration::from_secs(10));
///
/// let guard = STATE.lock().unwrap();
/// assert_eq!(STATE.with(|| "taken again"), Some("taken again"));
/// drop(guard);
/// ```
///
/// A task that waits for the lock keeps its slot. The holder of the lock should therefore not wait
/// for tasks.
pub struct Locker {
    name: &'static str,
    timeout: Duration,
    on_critical: Option<Arc<dyn Fn() + Send + Sync>>,
    lock: ReentrantMutex<()>,
}

impl Locker {
    /// Creates a lock. The name is used in logs and errors.
    ///
    /// ```
    /// # use atasker_runtime as atasker;
    /// use atasker::compat::Locker;
    /// static STATE: Locker = Locker::new("state");
    /// assert_eq!(STATE.with(|| 42), Some(42));
    /// ```
    pub const fn new(name: &'static str) -> Self {
        Locker {
            name,
            timeout: Duration::from_secs(5),
            on_critical: None,
            lock: ReentrantMutex::new(()),
        }
    }

    /// Sets the time limit. `Duration::MAX` waits without limit.
    ///
    /// ```
    /// # use atasker_runtime as atasker;
    /// use std::time::Duration;
    /// use atasker::compat::Locker;
    /// static STATE: Locker = Locker::new("state").timeout(Duration::from_secs(60));
    /// # assert_eq!(STATE.with(|| 42), Some(42));
    /// ```
    #[must_use = "the locker is moved into this method and returned by it"]
    pub const fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Sets a function that is called whenever `lock` times out, on the same thread, before `lock`
    /// returns. A panic of the function is logged.
    ///
    /// ```
    /// # use atasker_runtime as atasker;
    /// use atasker::compat::Locker;
    /// let state = Locker::new("state").on_critical(|| eprintln!("the program hangs"));
    /// assert_eq!(state.with(|| 42), Some(42));
    /// ```
    #[must_use = "the locker is moved into this method and returned by it"]
    pub fn on_critical(mut self, f: impl Fn() + Send + Sync + 'static) -> Self {
        self.on_critical = Some(Arc::new(f));
        self
    }

    /// Acquires the lock. Blocks until it is available, or until the time limit.
    ///
    /// The lock is released when all guards of the thread are dropped.
    ///
    /// ```
    /// # use atasker_runtime as atasker;
    /// use std::time::Duration;
    /// use atasker::compat::Locker;
    /// let state = Locker::new("state").timeout(Duration::from_millis(1));
    /// let guard = state.lock().unwrap();
    /// std::thread::scope(|s| {
    ///     let error = s.spawn(|| state.lock().unwrap_err()).join().unwrap();
    ///     assert_eq!(error.name(), "state");
    /// });
    /// drop(guard);
    /// ```
    ///
    /// # Errors
    /// Returns [`LockTimeout`] if the lock is not available within the time limit.
    pub fn lock(&self) -> Result<LockerGuard<'_>, LockTimeout> {
        let guard = match fork::watch_and_check() {
            false => self.lock.try_lock_for(self.timeout),
            true => self.lock.try_lock(),
        };
        match guard {
            Some(guard) => Ok(LockerGuard { _guard: guard }),
            None if fork::is_copy() => Err(LockTimeout { name: self.name, timeout: self.timeout }),
            None => Err(self.timed_out()),
        }
    }

    /// Calls `f` while holding the lock. Returns `None`, without calling `f`, if the lock is not
    /// available within the time limit.
    ///
    /// ```
    /// # use atasker_runtime as atasker;
    /// use atasker::compat::Locker;
    /// let state = Locker::new("state");
    /// // The lock is reentrant.
    /// assert_eq!(state.with(|| state.with(|| 42)), Some(Some(42)));
    /// ```
    pub fn with<R>(&self, f: impl FnOnce() -> R) -> Option<R> {
        let _guard = self.lock().ok()?;
        Some(f())
    }

    #[cold]
    fn timed_out(&self) -> LockTimeout {
        let error = LockTimeout { name: self.name, timeout: self.timeout };
        log!(error, "{error}");
        if let Some(on_critical) = &self.on_critical
            && let Err(error) = unwind::catch(|| on_critical())
        {
            log!(error, locker = self.name, %error, "`on_critical` panicked");
        }
        error
    }
}

impl fmt::Debug for Locker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Locker")
            .field("name", &self.name)
            .field("timeout", &self.timeout)
            .field("locked", &self.lock.is_locked())
            .finish_non_exhaustive()
    }
}

/// The guard of a [`Locker`], which releases the lock when it is dropped. It can't be sent to
/// another thread.
///
/// ```
/// # use atasker_runtime as atasker;
/// use atasker::compat::{Locker, LockerGuard};
/// let state = Locker::new("state");
/// let guard: LockerGuard<'_> = state.lock().unwrap();
/// drop(guard); // releases the lock
/// ```
#[must_use = "the lock is released as soon as the guard is dropped"]
pub struct LockerGuard<'a> {
    _guard: ReentrantMutexGuard<'a, ()>,
}

impl fmt::Debug for LockerGuard<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LockerGuard")
    }
}

/// The error of a [`Locker`] that was not available within its time limit.
///
/// ```
/// # use atasker_runtime as atasker;
/// use std::time::Duration;
/// use atasker::compat::{LockTimeout, Locker};
/// let state = Locker::new("state").timeout(Duration::from_millis(1));
/// let guard = state.lock().unwrap();
/// let other = std::thread::scope(|s| s.spawn(|| state.lock().map(drop)).join().unwrap());
/// let error: LockTimeout = other.unwrap_err();
/// assert_eq!(error.to_string(), "the lock `state` was not free within 1ms");
/// # drop(guard);
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the lock `{name}` was not free within {timeout:?}")]
pub struct LockTimeout {
    name: &'static str,
    timeout: Duration,
}

impl LockTimeout {
    /// Returns the name of the lock.
    pub fn name(&self) -> &str {
        self.name
    }

    /// Returns the time limit.
    pub fn timeout(&self) -> Duration {
        self.timeout
    }
}
