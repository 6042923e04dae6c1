//! The constructors of tasks that run on pool threads.

use crate::info::TaskType;
use crate::launch::builder::{TaskBuilder, build, build_with_channels};
use crate::supervisor::Supervisor;
use crate::task::TaskArc;
use crate::task::body::{Once, Repeat};
use crate::task::context::TaskContext;
use crate::task::handle::Task;

impl<R: Send + 'static> TaskBuilder<R> {
    /// Creates a task that runs `f` on a pool thread.
    ///
    /// `f` can run only once. To use `retries`, create the task with
    /// [`repeatable`](Self::repeatable).
    ///
    /// ```
    /// # use atasker_runtime as atasker;
    /// use atasker::TaskBuilder;
    /// let text = String::from("moved");
    /// let task = TaskBuilder::new(move || text.len()).start();
    /// assert_eq!(task.join().unwrap(), 5);
    /// ```
    pub fn new(f: impl FnOnce() -> R + Send + 'static) -> TaskBuilder<R> {
        build(TaskType::Thread, Once(Some(move |_: &TaskArc| f())), (), None)
    }

    /// Creates a task that runs `f` on a pool thread, and can rerun it as
    /// [`retries`](Self::retries) allows.
    ///
    /// ```
    /// # use atasker_runtime as atasker;
    /// use atasker::TaskBuilder;
    /// let mut calls = 0;
    /// let task = TaskBuilder::repeatable(move || {
    ///     calls += 1;
    ///     calls
    /// })
    /// .retries(3)
    /// .retry_if(|calls: &u32| *calls < 3)
    /// .start();
    /// assert_eq!(task.join().unwrap(), 3);
    /// ```
    pub fn repeatable(mut f: impl FnMut() -> R + Send + 'static) -> TaskBuilder<R> {
        build(TaskType::Thread, Repeat(move |_: &TaskArc| f()), (), None)
    }

    /// Creates a task that runs `f` on a pool thread and passes it a [`TaskContext`], through which
    /// it notices requests to stop and exchanges messages with the handle.
    ///
    /// ```
    /// # use atasker_runtime as atasker;
    /// use atasker::{TaskBuilder, TaskContext};
    /// let task = TaskBuilder::<u64>::with_context(|ctx: &TaskContext<u64>| ctx.recv().unwrap() + 1)
    ///     .start();
    /// task.send(41).unwrap();
    /// assert_eq!(task.join().unwrap(), 42);
    /// ```
    pub fn with_context<I, O>(
        f: impl FnOnce(&TaskContext<I, O>) -> R + Send + 'static,
    ) -> TaskBuilder<R, I, O>
    where
        I: Send + 'static,
        O: Send + 'static,
    {
        build_with_channels(TaskType::Thread, (), |ends| {
            Once(Some(move |task: &TaskArc| f(&TaskContext::new(task.clone(), ends))))
        })
    }

    /// For generated code: the same as [`with_context`](Self::with_context), for a function that can
    /// run again.
    #[doc(hidden)]
    pub fn __repeatable_with_context<I, O>(
        mut f: impl FnMut(&TaskContext<I, O>) -> R + Send + 'static,
    ) -> TaskBuilder<R, I, O>
    where
        I: Send + 'static,
        O: Send + 'static,
    {
        build_with_channels(TaskType::Thread, (), |ends| {
            Repeat(move |task: &TaskArc| f(&TaskContext::new(task.clone(), ends.clone())))
        })
    }
}

impl Supervisor {
    /// Runs `f` on a pool thread.
    ///
    /// ```
    /// # use atasker_runtime as atasker;
    /// use atasker::Supervisor;
    /// let sup = Supervisor::builder().build();
    /// assert_eq!(sup.spawn(|| 6 * 7).join().unwrap(), 42);
    /// ```
    pub fn spawn<R: Send + 'static>(&self, f: impl FnOnce() -> R + Send + 'static) -> Task<R> {
        TaskBuilder::new(f).start_at(self.core())
    }
}
