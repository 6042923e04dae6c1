//! Observers, and what their methods receive.

use std::cell::Cell;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::existing_watch;
use crate::error::{TaskError, WorkerDeath, WorkerError};
use crate::id::TaskId;
use crate::info::{Outcome, TaskInfo, TaskType, WorkerKind};
use crate::priority::Priority;
use crate::task::TaskArc;
#[cfg(all(feature = "metrics", feature = "remote"))]
use crate::task::elsewhere::Elsewhere;
use crate::task::header::refresh;

/// Observes the tasks, worker processes and background workers of a supervisor. See
/// [`Supervisor::observe`](crate::Supervisor::observe).
///
/// All methods are empty by default. They are called on the thread on which the observed thing
/// happens, the supervisor's own threads included, and never under a lock of this library: a method
/// may call everything that does not block. A method that blocks delays what it observes. A wait
/// for a task panics there. A panic is logged and has no other effect.
///
/// The calls about one task never overlap, and come in the order of its life. Each
/// [`launched`](Self::launched) is followed by exactly one [`ended`](Self::ended). An observer that
/// is added later sees what happens from then on.
///
/// ```
/// # use atasker_runtime as atasker;
/// use std::sync::Arc;
/// use std::sync::atomic::{AtomicU64, Ordering};
/// use atasker::{Observer, Supervisor, TaskError, TaskEvent};
///
/// #[derive(Default)]
/// struct Failures(AtomicU64);
///
/// impl Observer for Failures {
///     fn ended(&self, task: &TaskEvent<'_>, result: Result<(), &TaskError>) {
///         if let Err(error) = result {
///             eprintln!("{} failed: {error}", task.name());
///             self.0.fetch_add(1, Ordering::Relaxed);
///         }
///     }
/// }
///
/// let sup = Supervisor::builder().build();
/// let failures = Arc::new(Failures::default());
/// let _guard = sup.observe(Arc::clone(&failures));
/// assert!(sup.spawn(|| panic!("no luck")).join().is_err());
/// assert_eq!(failures.0.load(Ordering::Relaxed), 1);
/// ```
pub trait Observer: Send + Sync {
    /// A task was launched. Called on the launching thread, before anything else about the task,
    /// also for a launch that ends at once, because the queue is full or the supervisor is stopped.
    fn launched(&self, task: &TaskEvent<'_>) {
        let _ = task;
    }

    /// An attempt begins. Called once per attempt, before its function runs. In a worker process
    /// the function may run already: this is called when the program learns of it, and always
    /// before the end of that attempt is reported.
    fn started(&self, task: &TaskEvent<'_>) {
        let _ = task;
    }

    /// An attempt is over, and another one follows after this pause. There is no error if the
    /// function returned a value: an `Err`, or one that `retry_if` selected.
    fn retrying(&self, task: &TaskEvent<'_>, error: Option<&TaskError>, pause: Duration) {
        let _ = (task, error, pause);
    }

    /// The task has ended. Called once, after the callbacks of the task and before the outcome is
    /// visible to any handle. A returned `Err` is `Ok(())` with the
    /// [`outcome`](TaskEvent::outcome) [`Outcome::ReturnedErr`].
    fn ended(&self, task: &TaskEvent<'_>, result: Result<(), &TaskError>) {
        let _ = (task, result);
    }

    /// A worker process is ready.
    fn process_started(&self, process: &ProcessEvent<'_>) {
        let _ = process;
    }

    /// A worker process has ended. There is no death if it ended in order, or was ended by a kill,
    /// a time limit or a stop.
    fn process_ended(&self, process: &ProcessEvent<'_>, death: Option<&WorkerDeath>) {
        let _ = (process, death);
    }

    /// A run of a background worker or job is over. It is not always a task.
    fn background_run(&self, run: &BackgroundRun<'_>) {
        let _ = run;
    }
}

macro_rules! forward {
    ($($pointer:ident),*) => {$(
        impl<T: Observer + ?Sized> Observer for $pointer<T> {
            fn launched(&self, task: &TaskEvent<'_>) {
                (**self).launched(task);
            }
            fn started(&self, task: &TaskEvent<'_>) {
                (**self).started(task);
            }
            fn retrying(&self, task: &TaskEvent<'_>, error: Option<&TaskError>, pause: Duration) {
                (**self).retrying(task, error, pause);
            }
            fn ended(&self, task: &TaskEvent<'_>, result: Result<(), &TaskError>) {
                (**self).ended(task, result);
            }
            fn process_started(&self, process: &ProcessEvent<'_>) {
                (**self).process_started(process);
            }
            fn process_ended(&self, process: &ProcessEvent<'_>, death: Option<&WorkerDeath>) {
                (**self).process_ended(process, death);
            }
            fn background_run(&self, run: &BackgroundRun<'_>) {
                (**self).background_run(run);
            }
        }
    )*};
}
forward!(Arc, Box);

