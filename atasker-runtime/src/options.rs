//! What a user says about pools, stopping and launching. Plain data: dispatch gives it meaning.

use std::time::Duration;

/// What happens to a launch when a queue is at its limit.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Overflow {
    /// The launcher waits for room. It never waits inside a task or an aloop: there the task is
    /// admitted over the limit, for waiting could mean to wait for oneself.
    #[default]
    Block,
    /// The task completes at once with [`TaskError::QueueFull`](crate::TaskError::QueueFull).
    Reject,
}

/// The size and rules of a supervisor's thread pool.
///
/// Let *n* be the number of non-critical tasks that hold a slot. A low task starts while
/// *n* < `pool_size`, a normal one while *n* < `pool_size + reserve_normal`, a high one while
/// *n* < `pool_size + reserve_normal + reserve_high`. Critical ones start at once.
///
/// ```
/// use atasker_runtime::{PoolConfig, Supervisor};
/// let sup = Supervisor::builder()
///     .thread_pool(PoolConfig::new(20).reserve_normal(5).reserve_high(5))
///     .build();
/// assert_eq!(sup.spawn(|| 2 + 2).join().unwrap(), 4);
/// ```
#[derive(Clone, Debug)]
pub struct PoolConfig {
    pub(crate) pool_size: usize,
    pub(crate) reserve_normal: usize,
    pub(crate) reserve_high: usize,
    pub(crate) min_size: usize,
    pub(crate) max_size: Option<usize>,
    pub(crate) idle_timeout: Duration,
    pub(crate) queue_limit: Option<(usize, Overflow)>,
    pub(crate) stack_size: Option<usize>,
}

/// How long an idle thread or worker process stays by default.
pub(crate) const IDLE_TIMEOUT: Duration = Duration::from_secs(30);

impl PoolConfig {
    /// A pool of `pool_size` threads without reserves; 0 means no limit.
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

    /// A pool without a limit: every task starts at once.
    pub fn unlimited() -> Self {
        Self::new(0)
    }

    /// What a supervisor has when nothing is said: `5 * cpus` threads, 5 + 5 in reserve.
    pub(crate) fn standard() -> Self {
        Self::new(5 * cpus()).reserve_normal(5).reserve_high(5)
    }

    /// Slots beyond `pool_size` for tasks of normal priority or higher.
    pub fn reserve_normal(mut self, slots: usize) -> Self {
        self.reserve_normal = slots;
        self
    }
    /// Slots beyond those for tasks of high priority.
    pub fn reserve_high(mut self, slots: usize) -> Self {
        self.reserve_high = slots;
        self
    }
    /// So many threads are started in advance, and stay when idle.
    pub fn min_size(mut self, threads: usize) -> Self {
        self.min_size = threads;
        self
    }
    /// At most so many threads hold slots, whatever the reserves say. Threads that are blocked in
    /// a wait, and those of critical tasks, are not counted.
    pub fn max_size(mut self, threads: usize) -> Self {
        self.max_size = Some(threads);
        self
    }
    /// How long a thread stays without work (default 30 s).
    pub fn idle_timeout(mut self, timeout: Duration) -> Self {
        self.idle_timeout = timeout;
        self
    }
    /// At most `tasks` wait; what happens to one more, `overflow` says.
    pub fn queue_limit(mut self, tasks: usize, overflow: Overflow) -> Self {
        self.queue_limit = Some((tasks, overflow));
        self
    }
    /// The stack of each thread, in bytes (default: what std gives).
    pub fn stack_size(mut self, bytes: usize) -> Self {
        self.stack_size = Some(bytes);
        self
    }
}

/// The number of CPUs that this process may use; 1 where it can't be told.
pub(crate) fn cpus() -> usize {
    std::thread::available_parallelism().map_or(1, |n| n.get())
}

/// How a supervisor is stopped.
///
/// ```
/// use std::time::Duration;
/// use atasker_runtime::{StopOptions, Supervisor};
/// let sup = Supervisor::builder().build();
/// let task = sup.spawn(|| 1);
/// let report = sup.stop(StopOptions::new().wait(Duration::from_secs(3)));
/// assert_eq!(report.abandoned, 0);
/// assert_eq!(task.join().unwrap(), 1);
/// ```
#[derive(Clone, Debug, Default)]
pub struct StopOptions {
    pub(crate) wait: Option<Duration>,
    pub(crate) cancel_tasks: bool,
}

impl StopOptions {
    /// Waits for all tasks, however long they take.
    pub fn new() -> Self {
        Self::default()
    }
    /// Waits at most so long; then worker processes are killed, async tasks dropped, threads
    /// abandoned, and their handles resolve to `SupervisorStopped`.
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

/// What became of the tasks that were there when a supervisor was told to stop.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct StopReport {
    /// Tasks that ended by themselves (also with an error) while the supervisor waited.
    pub completed: u64,
    /// Tasks that were canceled before they began.
    pub canceled: u64,
    /// Tasks that had not ended at the deadline: killed, dropped or abandoned.
    pub abandoned: u64,
}
