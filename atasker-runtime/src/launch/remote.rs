//! The constructors of tasks that run in worker processes.

use crate::error::TaskError;
use crate::info::TaskType;
use crate::launch::builder::{TaskBuilder, build};
use crate::remote::body::{Remote, RemoteBody};
use crate::remote::functions::Function;
use crate::task::channel::Channel;
use crate::task::endpoint::{Channels, Codec};
use crate::wire::args::Reader;
use crate::wire::payload::Payload;

/// Creates a task for a worker process. `args` are the encoded arguments, or the error with which
/// encoding them failed; the task then ends with that error as soon as it is started.
pub(crate) fn remote<R, I, O>(
    function: &'static Function,
    args: Result<Payload, TaskError>,
    decode: Reader<R>,
    codecs: Option<(Codec<I>, Codec<O>)>,
) -> TaskBuilder<R, I, O>
where
    R: Send + 'static,
    I: Send + 'static,
    O: Send + 'static,
{
    let (args, failed) = match args {
        Ok(args) => (args, None),
        Err(error) => (Payload::zeroed(0), Some(error)),
    };
    let channels =
        codecs.map(|codecs| Channels::encoded(Channel::of_bytes(), Channel::of_bytes(), codecs));
    let place_data = Remote::new(function, args, decode);
    let builder = build(TaskType::Mp, RemoteBody(decode), place_data, channels);
    let builder = match failed {
        Some(error) => builder.failing(error),
        None => builder,
    };
    builder.name(function.name)
}
