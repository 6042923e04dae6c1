//! Which task of a limit may begin next. Plain data: no threads, no clock, no locks.
//!
//! A task needs two things to begin: a slot of its pool, and the limit. It takes both at the same
//! moment, so that a task that waits for a slot keeps no other one from the limit:
//!
//! ```text
//!            enter             pick, next of a lane            take              leave
//!   (task) --------> waiting ----------------------> candidate ------> holding --------> (gone)
//!                       ^                                |
//!                       +--------------------------------+
//!                            take, if nothing is left
//! ```
//!
//! * A task *waits* in a *lane*: those of one pool and one priority, in the order of their arrival.
//! * A *candidate* is in the queue of its pool. It takes the limit when the pool gives it a slot. There
//!   is one candidate per lane, because those behind it would not begin before it. So a limit with room
//!   is never idle while one of its tasks could have a slot, whichever pool that is in.
//! * While a candidate is on its way to its pool, it is *offered* a part of the limit, which no other
//!   task takes. This keeps the order across pools: by priority, then by arrival.
//!
//! A task that holds the limit and waits for another task of it *lends* its share: the other one
//! may hold that instead of a part of its own. A share is lent to one task at a time. If its owner
//! ends first, the borrower keeps what it has borrowed. A rate has no shares, because its tokens are
//! spent.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};

use super::budget::{Budget, Rule};
use crate::id::TaskId;
use crate::priority::Priority;
use crate::time::clock::Stamp;

/// Identifies a pool: whose it is, and of which kind.
pub(super) type PoolKey = (u64, u8);

/// The tasks of one pool and one priority.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct LaneKey {
    pub(super) pool: PoolKey,
    pub(super) priority: Priority,
}

struct Lane<J> {
    waiting: BTreeMap<u64, (TaskId, J)>,
    candidate: Option<TaskId>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    Waiting,
    Candidate { is_offered: bool },
    Holding,
}

/// A task between its arrival and its departure.
struct Entry {
    lane: LaneKey,
    arrival: u64,
    stage: Stage,
    /// Whose share it holds, or is to hold.
    lender: Option<TaskId>,
    borrower: Option<TaskId>,
    /// The tasks that it waits for.
    awaits: HashSet<TaskId>,
}

impl Entry {
    fn rank(&self) -> Rank {
        (Reverse(self.lane.priority), self.arrival)
    }
}

/// The order of tasks: the more urgent first, then by arrival.
type Rank = (Reverse<Priority>, u64);

/// What [`Desk::take`] has decided.
pub(super) enum Take<J> {
    /// The task holds the limit. `next` is to be queued in the same pool.
    Taken { next: Option<(TaskId, J)> },
    /// The task must wait: put it back with [`Desk::put_back`], and ask for
    /// [`Desk::first_instead_of`].
    Refused,
    /// The task has left.
    Gone,
}

/// See the module's documentation. `J` is what waits: a job.
pub(super) struct Desk<J> {
    budget: Budget,
    /// The parts of the limit that are offered.
    offers: usize,
    arrivals: u64,
    lanes: BTreeMap<LaneKey, Lane<J>>,
    entries: HashMap<TaskId, Entry>,
    /// By task: those that wait for it and hold the limit.
    awaited: HashMap<TaskId, Vec<TaskId>>,
    /// Holders that wait, and whose share may be lent.
    lendable: VecDeque<TaskId>,
}

impl<J> Desk<J> {
    pub(super) fn new(rule: Rule) -> Self {
        Desk {
            budget: Budget::new(rule),
            offers: 0,
            arrivals: 0,
            lanes: BTreeMap::new(),
            entries: HashMap::new(),
            awaited: HashMap::new(),
            lendable: VecDeque::new(),
        }
    }

    /// See [`Budget::change_clock`].
    pub(super) fn change_clock(&mut self, before: Stamp, now: Stamp) {
        self.budget.change_clock(before, now);
    }

    /// Returns whether a task may take the limit now, beyond what is offered.
    pub(super) fn has_room(&self, now: Stamp) -> bool {
        self.budget.free(now) > self.offers
    }

    /// Returns when the limit will be as if it had never been used, if no task comes. `None` while
    /// a task waits or holds it.
    pub(super) fn full_at(&self, now: Stamp) -> Option<Stamp> {
        if self.entries.is_empty() { self.budget.full_at(now) } else { None }
    }

