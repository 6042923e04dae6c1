//! The thread that receives from one worker process, and reaps it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::error::{DeathCause, TaskError, WorkerDeath};
use crate::fork;
use crate::observe::{self, load, spans};
use crate::process::parent::calls::Reply;
use crate::process::parent::completion::{CompletionGuard, complete, release_run, salvage};
use crate::process::parent::peer::Peer;
use crate::process::pool::call::{Finished, FramesHandled, InvalidPage, KillReason};
use crate::process::pool::complete::NextTimeout;
use crate::process::pool::events::{EarlyExit, StartFailureKind, Wanted};
use crate::process::pool::{ProcessPool, record_begun};
use crate::process::stdio::StdioPipes;
use crate::process::tracing::filter::{self, Watched};
use crate::process::tracing::parent::{RemoteSpans, Sender};
use crate::process::transport::entry::{CallState, ReplyLocation};
use crate::process::transport::journal::JOURNAL_BYTES;
use crate::process::transport::page::Page;
use crate::process::transport::sockets::PageMirror;
use crate::sys::ipc::{self, ReadMode, ReadOutcome};
use crate::task::{TaskArc, scheduler};
use crate::time::clock::{self, Stamp};
use crate::unwind::{self, guarded};
use crate::wire::buffer_pool;
use crate::wire::frame::ToParent;
use crate::wire::framing::Frames;

const SIGKILL: i32 = libc::SIGKILL;

/// How long a worker process may take to become ready.
pub(super) const START_LIMIT: Duration = Duration::from_secs(30);

/// How long the end of a worker process is waited for once its socket is closed. Much more than an
/// exit takes from there, even on a busy machine.
const EXIT_TIME: Duration = Duration::from_millis(50);

/// Why the reader thread stops receiving.
enum ReaderExit {
    /// The process has ended, or its socket is closed.
    Gone,
    /// The process violated the protocol.
    ProtocolError(&'static str),
    /// The process did not become ready in time.
    StartTimeout,
    /// The reader thread panicked: a bug of this crate, which must not affect other tasks.
    Panicked,
}

const UNEXPECTED_REPLY: ReaderExit = ReaderExit::ProtocolError("a reply to no outstanding call");
const UNEXPECTED_STATE: ReaderExit = ReaderExit::ProtocolError("a call state out of order");

/// The reader thread of one worker process.
struct Reader<'p, 'w> {
    pool: &'p ProcessPool,
    lane: usize,
    worker: &'w Arc<Peer>,
    frames: Frames,
    /// Calls that are done, in order, whose replies have not arrived completely.
    finished: VecDeque<Finished<Reply>>,
    ready: bool,
    start_failure: Option<String>,
    /// What the worker prints, if it is captured.
    stdio: Option<StdioPipes>,
    /// When calls were taken out last.
    taken_at: Stamp,
    /// The page is invalid.
    page_corrupt: bool,
    /// Keeps the page in step if it is private.
    mirror: Option<PageMirror>,
    /// After an invalid frame, nothing more is handled.
    poisoned: bool,
    /// Its tracing spans that are open.
    spans: RemoteSpans,
    /// Tells it what the program wants of its spans and events.
    watched: &'w mut Watched,
}

/// Receives from one worker process until it has ended, and reaps it.
pub(crate) fn run(pool: &ProcessPool, lane: usize, worker: Arc<Peer>, stdio: Option<StdioPipes>) {
    let _entered = pool.scheduler.map(scheduler::enter);
    let mut watched = filter::watch(&worker);
    let guard = serve(pool, lane, &worker, stdio, &mut watched);
    drop(watched);
    // Dropped before the guard, so that a finished stop leaves no descriptor and no mapping of the
    // worker.
    drop(worker);
    drop(guard);
}

/// The body of [`run`]. The pool waits for the returned guard to be dropped.
fn serve<'p>(
    pool: &'p ProcessPool,
    lane: usize,
    worker: &Arc<Peer>,
    stdio: Option<StdioPipes>,
    watched: &mut Watched,
) -> CompletionGuard<'p> {
    let wanted = pool.on_spawned(lane, worker);
    let mut reader = Reader {
        pool,
        lane,
        worker,
        frames: Frames::limited_to(worker.max_frame),
        finished: VecDeque::new(),
        ready: false,
        start_failure: None,
        stdio,
        taken_at: 0,
        page_corrupt: false,
        mirror: worker.is_over_sockets().then(PageMirror::default),
        poisoned: false,
        spans: RemoteSpans::default(),
        watched,
    };
    if wanted == Wanted::No {
        worker.kill();
        worker.reap_process();
        return CompletionGuard(pool);
    }
    let why = unwind::catch(|| reader.run()).unwrap_or(ReaderExit::Panicked);
    reader.finish(why)
}

