//! Who gets which call: the rules of slots, priorities and worker processes, under the pool's lock.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use smallvec::SmallVec;

use crate::backlog::{Backlog, Ticket};
use crate::clock;
use crate::error::TaskError;
use crate::job::Job;
use crate::options::Overflow;
use crate::priority::Priority;
use crate::process::config::MpPoolConfig;
use crate::process::inbox::Inbox;
use crate::process::lane::{
    Lane, MAX_LANES, Sent, SentAt, Stage, Unsendable, Whereabouts, Why, bytes_of,
};
use crate::process::link::Worker;
use crate::process::pool::ProcessPool;
use crate::process::spawn;
use crate::sys::cpus::prefetch;
use crate::task::AnyTask;
use crate::task::state::Phase;
use crate::timer;

/// What the pool's lock guards.
pub(super) struct Inner {
    pub(super) config: Arc<MpPoolConfig>,
    pub(super) backlog: Backlog<Job>,
    /// Encoded arguments in the backlog, where they are counted.
    pub(super) bytes: u64,
    pub(super) lanes: Vec<Lane>,
    /// Jobs up to this priority may be left in the inbox.
    pub(super) inbox_open_to: Option<Priority>,
    pub(super) open: bool,
    /// How often, one time after the other, worker processes failed to start.
    pub(super) failures: u32,
    /// A start will be tried again at a later time.
    pub(super) pausing: bool,
    /// Worker processes that died idle before they had run anything, one after the other.
    pub(super) early_deaths: u32,
    /// For the time being none is started in advance.
    pub(super) resting: bool,
    /// The pool will look, in a while, for workers that do not begin what they were sent.
    pub(super) looking: bool,
    /// Links whose process has ended, and that end what it leaves.
    pub(super) settling: usize,
    /// Launchers that wait for room.
    pub(super) blocked: usize,
    pub(super) started: u64,
    pub(super) tasks_run: u64,
    pub(super) restarts: u64,
}

/// So many worker processes in a row may fail to start before the waiting tasks are told.
const TRIES: u32 = 5;

/// How long to wait before a worker process is tried again after so many failures.
fn back_off(failures: u32) -> Duration {
    Duration::from_millis(20) * 2u32.pow(failures.saturating_sub(1).min(8))
}

/// What is to be done once the lock is released.
#[derive(Default)]
#[must_use = "workers wait to be woken"]
pub(super) struct Deeds {
    pub(super) kill: Vec<Arc<Worker>>,
    /// One most often.
    wake: SmallVec<[Wake; 1]>,
    pub(super) start: Vec<spawn::Request>,
    pub(super) unsendable: Vec<Unsendable>,
    /// Jobs whose tasks somebody else ends, or has ended.
    pub(super) gone: Vec<Job>,
}

/// Calls were sent to this worker, some with arguments that its link must write.
struct Wake {
    worker: Arc<Worker>,
    with_args: bool,
}

impl Deeds {
    fn wake(&mut self, worker: &Arc<Worker>, with_args: bool) {
        match self.wake.iter_mut().find(|known| Arc::ptr_eq(&known.worker, worker)) {
            Some(known) => known.with_args |= with_args,
            None => self.wake.push(Wake { worker: Arc::clone(worker), with_args }),
        }
    }

    pub(super) fn do_them(mut self) {
        for worker in self.kill.drain(..) {
            worker.kill();
        }
        for Wake { worker, with_args } in self.wake.drain(..) {
            worker.nudge(with_args);
        }
        for request in self.start.drain(..) {
            spawn::request(request);
        }
        for Unsendable(job, error) in self.unsendable.drain(..) {
            job.end(error);
        }
        for job in self.gone.drain(..) {
            drop(job.into_task());
        }
    }
}

impl Inner {
    pub(super) fn new(config: MpPoolConfig) -> Self {
        Inner {
            backlog: Backlog::new(config.limits()),
            config: Arc::new(config),
            bytes: 0,
            lanes: Vec::new(),
            inbox_open_to: None,
            open: false,
            failures: 0,
            pausing: false,
            early_deaths: 0,
            resting: false,
            looking: false,
            settling: 0,
            blocked: 0,
            started: 0,
            tasks_run: 0,
            restarts: 0,
        }
    }

