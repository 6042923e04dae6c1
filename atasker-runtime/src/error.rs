//! Errors, grouped by what the caller can do about them.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::id::TaskId;

pub(crate) use crate::sys::advice::with_advice;

/// The error with which a task ended.
///
/// ```
/// # use atasker_runtime as atasker;
/// use atasker::{Supervisor, TaskError};
/// let sup = Supervisor::builder().build();
/// let error = sup.spawn(|| -> u32 { panic!("no luck") }).join().unwrap_err();
/// assert!(error.is_panic());
/// assert!(error.to_string().contains("no luck"));
/// ```
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TaskError {
    /// The function panicked, here or in a worker process.
    #[error("the task panicked{}: {message}", At(.location))]
    Panicked {
        /// The message of the panic.
        message: String,
        /// Where the panic happened, as `file:line:col`.
        ///
        /// `None` if the location is unknown. That is the case if the payload was raised with
        /// `resume_unwind` by another thread or created for it, or if the program has removed the
        /// panic hook with `std::panic::take_hook`, keeps it, and has set one that does not call
        /// it. Setting a hook without removing the previous one loses no locations.
        location: Option<String>,
        /// The backtrace, if `RUST_BACKTRACE` enables it.
        backtrace: Option<String>,
    },
    /// The task was canceled before it began, or killed.
    #[error("the task was canceled")]
    Canceled,
    /// The task exceeded its time limit.
    #[error("the task exceeded its time limit of {limit:?}")]
    TimedOut {
        /// The time limit of the task.
        limit: Duration,
    },
    /// The worker process died while it ran the task.
    #[error("{0}")]
    WorkerDied(WorkerDeath),
    /// A value could not be encoded or decoded.
    #[error("could not {stage} a value of type `{type_name}`: {detail}")]
    Codec {
        /// The step that failed.
        stage: CodecStage,
        /// The name of the type.
        type_name: String,
        /// The error of the format, and how to fix it.
        detail: String,
    },
    /// The supervisor was stopped before the task ended, or accepts no tasks; or the aloop of the
    /// task was stopped.
    #[error(
        "the supervisor is stopped (`start()` restarts it), or the aloop of the task is stopped \
         (`create_aloop` starts a new one)"
    )]
    SupervisorStopped,
    /// The queue of the pool is at its limit, and [`Overflow::Reject`](crate::Overflow::Reject)
    /// applies.
    #[error("the queue of the pool is full")]
    QueueFull,
    /// The task expired, because its first attempt had not begun in time: see
    /// [`TaskBuilder::expires`](crate::TaskBuilder::expires).
    #[error("the task expired: after {after:?} it still waited for {detail}")]
    Expired {
        /// The time after which the task expires, its delay not counted.
        after: Duration,
        /// What the task waited for.
        detail: String,
    },
    /// A task of the same name and key has not ended: see
    /// [`TaskBuilder::unique`](crate::TaskBuilder::unique).
    #[error("a task of the same name and `unique` key has not ended: {id}")]
    Duplicate {
        /// The id of that task.
        id: TaskId,
    },
    /// The node that ran the task was lost (dead, frozen or cut off), and the task may not run again:
    /// it has used up the runs that the key `redeliver` allows.
    #[error("the node `{node}` was lost while it ran the task; runs lost so far: {losses}")]
    NodeLost {
        /// The name of the node.
        node: String,
        /// The number of runs that were lost, this one included.
        losses: u32,
    },
    /// The cluster can't run the task.
    #[cfg(feature = "remote")]
    #[error("{0}")]
    Cluster(crate::cluster_error::ClusterError),
    /// The task could not be started.
    #[error("the task could not be started: {detail}")]
    NotStarted {
        /// What is missing, and how to fix it.
        detail: String,
    },
}

