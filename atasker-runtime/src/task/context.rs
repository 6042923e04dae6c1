//! The task's view of itself: requests to stop, messages, progress.

use std::fmt;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use crate::error::{RecvError, SendError, TaskError, TrySendError};
use crate::fork;
use crate::id::TaskId;
use crate::info::{Progress, TaskType};
use crate::priority::Priority;
use crate::progress;
use crate::task::body::Once;
use crate::task::cell::Cell;
use crate::task::endpoint::{Channels, Endpoint};
use crate::task::header::Header;
use crate::task::state::Phase;
use crate::task::waiters::WaiterKey;
use crate::task::{TaskArc, park};
use crate::time::clock;

/// The first parameter of a task that can be stopped and exchange messages while it runs.
///
/// `I` is the type of messages the task receives, and `O` the type of messages it sends. A context
/// works the same way on a pool thread, in a worker process and on an aloop. The library passes it
/// to the function; the caller of a launcher does not.
///
/// ```
/// # use atasker_runtime as atasker;
/// use atasker::{TaskBuilder, TaskContext};
/// let task = TaskBuilder::with_context(|ctx: &TaskContext<u64, String>| {
///     let mut sum = 0;
///     while let Ok(n) = ctx.recv() {
///         sum += n;
///         ctx.send(format!("so far {sum}")).unwrap();
///     }
///     sum
/// })
/// .start();
/// task.send(40).unwrap();
/// task.send(2).unwrap();
/// task.stop();
/// assert_eq!(task.recv().unwrap(), "so far 40");
/// assert_eq!(task.join().unwrap(), 42);
/// ```
pub struct TaskContext<I = (), O = ()> {
    task: TaskArc,
    channels: Arc<Channels<I, O>>,
}

impl<I, O> Clone for TaskContext<I, O> {
    fn clone(&self) -> Self {
        TaskContext { task: self.task.clone(), channels: self.channels.clone() }
    }
}

impl<I, O> fmt::Debug for TaskContext<I, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let header = self.task.header();
        f.debug_struct("TaskContext")
            .field("id", &header.id())
            .field("name", &header.name())
            .finish()
    }
}

impl<I: Send + 'static, O: Send + 'static> TaskContext<I, O> {
    pub(crate) fn new(task: TaskArc, channels: Arc<Channels<I, O>>) -> Self {
        TaskContext { task, channels }
    }

    /// Creates a context without a task, for calling a function in a test.
    ///
    /// The context is never stopped. Receiving fails with [`RecvError::Closed`] immediately, and
    /// messages sent are accepted and dropped. [`pair`](Self::pair) creates a context whose other end
    /// the test holds.
    ///
    /// ```
    /// # use atasker_runtime as atasker;
    /// use atasker::{RecvError, TaskContext};
    ///
    /// let ctx: TaskContext<u64, String> = TaskContext::detached();
    /// assert!(!ctx.stopped());
    /// assert_eq!(ctx.recv(), Err(RecvError::Closed));
    /// assert!(ctx.send("nowhere".to_owned()).is_ok());
    /// ```
    pub fn detached() -> Self {
        let mut header = Header::new(TaskType::Thread, TaskId::next());
        header.set_name("detached".into());
        TaskContext::without_task(header, Channels::discarding())
    }

    /// Creates a context of a task that no place runs.
    pub(crate) fn without_task(header: Header, channels: Arc<Channels<I, O>>) -> Self {
        let body = Once(Some(|_: &TaskArc| ()));
        header.record_queued();
        let launched = header.state.launch(Phase::Queued) && header.begin();
        debug_assert!(launched, "a new task can be started");
        TaskContext { task: Cell::<(), _>::allocate(header, body, ()).erase(), channels }
    }

    fn header(&self) -> &Header {
        self.task.header()
    }

    /// Returns the id of the task.
    pub fn id(&self) -> TaskId {
        self.header().id()
    }

    /// Returns the name of the task.
    pub fn name(&self) -> &str {
        self.header().name()
    }

    /// Returns the priority of the task.
    pub fn priority(&self) -> Priority {
        self.header().priority
    }

    /// Returns the kind of place where the task runs.
    pub fn tt(&self) -> TaskType {
        self.header().tt
    }

