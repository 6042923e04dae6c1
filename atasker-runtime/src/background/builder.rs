//! The builder of background workers: options first, then the function.

use std::fmt;
use std::marker::PhantomData;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use crate::background::assembly::WorkerOptions;
use crate::background::context::WorkerContext;
use crate::background::engine::{Callbacks, Executor};
use crate::background::executor;
use crate::background::handle::{EventWorker, Handle, IntervalWorker, LoopWorker};
use crate::background::hook::{WorkerHook, hook};
use crate::background::items::{ItemSource, Items, OrderedQueue, QueueOptions};
use crate::background::outcome::{RunEnd, WorkerOutput};
use crate::background::queue::QueueWorker;
use crate::background::schedule::{Overrun, Schedule, Trigger};
use crate::error::WorkerError;
use crate::info::WorkerKind;
#[cfg(feature = "mp")]
use crate::launch::TaskBuilder;
use crate::priority::Priority;
use crate::supervisor::{Supervisor, supervisor};
use crate::unwind::Guarded;

/// A builder for a background worker of kind `W`.
///
/// Created by [`LoopWorker::builder`], [`IntervalWorker::builder`], [`QueueWorker::builder`] and
/// [`EventWorker::builder`]. `run` and `run_async` return the worker, which is not started.
///
/// ```
/// # use atasker_runtime as atasker;
/// use std::time::Duration;
/// use atasker::{IntervalWorker, WorkerContext};
///
/// let worker = IntervalWorker::builder(Duration::from_millis(1))
///     .name("ticker")
///     .after_stop(|| println!("no more ticks"))
///     .run(|ctx: &WorkerContext| ctx.runs() < 2);
/// worker.start();
/// # while worker.is_started() { std::thread::yield_now() }
/// assert_eq!(worker.runs(), 3);
/// ```
#[must_use = "a builder does nothing until `run` or `run_async` returns the worker"]
pub struct WorkerBuilder<W: WorkerHandle> {
    kind: WorkerKind,
    pub(super) trigger: Trigger,
    initial_delay: Duration,
    pub(super) options: WorkerOptions,
    /// `None` if there are none.
    callbacks: Option<Box<Callbacks>>,
    supervisor: Option<Supervisor>,
    items: Option<Arc<dyn ItemSource>>,
    extra: W::Extra,
    worker: PhantomData<fn() -> W>,
}

mod sealed {
    pub trait Handle {}
}

/// One of the four kinds of background workers, which a [`WorkerBuilder`] creates.
///
/// This trait is sealed: it is implemented for [`LoopWorker`], [`IntervalWorker`], [`QueueWorker`]
/// and
/// [`EventWorker`] only.
pub trait WorkerHandle: sealed::Handle {
    /// Additional options of the builder.
    #[doc(hidden)]
    type Extra: Default + Send;
}

impl<W: WorkerHandle> fmt::Debug for WorkerBuilder<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WorkerBuilder")
            .field("kind", &self.kind)
            .field("name", &self.options.name)
            .finish_non_exhaustive()
    }
}

impl LoopWorker {
    /// Returns a builder for a loop worker.
    ///
    /// ```
    /// # use atasker_runtime as atasker;
    /// use atasker::{LoopWorker, WorkerContext};
    /// let worker = LoopWorker::builder().run(|ctx: &WorkerContext| ctx.runs() < 9);
    /// worker.start();
    /// # while worker.is_started() { std::thread::yield_now() }
    /// ```
    pub fn builder() -> WorkerBuilder<LoopWorker> {
        WorkerBuilder::new(WorkerKind::Loop, Trigger::Loop, Duration::ZERO)
    }
}

