//! Launches that run their task before they return.

use std::fmt;
use std::marker::PhantomData;

use crate::supervisor::inline as launches;

/// Has the launches of this thread run their tasks before they return, until the returned guard is
/// dropped.
///
/// The task runs on the launching thread, whatever its kind, with all of its attempts and callbacks;
/// the returned handle has ended. A function and its launches thus become one call, which a unit
/// test can make without waiting and without an order of events that differs from run to run:
///
/// ```
/// # extern crate atasker_runtime as atasker;
/// use std::time::Duration;
/// use atasker::{Supervisor, Task, TaskBuilder, testing};
///
/// // The code under test.
/// fn publish(sup: &Supervisor, text: &str) -> Task<String> {
///     let text = text.to_owned();
///     TaskBuilder::new(move || text.to_uppercase())
///         .delay(Duration::from_secs(60))
///         .supervisor(sup)
///         .start()
/// }
///
/// let sup = Supervisor::builder().build();
/// let _guard = testing::inline();
/// let task = publish(&sup, "news");
/// assert!(task.is_completed());
/// assert_eq!(task.result().unwrap(), "NEWS");
/// ```
///
/// What is different meanwhile, for launches of this thread and of the tasks that they run:
///
/// * Delays, pauses between attempts, slots, limits, time limits and full queues have no effect.
/// * `mp`: the function runs in this process. Arguments, messages and the result are encoded and
///   decoded as for a worker process, and `tt()` is [`TaskType::Mp`](crate::TaskType::Mp). Statics are
///   those of the program, `worker_init` does not run, and a crash is one of the program.
/// * `async`: the future is polled on this thread, with a tokio runtime of the guard. What the task
///   has spawned on that runtime ends with the guard. Inside of another tokio runtime the task ends
///   with [`TaskError::NotStarted`](crate::TaskError::NotStarted), because its launch must not block
///   there.
/// * [`recv`](crate::TaskContext::recv) and its like return
///   [`RecvError::Closed`](crate::RecvError::Closed) where nothing is queued, because nothing can be
///   sent before the launch returns. [`TaskContext::pair`](crate::TaskContext::pair) tests a function
///   that receives messages.
/// * What the task sends is queued, and can be received from the handle afterwards. The 1,025th
///   message returns an error from [`send`](crate::TaskContext::send), because waiting for room would
///   never end.
/// * `kill` of a task on a thread or of `mp` is
///   [`Unsupported`](crate::KillError::Unsupported) while it runs.
///
/// Everything else is as usual: results, errors, panics, retries, a supervisor that is stopped, waits
/// for the task, observers, counts, [`TaskContext`](crate::TaskContext), [`current`](crate::current).
/// A task that runs until it is stopped never returns from its launch, unless another thread stops
/// it.
///
/// Launches of other threads, `Aloop::run`, background workers and jobs are not affected.
#[must_use = "launches run their tasks until the guard is dropped"]
pub fn inline() -> InlineGuard {
    launches::enter();
    InlineGuard { _of_thread: PhantomData }
}

/// Has the launches of this thread run their tasks until it is dropped. See [`inline()`].
///
/// It belongs to its thread:
///
/// ```compile_fail,E0277
/// # extern crate atasker_runtime as atasker;
/// let guard = atasker::testing::inline();
/// std::thread::spawn(move || drop(guard));
/// ```
pub struct InlineGuard {
    /// Neither `Send` nor `Sync`.
    _of_thread: PhantomData<*const ()>,
}

impl Drop for InlineGuard {
    fn drop(&mut self) {
        launches::leave();
    }
}

impl fmt::Debug for InlineGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("InlineGuard")
    }
}
