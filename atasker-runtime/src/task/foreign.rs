//! Tasks whose ids were drawn by another process: the runs of calls that a node takes, and the
//! handles of calls that were found again.
//!
//! Such a task occupies an entry of the task table under an id that this process has drawn, so
//! everything that walks through the table visits it. The index here finds it by its foreign id.
//!
//! Several tasks of one process may have the same id: a call that a process launches, serves and
//! attaches to is one task in each of the three roles. So a lookup names the supervisor. Within one
//! supervisor, two tasks have the same id only if a call was attached to twice; a lookup then finds
//! one that has not ended.
//!
//! Tasks with ids of this process have no part in this: only launches through
//! [`TaskBuilder::start_foreign`](crate::TaskBuilder) come here.

use std::collections::BTreeSet;

use crate::fork;
use crate::id::TaskId;
use crate::sync::lock::Mutex;
use crate::task::scheduler::SchedulerKey;
use crate::task::{TaskArc, table};

/// For each task with a foreign id: this id, and the index of its entry in the task table.
static INDEX: Mutex<BTreeSet<(TaskId, u32)>> = Mutex::new(BTreeSet::new());

/// The entry in the task table of a task with a foreign id. Freed when this is dropped, with the
/// header of the task.
pub(crate) struct ForeignEntry {
    id: TaskId,
    entry: u32,
}

impl ForeignEntry {
    /// Reserves an entry for a task with this id.
    pub(crate) fn reserve(id: TaskId) -> ForeignEntry {
        ForeignEntry { id, entry: table::reserve_index() }
    }

    /// Inserts the task.
    pub(crate) fn insert(&self, task: &TaskArc) {
        table::insert(self.entry, task);
        INDEX.lock().insert((self.id, self.entry));
    }
}

impl Drop for ForeignEntry {
    fn drop(&mut self) {
        if !fork::is_copy() {
            INDEX.lock().remove(&(self.id, self.entry));
        }
        table::remove(self.entry);
    }
}

/// Returns the task of this supervisor with this id, which may be a foreign one. Prefers a task that
/// has not ended.
pub(crate) fn find(id: TaskId, of: SchedulerKey) -> Option<TaskArc> {
    let own = |task: &TaskArc| task.header().scheduler == Some(of);
    table::get(id).filter(own).or_else(|| find_foreign(id, of))
}

fn find_foreign(id: TaskId, of: SchedulerKey) -> Option<TaskArc> {
    let all = (id, 0)..=(id, u32::MAX);
    // Collected first: the last reference to a task, which must not be dropped under the lock, may
    // be one that is found here.
    let entries: Vec<u32> = INDEX.lock().range(all).map(|(_, entry)| *entry).collect();
    let mut ended = None;
    for task in entries.into_iter().filter_map(table::get_at) {
        let header = task.header();
        if header.id() == id && header.scheduler == Some(of) {
            if !header.state.read().is_ended() {
                return Some(task);
            }
            ended = Some(task);
        }
    }
    ended
}

#[cfg(all(test, not(atasker_loom)))]
mod tests {
    use super::*;
    use crate::task::body::Once;
    use crate::task::cell::Cell;
    use crate::task::header::Header;
    use crate::{Supervisor, TaskBuilder, TaskType};
    use std::time::Duration;

    /// An id as another process may have drawn it.
    fn foreign_id() -> TaskId {
        let (origin, number) = TaskId::next().to_parts();
        TaskId::from_parts(origin ^ 0xff00, number)
    }

    #[test]
    fn task_with_a_foreign_id_is_found_and_listed_under_it() {
        let sup = Supervisor::builder().build();
        let id = foreign_id();
        let task = TaskBuilder::with_context(|ctx: &crate::TaskContext| {
            ctx.wait_stop(Duration::from_secs(60));
            (ctx.id(), crate::current().map(|task| task.id()), ctx.attempt())
        })
        .supervisor(&sup)
        .start_foreign(id, 2);
        assert_eq!(task.id(), id);
        assert_eq!(sup.task(id).unwrap().id(), id);
        assert_eq!(sup.tasks().iter().map(|info| info.id).collect::<Vec<_>>(), [id]);
        task.stop();
        assert_eq!(*task.wait().unwrap(), (id, Some(id), 3));
        assert!(sup.task(id).is_none() && sup.tasks().is_empty());
        drop(task);
        assert!(find(id, sup.core().key()).is_none());
        assert!(INDEX.lock().iter().all(|(of, _)| *of != id));
    }

    #[test]
    fn tasks_with_the_same_id_differ_by_supervisor() {
        let sups = [Supervisor::builder().build(), Supervisor::builder().build()];
        let wait = |ctx: &crate::TaskContext| ctx.wait_stop(Duration::from_secs(60));
        let launched = TaskBuilder::with_context(wait).supervisor(&sups[0]).start();
        let id = launched.id();
        let run = TaskBuilder::with_context(wait).supervisor(&sups[1]).start_foreign(id, 0);
        let other = Supervisor::builder().build();
        assert!(other.task(id).is_none());
        let is_same = |found: Option<TaskArc>, supervisor: &Supervisor| {
            found.unwrap().header().scheduler == Some(supervisor.core().key())
        };
        for sup in &sups {
            assert!(is_same(find(id, sup.core().key()), sup));
            assert_eq!(sup.tasks().len(), 1);
        }
        sups[1].task(id).unwrap().stop();
        run.join().unwrap();
        assert!(sups[1].task(id).is_none() && sups[0].task(id).is_some());
        launched.stop();
        launched.join().unwrap();
        assert!(sups[0].task(id).is_none());
    }

    #[test]
    fn of_two_tasks_the_one_that_has_not_ended_is_found() {
        let sup = Supervisor::builder().build();
        let id = foreign_id();
        let wait = |ctx: &crate::TaskContext| ctx.wait_stop(Duration::from_secs(60));
        let mut tasks: Vec<_> = (0..3)
            .map(|_| TaskBuilder::with_context(wait).supervisor(&sup).start_foreign(id, 0))
            .collect();
        assert_eq!(sup.tasks().len(), 3);
        while let Some(task) = tasks.pop() {
            assert!(sup.task(id).is_some());
            task.stop();
            task.wait().unwrap();
        }
        assert!(sup.task(id).is_none());
    }

    #[test]
    fn entry_of_a_task_that_was_not_launched_is_free_again() {
        let mut header = Header::new(TaskType::Thread, TaskId::next());
        let id = foreign_id();
        header.set_foreign_id(id);
        let task: TaskArc =
            Cell::<(), _>::allocate(header, Once(Some(|_: &TaskArc| ())), ()).erase();
        assert_eq!(task.header().id(), id);
        drop(task);
        assert!(INDEX.lock().iter().all(|(of, _)| *of != id));
    }
}
