//! A member's connection to the broker in memory.
//!
//! What a member sends takes two steps, each of which may fail as scripted: the way to the broker,
//! where it is carried out, and the way of the answer. Once it is sent it is carried out even if the
//! member is gone meanwhile.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::time::Instant;

use super::hub::{Connected, Hub, deliver};
use super::inbox::{Inbox, Sinks};
use super::way::ANSWER_WITHIN;
use crate::cluster::broker::{
    Broker, BrokerError, BrokerFuture, BrokerLimits, Delivery, DeliveryToken, Entry, EntryKey,
    Expect, Guard, Kept, LogEntry, Message, QueueCounts, Record, ReplyTo, Since, Sink,
};
use crate::priority::Priority;

/// See the [module documentation](self).
pub(crate) struct Connection {
    pub(super) hub: Arc<Hub>,
    pub(super) id: u64,
    inbox: Arc<Inbox>,
    sinks: Arc<Sinks>,
    pub(super) runtime: Handle,
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("id", &self.id).finish_non_exhaustive()
    }
}

impl Hub {
    /// Connects a member. `name` is one of the names by which it can be frozen.
    ///
    /// # Panics
    ///
    /// Panics outside of a tokio runtime.
    pub(crate) fn connect(self: &Arc<Self>, name: &str) -> Arc<Connection> {
        let inbox = Arc::new(Inbox::default());
        let sinks = Arc::new(Sinks::default());
        let runtime = Handle::current();
        let id = {
            let mut state = self.state();
            let id = state.new_id();
            let is_back = !state.script.stopped;
            let names = vec![name.to_owned()];
            state.connections.insert(id, Connected { names, inbox: inbox.clone(), is_back });
            id
        };
        runtime.spawn(deliver(self.clone(), id, inbox.clone(), sinks.clone()));
        Arc::new(Connection { hub: self.clone(), id, inbox, sinks, runtime })
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.hub.state().disconnect(self.id);
        self.inbox.close();
    }
}

fn keep<T>(_: &Hub, _: T) {}

fn give_back(hub: &Hub, deliveries: Vec<Delivery>) {
    let now = Instant::now();
    let mut state = hub.state();
    for delivery in deliveries {
        state.queues.hold(&delivery.token, now);
    }
}

impl Broker for Connection {
    fn read<'a>(&'a self, key: &'a str) -> BrokerFuture<'a, Result<Option<Record>, BrokerError>> {
        let key = key.to_owned();
        let read = move |hub: &Hub| {
            let (_, time) = hub.now();
            let mut state = hub.state();
            hub.forget_old(&mut state, time);
            Ok(state.records.get(&key).cloned())
        };
        Box::pin(self.call(read, keep))
    }

