//! The background worker that runs for every item of a queue.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;
use std::task::{Context, Poll};

use crate::background::handle::{BackgroundWorker, Handle};
use crate::background::items::{ItemSource, Items, Limit};
use crate::background::outcome::PutError;
use crate::task::park;
use crate::task::waiters::WaiterKey;

/// A background worker that runs its function for every item that is put into its queue.
///
/// The items are processed one after the other, in the order in which they were put, or the
/// smallest first ([`by_priority`](crate::WorkerBuilder::by_priority)). Items may be put before the
/// worker is started. Items that are in the queue when the worker stops remain for the next start.
///
/// ```
/// # use atasker_runtime as atasker;
/// use atasker::{QueueWorker, WorkerContext};
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

impl<T: Send + 'static> QueueWorker<T> {
    pub(super) fn new(handle: Handle, items: Arc<Items<T>>) -> Self {
        QueueWorker { worker: BackgroundWorker { handle }, items }
    }

    /// Puts an item into the queue. Blocks while the queue is full.
    ///
    /// Inside the worker's own function, `put` never blocks, and ignores the limit of the queue.
    ///
    /// ```
    /// # use atasker_runtime as atasker;
    /// use atasker::QueueWorker;
    /// let worker = QueueWorker::builder().queue_limit(2).run(|_, item: u32| println!("{item}"));
    /// worker.put(1).unwrap(); // waits until the worker is started
    /// worker.start();
    /// worker.stop();
    /// assert_eq!(worker.put(2).unwrap_err().into_inner(), 2);
    /// ```
    ///
    /// # Errors
    /// Returns [`PutError::Stopped`] with the item if the worker is stopped, or stops while `put`
    /// blocks.
    ///
    /// # Panics
    /// Panics on the thread of an aloop if it would have to block: use
    /// [`put_async`](Self::put_async) there.
    #[track_caller]
    pub fn put(&self, item: T) -> Result<(), PutError<T>> {
        let mut item = item;
        loop {
            item = match self.try_put(item) {
                Err(PutError::Full(item)) => item,
                other => return other,
            };
            let wait = self.wait_space();
            park::block_on(None, |context| wait.poll(context));
        }
    }

    /// Puts an item into the queue. Waits while the queue is full.
    ///
    /// ```
    /// # use atasker_runtime as atasker;
    /// # async fn example() {
    /// use atasker::QueueWorker;
    /// let worker = QueueWorker::builder().queue_limit(2).run(|_, item: u32| println!("{item}"));
    /// worker.start();
    /// worker.put_async(1).await.unwrap();
    /// # }
    /// ```
    ///
    /// # Errors
    /// Returns the same errors as [`put`](Self::put).
    ///
    /// # Cancel safety
    /// If the future is dropped before it completes, the item is dropped, and was not added to the
    /// queue.
    pub async fn put_async(&self, item: T) -> Result<(), PutError<T>> {
        let mut item = item;
        loop {
            item = match self.try_put(item) {
                Err(PutError::Full(item)) => item,
                other => return other,
            };
            let wait = self.wait_space();
            std::future::poll_fn(|context| wait.poll(context)).await;
        }
    }

    /// Puts an item into the queue, unless the queue is full.
    ///
    /// ```
    /// # use atasker_runtime as atasker;
    /// use atasker::QueueWorker;
    /// let worker = QueueWorker::builder().queue_limit(2).run(|_, item: u32| println!("{item}"));
    /// worker.try_put(1).unwrap();
    /// worker.try_put(2).unwrap();
    /// assert!(worker.try_put(3).unwrap_err().is_full());
    /// ```
    ///
    /// # Errors
    /// Returns [`PutError::Full`] with the item if the queue is full, and [`PutError::Stopped`]
    /// with the item if the worker is stopped.
    pub fn try_put(&self, item: T) -> Result<(), PutError<T>> {
        let engine = &self.worker.handle.engine;
        // The worker's own function must not wait for itself. Checked for bounded queues only,
        // because the check takes a lock.
        let limit = match self.items.limit < usize::MAX && engine.is_own() {
            true => Limit::Ignored,
            false => Limit::Enforced,
        };
        engine.offer(|accepts| match accepts {
            true => self.items.offer(item, limit).map_err(PutError::Full),
            false => Err(PutError::Stopped(item)),
        })
    }

    /// Returns the number of waiting items.
    ///
    /// ```
    /// # use atasker_runtime as atasker;
    /// use atasker::QueueWorker;
    /// let worker = QueueWorker::builder().queue_limit(2).run(|_, item: u32| println!("{item}"));
    /// worker.put(1).unwrap();
    /// assert_eq!((worker.len(), worker.is_empty()), (1, false));
    /// ```
    pub fn len(&self) -> usize {
        self.items.count()
    }

    /// Returns whether no item waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn wait_space(&self) -> WaitSpace<'_, T> {
        WaitSpace { worker: self, key: WaiterKey::next() }
    }
}

/// Waits for space in the queue, or for the end of the worker.
struct WaitSpace<'a, T> {
    worker: &'a QueueWorker<T>,
    key: WaiterKey,
}

impl<T> WaitSpace<'_, T> {
    fn poll(&self, context: &Context<'_>) -> Poll<()> {
        let engine = &self.worker.worker.handle.engine;
        self.worker
            .items
            .poll_space(self.key, context, || engine.poll_closed(self.key, context).is_ready())
    }
}

impl<T> Drop for WaitSpace<'_, T> {
    fn drop(&mut self) {
        self.worker.items.forget(self.key);
        self.worker.worker.handle.engine.forget_waiter(self.key);
    }
}
