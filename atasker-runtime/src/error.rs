//! What can go wrong, sorted by what the caller can do about it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::id::TaskId;

/// Why a task has no result.
///
/// ```
/// use atasker_runtime::{Supervisor, TaskError};
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
        /// The panic's message.
        message: String,
        /// Where it happened, as `file:line:col`.
        location: Option<String>,
        /// The backtrace, where `RUST_BACKTRACE` asks for one.
        backtrace: Option<String>,
    },
    /// It was canceled before it began, or killed.
    #[error("the task was canceled")]
    Canceled,
    /// It ran longer than its `timeout`.
    #[error("the task ran longer than its limit of {limit:?}")]
    TimedOut {
        /// The limit that it overstayed.
        limit: Duration,
    },
    /// Its worker process ended while the task ran.
    #[error("{0}")]
    WorkerDied(WorkerDeath),
    /// A value could not be encoded or decoded.
    #[error("could not {stage} a value of type `{type_name}`: {detail}")]
    Codec {
        /// What was being done: `encode the arguments of`, and so on.
        stage: CodecStage,
        /// The type concerned.
        type_name: String,
        /// What the format says, and what to do.
        detail: String,
    },
    /// The supervisor was stopped before the task could end, or takes no new tasks.
    #[error("the supervisor is stopped: start it again with `start()`")]
    SupervisorStopped,
    /// The pool's queue is at its limit, and the limit says to reject.
    #[error("the queue of the pool is full")]
    QueueFull,
    /// No place could be found to run the task in: what is missing, and what to do.
    #[error("the task could not be started: {detail}")]
    NotStarted {
        /// What is missing, and what to do.
        detail: String,
    },
}

/// As derived, but for the backtrace, whose lines stay lines: `unwrap` prints this.
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
    /// The function panicked.
    pub fn is_panic(&self) -> bool {
        matches!(self, TaskError::Panicked { .. })
    }
    /// It was canceled or killed.
    pub fn is_canceled(&self) -> bool {
        matches!(self, TaskError::Canceled)
    }
    /// It ran into its time limit.
    pub fn is_timeout(&self) -> bool {
        matches!(self, TaskError::TimedOut { .. })
    }
    /// Its worker process ended.
    pub fn is_worker_died(&self) -> bool {
        matches!(self, TaskError::WorkerDied(_))
    }

    pub(crate) fn not_started(detail: impl Into<String>) -> TaskError {
        TaskError::NotStarted { detail: detail.into() }
    }
}

/// What the system said when it gave no thread, process, descriptor or memory, and where to look.
pub(crate) fn with_advice(error: &std::io::Error) -> String {
    const EAGAIN: i32 = 11;
    const ENOMEM: i32 = 12;
    const ENFILE: i32 = 23;
    const EMFILE: i32 = 24;
    const ETOOMANYREFS: i32 = 109;
    let advice = match error.raw_os_error() {
        Some(EMFILE) => "raise the process's limit of open files (`ulimit -n`), or close some",
        Some(ENFILE) => "the whole system has as many open files as it may (`fs.file-max`)",
        Some(ETOOMANYREFS) => "raise the limit of open files (`ulimit -n`)",
        Some(EAGAIN) => {
            "look at the limits of processes and threads (`ulimit -u`, `pids.max` of the cgroup) \
             and of memory"
        }
        Some(ENOMEM) => "look at the limits of memory (`ulimit -v`, `memory.max` of the cgroup)",
        _ => return error.to_string(),
    };
    format!("{error}: {advice}")
}

/// At which step a value failed to cross a process boundary.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CodecStage {
    /// The launcher was encoding the arguments.
    EncodeArguments,
    /// The worker was decoding the arguments.
    DecodeArguments,
    /// The worker was encoding the result.
    EncodeResult,
    /// The launcher's process was decoding the result.
    DecodeResult,
    /// A message between the task and its handle was being encoded.
    EncodeMessage,
    /// A message between the task and its handle was being decoded.
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

/// How a worker process ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkerDeath {
    pid: u32,
    cause: DeathCause,
}

impl WorkerDeath {
    pub(crate) fn new(pid: u32, cause: DeathCause) -> Self {
        WorkerDeath { pid, cause }
    }
    /// The process id that the worker had.
    pub fn pid(&self) -> u32 {
        self.pid
    }
    /// What ended it.
    pub fn cause(&self) -> &DeathCause {
        &self.cause
    }
}

impl fmt::Display for WorkerDeath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "worker process {} died: {}", self.pid, self.cause)
    }
}

/// What ended a worker process. Prints as `SIGSEGV (11)`, `exit code 3`,
/// `stack overflow, SIGABRT (6)`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DeathCause {
    /// It called `exit`, or returned from `main`.
    Exit(i32),
    /// A signal ended it.
    Signal(i32),
    /// A thread of it used up its stack; the signal that followed.
    StackOverflow(i32),
    /// Something else, in words (it sent bytes that are no message, say).
    Other(Arc<str>),
}

impl DeathCause {
    /// The signal, where one ended the process.
    pub fn signal(&self) -> Option<i32> {
        match self {
            DeathCause::Signal(signal) | DeathCause::StackOverflow(signal) => Some(*signal),
            _ => None,
        }
    }
    /// The exit code, where the process exited.
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
            DeathCause::Other(words) => f.write_str(words),
        }
    }
}

/// The name of a signal of Linux on the usual architectures.
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

/// Why a wait for tasks gave no result.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WaitError {
    /// One of the tasks failed: the first in the order given.
    #[error("task {index} ({id}) failed: {error}")]
    Task {
        /// Its place in the list or tuple; 0 for one task.
        index: usize,
        /// Its id.
        id: TaskId,
        /// Why it failed.
        #[source]
        error: TaskError,
    },
    /// The time given for the wait is over; the tasks go on running.
    #[error("{} task(s) had not completed when the time for the wait was over", pending.len())]
    Timeout {
        /// The tasks that had not completed.
        pending: Vec<TaskId>,
    },
    /// There was nothing to wait for (`wait_any!` of an empty list).
    #[error("there is no task to wait for")]
    Empty,
}

/// Why a task could not be killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KillError {
    /// It runs on a thread, and a thread can't be ended from outside: use `stop()`, and look at
    /// `ctx.stopped()` in the task; or run it in a worker process (`tt = "mp"`).
    #[error("a running thread task can't be killed: ask it to stop, or run it with tt = \"mp\"")]
    Unsupported,
}

/// Why nothing was received.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RecvError {
    /// The task was asked to stop, and nothing is queued.
    #[error("the task was asked to stop")]
    Stopped,
    /// The time given is over.
    #[error("no message came in time")]
    Timeout,
    /// Nothing is queued.
    #[error("no message is queued")]
    Empty,
    /// The task has ended, and nothing is queued.
    #[error("the task has ended")]
    Closed,
}

/// A message that could not be sent, given back.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct SendError<T>(pub T);

impl<T> fmt::Debug for SendError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SendError(..)")
    }
}

impl<T> fmt::Display for SendError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the message could not be sent: the task has ended or takes no messages")
    }
}

impl<T> std::error::Error for SendError<T> {}

/// A message that could not be sent at once, given back.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum TrySendError<T> {
    /// 1,024 messages wait already.
    Full(T),
    /// The task has ended.
    Closed(T),
}

impl<T> TrySendError<T> {
    /// The message.
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
            TrySendError::Closed(_) => "the task has ended or takes no messages",
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
