//! A background worker that is fed with items.

use std::cmp::{Ordering, Reverse};
use std::collections::{BinaryHeap, VecDeque};
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use parking_lot::Mutex;

use crate::background::builder::WorkerBuilder;
use crate::background::engine::{Run, Runner};
use crate::background::handle::{BackgroundWorker, Handle};
use crate::background::outcome::PutError;
use crate::background::schedule::Rhythm;
use crate::info::WorkerKind;
use crate::task::waiters::{WaiterKey, Waiters};
use crate::task::{AnyTask, park};

/// Runs its function for every item that is put, one after the other.
///
/// Items come first in, first out, or the smallest first
/// ([`by_priority`](WorkerBuilder::by_priority)). Those that were put before the start wait for
/// it; those that wait at a stop are there for the next start.
///
/// ```
/// use atasker_runtime::{QueueWorker, WorkerContext};
/// let (tx, rx) = std::sync::mpsc::channel();
/// let worker = QueueWorker::builder().run(move |_: &WorkerContext, item: String| {
///     tx.send(item.len()).unwrap();
/// });
/// worker.start();
/// worker.put("todo".into()).unwrap();
/// assert_eq!(rx.recv().unwrap(), 4);
/// worker.stop();
/// assert_eq!(worker.put("too late".into()).unwrap_err().into_inner(), "too late");
/// ```
#[must_use = "a background worker does nothing until `start()` is called"]
pub struct QueueWorker<T> {
    worker: BackgroundWorker,
    items: Arc<Items<T>>,
}

impl<T> Clone for QueueWorker<T> {
    fn clone(&self) -> Self {
        QueueWorker { worker: self.worker.clone(), items: Arc::clone(&self.items) }
    }
}

impl<T> fmt::Debug for QueueWorker<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.worker.fmt(f)
    }
}

impl<T> Deref for QueueWorker<T> {
    type Target = BackgroundWorker;
    fn deref(&self) -> &BackgroundWorker {
        &self.worker
    }
}

impl<T> From<QueueWorker<T>> for BackgroundWorker {
    fn from(worker: QueueWorker<T>) -> Self {
        worker.worker
    }
}

/// Where items wait.
pub(super) trait Shelf<T>: Send {
    fn push(&mut self, item: T);
    fn pop(&mut self) -> Option<T>;
    fn len(&self) -> usize;
}

/// First in, first out.
impl<T: Send> Shelf<T> for VecDeque<T> {
    fn push(&mut self, item: T) {
        self.push_back(item);
    }
    fn pop(&mut self) -> Option<T> {
        self.pop_front()
    }
    fn len(&self) -> usize {
        VecDeque::len(self)
    }
}

/// The smallest first; of equal ones, the first that came.
pub(super) struct Ordered<T> {
    heap: BinaryHeap<Reverse<Numbered<T>>>,
    next: u64,
}

impl<T: Ord> Default for Ordered<T> {
    fn default() -> Self {
        Ordered { heap: BinaryHeap::new(), next: 0 }
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

impl<T: Ord + Send> Shelf<T> for Ordered<T> {
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
}

/// What a builder says about a queue.
#[doc(hidden)]
pub struct QueueOptions<T> {
    pub(super) limit: Option<usize>,
    pub(super) shelf: Box<dyn Shelf<T>>,
}

impl<T: Send + 'static> Default for QueueOptions<T> {
    fn default() -> Self {
        QueueOptions { limit: None, shelf: Box::new(VecDeque::new()) }
    }
}

impl<T> fmt::Debug for QueueOptions<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QueueOptions").field("limit", &self.limit).finish_non_exhaustive()
    }
}

/// The items that wait. Its lock comes after the engine's.
pub(super) struct Items<T> {
    limit: usize,
    inner: Mutex<Inner<T>>,
}

struct Inner<T> {
    shelf: Box<dyn Shelf<T>>,
    /// Who waits for room.
    room: Waiters,
}

impl<T> Items<T> {
    pub(super) fn new(options: QueueOptions<T>) -> Arc<Self> {
        let inner = Mutex::new(Inner { shelf: options.shelf, room: Waiters::NONE });
        Arc::new(Items { limit: options.limit.unwrap_or(usize::MAX), inner })
    }

    /// Takes the next one out.
    pub(super) fn take(&self) -> Option<T> {
        let mut inner = self.inner.lock();
        let item = inner.shelf.pop();
        let room = std::mem::take(&mut inner.room);
        drop(inner);
        room.wake();
        item
    }

    /// Puts one in if there is room for it.
    fn offer(&self, item: T, beyond_limit: bool) -> Result<(), T> {
        let mut inner = self.inner.lock();
        if inner.shelf.len() >= self.limit && !beyond_limit {
            return Err(item);
        }
        inner.shelf.push(item);
        Ok(())
    }

