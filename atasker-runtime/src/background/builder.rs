//! A background worker that is being made: options first, then its function.

use std::fmt;
use std::marker::PhantomData;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use crate::background::context::WorkerContext;
use crate::background::engine::{Engine, Hook, Hooks, OnError, Runner, Traits};
use crate::background::handle::{EventWorker, Handle, IntervalWorker, LoopWorker};
use crate::background::outcome::{RunEnd, WorkerError, WorkerOutput};
use crate::background::queue::{Items, Ordered, QueueOptions, QueueWorker, Stock, Stocked};
use crate::background::run::{Launch, OnThread, ThreadRunner};
use crate::background::schedule::{Overrun, Rhythm, Schedule};
use crate::info::WorkerKind;
#[cfg(feature = "mp")]
use crate::launcher::TaskBuilder;
use crate::priority::Priority;
use crate::supervisor::{Supervisor, supervisor};

/// A background worker of the kind `W` that is being made.
///
/// Made by [`LoopWorker::builder`], [`IntervalWorker::builder`], [`QueueWorker::builder`] and
/// [`EventWorker::builder`]; `run` or `run_async` gives the worker, not started.
///
/// ```
/// use std::time::Duration;
/// use atasker_runtime::{IntervalWorker, WorkerContext};
///
/// let worker = IntervalWorker::builder(Duration::from_millis(1))
///     .name("ticker")
///     .after_stop(|| println!("no more ticks"))
///     .run(|ctx: &WorkerContext| ctx.runs() < 2);
/// worker.start();
/// # while worker.is_started() { std::thread::yield_now() }
/// assert_eq!(worker.runs(), 3);
/// ```
#[must_use = "a builder does nothing until `run` or `run_async` gives the worker"]
pub struct WorkerBuilder<W: WorkerHandle> {
    kind: WorkerKind,
    rhythm: Rhythm,
    first: Duration,
    name: Option<String>,
    supervisor: Option<Supervisor>,
    priority: Priority,
    aloop: Option<String>,
    on_error: Option<OnError>,
    hooks: Hooks,
    stock: Option<Arc<dyn Stock>>,
    extra: W::Extra,
    worker: PhantomData<fn() -> W>,
}

/// What a builder makes: one of the four kinds of background workers.
pub trait WorkerHandle {
    /// What its builder has to know besides.
    #[doc(hidden)]
    type Extra: Default + Send;
}

impl<W: WorkerHandle> fmt::Debug for WorkerBuilder<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WorkerBuilder")
            .field("kind", &self.kind)
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// What may be called when a worker starts or stops: a closure without parameters, or one that takes
/// `&WorkerContext`.
#[diagnostic::on_unimplemented(
    message = "a hook of a background worker is `|| ..` or `|ctx: &WorkerContext| ..`"
)]
pub trait WorkerHook<M>: Send + Sync + 'static {
    #[doc(hidden)]
    fn call(&self, context: &WorkerContext);
}

impl<F: Fn() + Send + Sync + 'static> WorkerHook<()> for F {
    fn call(&self, _context: &WorkerContext) {
        self();
    }
}

impl<F: Fn(&WorkerContext) + Send + Sync + 'static> WorkerHook<&WorkerContext> for F {
    fn call(&self, context: &WorkerContext) {
        self(context);
    }
}

fn hook<M: 'static>(hook: impl WorkerHook<M>) -> Hook {
    Box::new(move |context| hook.call(context))
}

impl<W: WorkerHandle> WorkerBuilder<W> {
    pub(super) fn new(kind: WorkerKind, rhythm: Rhythm, first: Duration) -> Self {
        WorkerBuilder {
            kind,
            rhythm,
            first,
            name: None,
            supervisor: None,
            priority: Priority::default(),
            aloop: None,
            on_error: None,
            hooks: Hooks::default(),
            stock: None,
            extra: W::Extra::default(),
            worker: PhantomData,
        }
    }

    /// What it is called in logs and in `info()`; its tasks have that name, too.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Which supervisor it belongs to (default: the default one). It stops with it.
    pub fn supervisor(mut self, supervisor: &Supervisor) -> Self {
        self.supervisor = Some(supervisor.clone());
        self
    }

    /// How urgent its runs are. The thread of a loop worker is its own: there it has no effect.
    pub fn priority(mut self, priority: Priority) -> Self {
        self.priority = priority;
        self
    }

    /// Which aloop its runs are on, for `run_async` (default: the default one).
    pub fn aloop(mut self, name: impl Into<String>) -> Self {
        self.aloop = Some(name.into());
        self
    }

    /// Told of every run that panicked or returned an `Err`; `Break` stops the worker. Without it,
    /// errors are logged, and the worker goes on.
    pub fn on_error(
        mut self,
        told: impl Fn(&WorkerError) -> ControlFlow<()> + Send + Sync + 'static,
    ) -> Self {
        self.on_error = Some(Box::new(told));
        self
    }

