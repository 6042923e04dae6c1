//! The pool: its life, and what the supervisor asks of it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex, MutexGuard};

use crate::backlog::Ticket;
use crate::clock;
use crate::error::{KillError, TaskError};
use crate::info::{MpPoolInfo, Waiting, WorkerProcessInfo};
use crate::job::{Job, Place, WhenFull};
use crate::options::Overflow;
use crate::priority::Priority;
use crate::process::config::MpPoolConfig;
use crate::process::deal::{Deeds, Inner};
use crate::process::inbox::Inbox;
use crate::process::lane::{GRACE, Lane, Stage, Unsendable, Whereabouts, Why, bytes_of};
use crate::process::{child, data, look};
use crate::sys::{cpus, entry, worker};
use crate::task::AnyTask;
use crate::task::owners::OwnerKey;
use crate::task::state::Phase;
use crate::timer;

/// A worker process that has not begun a call for so long is looked at: is it stopped?
const STALLED: Duration = Duration::from_secs(1);

/// A pool of worker processes. See the module's documentation.
pub(crate) struct ProcessPool {
    pub(super) id: String,
    /// Whose tasks these are, mostly.
    pub(super) owner: Option<OwnerKey>,
    pub(super) me: Weak<ProcessPool>,
    pub(super) inner: Mutex<Inner>,
    pub(super) inbox: Inbox,
    /// How long whoever waits for a call looks for its end, in nanoseconds.
    pub(super) look: AtomicU64,
    /// There may be room in the queue.
    pub(super) room: Condvar,
    /// A worker process has ended, or what one has left is ended.
    pub(super) ended: Condvar,
}

