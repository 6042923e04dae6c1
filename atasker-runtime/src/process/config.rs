//! What a user says about a pool of worker processes. Plain data: the pool gives it meaning.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use crate::backlog::Limits;
use crate::options::{IDLE_TIMEOUT, Overflow, cpus};
use crate::priority::Priority;
use crate::process::data::WorkerData;

/// Where the standard output and the standard error of worker processes go.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub enum WorkerStdio {
    /// To where the program's own go.
    #[default]
    Inherit,
    /// Nowhere.
    Null,
    /// To `tracing`, line by line: standard output at the level INFO, standard error at WARN, with
    /// the target `atasker` and the fields `worker` (its process id), `task` and `stream`.
    ///
    /// `task` is the one that the worker had begun last when it wrote the line. A task's lines come
    /// before its end is seen; what a worker wrote before its death comes, too. A line longer than
    /// 16 KiB comes in pieces. A worker that writes faster than the subscriber takes the lines
    /// waits. What a task has not written when it ends, because its program's own buffers
    /// hold it (those of C's `printf`, say), comes later or, at a crash, not at all.
    Log,
}

/// The size and rules of a supervisor's pool of worker processes.
///
/// Slots are given as in a thread pool, see [`PoolConfig`](crate::PoolConfig); each worker process
/// runs one task at a time. Worker processes are started when they are needed.
///
/// A worker process is a fresh copy of the program that never comes to `main`: it has nothing of
/// what `main` has set up, no statics, no subscriber, no arguments. What all tasks need there goes
/// with [`worker_data`](Self::worker_data) or is made by [`worker_init`](Self::worker_init).
///
/// Calls go through memory that a worker process shares with the program. Where the system denies
/// that (a seccomp filter without memfd, say) they go over sockets; so they do with
/// `ATASKER_WORKERS=sockets` in the program's environment. That is slower, and a task can't be
/// canceled any more once it is on its way to a worker process, as if it had begun.
///
/// ```
/// use atasker_runtime::{MpPoolConfig, Supervisor};
/// let sup = Supervisor::builder()
///     .mp_pool(MpPoolConfig::new(2).reserve_high(1).max_tasks_per_worker(1000))
///     .build();
/// assert_eq!(sup.info().mp_pool.unwrap().workers.len(), 0);
/// ```
#[derive(Clone, Debug)]
pub struct MpPoolConfig {
    pub(crate) pool_size: usize,
    pub(crate) reserve_normal: usize,
    pub(crate) reserve_high: usize,
    pub(crate) critical_extra: usize,
    pub(crate) min_size: usize,
    pub(crate) idle_timeout: Duration,
    pub(crate) max_tasks_per_worker: Option<u64>,
    pub(crate) memory_limit: Option<u64>,
    pub(crate) env: Vec<(String, String)>,
    pub(crate) stdio: WorkerStdio,
    pub(crate) worker_init: Option<fn()>,
    pub(crate) worker_exit: Option<fn()>,
    pub(crate) nice: i32,
    pub(crate) nice_by_priority: bool,
    pub(crate) worker_data: Option<Arc<WorkerData>>,
    pub(crate) queue_limit: Option<(usize, Overflow)>,
    pub(crate) queue_bytes: Option<(u64, Overflow)>,
    pub(crate) over_sockets: bool,
}

impl MpPoolConfig {
    /// A pool of `pool_size` worker processes without reserves; 0 means no limit.
    pub fn new(pool_size: usize) -> Self {
        MpPoolConfig {
            pool_size,
            reserve_normal: 0,
            reserve_high: 0,
            critical_extra: cpus(),
            min_size: 0,
            idle_timeout: IDLE_TIMEOUT,
            max_tasks_per_worker: None,
            memory_limit: None,
            env: Vec::new(),
            stdio: WorkerStdio::Inherit,
            worker_init: None,
            worker_exit: None,
            nice: 0,
            nice_by_priority: false,
            worker_data: None,
            queue_limit: None,
            queue_bytes: None,
            over_sockets: false,
        }
    }

    /// A pool without a limit: a worker process for every task that runs.
    pub fn unlimited() -> Self {
        Self::new(0)
    }

