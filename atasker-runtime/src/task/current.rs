//! The task that the current thread is running.

use std::cell::Cell;
use std::ptr::NonNull;

use crate::id::TaskId;
use crate::task::TaskArc;
use crate::task::header::Header;

thread_local! {
    static CURRENT: Cell<Option<NonNull<TaskArc>>> = const { Cell::new(None) };
}

/// The task that the current code runs in. See [`current`].
///
/// ```
/// # use atasker_runtime as atasker;
/// use atasker::{Supervisor, current};
/// /// Stops early inside of a task that was asked to stop.
/// fn deep_inside() -> bool {
///     current().is_some_and(|task| task.stopped())
/// }
/// let sup = Supervisor::builder().build();
/// assert!(!sup.spawn(deep_inside).join().unwrap());
/// ```
#[derive(Clone)]
pub struct CurrentTask {
    task: TaskArc,
}

impl std::fmt::Debug for CurrentTask {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CurrentTask").field("id", &self.id()).field("name", &self.name()).finish()
    }
}

impl CurrentTask {
    /// Returns the id of the task.
    pub fn id(&self) -> TaskId {
        self.task.header().id()
    }

    /// Returns the name of the task.
    pub fn name(&self) -> &str {
        self.task.header().name()
    }

    /// Returns whether the task was asked to stop or has exceeded its time limit.
    pub fn stopped(&self) -> bool {
        self.task.header().state.read().stopped()
    }
}

/// Returns the task that the calling code runs in: on a pool thread, in a worker process or on an
/// aloop. Returns `None` outside of tasks.
///
/// ```
/// # use atasker_runtime as atasker;
/// use atasker::{Supervisor, current};
/// assert!(current().is_none());
/// let sup = Supervisor::builder().build();
/// let task = sup.spawn(|| current().unwrap().id());
/// assert_eq!(task.id(), *task.wait().unwrap());
/// ```
pub fn current() -> Option<CurrentTask> {
    get().map(|task| CurrentTask { task })
}

/// Returns the task that this thread is running.
pub(crate) fn get() -> Option<TaskArc> {
    with_current(|task| task.cloned())
}

/// Calls `f` with the header of the task that this thread is running.
#[inline]
pub(crate) fn with<T>(f: impl FnOnce(Option<&Header>) -> T) -> T {
    with_current(|task| f(task.map(|task| task.header())))
}

fn with_current<T>(f: impl FnOnce(Option<&TaskArc>) -> T) -> T {
    let task = CURRENT.get();
    f(task.map(|task| {
        // SAFETY: the pointer is thread-local and was set by `scope`, which borrows its target
        // until it restores the previous value. The reference lent here ends with this call, which
        // is within that of `scope` on the same thread.
        unsafe { task.as_ref() }
    }))
}

/// Makes `task` the current task while `f` runs.
///
/// Stores a pointer instead of a clone, which would cost two atomic read-modify-writes per run.
#[inline]
pub(crate) fn scope<T>(task: &TaskArc, f: impl FnOnce() -> T) -> T {
    struct Before(Option<NonNull<TaskArc>>);
    impl Drop for Before {
        fn drop(&mut self) {
            CURRENT.set(self.0);
        }
    }
    let _before = Before(CURRENT.replace(Some(NonNull::from(task))));
    f()
}
