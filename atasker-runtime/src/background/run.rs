//! Where a background worker's function runs: in a task on the thread pool, in one task for all runs
//! on a thread of its own, on an aloop, or in a worker process.

use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use crate::background::context::WorkerContext;
use crate::background::engine::{Run, Runner};
use crate::background::outcome::RunEnd;
use crate::launcher::TaskBuilder;
use crate::priority::Priority;
use crate::supervisor::Core;
use crate::task::context::TaskContext;
use crate::task::{AnyTask, panic};

/// What a task of a worker is launched with.
#[derive(Clone)]
pub(super) struct Launch {
    pub(super) name: Arc<str>,
    pub(super) priority: Priority,
    pub(super) aloop: Option<String>,
    pub(super) core: Weak<Core>,
}

impl Launch {
    fn start<R: Send + 'static>(&self, builder: TaskBuilder<R>) -> Arc<dyn AnyTask> {
        let mut builder = builder.name(self.name.to_string()).priority(self.priority);
        if let Some(aloop) = &self.aloop {
            builder = builder.aloop(aloop.clone());
        }
        builder.start_run(&self.core).erased()
    }
}

/// The function of a worker on threads.
pub(super) type OnThread = Box<dyn FnMut(&WorkerContext) -> RunEnd + Send>;

/// Runs take their turns in the thread pool; or, if it `keeps` its place, all of them are one task
/// on a thread of its own.
pub(super) struct ThreadRunner {
    pub(super) launch: Launch,
    pub(super) function: Arc<Mutex<OnThread>>,
    pub(super) keeps: bool,
}

impl Runner for ThreadRunner {
    fn launch(&self, run: Run) -> Option<Arc<dyn AnyTask>> {
        let (function, keeps) = (Arc::clone(&self.function), self.keeps);
        let task = TaskBuilder::<()>::with_context(move |task: &TaskContext| {
            let mut next = Some(run);
            while let Some(mut run) = next.take() {
                if !run.begin(Some(task.task())) {
                    return;
                }
                let context = run.context(task);
                // Runs follow one another: nobody else has the function at the moment.
                let end = panic::catch(|| (function.lock())(&context));
                drop(context);
                next = run.end(end.into(), keeps);
            }
        });
        Some(self.launch.start(task))
    }

    fn release(&self) {
        let function = std::mem::replace(&mut *self.function.lock(), Box::new(|_| RunEnd::Stop));
        drop(function);
    }
}

#[cfg(feature = "async")]
pub(super) use on_loop::{LoopRunner, OnLoop};

#[cfg(feature = "async")]
mod on_loop {
    use super::*;
    use std::pin::Pin;

    /// The function of a worker on an aloop.
    pub(in crate::background) type OnLoop =
        Box<dyn FnMut(WorkerContext) -> Pin<Box<dyn Future<Output = RunEnd> + Send>> + Send>;

    /// Runs are tasks on an aloop; or, if it `keeps` its place, all of them are one.
    pub(in crate::background) struct LoopRunner {
        pub(in crate::background) launch: Launch,
        pub(in crate::background) function: Arc<Mutex<OnLoop>>,
        pub(in crate::background) keeps: bool,
    }

    impl Runner for LoopRunner {
        fn launch(&self, run: Run) -> Option<Arc<dyn AnyTask>> {
            let (function, keeps) = (Arc::clone(&self.function), self.keeps);
            let task =
                TaskBuilder::<()>::__future_with_context(move |task: TaskContext| async move {
                    let mut next = Some(run);
                    while let Some(mut run) = next.take() {
                        if !run.begin(Some(task.task())) {
                            return;
                        }
                        let end = caught(&function, run.context(&task)).await;
                        next = run.end(end.into(), keeps);
                        if next.is_some() {
                            // The others on the loop, too, have their turn.
                            tokio::task::yield_now().await;
                        }
                    }
                });
            Some(self.launch.start(task))
        }

        fn release(&self) {
            let nothing: OnLoop = Box::new(|_| Box::pin(async { RunEnd::Stop }));
            let function = std::mem::replace(&mut *self.function.lock(), nothing);
            drop(function);
        }
    }

    async fn caught(
        function: &Mutex<OnLoop>,
        context: WorkerContext,
    ) -> Result<RunEnd, crate::error::TaskError> {
        let mut future = panic::catch(|| (function.lock())(context))?;
        std::future::poll_fn(|cx| match panic::catch(|| future.as_mut().poll(cx)) {
            Ok(poll) => poll.map(Ok),
            Err(error) => std::task::Poll::Ready(Err(error)),
        })
        .await
    }
}

#[cfg(feature = "mp")]
pub(super) use in_process::ProcessRunner;

#[cfg(feature = "mp")]
mod in_process {
    use super::*;

    /// What a run in a worker process gives: what the function returned, and whether it asked for
    /// another run.
    pub(in crate::background) type Reply<R> = (R, bool);

    /// Makes a run, by the worker's name and its number of runs.
    pub(in crate::background) type InProcess<R> =
        Box<dyn FnMut(String, u64) -> TaskBuilder<Reply<R>> + Send>;

    /// Runs are calls to worker processes.
    pub(in crate::background) struct ProcessRunner<R> {
        pub(in crate::background) launch: Launch,
        pub(in crate::background) call: Mutex<InProcess<R>>,
        pub(in crate::background) result: Arc<dyn Fn(&R) -> RunEnd + Send + Sync>,
    }

    impl<R: Send + 'static> Runner for ProcessRunner<R> {
        fn launch(&self, mut run: Run) -> Option<Arc<dyn AnyTask>> {
            // Before the call is made, which takes an item out of a queue.
            if !run.begin(None) {
                return None;
            }
            let result = Arc::clone(&self.result);
            let runs = run.engine().runs();
            let task = (self.call.lock())(self.launch.name.to_string(), runs);
            let task = task.on_complete(move |outcome| {
                let end = match outcome {
                    Ok((value, again)) => {
                        if *again {
                            run.engine().trigger();
                        }
                        run.engine().within(|| result(value))
                    }
                    Err(error) => Err(error.clone()),
                };
                run.end(end.into(), false);
            });
            Some(self.launch.start(task))
        }
    }
}
