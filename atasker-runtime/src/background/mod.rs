//! Background workers and jobs, which launch tasks repeatedly.
//!
//! | file | content |
//! |---|---|
//! | `now`, `cron`, `schedule` | compute when the next run is due; pure |
//! | `wall_clock` | notifies cron jobs when the wall clock is set |
//! | `outcome` | the outcomes of runs, and the errors |
//! | `engine` | the phases of a worker, and its runs, one after the other |
//! | `context` | the context of runs and hooks |
//! | `items` | the items of a queue worker, in their order |
//! | `executor` | launch a run on a pool thread, a dedicated thread, an aloop or a worker process |
//! | `assembly` | from the options and the function of a worker or a job to its engine |
//! | `handle`, `queue` | the handles of the four kinds of workers |
//! | `hook`, `builder` | the builders of the workers |
//! | `jobs` | jobs: the same engine, created by `create_job` of a supervisor |
//! | `once` | runs that one program of a cluster makes |
//!
//! A file imports only from the rows above its own.
//!
//! Every run is a task of the supervisor, which is launched when the run is due. It is therefore
//! ordered by priority, listed, stopped and drained like any other task. Between two runs, a worker
//! is at most an entry of the timer. Only a loop worker uses one task for all of its runs. On a
//! thread, that task has critical priority, so that it occupies no slot.
//!
//! A run ignores the limit of the pool's queue (`WhenFull::Pass`): each worker has at most one run,
//! and the thread of the timer, which launches runs, must not block.

mod assembly;
mod builder;
mod context;
#[cfg(feature = "cron")]
mod cron;
#[cfg(not(feature = "cron"))]
#[path = "cron/disabled.rs"]
mod cron;
mod engine;
mod executor;
mod handle;
mod hook;
mod items;
mod jobs;
mod now;
#[cfg(feature = "remote")]
mod once;
mod outcome;
mod queue;
mod schedule;
mod wall_clock;

pub use builder::{WorkerBuilder, WorkerHandle};
pub use context::WorkerContext;
#[cfg(feature = "cron")]
pub use cron::CronError;
pub use handle::{BackgroundWorker, EventWorker, IntervalWorker, LoopWorker};
pub use hook::WorkerHook;
pub use jobs::{Job, JobFn, JobHandle};
pub use outcome::{PutError, RunEnd, WorkerOutput};
pub use queue::QueueWorker;
pub use schedule::Overrun;