    /// Returns the number of this attempt, starting at 1.
    ///
    /// ```
    /// # use atasker_runtime as atasker;
    /// use atasker::{TaskBuilder, TaskContext};
    /// let task = TaskBuilder::with_context(|ctx: &TaskContext| ctx.attempt()).start();
    /// assert_eq!(task.join().unwrap(), 1);
    /// ```
    pub fn attempt(&self) -> u32 {
        self.header().attempt()
    }

    /// Returns whether the task was asked to stop or has exceeded its time limit.
    ///
    /// ```
    /// # use atasker_runtime as atasker;
    /// use atasker::{TaskBuilder, TaskContext};
    /// let task = TaskBuilder::with_context(|ctx: &TaskContext| {
    ///     let mut steps = 0_u64;
    ///     while !ctx.stopped() {
    ///         steps += 1;
    ///     }
    ///     steps
    /// })
    /// .start();
    /// task.stop();
    /// println!("{} steps", task.join().unwrap());
    /// ```
    pub fn stopped(&self) -> bool {
        self.header().state.read().stopped()
    }

    pub(crate) fn poll_stop(&self, key: WaiterKey, context: &mut Context<'_>) -> Poll<()> {
        if self.stopped() || !self.header().watch(key, context.waker()) || self.stopped() {
            return Poll::Ready(());
        }
        Poll::Pending
    }

    pub(crate) fn forget_waiter(&self, key: WaiterKey) {
        self.header().unwatch(key);
    }

    pub(crate) fn task(&self) -> &TaskArc {
        &self.task
    }

    /// Sleeps until the task is asked to stop, then returns `true`; or until `timeout` has passed,
    /// then returns `false`.
    ///
    /// Like any other sleep, this keeps the task's slot. Only waits for other tasks and for
    /// messages release it. In a fork of the process, which receives no requests, it returns `true`
    /// immediately, so that a loop that waits here ends.
    ///
    /// ```
    /// # use atasker_runtime as atasker;
    /// use std::time::Duration;
    /// use atasker::{TaskBuilder, TaskContext};
    /// let task = TaskBuilder::with_context(|ctx: &TaskContext| {
    ///     let mut measurements = 0;
    ///     while !ctx.wait_stop(Duration::from_millis(1)) {
    ///         measurements += 1;
    ///     }
    ///     measurements
    /// })
    /// .start();
    /// task.stop();
    /// println!("{} measurements", task.join().unwrap());
    /// ```
    ///
    /// # Panics
    ///
    /// Panics on the thread of an aloop. Use [`stop_requested`](Self::stop_requested) there.
    #[track_caller]
    pub fn wait_stop(&self, timeout: Duration) -> bool {
        let watch = StopWatch { header: self.header(), key: WaiterKey::next() };
        park::sleep_on(clock::after(timeout), |context| self.poll_stop(watch.key, context))
            .is_some()
    }

    /// Completes once the task is asked to stop.
    ///
    /// ```
    /// # use atasker_runtime as atasker;
    /// use atasker::TaskContext;
    /// async fn serve(ctx: TaskContext) {
    ///     ctx.stop_requested().await;
    ///     println!("closing");
    /// }
    /// ```
    ///
    /// # Cancel safety
    ///
    /// This method is cancel safe.
    pub async fn stop_requested(&self) {
        let watch = StopWatch { header: self.header(), key: WaiterKey::next() };
        poll_fn(|context| self.poll_stop(watch.key, context)).await
    }

    fn received<T>(&self, result: Result<T, RecvError>) -> Result<T, RecvError> {
        if result.is_ok() && matches!(self.channels.inbox, Endpoint::Encoded(..)) {
            self.header().with_place(|place| place.message_received(&*self.task));
        }
        result
    }

    /// Waits for a message from the task's handle.
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
    /// task.stop(); // ends the loop
    /// task.join().unwrap();
    /// ```
    ///
    /// # Errors
    ///
    /// Returns [`RecvError::Stopped`] once the task was asked to stop and no message is queued. A
    /// task that only receives therefore ends when it is stopped.
    ///
    /// # Panics
    ///
    /// Panics on the thread of an aloop if it would have to block. Use
    /// [`recv_async`](Self::recv_async) there.
    #[track_caller]
    pub fn recv(&self) -> Result<I, RecvError> {
        self.received(self.open_inbox()?.recv(None))
    }