    /// Called by `start`, before the first run: `|| ..` or `|ctx: &WorkerContext| ..`.
    ///
    /// A hook that panics is logged, and the worker goes on; one that finds that it can't go on calls
    /// `stop` of the worker.
    pub fn before_start<M: 'static>(mut self, call: impl WorkerHook<M>) -> Self {
        self.hooks.before_start.push(hook(call));
        self
    }

    /// Called by `start`, after [`before_start`](Self::before_start) and before the first run.
    pub fn after_start<M: 'static>(mut self, call: impl WorkerHook<M>) -> Self {
        self.hooks.after_start.push(hook(call));
        self
    }

    /// Called when the worker is asked to stop, by whoever asks; a run may still be under way.
    pub fn before_stop<M: 'static>(mut self, call: impl WorkerHook<M>) -> Self {
        self.hooks.before_stop.push(hook(call));
        self
    }

    /// Called when it has stopped: no run is under way any more. `stop` returns after that.
    pub fn after_stop<M: 'static>(mut self, call: impl WorkerHook<M>) -> Self {
        self.hooks.after_stop.push(hook(call));
        self
    }

    fn build(self, runner: impl FnOnce(Launch) -> Box<dyn Runner>) -> Handle {
        let core = match &self.supervisor {
            Some(supervisor) => Arc::downgrade(supervisor.core()),
            None => Arc::downgrade(supervisor().core()),
        };
        let name = self.name.unwrap_or_else(|| self.kind.to_string());
        let launch = Launch {
            name: name.as_str().into(),
            priority: self.priority,
            aloop: self.aloop,
            core: core.clone(),
        };
        let traits = Traits {
            name,
            kind: self.kind,
            priority: self.priority,
            on_error: self.on_error,
            hooks: self.hooks,
        };
        let schedule = Schedule::new(self.rhythm, self.first);
        let mut runner = runner(launch);
        if let Some(stock) = self.stock {
            runner = Box::new(Stocked { runner, stock });
        }
        Handle::new(Engine::new(traits, schedule, core, runner), self.supervisor)
    }

    fn on_thread<R: WorkerOutput>(
        self,
        mut f: impl FnMut(&WorkerContext) -> R + Send + 'static,
    ) -> Handle {
        let keeps = self.kind == WorkerKind::Loop;
        self.build(|mut launch| {
            if keeps {
                // Not counted, and never made to wait: a thread of its own.
                launch.priority = Priority::Critical;
            }
            let function =
                Arc::new(Mutex::new(
                    Box::new(move |context: &WorkerContext| f(context).run_end()) as OnThread
                ));
            Box::new(ThreadRunner { launch, function, keeps })
        })
    }

    #[cfg(feature = "async")]
    fn on_loop<F>(self, mut f: impl FnMut(WorkerContext) -> F + Send + 'static) -> Handle
    where
        F: Future + Send + 'static,
        F::Output: WorkerOutput,
    {
        use crate::background::run::{LoopRunner, OnLoop};
        let keeps = self.kind == WorkerKind::Loop;
        self.build(|launch| {
            let function: OnLoop = Box::new(move |context| {
                let future = f(context);
                Box::pin(async move { future.await.run_end() })
            });
            Box::new(LoopRunner { launch, function: Arc::new(Mutex::new(function)), keeps })
        })
    }

    #[cfg(feature = "mp")]
    fn in_process<R: Send + 'static>(
        self,
        call: impl FnMut(String, u64) -> TaskBuilder<(R, bool)> + Send + 'static,
        result: impl Fn(&R) -> RunEnd + Send + Sync + 'static,
    ) -> Handle {
        use crate::background::run::ProcessRunner;
        let result = Arc::new(result);
        self.build(|launch| {
            Box::new(ProcessRunner { launch, call: Mutex::new(Box::new(call)), result })
        })
    }
}

/// What a worker without a queue runs.
macro_rules! runs {
    ($worker:ident) => {
        impl WorkerHandle for $worker {
            type Extra = ();
        }

        impl WorkerBuilder<$worker> {
            /// A worker that runs `f` on threads. It is not started.
            pub fn run<R: WorkerOutput>(
                self,
                f: impl FnMut(&WorkerContext) -> R + Send + 'static,
            ) -> $worker {
                $worker::new(self.on_thread(f))
            }

            /// A worker that runs `f` on an aloop. It is not started.
            #[cfg(feature = "async")]
            pub fn run_async<F>(self, f: impl FnMut(WorkerContext) -> F + Send + 'static) -> $worker
            where
                F: Future + Send + 'static,
                F::Output: WorkerOutput,
            {
                $worker::new(self.on_loop(f))
            }

            /// The door for generated code: a worker whose runs are calls to worker processes.
            #[cfg(feature = "mp")]
            #[doc(hidden)]
            pub fn __run_in_process<R: Send + 'static>(
                self,
                call: impl FnMut(String, u64) -> TaskBuilder<(R, bool)> + Send + 'static,
                result: impl Fn(&R) -> RunEnd + Send + Sync + 'static,
            ) -> $worker {
                $worker::new(self.in_process(call, result))
            }
        }
    };
}

