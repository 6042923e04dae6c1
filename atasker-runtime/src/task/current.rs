//! The task that this thread runs at the moment.

use std::cell::RefCell;
use std::sync::Arc;

use crate::id::TaskId;
use crate::task::AnyTask;
use crate::task::header::Header;

thread_local! {
    static CURRENT: RefCell<Option<Arc<dyn AnyTask>>> = const { RefCell::new(None) };
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
    CURRENT.try_with(|current| current.borrow().clone()).ok().flatten()
}

/// Looks at the task that this thread runs.
pub(crate) fn with<T>(f: impl FnOnce(Option<&Header>) -> T) -> T {
    match get() {
        Some(task) => f(Some(task.header())),
        None => f(None),
    }
}

/// Makes `task` the current one until the guard is dropped.
pub(crate) fn enter(task: Arc<dyn AnyTask>) -> Entered {
    Entered { before: CURRENT.with(|current| current.replace(Some(task))) }
}

/// See [`enter`].
pub(crate) struct Entered {
    before: Option<Arc<dyn AnyTask>>,
}

impl Drop for Entered {
    fn drop(&mut self) {
        let before = self.before.take();
        let entered = CURRENT.try_with(|current| current.replace(before));
        drop(entered);
    }
}
