//! The pool: who gets which call, and when a worker process is started or ended.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex, MutexGuard};

use crate::backlog::{Backlog, Ticket};
use crate::clock;
use crate::error::{KillError, TaskError};
use crate::info::{MpPoolInfo, Waiting, WorkerProcessInfo};
use crate::job::{Job, Place};
use crate::options::Overflow;
use crate::priority::Priority;
use crate::process::config::MpPoolConfig;
use crate::process::lane::{
    Finished, GRACE, Lane, MAX_LANES, Sent, Stage, Unsendable, Whereabouts, Why, bytes_of,
};
use crate::process::link::Worker;
use crate::process::{child, data, spawn};
use crate::sys::{entry, worker};
use crate::task::AnyTask;
use crate::task::state::Phase;
use crate::timer;

/// A pool of worker processes. See the module's documentation.
pub(crate) struct ProcessPool {
    id: String,
    me: Weak<ProcessPool>,
    inner: Mutex<Inner>,
    /// There may be room in the queue.
    room: Condvar,
    /// A worker process has ended.
    ended: Condvar,
}

struct Inner {
    config: Arc<MpPoolConfig>,
    backlog: Backlog<Job>,
    /// Encoded arguments in the backlog, where they are counted.
    bytes: u64,
    lanes: Vec<Lane>,
    open: bool,
    /// Worker processes that failed to start, one after the other.
    failures: u32,
    /// A start will be tried again at a later time.
    pausing: bool,
    /// Launchers that wait for room.
    blocked: usize,
    started: u64,
    tasks_run: u64,
    restarts: u64,
}

/// So many worker processes in a row may fail to start before the waiting tasks are told.
const TRIES: u32 = 5;

/// How long to wait before a worker process is tried again after so many failures.
fn back_off(failures: u32) -> Duration {
    Duration::from_millis(20) * 2u32.pow(failures.saturating_sub(1).min(8))
}

/// What is to be done once the lock is released.
#[derive(Default)]
struct Deeds {
    wake: Vec<Arc<Worker>>,
    start: Vec<spawn::Request>,
    unsendable: Vec<Unsendable>,
}

impl Deeds {
    fn wake(&mut self, worker: &Arc<Worker>) {
        if !self.wake.iter().any(|known| Arc::ptr_eq(known, worker)) {
            self.wake.push(Arc::clone(worker));
        }
    }

    fn take_back(mut self) {
        for worker in self.wake.drain(..) {
            worker.nudge();
        }
        for request in self.start.drain(..) {
            spawn::request(request);
        }
        for Unsendable(job, error) in self.unsendable.drain(..) {
            job.end(error);
        }
    }
}

impl ProcessPool {
    /// A pool that has started nothing.
    pub(crate) fn new(supervisor_id: &str, config: MpPoolConfig) -> Arc<Self> {
        if let Some(data) = &config.worker_data {
            data::set(Arc::clone(data));
        }
        Arc::new_cyclic(|me| ProcessPool {
            id: supervisor_id.to_owned(),
            me: Weak::clone(me),
            inner: Mutex::new(Inner {
                backlog: Backlog::new(config.limits()),
                config: Arc::new(config),
                bytes: 0,
                lanes: Vec::new(),
                open: false,
                failures: 0,
                pausing: false,
                blocked: 0,
                started: 0,
                tasks_run: 0,
                restarts: 0,
            }),
            room: Condvar::new(),
            ended: Condvar::new(),
        })
    }

    /// New sizes and rules. Worker processes that run keep what they were started with.
    pub(crate) fn set_config(&self, config: MpPoolConfig) {
        if let Some(data) = &config.worker_data {
            data::set(Arc::clone(data));
        }
        self.with(|inner, deeds| {
            inner.backlog.set_limits(config.limits());
            inner.config = Arc::new(config);
            inner.revoke_beyond_limits();
            inner.fill(deeds, self);
            // Links look at the idle time anew.
            for worker in inner.lanes.iter().filter_map(Lane::worker) {
                worker.ring_link();
            }
        });
        self.room.notify_all();
    }

