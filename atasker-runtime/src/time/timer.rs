//! The timer of the process: delays, time limits, alarms, and the runs of background workers.
//!
//! A thread sleeps until the earliest deadline. The deadlines are in a heap, and the actions in a slab
//! beside it. To cancel an entry removes its action, in O(1), and leaves its deadline in the heap until
//! it is at the top, or until more than half of the heap is such leftovers. So an entry is added and
//! canceled in O(1) on average, unless it becomes the earliest one, which is O(log n). An action must be
//! short and must not block: it hands work to a place.
//!
//! An entry may belong to a supervisor. If a test has paused that supervisor's time, its entries are
//! kept in its clock (`own_clock`) instead; `source` has the functions for that. One lock guards
//! both, so that a pause moves all entries at once.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};
use std::sync::Weak;
use std::time::Instant;

use slab::Slab;

use super::activity::{Busy, Until};
use super::own_clock::OwnClock;
use crate::fork;
use crate::id::SchedulerKey;
use crate::slab_memory;
use crate::sync::lock::{Condvar, Mutex, MutexGuard};
use crate::unwind::{self, log};

/// What is told about its deadlines. Needs no allocation for each of them.
pub(crate) trait OnDue: Send + Sync {
    /// Called on the thread of the timer.
    fn on_due(&self, key: TimerKey);
}

/// What to do at the deadline.
pub(super) enum Action {
    Call(Box<dyn FnOnce() + Send>),
    /// Nothing if it was dropped meanwhile.
    Notify(Weak<dyn OnDue>),
}

impl Action {
    fn run(self, key: TimerKey) {
        match self {
            Action::Call(call) => call(),
            Action::Notify(target) => {
                if let Some(target) = target.upgrade() {
                    target.on_due(key);
                }
            }
        }
    }
}

/// Identifies an entry, to cancel it. Ordered by the deadline, and then by age.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct TimerKey {
    deadline: Instant,
    number: u64,
    /// Where the entry is. Another entry can be there later, with another number.
    index: usize,
}

impl TimerKey {
    #[cfg(test)]
    pub(super) fn new(deadline: Instant, number: u64) -> Self {
        TimerKey { deadline, number, index: 0 }
    }

    pub(crate) fn deadline(self) -> Instant {
        self.deadline
    }
}

struct Entry {
    number: u64,
    /// The supervisor whose time the deadline is.
    owner: Option<SchedulerKey>,
    action: Action,
}

/// The entries whose deadlines are times of the real clock.
struct Queue {
    /// The deadlines of all entries, and those of entries that were canceled.
    heap: BinaryHeap<Reverse<TimerKey>>,
    entries: Slab<Entry>,
    /// The number of deadlines in the heap whose entry was canceled.
    canceled: usize,
}

/// The number of leftovers in the heap that are not worth a search for them.
const FEW: usize = 32;

impl Queue {
    const EMPTY: Queue = Queue { heap: BinaryHeap::new(), entries: Slab::new(), canceled: 0 };

    /// Adds an entry. Returns its key, and whether it is the earliest one.
    fn insert(&mut self, deadline: Instant, entry: Entry) -> (TimerKey, bool) {
        let number = entry.number;
        let key = TimerKey { deadline, number, index: self.entries.insert(entry) };
        // The top may have been canceled. The thread sleeps no longer than until then.
        let earliest = self.heap.peek().is_none_or(|Reverse(first)| key < *first);
        self.heap.push(Reverse(key));
        (key, earliest)
    }

    /// Returns whether the entry was not removed.
    fn has(entries: &Slab<Entry>, key: TimerKey) -> bool {
        entries.get(key.index).is_some_and(|entry| entry.number == key.number)
    }

    fn remove(&mut self, key: TimerKey) -> Option<Entry> {
        if !Self::has(&self.entries, key) {
            return None;
        }
        let entry = slab_memory::remove(&mut self.entries, key.index);
        self.canceled += 1;
        // Each removal of leftovers is paid for by as many cancels.
        if self.canceled > FEW.max(self.heap.len() / 2) {
            self.heap.retain(|Reverse(key)| Self::has(&self.entries, *key));
            self.heap.shrink_to(2 * self.heap.len());
            self.canceled = 0;
        }
        entry
    }

