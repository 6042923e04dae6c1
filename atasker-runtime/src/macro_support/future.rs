//! Selects how the result of a call is handled.
//!
//! A function that `background!` calls by its path may be async, which only its type shows. The
//! handling of the result is therefore selected by method lookup on [`Arg<R>`]: the traits for
//! futures are found first, and those for other types need one more reference.

#[cfg(feature = "mp")]
use crate::error::TaskError;
use crate::launch::TaskBuilder;
use crate::params::Arg;
use crate::task::handle::Task;

#[cfg(feature = "async")]
pub use with_result::*;

/// The constructors of tasks that run futures, with the type of the result as a parameter with its
/// own bound: see `thread`.
#[cfg(feature = "async")]
mod with_result {
    use crate::launch::TaskBuilder;
    use crate::params::Arg;
    use crate::task::context::TaskContext;

    /// Creates a task that runs once.
    pub fn future<R: Send + 'static>(
        _: Arg<R>,
        future: impl Future<Output = R> + Send + 'static,
    ) -> TaskBuilder<R> {
        TaskBuilder::future(future)
    }

    /// Creates a task that may run again.
    pub fn future_again<R: Send + 'static, F: Future<Output = R> + Send + 'static>(
        _: Arg<R>,
        f: impl FnMut() -> F + Send + 'static,
    ) -> TaskBuilder<R> {
        TaskBuilder::__repeatable_future(f)
    }

    /// Creates a task that runs once, with a context.
    pub fn future_with<R, I, O, F>(
        _: Arg<R>,
        f: impl FnOnce(TaskContext<I, O>) -> F + Send + 'static,
    ) -> TaskBuilder<R, I, O>
    where
        R: Send + 'static,
        I: Send + 'static,
        O: Send + 'static,
        F: Future<Output = R> + Send + 'static,
    {
        TaskBuilder::__future_with_context(f)
    }

    /// Creates a task that may run again, with a context.
    pub fn future_with_again<R, I, O, F>(
        _: Arg<R>,
        f: impl FnMut(TaskContext<I, O>) -> F + Send + 'static,
    ) -> TaskBuilder<R, I, O>
    where
        R: Send + 'static,
        I: Send + 'static,
        O: Send + 'static,
        F: Future<Output = R> + Send + 'static,
    {
        TaskBuilder::__repeatable_future_with_context(f)
    }
}

