//! Taking calls: which queue is asked, when, and for how many.
//!
//! A slot is given to the most urgent call that waits. To find it, the priorities are asked from the
//! top. That would cost a request for each priority that has nothing, so each one is left with a
//! pending request (a *poll*) that the broker answers when something arrives. A pending poll says that
//! the priority is empty. One that was empty within the last second gets a poll without being asked
//! first, unless a less urgent one would be asked meanwhile.
//!
//! So it may happen that more arrives than there is room for. What is too much is handed back at
//! once: it is first in its queue, and a node that has room takes it.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use tokio::time::Instant;

use super::{Node, hold};
use crate::cluster::broker::Delivery;
use crate::cluster::protocol::record::CallEntry;
use crate::priority::Priority;
use crate::unwind::attempt;

/// How long a poll is pending.
const POLL_FOR: Duration = Duration::from_secs(20);

/// How long a queue is taken to be empty that was.
const EMPTY_FOR: Duration = Duration::from_secs(1);

/// A poll that was answered later than this has waited in an empty queue.
const AT_ONCE: Duration = Duration::from_millis(2);

/// Calls that are taken at once.
const BATCH: usize = 256;

/// One priority of one queue.
#[derive(Debug)]
pub(super) struct Source {
    queue: String,
    priority: Priority,
    is_polled: Cell<bool>,
    empty_at: Cell<Option<Instant>>,
}

impl Source {
    /// Returns whether it was empty a moment ago.
    fn was_empty(&self) -> bool {
        self.empty_at.get().is_some_and(|at| at.elapsed() < EMPTY_FOR)
    }
}

/// What a node takes calls from, the most urgent first.
#[derive(Debug)]
pub(super) struct Sources {
    all: Vec<Rc<Source>>,
    queues: usize,
    /// The queue that is asked first, so that each one has its turn.
    turn: Cell<usize>,
}

impl Sources {
    pub(super) fn new(queues: &[String]) -> Sources {
        let source = |priority| {
            move |queue: &String| {
                let queue = queue.clone();
                let (is_polled, empty_at) = (Cell::new(false), Cell::new(None));
                Rc::new(Source { queue, priority, is_polled, empty_at })
            }
        };
        let all =
            Priority::ALL.into_iter().flat_map(|priority| queues.iter().map(source(priority)));
        Sources { all: all.collect(), queues: queues.len().max(1), turn: Cell::new(0) }
    }

    /// Returns whether more urgent calls may be waiting, because a source of them is not polled.
    fn may_have_more_urgent(&self, priority: Priority) -> bool {
        let urgent = self.all.iter().take_while(|source| source.priority > priority);
        urgent.into_iter().any(|source| !source.is_polled.get())
    }

    /// Returns whether a source of this priority can be polled without being asked first: no less
    /// urgent calls would be taken while the poll is on its way.
    fn are_less_urgent_polled(&self, priority: Priority) -> bool {
        self.all.iter().filter(|source| source.priority < priority).all(|s| s.is_polled.get())
    }

    /// Returns the sources in the order in which they are asked now.
    fn in_turn(&self) -> Vec<Rc<Source>> {
        let turn = self.turn.get();
        self.turn.set((turn + 1) % self.queues);
        let mut sources = self.all.clone();
        for of_priority in sources.chunks_mut(self.queues) {
            of_priority.rotate_left(turn);
        }
        sources
    }
}

/// Takes calls whenever there is room.
pub(super) async fn take(node: Rc<Node>) {
    loop {
        let room = node.room.notified();
        while !node.is_draining.get() && ask_all(&node).await {}
        room.await;
    }
}

