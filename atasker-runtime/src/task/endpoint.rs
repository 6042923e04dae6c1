//! The ends of the channels of a task: values within this process, bytes for a connection.

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use super::channel::{Bytes, Channel, MAX_MESSAGE_BYTES};
use super::waiters::WaiterKey;
use super::waiters::Waiters;
use crate::error::{RecvError, SendError, TaskError, TrySendError};
use crate::fork;
use crate::unwind::log;

/// Encodes and decodes the messages of one direction.
pub(crate) struct Codec<T> {
    pub(crate) encode: fn(&T) -> Result<Vec<u8>, TaskError>,
    pub(crate) decode: fn(&[u8]) -> Result<T, TaskError>,
}

impl<T> Clone for Codec<T> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<T> Copy for Codec<T> {}

/// One direction between a task and its handle: a channel of values within this process, or of
/// bytes for a connection.
pub(crate) enum Endpoint<T> {
    Local(Arc<Channel<T>>),
    Encoded(Arc<Channel<Bytes>>, Codec<T>),
}

impl<T> Clone for Endpoint<T> {
    fn clone(&self) -> Self {
        match self {
            Endpoint::Local(channel) => Endpoint::Local(Arc::clone(channel)),
            Endpoint::Encoded(channel, codec) => Endpoint::Encoded(Arc::clone(channel), *codec),
        }
    }
}

impl<T> Endpoint<T> {
    fn encode(codec: &Codec<T>, value: &T) -> Option<Bytes> {
        match (codec.encode)(value) {
            Ok(bytes) if bytes.len() > MAX_MESSAGE_BYTES => {
                let (size, limit) = (bytes.len(), MAX_MESSAGE_BYTES);
                log!(error, size, limit, "a message is too long to be sent");
                None
            }
            Ok(bytes) => Some(bytes.into()),
            Err(error) => {
                log!(error, %error, "a message could not be encoded");
                None
            }
        }
    }

    fn decode(codec: &Codec<T>, bytes: Result<Bytes, RecvError>) -> Result<T, RecvError> {
        bytes.and_then(|bytes| {
            (codec.decode)(&bytes).map_err(|error| {
                log!(error, %error, "a message could not be decoded");
                RecvError::Closed
            })
        })
    }

