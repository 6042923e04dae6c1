//! The door to the broker, on JetStream.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use atasker_runtime::__broker::{
    Broker, BrokerError, BrokerFuture, BrokerLimits, Delivery, DeliveryToken, Entry, EntryKey,
    Expect, Guard, Kept, LogEntry, Message, QueueCounts, Record, ReplyTo, Since, Sink,
};
use atasker_runtime::Priority;
use bytes::Bytes;
use futures_util::StreamExt;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::clock::Clock;
use crate::gate::Gate;
use crate::inner::{Inner, attend};
use crate::layout::{Layout, Shared, Stream};
use crate::link::{Failed, Link};
use crate::pull::{Lanes, Pulled};
use crate::queue::Consumers;
use crate::watch::Start;
use crate::{connect, incarnation, queue, records, store};

/// A connected member of a namespace.
pub(crate) struct NatsBroker {
    inner: Arc<Inner>,
    lanes: Lanes,
}

impl NatsBroker {
    pub(crate) async fn new(
        link: Arc<Link>,
        layout: Arc<Layout>,
        shared: Shared,
        limits: BrokerLimits,
    ) -> Result<NatsBroker, BrokerError> {
        let gate = Gate::new(shared.queue_limit);
        let inner = Arc::new(Inner {
            link,
            layout,
            shared,
            limits,
            clock: Clock::default(),
            consumers: Consumers::default(),
            gate,
            member: format!("{:016x}", fastrand::u64(..)),
            tokens: AtomicU64::new(1),
            ordered: watch::Sender::new(0),
        });
        let epoch = inner.link.state().epoch;
        incarnation::check(&inner).await?;
        inner.ordered.send_replace(epoch);
        let own = inner.clone();
        inner.link.spawn(async move { attend(&own, epoch).await });
        Ok(NatsBroker { inner, lanes: Lanes::default() })
    }
}

impl fmt::Debug for NatsBroker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NatsBroker").field("layout", &self.inner.layout).finish_non_exhaustive()
    }
}

impl Drop for NatsBroker {
    fn drop(&mut self) {
        self.inner.link.end();
    }
}

impl Broker for NatsBroker {
    fn read<'a>(&'a self, key: &'a str) -> BrokerFuture<'a, Result<Option<Record>, BrokerError>> {
        Box::pin(records::read(&self.inner.link, &self.inner.layout, key))
    }

