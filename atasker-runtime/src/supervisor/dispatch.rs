//! Dispatch: gives launched tasks to their places.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Duration;

use super::core::{AfterStop, Core, Phase};
use super::inline;
use crate::error::TaskError;
use crate::id::TaskId;
use crate::info::TaskType;
use crate::job::{Job, end_waiting};
use crate::limit;
use crate::observe;
use crate::observe::registry::Observers;
use crate::place::{Place, Room, WhenFull};
use crate::priority::Priority;
use crate::room::Launcher;
use crate::task::body::Once;
use crate::task::cell::Cell;
use crate::task::chained::Ended;
use crate::task::header::Header;
use crate::task::state::{Ending, Phase as TaskPhase};
use crate::task::{AnyTask, Schedule, TaskArc, current, hold};
use crate::time::activity::Until;
use crate::time::source;
use crate::time::timer;

impl Core {
    /// Prepares a launch while the launcher has exclusive access to the task: sets the place, the
    /// id and the time, and changes the phase to queued.
    pub(crate) fn prepare(&self, header: &mut Header) {
        header.reserve_id();
        self.prepare_with_id(header);
    }

    /// The same for a task whose id was drawn by another process.
    pub(crate) fn prepare_foreign(&self, header: &mut Header, id: TaskId) {
        header.set_foreign_id(id);
        let tt = header.tt;
        self.prepare_with_id(header);
        if tt == TaskType::Remote {
            // A handle of a call that exists already, also inside a worker process.
            header.tt = tt;
        }
    }

    #[inline]
    fn prepare_with_id(&self, header: &mut Header) {
        if matches!(header.tt, TaskType::Mp | TaskType::Remote) {
            header.tt = effective(header.tt);
        }
        self.assign(header);
        header.record_queued();
        header.state.set_launched(match delay_of(header) {
            Some(_) => TaskPhase::Delayed,
            None => TaskPhase::Queued,
        });
    }

    /// Finds out how a task can be launched without blocking, before it is launched. See
    /// [`Place::poll_room`].
    pub(crate) fn poll_room(
        &self,
        task: &dyn AnyTask,
        launcher: Launcher,
        context: &mut Context<'_>,
    ) -> Poll<Room> {
        let header = task.header();
        let is_refused = match self.phase() {
            Phase::Idle | Phase::Active => false,
            Phase::Draining => !self.is_called_from_own_task(),
            Phase::Stopped => true,
        };
        if is_refused || delay_of(header).is_some() {
            // It ends at once, or waits for its delay first.
            return Poll::Ready(Room::ByRule);
        }
        self.queue_of(header.tt).poll_room(task, launcher, context)
    }

    /// Removes a launcher that waits for room.
    pub(crate) fn leave_room(&self, tt: TaskType, launcher: Launcher) {
        self.queue_of(tt).leave_room(launcher);
    }

    /// Ends a reservation that `poll_room` has returned.
    pub(crate) fn end_reservation(&self, tt: TaskType, bytes: u64) {
        self.queue_of(tt).end_reservation(bytes);
    }

    /// Has launchers that wait for room check again, because launches from outside are refused from
    /// now on.
    pub(super) fn wake_launchers(&self) {
        self.places().for_each(Place::wake_launchers);
    }

    /// Returns the place of a task that was not launched.
    fn queue_of(&self, tt: TaskType) -> &dyn Place {
        self.place(effective(tt))
    }

    /// Makes the task one of this supervisor.
    fn assign(&self, header: &mut Header) {
        header.scheduler = Some(self.key);
    }

    /// Assigns a task that ends without being launched.
    pub(crate) fn reject(&self, header: &mut Header) {
        self.assign(header);
        self.counters.record_launch();
        self.counters.record_rejection();
    }

    /// Launches a prepared task.
    pub(crate) fn launch(&self, task: TaskArc, when_full: WhenFull) {
        if observe::is_on() {
            // As the last call, and with a copy of the code, so that it takes no registers from the
            // usual case.
            return self.launch_observed(task, when_full);
        }
        self.accept(task, when_full, insert, Self::enqueue);
    }

    #[cold]
    fn launch_observed(&self, task: TaskArc, when_full: WhenFull) {
        observe::launched(&task);
        if inline::runs(when_full) {
            return self.accept(task, when_full, insert, Self::run_inline);
        }
        hold::on_launch(task.header(), when_full);
        self.accept(task, when_full, insert, Self::enqueue_observed);
    }

