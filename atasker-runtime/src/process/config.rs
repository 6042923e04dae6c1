//! The configuration of a pool of worker processes. Plain data, interpreted by the pool.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::backlog::Limits;
use crate::config_file::rules::{self, accept};
use crate::config_file::{duration, queue_limits, values};
use crate::options::{IDLE_TIMEOUT, Overflow, cpus};
use crate::process::data::WorkerData;
use crate::sys::hooks::Hook;

/// Where the standard output and the standard error of worker processes go.
///
/// ```
/// # use atasker_runtime as atasker;
/// use atasker::{MpPoolConfig, WorkerStdio};
/// let config = MpPoolConfig::new(2).stdio(WorkerStdio::Log);
/// # let _ = config;
/// ```
///
/// In a configuration file, the names are in lower case: `"inherit"`, `"null"`, `"log"`.
#[cfg(feature = "mp")]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum WorkerStdio {
    /// To those of the program.
    #[default]
    Inherit,
    /// To `/dev/null`.
    Null,
    /// To `tracing`, line by line: standard output at the level INFO, standard error at WARN, with
    /// the target `atasker` and the fields `worker` (the process id), `task` and `stream`.
    ///
    /// The field `task` is the task that the worker had begun last when it wrote the line. The
    /// lines of a task appear before its end is visible, and what a worker wrote before its death
    /// is not lost. A line longer than 16 KiB is split. A worker that writes faster than the
    /// subscriber consumes blocks in its write. Output that is still in a buffer when the task ends
    /// (of C's `printf`, for example) appears later or, after a crash, not at all.
    Log,
}

