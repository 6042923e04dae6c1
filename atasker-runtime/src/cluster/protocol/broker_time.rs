//! The clock of the broker, as this member knows it.
//!
//! All decisions about times that are stored (when a call expires, when it may run again) are made by
//! this clock, so the clocks of the members may differ.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use tokio::time::Instant;

use super::member::Member;
use super::pause::Pause;

/// How often the broker is asked: clocks drift by less than a millisecond meanwhile.
const ASK_EVERY: Duration = Duration::from_secs(30);

/// See the [module documentation](self).
#[derive(Debug, Default)]
pub(super) struct BrokerTime {
    /// The time of the broker at some moment.
    known: Cell<Option<(u64, Instant)>>,
    is_asking: Cell<bool>,
}

impl BrokerTime {
    fn at(&self, now: Instant) -> Option<u64> {
        let (time, since) = self.known.get()?;
        Some(time + now.saturating_duration_since(since).as_nanos() as u64)
    }
}

impl Member {
    /// Returns the time of the broker, in nanoseconds since the Unix epoch.
    pub(super) async fn broker_time(self: &Rc<Self>) -> u64 {
        let now = Instant::now();
        match self.time.known.get() {
            None => self.ask_time().await,
            Some((_, since)) if now > since + ASK_EVERY && !self.time.is_asking.replace(true) => {
                let member = self.clone();
                self.spawn(async move {
                    member.ask_time().await;
                    member.time.is_asking.set(false);
                });
            }
            Some(_) => {}
        }
        self.time.at(now).unwrap_or_default()
    }

    async fn ask_time(&self) {
        let mut pause = Pause::new();
        loop {
            let asked = Instant::now();
            match self.broker.time().await {
                Ok(time) => {
                    // The broker has looked at its clock about halfway.
                    let halfway = asked + asked.elapsed() / 2;
                    return self.time.known.set(Some((time, halfway)));
                }
                Err(error) => self.trouble("time", &error),
            }
            pause.wait(self).await;
        }
    }

    /// Returns how long ago something was written, if that can be told without a request.
    pub(super) fn known_since(&self, written: u64) -> Option<Duration> {
        let now = self.time.at(Instant::now())?;
        Some(Duration::from_nanos(now.saturating_sub(written)))
    }

    /// Returns how long ago something was written.
    pub(super) async fn since(self: &Rc<Self>, written: u64) -> Duration {
        Duration::from_nanos(self.broker_time().await.saturating_sub(written))
    }
}
