//! Launches that run their task themselves, on the launching thread: `testing::inline`.
//!
//! Such a task is launched, begun and ended as every other one, so it is counted, listed and
//! observed. It only gets to no place, and hence neither to a queue nor to a slot. A launch by that
//! task runs on top of its stack.
//!
//! `observe::is_on` is true while any thread does so. The usual launch therefore checks nothing for
//! it.

use std::cell::{Cell, RefCell};
use std::sync::atomic::Ordering;

use super::core::Core;
use crate::aloop::{InlineLoop, end_inline_runtime};
use crate::id::{SchedulerKey, TaskId};
use crate::info::TaskType;
use crate::job::{Job, end_waiting};
use crate::observe::{self, interest};
use crate::place::WhenFull;
use crate::task::{AnyTask, TaskArc};
use crate::time::clock;
use crate::unwind::{self, log};

thread_local! {
    /// The number of guards of this thread.
    static GUARDS: Cell<usize> = const { Cell::new(0) };
    /// The tasks that run on the stack of this thread.
    static RUNNING: RefCell<Vec<(Option<SchedulerKey>, TaskId)>> = const { RefCell::new(Vec::new()) };
}

/// Has launches of this thread run their tasks, until [`leave`].
pub(crate) fn enter() {
    interest::add_observer();
    GUARDS.set(GUARDS.get() + 1);
}

/// Ends what [`enter`] has begun.
pub(crate) fn leave() {
    GUARDS.set(GUARDS.get() - 1);
    interest::remove_observers(1);
    if !is_active() {
        end_inline_runtime();
    }
}

/// Returns whether launches of this thread run their tasks.
pub(crate) fn is_active() -> bool {
    GUARDS.get() > 0
}

/// Returns whether a launch of this thread runs its task. Runs of background workers are launched as
/// usual.
pub(super) fn runs(when_full: WhenFull) -> bool {
    is_active() && when_full != WhenFull::Pass
}

/// Returns whether a launch of this thread is running this task.
pub(super) fn is_running(id: TaskId) -> bool {
    let is_running = |running: &RefCell<Vec<_>>| running.borrow().iter().any(|(_, of)| *of == id);
    RUNNING.try_with(is_running).unwrap_or(false)
}

/// Returns the tasks of a supervisor that launches of this thread are running. They can't end before
/// the caller returns.
pub(super) fn running(of: SchedulerKey) -> Vec<TaskId> {
    let own = |running: &RefCell<Vec<_>>| {
        let own = |(key, id): &(Option<SchedulerKey>, TaskId)| (*key == Some(of)).then_some(*id);
        running.borrow().iter().filter_map(own).collect()
    };
    RUNNING.try_with(own).unwrap_or_default()
}

/// A task on the stack of this thread.
struct Running;

impl Running {
    fn enter(task: &dyn AnyTask) -> Running {
        let entry = (task.header().scheduler, task.header().id());
        let _ = RUNNING.try_with(|running| running.borrow_mut().push(entry));
        Running
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = RUNNING.try_with(|running| running.borrow_mut().pop());
    }
}

impl Core {
    /// Runs a queued task that was launched by this thread, with all its attempts.
    #[cold]
    pub(super) fn run_inline(&self, task: TaskArc, _when_full: WhenFull) {
        let header = task.header();
        header.extras_or_new().is_inline.store(true, Ordering::Relaxed);
        if let Some(channels) = header.channels() {
            channels.run_inline();
        }
        let aloop = match (header.tt == TaskType::Async).then(InlineLoop::new) {
            Some(Err(error)) => return end_waiting(task, error),
            Some(Ok(aloop)) => Some(aloop),
            None => None,
        };
        let _running = Running::enter(&*task);
        loop {
            observe::queued(&task);
            // It may be canceled by another thread.
            let Some(run) = Job::new(task.clone()).begin(clock::now()) else { return };
            // Without its time limit, which is not armed.
            match &aloop {
                Some(aloop) => aloop.attempt(run),
                None if unwind::contained(|| _ = run.execute()) => {}
                None => log!(error, "a destructor panicked in a task that its launch runs"),
            }
            // Otherwise it has ended, or is about to be ended by another thread.
            if !header.state.queue() {
                return;
            }
        }
    }
}
