//! The deadlines of the scheduler: back-off, stalled workers, time limits.

use std::sync::Arc;
use std::time::Duration;

use crate::process::pool::actions::{Action, Actions};
use crate::process::pool::call::KillReason;
use crate::process::pool::lane::Lane;
use crate::process::pool::limit_clock::LimitClock;
use crate::process::pool::schedule::Scheduler;
use crate::process::transport::Transport;
use crate::task::hold;
use crate::time::activity::Until;
use crate::time::clock::{self, Stamp};

/// The deadlines of the scheduler.
#[derive(Debug)]
pub(crate) struct Deadlines {
    /// The end of the back-off after a failed start of a worker process.
    pub(crate) start: Stamp,
    /// The end of the delay of eager starts, after worker processes died without having run a task.
    pub(crate) eager_start: Stamp,
    /// The next check of whether workers begin their calls.
    pub(crate) stall_check: Stamp,
    /// The earliest time at which a call may have exceeded its time limit, if limits are measured by
    /// the real clock.
    pub(crate) limits: Stamp,
    /// By which clock they are measured.
    pub(crate) limit_clock: LimitClock,
    /// The same as `limits` by another clock than the real one. The timer of that clock is set.
    limit_timer: Stamp,
}

/// No deadline.
pub(crate) const NEVER: Stamp = Stamp::MAX;

impl Default for Deadlines {
    fn default() -> Self {
        Deadlines {
            start: NEVER,
            eager_start: NEVER,
            stall_check: NEVER,
            limits: NEVER,
            limit_clock: LimitClock::REAL,
            limit_timer: NEVER,
        }
    }
}

impl Deadlines {
    /// Has time limits checked at this time of their clock.
    pub(crate) fn add_limit<T: Transport>(&mut self, at: Stamp, actions: &mut Actions<T>) {
        if self.limit_clock.is_real() {
            self.limits = self.limits.min(at);
        } else if at < self.limit_timer {
            // An entry for a later time stays in the timer, and has no effect.
            self.limit_timer = at;
            actions.push(Action::SetLimitTimer(at));
        }
    }
}

/// A worker process that has not begun a call for this time is checked for being stopped.
pub(crate) const STALL_CHECK_DELAY: Duration = Duration::from_secs(1);

impl<T: Transport> Scheduler<T> {
    /// Returns when [`on_timeout`](Self::on_timeout) is to be called, or [`NEVER`]. An earlier call
    /// does no harm.
    pub(crate) fn next_timeout(&self) -> Stamp {
        let Deadlines { start, eager_start, stall_check, limits, .. } = self.deadlines;
        start.min(eager_start).min(stall_check.min(limits))
    }

    /// The time returned by [`next_timeout`](Self::next_timeout) has passed.
    pub(crate) fn on_timeout(&mut self, now: Stamp, actions: &mut Actions<T>) {
        self.drain_injector(actions);
        let mut may_start = false;
        for deadline in [&mut self.deadlines.start, &mut self.deadlines.eager_start] {
            if *deadline <= now {
                *deadline = NEVER;
                may_start = true;
            }
        }
        if self.deadlines.stall_check <= now {
            self.check_stalls(now, actions);
        }
        let expired = self.deadlines.limits <= now && self.check_limits(now, actions);
        if may_start || expired {
            self.schedule(now, actions);
        }
    }

    /// Limits are measured by this clock from now on, which shows the same time as the one before
    /// or, if that stands still, a later one.
    pub(crate) fn on_clock(&mut self, clock: LimitClock, actions: &mut Actions<T>) {
        for lane in &mut self.lanes {
            lane.note_begins(self.deadlines.limit_clock);
        }
        self.deadlines.limit_clock = clock;
        let limits = std::mem::replace(&mut self.deadlines.limits, NEVER);
        if limits != NEVER {
            self.deadlines.add_limit(limits, actions);
        }
    }

    /// The time of an [`Action::SetLimitTimer`] has come.
    pub(crate) fn on_limit_time(&mut self, at: Stamp, now: Stamp, actions: &mut Actions<T>) {
        // Otherwise an earlier entry has set the timer again.
        if at == self.deadlines.limit_timer {
            self.drain_injector(actions);
            if self.check_limits(now, actions) {
                self.schedule(now, actions);
            }
        }
    }

    /// The system can't start a thread for the timer, so nothing may wait for a deadline.
    pub(crate) fn on_timer_missing(&mut self, now: Stamp, actions: &mut Actions<T>) {
        self.has_timer = false;
        self.drain_injector(actions);
        let was_paused = std::mem::replace(&mut self.deadlines.eager_start, NEVER) != NEVER;
        self.reject_if_given_up(actions);
        if was_paused {
            self.schedule(now, actions);
        }
    }

    /// Has the pool check each worker that should have begun a call since the last check. Only the
    /// system knows whether it is stopped: on a busy machine it may just wait for a CPU, and
    /// another worker process would make that worse.
    fn check_stalls(&mut self, now: Stamp, actions: &mut Actions<T>) {
        for lane in &mut self.lanes {
            if lane.is_stall_suspect()
                && let Some(worker) = lane.worker()
            {
                actions.push(Action::CheckStopped(Arc::clone(worker)));
            }
        }
        // Only while something waits to begin: an idle pool needs no timer.
        let again = self.lanes.iter().any(Lane::has_pending);
        self.deadlines.stall_check = if again { clock::add(now, STALL_CHECK_DELAY) } else { NEVER };
    }

    /// Kills the workers whose calls exceed their time limits. Returns whether there were any.
    fn check_limits(&mut self, now: Stamp, actions: &mut Actions<T>) -> bool {
        let mut exceeded = Vec::new();
        let mut next = NEVER;
        for (index, lane) in self.lanes.iter_mut().enumerate() {
            let checked = lane.check_limits(now, self.deadlines.limit_clock);
            exceeded.extend(checked.exceeded.map(|(call, limit)| (index, call, limit)));
            next = next.min(checked.next);
            if checked.waits {
                // If the worker has corrupted the page, its reader thread notices it now.
                actions.wake_reader_of(lane);
            }
        }
        (self.deadlines.limits, self.deadlines.limit_timer) = (NEVER, NEVER);
        if next != NEVER {
            self.deadlines.add_limit(next, actions);
        }
        for (index, call, limit) in &exceeded {
            if let Some(sent) = self.lanes[*index].get(*call) {
                // An advance of the clock waits for the end of the task.
                hold::hold(sent.job.header(), Until::Ended);
            }
            self.kill_for(*index, *call, KillReason::TimeLimit(*limit), now, actions);
        }
        !exceeded.is_empty()
    }
}
