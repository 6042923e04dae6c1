//! The runtime of the `atasker` crate. Depend on `atasker`, which re-exports it.
//!
//! The path of a call, file by file: `launch` creates the cell and the handle; `supervisor` gives
//! the job to a place; `backlog` decides which job may start; `thread`, `aloop` or `process` runs
//! it; `task::cell` stores the outcome; `task::handle` returns it to the caller.
//!
//! A module imports only from its own level or from the levels above it in the list below.
#![deny(unsafe_op_in_unsafe_fn)]
#![cfg_attr(docsrs, feature(doc_cfg))]
// Items used by one place or by cron jobs only are unused without them, and so is the hook before
// `main`.
#![cfg_attr(
    not(all(has_processes, feature = "async", feature = "pre-main", feature = "cron")),
    allow(dead_code)
)]

// 0: vocabulary
mod backoff;
#[cfg(feature = "remote")]
#[path = "cluster/error.rs"]
mod cluster_error;
mod config_file;
mod error;
mod fork;
mod id;
mod info;
mod info_serde;
mod lent;
mod limit;
mod options;
mod panic_hook;
mod params;
mod priority;
mod remote_error;
mod slab_memory;
mod sync;
mod sys;
#[cfg(any(feature = "mp", feature = "dashboard"))]
mod text;
mod thread_start;
mod time;
mod unwind;

// 1: the task, and what it requests from its place
mod job;
mod observe;
mod place;
#[cfg(feature = "progress")]
pub mod progress;
#[cfg(not(feature = "progress"))]
#[path = "progress/disabled.rs"]
mod progress;
#[cfg(feature = "mp")]
mod remote;
mod room;
mod task;
#[cfg(feature = "mp")]
mod wire;

// 2: order
mod backlog;

// 3: places
#[cfg(feature = "async")]
mod aloop;
#[cfg(not(feature = "async"))]
#[path = "aloop/disabled.rs"]
mod aloop;
#[cfg(has_processes)]
mod process;
#[cfg(all(feature = "mp", not(has_processes)))]
#[path = "process/unsupported.rs"]
mod process;
#[cfg(not(feature = "mp"))]
#[path = "process/disabled.rs"]
mod process;
mod thread;

#[cfg(feature = "remote")]
mod cluster;
#[cfg(not(feature = "remote"))]
#[path = "cluster/disabled.rs"]
mod cluster;

#[cfg(all(has_processes, feature = "pre-main"))]
crate::sys::entry::before_main!(crate::process::serve);

// 4, 5: the supervisor, and the way to it
mod background;
mod collection;
pub mod compat;
mod launch;
mod macro_support;
#[cfg(feature = "metrics")]
mod metrics;
mod supervisor;

pub mod testing;

// 7: what shows supervisors
#[cfg(feature = "dashboard")]
mod dashboard;

#[cfg(feature = "cron")]
pub use background::CronError;
pub use background::{
    BackgroundWorker, EventWorker, IntervalWorker, Job, JobFn, JobHandle, LoopWorker, Overrun,
    PutError, QueueWorker, WorkerBuilder, WorkerContext, WorkerHandle, WorkerHook, WorkerOutput,
};
pub use backoff::Backoff;
#[cfg(feature = "remote")]
pub use cluster::found::RemoteTask;
#[cfg(feature = "remote")]
pub use cluster::handle::Cluster;
#[cfg(feature = "remote")]
pub use cluster::info::{ClusterInfo, ClusterNode, DeadLetter, QueueInfo};
#[cfg(feature = "remote")]
pub use cluster::memory::Faults;
#[cfg(feature = "remote")]
pub use cluster::node::{Node, NodeConfig};
#[cfg(feature = "remote")]
pub use cluster_error::ClusterError;
pub use collection::{CollectionPriority, CollectionReport, FunctionCollection, TaskCollection};
#[cfg(feature = "dashboard")]
pub use dashboard::{Dashboard, DashboardHandle};
pub use error::{
    CodecStage, DeathCause, KillError, RecvError, SendError, TaskError, TrySendError, WaitError,
    WorkerDeath, WorkerError,
};
pub use id::{ParseTaskIdError, TaskId};
pub use info::{
    AloopInfo, BackgroundWorkerInfo, JobInfo, MpPoolInfo, Outcome, Progress, SupervisorInfo,
    TaskInfo, TaskStatus, TaskType, ThreadPoolInfo, Waiting, WorkerKind, WorkerProcessInfo,
};
#[cfg(feature = "async")]
pub use launch::Aloop;
#[cfg(feature = "remote")]
pub use launch::ClusterTask;
pub use launch::{Scope, ScopedTask, ScopedTaskBuilder, StartAsync, TaskBuilder, map, scope};
pub use limit::{KeyedLimit, Limit, LimitKey, TaskLimit};
pub use observe::observer::{BackgroundRun, Observer, ProcessEvent, TaskEvent};
pub use observe::registry::ObserverGuard;
pub use observe::spans::Spans;
#[cfg(feature = "remote")]
pub use observe::trace::propagate_traces;
pub use options::{Overflow, PoolConfig, StopOptions, StopReport};
pub use priority::Priority;
#[cfg(feature = "mp")]
pub use process::{MpPoolConfig, WorkerStdio, init, worker_data};
pub use remote_error::{ErrorChain, RemoteError, RemoteResult};
pub use supervisor::{Supervisor, SupervisorBuilder, SupervisorConfig, supervisor};
pub use task::context::TaskContext;
pub use task::current::{CurrentTask, current};
pub use task::handle::{Messages, Task};
#[cfg(feature = "async")]
pub use task::message_stream::MessageStream;
pub use task::reference::{TaskRef, TypedTask};
#[cfg(feature = "async")]
pub use task::wait::TaskStream;
pub use task::wait::{
    Alternatives, AsCompleted, Bounded, BoundedBy, TaskHandle, TaskSet, WaitTime, Waitable,
    as_completed, bounded, bounded_by,
};

/// Entry points for the fuzzer, which sets `--cfg fuzzing`: the parsers of untrusted bytes.
#[cfg(all(fuzzing, has_processes))]
#[doc(hidden)]
pub mod fuzzed;

/// The door to a broker, for `atasker-nats`. Changes with every version.
#[cfg(feature = "remote")]
#[doc(hidden)]
pub mod __broker {
    pub use crate::cluster::broker::*;
    pub use crate::cluster::memory::in_memory;
}

/// Support for the code that the macros generate. Changes with every version.
#[doc(hidden)]
pub mod __private {
    pub use crate::macro_support::*;
    /// Support for the key `progress` of the `wait_*!` macros.
    #[cfg(feature = "progress")]
    pub use crate::progress::waits::entry as progress;
    /// Support for the `wait_*!` macros.
    pub use crate::task::wait::entry as wait;
}
