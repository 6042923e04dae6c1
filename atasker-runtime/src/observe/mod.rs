//! Observation: what the library reports about tasks, worker processes and background workers.
//!
//! The life of a task has four stages, and each has one function here: [`launched`], [`started`],
//! [`retrying`], [`publish`]. From them come the tracing events (`events`), the spans (`spans`) and
//! the calls of observers (`observer`). Metrics and the dashboard are observers.
//!
//! | concern | file |
//! |---|---|
//! | the public trait, and what its methods receive | `observer` |
//! | the observers of one supervisor | `registry` |
//! | the order of the calls about one task | `watch` |
//! | whether anything observes at all | `interest` |
//! | the words for how tasks end | `outcome` |
//! | tracing events | `events` |
//! | spans of tasks | `spans` |
//! | the trace context of remote tasks | `trace` |
//! | changes of the load that are no event of a task | `load` |
//!
//! Every stage begins with [`is_on`]: one load when nothing observes. Behind it, nothing is fast.

pub(crate) mod events;
pub(crate) mod interest;
pub(crate) mod load;
pub(crate) mod observer;
pub(crate) mod outcome;
pub(crate) mod registry;
pub(crate) mod spans;
#[cfg(feature = "remote")]
pub(crate) mod trace;
pub(crate) mod watch;

use std::sync::Arc;
use std::time::Duration;

use crate::error::TaskError;
use crate::task::header::Header;
use crate::task::state::{Claim, Ending};
use crate::task::{TaskArc, hold, scheduler};
use crate::time::clock::Stamp;
use events::Of;
pub(crate) use interest::is_on;
use observer::TaskEvent;
use registry::Observers;
use watch::Watch;

/// Returns the observers of the task's supervisor. `None` for what is no task of one.
fn observers_of(header: &Header) -> Option<Arc<Observers>> {
    scheduler::with(header.scheduler?, |scheduler| scheduler.observers().cloned())?
}

/// Returns the name of the node whose call a task is. `None` if it is the program's own task.
pub(crate) fn node_of(header: &Header) -> Option<Arc<str>> {
    if !registry::has_nodes() {
        return None;
    }
    observers_of(header)?.node().cloned()
}

/// Returns the watch of the task, created if necessary.
fn watch_of(header: &Header) -> &Watch {
    header.extras_or_new().watch.get_or_init(Box::default)
}

/// Returns the watch of a task that has one.
pub(crate) fn existing_watch(header: &Header) -> Option<&Watch> {
    header.extras()?.watch.get().map(|watch| &**watch)
}

/// A task was launched. Called on the launching thread before its place gets the task.
#[inline]
pub(crate) fn launched(task: &TaskArc) {
    if is_on() {
        launched_cold(task);
    }
}

#[cold]
fn launched_cold(task: &TaskArc) {
    let Some(observers) = observers_of(task.header()) else { return };
    spans::capture(task.header(), &observers);
    let tell = |observers: &Observers, task: &TaskArc| {
        observers.each(|observer| {
            observer.launched(&TaskEvent::new(task, &observers.supervisor));
        });
    };
    if observers.need_order() {
        let task = task.clone();
        let told = task.clone();
        watch_of(task.header()).in_order(move || tell(&observers, &told));
    } else if !observers.is_empty() {
        tell(&observers, task);
    }
}

/// A task was queued: after its delay, for another attempt, or after the task that it is chained to.
#[inline]
pub(crate) fn queued(task: &TaskArc) {
    if is_on() {
        queued_cold(task);
    }
}

#[cold]
fn queued_cold(task: &TaskArc) {
    let Some(observers) = observers_of(task.header()) else { return };
    let header = task.header();
    // A chained task has no delay from which the time could be computed.
    if header.extras().is_some_and(|extras| extras.chained_to.is_some()) {
        watch_of(header).record_queued();
    } else if let Some(watch) = existing_watch(header) {
        watch.record_queued();
    }
    events::task_queued(task.header(), Of::new(&observers));
}

/// An attempt has begun. For a worker process this is called when the program learns of it, by
/// several threads, and the first call counts.
#[inline]
pub(crate) fn started(task: &TaskArc, worker: Option<u32>) {
    if is_on() {
        started_cold(task, worker);
    }
}

