//! One worker process as the pool keeps it: the calls that were sent, and those in progress.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use crate::backlog::Ticket;
use crate::job::Job;
use crate::priority::Priority;
use crate::process::pool::actions::Actions;
use crate::process::pool::call::{
    CheckedLimits, Finished, FirstCall, FramesHandled, InvalidPage, KillReason, Limit, Pending,
    Rejected, Sent, SentAt,
};
use crate::process::pool::limit_clock::LimitClock;
use crate::process::pool::timeouts::NEVER;
use crate::process::transport::entry::CallState;
use crate::process::transport::page::CAPACITY;
use crate::process::transport::region::DECOMMIT_DELAY;
use crate::process::transport::ring::Ring;
use crate::process::transport::{Revoked, Taken, TakenBy, Transport, Written};
use crate::sys::cpus::prefetch;
use crate::task::TaskArc;
use crate::time::clock::{self, Stamp};

/// The amount of work, in nanoseconds, that is sent to a worker in advance.
const PIPELINE_NANOS: u64 = 200_000;
/// Calls with more bytes of encoded arguments are not sent in advance.
const PIPELINE_MAX_BYTES: usize = 4096;

/// Whether a call with this many bytes of encoded arguments may be sent in advance.
pub(crate) fn may_pipeline(bytes: usize) -> bool {
    bytes <= PIPELINE_MAX_BYTES
}

/// How long a worker process may take to exit, including its `worker_exit`.
pub(crate) const SHUTDOWN_GRACE: Duration = Duration::from_secs(5);

/// The stage of a lane in its life cycle.
pub(crate) enum Stage<T> {
    Empty,
    Starting,
    Live(Arc<T>),
}

/// An entry for one worker process in the pool's table. See the documentation of `process`.
pub(crate) struct Lane<T> {
    pub(crate) stage: Stage<T>,
    /// Its worker process has reported that it can serve.
    pub(crate) ready: bool,
    /// Since when the lane gets no more calls; 0 if it gets calls.
    closing_since: Stamp,
    /// Another worker process is to be started when this one is idle, because its settings are
    /// outdated.
    pub(crate) has_successor: bool,
    /// Its worker process is dead or being killed.
    pub(crate) dead: bool,
    /// The call for which its worker process was killed.
    pub(crate) killed_for: Option<(u64, KillReason)>,
    /// The last call that is done and whose reply is still in transit over the socket. All replies
    /// before it have arrived, or are in the socket completely.
    replying: Option<Replying>,
    /// The calls in the page, in order. A revoked one is `None` until the worker has skipped it.
    pub(super) calls: VecDeque<Option<Sent>>,
    /// The number of the first of these calls.
    pub(super) first: u64,
    /// The number of these calls that were not revoked.
    pub(super) live: usize,
    /// The priority of all these calls, and the class of the slot that the lane holds for them.
    /// Calls of different priorities are not mixed, so that the calls waiting in a lane can be
    /// compared by this alone.
    pub(crate) slot_class: Option<Priority>,
    /// The average duration of its calls, in nanoseconds.
    pub(super) average: Option<u64>,
    /// Since when its reader thread watches whether the calls make progress; 0 if it does not.
    pub(crate) watched_since: Stamp,
    /// The call that the worker should have begun at the pool's last stall check.
    stall_candidate: Option<u64>,
    /// The last call that was seen to have begun. A worker that sets it back is faulty.
    begun_seen: Option<u64>,
    /// The last call whose begin was reported to observers.
    begin_told: Option<u64>,
    /// Its worker process is stopped (by SIGSTOP or a debugger) and does not begin its calls. It
    /// gets no more calls until it has skipped those that were revoked.
    pub(crate) stalled: bool,
    /// The allocated ranges in the region of arguments.
    args_ring: Ring,
    /// The memory of that region is being decommitted.
    pub(super) decommitting: bool,
    /// The number of tasks sent to the present worker process, without revoked ones.
    pub(crate) tasks: u64,
    /// Since when it has had no calls.
    pub(crate) idle_since: Stamp,
}

/// A call that is done and whose reply is in transit over the socket.
struct Replying {
    call: u64,
    limit: Option<Limit>,
}

