//! The thread pool: its threads are spawned, woken, blocked and resized here.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crossbeam_utils::CachePadded;

use super::injector::Injector;
use super::parker::Parker;
use super::run::{self, Spawned};
use super::state::{NewThread, PoolState, Wake, limits};
#[cfg(feature = "remote")]
use crate::backlog::Limits;
use crate::error::{TaskError, with_advice};
use crate::info::{ThreadPoolInfo, Waiting};
use crate::job::Job;
use crate::options::PoolConfig;
use crate::place::Place;
use crate::priority::Priority;
use crate::sync::lock::{Mutex, MutexGuard};
use crate::sync::spin::{self, Yields};
use crate::task::deadlines::Deadlines;
use crate::task::scheduler::SchedulerKey;
use crate::task::waiters;
use crate::time::backoff::backoff;
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
    /// The time limits of the runs on its threads.
    pub(super) deadlines: Arc<Deadlines>,
    pub(super) state: CachePadded<Mutex<PoolState>>,
    /// The number of running jobs that are no tasks: callbacks and alarms.
    internal_running: AtomicUsize,
    /// Whether a thread spins. At most one does, so that spinning takes no more than one CPU from
    /// other work.
    pub(super) spinning: CachePadded<AtomicBool>,
}

impl ThreadPool {
    pub(crate) fn new(supervisor_id: &str, scheduler: SchedulerKey, config: PoolConfig) -> Self {
        ThreadPool {
            shared: Arc::new(Shared {
                name: supervisor_id.to_owned(),
                scheduler,
                internal_running: AtomicUsize::new(0),
                spinning: CachePadded::new(AtomicBool::new(false)),
                injector: Injector::new(),
                deadlines: Deadlines::new(scheduler),
                state: CachePadded::new(Mutex::new(PoolState::new(config))),
            }),
        }
    }

    /// Returns the present sizes and rules.
    pub(crate) fn config(&self) -> PoolConfig {
        self.shared.state.lock().config.clone()
    }

    /// Returns the limits by which tasks are admitted.
    #[cfg(feature = "remote")]
    pub(crate) fn limits(&self) -> Limits {
        limits(&self.shared.state.lock().config)
    }

    /// Returns the number of slots that tasks of this priority may hold at once.
    pub(crate) fn slots_of(&self, priority: Priority) -> usize {
        limits(&self.shared.state.lock().config).of(priority)
    }

