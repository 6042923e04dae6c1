//! The connection: requests and their replies, what is sent without an answer, and events.
//!
//! All replies arrive at one subscription, `{inbox}.r.*`, and are told apart by their last token. A
//! request fails at once when the connection is lost, because what was being written at that moment
//! is lost without notice. A caller that may send it again does so with the same
//! message id.
//!
//! The client takes any number of bytes into its buffer while the server doesn't read, so this
//! bounds them: `room` has a permit per byte. The bytes of a request that was not answered are given
//! back once a message to ourselves has come back, or the connection is lost.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use async_nats::{Client, Event, HeaderMap, Message, ServerError, Subject};
use atasker_runtime::__broker::{BrokerError, Sink};
use bytes::Bytes;
use futures_util::StreamExt;
use parking_lot::Mutex;
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio::task::AbortHandle;
use tokio::time::{Instant, timeout_at};

/// Counted for each message in addition to its payload.
const OVERHEAD: usize = 256;

/// Whether there is a connection, and how often there was one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct State {
    pub(crate) connected: bool,
    pub(crate) epoch: u64,
    pub(crate) closed: bool,
}

/// What the callback for events needs before there is a connection.
pub(crate) struct Events {
    state: watch::Sender<State>,
    sinks: Mutex<Vec<Sink<bool>>>,
    waiting: Mutex<HashMap<u64, Waiting>>,
    /// Subjects that the server has refused, with its words.
    refused: Mutex<HashMap<String, String>>,
    /// Whether a refusal was logged since there was a connection.
    logged: Mutex<bool>,
    first: Mutex<bool>,
    /// Bytes of requests that were not answered.
    unanswered: AtomicUsize,
    room: Semaphore,
    room_size: usize,
}

struct Waiting {
    subject: Subject,
    reply: oneshot::Sender<Answer>,
}

enum Answer {
    Message(Message),
    Denied(String),
}

/// Why a request has no reply.
#[derive(Debug)]
pub(crate) enum Failed {
    NoResponders,
    NoAnswer(&'static str),
    Denied(String),
    Closed,
}

impl From<Failed> for BrokerError {
    fn from(failed: Failed) -> BrokerError {
        match failed {
            Failed::NoResponders => BrokerError::NoResponders,
            Failed::NoAnswer(why) => BrokerError::NoAnswer(why.to_owned()),
            Failed::Denied(text) => BrokerError::Denied(text),
            Failed::Closed => BrokerError::Closed,
        }
    }
}

impl Events {
    pub(crate) fn new(pending_bytes: usize) -> Arc<Events> {
        let room_size = pending_bytes.clamp(2 << 20, Semaphore::MAX_PERMITS.min(u32::MAX as usize));
        Arc::new(Events {
            state: watch::Sender::new(State { connected: true, epoch: 1, closed: false }),
            sinks: Mutex::new(Vec::new()),
            waiting: Mutex::new(HashMap::new()),
            refused: Mutex::new(HashMap::new()),
            logged: Mutex::new(false),
            first: Mutex::new(true),
            unanswered: AtomicUsize::new(0),
            room: Semaphore::new(room_size),
            room_size,
        })
    }

    /// Handles an event of the client.
    pub(crate) fn on(&self, event: Event) {
        match event {
            Event::Connected => {
                *self.logged.lock() = false;
                // The first connection is what the state begins with.
                if std::mem::take(&mut *self.first.lock()) {
                    return;
                }
                self.refused.lock().clear();
                self.state.send_modify(|s| {
                    s.connected = true;
                    s.epoch += 1;
                });
                self.tell(true);
            }
            Event::Disconnected | Event::Closed => {
                let was = self.state.borrow().connected;
                self.state.send_modify(|s| s.connected = false);
                self.waiting.lock().clear();
                self.give_back();
                if was {
                    self.tell(false);
                }
            }
            Event::ServerError(error) => self.server_error(&error),
            Event::ClientError(error) => {
                let text = error.to_string();
                if is_refusal(&text) && !std::mem::replace(&mut *self.logged.lock(), true) {
                    tracing::error!(
                        "the NATS server refuses this program, which goes on trying: {text}"
                    );
                }
            }
            Event::SlowConsumer(sid) => tracing::warn!(
                "messages of NATS subscription {sid} were dropped, because they arrived faster than \
                 they were handled; they come again"
            ),
            Event::LameDuckMode | Event::Draining => {}
        }
    }

