//! The builder of a task: its options, and its launch.

use std::borrow::Cow;
use std::convert::Infallible;
use std::fmt;
use std::marker::PhantomData;
use std::sync::{Arc, Weak};
use std::time::Duration;

use crate::error::TaskError;
use crate::fork;
use crate::id::TaskId;
use crate::info::TaskType;
use crate::job::{Job, end_waiting};
use crate::limit::{Pass, TaskLimit};
use crate::observe;
use crate::observe::spans::TaskSpans;
use crate::place::WhenFull;
use crate::priority::Priority;
use crate::supervisor::{Core, Supervisor, supervisor};
use crate::task::arc::TypedArc;
use crate::task::cell::{Body, Cell, UniqueTask};
use crate::task::chained::Link;
use crate::task::endpoint::Channels;
use crate::task::handle::Task;
use crate::task::header::Header;
use crate::task::waiters::WaiterKey;
use crate::task::{AnyTask, TaskArc};
use crate::unwind::{Guarded, discard, log};

/// A task under construction. Set its options, then call [`start`](Self::start).
///
/// ```
/// # use atasker_runtime as atasker;
/// use std::time::Duration;
/// use atasker::{Priority, TaskBuilder};
/// let task = TaskBuilder::new(|| 6 * 7)
///     .name("answer")
///     .priority(Priority::High)
///     .timeout(Duration::from_secs(5))
///     .start();
/// assert_eq!(task.join().unwrap(), 42);
/// ```
#[must_use = "a builder does nothing until `start()` is called; an unfinished task is lost when `main` returns, so \
              call `start().join()`, or `start().detach()` and `#[atasker::main(drain = \"10s\")]`"]
pub struct TaskBuilder<R, I = (), O = ()> {
    cell: UniqueTask<R>,
    supervisor: Option<Arc<Core>>,
    /// The error the task ends with as soon as it is started, because its arguments could not be
    /// encoded.
    failed: Option<Box<TaskError>>,
    _types: PhantomData<(R, Arc<Channels<I, O>>)>,
}

impl<R, I, O> fmt::Debug for TaskBuilder<R, I, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TaskBuilder")
            .field("name", &self.cell.header().name())
            .field("tt", &self.cell.header().tt)
            .finish_non_exhaustive()
    }
}

/// Makes the one allocation of a task. All constructors end here.
pub(super) fn build<R, I, O, B>(
    tt: TaskType,
    body: B,
    place_data: B::PlaceData,
    channels: Option<Arc<Channels<I, O>>>,
) -> TaskBuilder<R, I, O>
where
    R: Send + 'static,
    I: Send + 'static,
    O: Send + 'static,
    B: Body<R>,
{
    // Drawn by the launch.
    let mut header = Header::new(tt, TaskId::NONE);
    if let Some(channels) = channels {
        header.extras_mut().channels = Some(channels);
    }
    TaskBuilder {
        cell: Cell::unique(header, body, place_data),
        supervisor: None,
        failed: None,
        _types: PhantomData,
    }
}

/// Makes a task that exchanges messages with its handle. `body` receives the channels for the
/// context of the task.
pub(super) fn build_with_channels<R, I, O, B>(
    tt: TaskType,
    place_data: B::PlaceData,
    body: impl FnOnce(Arc<Channels<I, O>>) -> B,
) -> TaskBuilder<R, I, O>
where
    R: Send + 'static,
    I: Send + 'static,
    O: Send + 'static,
    B: Body<R>,
{
    let channels = Channels::local();
    build(tt, body(Arc::clone(&channels)), place_data, Some(channels))
}

