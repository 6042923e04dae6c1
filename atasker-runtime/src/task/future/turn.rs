//! A turn of a task whose body is a future; and its wakes, for the cell is its own waker.

use std::mem::ManuallyDrop;
use std::sync::Arc;
use std::task::{Wake, Waker};

use super::Step;
use crate::error::TaskError;
use crate::task::cell::{Body, Cell, Typed};
use crate::task::state::Phase;
use crate::task::{AnyTask, current};

impl<R: Send + 'static, B: Body<R>> Wake for Cell<R, B> {
    fn wake(self: Arc<Self>) {
        if let Some(home) = B::future(&self.seat).and_then(|seat| seat.wake()) {
            home.push(self.clone());
        }
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if let Some(home) = B::future(&self.seat).and_then(|seat| seat.wake()) {
            home.push(self.clone());
        }
    }
}

impl<R: Send + 'static, B: Body<R>> Cell<R, B> {
    /// See [`AnyTask::turn`].
    pub(in crate::task) fn take_turn(self: Arc<Self>, closing: bool) {
        let Some(seat) = B::future(&self.seat) else { return };
        // First: whatever is asked from here on wakes the task once more.
        seat.take();
        let now = self.header().state.read();
        let go =
            !closing && now.phase() == Phase::Started && !now.kill_asked() && !now.limit_over();
        // SAFETY: the pointer is that of an `Arc` which outlives the waker; as this waker is never
        // dropped, it needs no count of its own.
        let waker = ManuallyDrop::new(Waker::from(unsafe { Arc::from_raw(Arc::as_ptr(&self)) }));
        let this: Arc<dyn AnyTask> = self.clone();
        let step = {
            // What runs by `Aloop::run` is no task.
            let _current = self.header().owner().is_some().then(|| current::enter(this.clone()));
            // SAFETY: the task came out of its loop's queue for this one turn. The cell is behind an
            // `Arc`, and never moved out of it.
            unsafe { seat.turn(&this, &waker, go) }
        };
        match step {
            Step::Pending => {}
            Step::Ended(result) => self.settle(result),
            Step::Dropped => self.dropped(),
        }
    }

    /// Ends the run of a future that was dropped before it returned.
    fn dropped(self: Arc<Self>) {
        let now = self.header().state.read();
        if now.limit_over() && !now.kill_asked() {
            let limit = self.header().timeout().unwrap_or_default();
            return self.settle(Err(TaskError::TimedOut { limit }));
        }
        let error =
            if now.kill_asked() { TaskError::Canceled } else { TaskError::SupervisorStopped };
        if let Some(claim) = self.header().state.claim(Phase::Started) {
            self.end(claim, error);
        }
    }
}
