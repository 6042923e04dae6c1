//! The channels between a task and its handle.
//!
//! One implementation serves threads and futures: a waiter registers a waker. A channel holds at
//! most [`CAPACITY`] messages, and encoded ones only while they amount to less than [`MAX_BYTES`].
//! Messages that were sent to a worker process and not acknowledged there still count.
//!
//! The waiters of a channel, and what ends their wait without a message:
//!
//! | channel | side | ended by |
//! |---|---|---|
//! | inbox | the task receives | a request to stop, or the end of the task |
//! | inbox | the handle sends and waits for room | the end of the task |
//! | outbox | the task sends and waits for room | a request to stop, the end of the task, or the drop of the typed handle |
//! | outbox | the handle receives | the end of the task |
//!
//! While a task has no typed handle, its outbox rejects every message. A typed handle created from
//! a `TaskRef` reopens it. A task that is run by its launch (`testing::inline`) waits at neither
//! channel.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use crate::sync::lock::{Mutex, MutexGuard};

use crate::error::{RecvError, SendError, TrySendError};
use crate::task::park;
use crate::task::waiters::{self, WaiterKey, Waiters};
use crate::unwind;

/// The maximum number of messages in a channel.
pub(crate) const CAPACITY: usize = 1024;

/// A channel with this many bytes of encoded messages is full.
pub(crate) const MAX_BYTES: usize = 64 << 20;

/// The maximum length of an encoded message.
pub(crate) const MAX_MESSAGE_BYTES: usize = 256 << 20;

/// See the module's documentation.
pub(crate) struct Channel<T> {
    inner: Mutex<Inner<T>>,
    /// Returns the size of a message in bytes, or 0 where bytes are not counted.
    weigh: fn(&T) -> usize,
    acks: Acks,
}

/// When the receiver of a channel acknowledges messages to its peer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Acks {
    /// Once there are enough of them to be worth it.
    Batched,
    /// Each at once, because the sender has to know exactly what was received, whatever happens
    /// next.
    AtOnce,
}

struct Inner<T> {
    queue: VecDeque<T>,
    /// Messages sent to the peer and not acknowledged. They occupy room.
    in_flight: VecDeque<T>,
    /// The bytes of `queue` and `in_flight`.
    bytes: usize,
    /// Messages received, here or by the peer, since that was last asked for, and their bytes.
    unacked: usize,
    unacked_bytes: usize,
    closed: bool,
    /// Receiving ends once nothing is queued.
    recv_stopped: bool,
    /// Sending no longer waits for room.
    send_stopped: bool,
    /// Nothing can be queued while the task runs, because its launch has not returned: receiving
    /// ends once nothing is queued.
    no_sender: bool,
    /// Nothing is received while the task runs: sending never waits for room.
    no_receiver: bool,
    receiver: Receiver,
    receivers: Waiters,
    senders: Waiters,
}

/// Whether a handle exists that can receive.
#[derive(Clone, Copy, PartialEq)]
enum Receiver {
    /// Present from the start.
    Present,
    Gone,
    /// Present again, after it was gone.
    Returned,
    /// There never will be one: messages are accepted and dropped.
    Discards,
}

impl<T> Inner<T> {
    fn is_full(&self) -> bool {
        self.queue.len() + self.in_flight.len() >= CAPACITY || self.bytes >= MAX_BYTES
    }

    fn is_closed_to_senders(&self) -> bool {
        self.closed || self.receiver == Receiver::Gone
    }
}

impl<T> Channel<T> {
    pub(crate) fn new() -> Arc<Self> {
        Self::with(|_| 0, Acks::Batched)
    }

    fn with(weigh: fn(&T) -> usize, acks: Acks) -> Arc<Self> {
        Arc::new(Channel {
            inner: Mutex::new(Inner {
                queue: VecDeque::new(),
                in_flight: VecDeque::new(),
                bytes: 0,
                unacked: 0,
                unacked_bytes: 0,
                closed: false,
                recv_stopped: false,
                send_stopped: false,
                no_sender: false,
                no_receiver: false,
                receiver: Receiver::Present,
                receivers: Waiters::NONE,
                senders: Waiters::NONE,
            }),
            weigh,
            acks,
        })
    }

    /// Creates a channel that drops every message.
    pub(crate) fn discarding() -> Arc<Self> {
        let channel = Self::new();
        channel.inner.lock().receiver = Receiver::Discards;
        channel
    }

