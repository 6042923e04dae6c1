//! The context of a background worker's runs and hooks.

use std::fmt;
use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use crate::background::engine::{Engine, WorkerRun};
use crate::task::context::TaskContext;
use crate::task::park;
use crate::task::waiters::WaiterKey;
use crate::time::clock;

/// The context of a background worker, which its function may take as its first parameter.
///
/// ```
/// # use atasker_runtime as atasker;
/// use std::time::Duration;
/// use atasker::{LoopWorker, WorkerContext};
///
/// let worker = LoopWorker::builder().name("sampler").run(|ctx: &WorkerContext| {
///     println!("{} has run {} times", ctx.name(), ctx.runs());
///     // Sleeps, unless the worker is stopped.
///     ctx.wait_stop(Duration::from_secs(3600));
/// });
/// worker.start();
/// worker.stop();
/// ```
#[derive(Clone)]
pub struct WorkerContext {
    inner: Inner,
}

#[derive(Clone)]
enum Inner {
    /// In the process of the worker: the engine, the generation, and the task of the run.
    Local { engine: Arc<Engine>, generation: u64, task: Option<TaskContext> },
    /// In a worker process, or detached: the state that the parent process has sent.
    Remote { state: Arc<RemoteState>, task: TaskContext },
}

struct RemoteState {
    name: String,
    runs: u64,
    triggered: AtomicBool,
}

impl fmt::Debug for WorkerContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WorkerContext")
            .field("name", &self.name())
            .field("runs", &self.runs())
            .finish()
    }
}

impl WorkerContext {
    /// Creates the context of a run, which `task` makes.
    pub(super) fn for_run(run: &WorkerRun, task: TaskContext) -> Self {
        let engine = Arc::clone(run.engine());
        WorkerContext {
            inner: Inner::Local { engine, generation: run.generation(), task: Some(task) },
        }
    }

    /// Creates the context of a hook.
    pub(super) fn for_hook(engine: Arc<Engine>, generation: u64) -> Self {
        WorkerContext { inner: Inner::Local { engine, generation, task: None } }
    }

    /// Creates the context of a run in a worker process.
    pub(crate) fn remote(name: String, runs: u64, task: TaskContext) -> Self {
        let state = Arc::new(RemoteState { name, runs, triggered: AtomicBool::new(false) });
        WorkerContext { inner: Inner::Remote { state, task } }
    }

    /// Returns a context without a worker, to call a worker's function in a test. It is never
    /// stopped.
    ///
    /// ```
    /// # use atasker_runtime as atasker;
    /// let ctx = atasker::WorkerContext::detached();
    /// assert!(!ctx.stopped());
    /// ```
    pub fn detached() -> Self {
        WorkerContext::remote("detached".to_owned(), 0, TaskContext::detached())
    }

    /// Returns the name of the worker.
    pub fn name(&self) -> &str {
        match &self.inner {
            Inner::Local { engine, .. } => engine.spec.name(),
            Inner::Remote { state, .. } => &state.name,
        }
    }

    /// Returns the number of completed runs, which is 0 during the first run.
    pub fn runs(&self) -> u64 {
        match &self.inner {
            Inner::Local { engine, .. } => engine.runs(),
            Inner::Remote { state, .. } => state.runs,
        }
    }

    /// Returns whether the worker was asked to stop.
    ///
    /// ```
    /// # use atasker_runtime as atasker;
    /// use atasker::{LoopWorker, WorkerContext};
    /// let worker = LoopWorker::builder().run(|ctx: &WorkerContext| {
    ///     while !ctx.stopped() {
    ///         std::thread::yield_now();
    ///     }
    /// });
    /// worker.start();
    /// worker.stop();
    /// ```
    pub fn stopped(&self) -> bool {
        match &self.inner {
            Inner::Local { engine, generation, task } => {
                engine.is_over(*generation) || task.as_ref().is_some_and(TaskContext::stopped)
            }
            Inner::Remote { task, .. } => task.stopped(),
        }
    }

