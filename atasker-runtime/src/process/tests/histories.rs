//! Does the scheduler keep its promises, in whatever order things happen?
//!
//! The scheduler is the real one, without a pool, threads, processes or a clock: the test tells it
//! of events and of the time, performs its actions on workers that are tables of calls, and checks
//! everything after each step. At the end of each history every call has ended exactly once, and no
//! lane, no slot and no worker process is left.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Wake, Waker};
use std::time::Duration;

use proptest::prelude::*;

use super::abuse::bare;
use super::fake::FakePeer;
use super::*;
use crate::TaskId;
use crate::job::Job;
use crate::place::WhenFull;
use crate::process::parent::spawn::StartFailure;
use crate::process::pool::actions::{Action, Actions, Spawn};
use crate::process::pool::call::{Finished, FramesHandled, KillReason, Rejected, bytes_of};
use crate::process::pool::events::{EarlyExit, StartFailureKind, Wanted};
use crate::process::pool::injector::Injector;
use crate::process::pool::lane::{Lane, Stage};
use crate::process::pool::limit_clock::LimitClock;
use crate::process::pool::location::Location;
use crate::process::pool::requests::Revocation;
use crate::process::pool::schedule::Scheduler;
use crate::process::pool::timeouts::NEVER;
use crate::process::transport::entry::CallState;
use crate::room::Launcher;
use crate::task::control::Include;
use crate::task::{AnyTask, TaskArc};
use crate::time::clock::Stamp;

/// What happens next. An index picks one of those to which it can happen.
#[derive(Clone, Debug)]
enum Event {
    Launch(Priority),
    /// Several of one priority.
    Burst(Priority, u8),
    /// One with a time limit, in milliseconds.
    Limited(Priority, u64),
    /// A requested worker process has been started.
    Spawned(usize),
    StartFails {
        at: usize,
        is_permanent: bool,
    },
    Ready(usize),
    /// Calls that can't be revoked any more are on their way to the worker.
    SetsOut(usize),
    /// A worker comes to its next call.
    Begins(usize),
    /// The call of a worker ends after this many nanoseconds.
    Ends {
        at: usize,
        took: u64,
        reply_follows: bool,
    },
    /// A reader thread takes out what is done.
    Taken(usize),
    /// A thread that waits for the first call of a worker takes it out, if it is done.
    TakenByWaiter(usize),
    /// The reply to a call that was done arrives.
    Arrives(usize),
    /// A worker process dies; `all_read`: all that it has said is known.
    Dies {
        at: usize,
        all_read: bool,
    },
    /// A worker process exits that was requested to, or was killed.
    Exits(usize),
    /// SIGSTOP and SIGCONT.
    Stops(usize),
    Continues(usize),
    /// From now on it ignores requests to exit.
    Sticks(usize),
    Canceled(usize),
    Killed(usize),
    /// A launch that waits for room checks again if it was woken.
    ChecksRoom(usize),
    /// A launch that waits for room is given up, woken or not.
    GivesUp(usize),
    /// Time passes, in nanoseconds.
    Passes(u64),
    /// A test pauses the time of the supervisor, moves it by nanoseconds, and lets it run again.
    Pauses,
    Moves(u64),
    Resumes,
    Resized(Box<MpPoolConfig>),
    /// The pool is closed.
    Closed,
}

/// A random number, and what can be chosen by it.
///
/// Events are decoded from numbers, because a strategy for each of them takes several times as
/// long as the history itself.
struct Choices(u64);

impl Choices {
    /// One of `count`.
    fn next(&mut self, count: u64) -> u64 {
        let chosen = self.0 % count;
        self.0 /= count;
        chosen
    }

    fn priority(&mut self) -> Priority {
        Priority::ALL[self.next(4) as usize]
    }

    fn nanos(&mut self) -> u64 {
        [100, 1_000, 20_000, 150_000, 2_000_000, 50_000_000][self.next(6) as usize]
    }

    fn yes_in(&mut self, count: u64) -> bool {
        self.next(count) == count - 1
    }

    fn config(&mut self) -> MpPoolConfig {
        if self.yes_in(4) {
            // With one worker process the order within a priority is exact.
            return MpPoolConfig::new(1).critical_extra(0).nice(self.next(2) as i32);
        }
        let mut number = |count| self.next(count) as usize;
        let config = MpPoolConfig::new(1 + number(3))
            .reserve_normal(number(3))
            .reserve_high(number(3))
            .critical_extra(number(3))
            .min_size(number(3))
            .idle_timeout(Duration::from_millis([30_000, 50][number(2)]))
            // 0: no limit.
            .max_tasks_per_worker([0, 0, 0, 1, 2, 5][number(6)])
            // A worker process is replaced if this changes.
            .nice(number(2) as i32);
        // Counted, but never full.
        let config = match number(2) {
            0 => config,
            _ => config.queue_bytes(u64::MAX, Overflow::Reject),
        };
        match number(12) {
            queue @ 8.. => config.queue_limit(queue - 8, Overflow::Block),
            queue @ 4..8 => config.queue_limit(queue - 4, Overflow::Reject),
            _ => config,
        }
    }

    fn index(&self) -> usize {
        self.0 as usize
    }

    fn event(mut self) -> Event {
        match self.next(363) {
            0..44 => Event::Launch(self.priority()),
            44..55 => Event::Burst(self.priority(), 2 + self.next(10) as u8),
            55..60 => Event::Limited(self.priority(), 1 + self.next(79)),
            60..82 => Event::Spawned(self.index()),
            82..104 => Event::Ready(self.index()),
            104..115 => Event::SetsOut(self.index()),
            115..159 => Event::Begins(self.index()),
            159..203 => {
                let (took, reply_follows) = (self.nanos(), self.yes_in(5));
                Event::Ends { at: self.index(), took, reply_follows }
            }
            203..236 => Event::Taken(self.index()),
            236..252 => Event::TakenByWaiter(self.index()),
            252..268 => Event::Arrives(self.index()),
            268..290 => Event::Passes(self.nanos()),
            290..296 => Event::Dies { all_read: self.yes_in(2), at: self.index() },
            296..302 => Event::Exits(self.index()),
            302..308 => Event::StartFails { is_permanent: self.yes_in(2), at: self.index() },
            308..311 => Event::Stops(self.index()),
            311..314 => Event::Continues(self.index()),
            314..316 => Event::Sticks(self.index()),
            316..320 => Event::Canceled(self.index()),
            320..324 => Event::Killed(self.index()),
            324..326 => Event::Passes(1_200_000_000),
            326..329 => Event::Resized(Box::new(self.config())),
            329..347 => Event::ChecksRoom(self.index()),
            347..350 => Event::GivesUp(self.index()),
            350..353 => Event::Pauses,
            353..360 => Event::Moves(self.nanos()),
            360..362 => Event::Resumes,
            _ => Event::Closed,
        }
    }
}

