//! Blocking a thread until something that is polled is ready.
//!
//! Every blocking call of the library comes through [`block_on`]: it refuses on the thread of an
//! aloop, and it gives the slot of a pool thread up while that is blocked.

use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Instant;

use crossbeam_utils::sync::{Parker, Unparker};

use crate::spin;

/// What a pool thread does around a wait.
pub(crate) trait Seat {
    /// Gives the slot up. False: no other thread could be started in its place.
    fn leave(&self) -> bool;
    /// Takes a slot again, whether or not one is free.
    fn come_back(&self);
}

thread_local! {
    static SEAT: RefCell<Option<Arc<dyn Seat>>> = const { RefCell::new(None) };
    static ON_ALOOP: Cell<bool> = const { Cell::new(false) };
    static PARKER: RefCell<Option<ThreadParker>> = const { RefCell::new(None) };
}

/// How a thread waits for its waker: it looks for a moment, then it sleeps.
struct ThreadParker {
    token: Arc<Token>,
    waker: Waker,
    /// Not `std::thread::park`: that would swallow a call to the user's own.
    parker: Parker,
}

/// What the waker and its thread share.
struct Token {
    word: AtomicU32,
    sleeper: Unparker,
}

const EMPTY: u32 = 0;
const WOKEN: u32 = 1;
/// The thread sleeps, or is about to.
const ASLEEP: u32 = 2;

impl Wake for Token {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }
    fn wake_by_ref(self: &Arc<Self>) {
        if self.word.swap(WOKEN, Ordering::AcqRel) == ASLEEP {
            self.sleeper.unpark();
        }
    }
}

impl ThreadParker {
    fn new() -> Self {
        let parker = Parker::new();
        let sleeper = parker.unparker().clone();
        let token = Arc::new(Token { word: AtomicU32::new(EMPTY), sleeper });
        ThreadParker { waker: Waker::from(Arc::clone(&token)), token, parker }
    }

    /// Returns when the waker was used since the last return, or at the deadline.
    fn park(&self, deadline: Option<Instant>, looks: bool) {
        let word = &self.token.word;
        if looks {
            spin::until(|| word.load(Ordering::Relaxed) == WOKEN);
        }
        if word.compare_exchange(EMPTY, ASLEEP, Ordering::AcqRel, Ordering::Acquire).is_ok() {
            while word.load(Ordering::Acquire) == ASLEEP {
                match deadline {
                    None => self.parker.park(),
                    Some(deadline) if deadline <= Instant::now() => break,
                    Some(deadline) => self.parker.park_deadline(deadline),
                }
            }
        }
        word.swap(EMPTY, Ordering::AcqRel);
    }
}

/// Gives this thread a seat while it runs a task with a slot.
pub(crate) fn take_seat(seat: Option<Arc<dyn Seat>>) -> Option<Arc<dyn Seat>> {
    SEAT.with(|cell| cell.replace(seat))
}

/// This thread drives an aloop: it must not block.
#[cfg(feature = "async")]
pub(crate) fn mark_aloop_thread() {
    ON_ALOOP.with(|mark| mark.set(true));
}

/// This thread drives an aloop until the guard is dropped.
#[cfg(feature = "async")]
pub(crate) fn drive_aloop() -> impl Drop {
    struct Drives(bool);
    impl Drop for Drives {
        fn drop(&mut self) {
            ON_ALOOP.with(|mark| mark.set(self.0));
        }
    }
    Drives(ON_ALOOP.with(|mark| mark.replace(true)))
}

/// Whether this thread drives an aloop.
pub(crate) fn on_aloop_thread() -> bool {
    ON_ALOOP.try_with(Cell::get).unwrap_or(false)
}

/// Whether a wait may begin with a look: not on an aloop, which must not wait at all, nor with a
/// slot, for whatever the wait is for may need that.
pub(crate) fn looks_first() -> bool {
    let seated = SEAT.try_with(|seat| seat.borrow().is_some()).unwrap_or(true);
    !seated && !on_aloop_thread()
}

const ON_ALOOP_MESSAGE: &str = "a blocking wait on an aloop's own thread would stop all of its \
    tasks: use `.await` instead (tasks are futures; contexts and channels have `stop_requested`, \
    `recv_async` and `send_async`)";

