//! The pool of worker processes: the [`Place`] of tasks with `tt = "mp"`.
//!
//! The pool holds a lock, a timer and the handles of worker processes. Its scheduler has none of
//! these: it handles events with the time as a value, and returns actions, which the pool performs
//! without the lock.
//!
//! | concern | file |
//! |---|---|
//! | the state of the scheduler; sending calls | `schedule` |
//! | the choice of a worker process for a call | `choice` |
//! | one worker process, as the scheduler keeps it; its calls; where a task is | `lane`, `call`, `location` |
//! | starting worker processes, and back-off | `starts` |
//! | ending worker processes | `ends` |
//! | requests: revoke, kill, new settings, open, close | `requests` |
//! | events: a worker process has started, replied, ended | `events` |
//! | jobs with limits that they share with others | `limited` |
//! | deadlines, and the clock of time limits | `timeouts`, `limit_clock` |
//! | what the scheduler has decided, and performing it | `actions`, `perform` |
//! | launches that would only have to wait | `injector` |
//! | reports of the other threads, and completing a call without its reader thread | `complete` |
//! | the state as text, for diagnosing hangs | `describe` |

pub(crate) mod actions;
pub(crate) mod call;
mod choice;
pub(crate) mod complete;
mod describe;
mod ends;
pub(crate) mod events;
pub(crate) mod injector;
pub(crate) mod lane;
pub(crate) mod limit_clock;
mod limited;
pub(crate) mod location;
mod perform;
pub(crate) mod requests;
pub(crate) mod schedule;
mod starts;
pub(crate) mod timeouts;

use std::borrow::Cow;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use crate::sync::lock::{Condvar, Mutex, MutexGuard};
use crate::task::control::Include;

#[cfg(feature = "remote")]
use crate::backlog::Limits;
use crate::error::{KillError, TaskError};
use crate::info::{MpPoolInfo, Waiting, WorkerProcessInfo};
use crate::job::Job;
use crate::limit::{self, Parked, Reserved};
use crate::options::Overflow;
use crate::place::{Closing, Place, Room, WhenFull, warn_of_a_blocked_runtime};
use crate::priority::Priority;
use crate::process::config::MpPoolConfig;
use crate::process::parent::peer::Peer;
use crate::process::parent::spawn;
use crate::process::parent::template::TemplateOwner;
use crate::process::pool::actions::Actions;
use crate::process::pool::call::bytes_of_task;
use crate::process::pool::injector::Injector;
use crate::process::pool::lane::{Lane, SHUTDOWN_GRACE};
use crate::process::pool::location::Location;
use crate::process::pool::requests::Revocation;
use crate::process::pool::schedule::Scheduler;
use crate::process::pool::timeouts::NEVER;
use crate::process::{data, in_worker};
use crate::room::Launcher;
use crate::sync::spin;
use crate::task::scheduler::SchedulerKey;
use crate::task::state::Phase;
use crate::task::{AnyTask, TaskArc, park, waiters};
use crate::time::clock::{self, Stamp};
use crate::time::timer::{self, TimerKey};
use crate::time::{Reading, source};
use crate::unwind::log;

/// How long worker processes may take to exit gracefully once the deadline of a stop has passed.
const DEADLINE_GRACE: Duration = Duration::from_millis(100);

/// A pool of worker processes. See the documentation of `process`.
pub(crate) struct ProcessPool {
    pub(crate) id: String,
    /// The scheduler of most of these tasks.
    pub(crate) scheduler: Option<SchedulerKey>,
    pub(crate) me: Weak<ProcessPool>,
    pub(crate) inner: Mutex<Scheduler<Peer>>,
    injector: Arc<Injector>,
    /// When the timer is set to report the time to the scheduler. The pool's lock guards it.
    timer_at: AtomicU64,
    timer: Mutex<Option<TimerKey>>,
    /// How long a thread that waits for a call spins for its end, in nanoseconds.
    pub(crate) spin_window: AtomicU64,
    /// The process that worker processes are forked from, if the configuration requests it.
    pub(crate) template: TemplateOwner,
    /// Notified when a worker process has ended, or its calls were completed.
    pub(crate) ended: Condvar,
}