/// Like the derived implementation, except that the backtrace keeps its line breaks, because
/// `unwrap` prints it.
impl fmt::Debug for TaskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TaskError::Panicked { message, location, backtrace } => f
                .debug_struct("Panicked")
                .field("message", message)
                .field("location", location)
                .field("backtrace", &backtrace.as_deref().map(Lines))
                .finish(),
            TaskError::Canceled => f.write_str("Canceled"),
            TaskError::TimedOut { limit } => {
                f.debug_struct("TimedOut").field("limit", limit).finish()
            }
            TaskError::WorkerDied(death) => f.debug_tuple("WorkerDied").field(death).finish(),
            TaskError::Codec { stage, type_name, detail } => f
                .debug_struct("Codec")
                .field("stage", stage)
                .field("type_name", type_name)
                .field("detail", detail)
                .finish(),
            TaskError::SupervisorStopped => f.write_str("SupervisorStopped"),
            TaskError::QueueFull => f.write_str("QueueFull"),
            TaskError::Expired { after, detail } => {
                f.debug_struct("Expired").field("after", after).field("detail", detail).finish()
            }
            TaskError::Duplicate { id } => f.debug_struct("Duplicate").field("id", id).finish(),
            TaskError::NodeLost { node, losses } => {
                f.debug_struct("NodeLost").field("node", node).field("losses", losses).finish()
            }
            #[cfg(feature = "remote")]
            TaskError::Cluster(error) => f.debug_tuple("Cluster").field(error).finish(),
            TaskError::NotStarted { detail } => {
                f.debug_struct("NotStarted").field("detail", detail).finish()
            }
        }
    }
}

struct Lines<'a>(&'a str);

impl fmt::Debug for Lines<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\n{}", self.0)
    }
}

struct At<'a>(&'a Option<String>);

impl fmt::Display for At<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(location) => write!(f, " at {location}"),
            None => Ok(()),
        }
    }
}

impl TaskError {
    /// Returns whether the function panicked.
    pub fn is_panic(&self) -> bool {
        matches!(self, TaskError::Panicked { .. })
    }

    /// Returns whether the task was canceled or killed.
    pub fn is_canceled(&self) -> bool {
        matches!(self, TaskError::Canceled)
    }

    /// Returns whether the task exceeded its time limit.
    pub fn is_timeout(&self) -> bool {
        matches!(self, TaskError::TimedOut { .. })
    }

    /// Returns whether the worker process died.
    pub fn is_worker_died(&self) -> bool {
        matches!(self, TaskError::WorkerDied(_))
    }

    /// Returns whether the task expired before it began.
    pub fn is_expired(&self) -> bool {
        matches!(self, TaskError::Expired { .. })
    }

    /// Returns whether the task was not accepted because one of the same name and key had not
    /// ended.
    pub fn is_duplicate(&self) -> bool {
        matches!(self, TaskError::Duplicate { .. })
    }

    /// Returns whether the node that ran the task was lost.
    pub fn is_node_lost(&self) -> bool {
        matches!(self, TaskError::NodeLost { .. })
    }

    pub(crate) fn not_started(detail: impl Into<String>) -> TaskError {
        TaskError::NotStarted { detail: detail.into() }
    }
}

/// The step at which a value failed to cross a process boundary.
///
/// ```
/// # use atasker_runtime as atasker;
/// use atasker::{CodecStage, TaskError};
/// /// Whether the caller has passed a value that can't be sent to a worker process.
/// fn is_bad_argument(error: &TaskError) -> bool {
///     use CodecStage::{DecodeArguments, EncodeArguments};
///     matches!(error, TaskError::Codec { stage: EncodeArguments | DecodeArguments, .. })
/// }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CodecStage {
    /// Encoding the arguments in the launching process.
    EncodeArguments,
    /// Decoding the arguments in the worker process.
    DecodeArguments,
    /// Encoding the result in the worker process.
    EncodeResult,
    /// Decoding the result in the launching process.
    DecodeResult,
    /// Encoding a message between the task and its handle.
    EncodeMessage,
    /// Decoding a message between the task and its handle.
    DecodeMessage,
}

impl fmt::Display for CodecStage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            CodecStage::EncodeArguments => "encode the arguments:",
            CodecStage::DecodeArguments => "decode the arguments:",
            CodecStage::EncodeResult => "encode the result:",
            CodecStage::DecodeResult => "decode the result:",
            CodecStage::EncodeMessage => "encode a message:",
            CodecStage::DecodeMessage => "decode a message:",
        })
    }
}

/// How a worker process died.
///
/// ```
/// # use atasker_runtime as atasker;
/// use atasker::{TaskError, WorkerDeath};
/// fn report(error: &TaskError) {
///     if let TaskError::WorkerDied(death) = error {
///         let death: &WorkerDeath = death;
///         eprintln!("process {} ended by {}", death.pid(), death.cause());
///     }
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkerDeath {
    pid: u32,
    cause: DeathCause,
}

