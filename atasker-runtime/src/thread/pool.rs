//! The state of the thread pool, its rules, and its implementation of `Place`.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::Duration;

use crate::sync::lock::{Mutex, MutexGuard};
use crate::task::control::Include;
use crossbeam_utils::CachePadded;

use super::injector::{self, AfterPush, Injector};
use super::parker::Parker;
use super::run::{self, Spawned};
use crate::backlog::{Backlog, Limits, Ticket};
use crate::error::{KillError, TaskError, with_advice};
use crate::id::TaskId;
use crate::info::{ThreadPoolInfo, Waiting};
use crate::job::Job;
use crate::options::{Overflow, PoolConfig};
use crate::place::{Closing, Place, WhenFull, warn_of_a_blocked_runtime};
use crate::priority::Priority;
use crate::sync::spin;
use crate::task::scheduler::SchedulerKey;
use crate::task::state::Phase;
use crate::task::waiters::{self, WaiterKey, Waiters};
use crate::task::{AnyTask, park};
use crate::time::clock::{self, Stamp};
use crate::time::timer;
use crate::unwind::{guarded, log};

/// The signal that unparks an idle thread.
pub(super) enum Signal {
    /// There may be work: check the backlog.
    Work,
    /// Exit: the pool is closed, or has enough threads. The thread is no longer counted.
    Exit,
}

/// What a thread did before its next job.
#[derive(Clone, Copy)]
pub(super) enum After {
    /// It ended another task just now, at this time.
    Run(Stamp),
    /// Something else: it was idle, has just been spawned, or its last run has not ended the task.
    Other,
}

/// The threads of a supervisor.
pub(crate) struct ThreadPool {
    pub(super) shared: Arc<Shared>,
}

/// The state that threads and launches share.
pub(super) struct Shared {
    /// The id of the supervisor, for the names of threads.
    name: String,
    pub(super) scheduler: SchedulerKey,
    pub(super) injector: Injector,
    pub(super) state: CachePadded<Mutex<PoolState>>,
    /// Whether a thread spins. At most one does, so that spinning takes no more than one CPU from
    /// other work.
    pub(super) spinning: CachePadded<AtomicBool>,
}

/// The state under the lock. `repr(C)` keeps the fields that every run uses next to the lock,
/// because their cache lines move from thread to thread.
#[repr(C)]
pub(super) struct PoolState {
    open: bool,
    /// A thread was unparked or spawned, and has not reached the backlog yet.
    waking: bool,
    /// The current gate of the injector.
    gate: u8,
    /// The number of jobs in `admitted`.
    admitted_count: usize,
    pub(super) tasks_run: u64,
    /// Launches that wait for space in the queue.
    space_waiters: Waiters,
    pub(super) backlog: Backlog<Job>,
    /// Jobs that have a slot and no thread yet, by priority.
    admitted: [VecDeque<Job>; 4],
    /// A stack: the thread that became idle last is woken first, because its caches are warm, and
    /// because unneeded threads can then reach their idle timeout.
    idle: Vec<Arc<Parker<Signal>>>,
    threads: usize,
    blocked: usize,
    config: PoolConfig,
    thread_number: u64,
    /// Tasks that have exceeded their time limits and still run.
    pub(super) overdue: Vec<TaskId>,
    /// Set after a thread could not be spawned, until the timer allows the next attempt.
    spawn_backoff: Option<Duration>,
    last_backoff: Option<Duration>,
}

/// The thread to wake after the lock is released.
#[must_use]
enum Wake {
    /// No thread: no job may start, or a thread is waking already.
    None,
    Unpark(Arc<Parker<Signal>>),
    Spawn(NewThread),
}

/// A thread to spawn.
struct NewThread {
    number: u64,
    stack: Option<usize>,
}