/// Creates the task of a call that returns a future, which runs on an aloop.
#[cfg(feature = "async")]
pub trait StartFuture<F: Future> {
    /// Creates a task that runs once.
    fn __atasker_start(&self, f: impl FnOnce() -> F + Send + 'static) -> TaskBuilder<F::Output>
    where
        F: Send + 'static,
        F::Output: Send + 'static;
    /// Creates a task that may run again.
    fn __atasker_start_again(
        &self,
        f: impl FnMut() -> F + Send + 'static,
    ) -> TaskBuilder<F::Output>
    where
        F: Send + 'static,
        F::Output: Send + 'static;
}

#[cfg(feature = "async")]
impl<F: Future> StartFuture<F> for Arg<F> {
    fn __atasker_start(&self, f: impl FnOnce() -> F + Send + 'static) -> TaskBuilder<F::Output>
    where
        F: Send + 'static,
        F::Output: Send + 'static,
    {
        TaskBuilder::future(f())
    }
    fn __atasker_start_again(&self, f: impl FnMut() -> F + Send + 'static) -> TaskBuilder<F::Output>
    where
        F: Send + 'static,
        F::Output: Send + 'static,
    {
        TaskBuilder::__repeatable_future(f)
    }
}

/// Creates the task of any other call, which runs on a pool thread.
pub trait StartValue<R> {
    /// Creates a task that runs once.
    fn __atasker_start(&self, f: impl FnOnce() -> R + Send + 'static) -> TaskBuilder<R>
    where
        R: Send + 'static;
    /// Creates a task that may run again.
    fn __atasker_start_again(&self, f: impl FnMut() -> R + Send + 'static) -> TaskBuilder<R>
    where
        R: Send + 'static;
}

impl<R> StartValue<R> for &Arg<R> {
    fn __atasker_start(&self, f: impl FnOnce() -> R + Send + 'static) -> TaskBuilder<R>
    where
        R: Send + 'static,
    {
        TaskBuilder::new(f)
    }
    fn __atasker_start_again(&self, f: impl FnMut() -> R + Send + 'static) -> TaskBuilder<R>
    where
        R: Send + 'static,
    {
        TaskBuilder::repeatable(f)
    }
}

/// Never implemented. The bound exists for its error message.
#[diagnostic::on_unimplemented(
    message = "this function returns a `Task`: it is a launcher, and would run inside a task",
    label = "launch it by itself, `f(..)`, or by its builder, `f::builder(..).start()`"
)]
pub trait NotALauncher {}

/// Rejects launchers: inherent methods are found before those of the traits.
impl<R: Send + 'static, I, O> Arg<Task<R, I, O>> {
    /// Never compiles: the bound reports the launcher.
    pub fn __atasker_start(&self, _: impl FnOnce() -> Task<R, I, O>) -> TaskBuilder<R>
    where
        Task<R, I, O>: NotALauncher,
    {
        super::never()
    }
    /// Never compiles: the bound reports the launcher.
    pub fn __atasker_start_again(&self, _: impl FnMut() -> Task<R, I, O>) -> TaskBuilder<R>
    where
        Task<R, I, O>: NotALauncher,
    {
        super::never()
    }
}

#[cfg(feature = "mp")]
impl<R, I, O> Arg<Task<R, I, O>> {
    /// Returns the result type of the task, so that this call causes no further error.
    pub fn __atasker_finished_call(&self) -> Arg<R> {
        Arg::new()
    }
    /// Never compiles: the bound reports the launcher.
    pub fn __atasker_finish_call(&self, _: Task<R, I, O>) -> Result<R, TaskError>
    where
        Task<R, I, O>: NotALauncher,
    {
        super::never()
    }
}

/// Handles a future that a call in a worker process returns: runs it to completion.
#[cfg(feature = "mp")]
pub trait FinishFuture<F: Future> {
    /// Returns the type of the final result.
    fn __atasker_finished(&self) -> Arg<F::Output>;
    /// Returns the final result.
    fn __atasker_finish(&self, returned: F) -> Result<F::Output, TaskError>;
    /// Does the same for a function that is called by its path, and may be a launcher.
    fn __atasker_finished_call(&self) -> Arg<F::Output> {
        self.__atasker_finished()
    }
    /// Does the same for a function that is called by its path, and may be a launcher.
    fn __atasker_finish_call(&self, returned: F) -> Result<F::Output, TaskError> {
        self.__atasker_finish(returned)
    }
}

#[cfg(feature = "mp")]
impl<F: Future> FinishFuture<F> for Arg<F> {
    fn __atasker_finished(&self) -> Arg<F::Output> {
        Arg::new()
    }
    fn __atasker_finish(&self, returned: F) -> Result<F::Output, TaskError> {
        crate::macro_support::block_on(returned)
    }
}

/// Handles any other value that a call in a worker process returns: the value is the result.
#[cfg(feature = "mp")]
pub trait FinishValue<R> {
    /// Returns the type of the final result.
    fn __atasker_finished(&self) -> Arg<R>;
    /// Returns the final result.
    fn __atasker_finish(&self, returned: R) -> Result<R, TaskError>;
    /// Does the same for a function that is called by its path, and may be a launcher.
    fn __atasker_finished_call(&self) -> Arg<R> {
        self.__atasker_finished()
    }
    /// Does the same for a function that is called by its path, and may be a launcher.
    fn __atasker_finish_call(&self, returned: R) -> Result<R, TaskError> {
        self.__atasker_finish(returned)
    }
}

#[cfg(feature = "mp")]
impl<R> FinishValue<R> for &Arg<R> {
    fn __atasker_finished(&self) -> Arg<R> {
        Arg::new()
    }
    fn __atasker_finish(&self, returned: R) -> Result<R, TaskError> {
        Ok(returned)
    }
}
