//! Handles of calls that were launched before, by any process: `attach` and `Cluster::task`.

use std::any::type_name;
use std::borrow::Cow;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::cluster::call::Messages;
use crate::cluster::door::Found;
use crate::cluster::error::ClusterError;
use crate::cluster::found::{self, Attached};
use crate::cluster::handle::{Cluster, not_in_a_fork};
use crate::error::TaskError;
use crate::id::TaskId;
use crate::info::TaskType;
use crate::launch::builder::{TaskBuilder, build};
use crate::remote::body::{ElsewhereBody, Remote};
use crate::remote::functions::{Call, Function};
use crate::supervisor::{self, Core};
use crate::task::channel::Channel;
use crate::task::elsewhere::Elsewhere;
use crate::task::endpoint::{Channels, Codec};
use crate::task::handle::Task;
use crate::wire::any_result::read_any_result;
use crate::wire::args::{Reader, read_message, write_message};
use crate::wire::codec::Msgpack;
use crate::wire::payload::Payload;

/// What a handle of a call needs, apart from the id of the call.
pub(super) struct Attachment<R, I, O> {
    cluster: Cluster,
    expected: Expected,
    function: &'static Function,
    decode: Reader<R>,
    codecs: Option<(Codec<I>, Codec<O>)>,
    core: Option<Arc<Core>>,
    messages: Messages,
}

/// What a call must be.
#[derive(Clone, Copy)]
enum Expected {
    /// A call to the function of the handle.
    Function,
    /// A call to any function with the types of the handle.
    Types,
}

impl<R: Send + 'static, I: Send + 'static, O: Send + 'static> Attachment<R, I, O> {
    /// Returns a handle of the call with this id. Blocks until the broker has answered.
    #[track_caller]
    pub(super) fn attach(self, id: TaskId) -> Result<Task<R, I, O>, ClusterError> {
        not_in_a_fork()?;
        // First without attaching, because that diverts the messages of the call.
        self.check(id, self.cluster.session().find(id).wait()?)?;
        let attached = found::attach(&self.cluster, id, self.messages).wait()?;
        Ok(self.start(attached))
    }

    /// The same without blocking.
    async fn attach_async(self, id: TaskId) -> Result<Task<R, I, O>, ClusterError> {
        not_in_a_fork()?;
        let found = self.cluster.session().find(id).await?;
        self.check(id, found)?;
        let attached = found::attach(&self.cluster, id, self.messages).finish().await?;
        Ok(self.start(attached))
    }

    /// Checks that the call is one for which the handle is.
    fn check(&self, id: TaskId, found: Option<Found>) -> Result<(), ClusterError> {
        let Some(Found { head, .. }) = found else {
            return Err(ClusterError::not_found(format!("the call {id}")));
        };
        let types = type_name::<(R, I, O)>();
        let Function { name, signature, .. } = *self.function;
        let (is_right, here, there) = match self.expected {
            Expected::Types => (head.types == types, types.to_owned(), head.types),
            Expected::Function if head.function.name != name => {
                (false, name.to_owned(), head.function.name)
            }
            Expected::Function => {
                let described = |types: &str| format!("{name}: {types}");
                let is_right = head.function.signature == signature;
                (is_right, described(types), described(&head.types))
            }
        };
        if is_right { Ok(()) } else { Err(ClusterError::OtherFunction { here, there }) }
    }

    /// Creates the task of the handle. Its supervisor is the one that has joined the cluster, or the
    /// default one.
    fn start(self, attached: Attached) -> Task<R, I, O> {
        let Attached { call, head } = attached;
        let codecs = self.codecs.filter(|_| head.has_channels);
        let channels = codecs
            .map(|codecs| Channels::encoded(Channel::of_bytes(), Channel::of_bytes(), codecs));
        let place_data = Remote::new(self.function, Payload::EMPTY, self.decode);
        let mut builder = build(TaskType::Remote, ElsewhereBody(self.decode), place_data, channels);
        let mut elsewhere = Elsewhere::new(type_name::<(R, I, O)>());
        elsewhere.queue = Cow::Owned(head.queue);
        *elsewhere.attached.get_mut() = Some(call);
        elsewhere.is_attached = true;
        let header = builder.header_mut();
        header.set_name(Cow::Owned(head.name));
        header.priority = head.priority;
        header.set_timeout(head.timeout);
        let extras = header.extras_mut();
        extras.elsewhere = Some(Box::new(elsewhere));
        extras.retries = head.retries;
        let core = self.core.or_else(|| supervisor::cluster::joined(&self.cluster));
        builder.on(core).start_foreign(head.id, 0)
    }
}

/// Returns a handle of a call to this function.
#[track_caller]
pub(crate) fn attach<R, I, O>(
    cluster: &Cluster,
    id: TaskId,
    function: &'static Function,
    decode: Reader<R>,
    codecs: Option<(Codec<I>, Codec<O>)>,
) -> Result<Task<R, I, O>, ClusterError>
where
    R: Send + 'static,
    I: Send + 'static,
    O: Send + 'static,
{
    let (cluster, expected) = (cluster.clone(), Expected::Function);
    let messages = Messages::Here;
    Attachment { cluster, expected, function, decode, codecs, core: None, messages }.attach(id)
}