impl IntervalWorker {
    /// Returns a builder for a worker that starts a run every `interval`, the first one at once.
    ///
    /// ```
    /// # use atasker_runtime as atasker;
    /// use std::time::Duration;
    /// use atasker::IntervalWorker;
    /// let worker = IntervalWorker::builder(Duration::from_secs(1)).run(|_| println!("tick"));
    /// worker.start();
    /// worker.stop();
    /// ```
    pub fn builder(interval: Duration) -> WorkerBuilder<IntervalWorker> {
        let trigger = Trigger::Every { period: interval, overrun: Overrun::Skip };
        WorkerBuilder::new(WorkerKind::Interval, trigger, Duration::ZERO)
    }

    /// Returns a builder for a worker that pauses for `delay` between the end of a run and the
    /// start of the next.
    ///
    /// ```
    /// # use atasker_runtime as atasker;
    /// use std::time::Duration;
    /// use atasker::IntervalWorker;
    /// let worker = IntervalWorker::with_delay(Duration::from_secs(1)).run(|_| println!("checked"));
    /// worker.start();
    /// worker.stop();
    /// ```
    pub fn with_delay(delay: Duration) -> WorkerBuilder<IntervalWorker> {
        WorkerBuilder::new(WorkerKind::Interval, Trigger::After { pause: delay }, Duration::ZERO)
    }
}

impl EventWorker {
    /// Returns a builder for an event worker.
    ///
    /// ```
    /// # use atasker_runtime as atasker;
    /// use atasker::EventWorker;
    /// let worker = EventWorker::builder().run(|_| println!("triggered"));
    /// worker.start();
    /// worker.trigger();
    /// worker.stop();
    /// ```
    pub fn builder() -> WorkerBuilder<EventWorker> {
        WorkerBuilder::new(WorkerKind::Event, Trigger::OnRequest, Duration::ZERO)
    }
}

impl<T: Send + 'static> QueueWorker<T> {
    /// Returns a builder for a queue worker.
    ///
    /// ```
    /// # use atasker_runtime as atasker;
    /// use atasker::QueueWorker;
    /// let worker = QueueWorker::builder().run(|_, item: u32| println!("{item}"));
    /// worker.put(1).unwrap();
    /// worker.start();
    /// worker.stop();
    /// ```
    pub fn builder() -> WorkerBuilder<QueueWorker<T>> {
        WorkerBuilder::new(WorkerKind::Queue, Trigger::OnRequest, Duration::ZERO)
    }
}

impl<W: WorkerHandle> WorkerBuilder<W> {
    fn new(kind: WorkerKind, trigger: Trigger, initial_delay: Duration) -> Self {
        WorkerBuilder {
            kind,
            trigger,
            initial_delay,
            options: WorkerOptions::default(),
            callbacks: None,
            supervisor: None,
            items: None,
            extra: W::Extra::default(),
            worker: PhantomData,
        }
    }

