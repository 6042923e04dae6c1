//! Requests for entries: `$JS.API.CONSUMER.MSG.NEXT`, sent by ourselves, because the streams of the
//! client lose a message after a heartbeat.
//!
//! Each queue and priority has a [`Lane`] with two [`Channel`]s, one for requests that wait and one
//! for those that don't. A channel is a subscription. Entries arrive with the subject of the stream,
//! so they don't say which request they answer: the oldest one that has room gets them. What arrives
//! when no request has an owner any more is given back at once.
//!
//! Requests end with a status: 404 no entry, 408 time over, 409 the consumer was deleted or the
//! server stops, 503 no JetStream. 100 is a heartbeat. Requests to a consumer that doesn't exist are
//! not answered at all, and neither are those that a server has forgotten by a restart: such a
//! request ends with the connection, or when nothing was heard for a while.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use async_nats::Message;
use atasker_runtime::__broker::{Delivery, DeliveryToken, Entry, EntryKey};
use atasker_runtime::Priority;
use futures_util::StreamExt;
use parking_lot::Mutex;
use serde_json::json;
use tokio::sync::{OnceCell, oneshot};
use tokio::time::{Instant, timeout_at};

use crate::api::{self, Trouble};
use crate::layout::{Layout, Stream, nanos};
use crate::link::{Failed, Link};

/// How long a request that doesn't wait may go without an answer: the server's counts can be wrong,
/// and then it says nothing.
const PROMPT: Duration = Duration::from_secs(1);
/// The server answers a request that waits at its end. After this time it doesn't any more.
const LATE: Duration = Duration::from_secs(1);
const HEARTBEAT: Duration = Duration::from_secs(2);
const SILENCE: Duration = Duration::from_secs(5);
/// Longer waits consist of several requests.
const LONGEST: Duration = Duration::from_secs(30);

/// How a request has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// There is nothing, or not more, or the time is over.
    Over,
    /// There is no such consumer any more.
    NoConsumer,
    /// The connection was lost, or the server has forgotten the request.
    Lost,
}

type Outcome = (Vec<Delivery>, End);

struct Open {
    token: u64,
    /// How many entries may still come.
    room: usize,
    got: Vec<Delivery>,
    owner: Option<oneshot::Sender<Outcome>>,
    epoch: u64,
    heard: Instant,
    ends: Instant,
}

#[derive(Default)]
struct Requests {
    open: VecDeque<Open>,
    next: u64,
}

struct Channel {
    link: Arc<Link>,
    layout: Arc<Layout>,
    inbox: String,
    /// Where requests go.
    next: String,
    requests: Mutex<Requests>,
}

impl Channel {
    async fn open(
        link: &Arc<Link>,
        layout: &Arc<Layout>,
        next: &str,
    ) -> Result<Arc<Channel>, Trouble> {
        let channel = Arc::new(Channel {
            link: link.clone(),
            layout: layout.clone(),
            inbox: link.inbox(),
            next: next.to_owned(),
            requests: Mutex::default(),
        });
        let subject = format!("{}.*", channel.inbox);
        let mut messages =
            link.client.subscribe(subject.clone()).await.map_err(|_| Failed::Closed)?;
        let own = channel.clone();
        link.spawn(async move {
            let mut state = own.link.changes();
            loop {
                tokio::select! {
                    message = messages.next() => match message {
                        Some(message) => own.arrived(message),
                        None => return,
                    },
                    changed = state.changed() => {
                        if changed.is_err() {
                            return;
                        }
                        let now = *state.borrow_and_update();
                        own.cut(|open| !now.connected || open.epoch != now.epoch);
                    }
                }
            }
        });
        Ok(channel)
    }

    fn arrived(&self, message: Message) {
        if let Some(status) = message.status {
            let token = message.subject.rsplit('.').next().and_then(|t| t.parse().ok());
            let Some(token) = token else { return };
            let description = message.description.as_deref().unwrap_or_default();
            self.status(token, status.as_u16(), description);
            return;
        }
        let Some(delivery) = delivery(&self.layout, message) else { return };
        let mut requests = self.requests.lock();
        let owned = requests.open.iter().position(|r| r.owner.is_some() && r.room > 0);
        let Some(index) = owned.or_else(|| requests.open.iter().position(|r| r.room > 0)) else {
            drop(requests);
            return self.give_back(&delivery);
        };
        let open = &mut requests.open[index];
        open.room -= 1;
        open.heard = Instant::now();
        let refused = if open.owner.is_some() {
            open.got.push(delivery);
            None
        } else {
            Some(delivery)
        };
        let mut rest = Vec::new();
        if open.room == 0 {
            rest = finish(requests.open.remove(index), End::Over);
        }
        drop(requests);
        for delivery in rest.iter().chain(&refused) {
            self.give_back(delivery);
        }
    }

