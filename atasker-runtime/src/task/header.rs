//! The part of a task that does not depend on its types: identity, state, times, waiters.

use std::any::Any;
use std::borrow::Cow;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::Waker;
use std::time::Duration;

use crate::fork;
use crate::id::{self, OriginKey, TaskId};
use crate::info::{Progress, TaskInfo, TaskStatus, TaskType};
use crate::limit::{self, Pass};
use crate::observe::spans::TaskSpans;
use crate::observe::watch::Watch;
use crate::place::Place;
use crate::priority::Priority;
use crate::sync::Mutex;
use crate::sys::once::OnceBox;
use crate::sys::static_str::StaticStr;
use crate::task::arc::TaskWeak;
#[cfg(feature = "remote")]
use crate::task::elsewhere::Elsewhere;
use crate::task::endpoint::AnyChannels;
use crate::task::foreign::ForeignEntry;
use crate::task::limit::TimeLimit;
use crate::task::policies::Policies;
use crate::task::scheduler::{self, SchedulerKey};
use crate::task::state::{Phase, Snapshot, State};
use crate::task::waiters::{self, WaiterKey, Waiters};
use crate::task::{AnyTask, Schedule, TaskArc, deadlines, table};
use crate::time::activity::Busy;
use crate::time::clock::{self, Stamp};

/// See the module's documentation. The plain fields are set while the builder has exclusive access,
/// and never change after the launch.
pub(crate) struct Header {
    pub(crate) state: State,
    /// The key of the task's scheduler; see `task::scheduler`.
    pub(crate) scheduler: Option<SchedulerKey>,
    /// The number of the id. Its origin is here by its key, or in `extras` if it has none.
    number: u64,
    origin: OriginKey,
    /// The id contains the index of an entry in the task table, which is freed with this header.
    in_table: bool,
    pub(crate) tt: TaskType,
    pub(crate) priority: Priority,
    /// The time limit of each run, unless it is in `extras`.
    limit: ShortLimit,
    /// The name, unless `extras` has one.
    name: StaticStr,
    queued: AtomicU64,
    started: AtomicU64,
    ended: AtomicU64,
    /// Created by the first thing that waits: few tasks are waited for before they have ended.
    waiters: OnceBox<Mutex<Waiters>>,
    /// A tag for the place of the task: its ticket in a backlog, or where the task was sent. The
    /// place accesses it under its own lock, hence `Relaxed`.
    pub(crate) place_tag: AtomicU64,
    extras: OnceBox<Extras>,
}

/// Data that only some tasks have.
#[derive(Default)]
pub(crate) struct Extras {
    /// A name created at run time.
    pub(crate) name: Option<Box<str>>,
    /// The id, if its origin has no key.
    id: Option<TaskId>,
    /// The time limit of each run, if it has no short form.
    long_limit: Duration,
    /// The number of attempts, less one if `started` is set. Wraps around below 0: another machine
    /// may hand back the first attempt.
    earlier_attempts: AtomicU32,
    /// The `Hooks` of the cell, which knows their type.
    pub(super) hooks: Option<Box<dyn Any + Send + Sync>>,
    pub(crate) delay: Option<Duration>,
    pub(crate) retries: u32,
    pub(crate) retry_delay: Duration,
    pub(crate) aloop: Option<Cow<'static, str>>,
    pub(crate) channels: Option<Arc<dyn AnyChannels>>,
    pub(crate) progress: crate::sync::lock::Mutex<Option<Progress>>,
    /// The process id of the worker process that runs the task; 0 for none.
    pub(crate) worker_pid: AtomicU32,
    /// The timer entry of the delay.
    pub(crate) delay_timer: crate::sync::lock::Mutex<Option<crate::time::timer::TimerKey>>,
    /// The armed time limit of the current run.
    pub(crate) limit: crate::sync::lock::Mutex<Option<TimeLimit>>,
    /// Counts the task as busy, if a test has paused the time of its supervisor.
    pub(crate) hold: crate::sync::lock::Mutex<Option<Busy>>,
    /// The task runs within its launch (`testing::inline`).
    pub(crate) is_inline: AtomicBool,
    /// The spans of the task, as its builder has set them. Taken by the launch.
    pub(crate) spans: crate::sync::lock::Mutex<TaskSpans>,
    /// What was reported about the task, if anything observes it.
    pub(crate) watch: OnceLock<Box<Watch>>,
    /// The limit that the task shares with others.
    pub(crate) pass: Option<Box<Pass>>,
    /// Back-off, expiry, unique key.
    pub(crate) policies: Option<Box<Policies>>,
    /// The entry in the task table, if the id was drawn by another process.
    pub(crate) foreign: Option<Box<ForeignEntry>>,
    /// The task that this one is chained to. Weak, because that one owns its link to this one.
    pub(crate) chained_to: Option<TaskWeak>,
    /// The trace context of the launch on another machine.
    #[cfg(feature = "remote")]
    pub(crate) trace: Option<Box<str>>,
    /// What only a task on another machine has.
    #[cfg(feature = "remote")]
    pub(crate) elsewhere: Option<Box<Elsewhere>>,
    /// What a chunk of a map has done, if its worker process has died.
    #[cfg(feature = "mp")]
    pub(crate) salvaged: crate::sync::lock::Mutex<Option<Box<crate::remote::chunk::Salvaged>>>,
}