    pub(super) fn whereabouts(&self, task: &dyn AnyTask) -> Whereabouts {
        Whereabouts::of(task.header().mark.load(Ordering::Relaxed))
    }

    /// Whether the task has found its slot, although it may not have begun: it is the first call
    /// of its lane, or a worker process is being started for it.
    pub(super) fn has_slot(&self, task: &dyn AnyTask) -> bool {
        let priority = task.header().priority;
        match self.whereabouts(task) {
            Whereabouts::Lane { lane, call } => {
                self.lanes.get(lane).is_some_and(|lane| lane.is_first(call))
            }
            Whereabouts::Waiting(ticket) => {
                let limits = self.backlog.limits();
                let free = match priority {
                    Priority::Critical => limits.critical_total.unwrap_or(usize::MAX),
                    _ => limits.of(priority),
                };
                let free = free.saturating_sub(self.backlog.held());
                self.backlog.is_among_first(free, priority, Ticket(ticket))
            }
            Whereabouts::Nowhere | Whereabouts::Withdrawn => false,
        }
    }

    /// Where the task was sent, if it was and is not over.
    pub(super) fn lane_of(&mut self, task: &dyn AnyTask) -> Option<(usize, u64)> {
        match self.whereabouts(task) {
            Whereabouts::Lane { lane, call } => {
                self.lanes.get_mut(lane)?.get(call)?;
                Some((lane, call))
            }
            _ => None,
        }
    }

    /// The worker that this call was sent to, if it is the present one of its lane.
    pub(super) fn worker_of(&self, lane: usize, call: u64) -> Option<Arc<Worker>> {
        let lane = self.lanes.get(lane)?;
        (call >= lane.first_call()).then(|| lane.worker().cloned()).flatten()
    }

    /// When a call that has begun did so.
    pub(super) fn begun(&self, lane: usize, call: u64) -> clock::Stamp {
        let worker = self.lanes[lane].worker();
        worker.map_or(0, |worker| clock::from_monotonic(worker.page.begun(call)))
    }

    /// What to do with a job that would have to wait, if the queue is full.
    pub(super) fn overflow(&self, job: &Job) -> Option<Overflow> {
        let by_count =
            self.config.queue_limit.filter(|(limit, _)| self.backlog.waiting() >= *limit);
        let by_bytes = self.config.queue_bytes.filter(|(limit, _)| {
            self.bytes > 0 && self.bytes.saturating_add(bytes_of(job) as u64) > *limit
        });
        // A job that would start at once does not wait.
        let starts = || self.backlog.waiting() == 0 && self.lanes.iter().any(Lane::is_idle);
        let hit = by_count.map(|(_, o)| o).or(by_bytes.map(|(_, o)| o))?;
        (!starts()).then_some(hit)
    }

    /// Whether its task was taken back before it came, or has ended.
    pub(super) fn is_gone(&self, job: &Job) -> bool {
        self.whereabouts(&**job.task()) == Whereabouts::Withdrawn
            || job.header().state.read().phase() != Phase::Queued
    }

    /// Jobs that were left in the inbox. The highest priority among them.
    fn enqueue_all(&mut self, jobs: Vec<Job>, deeds: &mut Deeds) -> Option<Priority> {
        /// So many jobs ahead the memory of a task is called for: another thread has made it.
        const AHEAD: usize = 6;
        let mut highest = None;
        let ahead: Vec<_> = jobs.iter().skip(AHEAD).map(|job| Arc::as_ptr(job.task())).collect();
        for (at, job) in jobs.into_iter().enumerate() {
            if let Some(task) = ahead.get(at) {
                prefetch(*task);
            }
            if self.is_gone(&job) {
                deeds.gone.push(job);
                continue;
            }
            let priority = job.priority();
            highest = highest.max(Some(priority));
            self.enqueue(priority, job);
        }
        highest
    }

    /// Says anew what may be left in the inbox, and takes in what may not; the highest priority of
    /// that.
    pub(super) fn open_inbox_to(
        &mut self,
        most: Option<Priority>,
        deeds: &mut Deeds,
        inbox: &Inbox,
    ) -> Option<Priority> {
        let mut jobs = Vec::new();
        self.inbox_open_to = most;
        inbox.open_to(most, &mut jobs);
        self.enqueue_all(jobs, deeds)
    }

