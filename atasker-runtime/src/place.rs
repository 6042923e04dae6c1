//! Places: the interface between tasks and where they run.
//!
//! A supervisor gives each task to a place as a [`Job`]. Whatever happens to the task later (it is
//! asked to stop, a message is queued, a thread waits for it) goes to the same place, which the
//! task finds through its scheduler: see [`Header::with_place`](crate::task::header::Header).

use std::borrow::Cow;
use std::ops::Range;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use crate::error::{KillError, TaskError};
use crate::job::Job;
use crate::limit::{Parked, Reserved};
use crate::observe::observer;
use crate::priority::Priority;
use crate::room::Launcher;
use crate::task::TaskArc;
use crate::task::control::Include;
use crate::task::{AnyTask, current, park};

/// A place where tasks run: the thread pool, the pool of worker processes, or the aloops. Code
/// above a place does not know of threads, sockets or process ids.
///
/// The verbs without a default are what every place must do. The others have a default that suits a
/// place within this process.
pub(crate) trait Place: Send + Sync {
    /// Starts a queued job, now or as soon as it is admitted.
    fn start(&self, job: Job, when_full: WhenFull);

    /// Revokes a task that has not begun. `include` says whether that covers a task that holds a
    /// slot. Returns false if the task has begun or is not here; true means that it never begins.
    fn revoke(&self, task: &dyn AnyTask, include: Include) -> bool;

    /// Ends a running task.
    fn kill(&self, task: &TaskArc) -> Result<(), KillError>;

    /// Returns whether another machine decides what becomes of the task. It is canceled by
    /// [`cancel_elsewhere`](Self::cancel_elsewhere) then, and killed by [`kill`](Self::kill), in
    /// whichever phase it is.
    fn is_elsewhere(&self, task: &dyn AnyTask) -> bool {
        let _ = task;
        false
    }

    /// Requests to cancel a task about which another machine decides, or to stop it if it runs.
    /// `None` for other tasks.
    fn cancel_elsewhere(&self, task: &TaskArc) -> Option<Canceling> {
        let _ = task;
        None
    }

    /// Returns what a queued task waits for, as the end of a sentence: "a slot of the thread pool".
    fn waits_for(&self, task: &dyn AnyTask) -> Cow<'static, str> {
        let _ = task;
        "its start".into()
    }

    /// Forwards a request to stop to a running task.
    fn stop_requested(&self, task: &dyn AnyTask) {
        let _ = task;
    }

    /// Forwards queued messages. Also called when the typed handle was created or dropped, which
    /// the other side must know.
    fn flush_messages(&self, task: &dyn AnyTask) {
        let _ = task;
    }

    /// Called when a message was received from a task's channel on this side.
    fn message_received(&self, task: &dyn AnyTask) {
        let _ = task;
    }

    /// Called when the task has reported progress on this side.
    fn progress_changed(&self, task: &dyn AnyTask) {
        let _ = task;
    }

    /// Returns whether a queued task waits for a slot, or for something before, so that it may not
    /// begin soon.
    fn waits_for_slot(&self, task: &dyn AnyTask) -> bool {
        let _ = task;
        false
    }

    /// Takes back the later half of the items that a chunk of a map has not begun. Returns their
    /// numbers within the chunk, an empty range if none are left. `None` if the chunk has not begun,
    /// or can't be divided.
    fn take_back(&self, task: &dyn AnyTask) -> Option<Range<u32>> {
        let _ = task;
        None
    }

    /// Updates the header of a task with what only the place knows.
    fn refresh(&self, task: &dyn AnyTask) {
        let _ = task;
    }

    /// Called before the caller blocks until this task ends. Spins for a moment if the end can be
    /// observed sooner than the caller could be woken. Returns true if the task has ended.
    fn try_complete(&self, task: &dyn AnyTask) -> bool {
        let _ = task;
        false
    }

    /// Runs a task that is still queued on the calling thread, and returns true, if that is one of
    /// the place. The last resort of a waiter if no thread can be started.
    fn run_inline(&self, task: &TaskArc) -> bool {
        let _ = task;
        false
    }

    /// Reserves a position in the queue for a job that waits for a limit, and counts it as a waiting
    /// one. `has_room` says whether the limit has room, so that the job waits for a slot at most.
    ///
    /// # Errors
    ///
    /// Returns the error with which the job is to end, or `None` if its task has ended meanwhile.
    fn reserve(
        &self,
        job: &Job,
        when_full: WhenFull,
        has_room: bool,
    ) -> Result<Reserved, Option<TaskError>> {
        let _ = (job, when_full, has_room);
        Ok(Reserved::default())
    }

    /// Ends the reservation of a job that was revoked.
    fn unreserve(&self, priority: Priority, reserved: Reserved) {
        let _ = (priority, reserved);
    }

    /// Queues a job whose limit has room. The place calls [`limit::admit`](crate::limit::admit)
    /// when it has a slot for the job.
    fn enqueue_parked(&self, parked: Parked) {
        self.start(parked.job, WhenFull::Pass);
    }

    /// Finds out how a task can be launched without blocking. The task was not launched: only its
    /// priority and its arguments matter. Pending while the queue is full and its rule is to block;
    /// the launcher then waits in the waiting room, until it is polled again or
    /// [leaves](Self::leave_room).
    fn poll_room(
        &self,
        task: &dyn AnyTask,
        launcher: Launcher,
        context: &mut Context<'_>,
    ) -> Poll<Room> {
        let _ = (task, launcher, context);
        Poll::Ready(Room::ByRule)
    }

    /// Removes a launcher from the waiting room.
    fn leave_room(&self, launcher: Launcher) {
        let _ = launcher;
    }

    /// Ends a reservation: its task is in the queue by now, or will not be launched.
    fn end_reservation(&self, bytes: u64) {
        let _ = bytes;
    }

    /// Wakes all launchers in the waiting room, because the supervisor accepts no more launches.
    fn wake_launchers(&self) {}

    /// Starts what is to be started eagerly.
    fn open(&self) {}

    /// Ends the running tasks and the place itself. Running tasks that can't be ended are
    /// abandoned. Queued tasks were ended before.
    fn close(&self, closing: &Closing<'_>);
}

