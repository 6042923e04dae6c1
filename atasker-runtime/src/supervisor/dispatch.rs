//! A launched task goes to its place, and what tasks ask of their supervisor goes there, too.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::core::{Core, Phase};
use super::tally::Left;
use crate::clock;
use crate::error::{KillError, TaskError};
use crate::info::TaskType;
use crate::job::{Job, Place, WhenFull, end_waiting};
use crate::priority::Priority;
use crate::task::body::Once;
use crate::task::cell::Cell;
use crate::task::header::Header;
use crate::task::state::{Ending, Phase as TaskPhase};
use crate::task::{AnyTask, Owner, books, current};
use crate::timer;

impl Core {
    /// The last word before a launch, while the task is still the launcher's alone: where it can run,
    /// its id, and that it is queued from now on.
    pub(crate) fn prepare(&self, header: &mut Header) {
        #[cfg(feature = "mp")]
        if header.tt == TaskType::Mp && crate::process::in_worker() {
            // Inside a worker process everything runs on its own threads: processes never multiply.
            header.tt = TaskType::Thread;
        }
        self.own(header);
        header.reserve_id();
        header.note_queued();
        header.state.set_launched(delay_of(header).is_some());
    }

    /// The task is this supervisor's.
    fn own(&self, header: &mut Header) {
        header.owner = Some(self.key);
    }

    /// The same for a task that is about to end unlaunched.
    pub(crate) fn refuse(&self, header: &mut Header) {
        self.own(header);
        self.tally.book();
        self.tally.refuse();
    }

    /// Takes a new task in, which was prepared.
    pub(crate) fn launch(&self, task: Arc<dyn AnyTask>, when_full: WhenFull) {
        let header = task.header();
        books::insert(header.id, &task);
        self.tally.book();
        if !self.admits() {
            // Not one of those that a stop reports on.
            self.tally.refuse();
            return end_waiting(task, TaskError::SupervisorStopped);
        }
        match delay_of(header) {
            Some(delay) => self.later(task, delay),
            None => self.enqueue(task, when_full),
        }
    }

    /// Whether a launch is taken now; the first one starts the supervisor.
    pub(super) fn admits(&self) -> bool {
        match self.phase() {
            Phase::Active => true,
            // Of several first launches one starts it; then it is active for all of them.
            Phase::Idle => {
                self.activate(false);
                self.admits()
            }
            Phase::Draining => self.inside(),
            Phase::Stopped => false,
        }
    }

    /// Whether this code runs in a task of this supervisor.
    pub(super) fn inside(&self) -> bool {
        current::with(|header| header.is_some_and(|header| header.owner == Some(self.key)))
    }

    /// Queues the task after `delay`.
    fn later(&self, task: Arc<dyn AnyTask>, delay: Duration) {
        let me = self.me.clone();
        let job = Job::new(Arc::clone(&task));
        let key = timer::at(clock::after(delay), move || {
            // If the task was ended meanwhile, the job is dropped without effect.
            let task = job.into_task();
            match me.upgrade() {
                Some(core) if task.header().state.queue() => {
                    core.enqueue(task, WhenFull::NoWait);
                }
                Some(_) => {}
                None => end_waiting(task, TaskError::SupervisorStopped),
            }
        });
        let header = task.header();
        *header.extras_or_new().delay_timer.lock() = Some(key);
        if !timer::is_running() {
            // Nobody may ever try again: an error now, and not a wait for good.
            end_waiting(
                Arc::clone(&task),
                TaskError::not_started(
                    "the system gives no thread for the timer: look at the limits of threads and \
                     memory",
                ),
            );
        }
        if !matches!(header.state.read().phase(), TaskPhase::Delayed | TaskPhase::Retrying) {
            // Ended before there was an entry to take back; or it is due already.
            timer::cancel(key);
        }
    }

    /// Gives a queued task to its place.
    fn enqueue(&self, task: Arc<dyn AnyTask>, when_full: WhenFull) {
        self.alarms.watch(&task);
        self.place(task.header().tt).start(Job::new(task), when_full);
    }

    /// Where tasks of this type run.
    fn place(&self, tt: TaskType) -> &dyn Place {
        match tt {
            TaskType::Thread => &self.threads,
            #[cfg(feature = "mp")]
            TaskType::Mp => &*self.processes,
            #[cfg(feature = "async")]
            TaskType::Async => &self.aloops,
            // Without the feature nothing can build such a task.
            #[cfg(not(all(feature = "mp", feature = "async")))]
            _ => &self.threads,
        }
    }

    fn place_of(&self, task: &dyn AnyTask) -> &dyn Place {
        self.place(task.header().tt)
    }

    /// Runs something of the user's on a pool thread, ahead of everything else and without a slot.
    pub(super) fn run_on_pool(&self, name: &'static str, run: Box<dyn FnOnce() + Send>) {
        if self.threads.is_own_thread() {
            return run();
        }
        if !self.threads.is_open() {
            // Past the shutdown: a thread of its own, or, if there is none, right here.
            let run = Arc::new(parking_lot::Mutex::new(Some(run)));
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
        let mut header = Header::new(TaskType::Thread);
        header.set_name(name.into());
        header.priority = Priority::Critical;
        header.note_queued();
        if header.state.launch(false) {
            let body = Once(Some(move |_: &Arc<dyn AnyTask>| run()));
            let task: Arc<dyn AnyTask> = Cell::<(), _>::new(header, body, ());
            self.threads.start(Job::new(task), WhenFull::NoWait);
        }
    }
}

/// How long a new task is to wait before it is queued.
fn delay_of(header: &Header) -> Option<Duration> {
    header.extras().and_then(|extras| extras.delay).filter(|delay| !delay.is_zero())
}

impl Owner for Core {
    fn ended(&self, ending: Ending) {
        self.count_out(if ending.canceled { Left::Canceled } else { Left::Ended });
    }

    fn run_callbacks(&self, run: Box<dyn FnOnce() + Send>) {
        self.run_on_pool("callback", run);
    }

    fn again(&self, task: Arc<dyn AnyTask>) {
        let delay = task.header().extras().map(|extras| extras.retry_delay).unwrap_or_default();
        // Its place has done with it, and will not know it again before it is brought.
        task.header().mark.store(0, Ordering::Relaxed);
        // Always by the timer: whoever settles a run may hold locks of its place.
        self.later(task, delay);
    }

    fn revoke(&self, task: &dyn AnyTask, even_with_slot: bool) -> bool {
        self.place_of(task).revoke(task, even_with_slot)
    }

    fn stop_asked(&self, task: &dyn AnyTask) {
        self.place_of(task).stop_asked(task);
    }

    fn message(&self, task: &dyn AnyTask) {
        self.place_of(task).message(task);
    }

    fn received(&self, task: &dyn AnyTask) {
        self.place_of(task).received(task);
    }

    fn kill(&self, task: &Arc<dyn AnyTask>) -> Result<(), KillError> {
        self.place_of(&**task).kill(task)
    }

    fn refresh(&self, task: &dyn AnyTask) {
        self.place_of(task).refresh(task);
    }

    fn look(&self, task: &dyn AnyTask) -> bool {
        self.place_of(task).look(task)
    }

    fn run_here(&self, task: &Arc<dyn AnyTask>) -> bool {
        task.header().tt == TaskType::Thread && self.threads.run_here(task)
    }
}
