//! Shutdown: draining, the deadline, and closing the places.

use std::collections::HashSet;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use super::core::{Core, Phase};
use super::counters::Totals;
use super::inline;
use crate::error::TaskError;
use crate::fork;
use crate::id::TaskId;
use crate::info::TaskType;
use crate::options::{StopOptions, StopReport};
use crate::place::Closing;
use crate::task::chained::first_of;
use crate::task::control::Include;
use crate::task::header::refresh;
use crate::task::state::Phase as TaskPhase;
use crate::task::waiters::WaiterKey;
use crate::task::{TaskArc, control, current, park};
use crate::time::clock;
use crate::time::timer;
use crate::unwind::log;

/// A stop in progress. Several can run at once. Each waits according to its own options, and the
/// first one to finish waiting closes the places.
struct Stop<'a> {
    core: &'a Arc<Core>,
    before: Totals,
    /// The number of stops completed before this one.
    stops_before: u64,
    deadline: Option<Instant>,
    key: WaiterKey,
}

/// Stops the supervisor, blocking.
#[track_caller]
pub(super) fn stop(core: &Arc<Core>, options: &StopOptions) -> StopReport {
    assert!(
        !park::would_block_aloop(),
        "`stop` would deadlock on the thread of an aloop: use `stop_async(..).await`"
    );
    let Some(stop) = begin(core, options) else {
        return StopReport::default();
    };
    park::block_on(stop.deadline, |context| stop.poll_drained(context));
    loop {
        match stop.finish() {
            Some(report) => return report,
            // Another stop is closing the places, which does not take long.
            None => park::block_on(None, |context| stop.poll_drained(context)),
        };
    }
}

/// Stops the supervisor. If the future is dropped, the supervisor keeps draining, and a later stop
/// continues.
pub(super) async fn stop_async(core: &Arc<Core>, options: &StopOptions) -> StopReport {
    let Some(stop) = begin(core, options) else {
        return StopReport::default();
    };
    // At the deadline the timer wakes the future through the waiters of the lifecycle.
    let _alarm = stop.deadline.map(|deadline| {
        let core = Arc::clone(core);
        Alarm(timer::at(deadline, move || {
            let waiters = std::mem::take(&mut core.lifecycle.lock().waiters);
            waiters.wake();
        }))
    });
    std::future::poll_fn(|context| match stop.poll_drained(context) {
        Poll::Pending if stop.deadline.is_some_and(|deadline| deadline <= Instant::now()) => {
            Poll::Ready(())
        }
        other => other,
    })
    .await;
    loop {
        match stop.finish() {
            Some(report) => return report,
            None => std::future::poll_fn(|context| stop.poll_drained(context)).await,
        }
    }
}

/// Cancels its timer entry when it is dropped.
struct Alarm(timer::TimerKey);

impl Drop for Alarm {
    fn drop(&mut self) {
        timer::cancel(self.0);
    }
}

/// Stops the supervisor after its queued tasks, without blocking, when the last handle is dropped.
pub(super) fn stop_in_background(core: &Arc<Core>) {
    if fork::is_copy() {
        return;
    }
    match core.phase() {
        // There is nothing to wait for, but an aloop may exist.
        Phase::Idle => {
            if let Some(stop) = begin(core, &StopOptions::new()) {
                stop.finish();
            }
            return;
        }
        Phase::Stopped => return core.close(&Closing::default()),
        // Draining: a stop was given up halfway.
        Phase::Active | Phase::Draining => {}
    }
    let ours = Arc::clone(core);
    let spawned = std::thread::Builder::new()
        .name("atasker shutdown".to_owned())
        .spawn(move || stop(&ours, &StopOptions::new()));
    if let Err(error) = spawned {
        log!(
            error, supervisor = core.id(), %error,
            "could not start a thread to shut down a dropped supervisor: its tasks are ended immediately"
        );
        if let Some(stop) = begin(core, &StopOptions::new()) {
            stop.finish();
        }
    }
}

/// Changes the phase to draining, or joins a stop in progress. Returns `None` if there is nothing
/// to wait for: the supervisor is stopped, or the caller is one of its own tasks and another stop
/// is in progress.
fn begin<'a>(core: &'a Arc<Core>, options: &StopOptions) -> Option<Stop<'a>> {
    if fork::is_copy() {
        return None;
    }
    // All fields are listed, so that a new field has to be considered here.
    let &StopOptions { wait, cancel_tasks } = options;
    let mut own = inline::running(core.key());
    let current = core.is_called_from_own_task().then(current::get).flatten();
    let current = current.map(|task| task.header().id());
    own.extend(current.filter(|current| !own.contains(current)));
    let mut lifecycle = core.lifecycle.lock();
    let joins_other = match core.phase() {
        Phase::Idle | Phase::Active => {
            core.set_phase(&mut lifecycle, Phase::Draining);
            lifecycle.callers.clear();
            false
        }
        Phase::Draining => true,
        Phase::Stopped => return None,
    };
    lifecycle.callers.extend(own.iter().copied());
    let has_callers = !lifecycle.callers.is_empty();
    let stop = Stop {
        core,
        before: core.counters.totals(),
        stops_before: lifecycle.stops,
        deadline: wait.map(clock::after),
        key: WaiterKey::next(),
    };
    // Other stops need not wait for this task any more.
    let waiters = std::mem::take(&mut lifecycle.waiters);
    drop(lifecycle);
    if has_callers {
        core.exempt_all_chained();
    }
    waiters.wake();
    core.wake_launchers();
    log!(debug, supervisor = core.id(), "stopping");
    core.workers.stop();
    if cancel_tasks {
        for task in control::waiting_first(stop.others()) {
            control::stop(&task);
        }
    }
    (own.is_empty() || !joins_other).then_some(stop)
}

