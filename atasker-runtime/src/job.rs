//! Jobs and runs: the obligations of the places that run tasks.
//!
//! ```text
//!            begin           complete           store the outcome
//!       Job -------> Run ---------------> Claim -----------------> Publish -----> ended
//!        |            |  \__ another attempt: back to a Job
//!        | dropped    | dropped
//!        v            v
//!  SupervisorStopped  fails as lost
//! ```
//!
//! A [`Job`] is the right to begin a task, a [`Run`] the right to run its body, and a [`Claim`]
//! the right to end it. Each of them is an obligation as well: it is passed on, or ends the task
//! when it is dropped, so a place that loses one leaves no waiters behind. In a forked process they
//! do nothing, because the task runs on in the parent process.

use std::sync::Arc;
use std::time::Duration;

use crate::error::TaskError;
use crate::fork;
use crate::limit;
use crate::observe::{self, spans};
use crate::priority::Priority;
use crate::task::TaskArc;
use crate::task::limit::{Overdue, TimeLimit};
use crate::task::state::{Claim, Phase};
use crate::task::{current, deadlines, header::Header};
use crate::time::clock::Stamp;
use crate::unwind;

/// The right to begin a task. Ends the task with an error if it is dropped unused, so that a place
/// that loses a job leaves no waiters behind.
pub(crate) struct Job(Option<TaskArc>);

impl Job {
    pub(crate) fn new(task: TaskArc) -> Self {
        Job(Some(task))
    }

    pub(crate) fn task(&self) -> &TaskArc {
        self.0.as_ref().expect("a job holds its task until it is taken")
    }

    pub(crate) fn header(&self) -> &Header {
        self.task().header()
    }

    pub(crate) fn priority(&self) -> Priority {
        self.header().priority
    }

    /// Begins the task. Returns `None` if it was ended meanwhile.
    #[inline]
    pub(crate) fn begin(self, when: Stamp) -> Option<Run> {
        let task = self.into_task();
        task.header().begin_at(when).then(|| Run::of_begun(task))
    }

    /// Returns the run of a task that this worker process has begun.
    #[cfg(feature = "mp")]
    pub(crate) fn into_run(self, worker: u32) -> Run {
        let task = self.into_task();
        observe::started(&task, Some(worker));
        Run::of_begun(task)
    }

    /// Takes the task out, which ends the obligation: the caller has begun it, ends it, or knows
    /// that it has ended.
    #[inline]
    pub(crate) fn into_task(mut self) -> TaskArc {
        self.0.take().expect("a job holds its task until it is taken")
    }

    /// Ends the task without running it. Has no effect if the task was ended already.
    pub(crate) fn end(self, error: TaskError) {
        end_waiting(self.into_task(), error);
    }
}

impl Drop for Job {
    // Inline, so that passing the task on costs nothing.
    #[inline]
    fn drop(&mut self) {
        #[cold]
        fn lost(task: TaskArc) {
            if fork::is_copy() {
                // The task runs on in the parent process, from which this process was forked.
                return std::mem::forget(task);
            }
            end_waiting(task, TaskError::SupervisorStopped);
        }
        if let Some(task) = self.0.take() {
            lost(task);
        }
    }
}

/// Ends a task that is not running, in whichever phase it waits.
pub(crate) fn end_waiting(task: TaskArc, error: TaskError) {
    let claim = [Phase::Queued, Phase::Delayed, Phase::Retrying, Phase::New]
        .into_iter()
        .find_map(|phase| task.header().state.claim(phase));
    if let Some(claim) = claim {
        claim.end(&task, error);
    }
}

/// An attempt that has begun: the only right to touch the body of the task, and the obligation to
/// complete the attempt. Fails the task if it is dropped before.
///
/// Another thread may claim and end the task meanwhile, for a time limit or a shutdown. The body
/// still belongs to the run, which then drops it.
#[must_use = "an attempt that has begun must be completed"]
pub(crate) struct Run(Option<TaskArc>);

impl Run {
    /// Returns the run of a task that has begun. A scheduled future is in its queue as a run too,
    /// and its poll state ensures that there is only one.
    #[inline]
    pub(crate) fn of_begun(task: TaskArc) -> Self {
        Run(Some(task))
    }

    #[inline]
    fn task(&self) -> &TaskArc {
        self.0.as_ref().expect("a run holds its task until it is completed")
    }

    #[inline]
    fn take(&mut self) -> TaskArc {
        self.0.take().expect("a run holds its task until it is completed")
    }

    pub(crate) fn header(&self) -> &Header {
        self.task().header()
    }

    /// Arms the time limit if the task has one. A run that exceeds it is reported to `place`.
    ///
    /// The limit is kept in the task, because the run of a future rests there between two polls.
    #[inline]
    pub(crate) fn arm_limit(&self, place: impl FnOnce() -> Option<Arc<dyn Overdue>>) {
        if let Some(limit) = self.header().timeout() {
            self.arm(limit, place());
        }
    }

    /// The same for a run that stays on this thread, which may be one with a slot for its deadline.
    #[inline]
    pub(crate) fn arm_limit_here(&self, place: impl FnOnce() -> Option<Arc<dyn Overdue>>) {
        if let Some(limit) = self.header().timeout()
            && !deadlines::enter_run(self.task(), limit)
        {
            self.arm(limit, place());
        }
    }

    #[cold]
    fn arm(&self, limit: Duration, place: Option<Arc<dyn Overdue>>) {
        let task = self.task();
        let armed = TimeLimit::arm(task, limit, place);
        let before = task.header().extras_or_new().limit.lock().replace(armed);
        debug_assert!(before.is_none(), "the limit of the last attempt was disarmed");
    }

