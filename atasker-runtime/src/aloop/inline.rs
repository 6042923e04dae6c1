//! Futures of tasks that are run by their launch: polled on the launching thread.
//!
//! A tokio runtime drives sockets and timers on its own thread. The future itself is polled here,
//! inside the context of that runtime but not by it, so that a task can launch another one in the
//! middle of a poll.

use std::cell::RefCell;
use std::sync::Arc;

use tokio::runtime::{Builder, Runtime};

use super::not_started;
use crate::error::TaskError;
use crate::fork;
use crate::job::Run;
use crate::task::future::queue::Queue;
use crate::task::{park, tokio_thread};
use crate::thread_start;
use crate::unwind::{self, log};

thread_local! {
    /// The runtime of this thread. Started by the first async task.
    static RUNTIME: RefCell<Option<Arc<InlineRuntime>>> = const { RefCell::new(None) };
}

/// A runtime that is shut down without waiting, because it may be dropped inside another one, where
/// waiting is an error.
struct InlineRuntime(Option<Runtime>);

impl Drop for InlineRuntime {
    fn drop(&mut self) {
        match self.0.take() {
            // Its threads and locks are those of another process.
            Some(runtime) if fork::is_copy() => std::mem::forget(runtime),
            Some(runtime) => runtime.shutdown_background(),
            None => {}
        }
    }
}

impl InlineRuntime {
    fn of_thread() -> std::io::Result<Arc<Self>> {
        if let Ok(Some(runtime)) = RUNTIME.try_with(|runtime| runtime.borrow().clone()) {
            return Ok(runtime);
        }
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("atasker inline")
            .on_thread_start(thread_start::on_thread_start)
            .enable_all()
            .build()?;
        let runtime = Arc::new(InlineRuntime(Some(runtime)));
        let _ = RUNTIME.try_with(|kept| kept.replace(Some(Arc::clone(&runtime))));
        Ok(runtime)
    }
}

/// Ends the runtime of this thread, once no task uses it.
pub(crate) fn end_inline_runtime() {
    let runtime = RUNTIME.try_with(|runtime| runtime.borrow_mut().take());
    drop(runtime);
}

/// Runs the attempts of one task.
pub(crate) struct InlineLoop {
    runtime: Arc<InlineRuntime>,
    queue: Arc<Queue>,
}

impl InlineLoop {
    pub(crate) fn new() -> Result<Self, TaskError> {
        if !tokio_thread::may_block() {
            return Err(TaskError::not_started(
                "`testing::inline()` runs an async task on a runtime of its own, which is impossible \
                 inside of a tokio runtime: launch it outside of async code, or without the guard",
            ));
        }
        let runtime = InlineRuntime::of_thread().map_err(|error| not_started(&error))?;
        let handle = runtime.0.as_ref().expect("it is there until it is dropped").handle();
        let queue = Arc::new(Queue::new(handle.clone()));
        Ok(InlineLoop { runtime, queue })
    }

    /// Polls the future of an attempt until it is gone.
    pub(crate) fn attempt(&self, run: Run) {
        run.spawn(&self.queue);
        while self.queue.live() > 0 {
            if self.poll_next() {
                continue;
            }
            // Only the future's own waker, a kill or a shutdown pushes it to this queue.
            park::wait_for_wake(|context| {
                self.queue.unregister_sleeper(0);
                self.queue.register_sleeper(0, context.waker())
            });
            self.queue.unregister_sleeper(0);
        }
    }

    fn poll_next(&self) -> bool {
        let _context = self.runtime.0.as_ref().map(Runtime::enter);
        unwind::attempt(|| self.queue.poll_next()).unwrap_or_else(|| {
            log!(error, "a destructor panicked in a task that its launch runs");
            true
        })
    }
}