impl WorkerDeath {
    pub(crate) fn new(pid: u32, cause: DeathCause) -> Self {
        WorkerDeath { pid, cause }
    }

    /// Returns the process id that the worker process had.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Returns the cause of death.
    pub fn cause(&self) -> &DeathCause {
        &self.cause
    }
}

impl fmt::Display for WorkerDeath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "worker process {} died: {}", self.pid, self.cause)
    }
}

/// The cause of a worker process's death. Displayed as `SIGSEGV (11)`, `exit code 3`, `stack
/// overflow, SIGABRT (6)` or `memory limit, SIGABRT (6)`.
///
/// ```
/// # use atasker_runtime as atasker;
/// use atasker::{DeathCause, TaskError};
/// /// Whether the worker process was killed from outside, by the kernel for lack of memory, for example.
/// fn was_killed(error: &TaskError) -> bool {
///     matches!(error, TaskError::WorkerDied(death) if *death.cause() == DeathCause::Signal(9))
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DeathCause {
    /// The process called `exit` or returned from `main`, with this exit code.
    Exit(i32),
    /// A signal killed the process.
    Signal(i32),
    /// A thread overflowed its stack, which raised this signal.
    StackOverflow(i32),
    /// An allocation failed because of [`memory_limit`](crate::MpPoolConfig::memory_limit), which
    /// raised this signal.
    MemoryLimit(i32),
    /// Another cause, described in words: for example, that the process sent an invalid message.
    Other(Arc<str>),
}

impl DeathCause {
    /// Returns the signal if one killed the process.
    pub fn signal(&self) -> Option<i32> {
        match self {
            DeathCause::Signal(signal)
            | DeathCause::StackOverflow(signal)
            | DeathCause::MemoryLimit(signal) => Some(*signal),
            _ => None,
        }
    }

    /// Returns the exit code if the process exited.
    pub fn exit_code(&self) -> Option<i32> {
        match self {
            DeathCause::Exit(code) => Some(*code),
            _ => None,
        }
    }
}

impl fmt::Display for DeathCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DeathCause::Exit(code) => write!(f, "exit code {code}"),
            DeathCause::Signal(signal) => write!(f, "{} ({signal})", signal_name(*signal)),
            DeathCause::StackOverflow(signal) => {
                write!(f, "stack overflow, {} ({signal})", signal_name(*signal))
            }
            DeathCause::MemoryLimit(signal) => {
                write!(f, "memory limit, {} ({signal})", signal_name(*signal))
            }
            DeathCause::Other(words) => f.write_str(words),
        }
    }
}

/// Returns the name of a Linux signal, with the numbers of the common architectures.
fn signal_name(signal: i32) -> &'static str {
    const NAMES: [&str; 31] = [
        "SIGHUP",
        "SIGINT",
        "SIGQUIT",
        "SIGILL",
        "SIGTRAP",
        "SIGABRT",
        "SIGBUS",
        "SIGFPE",
        "SIGKILL",
        "SIGUSR1",
        "SIGSEGV",
        "SIGUSR2",
        "SIGPIPE",
        "SIGALRM",
        "SIGTERM",
        "SIGSTKFLT",
        "SIGCHLD",
        "SIGCONT",
        "SIGSTOP",
        "SIGTSTP",
        "SIGTTIN",
        "SIGTTOU",
        "SIGURG",
        "SIGXCPU",
        "SIGXFSZ",
        "SIGVTALRM",
        "SIGPROF",
        "SIGWINCH",
        "SIGIO",
        "SIGPWR",
        "SIGSYS",
    ];
    usize::try_from(signal - 1).ok().and_then(|i| NAMES.get(i)).copied().unwrap_or("signal")
}

/// The error of a failed run of a background worker.
///
/// The function panicked or returned an `Err`, its worker process died, or the run could not be
/// launched.
///
/// ```
/// # use atasker_runtime as atasker;
/// use std::ops::ControlFlow;
/// use atasker::{EventWorker, WorkerError};
/// let (tx, rx) = std::sync::mpsc::channel();
/// let worker = EventWorker::builder()
///     .on_error(move |error: &WorkerError| {
///         tx.send(error.message()).unwrap();
///         ControlFlow::Break(())
///     })
///     .run(|_| Err::<(), _>("out of paper"));
/// worker.start();
/// worker.trigger();
/// assert_eq!(rx.recv().unwrap(), "out of paper");
/// ```
#[derive(Clone, Debug)]
pub struct WorkerError {
    worker: String,
    run: u64,
    failure: Failure,
}

