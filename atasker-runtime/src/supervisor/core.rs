//! The state shared by the handles of a supervisor, its tasks and its threads.

use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::task::Context;

use crate::sync::lock::Mutex;

use super::alarm::Alarms;
use super::counters::Counters;
use super::expiry::Expiries;
use super::live;
use super::workers::ActiveWorkers;
use crate::aloop::Aloops;
use crate::cluster::place::RemotePlace;
use crate::fork;
use crate::id::TaskId;
use crate::info::{SupervisorInfo, TaskInfo, TaskType};
use crate::observe::interest;
use crate::observe::registry::Observers;
use crate::observe::spans::Spans;
use crate::options::PoolConfig;
#[cfg(has_processes)]
use crate::options::cpus;
use crate::panic_hook::{self, Install};
use crate::place::{Closing, Place};
use crate::priority::Priority;
use crate::process::{MpPoolConfig, ProcessPool};
use crate::task::header::{Header, refresh};
use crate::task::scheduler::{self, SchedulerKey};
use crate::task::state::Ending;
use crate::task::unique::UniqueTasks;
use crate::task::waiters::{self, WaiterKey, Waiters};
use crate::task::{Schedule, TaskArc, foreign, park, table};
use crate::thread::ThreadPool;
use crate::time::source;
use crate::unwind::log;

/// See the documentation of the module `supervisor`.
pub(crate) struct Core {
    pub(super) weak_self: Weak<Core>,
    id: String,
    /// The key by which its tasks refer to it.
    pub(super) key: SchedulerKey,
    /// The numbers of its tasks.
    pub(super) counters: Counters,
    /// Written under the lock of `lifecycle`. Launches and ends read it without: see `counters`.
    phase: AtomicU8,
    pub(super) lifecycle: Mutex<Lifecycle>,
    pub(super) threads: ThreadPool,
    pub(crate) processes: Arc<ProcessPool>,
    pub(crate) aloops: Aloops,
    pub(crate) remote: RemotePlace,
    pub(super) alarms: Alarms,
    pub(super) expiries: Expiries,
    /// The keys of its unique tasks.
    pub(crate) unique: Arc<UniqueTasks>,
    pub(super) observers: Arc<Observers>,
    pub(super) workers: ActiveWorkers,
}

/// The state of stops.
#[derive(Default)]
pub(super) struct Lifecycle {
    /// Waiters for a change of the phase, or for the end of the last task.
    pub(super) waiters: Waiters,
    /// Own tasks that have requested the current stop, and tasks that are chained to them. The stop
    /// neither waits for them nor ends them.
    pub(super) callers: Vec<TaskId>,
    /// The number of completed stops. A waiter compares it with an earlier value, because a quick
    /// restart would hide the phase `Stopped`.
    pub(super) stops: u64,
    /// Whether a stop is closing the places.
    pub(super) closing: bool,
}

/// What activating a supervisor does after a stop.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum AfterStop {
    /// Restarts it, as `start()` does.
    Restart,
    /// Leaves it stopped, as a launch does.
    StayStopped,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(super) enum Phase {
    /// Never used: the first launch starts it.
    Idle = 0,
    Active = 1,
    /// Accepts launches of its own tasks only.
    Draining = 2,
    /// Accepts no launches until it is started again.
    Stopped = 3,
}

impl Drop for Core {
    fn drop(&mut self) {
        if !fork::is_copy() {
            scheduler::unregister(self.key);
            source::forget(self.key);
            live::dropped(self.key);
        }
    }
}

impl Core {
    pub(super) fn new(
        id: String,
        threads: PoolConfig,
        processes: MpPoolConfig,
        spans: Spans,
    ) -> Arc<Core> {
        panic_hook::prepare(Install::ByHelperThread);
        fork::watch();
        interest::watch_subscribers();
        let core = |weak_self: &Weak<Core>, key: SchedulerKey| {
            let processes = ProcessPool::new(&id, Some(key), processes);
            let (prompt, pool) = (Arc::new(AtomicUsize::new(0)), Arc::clone(&processes));
            let reasons = Arc::clone(&prompt);
            let on_prompt = move || pool.set_prompt(&reasons);
            Core {
                weak_self: weak_self.clone(),
                key,
                counters: Counters::default(),
                phase: AtomicU8::new(Phase::Idle as u8),
                lifecycle: Mutex::new(Lifecycle::default()),
                threads: ThreadPool::new(&id, key, threads),
                processes,
                aloops: Aloops::new(&id, key),
                remote: RemotePlace::new(),
                alarms: Alarms::new(weak_self.clone(), key),
                expiries: Expiries::default(),
                unique: Arc::default(),
                observers: Observers::new(&id, spans, prompt, on_prompt),
                workers: ActiveWorkers::default(),
                id,
            }
        };
        let core = Arc::new_cyclic(|weak_self: &Weak<Core>| {
            let scheduler: Weak<dyn Schedule> = weak_self.clone();
            core(weak_self, scheduler::register(scheduler))
        });
        live::created(&core);
        core
    }

