//! What a worker is, apart from its function.

use std::ops::ControlFlow;
use std::sync::{Arc, Weak};

use crate::background::engine::Engine;
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

/// The hooks that are called when a worker starts and stops.
#[derive(Default)]
pub(in crate::background) struct Hooks {
    pub(in crate::background) before_start: Vec<Hook>,
    pub(in crate::background) after_start: Vec<Hook>,
    pub(in crate::background) before_stop: Vec<Hook>,
    pub(in crate::background) after_stop: Vec<Hook>,
}

/// The description of a worker, apart from its function.
pub(in crate::background) struct WorkerSpec {
    pub(in crate::background) name: String,
    pub(in crate::background) kind: WorkerKind,
    pub(in crate::background) priority: Priority,
    pub(in crate::background) on_error: Option<OnError>,
    pub(in crate::background) hooks: Hooks,
    pub(in crate::background) ticks: Option<Arc<dyn Ticks>>,
}

/// Decides which of several programs makes a planned run.
pub(in crate::background) trait Ticks: std::fmt::Debug + Send + Sync {
    /// Calls `then` on another thread, with whether this program makes the run of this tick.
    fn ask(&self, core: &Weak<Core>, tick: String, then: Box<dyn FnOnce(bool) + Send>);
}
