//! Requests of the supervisor and of task handles to the scheduler.

use std::borrow::Cow;
use std::sync::Arc;

use crate::backlog::Ticket;
use crate::error::TaskError;
use crate::job::Job;
use crate::process::config::MpPoolConfig;
use crate::process::pool::actions::Actions;
use crate::process::pool::call::{KillReason, Pending};
use crate::process::pool::location::Location;
use crate::process::pool::schedule::Scheduler;
use crate::process::transport::Transport;
use crate::task::AnyTask;
use crate::task::control::Include;
use crate::time::clock::Stamp;

/// The outcome of a request to revoke a task.
pub(crate) enum Revocation {
    /// It can't be revoked any more.
    Denied,
    /// It has not arrived here yet, and will not be accepted.
    NotHere,
    /// It does not begin. The caller ends it.
    Revoked(Job),
}

impl<T: Transport> Scheduler<T> {
    /// Revokes a task if it has not begun.
    pub(crate) fn on_revoke(
        &mut self,
        task: &dyn AnyTask,
        include: Include,
        now: Stamp,
        actions: &mut Actions<T>,
    ) -> Revocation {
        if include == Include::Queued && self.has_slot(task) || !include.may_cover(task.header()) {
            return Revocation::Denied;
        }
        let job = match self.location(task) {
            Location::Waiting(ticket) => {
                let job = self.backlog.remove(task.header().priority, Ticket(ticket));
                job.inspect(|job| self.on_dequeued(job))
            }
            Location::Lane { lane, call } => {
                let sent = self.lanes.get_mut(lane).and_then(|lane| lane.revoke(call));
                sent.map(|sent| self.unassign(lane, sent, now).job)
            }
            // The launcher waits for room, or another thread is about to enqueue the task.
            Location::Nowhere | Location::Withdrawn => {
                Location::Withdrawn.record(task);
                // Before callbacks of the task run, which may wait for the launcher. Any of those in
                // the room may be the one.
                actions.launchers.extend(self.room.take_all());
                return Revocation::NotHere;
            }
        };
        let Some(job) = job else { return Revocation::Denied };
        Location::Withdrawn.record(&**job.task());
        self.schedule(now, actions);
        Revocation::Revoked(job)
    }

    /// Returns what a task waits for that has not begun.
    pub(crate) fn waits_for(&self, task: &dyn AnyTask) -> Cow<'static, str> {
        match self.location(task) {
            Location::Nowhere | Location::Withdrawn => {
                "room in the queue of the worker processes".into()
            }
            Location::Waiting(_) => match &self.start_error {
                Some(error) => {
                    format!("a worker process, which could not start: {}", error.why).into()
                }
                None => "a worker process".into(),
            },
            Location::Lane { .. } => {
                "its turn in the worker process to which it had been sent".into()
            }
        }
    }

    /// Kills the worker process of a task that has begun.
    pub(crate) fn on_kill(&mut self, task: &dyn AnyTask, now: Stamp, actions: &mut Actions<T>) {
        let there = self.lane_of(task);
        let sent = there.filter(|(lane, call)| self.lanes[*lane].is_in_progress(*call));
        if let Some((lane, call)) = self.running_call(task).or(sent) {
            self.kill_for(lane, call, KillReason::Kill, now, actions);
            self.schedule(now, actions);
        } else if let Some((lane, _)) = there {
            // It is done or, if the worker has corrupted the page, will never be.
            actions.wake_reader_of(&self.lanes[lane]);
        }
    }

    /// Applies new settings. Worker processes that were started with other settings are replaced.
    pub(crate) fn on_config(&mut self, config: MpPoolConfig, now: Stamp, actions: &mut Actions<T>) {
        let starts_the_same = self.config.starts_the_same(&config);
        self.backlog.set_limits(config.limits());
        self.config = Arc::new(config);
        self.recount_bytes();
        // The old settings may have kept worker processes from starting.
        self.reset_start_backoff();
        for index in 0..self.lanes.len() {
            // Calls that were sent in advance may have other slots now, or none.
            self.revoke_pending(index, Pending::Behind, now);
            if !starts_the_same || self.is_used_up(&self.lanes[index]) {
                self.replace_worker(index, now, actions);
            }
        }
        self.schedule(now, actions);
        // The reader threads have to apply the new idle time.
        self.lanes.iter().for_each(|lane| actions.wake_reader_of(lane));
    }

    /// Accepts launches from now on. `may_start` says whether worker processes can be started.
    pub(crate) fn open(&mut self, may_start: bool, now: Stamp, actions: &mut Actions<T>) {
        self.open = true;
        // Nothing is started for worker processes that were replaced before the pool was closed.
        self.outdated = 0;
        self.reset_start_backoff();
        if may_start {
            self.schedule(now, actions);
        }
    }

    /// Accepts no more launches. Ends all waiting tasks, and all worker processes.
    pub(crate) fn close(&mut self, now: Stamp, actions: &mut Actions<T>) {
        self.drain_injector(actions);
        self.open = false;
        self.update_injector(now, actions);
        actions.launchers.extend(self.room.take_all());
        let waiting = self.backlog.drain();
        self.bytes = 0;
        for index in 0..self.lanes.len() {
            self.shut_down_lane(index, now, actions);
        }
        for job in waiting {
            actions.reject(job, TaskError::SupervisorStopped);
        }
    }
}
