//! The typed handle of a task, the owner of its result.

use std::fmt;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant, SystemTime};

use crate::error::{KillError, RecvError, SendError, TaskError, TrySendError, WaitError};
use crate::fork;
use crate::id::TaskId;
use crate::info::{Progress, TaskInfo, TaskStatus, TaskType};
use crate::limit;
use crate::priority::Priority;
use crate::progress;
use crate::task::TaskArc;
use crate::task::arc::TypedArc;
use crate::task::cell::Taken;
use crate::task::endpoint::{AnyChannels, Channels, Endpoint};
use crate::task::header::{Header, refresh};
use crate::task::reference::TaskRef;
use crate::task::state::Handle;
use crate::task::wait::wait_end;
use crate::task::waiters::WaiterKey;
use crate::task::{cloning, control, park};
use crate::time::clock;

/// A launched task, and the owner of its result.
///
/// A `Task` can be waited for ([`wait`](Self::wait), [`join`](Self::join), `.await`), asked to
/// stop, and exchange messages with the running function. `R` is the return type of the function,
/// `I` the type of messages the task receives, and `O` the type of messages it sends.
///
/// Dropping the handle detaches the task: it runs on, and its result is dropped.
/// [`detach`](Self::detach) does so explicitly. A task that has not ended when `main` returns is
/// lost. `#[atasker::main(drain = "10s")]` waits for unfinished tasks first.
///
/// ```
/// # use atasker_runtime as atasker;
/// use atasker::Supervisor;
/// let sup = Supervisor::builder().build();
/// let task = sup.spawn(|| 6 * 7);
/// assert_eq!(task.wait().unwrap(), &42);
/// assert!(task.is_completed());
/// assert_eq!(task.join().unwrap(), 42);
/// ```
///
/// # Cancel safety
///
/// Awaiting `&mut task` is cancel safe: if the future is dropped before it completes, the result is
/// still there.
#[must_use = "an unfinished task is lost when `main` returns: call `join()`, or `detach()` and \
              `#[atasker::main(drain = \"10s\")]`"]
pub struct Task<R, I = (), O = ()> {
    cell: TypedArc<R>,
    polled: Polled,
    /// The outcome was moved out.
    took: bool,
    /// The join interest was released.
    released: bool,
    on_drop: OnDrop,
    /// The task may have channels, but this handle has none.
    without_channels: bool,
    /// Lends `&R`, so the handle is `Sync` only if `R` is. And the channels of the task.
    _lends: PhantomData<(R, Arc<Channels<I, O>>)>,
}

#[derive(Clone, Copy, PartialEq)]
pub(crate) enum OnDrop {
    Nothing,
    Stop,
    Kill,
}

#[derive(Clone, Copy, PartialEq)]
enum Polled {
    No,
    /// A waker may be registered.
    Yes,
    /// The join interest belongs to another handle. Here, because the drop of a handle that was never
    /// polled checks nothing else.
    Moved,
}

impl<R, I, O> Task<R, I, O> {
    /// Creates the handle. The caller has acquired the task's join interest.
    pub(crate) fn new(cell: TypedArc<R>) -> Self {
        Task {
            cell,
            polled: Polled::No,
            took: false,
            released: false,
            on_drop: OnDrop::Nothing,
            without_channels: false,
            _lends: PhantomData,
        }
    }

    pub(crate) fn header(&self) -> &Header {
        self.cell.header()
    }

    pub(crate) fn erased(&self) -> &TaskArc {
        self.cell.as_erased()
    }

    /// Returns the channels without their types, if the task has any for this handle.
    #[inline]
    fn any_channels(&self) -> Option<&Arc<dyn AnyChannels>> {
        self.header().channels().filter(|_| !self.without_channels)
    }
}

