//! What every task has, whatever its types: identity, state, times, who looks after it.

use std::borrow::Cow;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::Waker;
use std::time::Duration;

use crate::clock::{self, Stamp};
use crate::id::TaskId;
use crate::info::{Progress, TaskInfo, TaskStatus, TaskType};
use crate::priority::Priority;
use crate::sync::Mutex;
use crate::task::channel::AnyLinks;
use crate::task::owners::{self, OwnerKey};
use crate::task::state::{Phase, Snapshot, State};
use crate::task::waiters::{WaiterKey, Waiters};
use crate::task::{AnyTask, Owner, books};

/// See the module's documentation. The plain fields are set while the builder owns the task alone,
/// and never changed after the launch.
pub(crate) struct Header {
    pub(crate) state: State,
    attempt: AtomicU32,
    pub(crate) id: TaskId,
    /// Its id names a slot in the books, which is its own until it goes.
    booked: bool,
    pub(crate) tt: TaskType,
    pub(crate) priority: Priority,
    /// Unless the extras have one.
    name: &'static str,
    queued: AtomicU64,
    started: AtomicU64,
    ended: AtomicU64,
    waiters: Mutex<Waiters>,
    /// Who looks after it; see `task::owners`.
    pub(crate) owner: Option<OwnerKey>,
    /// The place's own note about the task: its ticket in a backlog, or where it was sent. The
    /// place reads and writes it under its own lock.
    pub(crate) mark: AtomicU64,
    extras: OnceLock<Box<Extras>>,
}

/// What only some tasks have.
#[derive(Default)]
pub(crate) struct Extras {
    /// A name that was made at run time.
    pub(crate) name: Option<Box<str>>,
    pub(crate) delay: Option<Duration>,
    pub(crate) timeout: Option<Duration>,
    pub(crate) retries: u32,
    pub(crate) retry_delay: Duration,
    pub(crate) aloop: Option<Cow<'static, str>>,
    pub(crate) links: Option<Arc<dyn AnyLinks>>,
    pub(crate) progress: parking_lot::Mutex<Option<Progress>>,
    /// The worker process that runs it; 0 for none.
    pub(crate) worker_pid: AtomicU32,
    /// The pending entry of a delay in the timer.
    pub(crate) delay_timer: parking_lot::Mutex<Option<crate::timer::TimerKey>>,
    /// The pending entry of the present run's time limit, where the place keeps it here.
    pub(crate) limit_timer: parking_lot::Mutex<Option<crate::timer::TimerKey>>,
}

impl Header {
    #[inline]
    pub(crate) fn new(tt: TaskType) -> Self {
        Header {
            state: State::new(),
            attempt: AtomicU32::new(0),
            id: TaskId::next(),
            booked: false,
            tt,
            priority: Priority::Normal,
            name: "task",
            queued: AtomicU64::new(0),
            started: AtomicU64::new(0),
            ended: AtomicU64::new(0),
            waiters: Mutex::new(Waiters::NONE),
            owner: None,
            mark: AtomicU64::new(0),
            extras: OnceLock::new(),
        }
    }

    #[inline]
    pub(crate) fn name(&self) -> &str {
        self.extras().and_then(|extras| extras.name.as_deref()).unwrap_or(self.name)
    }

    pub(crate) fn set_name(&mut self, name: Cow<'static, str>) {
        match name {
            Cow::Borrowed(name) => {
                self.name = name;
                if let Some(extras) = self.extras.get_mut() {
                    extras.name = None;
                }
            }
            Cow::Owned(name) => self.extras_mut().name = Some(name.into()),
        }
    }

    /// Who looks after the task; `None` for a detached one, and once its supervisor is gone.
    #[inline]
    pub(crate) fn owner(&self) -> Option<Arc<dyn Owner>> {
        owners::get(self.owner?)
    }

    /// What the task has of the rarer things, if anything.
    #[inline]
    pub(crate) fn extras(&self) -> Option<&Extras> {
        self.extras.get().map(|extras| &**extras)
    }

    /// The same, made if need be.
    pub(crate) fn extras_or_new(&self) -> &Extras {
        self.extras.get_or_init(Box::default)
    }

    /// The same, for the builder.
    pub(crate) fn extras_mut(&mut self) -> &mut Extras {
        self.extras.get_or_init(Box::default);
        self.extras.get_mut().expect("made just now")
    }

    #[inline]
    pub(crate) fn links(&self) -> Option<&Arc<dyn AnyLinks>> {
        self.extras()?.links.as_ref()
    }

    #[inline]
    pub(crate) fn timeout(&self) -> Option<Duration> {
        self.extras()?.timeout
    }

    /// The number of the present or last attempt, from 1; 0 before the first.
    #[inline]
    pub(crate) fn attempt(&self) -> u32 {
        self.attempt.load(Ordering::Relaxed)
    }

    /// For a copy of the task in a worker process: it has begun, as this attempt.
    #[cfg(feature = "mp")]
    pub(crate) fn set_begun(&mut self, when: Stamp, attempt: u32) {
        *self.attempt.get_mut() = attempt;
        *self.queued.get_mut() = when;
        *self.started.get_mut() = when;
        self.state.set_started();
    }

    /// Whether more attempts may follow the present one.
    #[inline]
    pub(crate) fn attempts_left(&self) -> bool {
        self.extras().is_some_and(|extras| self.attempt() <= extras.retries)
    }

    /// Gives it an id that can be found in the books.
    #[inline]
    pub(crate) fn reserve_id(&mut self) {
        self.id = books::reserve();
        self.booked = true;
    }

    /// Notes the time of the launch.
    #[inline]
    pub(crate) fn note_queued(&self) {
        self.queued.store(clock::now(), Ordering::Relaxed);
    }

