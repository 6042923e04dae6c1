//! The typed handle of a task: the one owner of its result.

use std::fmt;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant, SystemTime};

use crate::clock;
use crate::error::{KillError, RecvError, SendError, TaskError, TrySendError, WaitError};
use crate::id::TaskId;
use crate::info::{Progress, TaskInfo, TaskStatus, TaskType};
use crate::priority::Priority;
use crate::task::cell::Typed;
use crate::task::channel::{End, Links};
use crate::task::header::{Header, refresh};
use crate::task::reference::TaskRef;
use crate::task::wait::wait_end;
use crate::task::waiters::WaiterKey;
use crate::task::{AnyTask, verbs};

/// A launched task, and the one owner of its result.
///
/// It can be waited for ([`wait`](Self::wait), [`join`](Self::join), `.await`), asked to stop, and
/// talked to. `R` is what the function returns, `I` what the task receives, `O` what it sends.
/// Dropping the handle lets the task go on.
///
/// ```
/// use atasker_runtime::Supervisor;
/// let sup = Supervisor::builder().build();
/// let task = sup.spawn(|| 6 * 7);
/// assert_eq!(task.wait().unwrap(), &42);
/// assert!(task.is_completed());
/// assert_eq!(task.join().unwrap(), 42);
/// ```
#[must_use = "dropping the handle drops the result, and the task goes on: say `drop(task)` if that is meant"]
pub struct Task<R, I = (), O = ()> {
    cell: Arc<dyn Typed<R>>,
    links: Option<Arc<Links<I, O>>>,
    /// It was polled: it may have left its waker.
    polled: bool,
    /// The outcome was moved out.
    took: bool,
    on_drop: OnDrop,
    /// Lends `&R`, so it may be shared between threads only where `R` may.
    _lends: PhantomData<R>,
}

#[derive(Clone, Copy, PartialEq)]
enum OnDrop {
    Nothing,
    Stop,
    Kill,
}

impl<R, I, O> Task<R, I, O> {
    /// The caller has taken the one hold on the typed task.
    pub(crate) fn new(cell: Arc<dyn Typed<R>>, links: Option<Arc<Links<I, O>>>) -> Self {
        Task {
            cell,
            links,
            polled: false,
            took: false,
            on_drop: OnDrop::Nothing,
            _lends: PhantomData,
        }
    }

    pub(crate) fn header(&self) -> &Header {
        self.cell.header()
    }
}

