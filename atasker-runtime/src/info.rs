//! Snapshots of tasks and supervisors, as plain data.

use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use crate::id::TaskId;
use crate::info_serde;
use crate::priority::Priority;

/// The kind of place where a task runs.
///
/// ```
/// # use atasker_runtime as atasker;
/// use atasker::{TaskBuilder, TaskType};
/// let task = TaskBuilder::new(|| 42).start();
/// assert_eq!(task.tt(), TaskType::Thread);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum TaskType {
    /// On an aloop.
    Async,
    /// On a pool thread.
    Thread,
    /// In a worker process.
    Mp,
    /// On a node of a cluster.
    Remote,
}

impl TaskType {
    /// Returns the name as written in the attribute.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            TaskType::Async => "async",
            TaskType::Thread => "thread",
            TaskType::Mp => "mp",
            TaskType::Remote => "remote",
        }
    }
}

/// The status of a task.
///
/// ```
/// # use atasker_runtime as atasker;
/// use std::time::Duration;
/// use atasker::{TaskBuilder, TaskStatus};
/// let task = TaskBuilder::new(|| 42).delay(Duration::from_secs(3600)).start();
/// assert_eq!(task.status(), TaskStatus::Delayed);
/// assert!(task.cancel());
/// assert_eq!(task.status(), TaskStatus::Canceled);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum TaskStatus {
    /// Canceled before it began, or killed.
    Canceled,
    /// Waiting for a slot.
    Queued,
    /// Waiting for its delay or for its next attempt.
    Delayed,
    /// Running.
    Started,
    /// Ended, with a result or an error.
    Completed,
}

impl TaskStatus {
    /// Returns the numeric code of the status: queued 0, delayed 2, started 100, completed 200,
    /// canceled -1.
    ///
    /// ```
    /// # use atasker_runtime as atasker;
    /// assert_eq!(atasker::TaskStatus::Started.code(), 100);
    /// ```
    pub fn code(self) -> i16 {
        match self {
            TaskStatus::Canceled => -1,
            TaskStatus::Queued => 0,
            TaskStatus::Delayed => 2,
            TaskStatus::Started => 100,
            TaskStatus::Completed => 200,
        }
    }
}

/// How a task ended.
///
/// ```
/// # use atasker_runtime as atasker;
/// use atasker::{Outcome, Supervisor};
/// let sup = Supervisor::builder().build();
/// let task = sup.spawn(|| panic!("no luck"));
/// assert!(task.wait().is_err());
/// assert_eq!(task.info().outcome, Some(Outcome::Failed));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Outcome {
    /// The task has a result.
    Ok,
    /// The task has a result, which is an `Err` (if the return type is written as a `Result`).
    ReturnedErr,
    /// The task has no result. See the task's `error()`.
    Failed,
}

/// The progress that a task reports.
///
/// ```
/// # use atasker_runtime as atasker;
/// use atasker::{TaskBuilder, TaskContext};
/// let task = TaskBuilder::with_context(|ctx: &TaskContext| ctx.progress(3, 10)).start();
/// task.wait().unwrap();
/// let progress = task.progress().unwrap();
/// assert_eq!((progress.done, progress.total, progress.message), (3, 10, None));
/// ```
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Progress {
    /// The number of steps done.
    pub done: u64,
    /// The total number of steps.
    pub total: u64,
    /// The latest message.
    pub message: Option<String>,
}

/// A snapshot of a task.
///
/// ```
/// # use atasker_runtime as atasker;
/// use atasker::{TaskBuilder, TaskStatus};
/// let task = TaskBuilder::new(|| 42).name("answer").start();
/// task.wait().unwrap();
/// let info = task.info();
/// assert_eq!((info.name.as_str(), info.status, info.attempt), ("answer", TaskStatus::Completed, 1));
/// assert!(info.time_queued <= info.time_started.unwrap());
/// ```
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct TaskInfo {
    /// The id of the task.
    pub id: TaskId,
    /// The name of the task: the one set with `name`, or the path of the function.
    pub name: String,
    /// The kind of place where the task runs.
    pub tt: TaskType,
    /// The priority of the task.
    pub priority: Priority,
    /// The status of the task.
    pub status: TaskStatus,
    /// When the task was launched.
    #[serde(serialize_with = "info_serde::time")]
    pub time_queued: SystemTime,
    /// When the latest attempt began.
    #[serde(serialize_with = "info_serde::optional_time")]
    pub time_started: Option<SystemTime>,
    /// When the task ended.
    #[serde(serialize_with = "info_serde::optional_time")]
    pub time_completed: Option<SystemTime>,
    /// The delay with which the task was launched.
    #[serde(serialize_with = "info_serde::optional_seconds")]
    pub delay: Option<Duration>,
    /// The process id of the worker process that is running the task. For a remote task, a process of
    /// its node's machine.
    pub worker_pid: Option<u32>,
    /// The name of the node that runs the task, or ran it last, for a remote task.
    pub node: Option<String>,
    /// How many runs of a remote task were lost, because their node was.
    pub losses: u32,
    /// The progress that the task last reported.
    pub progress: Option<Progress>,
    /// How the task ended.
    pub outcome: Option<Outcome>,
    /// The number of the current or last attempt, starting at 1; 0 before the first.
    pub attempt: u32,
}