    pub(crate) fn info(&self) -> MpPoolInfo {
        let inner = self.inner.lock();
        let mut waiting = [0; 4];
        for priority in Priority::ALL {
            waiting[priority.index()] = inner.backlog.waiting_of(priority);
        }
        inner.lanes.iter().for_each(|lane| lane.count_unbegun(&mut waiting));
        let running = inner.lanes.iter().filter_map(Lane::running).count();
        let workers = inner.lanes.iter().filter_map(|lane| {
            let worker = lane.worker()?;
            Some(WorkerProcessInfo {
                pid: worker.pid,
                number: worker.number,
                task: lane.running().map(|sent| sent.job.header().id),
                tasks_run: lane.tasks - lane.live() as u64,
            })
        });
        MpPoolInfo {
            pool_size: inner.config.pool_size,
            reserve_normal: inner.config.reserve_normal,
            reserve_high: inner.config.reserve_high,
            running,
            waiting: Waiting {
                low: waiting[0],
                normal: waiting[1],
                high: waiting[2],
                critical: waiting[3],
            },
            workers: workers.collect(),
            tasks_run: inner.tasks_run,
            restarts: inner.restarts,
        }
    }

    /// Does something under the lock, and what follows from it after the lock.
    fn with<T>(&self, f: impl FnOnce(&mut Inner, &mut Deeds) -> T) -> T {
        let mut deeds = Deeds::default();
        let result = f(&mut self.inner.lock(), &mut deeds);
        deeds.take_back();
        result
    }

    /// Makes a launcher wait until there is room in the queue, or says why the job can't wait.
    fn admit(
        &self,
        inner: &mut MutexGuard<'_, Inner>,
        job: &Job,
        may_block: bool,
    ) -> Option<TaskError> {
        let bytes = bytes_of(job) as u64;
        loop {
            if !inner.open {
                return Some(TaskError::SupervisorStopped);
            }
            match inner.overflow(bytes) {
                None => return None,
                Some(Overflow::Reject) => return Some(TaskError::QueueFull),
                Some(Overflow::Block) if !may_block => return None,
                Some(Overflow::Block) => {
                    inner.blocked += 1;
                    self.room.wait(inner);
                    inner.blocked -= 1;
                }
            }
        }
    }

    /// Tells launchers that wait for room to look again.
    fn tell_room(&self, inner: &Inner) {
        if inner.blocked > 0 {
            self.room.notify_all();
        }
    }

    fn watch_limit(
        &self,
        at: Instant,
        task: Weak<dyn AnyTask>,
        limit: Duration,
    ) -> timer::TimerKey {
        let me = Weak::clone(&self.me);
        timer::at(at, move || {
            if let (Some(pool), Some(task)) = (me.upgrade(), task.upgrade()) {
                pool.check_limit(&task, limit);
            }
        })
    }

    /// A time limit may be over: ends the worker if the task has begun so long ago.
    fn check_limit(&self, task: &Arc<dyn AnyTask>, limit: Duration) {
        self.with(|inner, deeds| {
            let Some((lane, call)) = inner.lane_of(&**task) else {
                return;
            };
            let now = clock::now();
            let begun = inner.lanes[lane].has_begun(call).then(|| inner.begun(lane, call));
            let over =
                begun.is_some_and(|begun| Duration::from_nanos(now.saturating_sub(begun)) >= limit);
            if over {
                inner.doom(lane, call, Why::Limit(limit));
                return inner.fill(deeds, self);
            }
            // It was sent, and waited there for its turn: its time counts from its begin.
            let passed =
                begun.map_or(Duration::ZERO, |b| Duration::from_nanos(now.saturating_sub(b)));
            let at = clock::after(limit.saturating_sub(passed));
            let key = self.watch_limit(at, Arc::downgrade(task), limit);
            if let Some(sent) = inner.lanes[lane].get(call) {
                sent.limit = Some(key);
            }
        });
    }
}