#[cold]
fn started_cold(task: &TaskArc, worker: Option<u32>) {
    let header = task.header();
    hold::on_begin(header);
    let Some(observers) = observers_of(header) else { return };
    let spans = spans::wants_span(header);
    if observers.is_empty() && !spans && !interest::wants_events() {
        return;
    }
    let tell = |observers: &Observers, task: &TaskArc| {
        observers.each(|observer| {
            observer.started(&TaskEvent::new(task, &observers.supervisor));
        });
    };
    if !observers.need_order() && existing_watch(header).is_none() {
        // Nothing reports the begin of this attempt a second time.
        events::task_started(header, Of::new(&observers));
        return tell(&observers, task);
    }
    let watch = watch_of(header);
    if !watch.begin_attempt(header.attempt(), worker) {
        return;
    }
    if spans && let Some(span) = spans::open(header, watch, &observers) {
        #[cfg(feature = "remote")]
        if let Some(trace) = header.extras().and_then(|extras| extras.trace.as_deref()) {
            trace::continue_in(&span, trace);
        }
        watch.set_span(span);
    }
    events::task_started(header, Of::new(&observers));
    if !observers.is_empty() {
        let told = task.clone();
        watch.in_order(move || tell(&observers, &told));
    }
}

/// An attempt is over, with this error or with a value, and another one follows after `pause`.
#[inline]
pub(crate) fn retrying(
    task: &TaskArc,
    error: Option<&TaskError>,
    returned_err: bool,
    pause: Duration,
) {
    if is_on() {
        retrying_cold(task, error, returned_err, pause);
    }
}

#[cold]
fn retrying_cold(task: &TaskArc, error: Option<&TaskError>, returned_err: bool, pause: Duration) {
    let header = task.header();
    let Some(observers) = observers_of(header) else { return };
    events::task_retries(header, Of::new(&observers), pause, error);
    if observers.is_empty() && existing_watch(header).is_none() {
        return;
    }
    // It records when the next attempt is queued.
    let watch = watch_of(header);
    let ran_for = Some(watch::elapsed(header));
    if let Some(span) = watch.take_span() {
        spans::close(span, outcome::word(error, returned_err), watch.worker());
    }
    if !observers.is_empty() {
        let (told, error) = (task.clone(), error.cloned());
        watch.in_order(move || {
            observers.each(|observer| {
                let event = TaskEvent::new(&told, &observers.supervisor).with_run(ran_for);
                observer.retrying(&event, error.as_ref(), pause);
            });
        });
    }
}

/// Publishes the outcome of a task, which is stored, after the observers were told of it. Returns
/// the time of the end, unless another thread publishes: one that tells observers of something
/// earlier in the life of the task.
#[inline]
pub(crate) fn publish(
    task: &TaskArc,
    claim: Claim,
    ending: Ending,
    publish: impl FnOnce(Claim) -> Stamp,
) -> Option<Stamp> {
    if is_on() {
        return publish_cold(task, claim, ending);
    }
    Some(publish(claim))
}

#[cold]
fn publish_cold(task: &TaskArc, claim: Claim, ending: Ending) -> Option<Stamp> {
    let header = task.header();
    let observers = observers_of(header);
    let told = observers.filter(|observers| !observers.is_empty());
    // Reads the clock only for observers.
    let ran_for = (told.is_some() && claim.was_running()).then(|| watch::elapsed(header));
    let tell = move |observers: &Observers, task: &TaskArc, claim: &Claim| {
        observers.each(|observer| {
            let event = TaskEvent::new(task, &observers.supervisor)
                .with_run(ran_for)
                .with_outcome(ending.outcome());
            let error = task.stored_error(claim, ending);
            observer.ended(&event, error.map_or(Ok(()), Err));
        });
    };
    let watch = match (&told, existing_watch(header)) {
        (_, Some(watch)) => watch,
        (Some(observers), None) if observers.need_order() => watch_of(header),
        (Some(observers), None) => {
            tell(observers, task, &claim);
            return Some(task.publish(claim, ending));
        }
        (None, None) => return Some(task.publish(claim, ending)),
    };
    watch.end_task();
    let span = watch.take_span();
    let worker = watch.worker();
    let owner = task.clone();
    watch.in_order_with(move || {
        if let Some(observers) = told {
            tell(&observers, &owner, &claim);
        }
        if let Some(span) = span {
            let word =
                outcome::word(owner.stored_error(&claim, ending), ending == Ending::ReturnedErr);
            spans::close(span, word, worker);
        }
        // The span that was current at the launch stays open until here. A thread that waits for
        // the task finds it closed.
        if let Some(watch) = existing_watch(owner.header()) {
            watch.drop_parent();
        }
        owner.publish(claim, ending)
    })
}
