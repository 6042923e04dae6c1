//! What keeps an advance of a paused clock waiting: the tasks that have begun by it.
//!
//! While a test has paused the time of a supervisor, its tasks are counted as busy (`time::activity`)
//!
//! | from | until |
//! |---|---|
//! | their launch | they have begun, and their time limit is armed; or have ended |
//! | their launch, if another attempt may follow, or as a run of a background worker | their end |
//! | a due time: of a delay, a retry, an exceeded limit, a token of a rate; or their launch during an advance | their end |
//!
//! An attempt has also ended, in this sense, when the next one waits for its time: the timer is set
//! then. A task that waits for its limit is not counted. Nothing here has an effect unless something
//! observes tasks (`observe::is_on`), as a paused clock does.

use crate::info::TaskType;
use crate::observe;
use crate::place::WhenFull;
use crate::task::header::Header;
use crate::task::state::Phase;
use crate::time::activity::{Busy, Until};
use crate::time::source;

/// Counts a task, if the clock of its supervisor is paused.
pub(crate) fn hold(header: &Header, until: Until) {
    // The time of other machines does not stand still.
    if header.tt == TaskType::Remote {
        return;
    }
    if let Some(busy) = source::busy(header.scheduler, until) {
        let before = header.extras_or_new().hold.lock().replace(busy);
        drop(before);
    }
}

/// Until when a task is counted, if nothing else makes it count longer.
fn until(header: &Header, is_background_run: bool) -> Until {
    // Both may set the timer when they end.
    if is_background_run || header.may_retry() { Until::Ended } else { Until::Begun }
}

/// Counts a task that is being launched.
pub(crate) fn on_launch(header: &Header, when_full: WhenFull) {
    // A delay is armed by the launch itself.
    if header.state.read().phase() == Phase::Delayed {
        return;
    }
    hold(header, until(header, when_full == WhenFull::Pass));
}

/// Counts a task that is queued without the timer: it has got its limit, or the task has ended that
/// it is chained to.
pub(crate) fn on_queue(header: &Header) {
    hold(header, until(header, false));
}

/// Counts a live task of a supervisor whose clock has been paused just now.
pub(crate) fn on_pause(header: &Header, is_background_run: bool) {
    let until = until(header, is_background_run);
    let counts = || match header.state.read().phase() {
        Phase::Queued => true,
        Phase::Started | Phase::Ending => until == Until::Ended,
        _ => false,
    };
    if counts() {
        hold(header, until);
    }
    if !counts() {
        // What has happened meanwhile is not reported any more.
        drop(take(header));
    }
}

/// An attempt has begun.
pub(crate) fn on_begin(header: &Header) {
    let begun = header
        .extras()
        .and_then(|extras| extras.hold.lock().take_if(|busy| busy.until() == Until::Begun));
    drop(begun);
}

/// A run of a background worker has ended. Its task may make further runs, if the worker is a loop.
pub(crate) fn on_end_of_run(header: &Header) {
    if observe::is_on() {
        drop(take(header));
    }
}

/// Ends the count of a task, when the returned value is dropped.
pub(crate) fn take(header: &Header) -> Option<Busy> {
    header.extras().and_then(|extras| extras.hold.lock().take())
}

/// Returns whether a task is only waited for until it begins.
pub(crate) fn awaits_begin(header: &Header) -> bool {
    let until = header.extras().and_then(|extras| Some(extras.hold.lock().as_ref()?.until()));
    until == Some(Until::Begun)
}
