//! What can be seen only from inside: wakers that are taken back, and the last resort of a waiter
//! in whose place no thread can be started.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::as_completed;
use crate::error::{KillError, WaitError};
use crate::info::TaskType;
use crate::task::body::Once;
use crate::task::cell::{Cell, Typed};
use crate::task::handle::Task;
use crate::task::header::Header;
use crate::task::park::{self, Seat};
use crate::task::state::Ending;
use crate::task::{AnyTask, Owner, owners};
use crate::{wait_any, wait_completed};

/// Runs nothing by itself, and a queued task where a waiter asks for it.
#[derive(Default)]
struct Stuck {
    helped: Mutex<Vec<usize>>,
}

impl Owner for Stuck {
    fn run_here(&self, task: &Arc<dyn AnyTask>) -> bool {
        let begun = task.header().begin();
        if begun {
            self.helped.lock().push(task.header().name().parse().unwrap());
            task.run(task, &mut || ());
        }
        begun
    }
    fn ended(&self, _: Ending) {}
    fn run_callbacks(&self, run: Box<dyn FnOnce() + Send>) {
        run();
    }
    fn again(&self, _: Arc<dyn AnyTask>) {}
    fn revoke(&self, _: &dyn AnyTask, _: bool) -> bool {
        false
    }
    fn stop_asked(&self, _: &dyn AnyTask) {}
    fn message(&self, _: &dyn AnyTask) {}
    fn kill(&self, _: &Arc<dyn AnyTask>) -> Result<(), KillError> {
        Err(KillError::Unsupported)
    }
    fn refresh(&self, _: &dyn AnyTask) {}
}

/// The seat of a pool that can start no thread.
struct LastThread;

impl Seat for LastThread {
    fn leave(&self) -> bool {
        false
    }
    fn come_back(&self) {}
}

fn queued(owner: &Arc<Stuck>, n: usize) -> Task<usize> {
    let mut header = Header::new(TaskType::Thread);
    let known: Arc<dyn Owner> = owner.clone();
    header.owner = Some(owners::register(Arc::downgrade(&known)));
    header.set_name(n.to_string().into());
    let cell = Cell::new(header, Once(Some(move |_: &Arc<dyn AnyTask>| n)), ());
    cell.header().note_queued();
    assert!(cell.header().state.launch(false) && cell.header().state.hold());
    let cell: Arc<dyn Typed<usize>> = cell;
    Task::new(cell, None)
}

fn on_the_last_thread(test: impl FnOnce()) {
    let before = park::take_seat(Some(Arc::new(LastThread)));
    test();
    park::take_seat(before);
}

#[test]
fn a_waiter_for_all_runs_them_where_no_thread_can() {
    on_the_last_thread(|| {
        let owner = Arc::new(Stuck::default());
        let tasks: Vec<_> = (0..4).map(|n| queued(&owner, n)).collect();
        let bystander = queued(&owner, 9);
        assert_eq!(wait_completed!(&tasks).unwrap(), [&0, &1, &2, &3]);
        assert_eq!(wait_completed!(tasks, queued(&owner, 4)).unwrap(), (vec![0, 1, 2, 3], 4));
        // Never any other than the awaited ones.
        assert!(!bystander.is_started());
    });
}

#[test]
fn a_waiter_for_the_first_runs_one_of_them() {
    on_the_last_thread(|| {
        let owner = Arc::new(Stuck::default());
        let tasks: Vec<_> = (0..4).map(|n| queued(&owner, n)).collect();
        assert_eq!(wait_any!(&tasks).unwrap(), (0, &0));
        assert_eq!(wait_any!(&tasks[2..]).unwrap(), (0, &2));
        assert_eq!(*owner.helped.lock(), [0, 2]);
        let rest: Vec<_> = as_completed(tasks).map(|(i, result)| (i, result.unwrap())).collect();
        assert_eq!(rest, [(0, 0), (2, 2), (1, 1), (3, 3)]);
    });
}

fn watched(tasks: &[Task<usize>]) -> Vec<bool> {
    tasks.iter().map(|task| task.header().is_watched()).collect()
}

#[test]
fn no_waker_stays_behind() {
    let owner = Arc::new(Stuck::default());
    let tasks: Vec<_> = (0..3).map(|n| queued(&owner, n)).collect();
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
    assert!(owner.run_here(&tasks[1].erased()));
    let (index, result) = these.next().unwrap();
    assert_eq!((index, result.unwrap()), (1, &1));
    assert_eq!(watched(&tasks), [true, false, true]);
    drop(these);
    assert_eq!(watched(&tasks), [false; 3]);
}