    fn server_error(&self, error: &ServerError) {
        let text = match error {
            ServerError::Other(text) => text.clone(),
            other => other.to_string(),
        };
        // Permissions Violation for Publish to "SUBJECT", .. for Subscription to "SUBJECT"
        let Some(subject) = text.split('"').nth(1) else {
            if is_refusal(&text) && !std::mem::replace(&mut *self.logged.lock(), true) {
                tracing::error!("the NATS server refuses this program: {text}");
            }
            return;
        };
        if text.contains("Subscription") {
            self.refused.lock().insert(subject.to_owned(), text.clone());
            return;
        }
        let mut waiting = self.waiting.lock();
        let tokens: Vec<u64> = waiting
            .iter()
            .filter(|(_, w)| w.subject.as_str() == subject)
            .map(|(&token, _)| token)
            .collect();
        if tokens.is_empty() {
            tracing::error!("the NATS server refuses a message of this program: {text}");
            self.refused.lock().insert(subject.to_owned(), text.clone());
        }
        for token in tokens {
            if let Some(w) = waiting.remove(&token) {
                let _ = w.reply.send(Answer::Denied(text.clone()));
            }
        }
    }

    fn tell(&self, connected: bool) {
        for sink in self.sinks.lock().iter_mut() {
            sink(connected);
        }
    }

    fn give_back(&self) {
        self.room.add_permits(self.unanswered.swap(0, Relaxed));
    }
}

/// Whether an error is about credentials or rights.
pub(crate) fn is_refusal(text: &str) -> bool {
    let text = text.to_ascii_lowercase();
    ["authoriz", "authentic", "permission", "certificate", "expired"]
        .iter()
        .any(|word| text.contains(word))
}

/// The connection of one member.
pub(crate) struct Link {
    pub(crate) client: Client,
    pub(crate) events: Arc<Events>,
    inbox: String,
    next: AtomicU64,
    outgoing: mpsc::UnboundedSender<Outgoing>,
    queued: Arc<AtomicUsize>,
    queued_limit: usize,
    tasks: Mutex<Vec<AbortHandle>>,
    /// Streams have replicas, so what was stored is read from their leaders.
    pub(crate) has_replicas: AtomicBool,
}

struct Outgoing {
    subject: Subject,
    payload: Bytes,
}

impl Link {
    /// Prepares a connection, within the runtime that is to serve it.
    pub(crate) async fn new(
        client: Client,
        events: Arc<Events>,
        pending_bytes: usize,
    ) -> Result<Arc<Link>, Failed> {
        let (outgoing, mut waiting) = mpsc::unbounded_channel::<Outgoing>();
        let link = Arc::new(Link {
            inbox: client.new_inbox(),
            client,
            events,
            next: AtomicU64::new(1),
            outgoing,
            queued: Arc::new(AtomicUsize::new(0)),
            queued_limit: pending_bytes.max(1 << 20),
            tasks: Mutex::new(Vec::new()),
            has_replicas: AtomicBool::new(false),
        });
        let (client, queued) = (link.client.clone(), link.queued.clone());
        link.spawn(async move {
            let mut batch = Vec::new();
            while waiting.recv_many(&mut batch, 64).await > 0 {
                for message in batch.drain(..) {
                    let size = message.payload.len() + OVERHEAD;
                    if client.publish(message.subject, message.payload).await.is_err() {
                        return;
                    }
                    queued.fetch_sub(size, Relaxed);
                }
            }
        });
        let subject = format!("{}.r.*", link.inbox);
        let mut replies =
            link.client.subscribe(subject.clone()).await.map_err(|_| Failed::Closed)?;
        let events = link.events.clone();
        link.spawn(async move {
            while let Some(message) = replies.next().await {
                let Some(token) = message.subject.rsplit('.').next().and_then(|t| t.parse().ok())
                else {
                    continue;
                };
                let waiting = events.waiting.lock().remove(&token);
                if let Some(waiting) = waiting {
                    let _ = waiting.reply.send(Answer::Message(message));
                }
            }
        });
        // The reply proves that the subscription works; if not, the server's words are known.
        let answer = link.echo(Duration::from_secs(2)).await;
        link.check(&subject).await?;
        answer.map(|()| link)
    }

