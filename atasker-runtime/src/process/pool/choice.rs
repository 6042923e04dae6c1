//! The rules by which the next job in order is assigned to a worker process, or waits.
//!
//! Waiting calls are in two places: in the backlog, and in lanes, where calls were sent but have
//! not begun. The rules keep the order of both together the same as that of one queue:
//!
//! - A call goes to an idle worker process if its priority has a free slot. While a slot is free
//!   and a worker process can be started for it, the call waits for that one, or for another that
//!   becomes idle before.
//! - A call is *pipelined*, which means sent behind another call in a lane, only if no slot is free
//!   for it, and only behind calls of its own priority. [`Lane::accepts_pipelined`] limits their
//!   number.
//! - A call with a limit (see `limit`) is never pipelined, because it takes the limit with its slot.
//! - A waiting call has all less urgent calls that have not begun revoked into the backlog.
//! - Nothing is sent to an idle worker process while a more urgent call waits in a lane behind
//!   another: that call is revoked first, and goes there.
//!
//! A call that has not begun is therefore never overtaken by a less urgent one, whatever durations
//! the pool has assumed. Pipelined calls of one priority in several worker processes may begin in
//! another order than they were launched in, if one of these takes longer than assumed. Calls that
//! wait behind it are revoked as soon as a worker process becomes idle, or after a millisecond.

use crate::priority::Priority;
use crate::process::pool::call::Pending;
use crate::process::pool::lane::Lane;
use crate::process::pool::schedule::Scheduler;
use crate::process::transport::Transport;
use crate::time::clock::Stamp;

/// A call that has been running for this long, in nanoseconds, keeps the calls behind it from an
/// idle worker process. About as long as it takes to wake that process.
const BLOCKED_NANOS: u64 = 10_000;

/// Whether calls were revoked for the job already.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Round {
    First,
    /// Calls that are left have begun.
    AfterRevoke,
}

/// What to do with the next job in order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Choice {
    /// Send it to this lane.
    Send(usize),
    /// Revoke calls of another priority first, see [`Scheduler::revoke_for`], and then choose
    /// again.
    Revoke,
    /// Let it wait.
    Wait,
}

impl<T: Transport> Scheduler<T> {
    /// Decides about the next job, with this priority. `bytes` are its arguments if it may be
    /// pipelined.
    pub(crate) fn choose(&self, priority: Priority, bytes: Option<usize>, round: Round) -> Choice {
        let (mut idle, mut pipelined, mut starting) = (None, None::<(usize, usize)>, 0);
        let (mut higher_behind, mut lower_pending) = (false, false);
        for (index, lane) in self.lanes.iter().enumerate() {
            match lane.slot_class {
                None if lane.is_idle() => idle = idle.or(Some(index)),
                None => starting += usize::from(lane.is_starting()),
                Some(class) if class == priority => {
                    let live = lane.live();
                    if pipelined.is_none_or(|(least, _)| live < least)
                        && lane.is_open()
                        && bytes.is_some_and(|bytes| lane.accepts_pipelined(bytes))
                        && self.may_take_task(lane)
                    {
                        pipelined = Some((live, index));
                    }
                }
                Some(class) if class > priority => higher_behind |= lane.has_queued_behind(),
                Some(_) => lower_pending |= round == Round::First && lane.has_pending(),
            }
        }
        if self.backlog.may_start(priority) {
            match idle {
                Some(_) if higher_behind && round == Round::First => return Choice::Revoke,
                Some(lane) => return Choice::Send(lane),
                None => {}
            }
        }
        if lower_pending {
            return Choice::Revoke;
        }
        if self.can_start_another(priority, starting) {
            return Choice::Wait;
        }
        let may_pipeline = priority != Priority::Critical
            && !higher_behind
            && self.backlog.held() <= self.backlog.limits().of(priority);
        match pipelined {
            Some((_, lane)) if may_pipeline => Choice::Send(lane),
            _ => Choice::Wait,
        }
    }

    /// Whether another worker process can be started for a task of this priority, in addition to
    /// those that are starting.
    fn can_start_another(&self, priority: Priority, starting: usize) -> bool {
        let limit = if self.start_failures > 0 { 1 } else { usize::MAX };
        self.open && !self.is_backing_off() && starting < self.backlog.free_for(priority).min(limit)
    }

    /// Revokes calls for a job of this priority: less urgent ones that have not begun, and more
    /// urgent ones that wait behind another.
    pub(crate) fn revoke_for(&mut self, priority: Priority, now: Stamp) {
        for index in 0..self.lanes.len() {
            match self.lanes[index].slot_class {
                Some(class) if class < priority => {
                    self.revoke_pending(index, Pending::All, now);
                }
                Some(class) if class > priority => {
                    self.revoke_pending(index, Pending::Behind, now);
                }
                _ => {}
            }
        }
    }

    /// Whether a call of a lower priority was sent and may not have begun.
    pub(crate) fn has_pending_below(&self, priority: Priority) -> bool {
        let below = |lane: &Lane<T>| lane.slot_class.is_some_and(|class| class < priority);
        self.lanes.iter().any(|lane| below(lane) && lane.has_pending())
    }

    /// Revokes calls that could start in an idle worker process, but wait behind a long one.
    /// Returns whether there were any.
    pub(crate) fn rebalance_to_idle(&mut self, now: Stamp) -> bool {
        if !self.lanes.iter().any(Lane::has_queued_behind) || !self.lanes.iter().any(Lane::is_idle)
        {
            return false;
        }
        let mut revoked = 0;
        for index in 0..self.lanes.len() {
            let lane = &self.lanes[index];
            let may_start = lane.slot_class.is_some_and(|class| self.backlog.may_start(class));
            if may_start && lane.is_blocked_for(BLOCKED_NANOS, now) {
                revoked += self.revoke_pending(index, Pending::Behind, now);
            }
        }
        revoked > 0
    }
}
