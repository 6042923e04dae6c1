//! What a run of a background worker comes to, and what can go wrong.

use std::fmt::{self, Display};
use std::ops::ControlFlow;

use serde::{Deserialize, Serialize};

use crate::error::TaskError;

/// What one run says about the next.
#[doc(hidden)]
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum RunEnd {
    /// Go on.
    Continue,
    /// That was the last one.
    Stop,
    /// The function returned an `Err`; its text.
    Err(String),
}

/// What the function of a background worker may return: `()`, `bool` (`false` stops the worker),
/// [`ControlFlow<()>`](ControlFlow) (`Break` stops it), or a `Result` of these, whose error goes to
/// the worker's `on_error`.
#[diagnostic::on_unimplemented(
    message = "a background worker's function can't return `{Self}`",
    label = "it returns this",
    note = "it returns `()`, `bool`, `ControlFlow<()>`, or a `Result` of these whose error implements `Display`; with `process_result = path`, any type"
)]
pub trait WorkerOutput {
    #[doc(hidden)]
    fn run_end(self) -> RunEnd;
}

/// What generated code has made of a result.
impl WorkerOutput for RunEnd {
    fn run_end(self) -> RunEnd {
        self
    }
}

impl WorkerOutput for () {
    fn run_end(self) -> RunEnd {
        RunEnd::Continue
    }
}

/// What a function returns that never does: `|| panic!(..)`. The type can only be named so.
type Never = <fn() -> ! as Returns>::Output;

#[doc(hidden)]
pub trait Returns {
    type Output;
}

impl<T> Returns for fn() -> T {
    type Output = T;
}

impl WorkerOutput for Never {
    fn run_end(self) -> RunEnd {
        self
    }
}

impl WorkerOutput for bool {
    fn run_end(self) -> RunEnd {
        if self { RunEnd::Continue } else { RunEnd::Stop }
    }
}

impl WorkerOutput for ControlFlow<()> {
    fn run_end(self) -> RunEnd {
        match self {
            ControlFlow::Continue(()) => RunEnd::Continue,
            ControlFlow::Break(()) => RunEnd::Stop,
        }
    }
}

impl<T: WorkerOutput, E: Display> WorkerOutput for Result<T, E> {
    fn run_end(self) -> RunEnd {
        match self {
            Ok(output) => output.run_end(),
            Err(error) => RunEnd::Err(error.to_string()),
        }
    }
}

/// A run of a background worker went wrong: its function panicked or returned an `Err`, its worker
/// process died, or it could not be launched.
#[derive(Clone, Debug)]
pub struct WorkerError {
    worker: String,
    run: u64,
    what: What,
}

#[derive(Clone, Debug)]
enum What {
    Returned(String),
    Task(TaskError),
}

impl WorkerError {
    pub(super) fn returned(worker: &str, run: u64, text: String) -> Self {
        WorkerError { worker: worker.to_owned(), run, what: What::Returned(text) }
    }

    pub(super) fn task(worker: &str, run: u64, error: TaskError) -> Self {
        WorkerError { worker: worker.to_owned(), run, what: What::Task(error) }
    }

    /// The worker's name.
    pub fn worker(&self) -> &str {
        &self.worker
    }

    /// Which run it was, from 1.
    pub fn run(&self) -> u64 {
        self.run
    }

    /// What went wrong, in words.
    pub fn message(&self) -> String {
        match &self.what {
            What::Returned(text) => text.clone(),
            What::Task(error) => error.to_string(),
        }
    }

    /// Whether the function panicked.
    pub fn is_panic(&self) -> bool {
        self.task_error().is_some_and(TaskError::is_panic)
    }

    /// The error of the run's task; `None` if the function returned an `Err`.
    pub fn task_error(&self) -> Option<&TaskError> {
        match &self.what {
            What::Returned(_) => None,
            What::Task(error) => Some(error),
        }
    }
}

impl Display for WorkerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (worker, run) = (&self.worker, self.run);
        match &self.what {
            What::Returned(text) => write!(f, "run {run} of `{worker}` returned an error: {text}"),
            What::Task(error) => write!(f, "run {run} of `{worker}` failed: {error}"),
        }
    }
}

impl std::error::Error for WorkerError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.task_error().map(|error| error as _)
    }
}

/// An item was not put into a worker's queue; here it is.
#[derive(Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum PutError<T> {
    /// The worker is stopped.
    Stopped(T),
    /// The queue is full; only from [`try_put`](crate::QueueWorker::try_put).
    Full(T),
}

impl<T> PutError<T> {
    /// The item.
    pub fn into_inner(self) -> T {
        match self {
            PutError::Stopped(item) | PutError::Full(item) => item,
        }
    }

    /// Whether the queue was full.
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
