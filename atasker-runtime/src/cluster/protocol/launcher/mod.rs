//! A member as a launcher: the calls that it has made, and those that it has attached to.
//!
//! The way of a call, in order: [`submit`] stores it; [`calls`] hears what becomes of it, from the
//! writes to its record; [`messages`] carries what travels between task and handle meanwhile;
//! [`verbs`] are stop, cancel and kill; [`expiry`] watches the time; [`attach`] joins calls of others.

pub(super) mod attach;
mod calls;
pub(super) mod expiry;
pub(super) mod messages;
mod submit;
pub(super) mod unique;
pub(super) mod verbs;

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::{Notify, OnceCell};
use tokio::time::Instant;

use self::messages::Channel;
use super::member::Member;
use crate::cluster::broker::Guard;
use crate::cluster::door::{CallEnd, CallEvent, CallHead, CallSink, NewCall};
use crate::cluster::error::ClusterError;
use crate::error::TaskError;
use crate::id::TaskId;
use crate::unwind::guarded;

/// Calls that are being stored at the same time.
const WINDOW: usize = 2_048;

/// A call that was launched, and its arguments.
type Unsent = (Rc<Call>, Arc<[u8]>);

/// See the [module documentation](self).
#[derive(Debug)]
pub(super) struct Launcher {
    calls: RefCell<BTreeMap<TaskId, Rc<Call>>>,
    /// Calls that are being stored for others, and are not followed here.
    launching: RefCell<BTreeSet<TaskId>>,
    /// A watch of the records for each origin of ids, of which there is one in most processes.
    watches: RefCell<BTreeMap<u64, Rc<OnceCell<Guard>>>>,
    /// Calls that wait until fewer are being stored, with their arguments, in the order of their launch.
    waiting: RefCell<VecDeque<Unsent>>,
    /// How many calls are being stored.
    storing: Cell<usize>,
    /// The calls that are not stored yet, by the order of their launch.
    unstored: RefCell<BTreeSet<u64>>,
    launched: Cell<u64>,
    stored: Notify,
    deadlines: expiry::Deadlines,
    /// Calls with items that have not arrived.
    unacknowledged: RefCell<BTreeSet<TaskId>>,
    has_unacknowledged: Notify,
}

/// A call that this member launched or has attached to.
pub(super) struct Call {
    pub(super) head: CallHead,
    sinks: RefCell<Vec<Arc<dyn CallSink>>>,
    /// The number of the last write to its record that was heard of.
    last_write: Cell<u64>,
    progress: RefCell<Progress>,
    /// It was handed over to the broker, or belongs to another member.
    is_sent: Cell<bool>,
    has_ended: Cell<bool>,
    /// Its place among those that are not stored yet, and the length of its arguments.
    unstored: Cell<Option<(u64, usize)>>,
    deadline: Cell<Option<Instant>>,
    /// When it expires, unless a run has begun.
    expires_at: Cell<Option<Instant>>,
    channel: RefCell<Channel>,
    /// The watch of its record, if that is not among those of its origin.
    watch: RefCell<Option<Guard>>,
}

/// See [`Launcher::launching`].
#[derive(Debug)]
pub(super) struct Launching<'a> {
    launcher: &'a Launcher,
    id: TaskId,
}

impl Drop for Launching<'_> {
    fn drop(&mut self) {
        self.launcher.launching.borrow_mut().remove(&self.id);
    }
}

/// What is known of a call.
#[derive(Clone, Debug)]
enum Progress {
    Submitted,
    Stored,
    Running(CallEvent),
    Waiting(CallEvent),
    Ended,
}

impl std::fmt::Debug for Call {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Call").field("id", &self.head.id).finish_non_exhaustive()
    }
}

impl Launcher {
    pub(super) fn new() -> Launcher {
        Launcher {
            calls: RefCell::default(),
            launching: RefCell::default(),
            watches: RefCell::default(),
            waiting: RefCell::default(),
            storing: Cell::new(0),
            unstored: RefCell::default(),
            launched: Cell::new(0),
            stored: Notify::new(),
            deadlines: expiry::Deadlines::default(),
            unacknowledged: RefCell::default(),
            has_unacknowledged: Notify::new(),
        }
    }

    pub(super) fn submit(&self, member: &Rc<Member>, new: NewCall, sink: Arc<dyn CallSink>) {
        let NewCall { head, args } = new;
        let call = self.add(head, sink);
        let number = self.launched.get();
        self.launched.set(number + 1);
        self.unstored.borrow_mut().insert(number);
        call.unstored.set(Some((number, args.len())));
        self.waiting.borrow_mut().push_back((call, args));
        self.store_next(member);
    }

