//! From a call to a task: the builder, and the door through which generated code comes.
//!
//! Generics end here: a builder makes the one allocation of a task (function, state, place for the
//! outcome), [`TaskBuilder::start`] gives it to the supervisor without its type.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use crate::error::TaskError;
use crate::info::TaskType;
use crate::job::{WhenFull, end_waiting};
use crate::priority::Priority;
use crate::supervisor::{Core, Supervisor, supervisor};
use crate::task::AnyTask;
use crate::task::body::{Once, Repeat};
use crate::task::cell::{Body, Cell, Fresh};
use crate::task::channel::Links;
use crate::task::context::TaskContext;
#[cfg(feature = "async")]
use crate::task::future::Turns;
use crate::task::handle::Task;
use crate::task::header::Header;

/// A task that is being made: options first, then [`start`](Self::start).
///
/// ```
/// use std::time::Duration;
/// use atasker_runtime::{Priority, TaskBuilder};
/// let task = TaskBuilder::new(|| 6 * 7)
///     .name("answer")
///     .priority(Priority::High)
///     .timeout(Duration::from_secs(5))
///     .start();
/// assert_eq!(task.join().unwrap(), 42);
/// ```
#[must_use = "a builder does nothing until `start()` is called"]
pub struct TaskBuilder<R, I = (), O = ()> {
    cell: Fresh<R>,
    links: Option<Arc<Links<I, O>>>,
    supervisor: Option<Arc<Core>>,
    /// Why it can't run at all: its arguments could not be encoded.
    failed: Option<Box<TaskError>>,
    _result: PhantomData<R>,
}

impl<R, I, O> fmt::Debug for TaskBuilder<R, I, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TaskBuilder")
            .field("name", &self.cell.header().name())
            .field("tt", &self.cell.header().tt)
            .finish_non_exhaustive()
    }
}

fn build<R, I, O, B>(
    tt: TaskType,
    body: B,
    seat: B::Seat,
    links: Option<Arc<Links<I, O>>>,
) -> TaskBuilder<R, I, O>
where
    R: Send + 'static,
    I: Send + 'static,
    O: Send + 'static,
    B: Body<R>,
{
    let mut header = Header::new(tt);
    if let Some(links) = &links {
        header.extras_mut().links = Some(links.clone());
    }
    TaskBuilder {
        cell: Cell::fresh(header, body, seat),
        links,
        supervisor: None,
        failed: None,
        _result: PhantomData,
    }
}

impl<R: Send + 'static> TaskBuilder<R> {
    /// A task that runs `f` on a pool thread.
    ///
    /// It can run once only: for `retries`, use [`repeatable`](Self::repeatable).
    pub fn new(f: impl FnOnce() -> R + Send + 'static) -> TaskBuilder<R> {
        let body = Once(Some(move |_: &Arc<dyn AnyTask>| f()));
        build(TaskType::Thread, body, (), None)
    }

    /// A task that runs `f` on a pool thread, and again where `retries` says so.
    ///
    /// ```
    /// use atasker_runtime::TaskBuilder;
    /// let mut calls = 0;
    /// let task = TaskBuilder::repeatable(move || {
    ///     calls += 1;
    ///     calls
    /// })
    /// .retries(3)
    /// .retry_if(|calls: &u32| *calls < 3)
    /// .start();
    /// assert_eq!(task.join().unwrap(), 3);
    /// ```
    pub fn repeatable(mut f: impl FnMut() -> R + Send + 'static) -> TaskBuilder<R> {
        let body = Repeat(move |_: &Arc<dyn AnyTask>| f());
        build(TaskType::Thread, body, (), None)
    }

    /// A task that runs `f` on a pool thread, with a context: it can be stopped and talked to.
    ///
    /// ```
    /// use atasker_runtime::{TaskBuilder, TaskContext};
    /// let task = TaskBuilder::<u64>::with_context(|ctx: &TaskContext<u64>| ctx.recv().unwrap() + 1)
    ///     .start();
    /// task.send(41).unwrap();
    /// assert_eq!(task.join().unwrap(), 42);
    /// ```
    pub fn with_context<I, O>(
        f: impl FnOnce(&TaskContext<I, O>) -> R + Send + 'static,
    ) -> TaskBuilder<R, I, O>
    where
        I: Send + 'static,
        O: Send + 'static,
    {
        let links = Links::local();
        let ends = Arc::clone(&links);
        let body =
            Once(Some(move |task: &Arc<dyn AnyTask>| f(&TaskContext::new(Arc::clone(task), ends))));
        build(TaskType::Thread, body, (), Some(links))
    }

    /// A task that runs a future on an aloop.
    ///
    /// ```
    /// use atasker_runtime::TaskBuilder;
    /// assert_eq!(TaskBuilder::future(async { 42 }).start().join().unwrap(), 42);
    /// ```
    #[cfg(feature = "async")]
    pub fn future(future: impl Future<Output = R> + Send + 'static) -> TaskBuilder<R> {
        let body = crate::aloop::Made::new(future);
        build(TaskType::Async, body, Turns::default(), None)
    }
}

