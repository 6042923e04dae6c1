//! Queues: entries in stream Q, and a durable consumer for each queue and priority.
//!
//! Consumers are created by the first that appends to a queue or takes from it, so that the numbers
//! of waiting entries come from the consumers. The stream's own numbers count entries that were
//! acknowledged shortly before the server crashed, and have come back.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::header::NATS_MESSAGE_ID;
use atasker_runtime::__broker::{self as door, BrokerError, DeliveryToken, EntryKey, QueueCounts};
use atasker_runtime::Priority;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::OnceCell;
use tokio::time::{sleep, timeout};

use crate::api::{self, Trouble};
use crate::layout::{Layout, Shared, Stream};
use crate::link::{Failed, Link};

/// The pause before a consumer that could not be created or deleted is tried again.
const PAUSE: Duration = Duration::from_millis(50);

/// Set once a consumer is there.
type Created = Arc<OnceCell<()>>;

/// The consumers that are known to exist. Each is created by one task at a time, because the server
/// takes milliseconds for it, also if it is there.
///
/// By queue, so that an append, which looks here each time, copies no name.
#[derive(Debug, Default)]
pub(crate) struct Consumers(Mutex<HashMap<String, [Option<Created>; 4]>>);

impl Consumers {
    /// Creates the consumer of a queue and priority, unless this was done before.
    pub(crate) async fn ensure(
        &self,
        link: &Link,
        layout: &Layout,
        shared: &Shared,
        queue: &str,
        priority: Priority,
    ) -> Result<(), Trouble> {
        let cell = {
            let mut all = self.0.lock();
            let of_queue = all.entry(queue.to_owned()).or_default();
            of_queue[index(priority)].get_or_insert_default().clone()
        };
        if cell.initialized() {
            return Ok(());
        }
        let created = cell.get_or_try_init(|| create(link, layout, shared, queue, priority));
        // Those that wait for another one's attempt don't wait for all attempts before their own.
        match timeout(api::IN_ALL, created).await {
            Ok(created) => created.map(drop),
            Err(_) => Err(Failed::NoAnswer("the queue was not created in time").into()),
        }
    }

    /// Whether no one has begun to create the consumer. From now on, someone has.
    pub(crate) fn is_new(&self, queue: &str, priority: Priority) -> bool {
        let mut all = self.0.lock();
        if all.get(queue).is_some_and(|of_queue| of_queue[index(priority)].is_some()) {
            return false;
        }
        all.entry(queue.to_owned()).or_default()[index(priority)] = Some(Arc::default());
        true
    }

    /// Lets the consumer be created anew.
    pub(crate) fn forget(&self, queue: &str, priority: Priority) {
        if let Some(of_queue) = self.0.lock().get_mut(queue) {
            of_queue[index(priority)] = None;
        }
    }

    pub(crate) fn forget_all(&self) {
        self.0.lock().clear();
    }

    /// Those that are being created.
    pub(crate) fn unfinished(&self) -> Vec<(String, Priority)> {
        let all = self.0.lock();
        let unfinished = all.iter().flat_map(|(queue, of_queue)| {
            let unfinished = Priority::ALL.into_iter().filter(|priority| {
                let cell = &of_queue[index(*priority)];
                cell.as_ref().is_some_and(|cell| !cell.initialized())
            });
            unfinished.map(|priority| (queue.clone(), priority))
        });
        unfinished.collect()
    }
}

/// Counts from the most urgent one.
fn index(priority: Priority) -> usize {
    Priority::ALL.iter().position(|p| *p == priority).unwrap_or(0)
}

pub(crate) async fn create(
    link: &Link,
    layout: &Layout,
    shared: &Shared,
    queue: &str,
    priority: Priority,
) -> Result<(), Trouble> {
    let (stream, name) = (layout.stream(Stream::Queues), layout.consumer(queue, priority));
    let config = layout.consumer_config(queue, priority, shared);
    let body = json!({ "stream_name": stream, "config": config });
    let what = format!("CONSUMER.DURABLE.CREATE.{stream}.{name}");
    match settle(link, &what, &body, api::CONSUMER_NOT_CREATED).await {
        // The server may also be left with a consumer whose folder is gone.
        Err(trouble) if trouble.is(api::CONSUMER_NOT_CREATED) => {
            delete(link, stream, &name).await?;
            settle(link, &what, &body, api::CONSUMER_NOT_CREATED).await
        }
        other => other,
    }
}

pub(crate) async fn enqueue(
    link: &Link,
    layout: &Layout,
    key: &EntryKey,
    value: Vec<u8>,
) -> Result<(), BrokerError> {
    let headers = || {
        let mut headers = HeaderMap::new();
        headers.insert(NATS_MESSAGE_ID, key.id.as_str());
        Some(headers)
    };
    let subject = layout.entry(&key.queue, key.priority, &key.id);
    api::store(link, subject, headers, value).await?;
    Ok(())
}

