//! The queue of a loop: the futures that are ready, those that wait, and the runners that sleep.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Poll, Waker};

use crate::sync::lock::Mutex;
use crate::task::TaskArc;
use crossbeam_utils::CachePadded;
use slab::Slab;
use tokio::runtime::Handle;
use tokio::sync::Notify;

use super::sleepers::Sleepers;
use crate::job::Run;
use crate::sync::Fifo;
use crate::sync::spin;
use crate::task::control;
use crate::task::end_counts::EndCounters;
use crate::unwind;

/// See the module's documentation. Shared by the loop and the futures on it.
pub(crate) struct Queue {
    /// Each entry is the run of its task: the poll state ensures that there is only one.
    ready: Fifo<TaskArc>,
    sleepers: Sleepers,
    /// The numbers of futures spawned and finished. Separate cache lines, because launching threads
    /// write one and the loop writes the other.
    spawned: CachePadded<AtomicU64>,
    finished: CachePadded<AtomicU64>,
    /// How the tasks have ended that began here.
    pub(crate) ends: EndCounters,
    /// Set when the loop closes: futures are dropped instead of polled.
    closing: AtomicBool,
    /// Futures that were polled and are pending. The loop owns them, so that no future is dropped
    /// by the thread that drops its last waker.
    owned: Mutex<Owned>,
    drained: Notify,
    handle: Handle,
    /// Whether another CPU can make progress while a runner spins.
    may_spin: bool,
}

#[derive(Default)]
struct Owned {
    closed: bool,
    futures: Slab<TaskArc>,
}

/// The key of a future in [`Queue::owned`].
#[derive(Clone, Copy)]
pub(super) struct Key(pub(super) usize);

impl Queue {
    pub(crate) fn new(handle: Handle) -> Self {
        Queue {
            ready: Fifo::new(),
            sleepers: Sleepers::new(),
            spawned: CachePadded::new(AtomicU64::new(0)),
            finished: CachePadded::new(AtomicU64::new(0)),
            ends: EndCounters::default(),
            closing: AtomicBool::new(false),
            owned: Mutex::default(),
            drained: Notify::new(),
            handle,
            may_spin: spin::has_other_cpus(),
        }
    }

    /// Schedules the first poll of a new future.
    pub(super) fn start(&self, task: &TaskArc) {
        // Counted before `closing` is read: either this sees the close, or the close sees the
        // count.
        self.spawned.fetch_add(1, Ordering::SeqCst);
        if self.closing.load(Ordering::SeqCst) {
            // There may be no runner left, so drop the future here. A thread that exits has no
            // tokio context any more.
            let _context = unwind::attempt(|| self.handle.enter());
            return Run::of_begun(task.clone()).poll(&|| true);
        }
        self.push(task.clone());
    }

    /// Pushes a task whose state was changed to *scheduled*.
    pub(super) fn push(&self, task: TaskArc) {
        self.ready.push(task);
        self.sleepers.notify_one();
    }

    /// Polls the next task. Returns false if nothing is ready.
    #[inline]
    pub(crate) fn poll_next(&self) -> bool {
        let Some(task) = self.ready.pop() else { return false };
        Run::of_begun(task).poll(&|| self.is_closing());
        true
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.ready.is_empty()
    }

    pub(crate) fn may_spin(&self) -> bool {
        self.may_spin
    }

    fn is_closing(&self) -> bool {
        // Relaxed: a future that is polled because the close was missed is either in `owned` by
        // then and scheduled again by the close, or is dropped because `own` finds the list closed.
        self.closing.load(Ordering::Relaxed)
    }

    /// Registers runner number `who` as asleep. Ready immediately if the queue is not empty.
    pub(crate) fn register_sleeper(&self, who: usize, waker: &Waker) -> Poll<()> {
        self.sleepers.register(who, waker, || !self.is_empty())
    }

    /// Called when the runner was woken or dropped.
    pub(crate) fn unregister_sleeper(&self, who: usize) {
        self.sleepers.unregister(who);
    }

    /// Takes ownership of a pending future. Returns `None` if the loop is closing.
    pub(super) fn own(&self, task: &TaskArc) -> Option<Key> {
        let mut owned = self.owned.lock();
        (!owned.closed).then(|| Key(owned.futures.insert(task.clone())))
    }

    /// Records that a future was dropped.
    pub(super) fn release(&self, key: Option<Key>) {
        if let Some(Key(key)) = key {
            // The lock is released before the task is dropped.
            let held = self.owned.lock().futures.try_remove(key);
            drop(held);
        }
        self.finished.fetch_add(1, Ordering::SeqCst);
        // Either this sees the close, or the close sees the count.
        if self.closing.load(Ordering::SeqCst) && self.live() == 0 {
            self.drained.notify_one();
        }
    }

    /// Returns the number of live futures.
    pub(crate) fn live(&self) -> u64 {
        // `finished` first, so that the difference is never negative.
        let finished = self.finished.load(Ordering::SeqCst);
        self.spawned.load(Ordering::SeqCst) - finished
    }

    /// Has all futures dropped, and waits for that.
    pub(crate) async fn close(&self) {
        // Before the counts are read: see `start` and `release`.
        self.closing.store(true, Ordering::SeqCst);
        let owned: Vec<_> = {
            let mut owned = self.owned.lock();
            owned.closed = true;
            owned.futures.iter().map(|(_, task)| task.clone()).collect()
        };
        for task in owned {
            control::abort(&task);
        }
        while self.live() != 0 {
            // A notification sent before this call is kept, so none is lost.
            self.drained.notified().await;
        }
    }
}
