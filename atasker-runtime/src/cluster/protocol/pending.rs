//! Answers of the thread of the cluster, awaited or blocked on by any other thread.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::sync::oneshot;

use crate::task::park;

/// An answer that is yet to come.
///
/// Dropping it changes nothing about the request.
#[derive(Debug)]
pub(crate) struct Pending<T> {
    answer: oneshot::Receiver<T>,
    /// What is returned if the session has ended without an answer.
    closed: fn() -> T,
}

/// The other end of a [`Pending`].
pub(crate) type Answer<T> = oneshot::Sender<T>;

impl<T> Pending<T> {
    pub(super) fn new(closed: fn() -> T) -> (Answer<T>, Pending<T>) {
        let (sender, answer) = oneshot::channel();
        (sender, Pending { answer, closed })
    }

    /// Blocks until the answer is there. Gives the slot of a pool up meanwhile.
    ///
    /// # Panics
    ///
    /// Panics on the thread of an aloop, and in an observer.
    #[track_caller]
    pub(crate) fn wait(mut self) -> T {
        let closed = self.closed;
        park::block_on(None, |cx| Pin::new(&mut self).poll(cx)).unwrap_or_else(closed)
    }
}

impl<T> Future for Pending<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        let closed = self.closed;
        Pin::new(&mut self.answer).poll(cx).map(|answer| answer.unwrap_or_else(|_| closed()))
    }
}
