//! The runs of a worker, one after the other.

use std::ops::ControlFlow;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use crate::background::engine::{Engine, Phase, State};
use crate::background::outcome::RunEnd;
use crate::background::schedule::{Due, QueueState};
use crate::background::wall_clock::OnClockSet;
use crate::error::{TaskError, WorkerError};
use crate::fork;
use crate::observe::observer::BackgroundRun;
use crate::sync::lock::MutexGuard;
use crate::task::waiters::WaiterKey;
use crate::task::{TaskArc, control};
use crate::time::clock::{self, Stamp};
use crate::time::source;
use crate::time::timer::{self, OnDue, TimerKey};
use crate::unwind::log;

/// The delay before a run that could not be launched is tried again.
const RETRY_DELAY: Duration = Duration::from_millis(100);

/// The right to make one run, and the obligation to release it.
pub(in crate::background) struct WorkerRun {
    engine: Arc<Engine>,
    generation: u64,
    number: u64,
    planned: Option<Instant>,
    /// Identifies a planned run among all programs that may make it.
    tick: Option<String>,
    begun: bool,
    /// Another program makes it.
    skipped: bool,
    /// When it has begun, and its delay against the schedule.
    began: Stamp,
    lateness: Option<Duration>,
    /// The run was released.
    completed: bool,
}

/// The result of a run.
pub(in crate::background) enum RunResult {
    /// The function has returned.
    Returned(RunEnd),
    /// The task of the run failed.
    Failed(TaskError),
    /// The run never began, or its result is unknown.
    Lost,
}

/// The task that makes the next run.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::background) enum NextRun {
    /// Each run has its own task.
    NewTask,
    /// All runs are made by one task, as long as the next one is due at once.
    SameTask,
}

impl From<Result<RunEnd, TaskError>> for RunResult {
    fn from(end: Result<RunEnd, TaskError>) -> Self {
        match end {
            Ok(end) => RunResult::Returned(end),
            Err(error) => RunResult::Failed(error),
        }
    }
}

impl Engine {
    /// Requests a run, which follows the current one. Returns false if the worker is not active.
    pub(in crate::background) fn trigger(&self) -> bool {
        if fork::is_copy() {
            return false;
        }
        let mut state = self.state.lock();
        if state.phase != Phase::Active {
            return false;
        }
        if self.executor.waiting().is_some() {
            // A queue worker runs for items only.
            return true;
        }
        state.schedule.request_run();
        self.advance(state);
        true
    }

    /// Calls `f` with whether items are accepted, and then makes a run if one is due.
    ///
    /// `f` runs under the lock, so that no item can be put after the worker has stopped.
    pub(in crate::background) fn offer<T>(&self, f: impl FnOnce(bool) -> T) -> T {
        if fork::is_copy() {
            return f(false);
        }
        let state = self.state.lock();
        let result = f(state.takes_items());
        self.advance(state);
        result
    }

    /// Completes when items are no longer accepted.
    pub(in crate::background) fn poll_closed(
        &self,
        key: WaiterKey,
        context: &Context<'_>,
    ) -> Poll<()> {
        self.poll(key, context, |state| !state.takes_items())
    }

    /// Returns whether the caller is the worker's own function.
    pub(in crate::background) fn is_own(&self) -> bool {
        !fork::is_copy() && self.is_inside(&self.state.lock())
    }

    /// Makes the next run if one is due and none is in progress. Otherwise sets the timer for the
    /// next check, if needed.
    pub(super) fn advance(&self, mut state: MutexGuard<'_, State>) {
        if let Some(run) = self.next_run(&mut state) {
            drop(state);
            self.launch(run);
        } else if state.phase == Phase::Stopping && state.in_flight == 0 {
            // The schedule is completed.
            state.in_flight = 1;
            self.release(state);
        }
    }

