//! Support for generated code, re-exported as `atasker::__private`.
//!
//! The expansions of the macros use the public interface and this module, and nothing else. It may
//! change in every release, because the versions of the crates are pinned to each other.

use std::time::Duration;

#[cfg(feature = "mp")]
pub use crate::__needs_worker_processes as needs_worker_processes;
#[cfg(feature = "mp")]
pub use crate::remote::functions::{Call, FUNCTIONS, Function, RemoteFunction, versioned};
#[cfg(feature = "remote")]
pub use crate::remote::returned::add_is_err;
#[cfg(feature = "mp")]
pub use crate::wire::args::{
    Input, NoRead, NoResult, NoWrite, Output, ReadBlock, ReadOwned, ReadRef, ReadSlice,
    ResultBlock, ResultOwned, WriteBlock, WriteOwned, WriteRef,
};
#[cfg(feature = "mp")]
pub use crate::wire::codec::{Bincode, Format, Msgpack};
#[cfg(feature = "mp")]
pub use crate::wire::payload::Payload;
#[cfg(feature = "mp")]
pub use portable::*;
#[cfg(feature = "mp")]
pub use remote::*;

pub use crate::collection::{
    COLLECTED, CollectedFn, Collection, CollectionPriority, Probe as CollectionProbe, collected,
};
pub use crate::launch::MapOptions;
use crate::launch::TaskBuilder;
#[cfg(feature = "mp")]
pub use crate::launch::run_chunk;
pub use crate::params::*;
pub use bounds::*;
#[cfg(feature = "remote")]
pub use encoded_key::*;
pub use future::*;
pub use linkme;
pub use map::*;
pub use thread::*;
pub use unique::*;
pub use verdict::*;
pub use worker::*;

#[cfg(feature = "remote")]
mod encoded_key;
#[cfg(feature = "mp")]
mod platform;
#[cfg(feature = "mp")]
mod portable;

mod bounds;
mod future;
mod map;
mod thread;
mod unique;
mod verdict;
mod worker;

/// Whether this build recognizes worker processes before `main`.
pub const PRE_MAIN: bool = cfg!(feature = "pre-main");

/// The guard of `#[atasker::main]`, which lives until `main` returns.
#[must_use]
#[derive(Debug)]
pub struct MainGuard {
    drain: Option<Duration>,
}

/// Called first by `#[atasker::main]`, before any runtime is built. In a worker process, it doesn't
/// return. With `drain`, dropping the guard waits up to that long for unfinished tasks.
pub fn enter_main(drain: Option<Duration>) -> MainGuard {
    #[cfg(feature = "mp")]
    crate::process::enter();
    MainGuard { drain }
}

impl Drop for MainGuard {
    /// Waits for the tasks of the default supervisor, if `drain` is set.
    fn drop(&mut self) {
        if let Some(limit) = self.drain {
            let options = crate::options::StopOptions::new().wait(limit);
            crate::supervisor::supervisor().stop(options);
        }
    }
}

/// The traits with `__atasker_start` that the enabled features provide.
pub mod start {
    #[cfg(feature = "async")]
    pub use super::future::StartFuture as _;
    pub use super::future::StartValue as _;
}

/// Returns the internal state of the worker processes of a supervisor, for tests that report a
/// hang.
#[cfg(feature = "mp")]
pub fn show_mp_pool(supervisor: &crate::Supervisor) -> String {
    supervisor.core().processes.describe()
}

/// Returns a value of the type, in code that never runs.
#[cfg(feature = "mp")]
pub fn value_of<R>(_: Arg<R>) -> R {
    never()
}

/// Implemented for all types. Calling its method requires that the compiler knows the type.
#[cfg(feature = "mp")]
pub trait Known {
    /// Does nothing.
    fn __atasker_known(&self) {}
}

#[cfg(feature = "mp")]
impl<T> Known for T {}

/// Replaces a launch that did not compile.
pub fn never<T>() -> T {
    unreachable!("this program did not compile")
}

