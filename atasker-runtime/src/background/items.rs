//! The items of a queue worker, in their order.

use std::cmp::{Ordering, Reverse};
use std::collections::{BinaryHeap, VecDeque};
use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};

use crate::fork;
use crate::sync::lock::Mutex;
use crate::task::waiters::{self, WaiterKey, Waiters};
use crate::unwind::discard;

/// The queue of the items, in their order.
pub(super) trait ItemQueue<T>: Send {
    fn push(&mut self, item: T);
    fn pop(&mut self) -> Option<T>;
    fn len(&self) -> usize;
    /// Removes all items, in any order.
    fn drain_all(&mut self) -> Vec<T>;
}

/// First in, first out.
impl<T: Send> ItemQueue<T> for VecDeque<T> {
    fn push(&mut self, item: T) {
        self.push_back(item);
    }
    fn pop(&mut self) -> Option<T> {
        self.pop_front()
    }
    fn len(&self) -> usize {
        VecDeque::len(self)
    }
    fn drain_all(&mut self) -> Vec<T> {
        std::mem::take(self).into()
    }
}

/// The smallest item first. Equal items are first in, first out, by their numbers.
pub(super) struct OrderedQueue<T> {
    heap: BinaryHeap<Reverse<Numbered<T>>>,
    next: u64,
}

impl<T: Ord> Default for OrderedQueue<T> {
    fn default() -> Self {
        OrderedQueue { heap: BinaryHeap::new(), next: 0 }
    }
}

struct Numbered<T> {
    item: T,
    number: u64,
}

impl<T: Ord> Ord for Numbered<T> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.item.cmp(&other.item).then(self.number.cmp(&other.number))
    }
}
impl<T: Ord> PartialOrd for Numbered<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl<T: Ord> PartialEq for Numbered<T> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}
impl<T: Ord> Eq for Numbered<T> {}

impl<T: Ord + Send> ItemQueue<T> for OrderedQueue<T> {
    fn push(&mut self, item: T) {
        self.heap.push(Reverse(Numbered { item, number: self.next }));
        self.next += 1;
    }
    fn pop(&mut self) -> Option<T> {
        self.heap.pop().map(|Reverse(numbered)| numbered.item)
    }
    fn len(&self) -> usize {
        self.heap.len()
    }
    fn drain_all(&mut self) -> Vec<T> {
        self.heap.drain().map(|Reverse(numbered)| numbered.item).collect()
    }
}

/// The queue options of a builder.
#[doc(hidden)]
pub struct QueueOptions<T> {
    pub(super) limit: Option<usize>,
    pub(super) queue: Box<dyn ItemQueue<T>>,
}

impl<T: Send + 'static> Default for QueueOptions<T> {
    fn default() -> Self {
        QueueOptions { limit: None, queue: Box::new(VecDeque::new()) }
    }
}

impl<T> fmt::Debug for QueueOptions<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QueueOptions").field("limit", &self.limit).finish_non_exhaustive()
    }
}

/// The waiting items. Lock order: the engine's lock first, then this one.
pub(super) struct Items<T> {
    pub(super) limit: usize,
    inner: Mutex<Inner<T>>,
}

/// `Ord` is user code and must not run under the lock. New items are therefore added to a plain
/// list. To take an item, a run takes the ordered queue and the list out of the lock, and moves the
/// list into the queue first.
struct Inner<T> {
    arrived: VecDeque<T>,
    /// `None` while a run takes an item.
    queue: Option<Box<dyn ItemQueue<T>>>,
    /// The number of items in the list and in the queue.
    count: usize,
    /// Callers of `put` that wait for space.
    space_waiters: Waiters,
}

/// The queue while a run takes an item. Its destructor puts the queue back, even if `Ord` panics.
struct QueueGuard<'a, T> {
    items: &'a Items<T>,
    queue: Option<Box<dyn ItemQueue<T>>>,
    arrived: VecDeque<T>,
}

impl<T> QueueGuard<'_, T> {
    fn pop(&mut self) -> Option<T> {
        let queue = self.queue.as_mut()?;
        while let Some(item) = self.arrived.pop_front() {
            queue.push(item);
        }
        queue.pop()
    }
}

