//! The pool of worker processes. Its configuration stands; starting workers is the next step, and
//! until then a task that is bound for a worker process ends with an error that says so.

use std::sync::Arc;

use crate::error::{KillError, TaskError};
use crate::info::{MpPoolInfo, Waiting};
use crate::job::{Job, Place};
use crate::priority::Priority;
use crate::task::AnyTask;

/// The sizes of a pool of worker processes.
#[derive(Clone, Debug)]
pub struct MpPoolConfig {
    pool_size: usize,
}

impl MpPoolConfig {
    /// A pool of `pool_size` worker processes.
    pub fn new(pool_size: usize) -> Self {
        MpPoolConfig { pool_size }
    }
    pub(crate) fn standard() -> Self {
        Self::new(crate::options::cpus())
    }
}

pub(crate) struct ProcessPool(parking_lot::Mutex<MpPoolConfig>);

pub(crate) fn in_worker() -> bool {
    false
}

impl ProcessPool {
    pub(crate) fn new(_supervisor_id: &str, config: MpPoolConfig) -> Arc<Self> {
        Arc::new(ProcessPool(parking_lot::Mutex::new(config)))
    }
    pub(crate) fn set_config(&self, config: MpPoolConfig) {
        *self.0.lock() = config;
    }
    pub(crate) fn info(&self) -> MpPoolInfo {
        MpPoolInfo {
            pool_size: self.0.lock().pool_size,
            reserve_normal: 0,
            reserve_high: 0,
            running: 0,
            waiting: Waiting::default(),
            workers: Vec::new(),
            tasks_run: 0,
            restarts: 0,
        }
    }
}

impl Place for ProcessPool {
    fn start(&self, job: Job, _may_block: bool) {
        job.end(TaskError::not_started("worker processes can't be started yet"));
    }
    fn credits(&self, _priority: Priority) -> usize {
        0
    }
    fn revoke(&self, _task: &dyn AnyTask, _even_with_slot: bool) -> bool {
        false
    }
    fn kill(&self, _task: &Arc<dyn AnyTask>) -> Result<(), KillError> {
        Ok(())
    }
    fn open(&self) {}
    fn close(&self) {}
}
