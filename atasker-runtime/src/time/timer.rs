//! The timer of the process: delays, time limits, alarms, and the runs of background workers.
//!
//! A thread sleeps until the earliest deadline. Entries are kept in an ordered map, so adding and
//! canceling are O(log n), and a canceled entry leaves nothing behind. An action must be short and
//! must not block: it hands work to a place.
//!
//! An entry may belong to a supervisor. If a test has paused that supervisor's time, its entries are
//! kept in its clock (`own_clock`) instead; `source` has the functions for that. One lock guards
//! both, so that a pause moves all entries at once.

use std::collections::{BTreeMap, VecDeque};
use std::time::Instant;

use super::activity::{Busy, Until};
use super::own_clock::OwnClock;
use crate::fork;
use crate::id::SchedulerKey;
use crate::sync::lock::{Condvar, Mutex, MutexGuard};
use crate::unwind::{self, log};

/// What to do at the deadline.
pub(super) type Action = Box<dyn FnOnce() + Send>;

/// Identifies an entry, to cancel it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct TimerKey {
    deadline: Instant,
    number: u64,
}

impl TimerKey {
    #[cfg(test)]
    pub(super) fn new(deadline: Instant, number: u64) -> Self {
        TimerKey { deadline, number }
    }

    pub(super) fn deadline(self) -> Instant {
        self.deadline
    }
}

struct Entry {
    /// The supervisor whose time the deadline is.
    owner: Option<SchedulerKey>,
    action: Action,
}

/// What the lock of the timer guards.
pub(super) struct Entries {
    due: BTreeMap<TimerKey, Entry>,
    /// The clocks of the supervisors that a test has paused, also after the pause.
    pub(super) clocks: BTreeMap<SchedulerKey, OwnClock>,
    /// Actions that have become due by a paused clock, and what is busy until they have run.
    ready: VecDeque<(Action, Option<Busy>)>,
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
        due: BTreeMap::new(),
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
    add(None, deadline, Box::new(action))
}

/// Adds an entry. The deadline is a time of the clock of `owner`.
pub(super) fn add(owner: Option<SchedulerKey>, deadline: Instant, action: Action) -> TimerKey {
    let mut entries = TIMER.entries.lock();
    let key = TimerKey { deadline, number: entries.next_number };
    entries.next_number += 1;
    let earliest = entries.insert(key, Entry { owner, action });
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
    /// Adds an entry. Returns whether the thread has to look at the entries again.
    fn insert(&mut self, key: TimerKey, entry: Entry) -> bool {
        let clock = entry.owner.and_then(|owner| self.clocks.get_mut(&owner));
        let Some(clock) = clock else {
            let earliest = self.due.first_key_value().is_none_or(|(first, _)| key < *first);
            self.due.insert(key, entry);
            return earliest;
        };
        clock.insert(key, entry.action);
        self.collect_due(entry.owner);
        true
    }

    fn remove(&mut self, key: TimerKey) -> Option<Action> {
        match self.due.remove(&key) {
            Some(entry) => Some(entry.action),
            None => self.clocks.values_mut().find_map(|clock| clock.remove(key)),
        }
    }

    /// Gives a supervisor this clock, with the entries that it has.
    pub(super) fn add_clock(&mut self, owner: SchedulerKey, mut clock: OwnClock) {
        let all = std::mem::take(&mut self.due).into_iter();
        let (own, others): (BTreeMap<_, _>, _) =
            all.partition(|(_, entry)| entry.owner == Some(owner));
        self.due = others;
        own.into_iter().for_each(|(key, entry)| clock.insert(key, entry.action));
        self.clocks.insert(owner, clock);
        self.collect_due(Some(owner));
    }

    /// Lets the thread run what is due by a paused clock.
    pub(super) fn collect_due(&mut self, owner: Option<SchedulerKey>) {
        let clock = owner.and_then(|owner| self.clocks.get_mut(&owner));
        let Some(clock) = clock.filter(|clock| clock.is_paused()) else { return };
        // A paused clock does not depend on the real time.
        let real = Instant::now();
        while let Some(action) = clock.pop_due(real) {
            self.ready.push_back((action, clock.begin(Until::Ended)));
        }
    }

    /// Returns when the thread has to run the next action.
    fn next(&self) -> Option<Instant> {
        let next = self.due.first_key_value().map(|(key, _)| key.deadline);
        // Empty unless this is a test.
        self.clocks.values().filter_map(OwnClock::next_real).chain(next).min()
    }

    /// Removes an action that is due, and what is busy until it has run.
    fn pop(&mut self, now: Instant) -> Option<(Action, Option<Busy>)> {
        if let Some(ready) = self.ready.pop_front() {
            return Some(ready);
        }
        if let Some(first) = self.due.first_entry().filter(|first| first.key().deadline <= now) {
            return Some((first.remove().action, None));
        }
        let running = self.clocks.values_mut().filter(|clock| !clock.is_paused());
        running.into_iter().find_map(|clock| clock.pop_due(now)).map(|action| (action, None))
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
        if let Some((action, busy)) = entries.pop(Instant::now()) {
            MutexGuard::unlocked(&mut entries, || {
                // Actions of the library don't panic. If one does, the timer keeps running.
                if !unwind::contained(action) {
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
    use std::sync::mpsc;
    use std::time::Duration;

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
