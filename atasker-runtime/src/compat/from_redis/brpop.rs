//! From a list.

use std::future::Future;
use std::io;
use std::pin::{Pin, pin};

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, FromRedisValue, RedisResult, Value, cmd};
use tokio::time::timeout;

use super::feed::{Feed, Stop};
use super::{ANSWER, FIRST_PAUSE, Source, control};
use crate::error::TaskError;
use crate::task::handle::Task;

/// Feeds a task from a Redis list, until it has ended, and gives its result.
///
/// Elements are taken from the list's right end (`BRPOP`), one by one, and sent to the task as
/// messages: `I` is `String`, `Vec<u8>`, a number, or whatever else is
/// [`FromRedisValue`]. The end of the task ends the wait for the
/// next element at once. To have it end from outside, keep a [`TaskRef`](crate::TaskRef) and
/// `stop()` it.
///
/// ```no_run
/// use atasker_runtime::{TaskBuilder, TaskContext, compat::redis_brpop};
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
/// # What is promised
///
/// * Elements are sent in the order in which they are taken. At most 1,024 messages wait for
///   the task; while there is no room, at most one more has been taken from the list. What a task
///   has not received when it ends is dropped with it.
/// * An element that is taken at the very moment of the task's end is put back where it was. (The
///   server is asked by a second connection to end the wait, `CLIENT UNBLOCK`.) If that fails, it is
///   logged at ERROR. One that is under way when the connection breaks can be lost, as with every
///   `BRPOP`.
/// * An element that can't be converted is logged at WARN, and skipped.
/// * When the connection is lost, it is made again, for as long as that takes, with pauses of
///   50 ms up to 5 s; each attempt in vain is logged at WARN.
/// * If there is no server at the beginning, if the URL is wrong, or if the server refuses (the key
///   holds no list, say), that is logged at ERROR with the URL (not the password), the task
///   is asked to stop, and its result is waited for.
///
/// A URL is `redis://[user][:password@]host[:port][/db]` or `redis+unix:///path[?db=..&pass=..]`. For
/// `rediss://` (TLS), switch on a TLS feature of the crate `redis`, which is
/// [`compat::redis`](crate::compat::redis).
///
/// # Errors
/// What ended the task otherwise.
///
/// # Panics
/// On the thread of an aloop, or of another tokio runtime, if it would have to block. Within a
/// task, the slot is given up meanwhile.
#[track_caller]
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

struct Popper {
    connection: MultiplexedConnection,
    /// What the server calls this connection.
    id: i64,
}

async fn connect(
    client: &Client,
    config: AsyncConnectionConfig,
) -> RedisResult<MultiplexedConnection> {
    client.get_multiplexed_async_connection_with_config(&config).await
}

impl Source for List {
    type Connection = Popper;

    async fn open(&self, client: &Client) -> RedisResult<Popper> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(ANSWER))
            // An element may be long in coming.
            .set_response_timeout(None);
        let mut connection = connect(client, config).await?;
        let id = cmd("CLIENT").arg("ID").query_async(&mut connection).await?;
        Ok(Popper { connection, id })
    }

    async fn run<R, I, O>(
        &self,
        Popper { mut connection, id }: Popper,
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
        while !feed.is_over() {
            let value = {
                let mut pop = pin!(command.query_async::<Popped>(&mut connection));
                match feed.until_end(pop.as_mut()).await {
                    Some(popped) => popped?,
                    None => {
                        if let Err(error) = self.end_wait(id, pop, client).await {
                            feed.maybe_lost(&error);
                        }
                        return Ok(Stop::Ended);
                    }
                }
            };
            // `None`: somebody else has ended the wait.
            if let Some((_, value)) = value
                && let Err(stop) = feed.give(&value).await
            {
                if let Err(error) = within_limit(self.put_back(value, &mut connection)).await {
                    feed.maybe_lost(&error);
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
    /// Ends a wait for an element that nobody wants any more, and puts back what came all the same.
    async fn end_wait(
        &self,
        id: i64,
        mut pop: Pin<&mut impl Future<Output = RedisResult<Popped>>>,
        client: &Client,
    ) -> RedisResult<()> {
        within_limit(async {
            let mut other = connect(client, AsyncConnectionConfig::new()).await?;
            loop {
                cmd("CLIENT").arg("UNBLOCK").arg(id).query_async::<()>(&mut other).await?;
                // Now it is answered, in one way or the other; unless the server has read our end
                // of the wait before its beginning, on another connection.
                if let Ok(popped) = timeout(FIRST_PAUSE, pop.as_mut()).await {
                    return match popped? {
                        Some((_, value)) => self.put_back(value, &mut other).await,
                        None => Ok(()),
                    };
                }
            }
        })
        .await
    }

    /// To the end from which it was taken.
    async fn put_back(
        &self,
        value: Value,
        connection: &mut MultiplexedConnection,
    ) -> RedisResult<()> {
        let element = Vec::<u8>::from_redis_value(value)?;
        cmd("RPUSH").arg(&self.key).arg(element).query_async(connection).await
    }
}

async fn within_limit(work: impl Future<Output = RedisResult<()>>) -> RedisResult<()> {
    match timeout(ANSWER, work).await {
        Ok(result) => result,
        Err(_) => Err(io::Error::from(io::ErrorKind::TimedOut).into()),
    }
}
