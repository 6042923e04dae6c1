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
/// Random numbers decide which message is affected. [`seed`](Self::seed) makes them repeatable, as far
/// as the threads of the program send in the same order.
///
/// ```
/// # use atasker_runtime as atasker;
/// use std::time::Duration;
/// use atasker::{Cluster, Faults};
/// let cluster = Cluster::in_memory();
/// let faults: Faults = cluster.faults();
/// faults.seed(7);
/// faults.lose(0.2);
/// faults.repeat(0.1);
/// faults.reorder(true);
/// // Requests are repeated until they are answered.
/// cluster.flush(Duration::from_secs(30)).unwrap();
/// faults.end();
/// ```
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
    ///
    /// ```
    /// # use atasker_runtime as atasker;
    /// atasker::Cluster::in_memory().faults().seed(1);
    /// ```
    pub fn seed(&self, seed: u64) {
        self.hub.state().script.random = fastrand::Rng::with_seed(seed);
    }

    /// Loses each request to the broker, each of its answers, each message between members and each
    /// acknowledgment with this probability. A request whose answer is lost has been carried out.
    ///
    /// ```
    /// # use atasker_runtime as atasker;
    /// atasker::Cluster::in_memory().faults().lose(0.3);
    /// ```
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
    /// ```
    /// # use atasker_runtime as atasker;
    /// atasker::Cluster::in_memory().faults().repeat(0.3);
    /// ```
    ///
    /// # Panics
    ///
    /// Panics if `probability` is not in `0.0..=1.0`.
    pub fn repeat(&self, probability: f64) {
        self.hub.state().script.repeat = checked(probability);
    }

    /// Delays everything by this time, in each direction. With [`reorder`](Self::reorder), by a random
    /// time up to this.
    ///
    /// ```
    /// # use atasker_runtime as atasker;
    /// use std::time::{Duration, Instant};
    /// let cluster = atasker::Cluster::in_memory();
    /// cluster.faults().delay(Duration::from_millis(20));
    /// let asked = Instant::now();
    /// cluster.info().unwrap();
    /// assert!(asked.elapsed() >= Duration::from_millis(40));
    /// ```
    pub fn delay(&self, delay: Duration) {
        self.hub.state().script.delay = delay;
    }

    /// Lets messages and requests overtake each other, by up to 20 ms if no longer
    /// [`delay`](Self::delay) is set. Writes to records stay in order.
    ///
    /// ```
    /// # use atasker_runtime as atasker;
    /// atasker::Cluster::in_memory().faults().reorder(true);
    /// ```
    pub fn reorder(&self, reorder: bool) {
        self.hub.state().script.reorder = reorder;
    }

    /// Stops the broker: members lose their connection. What is stored stays.
    ///
    /// ```
    /// # use atasker_runtime as atasker;
    /// let cluster = atasker::Cluster::in_memory();
    /// cluster.faults().stop_broker();
    /// assert!(cluster.info().is_err());
    /// ```
    pub fn stop_broker(&self) {
        let mut state = self.hub.state();
        state.script.stopped = true;
        for connected in state.connections.values_mut() {
            connected.is_back = false;
            connected.inbox.push(Instant::now(), Event::Connection(false));
        }
    }

    /// Starts the broker again. Members notice it within 300 ms, one after the other.
    ///
    /// ```
    /// # use atasker_runtime as atasker;
    /// use std::time::Duration;
    /// let cluster = atasker::Cluster::in_memory();
    /// cluster.faults().stop_broker();
    /// cluster.faults().start_broker();
    /// while cluster.info().is_err() {
    ///     std::thread::sleep(Duration::from_millis(10));
    /// }
    /// ```
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

    /// Freezes a member: everything that it sends or that is sent to it is held until it is thawed. To
    /// itself it seems to be connected. `node` is the name that was given to
    /// [`Cluster::member`](crate::Cluster::member), or the id of a node of that member.
    ///
    /// ```
    /// # use atasker_runtime as atasker;
    /// let cluster = atasker::Cluster::in_memory();
    /// let other = cluster.member("other");
    /// cluster.faults().freeze_node("other");
    /// assert!(other.is_connected() && other.info().is_err());
    /// assert!(cluster.info().is_ok());
    /// ```
    pub fn freeze_node(&self, node: &str) {
        self.hub.state().script.frozen.insert(node.to_owned());
    }

    /// Thaws a member: what was held is delivered.
    ///
    /// ```
    /// # use atasker_runtime as atasker;
    /// let cluster = atasker::Cluster::in_memory();
    /// cluster.faults().freeze_node("first");
    /// cluster.faults().thaw_node("first");
    /// assert!(cluster.info().is_ok());
    /// ```
    pub fn thaw_node(&self, node: &str) {
        let mut state = self.hub.state();
        state.script.frozen.remove(node);
        state.script.changed().notify_waiters();
    }

    /// Ends all failures: the broker is started, nodes are thawed, nothing is lost, repeated, delayed
    /// or reordered any more.
    ///
    /// ```
    /// # use atasker_runtime as atasker;
    /// let cluster = atasker::Cluster::in_memory();
    /// cluster.faults().lose(1.0);
    /// assert!(cluster.info().is_err());
    /// cluster.faults().end();
    /// assert!(cluster.info().is_ok());
    /// ```
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
