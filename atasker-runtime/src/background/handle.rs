//! The handles of background workers.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;
use std::time::SystemTime;

use crate::background::engine::Engine;
use crate::info::WorkerKind;
use crate::supervisor::Supervisor;
use crate::time::clock;

/// A handle to a background worker of any kind, with the methods that all kinds have.
///
/// [`LoopWorker`], [`IntervalWorker`], [`QueueWorker`](crate::QueueWorker) and [`EventWorker`] dereference
/// to it. Clones are handles to the same worker. Dropping all handles has no effect on an active
/// worker: it continues to run, and stops with its supervisor.
///
/// ```
/// # use atasker_runtime as atasker;
/// use atasker::{BackgroundWorker, EventWorker, WorkerKind};
/// let flush = EventWorker::builder().name("flush").run(|_| ());
/// let workers: Vec<BackgroundWorker> = vec![flush.into()];
/// for worker in &workers {
///     worker.start();
///     assert_eq!((worker.name(), worker.kind()), ("flush", WorkerKind::Event));
///     worker.stop();
/// }
/// ```
#[derive(Clone)]
pub struct BackgroundWorker {
    pub(super) handle: Handle,
}

/// The engine, and its supervisor, which must not stop while the worker can still be started.
#[derive(Clone)]
pub(super) struct Handle {
    pub(super) engine: Arc<Engine>,
    _supervisor: Option<Supervisor>,
}

impl Handle {
    pub(super) fn new(engine: Arc<Engine>, supervisor: Option<Supervisor>) -> Self {
        Handle { engine, _supervisor: supervisor }
    }
}

impl fmt::Debug for BackgroundWorker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BackgroundWorker")
            .field("name", &self.name())
            .field("kind", &self.kind())
            .field("active", &self.is_active())
            .field("runs", &self.runs())
            .finish()
    }
}

impl BackgroundWorker {
    fn engine(&self) -> &Engine {
        &self.handle.engine
    }

    /// Returns the name of the worker.
    pub fn name(&self) -> &str {
        self.engine().spec.name()
    }

    /// Returns the kind of the worker.
    pub fn kind(&self) -> WorkerKind {
        self.engine().spec.kind
    }

    /// Starts the worker. Returns false if the worker is active already, or if its supervisor is
    /// stopped.
    ///
    /// If the worker is stopping, `start` blocks until it has stopped, and starts it again. Inside
    /// the worker's own function, `start` doesn't block, and the worker starts again after the
    /// function has returned.
    ///
    /// ```
    /// # use atasker_runtime as atasker;
    /// use atasker::EventWorker;
    /// let worker = EventWorker::builder().name("flush").run(|_| ());
    /// assert!(worker.start());
    /// assert!(!worker.start());
    /// # worker.stop();
    /// ```
    ///
    /// # Panics
    /// Panics on the thread of an aloop if it would have to block.
    #[track_caller]
    pub fn start(&self) -> bool {
        self.engine().start()
    }

    /// Stops the worker, and blocks until it has stopped.
    ///
    /// The current run receives the request through its context and runs to completion. Inside the
    /// worker's own function or one of its hooks, `stop` doesn't block. Two workers whose functions
    /// stop each other would deadlock: use [`stop_nowait`](Self::stop_nowait) in that case.
    ///
    /// ```
    /// # use atasker_runtime as atasker;
    /// use atasker::EventWorker;
    /// let worker = EventWorker::builder().name("flush").run(|_| ());
    /// worker.start();
    /// worker.stop();
    /// assert!(worker.is_stopped() && !worker.is_started());
    /// ```
    ///
    /// # Panics
    /// Panics on the thread of an aloop if it would have to block: use
    /// [`stop_async`](Self::stop_async) there.
    #[track_caller]
    pub fn stop(&self) {
        self.engine().stop();
    }

    /// Stops the worker, and completes when it has stopped.
    ///
    /// ```
    /// # use atasker_runtime as atasker;
    /// # async fn example() {
    /// use atasker::EventWorker;
    /// let worker = EventWorker::builder().name("flush").run(|_| ());
    /// worker.start();
    /// worker.stop_async().await;
    /// assert!(worker.is_stopped());
    /// # }
    /// ```
    ///
    /// # Cancel safety
    /// The worker is asked to stop when the future is first polled. Dropping the future later
    /// doesn't withdraw the request.
    pub async fn stop_async(&self) {
        self.engine().stop_async().await;
    }

    /// Asks the worker to stop, and returns at once.
    ///
    /// ```
    /// # use atasker_runtime as atasker;
    /// use atasker::EventWorker;
    /// let worker = EventWorker::builder().name("flush").run(|_| ());
    /// worker.start();
    /// worker.stop_nowait();
    /// assert!(!worker.is_active());
    /// ```
    pub fn stop_nowait(&self) {
        self.engine().stop_nowait();
    }

    /// Stops the worker and starts it again. Inside the worker's own function, the worker starts
    /// again after the run.
    ///
    /// ```
    /// # use atasker_runtime as atasker;
    /// use atasker::EventWorker;
    /// let worker = EventWorker::builder().name("flush").run(|_| ());
    /// worker.start();
    /// worker.restart();
    /// assert!(worker.is_active());
    /// # worker.stop();
    /// ```
    ///
    /// # Panics
    /// Panics on the thread of an aloop if it would have to block.
    #[track_caller]
    pub fn restart(&self) {
        self.engine().restart();
    }

