//! The task's cell: one allocation with the function, its state and its outcome.
//!
//! Who may touch what, and when:
//!
//! * `body`: whoever runs the task, between `begin` and the end of the run; it is taken out, and put
//!   back only for another attempt.
//! * `outcome`: written once by the owner of the [`Claim`], before the state is published; read by
//!   anybody afterwards. [`Typed::take`] moves the value out: only the one typed handle calls it,
//!   by value, so that no reference it lent is left.
//! * everything else is atomic or locked.

use std::any::Any;
use std::sync::Arc;

use crate::error::TaskError;
use crate::info::Outcome;
use crate::sync::{Mutex, UnsafeCell};
use crate::task::header::Header;
use crate::task::state::{Claim, Ending, Phase};
use crate::task::{AnyTask, current, panic};

/// What a task does when it runs. The kinds of body are in `task::body`, `aloop` and `process`.
pub(crate) trait Body<R>: Send + 'static {
    /// What the place keeps in the cell beside the body.
    type Seat: Send + Sync + 'static;

    /// Does the work on this thread.
    ///
    /// # Errors
    /// Where the work could not be done at all: a codec's error, say.
    fn run(&mut self, task: &Arc<dyn AnyTask>) -> Result<R, TaskError>;

    /// Whether it can run again.
    fn repeats(&self) -> bool {
        false
    }

    /// Starts it as a future on a loop. A body that can run again gives itself to `keep` before
    /// the future is on its way: its run may be over, and the next one begin, at any moment then.
    #[cfg(feature = "async")]
    fn spawn(
        self,
        task: Arc<dyn Typed<R>>,
        on: &tokio::runtime::Handle,
        seat: &Self::Seat,
        keep: impl FnOnce(Self),
    ) where
        Self: Sized,
    {
        let _ = (task, on, seat, keep);
        unreachable!("only futures go to an aloop");
    }

    /// Drops its future at the next await.
    fn abort(seat: &Self::Seat) {
        let _ = seat;
    }

    /// What is sent to a worker process.
    #[cfg(feature = "mp")]
    fn remote(seat: &Self::Seat) -> Option<&crate::task::remote::Remote<R>> {
        let _ = seat;
        None
    }
}

/// What the user wants done around the end of a task.
pub(crate) struct Hooks<R> {
    pub(crate) on_complete: Vec<OnComplete<R>>,
    pub(crate) retry_if: Option<RetryIf<R>>,
    /// Tells a returned `Err`, where the return type is written as a `Result`.
    pub(crate) returned_err: Option<fn(&R) -> bool>,
}

pub(crate) type OnComplete<R> = Box<dyn FnOnce(&Result<R, TaskError>) + Send>;
pub(crate) type RetryIf<R> = Box<dyn Fn(&R) -> bool + Send>;

impl<R> Default for Hooks<R> {
    fn default() -> Self {
        Hooks { on_complete: Vec::new(), retry_if: None, returned_err: None }
    }
}

/// Drops what the user gave. A destructor that panics must not take a claim along.
fn discard<T>(value: T) {
    drop(panic::catch(|| drop(value)));
}

enum Slot<R> {
    Empty,
    Full(Result<R, TaskError>),
    /// The result was moved out; an error never is, so that references to it stay good.
    Taken,
}

/// See the module's documentation.
pub(crate) struct Cell<R, B: Body<R>> {
    header: Header,
    seat: B::Seat,
    body: Mutex<Option<B>>,
    hooks: Mutex<Option<Box<Hooks<R>>>>,
    outcome: UnsafeCell<Slot<R>>,
}

// SAFETY: all fields but `outcome` are Sync by themselves (`B` and `R` are Send, and behind locks).
// `outcome` is written by the one owner of the claim before the state is published with Release,
// and read after an Acquire reading of the state. References to the `R` in it are lent only through
// `Typed`, to `Task<R>`, which is Sync only where `R` is, and to `result_cloned`, which asks for
// `R: Sync`. `Taken` is written by `take` under the lock that `result_cloned` holds.
unsafe impl<R: Send, B: Body<R>> Sync for Cell<R, B> {}

