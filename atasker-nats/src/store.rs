//! Blocks of large payloads in the streams B and L, and logs in stream D.

use std::sync::Arc;
use std::time::Duration;

use atasker_runtime::__broker::{BrokerError, Kept, LogEntry};
use futures_util::{StreamExt, TryStreamExt, stream};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::Notify;

use crate::api::{self, Trouble};
use crate::layout::{Layout, Stream, nanos};
use crate::link::Link;
use crate::watch::{self, Start};

/// How many blocks are asked for at a time.
const AT_A_TIME: usize = 16;

pub(crate) async fn put_block(
    link: &Link,
    layout: &Layout,
    kept: Kept,
    key: &str,
    index: u32,
    value: Vec<u8>,
) -> Result<(), BrokerError> {
    // A block that is sent again replaces itself.
    api::store(link, layout.block(kept, key, index), api::no_headers, value).await?;
    Ok(())
}

pub(crate) async fn get_blocks(
    link: &Link,
    layout: &Layout,
    kept: Kept,
    key: &str,
    count: u32,
) -> Result<Vec<u8>, BrokerError> {
    let get = |index| async move {
        let stream = layout.stream(Stream::of_blocks(kept));
        match api::last(link, stream, &layout.block(kept, key, index)).await? {
            Some(stored) => Ok(stored.payload),
            None => Err(BrokerError::NotFound(format!("block {index} of {key}"))),
        }
    };
    let mut blocks = stream::iter(0..count).map(get).buffered(AT_A_TIME);
    let mut joined = Vec::new();
    while let Some(block) = blocks.try_next().await? {
        if joined.is_empty() {
            // All blocks but the last one are as long as the first. A count that is out of the question
            // fails here, or at the first block that is missing.
            let _ = joined.try_reserve_exact(block.len().saturating_mul(count as usize));
        }
        joined.extend_from_slice(&block);
    }
    Ok(joined)
}

pub(crate) async fn remove_blocks(
    link: &Link,
    layout: &Layout,
    kept: Kept,
    key: &str,
) -> Result<(), BrokerError> {
    let stream = layout.stream(Stream::of_blocks(kept));
    api::purge(link, stream, &layout.blocks(kept, key)).await?;
    Ok(())
}

pub(crate) async fn append(
    link: &Link,
    layout: &Layout,
    log: &str,
    key: &str,
    value: Vec<u8>,
) -> Result<(), BrokerError> {
    api::store(link, layout.logged(log, key), api::no_headers, value).await?;
    Ok(())
}

/// Reads a log by a consumer that ends with the last entry.
pub(crate) async fn log(
    link: &Arc<Link>,
    layout: &Arc<Layout>,
    log: &str,
) -> Result<Vec<LogEntry>, BrokerError> {
    let filter = layout.log(log);
    let entries = Arc::new(Mutex::new((Vec::new(), false)));
    let ended = Arc::new(Notify::new());
    let (into, end, names) = (entries.clone(), ended.clone(), layout.clone());
    let sink = move |delivered: watch::Delivered| {
        let mut entries = into.lock();
        if let Some(key) = names.logged_key(&delivered.subject) {
            entries.0.push(LogEntry {
                key: key.to_owned(),
                time: delivered.info.time,
                value: Vec::from(delivered.payload),
            });
        }
        if delivered.info.pending == 0 {
            entries.1 = true;
            end.notify_one();
        }
    };
    let stream = layout.stream(Stream::Dead);
    let watch = watch::start(link, stream, &filter, Start::First, Box::new(sink)).await?;
    if watch.pending == 0 {
        return Ok(Vec::new());
    }
    // Waits for the connection as well, therefore not longer than this without any entry.
    loop {
        let before = entries.lock().0.len();
        let waited = tokio::time::timeout(Duration::from_secs(5), ended.notified()).await;
        let mut entries = entries.lock();
        if entries.1 {
            return Ok(std::mem::take(&mut entries.0));
        }
        if waited.is_err() && entries.0.len() == before {
            return Err(BrokerError::NoAnswer("the log was not sent".to_owned()));
        }
    }
}

/// Counts the entries of a log without reading them: a new consumer knows how many it has to deliver.
pub(crate) async fn log_len(link: &Link, layout: &Layout, log: &str) -> Result<u64, BrokerError> {
    let stream = layout.stream(Stream::Dead);
    let config = json!({
        "ack_policy": "explicit",
        "deliver_policy": "all",
        "filter_subject": layout.log(log),
        "inactive_threshold": nanos(Duration::from_secs(5)),
        "mem_storage": true,
        "num_replicas": 1,
    });
    let body = json!({ "stream_name": stream, "config": config });
    let made = api::call(link, &format!("CONSUMER.CREATE.{stream}"), &body).await?;
    if let Some(name) = made["name"].as_str() {
        // Otherwise the server removes it when it is inactive.
        let _ = api::call(link, &format!("CONSUMER.DELETE.{stream}.{name}"), &Value::Null).await;
    }
    let len = made["num_pending"].as_u64();
    Ok(len.ok_or_else(|| Trouble::Odd(format!("a consumer without a count: {made}")))?)
}

pub(crate) async fn remove_logged(
    link: &Link,
    layout: &Layout,
    log: &str,
    key: &str,
) -> Result<bool, BrokerError> {
    Ok(api::delete(link, layout.stream(Stream::Dead), &layout.logged(log, key)).await?)
}