/// How a supervisor closes its places.
#[derive(Default)]
pub(crate) struct Closing<'a> {
    /// Tasks that have requested the stop and still run. An aloop is closed after them, because it
    /// would drop them.
    pub(crate) callers: &'a [TaskArc],
    /// When what has not ended by itself is killed. `None` for the default of the place.
    pub(crate) deadline: Option<Instant>,
}

/// A request to cancel a task about which another machine decides.
pub(crate) struct Canceling {
    /// Whether the task was canceled, and never runs again. Dropping this changes nothing.
    pub(crate) answer: Pin<Box<dyn Future<Output = bool> + Send>>,
    /// Whether the calling thread may block until there is an answer.
    pub(crate) may_wait: bool,
}

/// How to launch a task without blocking: see [`Place::poll_room`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Room {
    /// As the rule of the queue says, which does not block this launch.
    ByRule,
    /// With [`WhenFull::Reserved`], because a place in the queue is reserved for it, with this many bytes,
    /// until [`Place::end_reservation`].
    Reserved { bytes: u64 },
}

/// What a launch does when the queue of its place is full.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum WhenFull {
    /// Follows the overflow rule, which may block the launcher.
    Wait,
    /// Follows the overflow rule, except that a launcher that can't block is admitted.
    NoWait,
    /// Admits the task, because its room is reserved.
    Reserved,
    /// Admits the task, which is the run of a background worker: there is at most one such task.
    Pass,
}

impl WhenFull {
    /// Returns whether the task is admitted whatever the rule is.
    pub(crate) fn passes(self) -> bool {
        matches!(self, WhenFull::Reserved | WhenFull::Pass)
    }

    /// Returns whether the launching thread may be blocked: not within a task, on an aloop, or in an
    /// observer.
    pub(crate) fn may_wait(self) -> bool {
        self == WhenFull::Wait
            && !park::on_aloop_thread()
            && current::with(|task| task.is_none())
            && !observer::is_inside()
    }
}

/// Warns, once per program, that a launch blocks a thread of a tokio runtime. Call without any
/// lock.
pub(crate) fn warn_of_a_blocked_runtime() {
    #[cfg(feature = "async")]
    {
        use std::sync::atomic::{AtomicBool, Ordering};
        static SAID: AtomicBool = AtomicBool::new(false);
        if SAID.load(Ordering::Relaxed)
            || crate::task::tokio_thread::may_block()
            || SAID.swap(true, Ordering::Relaxed)
        {
            return;
        }
        crate::unwind::log!(
            warn,
            "a launch waits for room in a full queue on a thread of a tokio runtime, which blocks \
             everything else on that thread: use `start_async().await`, launch within \
             `spawn_blocking` or `block_in_place`, or let the queue reject tasks \
             (`Overflow::Reject`). This warning is logged once"
        );
    }
}
