//! The place of remote tasks of a program without the feature `remote`: no task for it can be built.

use crate::error::{KillError, TaskError};
use crate::job::Job;
use crate::place::{Closing, Place, WhenFull};
use crate::task::control::Include;
use crate::task::{AnyTask, TaskArc};

/// The place, by the path that it has with the feature.
pub(crate) mod place {
    pub(crate) use super::RemotePlace;
}

/// The calls of a supervisor to other machines.
pub(crate) struct RemotePlace;

impl RemotePlace {
    pub(crate) fn new() -> Self {
        RemotePlace
    }

    pub(crate) fn info(&self) -> Option<String> {
        None
    }
}

impl Place for RemotePlace {
    fn start(&self, job: Job, _when_full: WhenFull) {
        job.end(TaskError::not_started("the feature `nats` is disabled"));
    }

    fn revoke(&self, _task: &dyn AnyTask, _include: Include) -> bool {
        false
    }

    fn kill(&self, _task: &TaskArc) -> Result<(), KillError> {
        Err(KillError::Unsupported)
    }

    fn close(&self, _closing: &Closing<'_>) {}
}
