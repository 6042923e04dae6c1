//! The task's cell: one allocation with the function, the state and the outcome of a task.
//!
//! Who may access which field, and when:
//!
//! * `body`: while the task waits, the thread that takes it out of waiting: with `begin` to run it,
//!   or with a [`Claim`] to end it. While the task runs, the thread that runs it, until it has
//!   completed the attempt. A claim obtained by another thread meanwhile (for a time limit or a
//!   shutdown) does not include the body. So a run takes no lock of its task. A future is polled by
//!   its loop (`task::future`); it is stored in the body, which does not move then.
//! * `outcome`: written once by the owner of the [`Claim`], before the state is published. An error
//!   stays in place, so references to it remain valid, and every thread can read it afterwards. A
//!   result is read by the typed handle, and cloned by threads that have borrowed it
//!   (`State::borrow_result`). The state grants moving it out once, while it is not borrowed: to
//!   the typed handle, by value, so that no reference it lent is left; or to the thread that drops
//!   it because no handle can reach it.
//! * Everything else is atomic or locked.
//!
//! No user code runs under a lock, and user values are dropped through `unwind`, including those
//! left when the cell itself is dropped.

use std::any::{Any, TypeId};
#[cfg(feature = "async")]
use std::pin::Pin;
use std::ptr::NonNull;
#[cfg(feature = "async")]
use std::sync::Arc;
#[cfg(feature = "async")]
use std::task::{Context, Poll};
use std::time::Duration;

use crate::error::TaskError;
use crate::fork;
use crate::info::Outcome;
use crate::limit;
use crate::observe::events::{self, Handle, Of};
use crate::observe::{self};
use crate::sync::{Mutex, UnsafeCell};
use crate::task::arc::{Base, TypedArc};
use crate::task::header::Header;
use crate::task::outcome_slot::OutcomeSlot;
use crate::task::scoped::ScopeState;
use crate::task::state::{Claim, Ending, Phase, Take};
use crate::task::waiters::Waiters;
use crate::task::{AnyTask, TaskArc, current, hold, scheduler, state, unique};
use crate::time::clock::Stamp;
use crate::unwind::{self, Guarded, discard, log};

/// The work of a task. The kinds of bodies are in `task::body`, `aloop` and `process`.
pub(crate) trait Body<R>: Send + 'static {
    /// Data of the place, stored in the cell beside the body.
    type PlaceData: Send + Sync + 'static;

    /// Does the work on this thread.
    ///
    /// # Errors
    ///
    /// Returns an error if the work could not be done, for example a codec error.
    fn run(&mut self, task: &TaskArc) -> Result<R, TaskError>;

    /// Whether the body can run again.
    const REPEATS: bool = false;

    /// Creates the future for a run that has begun. There is none at this time.
    ///
    /// # Errors
    ///
    /// Returns an error if no future could be created.
    #[cfg(feature = "async")]
    fn make(&mut self, task: &TaskArc) -> Result<(), TaskError> {
        let _ = task;
        unreachable!("only futures go to an aloop");
    }

    /// Polls the future.
    #[cfg(feature = "async")]
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<R> {
        let _ = context;
        unreachable!("only futures go to an aloop");
    }

    /// Drops the future in place.
    #[cfg(feature = "async")]
    fn unmake(self: Pin<&mut Self>) {}

    /// Returns the scheduling data of the future.
    #[cfg(feature = "async")]
    fn future_data(place_data: &Self::PlaceData) -> Option<&crate::task::future::FutureData> {
        let _ = place_data;
        None
    }

    /// Returns what is sent to a worker process.
    #[cfg(feature = "mp")]
    fn remote(place_data: &Self::PlaceData) -> Option<&crate::remote::body::Remote<R>> {
        let _ = place_data;
        None
    }

    /// Called last when the task ends: the end is published and reported.
    #[inline]
    fn ended(place_data: &Self::PlaceData, task: &Header, failed: bool, handle: Handle) {
        let _ = (place_data, task, failed, handle);
    }

    /// Returns whether the task belongs to this scope and has not ended.
    fn is_in_scope(place_data: &Self::PlaceData, scope: &ScopeState) -> bool {
        let _ = (place_data, scope);
        false
    }
}

