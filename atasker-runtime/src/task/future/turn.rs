//! A turn of a task whose body is a future; and its wakes, for the cell is its own waker.

use std::mem::ManuallyDrop;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

use super::Turns;
use super::queue::Queue;
use crate::error::TaskError;
use crate::task::cell::{Body, Cell, Typed};
use crate::task::{AnyTask, current, panic};

impl<R: Send + 'static, B: Body<R>> Wake for Cell<R, B> {
    fn wake(self: Arc<Self>) {
        if let Some(home) = B::turns(&self.seat).and_then(Turns::wake) {
            home.push(self.clone());
        }
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if let Some(home) = B::turns(&self.seat).and_then(Turns::wake) {
            home.push(self.clone());
        }
    }
}

impl<R: Send + 'static, B: Body<R>> Cell<R, B> {
    /// See [`AnyTask::spawn`].
    pub(in crate::task) fn start_turns(&self, this: &Arc<dyn AnyTask>, on: &Arc<Queue>) {
        let Some(turns) = B::turns(&self.seat) else { return };
        let made = self.body.with_mut(|body| {
            // SAFETY: the caller has begun the run, so the body is ours until the future is on its
            // way. No future stands in it, so it may move.
            let body = unsafe { &mut *body };
            body.as_mut().map_or_else(|| Err(TaskError::Canceled), |body| body.make(this))
        });
        match made {
            Ok(()) => turns.start(this, on),
            Err(error) => self.settle(this, Err(error)),
        }
    }

    /// Has the future take a turn, in which it looks at what has become of its task.
    pub(in crate::task) fn ask_turn(&self, this: &Arc<dyn AnyTask>) {
        if let Some(home) = B::turns(&self.seat).and_then(Turns::wake) {
            home.push(Arc::clone(this));
        }
    }

    /// See [`AnyTask::turn`].
    pub(in crate::task) fn take_turn(
        &self,
        this: &Arc<dyn AnyTask>,
        is_closing: &dyn Fn() -> bool,
    ) {
        let Some(turns) = B::turns(&self.seat) else { return };
        // First: whatever is asked from here on, by a close as well, wakes the task once more.
        turns.take();
        let now = self.header().state.read();
        let go = !is_closing() && now.is_running() && !now.kill_asked() && !now.limit_over();
        let turn = || self.poll_or_drop(turns, this, go);
        let ended = match self.header().owner {
            Some(_) => current::during(this, turn),
            // What runs by `Aloop::run` is no task.
            None => turn(),
        };
        if let Some(result) = ended {
            self.settle(this, result);
        }
    }

    /// Polls the future, or, if `go` is false, drops it; ends the turn, which `turns` has begun for
    /// the caller. What is left when the future is gone is the result.
    fn poll_or_drop(
        &self,
        turns: &Turns,
        this: &Arc<dyn AnyTask>,
        go: bool,
    ) -> Option<Result<R, TaskError>> {
        let cell = Arc::as_ptr(this).cast::<Self>();
        debug_assert!(std::ptr::eq(cell, self));
        // SAFETY: `this` is the `Arc` of this very cell, and outlives the waker; as this waker is
        // never dropped, it needs no count of its own.
        let waker = ManuallyDrop::new(Waker::from(unsafe { Arc::from_raw(cell) }));
        let ended = self.body.with_mut(|body| {
            // SAFETY: while the future's run goes on, the body belongs to whoever has the turn: we
            // do, until `rest` or `end` below. Nothing moves it while a future stands in it: the
            // cell is behind an `Arc` and never moved out of it, and the body is taken out of the
            // cell only before the future is made and when it is gone.
            let mut body = unsafe { Pin::new_unchecked(&mut *body) }.as_pin_mut()?;
            let poll = || body.as_mut().poll(&mut Context::from_waker(&waker));
            let polled = if go { panic::catch(poll) } else { Ok(Poll::Pending) };
            let result = match polled {
                Ok(Poll::Ready(value)) => Ok(value),
                Err(error) => Err(error),
                Ok(Poll::Pending) if go && turns.may_stay(this) => return None,
                Ok(Poll::Pending) => Err(self.why_dropped()),
            };
            // What the future held is free before the end is seen; a destructor that panics changes
            // nothing about the result.
            panic::guarded(|| body.unmake());
            Some(result)
        });
        match ended {
            None => turns.rest(this),
            Some(_) => turns.end(),
        }
        ended
    }

    /// Why a future was dropped before it returned.
    fn why_dropped(&self) -> TaskError {
        let now = self.header().state.read();
        if now.kill_asked() {
            TaskError::Canceled
        } else if now.limit_over() {
            TaskError::TimedOut { limit: self.header().timeout().unwrap_or_default() }
        } else {
            TaskError::SupervisorStopped
        }
    }
}