    /// Returns when time alone makes room for a waiting task.
    pub(super) fn next_at(&self, now: Stamp) -> Option<Stamp> {
        let waits = self.lanes.values().any(|lane| !lane.waiting.is_empty());
        if waits { self.budget.next_at(now) } else { None }
    }

    /// Lets a task wait. [`pick`](Self::pick) must follow.
    pub(super) fn enter(&mut self, id: TaskId, lane: LaneKey, job: J) {
        let arrival = self.arrivals;
        self.arrivals += 1;
        let entry = Entry {
            lane,
            arrival,
            stage: Stage::Waiting,
            lender: None,
            borrower: None,
            awaits: HashSet::new(),
        };
        self.entries.insert(id, entry);
        self.wait(lane, arrival, id, job);
        if let Some(lenders) = self.awaited.get(&id) {
            self.lendable.extend(lenders);
        }
    }

    fn wait(&mut self, lane: LaneKey, arrival: u64, id: TaskId, job: J) {
        let lane = self.lanes.entry(lane);
        let lane = lane.or_insert_with(|| Lane { waiting: BTreeMap::new(), candidate: None });
        lane.waiting.insert(arrival, (id, job));
    }

    /// Picks the next candidate, which is offered its part of the limit. The caller queues the job in
    /// its pool, and calls [`queued`](Self::queued) and `pick` again until there is none.
    pub(super) fn pick(&mut self, now: Stamp) -> Option<(TaskId, J)> {
        if self.has_room(now)
            && let Some((_, lane)) = self.best_lane()
        {
            self.offers += 1;
            return self.candidate_of(lane, true);
        }
        self.pick_borrower()
    }

    /// Returns the lane whose first task is the next one, of those without a candidate.
    fn best_lane(&self) -> Option<(Rank, LaneKey)> {
        let open = self.lanes.iter().filter(|(_, lane)| lane.candidate.is_none());
        let first = |lane: &Lane<J>| lane.waiting.first_key_value().map(|(arrival, _)| *arrival);
        open.filter_map(|(key, lane)| Some(((Reverse(key.priority), first(lane)?), *key))).min()
    }

    /// Returns whether no task that waits, and is not a candidate, goes before one of this rank. Such a
    /// task exists while a rate has room and the timer has not fired yet.
    fn is_first(&self, rank: Rank) -> bool {
        self.best_lane().is_none_or(|(best, _)| rank < best)
    }

    /// Returns whether no task that waits in a lane goes before one of this rank. Such a task exists
    /// if it was the candidate for a share, and has lost that.
    fn is_first_of_lane(&self, key: LaneKey, (_, arrival): Rank) -> bool {
        let first = self.lanes.get(&key).and_then(|lane| lane.waiting.first_key_value());
        first.is_none_or(|(first, _)| arrival <= *first)
    }

    /// Makes the first task of a lane its candidate.
    fn candidate_of(&mut self, key: LaneKey, is_offered: bool) -> Option<(TaskId, J)> {
        let lane = self.lanes.get_mut(&key)?;
        let (_, (id, job)) = lane.waiting.pop_first()?;
        lane.candidate = Some(id);
        let entry = self.entries.get_mut(&id).expect("a waiting task has an entry");
        entry.stage = Stage::Candidate { is_offered };
        Some((id, job))
    }

    /// Makes a task the candidate for the share of a task that waits for it.
    fn pick_borrower(&mut self) -> Option<(TaskId, J)> {
        while let Some(owner) = self.lendable.pop_front() {
            let Some(holder) = self.entries.get(&owner) else { continue };
            if holder.stage != Stage::Holding || holder.borrower.is_some() {
                continue;
            }
            let waiting = holder.awaits.iter().filter_map(|id| {
                let entry = self.entries.get(id)?;
                (entry.stage == Stage::Waiting).then_some((entry, *id))
            });
            let Some((entry, id)) = waiting.min_by_key(|(entry, _)| entry.rank()) else { continue };
            let (key, arrival) = (entry.lane, entry.arrival);
            let lane = self.lanes.get_mut(&key).expect("the lane of a waiting task");
            let job = lane.waiting.remove(&arrival).expect("the task waits there");
            self.remove_empty(key);
            self.lend_share(owner, id);
            let entry = self.entries.get_mut(&id).expect("seen above");
            entry.stage = Stage::Candidate { is_offered: false };
            return Some(job);
        }
        None
    }