impl<T> Default for Lane<T> {
    fn default() -> Self {
        Lane {
            stage: Stage::Empty,
            ready: false,
            closing_since: 0,
            has_successor: false,
            dead: false,
            killed_for: None,
            replying: None,
            calls: VecDeque::new(),
            first: 0,
            live: 0,
            slot_class: None,
            average: None,
            watched_since: 0,
            stall_candidate: None,
            begun_seen: None,
            begin_told: None,
            stalled: false,
            args_ring: Ring::default(),
            decommitting: false,
            tasks: 0,
            idle_since: 0,
        }
    }
}

impl<T: Transport> Lane<T> {
    pub(crate) fn worker(&self) -> Option<&Arc<T>> {
        match &self.stage {
            Stage::Live(worker) => Some(worker),
            _ => None,
        }
    }

    /// Whether the lane has a worker process that accepts calls.
    pub(crate) fn is_open(&self) -> bool {
        matches!(self.stage, Stage::Live(_)) && !self.is_closing() && !self.dead && !self.stalled
    }

    /// Whether its worker process has nothing to do.
    ///
    /// A worker process that is not ready yet is not idle, because a call sent to it would have to
    /// wait for it, while another worker process might become free sooner.
    pub(crate) fn is_idle(&self) -> bool {
        self.ready && self.is_open() && self.live == 0 && self.has_room()
    }

    /// Whether its worker process will be ready soon.
    pub(crate) fn is_starting(&self) -> bool {
        let starts = matches!(self.stage, Stage::Starting) && !self.is_closing();
        starts || self.is_open() && !self.ready
    }

    /// Stops sending calls to this lane.
    pub(crate) fn close(&mut self, now: Stamp) {
        if self.closing_since == 0 {
            self.closing_since = now;
        }
    }

    /// Stops sending calls to this lane, and requests the worker process, which has no calls, to
    /// exit. Its grace period begins now.
    pub(crate) fn shut_down(&mut self, now: Stamp, actions: &mut Actions<T>) {
        self.closing_since = now;
        actions.shut_down(self);
    }

    pub(crate) fn is_closing(&self) -> bool {
        self.closing_since != 0
    }

    /// The rest of the grace period of a worker process that was requested to exit and has no
    /// calls.
    pub(crate) fn grace_left(&self, now: Stamp) -> Option<Duration> {
        (self.is_closing() && self.live == 0).then(|| {
            let passed = now.saturating_sub(self.closing_since);
            SHUTDOWN_GRACE.saturating_sub(Duration::from_nanos(passed))
        })
    }

    fn has_room(&self) -> bool {
        self.calls.len() < CAPACITY
    }

    pub(crate) fn live(&self) -> usize {
        self.live
    }

    /// The number that the next call gets.
    pub(crate) fn next_call(&self) -> u64 {
        self.first + self.calls.len() as u64
    }

    /// The number of the first call that is not over.
    pub(crate) fn first_call(&self) -> u64 {
        self.first
    }

    /// Prepares the lane for a new worker process. Call numbers continue, so that the number of a
    /// call of an earlier worker process never matches one of the new one. Returns the number of
    /// the first call.
    pub(crate) fn start(&mut self) -> u64 {
        let next = self.next_call().max(1);
        *self =
            Lane { stage: Stage::Starting, first: next, average: self.average, ..Lane::default() };
        next
    }

    /// The number of the last call that was not revoked.
    pub(crate) fn last_call(&self) -> Option<u64> {
        let at = self.calls.iter().rposition(Option::is_some)?;
        Some(self.first + at as u64)
    }

    /// Whether this is the first call that was not revoked.
    pub(crate) fn is_first(&self, call: u64) -> bool {
        let at = self.calls.iter().position(Option::is_some);
        at.is_some_and(|at| self.first + at as u64 == call)
    }

    /// The number of calls that may be sent in advance, behind the calls in the lane. `bytes` are
    /// the arguments of the first one.
    pub(crate) fn pipeline_room(&self, bytes: usize) -> usize {
        let Some(average) = self.average else { return 0 };
        let is_pipelined = self.worker().is_some_and(|worker| worker.is_pipelined());
        if !is_pipelined || !self.ready || !may_pipeline(bytes) {
            return 0;
        }
        let depth = (PIPELINE_NANOS / average.max(1)) as usize;
        let room = depth.clamp(1, CAPACITY).saturating_sub(self.live);
        room.min(CAPACITY - self.calls.len())
    }