impl<R: 'static, I: Send + 'static, O: Send + 'static> TaskBuilder<R, I, O> {
    #[inline]
    pub(super) fn header_mut(&mut self) -> &mut Header {
        self.cell.header_mut()
    }

    /// Sets the name of the task, shown in logs and in [`TaskInfo`](crate::TaskInfo).
    ///
    /// ```
    /// # use atasker_runtime as atasker;
    /// use atasker::TaskBuilder;
    /// let task = TaskBuilder::new(|| 42).name("answer").start();
    /// assert_eq!(task.name(), "answer");
    /// ```
    pub fn name(mut self, name: impl Into<Cow<'static, str>>) -> Self {
        self.header_mut().set_name(name.into());
        self
    }

    /// Sets the priority of the task.
    ///
    /// ```
    /// # use atasker_runtime as atasker;
    /// use atasker::{Priority, TaskBuilder};
    /// let task = TaskBuilder::new(|| 42).priority(Priority::High).start();
    /// assert_eq!(task.priority(), Priority::High);
    /// ```
    pub fn priority(mut self, priority: Priority) -> Self {
        self.header_mut().priority = priority;
        self
    }

    /// Delays queueing by `delay`. The task occupies no slot while it waits.
    ///
    /// ```
    /// # use atasker_runtime as atasker;
    /// use std::time::Duration;
    /// use atasker::TaskBuilder;
    /// let task = TaskBuilder::new(|| 42).delay(Duration::from_millis(1)).start();
    /// assert_eq!(task.join().unwrap(), 42);
    /// ```
    pub fn delay(mut self, delay: Duration) -> Self {
        self.header_mut().extras_mut().delay = Some(delay);
        self
    }

    /// Limits how long each run may take, measured from its start.
    ///
    /// When the limit is exceeded, the outcome becomes [`TaskError::TimedOut`] immediately. A
    /// worker process is killed and a future is dropped. A thread can't be stopped from outside:
    /// its task is asked to stop and occupies its slot until the function returns.
    ///
    /// ```
    /// # use atasker_runtime as atasker;
    /// use std::time::Duration;
    /// use atasker::TaskBuilder;
    /// let task = TaskBuilder::new(|| 42).timeout(Duration::from_secs(5)).start();
    /// assert_eq!(task.join().unwrap(), 42);
    /// ```
    pub fn timeout(mut self, limit: Duration) -> Self {
        self.header_mut().set_timeout(Some(limit));
        self
    }

    /// Reruns the task up to `retries` times if it panics, exceeds its time limit, or its worker
    /// process dies.
    ///
    /// [`retry_if`](Self::retry_if) selects the results that are retried as well. Without it, an
    /// `Err` is retried if the function carries the attribute and its return type is written as a
    /// `Result`. Each retry is logged at DEBUG. [`retry_delay`](Self::retry_delay) and
    /// [`backoff`](Self::backoff) set the pause before it.
    ///
    /// A function that can run only once ([`new`](TaskBuilder::new),
    /// [`with_context`](TaskBuilder::with_context), [`future`](TaskBuilder::future)) is never
    /// rerun; launching such a task with retries logs a warning.
    ///
    /// ```
    /// # use atasker_runtime as atasker;
    /// use atasker::TaskBuilder;
    /// let mut attempts = 0;
    /// let task = TaskBuilder::repeatable(move || {
    ///     attempts += 1;
    ///     assert!(attempts > 2, "not yet");
    ///     attempts
    /// });
    /// assert_eq!(task.retries(5).start().join().unwrap(), 3);
    /// ```
    pub fn retries(mut self, retries: u32) -> Self {
        self.header_mut().extras_mut().retries = retries;
        self
    }

    /// Sets the delay before each retry. The last call of this and of [`backoff`](Self::backoff)
    /// applies.
    pub fn retry_delay(mut self, delay: Duration) -> Self {
        let extras = self.header_mut().extras_mut();
        extras.retry_delay = delay;
        if let Some(policies) = &mut extras.policies {
            policies.backoff = None;
        }
        self
    }

    /// Selects the results that are retried, while [`retries`](Self::retries) remain.
    ///
    /// For a function with the attribute whose return type is written as a `Result`, this replaces
    /// the rule that every `Err` is retried. Panics, exceeded time limits and deaths of worker
    /// processes are retried in any case.
    ///
    /// Has no effect on a remote task, except for a warning: the nodes retry it, and a closure can't
    /// be sent to them.
    ///
    /// ```
    /// # use atasker_runtime as atasker;
    /// use atasker::TaskBuilder;
    /// let mut left = 3;
    /// let task = TaskBuilder::repeatable(move || {
    ///     left -= 1;
    ///     left
    /// })
    /// .retries(5)
    /// .retry_if(|left| *left > 1)
    /// .start();
    /// assert_eq!(task.join().unwrap(), 1);
    /// ```
    pub fn retry_if(mut self, wanted: impl Fn(&R) -> bool + Send + 'static) -> Self {
        if self.header_mut().tt == TaskType::Remote {
            log!(
                warn,
                name = self.cell.header().name(),
                "`retry_if` has no effect on a remote task: nodes decide about its attempts, and a \
                 closure can't be sent to them"
            );
            discard(wanted);
            return self;
        }
        self.cell.get_mut().hooks_mut().retry_if = Some(Box::new(wanted));
        self
    }

    /// Adds a callback that receives the outcome after the last run, on a pool thread, before the
    /// outcome becomes visible to any handle.
    ///
    /// Callbacks run in the order in which they were added. A panic in a callback is logged and has
    /// no other effect.
    ///
    /// ```
    /// # use atasker_runtime as atasker;
    /// use atasker::TaskBuilder;
    /// let (sender, outcome) = std::sync::mpsc::channel();
    /// let task = TaskBuilder::new(|| 42)
    ///     .on_complete(move |result| sender.send(result.clone()).unwrap())
    ///     .start();
    /// assert_eq!(outcome.recv().unwrap(), Ok(42));
    /// # task.join().unwrap();
    /// ```
    pub fn on_complete(
        mut self,
        callback: impl FnOnce(&Result<R, TaskError>) + Send + 'static,
    ) -> Self {
        self.cell.get_mut().hooks_mut().on_complete.push(Guarded::new(Box::new(callback)));
        self
    }

    /// Sets the supervisor that runs the task. The default is
    /// [`supervisor()`](crate::supervisor()).
    ///
    /// ```
    /// # use atasker_runtime as atasker;
    /// use atasker::{Supervisor, TaskBuilder};
    /// let sup = Supervisor::builder().id("batch").build();
    /// let task = TaskBuilder::new(|| 42).supervisor(&sup).start();
    /// assert!(sup.task(task.id()).is_some() || task.is_completed());
    /// ```
    pub fn supervisor(mut self, supervisor: &Supervisor) -> Self {
        self.supervisor = Some(Arc::clone(supervisor.core()));
        self
    }

    /// Sets the name of the aloop that runs the task, for a future. The default is the supervisor's
    /// default aloop.
    ///
    /// ```
    /// # use atasker_runtime as atasker;
    /// use atasker::{TaskBuilder, supervisor};
    /// supervisor().create_aloop("jobs");
    /// let task = TaskBuilder::future(async { 42 }).aloop("jobs").start();
    /// assert_eq!(task.join().unwrap(), 42);
    /// ```
    pub fn aloop(mut self, name: impl Into<Cow<'static, str>>) -> Self {
        self.header_mut().extras_mut().aloop = Some(name.into());
        self
    }

    /// Sets the span that takes the place of the one that is current at the launch: the task runs
    /// inside it, or inside a child of it, as the supervisor's
    /// [`spans`](crate::SupervisorBuilder::spans) say. [`Span::none`](tracing::Span::none) makes it a
    /// root. The span stays open until the task has ended.
    ///
    /// ```
    /// # use atasker_runtime as atasker;
    /// use atasker::TaskBuilder;
    /// let span = tracing::info_span!("request", path = "/");
    /// let task = TaskBuilder::new(|| 6 * 7).in_span(span).start();
    /// assert_eq!(task.join().unwrap(), 42);
    /// ```
    pub fn in_span(mut self, span: tracing::Span) -> Self {
        let before = self.header_mut().extras_mut().spans.get_mut();
        discard(std::mem::replace(before, TaskSpans::In(Guarded::new(span))));
        self
    }

    /// Sets whether the task runs inside a span, as the supervisor's
    /// [`spans`](crate::SupervisorBuilder::spans) say (default: true). The last call of this and
    /// of [`in_span`](Self::in_span) applies.
    ///
    /// ```
    /// # use atasker_runtime as atasker;
    /// use atasker::TaskBuilder;
    /// let task = TaskBuilder::new(|| 42).span(false).start();
    /// assert_eq!(task.join().unwrap(), 42);
    /// ```
    pub fn span(mut self, span: bool) -> Self {
        let spans = self.header_mut().extras_mut().spans.get_mut();
        let before = match (span, &spans) {
            (false, _) => std::mem::replace(spans, TaskSpans::Off),
            (true, TaskSpans::Off) => std::mem::take(spans),
            (true, _) => TaskSpans::Off,
        };
        discard(before);
        self
    }

    /// Sets the limit that the task shares with others: a [`Limit`](crate::Limit), or the key of a
    /// [`KeyedLimit`](crate::KeyedLimit). The last call applies.
    ///
    /// ```
    /// # use atasker_runtime as atasker;
    /// use atasker::{KeyedLimit, Limit, TaskBuilder};
    /// static DATABASE: Limit = Limit::concurrency(4);
    /// static TENANT: KeyedLimit<u64> = KeyedLimit::concurrency(2);
    /// let task = TaskBuilder::new(|| 42).limit(&DATABASE).start();
    /// assert_eq!(task.join().unwrap(), 42);
    /// let task = TaskBuilder::new(|| 42).limit(TENANT.key(&7)).start();
    /// assert_eq!(task.join().unwrap(), 42);
    /// ```
    pub fn limit(mut self, limit: impl TaskLimit) -> Self {
        let pass = Pass::new(limit.__source().0);
        let before = self.header_mut().extras_mut().pass.replace(Box::new(pass));
        // May drop the last reference to a key, which is a value of the user.
        discard(before);
        self
    }

    /// Makes the task end with `error` as soon as it is started.
    pub(crate) fn failing(mut self, error: TaskError) -> Self {
        self.failed = Some(Box::new(error));
        self
    }

    /// Sets the function that recognizes a returned `Err`.
    pub(crate) fn returned_err(mut self, is_err: fn(&R) -> bool) -> Self {
        self.cell.get_mut().hooks_mut().returned_err = Some(is_err);
        self
    }

    /// Launches the task.
    ///
    /// Launching never fails. If the supervisor is stopped, the queue is full, the
    /// [`unique`](Self::unique) key is held, or the arguments can't be encoded, the task ends with
    /// the matching [`TaskError`]. If the queue has a limit, the call may block: see
    /// [`Overflow::Block`](crate::Overflow::Block), and [`start_async`](Self::start_async).
    pub fn start(self) -> Task<R, I, O> {
        self.start_with(WhenFull::Wait)
    }

    /// Sets the supervisor, unless there is `None`.
    #[cfg(feature = "remote")]
    pub(super) fn on(mut self, core: Option<Arc<Core>>) -> Self {
        if core.is_some() {
            self.supervisor = core;
        }
        self
    }

    /// Returns the supervisor of the task.
    #[cfg(feature = "remote")]
    pub(super) fn core(&self) -> Arc<Core> {
        self.supervisor.clone().unwrap_or_else(|| Arc::clone(supervisor().core()))
    }

    #[cfg(feature = "remote")]
    pub(super) fn tt(&self) -> TaskType {
        self.cell.header().tt
    }

    #[cfg(feature = "remote")]
    pub(super) fn cell(&mut self) -> &mut UniqueTask<R> {
        &mut self.cell
    }

    #[cfg(feature = "remote")]
    pub(super) fn channels(&self) -> Option<&Channels<I, O>> {
        self.cell.header().channels()?.of_types()
    }

    /// Launches the task on its supervisor.
    #[inline]
    pub(super) fn start_with(mut self, when_full: WhenFull) -> Task<R, I, O> {
        match self.supervisor.take() {
            Some(core) => self.launch(Some(&core), when_full),
            None => self.launch(Some(supervisor().core()), when_full),
        }
    }

    /// Launches the task unless `admit`, which is called directly before, returns an error. Nothing
    /// is launched then, counted or reported: the task is dropped as a builder is.
    pub(super) fn start_if<E>(
        mut self,
        admit: impl FnOnce(&Core, &TaskArc) -> Result<(), E>,
    ) -> Result<Task<R, I, O>, E> {
        match self.supervisor.take() {
            Some(core) => self.launch_if(Some(&core), WhenFull::Wait, admit),
            None => self.launch_if(Some(supervisor().core()), WhenFull::Wait, admit),
        }
    }

    /// Launches the task on this supervisor.
    pub(super) fn start_at(self, core: &Core) -> Task<R, I, O> {
        self.launch(Some(core), WhenFull::Wait)
    }

    /// Launches the task on the supervisor of an aloop, if that supervisor still exists.
    pub(super) fn start_on(self, core: &Weak<Core>) -> Task<R, I, O> {
        self.launch(core.upgrade().as_deref(), WhenFull::Wait)
    }

    /// Launches a run of a background worker, which never waits for room in a queue.
    pub(crate) fn start_run(self, core: &Weak<Core>) -> Task<R, I, O> {
        self.launch(core.upgrade().as_deref(), WhenFull::Pass)
    }

    /// Returns the task and its supervisor, to find out whether the launch would have to wait. `None`
    /// if it never has to, because it is refused.
    pub(super) fn queueable(&mut self) -> Option<(&dyn AnyTask, &Arc<Core>)> {
        if fork::is_copy() || self.failed.is_some() {
            return None;
        }
        let core = self.supervisor.get_or_insert_with(|| Arc::clone(supervisor().core()));
        Some((self.cell.as_any(), core))
    }

    /// Launches the task under an id that another process has drawn, after `earlier` attempts that
    /// were made elsewhere. The launch never waits for room in a queue.
    #[cfg_attr(not(feature = "remote"), allow(dead_code))]
    pub(crate) fn start_foreign(self, id: TaskId, earlier: u32) -> Task<R, I, O> {
        Task::new(self.prepare_foreign(id, earlier).launch())
    }

    /// Prepares such a launch.
    pub(super) fn prepare_foreign(mut self, id: TaskId, earlier: u32) -> Prepared<R, I, O> {
        let core = match self.supervisor.take() {
            Some(core) => core,
            None => Arc::clone(supervisor().core()),
        };
        let TaskBuilder { mut cell, failed, .. } = self;
        let failed = if fork::is_copy() { Some(Box::new(fork::error())) } else { failed };
        let header = cell.header_mut();
        header.set_earlier_attempts(earlier);
        if failed.is_none() {
            core.prepare_foreign(header, id);
        } else {
            header.set_id(id);
            if !fork::is_copy() {
                core.reject(header);
            }
        }
        Prepared { cell: cell.into_shared(), core, failed, _channels: PhantomData }
    }

    /// Launches the task as one that waits until `first` has ended: see `task::chained`. `link` is the
    /// key by which it is a waiter of `first`.
    pub(super) fn start_after(mut self, first: &TaskArc, link: WaiterKey) -> Task<R, I, O> {
        let scheduler = first.header().scheduler();
        let header = self.header_mut();
        header.set_like(first.header());
        header.extras_mut().chained_to = Some(first.downgrade());
        let scheduler = scheduler.filter(|scheduler| scheduler.prepare_chained(header));
        if scheduler.is_none() {
            header.set_id(TaskId::next());
        }
        let TaskBuilder { cell, .. } = self;
        let cell = cell.into_shared();
        let task = cell.clone().erase();
        match scheduler {
            Some(scheduler) if scheduler.accept_chained(&task, first.header()) => {
                Link::connect(first, link, Job::new(task));
            }
            accepted_by => {
                let why = match fork::is_copy() {
                    true => fork::error(),
                    // How the first one has ended says more than that the supervisor is stopped.
                    false => first.error().cloned().unwrap_or(TaskError::SupervisorStopped),
                };
                match accepted_by {
                    Some(_) => end_waiting(task, why),
                    None => refuse(task, why),
                }
            }
        }
        Task::new(cell)
    }

    /// Returns the encoded arguments of a task for a worker process, for use beyond its end.
    #[cfg(has_processes)]
    pub(super) fn remote_args(&mut self) -> Option<Arc<crate::wire::buffer_pool::PooledBuf>> {
        let args = self.cell.get_mut().remote()?.args().get()?;
        Some(args.shared())
    }

    fn launch(self, core: Option<&Core>, when_full: WhenFull) -> Task<R, I, O> {
        let Ok(task) = self.launch_if::<Infallible>(core, when_full, |_, _| Ok(()));
        task
    }

    fn launch_if<E>(
        self,
        core: Option<&Core>,
        when_full: WhenFull,
        admit: impl FnOnce(&Core, &TaskArc) -> Result<(), E>,
    ) -> Result<Task<R, I, O>, E> {
        Ok(Task::new(self.launch_cell_if(core, when_full, admit)?))
    }

    /// Launches the task, for another handle than [`Task`]: the caller has acquired the task's join
    /// interest.
    #[inline]
    pub(super) fn launch_cell(self, core: Option<&Core>, when_full: WhenFull) -> TypedArc<R> {
        let Ok(launched) = self.launch_cell_if::<Infallible>(core, when_full, |_, _| Ok(()));
        launched
    }

    #[inline]
    fn launch_cell_if<E>(
        self,
        core: Option<&Core>,
        when_full: WhenFull,
        admit: impl FnOnce(&Core, &TaskArc) -> Result<(), E>,
    ) -> Result<TypedArc<R>, E> {
        let TaskBuilder { mut cell, failed, .. } = self;
        let Some(core) = core.filter(|_| failed.is_none() && !fork::is_copy()) else {
            return Ok(refuse_unlaunched(cell, core, failed));
        };
        if cell.header().extras().is_some() {
            forbid_retries_of_once(&mut cell);
        }
        core.prepare(cell.header_mut());
        let cell = cell.into_shared();
        let task = cell.clone().erase();
        admit(core, &task)?;
        core.launch(task, when_full);
        Ok(cell)
    }
}