    fn lend_share(&mut self, owner: TaskId, borrower: TaskId) {
        if let Some(entry) = self.entries.get_mut(&owner) {
            entry.borrower = Some(borrower);
        }
        if let Some(entry) = self.entries.get_mut(&borrower) {
            entry.lender = Some(owner);
        }
    }

    /// The candidate is in the queue of its pool. Without a slot for it, its offer ends.
    pub(super) fn queued(&mut self, id: TaskId) {
        if let Some(entry) = self.entries.get_mut(&id)
            && let Stage::Candidate { is_offered } = &mut entry.stage
            && std::mem::take(is_offered)
        {
            self.offers -= 1;
        }
    }

    /// Takes the limit, because the pool has a slot for this candidate.
    pub(super) fn take(&mut self, id: TaskId, now: Stamp) -> Take<J> {
        let Some(entry) = self.entries.get(&id) else { return Take::Gone };
        let (key, rank) = (entry.lane, entry.rank());
        if entry.lender.is_none() && !self.is_first_of_lane(key, rank) {
            return Take::Refused;
        }
        let has_room = self.has_room(now) && self.is_first(rank);
        let Some(entry) = self.entries.get_mut(&id) else { return Take::Gone };
        match entry.stage {
            Stage::Candidate { .. } if entry.lender.is_some() => {
                entry.stage = Stage::Holding;
                return Take::Taken { next: None };
            }
            Stage::Candidate { is_offered: true } => {
                entry.stage = Stage::Holding;
                self.offers -= 1;
                self.budget.take(now);
            }
            Stage::Candidate { is_offered: false } if has_room => {
                entry.stage = Stage::Holding;
                self.budget.take(now);
            }
            Stage::Candidate { is_offered: false } => {
                let Some(owner) = self.lender_of(id) else { return Take::Refused };
                self.lend_share(owner, id);
                if let Some(entry) = self.entries.get_mut(&id) {
                    entry.stage = Stage::Holding;
                }
            }
            Stage::Waiting | Stage::Holding => {
                debug_assert!(false, "only a candidate takes the limit");
                return Take::Gone;
            }
        }
        self.end_candidacy(key, id);
        // The other lanes have candidates, or there is no room.
        let next = if self.has_room(now) { self.candidate_of(key, false) } else { None };
        self.remove_empty(key);
        Take::Taken { next }
    }

    /// Returns a holder that waits for this task and has not lent its share.
    fn lender_of(&self, id: TaskId) -> Option<TaskId> {
        self.awaited.get(&id)?.iter().copied().find(|owner| {
            let holder = self.entries.get(owner);
            holder.is_some_and(|h| h.stage == Stage::Holding && h.borrower.is_none())
        })
    }

    fn end_candidacy(&mut self, key: LaneKey, id: TaskId) {
        if let Some(lane) = self.lanes.get_mut(&key)
            && lane.candidate == Some(id)
        {
            lane.candidate = None;
        }
    }

    fn remove_empty(&mut self, key: LaneKey) {
        if self.lanes.get(&key).is_some_and(|l| l.waiting.is_empty() && l.candidate.is_none()) {
            self.lanes.remove(&key);
        }
    }

    /// Lets a candidate that was refused, or whose slot was revoked, wait again at its former
    /// position. Returns the job if the task has left meanwhile.
    pub(super) fn put_back(&mut self, id: TaskId, job: J) -> Option<J> {
        if !self.entries.contains_key(&id) {
            return Some(job);
        }
        self.give_up(id);
        let entry = self.entries.get_mut(&id).expect("checked above");
        entry.stage = Stage::Waiting;
        let (key, arrival) = (entry.lane, entry.arrival);
        self.end_candidacy(key, id);
        self.wait(key, arrival, id, job);
        if let Some(lenders) = self.awaited.get(&id) {
            self.lendable.extend(lenders);
        }
        None
    }

    /// Picks the task because of which one of the same lane was refused and put back, if the limit has
    /// room for it. It is to be queued in the same pool.
    pub(super) fn first_instead_of(&mut self, id: TaskId, now: Stamp) -> Option<(TaskId, J)> {
        let entry = self.entries.get(&id)?;
        let (key, rank) = (entry.lane, entry.rank());
        let open = self.lanes.get(&key)?.candidate.is_none();
        (open && !self.is_first_of_lane(key, rank) && self.has_room(now))
            .then(|| self.candidate_of(key, false))?
    }