impl Place for ProcessPool {
    fn start(&self, job: Job, may_block: bool) {
        if let Some(what) = unprepared() {
            return job.end(TaskError::not_started(what));
        }
        let mut inner = self.inner.lock();
        if let Some(error) = self.admit(&mut inner, &job, may_block) {
            drop(inner);
            return job.end(error);
        }
        let mut deeds = Deeds::default();
        let priority = job.priority();
        inner.enqueue(priority, job);
        inner.fill(&mut deeds, self);
        // It waits, and less urgent ones were sent ahead of it: these come back.
        if inner.backlog.first() == Some(priority) && priority != Priority::Low {
            inner.revoke_where(|other| other < priority);
            inner.fill(&mut deeds, self);
        }
        drop(inner);
        deeds.take_back();
    }

    fn revoke(&self, task: &dyn AnyTask, even_with_slot: bool) -> bool {
        let taken = self.with(|inner, deeds| {
            if !even_with_slot && inner.has_slot(task) {
                return None;
            }
            let taken = match inner.whereabouts(task) {
                Whereabouts::Waiting(ticket) => {
                    let job = inner.backlog.remove(task.header().priority, Ticket(ticket));
                    job.inspect(|job| inner.left_backlog(job))
                }
                Whereabouts::Lane { lane, call } => {
                    let sent = inner.lanes.get_mut(lane).and_then(|lane| lane.revoke(call));
                    sent.map(|sent| inner.unsend(lane, sent))
                }
                Whereabouts::Nowhere => None,
            };
            if let Some(job) = &taken {
                Whereabouts::Nowhere.note(job);
                inner.fill(deeds, self);
                self.tell_room(inner);
            }
            taken
        });
        // The caller ends the task.
        taken.map(Job::into_task).is_some()
    }

    fn stop_asked(&self, task: &dyn AnyTask) {
        let inner = self.inner.lock();
        if let Whereabouts::Lane { lane, call } = inner.whereabouts(task)
            && let Some(worker) = inner.worker_of(lane, call)
        {
            drop(inner);
            worker.post_stop(call);
        }
    }

    fn message(&self, task: &dyn AnyTask) {
        let inner = self.inner.lock();
        if let Whereabouts::Lane { lane, call } = inner.whereabouts(task)
            && let Some(worker) = inner.worker_of(lane, call)
        {
            // Under the lock: in order, and not while the call is taken back.
            worker.post_messages(call, task);
            drop(inner);
            worker.flush_or_ring();
        }
    }

    fn received(&self, task: &dyn AnyTask) {
        let outbox = task.header().links().and_then(|links| links.outbox_bytes());
        let Some(count) = outbox.and_then(|outbox| outbox.worth_telling()) else {
            return;
        };
        let inner = self.inner.lock();
        if let Whereabouts::Lane { lane, call } = inner.whereabouts(task)
            && let Some(worker) = inner.worker_of(lane, call)
        {
            drop(inner);
            worker.post_taken(call, count as u64);
        }
    }

    fn kill(&self, task: &Arc<dyn AnyTask>) -> Result<(), KillError> {
        task.header().state.ask_kill();
        self.with(|inner, deeds| {
            if let Some((lane, call)) = inner.lane_of(&**task)
                && inner.lanes[lane].has_begun(call)
            {
                inner.doom(lane, call, Why::Kill);
                inner.fill(deeds, self);
            }
        });
        Ok(())
    }

    fn refresh(&self, task: &dyn AnyTask) {
        let mut inner = self.inner.lock();
        let Some((lane, call)) = inner.lane_of(task) else {
            return;
        };
        if !inner.lanes[lane].has_begun(call) {
            return;
        }
        let begun = inner.begun(lane, call);
        let Some(worker) = inner.lanes[lane].worker() else {
            return;
        };
        promote(task, begun);
        let extras = task.header().extras_or_new();
        extras.worker_pid.store(worker.pid, Ordering::Relaxed);
        note_progress(task, worker.page.progress(call));
    }