    /// Sends a message if there is room and a receiver.
    pub(crate) fn try_send(&self, value: T) -> Result<(), TrySendError<T>> {
        let inner = self.inner.lock();
        if inner.is_closed_to_senders() {
            return Err(TrySendError::Closed(value));
        }
        if inner.receiver == Receiver::Discards {
            drop(inner);
            drop(value);
            return Ok(());
        }
        if inner.is_full() {
            return Err(TrySendError::Full(value));
        }
        self.enqueue(inner, value);
        Ok(())
    }

    fn enqueue(&self, mut inner: MutexGuard<'_, Inner<T>>, value: T) {
        inner.bytes += (self.weigh)(&value);
        inner.queue.push_back(value);
        let receivers = std::mem::take(&mut inner.receivers);
        // Wakers run without the lock.
        drop(inner);
        receivers.wake();
    }

    /// Queues a message from a peer that enforces the limits itself. Returns false if it doesn't,
    /// that is, if more than `times` the capacity is queued.
    pub(crate) fn deliver(&self, value: T, times: usize) -> bool {
        let inner = self.inner.lock();
        if inner.closed {
            drop(inner);
            drop(value);
            return true;
        }
        if inner.queue.len() >= CAPACITY.saturating_mul(times)
            || inner.bytes >= (MAX_BYTES + MAX_MESSAGE_BYTES).saturating_mul(times)
        {
            drop(inner);
            drop(value);
            return false;
        }
        self.enqueue(inner, value);
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
                let waker = context.waker().clone();
                // The waker was cloned without the lock, so everything is checked again under it.
                let mut inner = self.inner.lock();
                if inner.send_stopped || inner.no_receiver {
                    drop(inner);
                    waiters::drop_waker(Some(waker));
                    return Poll::Ready(Err(SendError(message)));
                }
                *value = Some(message);
                if inner.is_closed_to_senders() || !inner.is_full() {
                    // There is room now, or the channel is closed: poll again.
                    drop(inner);
                    waker.wake();
                    return Poll::Pending;
                }
                let old = inner.senders.add(key, waker);
                drop(inner);
                waiters::drop_waker(old);
                Poll::Pending
            }
        }
    }

    /// Sends a message, blocking until there is room.
    #[track_caller]
    pub(crate) fn send(&self, value: T) -> Result<(), SendError<T>> {
        let watch = Watch { channel: self, key: WaiterKey::next() };
        let mut value = Some(value);
        park::block_on(None, |context| self.poll_send(&mut value, watch.key, context))
            .expect("there is no deadline")
    }

    /// Sends a message, waiting for room.
    pub(crate) async fn send_async(&self, value: T) -> Result<(), SendError<T>> {
        let watch = Watch { channel: self, key: WaiterKey::next() };
        let mut value = Some(value);
        std::future::poll_fn(|context| self.poll_send(&mut value, watch.key, context)).await
    }

    /// Takes a message if one is queued.
    pub(crate) fn try_recv(&self) -> Result<T, RecvError> {
        let mut inner = self.inner.lock();
        match inner.queue.pop_front() {
            Some(value) => {
                let weight = (self.weigh)(&value);
                inner.bytes -= weight;
                inner.unacked += 1;
                inner.unacked_bytes += weight;
                let senders = std::mem::take(&mut inner.senders);
                drop(inner);
                senders.wake();
                Ok(value)
            }
            None if inner.closed => Err(RecvError::Closed),
            None if inner.recv_stopped => Err(RecvError::Stopped),
            None if inner.no_sender => Err(RecvError::Closed),
            None => Err(RecvError::Empty),
        }
    }

    pub(crate) fn poll_recv(
        &self,
        key: WaiterKey,
        context: &mut Context<'_>,
    ) -> Poll<Result<T, RecvError>> {
        loop {
            match self.try_recv() {
                Err(RecvError::Empty) => {}
                other => return Poll::Ready(other),
            }
            let waker = context.waker().clone();
            let mut inner = self.inner.lock();
            let old = match inner.queue.is_empty() && !inner.closed && !inner.recv_stopped {
                true => inner.receivers.add(key, waker),
                // A message was queued meanwhile. Another receiver may be faster, so try again.
                false => {
                    drop(inner);
                    waiters::drop_waker(Some(waker));
                    continue;
                }
            };
            drop(inner);
            waiters::drop_waker(old);
            return Poll::Pending;
        }
    }

    /// Removes the wakers with this key, of a receiver and of a sender.
    #[cfg_attr(not(feature = "remote"), allow(dead_code))]
    pub(crate) fn unwatch(&self, key: WaiterKey) {
        drop(Watch { channel: self, key });
    }

    /// Removes the waker of a receiver.
    pub(crate) fn unwatch_receiver(&self, key: WaiterKey) {
        let waker = self.inner.lock().receivers.remove(key);
        waiters::drop_waker(waker);
    }

    /// Waits for a message until the deadline.
    #[track_caller]
    pub(crate) fn recv(&self, deadline: Option<Instant>) -> Result<T, RecvError> {
        let watch = Watch { channel: self, key: WaiterKey::next() };
        park::block_on(deadline, |context| self.poll_recv(watch.key, context))
            .unwrap_or(Err(RecvError::Timeout))
    }

    /// Waits for a message.
    pub(crate) async fn recv_async(&self) -> Result<T, RecvError> {
        let watch = Watch { channel: self, key: WaiterKey::next() };
        std::future::poll_fn(|context| self.poll_recv(watch.key, context)).await
    }

    /// Closes the channel at the end of the task. Queued messages can still be received.
    pub(crate) fn close(&self) {
        let mut in_flight = VecDeque::new();
        self.update_and_wake(|inner| {
            inner.closed = true;
            in_flight = std::mem::take(&mut inner.in_flight);
            inner.bytes -= in_flight.iter().map(self.weigh).sum::<usize>();
        });
    }

    /// Called when the task, which receives here, is run by its launch: a wait for a message would
    /// never end.
    pub(crate) fn never_wait_to_receive(&self) {
        self.inner.lock().no_sender = true;
    }

    /// Called when the task, which sends here, is run by its launch: a wait for room would never
    /// end.
    pub(crate) fn never_wait_to_send(&self) {
        self.inner.lock().no_receiver = true;
    }

    /// Called when the task, which receives here, is asked to stop. Returns the waiters for the
    /// caller to wake, because it may hold locks.
    #[must_use = "waiting threads and futures must be woken"]
    pub(crate) fn stop_receiving(&self) -> [Waiters; 2] {
        self.update(|inner| inner.recv_stopped = true)
    }

    /// Called when the task, which sends here, is asked to stop. Returns the waiters for the caller
    /// to wake.
    #[must_use = "waiting threads and futures must be woken"]
    pub(crate) fn stop_sending(&self) -> [Waiters; 2] {
        self.update(|inner| inner.send_stopped = true)
    }

    /// Sets whether a receiver exists.
    pub(crate) fn set_receiver(&self, is_present: bool) {
        self.update_and_wake(|inner| {
            inner.receiver = match (is_present, inner.receiver) {
                (_, Receiver::Discards) => Receiver::Discards,
                (false, _) => Receiver::Gone,
                (true, Receiver::Present) => Receiver::Present,
                (true, _) => Receiver::Returned,
            };
        });
    }

    /// Returns the state of the receiver if the peer must be told, which assumes that one is
    /// present.
    #[cfg_attr(not(feature = "mp"), allow(dead_code))]
    pub(crate) fn receiver_change(&self) -> Option<bool> {
        match self.inner.lock().receiver {
            Receiver::Present | Receiver::Discards => None,
            Receiver::Gone => Some(false),
            Receiver::Returned => Some(true),
        }
    }

    /// Prepares for another attempt: messages that the previous one did not acknowledge come first
    /// again.
    pub(crate) fn reset_for_retry(&self) {
        // There is as much room as before, and queued messages are for the next attempt. So there
        // is no waiter to wake, and places can call this under their locks.
        let mut inner = self.inner.lock();
        inner.recv_stopped = false;
        inner.send_stopped = false;
        while let Some(value) = inner.in_flight.pop_back() {
            inner.queue.push_front(value);
        }
    }

    fn update_and_wake(&self, f: impl FnOnce(&mut Inner<T>)) {
        self.update(f).into_iter().for_each(Waiters::wake);
    }

    /// Makes a change and returns the waiters to wake.
    fn update(&self, f: impl FnOnce(&mut Inner<T>)) -> [Waiters; 2] {
        let mut inner = self.inner.lock();
        f(&mut inner);
        [std::mem::take(&mut inner.receivers), std::mem::take(&mut inner.senders)]
    }

    /// Makes room for `count` messages that the peer has received. Returns false if it was not sent
    /// that many.
    pub(crate) fn ack(&self, count: usize) -> bool {
        let mut is_right = true;
        let mut acked = Vec::new();
        self.update_and_wake(|inner| {
            is_right = inner.closed || count <= inner.in_flight.len();
            acked.extend(inner.in_flight.drain(..count.min(inner.in_flight.len())));
            let bytes = acked.iter().map(self.weigh).sum::<usize>();
            inner.bytes -= bytes;
            inner.unacked += acked.len();
            inner.unacked_bytes += bytes;
        });
        is_right
    }
}