/// Asks all sources once. Returns whether anything was taken.
async fn ask_all(node: &Rc<Node>) -> bool {
    let mut has_taken = false;
    for source in node.sources.in_turn() {
        let room = node.wants(source.priority);
        if room == 0 || source.is_polled.get() || node.is_draining.get() {
            continue;
        }
        if source.was_empty() && node.sources.are_less_urgent_polled(source.priority) {
            poll(node, &source);
            continue;
        }
        let batch = room.min(BATCH);
        let taken = node.member.broker.pull_now(&source.queue, source.priority, batch).await;
        match taken {
            Ok(deliveries) if deliveries.is_empty() => {
                source.empty_at.set(Some(Instant::now()));
                poll(node, &source);
            }
            Ok(deliveries) => {
                has_taken = true;
                let may_have_more = deliveries.len() >= batch;
                for delivery in deliveries {
                    arrived(node, delivery, true);
                }
                if may_have_more {
                    // Less urgent calls come after the rest of these.
                    return true;
                }
            }
            Err(error) => {
                node.member.trouble("pull", &error);
                poll(node, &source);
            }
        }
    }
    has_taken
}

/// Leaves a request at a source that is answered when something arrives.
fn poll(node: &Rc<Node>, source: &Rc<Source>) {
    source.is_polled.set(true);
    let (of, source) = (node.clone(), source.clone());
    node.spawn(async move {
        let begun = Instant::now();
        let broker = &of.member.broker;
        let taken = broker.pull_next(&source.queue, source.priority, POLL_FOR).await;
        source.is_polled.set(false);
        match taken {
            Ok(Some(delivery)) => {
                let was_empty = begun.elapsed() > AT_ONCE;
                // If a slot has become free while the answer was on its way, it is for more urgent
                // calls first. What is handed back waits there again.
                let has_turn = !of.sources.may_have_more_urgent(source.priority);
                let is_empty = arrived(&of, delivery, has_turn) && was_empty;
                source.empty_at.set(is_empty.then(Instant::now));
            }
            Ok(None) => source.empty_at.set(Some(Instant::now())),
            Err(error) => {
                of.member.trouble("pull", &error);
                source.empty_at.set(None);
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        }
        of.room.notify_one();
    });
}

/// An entry was delivered. Returns whether it is kept, and not handed back. It is handed back if more
/// urgent ones have their turn first.
fn arrived(node: &Rc<Node>, delivery: Delivery, has_turn: bool) -> bool {
    let broker = &node.member.broker;
    let entry = match CallEntry::decode(&delivery.entry.value) {
        Ok(entry) => entry,
        Err(error) => {
            node.complain_unreadable(&error);
            broker.nak(&delivery.token, pause_of(delivery.delivered));
            return false;
        }
    };
    // It comes again while it is held: from now on that delivery is kept.
    if let Some(held) = node.get(entry.head.id) {
        held.adopt(node, delivery.token);
        return true;
    }
    let is_too_much = node.accepts(delivery.entry.key.priority) == 0;
    if node.is_draining.get() || is_too_much || !has_turn {
        broker.nak(&delivery.token, Duration::ZERO);
        return false;
    }
    hold::begin(node, entry, delivery);
    true
}

/// Returns the pause before a call is offered again that could not be used: 1 to 30 s.
pub(super) fn pause_of(delivered: u64) -> Duration {
    let doubled = 1u64 << delivered.saturating_sub(1).min(5);
    Duration::from_secs(doubled.min(30))
}

impl Node {
    /// Returns how many calls of a priority are asked for now.
    fn wants(&self, priority: Priority) -> usize {
        let in_advance = self.pace.borrow().in_advance();
        // Half of it is used up before more is taken, so that calls come in batches.
        let more = if self.not_begun.get() > in_advance / 2 { 0 } else { in_advance };
        self.room(priority, more)
    }

    /// Returns how many calls of a priority are accepted now.
    pub(super) fn accepts(&self, priority: Priority) -> usize {
        self.room(priority, self.pace.borrow().in_advance())
    }

    /// Returns how many calls of a priority there is room for, if `in_advance` calls may be held in advance.
    fn room(&self, priority: Priority, in_advance: usize) -> usize {
        let class = usize::from(priority == Priority::Critical);
        let room = attempt(|| self.runner.room(priority)).unwrap_or(0);
        let room = room.saturating_sub(self.claiming[class].get());
        if priority == Priority::Critical {
            return room;
        }
        room.max(in_advance.saturating_sub(self.not_begun.get()))
    }
}