    /// Runs something until the connection is closed.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) -> AbortHandle {
        let handle = tokio::spawn(task).abort_handle();
        let mut tasks = self.tasks.lock();
        if tasks.len() % 64 == 63 {
            tasks.retain(|t| !t.is_finished());
        }
        tasks.push(handle.clone());
        handle
    }

    pub(crate) fn state(&self) -> State {
        *self.events.state.borrow()
    }

    pub(crate) fn changes(&self) -> watch::Receiver<State> {
        self.events.state.subscribe()
    }

    pub(crate) fn on_connection(&self, sink: Sink<bool>) {
        self.events.sinks.lock().push(sink);
    }

    /// Returns a subject that no one else uses.
    pub(crate) fn inbox(&self) -> String {
        format!("{}.i{}", self.inbox, self.next.fetch_add(1, Relaxed))
    }

    /// Waits for a connection.
    pub(crate) async fn connected(&self, until: Instant) -> Result<(), Failed> {
        // What nearly always is so takes no timer and no receiver.
        if self.state().connected {
            return Ok(());
        }
        let mut state = self.changes();
        let wait = state.wait_for(|s| s.connected || s.closed);
        match timeout_at(until, wait).await {
            Ok(Ok(state)) if !state.closed => Ok(()),
            Ok(_) => Err(Failed::Closed),
            Err(_) => Err(Failed::NoAnswer("there is no connection")),
        }
    }

    /// Sends a request once and returns the reply. The time includes that for the connection.
    pub(crate) async fn ask(
        &self,
        subject: impl Into<Subject>,
        headers: Option<HeaderMap>,
        payload: Bytes,
        until: Instant,
    ) -> Result<Message, Failed> {
        let subject = subject.into();
        // What is rare is in boxes, so that the future of a request is small.
        if !self.state().connected {
            Box::pin(self.connected(until)).await?;
        }
        let events = &self.events;
        let size = (payload.len() + OVERHEAD).min(events.room_size);
        let permit = match events.room.try_acquire_many(size as u32) {
            Ok(permit) => permit,
            Err(_) => {
                let room = timeout_at(until, events.room.acquire_many(size as u32));
                match Box::pin(room).await {
                    Ok(permit) => permit.map_err(|_| Failed::Closed)?,
                    Err(_) => return Err(Failed::NoAnswer("the connection is slow")),
                }
            }
        };
        let token = self.next.fetch_add(1, Relaxed);
        let (reply, answer) = oneshot::channel();
        events.waiting.lock().insert(token, Waiting { subject: subject.clone(), reply });
        // Also if this future is dropped.
        let forget = Forget { events, token };
        let inbox = Subject::from(format!("{}.r.{token}", self.inbox));
        let exchange = async {
            let sent = match headers {
                Some(headers) => {
                    let publish = self
                        .client
                        .publish_with_reply_and_headers(subject, inbox, headers, payload);
                    publish.await
                }
                None => self.client.publish_with_reply(subject, inbox, payload).await,
            };
            sent.map_err(|_| Failed::Closed)?;
            answer.await.map_err(|_| Failed::NoAnswer("the connection was lost"))
        };
        let result = timeout_at(until, exchange).await;
        drop(forget);
        match result {
            Ok(Ok(Answer::Message(message))) => match message.status.map(|s| s.as_u16()) {
                Some(503) => Err(Failed::NoResponders),
                _ => Ok(message),
            },
            Ok(Ok(Answer::Denied(text))) => Err(Failed::Denied(text)),
            Ok(Err(failed)) => Err(failed),
            Err(_) => {
                permit.forget();
                events.unanswered.fetch_add(size, Relaxed);
                self.give_back_later();
                Err(Failed::NoAnswer("no reply in time"))
            }
        }
    }