impl ProcessPool {
    /// A pool that has started nothing.
    pub(crate) fn new(
        supervisor_id: &str,
        owner: Option<OwnerKey>,
        config: MpPoolConfig,
    ) -> Arc<Self> {
        if let Some(data) = &config.worker_data {
            data::set(Arc::clone(data));
        }
        Arc::new_cyclic(|me| ProcessPool {
            id: supervisor_id.to_owned(),
            owner,
            me: Weak::clone(me),
            inner: Mutex::new(Inner::new(config)),
            inbox: Inbox::default(),
            look: AtomicU64::new(look::MOST),
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
        self.with(|inner, _| Self::info_of(inner))
    }

    fn info_of(inner: &Inner) -> MpPoolInfo {
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

    /// Does something under the lock, and what follows from it after the lock. All jobs that wait are
    /// in the backlog.
    pub(super) fn with<T>(&self, f: impl FnOnce(&mut Inner, &mut Deeds) -> T) -> T {
        self.with_lanes(|inner, deeds| {
            inner.take_all_in(deeds, &self.inbox);
            f(inner, deeds)
        })
    }

    /// The same where the jobs that wait are neither to be counted nor to be found: some of them may
    /// be in the inbox.
    pub(super) fn with_lanes<T>(&self, f: impl FnOnce(&mut Inner, &mut Deeds) -> T) -> T {
        let (result, deeds) = self.lanes_and_deeds(f);
        deeds.do_them();
        result
    }

    /// The same; what follows after the lock is left to the caller.
    pub(super) fn lanes_and_deeds<T>(
        &self,
        f: impl FnOnce(&mut Inner, &mut Deeds) -> T,
    ) -> (T, Deeds) {
        let mut deeds = Deeds::default();
        let mut inner = self.inner.lock();
        let result = f(&mut inner, &mut deeds);
        self.tell_inbox(&mut inner, &mut deeds);
        (result, deeds)
    }

    /// Tells the inbox what may be left there: after anything else under the lock.
    fn tell_inbox(&self, inner: &mut Inner, deeds: &mut Deeds) {
        while let most = inner.nothing_for()
            && most != inner.inbox_open_to
        {
            let Some(first) = inner.open_inbox_to(most, deeds, &self.inbox) else {
                return;
            };
            // Nobody else will end the pause then.
            inner.pausing &= timer::is_running();
            self.fill_by(first, inner, deeds);
        }
    }

    /// Gives waiting jobs to worker processes. One of this priority is new among them.
    fn fill_by(&self, priority: Priority, inner: &mut Inner, deeds: &mut Deeds) {
        inner.fill(deeds, self);
        // It waits, and less urgent ones were sent ahead of it: these come back.
        if inner.backlog.first() == Some(priority) && priority != Priority::Low {
            inner.revoke_where(|other| other < priority);
            inner.fill(deeds, self);
        }
    }

    /// Makes a launcher wait until there is room in the queue, or says why the job can't wait; the
    /// task has ended, or is about to, where no error says so.
    fn admit(
        &self,
        inner: &mut MutexGuard<'_, Inner>,
        job: &Job,
        when_full: WhenFull,
    ) -> Result<(), Option<TaskError>> {
        loop {
            // Whoever took it back ends it.
            if inner.is_gone(job) {
                return Err(None);
            }
            if !inner.open {
                return Err(Some(TaskError::SupervisorStopped));
            }
            match inner.overflow(job) {
                None => return Ok(()),
                Some(_) if when_full == WhenFull::Pass => return Ok(()),
                Some(Overflow::Reject) => return Err(Some(TaskError::QueueFull)),
                Some(Overflow::Block) if !when_full.may_wait() => return Ok(()),
                Some(Overflow::Block) => {
                    inner.blocked += 1;
                    self.room.wait(inner);
                    inner.blocked -= 1;
                }
            }
        }
    }

    /// Sends a new job or lets it wait.
    fn deal(&self, inner: &mut Inner, priority: Priority, job: Job, deeds: &mut Deeds) {
        // Nobody else will end the pause then.
        inner.pausing &= timer::is_running();
        if inner.backlog.waiting() == 0
            && let Some(lane) = inner.choose(priority, bytes_of(&job))
        {
            return inner.send(lane, priority, job, deeds, self);
        }
        inner.enqueue(priority, job);
        self.fill_by(priority, inner, deeds);
    }

    /// Tells launchers that wait for room to look again.
    pub(super) fn tell_room(&self, inner: &Inner) {
        if inner.blocked > 0 {
            self.room.notify_all();
        }
    }

    /// Looks after a while whether workers begin what they were sent.
    pub(super) fn look_later(&self) {
        let me = Weak::clone(&self.me);
        timer::at(clock::after(STALLED), move || {
            if let Some(pool) = me.upgrade() {
                pool.look_for_stalled();
            }
        });
    }

    /// Calls that a stopped worker has not begun are for others.
    fn look_for_stalled(&self) {
        let mut suspects = Vec::new();
        self.with_lanes(|inner, _| {
            for lane in &mut inner.lanes {
                if lane.is_suspect() {
                    suspects.extend(lane.worker().cloned());
                }
            }
            inner.looking = inner.lanes.iter().any(Lane::has_unbegun);
            if inner.looking {
                self.look_later();
            }
        });
        // Only if the system says so: on a busy machine it may just wait for its turn, and another
        // worker process would make that worse.
        suspects.retain(|worker| worker.is_stopped());
        for worker in suspects {
            let taken = self.with_lanes(|inner, deeds| inner.pass_by(&worker, deeds, self));
            if taken > 0 {
                tracing::warn!(
                    target: "atasker", supervisor = %self.id, worker = worker.pid, tasks = taken,
                    "a worker process is stopped: the tasks that it has not begun go to others"
                );
            }
        }
    }

    pub(super) fn watch_limit(
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
            let under_way = inner.under_way(&**task);
            let Some((lane, call)) = under_way.or_else(|| inner.lane_of(&**task)) else {
                return;
            };
            let now = clock::now();
            let begun = under_way.map(|_| inner.begun(lane, call));
            let over =
                begun.is_some_and(|begun| Duration::from_nanos(now.saturating_sub(begun)) >= limit);
            if over {
                inner.doom(lane, call, Why::Limit(limit), deeds);
                return inner.fill(deeds, self);
            }
            if let Some(worker) = inner.lanes[lane].worker() {
                // Should the worker have spoiled what both share, its link sees it now.
                worker.ring_link();
            }
            let left = match begun {
                Some(begun) => {
                    limit.saturating_sub(Duration::from_nanos(now.saturating_sub(begun)))
                }
                // It was sent, and waits there for its turn: its time counts from its begin. A limit
                // of nothing would have the timer look without a break.
                None => limit.max(Duration::from_millis(1)),
            };
            let at = clock::after(left);
            let key = self.watch_limit(at, Arc::downgrade(task), limit);
            if let Some(sent) = inner.lanes[lane].get(call) {
                sent.limit = Some(key);
            }
        });
    }
}

impl Place for ProcessPool {
    fn start(&self, job: Job, when_full: WhenFull) {
        if let Some(what) = unprepared() {
            return job.end(TaskError::not_started(what));
        }
        let priority = job.priority();
        let Some(job) = self.inbox.leave(priority, job) else {
            return;
        };
        let mut deeds = Deeds::default();
        let mut inner = self.inner.lock();
        match self.admit(&mut inner, &job, when_full) {
            Ok(()) => self.deal(&mut inner, priority, job, &mut deeds),
            Err(Some(error)) => deeds.unsendable.push(Unsendable(job, error)),
            Err(None) => deeds.gone.push(job),
        }
        self.tell_inbox(&mut inner, &mut deeds);
        drop(inner);
        deeds.do_them();
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
                // Its launcher waits for room, or somebody is just about to bring it.
                Whereabouts::Nowhere | Whereabouts::Withdrawn => {
                    Whereabouts::Withdrawn.note(task);
                    self.tell_room(inner);
                    return Some(None);
                }
            };
            if let Some(job) = &taken {
                Whereabouts::Withdrawn.note(&**job.task());
                inner.fill(deeds, self);
                self.tell_room(inner);
            }
            taken.map(Some)
        });
        // The caller ends the task.
        taken.map(|job| job.map(Job::into_task)).is_some()
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
            let there = inner.lane_of(&**task);
            let sent = there.filter(|(lane, call)| inner.lanes[*lane].is_under_way(*call));
            if let Some((lane, call)) = inner.under_way(&**task).or(sent) {
                inner.doom(lane, call, Why::Kill, deeds);
                inner.fill(deeds, self);
            } else if let Some((lane, _)) = there
                && let Some(worker) = inner.lanes[lane].worker()
            {
                // It is over, or never will be, should the worker have spoiled what both share.
                worker.ring_link();
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

    fn look(&self, task: &dyn AnyTask) -> bool {
        cpus::several() && self.look_for(task)
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
        inner.take_all_in(&mut deeds, &self.inbox);
        inner.open = false;
        self.tell_inbox(&mut inner, &mut deeds);
        self.room.notify_all();
        let waiting = inner.backlog.drain();
        inner.bytes = 0;
        for lane in 0..inner.lanes.len() {
            inner.end_lane(lane, &mut deeds);
        }
        drop(inner);
        deeds.do_them();
        waiting.into_iter().for_each(|job| job.end(TaskError::SupervisorStopped));

        let deadline = Instant::now() + GRACE;
        let mut inner = self.inner.lock();
        let busy = |inner: &Inner| {
            inner.settling > 0 || inner.lanes.iter().any(|lane| !matches!(lane.stage, Stage::Empty))
        };
        while busy(&inner) {
            if self.ended.wait_until(&mut inner, deadline).timed_out() {
                let left: Vec<_> = inner.lanes.iter().filter_map(Lane::worker).cloned().collect();
                MutexGuard::unlocked(&mut inner, || left.iter().for_each(|worker| worker.kill()));
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
