//! The messages of a task as a stream.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_core::Stream;

use crate::fork;
use crate::task::TaskArc;
use crate::task::endpoint::Endpoint;
use crate::task::handle::Task;
use crate::task::waiters::WaiterKey;

/// A stream of the messages of a task, which ends with the task. Created by
/// [`Task::into_message_stream`].
///
/// The stream works on any executor, and is `Unpin`. After its end, it yields `None` again. Dropping
/// it drops the handle of the task. Requires the feature `async`.
///
/// # Cancel safety
///
/// Awaiting the next message is cancel safe: no message is lost if the future is dropped before it
/// completes.
#[must_use = "a stream does nothing until it is polled, and dropping it drops the handle of the task"]
pub struct MessageStream<R, I = (), O = ()> {
    task: Task<R, I, O>,
    /// `None` once the stream has ended.
    source: Option<Source<O>>,
}

/// Where the messages come from. Removes its waker when it is dropped.
struct Source<O> {
    from: Origin<O>,
    key: WaiterKey,
}

enum Origin<O> {
    Outbox(Endpoint<O>),
    /// The task has no channels. The stream ends with it.
    End(TaskArc),
}

impl<O> Drop for Source<O> {
    fn drop(&mut self) {
        match &self.from {
            _ if fork::is_copy() => {}
            Origin::Outbox(outbox) => outbox.unwatch_receiver(self.key),
            Origin::End(task) => task.header().unwatch(self.key),
        }
    }
}

impl<R: Send + 'static, I: Send + 'static, O: Send + 'static> Task<R, I, O> {
    /// Converts the handle into a stream of the messages that the task sends, which ends with the
    /// task: [`messages`](Self::messages) for async code.
    ///
    /// [`into_task`](MessageStream::into_task) returns the handle, for the result for example.
    ///
    /// ```
    /// # extern crate atasker_runtime as atasker;
    /// # use futures_lite::future::block_on;
    /// use atasker::{TaskBuilder, TaskContext};
    /// use futures_lite::StreamExt;
    /// # block_on(async {
    /// let task = TaskBuilder::with_context(|ctx: &TaskContext<(), u32>| {
    ///     (1..=3).filter(|n| ctx.send(*n).is_ok()).count()
    /// });
    /// let mut messages = task.start().into_message_stream();
    /// let mut sum = 0;
    /// while let Some(n) = messages.next().await {
    ///     sum += n;
    /// }
    /// assert_eq!((sum, messages.into_task().await), (6, Ok(3)));
    /// # });
    /// ```
    pub fn into_message_stream(self) -> MessageStream<R, I, O> {
        let from = match self.outbox() {
            Some(outbox) => Origin::Outbox(outbox.clone()),
            None => Origin::End(self.erased().clone()),
        };
        MessageStream { task: self, source: Some(Source { from, key: WaiterKey::next() }) }
    }
}

impl<R, I, O> MessageStream<R, I, O> {
    /// Returns the task, to send it messages or to stop it.
    pub fn task(&self) -> &Task<R, I, O> {
        &self.task
    }

    /// Returns the handle of the task. Messages that were not received yet are still there.
    pub fn into_task(self) -> Task<R, I, O> {
        self.task
    }
}

impl<R, I, O> Unpin for MessageStream<R, I, O> {}

impl<R: Send + 'static, I: Send + 'static, O: Send + 'static> Stream for MessageStream<R, I, O> {
    type Item = O;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<O>> {
        let MessageStream { task, source } = &mut *self;
        let Some(Source { from, key }) = source else { return Poll::Ready(None) };
        let next = match from {
            // The task runs in the parent process, from which this process was forked.
            _ if fork::is_copy() => Poll::Ready(None),
            Origin::Outbox(outbox) => {
                outbox.poll_recv(*key, context).map(|message| task.received(message).ok())
            }
            Origin::End(task) => match task.header().watch(*key, context.waker()) {
                true => Poll::Pending,
                false => Poll::Ready(None),
            },
        };
        if let Poll::Ready(None) = next {
            *source = None;
        }
        next
    }
}

impl<R, I, O> fmt::Debug for MessageStream<R, I, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MessageStream").field("task", &self.task).finish_non_exhaustive()
    }
}