/// The number of waiting tasks of a pool, by priority.
///
/// ```
/// # use atasker_runtime as atasker;
/// use atasker::Supervisor;
/// let waiting = Supervisor::builder().build().info().thread_pool.waiting;
/// assert_eq!((waiting.low, waiting.total()), (0, 0));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Waiting {
    /// Tasks of low priority.
    pub low: usize,
    /// Tasks of normal priority.
    pub normal: usize,
    /// Tasks of high priority.
    pub high: usize,
    /// Tasks of critical priority.
    pub critical: usize,
}

impl Waiting {
    /// Returns the total number of waiting tasks.
    pub fn total(&self) -> usize {
        self.low + self.normal + self.high + self.critical
    }
}

/// A snapshot of a thread pool.
///
/// ```
/// # use atasker_runtime as atasker;
/// use atasker::{PoolConfig, Supervisor};
/// let sup = Supervisor::builder().thread_pool(PoolConfig::new(4).reserve_high(1)).build();
/// let pool = sup.info().thread_pool;
/// assert_eq!((pool.pool_size, pool.reserve_high, pool.threads), (4, 1, 0));
/// ```
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct ThreadPoolInfo {
    /// The number of slots for all tasks; 0 means no limit.
    pub pool_size: usize,
    /// The number of additional slots for tasks of normal priority or higher.
    pub reserve_normal: usize,
    /// The number of additional slots for tasks of high priority.
    pub reserve_high: usize,
    /// The number of non-critical tasks that hold a slot.
    pub running: usize,
    /// The number of running critical tasks.
    pub running_critical: usize,
    /// The tasks that wait for a slot.
    pub waiting: Waiting,
    /// The number of threads.
    pub threads: usize,
    /// The number of threads without work.
    pub idle: usize,
    /// The number of tasks that are blocked in a wait and have released their slot.
    pub blocked: usize,
    /// Tasks that have exceeded their time limit and whose function is still running.
    pub overstayed: Vec<TaskId>,
    /// The number of tasks run since the pool was created.
    pub tasks_run: u64,
    /// The number of tasks that ended with a result, which may be an `Err`.
    pub completed: u64,
    /// The number of tasks that ended with an error other than those below.
    pub failed: u64,
    /// The number of tasks that exceeded their time limit.
    pub timed_out: u64,
    /// The number of tasks that were canceled or killed.
    pub canceled: u64,
}

/// A snapshot of a worker process.
///
/// ```
/// # use atasker_runtime as atasker;
/// use atasker::supervisor;
/// for process in supervisor().info().mp_pool.into_iter().flat_map(|pool| pool.workers) {
///     println!("process {} has run {} tasks", process.pid, process.tasks_run);
/// }
/// ```
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct WorkerProcessInfo {
    /// The process id.
    pub pid: u32,
    /// The number of the process within the pool, as in its name in `ps`.
    pub number: u64,
    /// The task that the process is running.
    pub task: Option<TaskId>,
    /// The number of tasks the process has run.
    pub tasks_run: u64,
}

/// A snapshot of a pool of worker processes.
///
/// ```
/// # use atasker_runtime as atasker;
/// use atasker::supervisor;
/// if let Some(pool) = supervisor().info().mp_pool {
///     println!("{} running, {} waiting, {} replaced", pool.running, pool.waiting.total(), pool.restarts);
/// }
/// ```
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct MpPoolInfo {
    /// The number of slots for all tasks; 0 means no limit.
    pub pool_size: usize,
    /// The number of additional slots for tasks of normal priority or higher.
    pub reserve_normal: usize,
    /// The number of additional slots for tasks of high priority.
    pub reserve_high: usize,
    /// The number of running tasks.
    pub running: usize,
    /// The waiting tasks, including those sent to a worker process that have not begun.
    pub waiting: Waiting,
    /// The worker processes.
    pub workers: Vec<WorkerProcessInfo>,
    /// The number of tasks run since the pool was created.
    pub tasks_run: u64,
    /// The number of worker processes started to replace one that died.
    pub restarts: u64,
    /// The number of tasks that ended with a result, which may be an `Err`.
    pub completed: u64,
    /// The number of tasks that ended with an error other than those below.
    pub failed: u64,
    /// The number of tasks that exceeded their time limit.
    pub timed_out: u64,
    /// The number of tasks that were canceled or killed.
    pub canceled: u64,
}

/// A snapshot of an aloop.
///
/// ```
/// # use atasker_runtime as atasker;
/// use atasker::Supervisor;
/// let sup = Supervisor::builder().build();
/// sup.create_aloop("jobs");
/// let aloop = &sup.info().aloops[0];
/// assert_eq!((aloop.name.as_str(), aloop.threads), ("jobs", 1));
/// ```
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct AloopInfo {
    /// The name of the aloop.
    pub name: String,
    /// The number of threads.
    pub threads: usize,
    /// The number of tasks running on the aloop.
    pub running: usize,
    /// The number of tasks that ended with a result, which may be an `Err`.
    pub completed: u64,
    /// The number of tasks that ended with an error other than those below.
    pub failed: u64,
    /// The number of tasks that exceeded their time limit.
    pub timed_out: u64,
    /// The number of tasks that were canceled or killed.
    pub canceled: u64,
}

