//! The task's own view of itself: stop, receive, send, progress.

use std::fmt;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use crate::clock;
use crate::error::{RecvError, SendError, TaskError, TrySendError};
use crate::id::TaskId;
use crate::info::{Progress, TaskType};
use crate::priority::Priority;
use crate::task::body::Once;
use crate::task::cell::Cell;
use crate::task::channel::{End, Links};
use crate::task::header::Header;
use crate::task::waiters::WaiterKey;
use crate::task::{AnyTask, park};

/// What a task is given as its first parameter: it can be stopped and talked to while it runs.
///
/// `I` is what it receives, `O` what it sends. It means the same in a thread, in a worker process
/// and on an aloop. The supervisor gives it; the caller of the function does not.
///
/// ```
/// use atasker_runtime::{TaskBuilder, TaskContext};
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
    task: Arc<dyn AnyTask>,
    links: Arc<Links<I, O>>,
}

impl<I, O> Clone for TaskContext<I, O> {
    fn clone(&self) -> Self {
        TaskContext { task: Arc::clone(&self.task), links: Arc::clone(&self.links) }
    }
}

impl<I, O> fmt::Debug for TaskContext<I, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let header = self.task.header();
        f.debug_struct("TaskContext").field("id", &header.id).field("name", &header.name()).finish()
    }
}

impl<I: Send + 'static, O: Send + 'static> TaskContext<I, O> {
    pub(crate) fn new(task: Arc<dyn AnyTask>, links: Arc<Links<I, O>>) -> Self {
        TaskContext { task, links }
    }

    /// A context of no task, to call a function with in a test: nobody will ever stop it or send it
    /// anything, and what it sends is held until it is dropped.
    ///
    /// ```
    /// use atasker_runtime::TaskContext;
    /// let ctx: TaskContext = TaskContext::detached();
    /// assert!(!ctx.stopped());
    /// ```
    pub fn detached() -> Self {
        let body = Once(Some(|_: &Arc<dyn AnyTask>| ()));
        let mut header = Header::new(TaskType::Thread);
        header.set_name("detached".into());
        header.note_queued();
        let launched = header.state.launch(false) && header.begin();
        debug_assert!(launched, "a new task can be started");
        TaskContext { task: Cell::<(), _>::new(header, body, ()), links: Links::local() }
    }

    fn header(&self) -> &Header {
        self.task.header()
    }

    /// The task's id.
    pub fn id(&self) -> TaskId {
        self.header().id
    }
    /// The task's name.
    pub fn name(&self) -> &str {
        self.header().name()
    }
    /// How urgent the task is.
    pub fn priority(&self) -> Priority {
        self.header().priority
    }
    /// Where the task runs.
    pub fn tt(&self) -> TaskType {
        self.header().tt
    }
    /// Which attempt this is, from 1.
    pub fn attempt(&self) -> u32 {
        self.header().attempt()
    }

    /// Whether the task was asked to stop, or its time is over.
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

    pub(crate) fn task(&self) -> &Arc<dyn AnyTask> {
        &self.task
    }

    /// Sleeps until the task is asked to stop (true), or until the time is over (false). It keeps
    /// its slot meanwhile, as any sleep does: only a wait for others gives it up.
    ///
    /// # Panics
    /// On the thread of an aloop: use [`stop_requested`](Self::stop_requested) there.
    #[track_caller]
    pub fn wait_stop(&self, timeout: Duration) -> bool {
        let watch = StopWatch { header: self.header(), key: WaiterKey::next() };
        park::sleep_on(clock::after(timeout), |context| self.poll_stop(watch.key, context))
            .is_some()
    }

    /// Is ready once the task is asked to stop.
    pub async fn stop_requested(&self) {
        let watch = StopWatch { header: self.header(), key: WaiterKey::next() };
        poll_fn(|context| self.poll_stop(watch.key, context)).await
    }

