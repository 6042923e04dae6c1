//! The place of tasks that run on other machines.
//!
//! A launch hands its task over to a cluster: the one that its builder names, or the one that the
//! supervisor has joined. From then on the cluster decides what becomes of the call, and
//! [`call`] tells the task. Here are the launch, the waiting for room, and the verbs.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use super::call::{self, Call, call_of};
use super::door::{CallHead, FunctionKey, NewCall, RetryPause, UniqueKey};
use super::error::ClusterError;
use super::handle::{Cluster, Shared};
use super::is_token;
use super::protocol::Pending;
use crate::error::{KillError, TaskError};
use crate::job::Job;
use crate::limit::{self, Admission, Parked};
use crate::observe::trace;
use crate::place::{Canceling, Closing, Place, Room, WhenFull, warn_of_a_blocked_runtime};
use crate::remote::functions::{Function, RemoteFunction, duplicate_of};
use crate::room::Launcher;
use crate::sync::lock::Mutex;
use crate::task::control::Include;
use crate::task::elsewhere::{Elsewhere, Link};
use crate::task::header::Header;
use crate::task::state::Phase;
use crate::task::waiters::drop_waker;
use crate::task::{AnyTask, TaskArc, park, unique};

/// The most bytes of arguments or of a result.
const MAX_BYTES: u64 = 1 << 30;

/// The calls of one supervisor.
#[derive(Default)]
pub(crate) struct RemotePlace {
    joined: Mutex<Option<Cluster>>,
    /// Futures that wait until they can launch.
    waiting: Mutex<BTreeMap<Launcher, (Pending<()>, Waker)>>,
}

impl RemotePlace {
    pub(crate) fn new() -> Self {
        RemotePlace::default()
    }

    /// Sets the cluster of tasks that name none.
    pub(crate) fn join(&self, cluster: &Cluster) {
        let before = self.joined.lock().replace(cluster.clone());
        drop(before);
    }

    /// Returns the cluster that was joined.
    pub(crate) fn joined(&self) -> Option<Cluster> {
        self.joined.lock().clone()
    }

    /// Returns the namespace of the cluster that was joined.
    pub(crate) fn info(&self) -> Option<String> {
        Some(self.joined()?.namespace().to_owned())
    }

    /// Returns the cluster of a task.
    fn cluster_of(&self, header: &Header) -> Option<Arc<Shared>> {
        let named = header.elsewhere().and_then(|elsewhere| elsewhere.cluster.lock().clone());
        match named.and_then(|named| named.downcast::<Cluster>().ok()) {
            Some(cluster) => Some(Arc::clone(&cluster.shared)),
            None => self.joined().map(|cluster| cluster.shared),
        }
    }

    /// Hands a task over to its cluster.
    fn hand_over(&self, job: Job, when_full: WhenFull) -> Result<(), (Job, TaskError)> {
        let task = job.task().clone();
        let header = task.header();
        let Some(elsewhere) = header.elsewhere() else {
            return Err((job, TaskError::not_started("not a task for another machine")));
        };
        let attached = elsewhere.attached.lock().take();
        if let Some(attached) = attached {
            let Ok(call) = attached.downcast::<Call>() else {
                return Err((job, TaskError::not_started("not a call of a cluster")));
            };
            if set_link(elsewhere, &call, || call.bind(task.clone())) {
                job.into_task();
            }
            return Ok(());
        }
        let cluster = self.cluster_of(header);
        let named = elsewhere.cluster.lock().take();
        drop(named);
        let Some(cluster) = cluster else {
            return Err((job, ClusterError::NotJoined.into_task_error()));
        };
        let new = match new_call(&task, elsewhere, cluster.session.limits().keep) {
            Ok(new) => new,
            Err(error) => return Err((job, error)),
        };
        if let Err(error) = wait_for_room(&cluster, &*task, new.args.len(), when_full) {
            return Err((job, error));
        }
        if matches!(header.state.read().phase(), Phase::Ending | Phase::Ended) {
            job.into_task();
            return Ok(());
        }
        let call = Call::new(cluster.clone(), task.clone());
        let submit = || {
            // Not before the link is set, because the task may be canceled as soon as it is there.
            cluster.session.submit(new, call.listener());
        };
        if set_link(elsewhere, &call, submit) {
            job.into_task();
            call.flush_messages(&*task);
        } else {
            // The thread that has withdrawn the task ends it.
            call.release();
            job.into_task();
        }
        Ok(())
    }