impl<T> Drop for QueueGuard<'_, T> {
    fn drop(&mut self) {
        let mut inner = self.items.inner.lock();
        // After a panic, the remaining items of the list are older than those that were put
        // meanwhile.
        while let Some(item) = self.arrived.pop_back() {
            inner.arrived.push_front(item);
        }
        inner.queue = self.queue.take();
        // Counted again, because an item is lost if its `Ord` panics.
        inner.count = inner.arrived.len() + inner.queue.as_ref().map_or(0, |queue| queue.len());
        let waiters = std::mem::take(&mut inner.space_waiters);
        drop(inner);
        waiters.wake();
    }
}

impl<T> Drop for Inner<T> {
    /// Drops each item separately, so that a destructor that panics doesn't leak the other items.
    fn drop(&mut self) {
        let queued = self.queue.as_mut().map(|queue| queue.drain_all()).unwrap_or_default();
        std::mem::take(&mut self.arrived).into_iter().chain(queued).for_each(discard);
        std::mem::take(&mut self.space_waiters).discard();
    }
}

/// Whether the limit of the queue applies to an item.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Limit {
    Enforced,
    Ignored,
}

impl<T> Items<T> {
    pub(super) fn new(options: QueueOptions<T>) -> Arc<Self> {
        let inner = Mutex::new(Inner {
            arrived: VecDeque::new(),
            queue: Some(options.queue),
            count: 0,
            space_waiters: Waiters::NONE,
        });
        Arc::new(Items { limit: options.limit.unwrap_or(usize::MAX), inner })
    }

    /// Takes the next item. Runs of a worker don't overlap, so there is no concurrent call.
    pub(super) fn take(&self) -> Option<T> {
        let mut guard = {
            let mut inner = self.inner.lock();
            let queue = Some(inner.queue.take()?);
            QueueGuard { items: self, queue, arrived: std::mem::take(&mut inner.arrived) }
        };
        guard.pop()
    }

    /// Adds an item, or returns it if the queue is full.
    pub(super) fn offer(&self, item: T, limit: Limit) -> Result<(), T> {
        let mut inner = self.inner.lock();
        if inner.count >= self.limit && limit == Limit::Enforced {
            return Err(item);
        }
        inner.arrived.push_back(item);
        inner.count += 1;
        Ok(())
    }

    /// Completes when there is space, or when `ended` returns true.
    pub(super) fn poll_space(
        &self,
        key: WaiterKey,
        context: &Context<'_>,
        ended: impl FnOnce() -> bool,
    ) -> Poll<()> {
        let waker = context.waker().clone();
        let mut inner = self.inner.lock();
        let old = inner.space_waiters.add(key, waker);
        let has_space = inner.count < self.limit;
        drop(inner);
        waiters::drop_waker(old);
        // Without the lock, because `ended` takes that of the engine, which comes first.
        if has_space || ended() {
            self.forget(key);
            return Poll::Ready(());
        }
        Poll::Pending
    }

    pub(super) fn forget(&self, key: WaiterKey) {
        if fork::is_copy() {
            return;
        }
        let old = self.inner.lock().space_waiters.remove(key);
        waiters::drop_waker(old);
    }
}

/// The number of items, independent of their type.
pub(super) trait ItemSource: Send + Sync {
    fn count(&self) -> usize;
}

impl<T: Send> ItemSource for Items<T> {
    fn count(&self) -> usize {
        if fork::is_copy() { 0 } else { self.inner.lock().count }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn smallest_item_is_first(put in prop::collection::vec(0u8..5, 0..50)) {
            let mut queue = OrderedQueue::default();
            for item in &put {
                queue.push(*item);
            }
            let mut wanted = put.clone();
            wanted.sort();
            let got: Vec<u8> = std::iter::from_fn(|| queue.pop()).collect();
            prop_assert_eq!(got, wanted);
        }
    }

    #[test]
    fn equal_items_stay_in_order() {
        #[derive(PartialEq, Eq)]
        struct Item(u8, char);
        impl Ord for Item {
            fn cmp(&self, other: &Self) -> Ordering {
                self.0.cmp(&other.0)
            }
        }
        impl PartialOrd for Item {
            fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
                Some(self.cmp(other))
            }
        }
        let mut queue = OrderedQueue::default();
        for item in [Item(2, 'c'), Item(1, 'a'), Item(2, 'd'), Item(1, 'b')] {
            queue.push(item);
        }
        let got: String = std::iter::from_fn(|| queue.pop()).map(|item| item.1).collect();
        assert_eq!(got, "abcd");
    }
}
