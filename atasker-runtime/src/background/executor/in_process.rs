//! Runs in worker processes.

use std::sync::Arc;

use crate::background::engine::{Executor, NextRun, WorkerRun};
use crate::background::executor;
use crate::background::outcome::RunEnd;
use crate::launch::TaskBuilder;
use crate::lent::Lent;
use crate::task::TaskArc;
use crate::unwind;

/// The reply of a run in a worker process: the result of the function, and whether the run
/// requested another one.
type Reply<R> = (R, bool);

/// Creates the task of a run from the name of the worker and its number of completed runs.
type ProcessCall<R> = Box<dyn FnMut(String, u64) -> TaskBuilder<Reply<R>> + Send>;

/// Runs a function in worker processes. `call` creates the task of a run, and `result` reads what
/// its function returned.
pub(in crate::background) fn in_process<R: Send + 'static>(
    call: impl FnMut(String, u64) -> TaskBuilder<Reply<R>> + Send + 'static,
    result: impl Fn(&R) -> RunEnd + Send + Sync + 'static,
) -> Arc<dyn Executor> {
    let call: ProcessCall<R> = Box::new(call);
    Arc::new(ProcessExecutor { call: Lent::new(call), result: Arc::new(result) })
}

/// Makes runs as calls to worker processes.
struct ProcessExecutor<R> {
    call: Lent<ProcessCall<R>>,
    result: Arc<dyn Fn(&R) -> RunEnd + Send + Sync>,
}

impl<R: Send + 'static> Executor for ProcessExecutor<R> {
    fn launch(self: Arc<Self>, mut run: WorkerRun) -> Option<TaskArc> {
        // Before the call is created, because that takes an item out of the queue.
        if !run.begin(None) {
            return None;
        }
        let result = Arc::clone(&self.result);
        let engine = Arc::clone(run.engine());
        let (name, runs) = (engine.spec.name().to_owned(), engine.runs());
        // Clones and encodes the arguments, which is user code. Runs don't overlap, so the
        // function is available.
        let task = match unwind::catch(|| self.call.with(|call| call(name, runs))) {
            Ok(Some(task)) => task,
            Ok(None) => return None,
            Err(error) => {
                run.end(Err(error).into(), NextRun::NewTask);
                return None;
            }
        };
        let task = task.on_complete(move |outcome| {
            let end = match outcome {
                Ok((value, again)) => {
                    if *again {
                        run.engine().trigger();
                    }
                    run.engine().enter(|| result(value))
                }
                Err(error) => Err(error.clone()),
            };
            run.end(end.into(), NextRun::NewTask);
        });
        Some(executor::start(&engine, task, engine.spec.priority))
    }
}
