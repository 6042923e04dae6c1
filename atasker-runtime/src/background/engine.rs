//! What all background workers and jobs share: the phases of their life, and one run after the
//! other.
//!
//! ```text
//!           start          stop, or the function says so        nothing of it is under way
//!   New ----------> Active ------------------------> Stopping -----------------> Stopped
//!                     ^                                                             |
//!                     |________________________ start ______________________________|
//! ```
//!
//! **Who owns what.** Whatever is under way holds the engine *busy*: the hooks of a start or a stop,
//! and a [`Run`]. There is at most one run at a time: only `go_on` makes one, and only while the
//! last has been given back. Whoever gives the last hold back in `Stopping` ends the life. A run
//! that is dropped, because its task was canceled or its supervisor is gone, is given back all the
//! same.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};
use std::thread::ThreadId;
use std::time::{Duration, Instant};

use parking_lot::{Mutex, MutexGuard};

use crate::background::context::WorkerContext;
use crate::background::outcome::{RunEnd, WorkerError};
use crate::background::schedule::{Due, Now, Schedule};
use crate::background::wall_clock;
use crate::clock::{self, Stamp};
use crate::error::TaskError;
use crate::info::{BackgroundWorkerInfo, JobInfo, SupervisorInfo, WorkerKind};
use crate::priority::Priority;
use crate::supervisor::{Core, Recurring};
use crate::task::context::TaskContext;
use crate::task::waiters::{WaiterKey, Waiters};
use crate::task::{AnyTask, current, panic, park, verbs};
use crate::timer::{self, TimerKey};

/// A run that could not be launched is tried again after so long.
const PAUSE: Duration = Duration::from_millis(100);

/// Called when a worker starts or stops.
pub(super) type Hook = Box<dyn Fn(&WorkerContext) + Send + Sync>;
/// Told of errors; says whether the worker goes on.
pub(super) type OnError = Box<dyn Fn(&WorkerError) -> ControlFlow<()> + Send + Sync>;

/// What is called at the ends of a worker's life.
#[derive(Default)]
pub(super) struct Hooks {
    pub(super) before_start: Vec<Hook>,
    pub(super) after_start: Vec<Hook>,
    pub(super) before_stop: Vec<Hook>,
    pub(super) after_stop: Vec<Hook>,
}

/// What a worker is, apart from its function.
pub(super) struct Traits {
    pub(super) name: String,
    pub(super) kind: WorkerKind,
    pub(super) priority: Priority,
    pub(super) on_error: Option<OnError>,
    pub(super) hooks: Hooks,
}

/// Where and how a worker's function runs.
pub(super) trait Runner: Send + Sync {
    /// Launches a task that makes this run. Whatever becomes of the task, it gives the run back, if
    /// only by dropping it. `None`: it was stopped meanwhile.
    fn launch(&self, run: Run) -> Option<Arc<dyn AnyTask>>;

    /// Whether something waits that makes a run due.
    fn has_items(&self) -> bool {
        false
    }

    /// Nothing will run any more: lets the function go, with all that it holds.
    fn release(&self) {}

    /// How many such things there are.
    fn waiting(&self) -> Option<usize> {
        None
    }
}

/// See the module's documentation.
pub(crate) struct Engine {
    me: Weak<Engine>,
    pub(super) traits: Traits,
    pub(super) core: Weak<Core>,
    runner: Box<dyn Runner>,
    state: Mutex<State>,
    /// The life under way, if it is active; else 0. For contexts, without the lock.
    life: AtomicU64,
    runs: AtomicU64,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    New,
    Active,
    Stopping,
    Stopped,
}