    /// Returns whether the worker is started and was not asked to stop.
    ///
    /// ```
    /// # use atasker_runtime as atasker;
    /// use atasker::EventWorker;
    /// let worker = EventWorker::builder().name("flush").run(|_| ());
    /// assert!(!worker.is_active());
    /// worker.start();
    /// assert!(worker.is_active());
    /// # worker.stop();
    /// ```
    pub fn is_active(&self) -> bool {
        self.engine().is_active()
    }

    /// Returns whether the worker is started and has not stopped yet. This is also true while it
    /// stops.
    pub fn is_started(&self) -> bool {
        self.engine().is_started()
    }

    /// Returns whether the worker was started and is no longer active. The last run may still be in
    /// progress: see [`is_started`](Self::is_started).
    pub fn is_stopped(&self) -> bool {
        self.engine().is_stopped()
    }

    /// Returns the start time of the latest run.
    pub fn last_executed(&self) -> Option<SystemTime> {
        self.engine().last().map(clock::system_time)
    }

    /// Returns the number of completed runs, including failed ones.
    ///
    /// ```
    /// # use atasker_runtime as atasker;
    /// use atasker::LoopWorker;
    /// let worker = LoopWorker::builder().run(|ctx| ctx.runs() < 2);
    /// worker.start();
    /// while worker.is_started() {
    ///     std::thread::yield_now();
    /// }
    /// assert_eq!(worker.runs(), 3);
    /// ```
    pub fn runs(&self) -> u64 {
        self.engine().runs()
    }
}

macro_rules! worker {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug)]
        #[must_use = "a background worker does nothing until `start()` is called"]
        pub struct $name(BackgroundWorker);

        impl $name {
            pub(super) fn new(handle: Handle) -> Self {
                $name(BackgroundWorker { handle })
            }
        }

        impl From<$name> for BackgroundWorker {
            fn from(worker: $name) -> Self {
                worker.0
            }
        }

        impl Deref for $name {
            type Target = BackgroundWorker;
            fn deref(&self) -> &BackgroundWorker {
                &self.0
            }
        }
    };
}

worker! {
    /// A background worker that runs its function in a loop, without a pause.
    ///
    /// The worker has a dedicated thread that occupies no slot. On an aloop, it is one task that
    /// yields after every run. The function itself should wait for its next work, ideally by a wait
    /// that ends when the worker is stopped, such as
    /// [`WorkerContext::wait_stop`](crate::WorkerContext::wait_stop).
    ///
    /// ```
    /// # use atasker_runtime as atasker;
    /// use std::time::Duration;
    /// use atasker::{LoopWorker, WorkerContext};
    /// let worker = LoopWorker::builder().run(|ctx: &WorkerContext| {
    ///     ctx.wait_stop(Duration::from_millis(1));
    /// });
    /// assert!(worker.start());
    /// assert!(!worker.start());
    /// worker.stop();
    /// assert!(worker.is_stopped());
    /// ```
    LoopWorker
}

worker! {
    /// A background worker that runs its function at an interval, or with a pause between runs.
    ///
    /// An interval is measured from start to start, without drift. A pause
    /// ([`with_delay`](IntervalWorker::with_delay)) is measured from the end of a run to the start
    /// of the next.
    ///
    /// ```
    /// # use atasker_runtime as atasker;
    /// use std::time::Duration;
    /// use atasker::IntervalWorker;
    /// let worker = IntervalWorker::builder(Duration::from_secs(3600)).run(|_| println!("tick"));
    /// worker.start();
    /// worker.trigger(); // an additional run
    /// # while worker.runs() < 1 { std::thread::yield_now() }
    /// worker.stop();
    /// ```
    IntervalWorker
}

worker! {
    /// A background worker that runs its function when it is triggered.
    ///
    /// ```
    /// # use atasker_runtime as atasker;
    /// use atasker::EventWorker;
    /// let (tx, rx) = std::sync::mpsc::channel();
    /// let worker = EventWorker::builder().run(move |_| tx.send("it happened").unwrap());
    /// worker.start();
    /// worker.trigger();
    /// assert_eq!(rx.recv().unwrap(), "it happened");
    /// worker.stop();
    /// ```
    EventWorker
}

impl IntervalWorker {
    /// Requests an additional run now, without changing the interval. Returns false if the worker
    /// is not active.
    ///
    /// Requests during a run are combined: one additional run follows.
    ///
    /// ```
    /// # use atasker_runtime as atasker;
    /// use std::sync::mpsc::channel;
    /// use std::time::Duration;
    /// use atasker::IntervalWorker;
    /// let (sender, runs) = channel();
    /// let worker = IntervalWorker::builder(Duration::from_secs(3600)).run(move |_| {
    ///     sender.send(()).unwrap();
    /// });
    /// worker.start();
    /// runs.recv().unwrap(); // the first run
    /// assert!(worker.trigger());
    /// runs.recv().unwrap(); // not an hour later
    /// worker.stop();
    /// ```
    pub fn trigger(&self) -> bool {
        self.handle.engine.trigger()
    }
}

impl EventWorker {
    /// Requests a run. Returns false if the worker is not active.
    ///
    /// Requests during a run are combined: one further run follows.
    ///
    /// ```
    /// # use atasker_runtime as atasker;
    /// use atasker::EventWorker;
    /// let worker = EventWorker::builder().name("flush").run(|_| ());
    /// assert!(!worker.trigger());
    /// worker.start();
    /// assert!(worker.trigger());
    /// worker.stop();
    /// ```
    pub fn trigger(&self) -> bool {
        self.handle.engine.trigger()
    }
}
