//! Stop: drain, deadline, the end of the places.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Instant;

use super::core::{Core, Phase};
use crate::clock;
use crate::error::TaskError;
use crate::info::TaskType;
use crate::options::{StopOptions, StopReport};
use crate::task::state::Phase as TaskPhase;
use crate::task::waiters::WaiterKey;
use crate::task::{AnyTask, current, park, verbs};
use crate::timer;

/// A stop under way.
struct Stop<'a> {
    core: &'a Arc<Core>,
    /// The task of our own that asked for the stop: it is not waited for.
    own: Option<Arc<dyn AnyTask>>,
    ended_before: u64,
    canceled_before: u64,
    deadline: Option<Instant>,
    key: WaiterKey,
}

/// Stops the supervisor, blocking.
pub(super) fn stop(core: &Arc<Core>, options: &StopOptions) -> StopReport {
    assert!(
        !park::on_aloop_thread(),
        "`stop` on an aloop's own thread would wait for itself: use `stop_async(..).await`"
    );
    let Some(stop) = begin(core, options) else {
        // Somebody else stops it, or it does not run: wait until it is stopped.
        if core.phase() == Phase::Draining && !core.inside() {
            core.block();
        }
        return StopReport::default();
    };
    park::block_on(stop.deadline, |context| stop.poll_drained(context));
    stop.finish()
}

/// Stops the supervisor as a future. Dropped before its end, it leaves the supervisor draining: a
/// later stop goes on.
pub(super) async fn stop_async(core: &Arc<Core>, options: &StopOptions) -> StopReport {
    let Some(stop) = begin(core, options) else {
        let key = WaiterKey::next();
        if !core.inside() {
            std::future::poll_fn(|context| {
                core.poll_life(key, context, |_| core.phase() != Phase::Draining)
            })
            .await;
        }
        return StopReport::default();
    };
    // The deadline wakes the future by way of the life's waiters.
    let alarm = stop.deadline.map(|deadline| {
        let core = Arc::clone(core);
        timer::at(deadline, move || {
            let waiters = std::mem::take(&mut core.life.lock().waiters);
            waiters.wake();
        })
    });
    std::future::poll_fn(|context| match stop.poll_drained(context) {
        Poll::Pending if stop.deadline.is_some_and(|deadline| deadline <= Instant::now()) => {
            Poll::Ready(())
        }
        other => other,
    })
    .await;
    if let Some(key) = alarm {
        timer::cancel(key);
    }
    stop.finish()
}

/// The last handle is gone: stops after the queued work, without blocking anybody.
pub(super) fn stop_in_background(core: &Arc<Core>) {
    match core.phase() {
        Phase::Idle | Phase::Stopped | Phase::Draining => return,
        Phase::Active => {}
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

/// Turns to draining; `None` if it does not run, or somebody else stops it.
fn begin<'a>(core: &'a Arc<Core>, options: &StopOptions) -> Option<Stop<'a>> {
    let own = core.inside().then(current::get).flatten();
    let mut life = core.life.lock();
    match core.phase() {
        Phase::Active => core.set_phase(&mut life, Phase::Draining),
        Phase::Idle => {
            core.set_phase(&mut life, Phase::Stopped);
            let waiters = std::mem::take(&mut life.waiters);
            drop(life);
            waiters.wake();
            return None;
        }
        Phase::Draining | Phase::Stopped => {
            if own.is_some() && core.phase() == Phase::Draining {
                // A task of ours waits for our stop elsewhere: don't wait for it.
                life.stopping_inside += 1;
                let waiters = std::mem::take(&mut life.waiters);
                drop(life);
                waiters.wake();
            }
            return None;
        }
    }
    life.stopping_inside = usize::from(own.is_some());
    drop(life);
    tracing::debug!(target: "atasker", supervisor = core.id(), "stopping");
    let stop = Stop {
        core,
        ended_before: core.ended.load(Ordering::Relaxed),
        canceled_before: core.canceled.load(Ordering::Relaxed),
        deadline: options.wait.map(clock::after),
        key: WaiterKey::next(),
        own,
    };
    if options.cancel_tasks {
        for task in stop.others() {
            verbs::stop(&task);
        }
    }
    Some(stop)
}

impl Stop<'_> {
    /// The live tasks but the one that asked for the stop.
    fn others(&self) -> Vec<Arc<dyn AnyTask>> {
        let own = self.own.as_ref().map(|task| task.header().id);
        let mut tasks = self.core.live_tasks();
        tasks.retain(|task| Some(task.header().id) != own);
        tasks
    }

    /// Is ready when no task is left but those that wait for this very stop.
    fn poll_drained(&self, context: &mut Context<'_>) -> Poll<()> {
        self.core.poll_life(self.key, context, |life| self.core.live.len() <= life.stopping_inside)
    }

    /// Ends what is left, and the places.
    fn finish(self) -> StopReport {
        let mut abandoned = 0;
        let counts = |core: &Core| {
            (core.ended.load(Ordering::Relaxed), core.canceled.load(Ordering::Relaxed))
        };
        let (ended, canceled) = counts(self.core);
        for task in self.others() {
            abandoned += u64::from(abandon(&task));
        }
        let report = StopReport {
            canceled: canceled - self.canceled_before,
            completed: (ended - self.ended_before) - (canceled - self.canceled_before),
            abandoned,
        };
        self.core.close();
        let mut life = self.core.life.lock();
        self.core.set_phase(&mut life, Phase::Stopped);
        let waiters = std::mem::take(&mut life.waiters);
        drop(life);
        waiters.wake();
        tracing::debug!(
            target: "atasker", supervisor = self.core.id(), report.completed, report.canceled,
            report.abandoned, "stopped"
        );
        report
    }
}

/// Ends a task at the deadline: one that waits never runs, a future is dropped, a worker process
/// will be killed with its pool, a thread is left to itself. True if this was what ended it.
fn abandon(task: &Arc<dyn AnyTask>) -> bool {
    if verbs::end_unbegun(task, TaskError::SupervisorStopped, true) {
        return true;
    }
    let header = task.header();
    header.ask_stop();
    let Some(claim) = header.state.claim(TaskPhase::Started) else {
        return false;
    };
    if header.tt == TaskType::Thread {
        tracing::warn!(
            target: "atasker", task = %header.id, name = header.name(),
            "a task still runs past the deadline of the stop: its thread is abandoned"
        );
    }
    Arc::clone(task).end(claim, TaskError::SupervisorStopped);
    task.abort();
    true
}
