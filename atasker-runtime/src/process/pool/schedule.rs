//! Which worker process gets which call: the rules of slots, priorities and worker processes.
//!
//! The scheduler is a state machine without a clock, threads or system calls. It handles events,
//! with the time as a value; appends [`Actions`] for the pool to perform; and returns from
//! [`next_timeout`](Scheduler::next_timeout) when [`on_timeout`](Scheduler::on_timeout) is to be
//! called. The events of worker processes are in `events`; the choice of a worker process for a
//! call is in `choice`. The pool's lock guards the scheduler.
//!
//! The shape is that of quinn-proto's connection: a protocol that performs no I/O can be tested by
//! thousands of random histories (see `tests/histories.rs`).

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::backlog::{Backlog, Ticket};
use crate::job::Job;
use crate::limit;
use crate::options::Overflow;
use crate::priority::Priority;
use crate::process::config::MpPoolConfig;
use crate::process::pool::actions::{Action, Actions};
use crate::process::pool::call::{
    Limit, Pending, Sent, SentAt, bytes_of, bytes_of_task, pipelined_bytes,
};
use crate::process::pool::choice::{Choice, Round};
use crate::process::pool::injector::Injector;
use crate::process::pool::lane::{Lane, may_pipeline};
use crate::process::pool::location::Location;
use crate::process::pool::starts::StartError;
use crate::process::pool::timeouts::{Deadlines, NEVER, STALL_CHECK_DELAY};
use crate::process::transport::Transport;
use crate::room::WaitingRoom;
use crate::sys::cpus::prefetch;
use crate::task::AnyTask;
use crate::task::state::Phase;
use crate::time::clock::{self, Stamp};

/// What the pool's lock guards. See the module's documentation.
pub(crate) struct Scheduler<T> {
    pub(crate) config: Arc<MpPoolConfig>,
    pub(crate) backlog: Backlog<Job>,
    /// Behind the backlog: launches that only have to wait.
    pub(crate) injector: Arc<Injector>,
    /// The bytes of encoded arguments in the backlog, if they are limited.
    pub(crate) bytes: u64,
    /// The number of jobs of each priority that wait for their limits, outside of the backlog.
    pub(crate) parked: [usize; 4],
    /// The bytes of their arguments, as far as they were counted when they were parked.
    pub(crate) parked_bytes: u64,
    /// Calls with limits that were revoked from their lanes.
    pub(crate) revoked: Vec<(Ticket, Job)>,
    pub(crate) lanes: Vec<Lane<T>>,
    /// Jobs up to this priority may be pushed to the injector.
    pub(crate) injector_open_to: Option<Priority>,
    pub(crate) open: bool,
    /// The number of worker processes in a row that failed to start.
    pub(crate) start_failures: u32,
    /// Why the latest start failed, until one succeeds.
    pub(crate) start_error: Option<StartError>,
    /// The number of these failures that were kills by another process.
    pub(crate) start_kills: u32,
    /// The number of worker processes in a row that died before they had run anything.
    pub(crate) early_deaths: u32,
    pub(crate) deadlines: Deadlines,
    /// Whether the timer works. If the system can't start a thread for the timer, nothing may
    /// depend on a deadline.
    pub(crate) has_timer: bool,
    /// The number of worker processes that ended, or will not be used, because of new settings, and
    /// have no successor yet.
    pub(crate) outdated: usize,
    /// The number of threads that are completing calls or reaping a worker process.
    pub(crate) completing: usize,
    /// Launches that wait for room in the queue.
    pub(crate) room: WaitingRoom,
    /// The launches for which room is reserved, and the bytes of their arguments.
    pub(crate) reserved: usize,
    pub(crate) reserved_bytes: u64,
    pub(crate) started: u64,
    pub(crate) tasks_run: u64,
    pub(crate) restarts: u64,
    /// Worker processes report the begin and the end of every call at once.
    pub(crate) prompt: bool,
}

impl<T: Transport> Scheduler<T> {
    pub(crate) fn new(config: MpPoolConfig, injector: Arc<Injector>) -> Self {
        Scheduler {
            injector,
            backlog: Backlog::new(config.limits()),
            config: Arc::new(config),
            bytes: 0,
            parked: [0; 4],
            parked_bytes: 0,
            revoked: Vec::new(),
            lanes: Vec::new(),
            injector_open_to: None,
            open: false,
            start_failures: 0,
            start_error: None,
            start_kills: 0,
            early_deaths: 0,
            deadlines: Deadlines::default(),
            has_timer: true,
            outdated: 0,
            completing: 0,
            room: WaitingRoom::default(),
            reserved: 0,
            reserved_bytes: 0,
            started: 0,
            tasks_run: 0,
            restarts: 0,
            prompt: false,
        }
    }