/// A task, as an [`Observer`] sees it. Borrowed from the task; only [`info`](Self::info) allocates.
///
/// ```
/// # use atasker_runtime as atasker;
/// use std::sync::mpsc::{Sender, channel};
/// use atasker::{TaskEvent, Observer, Supervisor};
///
/// struct Tell(Sender<String>);
///
/// impl Observer for Tell {
///     fn started(&self, task: &TaskEvent<'_>) {
///         let _ = self.0.send(format!("attempt {} of {}", task.attempt(), task.supervisor()));
///     }
/// }
///
/// let (sender, told) = channel();
/// let sup = Supervisor::builder().build();
/// let _guard = sup.observe(Tell(sender));
/// sup.spawn(|| ()).join().unwrap();
/// assert_eq!(told.recv().unwrap(), "attempt 1 of default");
/// ```
pub struct TaskEvent<'a> {
    task: &'a TaskArc,
    supervisor: &'a str,
    ran_for: Option<Duration>,
    outcome: Option<Outcome>,
}

impl<'a> TaskEvent<'a> {
    pub(super) fn new(task: &'a TaskArc, supervisor: &'a str) -> Self {
        TaskEvent { task, supervisor, ran_for: None, outcome: None }
    }

    /// Sets how long the attempt that is over has run.
    pub(super) fn with_run(self, ran_for: Option<Duration>) -> Self {
        TaskEvent { ran_for, ..self }
    }

    /// Sets the outcome, which is not visible in the task yet.
    pub(super) fn with_outcome(self, outcome: Outcome) -> Self {
        TaskEvent { outcome: Some(outcome), ..self }
    }

    /// Returns the id of the task.
    pub fn id(&self) -> TaskId {
        self.task.header().id()
    }

    /// Returns the name of the task.
    pub fn name(&self) -> &str {
        self.task.header().name()
    }

    /// Returns the name of the task if it is part of the program.
    #[cfg(any(feature = "metrics", feature = "dashboard"))]
    pub(crate) fn static_name(&self) -> Option<&'static str> {
        self.task.header().static_name()
    }

    /// Returns the kind of place where the task runs.
    pub fn tt(&self) -> TaskType {
        self.task.header().tt
    }

    /// Returns what only a task on another machine has.
    #[cfg(all(feature = "metrics", feature = "remote"))]
    pub(crate) fn elsewhere(&self) -> Option<&Elsewhere> {
        self.task.header().elsewhere()
    }

    /// Returns the priority of the task.
    pub fn priority(&self) -> Priority {
        self.task.header().priority
    }

    /// Returns the number of the current or last attempt, starting at 1; 0 before the first.
    pub fn attempt(&self) -> u32 {
        self.task.header().attempt()
    }

    /// Returns the id of the task's supervisor.
    pub fn supervisor(&self) -> &str {
        self.supervisor
    }

    /// Returns the process id of the worker process of the latest attempt.
    pub fn worker_pid(&self) -> Option<u32> {
        existing_watch(self.task.header())?.worker()
    }

    /// Returns how long the latest attempt waited for its begin: from being queued, so without the
    /// delay of the task or the pause before the attempt. `None` if no attempt has begun.
    pub fn queued_for(&self) -> Option<Duration> {
        let header = self.task.header();
        let started = header.started();
        if started == 0 {
            return None;
        }
        let queued = existing_watch(header).and_then(|watch| watch.queued());
        let queued = queued.unwrap_or_else(|| {
            let delay = header.extras().and_then(|extras| extras.delay).unwrap_or_default();
            header.queued().saturating_add(delay.as_nanos() as u64)
        });
        Some(Duration::from_nanos(started.saturating_sub(queued)))
    }

    /// Returns how long the attempt ran that is over, in [`retrying`](Observer::retrying) and
    /// [`ended`](Observer::ended). `None` if none was running.
    pub fn ran_for(&self) -> Option<Duration> {
        self.ran_for
    }

    /// Returns how the task ended, in [`ended`](Observer::ended).
    pub fn outcome(&self) -> Option<Outcome> {
        self.outcome
    }

    /// Returns a snapshot of the task.
    pub fn info(&self) -> TaskInfo {
        refresh(&**self.task);
        let mut info = self.task.header().info();
        if self.outcome.is_some() {
            info.outcome = self.outcome;
        }
        info
    }
}

