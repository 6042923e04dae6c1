//! The limit of waiting entries.
//!
//! The server counts the entries of a stream, also those that are given out, which the limit is not about.
//! So it is kept by the members: each asks the server how many entries wait, and appends a part of as many as
//! there is room for before it asks again. Members that append at the same moment may exceed the limit by
//! these parts, which become single entries as the queues fill up.

use std::future::Future;
use std::time::Duration;

use atasker_runtime::__broker::BrokerError;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

/// The part of the room that a member fills before it asks again, and the most of it.
const PART: u64 = 8;
const MOST: u64 = 16_384;

/// How long a part is good for that is smaller than the most: others may fill the queues meanwhile.
const FRESH: Duration = Duration::from_secs(1);

/// See the [module documentation](self).
#[derive(Debug)]
pub(crate) struct Gate {
    limit: u64,
    state: Mutex<State>,
    /// Held by the one who asks.
    asks: tokio::sync::Mutex<()>,
    left: Notify,
}

#[derive(Debug)]
struct State {
    /// Entries that may be appended without asking, and until when.
    credit: u64,
    until: Option<Instant>,
    /// Entries that are being appended.
    under_way: u64,
    /// How often it was asked, and the last time that there was no room.
    asked: u64,
    full: u64,
}

impl State {
    fn take(&mut self) -> bool {
        if self.credit == 0 || self.until.is_some_and(|until| until <= Instant::now()) {
            return false;
        }
        self.credit -= 1;
        self.under_way += 1;
        true
    }
}

/// The right to append one entry, until it is dropped.
#[derive(Debug)]
pub(crate) struct Pass<'a>(&'a Gate);

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        self.0.state.lock().under_way -= 1;
        self.0.left.notify_waiters();
    }
}

impl Gate {
    pub(crate) fn new(limit: u64) -> Gate {
        let state = State { credit: 0, until: None, under_way: 0, asked: 0, full: 0 };
        Gate { limit, state: Mutex::new(state), asks: Default::default(), left: Notify::new() }
    }

    /// Returns the right to append an entry, or `Full`. `count` asks the server how many entries wait.
    pub(crate) async fn pass<F>(&self, count: impl Fn() -> F) -> Result<Pass<'_>, BrokerError>
    where
        F: Future<Output = Result<u64, BrokerError>>,
    {
        let asked_before = {
            let mut state = self.state.lock();
            if state.take() {
                return Ok(Pass(self));
            }
            state.asked
        };
        // In a box, because nearly all appends need no room for it.
        Box::pin(self.ask(asked_before, count)).await
    }

    async fn ask<F>(
        &self,
        asked_before: u64,
        count: impl Fn() -> F,
    ) -> Result<Pass<'_>, BrokerError>
    where
        F: Future<Output = Result<u64, BrokerError>>,
    {
        let _asks = self.asks.lock().await;
        loop {
            let left = self.left.notified();
            let under_way = {
                let mut state = self.state.lock();
                if state.take() {
                    return Ok(Pass(self));
                }
                // Another one has asked since this one has come.
                if state.full > asked_before {
                    return Err(BrokerError::Full);
                }
                state.asked += 1;
                state.under_way
            };
            let waiting = count().await?;
            // Those that are under way may be counted or not.
            let room = self.limit.saturating_sub(waiting).saturating_sub(under_way);
            if self.has_to_wait(room, under_way) {
                left.await;
            }
        }
    }

    /// Takes note of the room that there is. Returns whether the entries that are under way have to be
    /// waited for, because they may have been counted twice.
    fn has_to_wait(&self, room: u64, under_way: u64) -> bool {
        let mut state = self.state.lock();
        if room > 0 {
            state.credit = (room / PART).clamp(1, MOST);
            state.until = (state.credit < MOST).then(|| Instant::now() + FRESH);
        } else if under_way == 0 {
            state.full = state.asked;
        }
        room == 0 && under_way > 0 && state.under_way == under_way
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;
    use std::pin::pin;
    use std::task::{Context, Waker};

    #[tokio::test]
    async fn what_waits_is_counted_again_before_it_is_too_much() {
        let gate = Gate::new(100);
        let (waiting, asked) = (Cell::new(0), Cell::new(0));
        let count = || {
            asked.set(asked.get() + 1);
            std::future::ready(Ok(waiting.get()))
        };
        for _ in 0..100 {
            drop(gate.pass(count).await.unwrap());
            waiting.set(waiting.get() + 1);
        }
        assert!(asked.get() >= 10, "{asked:?}");
        assert_eq!(gate.pass(count).await.err(), Some(BrokerError::Full));
        // One was given out.
        waiting.set(99);
        let pass = gate.pass(count).await.unwrap();
        // It is under way, so it takes the room already.
        let mut next = pin!(gate.pass(count));
        let mut context = Context::from_waker(Waker::noop());
        assert!(next.as_mut().poll(&mut context).is_pending());
        waiting.set(100);
        drop(pass);
        assert_eq!(next.await.err(), Some(BrokerError::Full));
    }

    #[tokio::test]
    async fn those_who_wait_for_an_answer_share_it() {
        let gate = Gate::new(1);
        let asked = Cell::new(0);
        let count = || {
            asked.set(asked.get() + 1);
            async {
                for _ in 0..10 {
                    tokio::task::yield_now().await;
                }
                Ok(1)
            }
        };
        let pass = || async { gate.pass(count).await.err() };
        let all = tokio::join!(pass(), pass(), pass(), pass(), pass());
        let full = Some(BrokerError::Full);
        assert_eq!(all, (full.clone(), full.clone(), full.clone(), full.clone(), full));
        assert!(asked.get() <= 2, "{asked:?}");
    }

    #[tokio::test]
    async fn errors_are_told_and_old_room_is_asked_for_again() {
        let gate = Gate::new(100);
        let broken = || std::future::ready(Err(BrokerError::Closed));
        assert_eq!(gate.pass(broken).await.err(), Some(BrokerError::Closed));
        drop(gate.pass(|| std::future::ready(Ok(0))).await.unwrap());
        gate.state.lock().until = Some(Instant::now() + FRESH * 1_000);
        drop(gate.pass(broken).await.unwrap());
        gate.state.lock().until = Some(Instant::now());
        tokio::task::yield_now().await;
        assert_eq!(gate.pass(broken).await.err(), Some(BrokerError::Closed));
    }

    #[tokio::test]
    async fn an_empty_queue_is_asked_for_once_in_a_while() {
        let gate = Gate::new(1_000_000);
        let asked = Cell::new(0);
        let count = || {
            asked.set(asked.get() + 1);
            std::future::ready(Ok(0))
        };
        for _ in 0..MOST {
            drop(gate.pass(count).await.unwrap());
        }
        assert_eq!(asked.get(), 1);
    }
}