    /// Sets the name, which logs, `info()` and the tasks of the worker use.
    ///
    /// ```
    /// # use atasker_runtime as atasker;
    /// use atasker::EventWorker;
    /// let worker = EventWorker::builder().name("flush").run(|_| ());
    /// assert_eq!(worker.name(), "flush");
    /// ```
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.options.name = Some(name.into());
        self
    }

    /// Sets the supervisor (default: the default supervisor). The worker stops with it.
    ///
    /// ```
    /// # use atasker_runtime as atasker;
    /// use atasker::{EventWorker, StopOptions, Supervisor};
    /// let sup = Supervisor::builder().build();
    /// let worker = EventWorker::builder().supervisor(&sup).run(|_| ());
    /// worker.start();
    /// sup.stop(StopOptions::new());
    /// assert!(!worker.is_active());
    /// ```
    pub fn supervisor(mut self, supervisor: &Supervisor) -> Self {
        self.supervisor = Some(supervisor.clone());
        self
    }

    /// Sets the priority of the runs. Has no effect on a loop worker on a thread, because its
    /// thread is dedicated.
    ///
    /// ```
    /// # use atasker_runtime as atasker;
    /// use atasker::{EventWorker, Priority};
    /// let worker = EventWorker::builder().priority(Priority::High).run(|_| ());
    /// # drop(worker);
    /// ```
    pub fn priority(mut self, priority: Priority) -> Self {
        self.options.priority = priority;
        self
    }

    /// Sets the aloop of the runs, for `run_async` (default: the default aloop).
    pub fn aloop(mut self, name: impl Into<String>) -> Self {
        self.options.aloop = Some(name.into());
        self
    }

    /// Sets a function that is called for every run that panicked or returned an `Err`. The worker
    /// stops if it returns `Break`. Without such a function, errors are logged, and the worker
    /// continues.
    ///
    /// ```
    /// # use atasker_runtime as atasker;
    /// use std::ops::ControlFlow;
    /// use atasker::{LoopWorker, WorkerError};
    /// let worker = LoopWorker::builder()
    ///     .on_error(|error: &WorkerError| {
    ///         eprintln!("{error}");
    ///         ControlFlow::Break(())
    ///     })
    ///     .run(|_| Err::<(), _>("out of paper"));
    /// worker.start();
    /// while worker.is_started() {
    ///     std::thread::yield_now();
    /// }
    /// assert_eq!(worker.runs(), 1);
    /// ```
    pub fn on_error(
        mut self,
        handler: impl Fn(&WorkerError) -> ControlFlow<()> + Send + Sync + 'static,
    ) -> Self {
        self.callbacks().on_error = Some(Guarded::new(Box::new(handler)));
        self
    }

    /// Adds a hook that `start` calls before the first run: `|| ..` or `|ctx: &WorkerContext| ..`.
    ///
    /// A panic of a hook is logged, and the worker continues. A hook that can't continue must call
    /// `stop` of the worker.
    ///
    /// ```
    /// # use atasker_runtime as atasker;
    /// use atasker::EventWorker;
    /// let worker = EventWorker::builder().before_start(|| println!("before the first run")).run(|_| ());
    /// worker.start();
    /// worker.stop();
    /// ```
    pub fn before_start<M: 'static>(mut self, call: impl WorkerHook<M>) -> Self {
        self.callbacks().before_start.push(hook(call));
        self
    }

    /// Adds a hook that `start` calls after those of [`before_start`](Self::before_start) and
    /// before the first run.
    ///
    /// ```
    /// # use atasker_runtime as atasker;
    /// use atasker::EventWorker;
    /// let worker = EventWorker::builder().after_start(|| println!("started")).run(|_| ());
    /// worker.start();
    /// worker.stop();
    /// ```
    pub fn after_start<M: 'static>(mut self, call: impl WorkerHook<M>) -> Self {
        self.callbacks().after_start.push(hook(call));
        self
    }

    /// Adds a hook that is called when the worker is asked to stop, on the thread that asks. A run
    /// may still be in progress.
    ///
    /// ```
    /// # use atasker_runtime as atasker;
    /// use atasker::EventWorker;
    /// let worker = EventWorker::builder().before_stop(|| println!("stopping")).run(|_| ());
    /// worker.start();
    /// worker.stop();
    /// ```
    pub fn before_stop<M: 'static>(mut self, call: impl WorkerHook<M>) -> Self {
        self.callbacks().before_stop.push(hook(call));
        self
    }

    /// Adds a hook that is called when the worker has stopped and no run is in progress. `stop`
    /// returns after that.
    ///
    /// ```
    /// # use atasker_runtime as atasker;
    /// use atasker::EventWorker;
    /// let worker = EventWorker::builder().after_stop(|| println!("stopped")).run(|_| ());
    /// worker.start();
    /// worker.stop();
    /// ```
    pub fn after_stop<M: 'static>(mut self, call: impl WorkerHook<M>) -> Self {
        self.callbacks().after_stop.push(hook(call));
        self
    }

    fn callbacks(&mut self) -> &mut Callbacks {
        self.callbacks.get_or_insert_default()
    }

    /// Creates the engine of the worker, which runs by `executor`.
    fn build(self, executor: Arc<dyn Executor>) -> Handle {
        let core = self.supervisor.as_ref().unwrap_or_else(|| supervisor()).core();
        let schedule =
            Schedule::new(self.trigger, self.initial_delay).aligned(self.options.ticks.is_some());
        let executor = match self.items {
            Some(items) => executor::with_queue(executor, items),
            None => executor,
        };
        let engine = self.options.assemble(self.kind, schedule, self.callbacks, core, executor);
        Handle::new(engine, self.supervisor)
    }
}

