//! Stop: drain, deadline, the end of the places.

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use super::core::{Core, Phase};
use super::tally::Ends;
use crate::clock;
use crate::error::TaskError;
use crate::info::TaskType;
use crate::options::{StopOptions, StopReport};
use crate::task::header::refresh;
use crate::task::state::Phase as TaskPhase;
use crate::task::waiters::WaiterKey;
use crate::task::{AnyTask, current, park, verbs};
use crate::timer;

/// A stop under way. There may be several at once: each waits as its own options say, and the first
/// that is through with waiting ends the places.
struct Stop<'a> {
    core: &'a Arc<Core>,
    before: Ends,
    /// The number of stops that were over before this one.
    stops_before: u64,
    deadline: Option<Instant>,
    key: WaiterKey,
}

/// Stops the supervisor, blocking.
#[track_caller]
pub(super) fn stop(core: &Arc<Core>, options: &StopOptions) -> StopReport {
    assert!(
        !park::on_aloop_thread(),
        "`stop` on an aloop's own thread would wait for itself: use `stop_async(..).await`"
    );
    let Some(stop) = begin(core, options) else {
        return StopReport::default();
    };
    park::block_on(stop.deadline, |context| stop.poll_drained(context));
    loop {
        match stop.finish() {
            Some(report) => return report,
            // Somebody else ends the places: that takes no time.
            None => park::block_on(None, |context| stop.poll_drained(context)),
        };
    }
}

