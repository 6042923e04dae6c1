//! The scheduling data of a task whose body is a future: its poll state and its queue.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use super::poll_state::PollState;
use super::queue::{Key, Queue};
use crate::task::TaskArc;
use crate::task::state::Ending;

/// See the module's documentation.
pub(crate) struct FutureData {
    state: PollState,
    /// The queue of the loop that ran the first attempt; further attempts run there, too.
    queue: OnceLock<Arc<Queue>>,
    /// The key of the future in `Queue::owned`. Accessed only by the thread that polls.
    key: AtomicUsize,
}

const NO_KEY: usize = usize::MAX;

impl Default for FutureData {
    fn default() -> Self {
        FutureData {
            state: PollState::new(),
            queue: OnceLock::new(),
            key: AtomicUsize::new(NO_KEY),
        }
    }
}

impl FutureData {
    /// Schedules the first poll of a new future.
    pub(super) fn start(&self, task: &TaskArc, on: &Arc<Queue>) {
        let queue = self.queue.get_or_init(|| Arc::clone(on));
        self.state.start();
        queue.start(task);
    }

    /// Schedules a poll. Returns the queue to which the caller must push the task, unless it is
    /// scheduled already.
    pub(super) fn wake(&self) -> Option<&Queue> {
        if self.state.wake() { self.queue.get().map(|queue| &**queue) } else { None }
    }

    /// Counts the end of the task at the loop that ran it.
    #[inline]
    pub(in crate::task) fn record_end(&self, ending: Ending) {
        if let Some(queue) = self.queue.get() {
            queue.ends.record(ending);
        }
    }

    /// Returns whether there is a future.
    pub(super) fn is_alive(&self) -> bool {
        self.state.is_alive()
    }

    /// Begins the poll of a task that was taken from its queue.
    pub(super) fn begin_poll(&self) {
        self.state.begin_poll();
    }

    /// Lets the loop own the future until its next poll. Returns false if the loop is closing, in
    /// which case the future must be dropped.
    pub(super) fn keep_alive(&self, task: &TaskArc) -> bool {
        // Relaxed: only the thread that polls accesses the key, and the poll state orders the
        // polls.
        if self.key.load(Ordering::Relaxed) != NO_KEY {
            return true;
        }
        let Some(Key(key)) = self.queue.get().and_then(|queue| queue.own(task)) else {
            return false;
        };
        self.key.store(key, Ordering::Relaxed);
        true
    }

    /// Ends the poll of a future that is pending.
    pub(super) fn end_poll(&self, task: &TaskArc) {
        if !self.state.end_poll()
            && let Some(queue) = self.queue.get()
        {
            queue.push(task.clone());
        }
    }

    /// Ends the poll of a future that was dropped.
    pub(super) fn finish(&self) {
        let key = self.key.swap(NO_KEY, Ordering::Relaxed);
        self.state.finish();
        if let Some(queue) = self.queue.get() {
            queue.release((key != NO_KEY).then_some(Key(key)));
        }
    }
}
