//! One run of a call at a node: a task of the node's supervisor, and what the protocol is told of it.
//!
//! The run is the waker of its task: it is woken when the task has ended, and when the task has sent
//! or received a message. What it then has to tell is told by one thread at a time, so that messages
//! keep their order and the end comes last.
//!
//! Commands to the task can run code of the user's, such as a waker of the task. They are left to the
//! thread of the node (see `commands`), because they come from the thread of the cluster.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use super::runner::{Shared, Slot};
use crate::cluster::door::{RunEnd, RunEvents, RunHandle};
use crate::error::TaskError;
use crate::info::{Progress, TaskStatus, TaskType};
use crate::launch::raw::{RawLaunch, RawReply, RawTask};
use crate::sync::lock::Mutex;
use crate::task::channel::{Bytes, Channel};
use crate::task::control::{self, Include};
use crate::task::header::{Header, refresh};
use crate::task::waiters::WaiterKey;
use crate::unwind::log;

/// Begin and progress are told of runs that are this old. Most calls are over by then.
const LOOK_AFTER: Duration = Duration::from_millis(50);

/// See the module documentation.
pub(super) struct Run {
    shared: Arc<Shared>,
    /// Identifies it among those of the node.
    pub(super) number: u64,
    task: RawTask,
    events: Arc<dyn RunEvents>,
    key: WaiterKey,
    turn: Turn,
    /// The end was told, or never will be.
    over: AtomicBool,
    launch: Mutex<Launch>,
    slot: Mutex<Option<Slot>>,
    reported: Mutex<Reported>,
    since: Instant,
}

/// Whether the task was launched. It may be left to the thread of the node.
enum Launch {
    Pending(RawLaunch),
    InProgress,
    Done,
    /// It never is, because the run was revoked.
    Revoked,
}

/// What was told of the run.
#[derive(Default)]
struct Reported {
    begun: bool,
    numbers: (u64, u64),
    text: Option<String>,
}

impl Run {
    pub(super) fn new(
        shared: Arc<Shared>,
        number: u64,
        (task, launch): (RawTask, RawLaunch),
        events: Arc<dyn RunEvents>,
        slot: Slot,
    ) -> Arc<Run> {
        Arc::new(Run {
            shared,
            number,
            task,
            events,
            key: WaiterKey::next(),
            turn: Turn::default(),
            over: AtomicBool::new(false),
            launch: Mutex::new(Launch::Pending(launch)),
            slot: Mutex::new(Some(slot)),
            reported: Mutex::default(),
            since: Instant::now(),
        })
    }

    /// Launches the task, unless the run was revoked.
    pub(super) fn launch(self: &Arc<Self>) {
        // The end of the task wakes the run, whenever it comes.
        self.advance();
        if let Some(launch) = self.take_launch(Launch::InProgress) {
            launch.launch();
            *self.launch.lock() = Launch::Done;
        }
    }

    fn take_launch(&self, next: Launch) -> Option<RawLaunch> {
        let mut launch = self.launch.lock();
        match std::mem::replace(&mut *launch, next) {
            Launch::Pending(pending) => Some(pending),
            other => {
                *launch = other;
                None
            }
        }
    }

    /// Tells what has happened.
    fn advance(self: &Arc<Self>) {
        self.turn.take(|| self.step());
    }

    fn step(self: &Arc<Self>) {
        if self.over.load(Ordering::SeqCst) {
            return;
        }
        let header = self.task.task().header();
        let waker = Waker::from(Arc::clone(self));
        loop {
            if header.state.read().is_ended() {
                return self.finish();
            }
            if let Some((inbox, outbox)) = self.channels() {
                let mut context = Context::from_waker(&waker);
                while let Poll::Ready(message) = outbox.poll_in_flight(self.key, &mut context) {
                    self.events.message(message);
                }
                while let Poll::Ready(count) = inbox.poll_received(self.key, &mut context) {
                    self.events.taken(count);
                }
            }
            if header.watch(self.key, &waker) {
                return;
            }
        }
    }

    /// Tells what is left to be told, and the end.
    fn finish(&self) {
        if let Some((inbox, outbox)) = self.channels() {
            while let Some(message) = outbox.next_in_flight() {
                self.events.message(message);
            }
            if let Some(count) = inbox.take_acks() {
                self.events.taken(count);
            }
        }
        if self.over.swap(true, Ordering::SeqCst) {
            return;
        }
        self.tell_progress();
        let end = match self.task.take() {
            Ok(RawReply { result, is_err }) => RunEnd::Returned { result, is_err },
            Err(error) => RunEnd::Failed(error),
        };
        self.events.ended(end, ran_for(self.task.task().header()));
        self.clean_up();
    }

    /// Gives up the slot, and everything that keeps the run alive. It is over.
    fn clean_up(&self) {
        self.task.task().header().unwatch(self.key);
        if let Some((inbox, outbox)) = self.channels() {
            inbox.unwatch(self.key);
            outbox.unwatch(self.key);
        }
        self.shared.remove(self.number);
        let slot = self.slot.lock().take();
        drop(slot);
    }

    /// Returns the inbox and the outbox of the task.
    fn channels(&self) -> Option<(&Channel<Bytes>, &Channel<Bytes>)> {
        let header = self.task.task().header();
        let channels = header.channels()?;
        Some((channels.inbox_bytes()?, channels.outbox_bytes()?))
    }

