//! The constructors of tasks that run on aloops.

use crate::aloop::{FutureBody, LazyFuture, RepeatableFuture};
use crate::info::TaskType;
use crate::launch::builder::{TaskBuilder, build, build_with_channels};
use crate::supervisor::Supervisor;
use crate::task::TaskArc;
use crate::task::context::TaskContext;
use crate::task::future::FutureData;
use crate::task::handle::Task;

#[cfg(feature = "async")]
impl<R: Send + 'static> TaskBuilder<R> {
    /// Creates a task that runs a future on an aloop.
    ///
    /// ```
    /// # use atasker_runtime as atasker;
    /// use atasker::TaskBuilder;
    /// assert_eq!(TaskBuilder::future(async { 42 }).start().join().unwrap(), 42);
    /// ```
    pub fn future(future: impl Future<Output = R> + Send + 'static) -> TaskBuilder<R> {
        build(TaskType::Async, FutureBody::new(future), FutureData::default(), None)
    }
}

/// For generated code: functions that return a future, and can run again or take a context.
#[doc(hidden)]
impl<R: Send + 'static> TaskBuilder<R> {
    pub fn __repeatable_future<F>(mut f: impl FnMut() -> F + Send + 'static) -> TaskBuilder<R>
    where
        F: Future<Output = R> + Send + 'static,
    {
        let body = RepeatableFuture::new(move |_: &TaskArc| f());
        build(TaskType::Async, body, FutureData::default(), None)
    }

    pub fn __future_with_context<I, O, F>(
        f: impl FnOnce(TaskContext<I, O>) -> F + Send + 'static,
    ) -> TaskBuilder<R, I, O>
    where
        I: Send + 'static,
        O: Send + 'static,
        F: Future<Output = R> + Send + 'static,
    {
        build_with_channels(TaskType::Async, FutureData::default(), |ends| {
            LazyFuture::new(move |task: &TaskArc| f(TaskContext::new(task.clone(), ends)))
        })
    }

    pub fn __repeatable_future_with_context<I, O, F>(
        mut f: impl FnMut(TaskContext<I, O>) -> F + Send + 'static,
    ) -> TaskBuilder<R, I, O>
    where
        I: Send + 'static,
        O: Send + 'static,
        F: Future<Output = R> + Send + 'static,
    {
        build_with_channels(TaskType::Async, FutureData::default(), |ends| {
            RepeatableFuture::new(move |task: &TaskArc| {
                f(TaskContext::new(task.clone(), ends.clone()))
            })
        })
    }
}

#[cfg(feature = "async")]
impl Supervisor {
    /// Runs `future` on the default aloop.
    ///
    /// ```
    /// # use atasker_runtime as atasker;
    /// let sup = atasker::supervisor();
    /// assert_eq!(sup.spawn_async(async { 42 }).join().unwrap(), 42);
    /// ```
    pub fn spawn_async<R: Send + 'static>(
        &self,
        future: impl Future<Output = R> + Send + 'static,
    ) -> Task<R> {
        TaskBuilder::future(future).start_at(self.core())
    }
}