    pub(crate) fn observers(&self) -> &Arc<Observers> {
        &self.observers
    }

    pub(crate) fn key(&self) -> SchedulerKey {
        self.key
    }

    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    pub(super) fn phase(&self) -> Phase {
        match self.phase.load(Ordering::SeqCst) {
            0 => Phase::Idle,
            1 => Phase::Active,
            2 => Phase::Draining,
            _ => Phase::Stopped,
        }
    }

    /// Sets the phase. Requires the lock of `lifecycle`.
    pub(super) fn set_phase(&self, _lifecycle: &mut Lifecycle, phase: Phase) {
        self.phase.store(phase as u8, Ordering::SeqCst);
    }

    pub(crate) fn is_active(&self) -> bool {
        self.phase() == Phase::Active && !fork::is_copy()
    }

    /// Returns whether a background worker can be started: the supervisor is active, or its first
    /// launch starts it.
    #[cfg_attr(not(feature = "dashboard"), allow(dead_code))]
    pub(crate) fn can_start(&self) -> bool {
        matches!(self.phase(), Phase::Idle | Phase::Active) && !fork::is_copy()
    }

    pub(super) fn start(&self) -> bool {
        !fork::is_copy() && self.activate(AfterStop::Restart)
    }

    /// Changes the phase to active. Returns false if it was active, or if it stays stopped.
    pub(super) fn activate(&self, after_stop: AfterStop) -> bool {
        loop {
            let stops = {
                let lifecycle = self.lifecycle.lock();
                match self.phase() {
                    Phase::Active => return false,
                    // One of its own tasks would wait for itself.
                    Phase::Draining
                        if after_stop == AfterStop::StayStopped
                            || self.is_called_from_own_task() =>
                    {
                        return false;
                    }
                    Phase::Stopped if after_stop == AfterStop::StayStopped => return false,
                    Phase::Draining => {
                        drop(lifecycle);
                        self.block();
                        continue;
                    }
                    Phase::Idle | Phase::Stopped => lifecycle.stops,
                }
            };
            // The places first, because launches begin once the phase is active. Opening twice is
            // harmless.
            self.open();
            let mut lifecycle = self.lifecycle.lock();
            if lifecycle.stops == stops && matches!(self.phase(), Phase::Idle | Phase::Stopped) {
                self.set_phase(&mut lifecycle, Phase::Active);
                drop(lifecycle);
                self.observers.load.changed();
                log!(debug, supervisor = %self.id, "started");
                return true;
            }
        }
    }

    /// Opens the places.
    fn open(&self) {
        self.places().for_each(Place::open);
    }

    /// Closes the places.
    pub(super) fn close(&self, closing: &Closing<'_>) {
        self.places().for_each(|place| place.close(closing));
    }

    /// Returns the places in the order in which they are closed. The threads are last, because the
    /// callbacks of all tasks run there.
    pub(super) fn places(&self) -> impl Iterator<Item = &dyn Place> {
        [TaskType::Remote, TaskType::Mp, TaskType::Async, TaskType::Thread]
            .into_iter()
            .map(|tt| self.place(tt))
    }

    /// Blocks until the supervisor is stopped.
    #[track_caller]
    pub(super) fn block(&self) {
        if fork::is_copy() {
            return;
        }
        let key = WaiterKey::next();
        let before = self.lifecycle.lock().stops;
        park::block_on(None, |context| {
            self.poll_lifecycle(key, context, |lifecycle| {
                self.phase() == Phase::Stopped || lifecycle.stops != before
            })
        });
    }