    pub(crate) fn location(&self, task: &dyn AnyTask) -> Location {
        // Relaxed, because the pool writes and reads the tag under its lock.
        Location::of(task.header().place_tag.load(Ordering::Relaxed))
    }

    /// Whether the task has a slot, although it may not have begun: it is the first call of its
    /// lane, or a worker process is being started for it.
    pub(crate) fn has_slot(&self, task: &dyn AnyTask) -> bool {
        let priority = task.header().priority;
        match self.location(task) {
            Location::Lane { lane, call } => {
                self.lanes.get(lane).is_some_and(|lane| lane.is_first(call))
            }
            Location::Waiting(ticket) => {
                let free = self.backlog.free_for(priority);
                self.backlog.is_among_first(free, priority, Ticket(ticket))
            }
            Location::Nowhere | Location::Withdrawn => false,
        }
    }

    /// The lane and the number of the call that the task was sent as, if it is not over.
    pub(crate) fn lane_of(&mut self, task: &dyn AnyTask) -> Option<(usize, u64)> {
        match self.location(task) {
            Location::Lane { lane, call } => {
                self.lanes.get_mut(lane)?.get(call)?;
                Some((lane, call))
            }
            _ => None,
        }
    }

    /// The worker that this call was sent to, if it is still the current one of its lane.
    pub(crate) fn worker_of(&self, lane: usize, call: u64) -> Option<Arc<T>> {
        let lane = self.lanes.get(lane)?;
        (call >= lane.first_call()).then(|| lane.worker().cloned()).flatten()
    }

    /// The time at which a call began.
    pub(crate) fn begun(&self, lane: usize, call: u64) -> Stamp {
        self.lanes[lane].begun(call)
    }

    /// What to do with a task that would have to wait, if the queue is full.
    ///
    /// `may_start` says whether it may start as soon as it has a slot.
    pub(crate) fn overflow(&self, task: &dyn AnyTask, may_start: bool) -> Option<Overflow> {
        let by_count =
            self.config.queue_limit.filter(|(limit, _)| self.waiting() + self.reserved >= *limit);
        let by_bytes = self.config.queue_bytes.filter(|(limit, _)| {
            let bytes = self.bytes + self.reserved_bytes;
            bytes > 0 && bytes.saturating_add(bytes_of_task(task) as u64) > *limit
        });
        let hit = by_count.map(|(_, o)| o).or(by_bytes.map(|(_, o)| o))?;
        let starts = may_start && self.starts_next(task.header().priority, self.reserved);
        (!starts).then_some(hit)
    }

    /// Whether one more job, behind `before` others that have room, would start at once, and so does
    /// not wait. Neither does one for which a worker process is started, because no more jobs wait
    /// for new worker processes than there are free slots.
    fn starts_next(&self, priority: Priority, before: usize) -> bool {
        let waiting = self.waiting() + before;
        waiting == 0 && self.lanes.iter().any(Lane::is_idle)
            || self.config.queue_limit.is_some_and(|(limit, _)| limit == 0)
                && waiting < self.backlog.free_for(priority)
    }

    /// Whether the task was revoked before its job arrived, or has ended.
    pub(crate) fn is_stale(&self, job: &Job) -> bool {
        self.location(&**job.task()) == Location::Withdrawn
            || job.header().state.read().phase() != Phase::Queued
    }

    /// Enqueues jobs that were in the injector. Returns the number of those that now wait.
    fn enqueue_all(&mut self, jobs: Vec<Job>, actions: &mut Actions<T>) -> usize {
        /// Tasks are prefetched this many jobs ahead, because another thread has created them.
        const PREFETCH_DISTANCE: usize = 6;
        let mut count = 0;
        let prefetched: Vec<_> =
            jobs.iter().skip(PREFETCH_DISTANCE).map(|job| job.task().as_ptr()).collect();
        for (at, job) in jobs.into_iter().enumerate() {
            if let Some(task) = prefetched.get(at) {
                prefetch(*task);
            }
            if self.is_stale(&job) {
                actions.discard(job);
                continue;
            }
            count += 1;
            self.enqueue(job.priority(), job);
        }
        count
    }

