//! When worker processes are started: for waiting tasks, eagerly, and after failures.

use std::sync::Arc;
use std::time::Duration;

use crate::error::TaskError;
use crate::priority::Priority;
use crate::process::pool::actions::{Action, Actions, Spawn};
use crate::process::pool::events::StartFailureKind;
use crate::process::pool::lane::{Lane, Stage};
use crate::process::pool::location::MAX_LANES;
use crate::process::pool::schedule::Scheduler;
use crate::process::pool::timeouts::NEVER;
use crate::process::transport::Transport;
use crate::time::backoff::backoff;
use crate::time::clock::{self, Stamp};

/// Why a worker process could not be started.
pub(crate) struct StartError {
    pub(crate) why: Arc<str>,
    /// The cause persists until something outside of the program changes.
    pub(crate) is_permanent: bool,
}

/// The number of worker processes in a row that may fail to start before the waiting tasks fail.
const MAX_START_FAILURES: u32 = 5;
/// The same, if all of them were killed from outside. Such kills are not the program's fault and
/// usually pass, so the tasks fail only after about half a minute, when something (the system, for
/// lack of memory) seems to kill every worker process.
const MAX_START_KILLS: u32 = 12;

/// The longest delay before the next start after failures.
const MAX_BACKOFF: Duration = Duration::from_millis(5120);

/// The error of a task for which no worker process could be started.
fn no_worker_error(failures: u32, why: &str) -> TaskError {
    TaskError::not_started(format!(
        "no worker process could be started, {failures} in a row: {why}"
    ))
}

impl<T: Transport> Scheduler<T> {
    /// Starts worker processes for waiting jobs, and eagerly. Returns their number.
    pub(crate) fn start_workers(&mut self, actions: &mut Actions<T>) -> usize {
        if !self.open || self.is_backing_off() {
            return 0;
        }
        // As long as all slots are in use, or no task waits.
        let free = self.backlog.first_priority().map_or(0, |first| self.backlog.free_for(first));
        if free == 0 && self.config.min_size == 0 && self.outdated == 0 {
            return 0;
        }
        let starting = self.lanes.iter().filter(|lane| lane.is_starting()).count();
        let there =
            self.lanes.iter().filter(|lane| lane.is_open() && lane.ready).count() + starting;
        let in_advance = if self.deadlines.eager_start != NEVER { 0 } else { self.config.min_size };
        let idle = self.lanes.iter().filter(|lane| lane.is_idle()).count();
        // The pool may have become smaller.
        let room = self.backlog.free_for(Priority::Critical).saturating_sub(starting + idle);
        let successors = self.outdated.saturating_sub(starting).min(room);
        let mut wanted = in_advance.saturating_sub(there).max(successors);
        if free > 0 {
            let useful = free.min(self.backlog.waiting()).saturating_sub(starting + idle);
            wanted = wanted.max(useful);
        }
        // After a failure, one at a time until one has become ready.
        let most =
            if self.start_failures > 0 { 1usize.saturating_sub(starting) } else { usize::MAX };
        // Successors that can't be started yet are not forgotten.
        self.outdated = match wanted > most {
            true => self.outdated.saturating_sub(most),
            false => 0,
        };
        let wanted = wanted.min(most);
        for started in 0..wanted {
            let free = self.lanes.iter().position(|lane| matches!(lane.stage, Stage::Empty));
            let index = match free {
                Some(index) => index,
                None if self.lanes.len() < MAX_LANES => {
                    self.lanes.push(Lane::default());
                    self.lanes.len() - 1
                }
                None => return started,
            };
            self.started += 1;
            let first = self.lanes[index].start();
            actions.push(Action::Spawn(Spawn {
                lane: index,
                number: self.started,
                first,
                config: Arc::clone(&self.config),
            }));
        }
        wanted
    }

    /// Whether too many starts have failed and no worker process is left.
    fn attempts_exhausted(&self) -> bool {
        let exhausted = self.start_failures - self.start_kills >= MAX_START_FAILURES
            || self.start_failures >= MAX_START_KILLS;
        exhausted && self.lanes.iter().all(|lane| matches!(lane.stage, Stage::Empty))
    }

    /// Whether the next start is to be tried later.
    pub(crate) fn is_backing_off(&self) -> bool {
        self.deadlines.start != NEVER
    }

    /// The error of a task that is launched now, if waiting for the next start would not help: too
    /// many starts have failed for a permanent cause, and the back-off after the latest is not
    /// over.
    pub(crate) fn permanent_start_error(&self) -> Option<TaskError> {
        let error = self.start_error.as_ref().filter(|error| error.is_permanent)?;
        (self.is_backing_off() && self.has_timer && self.attempts_exhausted())
            .then(|| no_worker_error(self.start_failures, &error.why))
    }

    /// Whether waiting does not help the waiting tasks: too many attempts have failed, or there is
    /// no timer for the next one.
    fn has_given_up(&self) -> bool {
        self.attempts_exhausted() || self.is_backing_off() && !self.has_timer
    }

    /// Records that a worker process has died before it ran anything. An eagerly started successor
    /// may do the same, so it is started only after a delay. Tasks that wait are not delayed,
    /// because each death costs one of them.
    pub(crate) fn record_early_death(&mut self, now: Stamp) {
        if self.deadlines.eager_start != NEVER || self.config.min_size == 0 {
            return;
        }
        self.early_deaths += 1;
        if self.has_timer {
            self.deadlines.eager_start = clock::add(now, backoff(self.early_deaths, MAX_BACKOFF));
        }
    }

    /// Records that a worker process could not be started or ended before it was ready. The next
    /// start is attempted after a delay. `sent` is the number of tasks that it had been sent.
    pub(crate) fn record_start_failure(
        &mut self,
        error: StartError,
        sent: usize,
        kind: StartFailureKind,
        now: Stamp,
    ) {
        self.start_error = Some(error);
        if self.is_backing_off() {
            // Several starts at once count as one failure.
            return;
        }
        self.start_failures += 1;
        self.start_kills += u32::from(kind == StartFailureKind::Killed);
        if self.open {
            // Each task that is launched after the pool has given up gets one attempt, so that it
            // fails, or runs, after the same short time, however many starts have failed before.
            // Attempts without tasks become rare.
            let asked_for = self.backlog.waiting() + sent > 0;
            let failures = if asked_for {
                self.start_failures.min(MAX_START_FAILURES)
            } else {
                self.start_failures
            };
            self.deadlines.start = clock::add(now, backoff(failures, MAX_BACKOFF));
        }
    }

    /// Records that a ready worker process has ended. Its resources are available to another one,
    /// however many starts have failed meanwhile.
    pub(crate) fn reset_start_backoff(&mut self) {
        // Not 0, so that starts remain one at a time.
        self.start_failures = self.start_failures.min(1);
        self.start_error = None;
        self.start_kills = self.start_kills.min(self.start_failures);
        self.deadlines.start = NEVER;
    }

    /// Ends the tasks that wait if waiting does not help them.
    pub(crate) fn reject_if_given_up(&mut self, actions: &mut Actions<T>) {
        if !self.has_given_up() {
            return;
        }
        self.bytes = 0;
        let why = self.start_error.as_ref().map_or("", |error| &error.why);
        for job in self.backlog.drain() {
            actions.reject(job, no_worker_error(self.start_failures, why));
        }
        self.wake_launchers(actions);
    }
}
