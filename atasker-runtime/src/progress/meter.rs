//! Counting the tasks that have ended.
//!
//! A waiter registers a waker with each of its tasks. The waker counts the end of the task. A request
//! to stop wakes it too; it then registers itself again.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Wake, Waker};

use super::bar::{Source, Spec};
use super::display::{BarKey, DISPLAY};
use crate::fork;
use crate::task::TaskArc;
use crate::task::arc::TaskWeak;
use crate::task::waiters::WaiterKey;

/// The number of ended tasks.
#[derive(Default)]
pub(super) struct Counter(AtomicU64);

impl Counter {
    pub(super) fn done(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    fn count(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
        DISPLAY.set_changed();
    }
}

/// What happens at the end of a task.
pub(super) enum AtEnd {
    Count(Arc<Counter>),
    /// Removes the bar of the task.
    Remove(BarKey),
}

/// Notices the end of a task.
pub(super) struct EndWaker {
    /// Weak, because the task owns the waker.
    task: TaskWeak,
    key: WaiterKey,
    at_end: AtEnd,
}

impl EndWaker {
    /// Watches a task. If it has ended, that is noticed immediately.
    pub(super) fn watch(task: &TaskArc, at_end: AtEnd) -> Arc<EndWaker> {
        // A separate key for each waker, because a list may contain a task twice.
        let key = WaiterKey::next();
        let waker = Arc::new(EndWaker { task: task.downgrade(), key, at_end });
        waker.register(task);
        waker
    }

    fn register(self: &Arc<Self>, task: &TaskArc) {
        if task.header().watch(self.key, &Waker::from(Arc::clone(self))) {
            return;
        }
        match &self.at_end {
            AtEnd::Count(counter) => counter.count(),
            AtEnd::Remove(bar) => DISPLAY.remove_soon(*bar),
        }
    }

    fn unwatch(&self) {
        if let Some(task) = self.task.upgrade() {
            task.header().unwatch(self.key);
        }
    }
}

impl Wake for EndWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // The thread that wakes holds the task.
        if let Some(task) = self.task.upgrade() {
            self.register(&task);
        }
    }
}

/// The bar of a waiter. Cleared when dropped.
pub(crate) struct Meter(Option<Box<Counting>>);

struct Counting {
    counter: Arc<Counter>,
    bar: Option<BarKey>,
    /// The wakers that may be registered, by position.
    wakers: Vec<Option<Arc<EndWaker>>>,
}

impl Meter {
    /// No bar.
    pub(crate) const NONE: Meter = Meter(None);

    /// Prepares a bar, if bars are visible. `done` is the number of tasks whose end is not noticed
    /// any more.
    pub(super) fn new(done: usize) -> Meter {
        if !super::is_visible() {
            return Meter::NONE;
        }
        let counter = Arc::new(Counter(AtomicU64::new(done as u64)));
        Meter(Some(Box::new(Counting { counter, bar: None, wakers: Vec::new() })))
    }

    pub(super) fn is_some(&self) -> bool {
        self.0.is_some()
    }

    /// Counts the end of a task. `position` is that of a task that has ended, or a new one.
    #[inline]
    pub(crate) fn add(&mut self, position: usize, task: impl FnOnce() -> TaskArc) {
        if let Some(counting) = &mut self.0 {
            let wakers = &mut counting.wakers;
            if wakers.len() <= position {
                wakers.resize_with(position + 1, || None);
            }
            let at_end = AtEnd::Count(Arc::clone(&counting.counter));
            wakers[position] = Some(EndWaker::watch(&task(), at_end));
        }
    }

    /// Shows the bar.
    pub(super) fn show(&mut self, label: Cow<'static, str>, total: Option<u64>) {
        if let Some(counting) = &mut self.0 {
            let source = Source::Ended { counter: Arc::clone(&counting.counter), total };
            counting.bar = DISPLAY.add(Spec { label, source }, None);
        }
    }

    /// Clears the bar, and counts no more.
    #[inline]
    pub(crate) fn end(&mut self) {
        if let Some(counting) = self.0.take() {
            counting.end();
        }
    }
}

impl Counting {
    fn end(self) {
        if fork::is_copy() {
            return;
        }
        self.wakers.iter().flatten().for_each(|waker| waker.unwatch());
        if let Some(bar) = self.bar {
            DISPLAY.remove(bar);
        }
    }
}

impl Drop for Meter {
    #[inline]
    fn drop(&mut self) {
        self.end();
    }
}
