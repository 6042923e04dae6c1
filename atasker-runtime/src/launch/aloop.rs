//! The handle to an aloop.

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::pin;
use std::sync::{Arc, Weak};
use std::task::Poll;

use tokio::runtime::Handle;

use crate::aloop::{FutureBody, Loop, not_started};
use crate::error::TaskError;
use crate::fork;
use crate::id::TaskId;
use crate::info::TaskType;
use crate::job::Job;
use crate::launch::TaskBuilder;
use crate::supervisor::{Core, Supervisor};
use crate::task::cell::Cell;
use crate::task::future::FutureData;
use crate::task::handle::Task;
use crate::task::header::Header;
use crate::task::park;
use crate::task::state::Phase;
use crate::time::clock;

/// A handle to an aloop, which runs async tasks: a tokio runtime with a dedicated thread.
///
/// The thread is named `supervisor_{id}_aloop_{name}`. An aloop belongs to its supervisor and stops
/// with it. Dropping the handle has no effect.
///
/// ```
/// # use atasker_runtime as atasker;
/// use atasker::Supervisor;
/// let sup = Supervisor::builder().build();
/// let jobs = sup.create_aloop("jobs");
/// let task = jobs.spawn(async { 6 * 7 });
/// assert_eq!(task.join().unwrap(), 42);
/// assert_eq!(jobs.run(async { "done" }), "done");
/// ```
#[cfg(feature = "async")]
#[derive(Clone)]
pub struct Aloop {
    inner: Arc<Loop>,
    supervisor: Weak<Core>,
}

impl fmt::Debug for Aloop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Aloop").field("name", &self.inner.name()).finish_non_exhaustive()
    }
}

impl Aloop {
    /// Returns the name of the aloop.
    pub fn name(&self) -> &str {
        self.inner.name()
    }

    /// Spawns a future on this aloop, as a task of the supervisor.
    ///
    /// If the aloop is stopped, the task ends with [`TaskError::SupervisorStopped`].
    ///
    /// ```
    /// # use atasker_runtime as atasker;
    /// use atasker::Supervisor;
    /// let sup = Supervisor::builder().build();
    /// let task = sup.create_aloop("jobs").spawn(async { 6 * 7 });
    /// assert_eq!(task.join().unwrap(), 42);
    /// ```
    pub fn spawn<R: Send + 'static>(
        &self,
        future: impl Future<Output = R> + Send + 'static,
    ) -> Task<R> {
        let mut builder = TaskBuilder::future(future).aloop(self.inner.name().to_owned());
        if self.inner.is_stopped() {
            // The name may refer to a newer aloop by now, so the launch must not look it up.
            builder = builder.failing(TaskError::SupervisorStopped);
        }
        builder.start_on(&self.supervisor)
    }

    /// Runs a future on this aloop and blocks until it completes.
    ///
    /// ```
    /// # use atasker_runtime as atasker;
    /// use atasker::Supervisor;
    /// let sup = Supervisor::builder().build();
    /// let text = sup.create_aloop("jobs").run(async { format!("{} pages", 3) });
    /// assert_eq!(text, "3 pages");
    /// ```
    ///
    /// # Panics
    /// Panics if the future panics, with the same payload. Panics if the aloop is stopped before
    /// the future completes. Panics on the thread of an aloop, which must not block: use `.await`
    /// there.
    #[track_caller]
    pub fn run<R: Send + 'static>(&self, future: impl Future<Output = R> + Send + 'static) -> R {
        assert!(
            !park::would_block_aloop(),
            "`Aloop::run` would block the thread of an aloop and all of its tasks: use `.await`"
        );
        assert!(!fork::is_copy(), "{}", fork::REFUSED);
        let stopped = || panic!("the aloop `{}` is stopped", self.inner.name());
        if self.inner.is_stopped() {
            stopped();
        }
        let guarded = async move {
            let mut future = pin!(future);
            poll_fn(|context| {
                let polled = catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(context)));
                polled.map_or_else(|payload| Poll::Ready(Err(payload)), |polled| polled.map(Ok))
            })
            .await
        };
        // A cell as for a task, but without a supervisor, so it is neither counted nor listed.
        let header = Header::new(TaskType::Async, TaskId::next());
        let launched = header.state.set_join_interest() && header.state.launch(Phase::Queued);
        debug_assert!(launched, "no other thread has the cell yet");
        let cell = Cell::allocate(header, FutureBody::new(guarded), FutureData::default());
        let task: Task<_> = Task::new(cell.clone());
        let run = Job::new(cell.erase()).begin(clock::now());
        run.expect("no other thread has the cell yet").spawn(self.inner.queue());
        match task.join() {
            Ok(Ok(value)) => value,
            Ok(Err(payload)) => resume_unwind(payload),
            Err(TaskError::SupervisorStopped) => stopped(),
            Err(error) => panic!("{error}"),
        }
    }

    /// Returns the handle of the tokio runtime, for libraries that require one.
    ///
    /// ```
    /// # use atasker_runtime as atasker;
    /// use atasker::Supervisor;
    /// let sup = Supervisor::builder().build();
    /// let handle = sup.create_aloop("jobs").handle();
    /// let _guard = handle.enter(); // for a library that needs a runtime
    /// ```
    pub fn handle(&self) -> Handle {
        self.inner.tokio_handle().clone()
    }

    /// Stops the aloop.
    ///
    /// Tasks that run on it are dropped at their current await and end with
    /// [`TaskError::SupervisorStopped`]. So do tasks that are spawned on it later, or launched by its name.
    /// The supervisor and its other aloops continue.
    /// [`create_aloop`](crate::Supervisor::create_aloop) with the same name starts a new aloop.
    ///
    /// ```
    /// # use atasker_runtime as atasker;
    /// use atasker::Supervisor;
    /// let sup = Supervisor::builder().build();
    /// let first = sup.create_aloop("jobs");
    /// first.stop();
    /// assert!(first.spawn(async {}).join().is_err());
    /// let second = sup.create_aloop("jobs");
    /// assert_eq!(second.spawn(async { 42 }).join().unwrap(), 42);
    /// ```
    pub fn stop(&self) {
        if !fork::is_copy() {
            self.inner.stop();
        }
    }
}