/// A task whose result type is known.
pub(crate) trait Typed<R>: AnyTask {
    /// The outcome, once it is published; `None` also after the result was taken.
    fn outcome(&self) -> Option<&Result<R, TaskError>>;
    /// Moves the outcome out.
    ///
    /// Only for the one typed handle, and by its owner: see the module's documentation.
    fn take(&self) -> Option<Result<R, TaskError>>;
    /// Changes the hooks; for the builder.
    fn with_hooks(&self, f: &mut dyn FnMut(&mut Hooks<R>));
    /// A run is over: another attempt, or the end.
    fn settle(self: Arc<Self>, result: Result<R, TaskError>);
    /// This task without its type.
    fn erase(self: Arc<Self>) -> Arc<dyn AnyTask>;
}

impl<R: Send + 'static, B: Body<R>> Cell<R, B> {
    pub(crate) fn new(header: Header, body: B, seat: B::Seat) -> Arc<Self> {
        Arc::new(Cell {
            header,
            seat,
            body: Mutex::new(Some(body)),
            hooks: Mutex::new(None),
            outcome: UnsafeCell::new(Slot::Empty),
        })
    }

    /// Whether this end of a run is one to run again after.
    fn wants_retry(&self, result: &Result<R, TaskError>) -> bool {
        if !self.header.attempts_left() {
            return false;
        }
        match result {
            Err(TaskError::Canceled | TaskError::SupervisorStopped | TaskError::QueueFull) => false,
            Err(_) => true,
            Ok(value) => {
                // The user's predicate runs outside the lock: whoever ends the task meanwhile (a
                // deadline) must not wait for it.
                let (returned_err, wanted) = match &mut *self.hooks.lock() {
                    Some(hooks) => (hooks.returned_err, hooks.retry_if.take()),
                    None => (None, None),
                };
                let again = returned_err.is_some_and(|is_err| is_err(value))
                    || wanted.as_ref().is_some_and(|wanted| {
                        // A predicate that panics does not want another attempt.
                        panic::catch(|| wanted(value)).unwrap_or(false)
                    });
                // Dropped outside the lock, too.
                let unwanted = match &mut *self.hooks.lock() {
                    Some(hooks) if again => std::mem::replace(&mut hooks.retry_if, wanted),
                    _ => wanted,
                };
                discard(unwanted);
                again
            }
        }
    }

    /// A run is over, and it is decided whether another one is wanted: that, or the end.
    fn settle_as(self: Arc<Self>, result: Result<R, TaskError>, again: bool) {
        self.header.disarm_limit();
        let state = &self.header.state;
        if again && state.retry() {
            if let Some(links) = self.header.links() {
                links.run_again();
            }
            if let Some(owner) = self.header.owner() {
                let owner = Arc::clone(owner);
                return owner.again(self);
            }
        }
        match state.claim(Phase::Started) {
            Some(claim) => self.finish(claim, result),
            // Its time was over, or it was abandoned: the outcome is published already.
            None => {
                self.drop_body();
                discard(result);
            }
        }
    }

    /// What the function holds goes before the outcome is seen. A run under way has taken the body
    /// for itself.
    fn drop_body(&self) {
        let body = self.body.lock().take();
        if body.is_some() {
            discard(body);
        }
    }

    /// Stores the outcome, lets callbacks see it, publishes it.
    fn finish(self: Arc<Self>, claim: Claim, result: Result<R, TaskError>) {
        self.drop_body();
        let hooks = self.hooks.lock().take().map(|hooks| *hooks);
        let Hooks { on_complete: callbacks, retry_if, returned_err } = hooks.unwrap_or_default();
        if retry_if.is_some() {
            discard(retry_if);
        }
        let ending = Ending {
            outcome: match &result {
                Ok(value) if returned_err.is_some_and(|is_err| is_err(value)) => {
                    Outcome::ReturnedErr
                }
                Ok(_) => Outcome::Ok,
                Err(_) => Outcome::Failed,
            },
            canceled: matches!(result, Err(TaskError::Canceled)),
        };
        self.outcome.with_mut(|slot| {
            // SAFETY: we own the claim, so nobody else writes; the state is not published yet, so
            // nobody reads.
            unsafe { *slot = Slot::Full(result) }
        });
        if callbacks.is_empty() {
            return self.publish(claim, ending);
        }
        let owner = self.header.owner().cloned();
        // Published when it is dropped: even if no thread can be had for the callbacks, the end of
        // the task is seen.
        let publish = Publish { cell: self, claim: Some(claim), ending };
        let run: Box<dyn FnOnce() + Send> = Box::new(move || publish.after(callbacks));
        match owner {
            Some(owner) => owner.run_callbacks(run),
            None => run(),
        }
    }

    fn publish(self: Arc<Self>, claim: Claim, ending: Ending) {
        let header = &self.header;
        header.note_ended();
        let failed_unseen =
            ending.outcome == Outcome::Failed && !ending.canceled && !header.state.read().is_held();
        let wake = header.state.publish(claim, ending);
        // Out of the supervisor's books only now: a stop that finds them empty may say that all
        // tasks have ended. Look-ups pass over those that have.
        if let Some(owner) = header.owner() {
            owner.ended(&*self, ending);
        }
        if wake {
            header.wake();
        }
        if let Some(links) = header.links() {
            links.close();
        }
        if failed_unseen && let Some(error) = self.error() {
            tracing::error!(
                target: "atasker", task = %header.id, name = header.name(), %error,
                "a task failed, and nobody holds its handle"
            );
        }
    }
}

