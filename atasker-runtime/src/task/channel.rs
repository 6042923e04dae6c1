//! The channels between a task and its handle.
//!
//! One implementation for threads and futures: whoever has to wait leaves a waker. A channel knows
//! that its task was asked to stop, so that receiving ends then; and it holds at most [`CAPACITY`]
//! messages, those included that were passed on to a worker process and not yet taken there.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use parking_lot::Mutex;

use crate::error::{RecvError, SendError, TaskError, TrySendError};
use crate::task::park;
use crate::task::waiters::{WaiterKey, Waiters};

/// How many messages a channel holds.
pub(crate) const CAPACITY: usize = 1024;

/// See the module's documentation.
pub(crate) struct Channel<T> {
    inner: Mutex<Inner<T>>,
}

struct Inner<T> {
    queue: VecDeque<T>,
    /// Messages passed on and not yet taken by their receiver: they take up room.
    passed_on: VecDeque<T>,
    /// Messages taken out since the other end of a link was last told.
    untold: usize,
    closed: bool,
    stopped: bool,
    receivers: Waiters,
    senders: Waiters,
}

impl<T> Channel<T> {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Channel {
            inner: Mutex::new(Inner {
                queue: VecDeque::new(),
                passed_on: VecDeque::new(),
                untold: 0,
                closed: false,
                stopped: false,
                receivers: Waiters::NONE,
                senders: Waiters::NONE,
            }),
        })
    }

    /// Puts a message in, if there is room and somebody who could take it.
    pub(crate) fn try_send(&self, value: T) -> Result<(), TrySendError<T>> {
        let mut inner = self.inner.lock();
        if inner.closed {
            return Err(TrySendError::Closed(value));
        }
        if inner.queue.len() + inner.passed_on.len() >= CAPACITY {
            return Err(TrySendError::Full(value));
        }
        inner.queue.push_back(value);
        let receivers = std::mem::take(&mut inner.receivers);
        drop(inner);
        receivers.wake();
        Ok(())
    }

    /// Puts a message in, for the end of a link, whose peer keeps count. False: there are `most`,
    /// and the peer does not.
    pub(crate) fn deliver(&self, value: T, most: usize) -> bool {
        let mut inner = self.inner.lock();
        if inner.closed {
            return true;
        }
        if inner.queue.len() >= most {
            return false;
        }
        inner.queue.push_back(value);
        let receivers = std::mem::take(&mut inner.receivers);
        drop(inner);
        receivers.wake();
        true
    }

    fn poll_send(
        &self,
        value: &mut Option<T>,
        key: WaiterKey,
        context: &mut Context<'_>,
    ) -> Poll<Result<(), SendError<T>>> {
        let Some(message) = value.take() else {
            return Poll::Ready(Ok(()));
        };
        match self.try_send(message) {
            Ok(()) => Poll::Ready(Ok(())),
            Err(TrySendError::Closed(message)) => Poll::Ready(Err(SendError(message))),
            Err(TrySendError::Full(message)) => {
                let mut inner = self.inner.lock();
                if inner.closed || inner.queue.len() + inner.passed_on.len() < CAPACITY {
                    drop(inner);
                    *value = Some(message);
                    context.waker().wake_by_ref();
                    return Poll::Pending;
                }
                let old = inner.senders.add(key, context.waker());
                drop(inner);
                drop(old);
                *value = Some(message);
                Poll::Pending
            }
        }
    }

    /// Waits for room.
    #[track_caller]
    pub(crate) fn send(&self, value: T) -> Result<(), SendError<T>> {
        let key = WaiterKey::next();
        let mut value = Some(value);
        park::block_on(None, |context| self.poll_send(&mut value, key, context))
            .expect("there is no deadline")
    }

    /// Waits for room, as a future.
    pub(crate) async fn send_async(&self, value: T) -> Result<(), SendError<T>> {
        let watch = Watch { channel: self, key: WaiterKey::next() };
        let mut value = Some(value);
        std::future::poll_fn(|context| self.poll_send(&mut value, watch.key, context)).await
    }

    /// Takes a message out, if there is one.
    pub(crate) fn try_recv(&self) -> Result<T, RecvError> {
        let mut inner = self.inner.lock();
        match inner.queue.pop_front() {
            Some(value) => {
                inner.untold += 1;
                let senders = std::mem::take(&mut inner.senders);
                drop(inner);
                senders.wake();
                Ok(value)
            }
            None if inner.closed => Err(RecvError::Closed),
            None if inner.stopped => Err(RecvError::Stopped),
            None => Err(RecvError::Empty),
        }
    }

    pub(crate) fn poll_recv(
        &self,
        key: WaiterKey,
        context: &mut Context<'_>,
    ) -> Poll<Result<T, RecvError>> {
        let mut inner = self.inner.lock();
        if inner.queue.is_empty() && !inner.closed && !inner.stopped {
            let old = inner.receivers.add(key, context.waker());
            drop(inner);
            drop(old);
            return Poll::Pending;
        }
        drop(inner);
        match self.try_recv() {
            // Another receiver was faster.
            Err(RecvError::Empty) => {
                let old = self.inner.lock().receivers.add(key, context.waker());
                drop(old);
                context.waker().wake_by_ref();
                Poll::Pending
            }
            other => Poll::Ready(other),
        }
    }

    /// Waits for a message until the deadline.
    #[track_caller]
    pub(crate) fn recv(&self, deadline: Option<Instant>) -> Result<T, RecvError> {
        let watch = Watch { channel: self, key: WaiterKey::next() };
        park::block_on(deadline, |context| self.poll_recv(watch.key, context))
            .unwrap_or(Err(RecvError::Timeout))
    }

    /// Waits for a message, as a future.
    pub(crate) async fn recv_async(&self) -> Result<T, RecvError> {
        let watch = Watch { channel: self, key: WaiterKey::next() };
        std::future::poll_fn(|context| self.poll_recv(watch.key, context)).await
    }

    /// The task has ended: nothing more is sent; what is queued can still be received.
    pub(crate) fn close(&self) {
        self.change(|inner| {
            inner.closed = true;
            inner.passed_on.clear();
        });
    }

    /// The task was asked to stop: its receiving ends when nothing is queued.
    pub(crate) fn stop(&self) {
        self.change(|inner| inner.stopped = true);
    }

    /// Another attempt begins: what was passed on to the last one and not taken comes first again.
    pub(crate) fn run_again(&self) {
        // Nobody waits for this: there is as much room as before, and what is queued is for the
        // attempt to come. So nobody is woken, and places may call it under their locks.
        let mut inner = self.inner.lock();
        inner.stopped = false;
        while let Some(value) = inner.passed_on.pop_back() {
            inner.queue.push_front(value);
        }
    }

    fn change(&self, f: impl FnOnce(&mut Inner<T>)) {
        let mut inner = self.inner.lock();
        f(&mut inner);
        let receivers = std::mem::take(&mut inner.receivers);
        let senders = std::mem::take(&mut inner.senders);
        drop(inner);
        receivers.wake();
        senders.wake();
    }

    /// The receiver at the other end of a link has taken `count` messages: there is room again.
    pub(crate) fn taken(&self, count: usize) {
        self.change(|inner| {
            let count = count.min(inner.passed_on.len());
            inner.passed_on.drain(..count);
        });
    }
}

