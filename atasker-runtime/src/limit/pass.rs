//! A task's way through its limit: its launch enters the gate, its pool takes the limit with the
//! slot, and the end of the attempt leaves the gate.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::desk::LaneKey;
use super::gate::{Admission, Gate, Parked, Reserved};
use crate::error::TaskError;
use crate::fork;
use crate::id::TaskId;
use crate::job::Job;
use crate::place::WhenFull;
use crate::task::control::Include;
use crate::task::header::Header;
use crate::task::state::Phase;
use crate::task::{TaskArc, current, hold};

/// Where the gate of a limit is: the limit itself, or one key of a keyed limit.
pub(crate) trait GateSource: Send + Sync {
    /// Returns the gate.
    fn gate(&self) -> Arc<Gate>;

    /// Called when a task has left the gate, which may be unused now.
    fn left(self: Arc<Self>) {}
}

/// The limit of a task, kept in the extras of its header.
pub(crate) struct Pass {
    source: Arc<dyn GateSource>,
    /// Whether the current attempt is in the gate, or about to enter it.
    is_inside: AtomicBool,
}

impl Pass {
    pub(crate) fn new(source: Arc<dyn GateSource>) -> Self {
        Pass { source, is_inside: AtomicBool::new(false) }
    }

    /// Returns the gate if the task is in it.
    fn gate(&self) -> Option<Arc<Gate>> {
        // Acquire, because another thread may have moved the task into the gate.
        let is_inside = self.is_inside.load(Ordering::Acquire);
        is_inside.then(|| self.source.gate())
    }

    fn leave(&self, header: &Header) {
        if self.is_inside.swap(false, Ordering::AcqRel) {
            self.source.gate().leave(header.id());
            Arc::clone(&self.source).left();
        }
    }
}

/// Returns the limit of a task, if it has one.
#[inline]
fn pass_of(header: &Header) -> Option<&Pass> {
    header.extras()?.pass.as_deref()
}

/// Returns whether a task has a limit.
#[inline]
pub(crate) fn has_limit(header: &Header) -> bool {
    pass_of(header).is_some()
}

/// Returns whether a task may start as soon as it has a slot, as far as its limit is concerned.
pub(crate) fn may_start(header: &Header) -> bool {
    pass_of(header).is_none_or(|pass| pass.source.gate().has_room())
}

/// Returns the gate in which a task is.
fn gate_of(header: &Header) -> Option<Arc<Gate>> {
    pass_of(header)?.gate()
}

/// Queues a task that has a limit: it waits for the limit first, unless that has room. The caller
/// holds no lock.
#[cold]
pub(crate) fn enter(task: TaskArc, when_full: WhenFull) {
    let header = task.header();
    let job = Job::new(task.clone());
    let (Some(pass), Some(scheduler)) = (pass_of(header), header.scheduler) else {
        return job.end(TaskError::SupervisorStopped);
    };
    // The queue of the pool first, because this may block until it has room.
    let has_room = pass.source.gate().has_room();
    let reserved = match header.with_place(|place| place.reserve(&job, when_full, has_room)) {
        Some(Ok(reserved)) => reserved,
        Some(Err(Some(error))) => return job.end(error),
        // The task has ended meanwhile.
        Some(Err(None)) => return drop(job.into_task()),
        None => return job.end(TaskError::SupervisorStopped),
    };
    let lane = LaneKey { pool: (scheduler.get(), header.tt as u8), priority: header.priority };
    // Before the job is in the gate, from where another thread may begin it.
    pass.is_inside.store(true, Ordering::Release);
    let gate = pass.source.gate();
    // Counted again when it gets the limit: an advance of a paused clock does not wait for a task
    // that waits for its limit.
    let held = hold::take(header);
    gate.enter(lane, Parked { job, reserved });
    if header.state.read().phase() == Phase::Queued {
        gate.pump();
        return drop(held);
    }
    // The task has ended before the thread that ended it could find it in the gate.
    if let Some(parked) = gate.revoke(header.id(), || true) {
        discard(parked);
    }
    pass.is_inside.store(true, Ordering::Release);
    pass.leave(header);
}

/// Takes the limit for a job that its pool is about to begin, under the lock of that pool.
///
/// `reserved` is what the job reserves again if the limit has no room.
pub(crate) fn admit(job: Job, reserved: Reserved) -> Admission {
    // A gate contains no value of the user, so it may be dropped under the lock of the pool.
    match gate_of(job.header()) {
        Some(gate) => gate.admit(Parked { job, reserved }),
        // It has no limit, or its task has ended, which the pool notices when it begins the job.
        None => Admission::begin(job, None),
    }
}