    /// Sets up to which priority jobs may be pushed to the injector, and enqueues those above.
    /// Returns the number of those that now wait.
    pub(crate) fn set_injector_limit(
        &mut self,
        limit: Option<Priority>,
        actions: &mut Actions<T>,
    ) -> usize {
        let mut jobs = Vec::new();
        self.injector_open_to = limit;
        self.injector.set_open_to(limit, &mut jobs);
        self.enqueue_all(jobs, actions)
    }

    /// Enqueues all jobs of the injector.
    pub(crate) fn drain_injector(&mut self, actions: &mut Actions<T>) {
        if self.injector_open_to.is_some() {
            let mut jobs = Vec::new();
            self.injector.take_all(&mut jobs);
            self.enqueue_all(jobs, actions);
        }
    }

    /// The priority of the next job in order, including the injector. That job is then in the
    /// backlog.
    fn next_priority(&mut self, actions: &mut Actions<T>) -> Option<Priority> {
        loop {
            let first = self.backlog.first_priority();
            let limit = self.injector_open_to;
            if first >= limit {
                return first;
            }
            if first.is_some() {
                // The injector may contain more urgent jobs. Closed to them first, so that none can
                // be added later.
                self.set_injector_limit(first, actions);
                continue;
            }
            let mut jobs = Vec::new();
            self.injector.take_batch(&mut jobs);
            if jobs.is_empty() {
                self.set_injector_limit(None, actions);
            }
            self.enqueue_all(jobs, actions);
        }
    }

    /// Up to which priority one more job would only wait: see `injector`.
    pub(crate) fn injector_limit(&self) -> Option<Priority> {
        let first = self.backlog.first_priority()?;
        let limited = self.config.queue_limit.is_some() || self.config.queue_bytes.is_some();
        if limited || !self.open || self.is_backing_off() {
            return None;
        }
        // More waiting jobs would cause worker processes to be started.
        if self.backlog.waiting() < self.backlog.free_for(first) {
            return None;
        }
        // Less urgent calls that were sent would have to be revoked.
        (!self.has_pending_below(first)).then_some(first)
    }

    pub(crate) fn enqueue(&mut self, priority: Priority, job: Job) {
        if self.config.queue_bytes.is_some() {
            self.bytes += bytes_of(&job) as u64;
        }
        let waiting = Location::Waiting(self.backlog.next_ticket(priority).0);
        waiting.record(&**job.task());
        self.backlog.push(priority, job);
    }

    /// Returns a revoked call to the backlog, at the position that it would have had if it had
    /// never been sent.
    ///
    /// A call with a limit gives that back, and waits for it again.
    pub(crate) fn requeue(&mut self, sent: Sent) {
        let Sent { job, priority, ticket, .. } = sent;
        if let Some(channels) = job.header().channels() {
            channels.reset_for_retry();
        }
        if limit::has_limit(job.header()) {
            return self.revoked.push((ticket, job));
        }
        if self.config.queue_bytes.is_some() {
            self.bytes += bytes_of(&job) as u64;
        }
        Location::Waiting(ticket.0).record(&**job.task());
        self.backlog.requeue(priority, ticket, job);
    }

    /// Counts the bytes in the backlog. While they are not limited, they are not kept up to date.
    pub(crate) fn recount_bytes(&mut self) {
        self.bytes = match self.config.queue_bytes {
            Some(_) => {
                let queued: u64 = self.backlog.jobs().map(|job| bytes_of(job) as u64).sum();
                queued + self.parked_bytes
            }
            None => 0,
        };
    }

    pub(crate) fn on_dequeued(&mut self, job: &Job) {
        self.bytes = self.bytes.saturating_sub(match self.config.queue_bytes {
            Some(_) => bytes_of(job) as u64,
            None => 0,
        });
        if self.waiting() == 0 {
            self.bytes = 0;
        }
    }

    /// Cleans up after a call that was revoked from its lane.
    pub(crate) fn unassign(&mut self, lane: usize, sent: Sent, now: Stamp) -> Sent {
        self.release_slot_if_idle(lane, now);
        sent
    }

    /// Releases the slot of a lane that has no calls any more.
    pub(crate) fn release_slot_if_idle(&mut self, lane: usize, now: Stamp) {
        let lane = &mut self.lanes[lane];
        if lane.live() == 0
            && let Some(class) = lane.slot_class.take()
        {
            lane.idle_since = now;
            self.backlog.release(class);
        }
    }

