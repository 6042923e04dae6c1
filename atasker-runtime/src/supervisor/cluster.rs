//! The cluster that a supervisor has joined.

use std::any::Any;
use std::sync::{Arc, Weak};

use super::{Core, Supervisor};
use crate::cluster::handle::Cluster;
use crate::fork;

impl Supervisor {
    /// Joins a cluster: remote tasks of this supervisor, launched from now on, run on its nodes,
    /// except those that name another cluster. Replaces the cluster that was joined before.
    ///
    /// Joining does not make this process a node: see [`Cluster::serve`].
    ///
    /// ```
    /// # use atasker_runtime as atasker;
    /// use atasker::{Cluster, Supervisor};
    /// let sup = Supervisor::builder().build();
    /// sup.join_cluster(&Cluster::in_memory());
    /// assert!(sup.info().cluster.is_some());
    /// ```
    pub fn join_cluster(&self, cluster: &Cluster) {
        if !fork::is_copy() {
            self.core().remote.join(cluster);
            let weak: Weak<Core> = Arc::downgrade(self.core());
            cluster.joined_by(weak as Weak<dyn Any + Send + Sync>);
            // Metrics show the cluster from now on.
            self.core().observers().load.changed();
        }
    }
}

/// Returns a supervisor that has joined the cluster. `None` if none has.
pub(crate) fn joined(cluster: &Cluster) -> Option<Arc<Core>> {
    let has_joined = |core: &Arc<Core>| {
        core.remote.joined().is_some_and(|joined| Arc::ptr_eq(&joined.shared, &cluster.shared))
    };
    let cores = cluster.supervisors().into_iter().filter_map(|any| any.downcast::<Core>().ok());
    cores.into_iter().find(has_joined)
}
