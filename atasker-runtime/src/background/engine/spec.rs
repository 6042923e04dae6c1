//! What a worker is, apart from its function.

use std::borrow::Cow;
use std::ops::ControlFlow;
use std::sync::{Arc, Weak};

use crate::background::engine::{Engine, NextRun};
use crate::error::WorkerError;
use crate::info::WorkerKind;
use crate::priority::Priority;
use crate::supervisor::Core;
use crate::unwind::Guarded;

/// Called when a generation of the engine starts or stops.
pub(in crate::background) type Hook = Guarded<Box<dyn Fn(&Arc<Engine>, u64) + Send + Sync>>;
/// Called with each error of a run. Decides whether the worker continues.
pub(in crate::background) type OnError =
    Guarded<Box<dyn Fn(&WorkerError) -> ControlFlow<()> + Send + Sync>>;

/// The callbacks of a worker. A job has none.
#[derive(Default)]
pub(in crate::background) struct Callbacks {
    pub(in crate::background) on_error: Option<OnError>,
    pub(in crate::background) before_start: Vec<Hook>,
    pub(in crate::background) after_start: Vec<Hook>,
    pub(in crate::background) before_stop: Vec<Hook>,
    pub(in crate::background) after_stop: Vec<Hook>,
}

/// The description of a worker, apart from its function.
pub(in crate::background) struct WorkerSpec {
    pub(in crate::background) name: Cow<'static, str>,
    pub(in crate::background) kind: WorkerKind,
    pub(in crate::background) priority: Priority,
    pub(in crate::background) aloop: Option<String>,
    /// Boxed, because most workers have none.
    pub(in crate::background) callbacks: Option<Box<Callbacks>>,
    pub(in crate::background) ticks: Option<Arc<dyn Ticks>>,
}

impl WorkerSpec {
    pub(in crate::background) fn name(&self) -> &str {
        &self.name
    }

    /// Returns the task that makes the run after another one.
    pub(in crate::background) fn next_run(&self) -> NextRun {
        // Only a loop worker is always due again, so only that keeps its task.
        match self.kind {
            WorkerKind::Loop => NextRun::SameTask,
            _ => NextRun::NewTask,
        }
    }

    /// Returns hooks of one kind.
    pub(super) fn hooks(&self, which: impl FnOnce(&Callbacks) -> &Vec<Hook>) -> &[Hook] {
        self.callbacks.as_deref().map_or(&[], |callbacks| which(callbacks))
    }
}

/// Decides which of several programs makes a planned run.
pub(in crate::background) trait Ticks: std::fmt::Debug + Send + Sync {
    /// Calls `then` on another thread, with whether this program makes the run of this tick.
    fn ask(&self, core: &Weak<Core>, tick: String, then: Box<dyn FnOnce(bool) + Send>);
}