struct State {
    phase: Phase,
    /// Starts so far.
    lives: u64,
    /// How many things are under way.
    holds: u32,
    /// One of them is a run.
    running: bool,
    /// The number of the latest run.
    run: u64,
    /// The task of the run under way, once that is known.
    task: Option<Arc<dyn AnyTask>>,
    /// The hooks of a start have not all been called.
    starting: bool,
    /// A new life begins at the end of this one.
    restart: bool,
    /// The hooks of a stop have been called, or are about to be.
    stop_told: bool,
    /// Its place in its supervisor's list.
    registered: Option<u64>,
    /// Threads that are in a hook, or in something else of the user's that is no task.
    inside: Vec<ThreadId>,
    schedule: Schedule,
    timer: Option<(Instant, TimerKey)>,
    waiters: Waiters,
    last: Option<Stamp>,
    errors: u64,
    lateness: Option<Duration>,
}

impl State {
    /// Items may be put: it was not stopped.
    fn takes_items(&self) -> bool {
        matches!(self.phase, Phase::New | Phase::Active) || self.restart
    }
}

/// One run: the right to make it, and the duty to give it back.
pub(super) struct Run {
    engine: Arc<Engine>,
    life: u64,
    number: u64,
    planned: Option<Instant>,
    begun: bool,
    /// It was given back.
    over: bool,
}

/// Why a run was given back.
pub(super) enum Over {
    /// The function has returned.
    Returned(RunEnd),
    /// Its task failed.
    Failed(TaskError),
    /// It never began, or nobody knows.
    Lost,
}

impl From<Result<RunEnd, TaskError>> for Over {
    fn from(end: Result<RunEnd, TaskError>) -> Self {
        match end {
            Ok(end) => Over::Returned(end),
            Err(error) => Over::Failed(error),
        }
    }
}

impl Engine {
    pub(super) fn new(
        traits: Traits,
        schedule: Schedule,
        core: Weak<Core>,
        runner: Box<dyn Runner>,
    ) -> Arc<Engine> {
        Arc::new_cyclic(|me| Engine {
            me: Weak::clone(me),
            traits,
            core,
            runner,
            state: Mutex::new(State {
                phase: Phase::New,
                lives: 0,
                holds: 0,
                running: false,
                run: 0,
                task: None,
                starting: false,
                restart: false,
                stop_told: false,
                registered: None,
                inside: Vec::new(),
                schedule,
                timer: None,
                waiters: Waiters::NONE,
                last: None,
                errors: 0,
                lateness: None,
            }),
            life: AtomicU64::new(0),
            runs: AtomicU64::new(0),
        })
    }

    fn me(&self) -> Arc<Engine> {
        self.me.upgrade().expect("whoever calls holds it")
    }

    pub(super) fn runs(&self) -> u64 {
        self.runs.load(Ordering::Acquire)
    }

    pub(super) fn last(&self) -> Option<Stamp> {
        self.state.lock().last
    }

    /// Whether it makes runs, or will do so without another start.
    pub(super) fn is_active(&self) -> bool {
        let state = self.state.lock();
        state.phase == Phase::Active || state.restart
    }

    /// Whether it was started and has not ended.
    pub(super) fn is_started(&self) -> bool {
        matches!(self.state.lock().phase, Phase::Active | Phase::Stopping)
    }

    /// Whether it was started and is not active any more.
    pub(super) fn is_stopped(&self) -> bool {
        let state = self.state.lock();
        matches!(state.phase, Phase::Stopping | Phase::Stopped) && !state.restart
    }

    /// Whether this life is over, or about to be.
    pub(super) fn is_over(&self, life: u64) -> bool {
        self.life.load(Ordering::Acquire) != life
    }

    /// Is ready when this life is over, or about to be.
    pub(super) fn poll_over(&self, life: u64, key: WaiterKey, context: &Context<'_>) -> Poll<()> {
        self.poll(key, context, |_| self.is_over(life))
    }

    pub(super) fn forget_waiter(&self, key: WaiterKey) {
        let old = self.state.lock().waiters.remove(key);
        drop(old);
    }

    fn poll(
        &self,
        key: WaiterKey,
        context: &Context<'_>,
        ready: impl FnOnce(&State) -> bool,
    ) -> Poll<()> {
        let mut state = self.state.lock();
        let ready = ready(&state);
        let old = match ready {
            true => state.waiters.remove(key),
            false => state.waiters.add(key, context.waker()),
        };
        drop(state);
        drop(old);
        if ready { Poll::Ready(()) } else { Poll::Pending }
    }
}