    fn open(&self) {
        if unprepared().is_some() {
            return;
        }
        self.with(|inner, deeds| {
            inner.open = true;
            inner.fill(deeds, self);
        });
    }

    fn close(&self) {
        let mut deeds = Deeds::default();
        let mut inner = self.inner.lock();
        inner.open = false;
        self.room.notify_all();
        let waiting = inner.backlog.drain();
        inner.bytes = 0;
        for lane in 0..inner.lanes.len() {
            inner.end_lane(lane, &mut deeds);
        }
        drop(inner);
        deeds.take_back();
        waiting.into_iter().for_each(|job| job.end(TaskError::SupervisorStopped));

        let deadline = Instant::now() + GRACE;
        let mut inner = self.inner.lock();
        while inner.lanes.iter().any(|lane| !matches!(lane.stage, Stage::Empty)) {
            if self.ended.wait_until(&mut inner, deadline).timed_out() {
                inner.lanes.iter().filter_map(Lane::worker).for_each(|worker| worker.kill());
                let last = Instant::now() + GRACE;
                while inner.lanes.iter().any(|lane| lane.worker().is_some())
                    && !self.ended.wait_until(&mut inner, last).timed_out()
                {}
                return;
            }
        }
    }
}

/// Why this process can't have worker processes.
fn unprepared() -> Option<&'static str> {
    if child::in_worker() {
        return Some("a worker process has no worker processes of its own");
    }
    if !entry::is_prepared() {
        if worker::is_unrecognised() {
            // This is a worker copy that has come to the program's own code: it must not go on.
            eprintln!(
                "atasker: a worker process was not recognised at its start: `atasker::init()` must \
                 be the first line of `main`, in every run of the program"
            );
            std::process::exit(1);
        }
        return Some(
            "a copy of this program would not know that it is a worker process: use the feature \
             `pre-main` of atasker, or put `#[atasker::main]` on `main`, or call `atasker::init()` \
             in its first line",
        );
    }
    static IN_MAIN: std::sync::OnceLock<bool> = std::sync::OnceLock::new();
    (!IN_MAIN.get_or_init(entry::in_main_program)).then_some(
        "worker processes are copies of the program's executable, and this code is not part of \
         it: it belongs to a library that was loaded at run time",
    )
}

/// Notes in a task's header that it has begun.
pub(super) fn promote(task: &dyn AnyTask, begun: u64) {
    let header = task.header();
    if header.state.read().phase() == Phase::Queued {
        // If it is ended at this very moment, that is as good.
        let _ = header.begin_at(begun);
    }
}

/// Notes how far a task says it is.
pub(super) fn note_progress(task: &dyn AnyTask, told: Option<(u64, u64)>) {
    if let Some((done, total)) = told {
        let mut progress = task.header().extras_or_new().progress.lock();
        let progress = progress.get_or_insert_default();
        (progress.done, progress.total) = (done, total);
    }
}

impl Inner {
    fn whereabouts(&self, task: &dyn AnyTask) -> Whereabouts {
        Whereabouts::of(task.header().mark.load(Ordering::Relaxed))
    }

