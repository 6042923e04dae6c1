//! Random histories of a [`Desk`] and of pools that work with it, against the rules that users rely
//! on.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use proptest::prelude::*;

use super::budget::Rule;
use super::desk::{Desk, LaneKey, Take};
use crate::id::TaskId;
use crate::priority::Priority;

/// A job: its task, and its position in the queue of its pool, if it keeps one.
type Job = (TaskId, Option<u64>);

/// A pool: a queue by priority and position, and slots.
struct Pool {
    slots: usize,
    queue: BTreeMap<(std::cmp::Reverse<Priority>, u64), TaskId>,
    positions: u64,
}

struct Task {
    pool: usize,
    priority: Priority,
    key: usize,
    arrival: u64,
}

/// Pools, and a desk for each key.
struct Model {
    now: u64,
    rule: Rule,
    keeps_position: bool,
    pools: Vec<Pool>,
    desks: Vec<Desk<Job>>,
    tasks: HashMap<TaskId, Task>,
    arrivals: u64,
    /// Tasks that hold a slot and run, and those that block in a wait, which hold no slot.
    running: Vec<TaskId>,
    blocked: HashMap<TaskId, TaskId>,
    waiting: HashSet<TaskId>,
    begun: Vec<TaskId>,
}

impl Model {
    fn new(rule: Rule, keys: usize, pools: &[usize], keeps_position: bool) -> Self {
        Model {
            now: 1,
            rule,
            keeps_position,
            pools: pools
                .iter()
                .map(|slots| Pool { slots: *slots, queue: BTreeMap::new(), positions: 0 })
                .collect(),
            desks: (0..keys).map(|_| Desk::new(rule)).collect(),
            tasks: HashMap::new(),
            arrivals: 0,
            running: Vec::new(),
            blocked: HashMap::new(),
            waiting: HashSet::new(),
            begun: Vec::new(),
        }
    }

    fn launch(&mut self, pool: usize, priority: Priority, key: usize) -> TaskId {
        let id = TaskId::next();
        self.tasks.insert(id, Task { pool, priority, key, arrival: self.arrivals });
        self.arrivals += 1;
        self.waiting.insert(id);
        let position = self.pools[pool].positions;
        self.pools[pool].positions += 1;
        let lane = LaneKey { pool: (pool as u64, 0), priority };
        self.desks[key].enter(id, lane, (id, self.keeps_position.then_some(position)));
        self.pump(key);
        id
    }

    fn pump(&mut self, key: usize) {
        while let Some((id, job)) = self.desks[key].pick(self.now) {
            self.enqueue(job);
            self.dispatch(self.tasks[&id].pool);
            self.desks[key].queued(id);
        }
    }

    fn enqueue(&mut self, (id, position): Job) {
        let task = &self.tasks[&id];
        let pool = &mut self.pools[task.pool];
        let position = position.unwrap_or(pool.positions);
        pool.positions += 1;
        pool.queue.insert((std::cmp::Reverse(task.priority), position), id);
    }

    /// Gives slots to the waiting jobs of a pool, as the pools do.
    fn dispatch(&mut self, index: usize) {
        while self.taken(index) < self.pools[index].slots
            && let Some(((_, position), id)) = self.pools[index].queue.pop_first()
        {
            let key = self.tasks[&id].key;
            match self.desks[key].take(id, self.now) {
                Take::Taken { next } => {
                    if let Some((_, next)) = next {
                        self.enqueue(next);
                    }
                    self.begin(id);
                }
                Take::Refused => {
                    let job = (id, self.keeps_position.then_some(position));
                    assert!(self.desks[key].put_back(id, job).is_none());
                    if let Some((_, next)) = self.desks[key].first_instead_of(id, self.now) {
                        self.enqueue(next);
                    }
                }
                Take::Gone => panic!("a job in a queue has left"),
            }
        }
    }

    fn taken(&self, pool: usize) -> usize {
        self.running.iter().filter(|id| self.tasks[id].pool == pool).count()
    }

    /// Checks that no other task should have begun instead.
    fn begin(&mut self, id: TaskId) {
        let task = &self.tasks[&id];
        let rank = |task: &Task| (std::cmp::Reverse(task.priority), task.arrival);
        let is_lent = self.blocked.values().any(|awaited| *awaited == id);
        for other in &self.waiting {
            let other_task = &self.tasks[other];
            if *other != id && other_task.key == task.key && !is_lent {
                // The other one may be first in the order if its pool has no slot for it.
                let has_slot = self.taken(other_task.pool) < self.pools[other_task.pool].slots
                    && other_task.pool != task.pool;
                if other_task.pool == task.pool || has_slot {
                    assert!(rank(task) < rank(other_task), "{id:?} overtakes {other:?}");
                }
            }
        }
        assert!(self.waiting.remove(&id));
        self.running.push(id);
        self.begun.push(id);
    }