    /// Waits for a message from the task's handle for at most `timeout`.
    ///
    /// ```
    /// # use atasker_runtime as atasker;
    /// use std::time::Duration;
    /// use atasker::{RecvError, TaskBuilder, TaskContext};
    /// let task = TaskBuilder::with_context(|ctx: &TaskContext<u32>| {
    ///     ctx.recv_timeout(Duration::from_millis(1))
    /// })
    /// .start();
    /// assert_eq!(task.join().unwrap(), Err(RecvError::Timeout));
    /// ```
    ///
    /// # Errors
    ///
    /// Returns [`RecvError::Timeout`] if the time is over, and the errors of [`recv`](Self::recv).
    #[track_caller]
    pub fn recv_timeout(&self, timeout: Duration) -> Result<I, RecvError> {
        self.received(self.open_inbox()?.recv(Some(clock::after(timeout))))
    }

    /// Takes a message if one is queued.
    ///
    /// ```
    /// # use atasker_runtime as atasker;
    /// use atasker::{RecvError, TaskBuilder, TaskContext};
    /// let task = TaskBuilder::with_context(|ctx: &TaskContext<u32>| ctx.try_recv()).start();
    /// assert_eq!(task.join().unwrap(), Err(RecvError::Empty));
    /// ```
    ///
    /// # Errors
    ///
    /// Returns [`RecvError::Empty`] if none is queued, and [`RecvError::Stopped`] if, in addition,
    /// the task was asked to stop.
    pub fn try_recv(&self) -> Result<I, RecvError> {
        let ended = self.header().state.read().is_ended();
        match self.received(self.open_inbox()?.try_recv()) {
            Err(RecvError::Empty | RecvError::Stopped) if ended => Err(RecvError::Closed),
            other => other,
        }
    }

    /// Waits for a message from the task's handle.
    ///
    /// ```
    /// # use atasker_runtime as atasker;
    /// use atasker::TaskContext;
    /// async fn sum(ctx: TaskContext<u64>) -> u64 {
    ///     let mut sum = 0;
    ///     while let Ok(n) = ctx.recv_async().await {
    ///         sum += n;
    ///     }
    ///     sum
    /// }
    /// ```
    ///
    /// # Errors
    ///
    /// Returns the errors of [`recv`](Self::recv).
    ///
    /// # Cancel safety
    ///
    /// This method is cancel safe: no message is lost if the future is dropped before it completes.
    pub async fn recv_async(&self) -> Result<I, RecvError> {
        self.received(self.open_inbox()?.recv_async().await)
    }

    /// Returns the inbox, unless this process was forked from the one that runs the task.
    fn open_inbox(&self) -> Result<&Endpoint<I>, RecvError> {
        if fork::is_copy() { Err(RecvError::Closed) } else { Ok(&self.channels.inbox) }
    }

    /// Returns the outbox unless the task has ended. Checking the state matters, because channels
    /// close shortly after the end becomes visible.
    fn open_outbox(&self) -> Option<&Endpoint<O>> {
        let open = !self.header().state.read().is_ended() && !fork::is_copy();
        open.then_some(&self.channels.outbox)
    }

    fn sent<E>(&self, result: Result<(), E>) -> Result<(), E> {
        if result.is_ok() && matches!(self.channels.outbox, Endpoint::Encoded(..)) {
            self.header().with_place(|place| place.flush_messages(&*self.task));
        }
        result
    }

    /// Sends a message to the task's handle. Waits for room while 1,024 messages are queued; in a
    /// worker process also while the queued messages amount to 64 MiB or more, encoded.
    ///
    /// ```
    /// # use atasker_runtime as atasker;
    /// use atasker::{TaskBuilder, TaskContext};
    /// let task = TaskBuilder::with_context(|ctx: &TaskContext<(), u32>| ctx.send(42).is_ok()).start();
    /// assert_eq!(task.recv(), Ok(42));
    /// assert!(task.join().unwrap());
    /// ```
    ///
    /// # Errors
    ///
    /// Returns the message
    ///
    /// * if the typed handle is dropped, before or during the wait, because no message can be
    ///   received then. A typed handle created later by [`TaskRef::typed`](crate::TaskRef::typed)
    ///   reopens the channel;
    /// * if there is no room and the task was asked to stop, before or during the wait;
    /// * if the task counts as ended because it has exceeded its time limit;
    /// * in a worker process, if the message can't be encoded or exceeds 256 MiB.
    ///
    /// # Panics
    ///
    /// Panics on the thread of an aloop if it would have to wait. Use
    /// [`send_async`](Self::send_async) there.
    #[track_caller]
    pub fn send(&self, message: O) -> Result<(), SendError<O>> {
        match self.open_outbox() {
            Some(outbox) => self.sent(outbox.send(message)),
            None => Err(SendError(message)),
        }
    }