impl Choices {
    /// One of the events that matter to time limits.
    fn timed_event(mut self) -> Event {
        match self.next(40) {
            0..5 => Event::Limited(self.priority(), 1 + self.next(79)),
            5..8 => Event::Spawned(self.index()),
            8..11 => Event::Ready(self.index()),
            11..18 => Event::Begins(self.index()),
            18..20 => Event::Ends { at: self.index(), took: self.nanos(), reply_follows: true },
            20..22 => Event::Taken(self.index()),
            22..23 => Event::Arrives(self.index()),
            23..25 => Event::Exits(self.index()),
            25..28 => Event::Passes(self.nanos()),
            28..31 => Event::Pauses,
            31..37 => Event::Moves(self.nanos()),
            37..39 => Event::Resumes,
            _ => Event::Canceled(self.index()),
        }
    }
}

fn timed_event() -> impl Strategy<Value = Event> {
    any::<u64>().prop_map(|number| Choices(number).timed_event())
}

fn event() -> impl Strategy<Value = Event> {
    any::<u64>().prop_map(|number| Choices(number).event())
}

fn config() -> impl Strategy<Value = MpPoolConfig> {
    any::<u64>().prop_map(|number| Choices(number).config())
}

/// A worker process.
struct Worker {
    lane: usize,
    peer: Arc<FakePeer>,
    ready: bool,
    /// The next call that it looks at.
    next: u64,
    running: Option<u64>,
    stopped: bool,
    ignores_exit: bool,
    /// Calls that were taken out, and whose replies have not arrived.
    in_transit: VecDeque<Finished<()>>,
    /// How many calls it has begun, and how many it may.
    tasks: u64,
    most: Option<u64>,
    /// What it was started with.
    config: Arc<MpPoolConfig>,
}

impl Worker {
    fn can_run(&self) -> bool {
        self.ready && !self.stopped && !self.peer.told.lock().killed
    }
}

/// Where a task is that has not begun.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum At {
    /// In the backlog or the injector.
    Waits,
    /// In a lane, behind another call.
    Behind,
    /// The first of its lane: it has a slot and a worker, which is about to begin it.
    First,
    /// The same, and it can't be revoked any more: it counts as begun.
    InTransit,
}

/// Which report of the time is due.
enum Report {
    /// By the timer of the pool.
    Pool,
    /// By the timer of the clock of limits.
    Limits,
    /// By the reader thread of a lane.
    Lane(usize),
}

struct Known {
    task: TaskArc,
    priority: Priority,
    order: usize,
    /// The number of the worker that has begun it.
    begun_by: Option<u64>,
}

/// A launch that waits for room.
struct Waiting {
    launcher: Launcher,
    task: TaskArc,
    woken: Arc<Woken>,
}

#[derive(Default)]
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        assert!(!self.0.swap(true, Ordering::Relaxed), "a launch is woken twice");
    }
}

struct World {
    scheduler: Scheduler<FakePeer>,
    injector: Arc<Injector>,
    pipelined: bool,
    now: Stamp,
    starts: Vec<Spawn>,
    workers: Vec<Worker>,
    /// Those that have not ended.
    tasks: HashMap<TaskId, Known>,
    /// Those that were not launched yet.
    room: Vec<Waiting>,
    launched: usize,
    ended: usize,
    /// No worker but the first has ever come: calls of one priority begin in their order.
    alone: bool,
    last: [Option<usize>; 4],
    /// Slots may be held beyond the present limits.
    shrunk: bool,
    closed: bool,
    /// Nothing is started before, because of a failed start.
    backs_off_until: Stamp,
    /// By which time limits are measured, and the entries of its timer.
    clock: LimitClock,
    is_paused: bool,
    limit_timers: Vec<Stamp>,
    /// When calls have begun, by that clock.
    begun: HashMap<TaskId, Stamp>,
}

impl World {
    fn new(config: MpPoolConfig, pipelined: bool) -> World {
        let injector = Arc::new(Injector::default());
        let scheduler = Scheduler::new(config, Arc::clone(&injector));
        let mut world = World {
            scheduler,
            injector,
            pipelined,
            now: 1_000_000_000,
            starts: Vec::new(),
            workers: Vec::new(),
            tasks: HashMap::new(),
            room: Vec::new(),
            launched: 0,
            ended: 0,
            alone: true,
            last: [None; 4],
            shrunk: false,
            closed: false,
            backs_off_until: 0,
            clock: LimitClock::REAL,
            is_paused: false,
            limit_timers: Vec::new(),
            begun: HashMap::new(),
        };
        world.act(|scheduler, now, actions| scheduler.open(true, now, actions));
        world
    }

    /// Tells the scheduler of an event, as the pool does, and performs its actions.
    fn act<R>(
        &mut self,
        event: impl FnOnce(&mut Scheduler<FakePeer>, Stamp, &mut Actions<FakePeer>) -> R,
    ) -> R {
        let mut actions = Actions::default();
        let result = event(&mut self.scheduler, self.now, &mut actions);
        self.scheduler.update_injector(self.now, &mut actions);
        self.perform(actions);
        result
    }

    /// The same for an event that finds or counts the jobs that wait.
    fn act_on_all<R>(
        &mut self,
        event: impl FnOnce(&mut Scheduler<FakePeer>, Stamp, &mut Actions<FakePeer>) -> R,
    ) -> R {
        self.act(|scheduler, now, actions| {
            scheduler.drain_injector(actions);
            event(scheduler, now, actions)
        })
    }

