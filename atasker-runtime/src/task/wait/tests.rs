//! Tests that need internals: removed wakers, and the last resort of a waiter if no replacement
//! thread can be started.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::as_completed;
use crate::error::{KillError, WaitError};
use crate::id::TaskId;
use crate::info::TaskType;
use crate::job::Job;
use crate::place::{Closing, Place, WhenFull};
use crate::task::arc::TypedArc;
use crate::task::body::Once;
use crate::task::cell::Cell;
use crate::task::control::Include;
use crate::task::handle::Task;
use crate::task::header::Header;
use crate::task::park::{self, BlockingSlot, Replacement};
use crate::task::state::{Ending, Phase};
use crate::task::{AnyTask, Schedule, TaskArc, scheduler};
use crate::time::clock;
use crate::{wait_any, wait_completed};

/// Runs a queued task only if a waiter asks for it.
#[derive(Default)]
struct InlineScheduler {
    helped: Mutex<Vec<usize>>,
}

impl Place for InlineScheduler {
    fn run_inline(&self, task: &TaskArc) -> bool {
        let Some(run) = Job::new(task.clone()).begin(clock::now()) else { return false };
        self.helped.lock().push(task.header().name().parse().unwrap());
        run.execute();
        true
    }
    fn start(&self, _: Job, _: WhenFull) {}
    fn revoke(&self, _: &dyn AnyTask, _: Include) -> bool {
        false
    }
    fn kill(&self, _: &TaskArc) -> Result<(), KillError> {
        Err(KillError::Unsupported)
    }
    fn close(&self, _: &Closing<'_>) {}
}

impl Schedule for InlineScheduler {
    fn ended(&self, _: &Header, _: Ending) {}
    fn observers(&self) -> Option<&Arc<crate::observe::registry::Observers>> {
        None
    }
    fn run_callbacks(&self, run: Box<dyn FnOnce() + Send>) {
        run();
    }
    fn retry(&self, _: TaskArc, _: std::time::Duration) {}
    fn place(&self, _: TaskType) -> &dyn Place {
        self
    }
}

/// The slot of a pool that can't start another thread.
struct LastThread;

impl BlockingSlot for LastThread {
    fn release(&self) -> Replacement {
        Replacement::Unavailable
    }
    fn reacquire(&self) {}
}

fn queued(scheduler: &Arc<InlineScheduler>, n: usize) -> Task<usize> {
    let mut header = Header::new(TaskType::Thread, TaskId::next());
    let known: Arc<dyn Schedule> = scheduler.clone();
    header.scheduler = Some(scheduler::register(Arc::downgrade(&known)));
    header.set_name(n.to_string().into());
    let cell = Cell::allocate(header, Once(Some(move |_: &TaskArc| n)), ());
    cell.header().record_queued();
    assert!(cell.header().state.launch(Phase::Queued) && cell.header().state.set_join_interest());
    let cell: TypedArc<usize> = cell;
    Task::new(cell)
}

fn on_the_last_thread(test: impl FnOnce()) {
    let before = park::install(Some(Arc::new(LastThread)));
    test();
    park::install(before);
}

#[test]
fn a_waiter_for_all_runs_them_where_no_thread_can() {
    on_the_last_thread(|| {
        let scheduler = Arc::new(InlineScheduler::default());
        let tasks: Vec<_> = (0..4).map(|n| queued(&scheduler, n)).collect();
        let bystander = queued(&scheduler, 9);
        assert_eq!(wait_completed!(&tasks).unwrap(), [&0, &1, &2, &3]);
        assert_eq!(wait_completed!(tasks, queued(&scheduler, 4)).unwrap(), (vec![0, 1, 2, 3], 4));
        // Only the awaited tasks run.
        assert!(!bystander.is_started());
    });
}

#[test]
fn a_waiter_for_the_first_runs_one_of_them() {
    on_the_last_thread(|| {
        let scheduler = Arc::new(InlineScheduler::default());
        let tasks: Vec<_> = (0..4).map(|n| queued(&scheduler, n)).collect();
        assert_eq!(wait_any!(&tasks).unwrap(), (0, &0));
        assert_eq!(wait_any!(&tasks[2..]).unwrap(), (0, &2));
        assert_eq!(*scheduler.helped.lock(), [0, 2]);
        let rest: Vec<_> = as_completed(tasks).map(|(i, result)| (i, result.unwrap())).collect();
        assert_eq!(rest, [(0, 0), (2, 2), (1, 1), (3, 3)]);
    });
}

fn watched(tasks: &[Task<usize>]) -> Vec<bool> {
    tasks.iter().map(|task| task.header().is_watched()).collect()
}

#[test]
fn no_waker_stays_behind() {
    let scheduler = Arc::new(InlineScheduler::default());
    let tasks: Vec<_> = (0..3).map(|n| queued(&scheduler, n)).collect();
    let soon = Duration::from_millis(1);
    let in_time = |outcome: Result<(), WaitError>| {
        assert!(matches!(outcome, Err(WaitError::Timeout { .. })));
    };
    in_time(wait_completed!(&tasks, timeout = soon).map(drop));
    assert_eq!(watched(&tasks), [false; 3]);
    in_time(wait_any!(&tasks, timeout = soon).map(drop));
    assert_eq!(watched(&tasks), [false; 3]);

    let mut these = as_completed(&tasks);
    assert_eq!(watched(&tasks), [true; 3]);
    assert!(scheduler.run_inline(tasks[1].erased()));
    let (index, result) = these.next().unwrap();
    assert_eq!((index, result.unwrap()), (1, &1));
    assert_eq!(watched(&tasks), [true, false, true]);
    drop(these);
    assert_eq!(watched(&tasks), [false; 3]);
}