/// Start and stop.
impl Engine {
    /// Begins a life. False: it is active, or its supervisor is stopped. May have to wait for the end
    /// of the life before.
    #[track_caller]
    pub(super) fn start(&self) -> bool {
        let life = loop {
            let mut state = self.state.lock();
            match state.phase {
                Phase::Active => return false,
                Phase::New | Phase::Stopped => {
                    state.phase = Phase::Active;
                    state.restart = false;
                    state.lives += 1;
                    state.holds += 1;
                    state.starting = true;
                    state.stop_told = false;
                    // Here, so that what the hooks ask for counts.
                    state.schedule.start(Now::read());
                    if state.schedule.goes_by_the_wall_clock() && state.lives == 1 {
                        wall_clock::watch(Weak::clone(&self.me));
                    }
                    self.life.store(state.lives, Ordering::Release);
                    break state.lives;
                }
                Phase::Stopping if self.is_inside(&state) => {
                    return !std::mem::replace(&mut state.restart, true);
                }
                Phase::Stopping if state.restart => return false,
                Phase::Stopping => {
                    let life = state.lives;
                    drop(state);
                    self.wait_for_the_end_of(life);
                }
            }
        };
        self.begin(life)
    }

    /// The rest of a start: the life has begun, and is held.
    fn begin(&self, life: u64) -> bool {
        let member = Arc::clone(&self.me()) as Arc<dyn Recurring>;
        let registered = self.core.upgrade().and_then(|core| core.register(member));
        if registered.is_some() {
            tracing::debug!(
                target: "atasker", worker = self.traits.name, kind = ?self.traits.kind,
                "background worker started"
            );
            self.call_hooks(&self.traits.hooks.before_start, life);
            self.call_hooks(&self.traits.hooks.after_start, life);
        } else {
            tracing::warn!(
                target: "atasker", worker = self.traits.name,
                "a background worker can't start: its supervisor is stopped"
            );
        }
        let mut state = self.state.lock();
        state.starting = false;
        state.registered = registered;
        if registered.is_none() {
            // This life was none: nothing is told of its end.
            state.stop_told = true;
            self.turn_to_stopping(&mut state);
        }
        self.give_back(state);
        registered.is_some()
    }

    /// Asks for the end of this life and does not wait for it: which one it is, if there is one.
    pub(super) fn stop_nowait(&self) -> Option<u64> {
        let mut state = self.state.lock();
        state.restart = false;
        match state.phase {
            Phase::New | Phase::Stopped => return None,
            Phase::Stopping => return Some(state.lives),
            Phase::Active => {}
        }
        let life = state.lives;
        self.turn_to_stopping(&mut state);
        state.holds += 1;
        let task = state.task.clone();
        state = self.tell_stop(state);
        drop(state);
        if let Some(task) = task {
            verbs::stop(&task);
        }
        self.give_back(self.state.lock());
        Some(life)
    }

    /// The same, and waits for the end, except within the worker itself.
    #[track_caller]
    pub(super) fn stop(&self) {
        if let Some(life) = self.stop_nowait()
            && !self.is_inside(&self.state.lock())
        {
            self.wait_for_the_end_of(life);
        }
    }

    /// The same as a future.
    pub(super) async fn stop_async(&self) {
        let Some(life) = self.stop_nowait() else { return };
        if self.is_inside(&self.state.lock()) {
            return;
        }
        let wait = Wait { engine: self, key: WaiterKey::next(), life };
        std::future::poll_fn(|context| wait.poll(context)).await;
    }

    #[track_caller]
    pub(super) fn restart(&self) {
        if self.is_inside(&self.state.lock()) {
            self.stop_nowait();
            self.start();
            return;
        }
        self.stop();
        self.start();
    }

    #[track_caller]
    fn wait_for_the_end_of(&self, life: u64) {
        let wait = Wait { engine: self, key: WaiterKey::next(), life };
        park::block_on(None, |context| wait.poll(context));
    }

