//! What a supervisor requests from the thread pool: the implementation of `Place`.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Waker};

use super::injector::AfterPush;
use super::pool::{After, Shared, Signal, ThreadPool};
use super::run::{self, Spawned};
use super::state::{PoolState, ticket_of};
use crate::error::{KillError, TaskError};
use crate::job::Job;
use crate::limit::{self, Parked, Reserved};
use crate::options::Overflow;
use crate::place::{Closing, Place, Room, WhenFull, warn_of_a_blocked_runtime};
use crate::priority::Priority;
use crate::room::Launcher;
use crate::sync::lock::MutexGuard;
use crate::task::control::Include;
use crate::task::state::Phase;
use crate::task::waiters;
use crate::task::{AnyTask, TaskArc, park};
use crate::unwind::log;

impl Place for ThreadPool {
    fn start(&self, job: Job, when_full: WhenFull) {
        let shared = &self.shared;
        if shared.injector.must_lock() {
            return shared.start_locked(job, when_full);
        }
        match shared.injector.push(job) {
            AfterPush::Return => {}
            AfterPush::Dispatch => {
                shared.dispatch(shared.state.lock());
            }
        }
    }

    fn revoke(&self, task: &dyn AnyTask, include: Include) -> bool {
        let (shared, header) = (&self.shared, task.header());
        let mut state = shared.state.lock();
        if !include.may_cover(header) {
            return false;
        }
        state.find(&shared.injector, header);
        let Some(ticket) = ticket_of(header.place_tag.load(Ordering::Relaxed)) else {
            // The launch waits for space, or has not pushed the job yet, so there is nothing to
            // remove. If the task begins after all, the caller sees that in its state.
            return true;
        };
        let mut job = state.backlog.remove(header.priority, ticket);
        if job.is_none() && include != Include::Queued {
            job = state.remove_admitted(task);
        }
        let Some(job) = job else { return false };
        let launchers = state.take_launchers(&shared.injector);
        // Another job may take the slot, if the job had one.
        shared.dispatch(state);
        waiters::wake_all(launchers);
        // Not dropped as a job, which would end the task: the caller does that.
        drop(job.into_task());
        true
    }

    fn reserve(
        &self,
        job: &Job,
        when_full: WhenFull,
        has_room: bool,
    ) -> Result<Reserved, Option<TaskError>> {
        let (shared, priority) = (&self.shared, job.priority());
        let mut state = shared.wait_until_accepted(job, when_full, has_room)?;
        // Behind the jobs that were launched before, which may be in the injector.
        state.drain_injector(&shared.injector, priority);
        Ok(state.reserve(priority))
    }

    fn unreserve(&self, priority: Priority, _reserved: Reserved) {
        let mut state = self.shared.state.lock();
        state.unreserve(priority);
        let launchers = state.take_launchers(&self.shared.injector);
        self.shared.dispatch(state);
        waiters::wake_all(launchers);
    }

    fn enqueue_parked(&self, parked: Parked) {
        let mut state = self.shared.state.lock();
        let priority = parked.job.priority();
        state.drain_injector(&self.shared.injector, priority);
        state.unpark(priority, parked);
        let launchers = state.take_launchers(&self.shared.injector);
        self.shared.dispatch(state);
        waiters::wake_all(launchers);
    }

    fn kill(&self, _task: &TaskArc) -> Result<(), KillError> {
        Err(KillError::Unsupported)
    }

    fn waits_for(&self, task: &dyn AnyTask) -> Cow<'static, str> {
        let (shared, header) = (&self.shared, task.header());
        let mut state = shared.state.lock();
        state.find(&shared.injector, header);
        let waits_for = match ticket_of(header.place_tag.load(Ordering::Relaxed)) {
            None => "room in the queue of the thread pool",
            Some(_) if state.is_admitted(header) => "a pool thread to begin it",
            Some(_) => "a slot of the thread pool",
        };
        waits_for.into()
    }

    fn waits_for_slot(&self, task: &dyn AnyTask) -> bool {
        let (shared, header) = (&self.shared, task.header());
        let mut state = shared.state.lock();
        // As in `revoke`. The job may have had no chance to start.
        state.drain_injector(&shared.injector, header.priority);
        shared.dispatch(state);
        let state = shared.state.lock();
        // One without a ticket waits elsewhere, to get here.
        ticket_of(header.place_tag.load(Ordering::Relaxed))
            .is_none_or(|ticket| state.backlog.is_among_first(usize::MAX, header.priority, ticket))
    }

    fn run_inline(&self, task: &TaskArc) -> bool {
        if limit::has_limit(task.header()) {
            // It begins when its limit has room, which the waiting task lends it.
            return false;
        }
        let queued = task.header().state.read().phase() == Phase::Queued;
        let removed = queued && self.is_own_thread() && self.revoke(&**task, Include::Admitted);
        if removed {
            run::execute(Job::new(task.clone()), &self.shared, After::Other);
        }
        removed
    }

    fn open(&self) {
        let mut state = self.shared.state.lock();
        state.open = true;
        while state.threads < state.config.min_size {
            let thread = state.new_thread();
            // Without the lock, because a system call for each thread would block launches.
            let spawned = MutexGuard::unlocked(&mut state, || {
                let shared = Arc::clone(&self.shared);
                self.shared.spawn(&thread, move || run::thread(&shared, Spawned::Eagerly))
            });
            if let Err(error) = spawned {
                state.threads -= 1;
                drop(state);
                log!(error, %error, "failed to spawn an idle pool thread");
                return;
            }
        }
    }

    fn close(&self, _closing: &Closing<'_>) {
        let mut state = self.shared.state.lock();
        state.open = false;
        let launchers = state.room.take_all();
        let idle = std::mem::take(&mut state.idle);
        state.threads -= idle.len();
        self.shared.dispatch(state);
        waiters::wake_all(launchers);
        for parker in idle {
            parker.unpark(Signal::Exit);
        }
    }

    fn poll_room(
        &self,
        task: &dyn AnyTask,
        launcher: Launcher,
        context: &mut Context<'_>,
    ) -> Poll<Room> {
        let shared = &self.shared;
        if !shared.injector.must_lock() {
            return Poll::Ready(Room::ByRule);
        }
        let priority = task.header().priority;
        let may_start = limit::may_start(task.header());
        shared.poll_space(launcher, context.waker(), |state| match state.config.queue_limit {
            Some((_, Overflow::Block)) if state.open => {
                (!state.is_full(&shared.injector, priority, may_start)).then(|| {
                    state.reserved += 1;
                    Room::Reserved { bytes: 0 }
                })
            }
            _ => Some(Room::ByRule),
        })
    }

    fn leave_room(&self, launcher: Launcher) {
        self.shared.leave_room(launcher);
    }

    fn end_reservation(&self, _bytes: u64) {
        let mut state = self.shared.state.lock();
        state.reserved -= 1;
        let launchers = state.take_launchers(&self.shared.injector);
        self.shared.dispatch(state);
        waiters::wake_all(launchers);
    }

    fn wake_launchers(&self) {
        let launchers = self.shared.state.lock().room.take_all();
        waiters::wake_all(launchers);
    }
}

