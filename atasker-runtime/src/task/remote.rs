//! A task that is bound for a worker process: which function, and its encoded arguments.

use std::sync::Arc;

use parking_lot::Mutex;

use crate::error::TaskError;
use crate::registry::{Call, Function};
use crate::task::AnyTask;
use crate::task::cell::Body;
use crate::wire::args::Reader;

/// What is sent, and how the answer is read.
pub(crate) struct Remote<R> {
    function: &'static Function,
    /// Gone once the task has ended, or as soon as no further attempt can need them.
    args: Mutex<Option<Arc<Vec<u8>>>>,
    pub(crate) decode: Reader<R>,
}

impl<R> Remote<R> {
    pub(crate) fn new(function: &'static Function, args: Vec<u8>, decode: Reader<R>) -> Self {
        Remote { function, args: Mutex::new(Some(Arc::new(args))), decode }
    }
}

/// The same without its type.
pub(crate) trait AnyRemote {
    fn function(&self) -> &'static Function;
    /// The encoded arguments; `None` once they were dropped.
    fn args(&self) -> Option<Arc<Vec<u8>>>;
    /// Drops the arguments: the task has ended.
    fn drop_args(&self);
}

impl<R> AnyRemote for Remote<R> {
    fn function(&self) -> &'static Function {
        self.function
    }
    fn args(&self) -> Option<Arc<Vec<u8>>> {
        self.args.lock().clone()
    }
    fn drop_args(&self) {
        *self.args.lock() = None;
    }
}

/// The body of such a task. It is run only inside a worker process, where a launch for a worker
/// process becomes a task of that process's own pool; else the arguments are sent.
pub(crate) struct RemoteBody<R>(pub(crate) Reader<R>);

impl<R: Send + 'static> Body<R> for RemoteBody<R> {
    type Seat = Remote<R>;

    fn run(&mut self, task: &Arc<dyn AnyTask>) -> Result<R, TaskError> {
        let remote = task.remote().expect("a remote body stands in a remote task");
        let args = remote.args().ok_or_else(|| TaskError::not_started("the arguments are gone"))?;
        let mut call = Call::new(&args, task);
        (remote.function().call)(&mut call)?;
        (self.0)(call.into_reply().into_bytes().into())
    }

    fn repeats(&self) -> bool {
        true
    }

    fn remote(seat: &Self::Seat) -> Option<&Remote<R>> {
        Some(seat)
    }
}