/// The size and the rules of a supervisor's pool of worker processes.
///
/// Slots work as in a thread pool, see [`PoolConfig`](crate::PoolConfig); each worker process runs
/// one task at a time. Worker processes are started when they are needed.
///
/// A worker process is a new copy of the program that never reaches `main`. It has nothing that
/// `main` has set up: no statics, no subscriber, no arguments. Values that all tasks need there are
/// passed by [`worker_data`](Self::worker_data) or created by [`worker_init`](Self::worker_init).
///
/// Calls use memory that a worker process shares with the program. If the system denies that (by a
/// seccomp filter without memfd, for example), or if `ATASKER_WORKERS=sockets` is in the program's
/// environment, calls go over sockets. That is slower, and a task can't be canceled once it is in
/// transit to a worker process, as if it had begun.
///
/// ```
/// # use atasker_runtime as atasker;
/// use atasker::{MpPoolConfig, Supervisor};
/// let sup = Supervisor::builder()
///     .mp_pool(MpPoolConfig::new(2).reserve_high(1).max_tasks_per_worker(1000))
///     .build();
/// assert_eq!(sup.info().mp_pool.unwrap().workers.len(), 0);
/// ```
///
/// Each field has a setter of the same name. A supervisor checks its configuration like the setters
/// do. The settings of [`worker_init`](Self::worker_init), [`worker_exit`](Self::worker_exit) and
/// [`worker_data`](Self::worker_data) have no public field. The `Debug` output names the variables
/// of `env` and the type of the worker data, but shows none of their values.
///
/// ```
/// # use atasker_runtime as atasker;
/// use atasker::{MpPoolConfig, Supervisor};
/// let mut config = MpPoolConfig::default();
/// config.nice = 5;
/// config.env.insert("API_TOKEN".into(), "secret".into());
/// assert!(!format!("{config:?}").contains("secret"));
/// let sup = Supervisor::builder().mp_pool(config.clone()).build();
/// assert_eq!(sup.mp_pool(), config);
/// ```
///
/// Two configurations are equal if all settings are: the values of `worker_data` if they have the same
/// type and the same encoding, `worker_init` and `worker_exit` if they are the same functions.
///
/// In a configuration file, the fields have the same names, see
/// [`SupervisorConfig`](crate::SupervisorConfig). The values of `env` are written as they are.
/// `worker_init`, `worker_exit` and `worker_data` are neither written nor read: the program adds them
/// to what it has read.
///
/// ```
/// # extern crate atasker_runtime as atasker;
/// use atasker::MpPoolConfig;
/// let config: MpPoolConfig = toml::from_str("pool_size = 2\nenv.MODE = 'fast'")?;
/// let config = config.worker_data("a dictionary");
/// assert_eq!(config.env["MODE"], "fast");
/// # Ok::<(), toml::de::Error>(())
/// ```
#[cfg(feature = "mp")]
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
#[must_use = "a configuration does nothing until it is given to a supervisor"]
pub struct MpPoolConfig {
    /// The number of slots for tasks of any priority; 0 means no limit.
    pub pool_size: usize,
    /// The number of slots beyond `pool_size` for tasks of normal priority or higher.
    pub reserve_normal: usize,
    /// The number of slots beyond `pool_size` and `reserve_normal` for tasks of high priority.
    pub reserve_high: usize,
    /// The number of critical tasks that may run in worker processes beyond the pool.
    pub critical_extra: usize,
    /// The number of worker processes that are started eagerly and kept alive while idle: at most
    /// 65,536.
    #[serde(deserialize_with = "values::min_size")]
    pub min_size: usize,
    /// How long a worker process is kept alive without work; [`Duration::MAX`] means forever.
    #[serde(with = "duration")]
    pub idle_timeout: Duration,
    /// The number of tasks after which a worker process is replaced; `None` means never.
    #[serde(deserialize_with = "values::zero_is_unlimited")]
    pub max_tasks_per_worker: Option<u64>,
    /// The address space, in bytes, that a worker process may add to what it has at its start;
    /// `None` means no limit.
    #[serde(deserialize_with = "values::zero_is_unlimited")]
    pub memory_limit: Option<u64>,
    /// Environment variables of the worker processes, in addition to those of the program.
    #[serde(deserialize_with = "values::env")]
    pub env: BTreeMap<String, String>,
    /// Where standard output and standard error of the worker processes go.
    pub stdio: WorkerStdio,
    #[serde(skip)]
    pub(crate) worker_init: Option<Hook>,
    #[serde(skip)]
    pub(crate) worker_exit: Option<Hook>,
    /// By how much the nice value of the worker processes is above that of the program.
    pub nice: i32,
    /// Whether tasks of low priority run with a nice value 10 above that of others.
    pub nice_by_priority: bool,
    /// Whether core files of worker processes may be written, and other processes of the same user
    /// may trace them and read their memory.
    pub dumpable: bool,
    /// Whether worker processes after the first are forked from a template.
    pub template: bool,
    #[serde(skip)]
    pub(crate) worker_data: Option<Arc<WorkerData>>,
    /// The most tasks that wait, and what happens to one more.
    #[serde(with = "queue_limits::tasks")]
    pub queue_limit: Option<(usize, Overflow)>,
    /// The most bytes of encoded arguments that wait, and what happens to a task beyond that.
    #[serde(with = "queue_limits::bytes")]
    pub queue_bytes: Option<(u64, Overflow)>,
    #[serde(skip)]
    pub(crate) over_sockets: bool,
    #[serde(skip)]
    pub(crate) template_first: bool,
}

impl fmt::Debug for MpPoolConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // All fields are listed, so that a new field has to be considered here.
        let MpPoolConfig {
            pool_size,
            reserve_normal,
            reserve_high,
            critical_extra,
            min_size,
            idle_timeout,
            max_tasks_per_worker,
            memory_limit,
            env,
            stdio,
            worker_init,
            worker_exit,
            nice,
            nice_by_priority,
            dumpable,
            template,
            worker_data,
            queue_limit,
            queue_bytes,
            over_sockets: _,
            template_first: _,
        } = self;
        f.debug_struct("MpPoolConfig")
            .field("pool_size", pool_size)
            .field("reserve_normal", reserve_normal)
            .field("reserve_high", reserve_high)
            .field("critical_extra", critical_extra)
            .field("min_size", min_size)
            .field("idle_timeout", idle_timeout)
            .field("max_tasks_per_worker", max_tasks_per_worker)
            .field("memory_limit", memory_limit)
            // Values may be secrets.
            .field("env", &env.keys().collect::<Vec<_>>())
            .field("stdio", stdio)
            .field("worker_init", &worker_init.is_some())
            .field("worker_exit", &worker_exit.is_some())
            .field("nice", nice)
            .field("nice_by_priority", nice_by_priority)
            .field("dumpable", dumpable)
            .field("template", template)
            .field("worker_data", worker_data)
            .field("queue_limit", queue_limit)
            .field("queue_bytes", queue_bytes)
            .finish_non_exhaustive()
    }
}