    /// Whether the caller is part of this worker: its function, a hook.
    fn is_inside(&self, state: &State) -> bool {
        state.inside.contains(&std::thread::current().id())
            || state.task.as_ref().is_some_and(|task| {
                current::with(|header| header.is_some_and(|h| h.id == task.header().id))
            })
    }

    fn turn_to_stopping(&self, state: &mut State) {
        state.phase = Phase::Stopping;
        self.life.store(0, Ordering::Release);
        if let Some((_, key)) = state.timer.take() {
            timer::cancel(key);
        }
    }

    /// Tells contexts and hooks that the end of this life has begun, once. The caller holds it.
    fn tell_stop<'a>(&'a self, mut state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        let waiters = std::mem::take(&mut state.waiters);
        let told = std::mem::replace(&mut state.stop_told, true);
        let life = state.lives;
        drop(state);
        waiters.wake();
        if !told {
            self.call_hooks(&self.traits.hooks.before_stop, life);
        }
        self.state.lock()
    }

    fn call_hooks(&self, hooks: &[Hook], life: u64) {
        if hooks.is_empty() {
            return;
        }
        let context = WorkerContext::outside(self.me(), life);
        for hook in hooks {
            if self.within(|| hook(&context)).is_err() {
                tracing::error!(
                    target: "atasker", worker = self.traits.name,
                    "a hook of a background worker panicked"
                );
            }
        }
    }

    /// Calls something of the user's that is no task, for `is_inside` to know.
    pub(super) fn within<T>(&self, f: impl FnOnce() -> T) -> Result<T, TaskError> {
        let thread = std::thread::current().id();
        self.state.lock().inside.push(thread);
        let outcome = panic::catch(f);
        let mut state = self.state.lock();
        if let Some(at) = state.inside.iter().position(|other| *other == thread) {
            state.inside.swap_remove(at);
        }
        outcome
    }

    /// What was under way is over: the end of the life if it was the last, else the next run if one
    /// is due.
    fn give_back(&self, mut state: MutexGuard<'_, State>) {
        state.holds -= 1;
        if state.holds > 0 || state.phase != Phase::Stopping {
            return self.go_on(state);
        }
        // Nobody else is here: the hold of this end keeps it so.
        state.holds = 1;
        let registered = state.registered.take();
        let life = state.lives;
        drop(self.tell_stop(state));
        if let Some(key) = registered {
            self.call_hooks(&self.traits.hooks.after_stop, life);
            if let Some(core) = self.core.upgrade() {
                core.unregister(key);
            }
            tracing::debug!(
                target: "atasker", worker = self.traits.name, runs = self.runs(),
                "background worker stopped"
            );
        }
        if self.traits.kind == WorkerKind::Job {
            self.runner.release();
        }
        let mut state = self.state.lock();
        state.holds = 0;
        state.phase = Phase::Stopped;
        let restart = std::mem::take(&mut state.restart);
        let waiters = std::mem::take(&mut state.waiters);
        drop(state);
        waiters.wake();
        if restart {
            self.start();
        }
    }
}

/// Waits for the end of a life.
struct Wait<'a> {
    engine: &'a Engine,
    key: WaiterKey,
    /// That one: by the time that somebody looks, another may have begun.
    life: u64,
}

impl Wait<'_> {
    fn poll(&self, context: &Context<'_>) -> Poll<()> {
        self.engine.poll(self.key, context, |state| {
            state.lives != self.life || matches!(state.phase, Phase::New | Phase::Stopped)
        })
    }
}

impl Drop for Wait<'_> {
    fn drop(&mut self) {
        self.engine.forget_waiter(self.key);
    }
}

/// Runs.
impl Engine {
    /// Somebody asks for a run; one that is under way is followed by another. False: it is not
    /// active.
    pub(super) fn trigger(&self) -> bool {
        let mut state = self.state.lock();
        if state.phase != Phase::Active {
            return false;
        }
        if self.runner.waiting().is_some() {
            // Items make the runs.
            return true;
        }
        state.schedule.want();
        self.go_on(state);
        true
    }

