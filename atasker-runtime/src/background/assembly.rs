//! One assembly for workers and jobs: from the options and the function to an engine.

use std::sync::{Arc, Weak};

use crate::background::engine::{Engine, Hooks, NextRun, OnError, Ticks, WorkerSpec};
use crate::background::executor::{LaunchOptions, MakeExecutor};
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

/// The callbacks of a worker. A job has none.
#[derive(Default)]
pub(super) struct Callbacks {
    pub(super) on_error: Option<OnError>,
    pub(super) hooks: Hooks,
}

impl WorkerOptions {
    /// Creates the engine of a worker, which is not started.
    pub(super) fn assemble(
        self,
        kind: WorkerKind,
        schedule: Schedule,
        callbacks: Callbacks,
        core: Weak<Core>,
        executor: MakeExecutor,
    ) -> Arc<Engine> {
        let name = self.name.unwrap_or_else(|| kind.to_string());
        let launch = LaunchOptions {
            name: name.as_str().into(),
            priority: self.priority,
            aloop: self.aloop,
            core: core.clone(),
        };
        // Only a loop worker is always due again, so only that keeps its task.
        let next_run = match kind {
            WorkerKind::Loop => NextRun::SameTask,
            _ => NextRun::NewTask,
        };
        let spec = WorkerSpec {
            name,
            kind,
            priority: self.priority,
            on_error: callbacks.on_error,
            hooks: callbacks.hooks,
            ticks: self.ticks,
        };
        Engine::new(spec, schedule, core, executor(launch, next_run))
    }
}
