//! The task's cell: one allocation with the function, its state and its outcome.
//!
//! Who may touch what, and when:
//!
//! * `body`: in a phase of waiting, whoever takes the task out of it: by `begin` to run it, or by a
//!   [`Claim`] to end it. While it runs, whoever runs it, until he has settled the run; a claim that
//!   somebody else gets meanwhile (a time limit, a shutdown) gives no right to it. A future is run
//!   by its loop, turn by turn (`task::future`), and stands in the body, which does not move then.
//! * `outcome`: written once by the owner of the [`Claim`], before the state is published; read by
//!   anybody afterwards. [`Typed::take`] moves the value out: only the one typed handle calls it,
//!   by value, so that no reference it lent is left.
//! * `hooks`: made by the builder, locked afterwards.
//! * everything else is atomic or locked.

use std::any::{Any, TypeId};
#[cfg(feature = "async")]
use std::pin::Pin;
use std::sync::Arc;
#[cfg(feature = "async")]
use std::task::{Context, Poll};

use crate::clock;
use crate::error::TaskError;
use crate::info::Outcome;
use crate::sync::{Mutex, UnsafeCell};
use crate::task::header::Header;
use crate::task::state::{Claim, Ending, Phase};
use crate::task::{AnyTask, current, owners, panic};

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
    const REPEATS: bool = false;

    /// Makes its future, for the run that has begun. There is none at the moment.
    ///
    /// # Errors
    /// Where none could be made.
    #[cfg(feature = "async")]
    fn make(&mut self, task: &Arc<dyn AnyTask>) -> Result<(), TaskError> {
        let _ = task;
        unreachable!("only futures go to an aloop");
    }

    /// Polls its future.
    #[cfg(feature = "async")]
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<R> {
        let _ = context;
        unreachable!("only futures go to an aloop");
    }

    /// Drops its future, where it stands.
    #[cfg(feature = "async")]
    fn unmake(self: Pin<&mut Self>) {}

    /// The turns of its future.
    #[cfg(feature = "async")]
    fn turns(seat: &Self::Seat) -> Option<&crate::task::future::Turns> {
        let _ = seat;
        None
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
    Value(R),
    /// Boxed: rare, and larger than most results.
    Error(Box<TaskError>),
    /// The result was moved out; an error never is, so that references to it stay good.
    Taken,
}

impl<R> From<Result<R, TaskError>> for Slot<R> {
    fn from(result: Result<R, TaskError>) -> Self {
        match result {
            Ok(value) => Slot::Value(value),
            Err(error) => Slot::Error(Box::new(error)),
        }
    }
}

/// See the module's documentation.
pub(crate) struct Cell<R, B: Body<R>> {
    header: Header,
    pub(super) seat: B::Seat,
    pub(super) body: UnsafeCell<Option<B>>,
    hooks: Option<Box<Mutex<Hooks<R>>>>,
    outcome: UnsafeCell<Slot<R>>,
}

// SAFETY: all fields but `body` and `outcome` are Sync by themselves (hooks are behind a lock).
// `body` is touched by one thread at a time, as the module's documentation says; transitions of the
// state, which hand it on, are AcqRel. It is Send, and never shared.
// `outcome` is written by the one owner of the claim before the state is published with Release,
// and read after an Acquire reading of the state. References to the `R` in it are lent only through
// `Typed`, to `Task<R>`, which is Sync only where `R` is, and to `result_cloned`, which asks for
// `R: Sync`. `Taken` is written by `take` under the lock that `result_cloned` holds.
unsafe impl<R: Send, B: Body<R>> Sync for Cell<R, B> {}

/// A task whose result type is known.
pub(crate) trait Typed<R>: AnyTask {
    /// The outcome, once it is published; `None` also after the result was taken.
    fn outcome(&self) -> Option<Result<&R, &TaskError>>;
    /// Moves the outcome out.
    ///
    /// Only for the one typed handle, and by its owner: see the module's documentation.
    fn take(&self) -> Option<Result<R, TaskError>>;
    /// Nobody can ask for the result any more: it goes now, whoever still has the task (a waker that
    /// somebody keeps, perhaps in the result itself).
    fn forget(&self);
    /// The hooks, for the builder.
    fn hooks_mut(&mut self) -> &mut Hooks<R>;
    /// A run is over: another attempt, or the end. `this` is the task itself.
    fn settle(&self, this: &Arc<dyn AnyTask>, result: Result<R, TaskError>);
    /// Shows a stored outcome to the callbacks.
    fn call_back(&self, callbacks: Vec<OnComplete<R>>);
    /// The outcome is stored, and the callbacks have seen it.
    fn publish(&self, claim: Claim, ending: Ending);
    /// This task without its type.
    fn erase(self: Arc<Self>) -> Arc<dyn AnyTask>;
}

