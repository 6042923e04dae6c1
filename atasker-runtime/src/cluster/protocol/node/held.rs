//! The state of a call that a node holds, and how others reach it.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;

use super::Node;
use super::channel::Channel;
use super::order::Turn;
use crate::cluster::broker::{Delivery, DeliveryToken, ReplyTo};
use crate::cluster::door::{RunEnd, RunEvents, RunHandle};
use crate::cluster::protocol::control::{Item, Reply, Verb};
use crate::cluster::protocol::record::CallEntry;
use crate::priority::Priority;
use crate::unwind::attempt;

/// A call that a node holds.
pub(super) struct Held {
    pub(super) entry: CallEntry,
    /// When the entry was appended, by the clock of the broker.
    pub(super) appended: Cell<u64>,
    /// The entry was renewed: the new one waits in the queue, and was not delivered to this node yet.
    pub(super) is_renewed: Cell<bool>,
    /// Distinguishes this claim from all others.
    pub(super) claim: u64,
    stage: Cell<Stage>,
    token: RefCell<DeliveryToken>,
    touched: Cell<Instant>,
    happened: mpsc::UnboundedSender<Happened>,
    pub(super) channel: RefCell<Channel>,
    run: RefCell<Option<Box<dyn RunHandle>>>,
    /// Until it is claimed.
    turn: RefCell<Option<Turn>>,
}

/// How far a call has come at this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// It is about to be claimed.
    Claiming,
    /// It is found out whether the node that holds it is lost.
    Judging,
    /// It was given to the runner, and has not begun.
    Given,
    Begun,
}

/// What happens to a call that is held.
#[derive(Debug)]
pub(super) enum Happened {
    Begun {
        pid: u32,
    },
    Progress {
        done: u64,
        total: u64,
    },
    Text(String),
    Message(Arc<[u8]>),
    Taken(usize),
    Ended(RunEnd, Option<Duration>),
    /// The handle has sent this.
    Arrived(Vec<Item>),
    /// Another member asks for this.
    Asked(Verb, Option<ReplyTo>),
    /// The node is drained: what has not begun goes back.
    HandBack,
    /// The node is drained: what has begun is asked to stop.
    Stop,
    /// The node is drained: the run is ended by force.
    CutOff,
    /// The broker has no record of the call any more.
    Forgotten,
    /// Another node holds the call by now.
    Lost,
}

/// Passes what a run reports to the task that carries the call.
struct Reports {
    happened: mpsc::UnboundedSender<Happened>,
    room: Arc<Notify>,
}

impl Reports {
    /// Reports after the end of the call's stay are dropped.
    fn report(&self, event: Happened) {
        drop(self.happened.send(event));
    }
}

impl RunEvents for Reports {
    fn begun(&self, pid: u32) {
        self.report(Happened::Begun { pid });
    }
    fn progress(&self, done: u64, total: u64) {
        self.report(Happened::Progress { done, total });
    }
    fn text(&self, text: String) {
        self.report(Happened::Text(text));
    }
    fn message(&self, message: Arc<[u8]>) {
        self.report(Happened::Message(message));
    }
    fn taken(&self, count: usize) {
        self.report(Happened::Taken(count));
    }
    fn ended(&self, end: RunEnd, ran_for: Option<Duration>) {
        self.report(Happened::Ended(end, ran_for));
    }
    fn room_changed(&self) {
        self.room.notify_one();
    }
}

impl Held {
    /// Returns the state of a call that was delivered, and what happens to it.
    pub(super) fn new(
        node: &Node,
        entry: CallEntry,
        delivery: &Delivery,
    ) -> (Held, mpsc::UnboundedReceiver<Happened>) {
        let (happened, events) = mpsc::unbounded_channel();
        let claim = node.member.random();
        let held = Held {
            channel: RefCell::new(Channel::new(node, &entry, claim)),
            appended: Cell::new(delivery.entry.time),
            is_renewed: Cell::new(false),
            claim,
            stage: Cell::new(Stage::Claiming),
            token: RefCell::new(delivery.token.clone()),
            touched: Cell::new(Instant::now()),
            happened,
            run: RefCell::new(None),
            turn: RefCell::new(None),
            entry,
        };
        (held, events)
    }