/// The methods that create a worker without a queue.
macro_rules! runs {
    ($worker:ident) => {
        impl sealed::Handle for $worker {}

        impl WorkerHandle for $worker {
            type Extra = ();
        }

        impl WorkerBuilder<$worker> {
            /// Returns a worker that runs `f` on threads. It is not started.
            pub fn run<R: WorkerOutput>(
                self,
                f: impl FnMut(&WorkerContext) -> R + Send + 'static,
            ) -> $worker {
                $worker::new(self.build(executor::on_thread(f)))
            }

            /// Returns a worker that runs `f` on an aloop. It is not started.
            #[cfg(feature = "async")]
            pub fn run_async<F>(self, f: impl FnMut(WorkerContext) -> F + Send + 'static) -> $worker
            where
                F: Future + Send + 'static,
                F::Output: WorkerOutput,
            {
                $worker::new(self.build(executor::on_aloop(f)))
            }

            /// For generated code: returns a worker whose runs are calls to worker processes.
            #[cfg(feature = "mp")]
            #[doc(hidden)]
            pub fn __run_in_process<R: Send + 'static>(
                self,
                call: impl FnMut(String, u64) -> TaskBuilder<(R, bool)> + Send + 'static,
                result: impl Fn(&R) -> RunEnd + Send + Sync + 'static,
            ) -> $worker {
                $worker::new(self.build(executor::in_process(call, result)))
            }
        }
    };
}

runs!(LoopWorker);
runs!(IntervalWorker);
runs!(EventWorker);

impl WorkerBuilder<IntervalWorker> {
    /// Sets what to do about missed runs (default: [`Overrun::Skip`]). Has no effect on a worker
    /// with a pause instead of an interval.
    ///
    /// ```
    /// # use atasker_runtime as atasker;
    /// use std::time::Duration;
    /// use atasker::{IntervalWorker, Overrun};
    /// let second = Duration::from_secs(1);
    /// let worker = IntervalWorker::builder(second).overrun(Overrun::Burst).run(|_| println!("tick"));
    /// # drop(worker);
    /// ```
    pub fn overrun(mut self, what: Overrun) -> Self {
        if let Trigger::Every { overrun, .. } = &mut self.trigger {
            *overrun = what;
        }
        self
    }

    /// Adds a pause before every run: before the first one, and between the end of a run and the
    /// next. For a worker with an interval, only the first run is delayed.
    ///
    /// ```
    /// # use atasker_runtime as atasker;
    /// use std::time::Duration;
    /// use atasker::IntervalWorker;
    /// let second = Duration::from_secs(1);
    /// let worker = IntervalWorker::builder(60 * second).delay_before(second).run(|_| println!("tick"));
    /// worker.start(); // the first run begins a second later
    /// worker.stop();
    /// ```
    pub fn delay_before(mut self, delay: Duration) -> Self {
        self.initial_delay = self.initial_delay.saturating_add(delay);
        if let Trigger::After { pause } = &mut self.trigger {
            *pause = pause.saturating_add(delay);
        }
        self
    }
}

