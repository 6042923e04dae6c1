//! The feature `mp` on platforms without worker processes. It has the whole public interface, so
//! that programs compile, and a place that never gets a task, because each use of `tt = "mp"` is a
//! compile error there (see `needs_worker_processes!`).

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use crate::sync::lock::Mutex;
use crate::task::control::Include;

mod config;
mod data;

pub use config::{MpPoolConfig, WorkerStdio};
pub use data::worker_data;

use crate::error::{KillError, TaskError};
use crate::info::{MpPoolInfo, Waiting};
use crate::job::Job;
use crate::place::{Closing, Place, WhenFull};
use crate::task::scheduler::SchedulerKey;
use crate::task::{AnyTask, TaskArc};
use crate::time::Reading;

/// Always false, because there are no worker processes.
pub(crate) fn in_worker() -> bool {
    false
}

/// The reason why this process can't have worker processes.
#[cfg(feature = "remote")]
pub(crate) fn unavailable_reason() -> Option<&'static str> {
    Some("this platform has no worker processes")
}

/// Does nothing on this platform, which has no worker processes.
///
/// On Linux, macOS and FreeBSD, serves as a worker process and never returns, if this process was started as one.
pub fn init() {
    enter();
}

/// The entry point for `init` and for `#[atasker::main]`.
pub(crate) fn enter() {}

/// The configuration of a pool that runs nothing.
pub(crate) struct ProcessPool(Mutex<MpPoolConfig>);

impl ProcessPool {
    pub(crate) fn new(_: &str, _: Option<SchedulerKey>, config: MpPoolConfig) -> Arc<Self> {
        data::pool_changed(None, config.worker_data.as_ref());
        Arc::new(ProcessPool(Mutex::new(config)))
    }

    pub(crate) fn config(&self) -> MpPoolConfig {
        self.0.lock().clone()
    }

    #[cfg(feature = "remote")]
    pub(crate) fn limits(&self) -> crate::backlog::Limits {
        self.0.lock().limits()
    }

    pub(crate) fn set_config(&self, config: MpPoolConfig) {
        let mut present = self.0.lock();
        data::pool_changed(present.worker_data.as_ref(), config.worker_data.as_ref());
        *present = config;
    }

    pub(crate) fn describe(&self) -> String {
        "no worker processes on this platform\n".into()
    }

    pub(crate) fn info(&self) -> MpPoolInfo {
        let config = self.0.lock();
        MpPoolInfo {
            pool_size: config.pool_size,
            reserve_normal: config.reserve_normal,
            reserve_high: config.reserve_high,
            running: 0,
            waiting: Waiting::default(),
            workers: Vec::new(),
            tasks_run: 0,
            restarts: 0,
            completed: 0,
            failed: 0,
            timed_out: 0,
            canceled: 0,
        }
    }
}

impl ProcessPool {
    pub(crate) fn set_prompt(&self, _reasons: &AtomicUsize) {}

    pub(crate) fn on_clock(&self, _reading: Reading) {}
}

impl Place for ProcessPool {
    fn start(&self, job: Job, _: WhenFull) {
        job.end(TaskError::not_started("this platform has no worker processes"));
    }

    fn revoke(&self, _: &dyn AnyTask, _: Include) -> bool {
        false
    }

    fn kill(&self, _: &TaskArc) -> Result<(), KillError> {
        Err(KillError::Unsupported)
    }

    fn close(&self, _: &Closing<'_>) {}
}
