//! The supervisor: owns the pools and the aloops, and shuts them down. (The task table, where tasks
//! are found by id, is shared by all supervisors: see `task::table`.)
//!
//! | file | what |
//! |---|---|
//! | here | the public handle, the default supervisor |
//! | `builder`, `config` | the configuration before the start, by setters and as one value |
//! | `processes` | the settings of the pool of worker processes |
//! | `cluster` | the cluster that a supervisor has joined |
//! | `core` | what the handles share: places, phases |
//! | `counters` | the number of live tasks |
//! | `dispatch` | gives launched tasks to their places, and relays operations on tasks |
//! | `inline` | launches that run their task themselves, for tests |
//! | `shutdown` | stop, drain, deadline, restart |
//! | `workers` | the background workers and jobs |
//! | `live` | the supervisors of the process, for dashboards |
//! | `view` | what a dashboard shows of a supervisor |
//! | `alarm` | `on_queued_for` |
//! | `expiry` | ends tasks that have not begun in time |
//! | `pruning` | the lists of waiting tasks of these two |
//! | `load` | the load, for metrics |
//!
//! A supervisor is *idle* until its first launch, then *active*, *draining* while it stops, and
//! *stopped* until `start()`. A task is live from its launch to its end. A launch counts the task
//! first and reads the phase afterwards; a stop changes the phase first and reads the count
//! afterwards. Hence at least one of them observes the other.

mod alarm;
mod builder;
#[cfg(feature = "remote")]
pub(crate) mod cluster;
mod config;
mod core;
mod counters;
mod dispatch;
mod expiry;
pub(crate) mod inline;
#[cfg(feature = "dashboard")]
pub(crate) mod live;
#[cfg(not(feature = "dashboard"))]
#[path = "live_disabled.rs"]
mod live;
#[cfg(feature = "metrics")]
pub(crate) mod load;
#[cfg(feature = "mp")]
mod processes;
mod pruning;
mod shutdown;
#[cfg(feature = "dashboard")]
pub(crate) mod view;
mod workers;

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use crate::fork;
use crate::id::TaskId;
use crate::info::{SupervisorInfo, TaskInfo, TaskType};
use crate::observe::observer::Observer;
use crate::observe::registry::{ObserverGuard, Promptness};
use crate::options::{PoolConfig, StopOptions, StopReport};
use crate::task::reference::TaskRef;

pub(crate) use self::core::Core;
#[cfg(any(feature = "dashboard", feature = "metrics"))]
pub(crate) use self::counters::{SHARDS, shard};
pub(crate) use self::workers::{ActiveWorker, Operation, WorkerSnapshot};
use crate::unwind::Guarded;
pub use builder::SupervisorBuilder;
pub use config::SupervisorConfig;

/// Owns a thread pool, worker processes and aloops, and shuts them down.
///
/// [`supervisor()`] returns the default one; any number can exist side by side. A supervisor starts
/// on its first launch. Handles are cheap to clone. When the last one is dropped, the supervisor
/// stops in the background, after its queued tasks.
///
/// ```
/// # use atasker_runtime as atasker;
/// use atasker::{PoolConfig, StopOptions, Supervisor};
/// let sup = Supervisor::builder().id("batch").thread_pool(PoolConfig::new(2)).build();
/// let task = sup.spawn(|| 6 * 7);
/// assert_eq!(task.join().unwrap(), 42);
/// sup.stop(StopOptions::new());
/// assert!(!sup.is_active());
/// ```
#[derive(Clone)]
pub struct Supervisor {
    shared: Arc<LastHandle>,
}

/// Stops the supervisor when the last public handle is dropped. The supervisor's threads, and a
/// stop in progress, keep the core alive; tasks refer to it by key.
struct LastHandle(Arc<Core>);

impl Drop for LastHandle {
    fn drop(&mut self) {
        shutdown::stop_in_background(&self.0);
    }
}

impl std::fmt::Debug for Supervisor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Supervisor")
            .field("id", &self.id())
            .field("active", &self.is_active())
            .finish_non_exhaustive()
    }
}

/// Returns the default supervisor, with the id `default`. It starts on its first launch.
///
/// ```
/// # use atasker_runtime as atasker;
/// let task = atasker::supervisor().spawn(|| 42);
/// assert_eq!(task.join().unwrap(), 42);
/// ```
pub fn supervisor() -> &'static Supervisor {
    static DEFAULT: OnceLock<Supervisor> = OnceLock::new();
    if let Some(supervisor) = DEFAULT.get() {
        return supervisor;
    }
    fork::watch();
    if fork::is_copy() {
        // Another thread of the parent process may have been initializing it; here that never
        // completes.
        return Box::leak(Box::new(Supervisor::builder().build()));
    }
    DEFAULT.get_or_init(|| Supervisor::builder().build())
}

impl Supervisor {
    /// Returns a builder for a supervisor.
    ///
    /// ```
    /// # use atasker_runtime as atasker;
    /// use atasker::{PoolConfig, Supervisor};
    /// let sup = Supervisor::builder().id("batch").thread_pool(PoolConfig::new(2)).build();
    /// assert_eq!(sup.id(), "batch");
    /// ```
    pub fn builder() -> SupervisorBuilder {
        SupervisorBuilder::new()
    }