impl<R: Send + 'static, I: Send + 'static, O: Send + 'static> Task<R, I, O> {
    pub(crate) fn erased(&self) -> Arc<dyn AnyTask> {
        self.cell.clone().erase()
    }

    fn fresh(&self) -> &Header {
        if self.header().tt == TaskType::Mp {
            refresh(&*self.erased());
        }
        self.header()
    }

    /// Its id.
    pub fn id(&self) -> TaskId {
        self.header().id
    }
    /// Its name: what `name` said, or the function's path.
    pub fn name(&self) -> &str {
        self.header().name()
    }
    /// Where it runs.
    pub fn tt(&self) -> TaskType {
        self.header().tt
    }
    /// How urgent it is.
    pub fn priority(&self) -> Priority {
        self.header().priority
    }
    /// How far it has come.
    pub fn status(&self) -> TaskStatus {
        self.fresh().status()
    }
    /// When it was launched.
    pub fn time_queued(&self) -> SystemTime {
        clock::system_time(self.header().queued())
    }
    /// When its latest attempt began.
    pub fn time_started(&self) -> Option<SystemTime> {
        self.fresh().info().time_started
    }
    /// When it ended.
    pub fn time_completed(&self) -> Option<SystemTime> {
        self.header().info().time_completed
    }
    /// All that can be told about it, as plain data.
    pub fn info(&self) -> TaskInfo {
        self.fresh().info()
    }
    /// Whether it has begun. Stays true.
    pub fn is_started(&self) -> bool {
        self.fresh().started() != 0
    }
    /// Whether it has ended, in whichever way.
    pub fn is_completed(&self) -> bool {
        self.header().state.read().is_ended()
    }
    /// The result, once it has ended with one.
    pub fn result(&self) -> Option<&R> {
        self.cell.outcome()?.ok()
    }
    /// The error, once it has ended with one.
    pub fn error(&self) -> Option<&TaskError> {
        self.cell.outcome()?.err()
    }
    /// What it says about its progress.
    pub fn progress(&self) -> Option<Progress> {
        self.fresh().extras()?.progress.lock().clone()
    }

    /// An untyped handle of the same task.
    pub fn to_ref(&self) -> TaskRef {
        TaskRef::new(self.erased())
    }

    /// Waits for the end; false when the deadline was first.
    #[track_caller]
    pub(crate) fn wait_until(&self, deadline: Option<Instant>) -> bool {
        if self.header().state.read().is_ended() {
            return true;
        }
        wait_end(&self.erased(), deadline)
    }

    /// The outcome of a task that has ended.
    pub(crate) fn outcome_ref(&self) -> Result<&R, TaskError> {
        match self.cell.outcome() {
            Some(Ok(value)) => Ok(value),
            Some(Err(error)) => Err(error.clone()),
            None => panic!("the result of task {} was taken by an earlier `.await`", self.id()),
        }
    }

    /// Moves the outcome of a task that has ended out.
    pub(crate) fn take_outcome(mut self) -> Result<R, TaskError> {
        self.taken()
    }

    fn taken(&mut self) -> Result<R, TaskError> {
        self.took = true;
        self.cell.take().unwrap_or_else(|| {
            panic!("the result of task {} was taken by an earlier `.await`", self.id())
        })
    }

    /// Waits for the result, which stays in the task.
    ///
    /// # Errors
    /// What ended the task otherwise.
    ///
    /// # Panics
    /// On the thread of an aloop, if it would have to block: use `.await` there.
    #[track_caller]
    pub fn wait(&self) -> Result<&R, TaskError> {
        self.wait_until(None);
        self.outcome_ref()
    }

    /// Waits for the result at most so long.
    ///
    /// # Errors
    /// [`WaitError::Timeout`] when the time is over (the task goes on), [`WaitError::Task`] when
    /// it failed.
    ///
    /// # Panics
    /// On the thread of an aloop, if it would have to block.
    #[track_caller]
    pub fn wait_timeout(&self, timeout: Duration) -> Result<&R, WaitError> {
        if !self.wait_until(Some(clock::after(timeout))) {
            return Err(WaitError::Timeout { pending: vec![self.id()] });
        }
        self.outcome_ref().map_err(|error| WaitError::Task { index: 0, id: self.id(), error })
    }

    /// Waits for the result and moves it out.
    ///
    /// # Errors
    /// What ended the task otherwise.
    ///
    /// # Panics
    /// On the thread of an aloop, if it would have to block: use `.await` there.
    #[track_caller]
    pub fn join(mut self) -> Result<R, TaskError> {
        self.wait_until(None);
        self.taken()
    }

    /// Asks the task to stop: it sees it by its context. A task that has not begun is canceled.
    pub fn stop(&self) {
        verbs::stop(&self.erased());
    }

    /// Cancels the task if it has not begun: true, and it never will. Else it is asked to stop.
    pub fn cancel(&self) -> bool {
        verbs::cancel(&self.erased())
    }

    /// Ends the task: a worker process is killed with all that it started, a future is dropped at
    /// its next await; the outcome is `Canceled`.
    ///
    /// # Errors
    /// [`KillError::Unsupported`] for a task that runs on a thread.
    pub fn kill(&self) -> Result<(), KillError> {
        verbs::kill(&self.erased())
    }

    /// Has the task asked to stop when this handle is dropped before its end.
    pub fn stop_on_drop(mut self) -> Self {
        self.on_drop = OnDrop::Stop;
        self
    }

    /// Has the task killed when this handle is dropped before its end (a thread task is asked to
    /// stop).
    pub fn kill_on_drop(mut self) -> Self {
        self.on_drop = OnDrop::Kill;
        self
    }

    fn sent<E>(&self, result: Result<(), E>) -> Result<(), E> {
        if result.is_ok()
            && let Some(End::Coded(..)) = self.links.as_ref().map(|links| &links.inbox)
            && let Some(owner) = self.header().owner()
        {
            owner.message(&*self.erased());
        }
        result
    }

    /// Sends a message to the task. Waits while 1,024 messages are queued.
    ///
    /// # Errors
    /// Gives the message back when the task has ended, or takes no messages at all.
    #[track_caller]
    pub fn send(&self, message: I) -> Result<(), SendError<I>> {
        match self.open_links() {
            Some(links) => self.sent(links.inbox.send(message)),
            None => Err(SendError(message)),
        }
    }

    /// The channels, if the task has any and has not ended: they close a moment after the end can be
    /// seen.
    fn open_links(&self) -> Option<&Links<I, O>> {
        self.links.as_deref().filter(|_| !self.is_completed())
    }

    /// Sends a message if there is room for it.
    ///
    /// # Errors
    /// Gives the message back.
    pub fn try_send(&self, message: I) -> Result<(), TrySendError<I>> {
        match self.open_links() {
            Some(links) => self.sent(links.inbox.try_send(message)),
            None => Err(TrySendError::Closed(message)),
        }
    }

    /// Sends a message; waits for room as a future.
    ///
    /// # Errors
    /// Gives the message back when the task has ended, or takes no messages at all.
    pub async fn send_async(&self, message: I) -> Result<(), SendError<I>> {
        match self.open_links() {
            Some(links) => self.sent(links.inbox.send_async(message).await),
            None => Err(SendError(message)),
        }
    }

    fn received<T>(&self, result: Result<T, RecvError>) -> Result<T, RecvError> {
        if result.is_ok()
            && let Some(End::Coded(..)) = self.links.as_ref().map(|links| &links.outbox)
            && let Some(owner) = self.header().owner()
        {
            owner.received(&*self.erased());
        }
        result
    }

    /// Waits for a message of the task.
    ///
    /// # Errors
    /// [`RecvError::Closed`] when the task has ended and nothing is queued.
    ///
    /// # Panics
    /// On the thread of an aloop: use [`recv_async`](Self::recv_async) there.
    #[track_caller]
    pub fn recv(&self) -> Result<O, RecvError> {
        self.recv_until(None)
    }

    /// Waits for a message of the task at most so long.
    ///
    /// # Errors
    /// [`RecvError::Timeout`] when the time is over, and those of [`recv`](Self::recv).
    #[track_caller]
    pub fn recv_timeout(&self, timeout: Duration) -> Result<O, RecvError> {
        self.recv_until(Some(clock::after(timeout)))
    }

    #[track_caller]
    fn recv_until(&self, deadline: Option<Instant>) -> Result<O, RecvError> {
        match &self.links {
            Some(links) => self.received(links.outbox.recv(deadline)),
            None => self.without_messages(deadline),
        }
    }

    /// A task without channels sends nothing: its end is what there is to wait for.
    #[track_caller]
    fn without_messages(&self, deadline: Option<Instant>) -> Result<O, RecvError> {
        match self.wait_until(deadline) {
            true => Err(RecvError::Closed),
            false => Err(RecvError::Timeout),
        }
    }

    /// Takes a message of the task if one is queued.
    ///
    /// # Errors
    /// [`RecvError::Empty`] if none is, [`RecvError::Closed`] when the task has ended, too.
    pub fn try_recv(&self) -> Result<O, RecvError> {
        // Looked at first: what was sent before the end is queued by then.
        let ended = self.is_completed();
        let result = match &self.links {
            Some(links) => self.received(links.outbox.try_recv()),
            None => Err(RecvError::Empty),
        };
        match result {
            Err(RecvError::Empty) if ended => Err(RecvError::Closed),
            other => other,
        }
    }

    /// Waits for a message of the task as a future.
    ///
    /// # Errors
    /// [`RecvError::Closed`] when the task has ended and nothing is queued.
    pub async fn recv_async(&self) -> Result<O, RecvError> {
        match &self.links {
            Some(links) => self.received(links.outbox.recv_async().await),
            None => {
                crate::task::wait::ended(self.erased()).await;
                Err(RecvError::Closed)
            }
        }
    }

    /// The messages of the task until it ends. Blocks between them.
    pub fn messages(&self) -> Messages<'_, R, I, O> {
        Messages { task: self }
    }
}

