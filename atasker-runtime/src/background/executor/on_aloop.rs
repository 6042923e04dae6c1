//! Runs on an aloop.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;

use crate::background::context::WorkerContext;
use crate::background::engine::{Executor, WorkerRun};
use crate::background::executor;
use crate::background::outcome::{RunEnd, WorkerOutput};
use crate::error::TaskError;
use crate::launch::TaskBuilder;
use crate::lent::Lent;
use crate::task::TaskArc;
use crate::task::context::TaskContext;
use crate::task::hold;
use crate::unwind::{self, Guarded};

/// The function of a worker that runs on an aloop.
type AloopFn = Box<dyn FnMut(WorkerContext) -> Pin<Box<dyn Future<Output = RunEnd> + Send>> + Send>;

/// Runs an async function on an aloop.
pub(in crate::background) fn on_aloop<F>(
    mut f: impl FnMut(WorkerContext) -> F + Send + 'static,
) -> Arc<dyn Executor>
where
    F: Future + Send + 'static,
    F::Output: WorkerOutput,
{
    let function: AloopFn = Box::new(move |context| {
        let future = f(context);
        Box::pin(async move { future.await.run_end() })
    });
    Arc::new(AloopExecutor { function: Lent::new(function) })
}

/// Makes runs as tasks on an aloop.
struct AloopExecutor {
    function: Lent<AloopFn>,
}

impl Executor for AloopExecutor {
    fn launch(self: Arc<Self>, run: WorkerRun) -> Option<TaskArc> {
        let engine = Arc::clone(run.engine());
        let next_run = engine.spec.next_run();
        let task = TaskBuilder::<()>::__future_with_context(move |task: TaskContext| async move {
            let mut next = Some(run);
            while let Some(mut run) = next.take() {
                if !run.begin(Some(task.task())) {
                    return;
                }
                let end = caught(&self.function, WorkerContext::for_run(&run, task.clone())).await;
                next = run.end(end.into(), next_run);
                hold::on_end_of_run(task.task().header());
                if next.is_some() {
                    // Lets other tasks on the aloop run.
                    tokio::task::yield_now().await;
                }
            }
        });
        Some(executor::start(&engine, task, engine.spec.priority))
    }

    fn release(&self) {
        self.function.release();
    }
}

async fn caught(function: &Lent<AloopFn>, context: WorkerContext) -> Result<RunEnd, TaskError> {
    let made = unwind::catch(|| function.with(|function| function(context)))?;
    let Some(future) = made else { return Ok(RunEnd::Stop) };
    let mut future = Guarded::new(future);
    poll_fn(|cx| match unwind::catch(|| future.as_mut().poll(cx)) {
        Ok(poll) => poll.map(Ok),
        Err(error) => Poll::Ready(Err(error)),
    })
    .await
}