impl ThreadPool {
    pub(crate) fn new(supervisor_id: &str, scheduler: SchedulerKey, config: PoolConfig) -> Self {
        ThreadPool {
            shared: Arc::new(Shared {
                name: supervisor_id.to_owned(),
                scheduler,
                spinning: CachePadded::new(AtomicBool::new(false)),
                injector: Injector::new(),
                state: CachePadded::new(Mutex::new(PoolState {
                    backlog: Backlog::new(limits(&config)),
                    admitted: Default::default(),
                    admitted_count: 0,
                    config,
                    idle: Vec::new(),
                    threads: 0,
                    waking: false,
                    blocked: 0,
                    open: true,
                    thread_number: 0,
                    tasks_run: 0,
                    overdue: Vec::new(),
                    space_waiters: Waiters::NONE,
                    spawn_backoff: None,
                    last_backoff: None,
                    gate: u8::MAX,
                })),
            }),
        }
    }

    /// Returns the present sizes and rules.
    pub(crate) fn config(&self) -> PoolConfig {
        self.shared.state.lock().config.clone()
    }

    /// Applies new sizes and rules. Running tasks keep their slots. `active`: whether the supervisor
    /// is started, so that the threads of `min_size` are spawned now.
    pub(crate) fn set_config(&self, config: PoolConfig, active: bool) {
        let mut state = self.shared.state.lock();
        state.backlog.set_limits(limits(&config));
        state.config = config;
        let waiters = std::mem::take(&mut state.space_waiters);
        // Wakers are user code: called after `dispatch` has released the lock.
        self.shared.dispatch(state);
        waiters.wake();
        // Idle threads apply the new idle timeout.
        let idle = std::mem::take(&mut self.shared.state.lock().idle);
        for parker in idle {
            parker.unpark(Signal::Work);
        }
        if active {
            self.open();
        }
    }

    pub(crate) fn info(&self) -> ThreadPoolInfo {
        let state = self.shared.state.lock();
        let injector = &self.shared.injector;
        let of = |priority| state.backlog.waiting_of(priority) + injector.len(priority);
        ThreadPoolInfo {
            pool_size: state.config.pool_size,
            reserve_normal: state.config.reserve_normal,
            reserve_high: state.config.reserve_high,
            running: state.backlog.held(),
            running_critical: state.backlog.critical(),
            waiting: Waiting {
                low: of(Priority::Low),
                normal: of(Priority::Normal),
                high: of(Priority::High),
                critical: of(Priority::Critical),
            },
            threads: state.threads,
            idle: state.idle.len(),
            blocked: state.blocked,
            overstayed: state.overdue.clone(),
            tasks_run: state.tasks_run,
        }
    }

    /// Returns whether the current thread belongs to this pool.
    pub(crate) fn is_own_thread(&self) -> bool {
        run::is_thread_of(&self.shared)
    }

    /// Returns whether the pool accepts jobs.
    pub(crate) fn is_open(&self) -> bool {
        self.shared.state.lock().open
    }
}

fn limits(config: &PoolConfig) -> Limits {
    Limits {
        pool_size: config.pool_size,
        reserve_normal: config.reserve_normal,
        reserve_high: config.reserve_high,
        max_size: config.max_size,
        critical_extra: None,
    }
}

impl PoolState {
    /// Gives a slot to every job that may have one. From here on, `stop` treats the task as one
    /// that runs.
    fn admit(&mut self, injector: &Injector) {
        loop {
            self.admit_once(injector);
            let opens = self.set_gate(injector);
            if !opens {
                return;
            }
            // A launch may have pushed a job and seen the gate still closed, so check the injector
            // once more.
        }
    }

    /// Updates the gate. Returns true if that opens it for any priority.
    fn set_gate(&mut self, injector: &Injector) -> bool {
        let gate = self.compute_gate();
        let opens = gate & !self.gate != 0;
        if gate != self.gate {
            self.gate = gate;
            injector.set_gate(gate);
        }
        opens
    }

    fn admit_once(&mut self, injector: &Injector) {
        loop {
            self.refill(injector);
            match self.backlog.next() {
                Some((priority, job)) => {
                    self.admitted[priority.index()].push_back(job);
                    self.admitted_count += 1;
                }
                None => return,
            }
        }
    }