/// User code to run around the end of a task.
pub(crate) struct Hooks<R> {
    pub(crate) on_complete: Vec<OnComplete<R>>,
    pub(crate) retry_if: Option<RetryIf<R>>,
    /// Recognizes a returned `Err`, if the return type is written as a `Result`.
    pub(crate) returned_err: Option<fn(&R) -> bool>,
}

pub(crate) type OnComplete<R> = Guarded<Box<dyn FnOnce(&Result<R, TaskError>) + Send>>;
pub(crate) type RetryIf<R> = Box<dyn Fn(&R) -> bool + Send>;

impl<R> Default for Hooks<R> {
    fn default() -> Self {
        Hooks { on_complete: Vec::new(), retry_if: None, returned_err: None }
    }
}

/// See the module's documentation.
#[repr(C)]
pub(crate) struct Cell<R, B: Body<R>> {
    /// First, as [`AnyTask`] requires.
    base: Base,
    pub(super) place_data: B::PlaceData,
    pub(super) body: UnsafeCell<Option<B>>,
    outcome: OutcomeSlot<R>,
}

// SAFETY: all fields but `body` and `outcome` are `Sync` themselves. `body` is accessed by one
// thread at a time, as the module's documentation explains; the state transitions that hand it over
// are AcqRel. It is `Send` and never shared. `outcome` is written by
// the owner of the claim before the state is published with Release, and read after the state was
// read with Acquire. References to the `R` in it are lent only through `Typed`: to `Task<R>`, which
// is `Sync` only if `R` is, and to `result_cloned`, which requires `R: Sync`. `Taken` is written by
// the thread to which the state has granted that, when there are no readers left.
unsafe impl<R: Send, B: Body<R>> Sync for Cell<R, B> {}

/// A run that has exceeded its time limit. See [`AnyTask::record_overrun`].
#[must_use = "a claimed task must be ended"]
pub(crate) struct Overrun {
    limit: Duration,
    claim: Option<Claim>,
    /// Another attempt follows.
    will_retry: bool,
    has_waiters: bool,
    /// The waiters of the channels, if receiving was stopped already.
    receivers: Option<[[Waiters; 2]; 2]>,
}

impl Overrun {
    /// Ends the task if it was claimed, and wakes waiters. Call without any lock.
    pub(crate) fn complete(self, task: &TaskArc) {
        task.overrun(task, self);
    }
}

/// The answer to moving an outcome out.
pub(crate) enum Taken<R> {
    Outcome(Result<R, TaskError>),
    /// Not yet, because the result is being cloned.
    Borrowed,
    /// The outcome was moved out before.
    Gone,
}

/// A task whose result type is known.
pub(crate) trait Typed<R>: AnyTask {
    /// Returns the outcome once it is published. `None` also after the result was moved out.
    fn outcome(&self) -> Option<Result<&R, &TaskError>>;
    /// Moves out the outcome of a task that has ended. A result takes the join interest along if
    /// the handle is consumed; an error leaves it.
    ///
    /// Must be called only by the owner of the typed handle: see the module's documentation.
    fn take(&self, handle: state::Handle) -> Taken<R>;
    /// Drops the result if no handle can reach it any more, even if something still keeps the task
    /// alive (a waker, perhaps one stored in the result itself).
    fn drop_output(&self);
    /// Returns the hooks, for the builder.
    fn hooks_mut(&mut self) -> &mut Hooks<R>;
    /// Completes an attempt: reruns the task or ends it. `this` is the task itself.
    fn complete_attempt(&self, this: &TaskArc, result: Result<R, TaskError>);
    /// Returns the decoder of results from other processes.
    #[cfg(feature = "remote")]
    fn decoder(&self) -> Option<crate::wire::args::Reader<R>>;
    /// Passes the stored outcome to the callbacks. Called by the owner of the claim.
    fn call_back(&self, callbacks: Vec<OnComplete<R>>, ending: Ending);
}

#[cfg(feature = "remote")]
impl<R> dyn Typed<R> + '_ {
    /// Returns the part of the task that does not depend on its types.
    pub(crate) fn header(&self) -> &Header {
        let task: &dyn AnyTask = self;
        task.header()
    }
}