    /// Whether the task has found its slot, although it may not have begun: it is the first call
    /// of its lane, or a worker process is being started for it.
    fn has_slot(&self, task: &dyn AnyTask) -> bool {
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
            Whereabouts::Nowhere => false,
        }
    }

    /// Where the task was sent, if it was and is not over.
    fn lane_of(&mut self, task: &dyn AnyTask) -> Option<(usize, u64)> {
        match self.whereabouts(task) {
            Whereabouts::Lane { lane, call } => {
                self.lanes.get_mut(lane)?.get(call)?;
                Some((lane, call))
            }
            _ => None,
        }
    }

    /// The worker that this call was sent to, if it is the present one of its lane.
    fn worker_of(&self, lane: usize, call: u64) -> Option<Arc<Worker>> {
        let lane = self.lanes.get(lane)?;
        (call >= lane.first_call()).then(|| lane.worker().cloned()).flatten()
    }

    /// When a call that has begun did so.
    fn begun(&self, lane: usize, call: u64) -> clock::Stamp {
        let worker = self.lanes[lane].worker();
        worker.map_or(0, |worker| clock::from_monotonic(worker.page.begun(call)))
    }

    /// What to do with a job of so many bytes that would have to wait, if the queue is full.
    fn overflow(&self, bytes: u64) -> Option<Overflow> {
        let by_count =
            self.config.queue_limit.filter(|(limit, _)| self.backlog.waiting() >= *limit);
        let by_bytes = self
            .config
            .queue_bytes
            .filter(|(limit, _)| self.bytes > 0 && self.bytes.saturating_add(bytes) > *limit);
        // A job that would start at once does not wait.
        let starts = || self.backlog.waiting() == 0 && self.lanes.iter().any(Lane::is_idle);
        let hit = by_count.map(|(_, o)| o).or(by_bytes.map(|(_, o)| o))?;
        (!starts()).then_some(hit)
    }

    fn enqueue(&mut self, priority: Priority, job: Job) {
        if self.config.queue_bytes.is_some() {
            self.bytes += bytes_of(&job) as u64;
        }
        let waiting = Whereabouts::Waiting(self.backlog.next_ticket(priority).0);
        waiting.note(&job);
        self.backlog.push(priority, job);
    }

    fn put_back(&mut self, priority: Priority, job: Job) {
        if let Some(links) = job.header().links() {
            links.run_again();
        }
        if self.config.queue_bytes.is_some() {
            self.bytes += bytes_of(&job) as u64;
        }
        let waiting = Whereabouts::Waiting(self.backlog.next_front_ticket(priority).0);
        waiting.note(&job);
        self.backlog.push_front(priority, job);
    }

    fn left_backlog(&mut self, job: &Job) {
        self.bytes = self.bytes.saturating_sub(match self.config.queue_bytes {
            Some(_) => bytes_of(job) as u64,
            None => 0,
        });
        if self.backlog.waiting() == 0 {
            self.bytes = 0;
        }
    }

    /// A call has been taken back from its lane.
    fn unsend(&mut self, lane: usize, sent: Sent) -> Job {
        if let Some(key) = sent.limit {
            timer::cancel(key);
        }
        self.settle_slot(lane);
        sent.job
    }

    /// Gives the lane's slot back if it has no calls any more.
    fn settle_slot(&mut self, lane: usize) {
        let lane = &mut self.lanes[lane];
        if lane.live() == 0
            && let Some(class) = lane.holds.take()
        {
            lane.idle_since = clock::now();
            self.backlog.release(class);
        }
    }

    /// Takes back what was sent and not begun, of the priorities named, and puts it in front.
    fn revoke_where(&mut self, wanted: impl Fn(Priority) -> bool) {
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
    fn revoke_beyond_limits(&mut self) {
        let held = self.backlog.held();
        let limits = *self.backlog.limits();
        self.revoke_where(|priority| priority != Priority::Critical && held > limits.of(priority));
    }

    /// Gives waiting jobs to worker processes, and has worker processes started for the rest.
    fn fill(&mut self, deeds: &mut Deeds, pool: &ProcessPool) {
        while let Some(priority) = self.backlog.first() {
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
    fn choose(&self, priority: Priority, bytes: usize) -> Option<usize> {
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
    fn tasks_left(&self, lane: &Lane) -> bool {
        self.config.max_tasks_per_worker.is_none_or(|most| lane.tasks < most)
    }

    fn send(
        &mut self,
        index: usize,
        priority: Priority,
        job: Job,
        deeds: &mut Deeds,
        pool: &ProcessPool,
    ) {
        let lane = &mut self.lanes[index];
        let task = Arc::clone(job.task());
        let call = match lane.send(job, priority) {
            Ok(call) => call,
            Err(unsendable) => return deeds.unsendable.push(*unsendable),
        };
        let header = task.header();
        let at = Whereabouts::Lane { lane: index, call };
        let worker = Arc::clone(lane.worker().expect("only open lanes are sent to"));
        if let Some(sent) = lane.get(call) {
            at.note(&sent.job);
            if let Some(limit) = header.timeout() {
                let task = Arc::downgrade(&task);
                sent.limit = Some(pool.watch_limit(clock::after(limit), task, limit));
            }
        }
        if header.links().is_some() {
            worker.post_messages(call, &*task);
        }
        if header.state.read().stopped() {
            worker.post_stop(call);
        }
        if lane.live() > 1 && !lane.watched {
            lane.watched = true;
            worker.ring_link();
        }
        deeds.wake(&worker);
        if lane.holds.is_none() {
            lane.holds = Some(priority);
            self.backlog.acquire(priority);
            self.revoke_beyond_limits();
        }
    }

    /// Has worker processes started for jobs that wait, and in advance.
    fn start_workers(&mut self, deeds: &mut Deeds, pool: &ProcessPool) {
        if !self.open || self.pausing {
            return;
        }
        let starting =
            self.lanes.iter().filter(|lane| matches!(lane.stage, Stage::Starting)).count();
        let there = self.lanes.iter().filter(|lane| lane.is_open()).count() + starting;
        let mut wanted = self.config.min_size.saturating_sub(there);
        if let Some(priority) = self.backlog.first() {
            let idle = self.lanes.iter().filter(|lane| lane.is_idle()).count();
            let limits = self.backlog.limits();
            let (limit, held) = match priority {
                Priority::Critical => (
                    limits.critical_total.unwrap_or(usize::MAX),
                    self.backlog.held() + self.backlog.critical(),
                ),
                _ => (limits.of(priority), self.backlog.held()),
            };
            let free = limit.saturating_sub(held);
            let useful = free.min(self.backlog.waiting()).saturating_sub(starting + idle);
            wanted = wanted.max(useful);
        }
        // After a failure one at a time, until one has shown that it can serve.
        let most = if self.failures > 0 { 1usize.saturating_sub(starting) } else { usize::MAX };
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

    /// Ends the worker process of a lane because of a call of its, which has begun.
    fn doom(&mut self, index: usize, call: u64, why: Why) {
        let lane = &mut self.lanes[index];
        if lane.doomed.is_some() {
            return;
        }
        lane.close();
        lane.doomed = Some((call, why));
        // Nothing else can begin there before the worker is ended.
        let taken = lane.revoke_all(|_| true);
        for sent in taken {
            let priority = sent.priority;
            let job = self.unsend(index, sent);
            self.put_back(priority, job);
        }
        // If it is over by now, so is the reason to kill; the worker just ends.
        let worker = self.lanes[index].worker().cloned();
        if let Some(worker) = worker {
            worker.kill();
        }
    }

    /// Ends a lane's worker process: in order where it runs nothing, else at once.
    fn end_lane(&mut self, index: usize, deeds: &mut Deeds) {
        for sent in self.lanes[index].revoke_all(|_| true) {
            let job = self.unsend(index, sent);
            deeds.unsendable.push(Unsendable(job, TaskError::SupervisorStopped));
        }
        let lane = &mut self.lanes[index];
        lane.close();
        let Some(worker) = lane.worker().cloned() else {
            return;
        };
        if lane.live() == 0 {
            worker.post_shutdown();
        } else if lane.doomed.is_none() {
            lane.doomed = Some((lane.first_call(), Why::Stop));
            worker.kill();
        }
    }
}

/// Worker processes that do not start.
impl Inner {
    /// Too many have failed, and none is there.
    fn given_up(&self) -> bool {
        self.failures >= TRIES && self.lanes.iter().all(|lane| matches!(lane.stage, Stage::Empty))
    }

    /// A worker process did not come to serve: the next one is tried after a while. Gives the jobs
    /// out that have waited for too many.
    fn note_failure(&mut self, pool: &ProcessPool, why: &str) -> Vec<Job> {
        self.failures += 1;
        tracing::warn!(
            target: "atasker", supervisor = %pool.id, failures = self.failures,
            "a worker process could not start: {why}"
        );
        let mut told = Vec::new();
        if self.given_up() {
            told = self.backlog.drain();
            self.bytes = 0;
            pool.tell_room(self);
        }
        if !self.pausing && self.open {
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
        told
    }
}

/// What a dead worker process leaves.
pub(super) struct Leavings {
    /// The calls that had begun: one at most.
    pub(super) begun: Vec<(u64, Sent)>,
    /// The call for which it was killed.
    pub(super) doomed: Option<(u64, Why)>,
}

/// What a link thread, and the spawner, tell the pool.
impl ProcessPool {
    /// A worker process runs in this lane. False: it is not wanted any more.
    pub(super) fn joined(&self, lane: usize, worker: &Arc<Worker>) -> bool {
        self.with(|inner, deeds| {
            if !inner.open {
                inner.lanes[lane].stage = Stage::Empty;
                self.ended.notify_all();
                return false;
            }
            inner.lanes[lane].stage = Stage::Live(Arc::clone(worker));
            inner.lanes[lane].idle_since = clock::now();
            inner.fill(deeds, self);
            true
        })
    }

    /// The worker process of this lane can serve.
    pub(super) fn proven(&self, lane: usize) {
        self.with(|inner, deeds| {
            inner.lanes[lane].proven = true;
            inner.failures = 0;
            inner.fill(deeds, self);
        });
    }

    /// No worker process could be started in this lane.
    pub(super) fn failed(&self, lane: usize, why: &str) {
        let told = self.with(|inner, deeds| {
            inner.lanes[lane].stage = Stage::Empty;
            let told = inner.note_failure(self, why);
            inner.fill(deeds, self);
            told
        });
        self.tell_failed(told, why);
    }

    fn tell_failed(&self, told: Vec<Job>, why: &str) {
        self.ended.notify_all();
        for job in told {
            let detail = format!("no worker process could be started in {TRIES} tries: {why}");
            job.end(TaskError::not_started(detail));
        }
    }

    /// Takes in what a worker has done, and gives it more.
    pub(super) fn reap(&self, index: usize, finished: &mut VecDeque<Finished>) {
        self.with(|inner, deeds| {
            let before = finished.len();
            inner.lanes[index].reap(finished);
            let done = finished.len() - before;
            if done == 0 {
                return;
            }
            inner.tasks_run += done as u64;
            inner.settle_slot(index);
            let lane = &mut inner.lanes[index];
            if lane.live() == 0
                && !lane.is_closing()
                && inner.config.max_tasks_per_worker.is_some_and(|most| lane.tasks >= most)
            {
                lane.close();
                if let Some(worker) = lane.worker() {
                    worker.post_shutdown();
                }
            }
            // In batches: a worker that has enough to do needs nothing yet.
            inner.fill(deeds, self);
        });
    }

    /// What a link waits for next, and how long at most.
    pub(super) fn rest(&self, index: usize, worker: &Worker) -> Rest {
        /// When more than one call is under way, the link looks so often whether they move.
        const LOOK: u64 = 1_000_000;
        let mut inner = self.inner.lock();
        let idle_timeout = inner.config.idle_timeout;
        let spare =
            inner.lanes.iter().filter(|lane| lane.is_open()).count() > inner.config.min_size;
        let lane = &mut inner.lanes[index];
        let (first, live) = (lane.first_call(), lane.live());
        lane.watched = live > 1;
        let call = first + live as u64 / 2;
        let nanos = if live > 1 {
            Some(LOOK)
        } else if let Some(left) = lane.grace_left() {
            Some(left.as_nanos() as u64)
        } else if live == 0 && !lane.is_closing() && spare && lane.proven {
            let idle = Duration::from_nanos(clock::now().saturating_sub(lane.idle_since));
            Some(idle_timeout.saturating_sub(idle).as_nanos().try_into().unwrap_or(u64::MAX))
        } else {
            None
        };
        if lane.proven && !worker.page.sleep_until(call, first) {
            return Rest::Not;
        }
        Rest::Until(nanos)
    }

    /// Nothing has come for as long as [`rest`](Self::rest) said.
    pub(super) fn overslept(&self, index: usize) {
        self.with(|inner, deeds| {
            let now = clock::now();
            let spare =
                inner.lanes.iter().filter(|lane| lane.is_open()).count() > inner.config.min_size;
            let idle_timeout = inner.config.idle_timeout;
            let lane = &mut inner.lanes[index];
            if lane.grace_left() == Some(Duration::ZERO) {
                // It was told to end and does not: stopped, or stuck in its `worker_exit`.
                if let Some(worker) = lane.worker() {
                    worker.kill();
                }
                return;
            }
            if lane.live() == 0 {
                let idle = Duration::from_nanos(now.saturating_sub(lane.idle_since));
                if spare && !lane.is_closing() && idle >= idle_timeout {
                    lane.close();
                    if let Some(worker) = lane.worker() {
                        worker.post_shutdown();
                    }
                }
                return;
            }
            // Calls wait behind one that takes long: others shall have them.
            let first = lane.first_call();
            if lane.live() > 1 && lane.has_begun(first) {
                let begun = inner.begun(index, first);
                let passed = now.saturating_sub(begun);
                if passed >= 500_000 {
                    inner.lanes[index].note_long(passed);
                    for sent in inner.lanes[index].revoke_all(|_| true) {
                        let priority = sent.priority;
                        let job = inner.unsend(index, sent);
                        inner.put_back(priority, job);
                    }
                    inner.fill(deeds, self);
                }
            }
        });
    }

    /// A worker process has ended. What it leaves: calls that had begun, and for what it was killed.
    /// `never_served` says why, if it had not come to serve.
    pub(super) fn lost(&self, index: usize, never_served: Option<&str>) -> Leavings {
        let (leavings, told) = self.with(|inner, deeds| {
            let left = inner.lanes[index].wreck();
            inner.settle_slot(index);
            let lane = &mut inner.lanes[index];
            let doomed = lane.doomed.take();
            lane.stage = Stage::Empty;
            let told = match never_served {
                Some(why) => inner.note_failure(self, why),
                None => Vec::new(),
            };
            if !inner.lanes[index].is_closing() || doomed.is_some() {
                inner.restarts += 1;
            }
            let (begun, unbegun): (Vec<_>, Vec<_>) =
                left.into_iter().partition(|(_, _, begun)| *begun);
            let mut told = told;
            for (_, sent, _) in unbegun.into_iter().rev() {
                if let Some(key) = sent.limit {
                    timer::cancel(key);
                }
                if inner.given_up() {
                    told.push(sent.job);
                } else {
                    inner.put_back(sent.priority, sent.job);
                }
            }
            inner.fill(deeds, self);
            let begun = begun.into_iter().map(|(call, sent, _)| (call, sent)).collect();
            (Leavings { begun, doomed }, told)
        });
        self.tell_failed(told, never_served.unwrap_or_default());
        leavings
    }

    /// The worker process of this lane is dead, or must die: it gets nothing more.
    pub(super) fn dying(&self, index: usize) {
        self.inner.lock().lanes[index].dead = true;
    }

    /// The task of a call that is under way.
    pub(super) fn task_of(&self, index: usize, call: u64) -> Option<Arc<dyn AnyTask>> {
        let mut inner = self.inner.lock();
        inner.lanes[index].get(call).map(|sent| Arc::clone(sent.job.task()))
    }
}

/// See [`ProcessPool::rest`].
pub(super) enum Rest {
    /// There is something to take in already.
    Not,
    /// So many nanoseconds at most.
    Until(Option<u64>),
}
