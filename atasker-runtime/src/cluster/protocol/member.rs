//! A member of the namespace, on the thread of the cluster: what launchers and nodes have in common.
//!
//! Everything here is used by one thread. What happens elsewhere (commands of a [`Session`], reports of
//! the broker and of runs) reaches it as a [`Command`], in order. What takes time is a task of the
//! thread's `LocalSet`, so dropping the future of [`run`] ends all of it.
//!
//! [`Session`]: super::session::Session

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::{Future, poll_fn};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::time::Duration;

use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;

use super::broker_time::BrokerTime;
use super::control::{Frame, subject};
use super::launcher::Launcher;
use super::node::Node;
use super::pause::Pause;
use super::pending::Answer;
use super::session::{Command, Shared};
use crate::cluster::broker::{Broker, BrokerError, Guard, Message};
use crate::cluster::door::{CallEnd, CallEvent, CallSink};
use crate::cluster::error::ClusterError;
use crate::error::TaskError;
use crate::unwind::log;

/// How long a session that is closed waits for what it has still to send.
const CLOSE_WITHIN: Duration = Duration::from_secs(1);

/// See the [module documentation](self).
pub(crate) struct Member {
    pub(super) broker: Arc<dyn Broker>,
    pub(super) shared: Arc<Shared>,
    pub(super) random: RefCell<fastrand::Rng>,
    pub(super) time: BrokerTime,
    pub(super) launcher: Launcher,
    /// By their ids.
    pub(super) nodes: RefCell<BTreeMap<String, Rc<Node>>>,
    /// When the connection was made, or made again.
    pub(super) connected_since: Cell<Instant>,
    pub(super) connected: Notify,
    commands: mpsc::UnboundedSender<Command>,
    tokens: Cell<u64>,
    complained: RefCell<BTreeMap<&'static str, Instant>>,
    closed: Notify,
    listens: RefCell<Option<Guard>>,
}

/// Runs a member until its session is closed. Dropping the future is its sudden death.
pub(super) async fn run(
    broker: Arc<dyn Broker>,
    shared: Arc<Shared>,
    random: fastrand::Rng,
    requests: mpsc::UnboundedReceiver<Command>,
) {
    let tasks = tokio::task::LocalSet::new();
    tasks.run_until(run_in_local_set(broker, shared, random, requests)).await;
}

async fn run_in_local_set(
    broker: Arc<dyn Broker>,
    shared: Arc<Shared>,
    random: fastrand::Rng,
    mut requests: mpsc::UnboundedReceiver<Command>,
) {
    let (commands, mut reports) = mpsc::unbounded_channel();
    let member = Rc::new(Member {
        broker,
        shared,
        time: BrokerTime::default(),
        launcher: Launcher::new(),
        nodes: RefCell::default(),
        connected_since: Cell::new(Instant::now()),
        connected: Notify::new(),
        commands,
        tokens: Cell::new(0),
        complained: RefCell::default(),
        closed: Notify::new(),
        listens: RefCell::default(),
        random: RefCell::new(random),
    });
    let _ends = Ends(member.clone());
    member.shared.connected.store(member.broker.is_connected(), Ordering::Relaxed);
    member.watch_connection();
    member.spawn(super::launcher::expiry::watch_deadlines(member.clone()));
    member.spawn(super::launcher::messages::resend(member.clone()));
    let closed = member.closed.notified();
    tokio::pin!(closed);
    let mut requests_end = false;
    let next = poll_fn(|cx| {
        if closed.as_mut().poll(cx).is_ready() {
            return Poll::Ready(());
        }
        // Both are bounded by tokio's budget per poll, after which they say that nothing is there.
        loop {
            if let Poll::Ready(Some(report)) = reports.poll_recv(cx) {
                report(&member);
            } else if !requests_end && let Poll::Ready(request) = requests.poll_recv(cx) {
                match request {
                    Some(request) => request(&member),
                    None => {
                        requests_end = true;
                        member.session_dropped();
                    }
                }
            } else {
                return Poll::Pending;
            }
        }
    });
    next.await;
}

/// The end of a member, also if its thread has panicked: all calls are told, and the circle of
/// references between the member and its nodes ends, so that the connection is dropped.
struct Ends(Rc<Member>);

impl Drop for Ends {
    fn drop(&mut self) {
        self.0.shared.closed.store(true, Ordering::SeqCst);
        self.0.shared.room_changed();
        self.0.launcher.end_all(&self.0);
        let nodes = self.0.nodes.take();
        self.0.listens.take();
        drop(nodes);
    }
}

impl Member {
    /// Runs a future on the thread of the cluster.
    pub(super) fn spawn(&self, future: impl Future<Output = ()> + 'static) {
        tokio::task::spawn_local(future);
    }

    /// Returns what passes a report to the thread of the cluster, from any thread.
    pub(super) fn reporter(&self) -> Reporter {
        Reporter(self.commands.clone())
    }

    pub(super) fn id(&self) -> &Arc<str> {
        &self.shared.id
    }

    /// Returns a new token for a write.
    pub(super) fn token(&self) -> String {
        let number = self.tokens.get();
        self.tokens.set(number + 1);
        format!("{}-{number:x}", self.id())
    }

