//! What can be seen of tasks and supervisors from outside: plain data.

use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use crate::id::TaskId;
use crate::priority::Priority;

/// In which kind of place a task runs.
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
}

/// How far a task has come.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum TaskStatus {
    /// Canceled before it began, or killed.
    Canceled,
    /// Waits for a slot.
    Queued,
    /// Waits for its delay to pass, or for its next attempt.
    Delayed,
    /// Runs.
    Started,
    /// Has ended, with a result or an error.
    Completed,
}

impl TaskStatus {
    /// The number of the status: queued 0, delayed 2, started 100, completed 200, canceled -1.
    ///
    /// ```
    /// assert_eq!(atasker_runtime::TaskStatus::Started.code(), 100);
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
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Outcome {
    /// It has a result.
    Ok,
    /// It has a result, and that is an `Err` (where the return type is written as a `Result`).
    ReturnedErr,
    /// It has no result: see the task's `error()`.
    Failed,
}

/// How far a task says it is.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Progress {
    /// Steps done.
    pub done: u64,
    /// Steps in all.
    pub total: u64,
    /// What it last said.
    pub message: Option<String>,
}

/// A task as it was at one moment.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct TaskInfo {
    /// Its id.
    pub id: TaskId,
    /// Its name: what `name` said, or the function's path.
    pub name: String,
    /// Where it runs.
    pub tt: TaskType,
    /// How urgent it is.
    pub priority: Priority,
    /// How far it has come.
    pub status: TaskStatus,
    /// When it was launched.
    pub time_queued: SystemTime,
    /// When its latest attempt began.
    pub time_started: Option<SystemTime>,
    /// When it ended.
    pub time_completed: Option<SystemTime>,
    /// The delay it was launched with.
    pub delay: Option<Duration>,
    /// The worker process that runs it, while one does.
    pub worker_pid: Option<u32>,
    /// What it says about its progress.
    pub progress: Option<Progress>,
    /// How it ended.
    pub outcome: Option<Outcome>,
    /// Which attempt this is or was, from 1; 0 before the first.
    pub attempt: u32,
}

/// The waiting tasks of a pool, by priority.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Waiting {
    /// Of low priority.
    pub low: usize,
    /// Of normal priority.
    pub normal: usize,
    /// Of high priority.
    pub high: usize,
    /// Of critical priority.
    pub critical: usize,
}

impl Waiting {
    /// All that wait.
    pub fn total(&self) -> usize {
        self.low + self.normal + self.high + self.critical
    }
}

/// A thread pool as it was at one moment.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct ThreadPoolInfo {
    /// Slots for all; 0: no limit.
    pub pool_size: usize,
    /// Further slots for normal and higher.
    pub reserve_normal: usize,
    /// Further slots for high.
    pub reserve_high: usize,
    /// Non-critical tasks that hold a slot.
    pub running: usize,
    /// Critical tasks that run.
    pub running_critical: usize,
    /// Tasks that wait for a slot.
    pub waiting: Waiting,
    /// Threads that exist.
    pub threads: usize,
    /// Threads without work.
    pub idle: usize,
    /// Tasks that are blocked in a wait and have given their slot up.
    pub blocked: usize,
    /// Tasks whose function still runs although their time limit is over.
    pub overstayed: Vec<TaskId>,
    /// Tasks run since the pool was made.
    pub tasks_run: u64,
}

/// A worker process as it was at one moment.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct WorkerProcessInfo {
    /// Its process id.
    pub pid: u32,
    /// Its number in the pool, as in its name in `ps`.
    pub number: u64,
    /// The task that it runs.
    pub task: Option<TaskId>,
    /// Tasks that it has run.
    pub tasks_run: u64,
}

/// A pool of worker processes as it was at one moment.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct MpPoolInfo {
    /// Slots for all; 0: no limit.
    pub pool_size: usize,
    /// Further slots for normal and higher.
    pub reserve_normal: usize,
    /// Further slots for high.
    pub reserve_high: usize,
    /// Tasks that run.
    pub running: usize,
    /// Tasks that wait, those included that were sent to a worker and have not begun.
    pub waiting: Waiting,
    /// The worker processes.
    pub workers: Vec<WorkerProcessInfo>,
    /// Tasks run since the pool was made.
    pub tasks_run: u64,
    /// Worker processes started to replace one that died.
    pub restarts: u64,
}

/// An aloop as it was at one moment.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct AloopInfo {
    /// Its name.
    pub name: String,
    /// Its threads.
    pub threads: usize,
    /// Tasks that run on it.
    pub running: usize,
}

/// A supervisor as it was at one moment.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct SupervisorInfo {
    /// Its id.
    pub id: String,
    /// Whether it takes tasks.
    pub active: bool,
    /// Tasks delayed, queued or running.
    pub tasks: usize,
    /// Its thread pool.
    pub thread_pool: ThreadPoolInfo,
    /// Its worker processes; `None` without the feature `mp`.
    pub mp_pool: Option<MpPoolInfo>,
    /// Its aloops.
    pub aloops: Vec<AloopInfo>,
    /// Its background workers.
    pub workers: Vec<BackgroundWorkerInfo>,
    /// Its jobs.
    pub jobs: Vec<JobInfo>,
}

/// What makes a background worker run.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum WorkerKind {
    /// The end of the run before.
    Loop,
    /// The clock.
    Interval,
    /// An item in its queue.
    Queue,
    /// A trigger.
    Event,
    /// A plan: it is a job.
    Job,
}

impl std::fmt::Display for WorkerKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            WorkerKind::Loop => "loop worker",
            WorkerKind::Interval => "interval worker",
            WorkerKind::Queue => "queue worker",
            WorkerKind::Event => "event worker",
            WorkerKind::Job => "job",
        })
    }
}

/// A background worker as it was at one moment.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct BackgroundWorkerInfo {
    /// Its name.
    pub name: String,
    /// What makes it run.
    pub kind: WorkerKind,
    /// How urgent its runs are.
    pub priority: Priority,
    /// Whether it is active; false: it is about to stop.
    pub active: bool,
    /// Whether a run is under way.
    pub running: bool,
    /// How many runs are over.
    pub runs: u64,
    /// How many of them panicked or returned an `Err`.
    pub errors: u64,
    /// When the latest run began.
    pub last_executed: Option<SystemTime>,
    /// How much later than planned it began.
    pub lateness: Option<Duration>,
    /// When the next is planned.
    pub next: Option<SystemTime>,
    /// The items that wait in its queue.
    pub waiting: Option<usize>,
}

/// A scheduled job as it was at one moment.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct JobInfo {
    /// Its name.
    pub name: String,
    /// Whether a run is under way.
    pub running: bool,
    /// How many runs are over.
    pub runs: u64,
    /// How many of them panicked or returned an `Err`.
    pub errors: u64,
    /// When the latest run began.
    pub last_executed: Option<SystemTime>,
    /// How much later than planned it began.
    pub lateness: Option<Duration>,
    /// When the next is planned.
    pub next: Option<SystemTime>,
}
