//! The door for generated code, `atasker::__private`: what the attributes and `background!` expand
//! to uses this and nothing else that is not public. It is locked to the version of the macros.

use std::time::Duration;

#[cfg(feature = "mp")]
pub use crate::registry::{Call, FUNCTIONS, Function};
#[cfg(feature = "mp")]
pub use crate::wire::args::{
    Input, Output, ReadBlock, ReadOwned, ReadRef, ReadSlice, ResultBlock, ResultOwned, WriteBlock,
    WriteOwned, WriteRef,
};
#[cfg(feature = "mp")]
pub use crate::wire::codec::{Bincode, Format, Msgpack};
#[cfg(feature = "mp")]
pub use crate::wire::encoded::Encoded;
#[cfg(feature = "mp")]
pub use remote::*;

pub use crate::collection::{Ask, COLLECTED, Collected, Collection, CollectionPriority, collected};
use crate::launcher::TaskBuilder;
pub use crate::params::*;
pub use future::*;
pub use linkme;
pub use thread::*;
pub use worker::*;

mod future;
mod thread;
mod worker;

/// Whether worker processes are recognised before `main` in this build.
pub const PRE_MAIN: bool = cfg!(feature = "pre-main");

/// Lives as long as `main`.
#[must_use]
#[derive(Debug)]
pub struct MainGuard {
    drain: Option<Duration>,
}

/// The first thing that `main` does under `#[atasker::main]`, before any runtime is made. With
/// `drain`, the guard lets unfinished tasks go on for so long when `main` returns.
pub fn enter_main(drain: Option<Duration>) -> MainGuard {
    #[cfg(feature = "mp")]
    crate::process::enter();
    MainGuard { drain }
}

impl Drop for MainGuard {
    /// Waits for the default supervisor's tasks, where `drain` asks for that.
    fn drop(&mut self) {
        if let Some(limit) = self.drain {
            let options = crate::options::StopOptions::new().wait(limit);
            crate::supervisor::supervisor().stop(options);
        }
    }
}

/// The traits for `start`, whichever of them there are.
pub mod start {
    #[cfg(feature = "async")]
    pub use super::future::StartFuture as _;
    pub use super::future::StartValue as _;
}

/// What stands in place of a launch that did not compile.
pub fn never<T>() -> T {
    unreachable!("this program did not compile")
}

/// The same for a result that only its function can name.
pub fn never_of<R, I, O>(_: impl FnOnce() -> R) -> TaskBuilder<R, I, O> {
    never()
}

/// And for that of a future.
pub fn never_of_future<F: Future, I, O>(_: impl FnOnce() -> F) -> TaskBuilder<F::Output, I, O> {
    never()
}

// A returned `Err`.

/// The type of a builder's result, to ask whether it is a `Result`.
#[derive(Debug)]
pub struct Probe<R>(std::marker::PhantomData<fn() -> R>);

impl<R> Probe<R> {
    /// Of the result that a builder's task will have.
    pub fn of<I, O>(_: &TaskBuilder<R, I, O>) -> Self {
        Probe(std::marker::PhantomData)
    }
}

/// The result is a `Result`, whatever it is called. Found before [`IsOther`], which needs one
/// reference more.
pub trait IsResult<R> {
    /// What tells an `Err`.
    fn is_err(&self) -> Option<fn(&R) -> bool>;
}

impl<T, E> IsResult<Result<T, E>> for Probe<Result<T, E>> {
    fn is_err(&self) -> Option<fn(&Result<T, E>) -> bool> {
        Some(Result::is_err)
    }
}

/// The result is something else, whatever it is called.
pub trait IsOther<R> {
    /// Nothing tells an `Err`.
    fn is_err(&self) -> Option<fn(&R) -> bool>;
}

impl<R> IsOther<R> for &Probe<R> {
    fn is_err(&self) -> Option<fn(&R) -> bool> {
        None
    }
}

/// Tells the builder.
pub fn returned_err<R, I, O>(
    builder: TaskBuilder<R, I, O>,
    is_err: Option<fn(&R) -> bool>,
) -> TaskBuilder<R, I, O>
where
    R: Send + 'static,
    I: Send + 'static,
    O: Send + 'static,
{
    match is_err {
        Some(is_err) => builder.__returned_err(is_err),
        None => builder,
    }
}

#[cfg(feature = "mp")]
mod remote {
    use std::future::Future;

    use serde::Serialize;
    use serde::de::DeserializeOwned;

    use crate::error::TaskError;
    use crate::launcher::TaskBuilder;
    use crate::params::Arg;
    use crate::registry::{Call, Function};
    use crate::task::channel::Port;
    use crate::task::context::TaskContext;
    use crate::wire::args::{read_message, write_message};
    use crate::wire::codec::Format;
    use crate::wire::encoded::Encoded;

    /// How messages of one type travel.
    #[allow(missing_debug_implementations)]
    pub struct MessagePort<T>(Port<T>);

    /// See [`MessagePort`].
    pub fn port<F: Format, T: Serialize + DeserializeOwned>() -> MessagePort<T> {
        MessagePort(Port { encode: write_message::<F, T>, decode: read_message::<F, T> })
    }

    /// The context of a call, in the process that runs it.
    pub fn context<I, O>(
        call: &Call<'_>,
        inbox: MessagePort<I>,
        outbox: MessagePort<O>,
    ) -> TaskContext<I, O>
    where
        I: Send + 'static,
        O: Send + 'static,
    {
        call.context((inbox.0, outbox.0))
    }

    /// As [`TaskBuilder::__remote`], for a function that takes a context.
    pub fn remote_with_context<R, I, O>(
        function: &'static Function,
        args: Result<Encoded, TaskError>,
        decode: crate::wire::args::Reader<R>,
        inbox: MessagePort<I>,
        outbox: MessagePort<O>,
    ) -> TaskBuilder<R, I, O>
    where
        R: Send + 'static,
        I: Send + 'static,
        O: Send + 'static,
    {
        crate::launcher::remote(function, args, decode, Some((inbox.0, outbox.0)))
    }

    /// As [`TaskBuilder::__remote`], with the result's type taken from a function.
    pub fn remote<R: Send + 'static>(
        function: &'static Function,
        args: Result<Encoded, TaskError>,
        _: Arg<R>,
        decode: crate::wire::args::Reader<R>,
    ) -> TaskBuilder<R> {
        TaskBuilder::__remote(function, args, decode)
    }

    /// Runs an async function to its end on this thread.
    pub fn block_on<F: Future>(future: F) -> Result<F::Output, TaskError> {
        run_to_end(future)
    }

    #[cfg(feature = "async")]
    fn run_to_end<F: Future>(future: F) -> Result<F::Output, TaskError> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| TaskError::not_started(format!("no tokio runtime: {error}")))?;
        Ok(runtime.block_on(future))
    }

    #[cfg(not(feature = "async"))]
    fn run_to_end<F: Future>(future: F) -> Result<F::Output, TaskError> {
        let mut future = std::pin::pin!(future);
        let output = crate::task::park::block_on(None, |context| future.as_mut().poll(context));
        Ok(output.expect("there is no deadline"))
    }
}