    pub(super) fn random(&self) -> u64 {
        self.random.borrow_mut().u64(..)
    }

    /// Listens to the subject of this member. Returns once it is in effect.
    pub(super) async fn listen(self: &Rc<Self>) {
        if self.listens.borrow().is_some() {
            return;
        }
        let guard = self
            .listen_to(&subject(self.id()), |member, message| {
                super::launcher::messages::arrived(member, message);
            })
            .await;
        *self.listens.borrow_mut() = Some(guard);
    }

    /// Listens to a subject, and repeats that until it is in effect.
    pub(super) async fn listen_to(
        &self,
        subject: &str,
        arrived: impl Fn(&Rc<Member>, Message) + Clone + Send + 'static,
    ) -> Guard {
        let mut pause = Pause::new();
        loop {
            let (reporter, arrived) = (self.reporter(), arrived.clone());
            let sink = Box::new(move |message| {
                let arrived = arrived.clone();
                reporter.report(move |member| arrived(member, message));
            });
            match self.broker.subscribe(subject, sink).await {
                Ok(guard) => return guard,
                Err(error) => self.trouble("listen", &error),
            }
            pause.wait(self).await;
        }
    }

    /// Sends a frame to another member. It may be lost.
    pub(super) fn tell(&self, member: &str, frame: &Frame) {
        self.broker.publish(&subject(member), frame.encode());
    }

    /// Complains about a failure that is tried again, once a minute for each kind of request.
    pub(super) fn trouble(&self, what: &'static str, error: &BrokerError) {
        let now = Instant::now();
        {
            let mut complained = self.complained.borrow_mut();
            let before = complained.insert(what, now);
            if let Some(before) = before.filter(|before| now < *before + Duration::from_secs(60)) {
                complained.insert(what, before);
                return;
            }
        }
        match error {
            BrokerError::Denied(_) | BrokerError::Unavailable(_) => {
                log!(error, %error, request = what, "the broker refuses a request: trying again");
            }
            _ => log!(debug, %error, request = what, "no answer from the broker: trying again"),
        }
    }

    fn watch_connection(self: &Rc<Self>) {
        let (reporter, shared) = (self.reporter(), self.shared.clone());
        self.broker.on_connection(Box::new(move |is_there| {
            shared.connected.store(is_there, Ordering::Relaxed);
            reporter.report(move |member| member.connection_changed(is_there));
        }));
    }

    fn connection_changed(self: &Rc<Self>, is_there: bool) {
        if !is_there {
            return;
        }
        self.connected_since.set(Instant::now());
        self.connected.notify_waiters();
        let nodes: Vec<_> = self.nodes.borrow().values().cloned().collect();
        for node in nodes {
            node.reconnected();
        }
    }

    /// All handles of the session are gone. Nodes go on, and so does a launcher that has to hear
    /// about calls.
    fn session_dropped(self: &Rc<Self>) {
        let member = self.clone();
        self.spawn(async move {
            loop {
                let is_idle = member.nodes.borrow().is_empty() && member.launcher.is_idle();
                if is_idle {
                    member.broker.close().await;
                    return member.closed.notify_one();
                }
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        });
    }
}

/// Closes a session.
pub(super) async fn close(member: Rc<Member>, answer: Answer<()>) {
    let nodes: Vec<_> = member.nodes.borrow().values().cloned().collect();
    let stop = async {
        for node in nodes {
            super::node::drain::drain(&node, Duration::ZERO, Duration::ZERO).await;
        }
        drop(member.launcher.flush(CLOSE_WITHIN).await);
    };
    drop(tokio::time::timeout(CLOSE_WITHIN * 2, stop).await);
    drop(tokio::time::timeout(CLOSE_WITHIN, member.broker.close()).await);
    member.shared.closed.store(true, Ordering::SeqCst);
    _ = answer.send(());
    member.closed.notify_one();
}

/// Passes reports to the thread of the cluster.
#[derive(Clone, Debug)]
pub(super) struct Reporter(mpsc::UnboundedSender<Command>);

impl Reporter {
    /// Reports after the end of the member are dropped.
    pub(super) fn report(&self, report: impl FnOnce(&Rc<Member>) + Send + 'static) {
        drop(self.0.send(Box::new(report)));
    }
}

/// Tells a sink the end of a call that was not accepted.
pub(super) fn refuse(sink: &dyn CallSink, error: TaskError) {
    let end = CallEnd { outcome: Err(error), attempt: 0, losses: 0, node: None };
    // No code of the user: a launch calls this under a lock.
    sink.event(CallEvent::Ended(end));
}

impl From<BrokerError> for ClusterError {
    fn from(error: BrokerError) -> ClusterError {
        let detail = error.to_string();
        match error {
            BrokerError::Denied(_) => ClusterError::Denied { detail },
            BrokerError::Unavailable(_) | BrokerError::Full => ClusterError::Unavailable { detail },
            BrokerError::NotFound(_) => ClusterError::NotFound { detail },
            BrokerError::Closed => ClusterError::Closed,
            _ => ClusterError::Unreachable { detail },
        }
    }
}