    /// Launches a task that was prepared by [`prepare_foreign`](Self::prepare_foreign). It never
    /// waits for room in a queue, and never runs within its launch.
    #[cold]
    pub(crate) fn launch_foreign(&self, task: TaskArc) {
        observe::launched(&task);
        hold::on_launch(task.header(), WhenFull::Pass);
        let insert = |header: &Header, task: &TaskArc| {
            if let Some(entry) = header.extras().and_then(|extras| extras.foreign.as_ref()) {
                entry.insert(task);
            }
        };
        self.accept(task, WhenFull::Pass, insert, Self::enqueue_observed);
    }

    #[inline]
    fn accept(
        &self,
        task: TaskArc,
        when_full: WhenFull,
        insert: impl FnOnce(&Header, &TaskArc),
        enqueue: impl FnOnce(&Self, TaskArc, WhenFull),
    ) {
        let header = task.header();
        insert(header, &task);
        self.counters.record_launch();
        if !self.admits() {
            // Not counted in the report of a stop.
            self.counters.record_rejection();
            return end_waiting(task, TaskError::SupervisorStopped);
        }
        match header.extras() {
            None => enqueue(self, task, when_full),
            Some(_) => self.accept_with_extras(task, when_full, enqueue),
        }
    }

    /// Goes on with an accepted launch of a task that may have a delay or policies.
    fn accept_with_extras(
        &self,
        task: TaskArc,
        when_full: WhenFull,
        enqueue: impl FnOnce(&Self, TaskArc, WhenFull),
    ) {
        // The key of a remote task holds in its whole cluster, which claims it.
        let elsewhere = task.header().tt == TaskType::Remote && !inline::is_active();
        if !elsewhere && let Err(refused) = self.unique.claim(&task) {
            self.counters.record_rejection();
            return end_waiting(task, refused.into());
        }
        match delay_of(task.header()) {
            Some(delay) => self.enqueue_after(task, delay),
            None => self.enqueue_expiring(task, |task| enqueue(self, task, when_full)),
        }
    }

    /// Returns whether a launch is accepted now. The first launch starts the supervisor.
    pub(super) fn admits(&self) -> bool {
        match self.phase() {
            Phase::Active => true,
            // One of several concurrent first launches starts it, then it is active for all of
            // them.
            Phase::Idle => {
                self.activate(AfterStop::StayStopped);
                self.admits()
            }
            Phase::Draining => self.is_called_from_own_task(),
            Phase::Stopped => false,
        }
    }

    /// Returns whether the calling code runs in a task of this supervisor.
    pub(super) fn is_called_from_own_task(&self) -> bool {
        current::with(|header| header.is_some_and(|header| header.scheduler == Some(self.key)))
    }

    /// Queues the task after `delay`.
    fn enqueue_after(&self, task: TaskArc, delay: Duration) {
        let state = &task.header().state;
        if state.read().phase() == TaskPhase::Delayed && inline::is_active() {
            // Launched by this thread just now.
            if state.queue() {
                self.run_inline(task, WhenFull::NoWait);
            }
            return;
        }
        let weak_self = self.weak_self.clone();
        let job = Job::new(task.clone());
        // Until the timer is set. The action may count the task again.
        let held = hold::take(task.header());
        let owner = Some(self.key);
        let key = source::at(owner, source::after(owner, delay), move || {
            // If the task was ended meanwhile, dropping the job has no effect.
            let task = job.into_task();
            match weak_self.upgrade() {
                Some(core) if task.header().state.queue() => {
                    hold::hold(task.header(), Until::Ended);
                    core.enqueue_expiring(task, |task| {
                        core.enqueue_observed(task, WhenFull::NoWait);
                    });
                }
                Some(_) => {}
                None => end_waiting(task, TaskError::SupervisorStopped),
            }
        });
        drop(held);
        let header = task.header();
        *header.extras_or_new().delay_timer.lock() = Some(key);
        if !timer::is_running() {
            // Possibly no later call tries again, so fail instead of waiting forever.
            end_waiting(
                task.clone(),
                TaskError::not_started(
                    "could not start the timer thread: check the limits on threads and memory",
                ),
            );
        }
        if !matches!(header.state.read().phase(), TaskPhase::Delayed | TaskPhase::Retrying) {
            // Ended before the entry could be canceled, or due already.
            timer::cancel(key);
        }
    }

    /// The same as `enqueue`, in case anything observes the task.
    fn enqueue_observed(&self, task: TaskArc, when_full: WhenFull) {
        observe::queued(&task);
        self.enqueue(task, when_full);
    }

    /// Gives a queued task to its place.
    #[inline]
    fn enqueue(&self, task: TaskArc, when_full: WhenFull) {
        self.alarms.watch(&task);
        if limit::has_limit(task.header()) {
            return limit::enter(task, when_full);
        }
        self.place(task.header().tt).start(Job::new(task), when_full);
    }

