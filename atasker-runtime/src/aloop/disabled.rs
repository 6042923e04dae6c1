//! The aloops of a program without the feature `async`: there are none, and no async task can be
//! built.

use crate::error::{KillError, TaskError};
use crate::info::AloopInfo;
use crate::job::{Job, Run};
use crate::place::{Closing, Place, WhenFull};
use crate::task::control::Include;
use crate::task::scheduler::SchedulerKey;
use crate::task::{AnyTask, TaskArc};

/// The aloops of a supervisor.
pub(crate) struct Aloops;

impl Aloops {
    pub(crate) fn new(_supervisor_id: &str, _scheduler: SchedulerKey) -> Self {
        Aloops
    }

    pub(crate) fn running(&self) -> Option<usize> {
        None
    }

    pub(crate) fn info(&self) -> Vec<AloopInfo> {
        Vec::new()
    }
}

/// Runs async tasks within their launches, in tests. There are none.
pub(crate) enum InlineLoop {}

impl InlineLoop {
    pub(crate) fn new() -> Result<Self, TaskError> {
        Err(TaskError::not_started("the feature `async` is disabled"))
    }

    pub(crate) fn attempt(&self, _run: Run) {
        match *self {}
    }
}

pub(crate) fn end_inline_runtime() {}

impl Place for Aloops {
    fn start(&self, job: Job, _when_full: WhenFull) {
        job.end(TaskError::not_started("the feature `async` is disabled"));
    }

    fn revoke(&self, _task: &dyn AnyTask, _include: Include) -> bool {
        false
    }

    fn kill(&self, _task: &TaskArc) -> Result<(), KillError> {
        Err(KillError::Unsupported)
    }

    fn close(&self, _closing: &Closing<'_>) {}
}
