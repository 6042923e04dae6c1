//! What a cluster tells about itself, as plain data.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Serialize, Serializer};

use super::broker::QueueCounts;
use super::door::{DeadCall, NodeDescription, Overview};
use crate::error::TaskError;
use crate::id::TaskId;
use crate::info::Waiting;
use crate::info_serde;

/// A snapshot of a cluster. See [`Cluster::info`](crate::Cluster::info).
///
/// ```
/// # use atasker_runtime as atasker;
/// use atasker::{Cluster, ClusterInfo};
/// let cluster = Cluster::in_memory();
/// let info: ClusterInfo = cluster.info().unwrap();
/// assert_eq!((info.namespace.as_str(), info.dead_letters), (cluster.namespace(), 0));
/// ```
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct ClusterInfo {
    /// The namespace.
    pub namespace: String,
    /// The broker and its version.
    pub broker: String,
    /// The nodes that were heard of within the time that the setting `lost_after` says.
    pub nodes: Vec<ClusterNode>,
    /// The queues.
    pub queues: Vec<QueueInfo>,
    /// The number of dead letters.
    pub dead_letters: u64,
}

/// A node of a cluster, as it describes itself.
///
/// ```
/// # use atasker_runtime as atasker;
/// use atasker::{Cluster, ClusterNode};
/// /// The nodes that could take a call of this queue now.
/// fn free_nodes(cluster: &Cluster, queue: &str) -> Vec<ClusterNode> {
///     let mut nodes = cluster.info().map(|info| info.nodes).unwrap_or_default();
///     nodes.retain(|node| !node.draining && node.queues.iter().any(|name| name == queue));
///     nodes.retain(|node| node.slots == 0 || node.running < node.slots);
///     nodes
/// }
/// # assert!(free_nodes(&Cluster::in_memory(), "default").is_empty());
/// ```
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct ClusterNode {
    /// The id of the node, unique in the namespace.
    pub id: String,
    /// The name of the node: that of its host, unless it was given another one.
    pub name: String,
    /// The name of the host.
    pub host: String,
    /// The process id of the node's program.
    pub pid: u32,
    /// The queues that the node serves.
    pub queues: Vec<String>,
    /// The number of slots for all tasks; 0 means no limit.
    pub slots: u32,
    /// The number of additional slots for tasks of normal priority or higher.
    pub reserve_normal: u32,
    /// The number of additional slots for tasks of high priority.
    pub reserve_high: u32,
    /// The number of calls that the node holds.
    pub running: u32,
    /// Whether the node takes no more calls.
    pub draining: bool,
    /// The functions that the node can run, by name. A name occurs once for each signature.
    pub functions: Vec<String>,
    /// Identifies the build of the node's program.
    pub build: String,
    /// How long ago the node was last heard of, by the clock of the broker.
    #[serde(serialize_with = "seconds")]
    pub heard_of: Duration,
}

/// A queue of a cluster.
///
/// ```
/// # use atasker_runtime as atasker;
/// use atasker::{Cluster, QueueInfo};
/// /// The number of calls that no node has taken.
/// fn backlog(cluster: &Cluster) -> usize {
///     let queues: Vec<QueueInfo> = cluster.info().map(|info| info.queues).unwrap_or_default();
///     queues.iter().map(|queue| queue.waiting.total()).sum()
/// }
/// # assert_eq!(backlog(&Cluster::in_memory()), 0);
/// ```
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct QueueInfo {
    /// The name of the queue.
    pub name: String,
    /// The calls that wait for a node.
    pub waiting: Waiting,
    /// The number of calls that nodes hold.
    pub given_out: u64,
}

/// A call that has failed for good. See [`Cluster::dead_letters`](crate::Cluster::dead_letters).
///
/// ```
/// # use atasker_runtime as atasker;
/// use atasker::{Cluster, DeadLetter};
/// let cluster = Cluster::in_memory();
/// let letters: Vec<DeadLetter> = cluster.dead_letters().unwrap();
/// assert!(letters.is_empty());
/// ```
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct DeadLetter {
    /// The id of the call.
    pub id: TaskId,
    /// The name of the task.
    pub name: String,
    /// The text of the error with which the task ended. If the function returned an `Err`, that it
    /// did.
    pub error: String,
    /// When the task ended, by the clock of the broker.
    #[serde(serialize_with = "info_serde::time")]
    pub time: SystemTime,
}

fn seconds<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(duration.as_secs_f64())
}

impl ClusterInfo {
    pub(crate) fn new(namespace: &str, overview: Overview) -> ClusterInfo {
        let Overview { broker, nodes, queues, dead } = overview;
        let nodes = nodes.into_iter().map(|(node, heard_of)| ClusterNode::new(node, heard_of));
        ClusterInfo {
            namespace: namespace.to_owned(),
            broker,
            nodes: nodes.collect(),
            queues: queues.into_iter().map(QueueInfo::from).collect(),
            dead_letters: dead,
        }
    }
}

impl ClusterNode {
    pub(super) fn new(node: NodeDescription, heard_of: Duration) -> ClusterNode {
        ClusterNode {
            id: node.id,
            name: node.name,
            host: node.host,
            pid: node.pid,
            queues: node.queues,
            slots: node.slots,
            reserve_normal: node.reserve_normal,
            reserve_high: node.reserve_high,
            running: node.running,
            draining: node.draining,
            functions: node.functions.into_iter().map(|function| function.name).collect(),
            build: node.build,
            heard_of,
        }
    }
}

impl From<QueueCounts> for QueueInfo {
    fn from(counts: QueueCounts) -> QueueInfo {
        let [critical, high, normal, low] =
            counts.waiting.map(|count| usize::try_from(count).unwrap_or(usize::MAX));
        QueueInfo {
            name: counts.queue,
            waiting: Waiting { low, normal, high, critical },
            given_out: counts.given_out,
        }
    }
}

impl From<DeadCall> for DeadLetter {
    fn from(call: DeadCall) -> DeadLetter {
        let returned = || "the function returned an `Err`".to_owned();
        DeadLetter {
            id: call.head.id,
            name: call.head.name,
            error: call.error.as_ref().map_or_else(returned, TaskError::to_string),
            time: UNIX_EPOCH + Duration::from_nanos(call.time),
        }
    }
}