/// Tasks that are chained to a task that has requested the stop. They wait for that task, which
/// waits for the stop. So the stop does not wait for them either, and they end when that task does.
impl Core {
    /// Exempts a task that is launched now, if its first one has requested the stop in progress.
    pub(super) fn exempt_chained(&self, id: TaskId, first: TaskId) {
        // A stop that begins later finds the task in the table.
        if self.phase() == Phase::Draining {
            let mut lifecycle = self.lifecycle.lock();
            if lifecycle.callers.contains(&first) {
                lifecycle.callers.push(id);
            }
        }
    }

    /// Exempts those that exist when a stop begins.
    fn exempt_all_chained(&self) {
        let mut exempt: HashSet<_> = self.lifecycle.lock().callers.iter().copied().collect();
        // In the order of their launch, so the first one of a task comes before it.
        for task in self.live_tasks() {
            let id = task.header().id();
            if let Some(first) = first_of(&*task)
                && exempt.contains(&first.header().id())
                && exempt.insert(id)
            {
                self.lifecycle.lock().callers.push(id);
            }
        }
    }
}

impl Stop<'_> {
    /// Returns the live tasks except those that have requested the stop.
    fn others(&self) -> Vec<TaskArc> {
        let callers = self.core.lifecycle.lock().callers.clone();
        let mut tasks = self.core.live_tasks();
        tasks.retain(|task| !callers.contains(&task.header().id()));
        tasks
    }

    /// Ready when no task is left except those that have requested the stop, or when another stop
    /// has completed.
    fn poll_drained(&self, context: &mut Context<'_>) -> Poll<()> {
        let core = self.core;
        core.poll_lifecycle(self.key, context, |lifecycle| {
            let drained = || match core.counters.live() {
                0 => true,
                some if some > lifecycle.callers.len() as u64 => false,
                _ => core
                    .live_tasks()
                    .iter()
                    .all(|task| lifecycle.callers.contains(&task.header().id())),
            };
            lifecycle.stops != self.stops_before || !lifecycle.closing && drained()
        })
    }

    /// Ends the remaining tasks and closes the places. Returns `None` if another stop is doing so;
    /// wait for it.
    fn finish(&self) -> Option<StopReport> {
        let own: Vec<_> = {
            let mut lifecycle = self.core.lifecycle.lock();
            if lifecycle.stops != self.stops_before {
                return Some(self.report(0));
            }
            if lifecycle.closing {
                return None;
            }
            lifecycle.closing = true;
            lifecycle.callers.clone()
        };
        let own: Vec<_> = own.into_iter().filter_map(|id| self.core.find_live(id)).collect();
        let counted = self.report(0);
        // A task that ends here must not end or start another one, which would not be counted.
        let others = control::waiting_first(self.others());
        let abandoned = others.filter(abandon).count() as u64;
        let report = StopReport { abandoned, ..counted };
        self.core.close(&Closing { callers: &own, deadline: self.deadline });
        let mut lifecycle = self.core.lifecycle.lock();
        lifecycle.closing = false;
        lifecycle.stops += 1;
        self.core.set_phase(&mut lifecycle, Phase::Stopped);
        let waiters = std::mem::take(&mut lifecycle.waiters);
        drop(lifecycle);
        // Before the stop returns.
        self.core.observers().load.stopped();
        waiters.wake();
        log!(
            debug,
            supervisor = self.core.id(),
            report.completed,
            report.canceled,
            report.abandoned,
            "stopped"
        );
        Some(report)
    }

    /// Returns what has become of the tasks.
    fn report(&self, abandoned: u64) -> StopReport {
        let now = self.core.counters.totals();
        let canceled = now.canceled - self.before.canceled;
        let ended = now.ended.saturating_sub(self.before.ended);
        StopReport { canceled, completed: ended.saturating_sub(canceled), abandoned }
    }
}

/// Ends a task at the deadline: a waiting task never runs, a future is dropped, a worker process is
/// killed with its pool, a thread is abandoned. The call of a remote task goes on in its cluster. Returns true if this call ended the task.
fn abandon(task: &TaskArc) -> bool {
    let header = task.header();
    let claim = loop {
        if control::cancel_pending(task, TaskError::SupervisorStopped, Include::Admitted) {
            return true;
        }
        header.request_stop();
        refresh(&**task);
        if let Some(claim) = header.state.claim(TaskPhase::Started) {
            break claim;
        }
        match header.state.read().phase() {
            TaskPhase::Ending | TaskPhase::Ended => return false,
            // Its launcher waits for room, which ends when the pool is closed.
            _ if header.tt == TaskType::Mp => return false,
            // Taken from the queue but not begun: the thread that has it is about to begin.
            _ => std::thread::yield_now(),
        }
    };
    if header.tt == TaskType::Remote {
        // The call goes on. No body returns here that would give back the limit of the task.
        header.leave_attempt();
    }
    // Logged after the end, because a subscriber may wait for it.
    claim.end(task, TaskError::SupervisorStopped);
    control::abort(task);
    if header.tt == TaskType::Thread {
        log!(
            warn, task = %header.id(), name = header.name(),
            "a task is still running at the deadline of the stop: its thread is abandoned"
        );
    }
    true
}
