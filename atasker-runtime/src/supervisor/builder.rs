//! What is said before a supervisor exists.

use super::{Core, Supervisor};
use crate::options::PoolConfig;

/// A supervisor to be made: see [`Supervisor::builder`].
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until `build()` is called"]
pub struct SupervisorBuilder {
    id: String,
    thread_pool: PoolConfig,
    #[cfg(feature = "mp")]
    mp_pool: crate::process::MpPoolConfig,
}

impl SupervisorBuilder {
    pub(super) fn new() -> Self {
        SupervisorBuilder {
            id: "default".to_owned(),
            thread_pool: PoolConfig::standard(),
            #[cfg(feature = "mp")]
            mp_pool: crate::process::MpPoolConfig::standard(),
        }
    }

    /// Its name in logs, thread names and process names (default: `default`).
    pub fn id(mut self, id: impl Into<String>) -> Self {
        // Threads are named after it, and no name of a thread can hold a NUL.
        self.id = id.into().replace('\0', "?");
        self
    }

    /// The thread pool (default: 5 per CPU, and 5 + 5 in reserve).
    pub fn thread_pool(mut self, config: PoolConfig) -> Self {
        self.thread_pool = config;
        self
    }

    /// The pool of worker processes (default: one per CPU, and 1 + 1 in reserve).
    #[cfg(feature = "mp")]
    pub fn mp_pool(mut self, config: crate::process::MpPoolConfig) -> Self {
        self.mp_pool = config;
        self
    }

    /// Makes it. Nothing is started before it is needed.
    pub fn build(self) -> Supervisor {
        Supervisor::from_core(Core::new(
            self.id,
            self.thread_pool,
            #[cfg(feature = "mp")]
            self.mp_pool,
        ))
    }
}
