//! Lists of waiting tasks that contain ids instead of tasks.
//!
//! A task that begins or ends meanwhile stays in such a list, because to remove it would cost every
//! task a search. It costs a lookup when it is due, or when the list is pruned.

use super::core::Core;
use crate::id::TaskId;
use crate::task::TaskArc;

/// The shortest list that is pruned.
const LEAST: usize = 1024;

/// When a list is pruned: whenever it has doubled, so the cost per task is O(1), and a long time
/// limit does not keep an entry for every task ever launched.
pub(super) struct Pruning {
    /// The length at which tasks that no longer wait are removed.
    at: usize,
}

impl Default for Pruning {
    fn default() -> Self {
        Pruning { at: LEAST }
    }
}

impl Pruning {
    /// Returns whether a list of this length is to be pruned.
    pub(super) fn is_due(&self, len: usize) -> bool {
        len >= self.at
    }

    /// Records that the list was pruned to this length. Returns the capacity that it needs until
    /// the next time.
    pub(super) fn pruned(&mut self, len: usize) -> usize {
        self.at = LEAST.max(len * 2);
        self.at
    }
}

/// Tasks that were looked up under a lock. Dropped without it, because dropping the last reference
/// to a task may drop its result.
#[derive(Default)]
pub(super) struct LookedUp(Vec<TaskArc>);

impl LookedUp {
    /// Returns whether the task with this id exists and `waits`.
    pub(super) fn still_waits(
        &mut self,
        core: &Core,
        id: TaskId,
        waits: impl FnOnce(&TaskArc) -> bool,
    ) -> bool {
        let Some(task) = core.lookup(id) else { return false };
        let still_waits = waits(&task);
        self.0.push(task);
        still_waits
    }
}
