//! A function that is called by its path may be an async one, and only its type tells: so what is
//! done with its result is chosen by method lookup on [`Arg<R>`]. The traits for futures come
//! first, those for anything else need one reference more.

#[cfg(feature = "mp")]
use crate::error::TaskError;
use crate::launcher::TaskBuilder;
use crate::params::Arg;
use crate::task::handle::Task;

/// The task of a call: a future goes to an aloop.
#[cfg(feature = "async")]
pub trait StartFuture<F: Future> {
    /// Runs once.
    fn start(&self, f: impl FnOnce() -> F + Send + 'static) -> TaskBuilder<F::Output>
    where
        F: Send + 'static,
        F::Output: Send + 'static;
    /// May run again.
    fn start_again(&self, f: impl FnMut() -> F + Send + 'static) -> TaskBuilder<F::Output>
    where
        F: Send + 'static,
        F::Output: Send + 'static;
}

#[cfg(feature = "async")]
impl<F: Future> StartFuture<F> for Arg<F> {
    fn start(&self, f: impl FnOnce() -> F + Send + 'static) -> TaskBuilder<F::Output>
    where
        F: Send + 'static,
        F::Output: Send + 'static,
    {
        TaskBuilder::future(f())
    }
    fn start_again(&self, f: impl FnMut() -> F + Send + 'static) -> TaskBuilder<F::Output>
    where
        F: Send + 'static,
        F::Output: Send + 'static,
    {
        TaskBuilder::__repeatable_future(f)
    }
}

/// The task of a call: anything else runs on a pool thread.
pub trait StartValue<R> {
    /// Runs once.
    fn start(&self, f: impl FnOnce() -> R + Send + 'static) -> TaskBuilder<R>
    where
        R: Send + 'static;
    /// May run again.
    fn start_again(&self, f: impl FnMut() -> R + Send + 'static) -> TaskBuilder<R>
    where
        R: Send + 'static;
}

impl<R> StartValue<R> for &Arg<R> {
    fn start(&self, f: impl FnOnce() -> R + Send + 'static) -> TaskBuilder<R>
    where
        R: Send + 'static,
    {
        TaskBuilder::new(f)
    }
    fn start_again(&self, f: impl FnMut() -> R + Send + 'static) -> TaskBuilder<R>
    where
        R: Send + 'static,
    {
        TaskBuilder::repeatable(f)
    }
}

/// What `Task` is not: the bound is there for its message.
#[diagnostic::on_unimplemented(
    message = "this function returns a `Task`: it is a launcher, and would run inside a task",
    label = "call it without `background!`, `f(..)`, or use its builder, `f::builder(..).start()`"
)]
pub trait NotALauncher {}

/// Own methods are found before those of the traits.
impl<R: Send + 'static, I, O> Arg<Task<R, I, O>> {
    /// Does not compile, and says why.
    pub fn start(&self, _: impl FnOnce() -> Task<R, I, O>) -> TaskBuilder<R>
    where
        Task<R, I, O>: NotALauncher,
    {
        super::never()
    }
    /// Does not compile, and says why.
    pub fn start_again(&self, _: impl FnMut() -> Task<R, I, O>) -> TaskBuilder<R>
    where
        Task<R, I, O>: NotALauncher,
    {
        super::never()
    }
}

#[cfg(feature = "mp")]
impl<R, I, O> Arg<Task<R, I, O>> {
    /// The type of what would come of it, so that this causes no error of its own.
    pub fn finished_call(&self) -> Arg<R> {
        Arg::new()
    }
    /// Does not compile, and says why.
    pub fn finish_call(&self, _: Task<R, I, O>) -> Result<R, TaskError>
    where
        Task<R, I, O>: NotALauncher,
    {
        super::never()
    }
}

/// The result of a call in a worker process: a future is run to its end.
#[cfg(feature = "mp")]
pub trait FinishFuture<F: Future> {
    /// The type of what comes of it.
    fn finished(&self) -> Arg<F::Output>;
    /// What comes of it.
    fn finish(&self, returned: F) -> Result<F::Output, TaskError>;
    /// The same where a function is called by its path, which may be a launcher.
    fn finished_call(&self) -> Arg<F::Output> {
        self.finished()
    }
    /// Likewise.
    fn finish_call(&self, returned: F) -> Result<F::Output, TaskError> {
        self.finish(returned)
    }
}

#[cfg(feature = "mp")]
impl<F: Future> FinishFuture<F> for Arg<F> {
    fn finished(&self) -> Arg<F::Output> {
        Arg::new()
    }
    fn finish(&self, returned: F) -> Result<F::Output, TaskError> {
        crate::private::block_on(returned)
    }
}

/// The result of a call in a worker process: anything else is the result itself.
#[cfg(feature = "mp")]
pub trait FinishValue<R> {
    /// The type of what comes of it.
    fn finished(&self) -> Arg<R>;
    /// What comes of it.
    fn finish(&self, returned: R) -> Result<R, TaskError>;
    /// The same where a function is called by its path, which may be a launcher.
    fn finished_call(&self) -> Arg<R> {
        self.finished()
    }
    /// Likewise.
    fn finish_call(&self, returned: R) -> Result<R, TaskError> {
        self.finish(returned)
    }
}

#[cfg(feature = "mp")]
impl<R> FinishValue<R> for &Arg<R> {
    fn finished(&self) -> Arg<R> {
        Arg::new()
    }
    fn finish(&self, returned: R) -> Result<R, TaskError> {
        Ok(returned)
    }
}