    fn perform(&mut self, actions: Actions<FakePeer>) {
        actions.launchers.into_iter().for_each(Waker::wake);
        for action in actions.list {
            match action {
                Action::Spawn(spawn) => {
                    assert!(!self.closed, "a worker process is started in a closed pool");
                    assert!(self.now >= self.backs_off_until, "no back-off after a failed start");
                    self.starts.push(spawn);
                }
                Action::TellBegin { .. } => unreachable!("nothing observes these tasks"),
                Action::Kill(peer) => peer.told.lock().killed = true,
                Action::Shutdown(peer) => {
                    assert!(!peer.has_work(), "a worker with calls is requested to exit");
                    peer.told.lock().exit_requested = true;
                }
                Action::Wake { peer, .. } => peer.told.lock().woken = true,
                Action::CheckStopped(peer) => {
                    let is_its = |worker: &&Worker| Arc::ptr_eq(&worker.peer, &peer);
                    if self.workers.iter().find(is_its).is_some_and(|worker| worker.stopped) {
                        self.act(|scheduler, now, actions| {
                            scheduler.on_stopped(&peer, now, actions)
                        });
                    }
                }
                Action::SetLimitTimer(at) => self.limit_timers.push(at),
                Action::WakeReader(_) | Action::Stop(..) => {}
            }
        }
        for Rejected(job, error) in actions.rejected {
            let known = &self.tasks[&job.header().id()];
            assert!(known.begun_by.is_none(), "one that has begun is rejected: {error}");
            let given_up = matches!(error, TaskError::NotStarted { .. });
            assert!(given_up || self.closed, "rejected: {error}");
            self.end(job);
        }
        assert!(actions.discarded.is_empty(), "a job that is not stale is discarded");
    }

    /// A task ends, once.
    fn end(&mut self, job: Job) {
        assert!(self.tasks.remove(&job.header().id()).is_some(), "a task ends twice");
        self.ended += 1;
        job.end(TaskError::Canceled);
    }

    fn launch(&mut self, priority: Priority, limit: Option<Duration>) {
        if self.closed {
            // The pool lets no launch through.
            return;
        }
        let task = bare(&add_entry::ENTRY, &(1u64, 2u64), read::<u64>);
        let mut task: TaskArc = task;
        let header = task.get_mut().unwrap().header_mut();
        // The header is not shared yet.
        header.priority = priority;
        header.set_timeout(limit);
        self.launch_task(task, WhenFull::Wait);
    }

    fn launch_task(&mut self, task: TaskArc, when_full: WhenFull) {
        let (id, priority) = (task.header().id(), task.header().priority);
        let order = self.launched;
        let known = Known { task: task.clone(), priority, order, begun_by: None };
        let starts = self.starts_at_once(priority);
        self.tasks.insert(id, known);
        self.launched += 1;
        let Some(job) = self.injector.try_push(priority, Job::new(task.clone())) else {
            assert!(!starts, "an idle worker is there");
            return;
        };
        if self.scheduler.permanent_start_error().is_some() {
            assert!(self.now < self.backs_off_until);
            return self.end(job);
        }
        match self.scheduler.overflow(&**job.task(), true) {
            Some(_) if when_full == WhenFull::Reserved => {}
            Some(Overflow::Reject) => {
                let (limit, _) = self.scheduler.config.queue_limit.expect("there is a limit");
                let waiting = self.scheduler.backlog.waiting();
                // A queue that is full of less urgent calls takes no urgent one, either.
                assert!(waiting >= limit && (!starts || waiting > 0), "the queue is not full");
                return self.end(job);
            }
            Some(Overflow::Block) => {
                // It is a future, of which nothing is known before it has room.
                self.tasks.remove(&id);
                self.launched -= 1;
                let (launcher, woken) = (Launcher::new(priority, false), Arc::default());
                return self.wait_for_room(Waiting { launcher, task: job.into_task(), woken });
            }
            None => {}
        }
        self.act(|scheduler, now, actions| scheduler.submit(priority, job, now, actions));
        let at = self.at(&*task);
        assert!(!starts || at == At::First, "an idle worker is there");
        if at == At::Behind {
            let starting = self.scheduler.lanes.iter().filter(|lane| lane.is_starting()).count();
            let free = self.scheduler.backlog.free_for(priority);
            assert!(starting >= free.min(self.most_starts()), "a slot is free");
        }
    }

    fn wait_for_room(&mut self, waiting: Waiting) {
        let waker = Arc::clone(&waiting.woken).into();
        assert!(self.scheduler.room.enter(waiting.launcher, waker).is_none());
        self.room.push(waiting);
    }

    /// A launch that was woken checks again.
    fn check_room(&mut self, at: usize) {
        let woken = |at: &usize| self.room[*at].woken.0.load(Ordering::Relaxed);
        let those: Vec<_> = (0..self.room.len()).filter(woken).collect();
        if those.is_empty() {
            return;
        }
        let waiting = self.room.remove(those[at % those.len()]);
        waiting.woken.0.store(false, Ordering::Relaxed);
        if self.closed {
            return;
        }
        if self.scheduler.overflow(&*waiting.task, true) == Some(Overflow::Block) {
            return self.wait_for_room(waiting);
        }
        self.scheduler.reserved += 1;
        self.launch_task(waiting.task, WhenFull::Reserved);
        self.act(|scheduler, _, actions| {
            scheduler.reserved -= 1;
            scheduler.wake_launchers(actions);
        });
    }

    fn give_up(&mut self, at: usize) {
        if self.room.is_empty() {
            return;
        }
        let waiting = self.room.remove(at % self.room.len());
        self.act(|scheduler, _, actions| {
            let waker = scheduler.room.leave(waiting.launcher);
            assert_eq!(waker.is_none(), waiting.woken.0.load(Ordering::Relaxed));
            scheduler.wake_launchers(actions);
        });
    }

