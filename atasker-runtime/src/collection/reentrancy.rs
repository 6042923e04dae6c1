//! Exclusive runs of functions. Functions are `FnMut`, and several threads can execute a
//! collection, as can its own functions.
//!
//! An execution that reaches a running function waits for it. A wait that could never end is
//! refused: one for a function that waits for the requesting run, directly or through other waits.
//! To detect that, a graph for the whole program records the running functions, their callers, and
//! the waits between them. Its lock is held briefly, twice per run.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use crate::fork;
use crate::sync::lock::Mutex;

use crate::task::park;
use crate::task::waiters::{self, WaiterKey, Waiters};

/// Identifies a function of any collection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct FunctionId(u64);

impl FunctionId {
    pub(super) fn next() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        FunctionId(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

/// A run of a function, and the run that it was executed within, if any.
pub(super) struct CallFrame {
    function: FunctionId,
    parent: Option<Arc<CallFrame>>,
}

impl CallFrame {
    /// Returns the run that the calling code is part of.
    pub(super) fn current() -> Option<Arc<CallFrame>> {
        // A thread that exits has no current run any more; what it executes counts as a separate
        // run.
        CURRENT.try_with(|current| current.borrow().clone()).ok().flatten()
    }

    /// Returns this run and all enclosing ones.
    fn chain(innermost: &Option<Arc<CallFrame>>) -> impl Iterator<Item = &CallFrame> {
        std::iter::successors(innermost.as_deref(), |frame| frame.parent.as_deref())
    }
}

thread_local! {
    static CURRENT: RefCell<Option<Arc<CallFrame>>> = const { RefCell::new(None) };
}

/// The running functions and the waits for them.
struct WaitGraph {
    running: Vec<(Arc<CallFrame>, Waiters)>,
    waiting: Vec<Waiting>,
}

struct Waiting {
    key: WaiterKey,
    wanted: FunctionId,
    caller: Option<Arc<CallFrame>>,
}

static GRAPH: Mutex<WaitGraph> = Mutex::new(WaitGraph { running: Vec::new(), waiting: Vec::new() });

impl WaitGraph {
    fn running_frame(&self, function: FunctionId) -> Option<&Arc<CallFrame>> {
        self.running.iter().map(|(frame, _)| frame).find(|frame| frame.function == function)
    }

    /// Returns whether the end of `wanted` depends on any of the enclosing runs of `requester`.
    /// Every run that is part of a wait has begun, and a run that has only just begun contains no
    /// wait. So only a new wait can close a cycle, and checking before each wait suffices.
    fn waits_for(&self, wanted: FunctionId, requester: &Option<Arc<CallFrame>>) -> bool {
        let mut seen = Vec::new();
        let mut next = vec![wanted];
        while let Some(function) = next.pop() {
            let Some(frame) = self.running_frame(function).filter(|_| !seen.contains(&function))
            else {
                continue;
            };
            seen.push(function);
            let is_it = |part: &CallFrame| std::ptr::eq(part, &**frame);
            if CallFrame::chain(requester).any(is_it) {
                return true;
            }
            let within =
                self.waiting.iter().filter(|waits| CallFrame::chain(&waits.caller).any(is_it));
            next.extend(within.map(|waits| waits.wanted));
        }
        false
    }
}

/// The right to run a function until it is dropped.
pub(super) struct RunPermit(Arc<CallFrame>);

impl RunPermit {
    /// Waits until the function is not running. Returns `None` if that would wait forever.
    #[track_caller]
    pub(super) fn acquire(wanted: FunctionId, caller: Option<Arc<CallFrame>>) -> Option<RunPermit> {
        let wait = Wait { key: WaiterKey::next(), wanted, caller };
        park::block_on(None, |context| wait.poll(context)).flatten()
    }

    /// Runs the function.
    pub(super) fn run<T>(self, f: impl FnOnce() -> T) -> T {
        struct RestoreFrame(Option<Arc<CallFrame>>);
        impl Drop for RestoreFrame {
            fn drop(&mut self) {
                let before = self.0.take();
                let ours = CURRENT.try_with(|current| current.replace(before));
                drop(ours);
            }
        }
        let ours = Some(Arc::clone(&self.0));
        let _restore =
            RestoreFrame(CURRENT.try_with(|current| current.replace(ours)).ok().flatten());
        f()
    }
}

impl Drop for RunPermit {
    fn drop(&mut self) {
        if fork::is_copy() {
            // The function has forked. The run goes on in the other process.
            return;
        }
        let mut graph = GRAPH.lock();
        let place = graph.running.iter().position(|(frame, _)| Arc::ptr_eq(frame, &self.0));
        let waiters = place.map(|place| graph.running.swap_remove(place).1);
        drop(graph);
        if let Some(waiters) = waiters {
            waiters.wake();
        }
    }
}

struct Wait {
    key: WaiterKey,
    wanted: FunctionId,
    caller: Option<Arc<CallFrame>>,
}

impl Wait {
    fn poll(&self, context: &mut Context<'_>) -> Poll<Option<RunPermit>> {
        let waker = context.waker().clone();
        let mut guard = GRAPH.lock();
        let graph = &mut *guard;
        if graph.running_frame(self.wanted).is_none() {
            let frame = CallFrame { function: self.wanted, parent: self.caller.clone() };
            let frame = Arc::new(frame);
            graph.running.push((Arc::clone(&frame), Waiters::NONE));
            return Poll::Ready(Some(RunPermit(frame)));
        }
        if graph.waits_for(self.wanted, &self.caller) {
            return Poll::Ready(None);
        }
        if !graph.waiting.iter().any(|waits| waits.key == self.key) {
            graph.waiting.push(Waiting {
                key: self.key,
                wanted: self.wanted,
                caller: self.caller.clone(),
            });
        }
        let waiters = graph.running.iter_mut().find(|(frame, _)| frame.function == self.wanted);
        let old = waiters.and_then(|(_, waiters)| waiters.add(self.key, waker));
        drop(guard);
        waiters::drop_waker(old);
        Poll::Pending
    }
}

impl Drop for Wait {
    fn drop(&mut self) {
        let mut graph = GRAPH.lock();
        graph.waiting.retain(|waits| waits.key != self.key);
        let wakers: Vec<_> =
            graph.running.iter_mut().filter_map(|(_, waiters)| waiters.remove(self.key)).collect();
        drop(graph);
        drop(wakers);
    }
}
