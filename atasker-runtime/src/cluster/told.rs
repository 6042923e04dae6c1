//! What becomes of a task when its call has begun, waits again, or has ended. On the thread for
//! events, except for the end of a call that was canceled.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::door::{CallEnd, NodeRef};
use crate::error::TaskError;
use crate::job::Run;
use crate::observe;
use crate::task::TaskArc;
use crate::task::elsewhere::Seen;
use crate::task::header::Header;
use crate::task::state::Phase;

fn note(header: &Header, change: impl FnOnce(&mut Seen)) {
    if let Some(elsewhere) = header.elsewhere() {
        change(&mut elsewhere.seen.lock());
    }
}

/// A run has begun on this node.
pub(super) fn begun(task: &TaskArc, node: Option<&NodeRef>, attempt: u32, losses: u32) {
    let header = task.header();
    let is_running = || header.state.read().is_running();
    if is_running() && header.attempt() < attempt {
        // Another node has begun the next run at once: the end of the previous one is told here.
        waits_again(task, header.attempt(), losses);
    }
    note(header, |seen| {
        if let Some(node) = node {
            seen.node = Some(node.name.clone());
        }
        seen.losses = losses;
        seen.waits_again = false;
    });
    if is_running() && header.attempt() >= attempt {
        // Told twice.
        return;
    }
    header.extras_or_new().worker_pid.store(0, Ordering::Relaxed);
    if header.begin_elsewhere(attempt) {
        observe::started(task, None);
    }
}

/// The run is over, and the call waits for another one.
pub(super) fn waits_again(task: &TaskArc, attempt: u32, losses: u32) {
    let header = task.header();
    let mut lost = None;
    note(header, |seen| {
        if losses > seen.losses {
            let node = seen.node.as_deref().unwrap_or_default().to_owned();
            lost = Some(TaskError::NodeLost { node, losses });
        }
        seen.losses = losses;
        seen.waits_again = true;
    });
    header.extras_or_new().worker_pid.store(0, Ordering::Relaxed);
    if header.state.read().phase() == Phase::Queued && header.attempt() < attempt {
        // Its begin was not told.
        let _ = header.begin_elsewhere(attempt);
    }
    let is_waiting = header.state.wait_again();
    if header.attempt() > attempt {
        // It was handed back before the function began, so it was no attempt.
        header.set_attempt(attempt);
    }
    if is_waiting {
        // The nodes know the pause, and they know the error of a run that has ended badly.
        observe::retrying(task, lost.as_ref(), lost.is_none(), Duration::ZERO);
    }
}

/// Ends the task of a call that has ended.
pub(super) fn end(task: &TaskArc, end: CallEnd) {
    let CallEnd { outcome, attempt, losses, node } = end;
    let header = task.header();
    let mut outcome = Some(outcome);
    loop {
        match (header.state.read().phase(), &outcome) {
            // No run has begun that was not told.
            (Phase::Queued, Some(Err(_))) if attempt <= header.attempt() => {
                if let Some(claim) = header.state.claim(Phase::Queued)
                    && let Some(Err(error)) = outcome.take()
                {
                    note(header, |seen| seen.losses = losses.max(seen.losses));
                    return claim.end(task, error);
                }
            }
            (Phase::Queued, _) => begun(task, node.as_ref(), attempt.max(1), losses),
            (Phase::Started, _) if attempt > header.attempt() => {
                begun(task, node.as_ref(), attempt, losses);
            }
            (Phase::Started, _) => {
                note(header, |seen| {
                    if let Some(node) = &node {
                        seen.node = Some(node.name.clone());
                    }
                    seen.losses = losses.max(seen.losses);
                });
                header.extras_or_new().worker_pid.store(0, Ordering::Relaxed);
                let run = Run::of_begun(task.clone());
                return match outcome.take() {
                    Some(Ok(result)) => run.reply(result.into()),
                    Some(Err(error)) => run.fail(error),
                    None => {}
                };
            }
            (Phase::New | Phase::Delayed | Phase::Retrying | Phase::Ending | Phase::Ended, _) => {
                return;
            }
        }
    }
}

/// Ends the task of a call that was canceled, unless the thread for events was faster.
pub(super) fn end_as_canceled(task: &TaskArc) {
    loop {
        let phase = task.header().state.read().phase();
        if matches!(phase, Phase::Ending | Phase::Ended) {
            return;
        }
        if let Some(claim) = task.header().state.claim(phase) {
            // No body returns here that would give back the limit.
            task.header().leave_attempt();
            return claim.end(task, TaskError::Canceled);
        }
    }
}
