//! The pool of worker processes of a program without the feature `mp`: there is none, and no task
//! for it can be built.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer, Serialize};

use crate::error::{KillError, TaskError};
use crate::info::MpPoolInfo;
use crate::job::Job;
use crate::place::{Closing, Place, WhenFull};
use crate::task::control::Include;
use crate::task::scheduler::SchedulerKey;
use crate::task::{AnyTask, TaskArc};
use crate::time::Reading;

/// Always false, because there are no worker processes.
pub(crate) fn in_worker() -> bool {
    false
}

/// The configuration of the pool. It has no settings.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(crate) struct MpPoolConfig {}

impl MpPoolConfig {
    pub(crate) fn checked(self) -> Self {
        self
    }
}

/// Accepts and ignores the settings of a program that has the feature, so that both can share a
/// configuration file.
impl<'de> Deserialize<'de> for MpPoolConfig {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Nothing {}

        match from.is_human_readable() {
            true => IgnoredAny::deserialize(from).map(drop)?,
            // Formats that don't describe themselves can't skip a value of unknown type.
            false => Nothing::deserialize(from).map(|Nothing {}| ())?,
        }
        Ok(MpPoolConfig {})
    }
}

/// The pool of a supervisor.
pub(crate) struct ProcessPool;

impl ProcessPool {
    pub(crate) fn new(_id: &str, _scheduler: Option<SchedulerKey>, _: MpPoolConfig) -> Arc<Self> {
        Arc::new(ProcessPool)
    }

    pub(crate) fn info(&self) -> Option<MpPoolInfo> {
        None
    }
}

impl ProcessPool {
    pub(crate) fn set_prompt(&self, _reasons: &AtomicUsize) {}

    pub(crate) fn on_clock(&self, _reading: Reading) {}
}

impl Place for ProcessPool {
    fn start(&self, job: Job, _when_full: WhenFull) {
        job.end(TaskError::not_started("the feature `mp` is disabled"));
    }

    fn revoke(&self, _task: &dyn AnyTask, _include: Include) -> bool {
        false
    }

    fn kill(&self, _task: &TaskArc) -> Result<(), KillError> {
        Err(KillError::Unsupported)
    }

    fn close(&self, _closing: &Closing<'_>) {}
}
