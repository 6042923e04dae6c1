//! The constructors of tasks that run in worker processes, and of those that run on other machines.

use crate::error::TaskError;
use crate::info::TaskType;
use crate::launch::builder::{TaskBuilder, build};
use crate::remote::body::{Remote, RemoteBody};
use crate::remote::functions::Function;
use crate::task::cell::Body;
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
    build_remote(TaskType::Mp, RemoteBody(decode), function, args, decode, codecs)
}

fn build_remote<R, I, O, B>(
    tt: TaskType,
    body: B,
    function: &'static Function,
    args: Result<Payload, TaskError>,
    decode: Reader<R>,
    codecs: Option<(Codec<I>, Codec<O>)>,
) -> TaskBuilder<R, I, O>
where
    R: Send + 'static,
    I: Send + 'static,
    O: Send + 'static,
    B: Body<R, PlaceData = Remote<R>>,
{
    let (args, failed) = match args {
        Ok(args) => (args, None),
        Err(error) => (Payload::EMPTY, Some(error)),
    };
    let channels =
        codecs.map(|codecs| Channels::encoded(Channel::of_bytes(), Channel::of_bytes(), codecs));
    let builder = build(tt, body, Remote::new(function, args, decode), channels);
    let builder = match failed {
        Some(error) => builder.failing(error),
        None => builder,
    };
    builder.name(function.name)
}

#[cfg(feature = "remote")]
pub(crate) use elsewhere::remote_call;

#[cfg(feature = "remote")]
mod elsewhere {
    use std::any::type_name;
    use std::borrow::Cow;
    use std::sync::Arc;
    use std::time::Duration;

    use super::build_remote;
    use crate::cluster::handle::Cluster;
    use crate::cluster::place::wait_stored;
    use crate::error::TaskError;
    use crate::info::TaskType;
    use crate::launch::builder::TaskBuilder;
    use crate::remote::body::ElsewhereBody;
    use crate::remote::functions::Function;
    use crate::supervisor::inline;
    use crate::task::elsewhere::Elsewhere;
    use crate::task::endpoint::Codec;
    use crate::task::handle::Task;
    use crate::task::reference::TaskRef;
    use crate::wire::args::Reader;
    use crate::wire::payload::Payload;

    /// Creates a task for another machine. See [`remote`](super::remote).
    pub(crate) fn remote_call<R, I, O>(
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
        let body = ElsewhereBody(decode);
        let mut builder = build_remote(TaskType::Remote, body, function, args, decode, codecs);
        let elsewhere = Elsewhere::new(type_name::<(R, I, O)>());
        builder.header_mut().extras_mut().elsewhere = Some(Box::new(elsewhere));
        builder
    }

    impl<R: 'static, I: Send + 'static, O: Send + 'static> TaskBuilder<R, I, O> {
        /// Changes the options of a remote task. Does nothing for other tasks.
        fn elsewhere(mut self, change: impl FnOnce(&mut Elsewhere)) -> Self {
            if self.header_mut().tt == TaskType::Remote
                && let Some(elsewhere) = &mut self.header_mut().extras_mut().elsewhere
            {
                change(elsewhere);
            }
            self
        }

        /// Sets the queue of a remote task (default: `"default"`). Only nodes that serve this queue
        /// run the task. Has no effect on other tasks.
        ///
        /// ```
        /// # use atasker_runtime as atasker;
        /// use atasker::TaskBuilder;
        /// fn on_gpu<R: Send + 'static>(render: TaskBuilder<R>) -> TaskBuilder<R> {
        ///     render.queue("gpu")
        /// }
        /// # on_gpu(TaskBuilder::new(|| ()));
        /// ```
        pub fn queue(self, queue: impl Into<Cow<'static, str>>) -> Self {
            let queue = queue.into();
            self.elsewhere(|elsewhere| elsewhere.queue = queue)
        }

        /// Sets how often a remote task is given to another node after its node was lost: dead,
        /// frozen or cut off (default: 2).
        ///
        /// With 0, the function runs at most once, and the task ends with
        /// [`TaskError::NodeLost`] if its node is lost. Has no effect on
        /// other tasks.
        ///
        /// ```
        /// # use atasker_runtime as atasker;
        /// use atasker::TaskBuilder;
        /// fn at_most_once<R: Send + 'static>(payment: TaskBuilder<R>) -> TaskBuilder<R> {
        ///     payment.redeliver(0)
        /// }
        /// # at_most_once(TaskBuilder::new(|| ()));
        /// ```
        pub fn redeliver(self, redeliver: u32) -> Self {
            self.elsewhere(|elsewhere| elsewhere.redeliver = redeliver)
        }

        /// Sets the cluster that runs a remote task, instead of the one that the supervisor of the
        /// task has joined. Has no effect on other tasks.
        ///
        /// ```
        /// # use atasker_runtime as atasker;
        /// use atasker::{Cluster, TaskBuilder};
        /// fn there<R: Send + 'static>(task: TaskBuilder<R>, cluster: &Cluster) -> TaskBuilder<R> {
        ///     task.cluster(cluster)
        /// }
        /// ```
        pub fn cluster(self, cluster: &Cluster) -> Self {
            let cluster = cluster.clone();
            self.elsewhere(|elsewhere| *elsewhere.cluster.get_mut() = Some(Arc::new(cluster)))
        }

        /// Keeps the [`unique`](Self::unique) key of a remote task taken for this long after the end
        /// of the task. The cluster's `keep` is the maximum. Has no effect on other tasks.
        ///
        /// ```
        /// # use atasker_runtime as atasker;
        /// use std::time::Duration;
        /// use atasker::TaskBuilder;
        /// fn once_in_five_minutes<R: Send + 'static>(sync: TaskBuilder<R>, user: u64) -> TaskBuilder<R> {
        ///     sync.unique(user).unique_for(Duration::from_secs(300))
        /// }
        /// # once_in_five_minutes(TaskBuilder::new(|| ()), 1);
        /// ```
        pub fn unique_for(self, time: Duration) -> Self {
            self.elsewhere(|elsewhere| elsewhere.unique_for = time)
        }
    }
    impl<R: Send + 'static, I: Send + 'static, O: Send + 'static> TaskBuilder<R, I, O> {
        /// Returns whether a cluster decides about the `unique` key of the task.
        pub(in crate::launch) fn is_elsewhere(&self) -> bool {
            self.tt() == TaskType::Remote && !inline::is_active() && !crate::process::in_worker()
        }

        /// Launches the task, unless a call that has not ended holds its key.
        pub(in crate::launch) fn start_unique_elsewhere(
            mut self,
        ) -> Result<Task<R, I, O>, TaskRef> {
            let (core, again) = (self.core(), self.attachment());
            let task = self.start();
            wait_stored(task.erased());
            let Some(TaskError::Duplicate { id }) = task.error() else { return Ok(task) };
            // Usually one of this supervisor.
            if let Some(holder) = core.find_live(*id) {
                return Err(TaskRef::new(holder));
            }
            let Some(again) = again else { return Ok(task) };
            // If the holder can't be found any more, its key is free again, or its cluster is out of
            // reach: the caller gets the error.
            match again.attach(*id) {
                Ok(holder) => Err(holder.to_ref()),
                Err(_) => Ok(task),
            }
        }
    }
}
