//! One run of a function at a time: functions are `FnMut`, and collections may be executed by
//! several threads at once, and from within their own functions.
//!
//! Whoever comes to a function that runs elsewhere waits for it. A wait that could never end is
//! refused: one for a function that, directly or by way of other waits for turns, waits for the one
//! who asks. To see that, one board for the whole program knows which functions run, within which
//! others, and who waits for which. It is locked for moments only, twice in each run.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use parking_lot::Mutex;

use crate::task::park;
use crate::task::waiters::{WaiterKey, Waiters};

/// A function of any collection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct FunctionId(u64);

impl FunctionId {
    pub(super) fn next() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        FunctionId(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

/// A run of a function, and the run that it was executed within, if any.
pub(super) struct Frame {
    function: FunctionId,
    around: Option<Arc<Frame>>,
}

impl Frame {
    /// The run that this code is part of: what it executes runs within that.
    pub(super) fn current() -> Option<Arc<Frame>> {
        CURRENT.with(|current| current.borrow().clone())
    }

    /// This run and all around it.
    fn chain(innermost: &Option<Arc<Frame>>) -> impl Iterator<Item = &Frame> {
        std::iter::successors(innermost.as_deref(), |frame| frame.around.as_deref())
    }
}

thread_local! {
    static CURRENT: RefCell<Option<Arc<Frame>>> = const { RefCell::new(None) };
}

/// Who runs, who waits.
struct Board {
    running: Vec<(Arc<Frame>, Waiters)>,
    waiting: Vec<Waiting>,
}

struct Waiting {
    key: WaiterKey,
    wanted: FunctionId,
    inside: Option<Arc<Frame>>,
}

static BOARD: Mutex<Board> = Mutex::new(Board { running: Vec::new(), waiting: Vec::new() });

impl Board {
    fn runs(&self, function: FunctionId) -> Option<&Arc<Frame>> {
        self.running.iter().map(|(frame, _)| frame).find(|frame| frame.function == function)
    }

    /// Whether the end of `wanted` waits for any of the runs that `asks` is part of. Each run that
    /// is part of a wait has begun, and nobody waits within a run that has only just begun: so a
    /// circle can only be closed by a new wait, and it is enough to look before each.
    fn waits_for(&self, wanted: FunctionId, asks: &Option<Arc<Frame>>) -> bool {
        let mut seen = Vec::new();
        let mut next = vec![wanted];
        while let Some(function) = next.pop() {
            let Some(frame) = self.runs(function).filter(|_| !seen.contains(&function)) else {
                continue;
            };
            seen.push(function);
            let is_it = |part: &Frame| std::ptr::eq(part, &**frame);
            if Frame::chain(asks).any(is_it) {
                return true;
            }
            let within = self.waiting.iter().filter(|waits| Frame::chain(&waits.inside).any(is_it));
            next.extend(within.map(|waits| waits.wanted));
        }
        false
    }
}

/// The right to run a function, until it is dropped.
pub(super) struct Turn(Arc<Frame>);

impl Turn {
    /// Waits until nobody else runs the function. `None`: that would never be.
    #[track_caller]
    pub(super) fn take(wanted: FunctionId, inside: Option<Arc<Frame>>) -> Option<Turn> {
        let wait = Wait { key: WaiterKey::next(), wanted, inside };
        park::block_on(None, |context| wait.poll(context)).expect("there is no deadline")
    }

    /// Runs the function.
    pub(super) fn run<T>(self, f: impl FnOnce() -> T) -> T {
        struct Back(Option<Arc<Frame>>);
        impl Drop for Back {
            fn drop(&mut self) {
                let before = self.0.take();
                let ours = CURRENT.try_with(|current| current.replace(before));
                drop(ours);
            }
        }
        let _back = Back(CURRENT.with(|current| current.replace(Some(Arc::clone(&self.0)))));
        f()
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut board = BOARD.lock();
        let place = board.running.iter().position(|(frame, _)| Arc::ptr_eq(frame, &self.0));
        let waiters = place.map(|place| board.running.swap_remove(place).1);
        drop(board);
        if let Some(waiters) = waiters {
            waiters.wake();
        }
    }
}

struct Wait {
    key: WaiterKey,
    wanted: FunctionId,
    inside: Option<Arc<Frame>>,
}

impl Wait {
    fn poll(&self, context: &mut Context<'_>) -> Poll<Option<Turn>> {
        let mut board = BOARD.lock();
        let board = &mut *board;
        if board.runs(self.wanted).is_none() {
            let frame = Frame { function: self.wanted, around: self.inside.clone() };
            let frame = Arc::new(frame);
            board.running.push((Arc::clone(&frame), Waiters::NONE));
            return Poll::Ready(Some(Turn(frame)));
        }
        if board.waits_for(self.wanted, &self.inside) {
            return Poll::Ready(None);
        }
        if !board.waiting.iter().any(|waits| waits.key == self.key) {
            board.waiting.push(Waiting {
                key: self.key,
                wanted: self.wanted,
                inside: self.inside.clone(),
            });
        }
        let waiters = board.running.iter_mut().find(|(frame, _)| frame.function == self.wanted);
        if let Some((_, waiters)) = waiters {
            // Wakers of threads: their destructors run nothing.
            drop(waiters.add(self.key, context.waker()));
        }
        Poll::Pending
    }
}

impl Drop for Wait {
    fn drop(&mut self) {
        let mut board = BOARD.lock();
        board.waiting.retain(|waits| waits.key != self.key);
        let wakers: Vec<_> =
            board.running.iter_mut().filter_map(|(_, waiters)| waiters.remove(self.key)).collect();
        drop(board);
        drop(wakers);
    }
}