/// A task that its builder has alone.
pub(crate) struct Fresh<R>(Arc<dyn Typed<R>>);

impl<R> Fresh<R> {
    #[inline]
    pub(crate) fn header(&self) -> &Header {
        self.0.header()
    }

    #[inline]
    pub(crate) fn get_mut(&mut self) -> &mut dyn Typed<R> {
        // SAFETY: this is the only reference to the cell: `Cell::fresh` made it, and nobody gets
        // the `Arc`, or a copy of it, before `share` gives it away. (`Arc::get_mut` would say the
        // same, at the price of two locked instructions for each option that is set.)
        unsafe { &mut *Arc::as_ptr(&self.0).cast_mut() }
    }

    /// The task as all may have it.
    #[inline]
    pub(crate) fn share(self) -> Arc<dyn Typed<R>> {
        self.0
    }
}

impl<R: Send + 'static, B: Body<R>> Cell<R, B> {
    pub(crate) fn new(header: Header, body: B, seat: B::Seat) -> Arc<Self> {
        Arc::new(Cell {
            header,
            seat,
            body: UnsafeCell::new(Some(body)),
            hooks: None,
            outcome: UnsafeCell::new(Slot::Empty),
        })
    }

    /// For a builder.
    pub(crate) fn fresh(header: Header, body: B, seat: B::Seat) -> Fresh<R> {
        Fresh(Cell::new(header, body, seat))
    }

    /// Whether this end of a run is one to run again after.
    fn wants_retry(&self, result: &Result<R, TaskError>) -> bool {
        if !B::REPEATS || !self.header.attempts_left() {
            return false;
        }
        match result {
            Err(TaskError::Canceled | TaskError::SupervisorStopped | TaskError::QueueFull) => false,
            Err(_) => true,
            Ok(value) => {
                let Some(hooks) = &self.hooks else { return false };
                // The user's predicate runs outside the lock: whoever ends the task meanwhile (a
                // deadline) must not wait for it.
                let (returned_err, wanted) = {
                    let mut hooks = hooks.lock();
                    (hooks.returned_err, hooks.retry_if.take())
                };
                let again = returned_err.is_some_and(|is_err| is_err(value))
                    || wanted.as_ref().is_some_and(|wanted| {
                        // A predicate that panics does not want another attempt.
                        panic::catch(|| wanted(value)).unwrap_or(false)
                    });
                // Dropped outside the lock, too.
                let unwanted = match again {
                    true => std::mem::replace(&mut hooks.lock().retry_if, wanted),
                    false => wanted,
                };
                discard(unwanted);
                again
            }
        }
    }

    /// A run is over, by whoever ran it, and it is decided whether another one is wanted: that, or
    /// the end.
    fn settle_as(&self, this: &Arc<dyn AnyTask>, result: Result<R, TaskError>, again: bool) {
        self.header.disarm_limit();
        let state = &self.header.state;
        if again && state.retry() {
            if let Some(links) = self.header.links() {
                links.run_again();
            }
            if let Some(owner) = self.header.owner() {
                return owner.again(Arc::clone(this));
            }
            // Nobody is left who could run it again.
            if let Some(claim) = state.claim(Phase::Retrying) {
                self.finish(this, claim, result);
            }
            return;
        }
        match state.claim(Phase::Started) {
            Some(claim) => self.finish(this, claim.of_the_runner(), result),
            // Its time was over, or it was abandoned: the outcome is published already.
            None => {
                self.drop_body();
                discard(result);
            }
        }
    }

    /// Takes the body out.
    ///
    /// Only for whoever it belongs to at the moment: see the module's documentation.
    fn take_body(&self) -> Option<B> {
        self.body.with_mut(|body| {
            // SAFETY: the caller is the only one who touches it until he hands it on.
            unsafe { (*body).take() }
        })
    }

    /// Puts the body back, for another attempt; under the same condition.
    fn keep_body(&self, body: B) {
        let before = self.body.with_mut(|slot| {
            // SAFETY: as above.
            unsafe { (*slot).replace(body) }
        });
        debug_assert!(before.is_none());
    }

    /// What the function holds goes before the outcome is seen; under the same condition.
    fn drop_body(&self) {
        if std::mem::needs_drop::<B>()
            && let Some(body) = self.take_body()
        {
            discard(body);
        }
    }

    /// Stores the outcome, lets callbacks see it, publishes it.
    fn finish(&self, this: &Arc<dyn AnyTask>, claim: Claim, result: Result<R, TaskError>) {
        if claim.has_body() {
            self.drop_body();
        }
        let hooks = self.hooks.as_ref().map(|hooks| std::mem::take(&mut *hooks.lock()));
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
            unsafe { *slot = result.into() }
        });
        if callbacks.is_empty() {
            return self.publish(claim, ending);
        }
        let typed = Arc::clone(this).typed_any().downcast::<Arc<dyn Typed<R>>>();
        let Ok(task) = typed else { unreachable!("`this` is this very task") };
        // Published when it is dropped: even if no thread can be had for the callbacks, the end of
        // the task is seen.
        let publish = Publish { task: *task, claim: Some(claim), ending };
        let run: Box<dyn FnOnce() + Send> = Box::new(move || publish.after(callbacks));
        match self.header.owner() {
            Some(owner) => owner.run_callbacks(run),
            None => run(),
        }
    }
}

