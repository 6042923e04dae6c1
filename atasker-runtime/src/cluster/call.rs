//! One call of this process: the link between a task and its cluster.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use super::door::{CallEnd, CallEvent, CallSink, Canceled};
use super::error::ClusterError;
use super::events::Item;
use super::handle::Shared;
use super::told::{begun, end, end_as_canceled, waits_again};
use crate::error::{KillError, TaskError};
use crate::id::TaskId;
use crate::observe::observer;
use crate::sync::lock::Mutex;
use crate::task::elsewhere::Link;
use crate::task::header::Header;
use crate::task::waiters::{WaiterKey, Waiters, drop_waker};
use crate::task::{AnyTask, TaskArc, park};
use crate::unwind::log;

/// See the module's documentation.
pub(crate) struct Call {
    pub(super) cluster: Arc<Shared>,
    pub(super) id: TaskId,
    bound: Mutex<Bound>,
    messages: Messages,
    /// Held while messages are passed on, so that they stay in order.
    outgoing: Mutex<Outgoing>,
    stored: Mutex<Stored>,
}

/// Where the messages of a call go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Messages {
    Here,
    /// To another handle: this one has only the outcome.
    Elsewhere,
}

/// The task of a call.
enum Bound {
    /// There is none yet. What was told so far is kept for it.
    NotYet(Vec<CallEvent>),
    To(TaskArc),
    /// It has ended, at least here.
    Released,
}

#[derive(Default)]
struct Outgoing {
    /// What was last told about a receiver of the task's messages.
    has_receiver: Option<bool>,
}

/// Whether the broker is known to have the call.
#[derive(Default)]
struct Stored {
    is_known: bool,
    waiters: Waiters,
}

/// What the session tells of the call.
struct Listener {
    call: Arc<Call>,
    end_told: AtomicBool,
}

impl CallSink for Listener {
    fn event(&self, event: CallEvent) {
        match event {
            CallEvent::Stored => return self.call.set_stored(),
            CallEvent::Ended(_) => self.end_told.store(true, Ordering::Relaxed),
            _ => {}
        }
        self.call.push(Item::Event(event));
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if !*self.end_told.get_mut() {
            self.call.push(Item::Forgotten);
        }
    }
}

/// Returns the call of a task that was handed over to a cluster.
pub(super) fn call_of(header: &Header) -> Option<Arc<Call>> {
    match &*header.elsewhere()?.link.lock() {
        Link::Call(call) => Arc::clone(call).downcast().ok(),
        Link::None | Link::Withdrawn | Link::Over => None,
    }
}

impl Call {
    /// Creates the call of a task.
    pub(super) fn new(cluster: Arc<Shared>, task: TaskArc) -> Arc<Call> {
        Call::with(cluster, task.header().id(), Bound::To(task), Messages::Here)
    }

    /// Creates a call that was launched before, for a task that is [bound](Self::bind) to it later.
    pub(super) fn unbound(cluster: Arc<Shared>, id: TaskId, messages: Messages) -> Arc<Call> {
        Call::with(cluster, id, Bound::NotYet(Vec::new()), messages)
    }

    fn with(cluster: Arc<Shared>, id: TaskId, bound: Bound, messages: Messages) -> Arc<Call> {
        Arc::new(Call {
            cluster,
            id,
            bound: Mutex::new(bound),
            messages,
            outgoing: Mutex::default(),
            stored: Mutex::default(),
        })
    }

    /// Returns what the session is to tell of the call. To be created once.
    pub(super) fn listener(self: &Arc<Self>) -> Arc<dyn CallSink> {
        Arc::new(Listener { call: Arc::clone(self), end_told: AtomicBool::new(false) })
    }

    fn push(self: &Arc<Self>, item: Item) {
        self.cluster.events.push(Arc::clone(self), item);
    }

    /// Makes this the call of `task`.
    pub(super) fn bind(self: &Arc<Self>, task: TaskArc) {
        self.push(Item::Bind(task));
    }

    /// Forgets the task. The call goes on.
    pub(super) fn release(&self) {
        let bound = std::mem::replace(&mut *self.bound.lock(), Bound::Released);
        if let Bound::To(task) = &bound
            && let Some(elsewhere) = task.header().elsewhere()
        {
            let link = std::mem::replace(&mut *elsewhere.link.lock(), Link::Over);
            drop(link);
        }
        drop(bound);
    }

    fn task(&self) -> Option<TaskArc> {
        match &*self.bound.lock() {
            Bound::To(task) => Some(task.clone()),
            Bound::NotYet(_) | Bound::Released => None,
        }
    }

    // On the thread for events.

    /// Does what is to be done on the thread for events.
    pub(super) fn handle(self: &Arc<Self>, item: Item) {
        match item {
            Item::Event(event) => {
                let task = match &mut *self.bound.lock() {
                    Bound::NotYet(kept) => return kept.push(event),
                    Bound::To(task) => task.clone(),
                    Bound::Released => return,
                };
                self.tell(&task, event);
            }
            Item::Bind(task) => {
                let before = {
                    let mut bound = self.bound.lock();
                    match &*bound {
                        Bound::NotYet(_) => std::mem::replace(&mut *bound, Bound::To(task.clone())),
                        Bound::To(_) | Bound::Released => return,
                    }
                };
                if let Bound::NotYet(kept) = before {
                    kept.into_iter().for_each(|event| self.tell(&task, event));
                }
                self.flush_messages(&*task);
            }
            Item::Forgotten => {
                let Some(task) = self.task() else { return };
                let outcome = Err(TaskError::Cluster(ClusterError::Closed));
                end(&task, CallEnd { outcome, attempt: 0, losses: 0, node: None });
                self.release();
            }
        }
    }

