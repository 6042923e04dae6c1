//! The timer of the process: delays, time limits, alarms, and the runs of background workers.
//!
//! A thread sleeps until the earliest deadline. Entries are kept in an ordered map, so adding and
//! canceling are O(log n), and a canceled entry leaves nothing behind. An action must be short and
//! must not block: it hands work to a place.

use std::collections::BTreeMap;
use std::time::Instant;

use crate::fork;
use crate::sync::lock::{Condvar, Mutex, MutexGuard};
use crate::unwind::{self, log};

/// What to do at the deadline.
type Action = Box<dyn FnOnce() + Send>;

/// Identifies an entry, to cancel it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct TimerKey {
    deadline: Instant,
    number: u64,
}

struct Entries {
    due: BTreeMap<TimerKey, Action>,
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
    let mut entries = TIMER.entries.lock();
    let key = TimerKey { deadline, number: entries.next_number };
    entries.next_number += 1;
    let earliest = entries.due.first_key_value().is_none_or(|(first, _)| key < *first);
    entries.due.insert(key, Box::new(action));
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
    let action = TIMER.entries.lock().due.remove(&key);
    action.is_some()
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
        match entries.due.first_key_value() {
            None => TIMER.changed.wait(&mut entries),
            Some((first, _)) if first.deadline > Instant::now() => {
                let deadline = first.deadline;
                TIMER.changed.wait_until(&mut entries, deadline);
            }
            Some(_) => {
                let (_, action) = entries.due.pop_first().expect("there is a first entry");
                MutexGuard::unlocked(&mut entries, || {
                    // Actions of the library don't panic. If one does, the timer keeps running.
                    if !unwind::contained(action) {
                        log!(error, "a timer's action panicked");
                    }
                });
            }
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