    /// No launch waits for room that is there, unless one that was woken has to check first.
    fn check_launchers(&self) {
        let is_woken = |waiting: &Waiting| waiting.woken.0.load(Ordering::Relaxed);
        assert_eq!(
            self.room.iter().filter(|waiting| !is_woken(waiting)).count(),
            self.scheduler.room.len()
        );
        if !self.room.iter().any(is_woken) {
            assert!(!self.closed || self.room.is_empty(), "a launch waits for a closed pool");
            for waiting in &self.room {
                let overflow = self.scheduler.overflow(&*waiting.task, true);
                assert_eq!(
                    overflow,
                    Some(Overflow::Block),
                    "a launch waits for room that is there"
                );
            }
        }
    }

    /// Whether a task of this priority would have an idle worker, as far as the scheduler knows.
    fn starts_at_once(&self, priority: Priority) -> bool {
        let scheduler = &self.scheduler;
        // If it has not noticed yet that the previous call is over, the more urgent call is revoked
        // and gets the idle worker.
        let is_first = |known: &Known| match scheduler.location(&*known.task) {
            Location::Lane { lane, call } => scheduler.lanes[lane].is_first(call),
            _ => false,
        };
        let mut others = self.unbegun();
        others.all(|other| other.priority < priority || is_first(other))
            && scheduler.backlog.may_start(priority)
            && scheduler.lanes.iter().any(Lane::is_idle)
    }

    fn set_clock(&mut self, clock: LimitClock) {
        assert_eq!(clock.at(self.now).max(self.limit_now()), clock.at(self.now));
        self.clock = clock;
        self.act(|scheduler, _, actions| scheduler.on_clock(clock, actions));
    }

    fn limit_now(&self) -> Stamp {
        self.clock.at(self.now)
    }

    /// Moves a paused clock from one due time to the next.
    fn moves(&mut self, nanos: u64) {
        let until = self.limit_now() + nanos;
        let mut reports = 0;
        loop {
            let next = self.limit_timers.iter().copied().min().filter(|next| *next <= until);
            let at = next.unwrap_or(until).max(self.limit_now());
            self.set_clock(LimitClock::new(at, self.now, false));
            reports += 1;
            assert!(reports < 20_000, "the timer does not rest");
            match next {
                Some(_) => self.limit_times(),
                None => break,
            }
        }
        self.check_limits();
    }

    /// The clock of limits has reached entries of its timer.
    fn limit_times(&mut self) {
        let now = self.limit_now();
        let (due, later) = self.limit_timers.iter().copied().partition(|at| *at <= now);
        self.limit_timers = later;
        for at in Vec::<Stamp>::into_iter(due) {
            self.act(|scheduler, now, actions| scheduler.on_limit_time(at, now, actions));
        }
    }

    /// No worker runs a call whose time limit is over.
    fn check_limits(&self) {
        for worker in &self.workers {
            let Some(call) = worker.running else { continue };
            let calls = worker.peer.calls.lock();
            let call = &calls[&call];
            if let Some(limit) = self.tasks[&call.id].task.header().timeout() {
                let is_over = self.limit_now() - self.begun[&call.id] >= limit.as_nanos() as u64;
                assert!(!is_over || worker.peer.told.lock().killed, "its time limit is over");
            }
        }
    }

    fn unbegun(&self) -> impl Iterator<Item = &Known> {
        self.tasks.values().filter(|known| known.begun_by.is_none())
    }

