//! Controllers that feed a task from Redis.
//!
//! | file | content |
//! |---|---|
//! | `mod` | connecting, reconnecting, giving up |
//! | `address` | removes passwords from addresses, for logs |
//! | `feed` | sends values to the task, and waits for its end |
//! | `brpop` | the source for lists |
//! | `pubsub` | the source for channels |
//!
//! A controller runs a current-thread tokio runtime on the caller's thread. Every wait also waits
//! for the end of the task, so there is no polling, and the end is noticed at once.

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

/// The time limit of a connection attempt, and of commands that the server answers at once.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(5);
/// The pause between connection attempts doubles from the minimum to the maximum.
const MIN_BACKOFF: Duration = Duration::from_millis(50);
const MAX_BACKOFF: Duration = Duration::from_secs(5);
/// With this keepalive time, a server that disappears without closing the connection is detected
/// after some minutes.
const KEEPALIVE: Duration = Duration::from_secs(60);

/// A source of values.
trait Source {
    type Connection;

    /// Connects. Values that arrive from then on are not missed.
    async fn open(&self, client: &Client) -> RedisResult<Self::Connection>;

    /// Feeds the task until it has ended or doesn't accept messages.
    ///
    /// # Errors
    /// Returns an error if the connection is lost, or if the server rejects a command.
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

/// Feeds the task until it has ended, and returns its result.
#[track_caller]
fn control<R, I, O>(task: Task<R, I, O>, url: &str, source: impl Source) -> Result<R, TaskError>
where
    R: Send + 'static,
    I: FromRedisValue + Send + 'static,
    O: Send + 'static,
{
    if !task.is_completed() {
        let feed = Feed::new(&task, address::without_password(url));
        // Releases the slot of the calling task. The feed makes progress on this thread, so it
        // doesn't depend on another one.
        park::blocking(|| {
            match tokio::runtime::Builder::new_current_thread().enable_all().build() {
                Ok(runtime) => runtime.block_on(run_feed(url, &source, &feed)),
                Err(error) => feed.give_up(&error),
            }
        });
    }
    task.join()
}

/// Returns when the task has ended, or was asked to stop because it can't be fed.
async fn run_feed<R, I, O>(url: &str, source: &impl Source, feed: &Feed<'_, R, I, O>)
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
            let opened = timeout(RESPONSE_TIMEOUT, source.open(&client)).await;
            opened
                .unwrap_or_else(|_| Err(std::io::Error::from(std::io::ErrorKind::TimedOut).into()))
        };
        let error = match feed.until_end(opened).await {
            None => return,
            Some(Ok(connection)) => {
                if connected {
                    feed.report_reconnected();
                }
                connected = true;
                match source.run(connection, &client, feed).await {
                    Ok(Stop::Ended) => return,
                    Ok(Stop::Refused) => return feed.give_up(&"the task doesn't accept messages"),
                    Err(error) if is_final(&error) => return feed.give_up(&error),
                    Err(error) => error,
                }
            }
            // After the first connection, an error may come from a server that restarts, so try
            // again.
            Some(Err(error)) if !connected => return feed.give_up(&error),
            Some(Err(error)) => error,
        };
        if feed.take_received() {
            attempt = 0;
        }
        let backoff = backoff(attempt);
        attempt += 1;
        feed.report_disconnected(&error, backoff);
        if feed.until_end(sleep(backoff)).await.is_none() {
            return;
        }
    }
}

fn client(url: &str) -> RedisResult<Client> {
    let info = url.into_connection_info()?;
    let tcp = info.tcp_settings().clone().set_keepalive(TcpKeepalive::new().with_time(KEEPALIVE));
    Client::open(info.set_tcp_settings(tcp))
}

/// Returns whether an error is permanent: the server has rejected the command.
fn is_final(error: &RedisError) -> bool {
    matches!(error.code(), Some("ERR" | "WRONGTYPE" | "NOAUTH" | "NOPERM"))
        || error.kind() == ErrorKind::InvalidClientConfig
}

/// Returns the pause before the next attempt, after a number of failures.
fn backoff(attempt: u32) -> Duration {
    MIN_BACKOFF.saturating_mul(2_u32.saturating_pow(attempt)).min(MAX_BACKOFF)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backoff_grows_to_the_maximum() {
        let pauses: Vec<u128> = (0..9).map(|attempt| backoff(attempt).as_millis()).collect();
        assert_eq!(pauses, [50, 100, 200, 400, 800, 1600, 3200, 5000, 5000]);
        assert_eq!(backoff(u32::MAX), MAX_BACKOFF);
    }
}