    /// Sends a call. Arguments that fit neither into the page nor under the copy limit are queued
    /// at the peer, which must be notified.
    pub(crate) fn send(
        &mut self,
        job: Job,
        priority: Priority,
        ticket: Ticket,
    ) -> Result<SentAt, Box<Rejected>> {
        let call = self.first + self.calls.len() as u64;
        let Stage::Live(worker) = &self.stage else { unreachable!("only open lanes are sent to") };
        let used_region = self.args_ring.high_water() > 0;
        let args_ring = (!self.decommitting).then_some(&mut self.args_ring);
        let Written { inline } = match worker.send(call, &job, priority, args_ring) {
            Ok(written) => written,
            Err(error) => return Err(Box::new(Rejected(job, error))),
        };
        let starts_region = !used_region && self.args_ring.high_water() > 0;
        self.calls.push_back(Some(Sent { job, priority, ticket, limit: None }));
        self.live += 1;
        self.tasks += 1;
        Ok(SentAt { call, inline, starts_region })
    }

    /// The call that was sent last, its peer, and the number of live calls there.
    pub(crate) fn last_sent(&mut self) -> (&Arc<T>, &mut Sent, usize) {
        match (&self.stage, self.calls.back_mut()) {
            (Stage::Live(worker), Some(Some(sent))) => (worker, sent, self.live),
            _ => unreachable!("a call was sent just now"),
        }
    }

    /// Attaches a started worker process.
    pub(crate) fn attach(&mut self, worker: &Arc<T>, now: Stamp) {
        self.stage = Stage::Live(Arc::clone(worker));
        self.args_ring = worker.args_ring();
        self.idle_since = now;
    }

    /// When to check whether the memory of arguments is still needed, if any is in use.
    pub(crate) fn decommit_in(&self, now: Stamp) -> Option<Duration> {
        if self.args_ring.high_water() == 0 || self.decommitting || self.dead {
            return None;
        }
        let unused = self.live == 0 && self.args_ring.is_empty();
        Some(if !unused {
            DECOMMIT_DELAY
        } else {
            let idle = Duration::from_nanos(now.saturating_sub(self.idle_since));
            DECOMMIT_DELAY.saturating_sub(idle)
        })
    }

    /// Begins to decommit that memory, and returns its length in bytes. Meanwhile no call gets
    /// space there.
    pub(crate) fn begin_decommit(&mut self, now: Stamp) -> Option<usize> {
        if self.decommit_in(now) != Some(Duration::ZERO) {
            return None;
        }
        self.decommitting = true;
        Some(self.args_ring.take_high_water())
    }

    /// Records that the memory was decommitted.
    pub(crate) fn end_decommit(&mut self) {
        self.decommitting = false;
    }

    pub(crate) fn get(&mut self, call: u64) -> Option<&mut Sent> {
        let index = usize::try_from(call.checked_sub(self.first)?).ok()?;
        self.calls.get_mut(index)?.as_mut()
    }

    /// Records that the reply to this call has arrived.
    pub(crate) fn on_reply(&mut self, call: u64) {
        self.replying.take_if(|replying| replying.call == call);
    }

    /// The call whose reply is still in transit.
    pub(crate) fn replying(&self) -> Option<u64> {
        self.replying.as_ref().map(|replying| replying.call)
    }

    /// When a call that has begun did so.
    pub(crate) fn begun(&self, call: u64) -> Stamp {
        self.worker().map_or(0, |worker| worker.begun(call))
    }

    fn limit_mut(&mut self, call: u64) -> Option<&mut Limit> {
        if self.replying() == Some(call) {
            return self.replying.as_mut()?.limit.as_mut();
        }
        self.get(call)?.limit.as_mut()
    }

    /// Checks whether the current call of the worker exceeds its time limit, by the clock of limits.
    pub(crate) fn check_limits(&mut self, now: Stamp, clock: LimitClock) -> CheckedLimits {
        let mut checked = CheckedLimits { exceeded: None, next: NEVER, waits: false };
        let replying = self.replying();
        let limit_now = clock.at(now);
        for call in replying.into_iter().chain(self.first..self.next_call()) {
            let Some(&mut Limit { limit, mut check_at, begun }) = self.limit_mut(call) else {
                continue;
            };
            if check_at <= limit_now {
                self.notice_begin(call, limit, now);
                let is_running = replying == Some(call) || self.has_begun(call);
                let begun = if begun != 0 { begun } else { clock.at(self.begun(call)) };
                let elapsed = Duration::from_nanos(limit_now.saturating_sub(begun));
                check_at = if !is_running {
                    checked.waits = true;
                    // The time limit counts from the begin of the call. A limit of zero would make
                    // the timer spin.
                    clock::add(limit_now, limit.max(Duration::from_millis(1)))
                } else if elapsed < limit {
                    checked.waits = true;
                    clock::add(limit_now, limit - elapsed)
                } else {
                    // A later call may have begun since this one was done. Then that one counts.
                    checked.exceeded = Some((call, limit));
                    NEVER
                };
                if let Some(limit) = self.limit_mut(call) {
                    limit.check_at = check_at;
                }
            }
            checked.next = checked.next.min(check_at);
        }
        checked
    }

