//! The tracing events of tasks and worker processes, with the target `atasker`.

use std::time::Duration;

use super::outcome;
use super::registry::Observers;
use crate::error::{TaskError, WorkerDeath};
use crate::info::Outcome;
use crate::task::header::Header;
use crate::unwind::log;

pub(super) fn task_queued(header: &Header, of: Of<'_>) {
    let Of { supervisor, node } = of;
    log!(
        trace, task = %header.id(), name = header.name(), tt = header.tt.as_str(), %supervisor, node,
        "task queued"
    );
}

pub(super) fn task_started(header: &Header, of: Of<'_>) {
    let Of { supervisor, node } = of;
    log!(
        debug, task = %header.id(), name = header.name(), tt = header.tt.as_str(), %supervisor, node,
        attempt = header.attempt(), "task started"
    );
}

pub(super) fn task_retries(
    header: &Header,
    of: Of<'_>,
    pause: Duration,
    error: Option<&TaskError>,
) {
    let Of { supervisor, node } = of;
    log!(
        debug, task = %header.id(), name = header.name(), tt = header.tt.as_str(), %supervisor, node,
        attempt = header.attempt(), ?pause, error = error.map(tracing::field::display),
        "task retries"
    );
}

/// Whose task an event is about.
#[derive(Clone, Copy, Default)]
pub(crate) struct Of<'a> {
    pub(crate) supervisor: &'a str,
    /// The node whose call it is.
    pub(crate) node: Option<&'a str>,
}

impl<'a> Of<'a> {
    pub(crate) fn new(observers: &'a Observers) -> Self {
        Of { supervisor: &observers.supervisor, node: observers.node().map(|node| &**node) }
    }
}

/// Whether a handle can still observe the outcome of a task.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Handle {
    Held,
    Gone,
}

/// A task has ended. A failure that no handle can observe is louder.
#[cold]
pub(crate) fn task_ended(
    header: &Header,
    of: Of<'_>,
    ending: Outcome,
    error: Option<&TaskError>,
    handle: Handle,
) {
    let Of { supervisor, node } = of;
    let word = outcome::word(error, ending == Outcome::ReturnedErr);
    macro_rules! ended {
        ($level:ident, $error:expr) => {
            log!(
                $level, task = %header.id(), name = header.name(), tt = header.tt.as_str(),
                %supervisor, node, outcome = word, error = $error, "task ended"
            )
        };
    }
    let shown = error.map(tracing::field::display);
    match (handle, error) {
        (Handle::Gone, Some(error)) if !error.is_canceled() => ended!(error, shown),
        (Handle::Gone, None) if ending == Outcome::ReturnedErr => {
            ended!(warn, "the function returned an `Err`, and no handle is left to read it");
        }
        _ => ended!(debug, shown),
    }
}

pub(crate) fn process_started(pid: u32, number: u64, supervisor: &str) {
    log!(debug, pid, number, %supervisor, "worker process started");
}

pub(crate) fn process_ended(pid: u32, number: u64, supervisor: &str, death: Option<&WorkerDeath>) {
    match death {
        None => log!(debug, pid, number, %supervisor, "worker process ended"),
        Some(death) => {
            log!(warn, pid, number, %supervisor, cause = %death.cause(), "worker process died");
        }
    }
}