    /// Returns what a run reports to.
    pub(super) fn reports(&self, node: &Node) -> Arc<dyn RunEvents> {
        Arc::new(Reports { happened: self.happened.clone(), room: node.room.clone() })
    }

    pub(super) fn given(&self, run: Box<dyn RunHandle>) {
        *self.run.borrow_mut() = Some(run);
    }

    /// `None` if it is no longer waited for by others.
    pub(super) fn take_turn(&self) -> Option<Turn> {
        self.turn.borrow_mut().take()
    }

    pub(super) fn priority(&self) -> Priority {
        self.entry.head.priority
    }

    pub(super) fn happen(&self, event: Happened) {
        drop(self.happened.send(event));
    }

    pub(super) fn token(&self) -> DeliveryToken {
        self.token.borrow().clone()
    }

    /// The entry was delivered again: that delivery is kept from now on.
    pub(super) fn adopt(&self, node: &Node, token: DeliveryToken) {
        *self.token.borrow_mut() = token;
        self.is_renewed.set(false);
        self.touch(node);
    }

    fn touch(&self, node: &Node) {
        self.touched.set(Instant::now());
        node.member.broker.touch(&self.token.borrow());
    }

    /// `None` if there is no run yet.
    pub(super) fn with_run<T>(&self, f: impl FnOnce(&dyn RunHandle) -> T) -> Option<T> {
        let run = self.run.borrow();
        let run = run.as_deref()?;
        attempt(|| f(run))
    }

    /// Returns whether it was given to the runner.
    pub(super) fn has_run(&self) -> bool {
        self.run.borrow().is_some()
    }

    /// Returns whether the run has not begun, and never will.
    pub(super) fn revoke(&self) -> bool {
        self.with_run(|run| run.revoke()) == Some(true)
    }
}

impl Node {
    /// The call is held from now on.
    pub(super) fn hold(&self, held: &Rc<Held>) {
        self.held.borrow_mut().insert(held.entry.head.id, held.clone());
        *held.turn.borrow_mut() = Some(self.order.enter(held.priority()));
        self.count(held, 1);
    }

    fn count(&self, held: &Held, change: isize) {
        let class = usize::from(held.priority() == Priority::Critical);
        let add = |cell: &Cell<usize>| cell.set(cell.get().wrapping_add_signed(change));
        match held.stage.get() {
            Stage::Claiming => {
                add(&self.claiming[class]);
                add(&self.not_begun);
            }
            Stage::Given => add(&self.not_begun),
            Stage::Judging | Stage::Begun => {}
        }
    }

    pub(super) fn set_stage(&self, held: &Held, stage: Stage) {
        drop(held.take_turn());
        self.count(held, -1);
        held.stage.set(stage);
        self.count(held, 1);
    }

    /// The call is no longer held.
    pub(super) fn release(&self, held: &Held) {
        drop(held.take_turn());
        self.count(held, -1);
        self.held.borrow_mut().remove(&held.entry.head.id);
        self.room.notify_one();
        self.released.notify_waiters();
    }

    /// The call is no longer held, and is delivered again after a pause.
    pub(super) fn hand_back(&self, held: &Held, pause: Duration) {
        self.release(held);
        self.member.broker.nak(&held.token(), pause);
    }

    pub(super) fn reply(&self, to: Option<ReplyTo>, reply: Reply) {
        if let Some(to) = to {
            self.member.broker.reply(&to, reply.encode());
        }
    }
}

/// Keeps the deliveries of all calls that are held for long.
pub(super) async fn keep_deliveries(node: Rc<Node>) {
    let every = node.member.shared.limits.redeliver_after / 3;
    loop {
        tokio::time::sleep(every).await;
        let held: Vec<_> = node.held.borrow().values().cloned().collect();
        for held in held {
            if held.touched.get().elapsed() >= every / 2 {
                held.touch(&node);
            }
        }
    }
}

/// Keeps all deliveries now.
pub(super) fn touch_all(node: &Node) {
    let held: Vec<_> = node.held.borrow().values().cloned().collect();
    for held in held {
        held.touch(node);
    }
}