impl<R: 'static, I: Send + 'static, O: Send + 'static> Task<R, I, O> {
    fn fresh(&self) -> &Header {
        if self.header().tt == TaskType::Mp {
            refresh(&**self.erased());
        }
        self.header()
    }

    /// Returns the id of the task.
    ///
    /// ```
    /// # use atasker_runtime as atasker;
    /// use atasker::Supervisor;
    /// let sup = Supervisor::builder().build();
    /// let task = sup.spawn(|| 42);
    /// println!("task {}", task.id());
    /// # task.join().unwrap();
    /// ```
    pub fn id(&self) -> TaskId {
        self.header().id()
    }

    /// Returns the name of the task: the one set with `name`, or the path of the function.
    ///
    /// ```
    /// # use atasker_runtime as atasker;
    /// use atasker::TaskBuilder;
    /// let task = TaskBuilder::new(|| 42).name("answer").start();
    /// assert_eq!(task.name(), "answer");
    /// ```
    pub fn name(&self) -> &str {
        self.header().name()
    }

    /// Returns the kind of place where the task runs.
    ///
    /// ```
    /// # use atasker_runtime as atasker;
    /// use atasker::{Supervisor, TaskType};
    /// let sup = Supervisor::builder().build();
    /// assert_eq!(sup.spawn(|| 42).tt(), TaskType::Thread);
    /// ```
    pub fn tt(&self) -> TaskType {
        self.header().tt
    }

    /// Returns the priority of the task.
    ///
    /// ```
    /// # use atasker_runtime as atasker;
    /// use atasker::{Priority, TaskBuilder};
    /// let task = TaskBuilder::new(|| 42).priority(Priority::High).start();
    /// assert_eq!(task.priority(), Priority::High);
    /// ```
    pub fn priority(&self) -> Priority {
        self.header().priority
    }

    /// Returns the status of the task.
    ///
    /// ```
    /// # use atasker_runtime as atasker;
    /// use atasker::{Supervisor, TaskStatus};
    /// let sup = Supervisor::builder().build();
    /// let task = sup.spawn(|| 42);
    /// task.wait().unwrap();
    /// assert_eq!(task.status(), TaskStatus::Completed);
    /// ```
    pub fn status(&self) -> TaskStatus {
        self.fresh().status()
    }

    /// Returns the time of the launch.
    ///
    /// ```
    /// # use atasker_runtime as atasker;
    /// use atasker::Supervisor;
    /// let sup = Supervisor::builder().build();
    /// let task = sup.spawn(|| 42);
    /// task.wait().unwrap();
    /// let (queued, started) = (task.time_queued(), task.time_started().unwrap());
    /// assert!(queued <= started && started <= task.time_completed().unwrap());
    /// ```
    pub fn time_queued(&self) -> SystemTime {
        clock::system_time(self.header().queued())
    }

    /// Returns the time when the latest attempt began.
    pub fn time_started(&self) -> Option<SystemTime> {
        self.fresh().info().time_started
    }

    /// Returns the time when the task ended.
    pub fn time_completed(&self) -> Option<SystemTime> {
        self.header().info().time_completed
    }

    /// Returns a snapshot of everything known about the task, as plain data.
    ///
    /// ```
    /// # use atasker_runtime as atasker;
    /// use atasker::Supervisor;
    /// let sup = Supervisor::builder().build();
    /// let task = sup.spawn(|| 42);
    /// assert_eq!(task.info().id, task.id());
    /// ```
    pub fn info(&self) -> TaskInfo {
        self.fresh().info()
    }

    /// Returns whether the task has begun. Stays `true` afterwards.
    ///
    /// ```
    /// # use atasker_runtime as atasker;
    /// use atasker::Supervisor;
    /// let sup = Supervisor::builder().build();
    /// let task = sup.spawn(|| 42);
    /// task.wait().unwrap();
    /// assert!(task.is_started());
    /// ```
    pub fn is_started(&self) -> bool {
        self.fresh().started() != 0
    }

    /// Returns whether the task has ended, successfully or not.
    ///
    /// ```
    /// # use atasker_runtime as atasker;
    /// use atasker::{TaskBuilder, TaskContext};
    /// let task = TaskBuilder::with_context(|ctx: &TaskContext| ctx.recv().is_err()).start();
    /// assert!(!task.is_completed());
    /// task.stop();
    /// task.wait().unwrap();
    /// assert!(task.is_completed());
    /// ```
    pub fn is_completed(&self) -> bool {
        self.header().state.read().is_ended()
    }

    /// Returns the result if the task has completed successfully.
    ///
    /// ```
    /// # use atasker_runtime as atasker;
    /// use atasker::Supervisor;
    /// let sup = Supervisor::builder().build();
    /// let task = sup.spawn(|| 42);
    /// task.wait().unwrap();
    /// assert_eq!(task.result(), Some(&42));
    /// ```
    pub fn result(&self) -> Option<&R> {
        self.cell.outcome()?.ok()
    }

    /// Returns the error if the task has failed.
    ///
    /// ```
    /// # use atasker_runtime as atasker;
    /// use atasker::Supervisor;
    /// let sup = Supervisor::builder().build();
    /// let task = sup.spawn(|| panic!("no luck"));
    /// assert!(task.wait().is_err());
    /// assert!(task.error().unwrap().is_panic());
    /// ```
    pub fn error(&self) -> Option<&TaskError> {
        self.cell.outcome()?.err()
    }

    /// Returns the progress that the task last reported.
    ///
    /// ```
    /// # use atasker_runtime as atasker;
    /// use atasker::{TaskBuilder, TaskContext};
    /// let task = TaskBuilder::with_context(|ctx: &TaskContext| ctx.progress(3, 10)).start();
    /// task.wait().unwrap();
    /// assert_eq!(task.progress().unwrap().done, 3);
    /// ```
    pub fn progress(&self) -> Option<Progress> {
        self.fresh().progress()
    }

    /// Returns an untyped handle of the same task.
    ///
    /// ```
    /// # use atasker_runtime as atasker;
    /// use atasker::Supervisor;
    /// let sup = Supervisor::builder().build();
    /// let task = sup.spawn(|| 42);
    /// let reference = task.to_ref();
    /// assert_eq!(task.join().unwrap(), 42);
    /// assert!(reference.is_completed());
    /// ```
    pub fn to_ref(&self) -> TaskRef {
        TaskRef::new(self.erased().clone())
    }

    /// Waits for the end of the task. Returns false if the deadline passes first.
    #[track_caller]
    pub(crate) fn wait_until(&self, deadline: Option<Instant>) -> bool {
        if self.header().state.read().is_ended() {
            return true;
        }
        wait_end(self.erased(), deadline)
    }

    /// Returns the outcome of a task that has ended.
    pub(crate) fn outcome_ref(&self) -> Result<&R, TaskError> {
        progress::end_of(|| self.id());
        match self.cell.outcome() {
            Some(Ok(value)) => Ok(value),
            Some(Err(error)) => Err(error.clone()),
            // The task runs on in the parent process, from which this process was forked.
            None if !self.is_completed() => Err(fork::error()),
            None => panic!("the result of task {} was taken by an earlier `.await`", self.id()),
        }
    }

    /// Moves out the outcome of a task that has ended.
    #[track_caller]
    pub(crate) fn take_outcome(mut self) -> Result<R, TaskError> {
        loop {
            if let Some(outcome) = self.take(Handle::Consumed) {
                return outcome;
            }
            // Lasts no longer than a `Clone` call, so it is acceptable on the thread of an aloop.
            park::block_briefly(|context| match self.is_cloned(context) {
                true => Poll::Pending,
                false => Poll::Ready(()),
            });
        }
    }

    /// Moves out the outcome of a task that has ended. Returns `None` while the result is being
    /// cloned.
    #[track_caller]
    fn take(&mut self, handle: Handle) -> Option<Result<R, TaskError>> {
        if !self.is_completed() {
            // The task runs on in the parent process, from which this process was forked.
            return Some(Err(fork::error()));
        }
        progress::end_of(|| self.id());
        match self.cell.take(handle) {
            Taken::Outcome(outcome) => {
                self.took = true;
                self.released = handle == Handle::Consumed && outcome.is_ok();
                Some(outcome)
            }
            // The thread that clones it does not exist in a copy.
            Taken::Borrowed if fork::is_copy() => Some(Err(fork::error())),
            Taken::Borrowed => {
                assert!(
                    !cloning::is_active(self.header().id()),
                    "the result of task {} can't be moved out by its own `Clone`",
                    self.header().id()
                );
                None
            }
            Taken::Gone => {
                panic!("the result of task {} was taken by an earlier `.await`", self.header().id())
            }
        }
    }

    /// Returns whether the result is being cloned. The waker is notified when that ends.
    fn is_cloned(&self, context: &Context<'_>) -> bool {
        self.header().watch_clones(WaiterKey::HANDLE, context.waker())
    }

    /// Moves out the outcome of a task that has ended, for the task that is chained to it. Never
    /// panics. While the result is being cloned, the thread waits without its slot, because the
    /// clone may wait for other tasks.
    pub(crate) fn into_outcome(mut self) -> Result<R, TaskError> {
        let id = self.header().id();
        loop {
            match self.cell.take(Handle::Kept) {
                Taken::Outcome(outcome) => {
                    self.took = true;
                    return outcome;
                }
                Taken::Gone => {
                    return Err(TaskError::not_started(format!(
                        "the result of task {id} was taken by an earlier `.await`"
                    )));
                }
                Taken::Borrowed if cloning::is_active(id) => {
                    return Err(TaskError::not_started(format!(
                        "the result of task {id} can't be moved out by its own `Clone`"
                    )));
                }
                Taken::Borrowed => {
                    self.polled = Polled::Yes;
                    park::block_on(None, |context| match self.is_cloned(context) {
                        true => Poll::Pending,
                        false => Poll::Ready(()),
                    });
                }
            }
        }
    }

    /// Returns the handle without the ends of the channels. From now on, what the task sends is
    /// rejected, because it could not be received any more.
    pub(crate) fn without_channels(mut self) -> Task<R> {
        let header = self.cell.header();
        if self.polled == Polled::Yes {
            header.unwatch(WaiterKey::HANDLE);
        }
        let running = !fork::is_copy() && !header.state.read().is_ended();
        if running && let Some(channels) = self.any_channels() {
            channels.set_receiver(false);
            if channels.are_encoded() {
                header.with_place(|place| place.flush_messages(&**self.erased()));
            }
        }
        let mut task = Task::new(self.cell.clone());
        task.without_channels = true;
        (task.took, task.on_drop) = (self.took, self.on_drop);
        // Its join interest is that of the new handle.
        self.polled = Polled::Moved;
        task
    }

    /// Sets what the drop of the handle does. Returns what it did before.
    pub(crate) fn set_on_drop(&mut self, on_drop: OnDrop) -> OnDrop {
        std::mem::replace(&mut self.on_drop, on_drop)
    }

    /// Waits for the result, which stays in the task.
    ///
    /// ```
    /// # use atasker_runtime as atasker;
    /// use atasker::Supervisor;
    /// let sup = Supervisor::builder().build();
    /// let task = sup.spawn(|| 42);
    /// assert_eq!(task.wait().unwrap(), &42);
    /// assert_eq!(task.wait().unwrap(), &42);
    /// ```
    ///
    /// # Errors
    ///
    /// Returns the error with which the task ended.
    ///
    /// # Panics
    ///
    /// Panics on the thread of an aloop if it would have to block. Use `.await` there.
    #[track_caller]
    pub fn wait(&self) -> Result<&R, TaskError> {
        self.wait_until(None);
        self.outcome_ref()
    }

    /// Waits for the result for at most `timeout`.
    ///
    /// ```
    /// # use atasker_runtime as atasker;
    /// use std::time::Duration;
    /// use atasker::{TaskBuilder, TaskContext, WaitError};
    /// let task = TaskBuilder::with_context(|ctx: &TaskContext| ctx.recv().is_err()).start();
    /// let waited = task.wait_timeout(Duration::from_millis(1));
    /// assert!(matches!(waited, Err(WaitError::Timeout { .. })));
    /// task.stop();
    /// ```
    ///
    /// # Errors
    ///
    /// Returns [`WaitError::Timeout`] if the time is over, in which case the task runs on, and
    /// [`WaitError::Task`] if the task failed.
    ///
    /// # Panics
    ///
    /// Panics on the thread of an aloop if it would have to block.
    #[track_caller]
    pub fn wait_timeout(&self, timeout: Duration) -> Result<&R, WaitError> {
        if !self.wait_until(Some(clock::after(timeout))) {
            return Err(WaitError::Timeout { pending: vec![self.id()] });
        }
        self.outcome_ref().map_err(|error| WaitError::Task {
            index: 0,
            id: self.id(),
            name: self.name().to_owned(),
            error,
        })
    }

    /// Waits for the result and moves it out.
    ///
    /// ```
    /// # use atasker_runtime as atasker;
    /// use atasker::Supervisor;
    /// let sup = Supervisor::builder().build();
    /// let task = sup.spawn(|| String::from("owned"));
    /// let text: String = task.join().unwrap();
    /// assert_eq!(text, "owned");
    /// ```
    ///
    /// # Errors
    ///
    /// Returns the error with which the task ended.
    ///
    /// # Panics
    ///
    /// Panics on the thread of an aloop if it would have to block. Use `.await` there.
    #[track_caller]
    pub fn join(self) -> Result<R, TaskError> {
        self.wait_until(None);
        self.take_outcome()
    }

    /// Asks the task to stop, which a running task notices through its context. A task that has not
    /// begun is canceled.
    ///
    /// ```
    /// # use atasker_runtime as atasker;
    /// use atasker::{TaskBuilder, TaskContext};
    /// let task = TaskBuilder::with_context(|ctx: &TaskContext| ctx.recv().is_err()).start();
    /// task.stop();
    /// assert!(task.join().unwrap());
    /// ```
    pub fn stop(&self) {
        control::stop(self.erased());
    }

    /// Cancels the task and returns `true` if it has not begun, in which case it never will.
    /// Otherwise asks it to stop and returns `false`.
    ///
    /// For a remote task, this waits for the answer of the cluster, for at most five seconds. Without
    /// an answer it returns `false`, and the request stands: it is carried out when the broker is
    /// reachable again. On the thread of an aloop it does not wait; see
    /// [`cancel_async`](Self::cancel_async).
    ///
    /// ```
    /// # use atasker_runtime as atasker;
    /// use std::time::Duration;
    /// use atasker::TaskBuilder;
    /// let task = TaskBuilder::new(|| 42).delay(Duration::from_secs(3600)).start();
    /// assert!(task.cancel());
    /// assert!(task.join().unwrap_err().is_canceled());
    /// ```
    pub fn cancel(&self) -> bool {
        control::cancel(self.erased())
    }

    /// Cancels the task as [`cancel`](Self::cancel) does, without blocking if the task is remote and
    /// its cluster has to answer. For other tasks, there is nothing to wait for.
    ///
    /// ```
    /// # use atasker_runtime as atasker;
    /// # async fn example() {
    /// use std::time::Duration;
    /// use atasker::TaskBuilder;
    /// let task = TaskBuilder::new(|| 42).delay(Duration::from_secs(3600)).start();
    /// assert!(task.cancel_async().await);
    /// # }
    /// ```
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped before it completes, a request that was sent stands.
    pub async fn cancel_async(&self) -> bool {
        let task = self.erased();
        control::cancel_async(task).await
    }

    /// Ends the task. A worker process is killed together with the processes it has started; a
    /// future is dropped at its next await. The outcome is [`TaskError::Canceled`].
    ///
    /// ```
    /// # use atasker_runtime as atasker;
    /// use atasker::Supervisor;
    /// let sup = Supervisor::builder().build();
    /// let task = sup.spawn_async(std::future::pending::<()>());
    /// task.kill().unwrap();
    /// assert!(task.join().unwrap_err().is_canceled());
    /// ```
    ///
    /// # Errors
    ///
    /// Returns [`KillError::Unsupported`] for a task that runs on a thread, of a node as well, and
    /// [`KillError::Unreachable`] if the cluster of a remote task has not answered within five seconds.
    pub fn kill(&self) -> Result<(), KillError> {
        control::kill(self.erased())
    }

    /// Asks the task to stop if this handle is dropped before the task has ended.
    ///
    /// ```
    /// # use atasker_runtime as atasker;
    /// use atasker::{TaskBuilder, TaskContext};
    /// let (sender, ended) = std::sync::mpsc::channel();
    /// let task = TaskBuilder::with_context(move |ctx: &TaskContext| {
    ///     let stopped = ctx.recv().is_err();
    ///     sender.send(stopped).unwrap();
    /// });
    /// drop(task.start().stop_on_drop());
    /// assert_eq!(ended.recv(), Ok(true));
    /// ```
    pub fn stop_on_drop(mut self) -> Self {
        self.on_drop = OnDrop::Stop;
        self
    }

    /// Kills the task if this handle is dropped before the task has ended. A task on a thread is
    /// asked to stop instead.
    ///
    /// ```
    /// # use atasker_runtime as atasker;
    /// use atasker::Supervisor;
    /// let sup = Supervisor::builder().build();
    /// let (sender, dropped) = std::sync::mpsc::channel::<()>();
    /// let task = sup.spawn_async(async move {
    ///     let _sender = sender;
    ///     std::future::pending::<()>().await;
    /// });
    /// drop(task.kill_on_drop());
    /// // The future, and the sender in it, are dropped.
    /// assert!(dropped.recv().is_err());
    /// ```
    pub fn kill_on_drop(mut self) -> Self {
        self.on_drop = OnDrop::Kill;
        self
    }

    /// Lets the task go on without this handle.
    ///
    /// Dropping the handle has the same effect, unless [`stop_on_drop`](Self::stop_on_drop) or
    /// [`kill_on_drop`](Self::kill_on_drop) was called. `detach` cancels the effect of both, so it
    /// never stops or kills the task.
    ///
    /// The result is dropped when the task completes, unless a [`TaskRef`] still refers to the task.
    /// A task that completes after the call logs a failure at ERROR and a returned `Err` at WARN,
    /// because no handle is left to report it. Messages that the task sends fail with a
    /// [`SendError`].
    ///
    /// ```
    /// # extern crate atasker_runtime as atasker;
    /// use atasker::{StopOptions, Supervisor};
    /// let sup = Supervisor::builder().build();
    /// let (tx, rx) = std::sync::mpsc::channel();
    /// let task = sup.spawn(move || tx.send("saved")).stop_on_drop();
    /// // The request is accepted: from now on the task runs to its end in any case.
    /// task.detach();
    /// assert_eq!(rx.recv(), Ok("saved"));
    /// # sup.stop(StopOptions::new());
    /// ```
    pub fn detach(mut self) {
        self.on_drop = OnDrop::Nothing;
    }

    fn sent<E>(&self, result: Result<(), E>) -> Result<(), E> {
        if result.is_ok() && self.any_channels().is_some_and(|channels| channels.are_encoded()) {
            self.header().with_place(|place| place.flush_messages(&**self.erased()));
        }
        result
    }

    /// Sends a message to the task. Blocks while 1,024 messages are queued.
    ///
    /// ```
    /// # use atasker_runtime as atasker;
    /// use atasker::{TaskBuilder, TaskContext};
    /// let task = TaskBuilder::with_context(|ctx: &TaskContext<u32, u32>| {
    ///     while let Ok(n) = ctx.recv() {
    ///         ctx.send(n + 1).unwrap();
    ///     }
    /// })
    /// .start();
    /// task.send(41).unwrap();
    /// assert_eq!(task.recv(), Ok(42));
    /// task.stop();
    /// ```
    ///
    /// # Errors
    ///
    /// Returns the message if the task has ended or receives no messages.
    #[track_caller]
    pub fn send(&self, message: I) -> Result<(), SendError<I>> {
        match self.open_channels() {
            Some(channels) => self.sent(channels.inbox.send(message)),
            None => Err(SendError(message)),
        }
    }

    /// Returns the channels if the task has any and has not ended. Checking the state matters,
    /// because channels close shortly after the end becomes visible.
    fn open_channels(&self) -> Option<&Channels<I, O>> {
        self.channels().filter(|_| !self.is_completed())
    }

    /// Returns the channels if the task has any; none in a forked process.
    fn channels(&self) -> Option<&Channels<I, O>> {
        self.any_channels().filter(|_| !fork::is_copy())?.of_types()
    }

    /// Sends a message if there is room for it.
    ///
    /// ```
    /// # use atasker_runtime as atasker;
    /// use atasker::{TaskBuilder, TaskContext};
    /// let task = TaskBuilder::with_context(|ctx: &TaskContext<u32, u32>| {
    ///     while let Ok(n) = ctx.recv() {
    ///         ctx.send(n + 1).unwrap();
    ///     }
    /// })
    /// .start();
    /// task.try_send(41).unwrap();
    /// assert_eq!(task.recv(), Ok(42));
    /// task.stop();
    /// ```
    ///
    /// # Errors
    ///
    /// Returns the message: as [`Full`](TrySendError::Full) if there is no room, as
    /// [`Closed`](TrySendError::Closed) if the task has ended or receives no messages.
    pub fn try_send(&self, message: I) -> Result<(), TrySendError<I>> {
        match self.open_channels() {
            Some(channels) => self.sent(channels.inbox.try_send(message)),
            None => Err(TrySendError::Closed(message)),
        }
    }

    /// Sends a message, waiting for room.
    ///
    /// ```
    /// # use atasker_runtime as atasker;
    /// # async fn example() {
    /// use atasker::{TaskBuilder, TaskContext};
    /// let task = TaskBuilder::with_context(|ctx: &TaskContext<u32, u32>| {
    ///     while let Ok(n) = ctx.recv() {
    ///         ctx.send(n + 1).unwrap();
    ///     }
    /// })
    /// .start();
    /// task.send_async(41).await.unwrap();
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// Returns the message if the task has ended or receives no messages.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped before it completes, the message is dropped without being sent.
    pub async fn send_async(&self, message: I) -> Result<(), SendError<I>> {
        match self.open_channels() {
            Some(channels) => self.sent(channels.inbox.send_async(message).await),
            None => Err(SendError(message)),
        }
    }

    /// Returns the channel of the messages from the task, if it has any.
    pub(super) fn outbox(&self) -> Option<&Endpoint<O>> {
        self.channels().map(|channels| &channels.outbox)
    }

    pub(super) fn received<T>(&self, result: Result<T, RecvError>) -> Result<T, RecvError> {
        if result.is_ok() && self.any_channels().is_some_and(|channels| channels.are_encoded()) {
            self.header().with_place(|place| place.message_received(&**self.erased()));
        }
        result
    }

    /// Waits for a message from the task.
    ///
    /// ```
    /// # use atasker_runtime as atasker;
    /// use atasker::{TaskBuilder, TaskContext};
    /// let task = TaskBuilder::with_context(|ctx: &TaskContext<u32, u32>| {
    ///     while let Ok(n) = ctx.recv() {
    ///         ctx.send(n + 1).unwrap();
    ///     }
    /// })
    /// .start();
    /// task.send(41).unwrap();
    /// assert_eq!(task.recv(), Ok(42));
    /// task.stop();
    /// assert!(task.recv().is_err());
    /// ```
    ///
    /// # Errors
    ///
    /// Returns [`RecvError::Closed`] once the task has ended and no message is queued.
    ///
    /// # Panics
    ///
    /// Panics on the thread of an aloop if it would have to block. Use
    /// [`recv_async`](Self::recv_async) there.
    #[track_caller]
    pub fn recv(&self) -> Result<O, RecvError> {
        self.recv_until(None)
    }

    /// Waits for a message from the task for at most `timeout`.
    ///
    /// ```
    /// # use atasker_runtime as atasker;
    /// use std::time::Duration;
    /// use atasker::RecvError;
    /// use atasker::{TaskBuilder, TaskContext};
    /// let task = TaskBuilder::with_context(|ctx: &TaskContext<u32, u32>| {
    ///     while let Ok(n) = ctx.recv() {
    ///         ctx.send(n + 1).unwrap();
    ///     }
    /// })
    /// .start();
    /// assert_eq!(task.recv_timeout(Duration::from_millis(1)), Err(RecvError::Timeout));
    /// task.stop();
    /// ```
    ///
    /// # Errors
    ///
    /// Returns [`RecvError::Timeout`] if the time is over, and the errors of [`recv`](Self::recv).
    #[track_caller]
    pub fn recv_timeout(&self, timeout: Duration) -> Result<O, RecvError> {
        self.recv_until(Some(clock::after(timeout)))
    }

    #[track_caller]
    fn recv_until(&self, deadline: Option<Instant>) -> Result<O, RecvError> {
        match self.channels() {
            Some(channels) => self.received(channels.outbox.recv(deadline)),
            None => self.without_messages(deadline),
        }
    }

    /// Waits for the end of a task without channels, which sends nothing.
    #[track_caller]
    fn without_messages(&self, deadline: Option<Instant>) -> Result<O, RecvError> {
        match self.wait_until(deadline) {
            true => Err(RecvError::Closed),
            false => Err(RecvError::Timeout),
        }
    }

    /// Takes a message from the task if one is queued.
    ///
    /// ```
    /// # use atasker_runtime as atasker;
    /// use atasker::RecvError;
    /// use atasker::{TaskBuilder, TaskContext};
    /// let task = TaskBuilder::with_context(|ctx: &TaskContext<u32, u32>| {
    ///     while let Ok(n) = ctx.recv() {
    ///         ctx.send(n + 1).unwrap();
    ///     }
    /// })
    /// .start();
    /// assert_eq!(task.try_recv(), Err(RecvError::Empty));
    /// task.stop();
    /// ```
    ///
    /// # Errors
    ///
    /// Returns [`RecvError::Empty`] if none is queued, or [`RecvError::Closed`] if, in addition,
    /// the task has ended.
    pub fn try_recv(&self) -> Result<O, RecvError> {
        // Read before the channel, because every message sent before the end is queued by the time
        // the end is visible.
        let ended = self.is_completed() || fork::is_copy();
        let result = match self.channels() {
            Some(channels) => self.received(channels.outbox.try_recv()),
            None => Err(RecvError::Empty),
        };
        match result {
            Err(RecvError::Empty) if ended => Err(RecvError::Closed),
            other => other,
        }
    }

    /// Waits for a message from the task.
    ///
    /// ```
    /// # use atasker_runtime as atasker;
    /// # async fn example() {
    /// use atasker::{TaskBuilder, TaskContext};
    /// let task = TaskBuilder::with_context(|ctx: &TaskContext<u32, u32>| {
    ///     while let Ok(n) = ctx.recv() {
    ///         ctx.send(n + 1).unwrap();
    ///     }
    /// })
    /// .start();
    /// task.send(41).unwrap();
    /// assert_eq!(task.recv_async().await, Ok(42));
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// Returns [`RecvError::Closed`] once the task has ended and no message is queued.
    ///
    /// # Cancel safety
    ///
    /// This method is cancel safe: no message is lost if the future is dropped before it completes.
    pub async fn recv_async(&self) -> Result<O, RecvError> {
        match self.channels() {
            Some(channels) => self.received(channels.outbox.recv_async().await),
            None => {
                crate::task::wait::ended(self.erased().clone()).await;
                Err(RecvError::Closed)
            }
        }
    }

    /// Returns an iterator over the messages of the task, which blocks until the next message and
    /// ends with the task.
    ///
    /// ```
    /// # use atasker_runtime as atasker;
    /// use atasker::{TaskBuilder, TaskContext};
    /// let task = TaskBuilder::with_context(|ctx: &TaskContext<u32, u32>| {
    ///     while let Ok(n) = ctx.recv() {
    ///         ctx.send(n + 1).unwrap();
    ///     }
    /// })
    /// .start();
    /// task.send(1).unwrap();
    /// task.send(2).unwrap();
    /// task.stop();
    /// assert_eq!(task.messages().collect::<Vec<_>>(), [2, 3]);
    /// ```
    pub fn messages(&self) -> Messages<'_, R, I, O> {
        Messages { task: self }
    }
}