/// The messages of a task: see [`Task::messages`].
#[allow(missing_debug_implementations)]
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

impl<R, I, O> fmt::Debug for Task<R, I, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let header = self.header();
        f.debug_struct("Task")
            .field("id", &header.id)
            .field("name", &header.name())
            .field("tt", &header.tt)
            .field("status", &header.status())
            .finish_non_exhaustive()
    }
}

// The handle never holds an `R` itself: it may move whatever the task returns.
impl<R, I, O> Unpin for Task<R, I, O> {}

impl<R: Send + 'static, I: Send + 'static, O: Send + 'static> Future for Task<R, I, O> {
    type Output = Result<R, TaskError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if !self.is_completed() {
            self.polled = true;
            if self.header().watch(WaiterKey::HANDLE, context.waker()) {
                return Poll::Pending;
            }
        }
        Poll::Ready(self.taken())
    }
}

impl<R, I, O> Drop for Task<R, I, O> {
    fn drop(&mut self) {
        let header = self.cell.header();
        if self.polled {
            header.unwatch(WaiterKey::HANDLE);
        }
        let before = header.state.let_go();
        if before.is_ended() && !before.is_referred() && !self.took {
            self.cell.forget();
        }
        if self.on_drop != OnDrop::Nothing && !header.state.read().is_ended() {
            let task: Arc<dyn AnyTask> = self.cell.clone().erase();
            if self.on_drop == OnDrop::Stop || verbs::kill(&task).is_err() {
                verbs::stop(&task);
            }
        }
    }
}
