//! The two ways of what a member sends: to the broker, where it is carried out, and back.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::connection::Connection;
use super::hub::Hub;
use crate::cluster::broker::{Broker, BrokerError};

/// How long a member waits for an answer of the broker.
pub(super) const ANSWER_WITHIN: Duration = Duration::from_secs(1);

/// What may happen to something that is sent.
struct Way {
    hub: Arc<Hub>,
    connection: u64,
}

impl Way {
    /// Goes one way. Returns false if it does not arrive.
    async fn go(&self) -> bool {
        let (is_lost, delay) = {
            let mut state = self.hub.state();
            (state.script.loses(), state.script.random_delay())
        };
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        if is_lost {
            return false;
        }
        loop {
            let changed = {
                let state = self.hub.state();
                if state.script.stopped {
                    return false;
                }
                if !state.is_frozen(self.connection) {
                    return true;
                }
                state.script.changed()
            };
            let thawed = changed.notified();
            if self.hub.state().is_frozen(self.connection) {
                thawed.await;
            }
        }
    }
}

impl Connection {
    fn is_calm(&self) -> bool {
        self.hub.state().script.is_calm() && self.is_connected()
    }

    fn count(&self) {
        #[cfg(test)]
        {
            self.hub.state().sent += 1;
        }
    }

    fn way(&self) -> Way {
        Way { hub: self.hub.clone(), connection: self.id }
    }

    /// Waits for the connection. Returns whether there is one in time.
    pub(super) async fn is_there(&self, deadline: Instant) -> bool {
        while !self.is_connected() {
            if Instant::now() >= deadline {
                return false;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        true
    }

    /// Carries a request out at the broker. `undo` is called with an answer that has no receiver.
    pub(super) async fn call<T: Send + 'static>(
        &self,
        carry_out: impl Fn(&Hub) -> Result<T, BrokerError> + Send + Sync + 'static,
        undo: fn(&Hub, T),
    ) -> Result<T, BrokerError> {
        self.count();
        if self.is_calm() {
            return carry_out(&self.hub);
        }
        let deadline = Instant::now() + ANSWER_WITHIN;
        let no_answer = || BrokerError::NoAnswer("the broker in memory".to_owned());
        if !self.is_there(deadline).await {
            return Err(no_answer());
        }
        let (sender, receiver) = oneshot::channel();
        let way = self.way();
        self.runtime.spawn(async move {
            if way.go().await {
                let repeats = way.hub.state().script.repeats();
                let answer = carry_out(&way.hub);
                if repeats {
                    drop(carry_out(&way.hub));
                }
                if way.go().await {
                    if let Err(Ok(answer)) = sender.send(answer) {
                        undo(&way.hub, answer);
                    }
                    return;
                }
            }
            // The member waits until its limit.
            tokio::time::sleep(ANSWER_WITHIN).await;
            drop(sender);
        });
        match tokio::time::timeout_at(deadline, receiver).await {
            Ok(Ok(answer)) => answer,
            _ => Err(no_answer()),
        }
    }

    /// Sends something that has no answer.
    pub(super) fn send(&self, carry_out: impl Fn(&Hub) + Send + Sync + 'static) {
        self.count();
        if self.is_calm() {
            return carry_out(&self.hub);
        }
        if !self.is_connected() {
            return;
        }
        let way = self.way();
        self.runtime.spawn(async move {
            if way.go().await {
                carry_out(&way.hub);
                if way.hub.state().script.repeats() {
                    carry_out(&way.hub);
                }
            }
        });
    }
}