    pub(crate) fn from_core(core: Arc<Core>) -> Self {
        Supervisor { shared: Arc::new(LastHandle(core)) }
    }

    pub(crate) fn core(&self) -> &Arc<Core> {
        &self.shared.0
    }

    /// Returns the id of the supervisor. Ids need not be unique.
    pub fn id(&self) -> &str {
        self.core().id()
    }

    /// Starts the supervisor, or restarts it after a stop. Returns `false` if it is active already.
    /// Calling this is optional before the first launch.
    ///
    /// ```
    /// # use atasker_runtime as atasker;
    /// use atasker::Supervisor;
    /// let sup = Supervisor::builder().build();
    /// assert!(sup.start());
    /// assert!(!sup.start());
    /// ```
    pub fn start(&self) -> bool {
        self.core().start()
    }

    /// Returns whether the supervisor accepts tasks from outside.
    ///
    /// ```
    /// # use atasker_runtime as atasker;
    /// use atasker::Supervisor;
    /// let sup = Supervisor::builder().build();
    /// assert!(!sup.is_active());
    /// sup.spawn(|| ()).join().unwrap(); // the first launch starts it
    /// assert!(sup.is_active());
    /// ```
    pub fn is_active(&self) -> bool {
        self.core().is_active()
    }

    /// Returns the task with this id if it is delayed, queued or running. The supervisor keeps
    /// nothing about tasks that have ended.
    ///
    /// ```
    /// # use atasker_runtime as atasker;
    /// use atasker::{Supervisor, TaskBuilder, TaskContext};
    /// let sup = Supervisor::builder().build();
    /// let task = TaskBuilder::with_context(|ctx: &TaskContext| ctx.recv().is_err())
    ///     .supervisor(&sup)
    ///     .start();
    /// let found = sup.task(task.id()).unwrap();
    /// found.stop();
    /// assert!(task.join().unwrap());
    /// assert!(sup.task(found.id()).is_none());
    /// ```
    pub fn task(&self, id: TaskId) -> Option<TaskRef> {
        // Checked after the reference exists, because from then on the result of a task that has
        // not ended is kept.
        self.core().lookup(id).map(TaskRef::new).filter(|task| !task.is_completed())
    }

    /// Returns the tasks that are delayed, queued or running, in the order of their launch.
    ///
    /// ```
    /// # use atasker_runtime as atasker;
    /// use atasker::{Supervisor, TaskBuilder, TaskContext};
    /// let sup = Supervisor::builder().build();
    /// let task = TaskBuilder::with_context(|ctx: &TaskContext| ctx.recv().is_err())
    ///     .supervisor(&sup)
    ///     .start();
    /// assert_eq!(sup.tasks()[0].id, task.id());
    /// task.stop();
    /// ```
    pub fn tasks(&self) -> Vec<TaskInfo> {
        self.core().infos(|_| true)
    }

    /// Returns the tasks of one kind that are delayed, queued or running, in the order of their
    /// launch.
    ///
    /// ```
    /// # use atasker_runtime as atasker;
    /// use atasker::TaskType;
    /// use atasker::{Supervisor, TaskBuilder, TaskContext};
    /// let sup = Supervisor::builder().build();
    /// let task = TaskBuilder::with_context(|ctx: &TaskContext| ctx.recv().is_err())
    ///     .supervisor(&sup)
    ///     .start();
    /// assert_eq!(sup.tasks_of(TaskType::Thread).len(), 1);
    /// assert!(sup.tasks_of(TaskType::Mp).is_empty());
    /// task.stop();
    /// ```
    pub fn tasks_of(&self, tt: TaskType) -> Vec<TaskInfo> {
        self.core().infos(|header| header.tt == tt)
    }

    /// Returns a snapshot of the supervisor.
    ///
    /// ```
    /// # use atasker_runtime as atasker;
    /// use atasker::{Supervisor, TaskBuilder, TaskContext};
    /// let sup = Supervisor::builder().build();
    /// let task = TaskBuilder::with_context(|ctx: &TaskContext| ctx.recv().is_err())
    ///     .supervisor(&sup)
    ///     .start();
    /// assert_eq!(sup.info().tasks, 1);
    /// task.stop();
    /// ```
    pub fn info(&self) -> SupervisorInfo {
        self.core().info()
    }

    /// Returns the configuration of the thread pool: what the supervisor was built with, or what
    /// [`set_thread_pool`](Self::set_thread_pool) set last.
    ///
    /// In a fork of the process, where the supervisor has no threads, this is the default
    /// configuration.
    ///
    /// ```
    /// # extern crate atasker_runtime as atasker;
    /// use atasker::{PoolConfig, Supervisor};
    /// let sup = Supervisor::builder().thread_pool(PoolConfig::new(2).reserve_high(1)).build();
    /// let mut config = sup.thread_pool();
    /// config.pool_size += 2;
    /// sup.set_thread_pool(config);
    /// assert_eq!(sup.thread_pool(), PoolConfig::new(4).reserve_high(1));
    /// ```
    pub fn thread_pool(&self) -> PoolConfig {
        if fork::is_copy() { PoolConfig::default() } else { self.core().threads.config() }
    }

