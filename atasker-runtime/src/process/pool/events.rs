//! The events of worker processes, as the scheduler handles them.
//!
//! | event | from |
//! |---|---|
//! | [`on_spawned`](Scheduler::on_spawned), [`on_ready`](Scheduler::on_ready), [`on_start_failed`](Scheduler::on_start_failed) | the start of a worker process |
//! | [`on_done`](Scheduler::on_done), [`on_done_call`](Scheduler::on_done_call), [`on_reply`](Scheduler::on_reply) | its calls |
//! | [`next_lane_timeout`](Scheduler::next_lane_timeout), [`on_lane_timeout`](Scheduler::on_lane_timeout) | the time, for one worker process: its reader thread waits until then |
//! | [`mark_dead`](Scheduler::mark_dead), [`on_exit`](Scheduler::on_exit), [`completed`](Scheduler::completed) | its end |

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use crate::process::parent::spawn::StartFailure;
use crate::process::pool::actions::{Action, Actions};
use crate::process::pool::call::{Finished, FramesHandled, InvalidPage, KillReason, Pending, Sent};
use crate::process::pool::lane::{Lane, Stage};
use crate::process::pool::record_begun;
use crate::process::pool::schedule::Scheduler;
use crate::process::pool::starts::StartError;
use crate::process::transport::Transport;
use crate::time::clock::Stamp;

/// What a dead worker process leaves unfinished.
pub(crate) struct Unfinished {
    /// The calls that had begun: at most one.
    pub(crate) begun: Vec<(u64, Sent)>,
    /// The call for which it was killed.
    pub(crate) killed_for: Option<(u64, KillReason)>,
    /// It had been requested to exit.
    pub(crate) was_closing: bool,
    /// The number of tasks that it has run.
    pub(crate) tasks_run: u64,
}

/// How the start of a worker process failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum StartFailureKind {
    Failed,
    /// The process was killed by another process or by the system, so the start did not fail by
    /// itself.
    Killed,
}

/// Why a worker process ended before it was ready.
pub(crate) struct EarlyExit {
    pub(crate) why: String,
    pub(crate) kind: StartFailureKind,
}

/// With a shorter idle time, only reader threads take replies out, because only they end idle
/// worker processes in time.
pub(crate) const MIN_IDLE_FOR_DIRECT: Duration = Duration::from_secs(1);

/// Whether a new worker process is still wanted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Wanted {
    Yes,
    /// The pool is closed. The caller ends the process, and reports that by
    /// [`Scheduler::completed`].
    No,
}

/// What a reader thread waits for.
pub(crate) struct Rest {
    /// How long at most, in nanoseconds.
    pub(crate) nanos: Option<u64>,
    /// The call that it wants to be woken for, and the first one in the lane. None if it does not
    /// take calls any more.
    pub(crate) until: Option<(u64, u64)>,
}

impl<T: Transport> Scheduler<T> {
    /// Records that `count` calls of a lane are done.
    fn record_done(&mut self, index: usize, count: u64, now: Stamp, actions: &mut Actions<T>) {
        self.tasks_run += count;
        self.early_deaths = 0;
        self.release_slot_if_idle(index, now);
        let lane = &mut self.lanes[index];
        let is_used_up =
            || self.config.max_tasks_per_worker.is_some_and(|limit| lane.tasks >= limit);
        if lane.live() == 0 && (lane.is_closing() || is_used_up()) {
            lane.shut_down(now, actions);
            self.outdated += usize::from(std::mem::take(&mut lane.has_successor));
        }
    }

    /// A worker process has been started in this lane.
    pub(crate) fn on_spawned(
        &mut self,
        lane: usize,
        worker: &Arc<T>,
        now: Stamp,
        actions: &mut Actions<T>,
    ) -> Wanted {
        if !self.open {
            self.lanes[lane].stage = Stage::Empty;
            // Makes a stop wait until the process is reaped.
            self.completing += 1;
            return Wanted::No;
        }
        let lane = &mut self.lanes[lane];
        lane.attach(worker, now);
        worker.set_prompt(self.prompt);
        if lane.is_closing() {
            // The settings of the pool have changed since the start was requested.
            lane.shut_down(now, actions);
        }
        self.schedule(now, actions);
        Wanted::Yes
    }

    /// The worker process of this lane can serve.
    pub(crate) fn on_ready(&mut self, lane: usize, now: Stamp, actions: &mut Actions<T>) {
        self.lanes[lane].ready = true;
        self.start_failures = 0;
        self.start_error = None;
        self.start_kills = 0;
        self.schedule(now, actions);
    }