/// A time limit in 2 bytes, if it is a number of at most 14 bits of a usual unit.
#[derive(Clone, Copy, PartialEq, Eq)]
struct ShortLimit(u16);

impl ShortLimit {
    const NONE: ShortLimit = ShortLimit(0);
    /// It has no short form.
    const IS_LONG: ShortLimit = ShortLimit(u16::MAX);
    /// The units, in nanoseconds. The largest one first: most limits are whole seconds.
    const UNITS: [u32; 4] = [1_000_000_000, 1_000_000, 1_000, 1];
    /// The numbers are increased by one, so that 0 is none.
    const MAX: u64 = (1 << 14) - 2;

    #[inline]
    fn new(limit: Duration) -> ShortLimit {
        for (code, unit) in (0..).zip(Self::UNITS) {
            let parts = limit.subsec_nanos() / unit;
            let count = limit.as_secs().saturating_mul(u64::from(1_000_000_000 / unit));
            let count = count.saturating_add(parts.into());
            if limit.subsec_nanos().is_multiple_of(unit) && count < Self::MAX {
                return ShortLimit((count as u16 + 1) << 2 | code);
            }
        }
        ShortLimit::IS_LONG
    }

    #[inline]
    fn get(self) -> Duration {
        let (count, code) = ((self.0 >> 2) - 1, self.0 & 0b11);
        Duration::from_nanos(u64::from(count) * u64::from(Self::UNITS[usize::from(code)]))
    }
}

impl Header {
    const DEFAULT_NAME: StaticStr = StaticStr::new("task").expect("it is short");

    /// Creates the header of a task that was not launched. The launch may assign another id.
    #[inline]
    pub(crate) fn new(tt: TaskType, id: TaskId) -> Self {
        let mut header = Header {
            state: State::new(),
            scheduler: None,
            number: 0,
            origin: OriginKey::NONE,
            in_table: false,
            tt,
            priority: Priority::Normal,
            limit: ShortLimit::NONE,
            name: Self::DEFAULT_NAME,
            queued: AtomicU64::new(0),
            started: AtomicU64::new(0),
            ended: AtomicU64::new(0),
            waiters: OnceBox::new(),
            place_tag: AtomicU64::new(0),
            extras: OnceBox::new(),
        };
        if id != TaskId::NONE {
            header.set_id(id);
        }
        header
    }

    #[inline]
    pub(crate) fn id(&self) -> TaskId {
        match TaskId::from_short(self.origin, self.number) {
            Some(id) => id,
            None => self.extras().and_then(|extras| extras.id).unwrap_or(TaskId::NONE),
        }
    }