/// An iterator over the messages of a task. See [`Task::messages`].
///
/// ```
/// # use atasker_runtime as atasker;
/// use atasker::{TaskBuilder, TaskContext};
/// let task = TaskBuilder::with_context(|ctx: &TaskContext<(), u32>| {
///     (1..4).for_each(|n| ctx.send(n).unwrap());
/// })
/// .start();
/// let mut sum = 0;
/// for n in task.messages() {
///     sum += n;
/// }
/// assert_eq!(sum, 6);
/// ```
#[must_use = "no message is received until the iterator is used"]
pub struct Messages<'a, R, I, O> {
    task: &'a Task<R, I, O>,
}

impl<R: Send + 'static, I: Send + 'static, O: Send + 'static> Iterator for Messages<'_, R, I, O> {
    type Item = O;

    #[track_caller]
    fn next(&mut self) -> Option<O> {
        self.task.recv().ok()
    }
}

impl<R, I, O> fmt::Debug for Messages<'_, R, I, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Messages").field("task", self.task).finish()
    }
}

impl<R, I, O> fmt::Debug for Task<R, I, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let header = self.header();
        f.debug_struct("Task")
            .field("id", &header.id())
            .field("name", &header.name())
            .field("tt", &header.tt)
            .field("status", &header.status())
            .finish_non_exhaustive()
    }
}

