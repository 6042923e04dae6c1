//! Polling a task whose body is a future. The cell is its own waker.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use super::FutureData;
use super::queue::Queue;
use crate::error::TaskError;
use crate::fork;
use crate::observe::{self, spans};
use crate::task::cell::{Body, Cell, Typed};
use crate::task::{TaskArc, current};
use crate::unwind;

impl<R: Send + 'static, B: Body<R>> Cell<R, B> {
    /// See [`AnyTask::spawn`](crate::task::AnyTask::spawn).
    pub(in crate::task) fn start_future(&self, this: &TaskArc, on: &Arc<Queue>) {
        let Some(data) = B::future_data(&self.place_data) else { return };
        let made = self.body.with_mut(|body| {
            // SAFETY: the caller has begun the run, so we may access the body until the future is
            // scheduled. It contains no future, so it may move.
            let body = unsafe { &mut *body };
            body.as_mut().map_or_else(|| Err(TaskError::Canceled), |body| body.make(this))
        });
        match made {
            Ok(()) => data.start(this, on),
            Err(error) => self.complete_attempt(this, Err(error)),
        }
    }

    /// Drops the future of a run that was lost while it was scheduled. Returns false if there is no
    /// future, so that the body may move.
    pub(in crate::task) fn drop_scheduled(&self, this: &TaskArc) -> bool {
        let alive = B::future_data(&self.place_data).is_some_and(FutureData::is_alive);
        if alive {
            self.poll_scheduled(this, &|| true);
        }
        alive
    }

    /// Schedules a poll, in which the future notices what has become of its task.
    pub(in crate::task) fn schedule(&self, this: &TaskArc) {
        if let Some(queue) = B::future_data(&self.place_data).and_then(FutureData::wake) {
            queue.push(this.clone());
        }
    }

    /// See [`AnyTask::poll`](crate::task::AnyTask::poll).
    pub(in crate::task) fn poll_scheduled(&self, this: &TaskArc, is_closing: &dyn Fn() -> bool) {
        if observe::is_on() {
            return spans::inside(this, || self.poll_now(this, is_closing));
        }
        self.poll_now(this, is_closing);
    }

    #[inline]
    fn poll_now(&self, this: &TaskArc, is_closing: &dyn Fn() -> bool) {
        let Some(data) = B::future_data(&self.place_data) else { return };
        // First, because every later request, including a close of the loop, schedules another
        // poll.
        data.begin_poll();
        let now = self.header().state.read();
        let go =
            !is_closing() && now.is_running() && !now.kill_requested() && !now.limit_exceeded();
        let poll = || self.poll_or_drop(data, this, go);
        let ended = match self.header().scheduler {
            Some(_) => current::scope(this, poll),
            // The future of `Aloop::run` is no task.
            None => poll(),
        };
        if let Some(result) = ended {
            self.complete_attempt(this, result);
        }
    }

    /// Polls the future or, unless `go`, drops it; then ends the poll that `data` has begun for the
    /// caller. Returns the result once the future is gone.
    fn poll_or_drop(
        &self,
        data: &FutureData,
        this: &TaskArc,
        go: bool,
    ) -> Option<Result<R, TaskError>> {
        debug_assert!(std::ptr::eq(this.header(), self.header()));
        let waker = this.borrowed_waker();
        let ended = self.body.with_mut(|body| {
            // SAFETY: during a run, the body belongs to the thread that polls, which is this one
            // until `end_poll` or `finish` below. A body that contains a future never moves: the
            // cell is behind an `Arc` and is never moved out of it, and the body is taken out of
            // the cell only before the future is created and after it is dropped.
            let mut body = unsafe { Pin::new_unchecked(&mut *body) }.as_pin_mut()?;
            let poll = || body.as_mut().poll(&mut Context::from_waker(&waker));
            let polled = if go { unwind::catch(poll) } else { Ok(Poll::Pending) };
            fork::end_if_copy();
            let result = match polled {
                Ok(Poll::Ready(value)) => Ok(value),
                Err(error) => Err(error),
                Ok(Poll::Pending) if go && data.keep_alive(this) => return None,
                Ok(Poll::Pending) => Err(self.why_dropped()),
            };
            // The future is dropped before the end becomes visible. A destructor that panics does
            // not change the result.
            unwind::guarded(|| body.unmake());
            Some(result)
        });
        match ended {
            None => data.end_poll(this),
            Some(_) => data.finish(),
        }
        ended
    }

    /// Returns the reason why a future was dropped before it returned.
    fn why_dropped(&self) -> TaskError {
        let now = self.header().state.read();
        if now.kill_requested() {
            TaskError::Canceled
        } else if now.limit_exceeded() {
            TaskError::TimedOut { limit: self.header().timeout().unwrap_or_default() }
        } else {
            TaskError::SupervisorStopped
        }
    }
}
