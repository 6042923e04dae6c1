//! Ordered reports of what is written to a stream.
//!
//! An own push consumer: ephemeral, without acknowledgments, with flow control and heartbeats. Its
//! messages are numbered without gaps. When a number is missing, when nothing was heard for a while,
//! or when the connection is new, another consumer begins after the last message that was reported.
//! A subscription without JetStream is no replacement: it would report refused writes as well.

use std::sync::Arc;
use std::time::Duration;

use async_nats::{Message, Subscriber};
use atasker_runtime::__broker::{BrokerError, Guard};
use bytes::Bytes;
use futures_util::StreamExt;
use serde_json::{Value, json};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, timeout_at};

use crate::api::{self, DeliveryInfo, Trouble};
use crate::layout::nanos;
use crate::link::{Failed, Link};

const HEARTBEAT: Duration = Duration::from_secs(2);
const SILENCE: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(200);

/// With which message a watch begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Start {
    /// The first one that is stored.
    First,
    /// The last one of each subject.
    LastOfEach,
    /// The next one.
    Now,
    /// The one with this number, or the first one after it.
    Number(u64),
}

/// A message of a stream.
#[derive(Debug)]
pub(crate) struct Delivered {
    pub(crate) subject: String,
    pub(crate) info: DeliveryInfo,
    pub(crate) payload: Bytes,
}

pub(crate) type Sink = Box<dyn FnMut(Delivered) + Send>;

/// Ends the watch when it is dropped.
#[derive(Debug)]
pub(crate) struct Watch {
    pub(crate) guard: Guard,
    /// How many messages were there when it began.
    pub(crate) pending: u64,
}

/// Begins to watch. Returns once the server has the consumer.
pub(crate) async fn start(
    link: &Arc<Link>,
    stream: &str,
    filter: &str,
    from: Start,
    sink: Sink,
) -> Result<Watch, BrokerError> {
    let from = match from {
        Start::Now => Start::Number(last_number(link, stream).await? + 1),
        other => other,
    };
    let mut task = Task {
        link: link.clone(),
        stream: stream.to_owned(),
        filter: filter.to_owned(),
        from,
        last: 0,
        epoch: 0,
        sink,
    };
    let (began, begin) = oneshot::channel();
    let handle = link.spawn(async move {
        match task.consumer().await {
            Ok((messages, pending)) => {
                if began.send(Ok(pending)).is_ok() {
                    task.run(messages).await;
                }
            }
            Err(trouble) => drop(began.send(Err(trouble))),
        }
    });
    // From here on the guard ends it, also if this future is dropped.
    let guard = Guard::new(move || handle.abort());
    let pending = begin.await.unwrap_or(Err(Trouble::Link(Failed::Closed)))?;
    Ok(Watch { guard, pending })
}

async fn last_number(link: &Link, stream: &str) -> Result<u64, Trouble> {
    let info = api::call(link, &format!("STREAM.INFO.{stream}"), &Value::Null).await?;
    let last = &info["state"]["last_seq"];
    last.as_u64().ok_or_else(|| Trouble::Odd(format!("a stream without a last number: {info}")))
}

struct Task {
    link: Arc<Link>,
    stream: String,
    filter: String,
    from: Start,
    /// The number of the last message that was reported.
    last: u64,
    /// The connection that the consumer belongs to.
    epoch: u64,
    sink: Sink,
}

impl Task {
    /// Creates a consumer. Returns its messages, and how many there are.
    async fn consumer(&mut self) -> Result<(Subscriber, u64), Trouble> {
        if self.last > 0 {
            self.from = Start::Number(self.last + 1);
        }
        if let Start::Number(number) = self.from {
            // A server that has lost its last messages, or all of them, numbers new ones as before.
            if number > last_number(&self.link, &self.stream).await? + 1 {
                self.from = Start::First;
            }
        }
        let inbox = self.link.inbox();
        self.epoch = self.link.state().epoch;
        let messages =
            self.link.client.subscribe(inbox.clone()).await.map_err(|_| Failed::Closed)?;
        let mut config = json!({
            "deliver_subject": inbox,
            "ack_policy": "none",
            "max_deliver": 1,
            "filter_subject": self.filter,
            "replay_policy": "instant",
            "flow_control": true,
            "idle_heartbeat": nanos(HEARTBEAT),
            "inactive_threshold": nanos(Duration::from_secs(10)),
            "mem_storage": true,
            "num_replicas": 1,
        });
        config["deliver_policy"] = match self.from {
            Start::First => "all",
            Start::LastOfEach => "last_per_subject",
            Start::Now => "new",
            Start::Number(_) => "by_start_sequence",
        }
        .into();
        if let Start::Number(number) = self.from {
            config["opt_start_seq"] = number.into();
        }
        let body = json!({ "stream_name": self.stream, "config": config });
        let what = format!("CONSUMER.CREATE.{}", self.stream);
        let made = api::call(&self.link, &what, &body).await?;
        Ok((messages, made["num_pending"].as_u64().unwrap_or(0)))
    }

    async fn run(mut self, mut messages: Subscriber) {
        loop {
            self.report(&mut messages).await;
            drop(messages);
            messages = loop {
                let far = Instant::now() + Duration::from_secs(3600);
                if let Err(Failed::Closed) = self.link.connected(far).await {
                    return;
                }
                match self.consumer().await {
                    Ok((messages, _)) => break messages,
                    Err(trouble) => {
                        tracing::debug!("a watch can't go on yet: {trouble:?}");
                        sleep(PAUSE).await;
                    }
                }
            };
        }
    }

    /// Reports the messages of one consumer. Returns when another one is needed.
    async fn report(&mut self, messages: &mut Subscriber) {
        let mut expected = 1;
        let mut state = self.link.changes();
        loop {
            let silent = Instant::now() + SILENCE;
            let epoch = self.epoch;
            let message = tokio::select! {
                biased;
                message = timeout_at(silent, messages.next()) => message,
                changed = state.wait_for(|s| s.connected && s.epoch != epoch) => {
                    let _ = changed;
                    return;
                }
            };
            let Ok(Some(message)) = message else { return };
            if message.status.is_some() {
                if self.lost_some(&message, expected) {
                    return;
                }
                continue;
            }
            let Some(info) = message.reply.as_ref().and_then(|r| api::delivery_info(r)) else {
                continue;
            };
            if info.consumer_seq != expected {
                return;
            }
            expected += 1;
            self.last = info.stream_seq;
            (self.sink)(Delivered {
                subject: message.subject.into_string(),
                info,
                payload: message.payload,
            });
        }
    }

    /// Answers a request for flow control. Returns whether a heartbeat shows that messages are
    /// missing.
    fn lost_some(&self, message: &Message, expected: u64) -> bool {
        if let Some(reply) = &message.reply {
            self.link.send(reply.clone(), Bytes::new());
            return false;
        }
        let header = |name: &str| Some(message.headers.as_ref()?.get(name)?.as_str());
        if let Some(stalled) = header("Nats-Consumer-Stalled") {
            self.link.send(stalled.to_owned(), Bytes::new());
        }
        header("Nats-Last-Consumer")
            .and_then(|number| number.parse::<u64>().ok())
            .is_some_and(|number| number >= expected)
    }
}