impl fmt::Debug for TaskEvent<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TaskEvent")
            .field("id", &self.id())
            .field("name", &self.name())
            .field("attempt", &self.attempt())
            .field("outcome", &self.outcome)
            .finish_non_exhaustive()
    }
}

/// A worker process, as an [`Observer`] sees it.
///
/// ```
/// # use atasker_runtime as atasker;
/// use std::sync::mpsc::{Sender, channel};
/// use atasker::{ProcessEvent, Observer, Supervisor, WorkerDeath};
///
/// struct Tell(Sender<String>);
///
/// impl Observer for Tell {
///     fn process_ended(&self, process: &ProcessEvent<'_>, death: Option<&WorkerDeath>) {
///         let died = death.map_or("in order".to_owned(), |death| death.cause().to_string());
///         let _ = self.0.send(format!("{} after {} tasks: {died}", process.pid(), process.tasks_run()));
///     }
/// }
///
/// let (sender, told) = channel();
/// let sup = Supervisor::builder().build();
/// let _guard = sup.observe(Tell(sender));
/// # drop(told);
/// ```
#[derive(Debug)]
pub struct ProcessEvent<'a> {
    pub(crate) pid: u32,
    pub(crate) number: u64,
    pub(crate) supervisor: &'a str,
    pub(crate) tasks_run: u64,
}

impl ProcessEvent<'_> {
    /// Returns the process id.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Returns the number of the process within its pool, as in its name in `ps`.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Returns the id of the supervisor.
    pub fn supervisor(&self) -> &str {
        self.supervisor
    }

    /// Returns the number of tasks that the process has run.
    pub fn tasks_run(&self) -> u64 {
        self.tasks_run
    }
}

/// A run of a background worker or job, as an [`Observer`] sees it.
///
/// ```
/// # use atasker_runtime as atasker;
/// use std::sync::mpsc::{Sender, channel};
/// use atasker::{BackgroundRun, EventWorker, Observer, Supervisor};
///
/// struct Tell(Sender<String>);
///
/// impl Observer for Tell {
///     fn background_run(&self, run: &BackgroundRun<'_>) {
///         let _ = self.0.send(format!("{} {:?}", run.name(), run.kind()));
///     }
/// }
///
/// let (sender, told) = channel();
/// let sup = Supervisor::builder().build();
/// let _guard = sup.observe(Tell(sender));
/// let worker = EventWorker::builder().name("flush").supervisor(&sup).run(|_| ());
/// worker.start();
/// worker.trigger();
/// assert_eq!(told.recv().unwrap(), "flush Event");
/// worker.stop();
/// ```
#[derive(Debug)]
pub struct BackgroundRun<'a> {
    pub(crate) name: &'a str,
    pub(crate) kind: WorkerKind,
    pub(crate) supervisor: &'a str,
    pub(crate) lateness: Option<Duration>,
    pub(crate) ran_for: Duration,
    pub(crate) error: Option<&'a WorkerError>,
}

impl BackgroundRun<'_> {
    /// Returns the name of the worker or job.
    pub fn name(&self) -> &str {
        self.name
    }

    /// Returns what triggers the runs.
    pub fn kind(&self) -> WorkerKind {
        self.kind
    }

    /// Returns the id of the supervisor.
    pub fn supervisor(&self) -> &str {
        self.supervisor
    }

    /// Returns the delay of the run against its schedule. `None` if it had no planned time.
    pub fn lateness(&self) -> Option<Duration> {
        self.lateness
    }

    /// Returns how long the run took.
    pub fn ran_for(&self) -> Duration {
        self.ran_for
    }

    /// Returns the error if the run panicked, failed or returned an `Err`.
    pub fn error(&self) -> Option<&WorkerError> {
        self.error
    }
}

thread_local! {
    static INSIDE: Cell<bool> = const { Cell::new(false) };
}

/// Marks this thread as inside an observer until the returned guard is dropped.
pub(super) fn enter() -> impl Drop {
    struct Restore(bool);
    impl Drop for Restore {
        fn drop(&mut self) {
            INSIDE.set(self.0);
        }
    }
    Restore(INSIDE.replace(true))
}

/// Returns whether this thread is inside an observer, which must not wait for tasks.
pub(crate) fn is_inside() -> bool {
    INSIDE.get()
}
