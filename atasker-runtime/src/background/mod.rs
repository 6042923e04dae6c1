//! Background workers and jobs: things that make tasks again and again.
//!
//! | file | what |
//! |---|---|
//! | `schedule`, `cron` | when the next run is due; pure |
//! | `wall_clock` | hearing of it when the wall clock is set |
//! | `engine` | the phases of a worker's life, one run after the other |
//! | `run` | where a run takes place: pool thread, own thread, aloop, worker process |
//! | `outcome` | what a run comes to; errors |
//! | `context` | the worker's own view of itself |
//! | `builder`, `handle`, `queue` | what users hold: the four kinds of workers |
//! | `jobs` | jobs: the same engine, under a supervisor's `create_job` |
//!
//! Every run is a task of the supervisor's, launched when it is due; in between a worker is an entry
//! in the timer, or nothing at all. A loop worker, and only that, keeps one task for all its runs.

mod builder;
mod context;
mod cron;
mod engine;
mod handle;
mod jobs;
mod outcome;
mod queue;
mod run;
mod schedule;
mod wall_clock;

pub use builder::{WorkerBuilder, WorkerHandle, WorkerHook};
pub use context::WorkerContext;
pub use cron::CronError;
pub use handle::{BackgroundWorker, EventWorker, IntervalWorker, LoopWorker};
pub use jobs::{Job, JobFn, JobHandle};
pub use outcome::{PutError, RunEnd, WorkerError, WorkerOutput};
pub use queue::QueueWorker;
pub use schedule::Overrun;
