//! The supervisor: owns the pools, the aloops, and the shutdown. (The books, where its tasks are found by
//! their ids, are one table for all supervisors: `task::books`.)
//!
//! | file | what |
//! |---|---|
//! | here | the public handle, the default supervisor |
//! | `core` | what the handles share: places, phases of life |
//! | `tally` | how many tasks are live |
//! | `dispatch` | a launched task goes to its place; what tasks ask of their supervisor |
//! | `shutdown` | stop, drain, deadline, restart |
//! | `recurring` | the background workers and jobs that are active |
//! | `alarm` | `on_queued_for` |
//!
//! The life of a supervisor: *idle* until its first launch, *active*, *draining* while it stops,
//! *stopped* until `start()`. A task lives from its launch to its end. A launch counts it first and looks at
//! the phase afterwards, a stop turns the phase first and counts afterwards, so that one of them
//! always sees the other.

mod alarm;
mod builder;
mod core;
mod dispatch;
mod recurring;
mod shutdown;
mod tally;

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use crate::id::TaskId;
use crate::info::{SupervisorInfo, TaskInfo, TaskType};
use crate::launcher::TaskBuilder;
use crate::options::{PoolConfig, StopOptions, StopReport};
use crate::task::handle::Task;
use crate::task::reference::TaskRef;

pub(crate) use self::core::Core;
pub(crate) use self::recurring::Recurring;
pub use builder::SupervisorBuilder;

/// Owns thread pool, worker processes, aloops and their shutdown.
///
/// [`supervisor()`] is the default one; several can live side by side. It starts itself at its first
/// launch. Handles are cheap to clone; when the last one is dropped, the supervisor stops after its
/// queued work, without blocking.
///
/// ```
/// use atasker_runtime::{PoolConfig, StopOptions, Supervisor};
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

/// Stops the supervisor when the last public handle is gone. Its threads, and the stop until it is
/// through, hold the core; tasks know it by a key.
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

/// The default supervisor, id `default`. It starts itself at the first launch.
///
/// ```
/// let task = atasker_runtime::supervisor().spawn(|| 42);
/// assert_eq!(task.join().unwrap(), 42);
/// ```
pub fn supervisor() -> &'static Supervisor {
    static DEFAULT: OnceLock<Supervisor> = OnceLock::new();
    DEFAULT.get_or_init(|| Supervisor::builder().build())
}

impl Supervisor {
    /// A supervisor to be made.
    pub fn builder() -> SupervisorBuilder {
        SupervisorBuilder::new()
    }

    pub(crate) fn from_core(core: Arc<Core>) -> Self {
        Supervisor { shared: Arc::new(LastHandle(core)) }
    }

    pub(crate) fn core(&self) -> &Arc<Core> {
        &self.shared.0
    }

    /// Its id. Ids need not be unique.
    pub fn id(&self) -> &str {
        self.core().id()
    }

    /// Starts it, or starts it again after a stop. A first launch does that by itself. False if it
    /// is active already.
    pub fn start(&self) -> bool {
        self.core().start()
    }

    /// Whether it takes tasks from outside.
    pub fn is_active(&self) -> bool {
        self.core().is_active()
    }

    /// Runs `f` on a pool thread.
    pub fn spawn<R: Send + 'static>(&self, f: impl FnOnce() -> R + Send + 'static) -> Task<R> {
        TaskBuilder::new(f).start_at(self.core())
    }

    /// Runs a future on the default aloop.
    ///
    /// ```
    /// let sup = atasker_runtime::supervisor();
    /// assert_eq!(sup.spawn_async(async { 42 }).join().unwrap(), 42);
    /// ```
    #[cfg(feature = "async")]
    pub fn spawn_async<R: Send + 'static>(
        &self,
        future: impl Future<Output = R> + Send + 'static,
    ) -> Task<R> {
        TaskBuilder::future(future).start_at(self.core())
    }

    /// Finds a task that is delayed, queued or running. Once it has ended, the supervisor keeps
    /// nothing about it.
    pub fn task(&self, id: TaskId) -> Option<TaskRef> {
        // Asked after the reference is there: then the result of a task that has not ended stays.
        self.core().booked(id).map(TaskRef::new).filter(|task| !task.is_completed())
    }

    /// The tasks that are delayed, queued or running, in the order of their launch.
    pub fn tasks(&self) -> Vec<TaskInfo> {
        self.core().infos(|_| true)
    }

    /// The same, of one kind.
    pub fn tasks_of(&self, tt: TaskType) -> Vec<TaskInfo> {
        self.core().infos(|header| header.tt == tt)
    }

    /// What it looks like at this moment.
    pub fn info(&self) -> SupervisorInfo {
        self.core().info()
    }

    /// New sizes and rules for the thread pool, also while it runs.
    pub fn set_thread_pool(&self, config: PoolConfig) {
        self.core().set_thread_pool(config);
    }

    /// New sizes and rules for the pool of worker processes, also while it runs.
    #[cfg(feature = "mp")]
    pub fn set_mp_pool(&self, config: crate::process::MpPoolConfig) {
        self.core().set_mp_pool(config);
    }

    /// Calls `alarm` for every task that has not started so long after it was queued, while it
    /// still waits. Delays do not count. As many alarms as wanted; they run on pool threads.
    ///
    /// ```
    /// use std::time::Duration;
    /// let sup = atasker_runtime::Supervisor::builder().build();
    /// sup.on_queued_for(Duration::from_secs(5), |info| eprintln!("{} still waits", info.name));
    /// ```
    pub fn on_queued_for(&self, time: Duration, alarm: impl Fn(&TaskInfo) + Send + Sync + 'static) {
        self.core().alarms.add(time, Arc::new(alarm));
    }

    /// Blocks until the supervisor is stopped.
    ///
    /// # Panics
    /// On the thread of an aloop.
    #[track_caller]
    pub fn block(&self) {
        self.core().block();
    }

    /// Stops it: takes no new task from outside, waits for the tasks as `options` say, ends threads,
    /// aloops and worker processes. Called from a task of its own, it does not wait for that task.
    ///
    /// # Panics
    /// On the thread of an aloop: use [`stop_async`](Self::stop_async) there.
    #[track_caller]
    pub fn stop(&self, options: StopOptions) -> StopReport {
        shutdown::stop(self.core(), &options)
    }

    /// The same for async programs.
    pub async fn stop_async(&self, options: StopOptions) -> StopReport {
        shutdown::stop_async(self.core(), &options).await
    }

    /// The aloop of that name, started if there is none.
    ///
    /// # Panics
    /// If the system gives no thread for it.
    #[cfg(feature = "async")]
    pub fn create_aloop(&self, name: &str) -> crate::aloop::Aloop {
        self.create_aloop_multi(name, 1)
    }

    /// The same with several threads; one that exists already keeps its own number.
    ///
    /// # Panics
    /// If the system gives no threads for it.
    #[cfg(feature = "async")]
    pub fn create_aloop_multi(&self, name: &str, threads: usize) -> crate::aloop::Aloop {
        match self.core().create_aloop(name, threads) {
            Ok(aloop) => aloop,
            Err(error) => panic!("the aloop `{name}` could not be started: {error}"),
        }
    }

    /// The aloop of that name, if there is one.
    #[cfg(feature = "async")]
    pub fn aloop(&self, name: &str) -> Option<crate::aloop::Aloop> {
        self.core().aloops.get(name)
    }

    /// Async tasks that name no aloop go to this one from now on.
    #[cfg(feature = "async")]
    pub fn set_default_aloop(&self, name: &str) {
        self.core().aloops.set_default(name);
    }
}