impl Shared {
    /// Launches a job when the queue has a limit or the pool is closed.
    #[cold]
    fn start_locked(self: &Arc<Self>, job: Job, when_full: WhenFull) {
        match self.wait_until_accepted(&job, when_full, true) {
            Ok(mut state) => {
                // Under the lock, so that the limit is exact. Behind launches that saw the gate
                // before it required the lock.
                state.push(&self.injector, job);
                self.dispatch(state);
            }
            Err(Some(error)) => job.end(error),
            Err(None) => drop(job.into_task()),
        }
    }

    /// Locks the state for a job that is accepted, once there is space for it. `may_start` says
    /// whether the job may start as soon as it has a slot.
    ///
    /// # Errors
    ///
    /// Returns the error with which the job is to end, or `None` if its task was canceled while the
    /// launch waited.
    fn wait_until_accepted(
        &self,
        job: &Job,
        when_full: WhenFull,
        may_start: bool,
    ) -> Result<MutexGuard<'_, PoolState>, Option<TaskError>> {
        let priority = job.priority();
        let mut launcher = None;
        let mut state = self.state.lock();
        while state.open && state.is_full(&self.injector, priority, may_start) {
            match state.config.queue_limit {
                Some((_, Overflow::Reject)) if !when_full.passes() => {
                    return Err(Some(TaskError::QueueFull));
                }
                Some((_, Overflow::Block)) if when_full.may_wait() => {
                    drop(state);
                    warn_of_a_blocked_runtime();
                    // The same each time, so that the launch keeps its turn.
                    let launcher = *launcher.get_or_insert_with(|| {
                        Launcher::new(priority, limit::has_limit(job.header()))
                    });
                    self.wait_for_space(job, launcher, may_start);
                    if job.header().state.read().phase() != Phase::Queued {
                        self.leave_room(launcher);
                        return Err(None);
                    }
                    // Another launch may have been faster: check again.
                    state = self.state.lock();
                }
                _ => break,
            }
        }
        if state.open { Ok(state) } else { Err(Some(TaskError::SupervisorStopped)) }
    }

    /// Blocks the launch until the queue may have space, or its task has ended.
    fn wait_for_space(&self, job: &Job, launcher: Launcher, may_start: bool) {
        let task = job.header();
        park::block_on(None, |context| {
            // The task first: its end must wake this thread as well.
            let ended = !task.watch(launcher.key(), context.waker());
            self.poll_space(launcher, context.waker(), |state| {
                let full = state.open && state.is_full(&self.injector, job.priority(), may_start);
                (ended || !full).then_some(())
            })
        });
        task.unwatch(launcher.key());
    }

    /// Returns what `find` returns under the lock. If that is nothing, the launch waits in the
    /// waiting room.
    fn poll_space<T>(
        &self,
        launcher: Launcher,
        waker: &Waker,
        find: impl FnOnce(&mut PoolState) -> Option<T>,
    ) -> Poll<T> {
        // Cloned, and dropped, without the lock.
        let waker = waker.clone();
        let mut state = self.state.lock();
        let found = find(&mut state);
        let (old, spare) = match found {
            Some(_) => (state.room.leave(launcher), Some(waker)),
            None => (state.room.enter(launcher, waker), None),
        };
        drop(state);
        waiters::drop_waker(old);
        waiters::drop_waker(spare);
        found.map_or(Poll::Pending, Poll::Ready)
    }

    /// Removes a launch that launches nothing. If it was woken, the space is another one's.
    fn leave_room(&self, launcher: Launcher) {
        let mut state = self.state.lock();
        let waker = state.room.leave(launcher);
        let launchers = state.take_launchers(&self.injector);
        drop(state);
        waiters::drop_waker(waker);
        waiters::wake_all(launchers);
    }
}
