//! What a task whose body is a future has beside it: whose turn it is, and where it runs.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use super::queue::{Key, Queue};
use super::word::Word;
use crate::task::AnyTask;

/// See the module's documentation.
pub(crate) struct Turns {
    word: Word,
    /// The queue of the loop where its first future ran; further ones run there, too.
    home: OnceLock<Arc<Queue>>,
    /// The queue holds the future by this key; for whoever has the turn.
    key: AtomicUsize,
}

const NO_KEY: usize = usize::MAX;

impl Default for Turns {
    fn default() -> Self {
        Turns { word: Word::new(), home: OnceLock::new(), key: AtomicUsize::new(NO_KEY) }
    }
}

impl Turns {
    /// The task's future is made: it shall be polled.
    pub(super) fn start(&self, task: &Arc<dyn AnyTask>, on: &Arc<Queue>) {
        let home = self.home.get_or_init(|| Arc::clone(on));
        self.word.start();
        home.start(task);
    }

    /// The future wants a turn: the queue where the caller puts its task, unless it stands there.
    pub(super) fn wake(&self) -> Option<&Queue> {
        if self.word.wake() { self.home.get().map(|home| &**home) } else { None }
    }

    /// Begins the turn of a task that came out of its queue.
    pub(super) fn take(&self) {
        self.word.take();
    }

    /// The future goes on another time. False: it must go, for the loop is at its end.
    pub(super) fn may_stay(&self, task: &Arc<dyn AnyTask>) -> bool {
        if self.key.load(Ordering::Relaxed) != NO_KEY {
            return true;
        }
        let Some(Key(key)) = self.home.get().and_then(|home| home.keep(task)) else { return false };
        self.key.store(key, Ordering::Relaxed);
        true
    }

    /// Ends the turn of a future that stays.
    pub(super) fn rest(&self, task: &Arc<dyn AnyTask>) {
        if !self.word.rest()
            && let Some(home) = self.home.get()
        {
            home.push(Arc::clone(task));
        }
    }

    /// Ends the turn of a future that is gone.
    pub(super) fn end(&self) {
        let key = self.key.swap(NO_KEY, Ordering::Relaxed);
        self.word.end();
        if let Some(home) = self.home.get() {
            home.gone((key != NO_KEY).then_some(Key(key)));
        }
    }
}