    fn end(&mut self, at: usize) {
        let id = self.running[at];
        // The limit is given back before the slot.
        let key = self.tasks[&id].key;
        assert!(self.desks[key].leave(id).is_none());
        self.pump(key);
        self.running.retain(|other| *other != id);
        self.resume(id);
        self.dispatch(self.tasks[&id].pool);
    }

    /// Lets the tasks go on that have waited for this one.
    fn resume(&mut self, ended: TaskId) {
        let owners: Vec<_> =
            self.blocked.iter().filter(|(_, a)| **a == ended).map(|(owner, _)| *owner).collect();
        for owner in owners {
            self.unblock(owner);
        }
    }

    fn unblock(&mut self, owner: TaskId) {
        let Some(awaited) = self.blocked.remove(&owner) else { return };
        let key = self.tasks[&owner].key;
        self.desks[key].unlend(owner, awaited);
        // Goes on at once, even if no slot is free.
        self.running.push(owner);
        self.pump(key);
    }

    /// A running task launches a task of the same key, and waits for it.
    fn nest(&mut self, at: usize, pool: usize, priority: Priority) {
        let owner = self.running[at];
        let key = self.tasks[&owner].key;
        let awaited = self.launch(pool, priority, key);
        if !self.waiting.contains(&awaited) {
            return;
        }
        self.running.retain(|other| *other != owner);
        self.blocked.insert(owner, awaited);
        self.desks[key].lend(owner, awaited);
        self.pump(key);
        self.dispatch(self.tasks[&owner].pool);
    }

    fn cancel(&mut self, id: TaskId) {
        let task = &self.tasks[&id];
        let (key, pool) = (task.key, task.pool);
        if !self.desks[key].waits(id) {
            self.pools[pool].queue.retain(|_, other| *other != id);
        }
        self.desks[key].leave(id);
        self.waiting.remove(&id);
        self.pump(key);
        self.resume(id);
        self.dispatch(pool);
    }

    fn check(&self) {
        for (key, desk) in self.desks.iter().enumerate() {
            if let Rule::Concurrency(most) = self.rule {
                // Those that block have lent their shares, or keep them unused.
                let running = self.running.iter().filter(|id| self.tasks[id].key == key).count();
                let blocked = self.blocked.keys().filter(|id| self.tasks[id].key == key).count();
                assert_eq!(desk.holding(), running + blocked);
                let lent = self
                    .running
                    .iter()
                    .filter(|id| self.blocked.values().any(|awaited| awaited == *id))
                    .count();
                assert!(running + blocked <= most + lent.max(blocked), "exceeded");
            }
            if !desk.has_room(self.now) {
                continue;
            }
            // Never idle while one of its tasks could begin.
            for id in self.waiting.iter().filter(|id| self.tasks[id].key == key) {
                let pool = self.tasks[id].pool;
                assert!(self.taken(pool) >= self.pools[pool].slots, "idle although {id:?} waits");
            }
        }
    }
}

#[derive(Clone, Debug)]
enum Step {
    Launch { pool: usize, priority: usize, key: usize },
    End(usize),
    Nest { at: usize, pool: usize, priority: usize },
    GiveUpWait(usize),
    Cancel(usize),
    Pass(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..3_usize, 0..4_usize, 0..3_usize)
            .prop_map(|(pool, priority, key)| Step::Launch { pool, priority, key }),
        5 => any::<usize>().prop_map(Step::End),
        2 => (any::<usize>(), 0..3_usize, 0..4_usize)
            .prop_map(|(at, pool, priority)| Step::Nest { at, pool, priority }),
        1 => any::<usize>().prop_map(Step::GiveUpWait),
        2 => any::<usize>().prop_map(Step::Cancel),
        2 => (1_u64..40).prop_map(Step::Pass),
    ]
}

