//! What the protocol and the rest of the runtime tell each other, as plain data.
//!
//! ```text
//!   place, handles            Session              serving supervisor
//!  ---------------- submit -----------> protocol <------- Runner ------- node
//!  <------- CallSink -----------------   Broker   ------- RunHandle --->
//! ```
//!
//! [`CallSink`] and [`RunHandle`] are called on the thread of the cluster, where no user code may run:
//! they hand on what they are told. The others may be called from any thread, and return at once.

use std::sync::Arc;
use std::time::Duration;

use super::broker::EntryKey;
use crate::cluster::broker::QueueCounts;
use crate::error::TaskError;
use crate::id::TaskId;
use crate::priority::Priority;

/// What a call needs everywhere: the launcher writes it, nodes and those who attach read it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CallHead {
    pub(crate) id: TaskId,
    /// The name of the task, for people. Usually that of the function.
    pub(crate) name: String,
    pub(crate) function: FunctionKey,
    pub(crate) queue: String,
    pub(crate) priority: Priority,
    /// The run-time limit.
    pub(crate) timeout: Option<Duration>,
    /// Runs that may follow one that has ended badly.
    pub(crate) retries: u32,
    pub(crate) retry: RetryPause,
    /// Runs that may follow one whose node was lost.
    pub(crate) redeliver: u32,
    /// How long the first run may be waited for, from the moment at which the call is stored.
    pub(crate) expires: Option<Duration>,
    /// The key that this call holds while it has not ended.
    pub(crate) unique: Option<UniqueKey>,
    /// The names of the types `R`, `I` and `O`, for those who attach without the function.
    pub(crate) types: String,
    /// The function takes a context: messages may be sent.
    pub(crate) has_channels: bool,
    /// The W3C header `traceparent` of the launch.
    pub(crate) trace: Option<String>,
}

impl CallHead {
    /// Returns the key of the call's entry in its queue.
    pub(crate) fn entry_key(&self) -> EntryKey {
        EntryKey { queue: self.queue.clone(), priority: self.priority, id: self.id.to_string() }
    }
}

/// A function, by what must be the same in both programs.
#[derive(
    Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
pub(crate) struct FunctionKey {
    /// The path, or the key `name`.
    pub(crate) name: String,
    /// A hash of the canonical text of the types, the codec and the key `version`.
    pub(crate) signature: u64,
}

/// The pause before a further run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RetryPause {
    Fixed(Duration),
    /// Longer each time, up to a maximum, with random jitter.
    Backoff {
        first: Duration,
        max: Duration,
        /// How many times as long as the one before each pause is: the bits of an `f64`.
        factor: u64,
        jitter: bool,
    },
}

/// A key that only one call in the namespace may hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct UniqueKey {
    /// The hash of the name of the task and the encoded key.
    pub(crate) hash: [u8; 16],
    /// How long the key stays taken after the call has ended.
    pub(crate) keep: Duration,
}

/// A call to be made.
#[derive(Clone, Debug)]
pub(crate) struct NewCall {
    pub(crate) head: CallHead,
    pub(crate) args: Arc<[u8]>,
}

/// What a launcher is told about one of its calls. In this order, except that anything may be left
/// out but the end, which is told once.
#[derive(Clone, Debug)]
pub(crate) enum CallEvent {
    /// The broker has acknowledged the call.
    Stored,
    /// A run has begun, or is about to.
    Begun {
        node: NodeRef,
        attempt: u32,
        losses: u32,
    },
    /// The process that runs it, on the machine of the node.
    Process {
        pid: u32,
    },
    /// The run has ended badly, or was lost: the call waits for another one.
    WaitsAgain {
        attempt: u32,
        losses: u32,
    },
    Progress {
        done: u64,
        total: u64,
    },
    /// The text of the progress.
    Text(String),
    /// A message from the task.
    Message(Arc<[u8]>),
    /// The task has taken this many further messages.
    Taken(usize),
    Ended(CallEnd),
}

/// A node, by its id and its name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct NodeRef {
    pub(crate) id: Arc<str>,
    pub(crate) name: Arc<str>,
}

/// The end of a call.
#[derive(Clone, Debug)]
pub(crate) struct CallEnd {
    /// The encoded result, or the error.
    pub(crate) outcome: Result<Vec<u8>, TaskError>,
    pub(crate) attempt: u32,
    pub(crate) losses: u32,
    pub(crate) node: Option<NodeRef>,
}

/// Hears about one call. Dropped after the end.
pub(crate) trait CallSink: Send + Sync {
    fn event(&self, event: CallEvent);
}

/// The answer to `cancel`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Canceled {
    /// It never runs (again). The sink has been, or will be, told of the end.
    Yes,
    /// It was running and was asked to stop, or it has ended.
    No,
    /// There was no answer in time. The request stands.
    Unknown,
}

/// A node's slots and functions.
pub(crate) trait Runner: Send + Sync {
    /// Returns how many runs of this priority could begin now.
    fn room(&self, priority: Priority) -> usize;

    /// Returns whether the program has the function.
    fn has(&self, function: &FunctionKey) -> bool;

    /// Begins a run. `events` is told about it, the end included, also if the run can't begin.
    fn run(&self, run: NewRun, events: Arc<dyn RunEvents>) -> Box<dyn RunHandle>;
}

/// A run to be begun.
#[derive(Clone, Debug)]
pub(crate) struct NewRun {
    pub(crate) head: Arc<CallHead>,
    pub(crate) args: Vec<u8>,
    /// The number of this run, beginning with 1.
    pub(crate) attempt: u32,
}