/// A task to which its builder has exclusive access.
pub(crate) struct UniqueTask<R>(TypedArc<R>);

impl<R> UniqueTask<R> {
    #[inline]
    pub(crate) fn header(&self) -> &Header {
        self.0.header()
    }

    #[inline]
    pub(crate) fn header_mut(&mut self) -> &mut Header {
        // SAFETY: as in `get_mut`.
        unsafe { self.0.header_mut_unchecked() }
    }

    pub(crate) fn as_any(&self) -> &dyn AnyTask {
        &*self.0
    }

    #[inline]
    pub(crate) fn get_mut(&mut self) -> &mut dyn Typed<R> {
        // SAFETY: this is the only reference to the cell. `Cell::unique` created it, and neither it
        // nor a clone of it leaves this type before `into_shared` consumes it.
        unsafe { self.0.get_mut_unchecked() }
    }

    /// Returns the task for sharing.
    #[inline]
    pub(crate) fn into_shared(self) -> TypedArc<R> {
        self.0
    }
}

impl<R, B: Body<R>> Cell<R, B> {
    /// Drops the outcome, if there is one.
    ///
    /// # Safety
    ///
    /// No thread accesses it any more. It is dropped only once.
    unsafe fn drop_outcome(&self) {
        let now = self.base.header.state.read();
        // SAFETY: the caller guarantees it, and the state says what is stored.
        unsafe {
            match now.outcome() {
                None => {}
                Some(Outcome::Failed) => drop(self.outcome.take_error()),
                Some(Outcome::Ok | Outcome::ReturnedErr) if now.is_taken() => {}
                Some(Outcome::Ok | Outcome::ReturnedErr) => discard(self.outcome.take_value()),
            }
        }
    }

    /// Drops the contents of a cell. What remains are the counts of its references, which need no
    /// drop.
    ///
    /// A task that has ended contains at most a result, kept for an untyped handle.
    ///
    /// # Safety
    ///
    /// No thread accesses the contents any more. They are dropped only once.
    pub(super) unsafe fn drop_contents(cell: NonNull<Self>) {
        let cell = cell.as_ptr();
        // SAFETY: the caller guarantees it. The fields are borrowed one by one, because another
        // thread may read the counts meanwhile.
        unsafe {
            (*cell).drop_outcome();
            (*cell).body.with_mut(|body| {
                if std::mem::needs_drop::<B>() && (*body).is_some() {
                    // Dropped in place, because it may contain a pinned future.
                    unwind::guarded(|| *body = None);
                }
            });
            if let Some(extras) = (*cell).base.header.extras_if_any()
                && let Some(hooks) = extras.hooks.take()
            {
                discard(hooks);
            }
            std::ptr::drop_in_place(&raw mut (*cell).place_data);
            std::ptr::drop_in_place(&raw mut (*cell).base.header);
        }
    }
}