    /// Returns the earliest entry.
    fn first(&mut self) -> Option<TimerKey> {
        while let Some(Reverse(key)) = self.heap.peek().copied() {
            if Self::has(&self.entries, key) {
                return Some(key);
            }
            self.heap.pop();
            self.canceled -= 1;
        }
        None
    }

    /// Removes the earliest entry if it is due.
    fn pop_due(&mut self, now: Instant) -> Option<(TimerKey, Action)> {
        let key = self.first().filter(|key| key.deadline <= now)?;
        self.heap.pop();
        slab_memory::remove(&mut self.entries, key.index).map(|entry| (key, entry.action))
    }

    /// Removes the entries of a supervisor.
    fn take_of(&mut self, owner: SchedulerKey) -> Vec<(TimerKey, Action)> {
        let mut keys: Vec<_> = self.heap.iter().map(|Reverse(key)| *key).collect();
        keys.retain(|key| {
            let entry = self.entries.get(key.index).filter(|entry| entry.number == key.number);
            entry.is_some_and(|entry| entry.owner == Some(owner))
        });
        keys.into_iter().filter_map(|key| Some((key, self.remove(key)?.action))).collect()
    }
}

/// What the lock of the timer guards.
pub(super) struct Entries {
    queue: Queue,
    /// The clocks of the supervisors that a test has paused, also after the pause.
    pub(super) clocks: BTreeMap<SchedulerKey, OwnClock>,
    /// Actions that have become due by a paused clock, and what is busy until they have run.
    ready: VecDeque<(TimerKey, Action, Option<Busy>)>,
    next_number: u64,
    thread_runs: bool,
    /// The system could not start the thread when it was first needed.
    late: bool,
}

struct Timer {
    entries: Mutex<Entries>,
    changed: Condvar,
}

static TIMER: Timer = Timer {
    entries: Mutex::new(Entries {
        queue: Queue::EMPTY,
        clocks: BTreeMap::new(),
        ready: VecDeque::new(),
        next_number: 0,
        thread_runs: false,
        late: false,
    }),
    changed: Condvar::new(),
};

/// Runs `action` at `deadline`, on the thread of the timer.
///
/// If the system can't start that thread now, a later call tries again, and actions run late.
/// Nothing is logged here, because callers hold locks. Callers that depend on the action check
/// [`is_running`] and report the problem.
pub(crate) fn at(deadline: Instant, action: impl FnOnce() + Send + 'static) -> TimerKey {
    add(None, deadline, Action::Call(Box::new(action)))
}

/// Adds an entry. The deadline is a time of the clock of `owner`.
pub(super) fn add(owner: Option<SchedulerKey>, deadline: Instant, action: Action) -> TimerKey {
    let mut entries = TIMER.entries.lock();
    let (key, earliest) = entries.insert(owner, deadline, action);
    if !entries.thread_runs {
        // The thread waits for this lock, so it finds the entry.
        let spawned = std::thread::Builder::new().name("atasker timer".into()).spawn(run);
        entries.thread_runs = spawned.is_ok();
        entries.late |= spawned.is_err();
    } else if earliest {
        // Only an earlier deadline changes how long the thread sleeps.
        TIMER.changed.notify_one();
    }
    key
}

/// Returns whether the timer's thread runs, which it does unless the system could not start it.
pub(crate) fn is_running() -> bool {
    TIMER.entries.lock().thread_runs
}

/// Cancels an entry. Returns false if it is due already.
pub(crate) fn cancel(key: TimerKey) -> bool {
    // The action is dropped without the lock, because it may own the last handle of something with
    // a destructor.
    if fork::is_copy() {
        return false;
    }
    let action = TIMER.entries.lock().remove(key);
    action.is_some()
}

