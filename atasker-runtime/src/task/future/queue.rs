//! What a loop has to do: the futures that are ready, those that wait, and who polls them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Poll, Waker};

use crossbeam_utils::CachePadded;
use parking_lot::Mutex;
use slab::Slab;
use tokio::runtime::Handle;
use tokio::sync::Notify;

use super::beds::Beds;
use crate::spin;
use crate::sync::Fifo;
use crate::task::AnyTask;

/// See the module's documentation. The loop and the futures on it share one.
pub(crate) struct Queue {
    ready: Fifo<Arc<dyn AnyTask>>,
    beds: Beds,
    /// Futures that came, and those that are gone: apart, for one is counted by those who launch,
    /// the other by the loop.
    begun: CachePadded<AtomicU64>,
    ended: CachePadded<AtomicU64>,
    /// No future is polled any more: what comes to its turn is dropped.
    closing: AtomicBool,
    /// Futures that have had a turn and go on. The loop holds them, so that none is dropped by
    /// whoever drops its last waker.
    kept: Mutex<Kept>,
    drained: Notify,
    handle: Handle,
    /// Whether there is a CPU beside the one that looks for work.
    may_spin: bool,
}

#[derive(Default)]
struct Kept {
    closed: bool,
    futures: Slab<Arc<dyn AnyTask>>,
}

/// The place of a future in [`Queue::kept`].
#[derive(Clone, Copy)]
pub(super) struct Key(pub(super) usize);

impl Queue {
    pub(crate) fn new(handle: Handle) -> Self {
        Queue {
            ready: Fifo::new(),
            beds: Beds::new(),
            begun: CachePadded::new(AtomicU64::new(0)),
            ended: CachePadded::new(AtomicU64::new(0)),
            closing: AtomicBool::new(false),
            kept: Mutex::default(),
            drained: Notify::new(),
            handle,
            may_spin: spin::pays(),
        }
    }

    /// A future has come, and is ready for its first turn.
    pub(super) fn start(&self, task: &Arc<dyn AnyTask>) {
        // Counted before it is asked: a close that does not see the one is seen by the other.
        self.begun.fetch_add(1, Ordering::SeqCst);
        if self.closing.load(Ordering::SeqCst) {
            // Perhaps nobody takes turns any more.
            let _context = self.handle.enter();
            return task.turn(task, &|| true);
        }
        self.push(Arc::clone(task));
    }

    /// Adds one that was turned to *ready*.
    pub(super) fn push(&self, task: Arc<dyn AnyTask>) {
        self.ready.push(task);
        self.beds.wake_one();
    }

    /// Takes a turn: true, unless nothing is ready.
    pub(crate) fn turn(&self) -> bool {
        let Some(task) = self.ready.pop() else { return false };
        task.turn(&task, &|| self.is_closing());
        true
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.ready.is_empty()
    }

    pub(crate) fn may_spin(&self) -> bool {
        self.may_spin
    }

    fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Relaxed)
    }

    /// Lies down as driver number `who`; ready at once if there is something to do.
    pub(crate) fn sleep(&self, who: usize, waker: &Waker) -> Poll<()> {
        self.beds.lie_down(who, waker, || !self.is_empty())
    }

    /// The driver was woken, or dropped.
    pub(crate) fn get_up(&self, who: usize) {
        self.beds.get_up(who);
    }

    /// Holds a future that goes on. `None`: it must go.
    pub(super) fn keep(&self, task: &Arc<dyn AnyTask>) -> Option<Key> {
        let mut kept = self.kept.lock();
        (!kept.closed).then(|| Key(kept.futures.insert(Arc::clone(task))))
    }

    /// A future is gone.
    pub(super) fn gone(&self, key: Option<Key>) {
        if let Some(Key(key)) = key {
            let held = self.kept.lock().futures.try_remove(key);
            drop(held);
        }
        self.ended.fetch_add(1, Ordering::SeqCst);
        if self.closing.load(Ordering::SeqCst) && self.live() == 0 {
            self.drained.notify_one();
        }
    }

    /// How many futures there are.
    pub(crate) fn live(&self) -> u64 {
        let ended = self.ended.load(Ordering::SeqCst);
        self.begun.load(Ordering::SeqCst) - ended
    }

    /// Has all futures dropped, and is ready when they are.
    pub(crate) async fn close(&self) {
        self.closing.store(true, Ordering::SeqCst);
        let kept: Vec<_> = {
            let mut kept = self.kept.lock();
            kept.closed = true;
            kept.futures.iter().map(|(_, task)| Arc::clone(task)).collect()
        };
        for task in kept {
            task.abort(&task);
        }
        while self.live() != 0 {
            self.drained.notified().await;
        }
    }
}