    /// No worker process could be started in this lane.
    pub(crate) fn on_start_failed(
        &mut self,
        lane: usize,
        failure: &StartFailure,
        now: Stamp,
        actions: &mut Actions<T>,
    ) {
        let StartFailure { why, is_permanent } = failure;
        self.lanes[lane].stage = Stage::Empty;
        let error = StartError { why: why.as_str().into(), is_permanent: *is_permanent };
        self.record_start_failure(error, 0, StartFailureKind::Failed, now);
        self.reject_if_given_up(actions);
        self.schedule(now, actions);
    }

    /// A worker may have done calls: takes them out, and sends it more.
    pub(crate) fn on_done(
        &mut self,
        index: usize,
        finished: &mut VecDeque<Finished<T::Reply>>,
        now: Stamp,
        actions: &mut Actions<T>,
    ) -> Result<(), InvalidPage> {
        let before = finished.len();
        let stalled = self.lanes[index].stalled;
        let result = self.lanes[index].take_done(finished);
        let done = finished.len() - before;
        if done > 0 {
            self.record_done(index, done as u64, now, actions);
        }
        if done > 0 || stalled && !self.lanes[index].stalled {
            self.schedule(now, actions);
        }
        if self.prompt {
            self.tell_begin(index, actions);
        }
        result
    }

    /// Reports the begin of the call that a worker executes, unless it was reported.
    pub(crate) fn tell_begin(&mut self, index: usize, actions: &mut Actions<T>) {
        let lane = &mut self.lanes[index];
        if let Some((call, task)) = lane.tell_begin()
            && let Some(peer) = lane.worker().cloned()
        {
            // Under the lock, so that the call is not taken out meanwhile.
            record_begun(&*task, peer.begun(call));
            actions.push(Action::TellBegin { peer, task });
        }
    }

    /// Sets whether worker processes report the begin and the end of every call at once.
    pub(crate) fn on_prompt(&mut self, prompt: bool, actions: &mut Actions<T>) {
        self.prompt = prompt;
        for lane in &self.lanes {
            if let Some(worker) = lane.worker() {
                worker.set_prompt(prompt);
                // Its reader thread has to wait for other calls now.
                actions.wake_reader_of(lane);
            }
        }
    }

    /// A thread that waits for this call has found it done. Takes it out, unless only the reader
    /// thread can do that. The caller calls [`completed`](Self::completed) once the task has ended.
    pub(crate) fn on_done_call(
        &mut self,
        index: usize,
        call: u64,
        now: Stamp,
        actions: &mut Actions<T>,
    ) -> Option<Finished<T::Reply>> {
        let done = self.lanes[index].take_done_call(call)?;
        self.record_done(index, 1, now, actions);
        self.schedule(now, actions);
        self.completing += 1;
        Some(done)
    }

    /// The call that the reader thread of this lane waits for next, and the first one there.
    pub(crate) fn wanted_calls(&self, index: usize) -> (u64, u64) {
        let lane = &self.lanes[index];
        let first = lane.first_call();
        if self.prompt {
            return (first, first);
        }
        // The reader thread takes several calls at once if there are several, because a wake-up
        // costs more than a call.
        (first + lane.live() as u64 / 2, first)
    }

    /// Whether a worker process may exit when it has been idle for long enough.
    fn has_surplus_worker(&self) -> bool {
        self.lanes.iter().filter(|lane| lane.is_open()).count() > self.config.min_size
    }

    /// What the reader thread of this lane waits for, and for how long.
    pub(crate) fn next_lane_timeout(&mut self, index: usize, now: Stamp) -> Rest {
        /// While more than one call is in progress, the reader thread checks every millisecond that
        /// they make progress. In nanoseconds.
        const CHECK_INTERVAL: u64 = 1_000_000;
        let idle_timeout = self.config.idle_timeout;
        let surplus = self.has_surplus_worker() || self.lanes[index].stalled;
        let wanted = self.wanted_calls(index);
        let lane = &mut self.lanes[index];
        let live = lane.live();
        if live <= 1 {
            lane.watched_since = 0;
        }
        let nanos = if lane.dead {
            None
        } else if live > 1 {
            // Counted from the last check, even if the reader thread was woken meanwhile.
            if lane.watched_since == 0 {
                lane.watched_since = now;
            }
            Some(CHECK_INTERVAL.saturating_sub(now.saturating_sub(lane.watched_since)))
        } else if let Some(left) = lane.grace_left(now) {
            Some(left.as_nanos() as u64)
        } else if live == 0 && !lane.is_closing() && surplus && lane.ready {
            let idle = Duration::from_nanos(now.saturating_sub(lane.idle_since));
            Some(idle_timeout.saturating_sub(idle).as_nanos().try_into().unwrap_or(u64::MAX))
        } else if live == 1 && surplus && lane.ready && lane.killed_for.is_none() {
            // A waiting thread may complete the call without waking the reader thread, and then the
            // lane is idle.
            Some(idle_timeout.max(MIN_IDLE_FOR_DIRECT).as_nanos().try_into().unwrap_or(u64::MAX))
        } else {
            None
        };
        let nanos = match lane.decommit_in(now) {
            Some(left) => {
                let left = left.as_nanos() as u64;
                Some(nanos.map_or(left, |nanos| nanos.min(left)))
            }
            None => nanos,
        };
        // The end of a killed worker process is waited for, but not what it still does in the page.
        let takes_calls = lane.ready && lane.killed_for.is_none();
        Rest { nanos, until: takes_calls.then_some(wanted) }
    }

