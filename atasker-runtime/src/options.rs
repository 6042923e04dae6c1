//! Configuration of pools, launches and shutdown: plain data, interpreted by the supervisor.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::config_file::rules::{self, accept};
use crate::config_file::{duration, queue_limits, values};

/// What happens to a launch when the queue of a pool is at its limit.
///
/// In a configuration file, the names are in lower case: `"block"`, `"reject"`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Overflow {
    /// The launcher blocks its thread until there is room. Inside a task or on an aloop it never
    /// blocks: the task is admitted over the limit instead, because the room might depend on the
    /// launcher itself.
    ///
    /// On a thread of the program's own tokio runtime (for example under `#[tokio::main]`), a
    /// blocking launch holds up everything else on that thread. The first one in a program logs a
    /// WARN. There, use [`start_async`](crate::TaskBuilder::start_async), launch within
    /// `tokio::task::spawn_blocking` or `block_in_place`, or use [`Reject`](Self::Reject).
    #[default]
    Block,
    /// The task ends immediately with [`TaskError::QueueFull`](crate::TaskError::QueueFull).
    Reject,
}

/// The size and rules of a supervisor's thread pool.
///
/// Let *n* be the number of non-critical tasks that hold a slot. A low-priority task starts while
/// *n* < `pool_size`, a normal one while *n* < `pool_size + reserve_normal`, and a high one while
/// *n* < `pool_size + reserve_normal + reserve_high`. Critical tasks start immediately.
///
/// ```
/// # use atasker_runtime as atasker;
/// use atasker::{PoolConfig, Supervisor};
/// let sup = Supervisor::builder()
///     .thread_pool(PoolConfig::new(20).reserve_normal(5).reserve_high(5))
///     .build();
/// assert_eq!(sup.spawn(|| 2 + 2).join().unwrap(), 4);
/// ```
///
/// Each field has a setter of the same name. A supervisor checks a configuration that it is given as
/// the setters do.
///
/// ```
/// # use atasker_runtime as atasker;
/// use atasker::{PoolConfig, Supervisor};
/// let mut config = PoolConfig::default();
/// config.min_size = 2;
/// assert_eq!(config, PoolConfig::default().min_size(2));
/// let sup = Supervisor::builder().thread_pool(config.clone()).build();
/// assert_eq!(sup.thread_pool(), config);
/// ```
///
/// In a configuration file, the fields have the same names, see
/// [`SupervisorConfig`](crate::SupervisorConfig).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
#[must_use = "a configuration does nothing until it is given to a supervisor"]
pub struct PoolConfig {
    /// Slots for tasks of every priority; 0 means no limit.
    pub pool_size: usize,
    /// Slots beyond `pool_size` for tasks of normal priority or higher.
    pub reserve_normal: usize,
    /// Slots beyond `pool_size` and `reserve_normal` for tasks of high priority.
    pub reserve_high: usize,
    /// Threads that are started eagerly and stay alive while idle: at most 65,536.
    #[serde(deserialize_with = "values::min_size")]
    pub min_size: usize,
    /// The most threads that hold slots, whatever the reserves say: at least 1.
    #[serde(deserialize_with = "values::max_size")]
    pub max_size: Option<usize>,
    /// How long a thread stays without work; [`Duration::MAX`] means forever.
    #[serde(with = "duration")]
    pub idle_timeout: Duration,
    /// The most tasks that wait for a slot, and what happens to one more.
    #[serde(with = "queue_limits::tasks")]
    pub queue_limit: Option<(usize, Overflow)>,
    /// The stack of each thread, in bytes; `None` means what std gives.
    #[serde(deserialize_with = "values::stack_size")]
    pub stack_size: Option<usize>,
}

/// The default time for which idle threads and worker processes are kept alive.
pub(crate) const IDLE_TIMEOUT: Duration = Duration::from_secs(30);

