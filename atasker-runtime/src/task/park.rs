//! Blocking a thread until something polled is ready.
//!
//! Every blocking call of the library ends up in [`block_on`], which
//!
//! * panics on the thread of an aloop, unless the loop was handed over to another thread;
//! * releases the slot of a pool thread during the wait. The alternative, to run other tasks on top
//!   of the waiting one's stack, deadlocks code that holds a lock. If no replacement thread can be
//!   started, the thread runs the awaited task itself, and no other.

use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Instant;

use crossbeam_utils::sync::{Parker, Unparker};

use crate::fork;
use crate::observe::observer;
use crate::sync::spin;

/// Whether a thread can use a slot that was released.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Replacement {
    /// A thread is there for it, or none is needed.
    Available,
    /// The system could not start one.
    Unavailable,
}

/// The slot of a pool thread, as released and reacquired around a wait.
pub(crate) trait BlockingSlot {
    /// Releases the slot, so that another thread can run a task in it.
    fn release(&self) -> Replacement;
    /// Reacquires a slot, whether or not one is free.
    fn reacquire(&self);
}

thread_local! {
    // `ON_ALOOP` has no destructor and is always usable. The other two are gone while a thread
    // exits: then the thread has no slot, and creates a parker for each wait.
    static SLOT: RefCell<Option<Arc<dyn BlockingSlot>>> = const { RefCell::new(None) };
    static ON_ALOOP: Cell<bool> = const { Cell::new(false) };
    static PARKER: RefCell<Option<ThreadParker>> = const { RefCell::new(None) };
}

/// Whether a thread spins for a moment before it parks.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Spin {
    First,
    Never,
}

/// Lets a thread wait for its waker: it spins for a moment, then it parks.
struct ThreadParker {
    token: Arc<Token>,
    waker: Waker,
    /// Not `std::thread::park`, because that would consume a wake-up intended for the user's own
    /// `park`.
    parker: Parker,
}

/// The state shared by the waker and its thread.
struct Token {
    state: AtomicU32,
    unparker: Unparker,
}

const EMPTY: u32 = 0;
const NOTIFIED: u32 = 1;
/// The thread is parked, or about to be.
const PARKED: u32 = 2;

impl Wake for Token {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // A swap, even if NOTIFIED already, so that the waking thread's writes are released to the poll
        // that follows. Unparking costs a system call, and is skipped for a thread that is not parked.
        if self.state.swap(NOTIFIED, Ordering::AcqRel) == PARKED {
            self.unparker.unpark();
        }
    }
}

impl ThreadParker {
    fn new() -> Self {
        let parker = Parker::new();
        let unparker = parker.unparker().clone();
        let token = Arc::new(Token { state: AtomicU32::new(EMPTY), unparker });
        ThreadParker { waker: Waker::from(Arc::clone(&token)), token, parker }
    }

    /// Returns once the waker was used since the last return, or at the deadline.
    fn park(&self, deadline: Option<Instant>, spin: Spin) {
        let state = &self.token.state;
        if spin == Spin::First {
            // Relaxed, because the exchange below synchronizes.
            spin::until(|| state.load(Ordering::Relaxed) == NOTIFIED);
        }
        // Announced before sleeping: a waker either sees PARKED and unparks, or has stored NOTIFIED
        // before, and then the exchange fails.
        if state.compare_exchange(EMPTY, PARKED, Ordering::AcqRel, Ordering::Acquire).is_ok() {
            // In a loop, because parking may return spuriously.
            while state.load(Ordering::Acquire) == PARKED {
                match deadline {
                    None => self.parker.park(),
                    Some(deadline) if deadline <= Instant::now() => break,
                    Some(deadline) => self.parker.park_deadline(deadline),
                }
            }
        }
        // Acquire: the next poll sees what was done before the wake-up. A wake-up that arrives from here
        // on is kept for the next call.
        state.swap(EMPTY, Ordering::AcqRel);
    }
}

/// Sets the slot that this thread releases in waits. Returns the previous one.
pub(crate) fn install(slot: Option<Arc<dyn BlockingSlot>>) -> Option<Arc<dyn BlockingSlot>> {
    SLOT.try_with(|cell| cell.replace(slot)).ok().flatten()
}

/// Marks this thread as the driver of an aloop, which must not block.
#[cfg(feature = "async")]
pub(crate) fn set_aloop_thread() {
    ON_ALOOP.set(true);
}

/// Marks this thread as the driver of an aloop until the guard is dropped.
#[cfg(feature = "async")]
pub(crate) fn enter_aloop() -> impl Drop {
    struct Restore(bool);
    impl Drop for Restore {
        fn drop(&mut self) {
            ON_ALOOP.set(self.0);
        }
    }
    Restore(ON_ALOOP.replace(true))
}