    /// Ensures that the backlog contains the job that is next in order. The injector is the tail of
    /// the backlog: within a priority, its jobs come later.
    fn refill(&mut self, injector: &Injector) {
        /// A few jobs at a time, so that a long queue doesn't keep the lock for long.
        const BATCH: usize = 32;
        let first = self.backlog.first_priority();
        let urgent = Priority::ALL.into_iter().take_while(|p| first.is_none_or(|first| *p > first));
        for priority in urgent {
            if self.drain_injector(injector, priority, BATCH) > 0 {
                return;
            }
        }
    }

    /// Moves up to `max` jobs of one priority from the injector to the backlog. Returns their
    /// number.
    fn drain_injector(&mut self, injector: &Injector, priority: Priority, max: usize) -> usize {
        if injector.is_empty(priority) {
            return 0;
        }
        let mut count = 0;
        while count < max
            && let Some(job) = injector.pop(priority)
        {
            let tag = tag_of(self.backlog.next_ticket(priority));
            // Relaxed: the pool reads and writes tags of waiting jobs under its lock only.
            job.header().place_tag.store(tag, Ordering::Relaxed);
            self.backlog.push(priority, job);
            count += 1;
        }
        count
    }

    /// Returns the gate for the current state: the priorities whose launches must dispatch.
    fn compute_gate(&self) -> u8 {
        let mut gate = 0;
        if !self.open || self.config.queue_limit.is_some() {
            gate |= injector::LOCK_FIRST;
        }
        for priority in Priority::ALL {
            if self.backlog.may_start(priority) {
                gate |= injector::bit(priority);
            }
        }
        gate
    }

    /// Returns the job that takes over the slot that was just released. This is the fast path for
    /// the usual case, in which no job waits for a thread and no launch waits for space. The number
    /// of taken slots stays the same, so the gate needs no update.
    fn hand_off_slot(&mut self, injector: &Injector) -> Option<Job> {
        if self.admitted_count > 0 || !self.space_waiters.is_empty() {
            return None;
        }
        self.refill(injector);
        Some(self.backlog.next()?.1)
    }

    /// Removes the most urgent job that has a slot and no thread.
    fn pop_admitted(&mut self) -> Option<Job> {
        if self.admitted_count == 0 {
            return None;
        }
        self.admitted_count -= 1;
        self.admitted.iter_mut().rev().find_map(VecDeque::pop_front)
    }

    /// Removes the job of a task that has a slot and no thread, and releases the slot.
    fn remove_admitted(&mut self, task: &dyn AnyTask) -> Option<Job> {
        let header = task.header();
        let jobs = &mut self.admitted[header.priority.index()];
        let at = jobs.iter().position(|job| job.header().id == header.id)?;
        let job = jobs.remove(at)?;
        self.admitted_count -= 1;
        self.backlog.release(header.priority);
        Some(job)
    }

    /// Selects a thread to wake, if a job has a slot and no thread is waking. One at a time is
    /// enough: the woken thread wakes the next one, and threads that complete a job check for more
    /// by themselves. A burst of short tasks therefore costs few wake-ups.
    fn plan_wake(&mut self, injector: &Injector) -> Wake {
        self.admit(injector);
        if self.waking || self.admitted_count == 0 {
            return Wake::None;
        }
        if let Some(parker) = self.idle.pop() {
            self.waking = true;
            return Wake::Unpark(parker);
        }
        if self.spawn_backoff.is_some() {
            return Wake::None;
        }
        self.waking = true;
        Wake::Spawn(self.new_thread())
    }

    /// Removes all jobs that no thread has taken.
    fn drain_all(&mut self, injector: &Injector) -> Vec<Job> {
        let mut all = Vec::new();
        for priority in Priority::ALL {
            self.drain_injector(injector, priority, usize::MAX);
        }
        while let Some(job) = self.pop_admitted() {
            self.backlog.release(job.priority());
            all.push(job);
        }
        all.extend(self.backlog.drain());
        all
    }