/// Replaces an entry that is given out. The new one has another message id than the first.
pub(crate) async fn renew(
    link: &Link,
    layout: &Layout,
    delivery: &DeliveryToken,
    key: &EntryKey,
    token: &str,
    value: Vec<u8>,
) -> Result<(), BrokerError> {
    let headers = || {
        let mut headers = HeaderMap::new();
        headers.insert(NATS_MESSAGE_ID, format!("{}-{token}", key.id));
        Some(headers)
    };
    let subject = layout.entry(&key.queue, key.priority, &key.id);
    api::store(link, subject, headers, value).await?;
    link.send(delivery.0.to_string(), "+ACK");
    Ok(())
}

/// Counts the entries that wait.
pub(crate) async fn waiting(link: &Link, layout: &Layout) -> Result<u64, BrokerError> {
    Ok(list(link, layout).await?.iter().map(|(_, waiting, _)| waiting).sum())
}

pub(crate) async fn find(
    link: &Link,
    layout: &Layout,
    id: &str,
) -> Result<Option<door::Entry>, BrokerError> {
    let stream = layout.stream(Stream::Queues);
    let Some(stored) = api::last(link, stream, &layout.entry_anywhere(id)).await? else {
        return Ok(None);
    };
    let Some((queue, priority, id)) = layout.entry_key(&stored.subject) else {
        return Ok(None);
    };
    Ok(Some(door::Entry {
        key: EntryKey { queue: queue.to_owned(), priority, id: id.to_owned() },
        time: stored.time,
        value: stored.payload.into(),
    }))
}

/// Removes an entry, in a time that doesn't depend on the length of the queue.
pub(crate) async fn remove(
    link: &Link,
    layout: &Layout,
    key: &EntryKey,
) -> Result<(), BrokerError> {
    let subject = layout.entry(&key.queue, key.priority, &key.id);
    api::delete(link, layout.stream(Stream::Queues), &subject).await?;
    Ok(())
}

/// The consumers of all queues: name, waiting entries, and those given out.
pub(crate) async fn list(link: &Link, layout: &Layout) -> Result<Vec<(String, u64, u64)>, Trouble> {
    let what = format!("CONSUMER.LIST.{}", layout.stream(Stream::Queues));
    let mut all = Vec::new();
    loop {
        let page = api::call(link, &what, &json!({ "offset": all.len() })).await?;
        let Some(consumers) = page["consumers"].as_array() else { return Ok(all) };
        for consumer in consumers {
            let number = |field: &str| consumer[field].as_u64().unwrap_or(0);
            let name = consumer["name"].as_str().unwrap_or_default().to_owned();
            all.push((name, number("num_pending"), number("num_ack_pending")));
        }
        let total = page["total"].as_u64().unwrap_or(0) as usize;
        if consumers.is_empty() || all.len() >= total {
            return Ok(all);
        }
    }
}

pub(crate) async fn counts(link: &Link, layout: &Layout) -> Result<Vec<QueueCounts>, BrokerError> {
    let mut queues = BTreeMap::<String, QueueCounts>::new();
    for (name, waiting, given_out) in list(link, layout).await? {
        let Some((queue, priority)) = layout.consumer_queue(&name) else { continue };
        let counts = queues.entry(queue.to_owned()).or_default();
        counts.waiting[index(priority)] = waiting;
        counts.given_out += given_out;
    }
    let named = |(queue, counts)| QueueCounts { queue, ..counts };
    Ok(queues.into_iter().map(named).collect())
}

async fn delete(link: &Link, stream: &str, name: &str) -> Result<(), Trouble> {
    let what = format!("CONSUMER.DELETE.{stream}.{name}");
    match settle(link, &what, &Value::Null, api::CONSUMER_NOT_DELETED).await {
        Err(trouble) if trouble.is(api::CONSUMER_NOT_FOUND) => Ok(()),
        other => other,
    }
}

/// Sends a request that creates or deletes a consumer. The server fails for a moment while the same
/// consumer is being deleted: it writes to a folder that is being removed.
async fn settle(link: &Link, what: &str, body: &Value, failed: u64) -> Result<(), Trouble> {
    let mut attempts = 10;
    loop {
        match api::call(link, what, body).await {
            Err(trouble) if trouble.is(failed) && attempts > 0 => {
                attempts -= 1;
                sleep(PAUSE).await;
            }
            other => return other.map(drop),
        }
    }
}

/// Deletes the consumers of all queues and creates them anew: see [`crate::incarnation`].
pub(crate) async fn recreate(
    link: &Link,
    layout: &Layout,
    shared: &Shared,
) -> Result<usize, Trouble> {
    let stream = layout.stream(Stream::Queues);
    let mut count = 0;
    for (name, ..) in list(link, layout).await? {
        let Some((queue, priority)) = layout.consumer_queue(&name) else { continue };
        delete(link, stream, &name).await?;
        create(link, layout, shared, queue, priority).await?;
        count += 1;
    }
    Ok(count)
}