    fn received<T>(&self, result: Result<T, RecvError>) -> Result<T, RecvError> {
        if result.is_ok()
            && matches!(self.links.inbox, End::Coded(..))
            && let Some(owner) = self.header().owner()
        {
            owner.received(&*self.task);
        }
        result
    }

    /// Waits for a message from the task's handle.
    ///
    /// # Errors
    /// [`RecvError::Stopped`] once the task was asked to stop and nothing is queued: so it never
    /// hangs in a task that somebody wants to end.
    ///
    /// # Panics
    /// On the thread of an aloop: use [`recv_async`](Self::recv_async) there.
    #[track_caller]
    pub fn recv(&self) -> Result<I, RecvError> {
        self.received(self.links.inbox.recv(None))
    }

    /// The same, but waits at most so long.
    ///
    /// # Errors
    /// [`RecvError::Timeout`] when the time is over, and those of [`recv`](Self::recv).
    #[track_caller]
    pub fn recv_timeout(&self, timeout: Duration) -> Result<I, RecvError> {
        self.received(self.links.inbox.recv(Some(clock::after(timeout))))
    }

    /// Takes a message if one is queued.
    ///
    /// # Errors
    /// [`RecvError::Empty`] if none is; [`RecvError::Stopped`] as above.
    pub fn try_recv(&self) -> Result<I, RecvError> {
        let ended = self.header().state.read().is_ended();
        match self.received(self.links.inbox.try_recv()) {
            Err(RecvError::Empty | RecvError::Stopped) if ended => Err(RecvError::Closed),
            other => other,
        }
    }

    /// Waits for a message as a future.
    ///
    /// # Errors
    /// Those of [`recv`](Self::recv).
    pub async fn recv_async(&self) -> Result<I, RecvError> {
        self.received(self.links.inbox.recv_async().await)
    }

    /// Channels close a moment after the end can be seen.
    fn open_outbox(&self) -> Option<&End<O>> {
        (!self.header().state.read().is_ended()).then_some(&self.links.outbox)
    }

    fn sent<E>(&self, result: Result<(), E>) -> Result<(), E> {
        if result.is_ok()
            && matches!(self.links.outbox, End::Coded(..))
            && let Some(owner) = self.header().owner()
        {
            owner.message(&*self.task);
        }
        result
    }

    /// Sends a message to the task's handle. Waits while 1,024 messages are queued.
    ///
    /// # Errors
    /// Gives the message back when the task counts as ended (its time is over).
    #[track_caller]
    pub fn send(&self, message: O) -> Result<(), SendError<O>> {
        match self.open_outbox() {
            Some(outbox) => self.sent(outbox.send(message)),
            None => Err(SendError(message)),
        }
    }

    /// Sends a message if there is room for it.
    ///
    /// # Errors
    /// Gives the message back.
    pub fn try_send(&self, message: O) -> Result<(), TrySendError<O>> {
        match self.open_outbox() {
            Some(outbox) => self.sent(outbox.try_send(message)),
            None => Err(TrySendError::Closed(message)),
        }
    }

    /// Sends a message; waits for room as a future.
    ///
    /// # Errors
    /// Gives the message back when the task counts as ended.
    pub async fn send_async(&self, message: O) -> Result<(), SendError<O>> {
        match self.open_outbox() {
            Some(outbox) => self.sent(outbox.send_async(message).await),
            None => Err(SendError(message)),
        }
    }

    fn change_progress(&self, change: impl FnOnce(&mut Progress)) {
        let header = self.header();
        change(header.extras_or_new().progress.lock().get_or_insert_default());
        if let Some(owner) = header.owner() {
            owner.progressed(&*self.task);
        }
    }

    /// Says how far the task is: `done` steps of `total`. Cheap enough for every step.
    pub fn progress(&self, done: u64, total: u64) {
        self.change_progress(|progress| (progress.done, progress.total) = (done, total));
    }

    /// Says what the task does at the moment.
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
    // Channels hold what is sent behind locks, so even a payload that is only Send will do.
    check::<TaskContext<std::cell::Cell<u8>, std::cell::Cell<u8>>>();
}
