//! One assembly for workers and jobs: from the options and the function to an engine.

use std::borrow::Cow;
use std::sync::Arc;

use crate::background::engine::{Callbacks, Engine, Executor, Ticks, WorkerSpec};
use crate::background::schedule::Schedule;
use crate::info::WorkerKind;
use crate::priority::Priority;
use crate::supervisor::Core;

/// The options that workers and jobs have in common.
#[derive(Debug, Default)]
pub(super) struct WorkerOptions {
    /// The default is the name of the kind.
    pub(super) name: Option<String>,
    pub(super) priority: Priority,
    pub(super) aloop: Option<String>,
    /// Decides which program makes a planned run.
    pub(super) ticks: Option<Arc<dyn Ticks>>,
}

impl WorkerOptions {
    /// Creates the engine of a worker, which is not started.
    pub(super) fn assemble(
        self,
        kind: WorkerKind,
        schedule: Schedule,
        callbacks: Option<Box<Callbacks>>,
        core: &Arc<Core>,
        executor: Arc<dyn Executor>,
    ) -> Arc<Engine> {
        let spec = WorkerSpec {
            name: self.name.map_or(Cow::Borrowed(kind.name()), Cow::Owned),
            kind,
            priority: self.priority,
            aloop: self.aloop,
            callbacks,
            ticks: self.ticks,
        };
        Engine::new(spec, schedule, core, executor)
    }
}
