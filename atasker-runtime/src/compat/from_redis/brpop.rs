//! Feeds a task from a list.

use std::future::Future;
use std::io;
use std::pin::{Pin, pin};

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, FromRedisValue, RedisResult, Value, cmd};
use tokio::time::timeout;

use super::feed::{Feed, Stop};
use super::{MIN_BACKOFF, RESPONSE_TIMEOUT, Source, control};
use crate::error::TaskError;
use crate::task::handle::Task;

/// Feeds a task from a Redis list. Blocks until the task has ended, and returns its result.
///
/// Elements are taken from the right end of the list (`BRPOP`), one by one, and sent to the task as
/// messages. `I` is `String`, `Vec<u8>`, a number, or another type that implements
/// [`FromRedisValue`]. When the task ends, the wait for the next element ends at once. To stop the
/// task from elsewhere, keep a
/// [`TaskRef`](crate::TaskRef) and call `stop()`.
///
/// ```no_run
/// # use atasker_runtime as atasker;
/// use atasker::{TaskBuilder, TaskContext, compat::redis_brpop};
/// let task = TaskBuilder::<u64>::with_context(|ctx: &TaskContext<String>| {
///     let mut jobs = 0;
///     while let Ok(job) = ctx.recv() {
///         println!("{job}");
///         jobs += 1;
///     }
///     jobs
/// })
/// .start();
/// let jobs = redis_brpop(task, "redis://127.0.0.1/", "jobs").unwrap();
/// ```
///
/// # Guarantees
///
/// * Elements are sent in the order in which they are taken. At most 1,024 messages are queued for
///   the task. While its queue is full, at most one further element has been taken from the list.
///   Messages that the task has not received when it ends are dropped.
/// * An element that is taken while the task ends is put back at the same end of the list. (A
///   second connection asks the server to end the wait, by `CLIENT UNBLOCK`.) If that fails, it is
///   logged at level ERROR. An element that is in transit when the connection breaks can be lost,
///   as with every `BRPOP`.
/// * An element that can't be converted is logged at level WARN, and skipped.
/// * A lost connection is reestablished, without a limit of attempts, with pauses from 50 ms to 5
///   s. Each failed attempt is logged at level WARN.
/// * If the first connection fails, if the URL is invalid, or if the server rejects the command
///   (for example because the key holds no list), the error is logged at level ERROR with the URL
///   but without the password. The task is then asked to stop, and the function waits for its
///   result.
///
/// A URL is `redis://[user][:password@]host[:port][/db]` or `redis+unix:///path[?db=..&pass=..]`.
/// For `rediss://` (TLS), switch on a TLS feature of the crate `redis`, which is
/// [`compat::redis`](crate::compat::redis).
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
pub fn redis_brpop<R, I, O>(task: Task<R, I, O>, url: &str, key: &str) -> Result<R, TaskError>
where
    R: Send + 'static,
    I: FromRedisValue + Send + 'static,
    O: Send + 'static,
{
    control(task, url, List { key: key.to_owned() })
}

struct List {
    key: String,
}

struct ListConnection {
    connection: MultiplexedConnection,
    /// The id of this connection at the server, for `CLIENT UNBLOCK`.
    id: i64,
}

async fn connect(
    client: &Client,
    config: AsyncConnectionConfig,
) -> RedisResult<MultiplexedConnection> {
    client.get_multiplexed_async_connection_with_config(&config).await
}

impl Source for List {
    type Connection = ListConnection;

    async fn open(&self, client: &Client) -> RedisResult<ListConnection> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(RESPONSE_TIMEOUT))
            // The next element may arrive at any time.
            .set_response_timeout(None);
        let mut connection = connect(client, config).await?;
        let id = cmd("CLIENT").arg("ID").query_async(&mut connection).await?;
        Ok(ListConnection { connection, id })
    }

    async fn run<R, I, O>(
        &self,
        ListConnection { mut connection, id }: ListConnection,
        client: &Client,
        feed: &Feed<'_, R, I, O>,
    ) -> RedisResult<Stop>
    where
        R: Send + 'static,
        I: FromRedisValue + Send + 'static,
        O: Send + 'static,
    {
        let mut command = cmd("BRPOP");
        command.arg(&self.key).arg(0);
        while !feed.is_task_completed() {
            let value = {
                let mut pop = pin!(command.query_async::<Popped>(&mut connection));
                match feed.until_end(pop.as_mut()).await {
                    Some(popped) => popped?,
                    None => {
                        if let Err(error) = self.end_wait(id, pop, client).await {
                            feed.report_possible_loss(&error);
                        }
                        return Ok(Stop::Ended);
                    }
                }
            };
            // `None` means that another client has ended the wait.
            if let Some((_, value)) = value
                && let Err(stop) = feed.send(&value).await
            {
                if let Err(error) = with_timeout(self.put_back(value, &mut connection)).await {
                    feed.report_possible_loss(&error);
                }
                return Ok(stop);
            }
        }
        Ok(Stop::Ended)
    }
}

/// Key and element.
type Popped = Option<(Value, Value)>;

impl List {
    /// Ends the wait for the next element, and puts back an element that arrived meanwhile.
    async fn end_wait(
        &self,
        id: i64,
        mut pop: Pin<&mut impl Future<Output = RedisResult<Popped>>>,
        client: &Client,
    ) -> RedisResult<()> {
        with_timeout(async {
            let mut other = connect(client, AsyncConnectionConfig::new()).await?;
            loop {
                cmd("CLIENT").arg("UNBLOCK").arg(id).query_async::<()>(&mut other).await?;
                // The server now answers the `BRPOP`, unless it has processed this `UNBLOCK` before
                // it, because the two use different connections. Try again in that case.
                if let Ok(popped) = timeout(MIN_BACKOFF, pop.as_mut()).await {
                    return match popped? {
                        Some((_, value)) => self.put_back(value, &mut other).await,
                        None => Ok(()),
                    };
                }
            }
        })
        .await
    }

    /// Puts an element back at the end from which it was taken.
    async fn put_back(
        &self,
        value: Value,
        connection: &mut MultiplexedConnection,
    ) -> RedisResult<()> {
        let element = Vec::<u8>::from_redis_value(value)?;
        cmd("RPUSH").arg(&self.key).arg(element).query_async(connection).await
    }
}

async fn with_timeout(work: impl Future<Output = RedisResult<()>>) -> RedisResult<()> {
    match timeout(RESPONSE_TIMEOUT, work).await {
        Ok(result) => result,
        Err(_) => Err(io::Error::from(io::ErrorKind::TimedOut).into()),
    }
}