    /// What a supervisor has when nothing is said: as many as there are CPUs, 1 + 1 in reserve.
    pub(crate) fn standard() -> Self {
        Self::new(cpus()).reserve_normal(1).reserve_high(1)
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
    /// So many worker processes beyond the pool may run critical tasks (default: the number of
    /// CPUs). After that, critical tasks wait ahead of everything else.
    pub fn critical_extra(mut self, processes: usize) -> Self {
        self.critical_extra = processes;
        self
    }
    /// So many worker processes are started in advance, and stay when idle.
    pub fn min_size(mut self, processes: usize) -> Self {
        self.min_size = processes;
        self
    }
    /// How long a worker process stays without work (default 30 s).
    pub fn idle_timeout(mut self, timeout: Duration) -> Self {
        self.idle_timeout = timeout;
        self
    }
    /// A worker process ends after so many tasks, and a new one takes over. 0 means no limit.
    pub fn max_tasks_per_worker(mut self, tasks: u64) -> Self {
        self.max_tasks_per_worker = (tasks > 0).then_some(tasks);
        self
    }
    /// Caps the address space that a worker process may add to what it has at its start: a task
    /// that asks for more fails to allocate, and that ends its worker process with SIGABRT unless the
    /// task asked by `try_reserve`. Stacks and the room that the allocator sets aside for each further
    /// thread count, too.
    pub fn memory_limit(mut self, bytes: u64) -> Self {
        self.memory_limit = (bytes > 0).then_some(bytes);
        self
    }
    /// An environment variable of the worker processes, beside those of the program.
    pub fn env(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.env.push((key.into(), value.into()));
        self
    }
    /// Where standard output and standard error of the worker processes go.
    pub fn stdio(mut self, stdio: WorkerStdio) -> Self {
        self.stdio = stdio;
        self
    }
    /// Runs in each worker process before its first task. A panic in it, or its end, is that of the
    /// worker process: it is tried again a few times, then the waiting tasks fail and say why.
    ///
    /// `f` must be a function of the program itself, not of a library that it loads at run time.
    pub fn worker_init(mut self, f: fn()) -> Self {
        self.worker_init = Some(f);
        self
    }
    /// Runs in each worker process after its last task, when it ends in order.
    pub fn worker_exit(mut self, f: fn()) -> Self {
        self.worker_exit = Some(f);
        self
    }
    /// How much nicer than the program the worker processes are to others: 0, as the program, up to
    /// 19. Less than 0 needs a permission; without it, they are as nice as the program, and a warning
    /// is logged.
    pub fn nice(mut self, nice: i32) -> Self {
        self.nice = nice;
        self
    }
    /// Tasks of low priority, and what they start, are nicer by 10 than the others.
    ///
    /// Where the system does not permit a process to be less nice again (that takes CAP_SYS_NICE,
    /// or a limit RLIMIT_NICE that allows it), this changes nothing: else a worker process that has
    /// run one task of low priority would be slow for all others after it. A worker says so once, at
    /// the level DEBUG.
    pub fn nice_by_priority(mut self, yes: bool) -> Self {
        self.nice_by_priority = yes;
        self
    }
    /// A value that every worker process finds as
    /// [`worker_data::<T>()`](crate::worker_data). It is encoded here and now.
    ///
    /// # Panics
    /// If the value can't be encoded.
    #[track_caller]
    pub fn worker_data<T: Serialize + ?Sized>(mut self, value: &T) -> Self {
        match WorkerData::encode(value) {
            Ok(data) => self.worker_data = Some(Arc::new(data)),
            Err(error) => panic!("the worker data can't be encoded: {error}"),
        }
        self
    }
    /// At most `tasks` wait; what happens to one more, `overflow` says.
    pub fn queue_limit(mut self, tasks: usize, overflow: Overflow) -> Self {
        self.queue_limit = Some((tasks, overflow));
        self
    }
    /// At most so many bytes of encoded arguments wait; what happens to a task beyond that,
    /// `overflow` says. A task whose arguments alone are more is taken when none waits.
    ///
    /// What has left the queue does not count: each worker process has at most one task of any size,
    /// and behind it up to 255 whose arguments are 4 KiB at most; of a task that was canceled while
    /// its arguments were on their way, these stay until they are there. A launcher that waits has
    /// its own task's arguments, encoded, beside the queue. A task keeps its encoded arguments until
    /// it ends, for it may have to be sent again.
    ///
    /// Launches inside of tasks and on aloops never wait, so there this limit holds nobody up with
    /// [`Overflow::Block`]: use [`Overflow::Reject`], or launch by [`bounded`](crate::bounded).
    ///
    /// Without this limit, or [`queue_limit`](Self::queue_limit), all arguments of waiting tasks
    /// are kept in memory.
    pub fn queue_bytes(mut self, bytes: u64, overflow: Overflow) -> Self {
        self.queue_bytes = Some((bytes, overflow));
        self
    }

    /// Worker processes share no memory with the program: for tests of what is done where they can't.
    #[doc(hidden)]
    pub fn __over_sockets(mut self, yes: bool) -> Self {
        self.over_sockets = yes;
        self
    }

    pub(crate) fn limits(&self) -> Limits {
        let mut limits = Limits {
            pool_size: self.pool_size,
            reserve_normal: self.reserve_normal,
            reserve_high: self.reserve_high,
            max_size: None,
            critical_total: None,
        };
        if self.pool_size != 0 {
            let pool = limits.of(Priority::High);
            limits.critical_total = Some(pool.saturating_add(self.critical_extra));
        }
        limits
    }
}