/// Stops the supervisor as a future. Dropped before its end, it leaves the supervisor draining: a
/// later stop goes on.
pub(super) async fn stop_async(core: &Arc<Core>, options: &StopOptions) -> StopReport {
    let Some(stop) = begin(core, options) else {
        return StopReport::default();
    };
    // The deadline wakes the future by way of the life's waiters.
    let _alarm = stop.deadline.map(|deadline| {
        let core = Arc::clone(core);
        Alarm(timer::at(deadline, move || {
            let waiters = std::mem::take(&mut core.life.lock().waiters);
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

/// Takes its entry in the timer back when it is dropped.
struct Alarm(timer::TimerKey);

impl Drop for Alarm {
    fn drop(&mut self) {
        timer::cancel(self.0);
    }
}

/// The last handle is gone: stops after the queued work, without blocking anybody.
pub(super) fn stop_in_background(core: &Arc<Core>) {
    match core.phase() {
        // There is nothing to wait for; an aloop may have been made all the same.
        Phase::Idle => {
            if let Some(stop) = begin(core, &StopOptions::new()) {
                stop.finish();
            }
            return;
        }
        Phase::Stopped => return core.close(&[]),
        // Draining: a stop that was given up half-way.
        Phase::Active | Phase::Draining => {}
    }
    let ours = Arc::clone(core);
    let spawned = std::thread::Builder::new()
        .name("atasker shutdown".to_owned())
        .spawn(move || stop(&ours, &StopOptions::new()));
    if let Err(error) = spawned {
        tracing::error!(
            target: "atasker", supervisor = core.id(), %error,
            "no thread for the shutdown of a dropped supervisor: its tasks are ended now"
        );
        if let Some(stop) = begin(core, &StopOptions::new()) {
            stop.finish();
        }
    }
}

/// Turns to draining, or joins in; `None` if there is nothing to wait for: it is stopped, or the
/// caller is a task of its own and somebody else stops it.
fn begin<'a>(core: &'a Arc<Core>, options: &StopOptions) -> Option<Stop<'a>> {
    let own = core.inside().then(current::get).flatten().map(|task| task.header().id);
    let mut life = core.life.lock();
    let joins = match core.phase() {
        Phase::Idle | Phase::Active => {
            core.set_phase(&mut life, Phase::Draining);
            life.inside.clear();
            false
        }
        Phase::Draining => true,
        Phase::Stopped => return None,
    };
    life.inside.extend(own);
    let stop = Stop {
        core,
        before: core.tally.ends(),
        stops_before: life.stops,
        deadline: options.wait.map(clock::after),
        key: WaiterKey::next(),
    };
    // Others need not wait for this task any more.
    let waiters = std::mem::take(&mut life.waiters);
    drop(life);
    waiters.wake();
    tracing::debug!(target: "atasker", supervisor = core.id(), "stopping");
    core.recurring.stop();
    if options.cancel_tasks {
        for task in stop.others() {
            verbs::stop(&task);
        }
    }
    (own.is_none() || !joins).then_some(stop)
}

impl Stop<'_> {
    /// The live tasks but those that asked for the stop.
    fn others(&self) -> Vec<Arc<dyn AnyTask>> {
        let inside = self.core.life.lock().inside.clone();
        let mut tasks = self.core.live_tasks();
        tasks.retain(|task| !inside.contains(&task.header().id));
        tasks
    }

    /// Is ready when no task is left but those that asked for the stop, and when another stop has
    /// come to its end.
    fn poll_drained(&self, context: &mut Context<'_>) -> Poll<()> {
        let core = self.core;
        core.poll_life(self.key, context, |life| {
            let drained = || match core.tally.live() {
                0 => true,
                some if some > life.inside.len() as u64 => false,
                _ => core.live_tasks().iter().all(|task| life.inside.contains(&task.header().id)),
            };
            life.stops != self.stops_before || !life.closing && drained()
        })
    }

    /// Ends what is left, and the places. `None`: somebody else is about to, wait for that.
    fn finish(&self) -> Option<StopReport> {
        let own: Vec<_> = {
            let mut life = self.core.life.lock();
            if life.stops != self.stops_before {
                return Some(self.report(0));
            }
            if life.closing {
                return None;
            }
            life.closing = true;
            life.inside.clone()
        };
        let own: Vec<_> = own.into_iter().filter_map(|id| self.core.find(id)).collect();
        let counted = self.report(0);
        let abandoned = self.others().iter().filter(|task| abandon(task)).count() as u64;
        let report = StopReport { abandoned, ..counted };
        self.core.close(&own);
        let mut life = self.core.life.lock();
        life.closing = false;
        life.stops += 1;
        self.core.set_phase(&mut life, Phase::Stopped);
        let waiters = std::mem::take(&mut life.waiters);
        drop(life);
        waiters.wake();
        tracing::debug!(
            target: "atasker", supervisor = self.core.id(), report.completed, report.canceled,
            report.abandoned, "stopped"
        );
        Some(report)
    }

    /// What has become of the tasks so far.
    fn report(&self, abandoned: u64) -> StopReport {
        let now = self.core.tally.ends();
        let canceled = now.canceled - self.before.canceled;
        let ended = now.ended.saturating_sub(self.before.ended);
        StopReport { canceled, completed: ended.saturating_sub(canceled), abandoned }
    }
}

/// Ends a task at the deadline: one that waits never runs, a future is dropped, a worker process
/// will be killed with its pool, a thread is left to itself. True if this was what ended it.
fn abandon(task: &Arc<dyn AnyTask>) -> bool {
    let header = task.header();
    let claim = loop {
        if verbs::end_unbegun(task, TaskError::SupervisorStopped, true) {
            return true;
        }
        header.ask_stop();
        refresh(&**task);
        if let Some(claim) = header.state.claim(TaskPhase::Started) {
            break claim;
        }
        match header.state.read().phase() {
            TaskPhase::Ending | TaskPhase::Ended => return false,
            // Its launcher waits for room: the pool's end ends that.
            _ if header.tt == TaskType::Mp => return false,
            // Out of the queue, and not begun: whoever has it is just about to.
            _ => std::thread::yield_now(),
        }
    };
    if header.tt == TaskType::Thread {
        tracing::warn!(
            target: "atasker", task = %header.id, name = header.name(),
            "a task still runs past the deadline of the stop: its thread is abandoned"
        );
    }
    task.end(task, claim, TaskError::SupervisorStopped);
    task.abort(task);
    true
}
