//! Feeds a task from a channel.

use std::future::poll_fn;
use std::io;
use std::pin::pin;

use futures_core::Stream;
use redis::aio::PubSub;
use redis::{Client, FromRedisValue, RedisResult, Value};

use super::feed::{Feed, Stop};
use super::{Source, control};
use crate::error::TaskError;
use crate::task::handle::Task;

/// Feeds a task from a Redis channel. Blocks until the task has ended, and returns its result.
///
/// Values that are published on the channel (`SUBSCRIBE`) are sent to the task as messages, in the
/// order of arrival. `I` is `String`, `Vec<u8>`, a number, or another type that implements
/// [`FromRedisValue`]. When the task ends, the wait for the next message ends at once.
///
/// ```no_run
/// # use atasker_runtime as atasker;
/// use atasker::{TaskBuilder, TaskContext, compat::redis_pubsub};
/// let task = TaskBuilder::<String>::with_context(|ctx: &TaskContext<Vec<u8>>| {
///     let first = ctx.recv().unwrap_or_default();
///     format!("{} bytes", first.len())
/// })
/// .start();
/// println!("{}", redis_pubsub(task, "redis://127.0.0.1/", "news").unwrap());
/// ```
///
/// Redis doesn't store published values: those that are published before the subscription, or while
/// the connection is lost, don't arrive. Messages that the task has not received yet are kept in
/// memory.
///
/// Lost connections, unreachable servers, values that can't be converted and URLs are handled as by
/// [`redis_brpop`](super::redis_brpop).
///
/// Inside a task, the function releases the slot of that task while it blocks.
///
/// # Errors
/// Returns the error of the task if it did not complete.
///
/// # Panics
/// Panics on the thread of an aloop or of another tokio runtime if it would have to block.
#[track_caller]
#[cfg(feature = "redis")]
pub fn redis_pubsub<R, I, O>(task: Task<R, I, O>, url: &str, channel: &str) -> Result<R, TaskError>
where
    R: Send + 'static,
    I: FromRedisValue + Send + 'static,
    O: Send + 'static,
{
    control(task, url, Channel { name: channel.to_owned() })
}

struct Channel {
    name: String,
}

impl Source for Channel {
    type Connection = PubSub;

    async fn open(&self, client: &Client) -> RedisResult<PubSub> {
        let mut connection = client.get_async_pubsub().await?;
        connection.subscribe(&self.name).await?;
        Ok(connection)
    }

    async fn run<R, I, O>(
        &self,
        mut connection: PubSub,
        _: &Client,
        feed: &Feed<'_, R, I, O>,
    ) -> RedisResult<Stop>
    where
        R: Send + 'static,
        I: FromRedisValue + Send + 'static,
        O: Send + 'static,
    {
        let mut messages = pin!(connection.on_message());
        loop {
            let next = poll_fn(|context| messages.as_mut().poll_next(context));
            let Some(message) = feed.until_end(next).await else {
                return Ok(Stop::Ended);
            };
            let Some(message) = message else {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
            };
            if let Err(stop) = feed.send(&message.get_payload::<Value>()?).await {
                return Ok(stop);
            }
        }
    }
}