impl<T> Channel<T> {
    /// How many messages were taken out since this was last asked, once they are worth telling the
    /// other end of a link.
    pub(crate) fn worth_telling(&self) -> Option<usize> {
        let mut inner = self.inner.lock();
        (inner.untold >= CAPACITY / 8).then(|| std::mem::take(&mut inner.untold))
    }
}

impl<T: Clone> Channel<T> {
    /// Takes the next message to pass it on over a link. It goes on taking up room until the other
    /// end says [`taken`](Self::taken).
    pub(crate) fn pass_on(&self) -> Option<T> {
        let mut inner = self.inner.lock();
        let value = inner.queue.pop_front()?;
        inner.passed_on.push_back(value.clone());
        Some(value)
    }
}

/// Takes a waiter's waker back when it is dropped.
struct Watch<'a, T> {
    channel: &'a Channel<T>,
    key: WaiterKey,
}

impl<T> Drop for Watch<'_, T> {
    fn drop(&mut self) {
        let mut inner = self.channel.inner.lock();
        let wakers = (inner.receivers.remove(self.key), inner.senders.remove(self.key));
        drop(inner);
        drop(wakers);
    }
}

/// How a value travels as bytes.
pub(crate) struct Port<T> {
    pub(crate) encode: fn(&T) -> Result<Vec<u8>, TaskError>,
    pub(crate) decode: fn(&[u8]) -> Result<T, TaskError>,
}

impl<T> Clone for Port<T> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<T> Copy for Port<T> {}

/// Encoded messages: shared, for one may have to be passed on twice.
pub(crate) type Bytes = Arc<[u8]>;

/// One direction between a task and its handle: within this process, or as bytes over a link.
pub(crate) enum End<T> {
    Local(Arc<Channel<T>>),
    Coded(Arc<Channel<Bytes>>, Port<T>),
}

impl<T> Clone for End<T> {
    fn clone(&self) -> Self {
        match self {
            End::Local(channel) => End::Local(Arc::clone(channel)),
            End::Coded(channel, port) => End::Coded(Arc::clone(channel), *port),
        }
    }
}

impl<T> End<T> {
    fn encode(port: &Port<T>, value: &T) -> Option<Bytes> {
        match (port.encode)(value) {
            Ok(bytes) => Some(bytes.into()),
            Err(error) => {
                tracing::error!(target: "atasker", %error, "a message could not be encoded");
                None
            }
        }
    }

