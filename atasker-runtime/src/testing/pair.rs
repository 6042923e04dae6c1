//! A context whose other end the test holds.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::error::{RecvError, SendError};
use crate::fork;
use crate::id::TaskId;
use crate::info::{Progress, TaskType};
use crate::task::TaskArc;
use crate::task::channel::Channel;
use crate::task::context::TaskContext;
use crate::task::endpoint::{AnyChannels, Channels, Endpoint};
use crate::task::header::Header;
use crate::time::clock;

impl<I: Send + 'static, O: Send + 'static> TaskContext<I, O> {
    /// Creates a context and its other end, for calling a function in a test: the peer sends what
    /// the function receives, receives what it sends, asks it to stop and sees its progress.
    ///
    /// Messages are not encoded, whatever the kind of the function. The context belongs to no task
    /// of a supervisor.
    ///
    /// ```
    /// # extern crate atasker_runtime as atasker;
    /// use atasker::{RecvError, TaskContext};
    ///
    /// // The function under test. With the attribute, `sum::call(&ctx)` calls it.
    /// fn sum(ctx: &TaskContext<u64, u64>) -> u64 {
    ///     let mut sum = 0;
    ///     while let Ok(n) = ctx.recv() {
    ///         sum += n;
    ///         ctx.send(sum).unwrap();
    ///     }
    ///     sum
    /// }
    ///
    /// let (ctx, peer) = TaskContext::pair();
    /// peer.send(40).unwrap();
    /// peer.send(2).unwrap();
    /// // Otherwise `recv` waits for the next message.
    /// peer.stop();
    /// assert_eq!(sum(&ctx), 42);
    /// assert_eq!((peer.recv(), peer.recv()), (Ok(40), Ok(42)));
    /// drop(ctx);
    /// assert_eq!(peer.recv(), Err(RecvError::Closed));
    /// ```
    pub fn pair() -> (TaskContext<I, O>, ContextPeer<I, O>) {
        let channels = Channels::<I, O>::local();
        let mut header = Header::new(TaskType::Thread, TaskId::next());
        header.set_name("pair".into());
        // For the requests to stop.
        header.extras_mut().channels = Some(Arc::clone(&channels) as Arc<dyn AnyChannels>);
        let context = TaskContext::without_task(header, channels.closing_on_drop());
        let peer = ContextPeer { task: context.task().clone(), channels };
        (context, peer)
    }
}

/// The other end of a [`TaskContext`]. See [`TaskContext::pair`].
///
/// When it is dropped, [`recv`](TaskContext::recv) of the context returns [`RecvError::Closed`] once
/// no message is queued, and [`send`](TaskContext::send) returns its message. When the context and
/// its clones are dropped, the same holds for the peer.
pub struct ContextPeer<I = (), O = ()> {
    task: TaskArc,
    channels: Arc<Channels<I, O>>,
}

impl<I: Send + 'static, O: Send + 'static> ContextPeer<I, O> {
    /// Sends a message to the context. Blocks while 1,024 messages are queued.
    ///
    /// # Errors
    ///
    /// Returns the message if the context is dropped.
    #[track_caller]
    pub fn send(&self, message: I) -> Result<(), SendError<I>> {
        match fork::is_copy() {
            true => Err(SendError(message)),
            false => self.channels.inbox.send(message),
        }
    }

    /// Waits for a message from the context.
    ///
    /// # Errors
    ///
    /// Returns [`RecvError::Closed`] once the context is dropped and no message is queued.
    #[track_caller]
    pub fn recv(&self) -> Result<O, RecvError> {
        self.outbox()?.recv(None)
    }

    /// Waits for a message from the context for at most `timeout`.
    ///
    /// # Errors
    ///
    /// Returns [`RecvError::Timeout`] if the time is over, and the errors of [`recv`](Self::recv).
    #[track_caller]
    pub fn recv_timeout(&self, timeout: Duration) -> Result<O, RecvError> {
        self.outbox()?.recv(Some(clock::after(timeout)))
    }

    /// Takes a message if one is queued.
    ///
    /// # Errors
    ///
    /// Returns [`RecvError::Empty`] if none is queued, or [`RecvError::Closed`] if, in addition, the
    /// context is dropped.
    pub fn try_recv(&self) -> Result<O, RecvError> {
        self.outbox()?.try_recv()
    }

    /// Asks the function that has the context to stop.
    pub fn stop(&self) {
        if !fork::is_copy() {
            self.task.header().request_stop();
        }
    }

    /// Returns the progress that was last reported through the context.
    pub fn progress(&self) -> Option<Progress> {
        self.task.header().progress()
    }

    fn outbox(&self) -> Result<&Endpoint<O>, RecvError> {
        if fork::is_copy() { Err(RecvError::Closed) } else { Ok(&self.channels.outbox) }
    }
}

impl<I, O> Drop for ContextPeer<I, O> {
    fn drop(&mut self) {
        if fork::is_copy() {
            return;
        }
        if let Endpoint::Local(inbox) = &self.channels.inbox {
            Channel::close(inbox);
        }
        self.channels.set_receiver(false);
    }
}

impl<I, O> fmt::Debug for ContextPeer<I, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ContextPeer").field("id", &self.task.header().id()).finish_non_exhaustive()
    }
}