    fn new_thread(&mut self) -> NewThread {
        self.threads += 1;
        self.thread_number += 1;
        NewThread { number: self.thread_number, stack: self.config.stack_size }
    }

    /// Returns whether the queue is full for one more job of this priority. A job that may start
    /// needs no space in the queue, and it can't overtake another one, because no job waits that
    /// could have a slot.
    fn is_full(&self, injector: &Injector, priority: Priority) -> bool {
        let waiting = || {
            let injected = Priority::ALL.into_iter().map(|priority| injector.len(priority));
            self.backlog.waiting() + injected.sum::<usize>()
        };
        self.config.queue_limit.is_some_and(|(limit, _)| waiting() >= limit)
            && !self.backlog.may_start(priority)
    }
}

impl Shared {
    /// Wakes a thread if a job may start, and releases the lock. Returns false if the system can't
    /// create threads.
    fn dispatch(self: &Arc<Self>, mut state: MutexGuard<'_, PoolState>) -> bool {
        if !state.open {
            self.reject_late(&mut state);
        }
        let wake = state.plan_wake(&self.injector);
        let can_spawn = state.spawn_backoff.is_none();
        drop(state);
        match wake {
            Wake::None => can_spawn,
            Wake::Unpark(parker) => {
                parker.unpark(Signal::Work);
                true
            }
            Wake::Spawn(thread) => {
                let shared = Arc::clone(self);
                match self.spawn(&thread, move || run::thread(&shared, Spawned::ForJob)) {
                    Ok(()) => true,
                    Err(error) => {
                        self.spawn_failed(&error);
                        false
                    }
                }
            }
        }
    }

    /// Ends the jobs that arrived after the pool was closed. Internal jobs, which run callbacks,
    /// don't belong to a supervisor and still run.
    fn reject_late(&self, state: &mut MutexGuard<'_, PoolState>) {
        // The gate first: a launch that pushes after the drain below then sees it and dispatches.
        state.set_gate(&self.injector);
        let (late, internal): (Vec<Job>, Vec<Job>) = state
            .drain_all(&self.injector)
            .into_iter()
            .partition(|job| job.header().scheduler.is_some());
        for job in internal {
            state.backlog.push(job.priority(), job);
        }
        if !late.is_empty() {
            // Without the lock, because dropping a job ends its task (with `SupervisorStopped`),
            // which may run user code.
            MutexGuard::unlocked(state, || drop(late));
        }
    }

    fn spawn(
        &self,
        thread: &NewThread,
        run: impl FnOnce() + Send + 'static,
    ) -> std::io::Result<()> {
        let name = format!("supervisor_{}_pool_{}", self.name, thread.number);
        let mut builder = std::thread::Builder::new().name(name);
        if let Some(bytes) = thread.stack {
            builder = builder.stack_size(bytes);
        }
        builder.spawn(run).map(drop)
    }

    /// Schedules another attempt to spawn a thread. If neither a thread nor the timer is left to
    /// make it, the waiting tasks end with an error.
    fn spawn_failed(self: &Arc<Self>, error: &std::io::Error) {
        const MIN_BACKOFF: Duration = Duration::from_millis(20);
        const MAX_BACKOFF: Duration = Duration::from_secs(1);
        // `log!` catches panics of the subscriber, so the code below always runs.
        log!(
            error, supervisor = %self.name, %error,
            "failed to spawn a pool thread: tasks wait until the system can create one"
        );
        let backoff = {
            let mut state = self.state.lock();
            state.threads -= 1;
            state.waking = false;
            let backoff =
                state.last_backoff.map_or(MIN_BACKOFF, |last| (last * 2).min(MAX_BACKOFF));
            state.last_backoff = Some(backoff);
            state.spawn_backoff = Some(backoff);
            backoff
        };
        let weak = Arc::downgrade(self);
        timer::at(clock::after(backoff), move || {
            if let Some(shared) = weak.upgrade() {
                let mut state = shared.state.lock();
                state.spawn_backoff = None;
                if shared.dispatch(state) {
                    shared.state.lock().last_backoff = None;
                }
            }
        });
        if timer::is_running() {
            return;
        }
        // The thread of the timer could not be spawned either: let the next launch try at once.
        let mut state = self.state.lock();
        state.spawn_backoff = None;
        if state.threads == 0 {
            // The slots of these jobs become free, so launches must dispatch from here on.
            state.gate = u8::MAX;
            self.injector.set_gate(state.gate);
            let unstarted = state.drain_all(&self.injector);
            let waiters = std::mem::take(&mut state.space_waiters);
            drop(state);
            waiters.wake();
            for job in unstarted {
                let detail = format!("the system can't create a thread: {}", with_advice(error));
                guarded(|| job.end(TaskError::not_started(detail)));
            }
        }
    }