    fn next_run(&self, state: &mut State) -> Option<WorkerRun> {
        if state.phase != Phase::Active || state.running || state.starting {
            return None;
        }
        let queue = match self.executor.waiting() {
            None | Some(0) => QueueState::Empty,
            Some(_) => QueueState::HasItems,
        };
        let now = self.now();
        let due = state.schedule.due(&now, queue);
        match due {
            Due::Now(planned) => {
                if let Some(key) = state.timer.take() {
                    timer::cancel(key);
                }
                state.running = true;
                state.run += 1;
                state.in_flight += 1;
                let is_shared = self.spec.ticks.is_some();
                let tick = planned.filter(|_| is_shared).map(|at| state.schedule.tick(at, &now));
                Some(WorkerRun {
                    engine: self.arc(),
                    generation: state.generation,
                    number: state.run,
                    planned,
                    tick,
                    begun: false,
                    skipped: false,
                    began: 0,
                    lateness: None,
                    completed: false,
                })
            }
            Due::At(at) => {
                if state.timer.is_none_or(|key| key.deadline() != at) {
                    if let Some(key) = state.timer.take() {
                        timer::cancel(key);
                    }
                    // Weak: the timer doesn't keep a dropped worker alive.
                    let this = Weak::<Engine>::clone(&self.this);
                    state.timer = Some(source::notify_at(self.owner, at, this));
                }
                None
            }
            Due::Unknown => None,
            Due::Never => {
                self.begin_stopping(state);
                None
            }
        }
    }

    fn launch(&self, mut run: WorkerRun) {
        let (Some(ticks), Some(tick)) = (&self.spec.ticks, run.tick.take()) else {
            return self.launch_own(run);
        };
        let engine = self.arc();
        let then = move |is_own| match is_own {
            true => engine.launch_own(run),
            false => run.skip(),
        };
        ticks.ask(&self.core, tick, Box::new(then));
    }

    fn launch_own(&self, run: WorkerRun) {
        let number = run.number;
        let Some(task) = Arc::clone(&self.executor).launch(run) else {
            return;
        };
        let mut state = self.state.lock();
        // The run may have completed already.
        if !state.running || state.run != number {
            return;
        }
        // A stop before this point did not know the task.
        let stopped = state.phase != Phase::Active;
        state.task = Some(task.clone());
        drop(state);
        if stopped {
            control::stop(&task);
        }
    }

    /// Completes a run. Returns the next run if it is due at once and the caller can make it in the
    /// same task.
    fn complete_run(&self, run: &WorkerRun, result: RunResult, next: NextRun) -> Option<WorkerRun> {
        let number = self.runs() + u64::from(run.begun);
        let (end, error) = match result {
            RunResult::Returned(RunEnd::Err(text)) => {
                (RunEnd::Continue, Some(WorkerError::returned(self.spec.name(), number, text)))
            }
            RunResult::Returned(end) => (end, None),
            // A run that was ended from outside is not an error of the worker.
            RunResult::Failed(TaskError::Canceled | TaskError::SupervisorStopped)
            | RunResult::Lost => (RunEnd::Continue, None),
            RunResult::Failed(error) => {
                (RunEnd::Continue, Some(WorkerError::task(self.spec.name(), number, error)))
            }
        };
        if run.begun {
            self.tell_observers(run, error.as_ref());
        }
        let end = error.map_or(end, |error| self.report_error(&error));
        let supervised = self.core.upgrade().is_some_and(|core| core.is_active());
        let stop = matches!(end, RunEnd::Stop) || !supervised;
        let mut state = self.state.lock();
        if run.begun {
            self.runs.fetch_add(1, Ordering::AcqRel);
        }
        let now = self.now();
        state.schedule.ended(&now);
        if !run.begun && !run.skipped {
            // The run was not made. Items remain in their queue, and after a planned run, `ended`
            // has planned the next one. A request must be repeated.
            state.schedule.hold_off(now.monotonic + RETRY_DELAY);
            if run.planned.is_none() && self.executor.waiting().is_none() {
                state.schedule.request_run();
            }
        }
        state.running = false;
        let task = state.task.take();
        if stop && state.phase == Phase::Active {
            self.begin_stopping(&mut state);
            state = self.announce_stop(state);
        }
        // Only if this run is the only operation in flight: otherwise hooks of a stop are running.
        let next_run = match next == NextRun::SameTask && state.in_flight == 1 {
            true => self.next_run(&mut state),
            false => None,
        };
        match next_run {
            Some(next_run) => {
                // The task and the count of this run pass to the next one, which has counted
                // itself.
                state.in_flight -= 1;
                state.task = task;
                Some(next_run)
            }
            None => {
                self.release(state);
                None
            }
        }
    }

