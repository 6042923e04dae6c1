//! What the tasks of a broker share with it, and the one that brings the server into order.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use atasker_runtime::__broker::{BrokerError, BrokerLimits};
use atasker_runtime::Priority;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

use crate::clock::Clock;
use crate::gate::Gate;
use crate::layout::{Layout, Shared};
use crate::link::Link;
use crate::queue::Consumers;
use crate::{connect, incarnation, queue};

/// How often the agreement about the server is looked at while nothing happens.
const LOOK: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(200);

/// What the tasks of a broker share with it.
pub(crate) struct Inner {
    pub(crate) link: Arc<Link>,
    pub(crate) layout: Arc<Layout>,
    pub(crate) shared: Shared,
    pub(crate) limits: BrokerLimits,
    pub(crate) clock: Clock,
    pub(crate) consumers: Consumers,
    pub(crate) gate: Gate,
    /// Tells members apart.
    pub(crate) member: String,
    pub(crate) tokens: AtomicU64,
    /// The connection since which the server is in order.
    pub(crate) ordered: watch::Sender<u64>,
}

impl Inner {
    /// Returns a token for a write of this broker's own.
    pub(crate) fn token(&self) -> String {
        format!("{}-{}", self.member, self.tokens.fetch_add(1, Relaxed))
    }

    /// Creates a consumer, unless it is there.
    pub(crate) async fn ensure(&self, queue: &str, priority: Priority) -> Result<(), BrokerError> {
        let (link, layout) = (&self.link, &self.layout);
        self.in_order().await;
        Ok(self.consumers.ensure(link, layout, &self.shared, queue, priority).await?)
    }

    /// Creates the consumers that are being created, without which entries are not counted.
    pub(crate) async fn finish_consumers(&self) -> Result<(), BrokerError> {
        for (queue, priority) in self.consumers.unfinished() {
            self.ensure(&queue, priority).await?;
        }
        Ok(())
    }

    /// Counts the entries that wait, in all queues.
    pub(crate) async fn waiting(&self) -> Result<u64, BrokerError> {
        self.finish_consumers().await?;
        queue::waiting(&self.link, &self.layout).await
    }

    /// Waits until the server is in order after a new connection, but not forever. A member that
    /// took entries from consumers that are about to be replaced would take them twice.
    async fn in_order(&self) {
        if *self.ordered.borrow() == self.link.state().epoch {
            return;
        }
        let mut ordered = self.ordered.subscribe();
        let ready = ordered.wait_for(|epoch| *epoch == self.link.state().epoch);
        let _ = timeout(crate::api::IN_ALL, ready).await;
    }
}

/// Brings the server into order after each new connection.
pub(crate) async fn attend(inner: &Inner, mut epoch: u64) {
    let mut state = inner.link.changes();
    loop {
        let mut new = false;
        tokio::select! {
            changed = state.wait_for(|s| s.connected && s.epoch != epoch) => match changed {
                Ok(now) => {
                    epoch = now.epoch;
                    new = true;
                }
                Err(_) => return,
            },
            () = sleep(LOOK) => {}
        }
        while inner.link.state().connected && inner.link.state().epoch == epoch {
            let done = async {
                if new {
                    let end = Instant::now() + crate::api::IN_ALL;
                    connect::prepare(&inner.link, &inner.layout, &inner.shared, end).await?;
                }
                incarnation::check(inner).await.map_err(connect::Failure::from)
            };
            match done.await {
                Ok(()) => {
                    if new {
                        inner.consumers.forget_all();
                    }
                    inner.ordered.send_replace(epoch);
                    break;
                }
                Err(failure) => {
                    tracing::warn!("the NATS server is connected, but not in order: {failure}");
                    sleep(PAUSE * 5).await;
                }
            }
        }
    }
}