    /// Is ready when there is room, or when `ended` says so.
    fn poll_room(
        &self,
        key: WaiterKey,
        context: &Context<'_>,
        ended: impl FnOnce() -> bool,
    ) -> Poll<()> {
        let mut inner = self.inner.lock();
        let old = inner.room.add(key, context.waker());
        let room = inner.shelf.len() < self.limit;
        drop(inner);
        drop(old);
        if room || ended() {
            self.forget(key);
            return Poll::Ready(());
        }
        Poll::Pending
    }

    fn forget(&self, key: WaiterKey) {
        let old = self.inner.lock().room.remove(key);
        drop(old);
    }
}

/// How many items there are, whatever they are.
pub(super) trait Stock: Send + Sync {
    fn count(&self) -> usize;
}

impl<T: Send> Stock for Items<T> {
    fn count(&self) -> usize {
        self.inner.lock().shelf.len()
    }
}

/// A runner whose runs are made by items.
pub(super) struct Stocked {
    pub(super) runner: Box<dyn Runner>,
    pub(super) stock: Arc<dyn Stock>,
}

impl Runner for Stocked {
    fn launch(&self, run: Run) -> Option<Arc<dyn AnyTask>> {
        self.runner.launch(run)
    }
    fn has_items(&self) -> bool {
        self.stock.count() > 0
    }
    fn waiting(&self) -> Option<usize> {
        Some(self.stock.count())
    }
}

impl<T: Send + 'static> QueueWorker<T> {
    pub(super) fn new(handle: Handle, items: Arc<Items<T>>) -> Self {
        QueueWorker { worker: BackgroundWorker { handle }, items }
    }

    /// A queue worker to be made.
    pub fn builder() -> WorkerBuilder<QueueWorker<T>> {
        WorkerBuilder::new(WorkerKind::Queue, Rhythm::Demand, Duration::ZERO)
    }

    /// Puts an item into the queue. Where the queue is bounded and full, it waits for room; the
    /// worker's own function never waits: its items go beyond the limit.
    ///
    /// # Errors
    /// [`PutError::Stopped`] gives the item back if the worker is stopped, also while it waits.
    ///
    /// # Panics
    /// On the thread of an aloop, if it would have to wait: use [`put_async`](Self::put_async).
    #[track_caller]
    pub fn put(&self, item: T) -> Result<(), PutError<T>> {
        let mut item = item;
        loop {
            item = match self.try_put(item) {
                Err(PutError::Full(item)) => item,
                other => return other,
            };
            let wait = self.room();
            park::block_on(None, |context| wait.poll(context));
        }
    }

    /// The same as a future.
    ///
    /// # Errors
    /// Those of [`put`](Self::put).
    pub async fn put_async(&self, item: T) -> Result<(), PutError<T>> {
        let mut item = item;
        loop {
            item = match self.try_put(item) {
                Err(PutError::Full(item)) => item,
                other => return other,
            };
            let wait = self.room();
            std::future::poll_fn(|context| wait.poll(context)).await;
        }
    }

    /// Puts an item into the queue if there is room for it.
    ///
    /// # Errors
    /// Gives the item back: [`PutError::Full`], or [`PutError::Stopped`].
    pub fn try_put(&self, item: T) -> Result<(), PutError<T>> {
        let engine = &self.worker.handle.engine;
        let own = self.items.limit < usize::MAX && engine.is_own();
        engine.offer(|open| match open {
            true => self.items.offer(item, own).map_err(PutError::Full),
            false => Err(PutError::Stopped(item)),
        })
    }

    /// How many items wait.
    pub fn len(&self) -> usize {
        self.items.count()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn room(&self) -> Room<'_, T> {
        Room { worker: self, key: WaiterKey::next() }
    }
}

/// Waits for room in the queue, or for the end of the worker.
struct Room<'a, T> {
    worker: &'a QueueWorker<T>,
    key: WaiterKey,
}

impl<T> Room<'_, T> {
    fn poll(&self, context: &Context<'_>) -> Poll<()> {
        let engine = &self.worker.worker.handle.engine;
        self.worker
            .items
            .poll_room(self.key, context, || engine.poll_closed(self.key, context).is_ready())
    }
}

impl<T> Drop for Room<'_, T> {
    fn drop(&mut self) {
        self.worker.items.forget(self.key);
        self.worker.worker.handle.engine.forget_waiter(self.key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_smallest_first_and_of_equal_ones_the_first(put in prop::collection::vec(0u8..5, 0..50)) {
            let mut shelf = Ordered::default();
            for item in &put {
                shelf.push(*item);
            }
            let mut wanted = put.clone();
            wanted.sort();
            let got: Vec<u8> = std::iter::from_fn(|| shelf.pop()).collect();
            prop_assert_eq!(got, wanted);
        }
    }

    #[test]
    fn equal_ones_come_in_order() {
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
        let mut shelf = Ordered::default();
        for item in [Item(2, 'c'), Item(1, 'a'), Item(2, 'd'), Item(1, 'b')] {
            shelf.push(item);
        }
        let got: String = std::iter::from_fn(|| shelf.pop()).map(|item| item.1).collect();
        assert_eq!(got, "abcd");
    }
}
