//! The gate of a limit: the [`Desk`] behind a lock, connected to the pools.
//!
//! The lock of a gate is taken inside the locks of pools, never around them: a pool asks the gate
//! whether its next job may begin while it holds its own lock. What the gate decides for other
//! pools is done after its lock is released, by [`Gate::pump`].

use std::sync::{Arc, Weak};

use super::budget::Rule;
use super::desk::{Desk, LaneKey, Take};
use crate::backlog::Ticket;
use crate::error::TaskError;
use crate::id::{SchedulerKey, TaskId};
use crate::job::Job;
use crate::sync::lock::Mutex;
use crate::task::{TaskArc, hold};
use crate::time::clock::{self, Stamp};
use crate::time::source;

/// The place of a task in the queue of its pool while it waits for a limit.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Reserved {
    /// Its position; `None` for the end of the queue.
    pub(crate) ticket: Option<Ticket>,
    /// The bytes of its encoded arguments, as far as the queue counts them.
    pub(crate) bytes: u64,
}

/// A job that waits for a limit.
pub(crate) struct Parked {
    pub(crate) job: Job,
    pub(crate) reserved: Reserved,
}

/// What becomes of a candidate for which its pool has a slot.
pub(crate) struct Admission {
    /// The candidate if it begins. Otherwise it waits again, and is one of the waiting jobs of its
    /// pool.
    pub(crate) job: Option<Job>,
    /// A job of the same priority that is queued in the same pool, of which it is a waiting job no
    /// more.
    pub(crate) next: Option<Parked>,
}

impl Admission {
    /// The candidate begins.
    pub(super) fn begin(job: Job, next: Option<Parked>) -> Admission {
        Admission { job: Some(job), next }
    }
}

/// Whether tasks keep the position of their launch in the queue of their pool.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Position {
    /// A task that gets the limit goes to where it would be had it never waited for the limit.
    OfLaunch,
    /// A task that gets the limit goes to the end, so that the keys of a keyed limit take turns.
    AtEnd,
}

/// See the module's documentation.
pub(crate) struct Gate {
    pub(super) me: Weak<Gate>,
    position: Position,
    state: Mutex<State>,
}

struct State {
    desk: Desk<Parked>,
    /// The supervisor whose time a rate goes by: that of the last task. It is the real time unless a
    /// test has paused that supervisor.
    owner: Option<SchedulerKey>,
    /// When the timer is set to look again, for a rate.
    timer_at: Option<Stamp>,
}

impl State {
    fn now(&self) -> Stamp {
        clock::stamp(source::now(self.owner))
    }

    fn go_by(&mut self, owner: Option<SchedulerKey>) {
        if self.owner != owner {
            let before = self.now();
            self.owner = owner;
            let now = self.now();
            self.desk.change_clock(before, now);
            self.timer_at = None;
        }
    }
}

impl Gate {
    pub(super) fn new(rule: Rule, position: Position) -> Arc<Gate> {
        Arc::new_cyclic(|me| Gate {
            me: Weak::clone(me),
            position,
            state: Mutex::new(State { desk: Desk::new(rule), owner: None, timer_at: None }),
        })
    }

    /// Returns whether a task that arrives now could begin as far as the limit is concerned.
    pub(super) fn has_room(&self) -> bool {
        let state = self.state.lock();
        let now = state.now();
        state.desk.has_room(now)
    }

    /// Lets a task wait for the limit. [`pump`](Self::pump) must follow.
    pub(super) fn enter(&self, lane: LaneKey, mut parked: Parked) {
        if self.position == Position::AtEnd {
            parked.reserved.ticket = None;
        }
        let mut state = self.state.lock();
        state.go_by(parked.job.header().scheduler);
        state.desk.enter(parked.job.header().id(), lane, parked);
    }

    /// Queues candidates in their pools as long as the limit has room for more.
    ///
    /// The caller holds no lock: a pool may wake threads, start processes and end tasks.
    pub(super) fn pump(&self) {
        let mut queued = None;
        loop {
            let picked = {
                let mut state = self.state.lock();
                let now = state.now();
                if let Some(id) = queued.take() {
                    state.desk.queued(id);
                }
                let picked = state.desk.pick(now);
                if picked.is_none() {
                    self.set_timer(&mut state, now);
                }
                picked
            };
            let Some((id, parked)) = picked else { return };
            queued = Some(id);
            enqueue(parked);
        }
    }