impl<R: Send + 'static, I: Send + 'static, O: Send + 'static> TaskBuilder<R, I, O> {
    /// Returns what a reference to another call to the same function needs, which leaves the messages
    /// to the handle of that call. `None` if the task has no cluster.
    pub(super) fn attachment(&mut self) -> Option<Attachment<R, I, O>> {
        let core = self.core();
        let task = self.cell().get_mut();
        let function = task.remote()?.function();
        let decode = task.decoder()?;
        let named =
            task.header().elsewhere().and_then(|elsewhere| elsewhere.cluster.lock().clone());
        let named = named.and_then(|named| named.downcast::<Cluster>().ok());
        let cluster =
            named.map_or_else(|| core.remote.joined(), |named| Some(named.as_ref().clone()))?;
        let codecs = self.channels().and_then(|channels| channels.codecs());
        let (expected, core) = (Expected::Function, Some(core));
        let messages = Messages::Elsewhere;
        Some(Attachment { cluster, expected, function, decode, codecs, core, messages })
    }
}

mod sealed {
    pub trait Sealed {}
}

/// The types of which [`Cluster::task`] can return a handle: `Task<R, I, O>`, whose types can be sent
/// between processes.
///
/// This trait is sealed.
///
/// ```
/// # use atasker_runtime as atasker;
/// use atasker::{Cluster, ClusterError, ClusterTask, TaskId};
/// /// Takes over a call that another process has launched.
/// fn take_over<T: ClusterTask>(cluster: &Cluster, id: &str) -> Result<T, ClusterError> {
///     cluster.task(id.parse().expect("an id"))
/// }
/// # let found = take_over::<atasker::Task<u32>>(&Cluster::in_memory(), "1-1");
/// # assert!(matches!(found, Err(ClusterError::NotFound { .. })));
/// ```
pub trait ClusterTask: sealed::Sealed + Sized + Send + 'static {
    #[doc(hidden)]
    fn __attach(cluster: &Cluster, id: TaskId) -> Result<Self, ClusterError>;
    #[doc(hidden)]
    fn __attach_async(
        cluster: &Cluster,
        id: TaskId,
    ) -> impl Future<Output = Result<Self, ClusterError>> + Send;
}

/// Stands for the function of a call of which only the types are known.
static UNKNOWN: Function = Function {
    name: "",
    file: file!(),
    line: 0,
    column: 0,
    signature: 0,
    remote: None,
    call: |_: &mut Call<'_>| Err(TaskError::not_started("the function is not known here")),
};

fn by_types<R, I, O>(cluster: &Cluster) -> Attachment<R, I, O>
where
    R: DeserializeOwned + Send + 'static,
    I: Serialize + DeserializeOwned + Send + 'static,
    O: Serialize + DeserializeOwned + Send + 'static,
{
    fn codec<T: Serialize + DeserializeOwned + Send>() -> Codec<T> {
        Codec { encode: write_message::<Msgpack, T>, decode: read_message::<Msgpack, T> }
    }
    Attachment {
        cluster: cluster.clone(),
        expected: Expected::Types,
        function: &UNKNOWN,
        decode: read_any_result::<R>,
        codecs: Some((codec(), codec())),
        core: None,
        messages: Messages::Here,
    }
}

impl<R, I, O> sealed::Sealed for Task<R, I, O> {}

impl<R, I, O> ClusterTask for Task<R, I, O>
where
    R: DeserializeOwned + Send + 'static,
    I: Serialize + DeserializeOwned + Send + 'static,
    O: Serialize + DeserializeOwned + Send + 'static,
{
    #[track_caller]
    fn __attach(cluster: &Cluster, id: TaskId) -> Result<Self, ClusterError> {
        by_types(cluster).attach(id)
    }

    async fn __attach_async(cluster: &Cluster, id: TaskId) -> Result<Self, ClusterError> {
        by_types(cluster).attach_async(id).await
    }
}

impl Cluster {
    /// Returns a handle of a call that was launched before, by any process that uses the cluster:
    /// `cluster.task::<Task<R, I, O>>(id)`.
    ///
    /// Also works after the call has ended, while its outcome is kept. Several processes may have a
    /// handle of one call: each gets the outcome, and the messages of the task go to the latest one.
    /// Dropping the handle does not affect the call.
    ///
    /// The types are compared by their names, and results and messages are decoded as MessagePack,
    /// the default codec of remote functions. The function itself knows more: prefer its `attach`,
    /// which the attribute creates.
    ///
    /// The handle is one of the supervisor that has joined this cluster, or of the default
    /// supervisor, which finds and lists the task under its id.
    ///
    /// ```
    /// # use atasker_runtime as atasker;
    /// use atasker::{Cluster, ClusterError, Task, TaskId};
    /// fn total(cluster: &Cluster, id: TaskId) -> Result<u64, Box<dyn std::error::Error>> {
    ///     let task: Task<u64> = cluster.task(id)?;
    ///     Ok(task.join()?)
    /// }
    /// # let id = "1-1".parse().unwrap();
    /// # let error = total(&Cluster::in_memory(), id).unwrap_err();
    /// # assert!(matches!(error.downcast_ref(), Some(ClusterError::NotFound { .. })));
    /// ```
    ///
    /// # Errors
    ///
    /// Returns [`NotFound`](ClusterError::NotFound) if the cluster does not know the call, or no
    /// longer; [`OtherFunction`](ClusterError::OtherFunction) if its types are others; or an error if
    /// the broker does not answer.
    ///
    /// # Panics
    ///
    /// Panics on the thread of an aloop. Use [`task_async`](Self::task_async) there.
    #[track_caller]
    pub fn task<T: ClusterTask>(&self, id: TaskId) -> Result<T, ClusterError> {
        T::__attach(self, id)
    }

    /// Returns the same as [`task`](Self::task), without blocking.
    ///
    /// # Errors
    ///
    /// Returns the errors of [`task`](Self::task).
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped before it completes, there is no handle, but messages of the task may
    /// be on their way to this process already.
    pub async fn task_async<T: ClusterTask>(&self, id: TaskId) -> Result<T, ClusterError> {
        T::__attach_async(self, id).await
    }
}
