//! Clusters within this process.

use std::sync::Arc;
use std::time::Duration;

use super::broker::Broker;
use super::error::ClusterError;
use super::handle::{Cluster, check_namespace};
use super::memory::{Faults, Hub, MemoryOptions};
use super::protocol::Session;
use crate::fork;

/// The namespace of clusters in memory, which know nothing of each other.
const NAMESPACE: &str = "memory";

impl Cluster {
    /// Returns a new cluster within this process: for tests, and for programs that may outgrow one
    /// machine later.
    ///
    /// Everything but connecting is as with a broker. [`member`](Self::member) connects further
    /// members, as other processes would, and [`faults`](Self::faults) scripts failures. What the
    /// cluster keeps is lost with its last member.
    ///
    /// ```
    /// # use atasker_runtime as atasker;
    /// use atasker::Cluster;
    /// let cluster = Cluster::in_memory();
    /// assert!(cluster.is_connected());
    /// assert!(cluster.info().unwrap().nodes.is_empty());
    /// ```
    ///
    /// # Panics
    ///
    /// Panics if the system can't start a thread.
    pub fn in_memory() -> Cluster {
        Cluster::connect_in_memory(Hub::new(MemoryOptions::default()), "first")
    }

    /// For the tests of this library: with a limit of waiting calls, what a launch does when it is
    /// reached, and the time after which a silent member is lost.
    #[doc(hidden)]
    pub fn __in_memory_with(queue_limit: usize, blocks: bool, lost_after: Duration) -> Cluster {
        let mut options = MemoryOptions { queue_limit, ..MemoryOptions::default() };
        let limits = &mut options.limits;
        limits.blocks_when_full = blocks;
        limits.lost_after = lost_after;
        limits.redeliver_after = limits.redeliver_after.min(lost_after / 2);
        Cluster::connect_in_memory(Hub::new(options), "first")
    }

    fn connect_in_memory(hub: Arc<Hub>, name: &str) -> Cluster {
        fork::watch();
        let connected = || -> Result<Cluster, ClusterError> {
            check_namespace(NAMESPACE)?;
            let (broker, name) = (Arc::clone(&hub), name.to_owned());
            let connect = move || -> super::broker::BrokerFuture<'static, _> {
                Box::pin(async move { Ok(broker.connect(&name) as Arc<dyn Broker>) })
            };
            let session = Session::start(NAMESPACE, Box::new(connect))?;
            Cluster::over(NAMESPACE, session, Some(Arc::clone(&hub)))
        };
        connected().unwrap_or_else(|error| panic!("no cluster in memory: {error}"))
    }

    /// Connects a further member to a cluster in memory, as another process would be. `name` is the
    /// name by which it can be [frozen](Faults::freeze_node).
    ///
    /// ```
    /// # use atasker_runtime as atasker;
    /// use atasker::Cluster;
    /// let cluster = Cluster::in_memory();
    /// let other = cluster.member("other");
    /// cluster.close();
    /// assert!(other.is_connected());
    /// ```
    ///
    /// # Panics
    ///
    /// Panics for a cluster with a broker, and if the system can't start a thread.
    #[track_caller]
    pub fn member(&self, name: &str) -> Cluster {
        let hub = self.shared.memory.as_ref().expect(NOT_IN_MEMORY);
        Cluster::connect_in_memory(Arc::clone(hub), name)
    }

    /// Returns what scripts the failures of a cluster in memory.
    ///
    /// ```
    /// # use atasker_runtime as atasker;
    /// use std::time::Duration;
    /// use atasker::Cluster;
    /// let cluster = Cluster::in_memory();
    /// cluster.faults().stop_broker();
    /// assert!(cluster.info().is_err());
    /// cluster.faults().start_broker();
    /// ```
    ///
    /// # Panics
    ///
    /// Panics for a cluster with a broker.
    #[track_caller]
    pub fn faults(&self) -> Faults {
        Faults::new(Arc::clone(self.shared.memory.as_ref().expect(NOT_IN_MEMORY)))
    }
}

const NOT_IN_MEMORY: &str = "the cluster is not in memory, but at a broker";