    #[inline]
    pub(crate) fn set_id(&mut self, id: TaskId) {
        (self.origin, self.number) = id.to_short();
        if self.origin == OriginKey::NONE {
            self.extras_mut().id = Some(id);
        }
    }

    #[inline]
    pub(crate) fn name(&self) -> &str {
        self.extras().and_then(|extras| extras.name.as_deref()).unwrap_or(self.name.get())
    }

    /// Returns the name if it was not created at run time.
    #[cfg(any(feature = "metrics", feature = "dashboard"))]
    pub(crate) fn static_name(&self) -> Option<&'static str> {
        match self.extras().and_then(|extras| extras.name.as_ref()) {
            Some(_) => None,
            None => Some(self.name.get()),
        }
    }

    /// Sets the name and the priority of another task.
    pub(crate) fn set_like(&mut self, other: &Header) {
        self.priority = other.priority;
        self.set_name(match other.extras().and_then(|extras| extras.name.as_ref()) {
            Some(name) => Cow::Owned(name.to_string()),
            None => Cow::Borrowed(other.name.get()),
        });
    }

    #[inline]
    pub(crate) fn set_name(&mut self, name: Cow<'static, str>) {
        if let Cow::Borrowed(text) = name
            && let Some(short) = StaticStr::new(text)
        {
            self.name = short;
            if let Some(extras) = self.extras.get_mut() {
                extras.name = None;
            }
        } else {
            self.extras_mut().name = Some(name.into());
        }
    }

    /// Returns the scheduler of the task. `None` for a detached task, and once the supervisor is
    /// gone.
    #[inline]
    pub(crate) fn scheduler(&self) -> Option<Arc<dyn Schedule>> {
        scheduler::get(self.scheduler?)
    }

    /// Calls `f` with the place of the task. Returns `None` if the task has no scheduler, or no
    /// longer one.
    #[inline]
    pub(crate) fn with_place<T>(&self, f: impl FnOnce(&dyn Place) -> T) -> Option<T> {
        let scheduler = self.scheduler()?;
        Some(f(scheduler.place(self.tt)))
    }

    /// Returns the extras if the task has any.
    #[inline]
    pub(crate) fn extras(&self) -> Option<&Extras> {
        self.extras.get()
    }

    /// Returns the extras, creating them if necessary.
    pub(crate) fn extras_or_new(&self) -> &Extras {
        self.extras.get_or_init(Extras::default)
    }

    /// Returns the extras for the builder, creating them if necessary.
    pub(crate) fn extras_mut(&mut self) -> &mut Extras {
        self.extras.get_or_init(Extras::default);
        self.extras.get_mut().expect("initialized above")
    }

    /// Returns the extras for writing if the task has any.
    pub(super) fn extras_if_any(&mut self) -> Option<&mut Extras> {
        self.extras.get_mut()
    }

    #[inline]
    pub(crate) fn channels(&self) -> Option<&Arc<dyn AnyChannels>> {
        self.extras()?.channels.as_ref()
    }

    #[inline]
    pub(crate) fn timeout(&self) -> Option<Duration> {
        match self.limit {
            ShortLimit::NONE => None,
            ShortLimit::IS_LONG => self.extras().map(|extras| extras.long_limit),
            short => Some(short.get()),
        }
    }

    /// Sets the time limit of each run.
    #[inline]
    pub(crate) fn set_timeout(&mut self, limit: Option<Duration>) {
        self.limit = limit.map_or(ShortLimit::NONE, ShortLimit::new);
        if self.limit == ShortLimit::IS_LONG {
            self.extras_mut().long_limit = limit.unwrap_or_default();
        }
    }

    /// Returns the number of the current or last attempt, starting at 1; 0 before the first.
    #[inline]
    pub(crate) fn attempt(&self) -> u32 {
        self.earlier_attempts().wrapping_add(u32::from(self.started() != 0))
    }

    fn earlier_attempts(&self) -> u32 {
        self.extras().map_or(0, |extras| extras.earlier_attempts.load(Ordering::Relaxed))
    }

    /// Sets the number of attempts before the latest one, or before the first one here.
    #[cold]
    pub(crate) fn set_earlier_attempts(&self, attempts: u32) {
        self.extras_or_new().earlier_attempts.store(attempts, Ordering::Relaxed);
    }

    #[inline]
    pub(crate) fn policies(&self) -> Option<&Policies> {
        self.extras()?.policies.as_deref()
    }

    /// Returns the policies for the builder, creating them if necessary.
    pub(crate) fn policies_mut(&mut self) -> &mut Policies {
        self.extras_mut().policies.get_or_insert_default()
    }

    /// Returns the pause before the attempt that follows the current one. It may be random, so each
    /// call may return another one.
    pub(crate) fn retry_pause(&self) -> Duration {
        let Some(extras) = self.extras() else { return Duration::ZERO };
        let backoff = extras.policies.as_ref().and_then(|policies| policies.backoff);
        backoff.map_or(extras.retry_delay, |backoff| backoff.pause(self.attempt()))
    }

    /// Marks the copy of a task in a worker process as started, as attempt number `attempt`.
    #[cfg(feature = "mp")]
    pub(crate) fn set_started(&mut self, when: Stamp, attempt: u32) {
        *self.queued.get_mut() = when;
        *self.started.get_mut() = when;
        self.set_attempt(attempt);
        self.state.set_started();
    }

    /// Returns what only a task on another machine has.
    #[cfg(feature = "remote")]
    pub(crate) fn elsewhere(&self) -> Option<&Elsewhere> {
        self.extras()?.elsewhere.as_deref()
    }

    /// Begins a run on another machine, or records that another run has begun there. Returns false
    /// if the task was ended meanwhile.
    #[cfg(feature = "remote")]
    #[must_use]
    pub(crate) fn begin_elsewhere(&self, attempt: u32) -> bool {
        // Only the thread that delivers the events of the call does this.
        self.started.store(clock::now().max(self.queued()), Ordering::Relaxed);
        self.set_attempt(attempt);
        self.state.begin() || self.state.read().is_running()
    }

    /// Sets the number of the last attempt, which was made elsewhere.
    #[cfg(feature = "mp")]
    pub(crate) fn set_attempt(&self, attempt: u32) {
        let earlier = attempt.wrapping_sub(u32::from(self.started() != 0));
        if earlier != self.earlier_attempts() {
            self.set_earlier_attempts(earlier);
        }
    }

    /// Returns whether more attempts may follow the current one. Never for a task on another
    /// machine, whose nodes retry it.
    #[inline]
    pub(crate) fn attempts_left(&self) -> bool {
        self.extras().is_some_and(|extras| {
            self.attempt() <= extras.retries
                && (self.tt != TaskType::Remote || extras.is_inline.load(Ordering::Relaxed))
        })
    }

    /// Returns whether the task may have more than one attempt.
    pub(crate) fn may_retry(&self) -> bool {
        self.extras().is_some_and(|extras| extras.retries > 0)
    }

    /// Assigns an id with an entry in the task table.
    #[inline]
    pub(crate) fn reserve_id(&mut self) {
        self.set_id(table::reserve());
        self.in_table = true;
    }

    /// Inserts this task into the entry of the task table that was reserved with its id.
    #[inline]
    pub(crate) fn enter_table(&self, task: &TaskArc) {
        debug_assert!(self.in_table && std::ptr::eq(self, task.header()));
        table::insert(id::index_of(self.number), task);
    }

    /// Assigns an id that another process has drawn, and reserves an entry in the task table.
    pub(crate) fn set_foreign_id(&mut self, id: TaskId) {
        self.set_id(id);
        self.extras_mut().foreign = Some(Box::new(ForeignEntry::reserve(id)));
    }

    /// Returns whether the task table has an entry for this task, whose reference is not counted.
    pub(super) fn is_in_table(&self) -> bool {
        self.in_table || self.extras().is_some_and(|extras| extras.foreign.is_some())
    }

    /// Records the time of the launch.
    #[inline]
    pub(crate) fn record_queued(&self) {
        // Times are stored with Relaxed, because the transitions of the state publish them.
        self.queued.store(clock::now(), Ordering::Relaxed);
    }

    #[inline]
    pub(crate) fn queued(&self) -> Stamp {
        self.queued.load(Ordering::Relaxed)
    }

    /// Returns when the latest attempt began; 0 before the first.
    #[inline]
    pub(crate) fn started(&self) -> Stamp {
        self.started.load(Ordering::Relaxed)
    }

    #[inline]
    pub(crate) fn ended(&self) -> Stamp {
        self.ended.load(Ordering::Relaxed)
    }

    /// Changes the phase from `Queued` to `Started` before a run. Returns false if the task was
    /// ended meanwhile.
    #[must_use]
    #[inline]
    pub(crate) fn begin(&self) -> bool {
        self.begin_at(clock::now())
    }

    /// Like [`begin`](Self::begin), for a run that began at another moment, as reported by a worker
    /// process.
    #[must_use]
    #[inline]
    pub(crate) fn begin_at(&self, when: Stamp) -> bool {
        if self.state.read().phase() != Phase::Queued {
            // Another thread has begun it or ended it, and these values belong to that one.
            return false;
        }
        // Attempt and time are stored before the phase announces them: a thread that observes
        // `Started` reads these values.
        let before = self.started.load(Ordering::Relaxed);
        let earlier = self.earlier_attempts();
        if before != 0 {
            self.set_earlier_attempts(self.attempt());
        }
        self.started.store(when.max(self.queued()), Ordering::Relaxed);
        if self.state.begin() {
            return true;
        }
        self.started.store(before, Ordering::Relaxed);
        if before != 0 {
            self.set_earlier_attempts(earlier);
        }
        false
    }

    /// Records and returns the time of the end. Called before the end is published.
    #[inline]
    pub(crate) fn record_ended(&self) -> Stamp {
        let last = self.started().max(self.queued());
        let ended = match self.ended.load(Ordering::Relaxed) {
            0 => clock::now(),
            noted => noted,
        };
        let ended = ended.max(last);
        self.ended.store(ended, Ordering::Relaxed);
        ended
    }

    /// Notes when the last attempt has ended, in a worker process, so that the clock is not read for
    /// it. No other attempt may follow. Has no effect if the task was ended meanwhile.
    #[cfg(has_processes)]
    pub(crate) fn note_ended(&self, when: Stamp) {
        let _ = self.ended.compare_exchange(0, when, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// Registers a waker for the next change, which is the end or a request to stop. Returns false
    /// if the task has ended, because nothing changes any more.
    #[must_use]
    pub(crate) fn watch(&self, key: WaiterKey, waker: &Waker) -> bool {
        self.watch_while(key, waker, |now| !now.is_ended())
    }

    /// Registers a waker for the moment when the result is no longer being cloned. Returns false if
    /// it isn't.
    #[must_use]
    pub(crate) fn watch_clones(&self, key: WaiterKey, waker: &Waker) -> bool {
        self.watch_while(key, waker, Snapshot::is_borrowed)
    }

    fn watch_while(
        &self,
        key: WaiterKey,
        waker: &Waker,
        goes_on: impl FnOnce(Snapshot) -> bool,
    ) -> bool {
        if fork::is_copy() {
            // Nothing changes in a forked process.
            return false;
        }
        // Cloning a waker, or dropping one, can run arbitrary code, so both happen without the
        // lock.
        let waker = waker.clone();
        let mut waiters = self.waiters.get_or_init(Mutex::default).lock();
        let old = waiters.add(key, waker);
        // Under the lock: if the thread that makes the change sees the flag, it takes this lock and
        // finds the waker. If it doesn't, it made the change before the flag was set, and this
        // snapshot shows the change.
        let goes_on = goes_on(self.state.set_waiter());
        let ours = if goes_on { None } else { waiters.remove(key) };
        drop(waiters);
        waiters::drop_waker(old);
        waiters::drop_waker(ours);
        goes_on
    }

    /// Removes a waker.
    pub(crate) fn unwatch(&self, key: WaiterKey) {
        if fork::is_copy() {
            return;
        }
        if let Some(waiters) = self.waiters.get() {
            let waker = waiters.lock().remove(key);
            waiters::drop_waker(waker);
        }
    }

    /// Returns whether a waker is registered.
    #[cfg(test)]
    pub(crate) fn is_watched(&self) -> bool {
        self.waiters.get().is_some_and(|waiters| !waiters.lock().is_empty())
    }

    /// Wakes everything that waits for a change.
    pub(crate) fn wake(&self) {
        // Taken out of the lock first, because a waker can run user code and register again.
        if let Some(waiters) = self.waiters.get() {
            let waiters = std::mem::take(&mut *waiters.lock());
            waiters.wake();
        }
    }

    /// Asks the task to stop: sets the flag and wakes the task where it waits for that.
    pub(crate) fn request_stop(&self) {
        let has_waiters = self.state.request_stop();
        self.notify_stop(has_waiters);
    }

    /// Wakes the task where it waits for a request to stop. The flag is set already.
    pub(crate) fn notify_stop(&self, has_waiters: bool) {
        if has_waiters {
            self.wake();
        }
        if let Some(channels) = self.channels() {
            channels.request_stop().into_iter().flatten().for_each(Waiters::wake);
        }
    }

    /// Disarms the time limit and gives back the limit that the task shares, because the body has
    /// returned.
    #[inline]
    pub(crate) fn leave_attempt(&self) {
        if self.limit != ShortLimit::NONE && self.tt == TaskType::Thread {
            deadlines::leave_run(self);
        }
        if let Some(extras) = self.extras() {
            self.leave_attempt_with(extras);
        }
    }

    // Not inline, so that it takes no registers from the usual case.
    #[inline(never)]
    fn leave_attempt_with(&self, extras: &Extras) {
        let time_limit = extras.limit.lock().take();
        if let Some(limit) = time_limit {
            limit.disarm(self);
        }
        limit::leave(self);
    }

    /// Returns the status of the task.
    pub(crate) fn status(&self) -> TaskStatus {
        self.status_of(self.state.read())
    }

    fn status_of(&self, snapshot: Snapshot) -> TaskStatus {
        match snapshot.phase() {
            // The task was canceled in the queue, and its callbacks are running.
            Phase::Ending if self.started() == 0 => TaskStatus::Queued,
            #[cfg(feature = "remote")]
            Phase::Queued
                if !fork::is_copy()
                    && self.elsewhere().is_some_and(|it| it.seen.lock().waits_again) =>
            {
                TaskStatus::Delayed
            }
            _ => snapshot.status(),
        }
    }

    /// Returns the progress that the task last reported. Returns `None` in a copy of the process,
    /// because another thread may have held the lock.
    pub(crate) fn progress(&self) -> Option<Progress> {
        let extras = self.extras().filter(|_| !fork::is_copy())?;
        extras.progress.lock().clone()
    }

    /// Returns a snapshot of everything known, from a single read of the state.
    pub(crate) fn info(&self) -> TaskInfo {
        let snapshot = self.state.read();
        let time = |stamp: Stamp| (stamp != 0).then(|| clock::system_time(stamp));
        let started = match snapshot.phase() {
            Phase::New | Phase::Delayed | Phase::Queued => 0,
            _ => self.started(),
        };
        let extras = self.extras();
        let pid = extras.map_or(0, |extras| extras.worker_pid.load(Ordering::Relaxed));
        let (node, losses) = self.node_and_losses();
        TaskInfo {
            id: self.id(),
            name: self.name().to_owned(),
            tt: self.tt,
            priority: self.priority,
            status: self.status_of(snapshot),
            time_queued: clock::system_time(self.queued()),
            time_started: time(started),
            time_completed: if snapshot.is_ended() { time(self.ended()) } else { None },
            delay: extras.and_then(|extras| extras.delay),
            worker_pid: (pid != 0).then_some(pid),
            node,
            losses,
            progress: self.progress(),
            outcome: snapshot.outcome(),
            attempt: self.attempt(),
        }
    }
}

impl Header {
    /// Returns the name of the node of a remote task, and how many of its runs were lost.
    #[cfg(feature = "remote")]
    fn node_and_losses(&self) -> (Option<String>, u32) {
        match self.elsewhere().filter(|_| !fork::is_copy()) {
            Some(elsewhere) => {
                let seen = elsewhere.seen.lock();
                (seen.node.as_deref().map(str::to_owned), seen.losses)
            }
            None => (None, 0),
        }
    }

    #[cfg(not(feature = "remote"))]
    fn node_and_losses(&self) -> (Option<String>, u32) {
        (None, 0)
    }
}

impl Drop for Header {
    #[inline]
    fn drop(&mut self) {
        if self.in_table {
            table::remove(id::index_of(self.number));
        }
        if let Some(waiters) = self.waiters.get_mut() {
            std::mem::take(waiters.get_mut()).discard();
        }
    }
}

/// Updates the header with what the place knows better, such as a worker process's shared page.
pub(crate) fn refresh(task: &dyn AnyTask) {
    let header = task.header();
    // Without a lookup for tasks that run in this process.
    if header.tt == TaskType::Mp && !fork::is_copy() {
        header.with_place(|place| place.refresh(task));
    }
}

#[cfg(all(test, not(atasker_loom)))]
mod tests {
    use super::*;

    #[cfg(feature = "mp")]
    #[test]
    fn attempts_are_counted_here_and_elsewhere() {
        let header = Header::new(TaskType::Thread, TaskId::NONE);
        header.record_queued();
        assert!(header.state.launch(Phase::Queued));
        assert_eq!(header.attempt(), 0);
        assert!(header.begin() && !header.begin());
        assert_eq!((header.attempt(), header.extras().is_some()), (1, false));
        assert!(header.state.retry() && header.state.queue() && header.begin());
        assert_eq!(header.attempt(), 2);
        // The first one as well can be handed back.
        for attempt in [0, 7, 1] {
            header.set_attempt(attempt);
            assert_eq!(header.attempt(), attempt);
        }
        header.set_attempt(0);
        assert!(header.state.retry() && header.state.queue() && header.begin());
        assert_eq!(header.attempt(), 1);
    }

    #[test]
    fn every_limit_is_kept_exactly() {
        let mut header = Header::new(TaskType::Thread, TaskId::NONE);
        assert_eq!(header.timeout(), None);
        let (seconds, nanos) = (Duration::from_secs, Duration::from_nanos);
        let long = [Duration::MAX, seconds(1 << 14), seconds(4) + nanos(1), nanos(u64::MAX)];
        let short = [Duration::ZERO, nanos(1), seconds(60), Duration::from_millis(1_500)];
        let edge = [1, 1_000, 1_000_000].map(|unit| nanos(unit * ((1 << 14) - 1)));
        for (limit, has_extras) in short.map(|limit| (limit, false)).into_iter().chain(
            long.map(|limit| (limit, true)).into_iter().chain(edge.map(|limit| (limit, true))),
        ) {
            let mut header = Header::new(TaskType::Thread, TaskId::NONE);
            header.set_timeout(Some(limit));
            assert_eq!((header.timeout(), header.extras().is_some()), (Some(limit), has_extras));
        }
        header.set_timeout(Some(Duration::MAX));
        header.set_timeout(None);
        assert_eq!(header.timeout(), None);
    }
}
