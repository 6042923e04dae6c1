//! How a task ends whose call is over.

use crate::process::parent::peer::Peer;
use std::borrow::Cow;
use std::sync::atomic::Ordering;

use crate::error::{DeathCause, TaskError, WorkerDeath, with_advice};
use crate::job::Run;
use crate::process::errors;
use crate::process::parent::calls::Reply;
use crate::process::pool::call::{Finished, Sent};
use crate::process::pool::{ProcessPool, record_begun, record_progress};
use crate::process::transport::entry::ReplyLocation;
use crate::time::clock::{self, Stamp};
use crate::unwind::guarded;

/// Completes a task whose reply has arrived: `reply`, or the one in shared memory. `taken_at` is
/// when its call was taken out.
pub(crate) fn complete(
    worker: &Peer,
    done: Finished<Reply>,
    ok: bool,
    reply: Option<&[u8]>,
    taken_at: Stamp,
) {
    let Finished { call, sent, reply: taken } = done;
    let Reply { times, progress, inline, location, .. } = taken;
    if !ok {
        // A panic that aborts the process ends a chunk of a map like a death.
        salvage(worker, call, &sent);
    }
    let run = release_run(worker, sent, times.begun, progress);
    let died = |why: String| {
        TaskError::WorkerDied(WorkerDeath::new(worker.pid, DeathCause::Other(why.into())))
    };
    let reply: Cow<'_, [u8]> = match (reply, location) {
        (Some(reply), _) => reply.into(),
        (None, ReplyLocation::Region { len, at, .. }) => match worker.read_reply(call, at, len) {
            Ok(reply) => reply.into(),
            Err(error) => {
                let why = format!("its reply can't be read: {}", with_advice(&error));
                let error = died(why);
                return guarded(move || run.fail(error));
            }
        },
        (None, _) => inline.bytes().into(),
    };
    if ok {
        if matches!(location, ReplyLocation::Inline { .. }) && !run.header().may_retry() {
            // A faulty worker may have written any time.
            run.header().note_ended(clock::from_monotonic(times.ended).min(taken_at));
        }
        // The task is dropped within the guard, too, because this may be the last reference.
        return guarded(move || run.reply(reply));
    }
    let error = errors::decode(&reply).unwrap_or_else(|bad| died(bad.to_string()));
    guarded(move || run.fail(error));
}

/// Keeps what a call has done, for the map that it belongs to, if it has a journal.
pub(crate) fn salvage(worker: &Peer, call: u64, sent: &Sent) {
    // Over sockets, it has arrived in frames.
    if !worker.is_over_sockets()
        && let Some(salvaged) = worker.page.journal.salvage(call)
    {
        *sent.job.header().extras_or_new().salvaged.lock() = Some(Box::new(salvaged));
    }
}

/// Tells the pool, when dropped, that calls taken out of it are completed.
pub(crate) struct CompletionGuard<'a>(pub(crate) &'a ProcessPool);

impl Drop for CompletionGuard<'_> {
    fn drop(&mut self) {
        self.0.completed();
    }
}

/// Takes a task out of the pool: the worker process has begun it, and its run is over.
pub(crate) fn release_run(
    worker: &Peer,
    sent: Sent,
    begun: u64,
    progress: Option<(u64, u64)>,
) -> Run {
    let task = &**sent.job.task();
    record_begun(task, clock::from_monotonic(begun));
    record_progress(task, progress);
    if let Some(extras) = task.header().extras() {
        extras.worker_pid.store(0, Ordering::Relaxed);
    }
    sent.job.into_run(worker.pid)
}