/// A task whose outcome is stored and not published yet.
struct Publish<R: Send + 'static, B: Body<R>> {
    cell: Arc<Cell<R, B>>,
    claim: Option<Claim>,
    ending: Ending,
}

impl<R: Send + 'static, B: Body<R>> Publish<R, B> {
    /// Runs the callbacks, then publishes.
    fn after(self, callbacks: Vec<OnComplete<R>>) {
        let header = &self.cell.header;
        // On whichever thread this is: a callback is the task's code. What it launches is launched
        // by this task, and a stop that it asks for does not wait for it.
        let _current = current::enter(self.cell.clone());
        let slot = self.cell.outcome.with(|slot| {
            // SAFETY: we own the claim, so nobody writes while we read.
            unsafe { &*slot }
        });
        let Slot::Full(result) = slot else { return };
        for callback in callbacks {
            if panic::catch(|| callback(result)).is_err() {
                panic::guarded(|| {
                    tracing::error!(
                        target: "atasker", task = %header.id, name = header.name(),
                        "a callback of the task panicked"
                    );
                });
            }
        }
    }
}

impl<R: Send + 'static, B: Body<R>> Drop for Publish<R, B> {
    fn drop(&mut self) {
        if let Some(claim) = self.claim.take() {
            Arc::clone(&self.cell).publish(claim, self.ending);
        }
    }
}