/// Replaces a launch that did not compile, with the result type of a function.
pub fn never_of<R, I, O>(_: impl FnOnce() -> R) -> TaskBuilder<R, I, O> {
    never()
}

/// Replaces a launch that did not compile, with the result type of an async function.
pub fn never_of_future<F: Future, I, O>(_: impl FnOnce() -> F) -> TaskBuilder<F::Output, I, O> {
    never()
}

// Detects results of type `Result`, because `retries` repeats a task that returns an `Err`.

/// Selects [`IsResult`] or [`IsOther`] for the type of a result.
#[derive(Debug)]
pub struct Probe<R>(std::marker::PhantomData<fn() -> R>);

impl<R> Probe<R> {
    /// Creates a probe for the result type of a builder.
    pub fn of<I, O>(_: &TaskBuilder<R, I, O>) -> Self {
        Probe(std::marker::PhantomData)
    }

    /// Creates a probe for the type of a result.
    pub fn of_result(_: &R) -> Self {
        Probe(std::marker::PhantomData)
    }
}

/// Implemented if the result is a `Result`, by any name. Method lookup finds it before [`IsOther`],
/// which needs one more reference.
pub trait IsResult<R> {
    /// Returns the function that recognizes an `Err`.
    fn __atasker_is_err(&self) -> Option<fn(&R) -> bool>;
}

impl<T, E> IsResult<Result<T, E>> for Probe<Result<T, E>> {
    fn __atasker_is_err(&self) -> Option<fn(&Result<T, E>) -> bool> {
        Some(Result::is_err)
    }
}

/// Implemented for all result types. Used if the result is not a `Result`.
pub trait IsOther<R> {
    /// Returns `None`, because the result has no `Err`.
    fn __atasker_is_err(&self) -> Option<fn(&R) -> bool>;
}

impl<R> IsOther<R> for &Probe<R> {
    fn __atasker_is_err(&self) -> Option<fn(&R) -> bool> {
        None
    }
}

/// Passes the function that recognizes an `Err` to the builder.
pub fn returned_err<R, I, O>(
    builder: TaskBuilder<R, I, O>,
    is_err: Option<fn(&R) -> bool>,
) -> TaskBuilder<R, I, O>
where
    R: 'static,
    I: Send + 'static,
    O: Send + 'static,
{
    match is_err {
        Some(is_err) => builder.returned_err(is_err),
        None => builder,
    }
}

#[cfg(feature = "mp")]
mod remote {
    use std::future::Future;

    use serde::Serialize;
    use serde::de::DeserializeOwned;

    #[cfg(feature = "remote")]
    use crate::cluster::{error::ClusterError, handle::Cluster};
    use crate::error::TaskError;
    #[cfg(feature = "remote")]
    use crate::id::TaskId;
    use crate::launch::TaskBuilder;
    use crate::params::{Arg, never_compiles};
    use crate::remote::functions::{Call, Function};
    use crate::task::context::TaskContext;
    use crate::task::endpoint::Codec;
    #[cfg(feature = "remote")]
    use crate::task::handle::Task;
    use crate::wire::args::{Reader, read_message, write_message};
    use crate::wire::codec::Format;
    use crate::wire::payload::Payload;

    /// The codec of messages of one type.
    pub struct MessageCodec<T>(Codec<T>);

