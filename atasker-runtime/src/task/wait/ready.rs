//! How one waiter learns which of its many tasks has ended.
//!
//! With each task it leaves a [`Bell`] as a waker. A bell that rings puts its index into the shared
//! queue and wakes the waiter, who takes all indices at once. Bells ring for requests to stop, too;
//! a task's list of wakers is empty afterwards, so a waiter hangs its bell up again if the task has
//! not ended. Hence an index is never in the queue twice.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

use crate::sync::Mutex;
use crate::task::header::Header;
use crate::task::waiters::WaiterKey;

/// The tasks of one waiter, as indices: those that rang, in that order.
pub(crate) struct Arrivals {
    /// With each task, one waker at most has this key.
    key: WaiterKey,
    /// Taken out of the queue, not looked at.
    batch: VecDeque<usize>,
    queue: Arc<Mutex<Queue>>,
}

struct Queue {
    rung: VecDeque<usize>,
    /// Who shall be woken when the queue is no longer empty.
    waiter: Option<Waker>,
}

struct Bell {
    queue: Arc<Mutex<Queue>>,
    index: usize,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let waiter = {
            let mut queue = self.queue.lock();
            queue.rung.push_back(self.index);
            queue.waiter.take()
        };
        if let Some(waiter) = waiter {
            waiter.wake();
        }
    }
}

impl Arrivals {
    pub(crate) fn new() -> Self {
        let queue = Queue { rung: VecDeque::new(), waiter: None };
        Arrivals {
            key: WaiterKey::next(),
            batch: VecDeque::new(),
            queue: Arc::new(Mutex::new(queue)),
        }
    }

    /// Hangs a bell up; false if the task has ended.
    #[must_use]
    fn hang_up(&self, index: usize, task: &Header) -> bool {
        if task.state.read().is_ended() {
            return false;
        }
        let bell = Arc::new(Bell { queue: Arc::clone(&self.queue), index });
        task.watch(self.key, &Waker::from(bell))
    }

    /// Watches a task. One that has ended has arrived.
    pub(crate) fn add(&mut self, index: usize, task: &Header) {
        if !self.hang_up(index, task) {
            self.batch.push_back(index);
        }
    }

    /// The arrived ones in the order in which they ended: for those that had ended before they were
    /// added.
    pub(crate) fn sort<'t>(&mut self, task: impl Fn(usize) -> &'t Header) {
        self.batch.make_contiguous().sort_by_key(|index| task(*index).ended());
    }

    /// The next task that has ended, once for each.
    pub(crate) fn poll<'t>(
        &mut self,
        context: &Context<'_>,
        task: impl Fn(usize) -> &'t Header,
    ) -> Poll<usize> {
        loop {
            while let Some(index) = self.batch.pop_front() {
                if !self.hang_up(index, task(index)) {
                    return Poll::Ready(index);
                }
            }
            let mut queue = self.queue.lock();
            if queue.rung.is_empty() {
                queue.waiter = Some(context.waker().clone());
                return Poll::Pending;
            }
            std::mem::swap(&mut queue.rung, &mut self.batch);
        }
    }

    /// Takes a bell down.
    pub(crate) fn remove(&self, task: &Header) {
        task.unwatch(self.key);
    }
}