impl WorkerBuilder<EventWorker> {
    /// For generated code: turns the builder into one of a queue worker. Generated code calls the
    /// setters before, so that a trait that the item type lacks is reported once, at the type.
    #[doc(hidden)]
    pub fn __with_queue<T: Send + 'static>(
        self,
        limit: Option<usize>,
    ) -> WorkerBuilder<QueueWorker<T>> {
        WorkerBuilder {
            kind: WorkerKind::Queue,
            trigger: self.trigger,
            initial_delay: self.initial_delay,
            options: self.options,
            callbacks: self.callbacks,
            supervisor: self.supervisor,
            items: self.items,
            extra: QueueOptions { limit, ..QueueOptions::default() },
            worker: PhantomData,
        }
    }
}

impl<T> sealed::Handle for QueueWorker<T> {}

impl<T: Send + 'static> WorkerHandle for QueueWorker<T> {
    type Extra = QueueOptions<T>;
}

impl<T: Send + 'static> WorkerBuilder<QueueWorker<T>> {
    /// Sets the maximum number of items in the queue. `put` blocks while the queue is full.
    ///
    /// ```
    /// # use atasker_runtime as atasker;
    /// use atasker::QueueWorker;
    /// let worker = QueueWorker::builder().queue_limit(1).run(|_, item: u32| println!("{item}"));
    /// assert!(worker.try_put(1).is_ok());
    /// assert!(worker.try_put(2).unwrap_err().is_full());
    /// ```
    ///
    /// # Panics
    /// Panics if `limit` is 0.
    #[track_caller]
    pub fn queue_limit(mut self, limit: usize) -> Self {
        assert!(limit > 0, "a queue with a `queue_limit` of 0 would never accept an item");
        self.extra.limit = Some(limit);
        self
    }

    /// Orders the queue by `Ord`: the smallest item first. Equal items remain in the order in which
    /// they were put.
    ///
    /// ```
    /// # use atasker_runtime as atasker;
    /// use std::sync::mpsc::channel;
    /// use atasker::QueueWorker;
    /// let (sender, received) = channel();
    /// let worker = QueueWorker::builder().by_priority().run(move |_, item: u32| {
    ///     sender.send(item).unwrap();
    /// });
    /// worker.put(2).unwrap();
    /// worker.put(1).unwrap();
    /// worker.start();
    /// assert_eq!([received.recv().unwrap(), received.recv().unwrap()], [1, 2]);
    /// worker.stop();
    /// ```
    pub fn by_priority(mut self) -> Self
    where
        T: Ord,
    {
        self.extra.queue = Box::new(OrderedQueue::default());
        self
    }

    fn take_items(&mut self) -> Arc<Items<T>> {
        let items = Items::new(std::mem::take(&mut self.extra));
        self.items = Some(Arc::clone(&items) as _);
        items
    }

    /// Returns a worker that runs `f` on threads, for one item at a time. It is not started.
    pub fn run<R: WorkerOutput>(
        mut self,
        mut f: impl FnMut(&WorkerContext, T) -> R + Send + 'static,
    ) -> QueueWorker<T> {
        let items = self.take_items();
        let source = Arc::clone(&items);
        let executor = executor::on_thread(move |context| match source.take() {
            Some(item) => f(context, item).run_end(),
            None => RunEnd::Continue,
        });
        QueueWorker::new(self.build(executor), items)
    }

    /// Returns a worker that runs `f` on an aloop, for one item at a time. It is not started.
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
        let executor = executor::on_aloop(move |context| {
            let future = source.take().map(|item| f(context, item));
            async move {
                match future {
                    Some(future) => future.await.run_end(),
                    None => RunEnd::Continue,
                }
            }
        });
        QueueWorker::new(self.build(executor), items)
    }

    /// For generated code: returns a worker whose runs are calls to worker processes.
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
            // Only this worker takes items, in one run at a time, and a run is due only if there is
            // an item.
            call(name, runs, source.take().expect("a run is due only if there is an item"))
        };
        QueueWorker::new(self.build(executor::in_process(call, result)), items)
    }
}