#[derive(Clone, Debug)]
enum Failure {
    Returned(String),
    Task(TaskError),
}

impl WorkerError {
    pub(crate) fn returned(worker: &str, run: u64, text: String) -> Self {
        WorkerError { worker: worker.to_owned(), run, failure: Failure::Returned(text) }
    }

    pub(crate) fn task(worker: &str, run: u64, error: TaskError) -> Self {
        WorkerError { worker: worker.to_owned(), run, failure: Failure::Task(error) }
    }

    /// Returns the name of the worker.
    pub fn worker(&self) -> &str {
        &self.worker
    }

    /// Returns the number of the run, counted from 1.
    pub fn run(&self) -> u64 {
        self.run
    }

    /// Returns the text of the error.
    pub fn message(&self) -> String {
        match &self.failure {
            Failure::Returned(text) => text.clone(),
            Failure::Task(error) => error.to_string(),
        }
    }

    /// Returns whether the function panicked.
    pub fn is_panic(&self) -> bool {
        self.task_error().is_some_and(TaskError::is_panic)
    }

    /// Returns the error of the run's task, or `None` if the function returned an `Err`.
    pub fn task_error(&self) -> Option<&TaskError> {
        match &self.failure {
            Failure::Returned(_) => None,
            Failure::Task(error) => Some(error),
        }
    }
}

impl fmt::Display for WorkerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (worker, run) = (&self.worker, self.run);
        match &self.failure {
            Failure::Returned(text) => {
                write!(f, "run {run} of `{worker}` returned an error: {text}")
            }
            Failure::Task(error) => write!(f, "run {run} of `{worker}` failed: {error}"),
        }
    }
}

impl std::error::Error for WorkerError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.task_error().map(|error| error as _)
    }
}

/// The error of a wait for tasks.
///
/// ```
/// # use atasker_runtime as atasker;
/// use atasker::{Supervisor, WaitError, wait_completed};
/// let sup = Supervisor::builder().build();
/// match wait_completed!(sup.spawn(|| 1), sup.spawn(|| -> u32 { panic!("no luck") })) {
///     Err(WaitError::Task { index, error, .. }) => {
///         assert_eq!((index, error.is_panic()), (1, true));
///     }
///     other => panic!("{other:?}"),
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WaitError {
    /// A task failed: the first one in argument order.
    #[error("task {index}, `{name}` ({id}), failed: {error}")]
    Task {
        /// The position of the task in the list or tuple; 0 for a single task.
        index: usize,
        /// The id of the task.
        id: TaskId,
        /// The name of the task.
        name: String,
        /// The error with which the task ended.
        #[source]
        error: TaskError,
    },
    /// The time limit of the wait is over. The tasks run on.
    #[error("the wait timed out: {} task(s) have not completed", pending.len())]
    Timeout {
        /// The tasks that had not completed.
        pending: Vec<TaskId>,
    },
    /// There was no task to wait for (`wait_any!` of an empty list).
    #[error("there is no task to wait for")]
    Empty,
}

/// The error of an attempt to kill a task.
///
/// ```
/// # use atasker_runtime as atasker;
/// use atasker::{KillError, TaskBuilder, TaskContext};
/// let task = TaskBuilder::with_context(|ctx: &TaskContext<(), ()>| {
///     ctx.send(()).unwrap();
///     ctx.recv().is_err()
/// })
/// .start();
/// task.recv().unwrap(); // it runs
/// assert!(matches!(task.kill(), Err(KillError::Unsupported)));
/// task.stop();
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KillError {
    /// The task runs on a thread, which can't be stopped from outside. Use `stop()` and check
    /// `ctx.stopped()` in the task, or run the task in a worker process (`tt = "mp"`).
    #[error("a running thread task can't be killed: ask it to stop, or run it with tt = \"mp\"")]
    Unsupported,
    /// The cluster has not answered within 5 seconds. The request stands: it is carried out when the
    /// broker is reachable again.
    #[error("the cluster has not answered; the task is killed when the broker is reachable again")]
    Unreachable,
}