    fn decode(port: &Port<T>, bytes: Result<Bytes, RecvError>) -> Result<T, RecvError> {
        bytes.and_then(|bytes| {
            (port.decode)(&bytes).map_err(|error| {
                tracing::error!(target: "atasker", %error, "a message could not be decoded");
                RecvError::Closed
            })
        })
    }

    pub(crate) fn try_send(&self, value: T) -> Result<(), TrySendError<T>> {
        match self {
            End::Local(channel) => channel.try_send(value),
            End::Coded(channel, port) => {
                let Some(bytes) = Self::encode(port, &value) else {
                    return Err(TrySendError::Closed(value));
                };
                channel.try_send(bytes).map_err(|error| match error {
                    TrySendError::Full(_) => TrySendError::Full(value),
                    TrySendError::Closed(_) => TrySendError::Closed(value),
                })
            }
        }
    }

    #[track_caller]
    pub(crate) fn send(&self, value: T) -> Result<(), SendError<T>> {
        match self {
            End::Local(channel) => channel.send(value),
            End::Coded(channel, port) => match Self::encode(port, &value) {
                Some(bytes) => channel.send(bytes).map_err(|_| SendError(value)),
                None => Err(SendError(value)),
            },
        }
    }

    pub(crate) async fn send_async(&self, value: T) -> Result<(), SendError<T>> {
        match self {
            End::Local(channel) => channel.send_async(value).await,
            End::Coded(channel, port) => match Self::encode(port, &value) {
                Some(bytes) => channel.send_async(bytes).await.map_err(|_| SendError(value)),
                None => Err(SendError(value)),
            },
        }
    }

    pub(crate) fn try_recv(&self) -> Result<T, RecvError> {
        match self {
            End::Local(channel) => channel.try_recv(),
            End::Coded(channel, port) => Self::decode(port, channel.try_recv()),
        }
    }

    #[track_caller]
    pub(crate) fn recv(&self, deadline: Option<Instant>) -> Result<T, RecvError> {
        match self {
            End::Local(channel) => channel.recv(deadline),
            End::Coded(channel, port) => Self::decode(port, channel.recv(deadline)),
        }
    }

    pub(crate) async fn recv_async(&self) -> Result<T, RecvError> {
        match self {
            End::Local(channel) => channel.recv_async().await,
            End::Coded(channel, port) => Self::decode(port, channel.recv_async().await),
        }
    }
}

/// Both directions of one task.
pub(crate) struct Links<I, O> {
    /// From the handle to the task.
    pub(crate) inbox: End<I>,
    /// From the task to the handle.
    pub(crate) outbox: End<O>,
}

impl<I, O> Links<I, O> {
    /// Channels within this process.
    pub(crate) fn local() -> Arc<Self> {
        Arc::new(Links { inbox: End::Local(Channel::new()), outbox: End::Local(Channel::new()) })
    }

    /// Channels of bytes: one end of a link to a worker process.
    pub(crate) fn coded(
        inbox: Arc<Channel<Bytes>>,
        outbox: Arc<Channel<Bytes>>,
        ports: (Port<I>, Port<O>),
    ) -> Arc<Self> {
        Arc::new(Links { inbox: End::Coded(inbox, ports.0), outbox: End::Coded(outbox, ports.1) })
    }
}

/// The channels of a task without their types.
pub(crate) trait AnyLinks: std::any::Any + Send + Sync {
    /// The task has ended.
    fn close(&self);
    /// The task was asked to stop.
    fn stop_asked(&self);
    /// Another attempt is to begin.
    fn run_again(&self);
    /// The encoded messages to the task, where they travel over a link.
    fn inbox_bytes(&self) -> Option<&Arc<Channel<Bytes>>>;
    /// The encoded messages from the task, likewise.
    fn outbox_bytes(&self) -> Option<&Arc<Channel<Bytes>>>;
}

impl<I: Send + 'static, O: Send + 'static> AnyLinks for Links<I, O> {
    fn close(&self) {
        match &self.inbox {
            End::Local(channel) => channel.close(),
            End::Coded(channel, _) => channel.close(),
        }
        match &self.outbox {
            End::Local(channel) => channel.close(),
            End::Coded(channel, _) => channel.close(),
        }
    }
    fn stop_asked(&self) {
        match &self.inbox {
            End::Local(channel) => channel.stop(),
            End::Coded(channel, _) => channel.stop(),
        }
    }
    fn run_again(&self) {
        match &self.inbox {
            End::Local(channel) => channel.run_again(),
            End::Coded(channel, _) => channel.run_again(),
        }
    }
    fn inbox_bytes(&self) -> Option<&Arc<Channel<Bytes>>> {
        match &self.inbox {
            End::Local(_) => None,
            End::Coded(channel, _) => Some(channel),
        }
    }
    fn outbox_bytes(&self) -> Option<&Arc<Channel<Bytes>>> {
        match &self.outbox {
            End::Local(_) => None,
            End::Coded(channel, _) => Some(channel),
        }
    }
}