    /// Withdraws a task that was not handed over. Returns false if it was.
    fn withdraw(task: &dyn AnyTask) -> bool {
        let Some(elsewhere) = task.header().elsewhere() else { return false };
        let mut link = elsewhere.link.lock();
        match &*link {
            Link::None | Link::Withdrawn => {
                *link = Link::Withdrawn;
                true
            }
            Link::Call(_) | Link::Over => false,
        }
    }
}

/// Sets the call of a task and calls `then`, both at once for others. Returns false if the task was
/// withdrawn.
fn set_link(elsewhere: &Elsewhere, call: &Arc<Call>, then: impl FnOnce()) -> bool {
    let mut link = elsewhere.link.lock();
    match &*link {
        Link::None => {
            *link = Link::Call(Arc::clone(call) as _);
            // Under the lock, so that a request about the call comes after it. Passing a message to
            // another thread runs no code of the user.
            then();
            true
        }
        Link::Withdrawn | Link::Call(_) | Link::Over => false,
    }
}

/// Describes the call of a task to a cluster that keeps calls for this long.
fn new_call(task: &TaskArc, elsewhere: &Elsewhere, keep: Duration) -> Result<NewCall, TaskError> {
    let header = task.header();
    let remote = task.remote().ok_or_else(|| TaskError::not_started("not a remote function"))?;
    let function = remote.function();
    if !is_token(&elsewhere.queue) {
        let queue = &elsewhere.queue;
        let detail = format!("the queue `{queue}` is not 1 to 64 characters of `A-Z a-z 0-9 _ -`");
        return Err(ClusterError::invalid(detail).into_task_error());
    }
    if let Some(duplicate) = duplicate_of(function) {
        return Err(ClusterError::invalid(duplicate.to_string()).into_task_error());
    }
    let bytes = remote.args().len() as u64;
    if bytes > MAX_BYTES {
        return Err(ClusterError::TooLarge { bytes, limit: MAX_BYTES }.into_task_error());
    }
    let args: Arc<[u8]> = match remote.args().get() {
        Some(args) => Arc::from(&*args),
        None => return Err(TaskError::not_started("the arguments were dropped already")),
    };
    let extras = header.extras_or_new();
    let policies = header.policies();
    let unique = match unique::slot_of(header) {
        Some(slot) => slot.take_portable(header.name())?,
        None => None,
    };
    let retry = match policies.and_then(|policies| policies.backoff) {
        None => RetryPause::Fixed(extras.retry_delay),
        Some(backoff) => {
            let (first, max, factor, jitter) = backoff.parts();
            RetryPause::Backoff { first, max, factor: factor.to_bits(), jitter }
        }
    };
    let head = CallHead {
        id: header.id(),
        name: header.name().to_owned(),
        function: FunctionKey { name: function.name.to_owned(), signature: function.signature },
        queue: elsewhere.queue.clone().into_owned(),
        priority: header.priority,
        timeout: header.timeout(),
        retries: extras.retries,
        retry,
        redeliver: elsewhere.redeliver,
        expires: policies.and_then(|policies| policies.expires),
        unique: unique.map(|hash| UniqueKey { hash, keep: elsewhere.unique_for.min(keep) }),
        types: types_of(function, elsewhere.types),
        has_channels: header.channels().is_some(),
        trace: trace::of_launch(header),
    };
    Ok(NewCall { head, args })
}

/// Returns how a handle describes the types of a call that it knows nothing else about. It decodes
/// MessagePack, so another codec makes it another description.
fn types_of(function: &Function, types: &str) -> String {
    let is_bincode = |remote: &RemoteFunction| remote.types.starts_with("bincode");
    match function.remote.as_ref().is_some_and(is_bincode) {
        true => format!("{types} with codec = \"bincode\""),
        false => types.to_owned(),
    }
}

/// Blocks a launch until the cluster accepts it, or returns why it can't wait.
fn wait_for_room(
    cluster: &Shared,
    task: &dyn AnyTask,
    bytes: usize,
    when_full: WhenFull,
) -> Result<(), TaskError> {
    let session = &cluster.session;
    while !session.accepts(bytes) && !when_full.passes() {
        if !session.limits().blocks_when_full {
            return Err(TaskError::QueueFull);
        }
        if !when_full.may_wait() {
            return Ok(());
        }
        warn_of_a_blocked_runtime();
        let header = task.header();
        let launcher = Launcher::new(header.priority, limit::has_limit(header));
        let mut room = session.room(bytes);
        let is_over = park::block_on(None, |context| {
            // The task first: its end must wake this thread as well.
            let ended = !header.watch(launcher.key(), context.waker());
            match Pin::new(&mut room).poll(context) {
                _ if ended => Poll::Ready(true),
                room => room.map(|()| false),
            }
        });
        header.unwatch(launcher.key());
        if is_over != Some(false) {
            // It was withdrawn, or this is a fork of the process: nothing is handed over.
            return Ok(());
        }
    }
    Ok(())
}

