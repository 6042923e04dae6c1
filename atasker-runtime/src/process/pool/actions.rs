//! What the scheduler decides, as plain data.
//!
//! The scheduler handles events under the pool's lock, and performs nothing itself: it appends its
//! decisions here, and the pool performs them once the lock is released. System calls and user code
//! (a subscriber, a callback of a task that ends) therefore never run under the lock.
//!
//! Three things are not actions, because their order relative to other holders of the lock matters:
//! a call is sent, and revoked, in the shared page under the lock; the location of a task is
//! recorded in its header there; and messages for a task are moved to its worker's queue there, so
//! that they stay in order and do not follow a call that is revoked.

use std::sync::Arc;
use std::task::Waker;

use smallvec::SmallVec;

use crate::error::TaskError;
use crate::job::Job;
use crate::process::config::MpPoolConfig;
use crate::process::pool::call::Rejected;
use crate::process::pool::lane::Lane;
use crate::process::transport::Transport;
use crate::task::TaskArc;
use crate::time::clock::Stamp;

/// What has to be done once the pool's lock is released.
#[must_use = "workers wait to be woken"]
pub(crate) struct Actions<T> {
    /// In the order of the decisions. Most often there is one: a worker is woken.
    pub(crate) list: SmallVec<[Action<T>; 1]>,
    /// Tasks that end without a run.
    pub(crate) rejected: Vec<Rejected>,
    /// Jobs whose tasks other threads end, or have ended.
    pub(crate) discarded: Vec<Job>,
    /// Tasks whose limits may have room for others.
    pub(crate) pumped: Vec<TaskArc>,
    /// Launches that wait for room in the queue and have to check again.
    pub(crate) launchers: Vec<Waker>,
}

/// One of these actions.
pub(crate) enum Action<T> {
    /// Start a worker process.
    Spawn(Spawn),
    /// Kill a worker process.
    Kill(Arc<T>),
    /// Request a worker process that has no calls to exit.
    Shutdown(Arc<T>),
    /// Wake a worker that was sent calls. With `flush`, its peer has more to write for them.
    Wake { peer: Arc<T>, flush: bool },
    /// Wake the reader thread of a worker process.
    WakeReader(Arc<T>),
    /// Request the task of this call to stop.
    Stop(Arc<T>, u64),
    /// Tell the observers that a task has begun in this worker process.
    TellBegin { peer: Arc<T>, task: TaskArc },
    /// Report to [`Scheduler::on_stopped`](crate::process::pool::schedule::Scheduler::on_stopped)
    /// if the system says that this worker process is stopped.
    CheckStopped(Arc<T>),
    /// Call [`Scheduler::on_limit_time`](crate::process::pool::schedule::Scheduler::on_limit_time)
    /// at this time of the clock of limits, which is not the real one.
    SetLimitTimer(Stamp),
}

/// A worker process that is to be started.
pub(crate) struct Spawn {
    pub(crate) lane: usize,
    /// Its number in the pool.
    pub(crate) number: u64,
    /// The number of its first call.
    pub(crate) first: u64,
    pub(crate) config: Arc<MpPoolConfig>,
}

impl<T> Default for Actions<T> {
    fn default() -> Self {
        Actions {
            list: SmallVec::new(),
            rejected: Vec::new(),
            discarded: Vec::new(),
            pumped: Vec::new(),
            launchers: Vec::new(),
        }
    }
}

impl<T: Transport> Actions<T> {
    pub(crate) fn push(&mut self, action: Action<T>) {
        self.list.push(action);
    }

    /// Wakes a worker that was sent calls: once, however many there are.
    pub(crate) fn wake(&mut self, worker: &Arc<T>, with_more: bool) {
        for action in &mut self.list {
            if let Action::Wake { peer, flush } = action
                && Arc::ptr_eq(peer, worker)
            {
                *flush |= with_more;
                return;
            }
        }
        self.list.push(Action::Wake { peer: Arc::clone(worker), flush: with_more });
    }

    pub(crate) fn kill(&mut self, lane: &Lane<T>) {
        self.list.extend(lane.worker().cloned().map(Action::Kill));
    }

    pub(crate) fn shut_down(&mut self, lane: &Lane<T>) {
        self.list.extend(lane.worker().cloned().map(Action::Shutdown));
    }

    pub(crate) fn wake_reader_of(&mut self, lane: &Lane<T>) {
        self.list.extend(lane.worker().cloned().map(Action::WakeReader));
    }

    pub(crate) fn reject(&mut self, job: Job, error: TaskError) {
        self.rejected.push(Rejected(job, error));
    }

    pub(crate) fn discard(&mut self, job: Job) {
        self.discarded.push(job);
    }

    /// Whether a worker process is to be killed.
    #[cfg(test)]
    pub(crate) fn kills(&self) -> bool {
        self.list.iter().any(|action| matches!(action, Action::Kill(_)))
    }
}
