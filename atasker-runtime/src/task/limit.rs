//! The time limit of a run: a timer entry that is armed when the run begins and disarmed when the
//! body has returned.
//!
//! A run that exceeds its limit keeps what it occupies until its body returns. The task learns of
//! it at once: it ends with a timeout or, if another attempt follows, is asked to stop.
//!
//! Aloops arm their limits here. Those of pool threads are in `deadlines`, which costs less, and
//! come here only if a test has paused the time of their supervisor. The limits of calls in worker
//! processes are deadlines of the scheduler in `process`, because they count from the begin that the
//! worker process reports and end with its death.

use std::sync::Arc;
use std::time::Duration;

use crate::fork;
use crate::sync::lock::Mutex;
use crate::task::TaskArc;
use crate::task::cell::Overrun;
use crate::task::header::Header;
use crate::task::hold;
use crate::time::activity::Until;
use crate::time::source;
use crate::time::timer::{self, TimerKey};

/// What a place does about runs that exceed their limits.
pub(crate) trait Overdue: Send + Sync {
    /// Called when a run has exceeded its limit, before its task learns of it. The caller holds the
    /// lock of the limit, so this must not call user code.
    fn entered(&self, task: &Header);

    /// Called after the task has learned of it, without any lock.
    fn reported(&self, task: &Header, limit: Duration);

    /// Called when the body has returned, if the run may have been [`entered`](Self::entered).
    fn left(&self, task: &Header);
}

/// The armed time limit of one run. Dropping it has no effect: see [`disarm`](Self::disarm).
pub(crate) struct TimeLimit {
    key: TimerKey,
    watch: Arc<Watch>,
}

/// What the run and the action of the timer share.
struct Watch {
    place: Option<Arc<dyn Overdue>>,
    /// Whether the run is over. The action of the timer checks this and records the overrun while
    /// it holds the lock, so that a late action can't affect the next attempt.
    over: Mutex<bool>,
}

impl TimeLimit {
    /// Arms the limit of a run that begins now.
    pub(crate) fn arm(
        task: &TaskArc,
        limit: Duration,
        place: Option<Arc<dyn Overdue>>,
    ) -> TimeLimit {
        let watch = Arc::new(Watch { place, over: Mutex::new(false) });
        // Weak, because the run keeps its task alive as long as it lasts.
        let (weak, shared) = (task.downgrade(), watch.clone());
        let owner = task.header().scheduler;
        let key = source::at(owner, source::after(owner, limit), move || {
            if let Some(task) = weak.upgrade() {
                shared.exceeded(&task);
            }
        });
        TimeLimit { key, watch }
    }

    /// Disarms the limit, because the body has returned. The run can't exceed it from here on.
    pub(crate) fn disarm(self, task: &Header) {
        if fork::is_copy() || timer::cancel(self.key) {
            return;
        }
        // The action runs, or has run. The lock waits for it, so that the place is told first that
        // the run is overdue, then that it has returned.
        *self.watch.over.lock() = true;
        if let Some(place) = &self.watch.place {
            place.left(task);
        }
    }
}

impl Watch {
    fn exceeded(&self, task: &TaskArc) {
        let overrun = {
            let over = self.over.lock();
            if *over {
                return;
            }
            begin_overrun(task, self.place.as_deref())
        };
        end_overrun(task, overrun, self.place.as_deref());
    }
}

/// Records that a run has exceeded its limit. The caller holds the lock that proves that its body
/// has not returned.
pub(super) fn begin_overrun(task: &TaskArc, place: Option<&dyn Overdue>) -> Option<Overrun> {
    if let Some(place) = place {
        place.entered(task.header());
    }
    if task.header().attempts_left() {
        // The next attempt follows when this one has returned.
        hold::hold(task.header(), Until::Ended);
    }
    task.record_overrun()
}

/// Tells the task and its place of what [`begin_overrun`] has recorded, without any lock.
pub(super) fn end_overrun(task: &TaskArc, overrun: Option<Overrun>, place: Option<&dyn Overdue>) {
    if let Some(overrun) = overrun {
        overrun.complete(task);
    }
    if let Some(place) = place {
        place.reported(task.header(), task.header().timeout().unwrap_or_default());
    }
}
