//! How the scheduler reaches the calls of one worker process.
//!
//! The scheduler knows a call by its number and its [`CallState`]. The transport keeps both sides
//! in step: in a page of memory that both share, or by frames on sockets, with a private page (see
//! `over_sockets`). A third transport, in the tests, is a table of calls that the test changes in
//! place of a worker.
//!
//! The methods are called under the pool's lock, and none of them blocks. They are generic, not
//! virtual: a launch and a reply call several of them.

pub(crate) mod entry;
pub(crate) mod journal;
pub(crate) mod page;
pub(crate) mod region;
pub(crate) mod ring;
pub(crate) mod sockets;

use crate::error::TaskError;
use crate::job::Job;
use crate::priority::Priority;
use crate::process::transport::entry::CallState;
use crate::process::transport::ring::Ring;
use crate::task::AnyTask;
use crate::time::clock::Stamp;

/// See the module documentation.
pub(crate) trait Transport {
    /// A reply that was taken out, or is in transit.
    type Reply;

    /// Whether calls may be sent behind others that are not done.
    fn is_pipelined(&self) -> bool;

    /// The free space in its region of arguments.
    fn args_ring(&self) -> Ring;

    /// Sends a call. `args_ring` allocates space for large arguments. With `None`, no space can be
    /// used now.
    fn send(
        &self,
        call: u64,
        job: &Job,
        priority: Priority,
        args_ring: Option<&mut Ring>,
    ) -> Result<Written, TaskError>;

    /// Queues the messages that wait for a task. The peer has to be notified.
    fn post_messages(&self, call: u64, task: &dyn AnyTask);

    /// The state of a call; `None` if the worker has corrupted it.
    fn state(&self, call: u64) -> Option<CallState>;

    /// Whether the reply of a call that is done follows over a socket.
    fn is_reply_in_transit(&self, call: u64) -> bool;

    /// Whether a call that has not begun can't be revoked any more, because it is on its way to the
    /// worker.
    fn is_in_transit(&self, call: u64) -> bool;

    /// When a call that has begun did so.
    fn begun(&self, call: u64) -> Stamp;

    /// When the worker has noted that it begins a call with a time limit, whatever the state of the
    /// call says.
    fn noted_begin(&self, call: u64) -> Option<Stamp>;

    /// Revokes a call that has not begun.
    fn revoke(&self, call: u64) -> Revoked;

    /// The worker is dead, and it is unknown whether a call in transit has begun. From now on it
    /// counts as begun.
    fn assume_begun(&self, call: u64, now: Stamp);

    /// Sets whether the worker reports the begin of every call at once.
    fn set_prompt(&self, prompt: bool);

    /// Takes the reply of a call that is done.
    fn take_reply(&self, call: u64, by: TakenBy) -> Taken<Self::Reply>;
}

/// The outcome of sending a call.
pub(crate) struct Written {
    /// The worker has everything it needs to run the call.
    pub(crate) inline: bool,
}

/// The outcome of revoking a call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Revoked {
    /// The worker has begun it, or the call is on its way there.
    No,
    /// The worker has to skip it.
    ToSkip,
    /// The worker will never see it. The calls before it are done.
    Unseen,
}

/// Which thread takes a reply.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum TakenBy {
    Reader,
    /// A thread that waits for the call. It takes the reply only if everything before it has been
    /// read, and the reply is complete.
    Waiter,
}

/// The reply of a call.
pub(crate) enum Taken<R> {
    Reply {
        reply: R,
        /// How long the call ran, in nanoseconds, as the worker reports it.
        nanos: u64,
        /// The reply follows over a socket.
        in_transit: bool,
    },
    /// It is not for this thread.
    NotYet,
    /// The worker has corrupted it.
    Invalid,
}
