//! The hooks of background workers.

use std::sync::Arc;

use crate::background::context::WorkerContext;
use crate::background::engine::Hook;
use crate::unwind::Guarded;

mod sealed {
    pub trait Hook<M> {}
}

/// A hook that is called when a worker starts or stops: a closure without parameters, or one that
/// takes `&WorkerContext`.
///
/// This trait is sealed: it is implemented for these closures only.
///
/// ```
/// # use atasker_runtime as atasker;
/// use atasker::{EventWorker, WorkerContext};
/// let worker = EventWorker::builder()
///     .before_start(|| println!("starting"))
///     .after_stop(|ctx: &WorkerContext| println!("{} has stopped", ctx.name()))
///     .run(|_| ());
/// worker.start();
/// worker.stop();
/// ```
#[diagnostic::on_unimplemented(
    message = "a hook of a background worker is `|| ..` or `|ctx: &WorkerContext| ..`"
)]
pub trait WorkerHook<M>: sealed::Hook<M> + Send + Sync + 'static {
    #[doc(hidden)]
    fn call(&self, context: &WorkerContext);
}

impl<F: Fn() + Send + Sync + 'static> sealed::Hook<()> for F {}
impl<F: Fn() + Send + Sync + 'static> WorkerHook<()> for F {
    fn call(&self, _context: &WorkerContext) {
        self();
    }
}

impl<F: Fn(&WorkerContext) + Send + Sync + 'static> sealed::Hook<&WorkerContext> for F {}
impl<F: Fn(&WorkerContext) + Send + Sync + 'static> WorkerHook<&WorkerContext> for F {
    fn call(&self, context: &WorkerContext) {
        self(context);
    }
}

pub(super) fn hook<M: 'static>(hook: impl WorkerHook<M>) -> Hook {
    Guarded::new(Box::new(move |engine, generation| {
        hook.call(&WorkerContext::for_hook(Arc::clone(engine), generation));
    }))
}