impl<T> Channel<T> {
    /// Returns the number of messages received since the last call, once there are enough of them
    /// to be worth an acknowledgment.
    pub(crate) fn take_acks(&self) -> Option<usize> {
        let mut inner = self.inner.lock();
        let is_due = match self.acks {
            Acks::Batched => inner.unacked >= CAPACITY / 8 || inner.unacked_bytes >= MAX_BYTES / 8,
            Acks::AtOnce => inner.unacked > 0,
        };
        is_due.then(|| {
            inner.unacked_bytes = 0;
            std::mem::take(&mut inner.unacked)
        })
    }

    /// Returns when the receiver acknowledges messages.
    pub(crate) fn acks(&self) -> Acks {
        self.acks
    }

    /// Returns the number of messages received since the last call, by a receiver here or by the
    /// peer. If there are none, registers a waker for the next one, as a sender.
    #[cfg_attr(not(feature = "remote"), allow(dead_code))]
    pub(crate) fn poll_received(&self, key: WaiterKey, context: &mut Context<'_>) -> Poll<usize> {
        let waker = context.waker().clone();
        let mut inner = self.inner.lock();
        let received = std::mem::take(&mut inner.unacked);
        inner.unacked_bytes = 0;
        let (old, spare) = match received {
            0 => (inner.senders.add(key, waker), None),
            _ => (inner.senders.remove(key), Some(waker)),
        };
        drop(inner);
        waiters::drop_waker(old);
        waiters::drop_waker(spare);
        if received == 0 { Poll::Pending } else { Poll::Ready(received) }
    }
}