    /// Revokes calls of a lane that have not begun, and requeues them. Returns their number.
    pub(crate) fn revoke_pending(&mut self, lane: usize, which: Pending, now: Stamp) -> usize {
        let taken = self.lanes[lane].revoke_pending(which);
        let count = taken.len();
        for sent in taken {
            let sent = self.unassign(lane, sent, now);
            self.requeue(sent);
        }
        count
    }

    /// Revokes calls that wait in lanes but could not start now, because more slots are held than
    /// their priority allows.
    pub(crate) fn revoke_over_limits(&mut self, now: Stamp) {
        let held = self.backlog.held();
        let limits = *self.backlog.limits();
        for index in 0..self.lanes.len() {
            let lane = &self.lanes[index];
            let beyond = |p| p != Priority::Critical && held > limits.of(p);
            if lane.has_queued_behind() && lane.slot_class.is_some_and(beyond) {
                self.revoke_pending(index, Pending::Behind, now);
            }
        }
    }

    /// Wakes the launches for which there may be room now. Called after each change that may make
    /// room.
    #[inline]
    pub(crate) fn wake_launchers(&mut self, actions: &mut Actions<T>) {
        if !self.room.is_empty() {
            self.wake_some_launchers(actions);
        }
    }

    #[cold]
    fn wake_some_launchers(&mut self, actions: &mut Actions<T>) {
        let mut room = std::mem::take(&mut self.room);
        actions.launchers.extend(match (self.config.queue_limit, self.config.queue_bytes) {
            // In an idle pool no further change would wake those that are left if the first ones
            // don't launch anything, because they are not polled.
            (Some((limit, Overflow::Block)), None) if self.open && !self.is_idle() => room
                .take_while(|launcher, taken| {
                    let before = self.reserved + taken;
                    let starts = || self.starts_next(launcher.priority(), before);
                    self.waiting() + before < limit || !launcher.has_limit() && starts()
                }),
            // Arguments of one launch may not fit where those of another one do.
            _ => room.take_all(),
        });
        self.room = room;
    }

    /// Whether no job waits or is in a lane.
    fn is_idle(&self) -> bool {
        self.waiting() + self.reserved == 0 && self.lanes.iter().all(|lane| lane.live() == 0)
    }

    /// Sends a new job or lets it wait.
    pub(crate) fn submit(
        &mut self,
        priority: Priority,
        job: Job,
        now: Stamp,
        actions: &mut Actions<T>,
    ) {
        self.end_backoff_without_timer();
        if self.backlog.waiting() == 0
            && let bytes = Some(bytes_of(&job))
            && let Choice::Send { lane, .. } = self.choose(priority, bytes, Round::First)
        {
            let ticket = self.backlog.issue_ticket(priority);
            return self.send(lane, priority, ticket, job, now, actions);
        }
        self.enqueue(priority, job);
        self.schedule(now, actions);
    }

    /// Says what may be left in the injector from now on: after every other change.
    pub(crate) fn update_injector(&mut self, now: Stamp, actions: &mut Actions<T>) {
        while let limit = self.injector_limit()
            && limit != self.injector_open_to
        {
            if self.set_injector_limit(limit, actions) == 0 {
                return;
            }
            self.end_backoff_without_timer();
            self.schedule(now, actions);
        }
    }

    /// A launch ends a back-off whose end will not be reported.
    fn end_backoff_without_timer(&mut self) {
        if !self.has_timer {
            self.deadlines.start = NEVER;
        }
    }

    /// Sends waiting jobs to worker processes, and starts worker processes for the rest.
    ///
    /// Afterwards, the first waiting job can't be sent, and nothing less urgent can begin before
    /// it.
    pub(crate) fn schedule(&mut self, now: Stamp, actions: &mut Actions<T>) {
        // First come, first served: these calls were launched before the waiting jobs.
        self.rebalance_to_idle(now);
        loop {
            self.dispatch_waiting(now, actions);
            // Repeated, because jobs for which a worker process is being started may now be sent
            // elsewhere.
            if self.start_workers(actions) == 0 {
                break;
            }
        }
        self.wake_launchers(actions);
    }