    /// Returns the first job of a woken thread, or `None` if the thread must exit. Wakes another
    /// thread if more jobs may start.
    pub(super) fn job_after_wake(self: &Arc<Self>, parker: &Arc<Parker<Signal>>) -> Option<Job> {
        // A loop instead of recursion, because another thread may take the job first, any number of
        // times.
        loop {
            let mut state = self.state.lock();
            state.waking = false;
            if let Some(job) = state.pop_admitted() {
                let waiters = std::mem::take(&mut state.space_waiters);
                self.dispatch(state);
                waiters.wake();
                return Some(job);
            }
            if let Signal::Exit = self.park_idle(state, parker) {
                return None;
            }
        }
    }

    /// Waits as an idle thread. Returns the next job, or `None` if the thread must exit.
    fn idle(
        self: &Arc<Self>,
        state: MutexGuard<'_, PoolState>,
        parker: &Arc<Parker<Signal>>,
    ) -> Option<Job> {
        match self.park_idle(state, parker) {
            Signal::Work => self.job_after_wake(parker),
            Signal::Exit => None,
        }
    }

    /// Releases the slot of a completed run. Returns the next job of this thread, or `None` if the
    /// thread must exit. `after` is about the completed run, and is returned if the next job
    /// follows at once.
    pub(super) fn next_job(
        self: &Arc<Self>,
        parker: &Arc<Parker<Signal>>,
        done: Priority,
        after: After,
    ) -> (Option<Job>, After) {
        let mut state = self.state.lock();
        state.backlog.release(done);
        state.tasks_run += 1;
        if let Some(job) = state.hand_off_slot(&self.injector) {
            return (Some(job), after);
        }
        state.admit(&self.injector);
        // A launch that waits for space may have become able to start at once.
        let mut waiters = std::mem::take(&mut state.space_waiters);
        loop {
            match state.pop_admitted() {
                Some(job) => {
                    // One slot was released and one job starts. All other admitted jobs were
                    // admitted before, so a thread is waking for them.
                    drop(state);
                    waiters.wake();
                    return (Some(job), after);
                }
                None if waiters.is_empty() => return (self.idle(state, parker), After::Other),
                // Wakers are user code, so they are called without the lock. Jobs that arrive
                // meanwhile are found by the next iteration.
                None => {
                    let waiters = std::mem::take(&mut waiters);
                    MutexGuard::unlocked(&mut state, || waiters.wake());
                }
            }
        }
    }

    /// Adds the thread to the list of idle threads and waits for a signal.
    fn park_idle(
        &self,
        mut state: MutexGuard<'_, PoolState>,
        parker: &Arc<Parker<Signal>>,
    ) -> Signal {
        if !state.open {
            state.threads -= 1;
            return Signal::Exit;
        }
        let idle_timeout = state.config.idle_timeout;
        // The thread that spins stays on top of the stack, so that it is woken first. Relaxed: the
        // flag guards no other data.
        let other_spins = self.spinning.swap(true, Ordering::Relaxed);
        let at = if other_spins { state.idle.len().saturating_sub(1) } else { state.idle.len() };
        state.idle.insert(at, Arc::clone(parker));
        drop(state);
        let signal = if other_spins {
            None
        } else {
            let notified = spin::until(|| parker.is_notified());
            self.spinning.store(false, Ordering::Relaxed);
            if notified { parker.try_take() } else { None }
        };
        let signal = signal.or_else(|| parker.park(Some(clock::after(idle_timeout))));
        signal.unwrap_or_else(|| self.retire_or_park(parker))
    }