    /// Changes the size and rules of the thread pool, also while it runs.
    ///
    /// ```
    /// # use atasker_runtime as atasker;
    /// use atasker::{PoolConfig, Supervisor};
    /// let sup = Supervisor::builder().build();
    /// sup.set_thread_pool(PoolConfig::new(4).reserve_high(1));
    /// assert_eq!(sup.thread_pool().pool_size, 4);
    /// ```
    ///
    /// # Panics
    ///
    /// Panics if a field of `config` has a value that its setter rejects.
    #[track_caller]
    pub fn set_thread_pool(&self, config: PoolConfig) {
        let config = config.checked();
        if !fork::is_copy() {
            self.core().set_thread_pool(config);
        }
    }

    /// Calls `alarm`, on a pool thread, for every task that still waits for a slot `time` after it
    /// was queued. Delays of tasks are not counted. Several alarms can be set.
    ///
    /// ```
    /// # use atasker_runtime as atasker;
    /// use std::time::Duration;
    /// let sup = atasker::Supervisor::builder().build();
    /// sup.on_queued_for(Duration::from_secs(5), |info| eprintln!("{} still waits", info.name));
    /// ```
    pub fn on_queued_for(&self, time: Duration, alarm: impl Fn(&TaskInfo) + Send + Sync + 'static) {
        if !fork::is_copy() {
            self.core().alarms.add(time, Arc::new(Guarded::new(Box::new(alarm))));
        }
    }

    /// Adds an observer of the tasks, worker processes and background workers of this supervisor,
    /// until the returned guard is dropped.
    ///
    /// While a supervisor has an observer, its worker processes report the begin and the end of
    /// each call at once, which costs a wake-up per task. See [`Observer`] for the rules of its
    /// methods.
    ///
    /// In a fork of the process this does nothing.
    ///
    /// ```
    /// # use atasker_runtime as atasker;
    /// use atasker::{Observer, Supervisor, TaskEvent};
    /// struct Print;
    /// impl Observer for Print {
    ///     fn started(&self, task: &TaskEvent<'_>) {
    ///         println!("{} has started", task.name());
    ///     }
    /// }
    /// let sup = Supervisor::builder().build();
    /// let guard = sup.observe(Print);
    /// sup.spawn(|| 42).join().unwrap();
    /// drop(guard);
    /// ```
    pub fn observe(&self, observer: impl Observer + 'static) -> ObserverGuard {
        self.core().observers().add(Box::new(observer), Promptness::AtOnce)
    }

    /// Blocks until the supervisor is stopped.
    ///
    /// ```
    /// # use atasker_runtime as atasker;
    /// use atasker::{StopOptions, Supervisor};
    /// let sup = Supervisor::builder().build();
    /// sup.start();
    /// let stopper = sup.clone();
    /// std::thread::spawn(move || stopper.stop(StopOptions::new()));
    /// sup.block();
    /// assert!(!sup.is_active());
    /// ```
    ///
    /// # Panics
    ///
    /// Panics on the thread of an aloop.
    #[track_caller]
    pub fn block(&self) {
        self.core().block();
    }

    /// Stops the supervisor: rejects new tasks from outside, waits for the tasks as `options` say,
    /// then ends threads, aloops and worker processes. When called from one of its own tasks, it
    /// does not wait for that task.
    ///
    /// ```
    /// # use atasker_runtime as atasker;
    /// use std::time::Duration;
    /// use atasker::{StopOptions, Supervisor};
    /// let sup = Supervisor::builder().build();
    /// let task = sup.spawn(|| 42);
    /// let report = sup.stop(StopOptions::new().wait(Duration::from_secs(60)));
    /// assert_eq!(report.abandoned, 0);
    /// assert_eq!(task.join().unwrap(), 42);
    /// ```
    ///
    /// # Panics
    ///
    /// Panics on the thread of an aloop. Use [`stop_async`](Self::stop_async) there.
    #[track_caller]
    pub fn stop(&self, options: StopOptions) -> StopReport {
        shutdown::stop(self.core(), &options)
    }

    /// Stops the supervisor, as [`stop`](Self::stop) does.
    ///
    /// ```
    /// # use atasker_runtime as atasker;
    /// # async fn example() {
    /// use std::time::Duration;
    /// use atasker::{StopOptions, supervisor};
    /// let options = StopOptions::new().wait(Duration::from_secs(10)).cancel_tasks(true);
    /// let report = supervisor().stop_async(options).await;
    /// println!("{} abandoned", report.abandoned);
    /// # }
    /// ```
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped before it completes, the supervisor keeps draining. Another stop
    /// continues from there.
    pub async fn stop_async(&self, options: StopOptions) -> StopReport {
        shutdown::stop_async(self.core(), &options).await
    }
}
