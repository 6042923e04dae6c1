//! What is on its way to a connection, and the sinks that it is delivered to.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::cluster::broker::{Message, Record, Sink};
use crate::sync::lock::Mutex;

#[derive(Debug)]
pub(super) enum Event {
    Message(u64, Message),
    Record { watch: u64, number: u64, key: String },
    Connection(bool),
}

/// What is on its way to a connection.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    queue: Mutex<Queue>,
    changed: Notify,
    closed: AtomicBool,
}

#[derive(Debug, Default)]
struct Queue {
    /// By the time of its arrival, and then in the order in which it was sent.
    events: BTreeMap<(Instant, u64), Event>,
    sent: u64,
    /// The arrival of the last record of each watch. Records keep their order.
    last_record: HashMap<u64, Instant>,
}

impl Inbox {
    pub(super) fn push(&self, due: Instant, event: Event) {
        {
            let mut queue = self.queue.lock();
            queue.sent += 1;
            let sent = queue.sent;
            queue.events.insert((due, sent), event);
        }
        self.changed.notify_one();
    }

    pub(super) fn record(&self, watch: u64, due: Instant, number: u64, key: &str) {
        let due = {
            let mut queue = self.queue.lock();
            let last = queue.last_record.entry(watch).or_insert(due);
            *last = due.max(*last);
            *last
        };
        self.push(due, Event::Record { watch, number, key: key.to_owned() });
    }

    /// Returns what has arrived, or when something will.
    pub(super) fn next(&self, now: Instant) -> Result<Event, Option<Instant>> {
        let mut queue = self.queue.lock();
        match queue.events.first_key_value().map(|((due, _), _)| *due) {
            Some(due) if due <= now => Ok(queue.events.pop_first().expect("there is one").1),
            due => Err(due),
        }
    }

    /// Waits for a change, at most until then.
    pub(super) async fn wait(&self, until: Option<Instant>) {
        let changed = self.changed.notified();
        match until {
            Some(until) => drop(tokio::time::timeout_at(until, changed).await),
            None => changed.await,
        }
    }

    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
        self.changed.notify_one();
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::SeqCst)
    }
}

/// The sinks of a connection.
#[derive(Default)]
pub(super) struct Sinks {
    messages: Mutex<HashMap<u64, Arc<Shared<Message>>>>,
    records: Mutex<HashMap<u64, Arc<Shared<Record>>>>,
    connection: Mutex<Vec<Arc<Shared<bool>>>>,
}

/// A sink, which is called with no lock of the table held.
struct Shared<T>(Mutex<Option<Sink<T>>>);

impl<T> Shared<T> {
    fn new(sink: Sink<T>) -> Arc<Self> {
        Arc::new(Shared(Mutex::new(Some(sink))))
    }

    /// There is one caller: the task that delivers.
    fn call(&self, value: T) {
        let sink = self.0.lock().take();
        if let Some(mut sink) = sink {
            sink(value);
            *self.0.lock() = Some(sink);
        }
    }
}

impl Sinks {
    pub(super) fn add_message(&self, id: u64, sink: Sink<Message>) {
        self.messages.lock().insert(id, Shared::new(sink));
    }

    pub(super) fn add_record(&self, id: u64, sink: Sink<Record>) {
        self.records.lock().insert(id, Shared::new(sink));
    }

    pub(super) fn add_connection(&self, sink: Sink<bool>) {
        self.connection.lock().push(Shared::new(sink));
    }

    pub(super) fn remove(&self, id: u64) {
        let message = self.messages.lock().remove(&id);
        let record = self.records.lock().remove(&id);
        drop((message, record));
    }

    pub(super) fn message(&self, id: u64, message: Message) {
        let sink = self.messages.lock().get(&id).cloned();
        if let Some(sink) = sink {
            sink.call(message);
        }
    }

    pub(super) fn record(&self, id: u64, record: Record) {
        let sink = self.records.lock().get(&id).cloned();
        if let Some(sink) = sink {
            sink.call(record);
        }
    }

    pub(super) fn connection(&self, is_there: bool) {
        let sinks = self.connection.lock().clone();
        for sink in sinks {
            sink.call(is_there);
        }
    }
}
