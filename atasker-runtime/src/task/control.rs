//! Stop, cancel and kill, by the phase of the task. Handles, references and the shutdown all call
//! this module.
//!
//! | | waiting (delayed, queued, sent but not begun, between attempts) | running | ended |
//! |---|---|---|---|
//! | `stop` | canceled | asked to stop | - |
//! | `cancel` | canceled: `true` | asked to stop: `false` | `false` |
//! | `kill` | canceled | as the place can | Ok |
//!
//! A task that is chained to another one waits until that one has ended. What cancels it acts on the
//! other one, too: see `chained`.
//!
//! A task that was admitted at its launch but has not been picked up is between waiting and
//! running. For `stop` it counts as running: with `let t = f(); t.stop();`, `f` always gets to do
//! its cleanup, whether or not a thread has picked it up yet. For `cancel` and `kill` it has not
//! begun.
//!
//! A remote task is one about which another machine decides: its cluster is asked, and `cancel` and
//! `kill` wait for the answer, for at most five seconds.

use std::sync::atomic::Ordering;

use crate::error::{KillError, TaskError};
use crate::fork;
use crate::info::TaskType;
use crate::limit;
use crate::place::Canceling;
use crate::task::TaskArc;
use crate::task::chained::first_of;
use crate::task::header::{Header, refresh};
use crate::task::park;
use crate::task::state::Phase;

/// The pending tasks that an operation covers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Include {
    /// Only tasks that still wait for a slot.
    Queued,
    /// Also tasks that hold a slot but have not begun.
    Admitted,
    /// The same, except for tasks of which an earlier attempt has begun.
    FirstAttempt,
}

impl Include {
    /// Returns whether a pending task may be covered, whatever it waits for. A place asks under its
    /// lock, so that the answer is still right when it revokes the task.
    pub(crate) fn may_cover(self, header: &Header) -> bool {
        self != Include::FirstAttempt || header.attempt() == 0
    }
}

/// Ends a task that has not begun, with `error`. `include` says whether that covers a task that
/// holds a slot. Returns false if the task has begun or ended.
pub(crate) fn cancel_pending(task: &TaskArc, error: TaskError, include: Include) -> bool {
    refresh(&**task);
    let header = task.header();
    loop {
        let phase = header.state.read().phase();
        if !include.may_cover(header) {
            return false;
        }
        match phase {
            Phase::New | Phase::Delayed | Phase::Retrying => {
                if let Some(claim) = header.state.claim(phase) {
                    let timer = header.extras().and_then(|e| e.delay_timer.lock().take());
                    if let Some(key) = timer {
                        crate::time::timer::cancel(key);
                    }
                    claim.end(task, error);
                    return true;
                }
            }
            Phase::Queued => {
                // The lock of the limit or of the place decides: a revoked task can't begin any
                // more.
                let revoked = limit::revoke(header, include)
                    || header.with_place(|place| place.revoke(&**task, include)) == Some(true);
                if !revoked {
                    return false;
                }
                if let Some(claim) = header.state.claim(Phase::Queued) {
                    claim.end(task, error);
                    return true;
                }
            }
            Phase::Started | Phase::Ending | Phase::Ended => return false,
        }
    }
}

/// Asks a task to stop. A task that waits is canceled.
pub(crate) fn stop(task: &TaskArc) {
    cancel_or_ask(task, Include::Queued);
}

/// Cancels a task that has not begun and returns true. Otherwise asks it to stop.
pub(crate) fn cancel(task: &TaskArc) -> bool {
    cancel_or_ask(task, Include::Admitted)
}

fn cancel_or_ask(task: &TaskArc, include: Include) -> bool {
    if fork::is_copy() {
        return false;
    }
    let canceled = cancel_or_ask_one(task, include);
    if canceled {
        each_before(task, |first| cancel_or_ask_one(first, include));
    }
    canceled
}

/// Calls `act` with the task that a canceled one was chained to. If that one is canceled as well,
/// which `act` returns, continues with the task before. In a loop, because a chain can have any
/// length.
fn each_before(task: &TaskArc, mut act: impl FnMut(&TaskArc) -> bool) {
    let mut next = first_of(&**task);
    while let Some(first) = next {
        next = if act(&first) { first_of(&*first) } else { None };
    }
}