    /// The time that [`next_lane_timeout`](Self::next_lane_timeout) returned has passed.
    pub(crate) fn on_lane_timeout(&mut self, index: usize, now: Stamp, actions: &mut Actions<T>) {
        let surplus = self.has_surplus_worker() || self.lanes[index].stalled;
        let idle_timeout = self.config.idle_timeout;
        let lane = &mut self.lanes[index];
        if lane.grace_left(now) == Some(Duration::ZERO) {
            // The worker process was requested to exit and did not: it is stopped, or stuck in its
            // `worker_exit`.
            lane.dead = true;
            actions.kill(lane);
            return;
        }
        if lane.live() == 0 {
            let idle = Duration::from_nanos(now.saturating_sub(lane.idle_since));
            if surplus && !lane.is_closing() && idle >= idle_timeout {
                lane.shut_down(now, actions);
            }
            return;
        }
        lane.watched_since = now;
        // Calls that wait behind a long one are given to other workers.
        let first = lane.first_call();
        if lane.live() > 1 && lane.has_begun(first) {
            let elapsed = now.saturating_sub(lane.begun(first));
            if elapsed >= 500_000 {
                lane.record_slow(elapsed);
                self.revoke_pending(index, Pending::All, now);
                self.schedule(now, actions);
            }
        }
    }

    /// A worker process has ended. Returns the calls that had begun, and for which one it was
    /// killed; calls that had not begun wait again. `early_exit` is the reason if it had not become
    /// ready; `frames_handled` says whether all its frames were handled.
    pub(crate) fn on_exit(
        &mut self,
        index: usize,
        early_exit: Option<&EarlyExit>,
        frames_handled: FramesHandled,
        now: Stamp,
        actions: &mut Actions<T>,
    ) -> Unfinished {
        self.completing += 1;
        let left = self.lanes[index].take_unfinished(frames_handled, now);
        self.release_slot_if_idle(index, now);
        let lane = &mut self.lanes[index];
        let killed_for = lane.killed_for.take();
        lane.stage = Stage::Empty;
        let was_closing = lane.is_closing();
        let tasks = lane.tasks;
        self.outdated += usize::from(std::mem::take(&mut lane.has_successor));
        match early_exit {
            Some(early_exit) if !was_closing => {
                let error = StartError { why: early_exit.why.as_str().into(), is_permanent: false };
                self.record_start_failure(error, left.len(), early_exit.kind, now);
            }
            _ => self.reset_start_backoff(),
        }
        if !was_closing || killed_for.is_some() {
            self.restarts += 1;
        }
        let (begun, pending): (Vec<_>, Vec<_>) = left.into_iter().partition(|(_, _, begun)| *begun);
        let tasks_run = tasks.saturating_sub(pending.len() as u64);
        let died_idle = early_exit.is_none() && killed_for.is_none() && !was_closing;
        if died_idle && tasks == pending.len() as u64 {
            self.record_early_death(now);
        }
        for (_, sent, _) in pending {
            self.requeue(sent);
        }
        self.reject_if_given_up(actions);
        self.schedule(now, actions);
        let begun = begun.into_iter().map(|(call, sent, _)| (call, sent)).collect();
        Unfinished { begun, killed_for, was_closing, tasks_run }
    }

    /// The unfinished calls of a worker process, or a call that a waiting thread took out, were
    /// completed, and this process holds none of their resources any more.
    pub(crate) fn completed(&mut self) {
        self.completing -= 1;
    }

    /// The reply to a call that is done has come through the socket.
    pub(crate) fn on_reply(&mut self, index: usize, call: u64) {
        self.lanes[index].on_reply(call);
    }

    /// The worker process of this lane is dead, or must die: it gets nothing more.
    pub(crate) fn mark_dead(&mut self, index: usize) {
        self.lanes[index].dead = true;
    }

    /// Whether a stop has to wait: for worker processes, or for tasks that they have ended.
    pub(crate) fn is_busy(&self) -> bool {
        self.completing > 0
            || self.lanes.iter().any(|lane: &Lane<T>| !matches!(lane.stage, Stage::Empty))
    }
}
