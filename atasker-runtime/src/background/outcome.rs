//! The outcomes of a worker's runs, and the error of a queue.

use std::fmt::{self, Display};
use std::ops::ControlFlow;

use serde::{Deserialize, Serialize};

/// What a run decides about further runs.
#[doc(hidden)]
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum RunEnd {
    /// The worker continues.
    Continue,
    /// The worker stops.
    Stop,
    /// The function returned an `Err` with this text.
    Err(String),
}

mod sealed {
    pub trait Output {}
}

/// The return types of a background worker's function.
///
/// These are `()`, `bool` (`false` stops the worker), [`ControlFlow<()>`](ControlFlow) (`Break`
/// stops the worker), and a `Result` of these, whose error is passed to `on_error` of the worker.
///
/// This trait is sealed: it is implemented for these types only.
///
/// ```
/// # use atasker_runtime as atasker;
/// use atasker::{LoopWorker, WorkerContext};
/// // Stops after three runs.
/// let worker = LoopWorker::builder().run(|ctx: &WorkerContext| ctx.runs() < 2);
/// worker.start();
/// # while worker.is_started() { std::thread::yield_now() }
/// assert_eq!(worker.runs(), 3);
/// ```
#[diagnostic::on_unimplemented(
    message = "a background worker's function can't return `{Self}`",
    label = "it returns this",
    note = "it returns `()`, `bool`, `ControlFlow<()>`, or a `Result` of these whose error implements `Display`; with `process_result = path`, any type"
)]
pub trait WorkerOutput: sealed::Output {
    #[doc(hidden)]
    fn run_end(self) -> RunEnd;
}

impl sealed::Output for RunEnd {}
/// For results that generated code has converted already.
impl WorkerOutput for RunEnd {
    fn run_end(self) -> RunEnd {
        self
    }
}

impl sealed::Output for () {}
impl WorkerOutput for () {
    fn run_end(self) -> RunEnd {
        RunEnd::Continue
    }
}

/// The never type, which functions like `|| panic!(..)` return. Stable Rust can't name it directly.
type Never = <fn() -> ! as Returns>::Output;

#[doc(hidden)]
pub trait Returns {
    type Output;
}

impl<T> Returns for fn() -> T {
    type Output = T;
}

impl sealed::Output for Never {}
impl WorkerOutput for Never {
    fn run_end(self) -> RunEnd {
        self
    }
}

impl sealed::Output for bool {}
impl WorkerOutput for bool {
    fn run_end(self) -> RunEnd {
        if self { RunEnd::Continue } else { RunEnd::Stop }
    }
}

impl sealed::Output for ControlFlow<()> {}
impl WorkerOutput for ControlFlow<()> {
    fn run_end(self) -> RunEnd {
        match self {
            ControlFlow::Continue(()) => RunEnd::Continue,
            ControlFlow::Break(()) => RunEnd::Stop,
        }
    }
}

impl<T: WorkerOutput, E: Display> sealed::Output for Result<T, E> {}
impl<T: WorkerOutput, E: Display> WorkerOutput for Result<T, E> {
    fn run_end(self) -> RunEnd {
        match self {
            Ok(output) => output.run_end(),
            Err(error) => RunEnd::Err(error.to_string()),
        }
    }
}

/// The error of `put`: the item was not added to the queue. The error contains the item.
///
/// ```
/// # use atasker_runtime as atasker;
/// use atasker::QueueWorker;
/// // The worker is not started, so the first item remains in its queue.
/// let worker = QueueWorker::builder().queue_limit(1).run(|_, item: u8| println!("{item}"));
/// worker.put(1).unwrap();
/// let error = worker.try_put(2).unwrap_err();
/// assert!(error.is_full());
/// assert_eq!(error.into_inner(), 2);
/// ```
#[derive(Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum PutError<T> {
    /// The worker is stopped.
    Stopped(T),
    /// The queue is full. Only [`try_put`](crate::QueueWorker::try_put) returns this error.
    Full(T),
}

impl<T> PutError<T> {
    /// Returns the item.
    pub fn into_inner(self) -> T {
        match self {
            PutError::Stopped(item) | PutError::Full(item) => item,
        }
    }

    /// Returns whether the queue was full.
    pub fn is_full(&self) -> bool {
        matches!(self, PutError::Full(_))
    }
}

impl<T> Display for PutError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            PutError::Stopped(_) => "the queue worker is stopped: start it again first",
            PutError::Full(_) => "the queue of the worker is full",
        })
    }
}

impl<T> fmt::Debug for PutError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            PutError::Stopped(_) => "Stopped(..)",
            PutError::Full(_) => "Full(..)",
        })
    }
}

impl<T> std::error::Error for PutError<T> {}
