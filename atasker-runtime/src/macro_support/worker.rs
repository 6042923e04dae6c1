//! Support for `#[background_worker]`.

pub use crate::background::RunEnd;
#[cfg(feature = "mp")]
use std::borrow::Cow;

#[cfg(feature = "mp")]
use crate::background::WorkerContext;
use crate::background::WorkerOutput;
#[cfg(feature = "mp")]
use crate::error::{CodecStage, TaskError};
#[cfg(feature = "mp")]
use crate::task::context::TaskContext;

/// Converts the result of a run, for the reply of a worker process.
pub fn run_end<R: WorkerOutput>(result: R) -> RunEnd {
    result.run_end()
}

/// Returns the context of a run, in the worker process.
#[cfg(feature = "mp")]
pub fn worker_context(task: &TaskContext, name: String, runs: u64) -> WorkerContext {
    WorkerContext::remote(name, runs, task.clone())
}

/// Returns whether the run requested another one.
#[cfg(feature = "mp")]
pub fn was_triggered(context: &WorkerContext) -> bool {
    context.was_triggered()
}

/// Appends a flag to a reply: whether the run requested another one.
#[cfg(feature = "mp")]
pub fn add_run(again: bool, reply: &mut crate::wire::reply::Reply) {
    reply.rest_mut().push(u8::from(again));
}

#[cfg(feature = "mp")]
fn without_last(bytes: Cow<'_, [u8]>) -> Cow<'_, [u8]> {
    match bytes {
        Cow::Borrowed(bytes) => Cow::Borrowed(&bytes[..bytes.len() - 1]),
        Cow::Owned(mut bytes) => {
            bytes.pop();
            Cow::Owned(bytes)
        }
    }
}

/// Splits a reply into the result and the appended flag.
#[cfg(feature = "mp")]
pub fn split_run(reply: Cow<'_, [u8]>) -> Result<(Cow<'_, [u8]>, bool), TaskError> {
    match reply.split_last() {
        Some((&again, _)) => Ok((without_last(reply), again != 0)),
        None => Err(TaskError::Codec {
            stage: CodecStage::DecodeResult,
            type_name: "bool".to_owned(),
            detail: "the reply of a run is empty".to_owned(),
        }),
    }
}

#[cfg(feature = "async")]
pub use shared_state::SharedState;

#[cfg(feature = "async")]
mod shared_state {
    use std::sync::Arc;

    use tokio::sync::{Mutex, MutexGuard};

    /// State that a worker on an aloop keeps between its runs.
    ///
    /// The worker owns it, so that the state survives a run that is dropped at an await.
    #[derive(Debug)]
    pub struct SharedState<T>(Arc<Mutex<T>>);

    impl<T> Clone for SharedState<T> {
        fn clone(&self) -> Self {
            SharedState(Arc::clone(&self.0))
        }
    }

    impl<T> SharedState<T> {
        /// Creates the state for the first run.
        pub fn new(value: T) -> Self {
            SharedState(Arc::new(Mutex::new(value)))
        }

        /// Locks the state for one run. Only a previous run that is still being dropped may hold
        /// the lock.
        pub async fn lock(&self) -> MutexGuard<'_, T> {
            self.0.lock().await
        }
    }
}