    fn at(&self, task: &dyn AnyTask) -> At {
        match self.scheduler.location(task) {
            Location::Lane { lane, call } => {
                let lane = &self.scheduler.lanes[lane];
                // Those before it may be over without the scheduler's knowledge.
                let calls = lane.worker().expect("it was sent to a worker").calls.lock();
                let works = |state| matches!(state, CallState::Sent | CallState::Begun);
                let mut before = calls.range(lane.first_call()..call);
                if calls.get(&call).is_some_and(|call| call.has_set_out) {
                    At::InTransit
                } else if lane.is_first(call) || !before.any(|(_, call)| works(call.state)) {
                    At::First
                } else {
                    At::Behind
                }
            }
            _ => At::Waits,
        }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Launch(priority) => self.launch(priority, None),
            Event::Burst(priority, count) => (0..count).for_each(|_| self.launch(priority, None)),
            Event::Limited(priority, limit) => {
                self.launch(priority, Some(Duration::from_millis(limit)));
            }
            Event::Spawned(at) => self.spawned(at),
            Event::StartFails { at, is_permanent } => self.start_fails(at, is_permanent),
            Event::Ready(at) => {
                if let Some(at) = self.pick(at, |w| !w.ready && !w.peer.told.lock().killed) {
                    let worker = &mut self.workers[at];
                    worker.ready = true;
                    let lane = worker.lane;
                    self.backs_off_until = 0;
                    self.act(|scheduler, now, actions| scheduler.on_ready(lane, now, actions));
                }
            }
            Event::SetsOut(at) => {
                if let Some(at) = self.pick(at, |worker| worker.ready && !worker.peer.pipelined) {
                    let mut calls = self.workers[at].peer.calls.lock();
                    calls.values_mut().for_each(|call| call.has_set_out = true);
                }
            }
            Event::Begins(at) => self.begins(at),
            Event::Ends { at, took, reply_follows } => self.ends(at, took, reply_follows),
            Event::Taken(at) => {
                if let Some(at) = self.pick(at, |_| true) {
                    self.take(at);
                }
            }
            Event::TakenByWaiter(at) => self.take_by_waiter(at),
            Event::Arrives(at) => {
                if let Some(at) = self.pick(at, |worker| !worker.in_transit.is_empty()) {
                    self.arrives(at);
                }
            }
            Event::Dies { at, all_read } => {
                if let Some(at) = self.pick(at, |_| true) {
                    self.dies(at, all_read);
                }
            }
            Event::Exits(at) => {
                let told = |worker: &Worker| {
                    let told = *worker.peer.told.lock();
                    let exits = told.exit_requested && !worker.ignores_exit && !worker.stopped;
                    told.killed || exits && worker.running.is_none()
                };
                if let Some(at) = self.pick(at, told) {
                    self.dies(at, true);
                }
            }
            Event::Stops(at) => {
                if let Some(at) = self.pick(at, |_| true) {
                    self.workers[at].stopped = true;
                }
            }
            Event::Continues(at) => {
                if let Some(at) = self.pick(at, |worker| worker.stopped) {
                    self.workers[at].stopped = false;
                }
            }
            Event::Sticks(at) => {
                if let Some(at) = self.pick(at, |_| true) {
                    self.workers[at].ignores_exit = true;
                }
            }
            Event::Canceled(at) => {
                if let Some(id) = self.pick_task(at) {
                    self.cancel(id);
                }
            }
            Event::Killed(at) => {
                if let Some(id) = self.pick_task(at)
                    && !self.cancel(id)
                {
                    let task = self.tasks[&id].task.clone();
                    self.act_on_all(|scheduler, now, actions| {
                        scheduler.on_kill(&*task, now, actions);
                    });
                }
            }
            Event::ChecksRoom(at) => self.check_room(at),
            Event::GivesUp(at) => self.give_up(at),
            Event::Passes(nanos) => self.passes(nanos),
            Event::Pauses if !self.is_paused => {
                self.is_paused = true;
                self.set_clock(LimitClock::new(self.limit_now(), self.now, false));
            }
            Event::Moves(nanos) if self.is_paused => self.moves(nanos),
            Event::Resumes if self.is_paused => {
                self.is_paused = false;
                self.set_clock(LimitClock::new(self.limit_now(), self.now, true));
            }
            Event::Pauses | Event::Moves(_) | Event::Resumes => {}
            Event::Resized(config) => {
                self.shrunk = true;
                self.backs_off_until = 0;
                let most = config.max_tasks_per_worker;
                for worker in &mut self.workers {
                    // What has begun goes on, and its worker process is replaced afterwards.
                    worker.most = most.map(|most| most.max(worker.tasks));
                }
                let is_outdated = !self.scheduler.config.starts_the_same(&config);
                let unused = |lane: &&Lane<FakePeer>| lane.is_idle() || lane.is_starting();
                let before = self.scheduler.lanes.iter().filter(unused).count();
                self.act_on_all(|scheduler, now, actions| {
                    scheduler.on_config(*config, now, actions);
                });
                if is_outdated && !self.closed {
                    let lanes = &self.scheduler.lanes;
                    assert!(!lanes.iter().any(Lane::is_idle), "an idle one is not replaced");
                    let starting = lanes.iter().filter(|lane| lane.is_starting()).count();
                    let room = self.scheduler.backlog.free_for(Priority::Critical);
                    let due = before.min(room).min(self.most_starts());
                    assert!(starting >= due, "{starting} start instead of {before}");
                }
            }
            Event::Closed => {
                self.closed = true;
                self.act(|scheduler, now, actions| scheduler.close(now, actions));
                let unbegun = self.unbegun().count();
                let sent = self.workers.iter().filter(|worker| worker.peer.has_work()).count();
                assert!(unbegun <= sent, "a stop leaves tasks in the queue");
            }
        }
        self.check();
    }

    fn pick(&self, at: usize, which: impl Fn(&Worker) -> bool) -> Option<usize> {
        let those: Vec<_> =
            (0..self.workers.len()).filter(|at| which(&self.workers[*at])).collect();
        (!those.is_empty()).then(|| those[at % those.len()])
    }

    fn pick_task(&self, at: usize) -> Option<TaskId> {
        let mut all: Vec<_> = self.tasks.iter().collect();
        all.sort_by_key(|(_, known)| known.order);
        (!all.is_empty()).then(|| *all[at % all.len()].0)
    }

    /// Cancels a task. Returns `false` if it has begun, or can't be revoked.
    fn cancel(&mut self, id: TaskId) -> bool {
        let task = self.tasks[&id].task.clone();
        let revocation = self.act_on_all(|scheduler, now, actions| {
            scheduler.on_revoke(&*task, Include::Admitted, now, actions)
        });
        match revocation {
            Revocation::Denied => {
                let known = &self.tasks[&id];
                assert!(known.begun_by.is_some() || !self.pipelined, "it has not begun");
                false
            }
            Revocation::NotHere => unreachable!("all are here"),
            Revocation::Revoked(job) => {
                assert!(self.tasks[&id].begun_by.is_none(), "it has begun");
                self.end(job);
                true
            }
        }
    }

    fn spawned(&mut self, at: usize) {
        if self.starts.is_empty() {
            return;
        }
        let Spawn { lane, number, first, config } = self.starts.remove(at % self.starts.len());
        let peer = Arc::new(FakePeer::new(number, self.pipelined));
        let wanted =
            self.act(|scheduler, now, actions| scheduler.on_spawned(lane, &peer, now, actions));
        if wanted == Wanted::No {
            assert!(self.closed, "a worker process is started without need");
            return self.scheduler.completed();
        }
        self.alone &= number == 1;
        self.workers.push(Worker {
            lane,
            peer,
            ready: false,
            next: first,
            running: None,
            stopped: false,
            ignores_exit: false,
            in_transit: VecDeque::new(),
            tasks: 0,
            most: self.scheduler.config.max_tasks_per_worker,
            config,
        });
    }

    fn start_fails(&mut self, at: usize, is_permanent: bool) {
        if self.starts.is_empty() {
            return;
        }
        let Spawn { lane, .. } = self.starts.remove(at % self.starts.len());
        let failure = StartFailure { why: "played".into(), is_permanent };
        self.note_failure(|world| {
            world.act_on_all(|scheduler, now, actions| {
                scheduler.on_start_failed(lane, &failure, now, actions);
            });
        });
    }

    /// A start fails: the next one is some time away, and one that is known to fail is not awaited.
    fn note_failure(&mut self, happens: impl FnOnce(&mut Self)) {
        let was_backing_off = self.scheduler.is_backing_off();
        let failures = self.scheduler.start_failures + 1;
        if !was_backing_off && !self.closed {
            self.backs_off_until = self.now + (20_000_000 << (failures.min(5) - 1));
        }
        happens(self);
        if !was_backing_off && !self.closed {
            assert_eq!(self.scheduler.start_failures, failures);
            assert!(self.scheduler.next_timeout() != NEVER);
        }
    }

    /// A worker comes to what is next for it, and skips what was revoked.
    fn begins(&mut self, at: usize) {
        let Some(at) = self.pick(at, |worker| worker.can_run() && worker.running.is_none()) else {
            return;
        };
        let worker = &mut self.workers[at];
        let mut calls = worker.peer.calls.lock();
        let (id, counts_as_begun) = loop {
            let Some(call) = calls.get_mut(&worker.next) else { return };
            match call.state {
                CallState::Sent => {
                    assert!(worker.peer.told.lock().woken, "it was not woken for a call");
                    (call.state, call.begun) = (CallState::Begun, self.now);
                    self.begun.insert(call.id, self.clock.at(self.now));
                    break (call.id, call.has_set_out);
                }
                // One that it has never seen has no effect.
                _ if worker.peer.pipelined => call.state = CallState::Skipped,
                _ => {}
            }
            worker.next += 1;
        };
        drop(calls);
        worker.running = Some(worker.next);
        worker.next += 1;
        worker.tasks += 1;
        let is_allowed = worker.most.is_none_or(|most| worker.tasks <= most);
        assert!(is_allowed || counts_as_begun, "too many tasks for it");
        let is_current = worker.config.starts_the_same(&self.scheduler.config);
        assert!(is_current || counts_as_begun, "its settings are outdated");
        let number = worker.peer.number;
        let begun = self.tasks.get_mut(&id).expect("one that has ended begins");
        assert!(begun.begun_by.replace(number).is_none(), "one that has begun begins again");
        let (priority, order) = (begun.priority, begun.order);
        // One that can't be revoked may have been sent before a more urgent one was launched.
        let others = self.unbegun().filter(|other| other.priority > priority && !counts_as_begun);
        for other in others {
            assert!(
                matches!(self.at(&*other.task), At::First | At::InTransit),
                "a {priority} one begins before a {} one",
                other.priority
            );
        }
        let last = self.last[priority.index()].replace(order);
        assert!(!self.alone || last < Some(order), "first come, first served");
    }

    fn ends(&mut self, at: usize, took: u64, reply_follows: bool) {
        let Some(at) = self.pick(at, |worker| worker.can_run() && worker.running.is_some()) else {
            return;
        };
        let worker = &mut self.workers[at];
        // It writes one reply after the other.
        let reply_follows = reply_follows && worker.peer.pipelined;
        if let Some(call) = worker.running.take()
            && let Some(call) = worker.peer.calls.lock().get_mut(&call)
        {
            (call.state, call.nanos, call.reply_follows) = (CallState::Done, took, reply_follows);
        }
        if !worker.peer.pipelined {
            // By the frame that brings the reply.
            self.take(at);
        }
    }

    /// The reader thread takes out what is done.
    fn take(&mut self, at: usize) {
        let lane = self.workers[at].lane;
        let mut finished = VecDeque::new();
        let page = self
            .act(|scheduler, now, actions| scheduler.on_done(lane, &mut finished, now, actions));
        assert!(page.is_ok());
        self.workers[at].in_transit.append(&mut finished);
        self.complete_ready(at);
    }

    /// Ends the calls whose replies have arrived, in order.
    fn complete_ready(&mut self, at: usize) {
        loop {
            let worker = &mut self.workers[at];
            let Some(done) = worker.in_transit.front() else { return };
            let calls = worker.peer.calls.lock();
            if calls.get(&done.call).is_some_and(|call| call.reply_follows) {
                return;
            }
            drop(calls);
            let Some(done) = worker.in_transit.pop_front() else { return };
            self.complete(at, done);
        }
    }

    /// The first reply arrives that was in transit.
    fn arrives(&mut self, at: usize) {
        let worker = &mut self.workers[at];
        let lane = worker.lane;
        let Some(done) = worker.in_transit.pop_front() else { return };
        self.scheduler.on_reply(lane, done.call);
        self.complete(at, done);
        self.complete_ready(at);
    }

    /// The reply to a call that a worker has begun is there.
    fn complete(&mut self, at: usize, done: Finished<()>) {
        let known = &self.tasks[&done.sent.job.header().id()];
        assert_eq!(known.begun_by, Some(self.workers[at].peer.number), "another has begun it");
        self.end(done.sent.job);
    }

    fn take_by_waiter(&mut self, at: usize) {
        let Some(at) = self.pick(at, |worker| worker.in_transit.is_empty()) else { return };
        let lane = self.workers[at].lane;
        let call = self.scheduler.lanes[lane].first_call();
        if self.workers[at].peer.calls.lock().get(&call).is_none_or(|c| c.state != CallState::Done)
        {
            return;
        }
        let done =
            self.act(|scheduler, now, actions| scheduler.on_done_call(lane, call, now, actions));
        if let Some(done) = done {
            self.complete(at, done);
            self.scheduler.completed();
        }
    }

    /// A worker process has ended.
    fn dies(&mut self, at: usize, all_read: bool) {
        self.scheduler.mark_dead(self.workers[at].lane);
        if !all_read {
            // Whether these have begun is not known over sockets.
            let calls = &self.workers[at].peer.calls;
            calls.lock().values_mut().for_each(|call| call.has_set_out = !self.pipelined);
        }
        self.take(at);
        let worker = self.workers.remove(at);
        let (lane, number) = (worker.lane, worker.peer.number);
        let was_killed = worker.peer.told.lock().killed;
        let is_closing = self.scheduler.lanes[lane].is_closing();
        let early_exit = EarlyExit { why: "played".into(), kind: StartFailureKind::Failed };
        let frames_handled = if all_read { FramesHandled::All } else { FramesHandled::Some };
        let early_exit = (!worker.ready).then_some(&early_exit);
        let before = self.scheduler.restarts;
        let mut unfinished = None;
        let on_exit = |world: &mut Self| {
            unfinished = Some(world.act_on_all(|scheduler, now, actions| {
                scheduler.on_exit(lane, early_exit, frames_handled, now, actions)
            }));
        };
        if early_exit.is_some() && !is_closing {
            self.note_failure(on_exit);
        } else {
            self.backs_off_until = 0;
            let mut on_exit = on_exit;
            on_exit(self);
        }
        let unfinished = unfinished.expect("it was told");
        assert_eq!(unfinished.was_closing, is_closing);
        assert!(self.scheduler.restarts > before || is_closing, "it is not counted");
        assert!(unfinished.begun.len() <= 1, "two calls are blamed");
        if let Some((_, reason)) = unfinished.killed_for {
            assert!(was_killed, "nothing has killed it");
            assert!(reason != KillReason::Shutdown || self.closed);
        }
        let blamed = unfinished.begun.into_iter().map(|(call, sent)| (call, sent.job));
        let half_written = worker.in_transit.into_iter().map(|done| (done.call, done.sent.job));
        for (call, job) in half_written.chain(blamed) {
            let known = &self.tasks[&job.header().id()];
            // Without a shared page, the call that it was sent may count as begun.
            let may_have = !self.pipelined && (!all_read || was_killed);
            let has_begun = known.begun_by == Some(number);
            assert!(has_begun || may_have, "a call is blamed that has not begun");
            if let Some((killed_for, KillReason::TimeLimit(limit))) = unfinished.killed_for
                && killed_for == call
            {
                let begun = self.begun[&job.header().id()];
                let ran = self.limit_now() - begun;
                assert!(ran >= limit.as_nanos() as u64, "killed before its limit");
            }
            self.end(job);
        }
        let lost = |known: &Known| known.begun_by == Some(number);
        assert!(!self.tasks.values().any(lost), "a call is lost with its worker");
        self.scheduler.completed();
    }

    /// When a reader thread, or the timer, has to report the time, at most at `until`.
    fn next_deadline(&mut self, until: Stamp) -> Option<(Stamp, Report)> {
        let mut next = (self.scheduler.next_timeout(), Report::Pool);
        let limits = self.limit_timers.iter().filter_map(|at| self.clock.real(*at)).min();
        if let Some(at) = limits.filter(|at| *at < next.0) {
            next = (at, Report::Limits);
        }
        for worker in self.workers.iter().filter(|worker| worker.ready) {
            let rest = self.scheduler.next_lane_timeout(worker.lane, self.now);
            let at = rest.nanos.map_or(NEVER, |nanos| self.now.saturating_add(nanos));
            if at < next.0 {
                next = (at, Report::Lane(worker.lane));
            }
        }
        (next.0 <= until).then_some(next)
    }

    fn passes(&mut self, nanos: u64) {
        let until = self.now + nanos;
        let mut reports = 0;
        while let Some((at, lane)) = self.next_deadline(until) {
            self.now = self.now.max(at);
            reports += 1;
            assert!(reports < 20_000, "the timer does not rest");
            match lane {
                Report::Pool => {
                    self.act(|scheduler, now, actions| scheduler.on_timeout(now, actions));
                }
                Report::Limits => self.limit_times(),
                Report::Lane(lane) => self.lane_timeout(lane),
            }
        }
        self.now = until;
        self.check_limits();
    }

    /// The time for one worker: it may exit if it has been idle for long enough.
    fn lane_timeout(&mut self, lane: usize) {
        let open =
            self.scheduler.lanes.iter().filter(|lane| lane.is_open() && lane.worker().is_some());
        let (open, was_closing) = (open.count(), self.scheduler.lanes[lane].is_closing());
        let stalled = self.scheduler.lanes[lane].stalled;
        self.act(|scheduler, now, actions| scheduler.on_lane_timeout(lane, now, actions));
        if self.scheduler.lanes[lane].is_closing() && !was_closing {
            assert!(stalled || open > self.scheduler.config.min_size, "too few are left");
        }
    }

    /// How many worker processes may be starting: one at a time after a failure.
    fn most_starts(&self) -> usize {
        match self.scheduler.start_failures {
            _ if self.scheduler.is_backing_off() => 0,
            0 => usize::MAX,
            _ => 1,
        }
    }

    /// What holds after each step.
    fn check(&self) {
        self.check_launchers();
        let lanes = &self.scheduler.lanes;
        let all: Vec<_> =
            self.unbegun().map(|known| (self.at(&*known.task), known.priority)).collect();
        let of = |at| all.iter().filter(move |it| it.0 == at).map(|it| it.1);
        let first = of(At::Waits).max();
        for sent in of(At::Behind).chain(of(At::First)) {
            assert!(first <= Some(sent), "a {first:?} one waits, {sent} was sent");
        }
        // What was sent ahead is all of one priority.
        assert_eq!(of(At::Behind).min(), of(At::Behind).max());
        let starting = lanes.iter().filter(|lane| lane.is_starting()).count();
        if let Some(first) = first
            && self.scheduler.backlog.may_start(first)
        {
            assert!(!lanes.iter().any(Lane::is_idle), "a {first} one waits, a worker is idle");
            let waiting = of(At::Waits).filter(|priority| *priority == first).count();
            let free = self.scheduler.backlog.free_for(first);
            assert!(
                starting >= waiting.min(free).min(self.most_starts()),
                "{waiting} {first} calls wait, {free} slots are free, {starting} workers start"
            );
        }
        let busy = |critical| {
            let class = |lane: &&Lane<FakePeer>| {
                lane.slot_class.is_some_and(|holds| critical == (holds == Priority::Critical))
            };
            lanes.iter().filter(class).count()
        };
        let limits = self.scheduler.backlog.limits();
        let extra = limits.critical_extra.unwrap();
        let held = busy(false) + busy(true).saturating_sub(extra);
        let backlog = &self.scheduler.backlog;
        assert_eq!((backlog.held(), backlog.critical()), (held, busy(true)));
        if !self.shrunk {
            assert!(held <= limits.of(Priority::High), "{held} slots are held");
        }
        for worker in &self.workers {
            let is_current = worker.config.starts_the_same(&self.scheduler.config);
            assert!(is_current || lanes[worker.lane].is_closing(), "an outdated one gets calls");
        }
        if self.scheduler.config.queue_bytes.is_some() {
            let bytes: u64 = backlog.jobs().map(|job| bytes_of(job) as u64).sum();
            assert_eq!(self.scheduler.bytes, bytes);
        }
        let live = lanes.iter().filter(|lane| lane.worker().is_some()).count();
        assert_eq!(
            live,
            self.workers.len(),
            "a lane has no worker process, or the other way round"
        );
    }

    /// Everything goes on until all that was launched has ended.
    fn drain(&mut self) {
        for round in 0..2_000 {
            if self.ended == self.launched && self.room.is_empty() {
                return;
            }
            self.all_go_on();
            match round % 12 {
                11 => self.happen(Event::Passes(1_100_000_000)),
                3 | 7 => self.happen(Event::Passes(60_000_000)),
                _ => {}
            }
            if round % 48 == 47 {
                // What a stopped worker has begun waits for it.
                self.workers.iter_mut().for_each(|worker| worker.stopped = false);
            }
        }
        panic!("{} of {} have ended, {} wait", self.ended, self.launched, self.room.len());
    }

    /// Each worker comes a bit further.
    fn all_go_on(&mut self) {
        for at in 0..self.workers.len().max(self.starts.len()) {
            let ends = Event::Ends { at, took: 1_000, reply_follows: false };
            for event in [Event::Spawned(at), Event::Ready(at), Event::Begins(at), ends] {
                self.happen(event);
            }
            for event in [Event::Taken(at), Event::Arrives(at), Event::Exits(at)] {
                self.happen(event);
            }
        }
        for _ in 0..self.room.len() {
            self.happen(Event::ChecksRoom(0));
        }
    }

    /// The end of each history: nothing is left over.
    fn finish(mut self) {
        self.drain();
        self.workers.iter_mut().for_each(|worker| worker.stopped = false);
        if !self.closed {
            // Idle worker processes exit, down to those that are kept.
            let rest = self.scheduler.config.idle_timeout + Duration::from_secs(2);
            for _ in 0..4 {
                self.happen(Event::Passes(rest.as_nanos() as u64));
                self.all_go_on();
                self.all_go_on();
            }
            let kept = self.workers.iter().filter(|worker| !worker.ignores_exit).count();
            let min = self.scheduler.config.min_size;
            assert!(kept <= min && self.workers.len() >= min, "{kept} are kept, not {min}");
            self.happen(Event::Closed);
        }
        // Those that do not exit when requested are killed after a while.
        for _ in 0..4 {
            self.all_go_on();
            self.happen(Event::Passes(6_000_000_000));
        }
        self.all_go_on();
        assert!(self.workers.is_empty() && self.starts.is_empty(), "a worker process is left");
        assert!(!self.scheduler.is_busy(), "a stop would wait");
        assert!(self.scheduler.lanes.iter().all(|lane| matches!(lane.stage, Stage::Empty)));
        let backlog = &self.scheduler.backlog;
        assert_eq!((backlog.held(), backlog.critical(), backlog.waiting()), (0, 0, 0));
        assert_eq!((self.scheduler.bytes, self.scheduler.completing), (0, 0));
        assert!(self.tasks.is_empty(), "a task has not ended");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { max_shrink_iters: 4_000, ..ProptestConfig::with_cases(500) })]

    /// The assertions are those of `check_limits` and `dies`.
    #[test]
    fn time_limits_go_by_their_clock(
        config in config(),
        pipelined: bool,
        events in prop::collection::vec(timed_event(), 1..80),
    ) {
        let mut world = World::new(config, pipelined);
        events.into_iter().for_each(|event| world.happen(event));
        world.finish();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { max_shrink_iters: 4_000, ..ProptestConfig::with_cases(2_000) })]

    #[test]
    fn every_call_ends_once_and_in_order(
        config in config(),
        pipelined in prop::bool::weighted(0.75),
        // The scheduler takes calls for short ones then, and sends many ahead.
        warm in prop::option::of(prop::sample::select(Priority::ALL.to_vec())),
        events in prop::collection::vec(event(), 1..80),
    ) {
        let mut world = World::new(config, pipelined);
        if let Some(priority) = warm {
            for _ in 0..3 {
                (0..5).for_each(|_| world.happen(Event::Launch(priority)));
                world.drain();
            }
        }
        for event in events {
            if !(world.closed && matches!(event, Event::Closed)) {
                world.happen(event);
            }
        }
        world.finish();
    }
}