/// Calls `f` with the entries and the clocks, then lets the thread look at them again.
pub(super) fn with<T>(f: impl FnOnce(&mut Entries) -> T) -> T {
    let result = f(&mut TIMER.entries.lock());
    TIMER.changed.notify_one();
    result
}

/// Calls `f` with the clock of a supervisor, if it has one.
pub(super) fn with_clock<T>(owner: SchedulerKey, f: impl FnOnce(&mut OwnClock) -> T) -> Option<T> {
    TIMER.entries.lock().clocks.get_mut(&owner).map(f)
}

impl Entries {
    /// Adds an entry. Returns its key, and whether the thread has to look at the entries again.
    fn insert(
        &mut self,
        owner: Option<SchedulerKey>,
        deadline: Instant,
        action: Action,
    ) -> (TimerKey, bool) {
        let number = self.next_number;
        self.next_number += 1;
        // Empty unless this is a test.
        let clock = owner.and_then(|owner| self.clocks.get_mut(&owner));
        let Some(clock) = clock else {
            return self.queue.insert(deadline, Entry { number, owner, action });
        };
        // The index is that of no entry.
        let key = TimerKey { deadline, number, index: usize::MAX };
        clock.insert(key, action);
        self.collect_due(owner);
        (key, true)
    }

    fn remove(&mut self, key: TimerKey) -> Option<Action> {
        match self.queue.remove(key) {
            Some(entry) => Some(entry.action),
            None => self.clocks.values_mut().find_map(|clock| clock.remove(key)),
        }
    }

    /// Gives a supervisor this clock, with the entries that it has.
    pub(super) fn add_clock(&mut self, owner: SchedulerKey, mut clock: OwnClock) {
        let own = self.queue.take_of(owner);
        own.into_iter().for_each(|(key, action)| clock.insert(key, action));
        self.clocks.insert(owner, clock);
        self.collect_due(Some(owner));
    }

    /// Lets the thread run what is due by a paused clock.
    pub(super) fn collect_due(&mut self, owner: Option<SchedulerKey>) {
        let clock = owner.and_then(|owner| self.clocks.get_mut(&owner));
        let Some(clock) = clock.filter(|clock| clock.is_paused()) else { return };
        // A paused clock does not depend on the real time.
        let real = Instant::now();
        while let Some((key, action)) = clock.pop_due(real) {
            self.ready.push_back((key, action, clock.begin(Until::Ended)));
        }
    }

    /// Returns when the thread has to run the next action.
    fn next(&mut self) -> Option<Instant> {
        let next = self.queue.first().map(|key| key.deadline);
        // Empty unless this is a test.
        self.clocks.values().filter_map(OwnClock::next_real).chain(next).min()
    }

    /// Removes an action that is due, and what is busy until it has run.
    fn pop(&mut self, now: Instant) -> Option<(TimerKey, Action, Option<Busy>)> {
        if let Some(ready) = self.ready.pop_front() {
            return Some(ready);
        }
        let running = self.clocks.values_mut().filter(|clock| !clock.is_paused());
        let due = self.queue.pop_due(now);
        let due = due.or_else(|| running.into_iter().find_map(|clock| clock.pop_due(now)));
        due.map(|(key, action)| (key, action, None))
    }
}

