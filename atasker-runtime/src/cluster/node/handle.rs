//! The public handle of a node.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::ended::Ended;
use super::runner::{self, Shared};
use super::serve::number;
use crate::cluster::door::{Drained, NodeDescription, NodeOffer};
use crate::cluster::info::ClusterNode;
use crate::cluster::protocol::Serving;
use crate::fork;
use crate::info::TaskType;
use crate::options::{StopOptions, StopReport};
use crate::supervisor::Supervisor;

/// How long a run that was asked to stop may take to end, before it is ended by force.
const GRACE: Duration = Duration::from_secs(1);

/// How long worker processes may take to exit once no call is left.
const EXIT_GRACE: Duration = Duration::from_secs(2);

/// The longest limit, because it is added to the time of now.
const FOREVER: Duration = Duration::from_secs(10 * 365 * 86_400);

/// A program that serves calls of a cluster. Returned by [`Cluster::serve`](crate::Cluster::serve).
///
/// Handles are cheap to clone. Dropping them changes nothing: the node serves until it is drained or
/// stopped, or until the cluster is [closed](crate::Cluster::close). Nothing here handles signals but
/// [`run_until_signal`](Self::run_until_signal).
///
/// ```
/// # extern crate atasker_runtime as atasker;
/// use std::time::Duration;
/// use atasker::{Cluster, NodeConfig, PoolConfig};
/// let cluster = Cluster::in_memory();
/// let node = cluster.serve(NodeConfig::threads(PoolConfig::new(4)).name("one"))?;
/// assert_eq!((node.name(), node.info().slots), ("one", 4));
/// let report = node.drain(Duration::from_secs(30));
/// assert_eq!(report.abandoned, 0);
/// # Ok::<(), atasker::ClusterError>(())
/// ```
#[derive(Clone)]
pub struct Node {
    inner: Arc<Inner>,
}

pub(super) struct Inner {
    pub(super) serving: Arc<Serving>,
    pub(super) supervisor: Supervisor,
    pub(super) tt: TaskType,
    pub(super) offer: NodeOffer,
    pub(super) runs: Arc<Shared>,
    pub(super) ended: Arc<Ended>,
    pub(super) lost_after: Duration,
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Node")
            .field("id", &self.id())
            .field("name", &self.name())
            .finish_non_exhaustive()
    }
}

impl Node {
    pub(super) fn new(inner: Inner) -> Node {
        Node { inner: Arc::new(inner) }
    }

    /// Returns the id of the node, unique in its cluster.
    pub fn id(&self) -> &str {
        self.inner.serving.id()
    }

    /// Returns the name of the node.
    pub fn name(&self) -> &str {
        &self.inner.offer.name
    }

    /// Returns the supervisor of the node. Its tasks are the calls that the node runs, under the ids
    /// that their launchers have given them.
    ///
    /// Its settings can be changed while the node serves. To stop it, use [`drain`](Self::drain) or
    /// [`stop`](Self::stop) of the node: if the supervisor itself is stopped, the calls that it runs
    /// are ended by force and run elsewhere.
    ///
    /// ```
    /// # extern crate atasker_runtime as atasker;
    /// use atasker::{Node, PoolConfig};
    /// fn enlarge(node: &Node) {
    ///     let mut pool = node.supervisor().thread_pool();
    ///     pool.pool_size *= 2;
    ///     node.supervisor().set_thread_pool(pool);
    /// }
    /// ```
    pub fn supervisor(&self) -> &Supervisor {
        &self.inner.supervisor
    }

    /// Returns a snapshot of the node, as [`Cluster::info`](crate::Cluster::info) shows it. Does not
    /// ask the broker.
    pub fn info(&self) -> ClusterNode {
        let Inner { supervisor, tt, offer, runs, ended, lost_after, .. } = &*self.inner;
        let offer = offer.clone();
        let is_copy = fork::is_copy();
        let limits = (!is_copy).then(|| runner::limits(supervisor, *tt));
        let slots = limits.map(|limits| {
            [limits.pool_size, limits.reserve_normal, limits.reserve_high].map(number)
        });
        let [slots, reserve_normal, reserve_high] =
            slots.unwrap_or([offer.slots, offer.reserve_normal, offer.reserve_high]);
        let description = NodeDescription {
            id: self.id().to_owned(),
            name: offer.name,
            host: offer.host,
            pid: offer.pid,
            queues: offer.queues,
            slots,
            reserve_normal,
            reserve_high,
            running: if is_copy { 0 } else { number(runs.running()) },
            draining: is_copy || ended.has_ended() || runs.is_draining(),
            functions: offer.functions,
            build: offer.build,
            lost_after: *lost_after,
        };
        ClusterNode::new(description, Duration::ZERO)
    }