/// The reason why no message was received.
///
/// ```
/// # use atasker_runtime as atasker;
/// use atasker::{RecvError, TaskBuilder, TaskContext};
/// let task = TaskBuilder::with_context(|ctx: &TaskContext| ctx.recv()).start();
/// task.stop();
/// assert_eq!(task.join().unwrap(), Err(RecvError::Stopped));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RecvError {
    /// The task was asked to stop, and no message is queued.
    #[error("the task was asked to stop")]
    Stopped,
    /// The time limit is over.
    #[error("timed out waiting for a message")]
    Timeout,
    /// No message is queued.
    #[error("no message is queued")]
    Empty,
    /// The task has ended and no message is queued, or the context has no task.
    #[error("the task has ended")]
    Closed,
}

/// A message that could not be sent, returned to the sender.
///
/// ```
/// # use atasker_runtime as atasker;
/// use atasker::{SendError, TaskBuilder, TaskContext};
/// let task = TaskBuilder::<()>::with_context(|_: &TaskContext<String>| ()).start();
/// task.wait().unwrap();
/// let SendError(message) = task.send("too late".to_owned()).unwrap_err();
/// assert_eq!(message, "too late");
/// ```
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct SendError<T>(pub T);

impl<T> fmt::Debug for SendError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SendError(..)")
    }
}

impl<T> fmt::Display for SendError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "the message could not be sent: the task has ended, receives no messages, was asked to \
             stop, or has no handle",
        )
    }
}

impl<T> std::error::Error for SendError<T> {}

/// A message that could not be sent immediately, returned to the sender.
///
/// ```
/// # use atasker_runtime as atasker;
/// use atasker::{TaskBuilder, TaskContext, TrySendError};
/// let task = TaskBuilder::<()>::with_context(|_: &TaskContext<String>| ()).start();
/// task.wait().unwrap();
/// let error = task.try_send("too late".to_owned()).unwrap_err();
/// assert!(matches!(error, TrySendError::Closed(_)));
/// assert_eq!(error.into_inner(), "too late");
/// ```
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum TrySendError<T> {
    /// The channel holds 1,024 messages already.
    Full(T),
    /// The task has ended, receives no messages, or has no handle that could receive them.
    Closed(T),
}

impl<T> TrySendError<T> {
    /// Returns the message.
    pub fn into_inner(self) -> T {
        match self {
            TrySendError::Full(value) | TrySendError::Closed(value) => value,
        }
    }
}

impl<T> fmt::Debug for TrySendError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            TrySendError::Full(_) => "Full(..)",
            TrySendError::Closed(_) => "Closed(..)",
        })
    }
}

impl<T> fmt::Display for TrySendError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            TrySendError::Full(_) => "the channel of the task is full",
            TrySendError::Closed(_) => "the task has ended, receives no messages, or has no handle",
        })
    }
}

impl<T> std::error::Error for TrySendError<T> {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_are_named() {
        assert_eq!(DeathCause::Signal(11).to_string(), "SIGSEGV (11)");
        assert_eq!(DeathCause::Exit(3).to_string(), "exit code 3");
        assert_eq!(DeathCause::StackOverflow(6).to_string(), "stack overflow, SIGABRT (6)");
        assert_eq!(DeathCause::MemoryLimit(6).to_string(), "memory limit, SIGABRT (6)");
        assert_eq!(DeathCause::Signal(64).to_string(), "signal (64)");
    }

    #[test]
    fn a_backtrace_is_printed_line_by_line() {
        let panicked = |backtrace| TaskError::Panicked {
            message: "a \"b\"".into(),
            location: Some("x.rs:1:2".into()),
            backtrace,
        };
        assert_eq!(
            format!("{:?}", panicked(Some("0: f\n1: g".into()))),
            "Panicked { message: \"a \\\"b\\\"\", location: Some(\"x.rs:1:2\"), \
             backtrace: Some(\n0: f\n1: g) }"
        );
        assert!(format!("{:?}", panicked(None)).ends_with("backtrace: None }"));
        assert_eq!(format!("{:?}", TaskError::Canceled), "Canceled");
    }
}
