//! Controllers that feed a task from Redis.
//!
//! | question | file |
//! |---|---|
//! | connecting, connecting again, giving up | here |
//! | what of an address may be logged | `address` |
//! | one value to the task, and the task's end | `feed` |
//! | from a list | `brpop` |
//! | from a channel | `pubsub` |
//!
//! The caller's thread drives a small tokio runtime. Whatever it waits for, it waits for the end of
//! the task besides: nothing is polled, and the end is noticed at once.

mod address;
mod brpop;
mod feed;
mod pubsub;

use std::time::Duration;

use redis::io::tcp::socket2::TcpKeepalive;
use redis::{Client, ErrorKind, FromRedisValue, IntoConnectionInfo, RedisError, RedisResult};
use tokio::time::{sleep, timeout};

use crate::error::TaskError;
use crate::task::handle::Task;
use crate::task::park;
use feed::{Feed, Stop};

pub use brpop::redis_brpop;
pub use pubsub::redis_pubsub;

/// How long a server may take to accept a connection, and to answer what it answers at once.
const ANSWER: Duration = Duration::from_secs(5);
/// The pauses between attempts to connect again double from the first to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// A server that has vanished without a word is noticed after some minutes.
const KEEPALIVE: Duration = Duration::from_secs(60);

/// Where values come from.
trait Source {
    type Connection;

    /// Connects; what comes from now on is not missed.
    async fn open(&self, client: &Client) -> RedisResult<Self::Connection>;

    /// Feeds the task until there is no more use in it.
    ///
    /// # Errors
    /// The connection is lost, or the server refuses.
    async fn run<R, I, O>(
        &self,
        connection: Self::Connection,
        client: &Client,
        feed: &Feed<'_, R, I, O>,
    ) -> RedisResult<Stop>
    where
        R: Send + 'static,
        I: FromRedisValue + Send + 'static,
        O: Send + 'static;
}

/// Feeds the task until it has ended, and gives its result.
#[track_caller]
fn control<R, I, O>(task: Task<R, I, O>, url: &str, source: impl Source) -> Result<R, TaskError>
where
    R: Send + 'static,
    I: FromRedisValue + Send + 'static,
    O: Send + 'static,
{
    if !task.is_completed() {
        let feed = Feed::new(&task, address::without_password(url));
        // The feed goes on by itself, so nobody else has to.
        park::away(|| match tokio::runtime::Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => runtime.block_on(feed_all(url, &source, &feed)),
            Err(error) => feed.give_up(&error),
        });
    }
    task.join()
}

/// Returns when the task has ended, or was asked to stop because there is nothing to feed it from.
async fn feed_all<R, I, O>(url: &str, source: &impl Source, feed: &Feed<'_, R, I, O>)
where
    R: Send + 'static,
    I: FromRedisValue + Send + 'static,
    O: Send + 'static,
{
    let client = match client(url) {
        Ok(client) => client,
        Err(error) => return feed.give_up(&error),
    };
    let mut connected = false;
    let mut attempt = 0;
    loop {
        let opened = async {
            let opened = timeout(ANSWER, source.open(&client)).await;
            opened
                .unwrap_or_else(|_| Err(std::io::Error::from(std::io::ErrorKind::TimedOut).into()))
        };
        let error = match feed.until_end(opened).await {
            None => return,
            Some(Ok(connection)) => {
                if connected {
                    feed.connected_again();
                }
                connected = true;
                match source.run(connection, &client, feed).await {
                    Ok(Stop::Ended) => return,
                    Ok(Stop::Refused) => return feed.give_up(&"the task takes no messages"),
                    Err(error) if is_final(&error) => return feed.give_up(&error),
                    Err(error) => error,
                }
            }
            // Later on, what a server says while it starts is no reason to give up.
            Some(Err(error)) if !connected => return feed.give_up(&error),
            Some(Err(error)) => error,
        };
        if feed.take_received() {
            attempt = 0;
        }
        let pause = pause(attempt);
        attempt += 1;
        feed.disconnected(&error, pause);
        if feed.until_end(sleep(pause)).await.is_none() {
            return;
        }
    }
}

fn client(url: &str) -> RedisResult<Client> {
    let info = url.into_connection_info()?;
    let tcp = info.tcp_settings().clone().set_keepalive(TcpKeepalive::new().with_time(KEEPALIVE));
    Client::open(info.set_tcp_settings(tcp))
}

/// The server has understood, and says no.
fn is_final(error: &RedisError) -> bool {
    matches!(error.code(), Some("ERR" | "WRONGTYPE" | "NOAUTH" | "NOPERM"))
        || error.kind() == ErrorKind::InvalidClientConfig
}

/// How long to wait before the next attempt, after so many in vain.
fn pause(attempt: u32) -> Duration {
    FIRST_PAUSE.saturating_mul(2_u32.saturating_pow(attempt)).min(LONGEST_PAUSE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_limit() {
        let pauses: Vec<u128> = (0..9).map(|attempt| pause(attempt).as_millis()).collect();
        assert_eq!(pauses, [50, 100, 200, 400, 800, 1600, 3200, 5000, 5000]);
        assert_eq!(pause(u32::MAX), LONGEST_PAUSE);
    }
}
