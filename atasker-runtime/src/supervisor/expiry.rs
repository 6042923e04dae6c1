//! Expiry: ends tasks whose first attempt has not begun in time.
//!
//! A task with an expiry is entered when it is queued for the first time: after its delay, and
//! before its place gets it, so also while its launch waits for room in the queue. A heap of times
//! and ids, with a single entry in the timer, suffices for any number of tasks. A task that has
//! begun or ended stays in the heap until it is due or the heap is pruned.
//!
//! A remote task expires here only until it is handed over to its cluster, which decides from then
//! on: its place does not revoke it.
//!
//! Tasks expire on a pool thread, because dropping their arguments runs user code, which must not
//! hold up the timer.

use std::borrow::Cow;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use super::core::Core;
use super::inline;
use super::pruning::{LookedUp, Pruning};
use crate::error::TaskError;
use crate::id::TaskId;
use crate::limit;
use crate::sync::lock::Mutex;
use crate::task::TaskArc;
use crate::task::control::{self, Include};
use crate::task::header::Header;
use crate::task::state::Phase;
use crate::time::clock::{self, Stamp};
use crate::time::source;
use crate::time::timer::{self, TimerKey};

/// The tasks of a supervisor that expire unless they begin in time.
#[derive(Default)]
pub(super) struct Expiries(Mutex<Waiting>);

/// A waiting task.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Entry {
    due: Stamp,
    id: TaskId,
}

#[derive(Default)]
struct Waiting {
    heap: BinaryHeap<Reverse<Entry>>,
    /// The entry in the timer, and its time.
    timer: Option<(Stamp, TimerKey)>,
    pruning: Pruning,
}

/// Returns whether a task still waits for its first attempt.
fn waits(task: &TaskArc) -> bool {
    let header = task.header();
    header.state.read().phase() == Phase::Queued && header.attempt() == 0
}

/// Returns what a queued task waits for, as the end of a sentence.
fn waits_for(task: &TaskArc) -> Cow<'static, str> {
    if limit::waits(task.header()) {
        return "its limit".into();
    }
    task.header().with_place(|place| place.waits_for(&**task)).unwrap_or("its supervisor".into())
}

impl Core {
    /// Returns the time by which tasks expire.
    fn expiry_now(&self) -> Stamp {
        clock::stamp(source::now(Some(self.key)))
    }

    /// Runs `expire_due` at this time.
    fn expire_at(&self, due: Stamp) -> TimerKey {
        let weak_self = self.weak_self.clone();
        source::at(Some(self.key), clock::instant(due), move || {
            if let Some(core) = weak_self.upgrade() {
                core.expire_due();
            }
        })
    }

    /// Calls `enqueue`. A task that has an expiry and was not queued before can expire from now on.
    pub(super) fn enqueue_expiring(&self, task: TaskArc, enqueue: impl FnOnce(TaskArc)) {
        let expires = task.header().policies().and_then(|policies| policies.expires);
        let expires = expires.filter(|_| task.header().attempt() == 0);
        // A launch that runs its task is in time.
        let Some(after) = expires.filter(|_| !inline::is_active()) else {
            return enqueue(task);
        };
        self.watch_expiry(task.header(), after);
        let watched = task.clone();
        enqueue(task);
        let header = watched.header();
        if matches!(header.state.read().phase(), Phase::Ending | Phase::Ended)
            && header.attempt() == 0
        {
            // It may have expired before its place got the job, which would wait there for nothing.
            header.with_place(|place| place.revoke(&*watched, Include::Admitted));
        }
    }

    fn watch_expiry(&self, header: &Header, after: Duration) {
        let due = clock::add(self.expiry_now(), after);
        let mut looked_up = LookedUp::default();
        let mut waiting = self.expiries.0.lock();
        if waiting.pruning.is_due(waiting.heap.len()) {
            waiting.heap.retain(|Reverse(entry)| looked_up.still_waits(self, entry.id, waits));
            let capacity = waiting.heap.len();
            let capacity = waiting.pruning.pruned(capacity);
            waiting.heap.shrink_to(capacity);
        }
        waiting.heap.push(Reverse(Entry { due, id: header.id() }));
        if waiting.timer.is_none_or(|(at, _)| due < at) {
            self.set_expiry_timer(&mut waiting, due);
        }
    }

