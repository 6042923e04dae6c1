//! Runs on pool threads, or in one task for all runs on a dedicated thread.

use std::sync::Arc;

use crate::background::context::WorkerContext;
use crate::background::engine::{Executor, NextRun, WorkerRun};
use crate::background::executor;
use crate::background::outcome::{RunEnd, WorkerOutput};
use crate::launch::TaskBuilder;
use crate::lent::Lent;
use crate::priority::Priority;
use crate::task::TaskArc;
use crate::task::context::TaskContext;
use crate::task::hold;
use crate::unwind;

/// The function of a worker that runs on threads.
type ThreadFn = Box<dyn FnMut(&WorkerContext) -> RunEnd + Send>;

/// Runs a function on threads.
pub(in crate::background) fn on_thread<R: WorkerOutput>(
    mut f: impl FnMut(&WorkerContext) -> R + Send + 'static,
) -> Arc<dyn Executor> {
    let function: ThreadFn = Box::new(move |context: &WorkerContext| f(context).run_end());
    Arc::new(ThreadExecutor { function: Lent::new(function) })
}

/// Makes runs as tasks of the thread pool.
struct ThreadExecutor {
    function: Lent<ThreadFn>,
}

impl Executor for ThreadExecutor {
    fn launch(self: Arc<Self>, run: WorkerRun) -> Option<TaskArc> {
        let engine = Arc::clone(run.engine());
        let next_run = engine.spec.next_run();
        let priority = match next_run {
            // A critical task starts at once and occupies no slot, so its thread is dedicated.
            NextRun::SameTask => Priority::Critical,
            NextRun::NewTask => engine.spec.priority,
        };
        let task = TaskBuilder::<()>::with_context(move |task: &TaskContext| {
            let mut next = Some(run);
            while let Some(mut run) = next.take() {
                if !run.begin(Some(task.task())) {
                    return;
                }
                let context = WorkerContext::for_run(&run, task.clone());
                // Runs of a worker don't overlap, so the function is available.
                let end = unwind::catch(|| {
                    self.function.with(|function| function(&context)).unwrap_or(RunEnd::Stop)
                });
                drop(context);
                next = run.end(end.into(), next_run);
                hold::on_end_of_run(task.task().header());
            }
        });
        Some(executor::start(&engine, task, priority))
    }

    fn release(&self) {
        self.function.release();
    }
}