impl<T: Clone> Channel<T> {
    /// Takes the next message to pass it on to the peer, as [`next_in_flight`](Self::next_in_flight)
    /// does. If there is none, registers a waker for the next one, as a receiver.
    #[cfg_attr(not(feature = "remote"), allow(dead_code))]
    pub(crate) fn poll_in_flight(&self, key: WaiterKey, context: &mut Context<'_>) -> Poll<T> {
        let waker = context.waker().clone();
        let mut inner = self.inner.lock();
        let next = inner.queue.pop_front();
        let (old, spare) = match &next {
            Some(value) => {
                inner.in_flight.push_back(value.clone());
                (inner.receivers.remove(key), Some(waker))
            }
            None => (inner.receivers.add(key, waker), None),
        };
        drop(inner);
        waiters::drop_waker(old);
        waiters::drop_waker(spare);
        next.map_or(Poll::Pending, Poll::Ready)
    }

    /// Takes the next message to send it to the peer. The message occupies room until the peer
    /// [acknowledges](Self::ack) it.
    pub(crate) fn next_in_flight(&self) -> Option<T> {
        let mut inner = self.inner.lock();
        let value = inner.queue.pop_front()?;
        inner.in_flight.push_back(value.clone());
        Some(value)
    }
}

impl<T> Drop for Channel<T> {
    /// Messages that were never received are user values: a panic while one is dropped must not
    /// leak the others.
    fn drop(&mut self) {
        let inner = self.inner.get_mut();
        let queues = [std::mem::take(&mut inner.queue), std::mem::take(&mut inner.in_flight)];
        queues.into_iter().flatten().for_each(unwind::discard);
        std::mem::take(&mut inner.receivers).discard();
        std::mem::take(&mut inner.senders).discard();
    }
}

/// Removes a waker when it is dropped.
struct Watch<'a, T> {
    channel: &'a Channel<T>,
    key: WaiterKey,
}

impl<T> Drop for Watch<'_, T> {
    fn drop(&mut self) {
        let mut inner = self.channel.inner.lock();
        let wakers = (inner.receivers.remove(self.key), inner.senders.remove(self.key));
        drop(inner);
        waiters::drop_waker(wakers.0);
        waiters::drop_waker(wakers.1);
    }
}

/// An encoded message. Shared, because a retry may have to send it again.
pub(crate) type Bytes = Arc<[u8]>;

impl Channel<Bytes> {
    /// Creates a channel that counts bytes.
    pub(crate) fn of_bytes() -> Arc<Self> {
        Self::of_bytes_with(Acks::Batched)
    }