impl<R: Send + 'static, B: Body<R>> Cell<R, B> {
    /// Makes the one allocation of a task.
    pub(crate) fn allocate(header: Header, body: B, place_data: B::PlaceData) -> TypedArc<R> {
        TypedArc::new(Cell {
            base: Base::new::<R, B>(header),
            place_data,
            body: UnsafeCell::new(Some(body)),
            outcome: OutcomeSlot::new(),
        })
    }

    #[inline]
    pub(crate) fn header(&self) -> &Header {
        &self.base.header
    }

    /// Creates a task for a builder.
    pub(crate) fn unique(header: Header, body: B, place_data: B::PlaceData) -> UniqueTask<R> {
        UniqueTask(Cell::allocate(header, body, place_data))
    }

    #[inline]
    fn hooks(&self) -> Option<&Mutex<Hooks<R>>> {
        self.base.header.extras()?.hooks.as_ref()?.downcast_ref()
    }

    /// Returns whether a run with this result is followed by another attempt.
    fn wants_retry(&self, result: &Result<R, TaskError>) -> bool {
        if !B::REPEATS || !self.base.header.attempts_left() {
            return false;
        }
        match result {
            Err(TaskError::Canceled | TaskError::SupervisorStopped | TaskError::QueueFull) => false,
            Err(_) => true,
            Ok(value) => {
                let Some(hooks) = self.hooks() else { return false };
                // The user's predicate runs without the lock, because a thread that ends the task
                // meanwhile (for a deadline) must not wait for it.
                let (returned_err, wanted) = {
                    let mut hooks = hooks.lock();
                    (hooks.returned_err, hooks.retry_if.take())
                };
                let will_retry = match &wanted {
                    // Replaces the rule that an `Err` is retried. A predicate that panics requests
                    // no retry.
                    Some(wanted) => unwind::catch(|| wanted(value)).unwrap_or(false),
                    None => returned_err.is_some_and(|is_err| is_err(value)),
                };
                // Dropped without the lock as well.
                let unwanted = match will_retry {
                    true => std::mem::replace(&mut hooks.lock().retry_if, wanted),
                    false => wanted,
                };
                discard(unwanted);
                will_retry
            }
        }
    }

    /// Completes an attempt, by the thread that ran it: reruns the task if `will_retry`, or ends
    /// it. Returns the time of the end if that has ended the task.
    fn complete_attempt_as(
        &self,
        this: &TaskArc,
        result: Result<R, TaskError>,
        will_retry: bool,
    ) -> Option<Stamp> {
        let state = &self.base.header.state;
        if will_retry && state.retry() {
            if let Some(channels) = self.base.header.channels() {
                channels.reset_for_retry();
            }
            if let Some(scheduler) = self.base.header.scheduler() {
                let (error, is_err) = (result.as_ref().err(), self.is_returned_err(&result));
                // Once, because it may be random, and what is reported must be what happens.
                let pause = self.base.header.retry_pause();
                observe::retrying(this, error, is_err, pause);
                // The result of this attempt is dropped before the next one begins.
                discard(result);
                scheduler.retry(this.clone(), pause);
                return None;
            }
            // The supervisor is gone, so the task can't be rerun.
            let claim = state.claim(Phase::Retrying)?;
            return self.finish(this, claim, result);
        }
        match state.claim(Phase::Started) {
            Some(claim) => self.finish(this, claim.with_body(), result),
            // The task has timed out or was abandoned: the outcome is published already.
            None => {
                self.drop_body();
                discard(result);
                None
            }
        }
    }

    /// Ends a task without extras, whose body has returned this result in time and was dropped.
    #[inline]
    fn succeed(&self, this: &TaskArc, value: R) -> Option<Stamp> {
        let Some(claim) = self.base.header.state.claim(Phase::Started) else {
            // It was abandoned: the outcome is published already.
            discard(value);
            return None;
        };
        self.conclude(this, claim, Ok(value), Ending::Ok)
    }

    /// Takes the body out.
    ///
    /// Must be called only by the thread that may access the body: see the module's documentation.
    fn take_body(&self) -> Option<B> {
        self.body.with_mut(|body| {
            // SAFETY: the caller is the only one to access the body until it hands it over.
            unsafe { (*body).take() }
        })
    }

    /// Puts the body back for another attempt, under the same condition.
    fn put_back_body(&self, body: B) {
        let before = self.body.with_mut(|slot| {
            // SAFETY: as above.
            unsafe { (*slot).replace(body) }
        });
        debug_assert!(before.is_none());
    }

    /// Drops the body before the outcome becomes visible, under the same condition.
    fn drop_body(&self) {
        if std::mem::needs_drop::<B>()
            && let Some(body) = self.take_body()
        {
            discard(body);
        }
    }

    /// Stores the outcome, passes it to the callbacks, and publishes it. Returns the time of the
    /// end, unless the callbacks still run on another thread.
    #[inline]
    fn finish(&self, this: &TaskArc, claim: Claim, result: Result<R, TaskError>) -> Option<Stamp> {
        if !claim.was_running() {
            // It waits for its limit no more. A body that runs gives the limit back when it returns.
            limit::leave(&self.base.header);
        }
        if claim.has_body() {
            self.drop_body();
        }
        if let Some(hooks) = self.hooks() {
            let hooks = std::mem::take(&mut *hooks.lock());
            return self.finish_with(hooks, this, claim, result);
        }
        let ending = Self::ending(&result, None);
        self.conclude(this, claim, result, ending)
    }

    #[inline(never)]
    fn finish_with(
        &self,
        hooks: Hooks<R>,
        this: &TaskArc,
        claim: Claim,
        result: Result<R, TaskError>,
    ) -> Option<Stamp> {
        discard(hooks.retry_if);
        let ending = Self::ending(&result, hooks.returned_err);
        if hooks.on_complete.is_empty() {
            return self.conclude(this, claim, result, ending);
        }
        self.store(result);
        let Ok(task) = this.clone().typed::<R>() else { unreachable!("`this` is this very task") };
        // Publishes when it is dropped, so the end of the task becomes visible even if no thread
        // can be started for the callbacks.
        let publish = Publish { task, claim: Some(claim), ending };
        let run: Box<dyn FnOnce() + Send> = Box::new(move || publish.after(hooks.on_complete));
        match self.base.header.scheduler() {
            Some(scheduler) => scheduler.run_callbacks(run),
            None => run(),
        }
        self.base.header.state.read().is_ended().then(|| self.base.header.ended())
    }

    #[inline]
    fn ending(result: &Result<R, TaskError>, returned_err: Option<fn(&R) -> bool>) -> Ending {
        match result {
            Ok(value) if returned_err.is_some_and(|is_err| is_err(value)) => Ending::ReturnedErr,
            Ok(_) => Ending::Ok,
            Err(TaskError::Canceled) => Ending::Canceled,
            Err(TaskError::TimedOut { .. }) => Ending::TimedOut,
            Err(_) => Ending::Failed,
        }
    }

    /// Stores the outcome, and publishes it.
    #[inline]
    fn conclude(
        &self,
        this: &TaskArc,
        claim: Claim,
        result: Result<R, TaskError>,
        ending: Ending,
    ) -> Option<Stamp> {
        self.store(result);
        observe::publish(this, claim, ending, |claim| self.publish_outcome(claim, ending))
    }

    /// Stores the outcome. Called by the owner of the claim, once.
    #[inline]
    fn store(&self, result: Result<R, TaskError>) {
        // SAFETY: the caller owns the claim, so no other thread writes; the state is not published
        // yet, so no thread reads.
        unsafe { self.outcome.store(result) };
    }
}