/// Warns if a task that can run only once has retries, and removes them.
#[cold]
fn forbid_retries_of_once<R>(cell: &mut UniqueTask<R>) {
    if cell.get_mut().is_repeatable() {
        return;
    }
    let header = cell.header_mut();
    if header.extras().is_some_and(|extras| extras.retries > 0) {
        log!(
            warn,
            name = header.name(),
            "`retries` has no effect: this function can run only once; \
             use `TaskBuilder::repeatable`"
        );
        header.extras_mut().retries = 0;
    }
}

/// Ends a task instead of launching it: `failed` says why, or there is no supervisor, or this process
/// is a copy.
#[cold]
fn refuse_unlaunched<R: 'static>(
    mut cell: UniqueTask<R>,
    core: Option<&Core>,
    failed: Option<Box<TaskError>>,
) -> TypedArc<R> {
    let header = cell.header_mut();
    header.set_id(TaskId::next());
    let error = match fork::is_copy() {
        true => fork::error(),
        false => {
            if let Some(core) = core {
                core.reject(header);
            }
            failed.map_or(TaskError::SupervisorStopped, |error| *error)
        }
    };
    let cell = cell.into_shared();
    refuse(cell.clone().erase(), error);
    cell
}

/// A task with an id that another process has drawn, which is ready to be launched. Dropping it
/// drops the task, as dropping a builder does.
pub(super) struct Prepared<R, I, O> {
    /// The caller has the task's join interest.
    pub(super) cell: TypedArc<R>,
    core: Arc<Core>,
    /// The error the task ends with instead of being launched.
    failed: Option<Box<TaskError>>,
    _channels: PhantomData<Arc<Channels<I, O>>>,
}

impl<R, I, O> Prepared<R, I, O> {
    /// Launches the task. Returns what its handle consists of.
    pub(super) fn launch(self) -> TypedArc<R> {
        let Prepared { cell, core, failed, .. } = self;
        let task = cell.clone().erase();
        match failed {
            None => core.launch_foreign(task),
            Some(error) => refuse(task, *error),
        }
        cell
    }
}

/// Ends a task that was built, but not launched.
#[cold]
fn refuse(task: TaskArc, error: TaskError) {
    observe::launched(&task);
    task.header().record_queued();
    let held = task.header().state.set_join_interest();
    debug_assert!(held, "a new task has no handle yet");
    end_waiting(task, error);
}
