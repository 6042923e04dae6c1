//! The main loop of a pool thread, and the run of one job.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::parker::Parker;
use super::pool::{After, Shared};
use super::state::NOT_IN_POOL;
use crate::fork;
use crate::job::Job;
use crate::observe::load;
use crate::priority::Priority;
use crate::sync::spin::Yields;
use crate::task::header::Header;
use crate::task::limit::Overdue;
use crate::task::{park, scheduler};
use crate::thread_start;
use crate::time::clock;
use crate::unwind::{self, log};

thread_local! {
    static POOL: RefCell<Option<Arc<Shared>>> = const { RefCell::new(None) };
}

/// Returns whether the current thread belongs to the pool.
pub(super) fn is_thread_of(shared: &Arc<Shared>) -> bool {
    POOL.try_with(|pool| pool.borrow().as_ref().is_some_and(|own| Arc::ptr_eq(own, shared)))
        .unwrap_or(false)
}

/// Why a thread is spawned.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Spawned {
    /// A job may start: the thread checks the backlog first.
    ForJob,
    /// The pool keeps a minimum number of threads: the thread is idle first.
    Eagerly,
}

/// Runs jobs until the thread reaches its idle timeout, or the pool is closed.
pub(super) fn thread(shared: &Arc<Shared>, spawned: Spawned) {
    thread_start::on_thread_start();
    let _entered = scheduler::enter(shared.scheduler);
    let _ = POOL.try_with(|pool| *pool.borrow_mut() = Some(Arc::clone(shared)));
    let slot = Arc::new(PoolSlot {
        shared: Arc::clone(shared),
        priority: AtomicUsize::new(Priority::Normal.index()),
    });
    let _limits = shared.deadlines.enter(shared.clone());
    park::install(Some(slot.clone()));
    let parker = Arc::new(Parker::new());
    load::changed(shared.scheduler);
    let mut next = match spawned {
        Spawned::ForJob => shared.job_after_wake(&parker),
        Spawned::Eagerly => shared.start_idle(&parker),
    };
    let mut after = After::Other;
    let mut yields = Yields::new();
    while let Some(job) = next {
        let priority = job.priority();
        // Relaxed: only this thread reads it.
        slot.priority.store(priority.index(), Ordering::Relaxed);
        // A run catches the panics of its function. Destructors of user types can still panic.
        after = unwind::attempt(|| execute(job, shared, after)).unwrap_or_else(|| {
            log!(error, "a destructor panicked on a pool thread");
            After::Other
        });
        // A callback or a destructor may have forked: the copy must not run the other jobs.
        fork::end_if_copy();
        (next, after) = shared.next_job(&parker, priority, after, &mut yields);
    }
    load::changed(shared.scheduler);
    park::install(None);
    let _ = POOL.try_with(|pool| pool.borrow_mut().take());
}

/// Runs one job on the current thread, which holds a slot for it. Returns what the thread has done
/// now, after what it had done before.
pub(super) fn execute(job: Job, shared: &Arc<Shared>, after: After) -> After {
    let when = match after {
        // The end of one run is the start of the next, without reading the clock again.
        After::Run(ended) => ended,
        After::Other => clock::now(),
    };
    let Some(run) = job.begin(when) else { return After::Other };
    // In case of another attempt: the task is not in the pool until it is queued again.
    run.header().place_tag.store(NOT_IN_POOL, Ordering::Relaxed);
    run.arm_limit_here(|| Some(shared.clone()));
    run.execute().map_or(After::Other, After::Run)
}

/// The slot of the task that a pool thread runs. A blocking wait releases it.
struct PoolSlot {
    shared: Arc<Shared>,
    priority: AtomicUsize,
}

impl PoolSlot {
    fn priority(&self) -> Priority {
        Priority::from_index(self.priority.load(Ordering::Relaxed) as u8).unwrap_or_default()
    }
}

impl park::BlockingSlot for PoolSlot {
    fn release(&self) -> park::Replacement {
        match self.shared.release_slot(self.priority()) {
            true => park::Replacement::Available,
            false => park::Replacement::Unavailable,
        }
    }
    fn reacquire(&self) {
        self.shared.reacquire_slot(self.priority());
    }
}

impl Overdue for Shared {
    fn entered(&self, task: &Header) {
        self.state.lock().overdue.push(task.id());
    }

    fn reported(&self, task: &Header, limit: Duration) {
        log!(
            warn, task = %task.id(), name = task.name(), ?limit,
            "task exceeded its time limit and still occupies its slot"
        );
    }

    fn left(&self, task: &Header) {
        self.state.lock().overdue.retain(|other| *other != task.id());
        load::changed(self.scheduler);
    }
}
