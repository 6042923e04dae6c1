//! Stop, cancel, kill: what each does, by the task's phase. Handles, references and shutdown all
//! come here.
//!
//! | | waiting (delayed, queued, sent but not begun, between attempts) | running | ended |
//! |---|---|---|---|
//! | `stop` | canceled | asked to stop | - |
//! | `cancel` | canceled: `true` | asked to stop: `false` | `false` |
//! | `kill` | canceled | as the place can | Ok |
//!
//! A task that found a slot at its launch and has not been picked up yet is between the two: for
//! `stop` it counts as running, so that a task which is launched and stopped in the next line still
//! does its work of stopping; for `cancel` and `kill` it has not begun.

use std::sync::Arc;

use crate::error::{KillError, TaskError};
use crate::task::AnyTask;
use crate::task::header::refresh;
use crate::task::state::Phase;

/// Ends a task that has not begun with `error`; one that has a slot only if `even_with_slot`. False:
/// it is past that, or has ended.
pub(crate) fn end_unbegun(task: &Arc<dyn AnyTask>, error: TaskError, even_with_slot: bool) -> bool {
    refresh(&**task);
    let header = task.header();
    loop {
        let phase = header.state.read().phase();
        match phase {
            Phase::New | Phase::Delayed | Phase::Retrying => {
                if let Some(claim) = header.state.claim(phase) {
                    let timer = header.extras().and_then(|e| e.delay_timer.lock().take());
                    if let Some(key) = timer {
                        crate::timer::cancel(key);
                    }
                    task.end(task, claim, error);
                    return true;
                }
            }
            Phase::Queued => {
                // The place's lock decides: what it takes back can't begin any more.
                let revoked =
                    header.owner().is_some_and(|owner| owner.revoke(&**task, even_with_slot));
                if !revoked {
                    return false;
                }
                if let Some(claim) = header.state.claim(Phase::Queued) {
                    task.end(task, claim, error);
                    return true;
                }
            }
            Phase::Started | Phase::Ending | Phase::Ended => return false,
        }
    }
}

/// Asks a task to stop; one that waits is canceled.
pub(crate) fn stop(task: &Arc<dyn AnyTask>) {
    end_or_ask(task, false);
}

/// Cancels a task that has not begun: true. Else asks it to stop.
pub(crate) fn cancel(task: &Arc<dyn AnyTask>) -> bool {
    end_or_ask(task, true)
}

fn end_or_ask(task: &Arc<dyn AnyTask>, even_with_slot: bool) -> bool {
    let end = || end_unbegun(task, TaskError::Canceled, even_with_slot);
    end() || {
        ask(task);
        // Its run may have ended between the two, and it waits for the next. Now that it is asked,
        // no further one is set up.
        end()
    }
}

fn ask(task: &Arc<dyn AnyTask>) {
    let header = task.header();
    if !matches!(header.state.read().phase(), Phase::Ending | Phase::Ended) {
        header.ask_stop();
        if let Some(owner) = header.owner() {
            owner.stop_asked(&**task);
        }
    }
}

/// Ends a task wherever it is, as far as its place can.
pub(crate) fn kill(task: &Arc<dyn AnyTask>) -> Result<(), KillError> {
    // Twice, for a run may end between the two questions, and another be set up. After the first round
    // none is any more, and the one that was is met by the second.
    for _ in 0..2 {
        if end_unbegun(task, TaskError::Canceled, true)
            || matches!(task.header().state.read().phase(), Phase::Ending | Phase::Ended)
        {
            return Ok(());
        }
        match task.header().owner() {
            Some(owner) => owner.kill(task)?,
            None => return Err(KillError::Unsupported),
        }
    }
    Ok(())
}
