//! The executors of background workers, which launch the tasks of the runs: on the thread pool, in
//! one task for all runs on a dedicated thread, on an aloop, or in a worker process.

#[cfg(feature = "mp")]
mod in_process;
#[cfg(feature = "async")]
mod on_aloop;
mod on_thread;

use std::sync::Arc;

use crate::background::engine::{Engine, Executor, WorkerRun};
use crate::background::items::ItemSource;
use crate::launch::TaskBuilder;
use crate::priority::Priority;
use crate::task::TaskArc;

#[cfg(feature = "mp")]
pub(super) use in_process::in_process;
#[cfg(feature = "async")]
pub(super) use on_aloop::on_aloop;
pub(super) use on_thread::on_thread;

/// Starts the task of a run.
fn start<R: Send + 'static>(
    engine: &Engine,
    builder: TaskBuilder<R>,
    priority: Priority,
) -> TaskArc {
    let mut builder = builder.name(engine.spec.name.clone()).priority(priority);
    if let Some(aloop) = &engine.spec.aloop {
        builder = builder.aloop(aloop.clone());
    }
    builder.start_run(&engine.core).erased().clone()
}

/// Makes each item of a queue a reason for a run.
pub(super) fn with_queue(
    executor: Arc<dyn Executor>,
    items: Arc<dyn ItemSource>,
) -> Arc<dyn Executor> {
    Arc::new(QueueExecutor { executor, items })
}

/// An executor whose runs are triggered by items.
struct QueueExecutor {
    executor: Arc<dyn Executor>,
    items: Arc<dyn ItemSource>,
}

impl Executor for QueueExecutor {
    fn launch(self: Arc<Self>, run: WorkerRun) -> Option<TaskArc> {
        Arc::clone(&self.executor).launch(run)
    }
    fn waiting(&self) -> Option<usize> {
        Some(self.items.count())
    }
}