    fn write<'a>(
        &'a self,
        key: &'a str,
        expect: Expect,
        token: &'a str,
        value: Vec<u8>,
    ) -> BrokerFuture<'a, Result<u64, BrokerError>> {
        Box::pin(async move {
            let subject = self.inner.layout.record(key);
            records::write(&self.inner.link, subject, expect, token, value).await
        })
    }

    fn remove<'a>(&'a self, key: &'a str) -> BrokerFuture<'a, Result<(), BrokerError>> {
        Box::pin(records::remove(&self.inner.link, &self.inner.layout, key))
    }

    fn watch<'a>(
        &'a self,
        filter: &'a str,
        since: Since,
        mut sink: Sink<Record>,
    ) -> BrokerFuture<'a, Result<Guard, BrokerError>> {
        Box::pin(async move {
            let layout = self.inner.layout.clone();
            let stream = self.inner.layout.stream(Stream::Records);
            let start = match since {
                Since::Now => Start::Now,
                Since::LastOfEach => Start::LastOfEach,
            };
            let report = move |delivered: crate::watch::Delivered| {
                if let Some(key) = layout.record_key(&delivered.subject) {
                    sink(Record {
                        key: key.to_owned(),
                        number: delivered.info.stream_seq,
                        time: delivered.info.time,
                        value: delivered.payload.into(),
                    });
                }
            };
            let subject = self.inner.layout.record(filter);
            let link = &self.inner.link;
            Ok(crate::watch::start(link, stream, &subject, start, Box::new(report)).await?.guard)
        })
    }

    fn open_queue<'a>(&'a self, queue: &'a str) -> BrokerFuture<'a, Result<(), BrokerError>> {
        Box::pin(async move {
            for priority in Priority::ALL {
                self.inner.ensure(queue, priority).await?;
            }
            Ok(())
        })
    }

    fn enqueue<'a>(
        &'a self,
        entry: &'a EntryKey,
        value: Vec<u8>,
    ) -> BrokerFuture<'a, Result<(), BrokerError>> {
        Box::pin(async move {
            // The entry doesn't need the consumer, but those do who count.
            if self.inner.consumers.is_new(&entry.queue, entry.priority) {
                let (inner, entry) = (self.inner.clone(), entry.clone());
                self.inner.link.spawn(async move {
                    if inner.ensure(&entry.queue, entry.priority).await.is_err() {
                        inner.consumers.forget(&entry.queue, entry.priority);
                    }
                });
            }
            let _pass = self.inner.gate.pass(|| self.inner.waiting()).await?;
            queue::enqueue(&self.inner.link, &self.inner.layout, entry, value).await
        })
    }

    fn renew_entry<'a>(
        &'a self,
        delivery: &'a DeliveryToken,
        entry: &'a EntryKey,
        token: &'a str,
        value: Vec<u8>,
    ) -> BrokerFuture<'a, Result<(), BrokerError>> {
        Box::pin(queue::renew(&self.inner.link, &self.inner.layout, delivery, entry, token, value))
    }

    fn pull_now<'a>(
        &'a self,
        queue: &'a str,
        priority: Priority,
        batch: usize,
    ) -> BrokerFuture<'a, Result<Vec<Delivery>, BrokerError>> {
        Box::pin(async move {
            let (link, layout) = (&self.inner.link, &self.inner.layout);
            for _ in 0..2 {
                self.inner.ensure(queue, priority).await?;
                match self.lanes.now(link, layout, queue, priority, batch).await? {
                    Pulled::Entries(entries) => return Ok(entries),
                    Pulled::NoConsumer => self.inner.consumers.forget(queue, priority),
                }
            }
            Ok(Vec::new())
        })
    }

    fn pull_next<'a>(
        &'a self,
        queue: &'a str,
        priority: Priority,
        wait: Duration,
    ) -> BrokerFuture<'a, Result<Option<Delivery>, BrokerError>> {
        Box::pin(async move {
            let (link, layout) = (&self.inner.link, &self.inner.layout);
            let until = Instant::now() + wait;
            while Instant::now() < until {
                // Without a connection the wait begins all the same.
                if link.connected(until).await.is_ok() {
                    self.inner.ensure(queue, priority).await?;
                }
                match self.lanes.next(link, layout, queue, priority, until).await? {
                    Pulled::Entries(entries) => return Ok(entries.into_iter().next()),
                    Pulled::NoConsumer => self.inner.consumers.forget(queue, priority),
                }
            }
            Ok(None)
        })
    }

    fn ack(&self, delivery: &DeliveryToken) {
        self.inner.link.send(delivery.0.to_string(), "+ACK");
    }

    fn nak(&self, delivery: &DeliveryToken, delay: Duration) {
        let text = if delay.is_zero() {
            "-NAK".to_owned()
        } else {
            format!("-NAK {{\"delay\":{}}}", crate::layout::nanos(delay))
        };
        self.inner.link.send(delivery.0.to_string(), text);
    }

    fn touch(&self, delivery: &DeliveryToken) {
        self.inner.link.send(delivery.0.to_string(), "+WPI");
    }

    fn find_entry<'a>(
        &'a self,
        id: &'a str,
    ) -> BrokerFuture<'a, Result<Option<Entry>, BrokerError>> {
        Box::pin(queue::find(&self.inner.link, &self.inner.layout, id))
    }

    fn remove_entry<'a>(
        &'a self,
        entry: &'a EntryKey,
    ) -> BrokerFuture<'a, Result<(), BrokerError>> {
        Box::pin(queue::remove(&self.inner.link, &self.inner.layout, entry))
    }

    fn queues(&self) -> BrokerFuture<'_, Result<Vec<QueueCounts>, BrokerError>> {
        Box::pin(async move {
            self.inner.finish_consumers().await?;
            queue::counts(&self.inner.link, &self.inner.layout).await
        })
    }

    fn append<'a>(
        &'a self,
        log: &'a str,
        key: &'a str,
        value: Vec<u8>,
    ) -> BrokerFuture<'a, Result<(), BrokerError>> {
        Box::pin(store::append(&self.inner.link, &self.inner.layout, log, key, value))
    }

    fn log<'a>(&'a self, log: &'a str) -> BrokerFuture<'a, Result<Vec<LogEntry>, BrokerError>> {
        Box::pin(store::log(&self.inner.link, &self.inner.layout, log))
    }

    fn log_len<'a>(&'a self, log: &'a str) -> BrokerFuture<'a, Result<u64, BrokerError>> {
        Box::pin(store::log_len(&self.inner.link, &self.inner.layout, log))
    }

    fn remove_logged<'a>(
        &'a self,
        log: &'a str,
        key: &'a str,
    ) -> BrokerFuture<'a, Result<bool, BrokerError>> {
        Box::pin(store::remove_logged(&self.inner.link, &self.inner.layout, log, key))
    }

    fn put_block<'a>(
        &'a self,
        kept: Kept,
        key: &'a str,
        index: u32,
        value: Vec<u8>,
    ) -> BrokerFuture<'a, Result<(), BrokerError>> {
        Box::pin(store::put_block(&self.inner.link, &self.inner.layout, kept, key, index, value))
    }

    fn get_blocks<'a>(
        &'a self,
        kept: Kept,
        key: &'a str,
        count: u32,
    ) -> BrokerFuture<'a, Result<Vec<u8>, BrokerError>> {
        Box::pin(store::get_blocks(&self.inner.link, &self.inner.layout, kept, key, count))
    }

    fn remove_blocks<'a>(
        &'a self,
        kept: Kept,
        key: &'a str,
    ) -> BrokerFuture<'a, Result<(), BrokerError>> {
        Box::pin(store::remove_blocks(&self.inner.link, &self.inner.layout, kept, key))
    }

    fn subscribe<'a>(
        &'a self,
        subject: &'a str,
        mut sink: Sink<Message>,
    ) -> BrokerFuture<'a, Result<Guard, BrokerError>> {
        Box::pin(async move {
            let link = &self.inner.link;
            link.connected(Instant::now() + crate::api::IN_ALL).await?;
            let full = self.inner.layout.message(subject);
            let messages = link.client.subscribe(full.clone()).await;
            let mut messages = messages.map_err(|_| BrokerError::Closed)?;
            let layout = self.inner.layout.clone();
            let task = link.spawn(async move {
                while let Some(message) = messages.next().await {
                    let Some(subject) = layout.message_subject(&message.subject) else { continue };
                    sink(Message {
                        subject: subject.to_owned(),
                        value: message.payload.into(),
                        reply: message.reply.map(|r| ReplyTo(r.as_str().into())),
                    });
                }
            });
            let guard = Guard::new(move || task.abort());
            link.echo(crate::api::IN_ALL).await?;
            link.check(&full).await?;
            Ok(guard)
        })
    }

    fn publish(&self, subject: &str, value: Vec<u8>) {
        // What is old when the connection is back is of no use: its sender repeats it.
        if self.is_connected() {
            self.inner.link.send(self.inner.layout.message(subject), value);
        }
    }

    fn request<'a>(
        &'a self,
        subject: &'a str,
        value: Vec<u8>,
        timeout: Duration,
    ) -> BrokerFuture<'a, Result<Vec<u8>, BrokerError>> {
        Box::pin(async move {
            let subject = self.inner.layout.message(subject);
            let until = Instant::now() + timeout;
            let reply = self.inner.link.ask(subject, None, Bytes::from(value), until).await?;
            Ok(reply.payload.into())
        })
    }

    fn reply(&self, to: &ReplyTo, value: Vec<u8>) {
        self.inner.link.send(to.0.to_string(), value);
    }

    fn time(&self) -> BrokerFuture<'_, Result<u64, BrokerError>> {
        Box::pin(
            async move { Ok(self.inner.clock.now(&self.inner.link, &self.inner.layout).await?) },
        )
    }

    fn is_connected(&self) -> bool {
        self.inner.link.state().connected
    }

    fn on_connection(&self, sink: Sink<bool>) {
        self.inner.link.on_connection(sink);
    }

    fn limits(&self) -> BrokerLimits {
        self.inner.limits
    }

    fn version(&self) -> String {
        format!("nats-server {}", self.inner.link.client.server_info().version)
    }

    fn close(&self) -> BrokerFuture<'_, ()> {
        Box::pin(self.inner.link.close())
    }
}

impl From<Failed> for connect::Failure {
    fn from(failed: Failed) -> connect::Failure {
        BrokerError::from(failed).into()
    }
}
