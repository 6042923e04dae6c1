//! A set of tasks, which yields them in the order of their completion.

use std::fmt;
use std::future::poll_fn;
use std::task::{Context, Poll, Waker};

use super::in_flight::{AtDrop, InFlight};
use crate::error::TaskError;
use crate::id::TaskId;
use crate::launch::TaskBuilder;
use crate::task::handle::Task;

/// A set of tasks with one type of result, which returns their outcomes in the order in which the
/// tasks complete.
///
/// Tasks are added at any time: by [`spawn`](Self::spawn), which launches them, or by
/// [`push`](Self::push). They may run in any place and have channels of any types. The set receives
/// no messages, so what a task sends from then on is rejected with a
/// [`SendError`](crate::SendError). The cost of an outcome does not depend on the number of tasks.
///
/// When the set is dropped, its tasks are canceled. Those that run are asked to stop, and not waited
/// for. See also [`kill_on_drop`](Self::kill_on_drop) and [`detach_all`](Self::detach_all).
///
/// ```
/// # extern crate atasker_runtime as atasker;
/// use atasker::{TaskBuilder, TaskSet, supervisor};
/// let mut set = TaskSet::new();
/// let pages = [3_u32, 1, 2].map(|page| set.push(supervisor().spawn(move || page * 10)));
/// set.spawn(TaskBuilder::new(|| 5).name("the cover"));
/// let mut sum = 0;
/// while let Some((id, outcome)) = set.join_next() {
///     let from_page = pages.contains(&id);
///     sum += outcome.unwrap() + u32::from(from_page);
/// }
/// assert_eq!(sum, 60 + 5 + 3);
/// ```
#[must_use = "dropping the set cancels its tasks"]
pub struct TaskSet<R> {
    tasks: InFlight<TaskId, Task<R>>,
}

impl<R> TaskSet<R> {
    /// Creates an empty set.
    pub fn new() -> Self {
        let mut tasks = InFlight::new();
        tasks.at_drop = AtDrop::Cancel;
        TaskSet { tasks }
    }

    /// Returns the number of tasks whose outcome was not returned.
    pub fn len(&self) -> usize {
        self.tasks.len()
    }

    /// Returns whether the outcomes of all tasks were returned.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Asks all tasks to stop. Tasks that have not begun are canceled. Their outcomes are still
    /// returned.
    ///
    /// ```
    /// # extern crate atasker_runtime as atasker;
    /// use atasker::{TaskBuilder, TaskContext, TaskSet};
    /// let mut set = TaskSet::new();
    /// for _ in 0..3 {
    ///     set.spawn(TaskBuilder::with_context(|ctx: &TaskContext| ctx.recv().is_err()));
    /// }
    /// set.stop_all();
    /// while let Some((_, outcome)) = set.join_next() {
    ///     assert!(outcome.unwrap_or_else(|error| error.is_canceled()));
    /// }
    /// ```
    pub fn stop_all(&self) {
        self.tasks.stop();
    }

    /// Kills all tasks, as [`Task::kill`] does. Tasks that run on a thread are asked to stop. Their
    /// outcomes are still returned.
    pub fn kill_all(&self) {
        self.tasks.kill();
    }

    /// Kills the tasks when the set is dropped, instead of canceling them. Tasks that run on a thread
    /// are asked to stop.
    pub fn kill_on_drop(mut self) -> Self {
        self.tasks.at_drop = AtDrop::Kill;
        self
    }
}

