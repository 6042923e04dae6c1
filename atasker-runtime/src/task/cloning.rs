//! The results that this thread is cloning, outermost first.
//!
//! `Clone` is user code and can access the task whose result it clones. Cloning the result again is
//! fine. Moving it out must be refused, because the clone in progress still reads it.

use std::cell::RefCell;

use crate::id::TaskId;

thread_local! {
    static ACTIVE: RefCell<Vec<TaskId>> = const { RefCell::new(Vec::new()) };
}

/// The maximum depth of nested clones. A `Clone` that requests a clone of its own result would
/// otherwise recurse forever.
const MAX_DEPTH: usize = 64;

/// A clone in progress on this thread.
pub(super) struct Cloning(());

impl Cloning {
    /// Begins to clone the result of a task. Returns `None` if clones are nested too deeply.
    pub(super) fn begin(task: TaskId) -> Option<Cloning> {
        // A thread that exits has no list any more; its clones are not tracked.
        ACTIVE
            .try_with(|list| {
                let mut list = list.borrow_mut();
                (list.len() < MAX_DEPTH).then(|| {
                    list.push(task);
                    Cloning(())
                })
            })
            .unwrap_or_else(|_| Some(Cloning(())))
    }
}

impl Drop for Cloning {
    fn drop(&mut self) {
        let _ = ACTIVE.try_with(|list| list.borrow_mut().pop());
    }
}

/// Returns whether this thread is cloning the result of this task.
pub(super) fn is_active(task: TaskId) -> bool {
    // All threads of a loom model share one thread-local.
    !cfg!(atasker_loom) && ACTIVE.try_with(|list| list.borrow().contains(&task)).unwrap_or(false)
}