    #[inline]
    pub(crate) fn queued(&self) -> Stamp {
        self.queued.load(Ordering::Relaxed)
    }

    /// When the latest attempt began; 0 if none has.
    #[inline]
    pub(crate) fn started(&self) -> Stamp {
        self.started.load(Ordering::Relaxed)
    }

    #[inline]
    pub(crate) fn ended(&self) -> Stamp {
        self.ended.load(Ordering::Relaxed)
    }

    /// The task is about to run: `Queued` to `Started`. False if it was ended meanwhile.
    #[must_use]
    #[inline]
    pub(crate) fn begin(&self) -> bool {
        self.begin_at(clock::now())
    }

    /// The same, for a run that began at another moment (a worker process tells its own).
    #[must_use]
    #[inline]
    pub(crate) fn begin_at(&self, when: Stamp) -> bool {
        // Attempt and time stand before the phase says that they can be read.
        let attempt = self.attempt.load(Ordering::Relaxed);
        let before = self.started.load(Ordering::Relaxed);
        self.started.store(when.max(self.queued()), Ordering::Relaxed);
        self.attempt.store(attempt + 1, Ordering::Relaxed);
        if self.state.begin() {
            return true;
        }
        self.started.store(before, Ordering::Relaxed);
        self.attempt.store(attempt, Ordering::Relaxed);
        false
    }

    /// Notes the time of the end, before it is published.
    #[inline]
    pub(crate) fn note_ended(&self) {
        let last = self.started().max(self.queued());
        self.ended.store(clock::now_noted().max(last), Ordering::Relaxed);
    }

    /// Adds a waker for the next change (the end, or a request to stop). False if the task has
    /// ended: nothing will change any more.
    #[must_use]
    pub(crate) fn watch(&self, key: WaiterKey, waker: &Waker) -> bool {
        let mut waiters = self.waiters.lock();
        let old = waiters.add(key, waker);
        // Under the lock: a publisher that sees the note waits for the lock and finds the waker;
        // one that does not see it was earlier, and then this reading shows the end.
        let ended = self.state.note_waiter().is_ended();
        let ours = if ended { waiters.remove(key) } else { None };
        drop(waiters);
        drop((old, ours));
        !ended
    }

    /// Takes a waker back.
    pub(crate) fn unwatch(&self, key: WaiterKey) {
        let waker = self.waiters.lock().remove(key);
        drop(waker);
    }

    /// Whether somebody's waker is here.
    #[cfg(test)]
    pub(crate) fn is_watched(&self) -> bool {
        !self.waiters.lock().is_empty()
    }

    /// Wakes all that wait for a change.
    pub(crate) fn wake(&self) {
        let waiters = std::mem::take(&mut *self.waiters.lock());
        waiters.wake();
    }

    /// Holds off whoever would move the result out; see `result_cloned`.
    #[inline]
    pub(crate) fn lock_result(&self) -> impl Drop + '_ {
        self.waiters.lock()
    }

    /// Asks the task to stop: sets the mark and wakes the task where it waits for that.
    pub(crate) fn ask_stop(&self) {
        let somebody_waits = self.state.ask_stop();
        self.tell_stop(somebody_waits);
    }

    /// The mark is set: wakes the task where it waits for that.
    pub(crate) fn tell_stop(&self, somebody_waits: bool) {
        if somebody_waits {
            self.wake();
        }
        if let Some(links) = self.links() {
            links.stop_asked();
        }
    }

    /// The run is over: its time limit no longer counts.
    #[inline]
    pub(crate) fn disarm_limit(&self) {
        let key = self.extras().and_then(|extras| extras.limit_timer.lock().take());
        if let Some(key) = key {
            crate::timer::cancel(key);
        }
    }

    /// How far the task has come.
    pub(crate) fn status(&self) -> TaskStatus {
        self.status_of(self.state.read())
    }

    fn status_of(&self, snapshot: Snapshot) -> TaskStatus {
        match snapshot.phase() {
            // Callbacks of a task that was canceled in the queue.
            Phase::Ending if self.started() == 0 => TaskStatus::Queued,
            _ => snapshot.status(),
        }
    }

    /// All that can be told, in one reading.
    pub(crate) fn info(&self) -> TaskInfo {
        let snapshot = self.state.read();
        let time = |stamp: Stamp| (stamp != 0).then(|| clock::system_time(stamp));
        let started = match snapshot.phase() {
            Phase::New | Phase::Delayed | Phase::Queued => 0,
            _ => self.started(),
        };
        let extras = self.extras();
        let pid = extras.map_or(0, |extras| extras.worker_pid.load(Ordering::Relaxed));
        TaskInfo {
            id: self.id,
            name: self.name().to_owned(),
            tt: self.tt,
            priority: self.priority,
            status: self.status_of(snapshot),
            time_queued: clock::system_time(self.queued()),
            time_started: time(started),
            time_completed: if snapshot.is_ended() { time(self.ended()) } else { None },
            delay: extras.and_then(|extras| extras.delay),
            worker_pid: (pid != 0).then_some(pid),
            progress: extras.and_then(|extras| extras.progress.lock().clone()),
            outcome: snapshot.outcome(),
            attempt: self.attempt(),
        }
    }
}

impl Drop for Header {
    #[inline]
    fn drop(&mut self) {
        if self.booked {
            books::remove(self.id);
        }
    }
}

/// Brings what a place knows better than the header (a worker process's shared page) up to date.
pub(crate) fn refresh(task: &dyn AnyTask) {
    let header = task.header();
    if header.tt == TaskType::Mp
        && let Some(owner) = header.owner()
    {
        owner.refresh(task);
    }
}