impl ProcessPool {
    /// Creates a pool that has started nothing.
    pub(crate) fn new(
        supervisor_id: &str,
        scheduler: Option<SchedulerKey>,
        config: MpPoolConfig,
    ) -> Arc<Self> {
        data::pool_changed(None, config.worker_data.as_ref());
        let injector = Arc::new(Injector::default());
        Arc::new_cyclic(|me| ProcessPool {
            id: supervisor_id.to_owned(),
            scheduler,
            me: Weak::clone(me),
            inner: Mutex::new(Scheduler::new(config, Arc::clone(&injector))),
            injector,
            timer_at: AtomicU64::new(NEVER),
            timer: Mutex::new(None),
            spin_window: AtomicU64::new(spin::MAX_WINDOW),
            template: TemplateOwner::default(),
            ended: Condvar::new(),
        })
    }

    /// Returns the present sizes and rules.
    pub(crate) fn config(&self) -> MpPoolConfig {
        let config = Arc::clone(&self.inner.lock().config);
        MpPoolConfig::clone(&config)
    }

    /// Returns the limits by which tasks are admitted.
    #[cfg(feature = "remote")]
    pub(crate) fn limits(&self) -> Limits {
        self.inner.lock().config.limits()
    }

    /// Applies new sizes and rules. Worker processes that were started with different settings are
    /// replaced.
    pub(crate) fn set_config(&self, config: MpPoolConfig) {
        self.with(|inner, now, actions| {
            // Under the lock, so that the last of several changes applies.
            data::pool_changed(inner.config.worker_data.as_ref(), config.worker_data.as_ref());
            inner.on_config(config, now, actions);
        });
        let config = Arc::clone(&self.inner.lock().config);
        self.template.on_config(&config);
    }

    /// Has worker processes report the begin and the end of every call at once while there are
    /// `reasons`.
    pub(crate) fn set_prompt(&self, reasons: &AtomicUsize) {
        self.with_lanes(|inner, _, actions| {
            // Read under the lock, so that the last of several changes applies.
            inner.on_prompt(reasons.load(Ordering::SeqCst) > 0, actions);
        });
    }

    /// The time of the supervisor follows from the real time in another way from now on.
    pub(crate) fn on_clock(&self, reading: Reading) {
        self.with_lanes(|inner, _, actions| inner.on_clock(reading.into(), actions));
    }

    /// Has time limits checked at a time of the supervisor's clock, if that is not the real one.
    #[cold]
    fn set_limit_timer(&self, at: Stamp) {
        let me = Weak::clone(&self.me);
        source::at(self.scheduler, clock::instant(at), move || {
            if let Some(pool) = me.upgrade() {
                pool.with_lanes(|inner, now, actions| inner.on_limit_time(at, now, actions));
            }
        });
    }

    pub(crate) fn info(&self) -> MpPoolInfo {
        self.with(|inner, _, _| Self::info_of(inner))
    }

