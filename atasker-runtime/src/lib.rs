//! The runtime behind the `atasker` crate: use that one.
//!
//! The way of one call, file by file: `launcher` makes the cell and the handle; `supervisor`
//! dispatches the job to a place; `backlog` says whose turn it is; `thread`, `aloop` or `process`
//! runs it; `task::cell` takes the outcome; `task::handle` gives it to the caller.
#![deny(unsafe_op_in_unsafe_fn)]
// With a place left out, what only that place calls is unused.
#![cfg_attr(not(all(feature = "mp", feature = "async")), allow(dead_code))]

// 0: vocabulary
mod clock;
mod error;
mod id;
mod info;
mod options;
mod params;
mod priority;
mod spin;
mod sync;

// 1: the task
#[cfg(feature = "mp")]
mod registry;
#[cfg(feature = "mp")]
mod sys;
mod task;
#[cfg(feature = "mp")]
mod wire;

// 2: order and time
mod backlog;
mod job;
mod thread_start;
mod timer;

// 3: places
#[cfg(feature = "async")]
mod aloop;
#[cfg(feature = "mp")]
mod process;
mod thread;

// 4, 5: the supervisor, and the way to it
mod background;
mod collection;
pub mod compat;
mod launcher;
#[doc(hidden)]
pub mod private;
mod supervisor;

#[cfg(feature = "async")]
pub use aloop::Aloop;
pub use background::{
    BackgroundWorker, CronError, EventWorker, IntervalWorker, Job, JobFn, JobHandle, LoopWorker,
    Overrun, PutError, QueueWorker, WorkerBuilder, WorkerContext, WorkerError, WorkerHandle,
    WorkerHook, WorkerOutput,
};
pub use collection::{CollectionPriority, CollectionReport, FunctionCollection, TaskCollection};
pub use error::{
    CodecStage, DeathCause, KillError, RecvError, SendError, TaskError, TrySendError, WaitError,
    WorkerDeath,
};
pub use id::{ParseTaskIdError, TaskId};
pub use info::{
    AloopInfo, BackgroundWorkerInfo, JobInfo, MpPoolInfo, Outcome, Progress, SupervisorInfo,
    TaskInfo, TaskStatus, TaskType, ThreadPoolInfo, Waiting, WorkerKind, WorkerProcessInfo,
};
pub use launcher::TaskBuilder;
pub use options::{Overflow, PoolConfig, StopOptions, StopReport};
pub use priority::Priority;
#[cfg(feature = "mp")]
#[doc(hidden)]
pub use process::enter as __enter;
#[cfg(feature = "mp")]
pub use process::{MpPoolConfig, WorkerStdio, init, worker_data};
pub use supervisor::{Supervisor, SupervisorBuilder, supervisor};
pub use task::context::TaskContext;
pub use task::current::{CurrentTask, current};
pub use task::handle::{Messages, Task};
pub use task::reference::{TaskRef, TypedTask};
pub use task::wait::{
    Alternatives, AsCompleted, Bounded, TaskHandle, WaitTime, Waitable, as_completed, bounded,
};

/// For the fuzzer, which sets `--cfg fuzzing`: what reads bytes that nobody has vouched for.
#[cfg(all(fuzzing, feature = "mp"))]
#[doc(hidden)]
pub mod fuzzed;

/// What the `wait_*!` macros expand to.
#[doc(hidden)]
pub use task::wait::entry as private_wait;