/// The door for generated code: what the attributes expand to calls these.
#[doc(hidden)]
impl<R: Send + 'static> TaskBuilder<R> {
    pub fn __repeatable_with_context<I, O>(
        mut f: impl FnMut(&TaskContext<I, O>) -> R + Send + 'static,
    ) -> TaskBuilder<R, I, O>
    where
        I: Send + 'static,
        O: Send + 'static,
    {
        let links = Links::local();
        let ends = Arc::clone(&links);
        let body = Repeat(move |task: &Arc<dyn AnyTask>| {
            f(&TaskContext::new(Arc::clone(task), Arc::clone(&ends)))
        });
        build(TaskType::Thread, body, (), Some(links))
    }

    #[cfg(feature = "async")]
    pub fn __repeatable_future<F>(mut f: impl FnMut() -> F + Send + 'static) -> TaskBuilder<R>
    where
        F: Future<Output = R> + Send + 'static,
    {
        let body = crate::aloop::Repeat::new(move |_: &Arc<dyn AnyTask>| f());
        build(TaskType::Async, body, Turns::default(), None)
    }

    #[cfg(feature = "async")]
    pub fn __future_with_context<I, O, F>(
        f: impl FnOnce(TaskContext<I, O>) -> F + Send + 'static,
    ) -> TaskBuilder<R, I, O>
    where
        I: Send + 'static,
        O: Send + 'static,
        F: Future<Output = R> + Send + 'static,
    {
        let links = Links::local();
        let ends = Arc::clone(&links);
        let body = crate::aloop::Once::new(move |task: &Arc<dyn AnyTask>| {
            f(TaskContext::new(Arc::clone(task), ends))
        });
        build(TaskType::Async, body, Turns::default(), Some(links))
    }

    #[cfg(feature = "async")]
    pub fn __repeatable_future_with_context<I, O, F>(
        mut f: impl FnMut(TaskContext<I, O>) -> F + Send + 'static,
    ) -> TaskBuilder<R, I, O>
    where
        I: Send + 'static,
        O: Send + 'static,
        F: Future<Output = R> + Send + 'static,
    {
        let links = Links::local();
        let ends = Arc::clone(&links);
        let body = crate::aloop::Repeat::new(move |task: &Arc<dyn AnyTask>| {
            f(TaskContext::new(Arc::clone(task), Arc::clone(&ends)))
        });
        build(TaskType::Async, body, Turns::default(), Some(links))
    }

    /// `args`: the encoded arguments, or why they could not be encoded (the task then ends with
    /// that error as soon as it is started).
    #[cfg(feature = "mp")]
    pub fn __remote(
        function: &'static crate::registry::Function,
        args: Result<crate::wire::encoded::Encoded, TaskError>,
        decode: crate::wire::args::Reader<R>,
    ) -> TaskBuilder<R> {
        remote(function, args, decode, None)
    }
}

#[cfg(feature = "mp")]
pub(crate) fn remote<R, I, O>(
    function: &'static crate::registry::Function,
    args: Result<crate::wire::encoded::Encoded, TaskError>,
    decode: crate::wire::args::Reader<R>,
    ports: Option<(crate::task::channel::Port<I>, crate::task::channel::Port<O>)>,
) -> TaskBuilder<R, I, O>
where
    R: Send + 'static,
    I: Send + 'static,
    O: Send + 'static,
{
    use crate::task::channel::Channel;
    use crate::task::remote::{Remote, RemoteBody};
    use crate::wire::encoded::Encoded;

    let (args, failed) = match args {
        Ok(args) => (args, None),
        Err(error) => (Encoded::zeroed(0), Some(error)),
    };
    let links = ports.map(|ports| Links::coded(Channel::new(), Channel::new(), ports));
    let seat = Remote::new(function, args, decode);
    let mut builder = build(TaskType::Mp, RemoteBody(decode), seat, links);
    builder.failed = failed.map(Box::new);
    builder.name(function.name)
}

