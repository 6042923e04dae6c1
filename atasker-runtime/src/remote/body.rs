//! Tasks for worker processes: the function to call and its encoded arguments.

use std::sync::Arc;

use crate::sync::lock::Mutex;

use crate::error::TaskError;
use crate::remote::functions::{Call, Function};
#[cfg(feature = "remote")]
use crate::remote::returned::split_is_err;
use crate::task::TaskArc;
use crate::task::cell::Body;
use crate::wire::args::Reader;
use crate::wire::buffer_pool::PooledBuf;
use crate::wire::payload::{INLINE_LEN, Payload, Repr};

/// What is sent, and how the reply is decoded.
pub(crate) struct Remote<R> {
    function: &'static Function,
    args: RemoteArgs,
    pub(crate) decode: Reader<R>,
}

/// Encoded arguments.
pub(crate) enum RemoteArgs {
    /// A few bytes, stored in the task.
    Short { len: u8, bytes: [u8; INLINE_LEN] },
    /// Shared with the code that sends them. `None` once the task has ended.
    Long { len: usize, bytes: Mutex<Option<Arc<PooledBuf>>> },
}

impl RemoteArgs {
    pub(crate) fn new(encoded: Payload) -> Self {
        match encoded.0 {
            Repr::Inline { len, bytes } => RemoteArgs::Short { len, bytes },
            Repr::Heap(bytes) => RemoteArgs::Long {
                len: bytes.len(),
                bytes: Mutex::new(Some(Arc::new(PooledBuf::new(bytes)))),
            },
        }
    }

    /// Returns the length in bytes, also after the arguments were dropped.
    pub(crate) fn len(&self) -> usize {
        match self {
            RemoteArgs::Short { len, .. } => usize::from(*len),
            RemoteArgs::Long { len, .. } => *len,
        }
    }

    /// Returns the arguments, or `None` after they were dropped.
    pub(crate) fn get(&self) -> Option<ArgBytes<'_>> {
        match self {
            RemoteArgs::Short { len, bytes } => Some(ArgBytes::Short(&bytes[..usize::from(*len)])),
            RemoteArgs::Long { bytes, .. } => bytes.lock().clone().map(ArgBytes::Long),
        }
    }

    /// Drops the arguments of a task that has ended.
    pub(crate) fn drop_them(&self) {
        if let RemoteArgs::Long { bytes, .. } = self {
            let bytes = bytes.lock().take();
            drop(bytes);
        }
    }
}

/// A reference to encoded arguments.
pub(crate) enum ArgBytes<'a> {
    Short(&'a [u8]),
    Long(Arc<PooledBuf>),
}

impl ArgBytes<'_> {
    /// Returns the arguments in a form that outlives the task, for sending them later.
    pub(crate) fn shared(self) -> Arc<PooledBuf> {
        match self {
            ArgBytes::Short(bytes) => Arc::new(PooledBuf::new(bytes.to_vec())),
            ArgBytes::Long(bytes) => bytes,
        }
    }
}

impl std::ops::Deref for ArgBytes<'_> {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        match self {
            ArgBytes::Short(bytes) => bytes,
            ArgBytes::Long(bytes) => bytes,
        }
    }
}

impl<R> Remote<R> {
    pub(crate) fn new(function: &'static Function, args: Payload, decode: Reader<R>) -> Self {
        Remote { function, args: RemoteArgs::new(args), decode }
    }
}

/// A [`Remote`] without its type.
pub(crate) trait AnyRemote {
    fn function(&self) -> &'static Function;
    fn args(&self) -> &RemoteArgs;
}

impl<R> AnyRemote for Remote<R> {
    fn function(&self) -> &'static Function {
        self.function
    }

    fn args(&self) -> &RemoteArgs {
        &self.args
    }
}

/// The body of a remote task. It runs only inside a worker process, where launches for worker
/// processes become tasks of that process's own thread pool. In all other cases the arguments are
/// sent.
pub(crate) struct RemoteBody<R>(pub(crate) Reader<R>);

impl<R: Send + 'static> Body<R> for RemoteBody<R> {
    type PlaceData = Remote<R>;
    const REPEATS: bool = true;

    fn run(&mut self, task: &TaskArc) -> Result<R, TaskError> {
        (self.0)(run_here(task)?.into())
    }

    fn remote(place_data: &Self::PlaceData) -> Option<&Remote<R>> {
        Some(place_data)
    }
}

/// Calls the function of a remote task on this thread. Returns the encoded result.
fn run_here(task: &TaskArc) -> Result<Vec<u8>, TaskError> {
    let remote = task.remote().expect("a remote body belongs to a remote task");
    let args = remote
        .args()
        .get()
        .ok_or_else(|| TaskError::not_started("the arguments were dropped already"))?;
    let mut call = Call::new(&args, task);
    (remote.function().call)(&mut call)?;
    Ok(call.into_reply().into_bytes())
}

/// The body of a task for another machine. It runs inside a worker process, as the other one does,
/// and where launches run their tasks (`testing::inline`).
#[cfg(feature = "remote")]
pub(crate) struct ElsewhereBody<R>(pub(crate) Reader<R>);

#[cfg(feature = "remote")]
impl<R: Send + 'static> Body<R> for ElsewhereBody<R> {
    type PlaceData = Remote<R>;
    const REPEATS: bool = true;

    fn run(&mut self, task: &TaskArc) -> Result<R, TaskError> {
        let (result, _) = split_is_err(run_here(task)?)?;
        (self.0)(result.into())
    }

    fn remote(place_data: &Self::PlaceData) -> Option<&Remote<R>> {
        Some(place_data)
    }
}
