//! The rules by which the next job in order is assigned to a worker process, or waits.
//!
//! Waiting calls are in two places: in the backlog, and in lanes, where calls were sent but have
//! not begun. The rules keep the order of both together the same as that of one queue:
//!
//! - A call goes to an idle worker process if its priority has a free slot. While a slot is free
//!   and a worker process can be started for it, the call waits for that one, or for another that
//!   becomes idle before.
//! - A call is *pipelined*, which means sent behind another call in a lane, only if no slot is free
//!   for it, and only behind calls of its own priority. [`Lane::pipeline_room`] limits their
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
    /// Send it to this lane, and up to `count - 1` jobs behind it: those of its priority that may be
    /// pipelined, for which the choice would be the same.
    Send { lane: usize, count: usize },
    /// Revoke calls of another priority first, see [`Scheduler::revoke_for`], and then choose
    /// again.
    Revoke,
    /// Let it wait.
    Wait,
}

/// The lane that the next calls are pipelined to.
#[derive(Clone, Copy)]
struct Pipelined {
    lane: usize,
    live: usize,
    /// The number of calls until there is no room, or another lane has fewer calls.
    count: usize,
}

impl Pipelined {
    /// Returns the lane with fewer calls. With as many, that is the first one.
    fn or(self, later: Pipelined) -> Pipelined {
        match later.live < self.live {
            true => Pipelined { count: later.count.min(self.live - later.live), ..later },
            false => Pipelined { count: self.count.min(later.live - self.live + 1), ..self },
        }
    }
}

impl<T: Transport> Scheduler<T> {
    /// Decides about the next job, with this priority. `bytes` are its arguments if it may be
    /// pipelined.
    pub(crate) fn choose(&self, priority: Priority, bytes: Option<usize>, round: Round) -> Choice {
        let (mut idle, mut pipelined, mut starting) = (None, None::<Pipelined>, 0);
        let (mut higher_behind, mut lower_pending) = (false, false);
        for (index, lane) in self.lanes.iter().enumerate() {
            match lane.slot_class {
                None if lane.is_idle() => idle = idle.or(Some(index)),
                None => starting += usize::from(lane.is_starting()),
                Some(class) if class == priority => {
                    if let Some(bytes) = bytes
                        && lane.is_open()
                        && let room = lane.pipeline_room(bytes).min(self.tasks_left(lane))
                        && room > 0
                    {
                        let lane = Pipelined { lane: index, live: lane.live(), count: room };
                        pipelined = Some(pipelined.map_or(lane, |before| before.or(lane)));
                    }
                }
                Some(class) if class > priority => higher_behind |= lane.has_queued_behind(),
                Some(_) => lower_pending |= round == Round::First && lane.has_pending(),
            }
        }
        if self.backlog.may_start(priority) {
            match idle {
                Some(_) if higher_behind && round == Round::First => return Choice::Revoke,
                Some(lane) => return Choice::Send { lane, count: 1 },
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
            Some(Pipelined { lane, count, .. }) if may_pipeline => Choice::Send { lane, count },
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

#[cfg(all(test, not(atasker_loom)))]
mod unit {
    use super::*;
    use proptest::prelude::*;

    /// The lane that one call is pipelined to: of those with room, the first one with the fewest
    /// calls. Each lane is its calls and its room.
    fn choose_one(lanes: &[(usize, usize)]) -> Option<usize> {
        let with_room = lanes.iter().enumerate().filter(|(_, (_, room))| *room > 0);
        with_room.min_by_key(|(index, (live, _))| (*live, *index)).map(|(index, _)| index)
    }

    proptest! {
        /// As many calls are sent to a lane at once as would be sent there one by one.
        #[test]
        fn calls_sent_at_once_are_those_sent_one_by_one(
            mut lanes in prop::collection::vec((0usize..20, 0usize..20), 1..6),
        ) {
            let all = lanes.iter().enumerate().filter(|(_, (_, room))| *room > 0);
            let all = all.map(|(lane, (live, count))| Pipelined { lane, live: *live, count: *count });
            let chosen = all.reduce(Pipelined::or);
            prop_assert_eq!(chosen.map(|chosen| chosen.lane), choose_one(&lanes));
            if let Some(Pipelined { lane, count, .. }) = chosen {
                for _ in 0..count {
                    prop_assert_eq!(choose_one(&lanes), Some(lane));
                    lanes[lane].0 += 1;
                    lanes[lane].1 -= 1;
                }
                prop_assert_ne!(choose_one(&lanes), Some(lane));
            }
        }
    }
}