/// A task whose outcome is stored but not published.
struct Publish<R: Send + 'static> {
    task: TypedArc<R>,
    claim: Option<Claim>,
    ending: Ending,
}

impl<R: Send + 'static> Publish<R> {
    /// Runs the callbacks, then publishes.
    fn after(self, callbacks: Vec<OnComplete<R>>) {
        // A callback belongs to the task, on whichever thread it runs: tasks that it launches are
        // launched by this task, and a stop that it requests does not wait for this task.
        let task = self.task.clone().erase();
        current::scope(&task, || self.task.call_back(callbacks, self.ending));
    }
}

impl<R: Send + 'static> Drop for Publish<R> {
    fn drop(&mut self) {
        if let Some(claim) = self.claim.take() {
            let task = self.task.clone().erase();
            observe::publish(&task, claim, self.ending, |claim| task.publish(claim, self.ending));
        }
    }
}

// SAFETY: the cell is `repr(C)`, and the base is its first field.
unsafe impl<R: Send + 'static, B: Body<R>> AnyTask for Cell<R, B> {
    fn header_mut(&mut self) -> &mut Header {
        &mut self.base.header
    }

    fn is_repeatable(&self) -> bool {
        B::REPEATS
    }

    fn has_no_hooks(&self) -> bool {
        self.hooks().is_none_or(|hooks| {
            let hooks = hooks.lock();
            hooks.on_complete.is_empty() && hooks.retry_if.is_none()
        }) && unique::slot_of(&self.base.header).is_none_or(|slot| !slot.is_set())
    }

    fn run(&self, this: &TaskArc) -> Option<Stamp> {
        let Some(mut body) = self.take_body() else {
            self.lose(this);
            return None;
        };
        if !self.base.header.state.read().is_running() {
            // The task ended before it could run, for example by a tiny time limit.
            discard(body);
            self.base.header.leave_attempt();
            return None;
        }
        let result = unwind::catch(|| body.run(this));
        fork::end_if_copy();
        let header = &self.base.header;
        header.leave_attempt();
        let result = match result {
            // The usual case, in which nothing else has to be considered.
            Ok(Ok(value)) if header.extras().is_none() && !header.state.read().limit_exceeded() => {
                if std::mem::needs_drop::<B>() {
                    discard(body);
                }
                return self.succeed(this, value);
            }
            Ok(result) => result,
            Err(error) => Err(error),
        };
        let result = self.apply_time_limit(result);
        let will_retry = self.wants_retry(&result);
        if will_retry {
            self.put_back_body(body);
        } else if std::mem::needs_drop::<B>() {
            discard(body);
        }
        self.complete_attempt_as(this, result, will_retry)
    }

    #[cfg(feature = "async")]
    fn spawn(&self, this: &TaskArc, on: &Arc<crate::task::future::queue::Queue>) {
        self.start_future(this, on);
    }

    #[cfg(feature = "async")]
    fn poll(&self, this: &TaskArc, is_closing: &dyn Fn() -> bool) {
        self.poll_scheduled(this, is_closing);
    }

    fn wake(&self, this: &TaskArc) {
        #[cfg(feature = "async")]
        self.schedule(this);
        #[cfg(not(feature = "async"))]
        let _ = this;
    }

    fn fail(&self, this: &TaskArc, error: TaskError) {
        let result = self.apply_time_limit(Err(error));
        self.complete_attempt(this, result);
    }

    fn lose(&self, this: &TaskArc) {
        #[cfg(feature = "async")]
        if self.drop_scheduled(this) {
            return;
        }
        self.base.header.leave_attempt();
        let error = TaskError::Panicked {
            message: "its run was lost, because of a panic outside of its function".into(),
            location: None,
            backtrace: None,
        };
        self.complete_attempt_as(this, Err(error), false);
    }

    fn end(&self, this: &TaskArc, claim: Claim, error: TaskError) {
        self.finish(this, claim, Err(error));
    }

    fn publish(&self, claim: Claim, ending: Ending) -> Stamp {
        self.publish_outcome(claim, ending)
    }

    fn stored_error(&self, _claim: &Claim, ending: Ending) -> Option<&TaskError> {
        (ending.outcome() == Outcome::Failed).then(|| {
            // SAFETY: an error is stored. The caller owns the claim and does not publish while the
            // reference lives, and the callbacks have returned, so no thread writes.
            unsafe { self.outcome.error() }
        })
    }

    fn record_overrun(&self) -> Option<Overrun> {
        let limit = self.base.header.timeout()?;
        let will_retry = self.base.header.attempts_left();
        let has_waiters = self.base.header.state.set_limit_exceeded()?;
        let claim = if will_retry { None } else { self.base.header.state.claim(Phase::Started) };
        // Before the claim is used: the limit of this attempt must not stop the channels of the
        // next one.
        let receivers = self
            .base
            .header
            .channels()
            .filter(|_| will_retry)
            .map(|channels| channels.request_stop());
        Some(Overrun { limit, claim, will_retry, has_waiters, receivers })
    }

    fn overrun(&self, this: &TaskArc, overrun: Overrun) {
        let Overrun { limit, claim, will_retry, has_waiters, receivers } = overrun;
        // Waiters are woken last, because what the task does when it notices must not precede the
        // outcome.
        if let Some(claim) = claim {
            self.finish(this, claim, Err(TaskError::TimedOut { limit }));
        }
        self.wake(this);
        if !will_retry {
            return self.base.header.notify_stop(has_waiters);
        }
        if has_waiters {
            self.base.header.wake();
        }
        receivers.into_iter().flatten().flatten().for_each(Waiters::wake);
    }

    fn error(&self) -> Option<&TaskError> {
        (self.base.header.state.read().outcome() == Some(Outcome::Failed)).then(|| {
            // SAFETY: an error is stored, and published, so the owner of the claim is done. It is
            // never moved out from here on.
            unsafe { self.outcome.error() }
        })
    }

    fn returns(&self, result: TypeId) -> bool {
        result == TypeId::of::<R>()
    }

    fn with_value(&self, f: &mut dyn FnMut(&dyn Any)) {
        /// Ends the borrow even if the user's `Clone` panics.
        struct Borrowed<'a>(&'a Header);
        impl Drop for Borrowed<'_> {
            fn drop(&mut self) {
                if self.0.state.return_result() && !fork::is_copy() {
                    self.0.wake();
                }
            }
        }
        if !self.base.header.state.borrow_result() {
            return;
        }
        let _borrowed = Borrowed(&self.base.header);
        // SAFETY: published, so the owner of the claim is done. The state has lent the result, and
        // prevents moving it out until the borrow ends.
        f(unsafe { self.outcome.value() });
    }

    fn is_in_scope(&self, scope: &ScopeState) -> bool {
        B::is_in_scope(&self.place_data, scope)
    }

    #[cfg(feature = "mp")]
    fn remote(&self) -> Option<&dyn crate::remote::body::AnyRemote> {
        B::remote(&self.place_data).map(|remote| remote as &dyn crate::remote::body::AnyRemote)
    }

    #[cfg(feature = "mp")]
    fn reply(&self, this: &TaskArc, reply: std::borrow::Cow<'_, [u8]>) {
        let Some(remote) = B::remote(&self.place_data) else {
            return;
        };
        let result = unwind::catch(|| (remote.decode)(reply)).unwrap_or_else(Err);
        self.complete_attempt(this, result);
    }
}

