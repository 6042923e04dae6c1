//! How one waiter learns which of its many tasks has ended.
//!
//! The waiter registers an [`IndexWaker`] with each task. When woken, it pushes its index to the
//! shared queue and wakes the waiter, which takes all indices at once. A request to stop also wakes
//! it and empties the task's list of wakers, so the waiter registers again if the task has not
//! ended. Hence an index is never in the queue twice.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

use crate::fork;
use crate::sync::Mutex;
use crate::task::header::Header;
use crate::task::waiters::{self, WaiterKey};

/// The tasks of one waiter, as indices in the order in which they were woken.
pub(crate) struct Arrivals {
    /// The key of the waker of each index: the same task may be waited for under several indices.
    keys: Vec<WaiterKey>,
    /// Indices taken out of the queue but not yet examined.
    batch: VecDeque<usize>,
    queue: Arc<Mutex<Queue>>,
}

struct Queue {
    woken: VecDeque<usize>,
    /// The waker to notify when the queue is no longer empty.
    waiter: Option<Waker>,
}

struct IndexWaker {
    queue: Arc<Mutex<Queue>>,
    index: usize,
}

impl Wake for IndexWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let waiter = {
            let mut queue = self.queue.lock();
            queue.woken.push_back(self.index);
            // Taken out: the waiter is woken without the lock, and once for all indices until it
            // polls.
            queue.waiter.take()
        };
        if let Some(waiter) = waiter {
            waiter.wake();
        }
    }
}

impl Arrivals {
    pub(crate) fn new() -> Self {
        let queue = Queue { woken: VecDeque::new(), waiter: None };
        Arrivals { keys: Vec::new(), batch: VecDeque::new(), queue: Arc::new(Mutex::new(queue)) }
    }

    /// Registers a waker with the task. Returns false if the task has ended.
    #[must_use]
    fn register(&self, index: usize, task: &Header) -> bool {
        if task.state.read().is_ended() {
            return false;
        }
        let waker = Arc::new(IndexWaker { queue: Arc::clone(&self.queue), index });
        task.watch(self.keys[index], &Waker::from(waker))
    }

    /// Adds a task. One that has ended already arrives immediately.
    pub(crate) fn add(&mut self, index: usize, task: &Header) {
        if index >= self.keys.len() {
            self.keys.resize_with(index + 1, WaiterKey::next);
        }
        if !self.register(index, task) {
            self.batch.push_back(index);
        }
    }

    /// Adds a task. One that has ended already arrives before those that ended later, as far as they
    /// have not been returned.
    pub(crate) fn add_in_order<'t>(&mut self, index: usize, task: impl Fn(usize) -> &'t Header) {
        let known = self.batch.len();
        self.add(index, task(index));
        if self.batch.len() == known || fork::is_copy() {
            // A copy takes the tasks in any order, and does not wait for the lock of the queue.
            return;
        }
        // It has arrived. Those that wait in the queue have ended by now, mostly before it.
        self.batch.pop_back();
        self.batch.extend(std::mem::take(&mut self.queue.lock().woken));
        let ended = task(index).ended();
        let later = self.batch.iter().rev().take_while(|other| task(**other).ended() > ended);
        self.batch.insert(self.batch.len() - later.count(), index);
    }

    /// Returns an index that was polled, to poll it again.
    pub(crate) fn put_back(&mut self, index: usize) {
        self.batch.push_front(index);
    }

    /// Sorts the arrived tasks by the time of their end. For tasks that had ended before they were
    /// added.
    pub(crate) fn sort<'t>(&mut self, task: impl Fn(usize) -> &'t Header) {
        if fork::is_copy() {
            return;
        }
        self.batch.extend(std::mem::take(&mut self.queue.lock().woken));
        self.batch.make_contiguous().sort_by_key(|index| task(*index).ended());
    }

    /// Returns the next task that has ended, each task once.
    pub(crate) fn poll<'t>(
        &mut self,
        context: &Context<'_>,
        task: impl Fn(usize) -> &'t Header,
    ) -> Poll<usize> {
        loop {
            while let Some(index) = self.batch.pop_front() {
                if !self.register(index, task(index)) {
                    return Poll::Ready(index);
                }
            }
            let waker = context.waker().clone();
            let mut queue = self.queue.lock();
            if queue.woken.is_empty() {
                let old = queue.waiter.replace(waker);
                drop(queue);
                waiters::drop_waker(old);
                return Poll::Pending;
            }
            std::mem::swap(&mut queue.woken, &mut self.batch);
            drop(queue);
            waiters::drop_waker(Some(waker));
        }
    }

    /// Removes the waker that this index has registered with the task.
    pub(crate) fn remove(&self, index: usize, task: &Header) {
        if let Some(key) = self.keys.get(index) {
            task.unwatch(*key);
        }
    }
}
