//! The engine that all background workers and jobs share: the phases of a worker, and its runs, one
//! after the other.
//!
//! | file | content |
//! |---|---|
//! | `spec` | what a worker is, apart from its function |
//! | `life` | start, stop, hooks, and the end of a generation |
//! | `run` | the runs of a generation, one after the other |
//!
//! ```text
//!           start        stop, or requested by the function         in_flight == 0
//!   New ----------> Active --------------------------> Stopping -----------------> Stopped
//!                     ^                                                               |
//!                     |_________________________ start _______________________________|
//! ```
//!
//! **Generations.** Every start begins a new generation. A context compares the generation that it
//! was created for with the active one, so an old context can't observe a later start.
//!
//! **Operations in flight.** `in_flight` counts what keeps a generation from ending: the hooks of a
//! start or a stop, and a [`WorkerRun`]. There is at most one run at a time: only `advance` creates one,
//! and only after the previous one was released. The operation that releases the last count while
//! the worker is `Stopping` ends the generation. A run that is dropped, because its task was
//! canceled or its supervisor no longer exists, is released by its destructor.
//!
//! **Locks.** Hooks, `on_error` and wakers are user code. They are called without the lock, so that
//! they may call the worker again. A forked copy of the program must not lock, because another
//! thread may have held the lock during the fork: public operations check `fork::is_copy` first.

mod life;
mod run;
mod spec;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use crate::background::now::Now;
use crate::background::schedule::Schedule;
use crate::fork;
use crate::id::{SchedulerKey, TaskId};
use crate::info::{BackgroundWorkerInfo, JobInfo, WorkerKind};
use crate::supervisor::{ActiveWorker, Core, Operation, WorkerSnapshot};
use crate::sync::lock::Mutex;
use crate::task::TaskArc;
use crate::task::waiters::{self, WaiterKey, Waiters};
use crate::time::clock::{self, Stamp};
use crate::time::timer::TimerKey;

pub(in crate::background) use run::{NextRun, WorkerRun};
pub(in crate::background) use spec::{Callbacks, Hook, Ticks, WorkerSpec};

/// Where and how a worker's function runs.
pub(in crate::background) trait Executor: Send + Sync {
    /// Launches a task that makes this run. The task must release the run in any case, at least by
    /// dropping it. Returns `None` if the worker was stopped meanwhile.
    fn launch(self: Arc<Self>, run: WorkerRun) -> Option<TaskArc>;

    /// Drops the function and its captured values, because there are no further runs.
    fn release(&self) {}

    /// Returns the number of items, each of which makes a run due. Returns `None` if the worker has
    /// no queue.
    fn waiting(&self) -> Option<usize> {
        None
    }
}

/// See the documentation of the module.
pub(crate) struct Engine {
    this: Weak<Engine>,
    /// Unique in the process.
    key: u64,
    pub(in crate::background) spec: WorkerSpec,
    pub(in crate::background) core: Weak<Core>,
    /// The supervisor, whose time counts.
    owner: SchedulerKey,
    executor: Arc<dyn Executor>,
    state: Mutex<State>,
    /// The active generation, or 0. For contexts, which read it without the lock.
    active_generation: AtomicU64,
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
    /// The number of starts.
    generation: u64,
    /// The number of operations that keep the generation from ending.
    in_flight: u32,
    /// Whether one of these operations is a run.
    running: bool,
    /// The number of the latest run.
    run: u64,
    /// The task of the current run, once it is known.
    task: Option<TaskArc>,
    /// The hooks of the start have not returned yet, so no run may begin.
    starting: bool,
    /// A new generation starts when this one has ended.
    restart: bool,
    /// The hooks of the stop were called, or are being called.
    stop_announced: bool,
    /// The key of the worker in the list of its supervisor.
    registered: Option<usize>,
    /// Threads that are in a hook or in other user code outside of a task.
    inside_threads: Vec<u64>,
    schedule: Schedule,
    timer: Option<TimerKey>,
    waiters: Waiters,
    last: Option<Stamp>,
    errors: u64,
    lateness: Option<Duration>,
}

impl State {
    /// Returns whether items may be put: the worker is not stopped.
    fn takes_items(&self) -> bool {
        matches!(self.phase, Phase::New | Phase::Active) || self.restart
    }
}

impl Engine {
    pub(in crate::background) fn new(
        spec: WorkerSpec,
        schedule: Schedule,
        core: &Arc<Core>,
        executor: Arc<dyn Executor>,
    ) -> Arc<Engine> {
        static LAST: AtomicU64 = AtomicU64::new(0);
        let is_job = spec.kind == WorkerKind::Job;
        let engine = Arc::new_cyclic(|this| Engine {
            this: Weak::clone(this),
            key: LAST.fetch_add(1, Ordering::Relaxed) + 1,
            spec,
            core: Arc::downgrade(core),
            owner: core.key(),
            executor,
            state: Mutex::new(State {
                phase: Phase::New,
                generation: 0,
                in_flight: 0,
                running: false,
                run: 0,
                task: None,
                starting: false,
                restart: false,
                stop_announced: false,
                registered: None,
                inside_threads: Vec::new(),
                schedule,
                timer: None,
                waiters: Waiters::NONE,
                last: None,
                errors: 0,
                lateness: None,
            }),
            active_generation: AtomicU64::new(0),
            runs: AtomicU64::new(0),
        });
        // A job starts at once, and can't start again.
        if !is_job && !fork::is_copy() {
            core.add_known(Arc::downgrade(&engine) as Weak<dyn ActiveWorker>);
        }
        engine
    }