impl<'p> Reader<'p, '_> {
    fn run(&mut self) -> ReaderExit {
        let started = Instant::now();
        loop {
            let now = self.take_done();
            if self.page_corrupt {
                return ReaderExit::ProtocolError("an invalid state in the shared page");
            }
            if self.is_missing_frames() {
                // They were written before the call was done, so they can be read now.
                match self.read() {
                    Ok(ReadOutcome::Bytes(_)) => continue,
                    Ok(_) => {
                        return ReaderExit::ProtocolError(
                            "a reply after frames that never arrived",
                        );
                    }
                    Err(broken) => return broken,
                }
            }
            self.watched.check_levels();
            let interest = self.worker.flush();
            let nanos = match self.pool.next_timeout(self.lane, self.worker, now) {
                NextTimeout::Ready => {
                    self.worker.page.set_awake();
                    continue;
                }
                NextTimeout::Nanos(_) if !self.ready => {
                    let left = START_LIMIT.saturating_sub(started.elapsed());
                    if left.is_zero() {
                        return ReaderExit::StartTimeout;
                    }
                    Some(left.as_nanos() as u64)
                }
                NextTimeout::Nanos(nanos) => nanos,
            };
            let Peer { data, control, doorbell, end, .. } = &**self.worker;
            let stdio = self.stdio.as_ref().map_or([None, None], StdioPipes::pipes);
            let from = ipc::Sources { data, control, end, doorbell, stdio };
            let events = ipc::wait(from, interest, nanos);
            self.worker.page.set_awake();
            if events.doorbell {
                // Cleared before the calls are taken out, so that no ring in between is lost.
                ipc::clear(doorbell);
            }
            if events.data
                && let Err(broken) = self.read()
            {
                return broken;
            }
            if events.dead {
                return ReaderExit::Gone;
            }
            if events.stdio {
                self.read_stdio();
            }
            // A worker that rings or prints all the time must not prevent these checks.
            if nanos == Some(0) || !(events.doorbell || events.data || events.stdio) {
                self.take_done();
                self.pool.on_timeout(self.lane, self.worker);
            }
        }
    }

    /// Takes out calls that are done, and completes those whose replies have arrived. Returns the
    /// time at which it took them out.
    fn take_done(&mut self) -> Stamp {
        let before = self.finished.len();
        let now =
            self.pool.take_done(self.lane, &mut self.finished).unwrap_or_else(|InvalidPage| {
                self.page_corrupt = true;
                0
            });
        self.taken_at = now;
        if self.finished.len() > before {
            // The output of a task comes before its end.
            self.read_stdio();
        }
        self.complete_ready();
        now
    }

    fn read_stdio(&mut self) {
        if let Some(stdio) = &mut self.stdio {
            guarded(|| stdio.read(self.worker.pid));
        }
    }

    /// Whether the next reply has arrived, but frames before it have not.
    fn is_missing_frames(&self) -> bool {
        self.finished.front().is_some_and(|done| {
            done.reply.location != ReplyLocation::Socket
                && done.reply.after > self.worker.frames_read()
        })
    }

    /// Reads without blocking, and handles the frames.
    fn read(&mut self) -> Result<ReadOutcome, ReaderExit> {
        // User code on this thread (a subscriber, a waker) may have forked.
        fork::end_if_copy();
        match ipc::read_into(&self.worker.data, self.frames.room(), ReadMode::Nonblocking) {
            Ok(outcome @ ReadOutcome::Bytes(_)) => self.handle_frames().map(|()| outcome),
            Ok(ReadOutcome::WouldBlock) => Ok(ReadOutcome::WouldBlock),
            Ok(ReadOutcome::Eof) | Err(_) => Err(ReaderExit::Gone),
        }
    }

    /// Handles all complete frames.
    fn handle_frames(&mut self) -> Result<(), ReaderExit> {
        let mut frames = std::mem::take(&mut self.frames);
        let result = loop {
            match frames.next::<ToParent<'_>>() {
                Ok(Some(frame)) => match self.handle_frame(frame) {
                    Ok(()) => {
                        // Release: a thread that sees the count also sees what the frame did,
                        // before it completes the call.
                        self.worker.read.fetch_add(1, Ordering::Release);
                    }
                    Err(broken) => break Err(broken),
                },
                Ok(None) => break Ok(()),
                Err(malformed) => break Err(ReaderExit::ProtocolError(malformed.0)),
            }
        };
        // Checked before the reply is complete, because an unexpected one may be endless.
        let result = result.and_then(|()| match frames.incoming_reply() {
            Some(call) if !self.is_expected(call) => Err(UNEXPECTED_REPLY),
            _ => Ok(()),
        });
        self.frames = frames;
        self.poisoned |= result.is_err();
        self.complete_ready();
        result
    }

    /// Applies a reported state of a call to the private page.
    fn update_mirror(
        &mut self,
        apply: impl FnOnce(&mut PageMirror, &Page) -> bool,
    ) -> Result<(), ReaderExit> {
        let Some(mirror) = self.mirror.as_mut().filter(|_| self.ready) else {
            return Err(UNEXPECTED_STATE);
        };
        if apply(mirror, &self.worker.page) { Ok(()) } else { Err(UNEXPECTED_STATE) }
    }

    fn handle_frame(&mut self, frame: ToParent<'_>) -> Result<(), ReaderExit> {
        match frame {
            ToParent::Ready { .. } | ToParent::StartFailed { .. } if self.ready => {
                return Err(ReaderExit::ProtocolError("a start-up message after the start"));
            }
            ToParent::Ready { .. } => {
                self.ready = true;
                self.pool.on_ready(self.lane);
                self.pool.tell_process_started(self.worker);
                self.worker.release_calls();
            }
            ToParent::Declined { .. } => {
                return Err(ReaderExit::ProtocolError("a message of a template"));
            }
            ToParent::StartFailed { reason } => self.start_failure = Some(reason.to_owned()),
            ToParent::Begun { call, at } => {
                self.update_mirror(|mirror, page| mirror.begun(page, call, at))?;
            }
            ToParent::Progress { call, done, total } => {
                self.update_mirror(|mirror, page| mirror.progressed(page, call, done, total))?;
            }
            ToParent::Ended { call, at } => {
                self.update_mirror(|mirror, page| mirror.ended(page, call, at))?;
            }
            ToParent::Reply { call, ok, bytes } => {
                if let Some(mirror) = &mut self.mirror
                    && !mirror.replied(&self.worker.page, call)
                {
                    return Err(UNEXPECTED_REPLY);
                }
                // Otherwise the call stays, and ends with the worker.
                match if self.is_expected(call) { self.finished.pop_front() } else { None } {
                    Some(done) => {
                        self.pool.on_reply(self.lane, call);
                        self.complete(done, ok, Some(bytes));
                    }
                    None => return Err(UNEXPECTED_REPLY),
                }
            }
            ToParent::Message { call, bytes } => {
                if let Some(task) = self.task_of(call)
                    && let Some(outbox) =
                        task.header().channels().and_then(|channels| channels.outbox_bytes())
                {
                    // The worker waits for room in the channel. An interrupted attempt may have
                    // left messages as well.
                    let times = 2 * (task.header().attempt() as usize + 1);
                    if !outbox.deliver(bytes.into(), times) {
                        return Err(ReaderExit::ProtocolError(
                            "more messages than the channel holds",
                        ));
                    }
                }
            }
            ToParent::Ack { call, count } => {
                if let Some(task) = self.task_of(call)
                    && let Some(inbox) =
                        task.header().channels().and_then(|channels| channels.inbox_bytes())
                {
                    let count = usize::try_from(count).unwrap_or(usize::MAX);
                    if !inbox.ack(count) {
                        return Err(ReaderExit::ProtocolError(
                            "more messages acknowledged than sent",
                        ));
                    }
                }
            }
            ToParent::ProgressMessage { call, text } => {
                if let Some(task) = self.task_of(call) {
                    let mut progress = task.header().extras_or_new().progress.lock();
                    progress.get_or_insert_default().message = Some(text.to_owned());
                }
            }
            ToParent::Items { call, begun, results } => {
                if let Some(task) = self.task_of(call) {
                    let mut salvaged = task.header().extras_or_new().salvaged.lock();
                    let salvaged = salvaged.get_or_insert_default();
                    (salvaged.begun, salvaged.done) = (begun, begun.saturating_sub(1));
                    if salvaged.results.len() + results.len() > JOURNAL_BYTES {
                        return Err(ReaderExit::ProtocolError(
                            "more results than a chunk may have",
                        ));
                    }
                    salvaged.results.extend_from_slice(results);
                }
            }
            ToParent::Callsite { .. }
            | ToParent::Event { .. }
            | ToParent::SpanOpened { .. }
            | ToParent::SpanRecorded { .. }
            | ToParent::SpanFollows { .. }
            | ToParent::SpanClosed { .. }
            | ToParent::SpansClosed { .. }
            | ToParent::LogRecord { .. } => {
                let mut spans = std::mem::take(&mut self.spans);
                let sender = Sender {
                    pid: self.worker.pid,
                    task_of: &|call| self.task_with_span(call),
                    described: &|callsite| filter::describe(self.worker, callsite),
                };
                let result = spans.handle(&frame, &sender);
                self.spans = spans;
                result.map_err(|malformed| ReaderExit::ProtocolError(malformed.0))?;
            }
        }
        Ok(())
    }

    /// Whether the next reply on the socket belongs to this call.
    fn is_expected(&mut self, call: u64) -> bool {
        if self.mirror.as_ref().is_some_and(|mirror| mirror.is_awaiting(call)) {
            return true;
        }
        let is_next = |reader: &Self| {
            let next = reader.finished.front();
            next.is_some_and(|done| {
                done.call == call && done.reply.location == ReplyLocation::Socket
            })
        };
        if !is_next(self) {
            // The worker marks the call as done before it writes the reply.
            self.take_done();
        }
        is_next(self)
    }

    /// The task of a call that has begun and is not completed yet.
    fn task_of(&self, call: u64) -> Option<TaskArc> {
        let here = self.finished.iter().find(|done| done.call == call);
        match here {
            Some(done) => Some(done.sent.job.task().clone()),
            // A call that waits in the page may still be given to another worker, so this one has
            // nothing to report about it.
            None => {
                matches!(self.worker.page.state(call), Some(CallState::Begun | CallState::Done))
                    .then(|| self.pool.task_of(self.lane, call))
                    .flatten()
            }
        }
    }

    /// The same for what belongs into the span of the task, which is opened now if the begin of the
    /// call has not been reported yet.
    fn task_with_span(&self, call: u64) -> Option<TaskArc> {
        let task = self.task_of(call)?;
        if spans::lacks_span(&*task) {
            match self.finished.iter().find(|done| done.call == call) {
                Some(done) => {
                    record_begun(&*task, clock::from_monotonic(done.reply.times.begun));
                    observe::started(&task, Some(self.worker.pid));
                }
                None => self.pool.tell_begin(self.lane),
            }
        }
        Some(task)
    }

    /// Completes the calls whose replies have arrived, with all frames before them.
    fn complete_ready(&mut self) {
        while let Some(done) = self.finished.front() {
            let (ReplyLocation::Inline { ok, .. } | ReplyLocation::Region { ok, .. }) =
                done.reply.location
            else {
                return;
            };
            if done.reply.after > self.worker.frames_read() {
                return;
            }
            if let Some(done) = self.finished.pop_front() {
                self.complete(done, ok, None);
            }
        }
    }

    fn complete(&mut self, done: Finished<Reply>, ok: bool, reply: Option<&[u8]>) {
        // The worker has closed them, unless it is faulty.
        self.spans.close_call(done.call);
        complete(self.worker, done, ok, reply, self.taken_at);
    }

    /// Ends the worker process if it has not ended, and completes what is left.
    fn finish(mut self, why: ReaderExit) -> CompletionGuard<'p> {
        self.pool.mark_dead(self.lane);
        // The sockets of an exiting process are closed before its end can be observed. It is waited
        // for, because a kill would search `/proc` for its descendants, while the system removes the
        // process from there.
        let is_gone = matches!(why, ReaderExit::Gone);
        let ends_by_itself =
            is_gone && (self.worker.ends_within(EXIT_TIME) || self.worker.is_exiting());
        // A worker with closed sockets is useless, even if it continues to run.
        if !is_gone || !self.worker.has_ended() {
            self.worker.kill();
        }
        let mut cause = self.worker.reap_process();
        // Frames that it has sent before its end are still handled. A process that it has left
        // behind may continue to write, so only what is there now is read.
        if matches!(why, ReaderExit::Gone) {
            let mut left = ipc::unread_bytes(&self.worker.data);
            while left > 0
                && let Some(count) = self.read_remaining()
            {
                left = left.saturating_sub(count);
            }
        }
        self.take_done();
        if let Some(stdio) = &mut self.stdio {
            stdio.finish(self.worker.pid);
        }
        let frames_handled = match why {
            ReaderExit::Gone if !self.poisoned => FramesHandled::All,
            _ => FramesHandled::Some,
        };
        match why {
            ReaderExit::Gone => {}
            ReaderExit::ProtocolError(what) => {
                cause = DeathCause::Other(format!("it violated the protocol: {what}").into());
            }
            ReaderExit::StartTimeout => {
                cause = DeathCause::Other(
                    format!("it was killed because it was not ready after {START_LIMIT:?}").into(),
                );
            }
            ReaderExit::Panicked => {
                cause =
                    DeathCause::Other("it was killed because its reader thread panicked".into());
            }
        }
        let early_exit = (!self.ready).then(|| EarlyExit {
            kind: match cause {
                DeathCause::Signal(SIGKILL) if ends_by_itself => StartFailureKind::Killed,
                _ => StartFailureKind::Failed,
            },
            why: match &self.start_failure {
                Some(reason) => reason.clone(),
                None => format!("it ended before it was ready: {cause}"),
            },
        });
        let unfinished = self.pool.on_exit(self.lane, early_exit.as_ref(), frames_handled);
        // Makes a stop wait until these tasks have ended.
        let guard = CompletionGuard(self.pool);
        let in_order = cause == DeathCause::Exit(0) && unfinished.was_closing;
        self.spans.close_all();
        let death = WorkerDeath::new(self.worker.pid, cause);
        if early_exit.is_some() {
            // No observer has been told of this process.
            if let Some(scheduler) = self.pool.scheduler {
                load::changed(scheduler);
            }
        } else {
            let is_ours = in_order || self.worker.was_killed_deliberately();
            let tasks_run = unfinished.tasks_run;
            self.pool.tell_process_ended(self.worker, tasks_run, (!is_ours).then_some(&death));
        }
        let page = &self.worker.page;
        let partly_replied =
            self.finished.into_iter().map(|done| (done.call, done.reply.times.begun, done.sent));
        let begun = unfinished.begun.into_iter().map(|(call, sent)| (call, page.begun(call), sent));
        for (call, begun, sent) in partly_replied.chain(begun) {
            salvage(self.worker, call, &sent);
            let run = release_run(self.worker, sent, begun, page.progress(call));
            let why = unfinished
                .killed_for
                .filter(|(killed_for, _)| *killed_for == call)
                .map(|(_, why)| why);
            let death = death.clone();
            guarded(move || match why {
                Some(KillReason::TimeLimit(limit)) => run.fail(TaskError::TimedOut { limit }),
                Some(KillReason::Kill) => run.end(TaskError::Canceled),
                Some(KillReason::Shutdown) => run.end(TaskError::SupervisorStopped),
                None => run.fail(TaskError::WorkerDied(death)),
            });
        }
        // The arguments of the last tasks may be among the pooled buffers.
        buffer_pool::clear();
        guard
    }

    /// Reads once more. Returns the number of bytes, or `None` if nothing is left.
    fn read_remaining(&mut self) -> Option<usize> {
        match ipc::read_into(&self.worker.data, self.frames.room(), ReadMode::Nonblocking) {
            Ok(ReadOutcome::Bytes(count)) => self.handle_frames().ok().map(|()| count),
            _ => None,
        }
    }
}

#[cfg(test)]
mod unit {
    use super::*;

    #[test]
    fn unread_bytes_are_those_that_have_arrived() {
        let (ours, theirs) = ipc::pair().unwrap();
        assert_eq!(ipc::unread_bytes(&ours), 0);
        ipc::write_all(&theirs, &[1; 1000]).unwrap();
        ipc::write_all(&theirs, &[1; 3000]).unwrap();
        assert_eq!(ipc::unread_bytes(&ours), 4000);
        drop(theirs);
        assert_eq!(ipc::unread_bytes(&ours), 4000);
    }
}