    /// Ready when `wanted` returns true.
    pub(super) fn poll_lifecycle(
        &self,
        key: WaiterKey,
        context: &mut Context<'_>,
        wanted: impl FnOnce(&Lifecycle) -> bool,
    ) -> std::task::Poll<()> {
        let waker = context.waker().clone();
        let mut lifecycle = self.lifecycle.lock();
        let ready = wanted(&lifecycle);
        let (old, spare) = match ready {
            true => (lifecycle.waiters.remove(key), Some(waker)),
            false => (lifecycle.waiters.add(key, waker), None),
        };
        drop(lifecycle);
        waiters::drop_waker(old);
        waiters::drop_waker(spare);
        if ready { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    }

    /// Returns a task of this supervisor, even if it has ended.
    pub(super) fn lookup(&self, id: TaskId) -> Option<TaskArc> {
        if fork::is_copy() { None } else { foreign::find(id, self.key) }
    }

    /// Returns the number of threads that may run tasks of this priority at once.
    pub(crate) fn thread_slots(&self, priority: Priority) -> usize {
        if fork::is_copy() { 1 } else { self.threads.slots_of(priority) }
    }

    /// Returns the number of tasks of this priority that may run in worker processes at once: at
    /// most one per CPU if the pool has no limit.
    #[cfg(has_processes)]
    pub(crate) fn process_slots(&self, priority: Priority) -> usize {
        match fork::is_copy() {
            true => 1,
            // The tasks run on threads of this process.
            false if crate::process::in_worker() => self.thread_slots(priority).min(cpus()),
            false => match self.processes.config().limits().of(priority) {
                usize::MAX => cpus(),
                slots => slots,
            },
        }
    }

    /// Returns the limits by which tasks of this type are admitted, if they have slots.
    #[cfg(feature = "remote")]
    pub(crate) fn limits(&self, tt: TaskType) -> Option<crate::backlog::Limits> {
        match tt {
            TaskType::Thread => Some(self.threads.limits()),
            TaskType::Mp => Some(self.processes.limits()),
            TaskType::Async | TaskType::Remote => None,
        }
    }

    /// Returns whether a launch from outside would be accepted.
    #[cfg(feature = "remote")]
    pub(crate) fn accepts(&self) -> bool {
        matches!(self.phase(), Phase::Idle | Phase::Active)
    }

    pub(crate) fn find_live(&self, id: TaskId) -> Option<TaskArc> {
        self.lookup(id).filter(|task| !task.header().state.read().is_ended())
    }

    /// Returns the live tasks in the order of their launch.
    pub(crate) fn live_tasks(&self) -> Vec<TaskArc> {
        let mut tasks = Vec::new();
        // Counted first: tasks counted by then are seen below.
        if self.counters.live() > 0 && !fork::is_copy() {
            table::for_each(|task| {
                let header = task.header();
                if header.scheduler == Some(self.key) && !header.state.read().is_ended() {
                    tasks.push(task);
                }
            });
        }
        tasks.sort_by_key(|task| (task.header().queued(), task.header().id().serial()));
        tasks
    }

    pub(super) fn infos(&self, wanted: impl Fn(&Header) -> bool) -> Vec<TaskInfo> {
        let tasks = self.live_tasks();
        let wanted = tasks.iter().filter(|task| wanted(task.header()));
        wanted
            .map(|task| {
                refresh(&**task);
                task.header().info()
            })
            .filter(|info| info.outcome.is_none())
            .collect()
    }

    pub(super) fn info(&self) -> SupervisorInfo {
        if fork::is_copy() {
            // Report an unused supervisor, because the locks of this one may be held by threads
            // that don't exist here.
            return Core::new(
                self.id.clone(),
                PoolConfig::default(),
                MpPoolConfig::default(),
                Spans::Off,
            )
            .snapshot(0);
        }
        self.snapshot(self.live_tasks().len())
    }

    /// Returns a snapshot. `tasks` is the number of live tasks, which takes a walk through the task
    /// table.
    // Without the feature `mp`, the info of the pool is an `Option` already.
    #[allow(clippy::useless_conversion)]
    pub(crate) fn snapshot(&self, tasks: usize) -> SupervisorInfo {
        let mut info = SupervisorInfo {
            id: self.id.clone(),
            active: self.is_active(),
            tasks,
            thread_pool: self.threads.info(),
            mp_pool: self.processes.info().into(),
            aloops: self.aloops.info(),
            cluster: self.remote.info(),
            workers: Vec::new(),
            jobs: Vec::new(),
        };
        let (pool, ends) = (&mut info.thread_pool, self.counters.ends_of(TaskType::Thread));
        (pool.completed, pool.failed) = (ends.completed, ends.failed);
        (pool.timed_out, pool.canceled) = (ends.timed_out, ends.canceled);
        if let Some(pool) = &mut info.mp_pool {
            let ends = self.counters.ends_of(TaskType::Mp);
            (pool.completed, pool.failed) = (ends.completed, ends.failed);
            (pool.timed_out, pool.canceled) = (ends.timed_out, ends.canceled);
        }
        self.workers.show(&mut info);
        info
    }

    pub(super) fn set_thread_pool(&self, config: PoolConfig) {
        self.threads.set_config(config, self.is_active());
        self.observers.load.changed();
    }

    /// Counts a task that has ended, and wakes a stop that waits for it.
    #[inline]
    pub(super) fn task_ended(&self, tt: TaskType, ending: Ending) {
        self.counters.record_end(tt, ending);
        if self.phase() == Phase::Draining {
            // Only while draining, so that ends take no lock otherwise. SeqCst reads of the phase
            // and the counters ensure that no stop is missed: see `counters`.
            self.wake_stop();
        }
    }

    #[cold]
    fn wake_stop(&self) {
        let waiters = std::mem::take(&mut self.lifecycle.lock().waiters);
        waiters.wake();
    }
}