    fn dispatch_waiting(&mut self, now: Stamp, actions: &mut Actions<T>) {
        // Once calls were revoked for the first job, all that are left have begun.
        let mut round = Round::First;
        while let Some(priority) = self.next_priority(actions) {
            let bytes = self.backlog.peek().and_then(pipelined_bytes);
            match self.choose(priority, bytes, round) {
                Choice::Send { lane, count } => {
                    self.send_first(lane, count, now, actions);
                    round = Round::First;
                }
                Choice::Revoke => {
                    self.revoke_for(priority, now);
                    round = Round::AfterRevoke;
                }
                Choice::Wait => break,
            }
        }
    }

    /// Sends the first waiting job to a lane, and up to `count - 1` jobs behind it: see
    /// [`Choice::Send`].
    fn send_first(&mut self, lane: usize, count: usize, now: Stamp, actions: &mut Actions<T>) {
        let first = self.backlog.first_priority();
        for _ in 0..count {
            let Some((priority, ticket, job)) = self.backlog.pop_first() else { return };
            self.on_dequeued(&job);
            if let Some(job) = self.admit(priority, ticket, job) {
                self.send(lane, priority, ticket, job, now, actions);
            }
            // The injector is closed to jobs that are more urgent than this one.
            let next = self.backlog.peek().filter(|_| self.backlog.first_priority() == first);
            if !next.and_then(pipelined_bytes).is_some_and(may_pipeline) {
                return;
            }
        }
    }

    /// The number of tasks that the lane's worker process may run before it is replaced.
    pub(crate) fn tasks_left(&self, lane: &Lane<T>) -> usize {
        let left = self.config.max_tasks_per_worker.map(|most| most.saturating_sub(lane.tasks));
        left.map_or(usize::MAX, |left| usize::try_from(left).unwrap_or(usize::MAX))
    }

    /// Whether the lane's worker process has run as many tasks as it may, or was sent more.
    pub(crate) fn is_used_up(&self, lane: &Lane<T>) -> bool {
        // The last one may run now, and is to end.
        let running = u64::from(lane.live() > 0);
        self.config
            .max_tasks_per_worker
            .is_some_and(|most| lane.tasks >= most.saturating_add(running))
    }

    pub(crate) fn send(
        &mut self,
        index: usize,
        priority: Priority,
        ticket: Ticket,
        job: Job,
        now: Stamp,
        actions: &mut Actions<T>,
    ) {
        let lane = &mut self.lanes[index];
        let SentAt { call, inline, starts_region } = match lane.send(job, priority, ticket) {
            Ok(at) => at,
            Err(rejected) => return actions.reject(rejected.0, rejected.1),
        };
        let (worker, sent, live) = lane.last_sent();
        let task = sent.job.task();
        let header = task.header();
        // Under the pool's lock: a thread that cancels, kills or messages the task finds it here.
        Location::Lane { lane: index, call }.record(&**task);
        if let Some(limit) = header.timeout() {
            let limit = Limit::new(limit, self.deadlines.limit_clock.at(now));
            self.deadlines.add_limit(limit.check_at, actions);
            sent.limit = Some(limit);
        }
        let task = sent.job.task();
        if header.channels().is_some() {
            // Under the lock: in order, and not after the call is revoked.
            worker.post_messages(call, &**task);
        }
        // An earlier request found the task in no lane, so it is forwarded now.
        actions.wake(worker, !inline || header.channels().is_some());
        if header.state.read().stopped() {
            actions.push(Action::Stop(Arc::clone(worker), call));
        }
        let watch = live > 1 && lane.watched_since == 0;
        if watch {
            lane.watched_since = now;
        }
        if watch || starts_region {
            // From now on its reader thread needs timeouts.
            actions.wake_reader_of(lane);
        }
        if self.deadlines.stall_check == NEVER {
            self.deadlines.stall_check = clock::add(now, STALL_CHECK_DELAY);
        }
        let lane = &mut self.lanes[index];
        if lane.slot_class.is_none() {
            lane.slot_class = Some(priority);
            self.backlog.acquire(priority);
            self.revoke_over_limits(now);
        }
    }

    /// The lane and the number of a call that its worker is executing, or writing the reply of.
    pub(crate) fn running_call(&mut self, task: &dyn AnyTask) -> Option<(usize, u64)> {
        let Location::Lane { lane: index, call } = self.location(task) else {
            return None;
        };
        let lane = self.lanes.get_mut(index)?;
        (lane.replying() == Some(call) || lane.has_begun(call)).then_some((index, call))
    }
}
