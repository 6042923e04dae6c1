//! A task on its way to run: what a place takes in.

use std::sync::Arc;

use crate::error::{KillError, TaskError};
use crate::priority::Priority;
use crate::task::state::Phase;
use crate::task::{AnyTask, current, header::Header, park};

/// The right to run a task. Dropped unrun, it ends the task with an error, so that nobody waits for
/// a task that a place has lost.
pub(crate) struct Job(Option<Arc<dyn AnyTask>>);

impl Job {
    pub(crate) fn new(task: Arc<dyn AnyTask>) -> Self {
        Job(Some(task))
    }

    pub(crate) fn task(&self) -> &Arc<dyn AnyTask> {
        self.0.as_ref().expect("a job holds its task until it is taken")
    }

    pub(crate) fn header(&self) -> &Header {
        self.task().header()
    }

    pub(crate) fn priority(&self) -> Priority {
        self.header().priority
    }

    /// Takes the task out, to run it.
    pub(crate) fn into_task(mut self) -> Arc<dyn AnyTask> {
        self.0.take().expect("a job holds its task until it is taken")
    }

    /// Ends the task unrun. Nothing happens if somebody else has ended it.
    pub(crate) fn end(self, error: TaskError) {
        end_waiting(self.into_task(), error);
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        if let Some(task) = self.0.take() {
            end_waiting(task, TaskError::SupervisorStopped);
        }
    }
}

/// Ends a task that does not run, in whichever phase of waiting it is.
pub(crate) fn end_waiting(task: Arc<dyn AnyTask>, error: TaskError) {
    let claim = [Phase::Queued, Phase::Delayed, Phase::Retrying, Phase::New]
        .into_iter()
        .find_map(|phase| task.header().state.claim(phase));
    if let Some(claim) = claim {
        task.end(&task, claim, error);
    }
}

/// What a launch does when the queue of its place is full.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum WhenFull {
    /// What the queue's rule says; the launcher may be made to wait.
    Wait,
    /// What the queue's rule says; a launcher that can't wait is let in.
    NoWait,
    /// It is let in: there is at most one such task of each background worker.
    Pass,
}

impl WhenFull {
    /// Whether the thread that launches may be made to wait: not in a task, nor on an aloop.
    pub(crate) fn may_wait(self) -> bool {
        self == WhenFull::Wait && !park::on_aloop_thread() && current::with(|task| task.is_none())
    }
}

/// A place where tasks run: the thread pool, the pool of worker processes, the aloops. Nothing
/// above a place knows of threads, sockets or process ids.
pub(crate) trait Place: Send + Sync {
    /// Takes a queued job: starts it now or as soon as its turn comes.
    fn start(&self, job: Job, when_full: WhenFull);

    /// Takes a task back that waits for a slot; `even_with_slot`: also one that has its slot and has
    /// not begun. False: it is past that, or is not here.
    fn revoke(&self, task: &dyn AnyTask, even_with_slot: bool) -> bool;

    /// Passes a request to stop on to a running task.
    fn stop_asked(&self, task: &dyn AnyTask) {
        let _ = task;
    }

    /// Passes waiting messages on.
    fn message(&self, task: &dyn AnyTask) {
        let _ = task;
    }

    /// A message was taken out of a task's channel on this side.
    fn received(&self, task: &dyn AnyTask) {
        let _ = task;
    }

    /// Ends a running task.
    fn kill(&self, task: &Arc<dyn AnyTask>) -> Result<(), KillError>;

    /// Brings a task's header up to date.
    fn refresh(&self, task: &dyn AnyTask) {
        let _ = task;
    }

    /// The caller is about to sleep until this task ends: looks for that a moment, where it may come
    /// sooner than the caller would be awake again. True: it has ended.
    fn look(&self, task: &dyn AnyTask) -> bool {
        let _ = task;
        false
    }

    /// Starts what stands in advance.
    fn open(&self);

    /// Ends what runs here and the place itself; running tasks that can't be ended are left to
    /// themselves. Queued ones have been ended before.
    fn close(&self);
}