impl PoolConfig {
    /// Creates the configuration of a pool with `pool_size` slots and no reserves. 0 means no
    /// limit.
    pub fn new(pool_size: usize) -> Self {
        PoolConfig {
            pool_size,
            reserve_normal: 0,
            reserve_high: 0,
            min_size: 0,
            max_size: None,
            idle_timeout: IDLE_TIMEOUT,
            queue_limit: None,
            stack_size: None,
        }
    }

    /// Creates the configuration of a pool without a limit, where every task starts immediately.
    pub fn unlimited() -> Self {
        Self::new(0)
    }

    /// Applies the rules of the setters to fields that were set directly.
    #[track_caller]
    pub(crate) fn checked(self) -> Self {
        // All fields are listed, so that a new field has to be considered here.
        let PoolConfig {
            pool_size,
            reserve_normal,
            reserve_high,
            min_size,
            max_size,
            idle_timeout,
            queue_limit,
            stack_size,
        } = self;
        PoolConfig {
            pool_size,
            reserve_normal,
            reserve_high,
            min_size: accept(rules::min_size(min_size)),
            max_size: accept(max_size.map(rules::max_size).transpose()),
            idle_timeout,
            queue_limit,
            stack_size: accept(stack_size.map(rules::stack_size).transpose()),
        }
    }

    /// Reserves slots beyond `pool_size` for tasks of normal priority or higher.
    ///
    /// ```
    /// # use atasker_runtime as atasker;
    /// use atasker::PoolConfig;
    /// let config = PoolConfig::new(4).reserve_normal(2);
    /// # let _ = config;
    /// ```
    pub fn reserve_normal(mut self, slots: usize) -> Self {
        self.reserve_normal = slots;
        self
    }

    /// Reserves slots beyond those for tasks of high priority.
    ///
    /// ```
    /// # use atasker_runtime as atasker;
    /// use atasker::PoolConfig;
    /// let config = PoolConfig::new(4).reserve_high(1);
    /// # let _ = config;
    /// ```
    pub fn reserve_high(mut self, slots: usize) -> Self {
        self.reserve_high = slots;
        self
    }

    /// Starts this many threads eagerly and keeps them alive while idle.
    ///
    /// ```
    /// # use atasker_runtime as atasker;
    /// use atasker::PoolConfig;
    /// let config = PoolConfig::new(4).min_size(2);
    /// # let _ = config;
    /// ```
    ///
    /// # Panics
    ///
    /// Panics if `threads` is more than 65,536.
    #[track_caller]
    pub fn min_size(mut self, threads: usize) -> Self {
        self.min_size = accept(rules::min_size(threads));
        self
    }

    /// Limits the number of threads that hold slots to `threads`, whatever the reserves are.
    /// Threads that are blocked in a wait and threads of critical tasks are not counted.
    ///
    /// # Panics
    ///
    /// Panics if `threads` is 0, because no task would ever run.
    ///
    /// ```should_panic
    /// # use atasker_runtime as atasker;
    /// use atasker::PoolConfig;
    /// let config = PoolConfig::new(4).max_size(0);
    /// ```
    #[track_caller]
    pub fn max_size(mut self, threads: usize) -> Self {
        self.max_size = Some(accept(rules::max_size(threads)));
        self
    }

    /// Sets how long a thread is kept alive without work (default: 30 s). [`Duration::MAX`] keeps
    /// threads alive indefinitely.
    ///
    /// ```
    /// # use atasker_runtime as atasker;
    /// use atasker::PoolConfig;
    /// let config = PoolConfig::new(4).idle_timeout(std::time::Duration::MAX);
    /// # let _ = config;
    /// ```
    pub fn idle_timeout(mut self, timeout: Duration) -> Self {
        self.idle_timeout = timeout;
        self
    }

