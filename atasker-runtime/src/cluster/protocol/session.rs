//! The handle of a member: what the rest of the runtime calls, from any thread.
//!
//! Each call is passed to the thread of the cluster as a closure over the [`Member`], which owns
//! everything and lives on that thread only.

use std::collections::VecDeque;
use std::future::Future;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use super::launcher::attach::Messages;
use super::member::{self, Member};
use super::node::Serving;
use super::pending::{Answer, Pending};
use crate::cluster::broker::{Broker, BrokerFuture, BrokerLimits};
use crate::cluster::door::{
    CallHead, CallSink, Canceled, DeadCall, Found, Killed, NewCall, NodeOffer, Overview, Runner,
};
use crate::cluster::error::ClusterError;
use crate::error::TaskError;
use crate::id::TaskId;
use crate::sync::lock::Mutex;

/// A request to the thread of the cluster.
pub(super) type Command = Box<dyn FnOnce(&Rc<Member>) + Send>;

/// Connects to a broker. Is called on the thread of the cluster, within its tokio runtime.
pub(crate) type Connect =
    Box<dyn FnOnce() -> BrokerFuture<'static, Result<Arc<dyn Broker>, ClusterError>> + Send>;

/// A member of a namespace. See the [module documentation](super).
#[derive(Debug)]
pub(crate) struct Session {
    commands: mpsc::UnboundedSender<Command>,
    shared: Arc<Shared>,
}

/// What both the handle and the thread of the cluster use.
#[derive(Debug)]
pub(super) struct Shared {
    /// 16 hexadecimal digits.
    pub(super) id: Arc<str>,
    pub(super) limits: BrokerLimits,
    pub(super) connected: AtomicBool,
    pub(super) closed: AtomicBool,
    /// The queues are full, and launches wait until they are not.
    pub(super) full: AtomicBool,
    /// Bytes of the calls that are not stored yet.
    pub(super) pending_bytes: AtomicUsize,
    waiting_for_room: Mutex<VecDeque<(usize, Answer<()>)>>,
}

impl Shared {
    pub(super) fn new(id: Arc<str>, limits: BrokerLimits) -> Shared {
        Shared {
            id,
            limits,
            connected: AtomicBool::new(true),
            closed: AtomicBool::new(false),
            full: AtomicBool::new(false),
            pending_bytes: AtomicUsize::new(0),
            waiting_for_room: Mutex::default(),
        }
    }

    fn accepts(&self, bytes: usize) -> bool {
        let pending = self.pending_bytes.load(Ordering::SeqCst);
        // A call that is larger than the limit by itself is accepted when nothing else is pending.
        let fits = pending == 0 || pending.saturating_add(bytes) <= self.limits.pending_bytes;
        fits && !(self.limits.blocks_when_full && self.full.load(Ordering::SeqCst))
            || self.closed.load(Ordering::SeqCst)
    }

    /// Lets launches go on for which there is room now.
    pub(super) fn room_changed(&self) {
        let mut go_on = Vec::new();
        {
            let mut waiting = self.waiting_for_room.lock();
            while waiting.front().is_some_and(|(bytes, _)| self.accepts(*bytes)) {
                go_on.extend(waiting.pop_front());
            }
        }
        // Outside the lock, because a waker is code of the user's.
        for (_, answer) in go_on {
            crate::unwind::guarded(|| _ = answer.send(()));
        }
    }
}

impl Session {
    /// Connects, starts the thread of the cluster, and blocks until it is connected.
    ///
    /// # Errors
    ///
    /// If the thread can't be started, or `connect` fails.
    pub(crate) fn start(namespace: &str, connect: Connect) -> Result<Arc<Session>, ClusterError> {
        Session::start_async(namespace, connect).wait()
    }

