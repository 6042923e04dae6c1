//! What the user holds of a background worker.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::background::builder::WorkerBuilder;
use crate::background::engine::Engine;
use crate::background::schedule::{Overrun, Rhythm};
use crate::clock;
use crate::info::WorkerKind;
use crate::supervisor::Supervisor;

/// A background worker of any kind: what all of them can do.
///
/// The workers themselves ([`LoopWorker`], [`IntervalWorker`], [`QueueWorker`](crate::QueueWorker),
/// [`EventWorker`]) dereference to it. Clones are handles of the same worker. Dropping them all
/// changes nothing: an active worker goes on, and stops with its supervisor.
#[derive(Clone)]
pub struct BackgroundWorker {
    pub(super) handle: Handle,
}

/// The engine, and its supervisor, lest that stops while somebody can still start the worker.
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

    /// Its name.
    pub fn name(&self) -> &str {
        &self.engine().traits.name
    }

    /// Which kind it is.
    pub fn kind(&self) -> WorkerKind {
        self.engine().traits.kind
    }

    /// Starts it. False if it is active already, or if its supervisor is stopped.
    ///
    /// If it is just about to stop, the start follows its end: `start` waits for that, except within
    /// the worker's own function, which must return first.
    ///
    /// # Panics
    /// On the thread of an aloop, if it would have to wait.
    #[track_caller]
    pub fn start(&self) -> bool {
        self.engine().start()
    }

    /// Asks it to stop, and waits until it has: a run under way is asked by way of its context and
    /// comes to its end. Called by the worker's own function, or by one of its hooks, it does not
    /// wait. Two workers whose functions stop each other wait for each other: there, use
    /// [`stop_nowait`](Self::stop_nowait).
    ///
    /// # Panics
    /// On the thread of an aloop, if it would have to wait: use [`stop_async`](Self::stop_async).
    #[track_caller]
    pub fn stop(&self) {
        self.engine().stop();
    }

    /// The same as a future.
    pub async fn stop_async(&self) {
        self.engine().stop_async().await;
    }

    /// Asks it to stop and does not wait.
    pub fn stop_nowait(&self) {
        self.engine().stop_nowait();
    }

    /// Stops it and starts it again. Within the worker's own function the new start follows the end
    /// of the run.
    ///
    /// # Panics
    /// On the thread of an aloop, if it would have to wait.
    #[track_caller]
    pub fn restart(&self) {
        self.engine().restart();
    }

    /// Whether it was started and nobody has stopped it.
    pub fn is_active(&self) -> bool {
        self.engine().is_active()
    }

    /// Whether it was started and has not come to its end: true also while it stops.
    pub fn is_started(&self) -> bool {
        self.engine().is_started()
    }

    /// Whether it was started and is not active any more. A last run may still be under way:
    /// [`is_started`](Self::is_started) says so.
    pub fn is_stopped(&self) -> bool {
        self.engine().is_stopped()
    }

    /// When its latest run began.
    pub fn last_executed(&self) -> Option<SystemTime> {
        self.engine().last().map(clock::system_time)
    }

    /// How many of its runs are over, whatever became of them.
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
    /// Runs its function again and again, without a pause.
    ///
    /// It holds a thread of its own, which counts in no pool's slots; on an aloop it is one task
    /// that lets the others have their turn after every run. The function itself waits for whatever
    /// it has to wait for, best by a wait that ends with the worker, as
    /// [`WorkerContext::wait_stop`](crate::WorkerContext::wait_stop).
    ///
    /// ```
    /// use std::time::Duration;
    /// use atasker_runtime::{LoopWorker, WorkerContext};
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
    /// Runs its function at an interval, measured start to start and kept without drift, or with
    /// a pause between the end of one run and the start of the next.
    ///
    /// ```
    /// use std::time::Duration;
    /// use atasker_runtime::IntervalWorker;
    /// let worker = IntervalWorker::builder(Duration::from_secs(3600)).run(|_| println!("tick"));
    /// worker.start();
    /// worker.trigger(); // one more, out of turn
    /// # while worker.runs() < 1 { std::thread::yield_now() }
    /// worker.stop();
    /// ```
    IntervalWorker
}

worker! {
    /// Runs its function whenever it is triggered.
    ///
    /// ```
    /// use atasker_runtime::EventWorker;
    /// let (tx, rx) = std::sync::mpsc::channel();
    /// let worker = EventWorker::builder().run(move |_| tx.send("it happened").unwrap());
    /// worker.start();
    /// worker.trigger();
    /// assert_eq!(rx.recv().unwrap(), "it happened");
    /// worker.stop();
    /// ```
    EventWorker
}

impl LoopWorker {
    /// A loop worker to be made.
    pub fn builder() -> WorkerBuilder<LoopWorker> {
        WorkerBuilder::new(WorkerKind::Loop, Rhythm::Loop, Duration::ZERO)
    }
}

impl IntervalWorker {
    /// A worker to be made that runs every `interval`, start to start; the first time at once.
    pub fn builder(interval: Duration) -> WorkerBuilder<IntervalWorker> {
        let rhythm = Rhythm::Every { period: interval, overrun: Overrun::Skip };
        WorkerBuilder::new(WorkerKind::Interval, rhythm, Duration::ZERO)
    }

    /// A worker to be made that pauses so long between the end of a run and the start of the next.
    pub fn with_delay(delay: Duration) -> WorkerBuilder<IntervalWorker> {
        WorkerBuilder::new(WorkerKind::Interval, Rhythm::After { pause: delay }, Duration::ZERO)
    }

    /// Asks for a run now; the interval goes on as it was. During a run, another one follows, and
    /// only one, however often it is called. False: the worker is not active.
    pub fn trigger(&self) -> bool {
        self.handle.engine.trigger()
    }
}

impl EventWorker {
    /// An event worker to be made.
    pub fn builder() -> WorkerBuilder<EventWorker> {
        WorkerBuilder::new(WorkerKind::Event, Rhythm::Demand, Duration::ZERO)
    }

    /// Asks for a run. During a run, another one follows, and only one, however often it is called.
    /// False: the worker is not active.
    pub fn trigger(&self) -> bool {
        self.handle.engine.trigger()
    }
}