    fn write<'a>(
        &'a self,
        key: &'a str,
        expect: Expect,
        _token: &'a str,
        value: Vec<u8>,
    ) -> BrokerFuture<'a, Result<u64, BrokerError>> {
        let key = key.to_owned();
        Box::pin(self.call(move |hub| hub.write(&key, expect, &value), keep))
    }

    fn remove<'a>(&'a self, key: &'a str) -> BrokerFuture<'a, Result<(), BrokerError>> {
        let key = key.to_owned();
        let remove = move |hub: &Hub| {
            hub.state().records.remove(&key);
            Ok(())
        };
        Box::pin(self.call(remove, keep))
    }

    fn watch<'a>(
        &'a self,
        filter: &'a str,
        since: Since,
        sink: Sink<Record>,
    ) -> BrokerFuture<'a, Result<Guard, BrokerError>> {
        Box::pin(async move {
            if !self.is_there(Instant::now() + ANSWER_WITHIN).await {
                return Err(BrokerError::NoAnswer("the broker in memory".to_owned()));
            }
            let id = self.hub.state().new_id();
            self.sinks.add_record(id, sink);
            self.hub.state().watch(self.id, filter, since, id);
            let (hub, sinks) = (self.hub.clone(), self.sinks.clone());
            Ok(Guard::new(move || {
                hub.state().unwatch(id);
                sinks.remove(id);
            }))
        })
    }

    fn open_queue<'a>(&'a self, queue: &'a str) -> BrokerFuture<'a, Result<(), BrokerError>> {
        let queue = queue.to_owned();
        let open = move |hub: &Hub| {
            hub.state().queues.open(&queue);
            Ok(())
        };
        Box::pin(self.call(open, keep))
    }

    fn enqueue<'a>(
        &'a self,
        entry: &'a EntryKey,
        value: Vec<u8>,
    ) -> BrokerFuture<'a, Result<(), BrokerError>> {
        let entry = entry.clone();
        let enqueue = move |hub: &Hub| {
            let (now, time) = hub.now();
            let mut state = hub.state();
            hub.forget_old(&mut state, time);
            state.queues.enqueue(now, time, &entry, &value)
        };
        Box::pin(self.call(enqueue, keep))
    }

    fn pull_now<'a>(
        &'a self,
        queue: &'a str,
        priority: Priority,
        batch: usize,
    ) -> BrokerFuture<'a, Result<Vec<Delivery>, BrokerError>> {
        let queue = queue.to_owned();
        let pull =
            move |hub: &Hub| Ok(hub.state().queues.take(Instant::now(), &queue, priority, batch).0);
        Box::pin(self.call(pull, give_back))
    }

    fn pull_next<'a>(
        &'a self,
        queue: &'a str,
        priority: Priority,
        wait: Duration,
    ) -> BrokerFuture<'a, Result<Option<Delivery>, BrokerError>> {
        Box::pin(async move {
            let deadline = Instant::now() + wait;
            loop {
                let changed = self.hub.state().queues.changed(queue, priority);
                let changed = changed.notified();
                let (of, now) = (queue.to_owned(), Instant::now());
                let pull =
                    move |hub: &Hub| Ok(hub.state().queues.take(Instant::now(), &of, priority, 1));
                let undo = |hub: &Hub, (taken, _): (Vec<Delivery>, _)| give_back(hub, taken);
                let (mut taken, next) = self.call(pull, undo).await?;
                if let Some(delivery) = taken.pop() {
                    return Ok(Some(delivery));
                }
                if now >= deadline {
                    return Ok(None);
                }
                let until = next.map_or(deadline, |next| next.min(deadline));
                drop(tokio::time::timeout_at(until, changed).await);
            }
        })
    }

    fn renew_entry<'a>(
        &'a self,
        delivery: &'a DeliveryToken,
        entry: &'a EntryKey,
        token: &'a str,
        value: Vec<u8>,
    ) -> BrokerFuture<'a, Result<(), BrokerError>> {
        let (delivery, key, token) = (delivery.clone(), entry.clone(), token.to_owned());
        let renew = move |hub: &Hub| {
            let (now, time) = hub.now();
            let mut state = hub.state();
            hub.forget_old(&mut state, time);
            let entry = Entry { key: key.clone(), time, value: value.clone() };
            state.queues.renew(now, &delivery, &token, entry);
            Ok(())
        };
        Box::pin(self.call(renew, keep))
    }

    fn ack(&self, delivery: &DeliveryToken) {
        let token = delivery.clone();
        self.send(move |hub| {
            let mut state = hub.state();
            let may_return = state.script.repeat > 0.0;
            state.queues.ack(&token, may_return);
        });
    }

    fn nak(&self, delivery: &DeliveryToken, delay: Duration) {
        let token = delivery.clone();
        self.send(move |hub| hub.state().queues.hold(&token, Instant::now() + delay));
    }

    fn touch(&self, delivery: &DeliveryToken) {
        let token = delivery.clone();
        self.send(move |hub| {
            let until = Instant::now() + hub.options.limits.redeliver_after;
            hub.state().queues.hold(&token, until);
        });
    }

    fn find_entry<'a>(
        &'a self,
        id: &'a str,
    ) -> BrokerFuture<'a, Result<Option<Entry>, BrokerError>> {
        let id = id.to_owned();
        Box::pin(self.call(move |hub| Ok(hub.state().queues.find(&id).cloned()), keep))
    }

    fn remove_entry<'a>(
        &'a self,
        entry: &'a EntryKey,
    ) -> BrokerFuture<'a, Result<(), BrokerError>> {
        let id = entry.id.clone();
        let remove = move |hub: &Hub| {
            hub.state().queues.remove_id(&id);
            Ok(())
        };
        Box::pin(self.call(remove, keep))
    }

    fn queues(&self) -> BrokerFuture<'_, Result<Vec<QueueCounts>, BrokerError>> {
        Box::pin(self.call(|hub| Ok(hub.state().queues.counts(Instant::now())), keep))
    }

    fn append<'a>(
        &'a self,
        log: &'a str,
        key: &'a str,
        value: Vec<u8>,
    ) -> BrokerFuture<'a, Result<(), BrokerError>> {
        let (log, key) = (log.to_owned(), key.to_owned());
        let append = move |hub: &Hub| {
            let (_, time) = hub.now();
            hub.state().blobs.append(&log, &key, time, &value);
            Ok(())
        };
        Box::pin(self.call(append, keep))
    }

    fn log<'a>(&'a self, log: &'a str) -> BrokerFuture<'a, Result<Vec<LogEntry>, BrokerError>> {
        let log = log.to_owned();
        let read = move |hub: &Hub| {
            let (_, time) = hub.now();
            Ok(hub.state().blobs.log(&log, time))
        };
        Box::pin(self.call(read, keep))
    }

    fn remove_logged<'a>(
        &'a self,
        log: &'a str,
        key: &'a str,
    ) -> BrokerFuture<'a, Result<bool, BrokerError>> {
        let (log, key) = (log.to_owned(), key.to_owned());
        Box::pin(self.call(move |hub| Ok(hub.state().blobs.remove_logged(&log, &key)), keep))
    }

    fn put_block<'a>(
        &'a self,
        kept: Kept,
        key: &'a str,
        index: u32,
        value: Vec<u8>,
    ) -> BrokerFuture<'a, Result<(), BrokerError>> {
        let key = key.to_owned();
        let put = move |hub: &Hub| {
            let (_, time) = hub.now();
            hub.state().blobs.put_block(kept, &key, index, (time, &value));
            Ok(())
        };
        Box::pin(self.call(put, keep))
    }

    fn get_blocks<'a>(
        &'a self,
        kept: Kept,
        key: &'a str,
        count: u32,
    ) -> BrokerFuture<'a, Result<Vec<u8>, BrokerError>> {
        let key = key.to_owned();
        let get = move |hub: &Hub| {
            let (_, time) = hub.now();
            let mut state = hub.state();
            state.blobs.forget_blocks(time, hub.options.limits.keep.as_nanos() as u64);
            state.blobs.get_blocks(kept, &key, count)
        };
        Box::pin(self.call(get, keep))
    }

    fn remove_blocks<'a>(
        &'a self,
        kept: Kept,
        key: &'a str,
    ) -> BrokerFuture<'a, Result<(), BrokerError>> {
        let key = key.to_owned();
        let remove = move |hub: &Hub| {
            hub.state().blobs.remove_blocks(kept, &key);
            Ok(())
        };
        Box::pin(self.call(remove, keep))
    }

    fn subscribe<'a>(
        &'a self,
        subject: &'a str,
        sink: Sink<Message>,
    ) -> BrokerFuture<'a, Result<Guard, BrokerError>> {
        Box::pin(async move {
            let id = self.hub.state().new_id();
            self.sinks.add_message(id, sink);
            self.hub.state().subscribe(self.id, subject, id);
            let (hub, sinks, subject) = (self.hub.clone(), self.sinks.clone(), subject.to_owned());
            Ok(Guard::new(move || {
                hub.state().unsubscribe(&subject, id);
                sinks.remove(id);
            }))
        })
    }

    fn publish(&self, subject: &str, value: Vec<u8>) {
        let subject = subject.to_owned();
        self.send(move |hub| {
            hub.route(&subject, &value, None);
        });
    }

    fn request<'a>(
        &'a self,
        subject: &'a str,
        value: Vec<u8>,
        timeout: Duration,
    ) -> BrokerFuture<'a, Result<Vec<u8>, BrokerError>> {
        Box::pin(async move {
            let deadline = Instant::now() + timeout;
            let (reply_to, reply) = self.hub.expect_reply(self.id);
            let (to, subject) = (reply_to.clone(), subject.to_owned());
            let ask = move |hub: &Hub| match hub.route(&subject, &value, Some(&to)) {
                true => Ok(()),
                false => Err(BrokerError::NoResponders),
            };
            let answer = match self.call(ask, keep).await {
                Err(BrokerError::NoResponders) => Err(BrokerError::NoResponders),
                // Without an answer to the request itself, there may still be a reply.
                Ok(()) | Err(_) => match tokio::time::timeout_at(deadline, reply).await {
                    Ok(Ok(reply)) => Ok(reply),
                    _ => Err(BrokerError::NoAnswer("no reply in time".to_owned())),
                },
            };
            self.hub.forget_reply(&reply_to);
            answer
        })
    }

    fn reply(&self, to: &ReplyTo, value: Vec<u8>) {
        let to = to.clone();
        self.send(move |hub| hub.reply(&to, value.clone()));
    }

    fn time(&self) -> BrokerFuture<'_, Result<u64, BrokerError>> {
        Box::pin(self.call(|hub| Ok(hub.now().1), keep))
    }

    fn is_connected(&self) -> bool {
        let state = self.hub.state();
        !state.script.stopped
            && state.connections.get(&self.id).is_some_and(|connected| connected.is_back)
    }

    fn on_connection(&self, sink: Sink<bool>) {
        self.sinks.add_connection(sink);
    }

    fn limits(&self) -> BrokerLimits {
        self.hub.options.limits
    }

    fn version(&self) -> String {
        concat!("atasker ", env!("CARGO_PKG_VERSION"), ", in memory").to_owned()
    }

    fn close(&self) -> BrokerFuture<'_, ()> {
        Box::pin(async {
            self.hub.state().disconnect(self.id);
        })
    }
}
