//! The task that is fed, as seen from a source.

use std::any::type_name;
use std::cell::Cell;
use std::fmt::Display;
use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use redis::{FromRedisValue, Value};

use crate::task::handle::Task;
use crate::task::wait::ended;

/// See the module's documentation.
pub(super) struct Feed<'a, R, I, O> {
    task: &'a Task<R, I, O>,
    /// The server's address, as it may be logged.
    address: String,
    /// Something came since the last look.
    received: Cell<bool>,
}

/// Why nothing more is given to a task.
#[derive(Debug)]
pub(super) enum Stop {
    /// It has ended.
    Ended,
    /// It goes on, and takes nothing.
    Refused,
}

impl<'a, R, I, O> Feed<'a, R, I, O>
where
    R: Send + 'static,
    I: FromRedisValue + Send + 'static,
    O: Send + 'static,
{
    pub(super) fn new(task: &'a Task<R, I, O>, address: String) -> Self {
        Feed { task, address, received: Cell::new(false) }
    }

    pub(super) fn is_over(&self) -> bool {
        self.task.is_completed()
    }

    /// What comes of `work`, which is begun in any case; `None` when the task has ended first.
    pub(super) async fn until_end<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        let mut end = pin!(ended(self.task.erased()));
        let mut work = pin!(work);
        poll_fn(|context| match work.as_mut().poll(context) {
            Poll::Ready(value) => Poll::Ready(Some(value)),
            Poll::Pending => end.as_mut().poll(context).map(|()| None),
        })
        .await
    }

    /// Gives a value to the task, when there is room for it. One that is no `I` is skipped.
    ///
    /// # Errors
    /// The task has not got it.
    pub(super) async fn give(&self, value: &Value) -> Result<(), Stop> {
        self.received.set(true);
        let message = match I::from_redis_value_ref(value) {
            Ok(message) => message,
            Err(error) => {
                tracing::warn!(
                    target: "atasker", task = %self.task.id(), name = self.task.name(),
                    redis = self.address, %error,
                    "a value from Redis was skipped: it is no `{}`", type_name::<I>()
                );
                return Ok(());
            }
        };
        match self.task.send_async(message).await {
            Ok(()) => Ok(()),
            // Channels close after the end can be seen.
            Err(_) if self.task.is_completed() => Err(Stop::Ended),
            Err(_) => Err(Stop::Refused),
        }
    }

    /// Whether something came since this was last asked.
    pub(super) fn take_received(&self) -> bool {
        self.received.take()
    }

    /// There is nothing to feed the task from.
    pub(super) fn give_up(&self, error: &dyn Display) {
        tracing::error!(
            target: "atasker", task = %self.task.id(), name = self.task.name(), %error,
            "the task can't be fed from {}, and is asked to stop", self.address
        );
        self.task.stop();
    }

    pub(super) fn disconnected(&self, error: &dyn Display, pause: Duration) {
        tracing::warn!(
            target: "atasker", task = %self.task.id(), name = self.task.name(), %error,
            "no connection to {}: the next attempt is in {pause:?}", self.address
        );
    }

    pub(super) fn connected_again(&self) {
        tracing::info!(
            target: "atasker", task = %self.task.id(), name = self.task.name(),
            "connected to {} again", self.address
        );
    }

    /// Something was taken from the server that the task has not got, and could not be given back.
    pub(super) fn maybe_lost(&self, error: &dyn Display) {
        tracing::error!(
            target: "atasker", task = %self.task.id(), name = self.task.name(), %error,
            "an element that was taken from {} as the task ended may be lost", self.address
        );
    }
}
