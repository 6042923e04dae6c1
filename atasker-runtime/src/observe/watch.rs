//! The watch of a task: what its observers were told, in which order, and its spans.
//!
//! Several threads can end a task: the one that runs it, the timer, a caller of `kill`. Observers
//! are called under no lock, and yet the calls about one task never overlap. So the first thread
//! that has something to tell becomes the *teller*. What others have to tell meanwhile is queued,
//! and the teller does it after its own call, including the publication of the outcome, which
//! follows the calls of `ended`.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use tracing::Span;

use super::spans::Parent;
use crate::sync::lock::Mutex;
use crate::task::header::Header;
use crate::time::clock::{self, Stamp};
use crate::unwind::Guarded;

type Call = Box<dyn FnOnce() + Send>;

/// See the module documentation.
#[derive(Default)]
pub(crate) struct Watch {
    /// When the current attempt was queued; 0 if that is the launch and its delay.
    queued: AtomicU64,
    /// The process id of the worker process of the latest attempt; 0 for none.
    worker: AtomicU32,
    order: Mutex<Order>,
    /// What the spans of the task refer to.
    spans: Mutex<Spans>,
}

#[derive(Default)]
struct Order {
    /// A thread is telling observers.
    telling: bool,
    /// What that thread tells next.
    later: VecDeque<Call>,
    /// The latest attempt whose begin was told.
    attempt: u32,
    ended: bool,
}

/// A span as a task keeps it: shared under the lock, cloned and dropped without it, because both
/// call the subscriber.
pub(super) type Kept<T> = Arc<Guarded<T>>;

#[derive(Default)]
struct Spans {
    parent: Option<Kept<Parent>>,
    /// The span of the current attempt.
    attempt: Option<Kept<Span>>,
}

impl Watch {
    pub(super) fn record_queued(&self) {
        self.queued.store(clock::now(), Ordering::Relaxed);
    }

    /// Returns when the latest attempt was queued.
    pub(super) fn queued(&self) -> Option<Stamp> {
        Some(self.queued.load(Ordering::Relaxed)).filter(|queued| *queued != 0)
    }

    pub(super) fn worker(&self) -> Option<u32> {
        Some(self.worker.load(Ordering::Relaxed)).filter(|pid| *pid != 0)
    }

    /// Records the begin of an attempt. Returns false if it was told already, or must not be told
    /// any more.
    pub(super) fn begin_attempt(&self, attempt: u32, worker: Option<u32>) -> bool {
        let mut order = self.order.lock();
        if order.ended || order.attempt >= attempt {
            return false;
        }
        order.attempt = attempt;
        self.worker.store(worker.unwrap_or(0), Ordering::Relaxed);
        true
    }

    /// Records that the task ends, so that no begin is told any more.
    pub(super) fn end_task(&self) {
        self.order.lock().ended = true;
    }

    /// Calls `call`, or leaves it to the thread that is telling something earlier.
    pub(super) fn in_order(&self, call: impl FnOnce() + Send + 'static) {
        self.in_order_with(call);
    }

    /// The same. Returns what `call` returned, unless it was left to another thread.
    pub(super) fn in_order_with<T>(&self, call: impl FnOnce() -> T + Send + 'static) -> Option<T> {
        {
            let mut order = self.order.lock();
            if order.telling {
                order.later.push_back(Box::new(|| drop(call())));
                return None;
            }
            order.telling = true;
        }
        // The calls of observers are guarded one by one. If something else panics, the rest is
        // still told.
        let rest = TellRest(self);
        let told = call();
        drop(rest);
        Some(told)
    }

    /// Sets what the spans of the task are children of.
    pub(super) fn set_parent(&self, parent: Parent) {
        let before = self.spans.lock().parent.replace(Arc::new(Guarded::new(parent)));
        drop(before);
    }

    pub(super) fn parent(&self) -> Option<Kept<Parent>> {
        self.spans.lock().parent.clone()
    }

    pub(super) fn drop_parent(&self) {
        let parent = self.spans.lock().parent.take();
        drop(parent);
    }

    pub(super) fn set_span(&self, span: Span) {
        let before = self.spans.lock().attempt.replace(Arc::new(Guarded::new(span)));
        drop(before);
    }

    pub(super) fn span(&self) -> Option<Kept<Span>> {
        self.spans.lock().attempt.clone()
    }

    pub(super) fn take_span(&self) -> Option<Kept<Span>> {
        self.spans.lock().attempt.take()
    }
}

/// Tells what other threads have queued.
struct TellRest<'a>(&'a Watch);

impl Drop for TellRest<'_> {
    fn drop(&mut self) {
        loop {
            let mut order = self.0.order.lock();
            let Some(call) = order.later.pop_front() else {
                order.telling = false;
                return;
            };
            drop(order);
            crate::unwind::guarded(call);
        }
    }
}

/// Returns how long the latest attempt has been running.
pub(super) fn elapsed(header: &Header) -> Duration {
    Duration::from_nanos(clock::now().saturating_sub(header.started()))
}