impl<R: Send + 'static, B: Body<R>> Cell<R, B> {
    /// See [`AnyTask::publish`].
    #[inline]
    fn publish_outcome(&self, claim: Claim, ending: Ending) -> Stamp {
        let header = &self.base.header;
        let ended = header.record_ended();
        #[cfg(feature = "async")]
        if let Some(data) = B::future_data(&self.place_data) {
            data.record_end(ending);
        }
        let extras = header.extras();
        if let Some(policies) = extras.and_then(|extras| extras.policies.as_ref()) {
            // Before the end is visible, so that a thread which sees it can launch the next task
            // with this key.
            policies.unique.release();
        }
        let before = header.state.publish(claim, ending);
        #[cfg(feature = "mp")]
        if let Some(remote) = B::remote(&self.place_data) {
            crate::remote::body::AnyRemote::args(remote).drop_them();
        }
        // Counted as ended only now: a stop that counts no live task reports that all tasks have
        // ended.
        if let Some(key) = header.scheduler {
            scheduler::with(key, |scheduler| scheduler.ended(header, ending));
        }
        if before.has_waiters() {
            header.wake();
        }
        if let Some(channels) = extras.and_then(|extras| extras.channels.as_ref()) {
            channels.close();
        }
        let handle = match before.has_join_interest() {
            true => Handle::Held,
            false => Handle::Gone,
        };
        let loud = handle == Handle::Gone && ending != Ending::Ok;
        if loud || observe::is_on() {
            self.report_end(ending, handle);
        }
        if handle == Handle::Gone && !before.is_referenced() {
            self.drop_output();
        }
        let failed = !matches!(ending, Ending::Ok | Ending::ReturnedErr);
        B::ended(&self.place_data, header, failed, handle);
        ended
    }

    /// Returns whether a result is a returned `Err`.
    #[cold]
    fn is_returned_err(&self, result: &Result<R, TaskError>) -> bool {
        let Ok(value) = result else { return false };
        let is_err = self.hooks().and_then(|hooks| hooks.lock().returned_err);
        is_err.is_some_and(|is_err| is_err(value))
    }

    /// Tells those that observe the end, which is visible by now.
    #[cold]
    fn report_end(&self, ending: Ending, handle: Handle) {
        self.emit_end(ending, handle);
        drop(hold::take(&self.base.header));
    }

    fn emit_end(&self, ending: Ending, handle: Handle) {
        let Some(scheduler) = self.base.header.scheduler() else { return };
        let of = scheduler.observers().map(|observers| Of::new(observers)).unwrap_or_default();
        events::task_ended(&self.base.header, of, ending.outcome(), self.error(), handle);
    }

    /// Turns the result of a run that has exceeded its time limit into a timeout.
    fn apply_time_limit(&self, result: Result<R, TaskError>) -> Result<R, TaskError> {
        match self.base.header.timeout() {
            Some(limit) if self.base.header.state.read().limit_exceeded() => {
                discard(result);
                Err(TaskError::TimedOut { limit })
            }
            _ => result,
        }
    }
}