    fn tell(&self, task: &TaskArc, event: CallEvent) {
        let header = task.header();
        match event {
            CallEvent::Stored => {}
            CallEvent::Begun { node, attempt, losses } => begun(task, Some(&node), attempt, losses),
            CallEvent::Process { pid } => {
                header.extras_or_new().worker_pid.store(pid, Ordering::Relaxed);
            }
            CallEvent::WaitsAgain { attempt, losses } => waits_again(task, attempt, losses),
            CallEvent::Progress { done, total } => {
                let mut progress = header.extras_or_new().progress.lock();
                let progress = progress.get_or_insert_default();
                (progress.done, progress.total) = (done, total);
            }
            CallEvent::Text(text) => {
                let mut progress = header.extras_or_new().progress.lock();
                progress.get_or_insert_default().message = Some(text);
            }
            CallEvent::Message(bytes) => {
                if let Some(outbox) = header.channels().and_then(|channels| channels.outbox_bytes())
                {
                    // A task waits for room in the channel. Interrupted runs may have left messages.
                    let times = 2 * (header.attempt() as usize + 1);
                    if !outbox.deliver(bytes, times) {
                        log!(
                            error, task = %self.id, name = header.name(),
                            "a remote task has sent more messages than the channel holds: one is lost"
                        );
                    }
                }
            }
            CallEvent::Taken(count) => {
                if let Some(inbox) = header.channels().and_then(|channels| channels.inbox_bytes()) {
                    // False after the end, or for messages of another process that holds a handle.
                    let _ = inbox.ack(count);
                }
            }
            CallEvent::Ended(call_end) => {
                end(task, call_end);
                self.release();
            }
        }
    }

    // On any thread.

    /// Passes on the messages to the task, and whether its messages have a receiver.
    pub(super) fn flush_messages(&self, task: &dyn AnyTask) {
        let Some(channels) = task.header().channels() else { return };
        if self.messages == Messages::Elsewhere {
            return;
        }
        let session = &self.cluster.session;
        let mut outgoing = self.outgoing.lock();
        if let Some(inbox) = channels.inbox_bytes() {
            while let Some(message) = inbox.next_in_flight() {
                session.message(self.id, message);
            }
        }
        let change = channels.outbox_bytes().and_then(|outbox| outbox.receiver_change());
        if let Some(has_receiver) = change
            && outgoing.has_receiver.replace(has_receiver) != change
        {
            session.has_receiver(self.id, has_receiver);
        }
    }

    /// Tells the task how many of its messages were received.
    pub(super) fn message_received(&self, task: &dyn AnyTask) {
        let outbox = task.header().channels().and_then(|channels| channels.outbox_bytes());
        if let Some(count) = outbox.and_then(|outbox| outbox.take_acks()) {
            self.cluster.session.taken(self.id, count);
        }
    }

    /// Cancels the call, or asks it to stop if it runs. Returns whether it was canceled.
    pub(super) fn cancel(self: Arc<Self>, task: TaskArc) -> impl Future<Output = bool> + Send {
        // Requested now, and not when the future is polled.
        let answer = self.cluster.session.cancel(self.id);
        async move {
            match answer.await {
                Canceled::Yes => {
                    end_as_canceled(&task);
                    self.release();
                    true
                }
                Canceled::No | Canceled::Unknown => false,
            }
        }
    }

    /// Ends the call, and blocks until the cluster has answered.
    #[track_caller]
    pub(super) fn kill(&self) -> Result<(), KillError> {
        use super::door::Killed;
        let answer = self.cluster.session.kill(self.id);
        if !may_block() {
            return Err(KillError::Unreachable);
        }
        match answer.wait() {
            Killed::Yes => Ok(()),
            Killed::Unsupported => Err(KillError::Unsupported),
            Killed::Unknown => Err(KillError::Unreachable),
        }
    }

    /// The broker has acknowledged the call.
    fn set_stored(&self) {
        let waiters = {
            let mut stored = self.stored.lock();
            stored.is_known = true;
            std::mem::take(&mut stored.waiters)
        };
        // These are threads that are parked, whose wakers run no code of the user.
        waiters.wake();
    }

    /// Ready once the broker is known to have the call.
    fn poll_stored(&self, key: WaiterKey, context: &mut Context<'_>) -> Poll<()> {
        let waker = context.waker().clone();
        let mut stored = self.stored.lock();
        let is_known = stored.is_known;
        let (old, spare) = match is_known {
            true => (stored.waiters.remove(key), Some(waker)),
            false => (stored.waiters.add(key, waker), None),
        };
        drop(stored);
        drop_waker(old);
        drop_waker(spare);
        if is_known { Poll::Ready(()) } else { Poll::Pending }
    }

    /// Blocks until the broker has the call, or its task has ended, for at most five seconds.
    #[track_caller]
    pub(super) fn wait_stored(&self, task: &dyn AnyTask) {
        let key = WaiterKey::next();
        let header = task.header();
        let deadline = crate::time::clock::after(super::ANSWER_LIMIT);
        park::block_on(Some(deadline), |context| {
            // Both must wake this thread.
            let has_ended = !header.watch(key, context.waker());
            let stored = self.poll_stored(key, context);
            if has_ended { Poll::Ready(()) } else { stored }
        });
        header.unwatch(key);
        let waker = self.stored.lock().waiters.remove(key);
        drop_waker(waker);
    }
}

/// Returns whether the calling thread may be blocked for an answer of the cluster. On an aloop and
/// in an observer it may not.
pub(super) fn may_block() -> bool {
    !park::would_block_aloop() && !observer::is_inside()
}