    /// Records when calls with a time limit have begun by this clock, which is about to change.
    pub(crate) fn note_begins(&mut self, clock: LimitClock) {
        let replying = self.replying();
        for call in replying.into_iter().chain(self.first..self.next_call()) {
            if replying != Some(call) && !self.has_begun(call) {
                continue;
            }
            let begun = clock.at(self.begun(call));
            if let Some(limit) = self.limit_mut(call).filter(|limit| limit.begun == 0) {
                limit.begun = begun;
            }
        }
    }

    /// Whether the worker is executing this call, or writing its reply, and has begun no later one.
    pub(crate) fn is_current_call(&mut self, call: u64) -> bool {
        let later = (call + 1).max(self.first)..self.next_call();
        let Stage::Live(worker) = &self.stage else {
            return false;
        };
        let begun = |state| matches!(state, Some(CallState::Begun | CallState::Done));
        !later.into_iter().any(|later| begun(worker.state(later))) && self.is_in_progress(call)
    }

    /// Whether the first call has begun and that was not reported to observers.
    pub(crate) fn has_untold_begin(&self) -> bool {
        self.untold_begin().is_some()
    }

    fn untold_begin(&self) -> Option<u64> {
        let index = self.calls.iter().position(Option::is_some)?;
        let call = self.first + index as u64;
        let state = self.worker()?.state(call);
        let begun = matches!(state, Some(CallState::Begun | CallState::Done));
        (begun && self.begin_told != Some(call)).then_some(call)
    }

    /// Returns the first call if it has begun and that was not reported to observers. The caller
    /// reports it.
    pub(crate) fn tell_begin(&mut self) -> Option<(u64, TaskArc)> {
        let call = self.untold_begin()?;
        self.begin_told = Some(call);
        let sent = self.get(call)?;
        Some((call, sent.job.task().clone()))
    }

    /// Whether this call has begun and its reply has not arrived. A call whose page entry is
    /// invalid counts as begun.
    pub(crate) fn has_begun(&mut self, call: u64) -> bool {
        if self.get(call).is_none() {
            return false;
        }
        let Stage::Live(worker) = &self.stage else { return false };
        match worker.state(call) {
            Some(CallState::Begun) | None => {
                self.begun_seen = Some(call);
                true
            }
            Some(CallState::Done) => worker.is_reply_in_transit(call),
            _ => self.begun_seen == Some(call),
        }
    }

    /// Records that a call with a time limit has begun if the worker has noted its begin `patience`
    /// ago, even if the state of the call does not say so.
    fn notice_begin(&mut self, call: u64, patience: Duration, now: Stamp) {
        /// A worker may be descheduled between the note and the change of the state.
        const MIN_PATIENCE: Duration = Duration::from_secs(1);
        let Some(worker) = self.worker() else { return };
        let Some(begun) = worker.noted_begin(call) else { return };
        let elapsed = Duration::from_nanos(now.saturating_sub(begun));
        if elapsed >= patience.max(MIN_PATIENCE) && worker.state(call) == Some(CallState::Sent) {
            self.begun_seen = Some(call);
        }
    }

    /// Whether the worker executes this call, or can't be prevented from that, and its reply has
    /// not arrived.
    pub(crate) fn is_in_progress(&mut self, call: u64) -> bool {
        self.replying() == Some(call) || self.has_begun(call) || self.is_in_transit(call)
    }

    /// Whether this call is in transit to a worker that can't be told about a revocation.
    fn is_in_transit(&mut self, call: u64) -> bool {
        self.get(call).is_some() && self.worker().is_some_and(|worker| worker.is_in_transit(call))
    }

    /// Whether a call is in transit: it has not begun, and can't be revoked.
    pub(crate) fn has_call_in_transit(&mut self) -> bool {
        (self.first..self.next_call()).any(|call| self.is_in_transit(call))
    }