    fn info_of(inner: &Scheduler<Peer>) -> MpPoolInfo {
        let mut waiting = [0; 4];
        for priority in Priority::ALL {
            let index = priority.index();
            waiting[index] = inner.backlog.waiting_of(priority) + inner.parked[index];
        }
        inner.lanes.iter().for_each(|lane| lane.count_pending(&mut waiting));
        let running = inner.lanes.iter().filter_map(Lane::running).count();
        let workers = inner.lanes.iter().filter_map(|lane| {
            let worker = lane.worker()?;
            Some(WorkerProcessInfo {
                pid: worker.pid,
                number: worker.number,
                task: lane.running().map(|sent| sent.job.header().id()),
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
            // The supervisor counts how tasks end.
            completed: 0,
            failed: 0,
            timed_out: 0,
            canceled: 0,
        }
    }

    /// Calls `f` under the lock, and performs the resulting actions after the lock is released. All
    /// waiting jobs are in the backlog.
    pub(crate) fn with<T>(
        &self,
        f: impl FnOnce(&mut Scheduler<Peer>, Stamp, &mut Actions<Peer>) -> T,
    ) -> T {
        self.with_lanes(|inner, now, actions| {
            inner.drain_injector(actions);
            f(inner, now, actions)
        })
    }

    /// The same where the jobs that wait are neither to be counted nor to be found: some of them
    /// may be in the injector.
    pub(crate) fn with_lanes<T>(
        &self,
        f: impl FnOnce(&mut Scheduler<Peer>, Stamp, &mut Actions<Peer>) -> T,
    ) -> T {
        let (result, actions) = self.lanes_and_actions(f);
        actions.perform(self);
        result
    }

    /// The same, but the caller performs the actions.
    pub(crate) fn lanes_and_actions<T>(
        &self,
        f: impl FnOnce(&mut Scheduler<Peer>, Stamp, &mut Actions<Peer>) -> T,
    ) -> (T, Actions<Peer>) {
        let now = clock::now();
        let mut actions = Actions::default();
        let mut inner = self.inner.lock();
        let result = f(&mut inner, now, &mut actions);
        self.after_event(&mut inner, now, &mut actions);
        // The lock is released before the actions are performed: they write to sockets, wake
        // processes, and run code of the user.
        (result, actions)
    }

    /// What has to be done after every event, under the lock.
    #[inline]
    fn after_event(&self, inner: &mut Scheduler<Peer>, now: Stamp, actions: &mut Actions<Peer>) {
        inner.put_back_revoked(actions);
        inner.update_injector(now, actions);
        let at = inner.next_timeout();
        if at < self.timer_at.load(Ordering::Relaxed) || !inner.has_timer {
            self.set_timer(at, inner, now, actions);
        }
    }

    /// Sets the timer. Under the lock, so that it is set for the latest of several changes.
    #[cold]
    fn set_timer(
        &self,
        at: Stamp,
        inner: &mut Scheduler<Peer>,
        now: Stamp,
        actions: &mut Actions<Peer>,
    ) {
        inner.has_timer = at == NEVER || {
            self.timer_at.store(at, Ordering::Relaxed);
            let me = Weak::clone(&self.me);
            let on_time = move || {
                if let Some(pool) = me.upgrade() {
                    pool.on_time(at);
                }
            };
            let mut timer = self.timer.lock();
            if let Some(earlier) = timer.replace(timer::at(clock::instant(at), on_time)) {
                timer::cancel(earlier);
            }
            timer::is_running()
        };
        if !inner.has_timer {
            // The entry may never fire, so the next event sets the timer again.
            self.timer_at.store(NEVER, Ordering::Relaxed);
            inner.on_timer_missing(now, actions);
            inner.update_injector(now, actions);
        }
    }

    /// The timer that was set for this time has fired.
    fn on_time(&self, at: Stamp) {
        self.with_lanes(|inner, now, actions| {
            // The timer may have been set for another time by now.
            let _ = self.timer_at.compare_exchange(at, NEVER, Ordering::Relaxed, Ordering::Relaxed);
            inner.on_timeout(now, actions);
        });
    }

    /// Blocks a launcher until there is room in the queue, or returns why the job can't wait.
    /// Returns `Err(None)` if the task has ended, or is about to be ended by the thread that
    /// revoked it.
    fn admit(
        &self,
        inner: &mut MutexGuard<'_, Scheduler<Peer>>,
        job: &Job,
        when_full: WhenFull,
        may_start: bool,
    ) -> Result<(), Option<TaskError>> {
        let mut launcher = None;
        loop {
            // The thread that revoked the task ends it.
            if inner.is_stale(job) {
                if let Some(launcher) = launcher {
                    MutexGuard::unlocked(inner, || self.leave_room(launcher));
                }
                return Err(None);
            }
            if !inner.open {
                return Err(Some(TaskError::SupervisorStopped));
            }
            match inner.overflow(&**job.task(), may_start) {
                None => return Ok(()),
                Some(_) if when_full.passes() => return Ok(()),
                Some(Overflow::Reject) => return Err(Some(TaskError::QueueFull)),
                Some(Overflow::Block) if !when_full.may_wait() => return Ok(()),
                Some(Overflow::Block) => {
                    // The same each time, so that the launch keeps its turn.
                    let launcher = *launcher.get_or_insert_with(|| {
                        Launcher::new(job.priority(), limit::has_limit(job.header()))
                    });
                    MutexGuard::unlocked(inner, || {
                        warn_of_a_blocked_runtime();
                        self.wait_for_room(job, launcher, may_start);
                    });
                }
            }
        }
    }

    /// Blocks the launch until there may be room in the queue, or its task has ended.
    fn wait_for_room(&self, job: &Job, launcher: Launcher, may_start: bool) {
        let task = job.header();
        park::block_on(None, |context| {
            // The task first: its end must wake this thread as well.
            let ended = !task.watch(launcher.key(), context.waker());
            self.poll_launcher(launcher, context.waker(), |inner| {
                let full = inner.open
                    && !inner.is_stale(job)
                    && inner.overflow(&**job.task(), may_start) == Some(Overflow::Block);
                (ended || !full).then_some(())
            })
        });
        task.unwatch(launcher.key());
    }

    /// Returns what `find` returns under the lock. If that is nothing, the launch waits in the
    /// waiting room.
    fn poll_launcher<T>(
        &self,
        launcher: Launcher,
        waker: &Waker,
        find: impl FnOnce(&mut Scheduler<Peer>) -> Option<T>,
    ) -> Poll<T> {
        // Cloned, and dropped, without the lock.
        let waker = waker.clone();
        let mut inner = self.inner.lock();
        let found = find(&mut inner);
        let (old, spare) = match found {
            Some(_) => (inner.room.leave(launcher), Some(waker)),
            None => (inner.room.enter(launcher, waker), None),
        };
        drop(inner);
        waiters::drop_waker(old);
        waiters::drop_waker(spare);
        found.map_or(Poll::Pending, Poll::Ready)
    }

    /// Reassigns the calls that a worker has not begun, if the system reports that it is stopped.
    pub(crate) fn check_stopped(&self, worker: &Arc<Peer>) {
        if !worker.is_stopped() {
            return;
        }
        let taken = self.with_lanes(|inner, now, actions| inner.on_stopped(worker, now, actions));
        if taken > 0 {
            log!(
                warn, supervisor = %self.id, worker = worker.pid, tasks = taken,
                "a worker process is stopped: the tasks that it has not begun are reassigned"
            );
        }
    }
}

impl Place for ProcessPool {
    fn start(&self, job: Job, when_full: WhenFull) {
        if let Some(what) = spawn::unavailable_reason() {
            return job.end(TaskError::not_started(what));
        }
        let priority = job.priority();
        // Without the pool's lock: while the injector is open to this priority, the job could only
        // wait.
        let Some(job) = self.injector.try_push(priority, job) else {
            return;
        };
        // The launch has read the clock just now. (One that waits for room is a little older.)
        let now = job.header().queued();
        let mut actions = Actions::default();
        let mut inner = self.inner.lock();
        if let Some(error) = inner.permanent_start_error() {
            // Ending a task runs code of the user.
            drop(inner);
            return job.end(error);
        }
        match self.admit(&mut inner, &job, when_full, true) {
            Ok(()) => inner.submit(priority, job, now, &mut actions),
            Err(Some(error)) => actions.reject(job, error),
            Err(None) => actions.discard(job),
        }
        self.after_event(&mut inner, now, &mut actions);
        drop(inner);
        actions.perform(self);
    }

    fn revoke(&self, task: &dyn AnyTask, include: Include) -> bool {
        let job =
            match self.with(|inner, now, actions| inner.on_revoke(task, include, now, actions)) {
                Revocation::Denied => return false,
                Revocation::NotHere => None,
                Revocation::Revoked(job) => Some(job),
            };
        // The caller ends the task.
        drop(job.map(Job::into_task));
        true
    }

    fn reserve(
        &self,
        job: &Job,
        when_full: WhenFull,
        has_room: bool,
    ) -> Result<Reserved, Option<TaskError>> {
        if let Some(what) = spawn::unavailable_reason() {
            return Err(Some(TaskError::not_started(what)));
        }
        let (now, mut actions) = (clock::now(), Actions::default());
        let mut inner = self.inner.lock();
        // Behind the jobs that were launched before.
        inner.drain_injector(&mut actions);
        let reserved = match inner.permanent_start_error() {
            Some(error) => Err(Some(error)),
            None => self.admit(&mut inner, job, when_full, has_room).map(|()| inner.reserve(job)),
        };
        self.after_event(&mut inner, now, &mut actions);
        drop(inner);
        actions.perform(self);
        reserved
    }

    fn unreserve(&self, priority: Priority, reserved: Reserved) {
        self.with_lanes(|inner, _, actions| inner.unreserve(priority, reserved, actions));
    }

    fn enqueue_parked(&self, parked: Parked) {
        self.with(|inner, now, actions| inner.enqueue_parked(parked, now, actions));
    }

    fn waits_for(&self, task: &dyn AnyTask) -> Cow<'static, str> {
        self.with(|inner, _, _| inner.waits_for(task))
    }

    fn stop_requested(&self, task: &dyn AnyTask) {
        let inner = self.inner.lock();
        if let Location::Lane { lane, call } = inner.location(task)
            && let Some(worker) = inner.worker_of(lane, call)
        {
            // Not under the lock, because it writes to a socket.
            drop(inner);
            worker.post_stop(call);
        }
    }

    fn flush_messages(&self, task: &dyn AnyTask) {
        let inner = self.inner.lock();
        if let Location::Lane { lane, call } = inner.location(task)
            && let Some(worker) = inner.worker_of(lane, call)
        {
            // Under the lock, so that messages stay in order, and the call is not revoked
            // meanwhile.
            worker.post_messages(call, task);
            drop(inner);
            worker.flush_or_wake_reader();
        }
    }

    fn message_received(&self, task: &dyn AnyTask) {
        let outbox = task.header().channels().and_then(|channels| channels.outbox_bytes());
        let Some(count) = outbox.and_then(|outbox| outbox.take_acks()) else {
            return;
        };
        let inner = self.inner.lock();
        if let Location::Lane { lane, call } = inner.location(task)
            && let Some(worker) = inner.worker_of(lane, call)
        {
            // Not under the lock, because it writes to a socket.
            drop(inner);
            worker.post_ack(call, count as u64);
        }
    }

    fn kill(&self, task: &TaskArc) -> Result<(), KillError> {
        task.header().state.set_kill_requested();
        self.with(|inner, now, actions| inner.on_kill(&**task, now, actions));
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
        record_begun(task, begun);
        let extras = task.header().extras_or_new();
        extras.worker_pid.store(worker.pid, Ordering::Relaxed);
        record_progress(task, worker.page.progress(call));
    }

    fn poll_room(
        &self,
        task: &dyn AnyTask,
        launcher: Launcher,
        context: &mut Context<'_>,
    ) -> Poll<Room> {
        let may_start = limit::may_start(task.header());
        self.poll_launcher(launcher, context.waker(), |inner| {
            let config = &inner.config;
            let is_limited = config.queue_limit.is_some() || config.queue_bytes.is_some();
            if !is_limited || !inner.open || inner.permanent_start_error().is_some() {
                return Some(Room::ByRule);
            }
            match inner.overflow(task, may_start) {
                Some(Overflow::Block) => None,
                Some(Overflow::Reject) => Some(Room::ByRule),
                None => {
                    let bytes = bytes_of_task(task) as u64;
                    inner.reserved += 1;
                    inner.reserved_bytes += bytes;
                    Some(Room::Reserved { bytes })
                }
            }
        })
    }

    fn leave_room(&self, launcher: Launcher) {
        let (waker, actions) = self.lanes_and_actions(|inner, _, actions| {
            let waker = inner.room.leave(launcher);
            // If the launch was woken, the room is another one's.
            inner.wake_launchers(actions);
            waker
        });
        waiters::drop_waker(waker);
        actions.perform(self);
    }

    fn end_reservation(&self, bytes: u64) {
        self.with_lanes(|inner, _, actions| {
            inner.reserved -= 1;
            inner.reserved_bytes -= bytes;
            inner.wake_launchers(actions);
        });
    }

    fn wake_launchers(&self) {
        let launchers = self.inner.lock().room.take_all();
        waiters::wake_all(launchers);
    }

    fn waits_for_slot(&self, task: &dyn AnyTask) -> bool {
        self.with(|inner, _, _| !inner.has_slot(task))
    }

    fn take_back(&self, task: &dyn AnyTask) -> Option<Range<u32>> {
        let mut inner = self.inner.lock();
        let (lane, call) = inner.lane_of(task)?;
        // Under the lock: see `transport::journal`.
        inner.lanes[lane].worker()?.page.journal.take_back(call)
    }

    fn try_complete(&self, task: &dyn AnyTask) -> bool {
        spin::has_other_cpus() && self.spin_until_done(task)
    }

    fn open(&self) {
        if in_worker() {
            return;
        }
        // The reason may be gone by the next launch, because a static constructor can start the
        // supervisor before the hook has run.
        let unavailable = spawn::unavailable_reason();
        self.template.open();
        self.with(|inner, now, actions| inner.open(unavailable.is_none(), now, actions));
    }

    /// Ends all worker processes, and blocks until they have ended. They exit gracefully, as far as
    /// they do so within [`SHUTDOWN_GRACE`] and until the deadline, and are killed otherwise.
    fn close(&self, closing: &Closing<'_>) {
        self.with_lanes(|inner, now, actions| inner.close(now, actions));
        self.template.close();

        let now = Instant::now();
        // Idle worker processes are requested to exit only now, so they get a short time even at
        // the deadline.
        let last = closing.deadline.map_or(now + SHUTDOWN_GRACE, |at| {
            at.clamp(now + DEADLINE_GRACE, now + SHUTDOWN_GRACE)
        });
        let mut inner = self.inner.lock();
        while inner.is_busy() {
            if self.ended.wait_until(&mut inner, last).timed_out() {
                let left: Vec<_> = inner.lanes.iter().filter_map(Lane::worker).cloned().collect();
                MutexGuard::unlocked(&mut inner, || {
                    left.iter().for_each(|worker| worker.kill_deliberately())
                });
                let last = Instant::now() + SHUTDOWN_GRACE;
                while inner.lanes.iter().any(|lane| lane.worker().is_some())
                    && !self.ended.wait_until(&mut inner, last).timed_out()
                {}
                break;
            }
        }
        drop(inner);
        self.template.wait_until_gone(last);
    }
}

/// Records in a task's header that it has begun.
pub(crate) fn record_begun(task: &dyn AnyTask, begun: u64) {
    let header = task.header();
    if header.state.read().phase() == Phase::Queued {
        // Fails if the task ends at this moment, which is fine.
        let _ = header.begin_at(begun);
    }
}

/// Records the progress that a task has reported.
pub(crate) fn record_progress(task: &dyn AnyTask, reported: Option<(u64, u64)>) {
    if let Some((done, total)) = reported {
        let mut progress = task.header().extras_or_new().progress.lock();
        let progress = progress.get_or_insert_default();
        (progress.done, progress.total) = (done, total);
    }
}
