//! What the reader threads of worker processes, and the thread that starts them, report to the
//! pool; and how a thread that waits for a call completes it.

use std::cell::Cell;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::error::WorkerDeath;
use crate::observe::events;
use crate::observe::observer::{Observer, ProcessEvent};
use crate::process::parent::calls::Reply;
use crate::process::parent::completion::{CompletionGuard, complete};
use crate::process::parent::peer::Peer;
use crate::process::parent::spawn::StartFailure;
use crate::process::parent::template;
use crate::process::pool::ProcessPool;
use crate::process::pool::call::{Finished, FramesHandled, InvalidPage};
use crate::process::pool::events::{EarlyExit, MIN_IDLE_FOR_DIRECT, Rest, Unfinished, Wanted};
use crate::process::pool::location::Location;
use crate::process::transport::entry::{CallState, ReplyLocation};
use crate::sync::spin::{next_window, spin_for};
use crate::sys::stack;
use crate::task::{AnyTask, TaskArc, scheduler};
use crate::time::clock::{self, Stamp};
use crate::unwind::log;
use crate::wire::nesting;

/// See [`ProcessPool::next_timeout`].
pub(crate) enum NextTimeout {
    /// There is something to take out already.
    Ready,
    /// The reader thread may sleep for at most this many nanoseconds.
    Nanos(Option<u64>),
}

impl ProcessPool {
    /// A worker process has been started in this lane.
    pub(crate) fn on_spawned(&self, lane: usize, worker: &Arc<Peer>) -> Wanted {
        self.with_lanes(|scheduler, now, actions| scheduler.on_spawned(lane, worker, now, actions))
    }

    /// The worker process of this lane can serve.
    pub(crate) fn on_ready(&self, lane: usize) {
        let config = self.with_lanes(|scheduler, now, actions| {
            scheduler.on_ready(lane, now, actions);
            scheduler.config.template.then(|| Arc::clone(&scheduler.config))
        });
        if let Some(config) = config {
            // Only now, so that the first worker process is not delayed by it.
            template::want(self, config);
        }
    }

    /// No worker process could be started in this lane.
    pub(crate) fn on_start_failed(&self, lane: usize, failure: &StartFailure) {
        let (failures, actions) = self.lanes_and_actions(|scheduler, now, actions| {
            scheduler.drain_injector(actions);
            scheduler.on_start_failed(lane, failure, now, actions);
            scheduler.start_failures
        });
        self.report_start_failure(failures, &failure.why);
        actions.perform(self);
    }

    /// Under no lock, because a subscriber may launch tasks.
    fn report_start_failure(&self, failures: u32, why: &str) {
        self.ended.notify_all();
        log!(
            warn, supervisor = %self.id, failures,
            "a worker process could not start: {why}"
        );
    }

    /// Takes out what a worker has done, and sends it more calls. Returns the time at which that
    /// happened.
    pub(crate) fn take_done(
        &self,
        index: usize,
        finished: &mut VecDeque<Finished<Reply>>,
    ) -> Result<Stamp, InvalidPage> {
        self.with_lanes(|scheduler, now, actions| {
            scheduler.on_done(index, finished, now, actions).map(|()| now)
        })
    }

    /// Spins for a moment until a task in a worker process ends, and completes it, so that neither
    /// the reader thread nor the caller has to be woken. Returns `false` if it has not ended.
    pub(crate) fn spin_until_done(&self, task: &dyn AnyTask) -> bool {
        let state = &task.header().state;
        if !task.has_no_hooks() {
            // Its hooks may run for any time, which must not happen in the middle of a wait.
            return false;
        }
        if stack::left() < nesting::MIN_STACK {
            // The thread that takes out the reply decodes it, and this one has too little stack for
            // that.
            return false;
        }
        let (lane, call, worker) = {
            let inner = self.inner.lock();
            if inner.config.idle_timeout < MIN_IDLE_FOR_DIRECT {
                return false;
            }
            let Location::Lane { lane, call } = inner.location(task) else {
                return state.read().is_ended();
            };
            let Some(worker) = inner.worker_of(lane, call) else {
                return state.read().is_ended();
            };
            if worker.is_over_sockets() {
                // Only the reader thread learns the state of a call over sockets.
                return false;
            }
            (lane, call, worker)
        };
        let window = self.spin_window.load(Ordering::Relaxed);
        let may_try = Cell::new(true);
        // The worker may leave the notification to this thread: then either this thread completes
        // the call, or it wakes the reader thread. At most one attempt, because later ones would
        // fail for the same reason.
        let try_take = || {
            if !state.read().is_ended()
                && may_try.replace(false)
                && !self.complete_own(lane, call, &worker)
            {
                worker.wake_reader();
            }
        };
        let stop_watching = || {
            if worker.page.unwatch(call) {
                try_take();
            }
        };
        worker.page.watch(call);
        let ended = spin_for(
            window,
            |_| {
                if worker.page.state(call) == Some(CallState::Done) {
                    try_take();
                }
                state.read().is_ended()
            },
            || {
                // Not watched while this thread may be descheduled, because the worker would rely
                // on it.
                stop_watching();
                std::thread::yield_now();
                worker.page.watch(call);
            },
        );
        stop_watching();
        // Relaxed, because the window is an estimate: a lost update costs nothing.
        self.spin_window.store(next_window(window, ended), Ordering::Relaxed);
        ended || state.read().is_ended()
    }