#[cfg(feature = "async")]
impl Supervisor {
    /// Returns the aloop with this name, and starts it if none is running. An aloop that was
    /// stopped is replaced by a new one, which `sup.aloop(name)` and tasks launched by that name
    /// find from then on.
    ///
    /// ```
    /// # use atasker_runtime as atasker;
    /// use atasker::Supervisor;
    /// let sup = Supervisor::builder().build();
    /// let jobs = sup.create_aloop("jobs");
    /// assert_eq!(jobs.name(), "jobs");
    /// ```
    ///
    /// # Panics
    ///
    /// Panics if the system can't start a thread for the aloop, or in a fork of the process; see
    /// [`try_create_aloop`](Self::try_create_aloop).
    #[track_caller]
    pub fn create_aloop(&self, name: &str) -> Aloop {
        self.create_aloop_multi(name, 1)
    }

    /// Returns the aloop with this name, as [`create_aloop`](Self::create_aloop) does, or an error
    /// if none is running and none can be started.
    ///
    /// Any name is allowed. A supervisor that is stopped creates the aloop, but tasks launched
    /// there end with [`TaskError::SupervisorStopped`] until the supervisor is started.
    ///
    /// # Errors
    ///
    /// Returns [`TaskError::NotStarted`], which is also the error of a task whose aloop can't be
    /// started. Its detail names the cause: the system can't provide a thread or a descriptor for
    /// the aloop, or this process was forked from one that uses atasker.
    ///
    /// ```
    /// # extern crate atasker_runtime as atasker;
    /// use atasker::{Supervisor, TaskError};
    /// # fn main() -> Result<(), TaskError> {
    /// let sup = Supervisor::builder().build();
    /// let jobs = sup.try_create_aloop("jobs")?;
    /// assert_eq!(jobs.run(async { "done" }), "done");
    /// # Ok(()) }
    /// ```
    pub fn try_create_aloop(&self, name: &str) -> Result<Aloop, TaskError> {
        if fork::is_copy() {
            return Err(fork::error());
        }
        let found = self.core().aloops.create(name, 1);
        found.map(|inner| self.aloop_handle(inner)).map_err(|error| not_started(&error))
    }

    /// Returns the aloop with this name, and starts it with this number of threads if none is
    /// running. 0 counts as 1. An existing aloop keeps its number of threads.
    ///
    /// ```
    /// # use atasker_runtime as atasker;
    /// use atasker::Supervisor;
    /// let sup = Supervisor::builder().build();
    /// let jobs = sup.create_aloop_multi("jobs", 2);
    /// assert_eq!(jobs.spawn(async { 42 }).join().unwrap(), 42);
    /// ```
    ///
    /// # Panics
    ///
    /// Panics if `threads` is more than 4,096, or if the system can't start the threads.
    #[track_caller]
    pub fn create_aloop_multi(&self, name: &str, threads: usize) -> Aloop {
        const MOST: usize = 4096;
        assert!(threads <= MOST, "an aloop has at most {MOST} threads, and not {threads}");
        let found = match fork::is_copy() {
            true => Err(io::Error::other(fork::REFUSED)),
            false => self.core().aloops.create(name, threads),
        };
        match found {
            Ok(inner) => self.aloop_handle(inner),
            Err(error) => panic!("the aloop `{name}` could not be started: {error}"),
        }
    }

    /// Returns the running aloop with this name.
    ///
    /// ```
    /// # use atasker_runtime as atasker;
    /// use atasker::Supervisor;
    /// let sup = Supervisor::builder().build();
    /// assert!(sup.aloop("jobs").is_none());
    /// sup.create_aloop("jobs");
    /// assert!(sup.aloop("jobs").is_some());
    /// ```
    pub fn aloop(&self, name: &str) -> Option<Aloop> {
        if fork::is_copy() {
            return None;
        }
        self.core().aloops.get(name).map(|inner| self.aloop_handle(inner))
    }

    /// Sets the aloop for async tasks that name none.
    ///
    /// ```
    /// # use atasker_runtime as atasker;
    /// use atasker::Supervisor;
    /// let sup = Supervisor::builder().build();
    /// sup.create_aloop("jobs");
    /// sup.set_default_aloop("jobs");
    /// let name = sup.spawn_async(async { std::thread::current().name().map(str::to_owned) });
    /// assert!(name.join().unwrap().unwrap().ends_with("_aloop_jobs"));
    /// ```
    pub fn set_default_aloop(&self, name: &str) {
        if !fork::is_copy() {
            self.core().aloops.set_default(name);
        }
    }

    fn aloop_handle(&self, inner: Arc<Loop>) -> Aloop {
        Aloop { inner, supervisor: Arc::downgrade(self.core()) }
    }
}
