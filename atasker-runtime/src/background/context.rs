//! A background worker's own view of itself.

use std::fmt;
use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use crate::background::engine::Engine;
use crate::clock;
use crate::task::context::TaskContext;
use crate::task::park;
use crate::task::waiters::WaiterKey;

/// What a background worker's function is given as its first parameter, if it wants that.
///
/// ```
/// use std::time::Duration;
/// use atasker_runtime::{LoopWorker, WorkerContext};
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
    at: At,
}

#[derive(Clone)]
enum At {
    /// In this process: the engine itself, its life, and the task of the run.
    Here { engine: Arc<Engine>, life: u64, task: Option<TaskContext> },
    /// In a worker process, or nowhere: what the parent has told.
    Apart { told: Arc<Told>, task: TaskContext },
}

struct Told {
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
    /// For a run.
    pub(super) fn inside(engine: Arc<Engine>, life: u64, task: TaskContext) -> Self {
        WorkerContext { at: At::Here { engine, life, task: Some(task) } }
    }

    /// For a hook.
    pub(super) fn outside(engine: Arc<Engine>, life: u64) -> Self {
        WorkerContext { at: At::Here { engine, life, task: None } }
    }

    /// For a run in a worker process.
    pub(crate) fn apart(name: String, runs: u64, task: TaskContext) -> Self {
        let told = Arc::new(Told { name, runs, triggered: AtomicBool::new(false) });
        WorkerContext { at: At::Apart { told, task } }
    }

    /// A context of no worker, to call a function with in a test: nobody will ever stop it.
    ///
    /// ```
    /// let ctx = atasker_runtime::WorkerContext::detached();
    /// assert!(!ctx.stopped());
    /// ```
    pub fn detached() -> Self {
        WorkerContext::apart("detached".to_owned(), 0, TaskContext::detached())
    }

    /// The worker's name.
    pub fn name(&self) -> &str {
        match &self.at {
            At::Here { engine, .. } => &engine.traits.name,
            At::Apart { told, .. } => &told.name,
        }
    }

    /// How many runs are over: 0 during the first.
    pub fn runs(&self) -> u64 {
        match &self.at {
            At::Here { engine, .. } => engine.runs(),
            At::Apart { told, .. } => told.runs,
        }
    }

    /// Whether the worker was asked to stop.
    pub fn stopped(&self) -> bool {
        match &self.at {
            At::Here { engine, life, task } => {
                engine.is_over(*life) || task.as_ref().is_some_and(TaskContext::stopped)
            }
            At::Apart { task, .. } => task.stopped(),
        }
    }

    /// Sleeps until the worker is asked to stop (true), or until the time is over (false). It keeps
    /// its slot meanwhile, as any sleep does.
    ///
    /// # Panics
    /// On the thread of an aloop: use [`stop_requested`](Self::stop_requested) there.
    #[track_caller]
    pub fn wait_stop(&self, timeout: Duration) -> bool {
        let mut watch = Watch::new(self);
        park::sleep_on(clock::after(timeout), |context| watch.poll(context)).is_some()
    }

    /// Is ready once the worker is asked to stop.
    pub async fn stop_requested(&self) {
        let mut watch = Watch::new(self);
        poll_fn(|context| watch.poll(context)).await;
    }

    /// Asks for another run after this one. However often it is called, one run follows. In a queue
    /// worker it has no effect: there items make the runs.
    pub fn trigger(&self) {
        match &self.at {
            At::Here { engine, .. } => {
                engine.trigger();
            }
            At::Apart { told, .. } => told.triggered.store(true, Ordering::Relaxed),
        }
    }

    /// Whether another run was asked for, in a worker process.
    pub(crate) fn was_triggered(&self) -> bool {
        match &self.at {
            At::Here { .. } => false,
            At::Apart { told, .. } => told.triggered.load(Ordering::Relaxed),
        }
    }
}

/// Watches for the request to stop: of the worker, and of the run's task.
struct Watch<'a> {
    context: &'a WorkerContext,
    key: WaiterKey,
}

impl<'a> Watch<'a> {
    fn new(context: &'a WorkerContext) -> Self {
        Watch { context, key: WaiterKey::next() }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let (engine, task) = match &self.context.at {
            At::Here { engine, life, task } => (Some((engine, *life)), task.as_ref()),
            At::Apart { task, .. } => (None, Some(task)),
        };
        if let Some((engine, life)) = engine
            && engine.poll_over(life, self.key, cx).is_ready()
        {
            return Poll::Ready(());
        }
        match task {
            Some(task) => task.poll_stop(self.key, cx),
            None => Poll::Pending,
        }
    }
}

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        match &self.context.at {
            At::Here { engine, task, .. } => {
                engine.forget_waiter(self.key);
                if let Some(task) = task {
                    task.forget_waiter(self.key);
                }
            }
            At::Apart { task, .. } => task.forget_waiter(self.key),
        }
    }
}
