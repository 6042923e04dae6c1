//! The place of a future in its task's cell.

use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Waker};

use super::queue::{Key, Queue};
use super::word::Word;
use crate::error::TaskError;
use crate::sync::UnsafeCell;
use crate::task::{AnyTask, panic};

/// See the module's documentation.
pub(crate) struct Seat<F> {
    word: Word,
    /// The queue of the loop where its first future ran; further ones run there, too.
    home: OnceLock<Arc<Queue>>,
    inside: UnsafeCell<Inside<F>>,
}

struct Inside<F> {
    future: Option<F>,
    key: Option<Key>,
}

// SAFETY: `inside` is touched by one thread at a time: by `start` while there is no future, and
// then by whoever has the turn; the word hands it on (`take`, `rest`, `end`), with AcqRel. It is
// Send, and never shared. All else is Sync by itself.
unsafe impl<F: Send> Sync for Seat<F> {}

impl<F> Default for Seat<F> {
    fn default() -> Self {
        Seat {
            word: Word::new(),
            home: OnceLock::new(),
            inside: UnsafeCell::new(Inside { future: None, key: None }),
        }
    }
}

/// What came of a turn.
pub(crate) enum Step<R> {
    /// It goes on another time.
    Pending,
    /// The future is gone: what it returned, or its panic.
    Ended(Result<R, TaskError>),
    /// The future was dropped.
    Dropped,
}

/// A seat, whatever stands in it.
pub(crate) trait Seated<R> {
    /// The future wants a turn: the queue where the caller puts its task, unless it stands there.
    fn wake(&self) -> Option<&Queue>;

    /// Begins the turn of a future whose task came out of the queue.
    fn take(&self);

    /// Polls the future, or, if `go` is false, drops it; ends the turn.
    ///
    /// # Safety
    /// The caller has got `task`, whose seat this is, out of its loop's queue, and has called `take`
    /// once since. The seat does not move before the future is gone.
    unsafe fn turn(&self, task: &Arc<dyn AnyTask>, waker: &Waker, go: bool) -> Step<R>;
}

impl<F> Seat<F> {
    /// Seats a future, and has it polled. The caller has begun the run of `task`, whose seat this is,
    /// and has settled the one before.
    pub(crate) fn start(&self, future: F, task: &Arc<dyn AnyTask>, on: &Arc<Queue>) {
        self.inside.with_mut(|inside| {
            // SAFETY: there is no future, so nobody has the turn: the one before has ended it (and
            // then the run, whose end comes before the next begin).
            unsafe { (*inside).future = Some(future) }
        });
        let home = self.home.get_or_init(|| Arc::clone(on));
        self.word.start();
        home.start(task);
    }
}

impl<F: Future> Seated<F::Output> for Seat<F> {
    fn wake(&self) -> Option<&Queue> {
        if self.word.wake() { self.home.get().map(|home| &**home) } else { None }
    }

    fn take(&self) {
        self.word.take();
    }

    unsafe fn turn(&self, task: &Arc<dyn AnyTask>, waker: &Waker, go: bool) -> Step<F::Output> {
        let home = self.home.get().expect("set before the first turn");
        let polled = self.inside.with_mut(|inside| {
            // SAFETY: we have the turn until we end it below, so nobody else touches it.
            let inside = unsafe { &mut *inside };
            // SAFETY: it does not move: it is assigned to (by `start`, and by `set` below) only
            // where no future is, or drops it where it stands.
            let mut future = unsafe { Pin::new_unchecked(&mut inside.future) };
            let polled = match future.as_mut().as_pin_mut() {
                Some(future) if go => panic::catch(|| future.poll(&mut Context::from_waker(waker))),
                _ => Ok(Poll::Pending),
            };
            let step = match polled {
                Ok(Poll::Pending) if go => {
                    inside.key = inside.key.or_else(|| home.keep(task));
                    match inside.key {
                        Some(_) => return Step::Pending,
                        None => Step::Dropped,
                    }
                }
                Ok(Poll::Pending) => Step::Dropped,
                Ok(Poll::Ready(value)) => Step::Ended(Ok(value)),
                Err(error) => Step::Ended(Err(error)),
            };
            // SAFETY: as above.
            let mut future = unsafe { Pin::new_unchecked(&mut inside.future) };
            // What the future held is free before the end is seen; a destructor that panics changes
            // nothing about the result.
            panic::guarded(|| future.set(None));
            let key = inside.key.take();
            self.word.end();
            home.gone(key);
            step
        });
        if matches!(polled, Step::Pending) && !self.word.rest() {
            home.push(Arc::clone(task));
        }
        polled
    }
}