    /// Takes the limit for a candidate, under the lock of its pool.
    pub(super) fn admit(&self, parked: Parked) -> Admission {
        let id = parked.job.header().id();
        let mut state = self.state.lock();
        let now = state.now();
        match state.desk.take(id, now) {
            Take::Taken { next } => {
                let next = next.map(|(_, next)| next);
                if let Some(next) = &next {
                    hold::on_queue(next.job.header());
                }
                Admission::begin(parked.job, next)
            }
            // Its task has ended: the pool notices that when it begins the job.
            Take::Gone => Admission::begin(parked.job, None),
            Take::Refused => {
                let held = hold::take(parked.job.header());
                let left = state.desk.put_back(id, parked);
                let next = state.desk.first_instead_of(id, now).map(|(_, next)| next);
                if left.is_none() {
                    self.set_timer(&mut state, now);
                }
                drop(state);
                drop(held);
                if let Some(next) = &next {
                    hold::on_queue(next.job.header());
                }
                Admission { job: left.map(|parked| parked.job), next }
            }
        }
    }

    /// Lets a job wait again that had a slot and did not begin. Returns it if its task has left.
    #[cfg(has_processes)]
    pub(super) fn put_back(&self, parked: Parked) -> Option<Parked> {
        let (id, held) = (parked.job.header().id(), hold::take(parked.job.header()));
        let left = self.state.lock().desk.put_back(id, parked);
        drop(held);
        left
    }

    /// Removes a task that has ended or whose function has returned.
    pub(super) fn leave(&self, id: TaskId) {
        let parked = self.state.lock().desk.leave(id);
        debug_assert!(parked.is_none(), "a task that waits is revoked before it ends");
        self.pump();
    }

    /// Removes a task that waits for the limit, and returns it. Returns `None` if it does not wait, or
    /// `covers` returns false.
    pub(super) fn revoke(&self, id: TaskId, covers: impl FnOnce() -> bool) -> Option<Parked> {
        let mut state = self.state.lock();
        // Under the lock, because the task may have begun and wait for another attempt by now.
        if state.desk.waits(id) && covers() { state.desk.leave(id) } else { None }
    }

    /// Returns whether a task waits for the limit.
    pub(super) fn waits(&self, id: TaskId) -> bool {
        self.state.lock().desk.waits(id)
    }

    /// Lends the share of `owner` to a task that it waits for. Returns false if it has none.
    pub(super) fn lend(&self, owner: TaskId, awaited: TaskId) -> bool {
        let lent = self.state.lock().desk.lend(owner, awaited);
        if lent {
            self.pump();
        }
        lent
    }

    /// Ends what [`lend`](Self::lend) has begun.
    pub(super) fn unlend(&self, owner: TaskId, awaited: TaskId) {
        self.state.lock().desk.unlend(owner, awaited);
        self.pump();
    }

    /// Returns the time, in nanoseconds, after which the limit will be as if it had never been used,
    /// if no task comes. `None` while a task waits for it or holds it.
    pub(super) fn full_in(&self) -> Option<u64> {
        let state = self.state.lock();
        let now = state.now();
        state.desk.full_at(now).map(|at| at.saturating_sub(now))
    }

    /// Has the timer look again when time alone makes room. Only a rate needs that.
    fn set_timer(&self, state: &mut State, now: Stamp) {
        let Some(at) = state.desk.next_at(now) else { return };
        if state.timer_at.is_some_and(|set| set > now && set <= at) {
            return;
        }
        state.timer_at = Some(at);
        let me = Weak::clone(&self.me);
        source::at(state.owner, clock::instant(at), move || {
            if let Some(gate) = me.upgrade() {
                gate.state.lock().timer_at = None;
                gate.pump();
            }
        });
    }
}

/// Queues a candidate in its pool.
fn enqueue(parked: Parked) {
    let task: TaskArc = parked.job.task().clone();
    hold::on_queue(task.header());
    let mut parked = Some(parked);
    task.header().with_place(|place| {
        if let Some(parked) = parked.take() {
            place.enqueue_parked(parked);
        }
    });
    if let Some(parked) = parked {
        parked.job.end(TaskError::SupervisorStopped);
    }
}
