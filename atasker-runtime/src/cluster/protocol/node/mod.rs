//! A member as a node: the calls that it holds.
//!
//! The way of a call, in order: [`take`] pulls its entry when there is room; [`claim`] puts this node
//! into its record, and decides what to do if another one is there, with the help of [`loss`];
//! [`hold`] begins the run and watches over it, with its state in [`held`], and [`upkeep`] keeps what the
//! broker would forget of a long one; [`finish`] writes what came of it. [`presence`] shows
//! the node to others, [`control`] carries out what they ask for, [`channel`] is the node's end of the
//! messages, [`drain`] the end of serving.

mod channel;
mod claim;
mod control;
pub(super) mod drain;
mod finish;
mod held;
mod hold;
mod loss;
mod order;
mod pace;
pub(super) mod presence;
mod take;
mod upkeep;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

use self::held::Held;
use self::loss::Heard;
use self::order::Order;
use self::pace::Pace;
use self::take::Sources;
use super::control::subject;
use super::member::{Member, Reporter};
use super::pending::{Answer, Pending};
use crate::cluster::broker::Guard;
use crate::cluster::door::{Drained, FunctionKey, NodeOffer, NodeRef, Runner};
use crate::cluster::error::ClusterError;
use crate::id::TaskId;
use crate::unwind::log;

/// See the [module documentation](self).
pub(super) struct Node {
    pub(super) member: Rc<Member>,
    pub(super) me: NodeRef,
    offer: NodeOffer,
    runner: Arc<dyn Runner>,
    held: RefCell<BTreeMap<TaskId, Rc<Held>>>,
    /// Calls that are being claimed: others, and critical ones.
    claiming: [Cell<usize>; 2],
    /// Calls that are held and have not begun.
    not_begun: Cell<usize>,
    sources: Sources,
    order: Rc<Order>,
    pace: RefCell<Pace>,
    heard: Heard,
    is_draining: Cell<bool>,
    /// It is draining from now on.
    drained: Notify,
    /// The record that describes it was removed. Locked while that record is written.
    is_hidden: tokio::sync::Mutex<bool>,
    /// Something may be taken.
    room: Arc<Notify>,
    /// A call is no longer held, or all of its messages have arrived.
    released: Notify,
    /// Something has to be sent, perhaps again.
    unacknowledged: Notify,
    counts: Cell<Drained>,
    has_stopped: Cell<bool>,
    stopped: Notify,
    guards: RefCell<Vec<Guard>>,
    complained: RefCell<BTreeMap<&'static str, Instant>>,
}

/// A node that serves. Dropping it changes nothing.
#[derive(Debug)]
pub(crate) struct Serving {
    id: String,
    reporter: Reporter,
}

/// How long the broker is waited for.
const SERVE_WITHIN: Duration = Duration::from_secs(10);

/// Begins to serve.
pub(super) async fn serve(
    member: &Rc<Member>,
    offer: NodeOffer,
    runner: Arc<dyn Runner>,
) -> Result<Serving, ClusterError> {
    for queue in &offer.queues {
        let opened = member.surely("open a queue", || member.broker.open_queue(queue));
        super::within(SERVE_WITHIN, opened).await?;
    }
    let id: Arc<str> = format!("{:016x}", member.random()).into();
    let node = Rc::new(Node {
        member: member.clone(),
        me: NodeRef { id: id.clone(), name: offer.name.as_str().into() },
        sources: Sources::new(&offer.queues),
        order: Rc::default(),
        pace: RefCell::new(Pace::new(offer.slots as usize, offer.prefetch)),
        offer,
        runner,
        held: RefCell::default(),
        claiming: Default::default(),
        not_begun: Cell::new(0),
        heard: Heard::default(),
        is_draining: Cell::new(false),
        drained: Notify::new(),
        is_hidden: tokio::sync::Mutex::new(false),
        room: Arc::default(),
        released: Notify::new(),
        unacknowledged: Notify::new(),
        counts: Cell::default(),
        has_stopped: Cell::new(false),
        stopped: Notify::new(),
        guards: RefCell::default(),
        complained: RefCell::default(),
    });
    // It can be asked before it holds anything.
    let (of, subject) = (id.clone(), subject(&id));
    let asked = member.listen_to(&subject, move |member, message| {
        if let Some(node) = member.node(&of) {
            control::arrived(&node, message);
        }
    });
    let asked = asked.await;
    let of = id.clone();
    let beats = member.listen_to(presence::BEATS, move |member, message| {
        if let Some(node) = member.node(&of) {
            node.heard_beat(&message.value);
        }
    });
    let beats = beats.await;
    node.guards.borrow_mut().extend([asked, beats]);
    member.nodes.borrow_mut().insert(id.to_string(), node.clone());
    presence::show(&node).await;
    for work in [
        Box::pin(presence::beat(node.clone())) as std::pin::Pin<Box<dyn Future<Output = ()>>>,
        Box::pin(take::take(node.clone())),
        Box::pin(held::keep_deliveries(node.clone())),
        Box::pin(channel::resend(node.clone())),
        Box::pin(channel::look_after_handles(node.clone())),
    ] {
        node.spawn(work);
    }
    Ok(Serving { id: id.to_string(), reporter: member.reporter() })
}