    /// Tells the observers of the supervisor about a run that is over.
    fn tell_observers(&self, run: &WorkerRun, error: Option<&WorkerError>) {
        let Some(core) = self.core.upgrade().filter(|core| !core.observers().is_empty()) else {
            return;
        };
        let run = BackgroundRun {
            name: self.spec.name(),
            kind: self.spec.kind,
            supervisor: &core.observers().supervisor,
            lateness: run.lateness,
            ran_for: Duration::from_nanos(clock::now().saturating_sub(run.began)),
            error,
        };
        core.observers().each(|observer| observer.background_run(&run));
    }

    /// Passes an error to `on_error`, or logs it.
    fn report_error(&self, error: &WorkerError) -> RunEnd {
        self.state.lock().errors += 1;
        let Some(on_error) = self.spec.callbacks.as_ref().and_then(|all| all.on_error.as_ref())
        else {
            log!(error, worker = self.spec.name(), "{error}");
            return RunEnd::Continue;
        };
        match self.enter(|| on_error(error)) {
            Ok(ControlFlow::Break(())) => RunEnd::Stop,
            Ok(ControlFlow::Continue(())) => RunEnd::Continue,
            Err(panic) => {
                log!(
                    error,
                    worker = self.spec.name(),
                    "`on_error` of a background worker panicked ({panic}) while it handled: {error}"
                );
                RunEnd::Continue
            }
        }
    }
}

impl WorkerRun {
    pub(in crate::background) fn engine(&self) -> &Arc<Engine> {
        &self.engine
    }

    pub(in crate::background) fn generation(&self) -> u64 {
        self.generation
    }

    /// Begins the run, in `task`. Returns false if the worker was stopped meanwhile: the run must
    /// not begin then.
    #[must_use]
    pub(in crate::background) fn begin(&mut self, task: Option<&TaskArc>) -> bool {
        let mut state = self.engine.state.lock();
        if state.phase != Phase::Active || state.generation != self.generation {
            return false;
        }
        if let Some(task) = task {
            state.task = Some(task.clone());
        }
        self.began = clock::now();
        let now = || source::now(Some(self.engine.owner));
        self.lateness = self.planned.map(|planned| now().saturating_duration_since(planned));
        state.last = Some(self.began);
        state.lateness = self.lateness;
        if let Some(lateness) = state.lateness {
            drop(state);
            log!(trace, worker = self.engine.spec.name(), ?lateness, "run");
        }
        self.begun = true;
        true
    }

    /// Leaves the run to another program.
    fn skip(mut self) {
        self.skipped = true;
        let _ = self.end(RunResult::Lost, NextRun::NewTask);
    }

    /// Completes the run. Returns the next run if it is due at once and `next` allows it in the
    /// same task.
    pub(in crate::background) fn end(
        mut self,
        result: RunResult,
        next: NextRun,
    ) -> Option<WorkerRun> {
        self.completed = true;
        self.engine.complete_run(&self, result, next)
    }
}

impl Drop for WorkerRun {
    fn drop(&mut self) {
        if !self.completed {
            self.engine.complete_run(self, RunResult::Lost, NextRun::NewTask);
        }
    }
}

impl OnDue for Engine {
    fn on_due(&self, key: TimerKey) {
        let mut state = self.state.lock();
        // Another entry may have replaced this one meanwhile.
        state.timer.take_if(|there| *there == key);
        self.advance(state);
    }
}

impl OnClockSet for Engine {
    /// Plans the next run again.
    fn on_clock_set(&self) {
        let mut state = self.state.lock();
        state.schedule.on_clock_set(&self.now());
        self.advance(state);
    }
}
