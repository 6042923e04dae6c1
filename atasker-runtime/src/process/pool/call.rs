//! One call: as it was sent, and as it ends.

use std::time::Duration;

use crate::backlog::Ticket;
use crate::error::TaskError;
use crate::job::Job;
use crate::limit;
use crate::priority::Priority;
use crate::task::AnyTask;
use crate::time::clock::{self, Stamp};

/// A call in a lane.
pub(crate) struct Sent {
    pub(crate) job: Job,
    pub(crate) priority: Priority,
    /// Its position in the backlog, had it not been sent.
    pub(crate) ticket: Ticket,
    pub(crate) limit: Option<Limit>,
}

/// A call that was sent.
pub(crate) struct SentAt {
    pub(crate) call: u64,
    /// The worker has everything it needs to run the call.
    pub(crate) inline: bool,
    /// Memory of the region of arguments is in use from now on: see
    /// [`Lane::decommit_in`](crate::process::pool::lane::Lane::decommit_in).
    pub(crate) starts_region: bool,
}

/// A call that can't be sent, and the reason.
pub(crate) struct Rejected(pub(crate) Job, pub(crate) TaskError);

/// The time limit of a call.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limit {
    pub(crate) limit: Duration,
    /// When to check whether it is over, by the clock of limits. The call may begin later than it is
    /// sent, so this is the earliest time.
    pub(crate) check_at: Stamp,
    /// When the call has begun by the clock of limits, if that clock has changed since; otherwise 0.
    pub(crate) begun: Stamp,
}

impl Limit {
    /// The limit of a call that is sent now, by the clock of limits.
    pub(crate) fn new(limit: Duration, now: Stamp) -> Limit {
        Limit { limit, check_at: clock::add(now, limit), begun: 0 }
    }
}

/// What the check of a lane's time limits has found.
pub(crate) struct CheckedLimits {
    /// The current call, if it has exceeded its limit.
    pub(crate) exceeded: Option<(u64, Duration)>,
    /// When to check the other calls.
    pub(crate) next: Stamp,
    /// Whether there is another call to check.
    pub(crate) waits: bool,
}

/// Why a worker process is killed while it runs a call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum KillReason {
    /// By `kill()`.
    Kill,
    /// The run exceeded its time limit.
    TimeLimit(Duration),
    /// The supervisor stops.
    Shutdown,
}

/// Which of the calls that have not begun are revoked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Pending {
    All,
    /// Those that wait behind another call.
    Behind,
}

/// Whether all frames of a dead worker were handled.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum FramesHandled {
    All,
    Some,
}

/// A call whose reply has arrived, or is in transit.
pub(crate) struct Finished<R> {
    pub(crate) call: u64,
    pub(crate) sent: Sent,
    pub(crate) reply: R,
}

/// The state of the first call of a lane.
pub(crate) enum FirstCall {
    /// The call was taken out. It ran for this many nanoseconds.
    Done { nanos: u64 },
    /// The call was revoked, and the worker has skipped it.
    Skipped,
    /// The call is in progress, or there is none.
    NotDone,
    /// The page is invalid.
    Invalid,
}

/// The worker has written an invalid state to its page.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct InvalidPage;

/// The bytes of a job's arguments if it may be sent behind another call.
pub(crate) fn pipelined_bytes(job: &Job) -> Option<usize> {
    (!limit::has_limit(job.header())).then(|| bytes_of(job))
}

/// The encoded arguments of a job, in bytes.
pub(crate) fn bytes_of(job: &Job) -> usize {
    bytes_of_task(&**job.task())
}

/// The encoded arguments of a task, in bytes.
pub(crate) fn bytes_of_task(task: &dyn AnyTask) -> usize {
    task.remote().map_or(0, |remote| remote.args().len())
}
