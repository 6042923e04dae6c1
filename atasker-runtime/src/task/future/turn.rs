//! A turn of a task whose body is a future; and its wakes, for the cell is its own waker.

use std::mem::ManuallyDrop;
use std::sync::Arc;
use std::task::{Wake, Waker};

use super::Step;
use crate::error::TaskError;
use crate::task::cell::{Body, Cell, Typed};
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
    /// Has the future take a turn, in which it looks at what has become of its task.
    pub(in crate::task) fn ask_turn(&self, this: &Arc<dyn AnyTask>) {
        if let Some(home) = B::future(&self.seat).and_then(|seat| seat.wake()) {
            home.push(Arc::clone(this));
        }
    }

    /// See [`AnyTask::turn`].
    pub(in crate::task) fn take_turn(&self, this: &Arc<dyn AnyTask>, closing: bool) {
        let Some(seat) = B::future(&self.seat) else { return };
        // First: whatever is asked from here on wakes the task once more.
        seat.take();
        let now = self.header().state.read();
        let go = !closing && now.is_running() && !now.kill_asked() && !now.limit_over();
        let cell = Arc::as_ptr(this).cast::<Self>();
        debug_assert!(std::ptr::eq(cell, self));
        // SAFETY: `this` is the `Arc` of this very cell, and outlives the waker; as this waker is
        // never dropped, it needs no count of its own.
        let waker = ManuallyDrop::new(Waker::from(unsafe { Arc::from_raw(cell) }));
        let turn = || {
            // SAFETY: the task came out of its loop's queue for this one turn. The cell is behind an
            // `Arc`, and never moved out of it.
            unsafe { seat.turn(this, &waker, go) }
        };
        let step = match self.header().owner {
            Some(_) => current::during(this, turn),
            // What runs by `Aloop::run` is no task.
            None => turn(),
        };
        match step {
            Step::Pending => {}
            Step::Ended(result) => self.settle(this, result),
            Step::Dropped => self.settle(this, Err(self.why_dropped())),
        }
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