    /// Takes in all that was left in the inbox.
    pub(super) fn take_all_in(&mut self, deeds: &mut Deeds, inbox: &Inbox) {
        if self.inbox_open_to.is_some() {
            let mut jobs = Vec::new();
            inbox.all(&mut jobs);
            self.enqueue_all(jobs, deeds);
        }
    }

    /// The priority of the job that is next in order, the inbox included. That job stands in the
    /// backlog.
    fn first_in_order(&mut self, deeds: &mut Deeds, inbox: &Inbox) -> Option<Priority> {
        loop {
            let first = self.backlog.first();
            let most = self.inbox_open_to;
            if first >= most {
                return first;
            }
            if first.is_some() {
                // More urgent ones may be there, and from now on not any more.
                self.open_inbox_to(first, deeds, inbox);
                continue;
            }
            let mut jobs = Vec::new();
            inbox.some(&mut jobs);
            if jobs.is_empty() {
                self.open_inbox_to(None, deeds, inbox);
            }
            self.enqueue_all(jobs, deeds);
        }
    }

    /// Up to which priority one more job would only wait: see `inbox`.
    pub(super) fn nothing_for(&self) -> Option<Priority> {
        let first = self.backlog.first()?;
        let limited = self.config.queue_limit.is_some() || self.config.queue_bytes.is_some();
        if limited || !self.open || self.pausing {
            return None;
        }
        // More that wait would have more worker processes started.
        if self.backlog.waiting() < self.free_for(first) {
            return None;
        }
        // Less urgent ones that were sent would be taken back.
        let waits = |lane: &Lane| lane.has_waiting(|other| other < first);
        (!self.lanes.iter().any(waits)).then_some(first)
    }

    /// How many more slots tasks of this priority may have.
    fn free_for(&self, priority: Priority) -> usize {
        let limits = self.backlog.limits();
        match priority {
            Priority::Critical => {
                let held = self.backlog.held() + self.backlog.critical();
                limits.critical_total.unwrap_or(usize::MAX).saturating_sub(held)
            }
            _ => limits.of(priority).saturating_sub(self.backlog.held()),
        }
    }

    pub(super) fn enqueue(&mut self, priority: Priority, job: Job) {
        if self.config.queue_bytes.is_some() {
            self.bytes += bytes_of(&job) as u64;
        }
        let waiting = Whereabouts::Waiting(self.backlog.next_ticket(priority).0);
        waiting.note(&**job.task());
        self.backlog.push(priority, job);
    }

    pub(super) fn put_back(&mut self, priority: Priority, job: Job) {
        if let Some(links) = job.header().links() {
            links.run_again();
        }
        if self.config.queue_bytes.is_some() {
            self.bytes += bytes_of(&job) as u64;
        }
        let waiting = Whereabouts::Waiting(self.backlog.next_front_ticket(priority).0);
        waiting.note(&**job.task());
        self.backlog.push_front(priority, job);
    }

    pub(super) fn left_backlog(&mut self, job: &Job) {
        self.bytes = self.bytes.saturating_sub(match self.config.queue_bytes {
            Some(_) => bytes_of(job) as u64,
            None => 0,
        });
        if self.backlog.waiting() == 0 {
            self.bytes = 0;
        }
    }

    /// A call has been taken back from its lane.
    pub(super) fn unsend(&mut self, lane: usize, sent: Sent) -> Job {
        if let Some(key) = sent.limit {
            timer::cancel(key);
        }
        self.settle_slot(lane);
        sent.job
    }

    /// Gives the lane's slot back if it has no calls any more.
    pub(super) fn settle_slot(&mut self, lane: usize) {
        let lane = &mut self.lanes[lane];
        if lane.live() == 0
            && let Some(class) = lane.holds.take()
        {
            lane.idle_since = clock::now();
            self.backlog.release(class);
        }
    }