runs!(LoopWorker);
runs!(IntervalWorker);
runs!(EventWorker);

impl WorkerBuilder<IntervalWorker> {
    /// What it does about turns that it missed (default: [`Overrun::Skip`]). Without effect where
    /// pauses are kept, not intervals.
    pub fn overrun(mut self, what: Overrun) -> Self {
        if let Rhythm::Every { overrun, .. } = &mut self.rhythm {
            *overrun = what;
        }
        self
    }

    /// Waits so long before every run: before the first, and between the end of one and the next.
    /// A worker that keeps an interval has only its first run later.
    pub fn delay_before(mut self, delay: Duration) -> Self {
        self.first = self.first.saturating_add(delay);
        if let Rhythm::After { pause } = &mut self.rhythm {
            *pause = pause.saturating_add(delay);
        }
        self
    }
}

impl WorkerBuilder<EventWorker> {
    /// The door for generated code: the same with a queue, so that what a type of items lacks is
    /// said where it is named, and not by every setter.
    #[doc(hidden)]
    pub fn __with_queue<T: Send + 'static>(
        self,
        limit: Option<usize>,
    ) -> WorkerBuilder<QueueWorker<T>> {
        WorkerBuilder {
            kind: WorkerKind::Queue,
            rhythm: self.rhythm,
            first: self.first,
            name: self.name,
            supervisor: self.supervisor,
            priority: self.priority,
            aloop: self.aloop,
            on_error: self.on_error,
            hooks: self.hooks,
            stock: self.stock,
            extra: QueueOptions { limit, ..QueueOptions::default() },
            worker: PhantomData,
        }
    }
}

impl<T: Send + 'static> WorkerHandle for QueueWorker<T> {
    type Extra = QueueOptions<T>;
}

impl<T: Send + 'static> WorkerBuilder<QueueWorker<T>> {
    /// At most so many items wait; `put` waits for room then.
    pub fn queue_limit(mut self, limit: usize) -> Self {
        self.extra.limit = Some(limit);
        self
    }

    /// The smallest item first; of equal ones, the first that came.
    pub fn by_priority(mut self) -> Self
    where
        T: Ord,
    {
        self.extra.shelf = Box::new(Ordered::default());
        self
    }

    fn take_items(&mut self) -> Arc<Items<T>> {
        let items = Items::new(std::mem::take(&mut self.extra));
        self.stock = Some(Arc::clone(&items) as _);
        items
    }

    /// A worker that runs `f` on threads, for one item at a time. It is not started.
    pub fn run<R: WorkerOutput>(
        mut self,
        mut f: impl FnMut(&WorkerContext, T) -> R + Send + 'static,
    ) -> QueueWorker<T> {
        let items = self.take_items();
        let source = Arc::clone(&items);
        let handle = self.on_thread(move |context| match source.take() {
            Some(item) => f(context, item).run_end(),
            None => RunEnd::Continue,
        });
        QueueWorker::new(handle, items)
    }

    /// A worker that runs `f` on an aloop, for one item at a time. It is not started.
    #[cfg(feature = "async")]
    pub fn run_async<F>(
        mut self,
        mut f: impl FnMut(WorkerContext, T) -> F + Send + 'static,
    ) -> QueueWorker<T>
    where
        F: Future + Send + 'static,
        F::Output: WorkerOutput,
    {
        let items = self.take_items();
        let source = Arc::clone(&items);
        let handle = self.on_loop(move |context| {
            let future = source.take().map(|item| f(context, item));
            async move {
                match future {
                    Some(future) => future.await.run_end(),
                    None => RunEnd::Continue,
                }
            }
        });
        QueueWorker::new(handle, items)
    }

    /// The door for generated code: a worker whose runs are calls to worker processes.
    #[cfg(feature = "mp")]
    #[doc(hidden)]
    pub fn __run_in_process<R: Send + 'static>(
        mut self,
        mut call: impl FnMut(String, u64, T) -> TaskBuilder<(R, bool)> + Send + 'static,
        result: impl Fn(&R) -> RunEnd + Send + Sync + 'static,
    ) -> QueueWorker<T> {
        let items = self.take_items();
        let source = Arc::clone(&items);
        let call = move |name, runs| {
            // Only this worker takes items out, one run at a time, and a run is due only if one is
            // there.
            call(name, runs, source.take().expect("an item is there"))
        };
        QueueWorker::new(self.in_process(call, result), items)
    }
}
