//! The end of a node, and waiting for it.

use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use crate::sync::lock::Mutex;
use crate::task::park;
use crate::task::waiters::{self, WaiterKey, Waiters};

/// Whether a node has ended.
pub(super) struct Ended(Mutex<State>);

struct State {
    has_ended: bool,
    waiters: Waiters,
}

/// Ends a node when it is dropped.
pub(super) struct Ends(Arc<Ended>);

impl Ended {
    pub(super) fn new() -> (Arc<Ended>, Ends) {
        let state = State { has_ended: false, waiters: Waiters::NONE };
        let ended = Arc::new(Ended(Mutex::new(state)));
        (Arc::clone(&ended), Ends(ended))
    }

    pub(super) fn has_ended(&self) -> bool {
        self.0.lock().has_ended
    }

    /// Blocks until the node has ended.
    #[track_caller]
    pub(super) fn wait(&self) {
        let key = WaiterKey::next();
        park::block_on(None, |context| self.poll(key, context));
    }

    fn poll(&self, key: WaiterKey, context: &mut Context<'_>) -> Poll<()> {
        match self.watch(key, context.waker()) {
            true => Poll::Pending,
            false => Poll::Ready(()),
        }
    }

    /// Registers a waker for the end. Returns false if the node has ended.
    #[must_use]
    pub(super) fn watch(&self, key: WaiterKey, waker: &Waker) -> bool {
        let waker = waker.clone();
        let mut state = self.0.lock();
        let (old, spare) = match state.has_ended {
            true => (state.waiters.remove(key), Some(waker)),
            false => (state.waiters.add(key, waker), None),
        };
        let goes_on = !state.has_ended;
        drop(state);
        waiters::drop_waker(old);
        waiters::drop_waker(spare);
        goes_on
    }

    /// Removes a waker.
    pub(super) fn unwatch(&self, key: WaiterKey) {
        let waker = self.0.lock().waiters.remove(key);
        waiters::drop_waker(waker);
    }
}

impl Drop for Ends {
    fn drop(&mut self) {
        if crate::fork::is_copy() {
            return;
        }
        let mut state = self.0.0.lock();
        state.has_ended = true;
        let waiters = std::mem::take(&mut state.waiters);
        drop(state);
        waiters.wake();
    }
}