    /// Once a message has come back, all earlier ones have left the buffer of the client.
    fn give_back_later(&self) {
        let (events, client, inbox) =
            (self.events.clone(), self.client.clone(), self.inbox.clone());
        let token = self.next.fetch_add(1, Relaxed);
        let (reply, answer) = oneshot::channel();
        let subject = Subject::from(format!("{inbox}.r.{token}"));
        events.waiting.lock().insert(token, Waiting { subject: subject.clone(), reply });
        self.spawn(async move {
            if client.publish(subject, Bytes::new()).await.is_ok() && answer.await.is_ok() {
                events.give_back();
            }
        });
    }

    /// Returns once the server has taken everything that was sent before.
    pub(crate) async fn echo(&self, within: Duration) -> Result<(), Failed> {
        let token = self.next.fetch_add(1, Relaxed);
        let (reply, answer) = oneshot::channel();
        let subject = Subject::from(format!("{}.r.{token}", self.inbox));
        self.events.waiting.lock().insert(token, Waiting { subject: subject.clone(), reply });
        let _forget = Forget { events: &self.events, token };
        let exchange = async {
            self.client.publish(subject, Bytes::new()).await.map_err(|_| Failed::Closed)?;
            answer.await.map_err(|_| Failed::NoAnswer("the connection was lost"))
        };
        match timeout_at(Instant::now() + within, exchange).await {
            Ok(Ok(Answer::Message(_))) => Ok(()),
            Ok(Ok(Answer::Denied(text))) => Err(Failed::Denied(text)),
            Ok(Err(failed)) => Err(failed),
            Err(_) => Err(Failed::NoAnswer("no reply in time")),
        }
    }

    /// Whether the server has accepted a subscription or a message: after [`echo`](Self::echo).
    pub(crate) async fn check(&self, subject: &str) -> Result<(), Failed> {
        // The task that handles events was woken before the one that handles replies.
        tokio::task::yield_now().await;
        match self.events.refused.lock().get(subject) {
            Some(text) => Err(Failed::Denied(text.clone())),
            None => Ok(()),
        }
    }

    /// Sends a message that may be lost. May be called on any thread.
    pub(crate) fn send(&self, subject: impl Into<Subject>, payload: impl Into<Bytes>) {
        let (subject, payload) = (subject.into(), payload.into());
        let size = payload.len() + OVERHEAD;
        if self.queued.fetch_add(size, Relaxed) + size > self.queued_limit
            || self.outgoing.send(Outgoing { subject, payload }).is_err()
        {
            self.queued.fetch_sub(size, Relaxed);
        }
    }

    /// Whether the client has taken all that was handed to [`send`](Self::send).
    pub(crate) fn has_sent(&self) -> bool {
        self.queued.load(Relaxed) == 0
    }

    /// Sends what was handed over, and ends the connection.
    pub(crate) async fn close(&self) {
        let until = Instant::now() + Duration::from_secs(2);
        while self.state().connected && !self.has_sent() && Instant::now() < until {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        if self.state().connected {
            let _ = self.echo(Duration::from_secs(2)).await;
        }
        self.end();
        let _ = timeout_at(Instant::now() + Duration::from_secs(1), self.client.drain()).await;
    }

    /// Ends all that waits, and the tasks of the connection.
    pub(crate) fn end(&self) {
        self.events.state.send_modify(|s| {
            s.connected = false;
            s.closed = true;
        });
        self.events.waiting.lock().clear();
        for task in self.tasks.lock().drain(..) {
            task.abort();
        }
    }
}

struct Forget<'a> {
    events: &'a Events,
    token: u64,
}

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        self.events.waiting.lock().remove(&self.token);
    }
}
