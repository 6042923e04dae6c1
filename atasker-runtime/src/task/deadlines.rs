//! The time limits of runs that stay on their thread: those of pool threads.
//!
//! A limit that does not pass must cost next to nothing, so a run has no timer entry. Each thread
//! has a [`Slot`] with the deadlines of its runs: usually one, and more if a wait runs a task on top
//! of another one. All slots of a pool share one timer entry, which is due at the earliest of their
//! deadlines, or earlier:
//!
//! | who | what |
//! |---|---|
//! | a run that begins | enters its deadline in the slot; sets the timer if that is earlier than `next` |
//! | a run that ends | removes its deadline from the slot, and leaves the timer as it is |
//! | the timer | sets `next` to "never", reports runs that are overdue, and sets the timer for the earliest of the others |
//!
//! Usually all limits of a pool are alike, so a deadline that is entered is later than `next`, and
//! the timer is set once per limit instead of once per run.
//!
//! No deadline is missed: both the run and the timer lock the slot after they have written what the
//! other one reads. If the run has the lock first, the timer finds its deadline. Otherwise the run
//! reads `next` as the timer has set it, which is "never" or a time that is known to be due.
//!
//! A supervisor whose clock was paused by a test has timer entries as futures have: see
//! `task::limit`. A run that began before is found by its slot, whose timer entry follows that clock.

use std::cell::RefCell;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use crate::id::SchedulerKey;
use crate::sync::lock::Mutex;
use crate::task::TaskArc;
use crate::task::header::Header;
use crate::task::limit::{self, Overdue};
use crate::time::clock::{self, Stamp};
use crate::time::source;
use crate::time::timer::{self, TimerKey};

/// See `Deadlines::next`.
const NEVER: Stamp = Stamp::MAX;

/// The deadlines of the threads of a pool.
pub(crate) struct Deadlines {
    owner: SchedulerKey,
    /// When the timer is due.
    next: AtomicU64,
    timer: Mutex<Option<TimerKey>>,
    slots: Mutex<Vec<Weak<Slot>>>,
}

/// The deadlines of one thread.
struct Slot {
    deadlines: Arc<Deadlines>,
    place: Arc<dyn Overdue>,
    /// The runs on the stack of the thread that have a limit.
    runs: Mutex<Vec<Limited>>,
}

/// A run with a time limit.
struct Limited {
    task: TaskArc,
    deadline: Stamp,
    is_overdue: bool,
}

thread_local! {
    static SLOT: RefCell<Option<Arc<Slot>>> = const { RefCell::new(None) };
}

impl Deadlines {
    pub(crate) fn new(owner: SchedulerKey) -> Arc<Deadlines> {
        Arc::new(Deadlines {
            owner,
            next: AtomicU64::new(NEVER),
            timer: Mutex::new(None),
            slots: Mutex::new(Vec::new()),
        })
    }

    /// Gives the current thread a slot until the guard is dropped. `place` is told of its overdue
    /// runs.
    pub(crate) fn enter(self: &Arc<Self>, place: Arc<dyn Overdue>) -> Entered {
        let deadlines = Arc::clone(self);
        let slot = Arc::new(Slot { deadlines, place, runs: Mutex::new(Vec::new()) });
        let mut slots = self.slots.lock();
        slots.retain(|slot| slot.strong_count() > 0);
        slots.push(Arc::downgrade(&slot));
        drop(slots);
        let _ = SLOT.try_with(|own| own.replace(Some(slot)));
        Entered
    }

    /// Sets the timer unless it is due before `deadline`.
    #[cold]
    fn set_timer(self: &Arc<Self>, deadline: Stamp) {
        let mut timer = self.timer.lock();
        if deadline >= self.next.load(Ordering::Relaxed) {
            return;
        }
        self.next.store(deadline, Ordering::Relaxed);
        // Weak: an entry that is not due yet keeps no pool.
        let weak = Arc::downgrade(self);
        let key = source::at(Some(self.owner), clock::instant(deadline), move || {
            if let Some(deadlines) = weak.upgrade() {
                deadlines.report(deadline);
            }
        });
        let before = timer.replace(key);
        drop(timer);
        before.map(timer::cancel);
    }

