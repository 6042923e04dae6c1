//! Tasks: the cell that a place runs and a handle waits on.
//!
//! | part | file |
//! |---|---|
//! | phases, and the transitions between them | `state` |
//! | identity, times and waiters, common to all tasks | `header` |
//! | function and outcome, and who may access them | `cell`, `body`, `outcome_slot` |
//! | counted references | `arc` |
//! | futures stored in their cell, and how a loop polls them | `future` |
//! | functions and results that borrow from the caller of `scope` | `scoped` |
//! | stop, cancel, kill | `control` |
//! | what only a task on another machine has | `elsewhere` |
//! | a task that starts when another one has ended | `chained` |
//! | the time limit of a run: on a pool thread, elsewhere | `deadlines`, `limit` |
//! | back-off, expiry, unique keys | `policies`, `unique`, `portable_hash` |
//! | the link to the supervisor, and lookup by id | `scheduler`, `table`, `foreign` |
//! | the typed handle, the untyped one | `handle`, `reference` |
//! | the messages of a task as a stream | `message_stream` |
//! | the task's own view | `context`, `channel`, `endpoint`, `current` |
//! | blocking and waiting | `park`, `wait`, `waiters` |
//! | what an advance of a paused clock waits for | `hold` |
//!
//! **Only the owner of a [`Claim`] ends a task**, and there is one claim per task. Places hold a
//! task as a [`Job`] until it begins, then as a [`Run`](crate::job::Run). Either
//! claims and ends its task if it is dropped, so a place that loses one can't leave waiters behind.

pub(crate) mod arc;
pub(crate) mod body;
pub(crate) mod cell;
pub(crate) mod chained;
pub(crate) mod channel;
mod cloning;
pub(crate) mod context;
pub(crate) mod control;
pub(crate) mod current;
pub(crate) mod deadlines;
#[cfg(feature = "remote")]
pub(crate) mod elsewhere;
pub(crate) mod end_counts;
pub(crate) mod endpoint;
pub(crate) mod foreign;
#[cfg(any(feature = "async", all(test, atasker_loom)))]
pub(crate) mod future;
pub(crate) mod handle;
pub(crate) mod header;
pub(crate) mod hold;
pub(crate) mod limit;
#[cfg(all(test, atasker_loom))]
mod loom_tests;
#[cfg(feature = "async")]
pub(crate) mod message_stream;
mod outcome_slot;
pub(crate) mod park;
pub(crate) mod policies;
#[cfg(feature = "remote")]
mod portable_hash;
pub(crate) mod reference;
pub(crate) mod scheduler;
pub(crate) mod scoped;
pub(crate) mod state;
pub(crate) mod table;
#[cfg(feature = "async")]
pub(crate) mod tokio_thread;
pub(crate) mod unique;
pub(crate) mod wait;
pub(crate) mod waiters;

use std::any::{Any, TypeId};
use std::sync::Arc;
use std::time::Duration;

use crate::error::TaskError;
use crate::info::TaskType;
use crate::job::Job;
use crate::observe::registry::Observers;
use crate::place::Place;
use crate::time::clock::Stamp;
use arc::Base;
pub(crate) use arc::TaskArc;
use header::Header;
use state::{Claim, Ending};

/// A task without its types, as places, tables and untyped handles see it.
///
/// Some methods take the task again as `this`, the caller's own `Arc`. Whatever outlives the call
/// (a callback, another attempt) clones it; everything else costs no reference count. Only the
/// types that grant the right call them: [`Run`](crate::job::Run), [`Claim`] and
/// [`Overrun`](cell::Overrun), and [`control::abort`].
///
/// # Safety
///
/// Implementors are `repr(C)` and have a [`Base`] as their first field: `header` finds it there
/// without a virtual call.
pub(crate) unsafe trait AnyTask: Send + Sync {
    fn header_mut(&mut self) -> &mut Header;

    /// Returns whether the task can run again.
    fn is_repeatable(&self) -> bool;

    /// Runs the body on this thread, disarms the time limit when the body has returned, and
    /// completes the attempt. Returns the time of the end if that has ended the task.
    fn run(&self, this: &TaskArc) -> Option<Stamp>;

    /// Returns whether ending the task calls no user code: there is neither a callback nor a retry
    /// predicate nor a unique key.
    fn has_no_hooks(&self) -> bool;

    /// Starts the body as a future on a loop.
    #[cfg(feature = "async")]
    fn spawn(&self, this: &TaskArc, on: &Arc<future::queue::Queue>);