/// Requests to cancel a task about which another machine decides. `None` for other tasks, and for
/// those of which it does not know yet.
fn cancel_elsewhere(task: &TaskArc, include: Include) -> Option<Canceling> {
    let header = task.header();
    if header.tt != TaskType::Remote || include != Include::Admitted {
        return None;
    }
    header.with_place(|place| place.cancel_elsewhere(task))?
}

/// Returns whether another machine decides what becomes of a task.
fn is_elsewhere(task: &TaskArc) -> bool {
    let header = task.header();
    header.tt == TaskType::Remote
        && header.with_place(|place| place.is_elsewhere(&**task)) == Some(true)
}

/// Like [`cancel`], without blocking if another machine has to answer.
pub(crate) async fn cancel_async(task: &TaskArc) -> bool {
    if fork::is_copy() {
        return false;
    }
    match cancel_elsewhere(task, Include::Admitted) {
        // Such a task is chained to no other one.
        Some(canceling) => canceling.answer.await,
        None => cancel(task),
    }
}

fn cancel_or_ask_one(task: &TaskArc, include: Include) -> bool {
    if let Some(canceling) = cancel_elsewhere(task, include) {
        let Canceling { mut answer, may_wait } = canceling;
        // Where this thread may not block, the request stands.
        return may_wait
            && park::block_on(None, |context| answer.as_mut().poll(context)).unwrap_or(false);
    }
    let cancel = || cancel_pending(task, TaskError::Canceled, include);
    cancel() || {
        request_stop(task);
        // The run may have ended before the flag was set, and the task waits for its next attempt.
        // Now that the flag is set, no further attempt is prepared.
        cancel()
    }
}

fn request_stop(task: &TaskArc) {
    let header = task.header();
    if !matches!(header.state.read().phase(), Phase::Ending | Phase::Ended) {
        header.request_stop();
        header.with_place(|place| place.stop_requested(&**task));
    }
}

/// Has the future of a task dropped at its next await. Does nothing for other bodies.
pub(crate) fn abort(task: &TaskArc) {
    task.wake(task);
}

/// Ends a task, as far as its place can. If it was chained to a task that has not ended, ends that
/// one as well; a thread is asked to stop.
pub(crate) fn kill(task: &TaskArc) -> Result<(), KillError> {
    if fork::is_copy() {
        return Err(KillError::Unsupported);
    }
    if kill_one(task)? == Killed::Pending {
        each_before(task, |first| match kill_one(first) {
            Ok(killed) => killed == Killed::Pending,
            Err(_) => cancel_or_ask_one(first, Include::Admitted),
        });
    }
    Ok(())
}

/// What `kill` has met.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Killed {
    /// A task that waited. It has ended.
    Pending,
    /// A task that was running, or had ended.
    Begun,
}

fn kill_one(task: &TaskArc) -> Result<Killed, KillError> {
    // Twice, because a run may end and another be prepared between the two checks. After the first
    // round none is prepared any more, and the second round meets the one that was.
    for _ in 0..2 {
        if is_elsewhere(task) {
            let killed = task.header().with_place(|place| place.kill(task));
            return killed.unwrap_or(Err(KillError::Unsupported)).map(|()| Killed::Begun);
        }
        if cancel_pending(task, TaskError::Canceled, Include::Admitted) {
            return Ok(Killed::Pending);
        }
        if matches!(task.header().state.read().phase(), Phase::Ending | Phase::Ended) {
            return Ok(Killed::Begun);
        }
        let header = task.header();
        let is_inline = header.extras().is_some_and(|e| e.is_inline.load(Ordering::Relaxed));
        if is_inline && header.tt != TaskType::Async {
            // It runs on the thread that has launched it, wherever it would run otherwise.
            return Err(KillError::Unsupported);
        }
        let killed = header.with_place(|place| place.kill(task));
        killed.unwrap_or(Err(KillError::Unsupported))?;
    }
    Ok(Killed::Begun)
}

/// Returns the tasks in the order in which all of them are to be stopped, canceled or killed: first
/// those that wait, so that none of them begins when another one ends.
pub(crate) fn waiting_first(tasks: Vec<TaskArc>) -> impl Iterator<Item = TaskArc> {
    let has_begun = |task: &TaskArc| {
        matches!(task.header().state.read().phase(), Phase::Started | Phase::Ending | Phase::Ended)
    };
    let (begun, waiting): (Vec<_>, Vec<_>) = tasks.into_iter().partition(has_begun);
    // The last one that was launched first, for the same reason.
    waiting.into_iter().rev().chain(begun)
}
