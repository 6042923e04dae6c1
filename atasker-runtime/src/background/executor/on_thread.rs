//! Runs on pool threads, or in one task for all runs on a dedicated thread.

use std::sync::Arc;

use crate::background::context::WorkerContext;
use crate::background::engine::{Executor, NextRun, WorkerRun};
use crate::background::executor::{LaunchOptions, MakeExecutor};
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
) -> MakeExecutor {
    let function: ThreadFn = Box::new(move |context: &WorkerContext| f(context).run_end());
    Box::new(|mut launch, next_run| {
        if next_run == NextRun::SameTask {
            // A critical task starts at once and occupies no slot, so its thread is dedicated.
            launch.priority = Priority::Critical;
        }
        Box::new(ThreadExecutor { launch, function: Arc::new(Lent::new(function)), next_run })
    })
}

/// Makes runs as tasks of the thread pool.
struct ThreadExecutor {
    launch: LaunchOptions,
    function: Arc<Lent<ThreadFn>>,
    next_run: NextRun,
}

impl Executor for ThreadExecutor {
    fn launch(&self, run: WorkerRun) -> Option<TaskArc> {
        let (function, next_run) = (Arc::clone(&self.function), self.next_run);
        let task = TaskBuilder::<()>::with_context(move |task: &TaskContext| {
            let mut next = Some(run);
            while let Some(mut run) = next.take() {
                if !run.begin(Some(task.task())) {
                    return;
                }
                let context = WorkerContext::for_run(&run, task.clone());
                // Runs of a worker don't overlap, so the function is available.
                let end = unwind::catch(|| {
                    function.with(|function| function(&context)).unwrap_or(RunEnd::Stop)
                });
                drop(context);
                next = run.end(end.into(), next_run);
                hold::on_end_of_run(task.task().header());
            }
        });
        Some(self.launch.start(task))
    }

    fn release(&self) {
        self.function.release();
    }
}