    /// Takes back what was sent and not begun, of the priorities named, and puts it in front.
    pub(super) fn revoke_where(&mut self, wanted: impl Fn(Priority) -> bool) {
        let mut taken = Vec::new();
        for index in 0..self.lanes.len() {
            if self.lanes[index].has_waiting(&wanted) {
                for sent in self.lanes[index].revoke_all(&wanted) {
                    let priority = sent.priority;
                    taken.push((priority, self.unsend(index, sent)));
                }
            }
        }
        // Of several lanes, the order in which they were launched is restored; the last one goes to
        // the front first.
        taken.sort_by_key(|(_, job)| job.header().queued());
        for (priority, job) in taken.into_iter().rev() {
            self.put_back(priority, job);
        }
    }

    /// Calls that wait in lanes and could not start now, for more slots are held than their
    /// priority allows, come back.
    pub(super) fn revoke_beyond_limits(&mut self) {
        let held = self.backlog.held();
        let limits = *self.backlog.limits();
        self.revoke_where(|priority| priority != Priority::Critical && held > limits.of(priority));
    }

    /// Gives waiting jobs to worker processes, and has worker processes started for the rest.
    pub(super) fn fill(&mut self, deeds: &mut Deeds, pool: &ProcessPool) {
        while let Some(priority) = self.first_in_order(deeds, &pool.inbox) {
            let bytes = self.backlog.peek().map_or(0, bytes_of);
            let Some(lane) = self.choose(priority, bytes) else {
                break;
            };
            let Some((priority, job)) = self.backlog.take_first() else {
                break;
            };
            self.left_backlog(&job);
            self.send(lane, priority, job, deeds, pool);
        }
        pool.tell_room(self);
        self.start_workers(deeds, pool);
    }

    /// The lane that the next job, of this priority and with so many bytes of arguments, goes to.
    pub(super) fn choose(&self, priority: Priority, bytes: usize) -> Option<usize> {
        let may_append = priority != Priority::Critical
            && self.backlog.held() <= self.backlog.limits().of(priority);
        let appendable = |lane: &Lane| {
            lane.is_open()
                && lane.live() > 0
                && !matches!(lane.holds, Some(Priority::Critical))
                && lane.takes_more(bytes)
                && self.tasks_left(lane)
        };
        if may_append {
            let soon = |lane: &Lane| lane.is_nearly_free() && appendable(lane);
            if let Some(lane) = self.lanes.iter().position(soon) {
                return Some(lane);
            }
        }
        if self.backlog.may_start(priority)
            && let Some(lane) = self.lanes.iter().position(Lane::is_idle)
        {
            return Some(lane);
        }
        if !may_append {
            return None;
        }
        let lanes = self.lanes.iter().enumerate().filter(|(_, lane)| appendable(lane));
        lanes.min_by_key(|(_, lane)| lane.live()).map(|(lane, _)| lane)
    }

    /// Whether the lane's worker process may have one more task in its life.
    pub(super) fn tasks_left(&self, lane: &Lane) -> bool {
        self.config.max_tasks_per_worker.is_none_or(|most| lane.tasks < most)
    }

    pub(super) fn send(
        &mut self,
        index: usize,
        priority: Priority,
        job: Job,
        deeds: &mut Deeds,
        pool: &ProcessPool,
    ) {
        let lane = &mut self.lanes[index];
        let SentAt { call, inline } = match lane.send(job, priority) {
            Ok(at) => at,
            Err(unsendable) => return deeds.unsendable.push(*unsendable),
        };
        let (worker, sent, live) = lane.just_sent();
        let task = sent.job.task();
        let header = task.header();
        Whereabouts::Lane { lane: index, call }.note(&**task);
        if let Some(limit) = header.timeout() {
            let task = Arc::downgrade(task);
            sent.limit = Some(pool.watch_limit(clock::after(limit), task, limit));
        }
        let task = sent.job.task();
        if header.links().is_some() {
            worker.post_messages(call, &**task);
        }
        if header.state.read().stopped() {
            worker.post_stop(call);
        }
        deeds.wake(worker, !inline || header.links().is_some());
        if live > 1 && lane.watched_since == 0 {
            lane.watched_since = clock::now();
            lane.worker().expect("only open lanes are sent to").ring_link();
        }
        if !self.looking {
            self.looking = true;
            pool.look_later();
        }
        let lane = &mut self.lanes[index];
        if lane.holds.is_none() {
            lane.holds = Some(priority);
            self.backlog.acquire(priority);
            self.revoke_beyond_limits();
        }
    }

