//! Server-sent events: the state once per second while it changes, and failures at once.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::HeaderValue;
use axum::http::header::CONTENT_TYPE;
use axum::response::Response;
use tokio::sync::{broadcast, mpsc};
use tokio::time::{Instant, MissedTickBehavior};

use super::shared::Shared;
use super::state;
use super::watch::Failure;
use crate::sync::lock::Mutex;
use crate::time::clock::{self, Stamp};

/// The number of listeners at a time.
const LISTENERS: usize = 16;
/// The time between two states.
const EVERY: Duration = Duration::from_secs(1);
/// The time after which a state is sent that has not changed.
const ANYWAY: Duration = Duration::from_secs(15);
/// The number of failures that are sent per second.
const FAILURES: u32 = 50;
/// The age up to which a state serves another listener.
const FRESH: Duration = Duration::from_millis(900);

/// Connects the observers with the listeners.
pub(super) struct Hub {
    listeners: AtomicUsize,
    failures: broadcast::Sender<Bytes>,
    sent: Mutex<Sent>,
    latest: tokio::sync::Mutex<Option<Latest>>,
}

/// The failures that were sent in the second that began then.
#[derive(Default)]
struct Sent {
    since: Stamp,
    count: u32,
}

/// A state, shared by all listeners.
#[derive(Clone)]
struct Latest {
    at: Instant,
    json: Bytes,
}

impl Hub {
    pub(super) fn new() -> Self {
        Hub {
            listeners: AtomicUsize::new(0),
            failures: broadcast::channel(2 * FAILURES as usize).0,
            sent: Mutex::new(Sent::default()),
            latest: tokio::sync::Mutex::new(None),
        }
    }

    /// Sends a failure to the listeners.
    pub(super) fn failed(&self, failure: &Failure) {
        if self.failures.receiver_count() == 0 || !self.sent.lock().admit(clock::now()) {
            return;
        }
        if let Ok(json) = serde_json::to_vec(failure) {
            // Fails if the last listener has left.
            let _ = self.failures.send(frame("failure", &json));
        }
    }

    /// Returns the state, computed now or a moment ago.
    async fn state(&self, shared: &Arc<Shared>, oldest: Duration) -> Option<Bytes> {
        // Held while the state is computed, so that all listeners share it.
        let mut latest = self.latest.lock().await;
        if let Some(latest) = latest.as_ref().filter(|latest| latest.at.elapsed() < oldest) {
            return Some(latest.json.clone());
        }
        let json = fresh_state(shared).await?;
        *latest = Some(Latest { at: Instant::now(), json: json.clone() });
        Some(json)
    }
}

impl Sent {
    /// Returns whether another failure may be sent.
    fn admit(&mut self, now: Stamp) -> bool {
        if now.saturating_sub(self.since) >= 1_000_000_000 {
            *self = Sent { since: now, count: 0 };
        }
        self.count += 1;
        self.count <= FAILURES
    }
}

/// Computes the state. `None` if the runtime is shutting down.
pub(super) async fn fresh_state(shared: &Arc<Shared>) -> Option<Bytes> {
    let shared = Arc::clone(shared);
    // It takes milliseconds if there are many tasks.
    let json = tokio::task::spawn_blocking(move || state::collect(&shared)).await.ok()?;
    Some(json.into())
}

fn frame(event: &str, json: &[u8]) -> Bytes {
    // JSON of serde_json has no line breaks.
    [b"event: ", event.as_bytes(), b"\ndata: ", json, b"\n\n"].concat().into()
}

/// The right to listen.
struct Permit(Arc<Shared>);

impl Permit {
    fn new(shared: &Arc<Shared>) -> Option<Self> {
        let one_more = |n: usize| (n < LISTENERS).then_some(n + 1);
        let listeners = &shared.hub.listeners;
        listeners.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more).ok()?;
        Some(Permit(Arc::clone(shared)))
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.hub.listeners.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Returns the events as a response. `None` if there are too many listeners.
pub(super) fn listen(shared: &Arc<Shared>) -> Option<Response> {
    let permit = Permit::new(shared)?;
    // One frame in flight: a slow client gets fewer states, and does not fill the memory.
    let (sender, frames) = mpsc::channel(1);
    let failures = shared.hub.failures.subscribe();
    tokio::spawn(feed(permit, sender, failures));
    Some(stream(Body::from_stream(Frames(frames))))
}

/// Returns a response with this stream of events.
pub(super) fn stream(body: Body) -> Response {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    // Asks a proxy not to collect events.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}

async fn feed(
    permit: Permit,
    frames: mpsc::Sender<Result<Bytes, std::convert::Infallible>>,
    mut failures: broadcast::Receiver<Bytes>,
) {
    let shared = &permit.0;
    let mut every = tokio::time::interval(EVERY);
    every.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut last: Option<(Instant, Bytes)> = None;
    loop {
        let next = tokio::select! {
            () = frames.closed() => return,
            failure = failures.recv() => match failure {
                Ok(failure) => failure,
                // The state has them.
                Err(broadcast::error::RecvError::Lagged(_)) => continue,
                Err(broadcast::error::RecvError::Closed) => return,
            },
            _ = every.tick() => {
                let oldest = if last.is_none() { Duration::ZERO } else { FRESH };
                let Some(json) = shared.hub.state(shared, oldest).await else { return };
                match &last {
                    Some((at, before)) if *before == json && at.elapsed() < ANYWAY => continue,
                    _ => {}
                }
                let next = frame("state", &json);
                last = Some((Instant::now(), json));
                next
            }
        };
        if frames.send(Ok(next)).await.is_err() {
            return;
        }
    }
}

struct Frames(mpsc::Receiver<Result<Bytes, std::convert::Infallible>>);

impl futures_core::Stream for Frames {
    type Item = Result<Bytes, std::convert::Infallible>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_recv(context)
    }
}

#[cfg(all(test, not(atasker_loom)))]
mod tests {
    use super::*;

    #[test]
    fn fifty_failures_are_sent_per_second() {
        let mut sent = Sent::default();
        let admitted = |sent: &mut Sent, second: u64| {
            (0..1_000).filter(|n| sent.admit(second * 1_000_000_000 + n)).count()
        };
        assert_eq!(admitted(&mut sent, 5), 50);
        assert_eq!(admitted(&mut sent, 6), 50);
    }
}