impl MpPoolConfig {
    /// Creates the configuration of a pool with `pool_size` worker processes and no reserves. 0
    /// means no limit.
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
            env: BTreeMap::new(),
            stdio: WorkerStdio::Inherit,
            worker_init: None,
            worker_exit: None,
            nice: 0,
            nice_by_priority: false,
            dumpable: true,
            template: false,
            worker_data: None,
            queue_limit: None,
            queue_bytes: None,
            over_sockets: false,
            template_first: false,
        }
    }

    /// Creates the configuration of a pool without a limit, where every running task has a worker
    /// process.
    pub fn unlimited() -> Self {
        Self::new(0)
    }

    /// Applies the rules of the setters to fields that were set directly.
    #[track_caller]
    pub(crate) fn checked(self) -> Self {
        // All fields are listed, so that a new field has to be considered here.
        let MpPoolConfig {
            pool_size: _,
            reserve_normal: _,
            reserve_high: _,
            critical_extra: _,
            min_size,
            idle_timeout: _,
            max_tasks_per_worker,
            memory_limit,
            ref env,
            stdio: _,
            worker_init: _,
            worker_exit: _,
            nice: _,
            nice_by_priority: _,
            dumpable: _,
            template: _,
            worker_data: _,
            queue_limit: _,
            queue_bytes: _,
            over_sockets: _,
            template_first: _,
        } = self;
        for (key, value) in env {
            accept(rules::variable(key, value));
        }
        MpPoolConfig {
            min_size: accept(rules::min_size(min_size)),
            max_tasks_per_worker: max_tasks_per_worker.and_then(rules::zero_is_unlimited),
            memory_limit: memory_limit.and_then(rules::zero_is_unlimited),
            ..self
        }
    }

    /// Reserves slots beyond `pool_size` for tasks of normal priority or higher.
    ///
    /// ```
    /// # use atasker_runtime as atasker;
    /// use atasker::MpPoolConfig;
    /// let config = MpPoolConfig::new(2).reserve_normal(1);
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
    /// use atasker::MpPoolConfig;
    /// let config = MpPoolConfig::new(2).reserve_high(1);
    /// # let _ = config;
    /// ```
    pub fn reserve_high(mut self, slots: usize) -> Self {
        self.reserve_high = slots;
        self
    }
    /// Sets how many critical tasks may run in worker processes beyond the pool (default: the
    /// number of CPUs).
    ///
    /// One more critical task takes a slot of the pool, like a task of high priority, and counts
    /// there until only `processes` critical tasks are left. If no slot is free, it waits ahead of
    /// all other tasks. So at most `pool_size + reserve_normal + reserve_high + processes` tasks
    /// run at once. With 0, critical tasks are only queued ahead of all others.
    ///
    /// ```
    /// # extern crate atasker_runtime as atasker;
    /// use atasker::MpPoolConfig;
    /// // Two tasks at once, whatever their priority, and two more critical ones.
    /// let config = MpPoolConfig::new(2).critical_extra(2);
    /// ```
    pub fn critical_extra(mut self, processes: usize) -> Self {
        self.critical_extra = processes;
        self
    }
    /// Starts this many worker processes eagerly and keeps them alive while idle.
    ///
    /// ```
    /// # use atasker_runtime as atasker;
    /// use atasker::MpPoolConfig;
    /// let config = MpPoolConfig::new(2).min_size(2);
    /// # let _ = config;
    /// ```
    ///
    /// # Panics
    ///
    /// Panics if `processes` is more than 65,536.
    #[track_caller]
    pub fn min_size(mut self, processes: usize) -> Self {
        self.min_size = accept(rules::min_size(processes));
        self
    }
    /// Sets how long a worker process is kept alive without work (default: 30 s).
    ///
    /// ```
    /// # use atasker_runtime as atasker;
    /// use atasker::MpPoolConfig;
    /// let config = MpPoolConfig::new(2).idle_timeout(std::time::Duration::from_secs(5));
    /// # let _ = config;
    /// ```
    pub fn idle_timeout(mut self, timeout: Duration) -> Self {
        self.idle_timeout = timeout;
        self
    }
    /// Replaces a worker process by a new one after it has run this many tasks. 0 means no limit.
    ///
    /// ```
    /// # use atasker_runtime as atasker;
    /// use atasker::MpPoolConfig;
    /// let config = MpPoolConfig::new(2).max_tasks_per_worker(1_000);
    /// # let _ = config;
    /// ```
    pub fn max_tasks_per_worker(mut self, tasks: u64) -> Self {
        self.max_tasks_per_worker = rules::zero_is_unlimited(tasks);
        self
    }
    /// Limits the address space, in bytes, that a worker process may add to what it has at its
    /// start. 0 means no limit.
    ///
    /// A task that exceeds the limit fails to allocate, which ends its worker process by SIGABRT,
    /// unless the task allocates by `try_reserve`. Stacks, and the space that the allocator
    /// reserves for each further thread, count as well.
    ///
    /// The limit also bounds what a worker process can make this process receive as one result: a
    /// longer reply violates the protocol, and the worker process is killed. Without a limit, the
    /// length of a result is not bounded.
    ///
    /// ```
    /// # use atasker_runtime as atasker;
    /// use atasker::MpPoolConfig;
    /// let config = MpPoolConfig::new(2).memory_limit(512 << 20);
    /// # let _ = config;
    /// ```
    pub fn memory_limit(mut self, bytes: u64) -> Self {
        self.memory_limit = rules::zero_is_unlimited(bytes);
        self
    }
    /// Sets an environment variable of the worker processes, in addition to those of the program.
    ///
    /// # Panics
    ///
    /// Panics if this is not a valid variable: the key is empty or contains `=` or NUL, or the
    /// value contains NUL.
    ///
    /// ```should_panic
    /// # use atasker_runtime as atasker;
    /// use atasker::MpPoolConfig;
    /// let config = MpPoolConfig::new(1).env("A=B", "1");
    /// ```
    #[track_caller]
    pub fn env(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        let (key, value) = (key.into(), value.into());
        accept(rules::variable(&key, &value));
        self.env.insert(key, value);
        self
    }
    /// Sets where standard output and standard error of the worker processes go.
    ///
    /// ```
    /// # use atasker_runtime as atasker;
    /// use atasker::{MpPoolConfig, WorkerStdio};
    /// let config = MpPoolConfig::new(2).stdio(WorkerStdio::Null);
    /// # let _ = config;
    /// ```
    pub fn stdio(mut self, stdio: WorkerStdio) -> Self {
        self.stdio = stdio;
        self
    }
    /// Runs `f` in each worker process before its first task. If `f` panics or ends the process,
    /// the worker process fails to start. Starting is retried a few times, then the waiting tasks
    /// fail with the reason.
    ///
    /// `f` is the path of a function, or a closure that captures nothing. It must be part of the
    /// program itself, not of a library that is loaded at run time. A worker process runs only
    /// functions that the program passes to this method or to [`worker_exit`](Self::worker_exit)
    /// somewhere, which is known when the program is linked.
    ///
    /// If the program has a `tracing` subscriber when the worker process is started, the worker
    /// process has one that forwards to it, and `f` can't set another one.
    ///
    /// ```
    /// # use atasker_runtime as atasker;
    /// use atasker::MpPoolConfig;
    ///
    /// fn open_log() { /* .. */ }
    /// let config = MpPoolConfig::new(2).worker_init(open_log).worker_exit(|| println!("done"));
    /// # let _ = config;
    /// ```
    ///
    /// # Panics
    ///
    /// Panics if `f` is a function pointer (a variable of type `fn()`) or a closure that captures
    /// something, because its target is not known when the program is linked. Pass a function that
    /// decides at run time instead, for example by [`worker_data`](crate::worker_data).
    #[track_caller]
    pub fn worker_init<F: Fn() + Copy + Send + Sync + 'static>(mut self, f: F) -> Self {
        self.worker_init = Some(registered(f, "worker_init"));
        self
    }
    /// Runs `f` in each worker process after its last task, if the process exits gracefully.
    ///
    /// For what `f` may be, see [`worker_init`](Self::worker_init).
    ///
    /// ```
    /// # use atasker_runtime as atasker;
    /// use atasker::MpPoolConfig;
    /// let config = MpPoolConfig::new(2).worker_exit(|| println!("a worker process ends"));
    /// # let _ = config;
    /// ```
    ///
    /// # Panics
    ///
    /// Panics in the same cases as [`worker_init`](Self::worker_init).
    #[track_caller]
    pub fn worker_exit<F: Fn() + Copy + Send + Sync + 'static>(mut self, f: F) -> Self {
        self.worker_exit = Some(registered(f, "worker_exit"));
        self
    }
    /// Sets by how much the nice value of the worker processes is above that of the program: 0
    /// means the same, and more than 19 counts as 19. A negative value needs a permission; without
    /// it, the nice value is that of the program, and a warning is logged.
    ///
    /// ```
    /// # use atasker_runtime as atasker;
    /// use atasker::MpPoolConfig;
    /// let config = MpPoolConfig::new(2).nice(10);
    /// # let _ = config;
    /// ```
    pub fn nice(mut self, nice: i32) -> Self {
        self.nice = nice;
        self
    }
    /// Runs tasks of low priority, and the processes that they start, with a nice value 10 above
    /// that of others.
    ///
    /// If the system does not permit a process to lower its nice value again (that needs
    /// CAP_SYS_NICE, or a sufficient RLIMIT_NICE), this has no effect. Otherwise a worker process
    /// that has run one task of low priority would be slow for all later tasks. A worker logs that
    /// once, at the level DEBUG.
    ///
    /// ```
    /// # use atasker_runtime as atasker;
    /// use atasker::MpPoolConfig;
    /// let config = MpPoolConfig::new(2).nice_by_priority(true);
    /// # let _ = config;
    /// ```
    pub fn nice_by_priority(mut self, yes: bool) -> Self {
        self.nice_by_priority = yes;
        self
    }
    /// Sets whether the system may write core files of worker processes, and whether other
    /// processes of the same user may trace them and read their memory (default: as for any
    /// program).
    ///
    /// `false` sets `PR_SET_DUMPABLE` to 0 in each worker process before its first task, for tasks
    /// that handle secrets. A debugger or a profiler of the same user can't attach then. This does
    /// not protect the program from its workers, and does not extend to processes that tasks start.
    /// On macOS and FreeBSD, it only forbids core files.
    ///
    /// ```
    /// # use atasker_runtime as atasker;
    /// use atasker::{MpPoolConfig, Supervisor};
    /// let sup = Supervisor::builder().mp_pool(MpPoolConfig::new(2).dumpable(false)).build();
    /// # let _ = sup;
    /// ```
    pub fn dumpable(mut self, yes: bool) -> Self {
        self.dumpable = yes;
        self
    }
    /// Sets whether worker processes after the first are forked from a *template* (default: `false`):
    /// a copy of the program that has run [`worker_init`](Self::worker_init) and then only waits.
    ///
    /// A worker process then starts in a fraction of the time that the execution of the program
    /// takes, and shares the memory that it does not change. That is worth most with
    /// [`max_tasks_per_worker(1)`](Self::max_tasks_per_worker), which gives each task its own process,
    /// and where `worker_init` takes long.
    ///
    /// ```
    /// # use atasker_runtime as atasker;
    /// use atasker::{MpPoolConfig, Supervisor};
    /// // Each task runs in a process that has run nothing before.
    /// let config = MpPoolConfig::new(2).max_tasks_per_worker(1).template(true);
    /// let sup = Supervisor::builder().mp_pool(config).build();
    /// # let _ = sup;
    /// ```
    ///
    /// The results, errors, limits, messages and ends of tasks are the same with and without it. These
    /// are the differences:
    ///
    /// * `worker_init` runs once per template, and not in each worker process. What it leaves in
    ///   memory, thread-local variables included, is in each of them. **Open files and connections
    ///   that it leaves are shared by all worker processes**, like those that a process inherits by
    ///   `fork`. Open a database connection with the first task that needs it instead. `worker_exit`
    ///   runs in each worker process, and not in the template.
    /// * Random state that exists when a worker process is forked is the same in all of them: a
    ///   generator that `worker_init` has used, and the keys of `HashMap`s of the task's thread if
    ///   `worker_init` has created one. Seed a generator in the task. The places of code and data in
    ///   memory are the same, too.
    /// * Handlers of `pthread_atfork` do not run. A library that counts on them must not be used by
    ///   `worker_init`.
    /// * The pool has one more process, which appears in no list of worker processes. It ends with the
    ///   pool, and when the pool has had no worker process for the
    ///   [`idle_timeout`](Self::idle_timeout).
    /// * What a process inherits (user and groups, environment, working directory, resource limits,
    ///   nice value, CPUs) is compared at each start, and the template is replaced if the program has
    ///   changed it. A change of anything else, such as the umask, the namespaces or the cgroup,
    ///   reaches only worker processes of the next template.
    ///
    /// **Worker processes start by execution, as without the option**, while there is no template that
    /// can be forked: until it is ready, after it has failed, and for good if `worker_init` leaves a
    /// thread running, because its locks could not be released in a copy. A message at the level DEBUG
    /// says so. The same holds on systems without `clone3` and on macOS and FreeBSD, and with a C
    /// library other than glibc.
    pub fn template(mut self, yes: bool) -> Self {
        self.template = yes;
        self
    }
    /// Passes a value to every worker process, which tasks get by
    /// [`worker_data`](crate::worker_data). The value is encoded by this call.
    ///
    /// ```
    /// # use atasker_runtime as atasker;
    /// use atasker::{MpPoolConfig, Supervisor, worker_data};
    /// let config = MpPoolConfig::new(2).worker_data(&vec![1_u32, 2]);
    /// let sup = Supervisor::builder().mp_pool(config).build();
    /// assert_eq!(worker_data::<Vec<u32>>(), Some(&vec![1, 2]));
    /// # drop(sup);
    /// ```
    ///
    /// # Panics
    ///
    /// Panics if the value can't be encoded.
    #[track_caller]
    pub fn worker_data<T: Serialize + ?Sized>(mut self, value: &T) -> Self {
        match WorkerData::encode(value) {
            Ok(data) => self.worker_data = Some(Arc::new(data)),
            Err(error) => panic!("the worker data can't be encoded: {error}"),
        }
        self
    }
    /// Limits the number of tasks that wait to `tasks`; `overflow` selects what happens to one
    /// more. With 0, a task that finds neither an idle worker process nor a free slot to start one
    /// in exceeds the limit.
    ///
    /// [`Overflow::Block`] blocks the launching thread; see there about threads of a tokio runtime.
    ///
    /// ```
    /// # use atasker_runtime as atasker;
    /// use atasker::{MpPoolConfig, Overflow};
    /// let config = MpPoolConfig::new(2).queue_limit(1_000, Overflow::Reject);
    /// # let _ = config;
    /// ```
    pub fn queue_limit(mut self, tasks: usize, overflow: Overflow) -> Self {
        self.queue_limit = Some((tasks, overflow));
        self
    }
    /// Limits the encoded arguments of waiting tasks to `bytes`; `overflow` selects what happens to
    /// a task beyond that. A task whose arguments alone exceed the limit is accepted when no other
    /// task waits.
    ///
    /// Tasks that have left the queue do not count. Each worker process has at most one task of any
    /// size, and up to 255 tasks behind it with at most 4 KiB of arguments each. If a task is
    /// canceled while its arguments are in transit, these remain until they have arrived. A blocked
    /// launcher holds the encoded arguments of its own task in addition to the queue. A task keeps
    /// its encoded arguments until it ends, because it may have to be sent again.
    ///
    /// Launches within tasks and on aloops never block, so with [`Overflow::Block`] this limit does
    /// not apply to them. Use [`Overflow::Reject`] there, or launch with
    /// [`bounded`](crate::bounded).
    ///
    /// ```
    /// # use atasker_runtime as atasker;
    /// use atasker::{MpPoolConfig, Overflow};
    /// // At most 64 MiB of arguments wait.
    /// let config = MpPoolConfig::new(2).queue_bytes(64 << 20, Overflow::Reject);
    /// # let _ = config;
    /// ```
    ///
    /// Without this limit or [`queue_limit`](Self::queue_limit), all arguments of waiting tasks are
    /// kept in memory.
    pub fn queue_bytes(mut self, bytes: u64, overflow: Overflow) -> Self {
        self.queue_bytes = Some((bytes, overflow));
        self
    }

    /// Makes the first worker process wait for the template, to test that each is forked from it.
    #[doc(hidden)]
    pub fn __template_first(mut self, yes: bool) -> Self {
        self.template_first = yes;
        self
    }

    /// Makes worker processes share no memory with the program, to test that mode.
    #[doc(hidden)]
    pub fn __over_sockets(mut self, yes: bool) -> Self {
        self.over_sockets = yes;
        self
    }

    /// Whether a worker process started with this configuration is the same as one started with the
    /// other.
    pub(crate) fn starts_the_same(&self, other: &Self) -> bool {
        // All fields are listed, so that a new field has to be considered here.
        let MpPoolConfig {
            pool_size: _,
            reserve_normal: _,
            reserve_high: _,
            critical_extra: _,
            min_size: _,
            idle_timeout: _,
            max_tasks_per_worker: _,
            queue_limit: _,
            queue_bytes: _,
            // A worker process is the same, however it was started.
            template: _,
            template_first: _,
            memory_limit,
            env,
            stdio,
            worker_init,
            worker_exit,
            nice,
            nice_by_priority,
            dumpable,
            worker_data,
            over_sockets,
        } = self;
        *memory_limit == other.memory_limit
            && *stdio == other.stdio
            && *nice == other.nice
            && *nice_by_priority == other.nice_by_priority
            && *dumpable == other.dumpable
            && *over_sockets == other.over_sockets
            && *worker_init == other.worker_init
            && *worker_exit == other.worker_exit
            && *env == other.env
            && worker_data == &other.worker_data
    }

    pub(crate) fn limits(&self) -> Limits {
        Limits {
            pool_size: self.pool_size,
            reserve_normal: self.reserve_normal,
            reserve_high: self.reserve_high,
            max_size: None,
            critical_extra: (self.pool_size != 0).then_some(self.critical_extra),
        }
    }
}

/// Returns the default configuration of a supervisor: one slot per CPU, one more for tasks of
/// normal priority or higher, and one more for tasks of high priority.
impl Default for MpPoolConfig {
    fn default() -> Self {
        Self::new(cpus()).reserve_normal(1).reserve_high(1)
    }
}

/// Registers a function in the table by which workers find it.
#[track_caller]
fn registered<F: Fn() + Copy + Send + Sync + 'static>(f: F, setter: &str) -> Hook {
    let Some(hook) = Hook::of(f) else {
        panic!(
            "`{setter}` takes the path of a function or a closure that captures nothing, not a \
             variable of type `fn()`: worker processes run only what is known when the program is \
             linked"
        );
    };
    hook
}