    /// Has worker processes started for jobs that wait, and in advance.
    pub(super) fn start_workers(&mut self, deeds: &mut Deeds, pool: &ProcessPool) {
        if !self.open || self.pausing {
            return;
        }
        if self.backlog.waiting() == 0 && self.config.min_size == 0 {
            return;
        }
        let starting =
            self.lanes.iter().filter(|lane| matches!(lane.stage, Stage::Starting)).count();
        let there = self.lanes.iter().filter(|lane| lane.is_open()).count() + starting;
        let in_advance = if self.resting { 0 } else { self.config.min_size };
        let mut wanted = in_advance.saturating_sub(there);
        if let Some(priority) = self.backlog.first() {
            let idle = self.lanes.iter().filter(|lane| lane.is_idle()).count();
            let free = self.free_for(priority);
            let useful = free.min(self.backlog.waiting()).saturating_sub(starting + idle);
            wanted = wanted.max(useful);
        }
        // After a failure one at a time, until one has shown that it can serve.
        let unproven = self.lanes.iter().filter(|lane| lane.is_open() && !lane.proven).count();
        let coming = starting + unproven;
        let most = if self.failures > 0 { 1usize.saturating_sub(coming) } else { usize::MAX };
        for _ in 0..wanted.min(most) {
            let free = self.lanes.iter().position(|lane| matches!(lane.stage, Stage::Empty));
            let index = match free {
                Some(index) => index,
                None if self.lanes.len() < MAX_LANES => {
                    self.lanes.push(Lane::default());
                    self.lanes.len() - 1
                }
                None => return,
            };
            self.started += 1;
            let first = self.lanes[index].start();
            let Some(pool_arc) = pool.me.upgrade() else {
                return;
            };
            deeds.start.push(spawn::Request {
                pool: pool_arc,
                lane: index,
                number: self.started,
                first,
                supervisor: pool.id.clone(),
                config: Arc::clone(&self.config),
            });
        }
    }

    /// Ends the worker process of a lane because of a call of its, which has begun. Nothing happens
    /// if the worker has come to a later call: then the reply to this one is through.
    pub(super) fn doom(&mut self, index: usize, call: u64, why: Why, deeds: &mut Deeds) {
        if self.lanes[index].doomed.is_some() {
            return;
        }
        // Nothing else can begin there from here on.
        let taken = self.lanes[index].revoke_all(|_| true);
        for sent in taken {
            let priority = sent.priority;
            let job = self.unsend(index, sent);
            self.put_back(priority, job);
        }
        let lane = &mut self.lanes[index];
        // What could not be taken back has begun, so ours is over, and the worker is with another.
        if !lane.is_at(call) {
            return;
        }
        lane.close();
        lane.doomed = Some((call, why));
        // If it is over by now, so is the reason to kill; the worker just ends.
        deeds.kill.extend(lane.worker().cloned());
    }

    /// Takes back what a stopped worker has not begun, and sends it nothing until it moves again. How
    /// many calls these were.
    pub(super) fn pass_by(
        &mut self,
        worker: &Arc<Worker>,
        deeds: &mut Deeds,
        pool: &ProcessPool,
    ) -> usize {
        let its = |lane: &Lane| lane.worker().is_some_and(|its| Arc::ptr_eq(its, worker));
        let Some(index) = self.lanes.iter().position(its) else { return 0 };
        let taken = self.lanes[index].revoke_all(|_| true);
        let count = taken.len();
        for sent in taken {
            let priority = sent.priority;
            let job = self.unsend(index, sent);
            self.put_back(priority, job);
        }
        // If it has begun the first of them after all, it is none of those.
        self.lanes[index].stalled = count > 0 && self.lanes[index].live() == 0;
        if self.lanes[index].one_by_one && self.lanes[index].has_unbegun() {
            // It is the only way to take a call back that has set out.
            self.lanes[index].dead = true;
            deeds.kill.push(Arc::clone(worker));
            return 1;
        }
        // It leaves if it stays so for as long as an idle one may stay.
        worker.ring_link();
        self.fill(deeds, pool);
        count
    }

