//! Tasks that run a function for another process: with encoded arguments, messages and result, and
//! under an id that the other process has drawn.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use crate::error::TaskError;
use crate::id::TaskId;
use crate::info::TaskType;
use crate::launch::builder::{Prepared, TaskBuilder, build};
use crate::priority::Priority;
use crate::remote::body::{Remote, RemoteBody};
use crate::remote::functions::Function;
use crate::remote::returned::split_is_err;
use crate::supervisor::Supervisor;
use crate::task::TaskArc;
use crate::task::arc::TypedArc;
use crate::task::cell::{Body, Taken};
use crate::task::channel::{Acks, Bytes, Channel};
use crate::task::endpoint::{Channels, Codec};
use crate::task::state::Handle;
use crate::wire::payload::finish;

/// A call that came from another process.
pub(crate) struct RawCall {
    pub(crate) id: TaskId,
    /// The number of this run, beginning with 1.
    pub(crate) attempt: u32,
    pub(crate) name: String,
    pub(crate) function: &'static Function,
    pub(crate) args: Vec<u8>,
    pub(crate) priority: Priority,
    pub(crate) timeout: Option<Duration>,
    /// The function takes a context.
    pub(crate) has_channels: bool,
    /// The trace context of the launch.
    pub(crate) trace: Option<String>,
}

/// The encoded result of such a call.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct RawReply {
    pub(crate) result: Vec<u8>,
    /// The function has returned an `Err`.
    pub(crate) is_err: bool,
}

impl RawReply {
    fn read(bytes: Cow<'_, [u8]>) -> Result<RawReply, TaskError> {
        let (result, is_err) = split_is_err(bytes.into_owned())?;
        Ok(RawReply { result, is_err })
    }
}

/// The task of such a call.
///
/// Its channels hold encoded messages. The task acknowledges those that it receives at once, because
/// the messages that it has not received go to the next run.
pub(crate) struct RawTask {
    cell: TypedArc<RawReply>,
    channels: Option<Arc<Channels<Bytes, Bytes>>>,
}

/// The right to launch a [`RawTask`].
pub(crate) struct RawLaunch(Prepared<RawReply, Bytes, Bytes>);

impl RawLaunch {
    /// Launches the task.
    pub(crate) fn launch(self) {
        // The join interest stays with the `RawTask`.
        drop(self.0.launch());
    }
}

impl RawTask {
    /// Prepares a task on the threads or in the worker processes of a supervisor. `held` is dropped
    /// when the task has left the thread that runs it, or with the task.
    pub(crate) fn prepare(
        call: RawCall,
        tt: TaskType,
        supervisor: &Supervisor,
        held: impl Send + 'static,
    ) -> (RawTask, RawLaunch) {
        let channels = call.has_channels.then(|| {
            let codec = Codec {
                encode: |bytes: &Bytes| Ok(bytes.to_vec()),
                decode: |bytes| Ok(bytes.into()),
            };
            let inbox = Channel::of_bytes_with(Acks::AtOnce);
            Channels::encoded(inbox, Channel::of_bytes(), (codec, codec))
        });
        let place_data = Remote::new(call.function, finish(call.args), RawReply::read);
        let body = RawBody { body: RemoteBody(RawReply::read), _held: held };
        let name: Cow<'static, str> = match call.name == call.function.name {
            true => call.function.name.into(),
            false => call.name.into(),
        };
        let builder: TaskBuilder<RawReply, Bytes, Bytes> =
            build(tt, body, place_data, channels.clone());
        let builder = builder
            .name(name)
            .priority(call.priority)
            .returned_err(|reply| reply.is_err)
            .supervisor(supervisor);
        let mut builder = match call.timeout {
            Some(timeout) => builder.timeout(timeout),
            None => builder,
        };
        if let Some(trace) = call.trace {
            builder.header_mut().extras_mut().trace = Some(trace.into());
        }
        let prepared = builder.prepare_foreign(call.id, call.attempt.saturating_sub(1));
        let cell = prepared.cell.clone();
        (RawTask { cell, channels }, RawLaunch(prepared))
    }

    pub(crate) fn task(&self) -> &TaskArc {
        self.cell.as_erased()
    }

    pub(crate) fn channels(&self) -> Option<&Arc<Channels<Bytes, Bytes>>> {
        self.channels.as_ref()
    }

    /// Takes the outcome of a task that has ended.
    pub(crate) fn take(&self) -> Result<RawReply, TaskError> {
        match self.cell.take(Handle::Kept) {
            Taken::Outcome(outcome) => outcome,
            Taken::Borrowed | Taken::Gone => {
                Err(TaskError::not_started("the result was taken by another handle"))
            }
        }
    }
}

/// The body of such a task, with what it holds while it occupies a thread.
struct RawBody<H> {
    body: RemoteBody<RawReply>,
    _held: H,
}

impl<H: Send + 'static> Body<RawReply> for RawBody<H> {
    type PlaceData = Remote<RawReply>;

    fn run(&mut self, task: &TaskArc) -> Result<RawReply, TaskError> {
        self.body.run(task)
    }

    fn remote(place_data: &Self::PlaceData) -> Option<&Remote<RawReply>> {
        Some(place_data)
    }
}
