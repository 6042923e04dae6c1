//! The pauses before a request to the broker is repeated.

use std::time::Duration;

use super::member::Member;

const FIRST: Duration = Duration::from_millis(50);
const MOST: Duration = Duration::from_secs(1);

/// Pauses that grow up to a second.
#[derive(Debug)]
pub(super) struct Pause {
    next: Duration,
}

impl Pause {
    pub(super) fn new() -> Pause {
        Pause { next: FIRST }
    }

    /// Pauses, or waits for the connection to be back, whatever is shorter.
    pub(super) async fn wait(&mut self, member: &Member) {
        let jitter = member.random.borrow_mut().f64() / 2.0 + 0.75;
        let pause = self.next.mul_f64(jitter);
        self.next = (self.next * 2).min(MOST);
        let connected = member.connected.notified();
        drop(tokio::time::timeout(pause, connected).await);
    }
}