    /// The lane and the number of a call whose worker is at it: running it, or writing the reply.
    pub(super) fn under_way(&mut self, task: &dyn AnyTask) -> Option<(usize, u64)> {
        let Whereabouts::Lane { lane: index, call } = self.whereabouts(task) else {
            return None;
        };
        let lane = self.lanes.get_mut(index)?;
        (lane.replying() == Some(call) || lane.has_begun(call)).then_some((index, call))
    }

    /// Ends a lane's worker process: in order where it runs nothing, else at once.
    pub(super) fn end_lane(&mut self, index: usize, deeds: &mut Deeds) {
        for sent in self.lanes[index].revoke_all(|_| true) {
            let job = self.unsend(index, sent);
            deeds.unsendable.push(Unsendable(job, TaskError::SupervisorStopped));
        }
        let lane = &mut self.lanes[index];
        lane.close();
        let Some(worker) = lane.worker().cloned() else {
            return;
        };
        // What has not begun was taken back, so the last call is the one that runs, if one does;
        // those before it are done.
        let last = lane.last_call().filter(|last| lane.is_under_way(*last));
        match last.or(lane.replying()) {
            None => worker.post_shutdown(),
            Some(call) if lane.doomed.is_none() => {
                lane.doomed = Some((call, Why::Stop));
                deeds.kill.push(worker);
            }
            Some(_) => {}
        }
    }
}

/// Worker processes that do not start.
impl Inner {
    /// Too many have failed, and none is there.
    fn given_up(&self) -> bool {
        self.failures >= TRIES && self.lanes.iter().all(|lane| matches!(lane.stage, Stage::Empty))
    }

    /// Whether nobody will try again for the tasks that wait: too many tries have failed, or the
    /// next one waits for a timer that has no thread.
    pub(super) fn is_hopeless(&self) -> bool {
        self.given_up() || self.pausing && !timer::is_running()
    }

    /// A worker process has died without having been at anything: one that stands in advance in its
    /// place may do the same, so it is started after a while only. Tasks that wait need not wait for
    /// that: each death costs one of them.
    pub(super) fn note_early_death(&mut self, pool: &ProcessPool) {
        if self.resting || self.config.min_size == 0 {
            return;
        }
        self.early_deaths += 1;
        let me = Weak::clone(&pool.me);
        timer::at(clock::after(back_off(self.early_deaths)), move || {
            if let Some(pool) = me.upgrade() {
                pool.with(|inner, deeds| {
                    inner.resting = false;
                    inner.fill(deeds, &pool);
                });
            }
        });
        // Asked only now: the timer has no thread before its first entry.
        self.resting = timer::is_running();
    }

    /// A worker process did not come to serve: the next one is tried after a while. Gives the jobs
    /// out that have waited for too many.
    pub(super) fn note_failure(&mut self, pool: &ProcessPool) -> Vec<Job> {
        if self.pausing {
            // One of several that were tried at once: together they count as one.
            return self.told_if_hopeless(pool);
        }
        self.failures += 1;
        if self.open {
            self.pausing = true;
            let me = Weak::clone(&pool.me);
            timer::at(clock::after(back_off(self.failures)), move || {
                if let Some(pool) = me.upgrade() {
                    pool.with(|inner, deeds| {
                        inner.pausing = false;
                        inner.fill(deeds, &pool);
                    });
                }
            });
        }
        self.told_if_hopeless(pool)
    }

    /// A worker process that could serve has ended: what it took is free for another, however
    /// often further ones have failed to start beside it.
    pub(super) fn note_room(&mut self) {
        // Not none: it is still one at a time.
        self.failures = self.failures.min(1);
        self.pausing = false;
    }

    fn told_if_hopeless(&mut self, pool: &ProcessPool) -> Vec<Job> {
        if !self.is_hopeless() {
            return Vec::new();
        }
        self.bytes = 0;
        let told = self.backlog.drain();
        pool.tell_room(self);
        told
    }
}
