//! Why a worker process is ended: a call is killed, settings change, it is stopped, the pool
//! closes.

use std::sync::Arc;

use crate::error::TaskError;
use crate::process::pool::actions::Actions;
use crate::process::pool::call::{KillReason, Pending};
use crate::process::pool::lane::{Lane, Stage};
use crate::process::pool::schedule::Scheduler;
use crate::process::transport::Transport;
use crate::time::clock::Stamp;

impl<T: Transport> Scheduler<T> {
    /// Kills the worker process of a lane because of a call that has begun. Does nothing if the
    /// worker has proceeded to a later call, because then the reply to this one has arrived.
    pub(crate) fn kill_for(
        &mut self,
        index: usize,
        call: u64,
        why: KillReason,
        now: Stamp,
        actions: &mut Actions<T>,
    ) {
        if self.lanes[index].killed_for.is_some() {
            return;
        }
        // From here on, no other call can begin there.
        self.revoke_pending(index, Pending::All, now);
        let lane = &mut self.lanes[index];
        // Calls that could not be revoked have begun. Then this call is over, and the worker runs
        // another one.
        if !lane.is_current_call(call) {
            return;
        }
        lane.close(now);
        lane.killed_for = Some((call, why));
        // If the call ends meanwhile, the worker is killed without need, and replaced.
        actions.kill(lane);
    }

    /// Replaces a worker process that was started with outdated settings. It begins no more calls,
    /// and ends, and is succeeded by another, once it is idle.
    pub(crate) fn replace_worker(&mut self, index: usize, now: Stamp, actions: &mut Actions<T>) {
        self.revoke_pending(index, Pending::All, now);
        let lane = &mut self.lanes[index];
        match lane.stage {
            Stage::Empty => {}
            _ if lane.is_closing() => {}
            Stage::Live(_) if lane.live() == 0 => {
                self.outdated += usize::from(!lane.dead);
                lane.shut_down(now, actions);
            }
            Stage::Live(_) => {
                lane.close(now);
                lane.has_successor = true;
            }
            Stage::Starting => {
                self.outdated += 1;
                lane.close(now);
            }
        }
    }

    /// A worker process that should have begun a call is stopped. Revokes the calls that it has not
    /// begun, and sends it none until it continues. Returns their number.
    pub(crate) fn on_stopped(
        &mut self,
        worker: &Arc<T>,
        now: Stamp,
        actions: &mut Actions<T>,
    ) -> usize {
        let its = |lane: &Lane<T>| lane.worker().is_some_and(|its| Arc::ptr_eq(its, worker));
        let Some(index) = self.lanes.iter().position(its) else { return 0 };
        let count = self.revoke_pending(index, Pending::All, now);
        let lane = &mut self.lanes[index];
        // If it has begun the first of them after all, it is not stopped.
        lane.stalled = count > 0 && lane.live() == 0;
        if lane.has_call_in_transit() {
            // The only way to revoke a call that is in transit.
            lane.dead = true;
            actions.kill(lane);
            return 1;
        }
        // It ends if it remains stopped for the idle time.
        actions.wake_reader_of(lane);
        self.schedule(now, actions);
        count
    }

    /// Ends the worker process of a lane: gracefully if it runs nothing, otherwise by a kill.
    pub(crate) fn shut_down_lane(&mut self, index: usize, now: Stamp, actions: &mut Actions<T>) {
        for sent in self.lanes[index].revoke_pending(Pending::All) {
            let job = self.unassign(index, sent, now).job;
            actions.reject(job, TaskError::SupervisorStopped);
        }
        let lane = &mut self.lanes[index];
        lane.close(now);
        if lane.worker().is_none() {
            return;
        }
        // Calls that have not begun were revoked. So the last call is the running one, if there is
        // any, and those before it are done.
        let last = lane.last_call().filter(|last| lane.is_in_progress(*last));
        match last.or(lane.replying()) {
            None => actions.shut_down(lane),
            Some(call) if lane.killed_for.is_none() => {
                lane.killed_for = Some((call, KillReason::Shutdown));
                actions.kill(lane);
            }
            Some(_) => {}
        }
    }
}