// The handle never stores an `R`, so it may be moved whatever the task returns.
impl<R, I, O> Unpin for Task<R, I, O> {}

impl<R: 'static, I: Send + 'static, O: Send + 'static> Future for Task<R, I, O> {
    type Output = Result<R, TaskError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if !self.is_completed() {
            self.polled = Polled::Yes;
            if self.header().watch(WaiterKey::HANDLE, context.waker()) {
                limit::lend_while_pending(std::iter::once(self.header()));
                return Poll::Pending;
            }
        }
        loop {
            if let Some(outcome) = self.take(Handle::Kept) {
                return Poll::Ready(outcome);
            }
            self.polled = Polled::Yes;
            if self.is_cloned(context) {
                return Poll::Pending;
            }
        }
    }
}

impl<R, I, O> Drop for Task<R, I, O> {
    fn drop(&mut self) {
        if fork::is_copy() {
            // The task is the other process's, and so is its result.
            return;
        }
        if self.polled != Polled::No {
            // As the last call, so that it takes no registers from the usual case.
            return self.drop_polled();
        }
        self.release();
    }
}

impl<R, I, O> Task<R, I, O> {
    #[cold]
    fn drop_polled(&self) {
        if self.polled == Polled::Yes {
            self.header().unwatch(WaiterKey::HANDLE);
            limit::unlend(self.header());
            self.release();
        }
    }

    /// Ends the ownership of the result.
    #[inline(always)]
    fn release(&self) {
        if self.released {
            // With the result, so the task has ended.
            return;
        }
        let header = self.cell.header();
        let channels = self.any_channels().filter(|_| !header.state.read().is_ended());
        if let Some(channels) = channels {
            // Before the join interest is released, because the next handle announces a receiver
            // again.
            channels.set_receiver(false);
        }
        let before = header.state.clear_join_interest();
        if channels.is_some_and(|channels| channels.are_encoded()) {
            header.with_place(|place| place.flush_messages(&**self.erased()));
        }
        if before.is_ended() && !before.is_referenced() && !self.took {
            self.cell.drop_output();
        }
        if self.on_drop != OnDrop::Nothing && !header.state.read().is_ended() {
            let task = self.erased();
            if self.on_drop == OnDrop::Stop || control::kill(task).is_err() {
                control::stop(task);
            }
        }
    }
}