    /// The same, with a receiver that acknowledges messages in this way.
    pub(crate) fn of_bytes_with(acks: Acks) -> Arc<Self> {
        Self::with(|bytes| bytes.len(), acks)
    }
}

#[cfg(all(test, not(atasker_loom)))]
mod tests {
    use super::*;

    fn message(size: usize) -> Bytes {
        vec![0; size].into()
    }

    #[test]
    fn bytes_fill_a_channel_too_and_are_told_of_in_time() {
        let (ours, theirs) = (Channel::of_bytes(), Channel::of_bytes());
        let size = MAX_BYTES / 4;
        // A receiver that takes what is there never stops the sender, however rarely it
        // acknowledges.
        for _ in 0..40 {
            while ours.try_send(message(size)).is_ok() {}
            let mut passed = 0;
            while let Some(bytes) = ours.next_in_flight() {
                assert!(theirs.deliver(bytes, 2));
                passed += 1;
            }
            assert!((1..=4).contains(&passed), "{passed}");
            while theirs.try_recv().is_ok() {}
            assert!(ours.ack(theirs.take_acks().expect("these are many bytes")));
        }
        // A message of maximum length is accepted as soon as there is any room.
        assert!(ours.try_send(message(1)).is_ok());
        assert!(ours.try_send(message(MAX_MESSAGE_BYTES)).is_ok());
        assert!(matches!(ours.try_send(message(1)), Err(TrySendError::Full(_))));
    }

    #[test]
    fn a_peer_that_keeps_no_count_is_found_out() {
        let channel = Channel::of_bytes();
        let mut count = 0;
        while channel.deliver(message(MAX_BYTES / 2), 2) {
            count += 1;
        }
        assert_eq!(count, 4 * (MAX_BYTES + MAX_MESSAGE_BYTES) / MAX_BYTES);
        let channel = Channel::of_bytes();
        let count = (0..).take_while(|_| channel.deliver(message(1), 2)).count();
        assert_eq!(count, 2 * CAPACITY);
        assert!(!channel.ack(1), "nothing was sent");
        channel.close();
        assert!(channel.ack(1), "an acknowledgment may arrive after the end");
        assert!(channel.deliver(message(1), 0), "messages are dropped then");
    }

    #[test]
    fn what_is_passed_on_keeps_its_room_until_it_is_acknowledged() {
        let (key, mut context) = (WaiterKey::next(), Context::from_waker(std::task::Waker::noop()));
        let channel = Channel::of_bytes();
        (0..CAPACITY).for_each(|_| channel.try_send(message(1)).unwrap());
        for _ in 0..CAPACITY {
            assert!(channel.poll_in_flight(key, &mut context).is_ready());
        }
        assert!(channel.poll_in_flight(key, &mut context).is_pending());
        assert!(matches!(channel.try_send(message(1)), Err(TrySendError::Full(_))));
        assert!(channel.poll_received(key, &mut context).is_pending());
        assert!(channel.ack(3));
        assert_eq!(channel.poll_received(key, &mut context), Poll::Ready(3));
        assert!(channel.poll_received(key, &mut context).is_pending());
        channel.try_send(message(1)).unwrap();
        channel.close();
        // What the peer has not acknowledged was not received.
        assert!(channel.poll_received(key, &mut context).is_pending());
        assert!(channel.poll_in_flight(key, &mut context).is_ready());
    }

    #[test]
    fn receiver_acknowledges_each_message_at_once_if_asked_to() {
        for (acks, due) in [(Acks::AtOnce, Some(1)), (Acks::Batched, None)] {
            let channel = Channel::of_bytes_with(acks);
            channel.try_send(message(1)).unwrap();
            assert_eq!(channel.take_acks(), None);
            channel.try_recv().unwrap();
            assert_eq!(channel.take_acks(), due);
        }
    }

    #[test]
    fn a_channel_without_receiver_refuses_and_opens_again() {
        let channel = Channel::<u8>::new();
        channel.try_send(1).unwrap();
        assert_eq!(channel.receiver_change(), None);
        channel.set_receiver(false);
        assert!(matches!(channel.try_send(2), Err(TrySendError::Closed(2))));
        assert_eq!(channel.receiver_change(), Some(false));
        channel.set_receiver(true);
        assert_eq!(channel.receiver_change(), Some(true));
        channel.try_send(3).unwrap();
        assert_eq!((channel.try_recv(), channel.try_recv()), (Ok(1), Ok(3)));
    }
}