/// Polls until ready, or until the deadline: `None`. Blocks the thread in between.
///
/// # Panics
/// On the thread of an aloop, if it would have to block. The panic names the user's line: whatever
/// lies between has `track_caller`, too.
#[track_caller]
pub(crate) fn block_on<T>(
    deadline: Option<Instant>,
    mut poll: impl FnMut(&mut Context<'_>) -> Poll<T>,
) -> Option<T> {
    block_on_or_help(deadline, &mut poll, || false)
}

/// The same; `help` is called when no thread can be started in this one's place: it may do the
/// awaited work itself, and says whether it did.
#[track_caller]
pub(crate) fn block_on_or_help<T>(
    deadline: Option<Instant>,
    mut poll: impl FnMut(&mut Context<'_>) -> Poll<T>,
    mut help: impl FnMut() -> bool,
) -> Option<T> {
    if let Poll::Ready(value) = poll(&mut Context::from_waker(Waker::noop())) {
        return Some(value);
    }
    assert!(!on_aloop_thread(), "{ON_ALOOP_MESSAGE}");
    if deadline.is_some_and(|deadline| deadline <= Instant::now()) {
        return None;
    }
    let _left = Left::leave(&mut help);
    park_until(deadline, true, poll)
}

/// The same without giving the slot up: a sleep, not a wait for others.
///
/// # Panics
/// On the thread of an aloop.
pub(crate) fn sleep_on<T>(
    deadline: Instant,
    poll: impl FnMut(&mut Context<'_>) -> Poll<T>,
) -> Option<T> {
    assert!(!on_aloop_thread(), "{ON_ALOOP_MESSAGE}");
    park_until(Some(deadline), false, poll)
}

/// Parks this thread between polls. `looks`: it looks for a moment before it sleeps.
fn park_until<T>(
    deadline: Option<Instant>,
    looks: bool,
    mut poll: impl FnMut(&mut Context<'_>) -> Poll<T>,
) -> Option<T> {
    // Taken out while it is in use: a nested call (a waker that blocks) makes its own.
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
        parker.park(deadline, looks);
    };
    let _ = PARKER.try_with(|cell| *cell.borrow_mut() = Some(parker));
    outcome
}

/// Runs `f`, which waits for others by means of its own. The slot is given up meanwhile.
///
/// # Panics
/// On the thread of an aloop.
#[cfg(feature = "redis")]
#[track_caller]
pub(crate) fn away<T>(f: impl FnOnce() -> T) -> T {
    assert!(!on_aloop_thread(), "{ON_ALOOP_MESSAGE}");
    let _left = Left::leave(&mut || false);
    f()
}

/// The slot of this thread, given up until this is dropped. Meanwhile the thread has no seat: a wait
/// within the wait (of a waker that blocks) has no slot to give up.
struct Left(Option<Arc<dyn Seat>>);

impl Left {
    fn leave(help: &mut dyn FnMut() -> bool) -> Left {
        let seat = SEAT.try_with(|cell| cell.borrow().clone()).ok().flatten();
        if let Some(seat) = &seat
            && !seat.leave()
        {
            // The slot was given up in vain: nobody can take it. Do the awaited work, if that is
            // possible, under the slot.
            seat.come_back();
            help();
            seat.leave();
        }
        if seat.is_some() {
            let _ = SEAT.try_with(|cell| cell.take());
        }
        Left(seat)
    }
}

impl Drop for Left {
    fn drop(&mut self) {
        if let Some(seat) = self.0.take() {
            seat.come_back();
            let _ = SEAT.try_with(|cell| cell.replace(Some(seat)));
        }
    }
}

#[cfg(all(test, not(atasker_loom)))]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicI32, Ordering};

    #[derive(Default)]
    struct Slot {
        given_up: AtomicI32,
        most: AtomicI32,
    }

    impl Seat for Slot {
        fn leave(&self) -> bool {
            let now = self.given_up.fetch_add(1, Ordering::Relaxed) + 1;
            self.most.fetch_max(now, Ordering::Relaxed);
            true
        }
        fn come_back(&self) {
            self.given_up.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Is ready at the second look of a waiter that blocks.
    fn wait(mut at_second_look: impl FnMut()) {
        let mut looks = 0;
        block_on(None, |context| {
            looks += 1;
            match looks {
                1 => Poll::Pending,
                2 => {
                    at_second_look();
                    context.waker().wake_by_ref();
                    Poll::Pending
                }
                _ => Poll::Ready(()),
            }
        });
    }

    #[test]
    fn a_wait_within_a_wait_gives_the_slot_up_once() {
        let slot = Arc::new(Slot::default());
        take_seat(Some(slot.clone()));
        // As a waker does that blocks.
        wait(|| wait(|| ()));
        assert_eq!(slot.most.load(Ordering::Relaxed), 1);
        assert_eq!(slot.given_up.load(Ordering::Relaxed), 0);
        // And the thread has its seat again.
        wait(|| assert_eq!(slot.given_up.load(Ordering::Relaxed), 1));
        take_seat(None);
    }
}