fn run() {
    let mut entries = TIMER.entries.lock();
    if std::mem::take(&mut entries.late) {
        MutexGuard::unlocked(&mut entries, || {
            log!(
                warn,
                "the timer thread could not be started for a while: actions due meanwhile run late"
            );
        });
    }
    loop {
        if let Some((key, action, busy)) = entries.pop(Instant::now()) {
            MutexGuard::unlocked(&mut entries, || {
                // Actions of the library don't panic. If one does, the timer keeps running.
                if !unwind::contained(|| action.run(key)) {
                    log!(error, "a timer's action panicked");
                }
                drop(busy);
            });
            continue;
        }
        match entries.next() {
            None => TIMER.changed.wait(&mut entries),
            Some(deadline) => _ = TIMER.changed.wait_until(&mut entries, deadline),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::num::NonZeroU32;
    use std::sync::mpsc;
    use std::time::Duration;

    #[derive(Clone, Debug)]
    enum Step {
        /// An entry of one of two owners is added, with this deadline.
        Insert(u64, bool),
        /// One of all entries so far is canceled, even if it is gone.
        Cancel(prop::sample::Index),
        /// What is due by then is removed.
        PopUntil(u64),
        TakeOf(bool),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            8 => (0u64..100, any::<bool>()).prop_map(|(at, owner)| Step::Insert(at, owner)),
            8 => any::<prop::sample::Index>().prop_map(Step::Cancel),
            2 => (0u64..100).prop_map(Step::PopUntil),
            1 => any::<bool>().prop_map(Step::TakeOf),
        ]
    }

    proptest! {
        /// The queue is a map in the order of deadlines and ages, and what was canceled never fills
        /// more than half of its heap.
        #[test]
        fn queue_agrees_with_map(steps in prop::collection::vec(step(), 1..1500)) {
            let start = Instant::now();
            let owner = |own: bool| SchedulerKey(NonZeroU32::new(1 + u32::from(own)).unwrap());
            let mut queue = Queue::EMPTY;
            let mut map: BTreeMap<TimerKey, bool> = BTreeMap::new();
            let mut keys = Vec::new();
            for step in steps {
                match step {
                    Step::Insert(at, own) => {
                        let (number, owner) = (keys.len() as u64, Some(owner(own)));
                        let action = Action::Call(Box::new(|| ()));
                        let deadline = start + Duration::from_millis(at);
                        let (key, earliest) = queue.insert(deadline, Entry { number, owner, action });
                        let is_first = map.keys().all(|other| key < *other);
                        // What was canceled may be earlier still.
                        prop_assert!(!earliest || is_first);
                        prop_assert!(queue.heap.peek().is_some_and(|Reverse(top)| *top <= key));
                        map.insert(key, own);
                        keys.push(key);
                    }
                    Step::Cancel(_) if keys.is_empty() => {}
                    Step::Cancel(which) => {
                        let key = *which.get(&keys);
                        prop_assert_eq!(queue.remove(key).is_some(), map.remove(&key).is_some());
                    }
                    Step::PopUntil(at) => {
                        let now = start + Duration::from_millis(at);
                        while let Some((key, _)) = queue.pop_due(now) {
                            prop_assert!(key.deadline <= now);
                            prop_assert_eq!(map.pop_first().map(|(first, _)| first), Some(key));
                        }
                        prop_assert!(map.keys().all(|key| key.deadline > now));
                    }
                    Step::TakeOf(own) => {
                        let mut taken: Vec<_> = queue.take_of(owner(own)).into_iter().map(|(key, _)| key).collect();
                        taken.sort();
                        let expected: Vec<_> =
                            map.iter().filter(|(_, other)| **other == own).map(|(key, _)| *key).collect();
                        map.retain(|_, other| *other != own);
                        prop_assert_eq!(taken, expected);
                    }
                }
                prop_assert_eq!(queue.heap.len(), map.len() + queue.canceled);
                prop_assert!(queue.canceled <= FEW.max(queue.heap.len() / 2));
            }
            prop_assert_eq!(queue.first(), map.keys().next().copied());
        }
    }

    #[test]
    fn in_order_and_without_those_taken_back() {
        let (tx, rx) = mpsc::channel();
        let now = Instant::now();
        let mut keys = Vec::new();
        for (name, ms) in [("c", 60), ("a", 20), ("x", 30), ("b", 40)] {
            let tx = tx.clone();
            keys.push(at(now + Duration::from_millis(ms), move || tx.send(name).unwrap()));
        }
        assert!(cancel(keys[2]));
        assert!(!cancel(keys[2]));
        drop(tx);
        assert_eq!(rx.iter().collect::<Vec<_>>(), ["a", "b", "c"]);
        assert!(!cancel(keys[0]));
    }
}