    /// Retires a thread whose idle timeout has ended, unless it is one of `min_size`, or is being
    /// unparked.
    fn retire_or_park(&self, parker: &Arc<Parker<Signal>>) -> Signal {
        let mut state = self.state.lock();
        let at = state.idle.iter().position(|other| Arc::ptr_eq(other, parker));
        if let Some(at) = at
            && state.threads > state.config.min_size
        {
            state.idle.remove(at);
            state.threads -= 1;
            return Signal::Exit;
        }
        drop(state);
        // The thread is one of `min_size` and remains in the list, or another thread has removed its
        // parker from the list and is about to unpark it.
        parker.park(None).expect("without a deadline, `park` returns a signal")
    }

    /// Waits as an idle thread that was spawned eagerly.
    pub(super) fn start_idle(self: &Arc<Self>, parker: &Arc<Parker<Signal>>) -> Option<Job> {
        let state = self.state.lock();
        self.idle(state, parker)
    }

    /// Releases the slot of a task that blocks. Returns false if the system can't create a thread
    /// for another task.
    pub(super) fn release_slot(self: &Arc<Self>, priority: Priority) -> bool {
        let mut state = self.state.lock();
        state.backlog.release(priority);
        state.blocked += 1;
        let waiters = std::mem::take(&mut state.space_waiters);
        let can_spawn = self.dispatch(state);
        waiters.wake();
        can_spawn
    }

    /// Takes a slot for a task that continues after a wait, even if none is free. Waiting for a free
    /// slot could deadlock, because the task may hold locks that the tasks in the slots need.
    pub(super) fn reacquire_slot(&self, priority: Priority) {
        let mut state = self.state.lock();
        state.backlog.acquire(priority);
        state.blocked -= 1;
        state.admit(&self.injector);
    }
}

/// The tag of a task that is not in the pool.
pub(super) const NOT_IN_POOL: u64 = 0;

/// Returns the tag for a ticket. Tickets are small numbers, so no tag is equal to [`NOT_IN_POOL`].
fn tag_of(Ticket(ticket): Ticket) -> u64 {
    (ticket ^ i64::MIN) as u64
}

fn ticket_of(tag: u64) -> Option<Ticket> {
    (tag != NOT_IN_POOL).then_some(Ticket(tag as i64 ^ i64::MIN))
}

impl Place for ThreadPool {
    fn start(&self, job: Job, when_full: WhenFull) {
        let shared = &self.shared;
        if shared.injector.must_lock() {
            return shared.start_locked(job, when_full);
        }
        match shared.injector.push(job) {
            AfterPush::Return => {}
            AfterPush::Dispatch => {
                shared.dispatch(shared.state.lock());
            }
        }
    }

    fn revoke(&self, task: &dyn AnyTask, include: Include) -> bool {
        let (shared, header) = (&self.shared, task.header());
        let mut state = shared.state.lock();
        if header.place_tag.load(Ordering::Relaxed) == NOT_IN_POOL {
            // The job may be in the injector, from which it can't be removed: move it to the
            // backlog.
            state.drain_injector(&shared.injector, header.priority, usize::MAX);
        }
        let Some(ticket) = ticket_of(header.place_tag.load(Ordering::Relaxed)) else {
            // The launch waits for space, or has not pushed the job yet, so there is nothing to
            // remove. If the task begins after all, the caller sees that in its state.
            return true;
        };
        let mut job = state.backlog.remove(header.priority, ticket);
        if job.is_none() && include == Include::Admitted {
            job = state.remove_admitted(task);
        }
        let Some(job) = job else { return false };
        let waiters = std::mem::take(&mut state.space_waiters);
        // Another job may take the slot, if the job had one.
        shared.dispatch(state);
        waiters.wake();
        // Not dropped as a job, which would end the task: the caller does that.
        drop(job.into_task());
        true
    }

