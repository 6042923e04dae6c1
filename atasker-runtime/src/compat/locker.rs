//! A lock that tells when it can't be had.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{ReentrantMutex, ReentrantMutexGuard};

use crate::task::panic;

/// A lock with a name and a limit to the time that anybody waits for it.
///
/// The thread that has it may take it again. Whoever has waited for `timeout` (5 seconds, if nothing
/// is said) in vain gets an error; it is logged at ERROR, and `on_critical` is called, which may
/// end a program that hangs.
///
/// ```
/// use std::time::Duration;
/// use atasker_runtime::compat::Locker;
///
/// static STATE: Locker = Locker::new("state").timeout(Duration::from_secs(10));
///
/// let guard = STATE.lock().unwrap();
/// assert_eq!(STATE.with(|| "taken again"), Some("taken again"));
/// drop(guard);
/// ```
///
/// It is a plain lock, no wait of the library's: a task that waits for it keeps its slot, so who
/// holds it should not wait for tasks.
pub struct Locker {
    name: &'static str,
    timeout: Duration,
    on_critical: Option<Arc<dyn Fn() + Send + Sync>>,
    lock: ReentrantMutex<()>,
}

impl Locker {
    /// A lock of that name, which appears in the log.
    pub const fn new(name: &'static str) -> Self {
        Locker {
            name,
            timeout: Duration::from_secs(5),
            on_critical: None,
            lock: ReentrantMutex::new(()),
        }
    }

    /// How long to wait for it at most; `Duration::MAX` for ever.
    pub const fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Calls `f` whenever somebody has waited in vain, in that thread, before `lock` returns. One
    /// that panics is logged.
    pub fn on_critical(mut self, f: impl Fn() + Send + Sync + 'static) -> Self {
        self.on_critical = Some(Arc::new(f));
        self
    }

    /// Takes the lock. It is given back when the guard is dropped, as often as it was taken.
    ///
    /// # Errors
    /// [`LockTimeout`] when the time is over.
    pub fn lock(&self) -> Result<LockerGuard<'_>, LockTimeout> {
        match self.lock.try_lock_for(self.timeout) {
            Some(guard) => Ok(LockerGuard { _guard: guard }),
            None => Err(self.failed()),
        }
    }

    /// Calls `f` with the lock held; `None` if it could not be had in time.
    pub fn with<R>(&self, f: impl FnOnce() -> R) -> Option<R> {
        let _guard = self.lock().ok()?;
        Some(f())
    }

    #[cold]
    fn failed(&self) -> LockTimeout {
        let error = LockTimeout { name: self.name, timeout: self.timeout };
        tracing::error!(target: "atasker", "{error}");
        if let Some(on_critical) = &self.on_critical
            && let Err(error) = panic::catch(|| on_critical())
        {
            tracing::error!(
                target: "atasker", locker = self.name, %error, "`on_critical` panicked"
            );
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

/// Holds a [`Locker`] until it is dropped. It stays in its thread.
#[must_use = "the lock is given back as soon as the guard is dropped"]
pub struct LockerGuard<'a> {
    _guard: ReentrantMutexGuard<'a, ()>,
}

impl fmt::Debug for LockerGuard<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LockerGuard")
    }
}

/// A [`Locker`] could not be had in time.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the lock `{name}` was not free within {timeout:?}")]
pub struct LockTimeout {
    name: &'static str,
    timeout: Duration,
}

impl LockTimeout {
    /// The name of the lock.
    pub fn name(&self) -> &str {
        self.name
    }

    /// How long it was waited for.
    pub fn timeout(&self) -> Duration {
        self.timeout
    }
}