    /// Runs something on a pool thread that waits for another machine first, for a few seconds at
    /// most.
    #[cfg(feature = "remote")]
    pub(crate) fn wait_on_pool(&self, run: impl FnOnce() + Send + 'static) {
        self.run_on_pool("tick", Box::new(run));
    }

    /// Runs user code on a pool thread, ahead of everything else and without a slot.
    pub(super) fn run_on_pool(&self, name: &'static str, run: Box<dyn FnOnce() + Send>) {
        if self.threads.is_own_thread() {
            return run();
        }
        let run = match source::busy(Some(self.key), Until::Ended) {
            // An advance of a paused clock waits for it.
            Some(busy) => Box::new(move || {
                let _busy = busy;
                run();
            }),
            None => run,
        };
        if !self.threads.is_open() {
            // After the shutdown: on a dedicated thread or, if none can be started, on this one.
            let run = Arc::new(crate::sync::lock::Mutex::new(Some(run)));
            let taken = Arc::clone(&run);
            let go = move || {
                let run = taken.lock().take();
                if let Some(run) = run {
                    run();
                }
            };
            if std::thread::Builder::new().name(name.to_owned()).spawn(go.clone()).is_err() {
                go();
            }
            return;
        }
        let mut header = Header::new(TaskType::Thread, TaskId::next());
        header.set_name(name.into());
        header.priority = Priority::Critical;
        header.record_queued();
        if header.state.launch(TaskPhase::Queued) {
            let run = self.threads.internal(run);
            let body = Once(Some(move |_: &TaskArc| run()));
            let task = Cell::<(), _>::allocate(header, body, ()).erase();
            self.threads.start(Job::new(task), WhenFull::NoWait);
        }
    }
}

/// Inserts a task into the task table.
#[inline]
fn insert(header: &Header, task: &TaskArc) {
    header.enter_table(task);
}

/// Returns where tasks of this type run in this process. Inside a worker process that is on its own
/// threads, because worker processes start no worker processes.
#[inline]
fn effective(tt: TaskType) -> TaskType {
    match tt {
        TaskType::Mp | TaskType::Remote if crate::process::in_worker() => TaskType::Thread,
        other => other,
    }
}

/// Returns the delay of a new task.
fn delay_of(header: &Header) -> Option<Duration> {
    header.extras().and_then(|extras| extras.delay).filter(|delay| !delay.is_zero())
}

impl Schedule for Core {
    fn ended(&self, task: &Header, ending: Ending) {
        self.task_ended(task.tt, ending);
    }

    fn observers(&self) -> Option<&Arc<Observers>> {
        Some(&self.observers)
    }

    fn run_callbacks(&self, run: Box<dyn FnOnce() + Send>) {
        if inline::is_active() {
            return run();
        }
        self.run_on_pool("callback", run);
    }

    fn retry(&self, task: TaskArc, pause: Duration) {
        // The place has dropped the task, and does not know it until it is started there again.
        task.header().place_tag.store(0, Ordering::Relaxed);
        if inline::is_running(task.header().id()) {
            // Its launch makes the next attempt.
            return;
        }
        // Always through the timer, because the caller may hold locks of the place.
        self.enqueue_after(task, pause);
    }

    fn place(&self, tt: TaskType) -> &dyn Place {
        match tt {
            TaskType::Thread => &self.threads,
            TaskType::Mp => &*self.processes,
            TaskType::Async => &self.aloops,
            TaskType::Remote => &self.remote,
        }
    }

    fn prepare_chained(&self, header: &mut Header) -> bool {
        self.assign(header);
        header.reserve_id();
        header.record_queued();
        header.state.set_launched(TaskPhase::Delayed);
        true
    }

    fn accept_chained(&self, task: &TaskArc, first: &Header) -> bool {
        observe::launched(task);
        let id = task.header().id();
        task.header().enter_table(task);
        self.counters.record_launch();
        if !self.admits() {
            self.counters.record_rejection();
            return false;
        }
        self.exempt_chained(id, first.id());
        true
    }

    fn queue_chained(&self, job: Job, when: Ended) {
        let task = job.into_task();
        // Unless it was ended meanwhile. Like a task whose delay is over, it does not wait for room:
        // no launcher is there to be blocked.
        if !task.header().state.queue() {
            return;
        }
        if when == Ended::BeforeLaunch && inline::is_active() {
            return self.run_inline(task, WhenFull::NoWait);
        }
        hold::on_queue(task.header());
        self.enqueue_observed(task, WhenFull::NoWait);
    }
}
