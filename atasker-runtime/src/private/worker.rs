//! What `#[background_worker]` expands to.

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

/// What a result says about the next run, as it travels from a worker process.
pub fn run_end<R: WorkerOutput>(result: R) -> RunEnd {
    result.run_end()
}

/// The context of a run, in the worker process.
#[cfg(feature = "mp")]
pub fn worker_context(task: &TaskContext, name: String, runs: u64) -> WorkerContext {
    WorkerContext::apart(name, runs, task.clone())
}

/// Whether the run has asked for another one.
#[cfg(feature = "mp")]
pub fn was_triggered(context: &WorkerContext) -> bool {
    context.was_triggered()
}

/// Appends to a reply whether the run has asked for another one.
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

/// The result itself, and what was appended.
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
pub use kept::Kept;

#[cfg(feature = "async")]
mod kept {
    use std::sync::Arc;

    use tokio::sync::{Mutex, MutexGuard};

    /// A value that a worker on an aloop keeps between its runs. It belongs to the worker, so a run
    /// that is dropped at an await does not take it away.
    #[derive(Debug)]
    pub struct Kept<T>(Arc<Mutex<T>>);

    impl<T> Clone for Kept<T> {
        fn clone(&self) -> Self {
            Kept(Arc::clone(&self.0))
        }
    }

    impl<T> Kept<T> {
        /// For the first run.
        pub fn new(value: T) -> Self {
            Kept(Arc::new(Mutex::new(value)))
        }

        /// For one run: nobody else has it, except one that is just being dropped.
        pub async fn lock(&self) -> MutexGuard<'_, T> {
            self.0.lock().await
        }
    }
}
