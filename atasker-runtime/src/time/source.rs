//! The time of a supervisor: the real one, unless a test has paused it (`testing::pause`).
//!
//! Delays, time limits, back-offs, rates, intervals, jobs and expiries of a supervisor take their
//! time from here, and set the timer here. Everything else, such as time stamps, waits of threads,
//! idle times and the deadline of a stop, is measured by the real clock (`clock`, `timer`).
//!
//! A supervisor that was paused once keeps its clock, so that times which it has computed stay
//! valid. While there is no such clock, each function here costs one load more than that of the real
//! time.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant, SystemTime};

use super::activity::{Activity, Busy, Until};
use super::own_clock::{self, Move, OwnClock, Reading};
use super::timer::{self, Action, OnDue, TimerKey};
use crate::fork;
use crate::id::SchedulerKey;

/// The number of clocks.
static CLOCKS: AtomicUsize = AtomicUsize::new(0);

/// Calls `f` with the clock of a supervisor, if it is not the real one.
#[inline]
fn with_clock<T>(owner: Option<SchedulerKey>, f: impl FnOnce(&mut OwnClock) -> T) -> Option<T> {
    // Relaxed: a thread that learns of the pause by any means also sees the count.
    if CLOCKS.load(Ordering::Relaxed) == 0 || fork::is_copy() {
        return None;
    }
    timer::with_clock(owner?, f)
}

/// Returns whether the time of a supervisor is not simply the real one.
#[inline]
pub(crate) fn has_clock(owner: Option<SchedulerKey>) -> bool {
    with_clock(owner, |_| ()).is_some()
}

/// Returns the present time of a supervisor, or the real time for `None`.
pub(crate) fn now(owner: Option<SchedulerKey>) -> Instant {
    let real = Instant::now();
    with_clock(owner, |clock| clock.now(real)).unwrap_or(real)
}

/// Returns the present time of day of a supervisor.
pub(crate) fn wall(owner: Option<SchedulerKey>) -> SystemTime {
    let wall = SystemTime::now();
    with_clock(owner, |clock| clock.wall(Instant::now(), wall)).unwrap_or(wall)
}

/// Returns the time of a supervisor after `duration`, capped at a distant time.
pub(crate) fn after(owner: Option<SchedulerKey>, duration: Duration) -> Instant {
    own_clock::add(now(owner), duration)
}

/// Runs `action` when the time of a supervisor is `deadline`. As [`timer::at`], by which it is
/// canceled.
pub(crate) fn at(
    owner: Option<SchedulerKey>,
    deadline: Instant,
    action: impl FnOnce() + Send + 'static,
) -> TimerKey {
    timer::add(owner, deadline, Action::Call(Box::new(action)))
}

/// Notifies `target` when the time of a supervisor is `deadline`, if it lives then. As [`at`].
pub(crate) fn notify_at(
    owner: SchedulerKey,
    deadline: Instant,
    target: Weak<impl OnDue + 'static>,
) -> TimerKey {
    timer::add(Some(owner), deadline, Action::Notify(target))
}

/// Returns what makes an advance of the supervisor's clock wait until it is dropped, if that clock
/// is paused. `until` says when that is to be, which an advance in progress may change.
#[inline]
pub(crate) fn busy(owner: Option<SchedulerKey>, until: Until) -> Option<Busy> {
    with_clock(owner, |clock| clock.begin(until)).flatten()
}

/// Returns how the time of a supervisor follows from the real time, if it is not the same.
pub(crate) fn reading(owner: Option<SchedulerKey>) -> Option<Reading> {
    with_clock(owner, |clock| clock.reading())
}

/// Pauses the clock of a supervisor. Returns false if it is paused already.
pub(crate) fn pause(owner: SchedulerKey) -> bool {
    timer::with(|entries| {
        let (real, wall) = (Instant::now(), SystemTime::now());
        match entries.clocks.get_mut(&owner) {
            Some(clock) if clock.is_paused() => return false,
            Some(clock) => {
                clock.pause(real, wall);
                entries.collect_due(Some(owner));
            }
            None => {
                entries.add_clock(owner, OwnClock::paused(real, wall));
                CLOCKS.store(entries.clocks.len(), Ordering::Relaxed);
            }
        }
        true
    })
}