    fn status(&self, token: u64, code: u16, description: &str) {
        let end = match code {
            100 => {
                let mut requests = self.requests.lock();
                if let Some(open) = requests.open.iter_mut().find(|r| r.token == token) {
                    open.heard = Instant::now();
                }
                return;
            }
            404 | 408 => End::Over,
            503 => End::NoConsumer,
            409 if description.contains("Consumer Deleted") => End::NoConsumer,
            _ => {
                tracing::debug!("a request for entries ended: {code} {description}");
                End::Lost
            }
        };
        self.cut_as(end, |open| open.token == token);
    }

    fn cut(&self, which: impl Fn(&Open) -> bool) {
        self.cut_as(End::Lost, which);
    }

    fn cut_as(&self, end: End, which: impl Fn(&Open) -> bool) {
        let mut rest = Vec::new();
        let mut requests = self.requests.lock();
        while let Some(index) = requests.open.iter().position(&which) {
            rest.append(&mut finish(requests.open.remove(index), end));
        }
        drop(requests);
        for delivery in &rest {
            self.give_back(delivery);
        }
    }

    fn give_back(&self, delivery: &Delivery) {
        self.link.send(delivery.token.0.to_string(), "-NAK");
    }

    /// Sends a request, or takes over one that was left.
    async fn request(&self, batch: usize, wait: Option<Duration>) -> Result<Pull<'_>, Failed> {
        let (owner, outcome) = oneshot::channel();
        let now = Instant::now();
        let (token, body) = {
            let mut requests = self.requests.lock();
            if wait.is_some() {
                let left = requests.open.iter_mut().find(|r| {
                    r.owner.is_none() && r.room == batch && r.ends > now && r.heard + SILENCE > now
                });
                if let Some(open) = left {
                    open.owner = Some(owner);
                    return Ok(Pull { channel: self, token: open.token, outcome });
                }
            }
            requests.next += 1;
            let token = requests.next;
            let ends = now + wait.unwrap_or(PROMPT);
            requests.open.push_back(Open {
                token,
                room: batch,
                got: Vec::new(),
                owner: Some(owner),
                epoch: self.link.state().epoch,
                heard: now,
                ends,
            });
            let body = match wait {
                None => json!({ "batch": batch, "no_wait": true }),
                // The server refuses heartbeats that are longer than half of the time.
                Some(wait) if wait > HEARTBEAT * 2 => json!({
                    "batch": batch,
                    "expires": nanos(wait),
                    "idle_heartbeat": nanos(HEARTBEAT),
                }),
                Some(wait) => json!({ "batch": batch, "expires": nanos(wait).max(1_000_000) }),
            };
            (token, body.to_string())
        };
        let pull = Pull { channel: self, token, outcome };
        let inbox = format!("{}.{token}", self.inbox);
        let sent = self.link.client.publish_with_reply(self.next.clone(), inbox, body.into()).await;
        sent.map_err(|_| Failed::Closed)?;
        Ok(pull)
    }
}

/// Gives a request to its owner. Returns what the owner doesn't take.
fn finish(open: Option<Open>, end: End) -> Vec<Delivery> {
    let Some(open) = open else { return Vec::new() };
    match open.owner {
        Some(owner) => match owner.send((open.got, end)) {
            Ok(()) => Vec::new(),
            Err((got, _)) => got,
        },
        None => open.got,
    }
}

/// A request with an owner. When it is dropped, the entries that have arrived are given back.
struct Pull<'a> {
    channel: &'a Channel,
    token: u64,
    outcome: oneshot::Receiver<Outcome>,
}

impl Pull<'_> {
    /// Ends the wait for a request. The server may still answer it.
    fn leave(&mut self) -> Vec<Delivery> {
        let mut requests = self.channel.requests.lock();
        if let Some(open) = requests.open.iter_mut().find(|r| r.token == self.token) {
            open.owner = None;
            return std::mem::take(&mut open.got);
        }
        drop(requests);
        self.outcome.try_recv().map_or_else(|_| Vec::new(), |(got, _)| got)
    }

    /// Whether the server should have sent a heartbeat.
    fn is_silent(&self) -> bool {
        let requests = self.channel.requests.lock();
        let open = requests.open.iter().find(|r| r.token == self.token);
        open.is_some_and(|r| r.heard.elapsed() >= SILENCE)
    }
}

impl Drop for Pull<'_> {
    fn drop(&mut self) {
        for delivery in self.leave() {
            self.channel.give_back(&delivery);
        }
    }
}

/// The requests for one queue and priority.
pub(crate) struct Lane {
    waiting: Arc<Channel>,
    prompt: Arc<Channel>,
}