    /// Does `f`, which is told whether items are taken. Then looks whether a run is due.
    pub(super) fn offer<T>(&self, f: impl FnOnce(bool) -> T) -> T {
        let state = self.state.lock();
        let result = f(state.takes_items());
        self.go_on(state);
        result
    }

    /// Is ready when no items are taken.
    pub(super) fn poll_closed(&self, key: WaiterKey, context: &Context<'_>) -> Poll<()> {
        self.poll(key, context, |state| !state.takes_items())
    }

    /// Whether the caller is the worker's own function.
    pub(super) fn is_own(&self) -> bool {
        self.is_inside(&self.state.lock())
    }

    /// The wall clock was set: what goes by it is planned anew.
    pub(super) fn clock_was_set(&self) {
        let mut state = self.state.lock();
        state.schedule.clock_was_set(Now::read());
        self.go_on(state);
    }

    /// Makes the next run, if one is due and none is under way; else sees to it that somebody looks
    /// again in time.
    fn go_on(&self, mut state: MutexGuard<'_, State>) {
        if let Some(run) = self.next_run(&mut state) {
            drop(state);
            self.launch(run);
        } else if state.phase == Phase::Stopping && state.holds == 0 {
            // The plan is fulfilled.
            state.holds = 1;
            self.give_back(state);
        }
    }

    fn next_run(&self, state: &mut State) -> Option<Run> {
        if state.phase != Phase::Active || state.running || state.starting {
            return None;
        }
        let due = state.schedule.due(Now::read(), self.runner.has_items());
        match due {
            Due::Now(planned) => {
                if let Some((_, key)) = state.timer.take() {
                    timer::cancel(key);
                }
                state.running = true;
                state.run += 1;
                state.holds += 1;
                Some(Run {
                    engine: self.me(),
                    life: state.lives,
                    number: state.run,
                    planned,
                    begun: false,
                    over: false,
                })
            }
            Due::At(at) => {
                if state.timer.is_none_or(|(there, _)| there != at) {
                    if let Some((_, key)) = state.timer.take() {
                        timer::cancel(key);
                    }
                    let me = Weak::clone(&self.me);
                    let key = timer::at(at, move || {
                        if let Some(engine) = me.upgrade() {
                            let mut state = engine.state.lock();
                            state.timer.take_if(|(there, _)| *there == at);
                            engine.go_on(state);
                        }
                    });
                    state.timer = Some((at, key));
                }
                None
            }
            Due::Unknown => None,
            Due::Never => {
                self.turn_to_stopping(state);
                None
            }
        }
    }

    fn launch(&self, run: Run) {
        let number = run.number;
        let Some(task) = self.runner.launch(run) else {
            return;
        };
        let mut state = self.state.lock();
        if !state.running || state.run != number {
            return;
        }
        let stopped = state.phase != Phase::Active;
        state.task = Some(Arc::clone(&task));
        drop(state);
        if stopped {
            verbs::stop(&task);
        }
    }

    /// A run is over. If the next is due at once and the caller wants to make it: here it is.
    fn over(&self, run: &Run, over: Over, keep: bool) -> Option<Run> {
        let number = self.runs() + u64::from(run.begun);
        let end = match over {
            Over::Returned(RunEnd::Err(text)) => {
                self.tell(&WorkerError::returned(&self.traits.name, number, text))
            }
            Over::Returned(end) => end,
            // A run that was ended from outside is no fault of the worker's.
            Over::Failed(TaskError::Canceled | TaskError::SupervisorStopped) | Over::Lost => {
                RunEnd::Continue
            }
            Over::Failed(error) => self.tell(&WorkerError::task(&self.traits.name, number, error)),
        };
        let supervised = self.core.upgrade().is_some_and(|core| core.is_active());
        let stop = matches!(end, RunEnd::Stop) || !supervised;
        let mut state = self.state.lock();
        if run.begun {
            self.runs.fetch_add(1, Ordering::AcqRel);
        }
        let now = Now::read();
        state.schedule.ended(now);
        if !run.begun {
            state.schedule.hold(now.monotonic + PAUSE);
            if run.planned.is_none() && self.runner.waiting().is_none() {
                state.schedule.want();
            }
        }
        state.running = false;
        let task = state.task.take();
        if stop && state.phase == Phase::Active {
            self.turn_to_stopping(&mut state);
            state = self.tell_stop(state);
        }
        let next = if keep && state.holds == 1 { self.next_run(&mut state) } else { None };
        match next {
            Some(next) => {
                // In the same task as the one before.
                state.holds -= 1;
                state.task = task;
                return Some(next);
            }
            None => self.give_back(state),
        }
        None
    }