    pub(crate) fn try_send(&self, value: T) -> Result<(), TrySendError<T>> {
        match self {
            Endpoint::Local(channel) => channel.try_send(value),
            Endpoint::Encoded(channel, codec) => {
                let Some(bytes) = Self::encode(codec, &value) else {
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
            Endpoint::Local(channel) => channel.send(value),
            Endpoint::Encoded(channel, codec) => match Self::encode(codec, &value) {
                Some(bytes) => channel.send(bytes).map_err(|_| SendError(value)),
                None => Err(SendError(value)),
            },
        }
    }

    pub(crate) async fn send_async(&self, value: T) -> Result<(), SendError<T>> {
        match self {
            Endpoint::Local(channel) => channel.send_async(value).await,
            Endpoint::Encoded(channel, codec) => match Self::encode(codec, &value) {
                Some(bytes) => channel.send_async(bytes).await.map_err(|_| SendError(value)),
                None => Err(SendError(value)),
            },
        }
    }

    pub(crate) fn try_recv(&self) -> Result<T, RecvError> {
        match self {
            Endpoint::Local(channel) => channel.try_recv(),
            Endpoint::Encoded(channel, codec) => Self::decode(codec, channel.try_recv()),
        }
    }

    #[track_caller]
    pub(crate) fn recv(&self, deadline: Option<Instant>) -> Result<T, RecvError> {
        match self {
            Endpoint::Local(channel) => channel.recv(deadline),
            Endpoint::Encoded(channel, codec) => Self::decode(codec, channel.recv(deadline)),
        }
    }

    /// Polls for a message. The key identifies the receiver.
    pub(crate) fn poll_recv(
        &self,
        key: WaiterKey,
        context: &mut Context<'_>,
    ) -> Poll<Result<T, RecvError>> {
        match self {
            Endpoint::Local(channel) => channel.poll_recv(key, context),
            Endpoint::Encoded(channel, codec) => {
                channel.poll_recv(key, context).map(|bytes| Self::decode(codec, bytes))
            }
        }
    }

    pub(crate) async fn recv_async(&self) -> Result<T, RecvError> {
        match self {
            Endpoint::Local(channel) => channel.recv_async().await,
            Endpoint::Encoded(channel, codec) => Self::decode(codec, channel.recv_async().await),
        }
    }
}

impl<T> Endpoint<T> {
    /// Removes the waker of a receiver.
    pub(crate) fn unwatch_receiver(&self, key: WaiterKey) {
        match self {
            Endpoint::Local(channel) => channel.unwatch_receiver(key),
            Endpoint::Encoded(channel, _) => channel.unwatch_receiver(key),
        }
    }
}

/// Both directions of one task.
pub(crate) struct Channels<I, O> {
    /// From the handle to the task.
    pub(crate) inbox: Endpoint<I>,
    /// From the task to the handle.
    pub(crate) outbox: Endpoint<O>,
    /// Closes both when the last context is dropped, if they have no task that ends.
    _close: Option<CloseOnDrop>,
}

/// Closes channels when it is dropped.
struct CloseOnDrop(Arc<dyn AnyChannels>);

impl Drop for CloseOnDrop {
    fn drop(&mut self) {
        if !fork::is_copy() {
            self.0.close();
        }
    }
}

impl<I, O> Channels<I, O> {
    /// Creates channels within this process.
    pub(crate) fn local() -> Arc<Self> {
        Arc::new(Channels {
            inbox: Endpoint::Local(Channel::new()),
            outbox: Endpoint::Local(Channel::new()),
            _close: None,
        })
    }

    /// Creates channels without a peer: nothing is ever received, and messages sent are dropped.
    pub(crate) fn discarding() -> Arc<Self> {
        let inbox = Channel::new();
        inbox.close();
        Arc::new(Channels {
            inbox: Endpoint::Local(inbox),
            outbox: Endpoint::Local(Channel::discarding()),
            _close: None,
        })
    }

    /// Returns the codecs of the messages, if these are encoded.
    #[cfg(feature = "remote")]
    pub(crate) fn codecs(&self) -> Option<(Codec<I>, Codec<O>)> {
        match (&self.inbox, &self.outbox) {
            (Endpoint::Encoded(_, incoming), Endpoint::Encoded(_, outgoing)) => {
                Some((*incoming, *outgoing))
            }
            _ => None,
        }
    }

    /// Sets whether the handle exists, which receives from the outbox.
    pub(crate) fn set_receiver(&self, is_present: bool) {
        match &self.outbox {
            Endpoint::Local(channel) => channel.set_receiver(is_present),
            Endpoint::Encoded(channel, _) => channel.set_receiver(is_present),
        }
    }

    /// Creates channels of bytes, for one end of a connection with a worker process.
    pub(crate) fn encoded(
        inbox: Arc<Channel<Bytes>>,
        outbox: Arc<Channel<Bytes>>,
        codecs: (Codec<I>, Codec<O>),
    ) -> Arc<Self> {
        Arc::new(Channels {
            inbox: Endpoint::Encoded(inbox, codecs.0),
            outbox: Endpoint::Encoded(outbox, codecs.1),
            _close: None,
        })
    }
}

impl<I: Send + 'static, O: Send + 'static> Channels<I, O> {
    /// Returns the same channels, which are closed when the last reference to the returned value is
    /// dropped.
    pub(crate) fn closing_on_drop(self: &Arc<Self>) -> Arc<Self> {
        Arc::new(Channels {
            inbox: self.inbox.clone(),
            outbox: self.outbox.clone(),
            _close: Some(CloseOnDrop(Arc::clone(self) as Arc<dyn AnyChannels>)),
        })
    }
}

/// The channels of a task without their types.
pub(crate) trait AnyChannels: std::any::Any + Send + Sync {
    /// Closes both channels at the end of the task.
    fn close(&self);
    /// See [`Channels::set_receiver`].
    fn set_receiver(&self, is_present: bool);
    /// Called when the task is asked to stop. Returns the waiters for the caller to wake.
    fn request_stop(&self) -> [[Waiters; 2]; 2];
    /// Prepares both channels for another attempt.
    fn reset_for_retry(&self);
    /// Called before the launch of the task runs it: the task waits at neither channel.
    fn run_inline(&self);
    /// Returns the encoded messages to the task, if the channels belong to a connection.
    fn inbox_bytes(&self) -> Option<&Arc<Channel<Bytes>>>;
    /// Returns the encoded messages from the task, if the channels belong to a connection.
    fn outbox_bytes(&self) -> Option<&Arc<Channel<Bytes>>>;
    /// Returns whether the channels belong to a connection with a worker process or another machine.
    fn are_encoded(&self) -> bool {
        self.outbox_bytes().is_some()
    }
}

impl dyn AnyChannels {
    /// Returns the channels if their messages are of these types.
    pub(crate) fn of_types<I: 'static, O: 'static>(&self) -> Option<&Channels<I, O>> {
        let channels: &dyn std::any::Any = self;
        channels.downcast_ref()
    }
}

impl<I: Send + 'static, O: Send + 'static> AnyChannels for Channels<I, O> {
    fn close(&self) {
        match &self.inbox {
            Endpoint::Local(channel) => channel.close(),
            Endpoint::Encoded(channel, _) => channel.close(),
        }
        match &self.outbox {
            Endpoint::Local(channel) => channel.close(),
            Endpoint::Encoded(channel, _) => channel.close(),
        }
    }

    fn set_receiver(&self, is_present: bool) {
        Channels::set_receiver(self, is_present);
    }

    fn request_stop(&self) -> [[Waiters; 2]; 2] {
        let inbox = match &self.inbox {
            Endpoint::Local(channel) => channel.stop_receiving(),
            Endpoint::Encoded(channel, _) => channel.stop_receiving(),
        };
        let outbox = match &self.outbox {
            Endpoint::Local(channel) => channel.stop_sending(),
            Endpoint::Encoded(channel, _) => channel.stop_sending(),
        };
        [inbox, outbox]
    }

    fn reset_for_retry(&self) {
        match &self.inbox {
            Endpoint::Local(channel) => channel.reset_for_retry(),
            Endpoint::Encoded(channel, _) => channel.reset_for_retry(),
        }
        match &self.outbox {
            Endpoint::Local(channel) => channel.reset_for_retry(),
            Endpoint::Encoded(channel, _) => channel.reset_for_retry(),
        }
    }

    fn run_inline(&self) {
        match &self.inbox {
            Endpoint::Local(channel) => channel.never_wait_to_receive(),
            Endpoint::Encoded(channel, _) => channel.never_wait_to_receive(),
        }
        match &self.outbox {
            Endpoint::Local(channel) => channel.never_wait_to_send(),
            Endpoint::Encoded(channel, _) => channel.never_wait_to_send(),
        }
    }

    fn inbox_bytes(&self) -> Option<&Arc<Channel<Bytes>>> {
        match &self.inbox {
            Endpoint::Local(_) => None,
            Endpoint::Encoded(channel, _) => Some(channel),
        }
    }

    fn outbox_bytes(&self) -> Option<&Arc<Channel<Bytes>>> {
        match &self.outbox {
            Endpoint::Local(_) => None,
            Endpoint::Encoded(channel, _) => Some(channel),
        }
    }
}
