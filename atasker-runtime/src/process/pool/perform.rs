//! Performing what the scheduler has decided.

use crate::job::Job;
use crate::limit;
use crate::observe;
use crate::process::parent::peer::Peer;
use crate::process::parent::spawn;
use crate::process::pool::ProcessPool;
use crate::process::pool::actions::{Action, Actions, Spawn};
use crate::process::pool::call::Rejected;
use crate::task::TaskArc;
use crate::task::waiters;
use crate::unwind::guarded;

impl Actions<Peer> {
    /// Performs them. The caller holds no lock.
    pub(crate) fn perform(self, pool: &ProcessPool) {
        let Actions { list, rejected, discarded, pumped, launchers } = self;
        if !launchers.is_empty() {
            waiters::wake_all(launchers);
        }
        for action in list {
            match action {
                Action::Wake { peer, flush } => peer.notify(flush),
                Action::WakeReader(peer) => peer.wake_reader(),
                Action::Kill(peer) => peer.kill_deliberately(),
                Action::Shutdown(peer) => peer.post_shutdown(),
                Action::Stop(peer, call) => peer.post_stop(call),
                Action::TellBegin { peer, task } => {
                    observe::started(&task, Some(peer.pid));
                    guarded(|| drop(task));
                }
                Action::CheckStopped(peer) => pool.check_stopped(&peer),
                Action::SetLimitTimer(at) => pool.set_limit_timer(at),
                Action::Spawn(Spawn { lane, number, first, config }) => {
                    // Without the pool there are no tasks, and no lanes.
                    if let Some(pool) = pool.me.upgrade() {
                        let supervisor = pool.id.clone();
                        let request =
                            spawn::Request { pool, lane, number, first, supervisor, config };
                        spawn::request(request);
                    }
                }
            }
        }
        // Last, because callbacks of tasks may take long. Most events affect no task.
        if !(pumped.is_empty() && rejected.is_empty() && discarded.is_empty()) {
            finish_tasks(pumped, rejected, discarded);
        }
    }
}

/// The reader threads come here as well, and must survive a panic in a callback.
#[cold]
fn finish_tasks(pumped: Vec<TaskArc>, rejected: Vec<Rejected>, discarded: Vec<Job>) {
    for task in pumped {
        limit::pump(task.header());
        guarded(|| drop(task));
    }
    for Rejected(job, error) in rejected {
        guarded(|| job.end(error));
    }
    for job in discarded {
        guarded(|| drop(job.into_task()));
    }
}