impl<R: Send + 'static, B: Body<R>> AnyTask for Cell<R, B> {
    fn header(&self) -> &Header {
        &self.header
    }

    fn header_mut(&mut self) -> &mut Header {
        &mut self.header
    }

    fn repeats(&self) -> bool {
        self.body.lock().as_ref().is_some_and(|body| body.repeats())
    }

    fn run(self: Arc<Self>, returned: &mut dyn FnMut()) {
        let Some(mut body) = self.body.lock().take() else {
            // Ended (by a limit of next to nothing, say) before it came to run.
            return returned();
        };
        let this: Arc<dyn AnyTask> = self.clone();
        let result = panic::catch(|| body.run(&this)).unwrap_or_else(Err);
        returned();
        let result = self.limited(result);
        let again = body.repeats() && self.wants_retry(&result);
        if again {
            *self.body.lock() = Some(body);
        } else {
            discard(body);
        }
        self.settle_as(result, again);
    }

    #[cfg(feature = "async")]
    fn spawn(self: Arc<Self>, on: &tokio::runtime::Handle) {
        let Some(body) = self.body.lock().take() else {
            return;
        };
        body.spawn(self.clone(), on, &self.seat, |body| {
            *self.body.lock() = Some(body);
            // Ended meanwhile: whoever did that found no body to drop.
            if matches!(self.header.state.read().phase(), Phase::Ending | Phase::Ended) {
                self.drop_body();
            }
        });
    }

    fn abort(&self) {
        B::abort(&self.seat);
    }

    fn fail(self: Arc<Self>, error: TaskError) {
        let result = self.limited(Err(error));
        self.settle(result);
    }

    fn end(self: Arc<Self>, claim: Claim, error: TaskError) {
        self.header.disarm_limit();
        self.finish(claim, Err(error));
    }

    fn overrun(self: Arc<Self>) {
        let Some(limit) = self.header.timeout() else {
            return;
        };
        let again = self.header.attempts_left();
        let Some(somebody_waits) = self.header.state.ask_limit() else {
            return;
        };
        // Told last: what the task does when it hears of it must not come before the outcome.
        if !again && let Some(claim) = self.header.state.claim(Phase::Started) {
            Arc::clone(&self).finish(claim, Err(TaskError::TimedOut { limit }));
        }
        self.abort();
        self.header.tell_stop(somebody_waits);
    }

    fn error(&self) -> Option<&TaskError> {
        // An untyped handle asks, too, while the typed one may be moving a result out: the slot is
        // looked at only where the state says that there is an error, which never moves.
        if self.header.state.read().outcome() != Some(Outcome::Failed) {
            return None;
        }
        self.outcome()?.as_ref().err()
    }

    fn outcome_any(&self) -> Option<&dyn Any> {
        self.outcome().map(|outcome| outcome as &dyn Any)
    }

    fn typed_any(self: Arc<Self>) -> Box<dyn Any> {
        let typed: Arc<dyn Typed<R>> = self;
        Box::new(typed)
    }

    #[cfg(feature = "mp")]
    fn remote(&self) -> Option<&dyn crate::task::remote::AnyRemote> {
        B::remote(&self.seat).map(|remote| remote as &dyn crate::task::remote::AnyRemote)
    }

    #[cfg(feature = "mp")]
    fn reply(self: Arc<Self>, reply: std::borrow::Cow<'_, [u8]>) {
        let Some(remote) = B::remote(&self.seat) else {
            return;
        };
        let result = panic::catch(|| (remote.decode)(reply)).unwrap_or_else(Err);
        self.settle(result);
    }
}

impl<R: Send + 'static, B: Body<R>> Cell<R, B> {
    /// A run that went on after its time was over has timed out, whatever it returned.
    fn limited(&self, result: Result<R, TaskError>) -> Result<R, TaskError> {
        match self.header.timeout() {
            Some(limit) if self.header.state.read().limit_over() => {
                Err(TaskError::TimedOut { limit })
            }
            _ => result,
        }
    }
}

impl<R: Send + 'static, B: Body<R>> Typed<R> for Cell<R, B> {
    fn outcome(&self) -> Option<&Result<R, TaskError>> {
        if !self.header.state.read().is_ended() {
            return None;
        }
        let slot = self.outcome.with(|slot| {
            // SAFETY: published, so nobody writes any more but `take`; see there.
            unsafe { &*slot }
        });
        match slot {
            Slot::Full(result) => Some(result),
            Slot::Empty | Slot::Taken => None,
        }
    }

    fn take(&self) -> Option<Result<R, TaskError>> {
        if !self.header.state.read().is_ended() {
            return None;
        }
        // Errors are copied, never moved out: a `TaskRef` may have lent a reference to it.
        if let Some(Err(error)) = self.outcome() {
            return Some(Err(error.clone()));
        }
        // An untyped handle that clones the result holds this lock.
        let _lock = self.header.lock_result();
        self.outcome.with_mut(|slot| {
            // SAFETY: published, so the claim's owner is done. The typed handle calls this by
            // value, so no reference that it lent is left, and those of untyped handles live only
            // under the lock that we hold.
            let slot = unsafe { &mut *slot };
            match std::mem::replace(slot, Slot::Taken) {
                Slot::Full(result) => Some(result),
                Slot::Empty | Slot::Taken => None,
            }
        })
    }

    fn with_hooks(&self, f: &mut dyn FnMut(&mut Hooks<R>)) {
        f(self.hooks.lock().get_or_insert_with(Box::default));
    }

    fn settle(self: Arc<Self>, result: Result<R, TaskError>) {
        let again = self.wants_retry(&result) && self.repeats();
        self.settle_as(result, again);
    }

    fn erase(self: Arc<Self>) -> Arc<dyn AnyTask> {
        self
    }
}