#[test]
fn all_are_replaced_after_failed_start() {
    let mut world = World::new(MpPoolConfig::new(3), true);
    (0..3).for_each(|_| world.happen(Event::Launch(Priority::Normal)));
    world.drain();
    world.all_go_on();
    assert_eq!(world.scheduler.lanes.iter().filter(|lane| lane.is_idle()).count(), 3);
    // The next worker processes are started one at a time.
    world.scheduler.start_failures = 1;
    world.happen(Event::Resized(Box::new(MpPoolConfig::new(3).nice(1))));
    assert_eq!(world.starts.len(), 1);
    (0..3).for_each(|_| world.all_go_on());
    assert_eq!(world.workers.len(), 3, "not all are replaced");
    assert!(world.workers.iter().all(|worker| worker.config.nice == 1 && worker.ready));
    world.finish();
}

#[test]
fn busy_worker_is_replaced_without_waiting_tasks() {
    for dies in [false, true] {
        let mut world = World::new(MpPoolConfig::new(2), true);
        world.happen(Event::Launch(Priority::Normal));
        for event in [Event::Spawned(0), Event::Ready(0), Event::Begins(0)] {
            world.happen(event);
        }
        world.happen(Event::Resized(Box::new(MpPoolConfig::new(2).nice(1))));
        assert!(world.starts.is_empty(), "it runs a task");
        match dies {
            true => world.happen(Event::Dies { at: 0, all_read: true }),
            false => world.drain(),
        }
        assert_eq!(world.starts.len(), 1);
        world.finish();
    }
}

#[test]
fn smaller_pool_replaces_as_many_as_it_may_have() {
    let mut world = World::new(MpPoolConfig::new(4), true);
    (0..4).for_each(|_| world.happen(Event::Launch(Priority::Normal)));
    world.drain();
    let smaller = MpPoolConfig::new(1).reserve_high(1).critical_extra(0).nice(1);
    world.happen(Event::Resized(Box::new(smaller)));
    assert_eq!(world.starts.len(), 2);
    world.finish();
}
