//! The public face of the failures.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::hub::Hub;
use super::inbox::Event;

/// The failures of a cluster in one process: see [`Cluster::in_memory`](crate::Cluster::in_memory).
///
/// All failures are off at first. They apply to every member of the cluster, and stay in effect until
/// they are changed. Cheap to clone.
///
/// Which message is affected is decided by random numbers, which [`seed`](Self::seed) makes
/// repeatable.
#[derive(Clone)]
pub struct Faults {
    hub: Arc<Hub>,
}

impl fmt::Debug for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Faults").finish_non_exhaustive()
    }
}

impl Faults {
    pub(crate) fn new(hub: Arc<Hub>) -> Faults {
        Faults { hub }
    }

    /// Restarts the sequence of random numbers.
    pub fn seed(&self, seed: u64) {
        self.hub.state().script.random = fastrand::Rng::with_seed(seed);
    }

    /// Loses each request to the broker, each of its answers, each message between members and each
    /// acknowledgment with this probability. A request whose answer is lost has been carried out.
    ///
    /// # Panics
    ///
    /// Panics if `probability` is not in `0.0..=1.0`.
    pub fn lose(&self, probability: f64) {
        self.hub.state().script.lose = checked(probability);
    }

    /// Delivers each message, request and acknowledgment twice with this probability. If the broker is
    /// stopped and started, entries that were acknowledged last wait again with this probability, as
    /// after a crash.
    ///
    /// # Panics
    ///
    /// Panics if `probability` is not in `0.0..=1.0`.
    pub fn repeat(&self, probability: f64) {
        self.hub.state().script.repeat = checked(probability);
    }

    /// Delays everything by this time, in each direction. With [`reorder`](Self::reorder), by a random
    /// time up to this.
    pub fn delay(&self, delay: Duration) {
        self.hub.state().script.delay = delay;
    }

    /// Lets messages and requests overtake each other, by up to 20 ms if no longer
    /// [`delay`](Self::delay) is set. Writes to records stay in order.
    pub fn reorder(&self, reorder: bool) {
        self.hub.state().script.reorder = reorder;
    }

    /// Stops the broker: members lose their connection. What is stored stays.
    pub fn stop_broker(&self) {
        let mut state = self.hub.state();
        state.script.stopped = true;
        for connected in state.connections.values_mut() {
            connected.is_back = false;
            connected.inbox.push(Instant::now(), Event::Connection(false));
        }
    }

    /// Starts the broker again. Members notice it within 300 ms, one after the other.
    pub fn start_broker(&self) {
        let mut state = self.hub.state();
        let state = &mut *state;
        state.script.stopped = false;
        for connected in state.connections.values() {
            let after = Duration::from_millis(state.script.random.u64(0..300));
            connected.inbox.push(Instant::now() + after, Event::Connection(true));
        }
        let script = &mut state.script;
        state.queues.bring_back(|| script.repeats());
        script.changed().notify_waiters();
    }

    /// Freezes a node, or another member: everything that it sends or that is sent to it is held until
    /// it is thawed. To itself it seems to be connected.
    ///
    /// `node` is the name or the id of the node.
    pub fn freeze_node(&self, node: &str) {
        self.hub.state().script.frozen.insert(node.to_owned());
    }

    /// Thaws a node: what was held is delivered.
    pub fn thaw_node(&self, node: &str) {
        let mut state = self.hub.state();
        state.script.frozen.remove(node);
        state.script.changed().notify_waiters();
    }

    /// Ends all failures: the broker is started, nodes are thawed, nothing is lost, repeated, delayed
    /// or reordered any more.
    pub fn end(&self) {
        let was_stopped = {
            let mut state = self.hub.state();
            let script = &mut state.script;
            (script.lose, script.repeat) = (0.0, 0.0);
            (script.delay, script.reorder) = (Duration::ZERO, false);
            script.frozen.clear();
            script.stopped
        };
        if was_stopped {
            self.start_broker();
        }
        self.hub.state().script.changed().notify_waiters();
    }
}

fn checked(probability: f64) -> f64 {
    assert!((0.0..=1.0).contains(&probability), "not a probability: {probability}");
    probability
}