    /// Sleeps until the worker is asked to stop, or until the timeout ends. Returns whether the
    /// worker was asked to stop.
    ///
    /// The task keeps its slot, as in any sleep.
    ///
    /// ```
    /// # use atasker_runtime as atasker;
    /// use std::time::Duration;
    /// use atasker::{LoopWorker, WorkerContext};
    /// let worker = LoopWorker::builder().run(|ctx: &WorkerContext| {
    ///     if !ctx.wait_stop(Duration::from_secs(60)) {
    ///         println!("a minute has passed");
    ///     }
    /// });
    /// worker.start();
    /// worker.stop(); // at once
    /// ```
    ///
    /// # Panics
    /// Panics on the thread of an aloop: use [`stop_requested`](Self::stop_requested) there.
    #[track_caller]
    pub fn wait_stop(&self, timeout: Duration) -> bool {
        let mut waiter = StopWaiter::new(self);
        park::sleep_on(clock::after(timeout), |context| waiter.poll(context)).is_some()
    }

    /// Completes when the worker is asked to stop.
    ///
    /// ```
    /// # use atasker_runtime as atasker;
    /// use atasker::{LoopWorker, WorkerContext};
    /// let worker = LoopWorker::builder().run_async(|ctx: WorkerContext| async move {
    ///     ctx.stop_requested().await;
    /// });
    /// worker.start();
    /// worker.stop();
    /// ```
    ///
    /// # Cancel safety
    /// Dropping the future has no effect.
    pub async fn stop_requested(&self) {
        let mut waiter = StopWaiter::new(self);
        poll_fn(|context| waiter.poll(context)).await;
    }

    /// Requests another run after this one. Several requests are combined into one run.
    ///
    /// Has no effect in a queue worker, which runs for items only.
    ///
    /// ```
    /// # use atasker_runtime as atasker;
    /// use atasker::{EventWorker, WorkerContext};
    /// let worker = EventWorker::builder().run(|ctx: &WorkerContext| {
    ///     if ctx.runs() < 2 {
    ///         ctx.trigger();
    ///     }
    /// });
    /// worker.start();
    /// worker.trigger();
    /// while worker.runs() < 3 {
    ///     std::thread::yield_now();
    /// }
    /// worker.stop();
    /// ```
    pub fn trigger(&self) {
        match &self.inner {
            Inner::Local { engine, .. } => {
                engine.trigger();
            }
            // Relaxed: the flag guards no other data.
            Inner::Remote { state, .. } => state.triggered.store(true, Ordering::Relaxed),
        }
    }

    /// Returns whether another run was requested, in a worker process.
    pub(crate) fn was_triggered(&self) -> bool {
        match &self.inner {
            Inner::Local { .. } => false,
            Inner::Remote { state, .. } => state.triggered.load(Ordering::Relaxed),
        }
    }
}

/// Waits for a request to stop the worker, or the task of the run.
struct StopWaiter<'a> {
    context: &'a WorkerContext,
    key: WaiterKey,
}

impl<'a> StopWaiter<'a> {
    fn new(context: &'a WorkerContext) -> Self {
        StopWaiter { context, key: WaiterKey::next() }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let (engine, task) = match &self.context.inner {
            Inner::Local { engine, generation, task } => {
                (Some((engine, *generation)), task.as_ref())
            }
            Inner::Remote { task, .. } => (None, Some(task)),
        };
        if let Some((engine, generation)) = engine
            && engine.poll_over(generation, self.key, cx).is_ready()
        {
            return Poll::Ready(());
        }
        match task {
            Some(task) => task.poll_stop(self.key, cx),
            None => Poll::Pending,
        }
    }
}

impl Drop for StopWaiter<'_> {
    fn drop(&mut self) {
        match &self.context.inner {
            Inner::Local { engine, task, .. } => {
                engine.forget_waiter(self.key);
                if let Some(task) = task {
                    task.forget_waiter(self.key);
                }
            }
            Inner::Remote { task, .. } => task.forget_waiter(self.key),
        }
    }
}
