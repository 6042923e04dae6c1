//! The load of a supervisor, as its gauges show it.

use super::core::{Core, Phase};
use crate::info::Waiting;

/// A sample of the load of a supervisor.
#[derive(Debug)]
pub(crate) struct Load {
    pub(crate) threads: PoolLoad,
    /// `None` without the feature `mp`.
    pub(crate) processes: Option<PoolLoad>,
    /// The number of tasks that run on aloops. `None` without the feature `async`.
    pub(crate) futures: Option<usize>,
}

/// The load of a pool.
#[derive(Debug)]
pub(crate) struct PoolLoad {
    pub(crate) waiting: Waiting,
    pub(crate) running: usize,
    /// The number of slots for all tasks; 0 means no limit.
    pub(crate) size: usize,
    /// The number of slots, with the reserves. `None` if there is no limit.
    pub(crate) slots: Option<usize>,
    /// The number of threads or worker processes.
    pub(crate) workers: usize,
}

impl Core {
    /// Returns the present load. `None` if the supervisor is stopped.
    // Without the feature `mp`, the info of the pool is an `Option` already.
    #[allow(clippy::useless_conversion)]
    pub(crate) fn load(&self) -> Option<Load> {
        if self.phase() == Phase::Stopped {
            return None;
        }
        let slots = |size, reserves: [usize; 2]| {
            (size != 0).then(|| reserves.into_iter().fold(size, usize::saturating_add))
        };
        let pool = self.threads.info();
        let held = pool.running + pool.running_critical + pool.blocked;
        let threads = PoolLoad {
            waiting: pool.waiting,
            // Callbacks and alarms run on pool threads, but are no tasks.
            running: held.saturating_sub(self.threads.internal_running()),
            size: pool.pool_size,
            slots: slots(pool.pool_size, [pool.reserve_normal, pool.reserve_high]),
            workers: pool.threads,
        };
        let pool: Option<crate::info::MpPoolInfo> = self.processes.info().into();
        let processes = pool.map(|pool| PoolLoad {
            waiting: pool.waiting,
            running: pool.running,
            size: pool.pool_size,
            slots: slots(pool.pool_size, [pool.reserve_normal, pool.reserve_high]),
            workers: pool.workers.len(),
        });
        Some(Load { threads, processes, futures: self.aloops.running() })
    }
}
