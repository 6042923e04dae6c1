//! The task that is fed, as seen by a source.

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
use crate::unwind::log;

/// The task that is fed.
pub(super) struct Feed<'a, R, I, O> {
    task: &'a Task<R, I, O>,
    /// The address of the server, without a password.
    address: String,
    /// A value arrived since `take_received` was last called.
    received: Cell<bool>,
}

/// Why a task receives no more values.
#[derive(Debug)]
pub(super) enum Stop {
    /// The task has ended.
    Ended,
    /// The task still runs, and doesn't accept messages.
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

    pub(super) fn is_task_completed(&self) -> bool {
        self.task.is_completed()
    }

    /// Runs `work` until the task has ended. Returns `None` then. `work` is polled at least once.
    pub(super) async fn until_end<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        let mut end = pin!(ended(self.task.erased().clone()));
        let mut work = pin!(work);
        poll_fn(|context| match work.as_mut().poll(context) {
            Poll::Ready(value) => Poll::Ready(Some(value)),
            Poll::Pending => end.as_mut().poll(context).map(|()| None),
        })
        .await
    }

    /// Sends a value to the task. Waits while its channel is full. Skips a value that can't be
    /// converted to `I`.
    ///
    /// # Errors
    /// Returns the reason if the task did not receive the value.
    pub(super) async fn send(&self, value: &Value) -> Result<(), Stop> {
        self.received.set(true);
        let message = match I::from_redis_value_ref(value) {
            Ok(message) => message,
            Err(error) => {
                log!(warn, task = %self.task.id(), name = self.task.name(),
                    redis = self.address, %error,
                    "a value from Redis was skipped: it can't be converted to `{}`", type_name::<I>()
                );
                return Ok(());
            }
        };
        match self.task.send_async(message).await {
            Ok(()) => Ok(()),
            // A task is completed before its channels close.
            Err(_) if self.task.is_completed() => Err(Stop::Ended),
            Err(_) => Err(Stop::Refused),
        }
    }

    /// Returns whether a value arrived since the last call.
    pub(super) fn take_received(&self) -> bool {
        self.received.take()
    }

    /// Asks the task to stop, because it can't be fed.
    pub(super) fn give_up(&self, error: &dyn Display) {
        log!(
            error, task = %self.task.id(), name = self.task.name(), %error,
            "the task can't be fed from {} and is asked to stop", self.address
        );
        self.task.stop();
    }

    pub(super) fn report_disconnected(&self, error: &dyn Display, backoff: Duration) {
        log!(
            warn, task = %self.task.id(), name = self.task.name(), %error,
            "no connection to {}: the next attempt is in {backoff:?}", self.address
        );
    }

    pub(super) fn report_reconnected(&self) {
        log!(
            info, task = %self.task.id(), name = self.task.name(),
            "connected to {} again", self.address
        );
    }

    /// Reports an element that was taken from the server, was not received by the task, and could
    /// not be put back.
    pub(super) fn report_possible_loss(&self, error: &dyn Display) {
        log!(
            error, task = %self.task.id(), name = self.task.name(), %error,
            "an element that was taken from {} while the task ended may be lost", self.address
        );
    }
}