    /// Polls the future, or drops it if it was killed or `is_closing` returns true.
    #[cfg(feature = "async")]
    fn poll(&self, this: &TaskArc, is_closing: &dyn Fn() -> bool);

    /// Has the future polled soon, which notices then what has become of its task. Does nothing for
    /// other bodies.
    fn wake(&self, this: &TaskArc);

    /// Completes the current attempt with this error: reruns the task or ends it.
    fn fail(&self, this: &TaskArc, error: TaskError);

    /// Completes the current attempt, whose run was lost, with an error.
    fn lose(&self, this: &TaskArc);

    /// Ends the task with this error, regardless of the remaining attempts.
    fn end(&self, this: &TaskArc, claim: Claim, error: TaskError);

    /// Publishes the outcome of the task, which is stored and was passed to the callbacks and the
    /// observers. Returns the time of the end.
    fn publish(&self, claim: Claim, ending: Ending) -> Stamp;

    /// Returns the stored error of a task that is about to be published. The reference to the claim
    /// shows that the caller owns it.
    fn stored_error(&self, claim: &Claim, ending: Ending) -> Option<&TaskError>;

    /// Records that the current run has exceeded its time limit, and claims the task unless another
    /// attempt follows. Returns `None` if nothing is running.
    ///
    /// Calls no user code, so the caller can hold the lock that proves that the run is still in
    /// progress. The result is completed after releasing that lock.
    fn record_overrun(&self) -> Option<cell::Overrun>;

    /// Finishes what `record_overrun` began, without any lock: ends the task if it was claimed, and
    /// wakes waiters.
    fn overrun(&self, this: &TaskArc, overrun: cell::Overrun);

    /// Returns the error if the task has ended with one.
    fn error(&self) -> Option<&TaskError>;

    /// Returns whether the results of the task are of this type.
    fn returns(&self, result: TypeId) -> bool;

    /// Calls `f`, which runs the user's `Clone`, with the result. The result is not moved out
    /// meanwhile. Does nothing if there is no result, or no longer one.
    fn with_value(&self, f: &mut dyn FnMut(&dyn Any));

    /// Returns whether the task belongs to this scope and has not ended.
    fn is_in_scope(&self, scope: &scoped::ScopeState) -> bool;

    /// Returns what is sent to a worker process, or `None` for tasks that run in this process.
    #[cfg(feature = "mp")]
    fn remote(&self) -> Option<&dyn crate::remote::body::AnyRemote>;

    /// Decodes the result that a worker process has returned, and completes the attempt.
    #[cfg(feature = "mp")]
    fn reply(&self, this: &TaskArc, reply: std::borrow::Cow<'_, [u8]>);
}

impl dyn AnyTask + '_ {
    /// Returns the part of the task that does not depend on its types.
    #[inline]
    pub(crate) fn header(&self) -> &Header {
        // SAFETY: the implementor has its base at its address, as the trait requires, and lends it
        // as long as itself.
        let base: &Base = unsafe { &*std::ptr::from_ref(self).cast() };
        &base.header
    }
}

/// The scheduler of launched tasks: their supervisor. What happens to one task at a time is the
/// affair of its [`Place`].
pub(crate) trait Schedule: Send + Sync {
    /// Called after a task was published as ended.
    fn ended(&self, task: &Header, ending: Ending);

    /// Returns what observes the tasks. `None` in a worker process, where the tasks are copies.
    fn observers(&self) -> Option<&Arc<Observers>>;

    /// Runs callbacks on a pool thread.
    fn run_callbacks(&self, run: Box<dyn FnOnce() + Send>);

    /// Reruns a `Retrying` task after this pause.
    fn retry(&self, task: TaskArc, pause: Duration);

    /// Returns the place of tasks of this type.
    fn place(&self, tt: TaskType) -> &dyn Place;

    /// Prepares the launch of a task that is chained to another one: see `chained`. Returns false
    /// if nothing is launched here.
    fn prepare_chained(&self, header: &mut Header) -> bool {
        let _ = header;
        false
    }

    /// Accepts a task that was prepared by [`prepare_chained`](Self::prepare_chained) and is chained
    /// to `first`. Returns false if it is refused: the caller ends it.
    fn accept_chained(&self, task: &TaskArc, first: &Header) -> bool {
        let _ = (task, first);
        false
    }

    /// Queues a chained task that was accepted, because the first one has ended well.
    fn queue_chained(&self, job: Job, when: chained::Ended) {
        let _ = when;
        drop(job);
    }
}