    /// Takes out and completes a call that is done. Returns `false` if the reader thread has to do
    /// that.
    fn complete_own(&self, index: usize, call: u64, worker: &Arc<Peer>) -> bool {
        let (done, actions) = self.lanes_and_actions(|scheduler, now, actions| {
            let done = scheduler.on_done_call(index, call, now, actions)?;
            let (wanted, first) = scheduler.wanted_calls(index);
            let page = &worker.page;
            // The reader thread sleeps until this call is done, so it is redirected to a later one:
            // under the lock, because the thread itself says there what it sleeps until.
            let sleeps = page.wakes_at().is_some_and(|at| at <= call);
            let is_closing = scheduler.lanes[index].is_closing();
            Some((done, is_closing || sleeps && !page.may_sleep_until(wanted, first), now))
        });
        let is_ours = done.is_some();
        if let Some((done, wakes_reader, taken_at)) = done {
            if wakes_reader {
                // Now, because decoding the reply may take long.
                worker.wake_reader();
            }
            // Makes a stop wait until this task has ended.
            let _guard = CompletionGuard(self);
            if let ReplyLocation::Inline { ok, .. } | ReplyLocation::Region { ok, .. } =
                done.reply.location
            {
                complete(worker, done, ok, None, taken_at);
            }
        }
        // Performed last, because writing the arguments of other tasks may take long.
        actions.perform(self);
        is_ours
    }

    /// What the reader thread of a worker process waits for, and for how long at most. `now` is the
    /// time of the last [`take_done`](Self::take_done): reading the clock once more would only make
    /// a timeout of milliseconds more exact by microseconds.
    pub(crate) fn next_timeout(&self, index: usize, worker: &Peer, now: Stamp) -> NextTimeout {
        let mut inner = self.inner.lock();
        let Rest { nanos, until } = inner.next_lane_timeout(index, now);
        // Under the lock, because a thread that completes a call moves this on.
        match until {
            Some((wanted, first))
                if !worker.page.may_sleep_until(wanted, first)
                    || inner.prompt && inner.lanes[index].has_untold_begin() =>
            {
                NextTimeout::Ready
            }
            _ => NextTimeout::Nanos(nanos),
        }
    }

    /// The time that [`next_timeout`](Self::next_timeout) returned has passed.
    pub(crate) fn on_timeout(&self, index: usize, worker: &Peer) {
        let decommit = self.inner.lock().lanes[index].begin_decommit(clock::now());
        if let Some(end) = decommit {
            // Outside of the lock, because it takes long.
            worker.decommit_args(end);
            self.inner.lock().lanes[index].end_decommit();
        }
        self.with_lanes(|scheduler, now, actions| scheduler.on_lane_timeout(index, now, actions));
    }

    /// A worker process has ended. See
    /// [`Scheduler::on_exit`](crate::process::pool::schedule::Scheduler::on_exit).
    pub(crate) fn on_exit(
        &self,
        index: usize,
        early_exit: Option<&EarlyExit>,
        frames_handled: FramesHandled,
    ) -> Unfinished {
        let ((unfinished, failures), actions) =
            self.lanes_and_actions(|scheduler, now, actions| {
                scheduler.drain_injector(actions);
                let unfinished = scheduler.on_exit(index, early_exit, frames_handled, now, actions);
                (unfinished, scheduler.start_failures)
            });
        self.ended.notify_all();
        if let Some(early_exit) = early_exit.filter(|_| !unfinished.was_closing) {
            self.report_start_failure(failures, &early_exit.why);
        }
        actions.perform(self);
        unfinished
    }

    /// The unfinished calls of a worker process (see [`on_exit`](Self::on_exit)) were completed,
    /// and this process holds none of its resources any more.
    pub(crate) fn completed(&self) {
        self.inner.lock().completed();
        self.ended.notify_all();
    }

    /// The reply to a call that is done has come through the socket.
    pub(crate) fn on_reply(&self, index: usize, call: u64) {
        self.inner.lock().on_reply(index, call);
    }

    /// The worker process of this lane is dead, or must die: it gets nothing more.
    pub(crate) fn mark_dead(&self, index: usize) {
        self.inner.lock().mark_dead(index);
    }

    /// Tells the observers of the call that a worker executes, unless they know of it.
    pub(crate) fn tell_begin(&self, index: usize) {
        self.with_lanes(|scheduler, _, actions| scheduler.tell_begin(index, actions));
    }

    /// A worker process is ready.
    pub(crate) fn tell_process_started(&self, worker: &Peer) {
        self.tell_process(worker, 0, |observer, event| observer.process_started(event));
        events::process_started(worker.pid, worker.number, &self.id);
    }

    /// A worker process has ended: in order, unless there is a `death`.
    pub(crate) fn tell_process_ended(
        &self,
        worker: &Peer,
        tasks_run: u64,
        death: Option<&WorkerDeath>,
    ) {
        self.tell_process(worker, tasks_run, |observer, event| {
            observer.process_ended(event, death);
        });
        events::process_ended(worker.pid, worker.number, &self.id, death);
    }

    fn tell_process(
        &self,
        worker: &Peer,
        tasks_run: u64,
        tell: impl Fn(&dyn Observer, &ProcessEvent<'_>),
    ) {
        let scheduler = self.scheduler.and_then(scheduler::get);
        let Some(observers) = scheduler.as_ref().and_then(|scheduler| scheduler.observers()) else {
            return;
        };
        let (pid, number) = (worker.pid, worker.number);
        let event = ProcessEvent { pid, number, supervisor: &observers.supervisor, tasks_run };
        observers.each(|observer| tell(observer, &event));
    }

    /// The task of a call that is in progress.
    pub(crate) fn task_of(&self, index: usize, call: u64) -> Option<TaskArc> {
        let mut inner = self.inner.lock();
        inner.lanes[index].get(call).map(|sent| sent.job.task().clone())
    }
}