/// Returns whether this thread drives an aloop, even if the loop was handed over for the moment.
pub(crate) fn on_aloop_thread() -> bool {
    ON_ALOOP.get()
}

/// Returns whether blocking this thread would block an aloop. It would not within
/// `tokio::task::block_in_place`, which has handed the loop over to another thread. Call this only
/// before blocking, because it may use up the remaining tokio budget of the current task.
pub(crate) fn would_block_aloop() -> bool {
    #[cfg(feature = "async")]
    return on_aloop_thread() && !super::tokio_thread::may_block();
    #[cfg(not(feature = "async"))]
    on_aloop_thread()
}

/// Returns whether a wait may spin first: not on an aloop, which must not wait at all, nor with a
/// slot, which the awaited task may need.
pub(crate) fn may_spin() -> bool {
    let has_slot = SLOT.try_with(|slot| slot.borrow().is_some()).unwrap_or(true);
    !has_slot && !on_aloop_thread()
}

const BLOCKED_ALOOP: &str = "a blocking wait on the thread of an aloop would block all of its tasks: use \
    `.await` instead (tasks are futures; contexts and channels have `stop_requested`, `recv_async` \
    and `send_async`), or `tokio::task::block_in_place` on an aloop with several threads";

const BLOCKED_OBSERVER: &str = "a blocking wait in an observer would delay the task that it observes, or wait     for itself: wait on another thread";