/// A run at a node. Dropping it changes nothing.
pub(crate) trait RunHandle: Send + Sync {
    /// Asks the function to stop.
    fn stop(&self);
    /// Ends the worker process of the run. `false` if that is not possible, because the run is on a
    /// thread.
    fn kill(&self) -> bool;
    /// Returns true if the run has not begun and never will; its end is not told then.
    fn revoke(&self) -> bool;
    /// Passes on a message to the task.
    fn message(&self, message: Arc<[u8]>);
    /// The launcher has taken this many further messages.
    fn taken(&self, count: usize);
    /// Says whether the messages of the task still have a receiver.
    fn has_receiver(&self, is_there: bool);
}

/// Hears about one run. May be called from any thread.
pub(crate) trait RunEvents: Send + Sync {
    /// The function has begun in this process. Told of longer runs only, a moment later.
    fn begun(&self, pid: u32);
    fn progress(&self, done: u64, total: u64);
    fn text(&self, text: String);
    /// A message of the task to its handle. At most 1,024 are under way: see
    /// [`RunHandle::taken`].
    fn message(&self, message: Arc<[u8]>);
    /// The task has taken this many further messages.
    fn taken(&self, count: usize);
    /// The run has ended. `ran_for` is how long the function ran, `None` if it has not begun.
    fn ended(&self, end: RunEnd, ran_for: Option<Duration>);
    /// A slot may be free again: call [`Runner::room`]. Not only about this run.
    fn room_changed(&self);
}

/// How a run has ended.
#[derive(Clone, Debug)]
pub(crate) enum RunEnd {
    /// The encoded result, which is an `Err` if `is_err`.
    Returned {
        result: Vec<u8>,
        is_err: bool,
    },
    Failed(TaskError),
}

impl RunEnd {
    /// Returns whether the call may have to run again.
    pub(crate) fn is_bad(&self) -> bool {
        match self {
            RunEnd::Returned { is_err, .. } => *is_err,
            RunEnd::Failed(error) => !error.is_canceled(),
        }
    }
}

/// The answer to `kill`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Killed {
    /// It never runs again, or its worker process is being ended, or it has ended.
    Yes,
    /// It runs on a thread of its node, which can't be killed.
    Unsupported,
    /// There was no answer in time. The request stands.
    Unknown,
}

/// A call that was found by its id.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    pub(crate) head: CallHead,
    pub(crate) state: FoundState,
}

/// The state of a call that was found by its id.
#[derive(Clone, Debug)]
pub(crate) enum FoundState {
    /// No run has begun.
    Queued,
    /// A node holds it.
    Running { node: NodeRef, attempt: u32, losses: u32 },
    /// It waits for another run.
    Waiting { attempt: u32, losses: u32 },
    /// It has ended. The result itself is fetched by `attach`.
    Ended {
        error: Option<TaskError>,
        /// The result is an `Err`.
        is_err: bool,
        attempt: u32,
        losses: u32,
        node: Option<NodeRef>,
    },
}

/// What a node offers.
#[derive(Clone, Debug)]
pub(crate) struct NodeOffer {
    pub(crate) name: String,
    pub(crate) host: String,
    pub(crate) pid: u32,
    /// The queues that it serves.
    pub(crate) queues: Vec<String>,
    /// Runs at a time, without reserves.
    pub(crate) slots: u32,
    pub(crate) reserve_normal: u32,
    pub(crate) reserve_high: u32,
    /// Short calls that may be taken in advance: `None` for as many as are likely to end within 20 ms.
    pub(crate) prefetch: Option<usize>,
    pub(crate) functions: Vec<FunctionKey>,
    /// Identifies the build of the program, for people.
    pub(crate) build: String,
}

/// What a node tells the others about itself.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct NodeDescription {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) host: String,
    pub(crate) pid: u32,
    pub(crate) queues: Vec<String>,
    pub(crate) slots: u32,
    pub(crate) reserve_normal: u32,
    pub(crate) reserve_high: u32,
    /// Calls that it holds.
    pub(crate) running: u32,
    pub(crate) draining: bool,
    pub(crate) functions: Vec<FunctionKey>,
    pub(crate) build: String,
    /// `lost_after` of the node.
    pub(crate) lost_after: Duration,
}

/// The nodes and queues of a namespace.
#[derive(Clone, Debug)]
pub(crate) struct Overview {
    /// The version of the broker.
    pub(crate) broker: String,
    /// The nodes, and how long ago they were last heard of.
    pub(crate) nodes: Vec<(NodeDescription, Duration)>,
    pub(crate) queues: Vec<QueueCounts>,
    /// The number of dead letters.
    pub(crate) dead: u64,
}

/// A call that has ended badly for good.
#[derive(Clone, Debug)]
pub(crate) struct DeadCall {
    pub(crate) head: CallHead,
    /// `None` if the function returned an `Err`.
    pub(crate) error: Option<TaskError>,
    /// When it ended, by the clock of the broker, in nanoseconds since the Unix epoch.
    pub(crate) time: u64,
}

/// What became of the calls that a node held when it was drained or stopped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Drained {
    /// Have ended.
    pub(crate) ended: u64,
    /// Were handed back before they began.
    pub(crate) handed_back: u64,
    /// Were ended by force: they run elsewhere, or have ended with `NodeLost`.
    pub(crate) cut_off: u64,
}