/// A lane, once its subscriptions are there.
type Cell = Arc<OnceCell<Lane>>;

#[derive(Default)]
pub(crate) struct Lanes(Mutex<HashMap<(String, Priority), Cell>>);

/// What has become of a request.
pub(crate) enum Pulled {
    Entries(Vec<Delivery>),
    /// There may be no such consumer: create it, and ask again.
    NoConsumer,
}

impl Lanes {
    async fn lane(
        &self,
        link: &Arc<Link>,
        layout: &Arc<Layout>,
        queue: &str,
        priority: Priority,
    ) -> Result<Cell, Trouble> {
        let cell = self.0.lock().entry((queue.to_owned(), priority)).or_default().clone();
        cell.get_or_try_init(|| async {
            let stream = layout.stream(Stream::Queues);
            let consumer = layout.consumer(queue, priority);
            let next = format!("$JS.API.CONSUMER.MSG.NEXT.{stream}.{consumer}");
            Ok::<_, Trouble>(Lane {
                waiting: Channel::open(link, layout, &next).await?,
                prompt: Channel::open(link, layout, &next).await?,
            })
        })
        .await?;
        Ok(cell)
    }

    /// Takes what is there.
    pub(crate) async fn now(
        &self,
        link: &Arc<Link>,
        layout: &Arc<Layout>,
        queue: &str,
        priority: Priority,
        batch: usize,
    ) -> Result<Pulled, Trouble> {
        let lane = self.lane(link, layout, queue, priority).await?;
        let Some(lane) = lane.get().filter(|_| batch > 0) else {
            return Ok(Pulled::Entries(Vec::new()));
        };
        let until = Instant::now() + PROMPT;
        link.connected(until).await?;
        let mut pull = lane.prompt.request(batch, None).await?;
        match timeout_at(until, &mut pull.outcome).await {
            Ok(Ok((got, End::NoConsumer))) if got.is_empty() => Ok(Pulled::NoConsumer),
            Ok(Ok((got, _))) => Ok(Pulled::Entries(got)),
            Ok(Err(_)) => Ok(Pulled::Entries(pull.leave())),
            Err(_) => match pull.leave() {
                got if got.is_empty() => Ok(Pulled::NoConsumer),
                got => Ok(Pulled::Entries(got)),
            },
        }
    }

    /// Waits for one entry.
    pub(crate) async fn next(
        &self,
        link: &Arc<Link>,
        layout: &Arc<Layout>,
        queue: &str,
        priority: Priority,
        until: Instant,
    ) -> Result<Pulled, Trouble> {
        let lane = self.lane(link, layout, queue, priority).await?;
        let Some(lane) = lane.get() else { return Ok(Pulled::Entries(Vec::new())) };
        loop {
            match link.connected(until).await {
                Ok(()) => {}
                Err(Failed::NoAnswer(_)) => return Ok(Pulled::Entries(Vec::new())),
                Err(failed) => return Err(failed.into()),
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(Pulled::Entries(Vec::new()));
            }
            let wait = left.min(LONGEST);
            let mut pull = lane.waiting.request(1, Some(wait)).await?;
            let ends = Instant::now() + wait + LATE;
            let outcome = loop {
                let look = ends.min(Instant::now() + Duration::from_secs(1));
                match timeout_at(look, &mut pull.outcome).await {
                    Ok(outcome) => break outcome.ok(),
                    Err(_) if Instant::now() >= ends => break None,
                    Err(_) if wait > HEARTBEAT * 2 && pull.is_silent() => break None,
                    Err(_) => {}
                }
            };
            match outcome {
                Some((got, End::NoConsumer)) if got.is_empty() => return Ok(Pulled::NoConsumer),
                Some((got, _)) if !got.is_empty() => return Ok(Pulled::Entries(got)),
                Some(_) => {}
                // The server has forgotten the request: it must not be taken over.
                None => {
                    let token = pull.token;
                    let got = pull.leave();
                    lane.waiting.cut(|open| open.token == token);
                    return Ok(match got.is_empty() {
                        false => Pulled::Entries(got),
                        true => Pulled::NoConsumer,
                    });
                }
            }
        }
    }
}

fn delivery(layout: &Layout, message: Message) -> Option<Delivery> {
    let reply = message.reply?;
    let info = api::delivery_info(&reply)?;
    let (queue, priority, id) = layout.entry_key(&message.subject)?;
    let key = EntryKey { queue: queue.to_owned(), priority, id: id.to_owned() };
    let entry = Entry { key, time: info.time, value: message.payload.into() };
    let token = DeliveryToken(reply.as_str().into());
    Some(Delivery { entry, delivered: info.delivered, token })
}
