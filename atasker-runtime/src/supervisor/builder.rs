//! The configuration of a supervisor before it is created.

use super::{Core, Supervisor};
use crate::options::PoolConfig;
use crate::process::MpPoolConfig;

/// A builder for a supervisor. See [`Supervisor::builder`].
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until `build()` is called"]
pub struct SupervisorBuilder {
    id: String,
    thread_pool: PoolConfig,
    pub(super) mp_pool: MpPoolConfig,
}

impl SupervisorBuilder {
    pub(super) fn new() -> Self {
        SupervisorBuilder {
            id: "default".to_owned(),
            thread_pool: PoolConfig::default(),
            mp_pool: MpPoolConfig::default(),
        }
    }

    /// Sets the id, used in logs and in the names of threads and processes (default: `default`).
    pub fn id(mut self, id: impl Into<String>) -> Self {
        // Threads are named after it, and the name of a thread can't contain NUL.
        self.id = id.into().replace('\0', "?");
        self
    }

    /// Configures the thread pool (default: [`PoolConfig::default`]).
    ///
    /// # Panics
    ///
    /// Panics if a field of `config` has a value that its setter rejects.
    #[track_caller]
    pub fn thread_pool(mut self, config: PoolConfig) -> Self {
        self.thread_pool = config.checked();
        self
    }

    /// Creates the supervisor. Threads and processes are started when they are first needed.
    pub fn build(self) -> Supervisor {
        Supervisor::from_core(Core::new(self.id, self.thread_pool, self.mp_pool))
    }
}
