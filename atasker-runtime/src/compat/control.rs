//! The controller of tasks that need no input.

use crate::error::TaskError;
use crate::task::handle::Task;

/// Blocks until the task has ended, and returns its result. This is [`Task::join`] by its name in
/// task.py.
///
/// ```
/// # use atasker_runtime as atasker;
/// use atasker::{TaskBuilder, compat::wait_until_done};
/// assert_eq!(wait_until_done(TaskBuilder::new(|| 42).start()).unwrap(), 42);
/// ```
///
/// # Errors
/// Returns the error of the task if it did not complete.
///
/// # Panics
/// Panics on the thread of an aloop if it would have to block: use `.await` there.
#[track_caller]
pub fn wait_until_done<R, I, O>(task: Task<R, I, O>) -> Result<R, TaskError>
where
    R: Send + 'static,
    I: Send + 'static,
    O: Send + 'static,
{
    task.join()
}
