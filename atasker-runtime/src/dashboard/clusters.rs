//! The clusters that the supervisors of a dashboard have joined.
//!
//! Nothing here waits for a broker, except the two requests that change something there, and these
//! only for a few seconds. The state shows what was last heard of a cluster, and has the cluster
//! asked again. A cluster is therefore asked only while a page is open.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::response::Response;
use serde::Serialize;

use super::refusal::Refusal;
use super::shared::Shared;
use super::{routes, watch};
use crate::cluster::door::DeadCall;
use crate::cluster_error::ClusterError;
use crate::id::TaskId;
use crate::supervisor::Core;
use crate::{Cluster, ClusterInfo, ClusterNode, DeadLetter, QueueInfo};

/// How old the nodes and queues may be before the cluster is asked again.
const FRESH: Duration = Duration::from_secs(1);
/// The same of the dead letters, unless their number has changed.
const DEAD_FRESH: Duration = Duration::from_secs(10);
/// The number of dead letters that are listed.
const DEAD: usize = 200;
/// How long a request waits for the first answer of a cluster.
const FIRST: Duration = Duration::from_millis(500);
/// How long the broker may take for a retry or a drop.
const LIMIT: Duration = Duration::from_secs(5);

/// What is shown of a cluster.
#[derive(Serialize)]
pub(super) struct ClusterState {
    key: u64,
    namespace: String,
    connected: bool,
    /// Why the rest is old.
    error: Option<String>,
    /// The broker and its version; null before its first answer.
    broker: Option<String>,
    nodes: Vec<ClusterNode>,
    queues: Vec<QueueInfo>,
    /// The latest ones, the newest first.
    dead_letters: Vec<Letter>,
    dead_letters_total: u64,
}

/// A dead letter, with its error cut to a reasonable length.
#[derive(Serialize)]
struct Letter {
    id: TaskId,
    name: String,
    error: String,
    #[serde(serialize_with = "crate::info_serde::time")]
    time: SystemTime,
}

impl From<&DeadCall> for Letter {
    fn from(call: &DeadCall) -> Letter {
        let error = watch::text(call.error.as_ref());
        let DeadLetter { id, name, time, .. } = DeadLetter::from(call.clone());
        Letter { id, name, error, time }
    }
}

/// Returns the clusters that these supervisors have joined, each once.
fn joined(cores: &[Arc<Core>]) -> Vec<Cluster> {
    let mut clusters: Vec<Cluster> = Vec::new();
    for cluster in cores.iter().filter_map(|core| core.remote.joined()) {
        if !clusters.iter().any(|known| known.key() == cluster.key()) {
            clusters.push(cluster);
        }
    }
    clusters
}

/// Returns what is shown of the clusters of these supervisors.
pub(super) fn of(cores: &[Arc<Core>]) -> Vec<ClusterState> {
    joined(cores).iter().map(state_of).collect()
}

fn state_of(cluster: &Cluster) -> ClusterState {
    let overview = cluster.latest_overview(FRESH);
    let info =
        overview.answer.map(|known| ClusterInfo::new(cluster.namespace(), known.as_ref().clone()));
    let total = info.as_ref().map_or(0, |info| info.dead_letters);
    let mut dead = cluster.latest_dead(DEAD_FRESH);
    if dead.answer.as_ref().is_some_and(|known| known.len() as u64 != total) {
        dead = cluster.latest_dead(FRESH);
    }
    let letters = dead.answer.as_deref().map(Vec::as_slice).unwrap_or_default();
    let (broker, nodes, queues) = match info {
        Some(info) => (Some(info.broker), info.nodes, info.queues),
        None => (None, Vec::new(), Vec::new()),
    };
    ClusterState {
        key: cluster.key(),
        namespace: cluster.namespace().to_owned(),
        connected: cluster.is_connected(),
        error: overview.error.or(dead.error).map(|error| error.to_string()),
        broker,
        nodes,
        queues,
        dead_letters: letters.iter().rev().take(DEAD).map(Letter::from).collect(),
        dead_letters_total: total,
    }
}

/// Waits until something was heard of each cluster, for half a second at most.
pub(super) async fn first_heard(shared: &Arc<Shared>) {
    let of = Arc::clone(shared);
    let Ok(clusters) = routes::off_loop(move || joined(&of.cores())).await else { return };
    for cluster in clusters {
        cluster.heard_of(FIRST).await;
    }
}

/// What is to be done with a dead letter.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Verb {
    Retry,
    Drop,
}

/// Launches the call of a dead letter again, or removes the letter.
pub(super) async fn control(
    shared: &Arc<Shared>,
    key: &str,
    id: &str,
    verb: Verb,
) -> Result<Response, Refusal> {
    let unknown_letter = || Refusal::not_found("there is no such dead letter");
    let of = Arc::clone(shared);
    let clusters = routes::off_loop(move || joined(&of.cores())).await?;
    let key = key.parse::<u64>().ok();
    let cluster = clusters.into_iter().find(|cluster| Some(cluster.key()) == key);
    let cluster = cluster.ok_or_else(|| Refusal::not_found("there is no such cluster"))?;
    let id: TaskId = id.parse().map_err(|_| unknown_letter())?;
    let session = cluster.session();
    let done = tokio::time::timeout(LIMIT, async {
        match verb {
            Verb::Retry => session.retry_dead(id).await.map(|_| true),
            Verb::Drop => session.drop_dead(id).await,
        }
    });
    let done = match done.await {
        Ok(Ok(true)) => Ok(routes::no_content()),
        Ok(Ok(false) | Err(ClusterError::NotFound { .. })) => Err(unknown_letter()),
        Ok(Err(error)) => Err(Refusal::conflict(error.to_string())),
        Err(_) => Err(Refusal::conflict(
            "the broker has not answered in time: it may be done when the broker is back",
        )),
    };
    // For the next state.
    cluster.latest_dead(Duration::ZERO);
    cluster.latest_overview(Duration::ZERO);
    done
}