    fn kill(&self, _task: &Arc<dyn AnyTask>) -> Result<(), KillError> {
        Err(KillError::Unsupported)
    }

    fn run_inline(&self, task: &Arc<dyn AnyTask>) -> bool {
        let queued = task.header().state.read().phase() == Phase::Queued;
        let removed = queued && self.is_own_thread() && self.revoke(&**task, Include::Admitted);
        if removed {
            run::execute(Job::new(Arc::clone(task)), &self.shared, After::Other);
        }
        removed
    }

    fn open(&self) {
        let mut state = self.shared.state.lock();
        state.open = true;
        while state.threads < state.config.min_size {
            let thread = state.new_thread();
            // Without the lock, because a system call for each thread would block launches.
            let spawned = MutexGuard::unlocked(&mut state, || {
                let shared = Arc::clone(&self.shared);
                self.shared.spawn(&thread, move || run::thread(&shared, Spawned::Eagerly))
            });
            if let Err(error) = spawned {
                state.threads -= 1;
                drop(state);
                log!(error, %error, "failed to spawn an idle pool thread");
                return;
            }
        }
    }

    fn close(&self, _closing: &Closing<'_>) {
        let mut state = self.shared.state.lock();
        state.open = false;
        let waiters = std::mem::take(&mut state.space_waiters);
        let idle = std::mem::take(&mut state.idle);
        state.threads -= idle.len();
        self.shared.dispatch(state);
        waiters.wake();
        for parker in idle {
            parker.unpark(Signal::Exit);
        }
    }
}

impl Shared {
    /// Launches a job when the queue has a limit or the pool is closed.
    fn start_locked(self: &Arc<Self>, job: Job, when_full: WhenFull) {
        let priority = job.priority();
        let mut state = self.state.lock();
        while state.open && state.is_full(&self.injector, priority) {
            match state.config.queue_limit {
                Some((_, Overflow::Reject)) if when_full != WhenFull::Pass => {
                    drop(state);
                    return job.end(TaskError::QueueFull);
                }
                Some((_, Overflow::Block)) if when_full.may_wait() => {
                    drop(state);
                    warn_of_a_blocked_runtime();
                    self.wait_for_space(&job);
                    if job.header().state.read().phase() != Phase::Queued {
                        // The task was canceled while the launch waited.
                        return drop(job.into_task());
                    }
                    // All waiters are woken, and only one of them may find space: check again.
                    state = self.state.lock();
                }
                _ => break,
            }
        }
        if !state.open {
            drop(state);
            return job.end(TaskError::SupervisorStopped);
        }
        // Under the lock, so that the limit is exact. Through the injector, to keep the order of
        // launches.
        let _ = self.injector.push(job);
        self.dispatch(state);
    }

    /// Blocks the launch until the queue may have space, or its task has ended.
    fn wait_for_space(&self, job: &Job) {
        let (key, task) = (WaiterKey::next(), job.header());
        park::block_on(None, |context| {
            // The task first: its end must wake this thread as well.
            let ended = !task.watch(key, context.waker());
            let waker = context.waker().clone();
            let mut state = self.state.lock();
            let ready = ended || !state.open || !state.is_full(&self.injector, job.priority());
            let (old, spare) = match ready {
                true => (state.space_waiters.remove(key), Some(waker)),
                false => (state.space_waiters.add(key, waker), None),
            };
            drop(state);
            waiters::drop_waker(old);
            waiters::drop_waker(spare);
            if ready { Poll::Ready(()) } else { Poll::Pending }
        });
        task.unwatch(key);
    }
}
