//! The task that this thread runs at the moment.

use std::cell::Cell;
use std::ptr::NonNull;
use std::sync::Arc;

use crate::id::TaskId;
use crate::task::AnyTask;
use crate::task::header::Header;

thread_local! {
    static CURRENT: Cell<Option<NonNull<Arc<dyn AnyTask>>>> = const { Cell::new(None) };
}

/// The task that runs the code that asks. See [`current`].
#[derive(Clone)]
pub struct CurrentTask {
    task: Arc<dyn AnyTask>,
}

impl std::fmt::Debug for CurrentTask {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CurrentTask").field("id", &self.id()).field("name", &self.name()).finish()
    }
}

impl CurrentTask {
    /// Its id.
    pub fn id(&self) -> TaskId {
        self.task.header().id
    }
    /// Its name.
    pub fn name(&self) -> &str {
        self.task.header().name()
    }
    /// Whether it was asked to stop.
    pub fn stopped(&self) -> bool {
        self.task.header().state.read().stopped()
    }
}

/// The task that this code runs in: on a pool thread, in a worker process or on an aloop. `None`
/// outside of any task.
///
/// ```
/// use atasker_runtime::{Supervisor, current};
/// assert!(current().is_none());
/// let sup = Supervisor::builder().build();
/// let task = sup.spawn(|| current().unwrap().id());
/// assert_eq!(task.id(), *task.wait().unwrap());
/// ```
pub fn current() -> Option<CurrentTask> {
    get().map(|task| CurrentTask { task })
}

/// The task that this thread runs.
pub(crate) fn get() -> Option<Arc<dyn AnyTask>> {
    look(|task| task.cloned())
}

/// Looks at the task that this thread runs.
#[inline]
pub(crate) fn with<T>(f: impl FnOnce(Option<&Header>) -> T) -> T {
    look(|task| f(task.map(|task| task.header())))
}

fn look<T>(f: impl FnOnce(Option<&Arc<dyn AnyTask>>) -> T) -> T {
    let task = CURRENT.get();
    f(task.map(|task| {
        // SAFETY: it is this thread's own word, set by `during`, which holds a borrow of the
        // pointer's target until it has set the word back. What we lend ends with this call, on
        // this thread, within that of `during`.
        unsafe { task.as_ref() }
    }))
}

/// Makes `task` the current one while `f` runs.
///
/// Not a copy of it: that would cost two locked instructions for each task that runs.
#[inline]
pub(crate) fn during<T>(task: &Arc<dyn AnyTask>, f: impl FnOnce() -> T) -> T {
    struct Before(Option<NonNull<Arc<dyn AnyTask>>>);
    impl Drop for Before {
        fn drop(&mut self) {
            CURRENT.set(self.0);
        }
    }
    let _before = Before(CURRENT.replace(Some(NonNull::from(task))));
    f()
}
