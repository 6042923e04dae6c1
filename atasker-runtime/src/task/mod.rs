//! A task: one cell that a place runs and a handle waits on.
//!
//! | part | file |
//! |---|---|
//! | phases, and who may turn one into another | `state` |
//! | identity, times, waiters: what all tasks have | `header` |
//! | function, outcome, their owners | `cell`, `body` |
//! | a future that stands in the cell, and its turns on a loop | `future` |
//! | who looks after it, and where it is found by its id | `owners`, `books` |
//! | the typed handle, the untyped one | `handle`, `reference` |
//! | the task's own view | `context`, `channel`, `current` |
//! | blocking and waiting | `park`, `wait` |
//!
//! **Only the owner of a [`Claim`] ends a task**, and there is one claim per task. A
//! [`Job`](crate::job::Job) that is dropped unfinished claims and ends its task, too: a place that
//! loses a task can't leave its waiters behind.

pub(crate) mod body;
pub(crate) mod books;
pub(crate) mod cell;
pub(crate) mod channel;
pub(crate) mod context;
pub(crate) mod current;
#[cfg(any(feature = "async", all(test, atasker_loom)))]
pub(crate) mod future;
pub(crate) mod handle;
pub(crate) mod header;
#[cfg(all(test, atasker_loom))]
mod loom_tests;
pub(crate) mod owners;
pub(crate) mod panic;
pub(crate) mod park;
pub(crate) mod reference;
#[cfg(feature = "mp")]
pub(crate) mod remote;
pub(crate) mod state;
pub(crate) mod verbs;
pub(crate) mod wait;
pub(crate) mod waiters;

use std::any::{Any, TypeId};
use std::sync::Arc;

use crate::error::{KillError, TaskError};
use header::Header;
use state::{Claim, Ending};

/// A task without its types: what places, registries and untyped handles know of it.
///
/// Methods that end a run take the task once more, as `this`: the caller's own hold on it, so that
/// what goes on with it (a callback, a further attempt) can have one of its own, and what does not
/// costs none.
pub(crate) trait AnyTask: Send + Sync {
    fn header(&self) -> &Header;
    fn header_mut(&mut self) -> &mut Header;

    /// Whether it could run again.
    fn repeats(&self) -> bool;

    /// Runs the body on this thread and settles what comes of it. The caller has turned the state
    /// to `Started`; it is told when the body has returned, before anything comes of that.
    fn run(&self, this: &Arc<dyn AnyTask>, returned: &mut dyn FnMut());

    /// Whether its end calls nothing of the user's: no callback, no predicate for another attempt.
    fn is_plain(&self) -> bool;

    /// Starts the body as a future on a loop. The caller has turned the state to `Started`.
    #[cfg(feature = "async")]
    fn spawn(&self, this: &Arc<dyn AnyTask>, on: &Arc<future::queue::Queue>);

    /// Gives the future a turn: polls it, or drops it if it was killed or the loop `is_closing`. The
    /// task came out of the loop's queue.
    #[cfg(feature = "async")]
    fn turn(&self, this: &Arc<dyn AnyTask>, is_closing: &dyn Fn() -> bool);

    /// Has a future dropped at its next await; nothing for other bodies.
    fn abort(&self, this: &Arc<dyn AnyTask>);

    /// A run is over with this error: another attempt, or the end.
    fn fail(&self, this: &Arc<dyn AnyTask>, error: TaskError);

    /// Ends the task with this error, whatever attempts are left.
    fn end(&self, this: &Arc<dyn AnyTask>, claim: Claim, error: TaskError);

    /// The present run's time is over: asks it to stop, and ends the task unless another attempt
    /// will follow.
    fn overrun(&self, this: &Arc<dyn AnyTask>);

    /// The error, once it has ended with one.
    fn error(&self) -> Option<&TaskError>;

    /// Whether its results are of this type.
    fn returns(&self, result: TypeId) -> bool;

    /// The result, once it is there; `None` also once it was moved out.
    fn value_any(&self) -> Option<&dyn Any>;

    /// This task as `Arc<dyn Typed<R>>`.
    fn typed_any(self: Arc<Self>) -> Box<dyn Any>;

    /// What is sent to a worker process; `None` for tasks that run here.
    #[cfg(feature = "mp")]
    fn remote(&self) -> Option<&dyn remote::AnyRemote>;

    /// A worker process has answered with an encoded result: decodes and settles it.
    #[cfg(feature = "mp")]
    fn reply(&self, this: &Arc<dyn AnyTask>, reply: std::borrow::Cow<'_, [u8]>);
}

/// Who looks after a launched task: its supervisor.
pub(crate) trait Owner: Send + Sync {
    /// A task has just been published as ended.
    fn ended(&self, ending: Ending);

    /// Runs callbacks on a pool thread.
    fn run_callbacks(&self, run: Box<dyn FnOnce() + Send>);

    /// The task is `Retrying`: runs it again after its retry delay.
    fn again(&self, task: Arc<dyn AnyTask>);

    /// Takes a `Queued` task back from its place: true if it has not begun and now never will,
    /// unless the caller says so. One that has a slot already only if `even_with_slot`.
    fn revoke(&self, task: &dyn AnyTask, even_with_slot: bool) -> bool;

    /// The task was asked to stop while it runs: tells the place, if that must pass it on.
    fn stop_asked(&self, task: &dyn AnyTask);

    /// A message for the task waits to be passed on.
    fn message(&self, task: &dyn AnyTask);

    /// A message was taken out on this side of a link.
    fn received(&self, task: &dyn AnyTask) {
        let _ = task;
    }

    /// The task has said how far it is.
    fn progressed(&self, task: &dyn AnyTask) {
        let _ = task;
    }

    /// Ends a task that runs.
    fn kill(&self, task: &Arc<dyn AnyTask>) -> Result<(), KillError>;

    /// Brings the header up to date with what only the place knows.
    fn refresh(&self, task: &dyn AnyTask);

    /// The caller is about to sleep until this task ends: looks for that a moment, where it may come
    /// sooner than the caller would be awake again. True: it has ended.
    fn look(&self, task: &dyn AnyTask) -> bool {
        let _ = task;
        false
    }

    /// Runs a queued task on this very thread, if it is still queued for a thread: the last resort
    /// of a waiter when no thread can be started.
    fn run_here(&self, task: &Arc<dyn AnyTask>) -> bool;
}