    /// Like [`start`](Self::start), without blocking.
    pub(crate) fn start_async(
        namespace: &str,
        connect: Connect,
    ) -> Pending<Result<Arc<Session>, ClusterError>> {
        let (answer, pending) = Pending::new(|| Err(ClusterError::Closed));
        let thread = std::thread::Builder::new().name(format!("atasker cluster {namespace}"));
        let main = move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let runtime = match runtime {
                Ok(runtime) => runtime,
                Err(error) => return drop(answer.send(Err(not_started(&error)))),
            };
            runtime.block_on(async move {
                match connect().await {
                    Ok(broker) => {
                        let (session, run) = Session::over(broker, fastrand::u64(..));
                        drop(answer.send(Ok(session)));
                        run.await;
                    }
                    Err(error) => drop(answer.send(Err(error))),
                }
            });
        };
        if let Err(error) = thread.spawn(main) {
            let (answer, pending) = Pending::new(|| Err(ClusterError::Closed));
            drop(answer.send(Err(not_started(&error))));
            return pending;
        }
        pending
    }

    /// Returns a session over a broker, and the future that carries it out. Dropping that future is the
    /// sudden death of the member. `seed` is for its random numbers, its id included.
    pub(crate) fn over(
        broker: Arc<dyn Broker>,
        seed: u64,
    ) -> (Arc<Session>, impl Future<Output = ()> + 'static) {
        let (commands, received) = mpsc::unbounded_channel();
        let mut random = fastrand::Rng::with_seed(seed);
        let id = format!("{:016x}", random.u64(..)).into();
        let shared = Arc::new(Shared::new(id, broker.limits()));
        let session = Session { commands, shared: shared.clone() };
        let run = member::run(broker, shared, random, received);
        (Arc::new(session), run)
    }

    pub(crate) fn limits(&self) -> BrokerLimits {
        self.shared.limits
    }

    pub(crate) fn is_connected(&self) -> bool {
        self.shared.connected.load(Ordering::Relaxed) && !self.is_closed()
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.shared.closed.load(Ordering::Relaxed)
    }

    /// Returns whether a call with arguments of this length can be accepted now. If not, a launch is
    /// rejected, or waits for [`room`](Self::room), as [`BrokerLimits::blocks_when_full`] says.
    pub(crate) fn accepts(&self, bytes: usize) -> bool {
        self.shared.accepts(bytes)
    }

    /// Is answered when a call with arguments of this length can be accepted, or the session is closed.
    pub(crate) fn room(&self, bytes: usize) -> Pending<()> {
        let (answer, pending) = Pending::new(|| ());
        self.shared.waiting_for_room.lock().push_back((bytes, answer));
        self.shared.room_changed();
        pending
    }

    /// Launches a call. Returns at once: what becomes of it, errors included, is told to `sink`.
    pub(crate) fn submit(&self, call: NewCall, sink: Arc<dyn CallSink>) {
        let bytes = call.args.len();
        self.shared.pending_bytes.fetch_add(bytes, Ordering::SeqCst);
        let sink_if_closed = sink.clone();
        if !self.send(move |member| member.launcher.submit(member, call, sink)) {
            self.shared.pending_bytes.fetch_sub(bytes, Ordering::SeqCst);
            member::refuse(&*sink_if_closed, TaskError::Cluster(ClusterError::Closed));
        }
    }

    /// Asks a call to stop. One that has not begun, or waits for another run, ends with `Canceled`.
    pub(crate) fn stop(&self, id: TaskId) {
        self.send(move |member| member.spawn(super::launcher::verbs::stop(member.clone(), id)));
    }

    /// Ends a call, and its worker process if it runs.
    pub(crate) fn kill(&self, id: TaskId) -> Pending<Killed> {
        self.ask(
            || Killed::Unknown,
            move |member, answer| {
                member.spawn(super::launcher::verbs::kill(member.clone(), id, answer));
            },
        )
    }

    /// Cancels a call that does not run. One that runs is asked to stop.
    pub(crate) fn cancel(&self, id: TaskId) -> Pending<Canceled> {
        self.ask(
            || Canceled::Unknown,
            move |member, answer| {
                member.spawn(super::launcher::verbs::cancel(member.clone(), id, answer));
            },
        )
    }

    /// Sends a message to the task of a call.
    pub(crate) fn message(&self, id: TaskId, message: Arc<[u8]>) {
        self.send(move |member| member.launcher.message(member, id, message));
    }

    /// The handle of a call has taken this many further messages.
    pub(crate) fn taken(&self, id: TaskId, count: usize) {
        self.send(move |member| member.launcher.taken(member, id, count));
    }

    /// Says whether the messages of the task still have a receiver here.
    pub(crate) fn has_receiver(&self, id: TaskId, is_there: bool) {
        self.send(move |member| member.launcher.has_receiver(member, id, is_there));
    }

    /// Tells `sink` what becomes of a call that was launched here or elsewhere, beginning with its
    /// present state. Its messages go to this session from now on.
    ///
    /// # Errors
    ///
    /// `NotFound`; nothing is told to `sink` then.
    pub(crate) fn attach(
        &self,
        id: TaskId,
        sink: Arc<dyn CallSink>,
    ) -> Pending<Result<CallHead, ClusterError>> {
        self.ask(
            || Err(ClusterError::Closed),
            move |member, answer| {
                let to = Messages::Here;
                member.spawn(super::launcher::attach::attach(member.clone(), id, sink, to, answer));
            },
        )
    }

    /// The same, except that the messages of the call go where they went before.
    pub(crate) fn listen(
        &self,
        id: TaskId,
        sink: Arc<dyn CallSink>,
    ) -> Pending<Result<CallHead, ClusterError>> {
        self.ask(
            || Err(ClusterError::Closed),
            move |member, answer| {
                let to = Messages::Elsewhere;
                member.spawn(super::launcher::attach::attach(member.clone(), id, sink, to, answer));
            },
        )
    }

    /// Looks a call up, without attaching to it.
    pub(crate) fn find(&self, id: TaskId) -> Pending<Result<Option<Found>, ClusterError>> {
        self.query(move |member| async move { super::overview::find(&member, id).await })
    }

    /// Is answered when all calls that were submitted before are stored, or have ended.
    ///
    /// # Errors
    ///
    /// `Unreachable` once `limit` is over.
    pub(crate) fn flush(&self, limit: Duration) -> Pending<Result<(), ClusterError>> {
        self.query(move |member| async move { member.launcher.flush(limit).await })
    }

    /// Returns the nodes and queues of the namespace.
    pub(crate) fn info(&self) -> Pending<Result<Overview, ClusterError>> {
        self.query(|member| async move { super::overview::info(&member).await })
    }

    /// Passes the nodes and queues of the namespace to `then`, on the thread of the cluster. Drops
    /// `then` if the session has ended.
    #[cfg_attr(not(any(feature = "metrics", feature = "dashboard")), allow(dead_code))]
    pub(crate) fn overview_then(
        &self,
        then: impl FnOnce(Result<Overview, ClusterError>) + Send + 'static,
    ) {
        self.send(move |member| {
            let of = member.clone();
            member.spawn(async move { then(super::overview::info(&of).await) });
        });
    }

    /// Passes the dead letters, the oldest first, to `then`, on the thread of the cluster. Drops `then`
    /// if the session has ended.
    #[cfg_attr(not(any(feature = "metrics", feature = "dashboard")), allow(dead_code))]
    pub(crate) fn dead_letters_then(
        &self,
        then: impl FnOnce(Result<Vec<DeadCall>, ClusterError>) + Send + 'static,
    ) {
        self.send(move |member| {
            let of = member.clone();
            member.spawn(async move { then(super::dead::list(&of).await) });
        });
    }

    /// Returns the dead letters, the oldest first.
    pub(crate) fn dead_letters(&self) -> Pending<Result<Vec<DeadCall>, ClusterError>> {
        self.query(|member| async move { super::dead::list(&member).await })
    }

    /// Launches the call of a dead letter again, under a new id, and removes the letter. Returns once
    /// the call is stored.
    pub(crate) fn retry_dead(&self, id: TaskId) -> Pending<Result<TaskId, ClusterError>> {
        self.query(move |member| async move { super::dead::retry(&member, id).await })
    }

    /// Removes a dead letter. Returns whether there was one.
    pub(crate) fn drop_dead(&self, id: TaskId) -> Pending<Result<bool, ClusterError>> {
        self.query(move |member| async move { super::dead::remove(&member, id).await })
    }

    /// Returns true to the first member of the namespace that calls it with this name.
    pub(crate) fn first(&self, name: String) -> Pending<Result<bool, ClusterError>> {
        self.query(move |member| async move { super::overview::first(&member, &name).await })
    }

    /// Serves calls, until the [`Serving`] is drained or stopped.
    pub(crate) fn serve(
        &self,
        offer: NodeOffer,
        runner: Arc<dyn Runner>,
    ) -> Pending<Result<Serving, ClusterError>> {
        self.query(move |member| async move { super::node::serve(&member, offer, runner).await })
    }

    /// Ends the connection, after what was submitted is sent, as far as that is possible within a
    /// second. Calls that are not stored end with `Closed`; for the others nothing more is told.
    /// Nodes are stopped: what they hold runs elsewhere.
    pub(crate) fn close(&self) -> Pending<()> {
        self.ask(|| (), |member, answer| member.spawn(member::close(member.clone(), answer)))
    }

    /// Returns false if the session has ended.
    fn send(&self, command: impl FnOnce(&Rc<Member>) + Send + 'static) -> bool {
        !self.is_closed() && self.commands.send(Box::new(command)).is_ok()
    }

    fn ask<T: Send + 'static>(
        &self,
        closed: fn() -> T,
        command: impl FnOnce(&Rc<Member>, Answer<T>) + Send + 'static,
    ) -> Pending<T> {
        let (answer, pending) = Pending::new(closed);
        self.send(move |member| command(member, answer));
        pending
    }

    /// Answers with the result of a future.
    fn query<T, F>(
        &self,
        query: impl FnOnce(Rc<Member>) -> F + Send + 'static,
    ) -> Pending<Result<T, ClusterError>>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, ClusterError>> + 'static,
    {
        self.ask(
            || Err(ClusterError::Closed),
            move |member, answer: oneshot::Sender<Result<T, ClusterError>>| {
                let query = query(member.clone());
                member.spawn(async move { drop(answer.send(query.await)) });
            },
        )
    }
}

fn not_started(error: &std::io::Error) -> ClusterError {
    ClusterError::Unavailable {
        detail: format!("the thread of the cluster could not be started: {error}"),
    }
}