    /// Revokes a call that has not begun.
    pub(crate) fn revoke(&mut self, call: u64) -> Option<Sent> {
        let index = usize::try_from(call.checked_sub(self.first)?).ok()?;
        let slot = self.calls.get_mut(index)?;
        let Stage::Live(worker) = &self.stage else {
            return None;
        };
        if slot.is_none() || self.begun_seen == Some(call) {
            return None;
        }
        let revoked = worker.revoke(call);
        if revoked == Revoked::No {
            return None;
        }
        let sent = slot.take()?;
        self.live -= 1;
        self.tasks -= 1;
        if revoked == Revoked::Unseen {
            self.first = self.next_call();
            self.calls.clear();
        }
        Some(sent)
    }

    /// Revokes calls that have not begun. The last one is revoked first, so that no call begins
    /// before an earlier one that is then revoked.
    pub(crate) fn revoke_pending(&mut self, which: Pending) -> Vec<Sent> {
        let mut taken = Vec::new();
        for call in (self.first..self.next_call()).rev() {
            let stays = which == Pending::Behind && self.live == 1;
            if !stays && let Some(sent) = self.revoke(call) {
                taken.push(sent);
            }
        }
        taken
    }

    /// Whether calls wait behind another. Some may be over by now.
    pub(crate) fn has_queued_behind(&self) -> bool {
        self.live > 1
    }

    /// Whether calls wait behind one that has been running for at least `nanos` nanoseconds.
    pub(crate) fn is_blocked_for(&self, nanos: u64, now: Stamp) -> bool {
        if !self.has_queued_behind() {
            return false;
        }
        let (Some(worker), Some(at)) = (self.worker(), self.calls.iter().position(Option::is_some))
        else {
            return false;
        };
        let call = self.first + at as u64;
        worker.state(call) == Some(CallState::Begun)
            && now.saturating_sub(self.begun(call)) >= nanos
    }

    /// The call that the worker should begin next, if it is not busy.
    fn next_pending(&self) -> Option<u64> {
        let call = self.first + self.calls.iter().position(Option::is_some)? as u64;
        (self.worker()?.state(call) == Some(CallState::Sent)).then_some(call)
    }

    /// Whether the worker has not begun the call that it should have begun at the last check, and
    /// may therefore be stopped.
    pub(crate) fn is_stall_suspect(&mut self) -> bool {
        let now = self.next_pending();
        let before = std::mem::replace(&mut self.stall_candidate, now);
        self.ready && !self.dead && now.is_some() && now == before
    }

    /// Whether there are calls that have not begun.
    pub(crate) fn has_pending(&self) -> bool {
        self.live > 1 || self.next_pending().is_some()
    }

    /// Takes out the calls that are done or skipped.
    pub(crate) fn take_done(
        &mut self,
        finished: &mut VecDeque<Finished<T::Reply>>,
    ) -> Result<(), InvalidPage> {
        let (mut spent, mut count) = (0u64, 0);
        let result = loop {
            // Prefetched, because the thread that launched the tasks has had them in its cache
            // last.
            if let Some(Some(later)) = self.calls.get(4) {
                prefetch(later.job.task().as_ptr());
            }
            match self.take_first_done(TakenBy::Reader, |done| finished.push_back(done)) {
                FirstCall::Done { nanos } => {
                    spent = spent.saturating_add(nanos);
                    count += 1;
                }
                FirstCall::Skipped => {}
                FirstCall::NotDone => break Ok(()),
                FirstCall::Invalid => break Err(InvalidPage),
            }
        };
        if let Some(each) = spent.checked_div(count) {
            self.record_duration(each, count);
        }
        result
    }

    /// Takes out this call if it is the first one, is done, and its reply and all frames before it
    /// have arrived. Called by a thread that waits for the call.
    pub(crate) fn take_done_call(&mut self, call: u64) -> Option<Finished<T::Reply>> {
        if self.first != call || !self.is_open() {
            return None;
        }
        let mut finished = None;
        // If it is not done, the reader thread finds the same.
        if let FirstCall::Done { nanos } =
            self.take_first_done(TakenBy::Waiter, |done| finished = Some(done))
        {
            self.record_duration(nanos, 1);
        }
        finished
    }