    /// Begins to store calls that wait, as far as there is room for more tasks that do so. Each has one,
    /// which is much larger than a call that waits.
    fn store_next(&self, member: &Rc<Member>) {
        while self.storing.get() < WINDOW {
            let Some((call, args)) = self.waiting.borrow_mut().pop_front() else { return };
            if call.has_ended() {
                continue;
            }
            self.storing.set(self.storing.get() + 1);
            let of = member.clone();
            member.spawn(async move {
                submit::submit(&of, &call, &args).await;
                of.launcher.storing.set(of.launcher.storing.get() - 1);
                of.launcher.store_next(&of);
            });
        }
    }

    fn add(&self, head: CallHead, sink: Arc<dyn CallSink>) -> Rc<Call> {
        let id = head.id;
        let call = Rc::new(Call {
            head,
            sinks: RefCell::new(vec![sink]),
            last_write: Cell::new(0),
            progress: RefCell::new(Progress::Submitted),
            is_sent: Cell::new(false),
            has_ended: Cell::new(false),
            unstored: Cell::new(None),
            deadline: Cell::new(None),
            expires_at: Cell::new(None),
            channel: RefCell::default(),
            watch: RefCell::default(),
        });
        self.calls.borrow_mut().insert(id, call.clone());
        call
    }

    pub(super) fn get(&self, id: TaskId) -> Option<Rc<Call>> {
        self.calls.borrow().get(&id).cloned()
    }

    /// Returns whether a call is followed here, or is about to be stored.
    pub(super) fn has(&self, id: TaskId) -> bool {
        self.calls.borrow().contains_key(&id) || self.launching.borrow().contains(&id)
    }

    /// Records that a call is being stored that is not followed here, until the guard is dropped.
    pub(super) fn launching(&self, id: TaskId) -> Launching<'_> {
        self.launching.borrow_mut().insert(id);
        Launching { launcher: self, id }
    }

    pub(super) fn is_idle(&self) -> bool {
        self.calls.borrow().is_empty()
    }

    /// Waits until all calls that were launched before are stored, or have ended.
    pub(super) async fn flush(&self, limit: Duration) -> Result<(), ClusterError> {
        let before = self.launched.get();
        let all = async {
            loop {
                let stored = self.stored.notified();
                if self.unstored.borrow().first().is_none_or(|first| *first >= before) {
                    return;
                }
                stored.await;
            }
        };
        tokio::time::timeout(limit, all).await.map_err(|_| ClusterError::Unreachable {
            detail: format!(
                "{} call(s) are not stored after {limit:?}",
                self.unstored.borrow().range(..before).count()
            ),
        })
    }

    /// The call is stored, or has ended: it is no longer pending.
    fn no_longer_pending(&self, member: &Member, call: &Call) {
        let Some((number, bytes)) = call.unstored.take() else { return };
        self.unstored.borrow_mut().remove(&number);
        self.stored.notify_waiters();
        member.shared.pending_bytes.fetch_sub(bytes, Ordering::SeqCst);
        member.shared.room_changed();
    }

    fn end(&self, member: &Member, call: &Call, end: CallEnd) {
        if call.has_ended.replace(true) {
            return;
        }
        self.calls.borrow_mut().remove(&call.head.id);
        self.unacknowledged.borrow_mut().remove(&call.head.id);
        self.deadlines.set(call, None);
        *call.progress.borrow_mut() = Progress::Ended;
        self.no_longer_pending(member, call);
        call.watch.take();
        call.tell(CallEvent::Ended(end));
        let sinks = call.sinks.take();
        guarded(|| drop(sinks));
    }

    fn fail(&self, member: &Member, call: &Call, error: TaskError) {
        self.end(member, call, CallEnd { outcome: Err(error), attempt: 0, losses: 0, node: None });
    }

    /// The session has ended: nothing more will be heard of any call.
    pub(super) fn end_all(&self, member: &Member) {
        loop {
            let first = self.calls.borrow().first_key_value().map(|(_, call)| call.clone());
            let Some(call) = first else { return };
            self.fail(member, &call, TaskError::Cluster(ClusterError::Closed));
        }
    }
}

impl Call {
    pub(super) fn has_ended(&self) -> bool {
        self.has_ended.get()
    }

    /// Tells all sinks, of which there is nearly always one: it gets the event itself.
    fn tell(&self, event: CallEvent) {
        let count = self.sinks.borrow().len();
        let sink = |at: usize| self.sinks.borrow().get(at).cloned();
        for at in 1..count {
            if let Some(sink) = sink(at) {
                guarded(|| sink.event(event.clone()));
            }
        }
        if let Some(sink) = sink(0) {
            guarded(|| sink.event(event));
        }
    }

    /// Tells the sink that was attached last, which receives messages.
    fn tell_latest(&self, event: CallEvent) {
        let latest = self.sinks.borrow().last().cloned();
        if let Some(sink) = latest {
            guarded(|| sink.event(event));
        }
    }
}