fn run(rule: Rule, keys: usize, keeps_position: bool, gives_up: bool, steps: Vec<Step>) {
    let mut model = Model::new(rule, keys, &[1, 2, 3], keeps_position);
    for step in steps {
        match step {
            Step::Launch { pool, priority, key } => {
                let priority = Priority::ALL[priority];
                model.launch(pool, priority, key % keys);
            }
            Step::End(at) if !model.running.is_empty() => model.end(at % model.running.len()),
            Step::Nest { at, pool, priority } if !model.running.is_empty() => {
                model.nest(at % model.running.len(), pool, Priority::ALL[priority]);
            }
            Step::GiveUpWait(at) if gives_up && !model.blocked.is_empty() => {
                let mut owners: Vec<_> = model.blocked.keys().copied().collect();
                owners.sort();
                model.unblock(owners[at % owners.len()]);
            }
            Step::Cancel(at) if !model.waiting.is_empty() => {
                let mut waiting: Vec<_> = model.waiting.iter().copied().collect();
                waiting.sort();
                model.cancel(waiting[at % waiting.len()]);
            }
            Step::Pass(nanos) => {
                model.now += nanos;
                (0..keys).for_each(|key| model.pump(key));
            }
            _ => {}
        }
        if !gives_up {
            model.check();
        }
    }
    // Everything ends: no task is left behind, whatever waits for whatever.
    let mut idle = 0;
    while !model.running.is_empty() || !model.waiting.is_empty() {
        match model.running.is_empty() {
            false => model.end(0),
            true => {
                model.now += 1_000;
                (0..keys).for_each(|key| model.pump(key));
                idle += 1;
                assert!(idle < 10_000, "nothing begins any more");
            }
        }
    }
    for desk in &model.desks {
        assert!(desk.is_clean());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn concurrency_is_never_exceeded_and_never_idle(
        most in 1_usize..4,
        keys in 1_usize..4,
        keeps_position: bool,
        steps in proptest::collection::vec(step(), 1..120),
    ) {
        run(Rule::concurrency(most), keys, keeps_position, false, steps);
    }

    #[test]
    fn waits_that_are_given_up_leave_nothing_behind(
        most in 1_usize..4,
        steps in proptest::collection::vec(step(), 1..120),
    ) {
        run(Rule::concurrency(most), 2, true, true, steps);
    }

    #[test]
    fn rate_begins_tasks_in_order_and_is_never_idle(
        count in 1_u32..4,
        burst in 1_u32..4,
        steps in proptest::collection::vec(step(), 1..120),
    ) {
        let rule = Rule::rate(count, Duration::from_nanos(60)).with_burst(burst);
        run(rule, 2, true, false, steps);
    }
}

/// With one slot, keys take turns within a priority, however many tasks each one has.
#[test]
fn keys_take_turns() {
    for most in [1, 2, 5] {
        let mut model = Model::new(Rule::concurrency(most), 2, &[1], false);
        model.launch(0, Priority::Normal, 0);
        for key in [0, 0, 0, 0, 1, 1, 1] {
            model.launch(0, Priority::Normal, key);
        }
        while !model.running.is_empty() {
            model.end(0);
        }
        let keys: Vec<_> = model.begun.iter().map(|id| model.tasks[id].key).collect();
        // With room for another one of the same key, that one waited before the other key did.
        let expected = match most {
            1 => [0, 1, 0, 1, 0, 1, 0, 0],
            _ => [0, 0, 1, 0, 1, 0, 1, 0],
        };
        assert_eq!(keys, expected, "with {most} at once");
    }
}

/// Tasks of one limit keep the order of their launch, although they wait for it.
#[test]
fn tasks_keep_the_position_of_their_launch() {
    let mut model = Model::new(Rule::concurrency(1), 1, &[2], true);
    let ids: Vec<_> = (0..6).map(|_| model.launch(0, Priority::Normal, 0)).collect();
    while !model.running.is_empty() {
        assert_eq!(model.running.len(), 1);
        model.end(0);
    }
    assert_eq!(model.begun, ids);
}

#[test]
fn task_that_has_lost_a_share_is_not_overtaken_in_its_lane() {
    let mut desk: Desk<TaskId> = Desk::new(Rule::concurrency(2));
    let lane = |pool| LaneKey { pool: (pool, 0), priority: Priority::Normal };
    let enter = |desk: &mut Desk<TaskId>, pool| {
        let id = TaskId::next();
        desk.enter(id, lane(pool), id);
        id
    };
    let begin = |desk: &mut Desk<TaskId>, pool| {
        let id = enter(desk, pool);
        assert_eq!(desk.pick(0), Some((id, id)));
        assert!(matches!(desk.take(id, 0), Take::Taken { next: None }));
        id
    };
    let (owner, other) = (begin(&mut desk, 1), begin(&mut desk, 1));
    // The first task of lane 0 is to have the share of the owner, the second one has an own part.
    let first = enter(&mut desk, 0);
    assert!(desk.lend(owner, first));
    assert_eq!(desk.pick(0), Some((first, first)));
    let second = enter(&mut desk, 0);
    desk.leave(other);
    assert_eq!(desk.pick(0), Some((second, second)));
    desk.queued(second);
    // The first one loses its share, and does not get the other part.
    desk.unlend(owner, first);
    let third = begin(&mut desk, 2);
    assert!(matches!(desk.take(first, 0), Take::Refused));
    assert_eq!(desk.put_back(first, first), None);
    assert_eq!(desk.first_instead_of(first, 0), None);
    // Now there is room again, and the pool of lane 0 has a slot for the second one.
    desk.leave(third);
    assert_eq!(desk.pick(0), None);
    assert!(matches!(desk.take(second, 0), Take::Refused));
    assert_eq!(desk.put_back(second, second), None);
    assert_eq!(desk.first_instead_of(second, 0), Some((first, first)));
    assert!(matches!(desk.take(first, 0), Take::Taken { next: None }));
}