    /// Takes out the first call if it is skipped, or done and its reply is for this thread. Passes
    /// one that is done to `keep`: it is large, and is to be moved once.
    #[inline]
    fn take_first_done(&mut self, by: TakenBy, keep: impl FnOnce(Finished<T::Reply>)) -> FirstCall {
        let Stage::Live(worker) = &self.stage else {
            return FirstCall::NotDone;
        };
        let Some(front) = self.calls.front_mut() else {
            return FirstCall::NotDone;
        };
        let call = self.first;
        let out = match worker.state(call) {
            // The worker was killed for this call, which has ended all the same, for example
            // because a process that it waited for was killed. The result of the call is already
            // decided.
            Some(CallState::Done)
                if self.killed_for.is_some_and(|(killed_for, _)| killed_for == call) =>
            {
                return FirstCall::NotDone;
            }
            Some(CallState::Done) if front.is_none() => return FirstCall::Invalid,
            Some(CallState::Done) => {
                let (reply, nanos, in_transit) = match worker.take_reply(call, by) {
                    Taken::Reply { reply, nanos, in_transit } => (reply, nanos, in_transit),
                    Taken::NotYet => return FirstCall::NotDone,
                    Taken::Invalid => return FirstCall::Invalid,
                };
                let Some(sent) = front.take() else {
                    return FirstCall::Invalid;
                };
                self.live -= 1;
                let limit = sent.limit;
                self.replying = in_transit.then_some(Replying { call, limit });
                keep(Finished { call, sent, reply });
                FirstCall::Done { nanos }
            }
            Some(CallState::Skipped) if front.is_none() => FirstCall::Skipped,
            Some(CallState::Begun) if front.is_some() => return FirstCall::NotDone,
            Some(CallState::Sent) if front.is_some() && self.begun_seen != Some(call) => {
                return FirstCall::NotDone;
            }
            Some(CallState::Revoked | CallState::Withdrawn) if front.is_none() => {
                return FirstCall::NotDone;
            }
            _ => return FirstCall::Invalid,
        };
        self.calls.pop_front();
        self.args_ring.free(call);
        self.first += 1;
        // The worker makes progress.
        self.stalled = false;
        out
    }

    fn record_duration(&mut self, each: u64, count: u64) {
        /// About a day: durations reported by a worker are not trusted beyond that.
        const MOST: u64 = 1 << 47;
        let each = each.min(MOST);
        let weight = count.min(8);
        self.average = Some(match self.average {
            None => each,
            Some(average) => (average * (16 - weight) + each * weight) / 16,
        });
    }

    /// Records that a call has been running for at least `nanos` nanoseconds.
    pub(crate) fn record_slow(&mut self, nanos: u64) {
        self.average = Some(self.average.unwrap_or(0).max(nanos));
    }

    /// Takes out all calls that are left after the worker's death, and whether each had begun.
    pub(crate) fn take_unfinished(
        &mut self,
        frames_handled: FramesHandled,
        now: Stamp,
    ) -> Vec<(u64, Sent, bool)> {
        let mut left = Vec::new();
        for call in self.first..self.next_call() {
            let is_killed = self.killed_for.is_some_and(|(killed_for, _)| killed_for == call);
            if (is_killed || frames_handled == FramesHandled::Some)
                && self.is_in_transit(call)
                && let Some(worker) = self.worker()
            {
                // Whether the call has begun can't be known, so it counts as begun.
                worker.assume_begun(call, now);
            }
            let begun = self.worker().is_some_and(|worker| {
                let state = worker.state(call);
                self.begun_seen == Some(call)
                    || !matches!(
                        state,
                        Some(CallState::Sent | CallState::Revoked | CallState::Withdrawn)
                    )
            });
            let index = (call - self.first) as usize;
            if let Some(sent) = self.calls[index].take() {
                left.push((call, sent, begun));
            }
        }
        self.first = self.next_call();
        self.calls.clear();
        self.live = 0;
        left
    }

    /// The task that is running.
    pub(crate) fn running(&self) -> Option<&Sent> {
        let worker = self.worker()?;
        let index = self.calls.iter().position(Option::is_some)?;
        let call = self.first + index as u64;
        let begun = matches!(worker.state(call), Some(CallState::Begun | CallState::Done));
        if begun { self.calls[index].as_ref() } else { None }
    }

    /// Counts the calls that were sent and have not begun, by priority.
    pub(crate) fn count_pending(&self, counts: &mut [usize; 4]) {
        let Some(worker) = self.worker() else { return };
        for (index, sent) in self.calls.iter().enumerate() {
            if let Some(sent) = sent
                && worker.state(self.first + index as u64) == Some(CallState::Sent)
            {
                counts[sent.priority.index()] += 1;
            }
        }
    }
}