    /// Returns whether the run has been there for long enough to be looked at.
    pub(super) fn is_long(&self) -> bool {
        self.since.elapsed() >= LOOK_AFTER
    }

    /// Tells the begin and the progress, as far as they are known. Runs no code of the user's.
    pub(super) fn look(&self) {
        let task = self.task.task();
        refresh(&**task);
        if self.over.load(Ordering::SeqCst) {
            return;
        }
        let header = task.header();
        let pid = match header.tt {
            _ if header.status() != TaskStatus::Started => None,
            TaskType::Thread => Some(std::process::id()),
            _ => header.extras().map(|extras| extras.worker_pid.load(Ordering::Relaxed)),
        };
        let pid = pid.filter(|pid| *pid != 0);
        if let Some(pid) = pid {
            let is_new = !std::mem::replace(&mut self.reported.lock().begun, true);
            if is_new {
                self.events.begun(pid);
            }
        }
        self.tell_progress();
    }

    fn tell_progress(&self) {
        let Some(Progress { done, total, message, .. }) = self.task.task().header().progress()
        else {
            return;
        };
        let (numbers, text) = {
            let mut reported = self.reported.lock();
            let numbers = (reported.numbers != (done, total)).then_some((done, total));
            let text = message.filter(|text| reported.text.as_ref() != Some(text));
            reported.numbers = (done, total);
            if text.is_some() {
                reported.text.clone_from(&text);
            }
            (numbers, text)
        };
        if let Some((done, total)) = numbers {
            self.events.progress(done, total);
        }
        if let Some(text) = text {
            self.events.text(text);
        }
    }

    /// Leaves a command to the thread of the node.
    fn command(self: &Arc<Self>, command: impl FnOnce(&Run) + Send + 'static) {
        if !self.over.load(Ordering::SeqCst) {
            let run = Arc::clone(self);
            self.shared.commands.send(move || command(&run));
        }
    }

    fn flush_messages(&self) {
        let task = self.task.task();
        task.header().with_place(|place| place.flush_messages(&**task));
    }
}

/// Returns how long the function of a task ran that has ended. `None` if it has not begun.
fn ran_for(header: &Header) -> Option<Duration> {
    let started = header.started();
    (started != 0).then(|| Duration::from_nanos(header.ended().saturating_sub(started)))
}

impl Wake for Run {
    fn wake(self: Arc<Self>) {
        self.advance();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.advance();
    }
}

impl RunHandle for Arc<Run> {
    fn stop(&self) {
        self.command(|run| control::stop(run.task.task()));
    }

    fn kill(&self) -> bool {
        if self.task.task().header().tt != TaskType::Mp {
            // Cancels a task that has not begun.
            let is_launched = matches!(*self.launch.lock(), Launch::Done);
            return is_launched && control::kill(self.task.task()).is_ok();
        }
        self.command(|run| {
            if let Err(error) = control::kill(run.task.task()) {
                log!(warn, task = %run.task.task().header().id(), %error, "a run could not be killed");
            }
        });
        true
    }

    fn revoke(&self) -> bool {
        if matches!(*self.launch.lock(), Launch::InProgress) {
            // It may begin at any moment.
            return false;
        }
        // Nothing is told from here on.
        if self.over.swap(true, Ordering::SeqCst) {
            return false;
        }
        let launch = self.take_launch(Launch::Revoked);
        let is_launched = matches!(*self.launch.lock(), Launch::Done);
        let cancel =
            || control::cancel_pending(self.task.task(), TaskError::Canceled, Include::Admitted);
        if launch.is_some() || is_launched && cancel() {
            self.clean_up();
            return true;
        }
        // It has begun, or has ended meanwhile without telling.
        self.over.store(false, Ordering::SeqCst);
        self.advance();
        false
    }

    fn message(&self, message: Arc<[u8]>) {
        self.command(move |run| {
            let Some((inbox, _)) = run.channels() else { return };
            if !inbox.deliver(message, 2) {
                log!(
                    error, task = %run.task.task().header().id(),
                    "a message to the task is dropped: its launcher sends more than it may"
                );
            }
            run.flush_messages();
        });
    }

    fn taken(&self, count: usize) {
        self.command(move |run| {
            let Some((_, outbox)) = run.channels() else { return };
            let _ = outbox.ack(count);
            let task = run.task.task();
            task.header().with_place(|place| place.message_received(&**task));
        });
    }

    fn has_receiver(&self, is_there: bool) {
        self.command(move |run| {
            if let Some(channels) = run.task.channels() {
                channels.set_receiver(is_there);
                run.flush_messages();
            }
        });
    }
}

/// Has something done by one thread at a time, and once more if it was asked for meanwhile.
#[derive(Default)]
struct Turn(AtomicU8);

impl Turn {
    const FREE: u8 = 0;
    const TAKEN: u8 = 1;
    const AGAIN: u8 = 2;

    fn take(&self, mut act: impl FnMut()) {
        if self.0.swap(Self::AGAIN, Ordering::SeqCst) != Self::FREE {
            return;
        }
        loop {
            self.0.store(Self::TAKEN, Ordering::SeqCst);
            act();
            let (from, to) = (Self::TAKEN, Self::FREE);
            if self.0.compare_exchange(from, to, Ordering::SeqCst, Ordering::SeqCst).is_ok() {
                return;
            }
        }
    }
}
