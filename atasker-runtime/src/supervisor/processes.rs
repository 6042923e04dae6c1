//! The settings of the pool of worker processes.

use super::{Supervisor, SupervisorBuilder};
use crate::fork;
use crate::process::MpPoolConfig;

#[cfg(feature = "mp")]
impl SupervisorBuilder {
    /// Configures the pool of worker processes (default: the `Default` of
    /// [`MpPoolConfig`]).
    ///
    /// # Panics
    ///
    /// Panics if a field of `config` has a value that its setter rejects.
    #[track_caller]
    pub fn mp_pool(mut self, config: MpPoolConfig) -> Self {
        self.mp_pool = config.checked();
        self
    }
}

#[cfg(feature = "mp")]
impl Supervisor {
    /// Returns the configuration of the pool of worker processes: what the supervisor was built
    /// with, or what [`set_mp_pool`](Self::set_mp_pool) set last.
    ///
    /// In a fork of the process, where the supervisor has no worker processes, this is the default
    /// configuration.
    ///
    /// ```
    /// # extern crate atasker_runtime as atasker;
    /// use atasker::{MpPoolConfig, Supervisor};
    /// let sup = Supervisor::builder().mp_pool(MpPoolConfig::new(2).env("MODE", "a")).build();
    /// sup.set_mp_pool(sup.mp_pool().max_tasks_per_worker(1000));
    /// assert_eq!(sup.mp_pool().env["MODE"], "a");
    /// ```
    pub fn mp_pool(&self) -> MpPoolConfig {
        if fork::is_copy() { Default::default() } else { self.core().processes.config() }
    }

    /// Changes the size and rules of the pool of worker processes, also while it runs.
    ///
    /// Tasks that begin after this returns run in worker processes started with the new settings.
    /// If a setting that applies to the start of a worker process has changed (`env`,
    /// `worker_data`, `worker_init`, `worker_exit`, `stdio`, `memory_limit`, `nice`,
    /// `nice_by_priority`, `dumpable`), idle worker processes are replaced immediately, and busy
    /// ones after their task, as far as the pool has slots for them. Values of `worker_data` are
    /// compared by type and encoding. Without shared memory, a task that is on its way to a worker
    /// process counts as begun.
    ///
    /// ```
    /// # extern crate atasker_runtime as atasker;
    /// use atasker::{MpPoolConfig, Supervisor};
    /// let sup = Supervisor::builder().mp_pool(MpPoolConfig::new(2).env("MODE", "a")).build();
    /// sup.set_mp_pool(MpPoolConfig::new(4).env("MODE", "b"));
    /// ```
    ///
    /// # Panics
    ///
    /// Panics if a field of `config` has a value that its setter rejects.
    #[track_caller]
    pub fn set_mp_pool(&self, config: MpPoolConfig) {
        let config = config.checked();
        if !fork::is_copy() {
            self.core().processes.set_config(config);
            self.core().observers().load.changed();
        }
    }
}