impl<R: Send + 'static, I: Send + 'static, O: Send + 'static> TaskBuilder<R, I, O> {
    #[inline]
    fn header_mut(&mut self) -> &mut Header {
        self.cell.get_mut().header_mut()
    }

    /// What the task is called in logs and in `info()`.
    pub fn name(mut self, name: impl Into<Cow<'static, str>>) -> Self {
        self.header_mut().set_name(name.into());
        self
    }

    /// How urgent it is.
    pub fn priority(mut self, priority: Priority) -> Self {
        self.header_mut().priority = priority;
        self
    }

    /// It is queued only after so long; it holds no slot meanwhile.
    pub fn delay(mut self, delay: Duration) -> Self {
        self.header_mut().extras_mut().delay = Some(delay);
        self
    }

    /// How long it may run, from the start of each run.
    ///
    /// A worker process is killed then; a thread or a future is asked to stop, and the outcome is
    /// [`TaskError::TimedOut`] at once.
    pub fn timeout(mut self, limit: Duration) -> Self {
        self.header_mut().extras_mut().timeout = Some(limit);
        self
    }

    /// So many more runs after a panic, a time-out or a worker's death; after an `Err` where
    /// [`retry_if`](Self::retry_if) says so, or the attribute knows the return type.
    ///
    /// A function that can run only once ([`new`](TaskBuilder::new),
    /// [`with_context`](TaskBuilder::with_context), [`future`](TaskBuilder::future)) is not run
    /// again; that is logged as a warning at the start.
    pub fn retries(mut self, retries: u32) -> Self {
        self.header_mut().extras_mut().retries = retries;
        self
    }

    /// How long to wait before each further run.
    pub fn retry_delay(mut self, delay: Duration) -> Self {
        self.header_mut().extras_mut().retry_delay = delay;
        self
    }

    /// Which results call for another run, while `retries` last.
    pub fn retry_if(mut self, wanted: impl Fn(&R) -> bool + Send + 'static) -> Self {
        self.cell.get_mut().hooks_mut().retry_if = Some(Box::new(wanted));
        self
    }

    /// Called with the outcome after the last run, on a pool thread, before anybody else sees it.
    /// Several may be set; they run in that order. One that panics is logged and harms nothing.
    pub fn on_complete(
        mut self,
        callback: impl FnOnce(&Result<R, TaskError>) + Send + 'static,
    ) -> Self {
        self.cell.get_mut().hooks_mut().on_complete.push(Box::new(callback));
        self
    }

    /// Which supervisor runs it (default: the default one).
    pub fn supervisor(mut self, supervisor: &Supervisor) -> Self {
        self.supervisor = Some(Arc::clone(supervisor.core()));
        self
    }

    /// Which aloop runs it, for a future (default: the default one).
    pub fn aloop(mut self, name: impl Into<Cow<'static, str>>) -> Self {
        self.header_mut().extras_mut().aloop = Some(name.into());
        self
    }

    /// Tells a returned `Err` from a result.
    #[doc(hidden)]
    pub fn __returned_err(mut self, is_err: fn(&R) -> bool) -> Self {
        self.cell.get_mut().hooks_mut().returned_err = Some(is_err);
        self
    }

    /// Launches the task.
    ///
    /// This never fails: what goes wrong (a stopped supervisor, a full queue, arguments that can't
    /// be encoded) is the task's error.
    pub fn start(mut self) -> Task<R, I, O> {
        match self.supervisor.take() {
            Some(core) => self.launch(Some(&core), WhenFull::Wait),
            None => self.launch(Some(supervisor().core()), WhenFull::Wait),
        }
    }

    /// The same on this supervisor.
    pub(crate) fn start_at(self, core: &Core) -> Task<R, I, O> {
        self.launch(Some(core), WhenFull::Wait)
    }

    /// The same on the supervisor of an aloop, if that still exists.
    #[cfg(feature = "async")]
    pub(crate) fn start_on(self, core: &std::sync::Weak<Core>) -> Task<R, I, O> {
        self.launch(core.upgrade().as_deref(), WhenFull::Wait)
    }

    /// The same for a run of a background worker: it never waits for room in a queue.
    pub(crate) fn start_run(self, core: &std::sync::Weak<Core>) -> Task<R, I, O> {
        self.launch(core.upgrade().as_deref(), WhenFull::Pass)
    }

    fn launch(self, core: Option<&Core>, when_full: WhenFull) -> Task<R, I, O> {
        let TaskBuilder { mut cell, links, failed, .. } = self;
        let once = !cell.get_mut().repeats();
        let header = cell.get_mut().header_mut();
        if once && header.extras().is_some_and(|extras| extras.retries > 0) {
            tracing::warn!(
                target: "atasker", name = header.name(),
                "`retries` has no effect: this function can run only once; \
                 use `TaskBuilder::repeatable`"
            );
            header.extras_mut().retries = 0;
        }
        let refused = match (core, failed) {
            (Some(core), None) => {
                core.prepare(header);
                None
            }
            (Some(core), failed) => {
                core.refuse(header);
                failed.map(|error| *error)
            }
            (None, failed) => Some(failed.map_or(TaskError::SupervisorStopped, |error| *error)),
        };
        let cell = cell.share();
        let task = cell.clone().erase();
        match (core, refused) {
            (Some(core), None) => core.launch(task, when_full),
            (_, error) => {
                task.header().note_queued();
                let held = task.header().state.hold();
                debug_assert!(held, "a new task has no handle yet");
                end_waiting(task, error.unwrap_or(TaskError::SupervisorStopped));
            }
        }
        Task::new(cell, links)
    }
}