impl<R: Send + 'static> TaskSet<R> {
    /// Launches a task and adds it to the set. Returns its id.
    ///
    /// If the queue of its pool is full, the launch waits for room, as
    /// [`start`](TaskBuilder::start) does. In async code, use
    /// `set.push(builder.start_async().await)`.
    pub fn spawn<I, O>(&mut self, builder: TaskBuilder<R, I, O>) -> TaskId
    where
        I: Send + 'static,
        O: Send + 'static,
    {
        self.push(builder.start())
    }

    /// Adds a task to the set. Returns its id.
    ///
    /// What the set does when it is dropped applies to the task as well, in addition to
    /// [`stop_on_drop`](Task::stop_on_drop) and [`kill_on_drop`](Task::kill_on_drop) of its handle.
    pub fn push<I, O>(&mut self, task: Task<R, I, O>) -> TaskId
    where
        I: Send + 'static,
        O: Send + 'static,
    {
        let id = task.id();
        self.tasks.push(id, task.without_channels());
        id
    }

    /// Waits until a task has ended, removes it from the set, and returns its id and outcome. Returns
    /// `None` if the set is empty.
    ///
    /// # Panics
    ///
    /// Panics on the thread of an aloop if it would have to block. Use
    /// [`join_next_async`](Self::join_next_async) there. Panics if the result of the task was taken
    /// by an `.await` before the task was added.
    #[track_caller]
    pub fn join_next(&mut self) -> Option<(TaskId, Result<R, TaskError>)> {
        self.tasks.wait()
    }

    /// Removes a task that has ended from the set and returns its id and outcome. Returns `None` if
    /// no task has ended.
    ///
    /// ```
    /// # extern crate atasker_runtime as atasker;
    /// use atasker::{TaskBuilder, TaskContext, TaskSet};
    /// let mut set = TaskSet::new();
    /// let id = set.spawn(TaskBuilder::with_context(|ctx: &TaskContext| ctx.recv().is_err()));
    /// assert!(set.try_join_next().is_none());
    /// set.stop_all();
    /// assert_eq!(set.join_next().unwrap().0, id);
    /// ```
    pub fn try_join_next(&mut self) -> Option<(TaskId, Result<R, TaskError>)> {
        match self.poll_join_next(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(next) => next,
            Poll::Pending => None,
        }
    }

    /// Waits until a task has ended, removes it from the set, and returns its id and outcome. Returns
    /// `None` if the set is empty. Works on any executor.
    ///
    /// ```
    /// # extern crate atasker_runtime as atasker;
    /// # use futures_lite::future::block_on;
    /// use atasker::{TaskSet, supervisor};
    /// let mut set: TaskSet<u32> = (1..=3).map(|n| supervisor().spawn(move || n * n)).collect();
    /// # block_on(async {
    /// let mut sum = 0;
    /// while let Some((_, outcome)) = set.join_next_async().await {
    ///     sum += outcome.unwrap();
    /// }
    /// assert_eq!(sum, 14);
    /// # });
    /// ```
    ///
    /// # Panics
    ///
    /// Panics if the result of the task was taken by an `.await` before the task was added.
    ///
    /// # Cancel safety
    ///
    /// This method is cancel safe: if the future is dropped before it completes, no task is removed
    /// from the set.
    pub async fn join_next_async(&mut self) -> Option<(TaskId, Result<R, TaskError>)> {
        poll_fn(|context| self.poll_join_next(context)).await
    }

    fn poll_join_next(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<(TaskId, Result<R, TaskError>)>> {
        self.tasks.poll(context)
    }

    /// Removes all tasks from the set. They go on without it, as by [`Task::detach`].
    ///
    /// ```
    /// # extern crate atasker_runtime as atasker;
    /// use atasker::{TaskSet, supervisor};
    /// let (tx, rx) = std::sync::mpsc::channel();
    /// let mut set = TaskSet::new();
    /// set.push(supervisor().spawn(move || tx.send("saved")));
    /// set.detach_all();
    /// assert!(set.is_empty());
    /// drop(set);
    /// assert_eq!(rx.recv(), Ok("saved"));
    /// ```
    pub fn detach_all(&mut self) {
        self.tasks.take_all().for_each(Task::detach);
    }
}

impl<R> Default for TaskSet<R> {
    fn default() -> Self {
        TaskSet::new()
    }
}

impl<R, I, O> Extend<Task<R, I, O>> for TaskSet<R>
where
    R: Send + 'static,
    I: Send + 'static,
    O: Send + 'static,
{
    fn extend<T: IntoIterator<Item = Task<R, I, O>>>(&mut self, tasks: T) {
        self.tasks.extend(tasks.into_iter().map(|task| (task.id(), task.without_channels())));
    }
}

impl<R, I, O> FromIterator<Task<R, I, O>> for TaskSet<R>
where
    R: Send + 'static,
    I: Send + 'static,
    O: Send + 'static,
{
    fn from_iter<T: IntoIterator<Item = Task<R, I, O>>>(tasks: T) -> Self {
        let mut set = TaskSet::new();
        set.extend(tasks);
        set
    }
}

impl<R> fmt::Debug for TaskSet<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TaskSet").field("len", &self.len()).finish_non_exhaustive()
    }
}