impl Place for RemotePlace {
    fn start(&self, job: Job, when_full: WhenFull) {
        if let Err((job, error)) = self.hand_over(job, when_full) {
            job.end(error);
        }
    }

    fn enqueue_parked(&self, parked: Parked) {
        let mut candidate = Some(parked);
        // The cluster has the slots, so there is one for every task here.
        while let Some(Parked { job, reserved }) = candidate.take() {
            let Admission { job, next } = limit::admit(job, reserved);
            if let Some(job) = job {
                self.start(job, WhenFull::Pass);
            }
            candidate = next;
        }
    }

    /// A task that was handed over is never revoked: see [`cancel_elsewhere`](Place::cancel_elsewhere).
    /// Only the end of the supervisor asks for that, and takes the task back from its call then, which
    /// goes on.
    fn revoke(&self, task: &dyn AnyTask, include: Include) -> bool {
        if Self::withdraw(task) {
            return true;
        }
        match call_of(task.header()).filter(|_| include == Include::Admitted) {
            Some(call) => {
                call.release();
                true
            }
            None => false,
        }
    }

    fn cancel_elsewhere(&self, task: &TaskArc) -> Option<Canceling> {
        let call = call_of(task.header())?;
        let may_wait = call::may_block();
        Some(Canceling { answer: Box::pin(call.cancel(task.clone())), may_wait })
    }

    fn is_elsewhere(&self, task: &dyn AnyTask) -> bool {
        call_of(task.header()).is_some()
    }

    fn kill(&self, task: &TaskArc) -> Result<(), KillError> {
        match call_of(task.header()) {
            Some(call) => call.kill(),
            None => Err(KillError::Unsupported),
        }
    }

    fn waits_for(&self, _task: &dyn AnyTask) -> Cow<'static, str> {
        "a node of its cluster".into()
    }

    fn stop_requested(&self, task: &dyn AnyTask) {
        if let Some(call) = call_of(task.header()) {
            call.cluster.session.stop(call.id);
        }
    }

    fn flush_messages(&self, task: &dyn AnyTask) {
        if let Some(call) = call_of(task.header()) {
            call.flush_messages(task);
        }
    }

    fn message_received(&self, task: &dyn AnyTask) {
        if let Some(call) = call_of(task.header()) {
            call.message_received(task);
        }
    }

    fn poll_room(
        &self,
        task: &dyn AnyTask,
        launcher: Launcher,
        context: &mut Context<'_>,
    ) -> Poll<Room> {
        let bytes = task.remote().map_or(0, |remote| remote.args().len());
        let Some(cluster) = self.cluster_of(task.header()) else {
            return Poll::Ready(Room::ByRule);
        };
        let session = &cluster.session;
        let before = self.waiting.lock().remove(&launcher);
        if session.accepts(bytes) || !session.limits().blocks_when_full {
            drop_waiting(before);
            return Poll::Ready(Room::ByRule);
        }
        let (mut room, old) = match before {
            Some((room, waker)) => (room, Some(waker)),
            None => (session.room(bytes), None),
        };
        drop_waker(old);
        if Pin::new(&mut room).poll(context).is_ready() {
            return Poll::Ready(Room::ByRule);
        }
        // Cloned without the lock, because that can run code of the user.
        let waker = context.waker().clone();
        let replaced = self.waiting.lock().insert(launcher, (room, waker));
        drop_waiting(replaced);
        Poll::Pending
    }

    fn leave_room(&self, launcher: Launcher) {
        let waiting = self.waiting.lock().remove(&launcher);
        drop_waiting(waiting);
    }

    fn wake_launchers(&self) {
        let waiting = std::mem::take(&mut *self.waiting.lock());
        for (_, (room, waker)) in waiting {
            drop(room);
            crate::unwind::guarded(|| waker.wake());
        }
    }

    /// Ends nothing: tasks that have not ended were taken back, and their calls go on.
    fn close(&self, _closing: &Closing<'_>) {}
}

fn drop_waiting(waiting: Option<(Pending<()>, Waker)>) {
    if let Some((room, waker)) = waiting {
        crate::unwind::discard(room);
        drop_waker(Some(waker));
    }
}

/// Blocks the caller until the broker has the call of a task that was launched just now, or the task
/// has ended, for at most five seconds. Returns at once where blocking is not possible.
#[track_caller]
pub(crate) fn wait_stored(task: &TaskArc) {
    if let Some(call) = call_of(task.header()).filter(|_| call::may_block()) {
        call.wait_stored(&**task);
    }
}
