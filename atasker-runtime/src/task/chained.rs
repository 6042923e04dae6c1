//! The task that is chained to another one: it starts when the first one has ended well, and ends
//! as the first one where it has not.
//!
//! ```text
//!   first:    ... ------> Ended
//!                           | wakes the link
//!   chained:  Delayed ------+--- well ------> Queued ---> Started ---> ...
//!                           +--- otherwise -> Ending, with the error of the first
//! ```
//!
//! The chained task is launched at once, as `Delayed`, so it is found by its id, canceled, and waited
//! for by a stop like any other. No thread waits for the first one: a [`Link`] is registered there
//! as a waker. The link owns the [`Job`] of the chained task. The body of the chained task owns the
//! typed handle of the first, and moves the result out on the pool thread that runs it. The header
//! of the chained task refers to the first weakly, for the operations that reach the first as well.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::sync::Arc;
use std::task::{Wake, Waker};

use crate::error::TaskError;
use crate::fork;
use crate::job::Job;
use crate::sync::lock::Mutex;
use crate::task::AnyTask;
use crate::task::TaskArc;
use crate::task::arc::TaskWeak;
use crate::task::cell::Body;
use crate::task::handle::Task;
use crate::task::state::Phase;
use crate::task::waiters::WaiterKey;
use crate::unwind::{Guarded, guarded};

/// Returns the task that this one is chained to, unless that is gone.
pub(crate) fn first_of(task: &dyn AnyTask) -> Option<TaskArc> {
    task.header().extras()?.chained_to.as_ref()?.upgrade()
}

/// The work of a chained task: `f` of the result of the first one.
pub(crate) struct Chained<R, F> {
    first: Option<Task<R>>,
    /// The key of the link among the waiters of the first one.
    link: WaiterKey,
    f: Option<Guarded<F>>,
}

impl<R, F> Chained<R, F> {
    pub(crate) fn new(first: Task<R>, link: WaiterKey, f: F) -> Self {
        Chained { first: Some(first), link, f: Some(Guarded::new(f)) }
    }
}

impl<R, U, F> Body<U> for Chained<R, F>
where
    R: Send + 'static,
    F: FnOnce(R) -> U + Send + 'static,
{
    type PlaceData = ();

    fn run(&mut self, _task: &TaskArc) -> Result<U, TaskError> {
        let (Some(first), Some(f)) = (self.first.take(), self.f.take()) else {
            return Err(TaskError::not_started("a chained function runs once and has run already"));
        };
        let value = first.into_outcome()?;
        Ok(f.into_inner()(value))
    }
}

impl<R, F> Drop for Chained<R, F> {
    fn drop(&mut self) {
        // The chained task has ended before the first one: the link is not needed any more.
        if let Some(first) = &self.first {
            first.header().unwatch(self.link);
        }
    }
}

/// When the first task has ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Ended {
    /// Before the chained task was launched: the caller is the launch.
    BeforeLaunch,
    /// The caller is the thread that has ended it.
    AfterLaunch,
}

/// A waker of the first task, which passes its end on to the chained one.
pub(crate) struct Link {
    /// Weak, because the first task owns the link.
    first: TaskWeak,
    key: WaiterKey,
    /// The chained task, until the first one has ended. A link that is lost ends it.
    next: Mutex<Option<Job>>,
}

impl Link {
    /// Passes the end of `first` on to the task of `next`, which is `Delayed`: now if `first` has
    /// ended, or when it ends.
    pub(crate) fn connect(first: &TaskArc, key: WaiterKey, next: Job) {
        let link = Link { first: first.downgrade(), key, next: Mutex::new(Some(next)) };
        // Not left to another call on this thread, because the caller may wait for the task within
        // that call.
        if let Some(end) = Arc::new(link).check() {
            end.pass_on(Ended::BeforeLaunch);
        }
    }

    /// Registers the link with the first task, or returns what to do if that has ended.
    fn check(self: &Arc<Self>) -> Option<End> {
        if fork::is_copy() {
            // The task ends in the parent process.
            return None;
        }
        let first = self.first.upgrade()?;
        let header = first.header();
        let waker = Waker::from(Arc::clone(self));
        // A result that is being cloned can't be moved out yet.
        if !header.watch(self.key, &waker) && !header.watch_clones(self.key, &waker) {
            let next = self.next.lock().take()?;
            return Some(End { next, error: first.error().cloned() });
        }
        // If the chained task ends, its body removes the link. That may have been before the link
        // was registered.
        let is_needed = self.next.lock().as_ref().is_some_and(|next| {
            !matches!(next.header().state.read().phase(), Phase::Ending | Phase::Ended)
        });
        if !is_needed {
            header.unwatch(self.key);
        }
        None
    }
}

impl Wake for Link {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // Also woken by a request to stop, after which it registers again.
        if let Some(end) = self.check() {
            end.pass_on_in_turn();
        }
    }
}

/// The end of the first task, for the chained one.
struct End {
    next: Job,
    error: Option<TaskError>,
}

thread_local! {
    /// The number of calls of `pass_on_in_turn` on the stack of this thread.
    static DEPTH: Cell<u32> = const { Cell::new(0) };
    /// The ends that the outermost of these calls has to pass on.
    static LATER: RefCell<VecDeque<End>> = const { RefCell::new(VecDeque::new()) };
}

impl End {
    /// Queues the chained task, or ends it.
    fn pass_on(self, when: Ended) {
        let End { next, error } = self;
        match (error, next.header().scheduler()) {
            (Some(error), _) => next.end(error),
            (None, Some(scheduler)) => scheduler.queue_chained(next, when),
            (None, None) => next.end(TaskError::SupervisorStopped),
        }
    }

    /// Does the same, with a bounded depth of the stack: a chained task that ends wakes the next
    /// link, and a chain can have any length.
    fn pass_on_in_turn(self) {
        const MAX_DEPTH: u32 = 32;
        let depth = DEPTH.get();
        if depth >= MAX_DEPTH {
            let mut end = Some(self);
            let _ = LATER.try_with(|later| later.borrow_mut().extend(end.take()));
            // A thread that exits has no list any more.
            return end.into_iter().for_each(|end| end.pass_on(Ended::AfterLaunch));
        }
        DEPTH.set(depth + 1);
        guarded(|| self.pass_on(Ended::AfterLaunch));
        while depth == 0
            && let Ok(Some(next)) = LATER.try_with(|later| later.borrow_mut().pop_front())
        {
            guarded(|| next.pass_on(Ended::AfterLaunch));
        }
        DEPTH.set(depth);
    }
}