    /// Gives up what a task holds or was offered, and what it has lent.
    fn give_up(&mut self, id: TaskId) {
        let Some(entry) = self.entries.get_mut(&id) else { return };
        let (stage, lender, borrower) = (entry.stage, entry.lender.take(), entry.borrower.take());
        if stage == (Stage::Candidate { is_offered: true }) {
            self.offers -= 1;
            return;
        }
        // A borrower that holds the share keeps it. One that is queued takes another part later.
        let heir = borrower.filter(|heir| {
            self.entries.get(heir).is_some_and(|entry| entry.stage == Stage::Holding)
        });
        if let Some(entry) = borrower.and_then(|borrower| self.entries.get_mut(&borrower)) {
            entry.lender = None;
        }
        match (lender, heir) {
            (Some(lender), Some(heir)) => self.lend_share(lender, heir),
            (Some(lender), None) => {
                if let Some(entry) = self.entries.get_mut(&lender) {
                    entry.borrower = None;
                    self.lendable.push_back(lender);
                }
            }
            (None, Some(_)) => {}
            (None, None) if stage == Stage::Holding => self.budget.give_back(),
            (None, None) => {}
        }
    }

    /// Removes a task: it has ended, or its function has returned. Returns its job if it waited.
    /// [`pick`](Self::pick) must follow.
    pub(super) fn leave(&mut self, id: TaskId) -> Option<J> {
        self.give_up(id);
        let Entry { lane: key, arrival, stage, awaits, .. } = self.entries.remove(&id)?;
        for awaited in awaits {
            self.forget_awaited(id, awaited);
        }
        let mut job = None;
        if let Some(lane) = self.lanes.get_mut(&key)
            && stage == Stage::Waiting
        {
            job = lane.waiting.remove(&arrival).map(|(_, job)| job);
        }
        self.end_candidacy(key, id);
        self.remove_empty(key);
        job
    }

    /// Returns whether a task waits, and is not in the queue of its pool.
    pub(super) fn waits(&self, id: TaskId) -> bool {
        self.entries.get(&id).is_some_and(|entry| entry.stage == Stage::Waiting)
    }

    /// The task `owner` waits for `awaited` from now on, and lends it its share if it holds the
    /// limit. Returns false if it does not. [`pick`](Self::pick) must follow.
    pub(super) fn lend(&mut self, owner: TaskId, awaited: TaskId) -> bool {
        let Rule::Concurrency(_) = self.budget.rule() else { return false };
        let Some(entry) = self.entries.get_mut(&owner) else { return false };
        if entry.stage != Stage::Holding || !entry.awaits.insert(awaited) {
            return false;
        }
        self.awaited.entry(awaited).or_default().push(owner);
        self.lendable.push_back(owner);
        true
    }

    /// The task `owner` does not wait for `awaited` any more. A share that the other one holds
    /// already stays lent until that one leaves.
    pub(super) fn unlend(&mut self, owner: TaskId, awaited: TaskId) {
        self.forget_awaited(owner, awaited);
        let Some(entry) = self.entries.get_mut(&owner) else { return };
        entry.awaits.remove(&awaited);
        if entry.borrower != Some(awaited) {
            return;
        }
        if let Some(other) = self.entries.get_mut(&awaited)
            && other.stage != Stage::Holding
        {
            other.lender = None;
            if let Some(entry) = self.entries.get_mut(&owner) {
                entry.borrower = None;
            }
        }
    }

    fn forget_awaited(&mut self, owner: TaskId, awaited: TaskId) {
        if let Some(owners) = self.awaited.get_mut(&awaited) {
            owners.retain(|other| *other != owner);
            if owners.is_empty() {
                self.awaited.remove(&awaited);
            }
        }
    }
}

#[cfg(all(test, not(atasker_loom)))]
impl<J> Desk<J> {
    /// Returns the number of tasks that hold the limit, or a share of it.
    pub(super) fn holding(&self) -> usize {
        self.entries.values().filter(|entry| entry.stage == Stage::Holding).count()
    }

    /// Returns whether nothing is left of any task.
    pub(super) fn is_clean(&self) -> bool {
        self.entries.is_empty()
            && self.lanes.is_empty()
            && self.awaited.is_empty()
            && self.offers == 0
    }
}
