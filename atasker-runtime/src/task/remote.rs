//! A task that is bound for a worker process: which function, and its encoded arguments.

use std::sync::Arc;

use parking_lot::Mutex;

use crate::error::TaskError;
use crate::registry::{Call, Function};
use crate::task::AnyTask;
use crate::task::cell::Body;
use crate::wire::args::Reader;
use crate::wire::encoded::{Encoded, Form, SHORT};
use crate::wire::spare::Serving;

/// What is sent, and how the answer is read.
pub(crate) struct Remote<R> {
    function: &'static Function,
    args: Args,
    pub(crate) decode: Reader<R>,
}

/// Encoded arguments.
pub(crate) enum Args {
    /// A few bytes: these stay with the task.
    Short { len: u8, bytes: [u8; SHORT] },
    /// Shared with whoever sends them; gone once the task has ended.
    Long { len: usize, bytes: Mutex<Option<Arc<Serving>>> },
}

impl Args {
    pub(crate) fn new(encoded: Encoded) -> Self {
        match encoded.0 {
            Form::Short { len, bytes } => Args::Short { len, bytes },
            Form::Long(bytes) => Args::Long {
                len: bytes.len(),
                bytes: Mutex::new(Some(Arc::new(Serving::new(bytes)))),
            },
        }
    }

    /// How many bytes they are, or were.
    pub(crate) fn len(&self) -> usize {
        match self {
            Args::Short { len, .. } => usize::from(*len),
            Args::Long { len, .. } => *len,
        }
    }

    /// The arguments; `None` once they were dropped.
    pub(crate) fn get(&self) -> Option<Given<'_>> {
        match self {
            Args::Short { len, bytes } => Some(Given::Short(&bytes[..usize::from(*len)])),
            Args::Long { bytes, .. } => bytes.lock().clone().map(Given::Long),
        }
    }

    /// Drops them: the task has ended.
    pub(crate) fn drop_them(&self) {
        if let Args::Long { bytes, .. } = self {
            let bytes = bytes.lock().take();
            drop(bytes);
        }
    }
}

/// Encoded arguments, held.
pub(crate) enum Given<'a> {
    Short(&'a [u8]),
    Long(Arc<Serving>),
}

impl Given<'_> {
    /// The same for whoever sends them later.
    pub(crate) fn shared(self) -> Arc<Serving> {
        match self {
            Given::Short(bytes) => Arc::new(Serving::new(bytes.to_vec())),
            Given::Long(bytes) => bytes,
        }
    }
}

impl std::ops::Deref for Given<'_> {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        match self {
            Given::Short(bytes) => bytes,
            Given::Long(bytes) => bytes,
        }
    }
}

impl<R> Remote<R> {
    pub(crate) fn new(function: &'static Function, args: Encoded, decode: Reader<R>) -> Self {
        Remote { function, args: Args::new(args), decode }
    }
}

/// The same without its type.
pub(crate) trait AnyRemote {
    fn function(&self) -> &'static Function;
    fn args(&self) -> &Args;
}

impl<R> AnyRemote for Remote<R> {
    fn function(&self) -> &'static Function {
        self.function
    }
    fn args(&self) -> &Args {
        &self.args
    }
}

/// The body of such a task. It is run only inside a worker process, where a launch for a worker
/// process becomes a task of that process's own pool; else the arguments are sent.
pub(crate) struct RemoteBody<R>(pub(crate) Reader<R>);

impl<R: Send + 'static> Body<R> for RemoteBody<R> {
    type Seat = Remote<R>;
    const REPEATS: bool = true;

    fn run(&mut self, task: &Arc<dyn AnyTask>) -> Result<R, TaskError> {
        let remote = task.remote().expect("a remote body stands in a remote task");
        let args =
            remote.args().get().ok_or_else(|| TaskError::not_started("the arguments are gone"))?;
        let mut call = Call::new(&args, task);
        (remote.function().call)(&mut call)?;
        (self.0)(call.into_reply().into_bytes().into())
    }

    fn remote(seat: &Self::Seat) -> Option<&Remote<R>> {
        Some(seat)
    }
}