impl<R: Send + 'static, B: Body<R>> Typed<R> for Cell<R, B> {
    fn outcome(&self) -> Option<Result<&R, &TaskError>> {
        let now = self.base.header.state.read();
        match now.outcome()? {
            // SAFETY: as in `error`.
            Outcome::Failed => Some(Err(unsafe { self.outcome.error() })),
            Outcome::Ok | Outcome::ReturnedErr if now.is_taken() => None,
            // SAFETY: a result is stored, and published, so the owner of the claim is done. The
            // typed handle lends the reference, and does not move the result out meanwhile.
            Outcome::Ok | Outcome::ReturnedErr => Some(Ok(unsafe { self.outcome.value() })),
        }
    }

    fn take(&self, handle: state::Handle) -> Taken<R> {
        let state = &self.base.header.state;
        match state.read().outcome() {
            None => Taken::Gone,
            // Errors are cloned and never moved out, because a `TaskRef` may have lent a reference.
            // SAFETY: as in `error`.
            Some(Outcome::Failed) => Taken::Outcome(Err(unsafe { self.outcome.error() }.clone())),
            Some(Outcome::Ok | Outcome::ReturnedErr) => match state.take_result(handle) {
                // SAFETY: a result is stored, and published, so the owner of the claim is done. The
                // state grants this once, while the result is not borrowed. The typed handle asks
                // by value, so no reference that it lent is left.
                Take::Granted => Taken::Outcome(Ok(unsafe { self.outcome.take_value() })),
                Take::Borrowed => Taken::Borrowed,
                Take::Gone => Taken::Gone,
            },
        }
    }

    fn drop_output(&self) {
        let state = &self.base.header.state;
        // Errors stay, because references to them may have been lent.
        let has_result = matches!(state.read().outcome(), Some(Outcome::Ok | Outcome::ReturnedErr));
        if has_result && state.take_unreachable_result() {
            // SAFETY: a result is stored, and published, so the owner of the claim is done. The
            // state grants this once, if there is no handle that could have lent a reference.
            discard(unsafe { self.outcome.take_value() });
        }
    }

    fn hooks_mut(&mut self) -> &mut Hooks<R> {
        let hooks = self.base.header.extras_mut().hooks.get_or_insert_with(|| {
            let hooks: Box<Mutex<Hooks<R>>> = Box::default();
            hooks
        });
        hooks.downcast_mut::<Mutex<Hooks<R>>>().expect("no other type is stored").get_mut()
    }

    fn complete_attempt(&self, this: &TaskArc, result: Result<R, TaskError>) {
        self.base.header.leave_attempt();
        let will_retry = self.wants_retry(&result);
        self.complete_attempt_as(this, result, will_retry);
    }

    #[cfg(feature = "remote")]
    fn decoder(&self) -> Option<crate::wire::args::Reader<R>> {
        B::remote(&self.place_data).map(|remote| remote.decode)
    }

    fn call_back(&self, callbacks: Vec<OnComplete<R>>, ending: Ending) {
        /// Stores the outcome again, also if something panics, because the state says that it is
        /// there.
        struct Lent<'a, R>(&'a OutcomeSlot<R>, Option<Result<R, TaskError>>);
        impl<R> Drop for Lent<'_, R> {
            fn drop(&mut self) {
                if let Some(result) = self.1.take() {
                    // SAFETY: as below; the slot is empty.
                    unsafe { self.0.store(result) };
                }
            }
        }
        // SAFETY: the caller owns the claim and the state is not published yet, so no other thread
        // reads or writes. What is stored has this ending.
        let result = unsafe {
            match ending.outcome() {
                Outcome::Failed => Err(self.outcome.take_error()),
                Outcome::Ok | Outcome::ReturnedErr => Ok(self.outcome.take_value()),
            }
        };
        let lent = Lent(&self.outcome, Some(result));
        let Some(result) = &lent.1 else { return };
        for callback in callbacks {
            if unwind::catch(|| callback.into_inner()(result)).is_err() {
                log!(
                    error, task = %self.base.header.id(), name = self.base.header.name(),
                    "a callback of the task panicked"
                );
            }
        }
    }
}