    /// Runs the body on this thread and completes the attempt. Returns the time of the end if that
    /// has ended the task: the next run of this thread may begin at the same time, without reading
    /// the clock again.
    #[inline]
    pub(crate) fn execute(mut self) -> Option<Stamp> {
        if observe::is_on() {
            // As the last call, so that it takes no registers from the usual case.
            return self.execute_observed();
        }
        let task = self.task();
        let ended = current::scope(task, || task.run(task));
        // Not before, so that a panic which gets here fails the task.
        drop(self.take());
        ended
    }

    #[cold]
    fn execute_observed(mut self) -> Option<Stamp> {
        let task = self.task();
        observe::started(task, None);
        let ended = spans::inside(task, || current::scope(task, || task.run(task)));
        drop(self.take());
        ended
    }

    /// Completes the attempt with the reply of a worker process, which is decoded on this thread.
    #[cfg(feature = "mp")]
    pub(crate) fn reply(mut self, reply: std::borrow::Cow<'_, [u8]>) {
        let task = self.take();
        task.reply(&task, reply);
    }

    /// Completes the attempt with an error: reruns the task or ends it.
    pub(crate) fn fail(mut self, error: TaskError) {
        let task = self.take();
        task.fail(&task, error);
    }

    /// Ends the task with an error, even if attempts are left.
    pub(crate) fn end(mut self, error: TaskError) {
        let task = self.take();
        limit::leave(task.header());
        if let Some(claim) = task.header().state.claim(Phase::Started) {
            claim.with_body().end(&task, error);
        }
    }

    /// Creates the future of the task and passes the run to a loop.
    #[cfg(feature = "async")]
    #[inline]
    pub(crate) fn spawn(mut self, on: &Arc<crate::task::future::queue::Queue>) {
        if observe::is_on() {
            return self.spawn_observed(on);
        }
        let task = self.take();
        task.spawn(&task, on);
    }

    #[cfg(feature = "async")]
    #[cold]
    fn spawn_observed(mut self, on: &Arc<crate::task::future::queue::Queue>) {
        let task = self.take();
        observe::started(&task, None);
        task.spawn(&task, on);
    }

    /// Polls the future, or drops it if it was killed or `is_closing` returns true. A future that
    /// is pending keeps the run until it is woken.
    #[cfg(feature = "async")]
    #[inline]
    pub(crate) fn poll(mut self, is_closing: &dyn Fn() -> bool) {
        // Given up before the poll, in the middle of which another thread must not touch the
        // future.
        let task = self.take();
        task.poll(&task, is_closing);
    }
}

impl Drop for Run {
    #[inline]
    fn drop(&mut self) {
        #[cold]
        fn lost(task: TaskArc) {
            if fork::is_copy() {
                return std::mem::forget(task);
            }
            // Guarded, because a panic may be the reason for the loss.
            unwind::guarded(move || task.lose(&task));
        }
        if let Some(task) = self.0.take() {
            lost(task);
        }
    }
}

impl Claim {
    /// Ends the task with this error, regardless of the remaining attempts.
    pub(crate) fn end(self, task: &TaskArc, error: TaskError) {
        task.end(task, self, error);
    }
}

#[cfg(all(test, not(atasker_loom)))]
mod tests {
    use super::*;
    use crate::id::TaskId;
    use crate::info::TaskType;
    use crate::task::body::Once;
    use crate::task::cell::Cell;
    use crate::time::clock;

    /// A queued task with a time limit.
    fn queued() -> TaskArc {
        let mut header = Header::new(TaskType::Thread, TaskId::next());
        header.set_timeout(Some(Duration::from_secs(600)));
        header.record_queued();
        assert!(header.state.launch(Phase::Queued));
        Cell::<u32, _>::allocate(header, Once(Some(|_: &TaskArc| 42)), ()).erase()
    }

    fn begun(task: &TaskArc) -> Run {
        let run = Job::new(task.clone()).begin(clock::now()).unwrap();
        run.arm_limit(|| None);
        assert!(is_armed(task));
        run
    }

    fn is_armed(task: &TaskArc) -> bool {
        task.header().extras_or_new().limit.lock().is_some()
    }

    #[test]
    fn dropped_job_ends_task() {
        let task = queued();
        drop(Job::new(task.clone()));
        assert_eq!(task.error(), Some(&TaskError::SupervisorStopped));
    }

    #[test]
    fn dropped_run_fails_task() {
        let mut task = queued();
        drop(begun(&task));
        assert!(task.error().unwrap().is_panic());
        assert!(!is_armed(&task));
        // Its body is gone, and no other right to it is left.
        assert!(task.get_mut().is_some());
        assert!(Job::new(task.clone()).begin(clock::now()).is_none());
    }

    #[test]
    fn dropped_run_of_an_ended_task_changes_nothing() {
        let task = queued();
        let run = begun(&task);
        let claim = task.header().state.claim(Phase::Started).unwrap();
        claim.end(&task, TaskError::Canceled);
        drop(run);
        assert_eq!(task.error(), Some(&TaskError::Canceled));
        assert!(!is_armed(&task));
    }

    #[test]
    fn executed_run_returns_the_end_of_its_task() {
        let task = queued();
        let ended = begun(&task).execute();
        assert_eq!(ended, Some(task.header().ended()));
        assert!(task.error().is_none() && !is_armed(&task));
        // The body of a task that another thread has ended returns later.
        let task = queued();
        let run = begun(&task);
        let claim = task.header().state.claim(Phase::Started).unwrap();
        claim.end(&task, TaskError::SupervisorStopped);
        assert_eq!(run.execute(), None);
    }
}