/// Polls until ready, blocking the thread in between. Returns `None` if the deadline passes first.
/// In a forked process nothing blocks, and whatever is not ready immediately yields `None`.
///
/// # Panics
///
/// Panics on the thread of an aloop, and in an observer, if it would have to block. The panic names the user's line,
/// because every function in between is `track_caller`.
#[track_caller]
pub(crate) fn block_on<T>(
    deadline: Option<Instant>,
    mut poll: impl FnMut(&mut Context<'_>) -> Poll<T>,
) -> Option<T> {
    block_on_or_run_inline(deadline, &mut poll, || false)
}

/// Like [`block_on`]. `run_inline` is called if no replacement thread can be started: it may do the
/// awaited work itself, and returns whether it did.
#[track_caller]
pub(crate) fn block_on_or_run_inline<T>(
    deadline: Option<Instant>,
    mut poll: impl FnMut(&mut Context<'_>) -> Poll<T>,
    mut run_inline: impl FnMut() -> bool,
) -> Option<T> {
    if let Poll::Ready(value) = poll(&mut Context::from_waker(Waker::noop())) {
        return Some(value);
    }
    if fork::is_copy() {
        // The thread that could wake this one is not in this process.
        return None;
    }
    assert!(!would_block_aloop(), "{BLOCKED_ALOOP}");
    assert!(!observer::is_inside(), "{BLOCKED_OBSERVER}");
    if deadline.is_some_and(|deadline| deadline <= Instant::now()) {
        return None;
    }
    let _released = ReleasedSlot::release(&mut run_inline);
    park_until(deadline, Spin::First, poll)
}

/// Checks in advance that this thread may block, for a call that must not panic once it has begun
/// and ends with [`block_unchecked`]. `what` is the name of the call.
///
/// # Panics
///
/// Panics on the thread of an aloop, and in an observer.
#[track_caller]
pub(crate) fn assert_may_block(what: &str) {
    assert!(
        !would_block_aloop(),
        "`{what}` waits for its tasks, which on the thread of an aloop would block all tasks of \
         that loop: call it on another thread, for example in a task that runs on a pool thread, \
         or within `tokio::task::block_in_place` on an aloop with several threads"
    );
    assert!(!observer::is_inside(), "{BLOCKED_OBSERVER}");
}

/// Like [`block_on_or_run_inline`], without a deadline and without checks. Returns `None` only in a
/// forked process.
pub(crate) fn block_unchecked<T>(
    mut poll: impl FnMut(&mut Context<'_>) -> Poll<T>,
    mut run_inline: impl FnMut() -> bool,
) -> Option<T> {
    if let Poll::Ready(value) = poll(&mut Context::from_waker(Waker::noop())) {
        return Some(value);
    }
    if fork::is_copy() {
        return None;
    }
    let _released = ReleasedSlot::release(&mut run_inline);
    park_until(None, Spin::First, poll)
}

/// Polls until ready, for waits that take no longer than a few calls. Keeps the slot, and is
/// allowed on the thread of an aloop.
pub(crate) fn block_briefly<T>(mut poll: impl FnMut(&mut Context<'_>) -> Poll<T>) -> T {
    loop {
        if let Some(value) = park_until(None, Spin::First, &mut poll) {
            return value;
        }
    }
}

/// Polls until ready, between the polls of a future that is run by its launch. Releases the slot as
/// [`block_on`] does, and is allowed on any thread.
#[cfg(feature = "async")]
pub(crate) fn wait_for_wake(poll: impl FnMut(&mut Context<'_>) -> Poll<()>) {
    let _released = ReleasedSlot::release(&mut || false);
    park_until(None, Spin::First, poll);
}

/// Like [`block_on`], but keeps the slot: a sleep rather than a wait for other tasks.
///
/// # Panics
///
/// Panics on the thread of an aloop.
pub(crate) fn sleep_on<T>(
    deadline: Instant,
    poll: impl FnMut(&mut Context<'_>) -> Poll<T>,
) -> Option<T> {
    assert!(!would_block_aloop(), "{BLOCKED_ALOOP}");
    park_until(Some(deadline), Spin::Never, poll)
}

/// Parks this thread between polls.
fn park_until<T>(
    deadline: Option<Instant>,
    spin: Spin,
    mut poll: impl FnMut(&mut Context<'_>) -> Poll<T>,
) -> Option<T> {
    // Taken out while in use: a nested call (a waker that blocks) creates its own.
    let parker = PARKER
        .try_with(|cell| cell.borrow_mut().take())
        .ok()
        .flatten()
        .unwrap_or_else(ThreadParker::new);
    let mut context = Context::from_waker(&parker.waker);
    let outcome = loop {
        if let Poll::Ready(value) = poll(&mut context) {
            break Some(value);
        }
        if deadline.is_some_and(|deadline| deadline <= Instant::now()) {
            break None;
        }
        parker.park(deadline, spin);
    };
    let _ = PARKER.try_with(|cell| *cell.borrow_mut() = Some(parker));
    outcome
}

/// Runs `f`, which waits by its own means. The slot is released meanwhile.
///
/// # Panics
///
/// Panics on the thread of an aloop.
#[cfg(any(feature = "redis", feature = "remote"))]
#[track_caller]
pub(crate) fn blocking<T>(f: impl FnOnce() -> T) -> T {
    assert!(!would_block_aloop(), "{BLOCKED_ALOOP}");
    let _released = ReleasedSlot::release(&mut || false);
    f()
}

/// The slot of this thread, released until this guard is dropped. Meanwhile the thread has no slot,
/// so a nested wait (of a waker that blocks) does not release one.
struct ReleasedSlot(Option<Arc<dyn BlockingSlot>>);

impl ReleasedSlot {
    fn release(run_inline: &mut dyn FnMut() -> bool) -> ReleasedSlot {
        let slot = SLOT.try_with(|cell| cell.borrow().clone()).ok().flatten();
        if let Some(slot) = &slot
            && slot.release() == Replacement::Unavailable
        {
            // Nothing can use the released slot, because no thread could be started. Do the awaited
            // work under the slot, if possible.
            slot.reacquire();
            run_inline();
            slot.release();
        }
        if slot.is_some() {
            let _ = SLOT.try_with(|cell| cell.take());
        }
        ReleasedSlot(slot)
    }
}

impl Drop for ReleasedSlot {
    fn drop(&mut self) {
        if let Some(slot) = self.0.take() {
            slot.reacquire();
            let _ = SLOT.try_with(|cell| cell.replace(Some(slot)));
        }
    }
}

#[cfg(all(test, not(atasker_loom)))]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicI32, Ordering};

    #[derive(Default)]
    struct TestSlot {
        released: AtomicI32,
        most: AtomicI32,
    }

    impl BlockingSlot for TestSlot {
        fn release(&self) -> Replacement {
            let now = self.released.fetch_add(1, Ordering::Relaxed) + 1;
            self.most.fetch_max(now, Ordering::Relaxed);
            Replacement::Available
        }

        fn reacquire(&self) {
            self.released.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Blocks until the second poll of a waiter that blocks itself.
    fn wait(mut at_second_poll: impl FnMut()) {
        let mut polls = 0;
        block_on(None, |context| {
            polls += 1;
            match polls {
                1 => Poll::Pending,
                2 => {
                    at_second_poll();
                    context.waker().wake_by_ref();
                    Poll::Pending
                }
                _ => Poll::Ready(()),
            }
        });
    }

    #[test]
    fn a_wait_within_a_wait_gives_the_slot_up_once() {
        let slot = Arc::new(TestSlot::default());
        install(Some(slot.clone()));
        // Like a waker that blocks.
        wait(|| wait(|| ()));
        assert_eq!(slot.most.load(Ordering::Relaxed), 1);
        assert_eq!(slot.released.load(Ordering::Relaxed), 0);
        // And the thread has its seat again.
        wait(|| assert_eq!(slot.released.load(Ordering::Relaxed), 1));
        install(None);
    }
}