    /// Tells `on_error`.
    fn tell(&self, error: &WorkerError) -> RunEnd {
        self.state.lock().errors += 1;
        let Some(on_error) = &self.traits.on_error else {
            tracing::error!(target: "atasker", worker = self.traits.name, "{error}");
            return RunEnd::Continue;
        };
        match self.within(|| on_error(error)) {
            Ok(ControlFlow::Break(())) => RunEnd::Stop,
            Ok(ControlFlow::Continue(())) => RunEnd::Continue,
            Err(panic) => {
                tracing::error!(
                    target: "atasker", worker = self.traits.name,
                    "`on_error` of a background worker failed ({panic}) when it was told: {error}"
                );
                RunEnd::Continue
            }
        }
    }
}

impl Run {
    pub(super) fn engine(&self) -> &Arc<Engine> {
        &self.engine
    }

    /// What the worker's function is given in this run, which is made by that task.
    pub(super) fn context(&self, task: &TaskContext) -> WorkerContext {
        WorkerContext::inside(Arc::clone(&self.engine), self.life, task.clone())
    }

    /// The run begins, in that task. False: the worker was stopped meanwhile, so it does not.
    #[must_use]
    pub(super) fn begin(&mut self, task: Option<&Arc<dyn AnyTask>>) -> bool {
        let mut state = self.engine.state.lock();
        if state.phase != Phase::Active || state.lives != self.life {
            return false;
        }
        if let Some(task) = task {
            state.task = Some(Arc::clone(task));
        }
        state.last = Some(clock::now());
        state.lateness = self.planned.map(|planned| planned.elapsed());
        if let Some(lateness) = state.lateness {
            drop(state);
            tracing::trace!(
                target: "atasker", worker = self.engine.traits.name, ?lateness, "run"
            );
        }
        self.begun = true;
        true
    }

    /// The run is over. If the next is due at once, and the caller can `keep` its place: here it is.
    pub(super) fn end(mut self, over: Over, keep: bool) -> Option<Run> {
        self.over = true;
        self.engine.over(&self, over, keep)
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        if !self.over {
            self.engine.over(self, Over::Lost, false);
        }
    }
}

impl Recurring for Engine {
    fn stop_nowait(&self) {
        let _life = Engine::stop_nowait(self);
    }

    fn show(&self, info: &mut SupervisorInfo) {
        let waiting = self.runner.waiting();
        let state = self.state.lock();
        let active = state.phase == Phase::Active;
        let last_executed = state.last.map(clock::system_time);
        let (running, errors, lateness) = (state.running, state.errors, state.lateness);
        let next = state.timer.map(|(at, _)| clock::system_time(clock::stamp(at)));
        drop(state);
        let (name, runs) = (self.traits.name.clone(), self.runs());
        match self.traits.kind {
            WorkerKind::Job => info.jobs.push(JobInfo {
                name,
                running,
                runs,
                errors,
                last_executed,
                lateness,
                next,
            }),
            kind => info.workers.push(BackgroundWorkerInfo {
                name,
                kind,
                priority: self.traits.priority,
                active,
                running,
                runs,
                errors,
                last_executed,
                lateness,
                next,
                waiting,
            }),
        }
    }
}
