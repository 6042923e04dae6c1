//! The executors of background workers, which launch the tasks of the runs: on the thread pool, in
//! one task for all runs on a dedicated thread, on an aloop, or in a worker process.

#[cfg(feature = "mp")]
mod in_process;
#[cfg(feature = "async")]
mod on_aloop;
mod on_thread;

use std::sync::{Arc, Weak};

use crate::background::engine::{Executor, NextRun, WorkerRun};
use crate::background::items::ItemSource;
use crate::launch::TaskBuilder;
use crate::priority::Priority;
use crate::supervisor::Core;
use crate::task::TaskArc;

#[cfg(feature = "mp")]
pub(super) use in_process::in_process;
#[cfg(feature = "async")]
pub(super) use on_aloop::on_aloop;
pub(super) use on_thread::on_thread;

/// Makes an executor from the function that it contains and the options of its tasks.
pub(super) type MakeExecutor = Box<dyn FnOnce(LaunchOptions, NextRun) -> Box<dyn Executor> + Send>;

/// The options of the tasks of a worker.
#[derive(Clone)]
pub(in crate::background) struct LaunchOptions {
    pub(in crate::background) name: Arc<str>,
    pub(in crate::background) priority: Priority,
    pub(in crate::background) aloop: Option<String>,
    pub(in crate::background) core: Weak<Core>,
}

impl LaunchOptions {
    pub(super) fn start<R: Send + 'static>(&self, builder: TaskBuilder<R>) -> TaskArc {
        let mut builder = builder.name(self.name.to_string()).priority(self.priority);
        if let Some(aloop) = &self.aloop {
            builder = builder.aloop(aloop.clone());
        }
        builder.start_run(&self.core).erased().clone()
    }
}

/// Makes each item of a queue a reason for a run.
pub(super) fn with_queue(executor: MakeExecutor, items: Arc<dyn ItemSource>) -> MakeExecutor {
    Box::new(move |launch, next_run| {
        Box::new(QueueExecutor { executor: executor(launch, next_run), items })
    })
}

/// An executor whose runs are triggered by items.
struct QueueExecutor {
    executor: Box<dyn Executor>,
    items: Arc<dyn ItemSource>,
}

impl Executor for QueueExecutor {
    fn launch(&self, run: WorkerRun) -> Option<TaskArc> {
        self.executor.launch(run)
    }
    fn waiting(&self) -> Option<usize> {
        Some(self.items.count())
    }
}