    /// Ends the node after the calls that it runs.
    ///
    /// The node takes no more calls, and hands back at once what has not begun. The calls that run
    /// get `limit` to end, are then asked to stop, and are ended by force a second later. Calls that
    /// are ended by force run elsewhere, which costs one of their
    /// [`redeliver`](crate::TaskBuilder::redeliver); if none is left, they end with
    /// [`NodeLost`](crate::TaskError::NodeLost). A thread can't be ended: its function runs on, and
    /// its result is ignored.
    ///
    /// A call that fails or returns an `Err` after it was asked to stop also runs elsewhere, and costs no
    /// retry. If no `redeliver` is left, its end counts as any other.
    ///
    /// Returns how many calls have ended (`completed`), were handed back (`canceled`), and were ended
    /// by force (`abandoned`). The supervisor of the node is stopped.
    ///
    /// # Panics
    ///
    /// Panics on the thread of an aloop.
    #[track_caller]
    pub fn drain(&self, limit: Duration) -> StopReport {
        self.end(limit, GRACE)
    }

    /// Ends the node, as [`drain`](Self::drain) does.
    ///
    /// The calls that run get the time of [`StopOptions::wait`] to end, by default without limit.
    /// With [`StopOptions::cancel_tasks`], they are asked to stop at once.
    ///
    /// ```
    /// # extern crate atasker_runtime as atasker;
    /// # let cluster = atasker::Cluster::in_memory();
    /// # let config = atasker::NodeConfig::threads(atasker::PoolConfig::new(1));
    /// # let node = cluster.serve(config)?;
    /// use std::time::Duration;
    /// use atasker::StopOptions;
    /// node.stop(StopOptions::new().wait(Duration::from_secs(3)).cancel_tasks(true));
    /// # Ok::<(), atasker::ClusterError>(())
    /// ```
    ///
    /// # Panics
    ///
    /// Panics on the thread of an aloop.
    #[track_caller]
    pub fn stop(&self, options: StopOptions) -> StopReport {
        let StopOptions { wait, cancel_tasks } = options;
        let wait = wait.unwrap_or(FOREVER);
        match cancel_tasks {
            true => self.end(Duration::ZERO, wait),
            false => self.end(wait, GRACE),
        }
    }

    #[track_caller]
    fn end(&self, limit: Duration, grace: Duration) -> StopReport {
        if fork::is_copy() {
            return StopReport { completed: 0, canceled: 0, abandoned: 0 };
        }
        self.inner.runs.set_draining();
        let (limit, grace) = (limit.min(FOREVER), grace.min(FOREVER));
        let Drained { ended, handed_back, cut_off } = self.inner.serving.drain(limit, grace).wait();
        // Threads that were cut off are not waited for.
        let wait = if cut_off > 0 { Duration::ZERO } else { EXIT_GRACE };
        self.inner.supervisor.stop(StopOptions::new().wait(wait));
        StopReport { completed: ended, canceled: handed_back, abandoned: cut_off }
    }

    /// Blocks until the node has ended: until it was drained or stopped by another thread, or the
    /// cluster was closed.
    ///
    /// # Panics
    ///
    /// Panics on the thread of an aloop.
    #[track_caller]
    pub fn block(&self) {
        if !fork::is_copy() {
            self.inner.ended.wait();
        }
    }
}

#[cfg(unix)]
mod until_signal {
    use std::task::Waker;
    use std::time::Duration;

    use super::Node;
    use crate::fork;
    use crate::options::StopReport;
    use crate::sys::signals::{EndSignals, Why};
    use crate::task::park;
    use crate::task::waiters::WaiterKey;
    use crate::unwind::log;

    impl Node {
        /// Blocks until this process receives SIGTERM or SIGINT, and [drains](Self::drain) the node
        /// for `limit`. Also returns when the node has ended otherwise.
        ///
        /// A second signal ends the process at once, with its worker processes. The handlers of both
        /// signals that the program had before are restored on return.
        ///
        /// ```no_run
        /// # extern crate atasker_runtime as atasker;
        /// use std::time::Duration;
        /// use atasker::{Cluster, MpPoolConfig, NodeConfig};
        /// fn run_node(cluster: &Cluster) -> Result<(), atasker::ClusterError> {
        ///     let node = cluster.serve(NodeConfig::new(MpPoolConfig::new(8)))?;
        ///     node.run_until_signal(Duration::from_secs(30));
        ///     Ok(())
        /// }
        /// ```
        ///
        /// # Panics
        ///
        /// Panics on the thread of an aloop, and if the system has no descriptors left.
        #[track_caller]
        pub fn run_until_signal(&self, limit: Duration) -> StopReport {
            let nothing = StopReport { completed: 0, canceled: 0, abandoned: 0 };
            if fork::is_copy() {
                return nothing;
            }
            let signals = EndSignals::watch()
                .unwrap_or_else(|error| panic!("can't wait for a signal: {error}"));
            let (ended, key) = (&self.inner.ended, WaiterKey::next());
            let waker = Waker::from(signals.waker());
            if !ended.watch(key, &waker) {
                return nothing;
            }
            let why = park::blocking(|| signals.wait());
            ended.unwatch(key);
            match why {
                Ok(Why::Signal(signal)) => {
                    log!(info, node = self.name(), signal, ?limit, "draining a node");
                    self.drain(limit)
                }
                Ok(Why::Woken) => nothing,
                Err(error) => panic!("can't wait for a signal: {error}"),
            }
        }
    }
}