/// A task whose outcome is stored and not published yet.
struct Publish<R: Send + 'static> {
    task: Arc<dyn Typed<R>>,
    claim: Option<Claim>,
    ending: Ending,
}

impl<R: Send + 'static> Publish<R> {
    /// Runs the callbacks, then publishes.
    fn after(self, callbacks: Vec<OnComplete<R>>) {
        // On whichever thread this is: a callback is the task's code. What it launches is launched
        // by this task, and a stop that it asks for does not wait for it.
        let task = Arc::clone(&self.task).erase();
        current::during(&task, || self.task.call_back(callbacks));
    }
}

impl<R: Send + 'static> Drop for Publish<R> {
    fn drop(&mut self) {
        if let Some(claim) = self.claim.take() {
            self.task.publish(claim, self.ending);
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
        B::REPEATS
    }

    fn is_plain(&self) -> bool {
        self.hooks.as_ref().is_none_or(|hooks| {
            let hooks = hooks.lock();
            hooks.on_complete.is_empty() && hooks.retry_if.is_none()
        })
    }

    fn run(&self, this: &Arc<dyn AnyTask>, returned: &mut dyn FnMut()) {
        let Some(mut body) = self.take_body() else { return returned() };
        if !self.header.state.read().is_running() {
            // Ended (by a limit of next to nothing, say) before it came to run.
            discard(body);
            return returned();
        }
        let result = panic::catch(|| body.run(this)).unwrap_or_else(Err);
        // What it may have ended by itself is no end of its own.
        let _ = clock::take_noted();
        returned();
        let result = self.limited(result);
        let again = self.wants_retry(&result);
        if again {
            self.keep_body(body);
        } else if std::mem::needs_drop::<B>() {
            discard(body);
        }
        self.settle_as(this, result, again);
    }

    #[cfg(feature = "async")]
    fn spawn(&self, this: &Arc<dyn AnyTask>, on: &Arc<crate::task::future::queue::Queue>) {
        self.start_turns(this, on);
    }

    #[cfg(feature = "async")]
    fn turn(&self, this: &Arc<dyn AnyTask>, is_closing: &dyn Fn() -> bool) {
        self.take_turn(this, is_closing);
    }

    fn abort(&self, this: &Arc<dyn AnyTask>) {
        #[cfg(feature = "async")]
        self.ask_turn(this);
        #[cfg(not(feature = "async"))]
        let _ = this;
    }

    fn fail(&self, this: &Arc<dyn AnyTask>, error: TaskError) {
        let result = self.limited(Err(error));
        self.settle(this, result);
    }

    fn end(&self, this: &Arc<dyn AnyTask>, claim: Claim, error: TaskError) {
        self.header.disarm_limit();
        self.finish(this, claim, Err(error));
    }

    fn overrun(&self, this: &Arc<dyn AnyTask>) {
        let Some(limit) = self.header.timeout() else {
            return;
        };
        let again = self.header.attempts_left();
        let Some(somebody_waits) = self.header.state.ask_limit() else {
            return;
        };
        // Told last: what the task does when it hears of it must not come before the outcome.
        if !again && let Some(claim) = self.header.state.claim(Phase::Started) {
            self.finish(this, claim, Err(TaskError::TimedOut { limit }));
        }
        self.abort(this);
        self.header.tell_stop(somebody_waits);
    }

    fn error(&self) -> Option<&TaskError> {
        // An untyped handle asks, too, while the typed one may be moving a result out: the slot is
        // looked at only where the state says that there is an error, which never moves.
        if self.header.state.read().outcome() != Some(Outcome::Failed) {
            return None;
        }
        self.outcome()?.err()
    }

    fn returns(&self, result: TypeId) -> bool {
        result == TypeId::of::<R>()
    }

    fn value_any(&self) -> Option<&dyn Any> {
        self.outcome()?.ok().map(|value| value as &dyn Any)
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
    fn reply(&self, this: &Arc<dyn AnyTask>, reply: std::borrow::Cow<'_, [u8]>) {
        let Some(remote) = B::remote(&self.seat) else {
            return;
        };
        let result = panic::catch(|| (remote.decode)(reply)).unwrap_or_else(Err);
        self.settle(this, result);
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
    fn outcome(&self) -> Option<Result<&R, &TaskError>> {
        if !self.header.state.read().is_ended() {
            return None;
        }
        let slot = self.outcome.with(|slot| {
            // SAFETY: published, so nobody writes any more but `take`; see there.
            unsafe { &*slot }
        });
        match slot {
            Slot::Value(value) => Some(Ok(value)),
            Slot::Error(error) => Some(Err(error)),
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
                Slot::Value(value) => Some(Ok(value)),
                Slot::Error(error) => Some(Err(*error)),
                Slot::Empty | Slot::Taken => None,
            }
        })
    }

    fn forget(&self) {
        if self.header.state.read().outcome() == Some(Outcome::Failed) {
            // Errors stay: references to them may have been lent.
            return;
        }
        let value = {
            let _lock = self.header.lock_result();
            self.outcome.with_mut(|slot| {
                // SAFETY: the outcome is published, so the claim's owner is done; the typed handle is
                // gone, and untyped ones, of which there may be some now, read under the lock.
                std::mem::replace(unsafe { &mut *slot }, Slot::Taken)
            })
        };
        discard(value);
    }

    fn hooks_mut(&mut self) -> &mut Hooks<R> {
        self.hooks.get_or_insert_with(Box::default).get_mut()
    }

    fn settle(&self, this: &Arc<dyn AnyTask>, result: Result<R, TaskError>) {
        let again = self.wants_retry(&result);
        self.settle_as(this, result, again);
    }

    fn call_back(&self, callbacks: Vec<OnComplete<R>>) {
        let replace = |with| {
            self.outcome.with_mut(|slot| {
                // SAFETY: the caller owns the claim, and the state is not published yet: nobody
                // else reads or writes.
                std::mem::replace(unsafe { &mut *slot }, with)
            })
        };
        let result = match replace(Slot::Empty) {
            Slot::Value(value) => Ok(value),
            Slot::Error(error) => Err(*error),
            Slot::Empty | Slot::Taken => return,
        };
        for callback in callbacks {
            if panic::catch(|| callback(&result)).is_err() {
                panic::guarded(|| {
                    tracing::error!(
                        target: "atasker", task = %self.header.id, name = self.header.name(),
                        "a callback of the task panicked"
                    );
                });
            }
        }
        replace(result.into());
    }

    fn publish(&self, claim: Claim, ending: Ending) {
        let header = &self.header;
        header.note_ended();
        let before = header.state.publish(claim, ending);
        #[cfg(feature = "mp")]
        if let Some(remote) = self.remote() {
            remote.args().drop_them();
        }
        // Counted as ended only now: a stop that counts none that live may say that all have ended.
        if let Some(key) = header.owner {
            owners::with(key, |owner| owner.ended(ending));
        }
        if before.is_waited_for() {
            header.wake();
        }
        if let Some(links) = header.links() {
            links.close();
        }
        if before.is_held() {
            return;
        }
        if !before.is_referred() {
            self.forget();
        }
        let failed = ending.outcome == Outcome::Failed && !ending.canceled;
        if failed && let Some(error) = self.error() {
            tracing::error!(
                target: "atasker", task = %header.id, name = header.name(), %error,
                "a task failed, and nobody holds its handle"
            );
        }
    }

    fn erase(self: Arc<Self>) -> Arc<dyn AnyTask> {
        self
    }
}
