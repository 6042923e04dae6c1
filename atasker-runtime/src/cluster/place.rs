//! The place of tasks that run on other machines.

use std::sync::Arc;

use crate::cluster::handle::Cluster;
use crate::error::{KillError, TaskError};
use crate::job::Job;
use crate::place::{Closing, Place, WhenFull};
use crate::sync::lock::Mutex;
use crate::task::AnyTask;
use crate::task::control::Include;

use super::error::ClusterError;

/// The calls of one supervisor to the cluster that it has joined.
#[derive(Default)]
pub(crate) struct RemotePlace {
    joined: Mutex<Option<Cluster>>,
}

impl RemotePlace {
    /// Returns the namespace of the cluster that was joined.
    pub(crate) fn info(&self) -> Option<String> {
        match *self.joined.lock().as_ref()?.inner {}
    }
}

impl Place for RemotePlace {
    fn start(&self, job: Job, _when_full: WhenFull) {
        job.end(TaskError::Cluster(ClusterError::NotJoined));
    }

    fn revoke(&self, _task: &dyn AnyTask, _include: Include) -> bool {
        false
    }

    fn kill(&self, _task: &Arc<dyn AnyTask>) -> Result<(), KillError> {
        Err(KillError::Unreachable)
    }

    fn close(&self, _closing: &Closing<'_>) {}
}