    /// The action of the timer that was set for `due`: reports the overdue runs.
    fn report(self: &Arc<Self>, due: Stamp) {
        {
            let mut timer = self.timer.lock();
            if self.next.load(Ordering::Relaxed) != due {
                // Replaced by an earlier one meanwhile.
                return;
            }
            *timer = None;
            self.next.store(NEVER, Ordering::Relaxed);
        }
        let now = clock::stamp(source::now(Some(self.owner)));
        let slots: Vec<_> = self.slots.lock().iter().filter_map(Weak::upgrade).collect();
        let earliest = slots.iter().filter_map(|slot| slot.report(now)).min();
        if let Some(earliest) = earliest {
            self.set_timer(earliest);
        }
    }
}

impl Slot {
    /// Reports the runs that are overdue. Returns the earliest deadline of the others.
    fn report(&self, now: Stamp) -> Option<Stamp> {
        let mut overdue = Vec::new();
        let mut runs = self.runs.lock();
        for run in runs.iter_mut().filter(|run| run.deadline <= now && !run.is_overdue) {
            run.is_overdue = true;
            // The lock proves that the body has not returned.
            let overrun = limit::begin_overrun(&run.task, Some(&*self.place));
            overdue.push((run.task.clone(), overrun));
        }
        let rest = runs.iter().filter(|run| !run.is_overdue).map(|run| run.deadline).min();
        drop(runs);
        for (task, overrun) in overdue {
            limit::end_overrun(&task, overrun, Some(&*self.place));
        }
        rest
    }
}

/// See [`Deadlines::enter`].
pub(crate) struct Entered;

impl Drop for Entered {
    fn drop(&mut self) {
        let slot = SLOT.try_with(|own| own.take());
        drop(slot);
    }
}

/// Enters the deadline of a run that has begun on this thread. Returns false if the thread has no
/// slot, or its supervisor not the real time: the caller arms the limit otherwise.
#[inline]
pub(crate) fn enter_run(task: &TaskArc, limit: Duration) -> bool {
    if source::has_clock(task.header().scheduler) {
        return false;
    }
    let entered = SLOT.try_with(|own| {
        let own = own.borrow();
        let Some(slot) = &*own else { return false };
        let deadline = clock::add(task.header().started(), limit);
        let run = Limited { task: task.clone(), deadline, is_overdue: false };
        slot.runs.lock().push(run);
        // After the lock, by which the timer's change of it is seen; see the documentation of the
        // module.
        if deadline < slot.deadlines.next.load(Ordering::Relaxed) {
            slot.deadlines.set_timer(deadline);
        }
        true
    });
    entered.unwrap_or(false)
}

/// Removes the deadline of a run of this thread whose body has returned.
pub(crate) fn leave_run(task: &Header) {
    let left = SLOT.try_with(|own| {
        let own = own.borrow();
        let slot = own.as_ref()?;
        let mut runs = slot.runs.lock();
        // The run on top of the stack.
        let run = runs.pop_if(|run| std::ptr::eq(run.task.header(), task))?;
        drop(runs);
        run.is_overdue.then(|| Arc::clone(&slot.place))
    });
    if let Ok(Some(place)) = left {
        place.left(task);
    }
}

#[cfg(all(test, not(atasker_loom)))]
mod tests {
    use std::sync::mpsc;

    use super::*;
    use crate::job::Job;
    use crate::task::scheduler::SchedulerKey;
    use crate::task::state::Phase;
    use crate::{PoolConfig, Supervisor, TaskBuilder, TaskContext, TaskError};

