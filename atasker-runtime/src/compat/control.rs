//! The controller of a task that needs none.

use crate::error::TaskError;
use crate::task::handle::Task;

/// Waits until the task has ended, and gives its result: [`Task::join`] under the name that it has
/// in task.py.
///
/// ```
/// use atasker_runtime::{TaskBuilder, compat::wait_until_done};
/// assert_eq!(wait_until_done(TaskBuilder::new(|| 42).start()).unwrap(), 42);
/// ```
///
/// # Errors
/// What ended the task otherwise.
///
/// # Panics
/// On the thread of an aloop, if it would have to block: use `.await` there.
#[track_caller]
pub fn wait_until_done<R, I, O>(task: Task<R, I, O>) -> Result<R, TaskError>
where
    R: Send + 'static,
    I: Send + 'static,
    O: Send + 'static,
{
    task.join()
}