/// Lets the clock of a supervisor run again, from the time that it shows.
pub(crate) fn resume(owner: SchedulerKey) {
    timer::with(|entries| {
        if let Some(clock) = entries.clocks.get_mut(&owner) {
            clock.resume(Instant::now());
        }
    });
}

/// Removes the clock of a supervisor that is about to be dropped.
pub(crate) fn forget(owner: SchedulerKey) {
    if CLOCKS.load(Ordering::Relaxed) == 0 {
        return;
    }
    let clock = timer::with(|entries| {
        let clock = entries.clocks.remove(&owner);
        CLOCKS.store(entries.clocks.len(), Ordering::Relaxed);
        clock
    });
    // Without the lock: an action may own a task.
    if let Some(clock) = clock {
        clock.into_actions().into_iter().for_each(crate::unwind::discard);
    }
}

/// Returns what an advance of a paused clock waits for at present: what has to begin, and what has
/// to end.
pub(crate) fn activities(owner: SchedulerKey) -> Option<[Arc<Activity>; 2]> {
    with_clock(Some(owner), |clock| clock.activities())
}

/// Returns the next due time of a paused clock up to `last`.
pub(crate) fn next_due(owner: SchedulerKey, last: Instant) -> Option<Instant> {
    let next = with_clock(Some(owner), |clock| clock.next().filter(|_| clock.is_paused()));
    next.flatten().filter(|next| *next <= last)
}

/// Moves a paused clock, and runs what is due by then on the thread of the timer. Returns what
/// begins by it. `None` if the clock is not paused.
pub(crate) fn move_to(owner: SchedulerKey, time: Instant, why: Move) -> Option<Arc<Activity>> {
    timer::with(|entries| {
        let clock = entries.clocks.get_mut(&owner).filter(|clock| clock.is_paused())?;
        let activity = clock.move_to(time, why);
        entries.collect_due(Some(owner));
        Some(activity)
    })
}

#[cfg(all(test, not(atasker_loom)))]
mod tests {
    use super::*;
    use std::num::NonZeroU32;
    use std::sync::mpsc;

    const HOUR: Duration = Duration::from_secs(3600);

    /// A key that no supervisor of this program has.
    fn owner(number: u32) -> SchedulerKey {
        SchedulerKey(NonZeroU32::new(u32::MAX - number).unwrap())
    }

    #[test]
    fn entries_follow_their_clock() {
        let (owner, (tx, rx)) = (owner(1), mpsc::channel());
        let send = |text: &'static str| {
            let tx = tx.clone();
            move || tx.send(text).unwrap()
        };
        // Armed before the pause, after it, and by another owner.
        let before = at(Some(owner), after(Some(owner), HOUR), send("before"));
        assert!(pause(owner) && !pause(owner));
        let start = now(Some(owner));
        let canceled = at(Some(owner), start + HOUR, send("canceled"));
        at(Some(owner), start + 2 * HOUR, send("second"));
        at(None, Instant::now() + HOUR, send("never"));
        assert!(timer::cancel(canceled) && !timer::cancel(canceled));
        // Due already: it needs no advance.
        at(Some(owner), start, send("now"));
        assert_eq!(rx.recv(), Ok("now"));
        let due = next_due(owner, start + 3 * HOUR).unwrap();
        assert!(due <= start + HOUR);
        let activity = move_to(owner, due, Move::ToDueTime).unwrap();
        assert_eq!(rx.recv(), Ok("before"));
        assert!(!timer::cancel(before));
        while activity
            .poll_idle(&mut std::task::Context::from_waker(std::task::Waker::noop()))
            .is_pending()
        {
            std::thread::yield_now();
        }
        // The clock runs from where it stands.
        let near = start + 2 * HOUR - Duration::from_millis(20);
        move_to(owner, near, Move::ToEnd).unwrap();
        assert!(now(Some(owner)) == near && rx.try_recv().is_err());
        resume(owner);
        assert_eq!(rx.recv(), Ok("second"));
        assert!(now(Some(owner)) >= start + 2 * HOUR);
        assert!(wall(Some(owner)).duration_since(SystemTime::now()).unwrap() > HOUR);
        assert!(pause(owner));
        at(Some(owner), start + 4 * HOUR, send("dropped"));
        forget(owner);
        assert!(now(Some(owner)) < start + HOUR && reading(Some(owner)).is_none());
    }
}