    /// Sends a message if there is room for it.
    ///
    /// ```
    /// # use atasker_runtime as atasker;
    /// use atasker::{TaskBuilder, TaskContext};
    /// let task = TaskBuilder::with_context(|ctx: &TaskContext<(), u32>| {
    ///     (0..2_000).filter(|n| ctx.try_send(*n).is_ok()).count()
    /// })
    /// .start();
    /// assert_eq!(task.wait().unwrap(), &1_024);
    /// ```
    ///
    /// # Errors
    ///
    /// Returns the message: as [`Full`](TrySendError::Full) if there is no room, as
    /// [`Closed`](TrySendError::Closed) if it can't be received.
    pub fn try_send(&self, message: O) -> Result<(), TrySendError<O>> {
        match self.open_outbox() {
            Some(outbox) => self.sent(outbox.try_send(message)),
            None => Err(TrySendError::Closed(message)),
        }
    }

    /// Sends a message, waiting for room.
    ///
    /// ```
    /// # use atasker_runtime as atasker;
    /// use atasker::TaskContext;
    /// async fn count(ctx: TaskContext<(), u32>) {
    ///     for n in 0..2_000 {
    ///         if ctx.send_async(n).await.is_err() {
    ///             return; // the handle is gone
    ///         }
    ///     }
    /// }
    /// ```
    ///
    /// # Errors
    ///
    /// Returns the errors of [`send`](Self::send).
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped before it completes, the message is dropped without being sent.
    pub async fn send_async(&self, message: O) -> Result<(), SendError<O>> {
        match self.open_outbox() {
            Some(outbox) => self.sent(outbox.send_async(message).await),
            None => Err(SendError(message)),
        }
    }

    fn change_progress(&self, change: impl FnOnce(&mut Progress)) {
        if fork::is_copy() {
            return;
        }
        let header = self.header();
        change(header.extras_or_new().progress.lock().get_or_insert_default());
        progress::report_changed();
        header.with_place(|place| place.progress_changed(&*self.task));
    }

    /// Reports progress: `done` steps of `total`. Cheap enough to call on every step.
    ///
    /// ```
    /// # use atasker_runtime as atasker;
    /// use atasker::{TaskBuilder, TaskContext};
    /// let task = TaskBuilder::with_context(|ctx: &TaskContext| {
    ///     for step in 1..=10 {
    ///         ctx.progress(step, 10);
    ///     }
    /// })
    /// .start();
    /// task.wait().unwrap();
    /// assert_eq!(task.progress().unwrap().done, 10);
    /// ```
    pub fn progress(&self, done: u64, total: u64) {
        self.change_progress(|progress| (progress.done, progress.total) = (done, total));
    }

    /// Reports what the task is doing, as the message of its [`Progress`].
    ///
    /// ```
    /// # use atasker_runtime as atasker;
    /// use atasker::{TaskBuilder, TaskContext};
    /// let task = TaskBuilder::with_context(|ctx: &TaskContext| ctx.message("indexing")).start();
    /// task.wait().unwrap();
    /// assert_eq!(task.progress().unwrap().message.as_deref(), Some("indexing"));
    /// ```
    pub fn message(&self, text: &str) {
        self.change_progress(|progress| progress.message = Some(text.to_owned()));
    }
}

struct StopWatch<'a> {
    header: &'a Header,
    key: WaiterKey,
}

impl Drop for StopWatch<'_> {
    fn drop(&mut self) {
        self.header.unwatch(self.key);
    }
}

#[allow(dead_code)]
fn _assert_send_sync() {
    fn check<T: Send + Sync>() {}
    check::<TaskContext<u8, TaskError>>();
    // Channels keep messages behind locks, so `Send` is sufficient for messages.
    check::<TaskContext<std::cell::Cell<u8>, std::cell::Cell<u8>>>();
}