    /// Limits the number of tasks that wait for a slot to `tasks`; `overflow` selects what happens
    /// to one more. With 0, a task that finds no free slot exceeds the limit.
    ///
    /// [`Overflow::Block`] blocks the launching thread; see there about threads of a tokio runtime.
    ///
    /// ```
    /// # use atasker_runtime as atasker;
    /// use atasker::{Overflow, PoolConfig};
    /// let config = PoolConfig::new(4).queue_limit(1_000, Overflow::Reject);
    /// # let _ = config;
    /// ```
    pub fn queue_limit(mut self, tasks: usize, overflow: Overflow) -> Self {
        self.queue_limit = Some((tasks, overflow));
        self
    }

    /// Sets the stack size of each thread, in bytes (default: that of std). Less than 128 KiB
    /// counts as 128 KiB, because the pool and the reporting of panics need some of it.
    ///
    /// ```
    /// # use atasker_runtime as atasker;
    /// use atasker::PoolConfig;
    /// let config = PoolConfig::new(4).stack_size(8 << 20);
    /// # let _ = config;
    /// ```
    ///
    /// # Panics
    ///
    /// Panics if `bytes` is larger than the address space.
    #[track_caller]
    pub fn stack_size(mut self, bytes: usize) -> Self {
        self.stack_size = Some(accept(rules::stack_size(bytes)));
        self
    }
}

/// Returns the configuration of a supervisor that is given none: 5 slots per CPU, 5 more for tasks
/// of normal priority or higher, and 5 more for tasks of high priority.
impl Default for PoolConfig {
    fn default() -> Self {
        Self::new(5 * cpus()).reserve_normal(5).reserve_high(5)
    }
}

/// Returns the number of CPUs available to this process, or 1 if unknown.
pub(crate) fn cpus() -> usize {
    std::thread::available_parallelism().map_or(1, |n| n.get())
}

/// Options for stopping a supervisor.
///
/// ```
/// # use atasker_runtime as atasker;
/// use std::time::Duration;
/// use atasker::{StopOptions, Supervisor};
/// let sup = Supervisor::builder().build();
/// let task = sup.spawn(|| 1);
/// let report = sup.stop(StopOptions::new().wait(Duration::from_secs(3)));
/// assert_eq!(report.abandoned, 0);
/// assert_eq!(task.join().unwrap(), 1);
/// ```
///
/// They can be part of a configuration file:
///
/// ```
/// # extern crate atasker_runtime as atasker;
/// use atasker::StopOptions;
/// let options: StopOptions = toml::from_str("wait = '10s'\ncancel_tasks = true")?;
/// # Ok::<(), toml::de::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
#[must_use = "the options do nothing until they are given to `stop` or `stop_async`"]
pub struct StopOptions {
    /// The longest wait for tasks; `None` means without limit.
    #[serde(with = "duration::optional")]
    pub wait: Option<Duration>,
    /// Whether queued tasks are canceled and running ones asked to stop.
    pub cancel_tasks: bool,
}

impl StopOptions {
    /// Creates options that wait for all tasks, however long they take.
    pub fn new() -> Self {
        Self::default()
    }

    /// Waits for at most `limit`. Then worker processes are killed, async tasks are dropped,
    /// threads are abandoned, and the handles resolve to `SupervisorStopped`.
    ///
    /// The limit applies to every worker process: one that is still starting, or still running its
    /// `worker_exit`, is killed when the limit is over. Idle worker processes are told to end at
    /// that moment and have 100 ms to do so.
    pub fn wait(mut self, limit: impl Into<Option<Duration>>) -> Self {
        self.wait = limit.into();
        self
    }

    /// Cancels the waiting tasks and asks the running ones to stop.
    pub fn cancel_tasks(mut self, cancel: bool) -> Self {
        self.cancel_tasks = cancel;
        self
    }
}

/// What became of the tasks that existed when a supervisor was stopped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct StopReport {
    /// Tasks that ended on their own, successfully or not, while the supervisor waited.
    pub completed: u64,
    /// Tasks that were canceled before they began.
    pub canceled: u64,
    /// Tasks that had not ended at the deadline and were killed, dropped or abandoned.
    pub abandoned: u64,
}