    /// Returns the time of the supervisor.
    fn now(&self) -> Now {
        Now::read(Some(self.owner))
    }

    fn arc(&self) -> Arc<Engine> {
        self.this.upgrade().expect("the caller holds a reference")
    }

    pub(in crate::background) fn runs(&self) -> u64 {
        // Acquire: a caller that sees the count of a run also sees the effects of that run.
        self.runs.load(Ordering::Acquire)
    }

    pub(in crate::background) fn last(&self) -> Option<Stamp> {
        if fork::is_copy() { None } else { self.state.lock().last }
    }

    /// Returns whether the worker makes runs, or will do so without another start.
    pub(in crate::background) fn is_active(&self) -> bool {
        if fork::is_copy() {
            return false;
        }
        let state = self.state.lock();
        state.phase == Phase::Active || state.restart
    }

    /// Returns whether the worker was started and has not stopped.
    pub(in crate::background) fn is_started(&self) -> bool {
        !fork::is_copy() && matches!(self.state.lock().phase, Phase::Active | Phase::Stopping)
    }

    /// Returns whether the worker was started and is no longer active.
    pub(in crate::background) fn is_stopped(&self) -> bool {
        if fork::is_copy() {
            return true;
        }
        let state = self.state.lock();
        matches!(state.phase, Phase::Stopping | Phase::Stopped) && !state.restart
    }

    /// Returns whether a generation has ended, or is ending.
    pub(in crate::background) fn is_over(&self, generation: u64) -> bool {
        // Without the lock, because functions call this in loops. Acquire: what was done before the
        // request to stop is visible.
        self.active_generation.load(Ordering::Acquire) != generation
    }

    /// Completes when a generation has ended, or is ending.
    pub(in crate::background) fn poll_over(
        &self,
        generation: u64,
        key: WaiterKey,
        context: &Context<'_>,
    ) -> Poll<()> {
        self.poll(key, context, |_| self.is_over(generation))
    }

    pub(in crate::background) fn forget_waiter(&self, key: WaiterKey) {
        if fork::is_copy() {
            return;
        }
        let old = self.state.lock().waiters.remove(key);
        waiters::drop_waker(old);
    }

    fn poll(
        &self,
        key: WaiterKey,
        context: &Context<'_>,
        ready: impl FnOnce(&State) -> bool,
    ) -> Poll<()> {
        if fork::is_copy() {
            return Poll::Ready(());
        }
        let waker = context.waker().clone();
        let mut state = self.state.lock();
        let ready = ready(&state);
        let (old, spare) = match ready {
            true => (state.waiters.remove(key), Some(waker)),
            false => (state.waiters.add(key, waker), None),
        };
        drop(state);
        waiters::drop_waker(old);
        waiters::drop_waker(spare);
        if ready { Poll::Ready(()) } else { Poll::Pending }
    }
}

impl ActiveWorker for Engine {
    fn stop_nowait(&self) {
        let _life = Engine::stop_nowait(self);
    }

    fn timed_run(&self) -> Option<TaskId> {
        let state = self.state.lock();
        let task = state.task.as_ref().filter(|_| self.spec.kind != WorkerKind::Loop)?;
        Some(task.header().id())
    }

    fn snapshot(&self) -> WorkerSnapshot {
        let waiting = self.executor.waiting();
        let state = self.state.lock();
        let active = state.phase == Phase::Active;
        let last_executed = state.last.map(clock::system_time);
        let (running, errors, lateness) = (state.running, state.errors, state.lateness);
        let next = state.timer.map(|key| clock::system_time(clock::stamp(key.deadline())));
        drop(state);
        let (name, runs) = (self.spec.name().to_owned(), self.runs());
        match self.spec.kind {
            WorkerKind::Job => WorkerSnapshot::Job(JobInfo {
                name,
                running,
                runs,
                errors,
                last_executed,
                lateness,
                next,
            }),
            kind => WorkerSnapshot::Worker(BackgroundWorkerInfo {
                name,
                kind,
                priority: self.spec.priority,
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

    fn key(&self) -> u64 {
        self.key
    }

    fn operations(&self) -> Vec<Operation> {
        let supervised = self.core.upgrade().is_some_and(|core| core.can_start());
        let state = self.state.lock();
        let active = state.phase == Phase::Active;
        if !active && !state.restart {
            // A job that has ended has dropped its function.
            let can_start = supervised && self.spec.kind != WorkerKind::Job;
            return if can_start { vec![Operation::Start] } else { Vec::new() };
        }
        match self.spec.kind {
            WorkerKind::Interval | WorkerKind::Event if active => {
                vec![Operation::Stop, Operation::Trigger]
            }
            _ => vec![Operation::Stop],
        }
    }

    fn perform(&self, operation: Operation) {
        match operation {
            Operation::Start => self.start_nowait(),
            Operation::Stop => _ = Engine::stop_nowait(self),
            Operation::Trigger => _ = self.trigger(),
        }
    }
}