    fn set_expiry_timer(&self, waiting: &mut Waiting, due: Stamp) {
        if let Some((_, later)) = waiting.timer.replace((due, self.expire_at(due))) {
            timer::cancel(later);
        }
    }

    /// Ends the tasks that are due, and sets the timer for the next one.
    fn expire_due(&self) {
        let now = self.expiry_now();
        let mut looked_up = LookedUp::default();
        let mut due = Vec::new();
        let mut waiting = self.expiries.0.lock();
        // The timer may have been set for another time since this call was due.
        waiting.timer = waiting.timer.filter(|(at, _)| *at > now);
        while let Some(Reverse(first)) = waiting.heap.peek().copied() {
            if first.due <= now {
                due.push(first.id);
            } else if looked_up.still_waits(self, first.id, waits) {
                break;
            }
            waiting.heap.pop();
        }
        if let Some(Reverse(next)) = waiting.heap.peek().copied()
            && waiting.timer.is_none()
        {
            self.set_expiry_timer(&mut waiting, next.due);
        }
        drop(waiting);
        if due.is_empty() {
            return;
        }
        let weak_self = self.weak_self.clone();
        let expire = move || {
            if let Some(core) = weak_self.upgrade() {
                due.into_iter().for_each(|id| core.expire(id));
            }
        };
        self.run_on_pool("expiry", Box::new(expire));
    }

    /// Ends a task that is due, unless it has begun.
    fn expire(&self, id: TaskId) {
        let Some(task) = self.find_live(id).filter(waits) else { return };
        let Some(after) = task.header().policies().and_then(|policies| policies.expires) else {
            return;
        };
        // Asked before the place has forgotten the task.
        let detail = waits_for(&task).into_owned();
        let expired = TaskError::Expired { after, detail };
        control::cancel_pending(&task, expired, Include::FirstAttempt);
    }
}

#[cfg(all(test, not(atasker_loom)))]
mod tests {
    use super::*;
    use crate::{PoolConfig, Supervisor, TaskBuilder};

    const HOUR: Duration = Duration::from_secs(3600);

    fn entries(sup: &Supervisor) -> usize {
        sup.core().expiries.0.lock().heap.len()
    }

    #[test]
    fn entries_are_small() {
        assert_eq!(size_of::<Entry>(), 24);
    }

    #[test]
    fn tasks_that_have_begun_take_no_room() {
        let sup = Supervisor::builder().thread_pool(PoolConfig::new(1)).build();
        let builder = || TaskBuilder::new(|| ()).expires(HOUR).supervisor(&sup);
        for _ in 0..100 {
            let tasks: Vec<_> = (0..200).map(|_| builder().start()).collect();
            tasks.into_iter().for_each(|task| task.join().unwrap());
        }
        assert!(entries(&sup) < 5_000, "{} of 20,000 are kept", entries(&sup));
    }

    #[test]
    fn any_number_of_tasks_needs_one_timer_entry() {
        let sup = Supervisor::builder().thread_pool(PoolConfig::new(1)).build();
        let (open, gate) = std::sync::mpsc::channel::<()>();
        let busy = sup.spawn(move || gate.recv());
        let start = |after| TaskBuilder::new(|| ()).expires(after).supervisor(&sup).start();
        let timer = || sup.core().expiries.0.lock().timer.unwrap();
        let mut tasks = vec![start(2 * HOUR)];
        let (two_hours, _) = timer();
        tasks.extend((0..2_000).map(|_| start(3 * HOUR)));
        assert_eq!(timer().0, two_hours);
        tasks.push(start(HOUR));
        let one_hour = timer();
        assert!(one_hour.0 < two_hours);
        assert_eq!(entries(&sup), 2_002);
        // Fires too early, as a timer that was replaced may: nothing changes.
        sup.core().expire_due();
        assert_eq!((timer(), entries(&sup)), (one_hour, 2_002));
        tasks.iter().for_each(|task| assert!(task.cancel()));
        // Tasks that have ended need no timer.
        sup.core().expiries.0.lock().timer = None;
        sup.core().expire_due();
        assert!(sup.core().expiries.0.lock().timer.is_none());
        assert_eq!(entries(&sup), 0);
        open.send(()).unwrap();
        busy.join().unwrap().unwrap();
    }
}