/// A snapshot of a supervisor.
///
/// ```
/// # use atasker_runtime as atasker;
/// use atasker::Supervisor;
/// let sup = Supervisor::builder().id("batch").build();
/// let info = sup.info();
/// assert_eq!((info.id.as_str(), info.active, info.tasks), ("batch", false, 0));
/// ```
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct SupervisorInfo {
    /// The id of the supervisor.
    pub id: String,
    /// Whether the supervisor accepts tasks.
    pub active: bool,
    /// The number of tasks that are delayed, queued or running.
    pub tasks: usize,
    /// The thread pool.
    pub thread_pool: ThreadPoolInfo,
    /// The pool of worker processes; `None` without the feature `mp`.
    pub mp_pool: Option<MpPoolInfo>,
    /// The aloops.
    pub aloops: Vec<AloopInfo>,
    /// The namespace of the cluster that the supervisor has joined.
    pub cluster: Option<String>,
    /// The background workers.
    pub workers: Vec<BackgroundWorkerInfo>,
    /// The scheduled jobs.
    pub jobs: Vec<JobInfo>,
}

/// What triggers the runs of a background worker.
///
/// ```
/// # use atasker_runtime as atasker;
/// use atasker::{EventWorker, WorkerKind};
/// let worker = EventWorker::builder().run(|_| ());
/// assert_eq!(worker.kind(), WorkerKind::Event);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum WorkerKind {
    /// The end of the previous run.
    Loop,
    /// A timer.
    Interval,
    /// An item in the worker's queue.
    Queue,
    /// An explicit trigger.
    Event,
    /// The schedule of a job.
    Job,
}

impl WorkerKind {
    /// Returns the name of workers of this kind that have no other name.
    pub(crate) fn name(self) -> &'static str {
        match self {
            WorkerKind::Loop => "loop worker",
            WorkerKind::Interval => "interval worker",
            WorkerKind::Queue => "queue worker",
            WorkerKind::Event => "event worker",
            WorkerKind::Job => "job",
        }
    }
}

impl std::fmt::Display for WorkerKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// A snapshot of a background worker.
///
/// ```
/// # use atasker_runtime as atasker;
/// use atasker::{EventWorker, Supervisor};
/// let sup = Supervisor::builder().build();
/// let worker = EventWorker::builder().name("flush").supervisor(&sup).run(|_| ());
/// worker.start();
/// let info = &sup.info().workers[0];
/// assert_eq!((info.name.as_str(), info.runs), ("flush", 0));
/// # worker.stop();
/// ```
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct BackgroundWorkerInfo {
    /// The name of the worker.
    pub name: String,
    /// What triggers the runs of the worker.
    pub kind: WorkerKind,
    /// The priority of the runs.
    pub priority: Priority,
    /// Whether the worker is active; `false` while it stops.
    pub active: bool,
    /// Whether a run is in progress.
    pub running: bool,
    /// The number of completed runs.
    pub runs: u64,
    /// The number of runs that panicked or returned an `Err`.
    pub errors: u64,
    /// When the latest run began.
    #[serde(serialize_with = "info_serde::optional_time")]
    pub last_executed: Option<SystemTime>,
    /// The delay of the latest run against its schedule.
    #[serde(serialize_with = "info_serde::optional_seconds")]
    pub lateness: Option<Duration>,
    /// When the next run is scheduled.
    #[serde(serialize_with = "info_serde::optional_time")]
    pub next: Option<SystemTime>,
    /// The number of items waiting in the worker's queue.
    pub waiting: Option<usize>,
}

/// A snapshot of a scheduled job.
///
/// ```
/// # use atasker_runtime as atasker;
/// use std::time::Duration;
/// use atasker::{Job, Supervisor};
/// let sup = Supervisor::builder().build();
/// let job = sup.create_job(Job::once(Duration::from_secs(3600)).name("report"), || ());
/// assert_eq!(sup.info().jobs[0].name, "report");
/// # job.cancel();
/// ```
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct JobInfo {
    /// The name of the job.
    pub name: String,
    /// Whether a run is in progress.
    pub running: bool,
    /// The number of completed runs.
    pub runs: u64,
    /// The number of runs that panicked or returned an `Err`.
    pub errors: u64,
    /// When the latest run began.
    #[serde(serialize_with = "info_serde::optional_time")]
    pub last_executed: Option<SystemTime>,
    /// The delay of the latest run against its schedule.
    #[serde(serialize_with = "info_serde::optional_seconds")]
    pub lateness: Option<Duration>,
    /// When the next run is scheduled.
    #[serde(serialize_with = "info_serde::optional_time")]
    pub next: Option<SystemTime>,
}