/// Lets a job wait for its limit again that had a slot and did not begin, under the lock of its
/// pool. Returns the job if it does not wait: it has no limit, or its task has ended. The caller
/// calls [`pump`] once it holds no lock.
#[cfg(has_processes)]
pub(crate) fn put_back(job: Job, reserved: Reserved) -> Option<Job> {
    match gate_of(job.header()) {
        Some(gate) => gate.put_back(Parked { job, reserved }).map(|parked| parked.job),
        None => Some(job),
    }
}

/// Queues what has room after [`put_back`]. The caller holds no lock.
#[cfg(has_processes)]
pub(crate) fn pump(header: &Header) {
    if let Some(gate) = gate_of(header) {
        gate.pump();
    }
}

/// Removes a task from those that wait for its limit. Returns false if it does not wait for it, or
/// is not covered.
pub(crate) fn revoke(header: &Header, include: Include) -> bool {
    let covers = || include.may_cover(header);
    let parked = gate_of(header).and_then(|gate| gate.revoke(header.id(), covers));
    parked.map(discard).is_some()
}

/// Returns whether a task waits for its limit.
pub(crate) fn waits(header: &Header) -> bool {
    gate_of(header).is_some_and(|gate| gate.waits(header.id()))
}

/// Drops a job that was revoked, whose task the caller ends.
fn discard(parked: Parked) {
    let Parked { job, reserved } = parked;
    let task = job.into_task();
    let header = task.header();
    header.with_place(|place| place.unreserve(header.priority, reserved));
}

/// Gives the limit back, because the attempt is over or never begins.
#[inline]
pub(crate) fn leave(header: &Header) {
    if has_limit(header) {
        leave_gate(header);
    }
}

#[cold]
fn leave_gate(header: &Header) {
    if let Some(pass) = pass_of(header).filter(|_| !fork::is_copy()) {
        pass.leave(header);
    }
}

/// The shares that a waiting task lends. It ends when this is dropped.
pub(crate) struct Lent {
    owner: TaskArc,
    awaited: Vec<TaskId>,
}

impl Lent {
    /// Does not end with this guard.
    fn keep(mut self) {
        self.awaited.clear();
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let owner = self.owner.header();
        if let Some(gate) = gate_of(owner) {
            self.awaited.iter().for_each(|task| gate.unlend(owner.id(), *task));
        }
    }
}

/// The number of tasks that a share is lent to at most. One of them at a time uses it, so the others
/// would cost time and gain nothing.
const MAX_LENT: usize = 64;

/// Calls `f` with the tasks with limits that a waiter for `awaited` waits for: itself, and those that
/// it is chained to.
fn each_limited(awaited: &Header, f: &mut impl FnMut(TaskId)) {
    if has_limit(awaited) {
        f(awaited.id());
    }
    let first_of = |task: &Header| task.extras()?.chained_to.as_ref()?.upgrade();
    let mut first = first_of(awaited);
    while let Some(task) = first {
        if has_limit(task.header()) {
            f(task.header().id());
        }
        first = first_of(task.header());
    }
}

/// Lends the share of the current task to the tasks that it is about to wait for, until the guard
/// is dropped. Returns `None` if there is nothing to lend.
pub(crate) fn lend<'a>(awaited: impl Iterator<Item = &'a Header>) -> Option<Lent> {
    if fork::is_copy() || !current::with(|task| task.is_some_and(has_limit)) {
        return None;
    }
    let owner = current::get()?;
    let gate = gate_of(owner.header())?;
    let mut lent = Vec::new();
    for task in awaited {
        each_limited(task, &mut |id| {
            if gate.lend(owner.header().id(), id) {
                lent.push(id);
            }
        });
        if lent.len() >= MAX_LENT {
            break;
        }
    }
    (!lent.is_empty()).then_some(Lent { owner, awaited: lent })
}

/// Lends the share of the current task to the tasks that it awaits, until one of both ends or
/// [`unlend`] is called.
#[inline]
pub(crate) fn lend_while_pending<'a>(awaited: impl Iterator<Item = &'a Header>) {
    if let Some(lent) = lend(awaited) {
        lent.keep();
    }
}

/// Lends the share of a task that waits to a task that it waits for, until one of both ends.
pub(crate) fn lend_by(owner: &Header, awaited: &Header) {
    if has_limit(awaited)
        && !fork::is_copy()
        && let Some(gate) = gate_of(owner)
    {
        gate.lend(owner.id(), awaited.id());
    }
}

/// The current task does not await this task any more.
#[inline]
pub(crate) fn unlend(awaited: &Header) {
    if has_limit(awaited) && !fork::is_copy() {
        // Out of the closure of `current`, because a gate may start tasks, which become current.
        if let Some(owner) = current::get()
            && let Some(gate) = gate_of(owner.header())
        {
            gate.unlend(owner.header().id(), awaited.id());
        }
    }
}