    #[derive(Default)]
    struct Place(Mutex<Vec<&'static str>>);

    impl Overdue for Place {
        fn entered(&self, _: &Header) {
            self.0.lock().push("entered");
        }
        fn reported(&self, _: &Header, _: Duration) {
            self.0.lock().push("reported");
        }
        fn left(&self, _: &Header) {
            self.0.lock().push("left");
        }
    }

    /// A task that runs `f` as a run of this thread, with this limit.
    fn run(limit: Duration, f: impl FnOnce(&TaskArc) + Send + 'static) -> TaskArc {
        use crate::task::{body::Once, cell::Cell};
        let mut header = Header::new(crate::TaskType::Thread, crate::TaskId::next());
        header.set_timeout(Some(limit));
        header.record_queued();
        assert!(header.state.launch(Phase::Queued));
        let task: TaskArc = Cell::<(), _>::allocate(header, Once(Some(f)), ()).erase();
        let run = Job::new(task.clone()).begin(clock::now()).unwrap();
        run.arm_limit_here(|| panic!("the thread has a slot"));
        let _ = run.execute();
        task
    }

    fn deadlines() -> Arc<Deadlines> {
        Deadlines::new(SchedulerKey(u32::MAX.try_into().unwrap()))
    }

    fn until_stopped(task: &TaskArc) {
        while !task.header().state.read().stopped() {
            std::thread::yield_now();
        }
    }

    #[test]
    fn timer_is_set_once_for_equal_limits() {
        let deadlines = deadlines();
        let _entered = deadlines.enter(Arc::new(Place::default()));
        let limit = Duration::from_secs(600);
        run(limit, |_| ());
        let first = deadlines.next.load(Ordering::Relaxed);
        for _ in 0..100 {
            run(limit, |_| ());
        }
        assert_eq!(deadlines.next.load(Ordering::Relaxed), first);
        // A shorter one sets it anew.
        run(limit / 2, |_| ());
        assert!(deadlines.next.load(Ordering::Relaxed) < first);
        assert!(SLOT.with(|slot| slot.borrow().as_ref().unwrap().runs.lock().is_empty()));
    }

    #[test]
    fn run_below_and_run_on_top_are_both_found() {
        let deadlines = deadlines();
        let place = Arc::new(Place::default());
        let _entered = deadlines.enter(place.clone());
        let limit = Duration::from_millis(5);
        let below = run(limit, move |below| {
            let top = run(limit, until_stopped);
            assert!(top.error().unwrap().is_timeout());
            // It has no limit that passes: the one below is found all the same.
            run(Duration::from_secs(600), {
                let below = below.clone();
                move |_| until_stopped(&below)
            });
        });
        assert!(below.error().unwrap().is_timeout());
        let mut told = place.0.lock().clone();
        told.sort_unstable();
        // `reported` may be late: it is told after the task.
        told.retain(|word| *word != "reported");
        assert_eq!(told, ["entered", "entered", "left", "left"]);
    }

    #[test]
    fn each_limit_passes_at_its_time_while_others_come_and_go() {
        let sup = Supervisor::builder().thread_pool(PoolConfig::new(4)).build();
        let (over, seen) = mpsc::channel();
        let runs: Vec<_> = (0..400_u64)
            .map(|number| {
                let over = over.clone();
                let limit = Duration::from_micros(number * 7919 % 3000);
                let stops = number % 3 == 0;
                let body = move |ctx: &TaskContext| {
                    // Every third one exceeds its limit.
                    let stopped = stops && ctx.wait_stop(Duration::from_secs(60));
                    over.send(stopped).unwrap();
                };
                let builder = TaskBuilder::with_context(body).supervisor(&sup);
                let limit = if stops { limit } else { Duration::from_secs(600) };
                (stops, builder.timeout(limit).start())
            })
            .collect();
        for (stops, run) in runs {
            match run.join() {
                Err(TaskError::TimedOut { .. }) if stops => {}
                outcome => assert!(!stops && outcome == Ok(()), "{outcome:?}"),
            }
        }
        drop(over);
        sup.stop(crate::StopOptions::new());
        // A limit that has passed before the function was called leaves nothing to be seen.
        assert!(seen.iter().filter(|stopped| *stopped).count() > 0);
    }
}