    /// Applies new sizes and rules. Running tasks keep their slots. `active`: whether the supervisor
    /// is started, so that the threads of `min_size` are spawned now.
    pub(crate) fn set_config(&self, config: PoolConfig, active: bool) {
        let mut state = self.shared.state.lock();
        state.backlog.set_limits(limits(&config));
        state.config = config;
        let launchers = state.take_launchers(&self.shared.injector);
        // Wakers are user code: called after `dispatch` has released the lock.
        self.shared.dispatch(state);
        waiters::wake_all(launchers);
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
        let mut state = self.shared.state.lock();
        let injector = &self.shared.injector;
        // So that a job counts as running from its launch, also while a thread is waking.
        state.admit(injector);
        let of = |priority: Priority| {
            let parked = state.parked[priority.index()];
            state.backlog.waiting_of(priority) + state.injected(injector, priority) + parked
        };
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
            // The supervisor counts how tasks end.
            completed: 0,
            failed: 0,
            timed_out: 0,
            canceled: 0,
        }
    }

    /// Returns the number of running jobs that are no tasks.
    #[cfg_attr(not(feature = "metrics"), allow(dead_code))]
    pub(crate) fn internal_running(&self) -> usize {
        self.shared.internal_running.load(Ordering::Relaxed)
    }

    /// Returns the function of a job that is no task: `run`, which is counted while it runs.
    pub(crate) fn internal(&self, run: Box<dyn FnOnce() + Send>) -> impl FnOnce() + Send + use<> {
        struct Running(Arc<Shared>);
        impl Drop for Running {
            fn drop(&mut self) {
                self.0.internal_running.fetch_sub(1, Ordering::Relaxed);
            }
        }
        let shared = Arc::clone(&self.shared);
        move || {
            shared.internal_running.fetch_add(1, Ordering::Relaxed);
            let _running = Running(shared);
            run();
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

impl Shared {
    /// Wakes a thread if a job may start, and releases the lock. Returns false if the system can't
    /// create threads.
    pub(super) fn dispatch(self: &Arc<Self>, mut state: MutexGuard<'_, PoolState>) -> bool {
        if !state.open {
            self.reject_late(&mut state);
        }
        let wake = state.plan_wake(&self.injector);
        let can_spawn = !state.backing_off;
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
    pub(super) fn reject_late(&self, state: &mut MutexGuard<'_, PoolState>) {
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

    pub(super) fn spawn(
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
    pub(super) fn spawn_failed(self: &Arc<Self>, error: &std::io::Error) {
        const MAX_BACKOFF: Duration = Duration::from_secs(1);
        // `log!` catches panics of the subscriber, so the code below always runs.
        log!(
            error, supervisor = %self.name, %error,
            "failed to spawn a pool thread: tasks wait until the system can create one"
        );
        let failures = {
            let mut state = self.state.lock();
            state.threads -= 1;
            state.end_waking(&self.injector);
            state.spawn_failures = state.spawn_failures.saturating_add(1);
            state.backing_off = true;
            state.spawn_failures
        };
        let weak = Arc::downgrade(self);
        timer::at(clock::after(backoff(failures, MAX_BACKOFF)), move || {
            if let Some(shared) = weak.upgrade() {
                let mut state = shared.state.lock();
                state.backing_off = false;
                if shared.dispatch(state) {
                    shared.state.lock().spawn_failures = 0;
                }
            }
        });
        if timer::is_running() {
            return;
        }
        // The thread of the timer could not be spawned either: let the next launch try at once.
        let mut state = self.state.lock();
        state.backing_off = false;
        if state.threads == 0 {
            // The slots of these jobs become free, so launches must dispatch from here on.
            state.gate = u8::MAX;
            self.injector.set_gate(state.gate, state.gate);
            let unstarted = state.drain_all(&self.injector);
            let launchers = state.take_launchers(&self.injector);
            drop(state);
            waiters::wake_all(launchers);
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
            state.end_waking(&self.injector);
            if let Some(job) = state.pop_admitted() {
                if !state.room.is_empty() {
                    self.wake_launchers(&mut state);
                }
                self.dispatch(state);
                return Some(job);
            }
            if let Signal::Exit = self.park_idle(state, parker) {
                return None;
            }
        }
    }

    /// Waits as an idle thread. Returns the next job, or `None` if the thread must exit.
    pub(super) fn idle(
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
    #[inline]
    pub(super) fn next_job(
        self: &Arc<Self>,
        parker: &Arc<Parker<Signal>>,
        done: Priority,
        after: After,
        yields: &mut Yields,
    ) -> (Option<Job>, After) {
        let mut state = self.state.lock();
        state.backlog.release(done);
        state.tasks_run += 1;
        match state.hand_off_slot(&self.injector) {
            Some(job) => (Some(job), after),
            None => self.next_job_without_hand_off(state, parker, after, yields),
        }
    }

    // Not inline, so that it takes no registers from the usual case.
    #[inline(never)]
    fn next_job_without_hand_off(
        self: &Arc<Self>,
        mut state: MutexGuard<'_, PoolState>,
        parker: &Arc<Parker<Signal>>,
        after: After,
        yields: &mut Yields,
    ) -> (Option<Job>, After) {
        state.admit(&self.injector);
        // A launch that waits for space may have become able to start at once.
        if !state.room.is_empty() {
            self.wake_launchers(&mut state);
        }
        match state.pop_admitted() {
            // One slot was released and one job starts. All other admitted jobs were admitted
            // before, so a thread is waking for them.
            Some(job) => (Some(job), after),
            None if !state.waking && yields.may_yield() => {
                (self.yield_once(state, parker, yields), After::Other)
            }
            None => (self.idle(state, parker), After::Other),
        }
    }

    /// Lets other threads run before this one parks, and continues as a woken thread.
    #[cold]
    fn yield_once(
        self: &Arc<Self>,
        mut state: MutexGuard<'_, PoolState>,
        parker: &Arc<Parker<Signal>>,
        yields: &mut Yields,
    ) -> Option<Job> {
        // So that launches wake no other thread.
        state.begin_waking(&self.injector);
        drop(state);
        let begin = Instant::now();
        std::thread::yield_now();
        let took = begin.elapsed();
        let mut state = self.state.lock();
        state.end_waking(&self.injector);
        let Some(job) = state.pop_admitted() else {
            yields.record(took, false);
            return self.idle(state, parker);
        };
        yields.record(took, state.has_waiting(&self.injector));
        if !state.room.is_empty() {
            self.wake_launchers(&mut state);
        }
        self.dispatch(state);
        Some(job)
    }

    /// Wakes the launches for which there may be space. Wakers are user code, so they are called
    /// without the lock.
    #[cold]
    fn wake_launchers(&self, state: &mut MutexGuard<'_, PoolState>) {
        let launchers = state.take_launchers(&self.injector);
        MutexGuard::unlocked(state, || waiters::wake_all(launchers));
    }

    /// Adds the thread to the list of idle threads and waits for a signal.
    pub(super) fn park_idle(
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
    pub(super) fn retire_or_park(&self, parker: &Arc<Parker<Signal>>) -> Signal {
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
        let launchers = state.take_launchers(&self.injector);
        let can_spawn = self.dispatch(state);
        waiters::wake_all(launchers);
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
