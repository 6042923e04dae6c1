//! One timer for the whole process: delays, time limits, alarms, the next turn of whatever recurs.
//!
//! A thread sleeps until the earliest deadline. Entries stand in an ordered map, so that adding and
//! taking back are O(log n), and one that was taken back leaves nothing behind. What an entry does
//! when it is due must be short and must not wait: it hands work to a place.

use std::collections::BTreeMap;
use std::time::Instant;

use parking_lot::{Condvar, Mutex};

use crate::task::panic::guarded;

/// What happens at the deadline.
type Action = Box<dyn FnOnce() + Send>;

/// Names an entry, to take it back.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct TimerKey {
    deadline: Instant,
    number: u64,
}

struct Entries {
    due: BTreeMap<TimerKey, Action>,
    next_number: u64,
    thread_runs: bool,
    /// The system would not give a thread when one was first wanted.
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

/// Does `action` at `deadline`, on the timer's thread.
///
/// If the system can give no thread for the timer now, a later call tries again; until then nothing
/// is lost, only late. Nothing is logged here, for callers hold locks: whoever can't do without the
/// action asks [`is_running`] and says so.
pub(crate) fn at(deadline: Instant, action: impl FnOnce() + Send + 'static) -> TimerKey {
    let mut entries = TIMER.entries.lock();
    let key = TimerKey { deadline, number: entries.next_number };
    entries.next_number += 1;
    let earliest = entries.due.first_key_value().is_none_or(|(first, _)| key < *first);
    entries.due.insert(key, Box::new(action));
    if !entries.thread_runs {
        let spawned = std::thread::Builder::new().name("atasker timer".into()).spawn(run);
        entries.thread_runs = spawned.is_ok();
        entries.late |= spawned.is_err();
    } else if earliest {
        TIMER.changed.notify_one();
    }
    key
}

/// Whether the timer has its thread. False only where the system would not give one.
pub(crate) fn is_running() -> bool {
    TIMER.entries.lock().thread_runs
}

/// Takes an entry back; false if it is due already.
pub(crate) fn cancel(key: TimerKey) -> bool {
    // Dropped outside the lock: an action may own the last handle of something with a destructor.
    let action = TIMER.entries.lock().due.remove(&key);
    action.is_some()
}

fn run() {
    let mut entries = TIMER.entries.lock();
    if std::mem::take(&mut entries.late) {
        parking_lot::MutexGuard::unlocked(&mut entries, || {
            guarded(|| {
                tracing::warn!(
                    target: "atasker",
                    "the system gave no thread for the timer for a while: what was due then is late"
                );
            });
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
                parking_lot::MutexGuard::unlocked(&mut entries, || {
                    // An action of ours does not panic; should one do so, the timer goes on.
                    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(action));
                    if outcome.is_err() {
                        guarded(|| {
                            tracing::error!(target: "atasker", "a timer's action panicked");
                        });
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