impl Member {
    pub(super) fn node(&self, id: &str) -> Option<Rc<Node>> {
        self.nodes.borrow().get(id).cloned()
    }
}

impl Node {
    /// Runs a future until the node has stopped.
    fn spawn(self: &Rc<Self>, work: impl Future<Output = ()> + 'static) {
        let node = self.clone();
        self.member.spawn(async move {
            let stopped = node.stopped.notified();
            if !node.has_stopped.get() {
                super::either(work, stopped).await;
            }
        });
    }

    fn get(&self, id: TaskId) -> Option<Rc<Held>> {
        self.held.borrow().get(&id).cloned()
    }

    fn lost_after(&self) -> Duration {
        self.member.shared.limits.lost_after
    }

    /// An entry or a record was written by a newer version.
    fn complain_unreadable(&self, error: &super::bytes::Unreadable) {
        if self.complains("unreadable") {
            log!(warn, node = &*self.me.name, %error, "a call can't be read by this node: handed back");
        }
    }

    fn complain_missing(&self, function: &FunctionKey) {
        if self.complains("missing") {
            let (node, function) = (&*self.me.name, &function.name);
            log!(
                warn,
                node,
                function,
                "this node lacks a function of a queue that it serves: the call is handed back"
            );
        }
    }

    /// Returns true once a minute for each kind of complaint.
    fn complains(&self, what: &'static str) -> bool {
        let now = Instant::now();
        let mut complained = self.complained.borrow_mut();
        let is_due = complained.get(what).is_none_or(|at| *at + Duration::from_secs(60) <= now);
        if is_due {
            complained.insert(what, now);
        }
        is_due
    }

    /// The connection is back.
    pub(super) fn reconnected(self: &Rc<Self>) {
        self.heard.begin_anew(Instant::now());
        held::touch_all(self);
        self.member.spawn(loss::verify_held(self.clone()));
        self.room.notify_one();
    }
}

impl Serving {
    /// Returns the id of the node.
    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    /// A slot may be free: the node asks [`Runner::room`].
    pub(crate) fn room_changed(&self) {
        self.with(|node| node.room.notify_one());
    }

    /// Takes no more calls, hands back at once what has not begun, lets the rest end for `limit`, asks
    /// it to stop then, and ends it by force after `grace`. Then the node serves no more.
    pub(crate) fn drain(&self, limit: Duration, grace: Duration) -> Pending<Drained> {
        self.ask(Drained::default, move |node, answer: oneshot::Sender<Drained>| {
            let node = node.clone();
            node.member.clone().spawn(async move {
                _ = answer.send(drain::drain(&node, limit, grace).await);
            });
        })
    }

    fn with(&self, f: impl FnOnce(&Rc<Node>) + Send + 'static) {
        let id = self.id.clone();
        self.reporter.report(move |member| {
            if let Some(node) = member.node(&id) {
                f(&node);
            }
        });
    }

    fn ask<T: Send + 'static>(
        &self,
        gone: fn() -> T,
        f: impl FnOnce(&Rc<Node>, Answer<T>) + Send + 'static,
    ) -> Pending<T> {
        let (answer, pending) = Pending::new(gone);
        self.with(move |node| f(node, answer));
        pending
    }
}
