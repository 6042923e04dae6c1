//! The life of a pool thread.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;

use super::idle::Idler;
use super::pool::{NOT_HERE, Shared};
use crate::clock;
use crate::job::Job;
use crate::priority::Priority;
use crate::task::{AnyTask, current, owners, panic, park};
use crate::thread_start;
use crate::timer::{self, TimerKey};

thread_local! {
    static POOL: RefCell<Option<Arc<Shared>>> = const { RefCell::new(None) };
}

/// Whether this thread belongs to that pool.
pub(super) fn is_thread_of(shared: &Arc<Shared>) -> bool {
    POOL.try_with(|pool| pool.borrow().as_ref().is_some_and(|own| Arc::ptr_eq(own, shared)))
        .unwrap_or(false)
}

/// Runs job after job until there is nothing to do for too long. `called`: to look at once.
pub(super) fn thread(shared: &Arc<Shared>, called: bool) {
    thread_start::thread_starts();
    let _works_for = owners::work_for(shared.owner);
    POOL.with(|pool| *pool.borrow_mut() = Some(Arc::clone(shared)));
    let seat = Arc::new(Seat {
        shared: Arc::clone(shared),
        priority: AtomicUsize::new(Priority::Normal.index()),
    });
    park::take_seat(Some(seat.clone()));
    let idler = Arc::new(Idler::new());
    let mut next = if called { shared.first_job(&idler) } else { shared.idle_from_start(&idler) };
    let mut at_once = false;
    while let Some(job) = next {
        let priority = job.priority();
        seat.priority.store(priority.index(), Ordering::Relaxed);
        // A run catches its panics; what can still panic is a destructor of the user's.
        if !panic::contained(|| execute(job, shared, at_once)) {
            panic::guarded(|| {
                tracing::error!(target: "atasker", "a destructor panicked on a pool thread");
            });
        }
        let (job, idle) = shared.next_job(&idler, priority);
        (next, at_once) = (job, !idle);
    }
    park::take_seat(None);
    POOL.with(|pool| *pool.borrow_mut() = None);
}

/// Runs one job on this thread, which holds a slot for it; `at_once`: right after another one.
pub(super) fn execute(job: Job, shared: &Arc<Shared>, at_once: bool) {
    let task = job.into_task();
    let noted = clock::take_noted().filter(|_| at_once);
    if !task.header().begin_at(noted.unwrap_or_else(clock::now)) {
        return;
    }
    // Should there be another attempt: it is not here until it is queued again.
    task.header().mark.store(NOT_HERE, Ordering::Relaxed);
    let mut limit = Limit::arm(&task, shared);
    let mut disarm = || {
        if let Some(limit) = limit.take() {
            limit.disarm(shared);
        }
    };
    current::during(&task, || task.run(&task, &mut disarm));
    // If the limit was over before the function could begin, there was nothing to return from.
    disarm();
}

/// The slot of the task that a pool thread runs.
struct Seat {
    shared: Arc<Shared>,
    priority: AtomicUsize,
}

impl Seat {
    fn priority(&self) -> Priority {
        Priority::from_index(self.priority.load(Ordering::Relaxed) as u8).unwrap_or_default()
    }
}

impl park::Seat for Seat {
    fn leave(&self) -> bool {
        self.shared.leave(self.priority())
    }
    fn come_back(&self) {
        self.shared.come_back(self.priority());
    }
}

/// The time limit of one run.
struct Limit {
    key: TimerKey,
    task: Arc<dyn AnyTask>,
    /// Whether the run is over. The timer's action looks at it and acts under its lock, so that a
    /// late one never meets the next attempt.
    returned: Arc<Mutex<bool>>,
}

impl Limit {
    fn arm(task: &Arc<dyn AnyTask>, shared: &Arc<Shared>) -> Option<Limit> {
        let limit = task.header().timeout()?;
        let returned = Arc::new(Mutex::new(false));
        let key = timer::at(clock::after(limit), {
            let (task, shared) = (Arc::clone(task), Arc::clone(shared));
            let returned = Arc::clone(&returned);
            move || {
                let returned = returned.lock();
                if !*returned {
                    shared.state.lock().overstayed.push(task.header().id);
                    panic::guarded(|| {
                        tracing::warn!(
                            target: "atasker", task = %task.header().id,
                            name = task.header().name(), ?limit,
                            "a task overstays its time limit; its slot stays taken"
                        );
                    });
                    task.overrun(&task);
                }
            }
        });
        Some(Limit { key, task: Arc::clone(task), returned })
    }

    fn disarm(self, shared: &Shared) {
        if !timer::cancel(self.key) {
            *self.returned.lock() = true;
            let id = self.task.header().id;
            shared.state.lock().overstayed.retain(|other| *other != id);
        }
    }
}