    impl<T> std::fmt::Debug for MessageCodec<T> {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("MessageCodec")
        }
    }

    /// Returns the codec of messages that can be sent.
    pub trait MessageOwned<T> {
        /// Returns the codec.
        fn __atasker_codec<F: Format>(&self) -> MessageCodec<T>;
    }

    impl<T: Serialize + DeserializeOwned + Send> MessageOwned<T> for &Arg<T> {
        fn __atasker_codec<F: Format>(&self) -> MessageCodec<T> {
            MessageCodec(Codec { encode: write_message::<F, T>, decode: read_message::<F, T> })
        }
    }

    /// Accepts all other types, which the check by [`Portable`](super::Portable) rejects.
    pub trait NoMessage<T> {
        /// Never compiles if it is used.
        fn __atasker_codec<F: Format>(&self) -> MessageCodec<T> {
            never_compiles!(F, "messages of this program can't be sent to a worker process")
        }
    }

    impl<T> NoMessage<T> for Arg<T> {}

    /// Returns the context of a call, in the process that runs it.
    pub fn context<I, O>(
        call: &Call<'_>,
        incoming: MessageCodec<I>,
        outgoing: MessageCodec<O>,
    ) -> TaskContext<I, O>
    where
        I: Send + 'static,
        O: Send + 'static,
    {
        call.context((incoming.0, outgoing.0))
    }

    /// Creates the task of a call whose result can be sent between threads.
    pub trait RemoteSend<R> {
        /// Creates the task.
        fn __atasker_remote(
            &self,
            function: &'static Function,
            args: Result<Payload, TaskError>,
            decode: Reader<R>,
        ) -> TaskBuilder<R>;
        /// Creates the task of a function that takes a context.
        fn __atasker_remote_with_context<I, O>(
            &self,
            function: &'static Function,
            args: Result<Payload, TaskError>,
            decode: Reader<R>,
            incoming: MessageCodec<I>,
            outgoing: MessageCodec<O>,
        ) -> TaskBuilder<R, I, O>
        where
            I: Send + 'static,
            O: Send + 'static;
        /// Creates the task of a call to another machine.
        #[cfg(feature = "remote")]
        fn __atasker_remote_call(
            &self,
            function: &'static Function,
            args: Result<Payload, TaskError>,
            decode: Reader<R>,
        ) -> TaskBuilder<R>;
        /// Creates the task of a call to another machine, of a function that takes a context.
        #[cfg(feature = "remote")]
        fn __atasker_remote_call_with_context<I, O>(
            &self,
            function: &'static Function,
            args: Result<Payload, TaskError>,
            decode: Reader<R>,
            incoming: MessageCodec<I>,
            outgoing: MessageCodec<O>,
        ) -> TaskBuilder<R, I, O>
        where
            I: Send + 'static,
            O: Send + 'static;
        /// Returns a handle of a call that was launched before.
        #[cfg(feature = "remote")]
        fn __atasker_attach(
            &self,
            cluster: &Cluster,
            id: TaskId,
            function: &'static Function,
            decode: Reader<R>,
        ) -> Result<Task<R>, ClusterError>;
        /// Returns a handle of a call that was launched before, to a function that takes a context.
        #[cfg(feature = "remote")]
        fn __atasker_attach_with_context<I, O>(
            &self,
            cluster: &Cluster,
            id: TaskId,
            function: &'static Function,
            decode: Reader<R>,
            incoming: MessageCodec<I>,
            outgoing: MessageCodec<O>,
        ) -> Result<Task<R, I, O>, ClusterError>
        where
            I: Send + 'static,
            O: Send + 'static;
    }

    impl<R: Send + 'static> RemoteSend<R> for &Arg<R> {
        fn __atasker_remote(
            &self,
            function: &'static Function,
            args: Result<Payload, TaskError>,
            decode: Reader<R>,
        ) -> TaskBuilder<R> {
            crate::launch::remote(function, args, decode, None)
        }
        fn __atasker_remote_with_context<I, O>(
            &self,
            function: &'static Function,
            args: Result<Payload, TaskError>,
            decode: Reader<R>,
            incoming: MessageCodec<I>,
            outgoing: MessageCodec<O>,
        ) -> TaskBuilder<R, I, O>
        where
            I: Send + 'static,
            O: Send + 'static,
        {
            crate::launch::remote(function, args, decode, Some((incoming.0, outgoing.0)))
        }
        #[cfg(feature = "remote")]
        fn __atasker_remote_call(
            &self,
            function: &'static Function,
            args: Result<Payload, TaskError>,
            decode: Reader<R>,
        ) -> TaskBuilder<R> {
            crate::launch::remote_call(function, args, decode, None)
        }
        #[cfg(feature = "remote")]
        fn __atasker_remote_call_with_context<I, O>(
            &self,
            function: &'static Function,
            args: Result<Payload, TaskError>,
            decode: Reader<R>,
            incoming: MessageCodec<I>,
            outgoing: MessageCodec<O>,
        ) -> TaskBuilder<R, I, O>
        where
            I: Send + 'static,
            O: Send + 'static,
        {
            crate::launch::remote_call(function, args, decode, Some((incoming.0, outgoing.0)))
        }
        #[cfg(feature = "remote")]
        fn __atasker_attach(
            &self,
            cluster: &Cluster,
            id: TaskId,
            function: &'static Function,
            decode: Reader<R>,
        ) -> Result<Task<R>, ClusterError> {
            crate::launch::attach(cluster, id, function, decode, None)
        }
        #[cfg(feature = "remote")]
        fn __atasker_attach_with_context<I, O>(
            &self,
            cluster: &Cluster,
            id: TaskId,
            function: &'static Function,
            decode: Reader<R>,
            incoming: MessageCodec<I>,
            outgoing: MessageCodec<O>,
        ) -> Result<Task<R, I, O>, ClusterError>
        where
            I: Send + 'static,
            O: Send + 'static,
        {
            let codecs = Some((incoming.0, outgoing.0));
            crate::launch::attach(cluster, id, function, decode, codecs)
        }
    }

    /// Accepts all other results, which a check rejects.
    pub trait RemoteNotSend<R> {
        /// Never compiles if it is used.
        fn __atasker_remote(
            &self,
            _: &'static Function,
            _: Result<Payload, TaskError>,
            _: Reader<R>,
        ) -> TaskBuilder<R> {
            never_compiles!(R, "the result of a task in a worker process is not `Send`")
        }
        /// Never compiles if it is used.
        fn __atasker_remote_with_context<I, O>(
            &self,
            _: &'static Function,
            _: Result<Payload, TaskError>,
            _: Reader<R>,
            _: MessageCodec<I>,
            _: MessageCodec<O>,
        ) -> TaskBuilder<R, I, O> {
            never_compiles!(R, "the result of a task in a worker process is not `Send`")
        }
        /// Never compiles if it is used.
        #[cfg(feature = "remote")]
        fn __atasker_remote_call(
            &self,
            _: &'static Function,
            _: Result<Payload, TaskError>,
            _: Reader<R>,
        ) -> TaskBuilder<R> {
            never_compiles!(R, "the result of a task on another machine is not `Send`")
        }
        /// Never compiles if it is used.
        #[cfg(feature = "remote")]
        fn __atasker_remote_call_with_context<I, O>(
            &self,
            _: &'static Function,
            _: Result<Payload, TaskError>,
            _: Reader<R>,
            _: MessageCodec<I>,
            _: MessageCodec<O>,
        ) -> TaskBuilder<R, I, O> {
            never_compiles!(R, "the result of a task on another machine is not `Send`")
        }
        /// Never compiles if it is used.
        #[cfg(feature = "remote")]
        fn __atasker_attach(
            &self,
            _: &Cluster,
            _: TaskId,
            _: &'static Function,
            _: Reader<R>,
        ) -> Result<Task<R>, ClusterError> {
            never_compiles!(R, "the result of a task on another machine is not `Send`")
        }
        /// Never compiles if it is used.
        #[cfg(feature = "remote")]
        fn __atasker_attach_with_context<I, O>(
            &self,
            _: &Cluster,
            _: TaskId,
            _: &'static Function,
            _: Reader<R>,
            _: MessageCodec<I>,
            _: MessageCodec<O>,
        ) -> Result<Task<R, I, O>, ClusterError> {
            never_compiles!(R, "the result of a task on another machine is not `Send`")
        }
    }

    impl<R> RemoteNotSend<R> for Arg<R> {}

    /// Runs a future to completion on the current thread.
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
