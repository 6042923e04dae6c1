//! The state word of a task. Every transition is a method of this module; no other code accesses
//! the bits.
//!
//! ```text
//!          launch                 queue              begin             claim        publish
//!   New ----------> Delayed -----------> Queued -----------> Started -------> Ending -------> Ended
//!      \____________________________________/ ^                |  ^
//!                    launch                   |    queue       |  | (any phase before Ended
//!                                             +---- Retrying <-+  |  can be claimed)
//! ```
//!
//! The thread that changes the phase to *Ending* owns the [`Claim`]: the right and the obligation
//! to store the outcome and to publish it. There is at most one claim per task.
//!
//! Transitions are AcqRel and reads are Acquire: a thread that acts on a phase sees everything done
//! before that phase was entered (the body handed over, the outcome stored), and hands over what it
//! has done itself.
//!
//! The word also counts the threads that are cloning the result. `Clone` is user code and must not
//! run under a lock, so the result is borrowed by this count instead, and moving the result out
//! waits until the count is zero.

use crate::info::{Outcome, TaskStatus};
use crate::sync::{AtomicU32, Ordering};

/// The phase of a task. Finer than [`TaskStatus`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub(crate) enum Phase {
    /// Built but not launched.
    New = 0,
    /// Waiting for its delay.
    Delayed = 1,
    /// Waiting for a slot, or sent to a worker process where it has not begun.
    Queued = 2,
    /// Running.
    Started = 3,
    /// Waiting for its next attempt.
    Retrying = 4,
    /// Claimed: the outcome is being stored, or callbacks are running.
    Ending = 5,
    /// The outcome is readable.
    Ended = 6,
}

const PHASE: u32 = 0b111;
/// The task was asked to stop.
const STOP: u32 = 1 << 3;
/// The current run has exceeded its time limit.
const LIMIT: u32 = 1 << 4;
/// A waker may be registered.
const WAITERS: u32 = 1 << 5;
/// The outcome: an [`Outcome`] plus one; 0 for none.
const OUTCOME: u32 = 0b11 << 6;
const OUTCOME_SHIFT: u32 = 6;
/// The task was canceled or killed.
const CANCELED: u32 = 1 << 8;
/// A typed `Task` exists.
const JOIN_INTEREST: u32 = 1 << 9;
/// `kill` was called.
const KILL: u32 = 1 << 10;
/// An untyped handle was created.
const REFERENCED: u32 = 1 << 11;
/// The result was moved out, or the thread that set this flag is about to move it.
const TAKEN: u32 = 1 << 12;
/// The number of threads that are cloning the result, in units of [`READER`].
const READERS: u32 = !0 << 16;
const READER: u32 = 1 << 16;

/// The right to end a task.
#[derive(Debug)]
#[must_use = "a claimed task must be ended, or its waiters wait for ever"]
pub(crate) struct Claim {
    /// Whether the owner may access the body: either nothing is running it, or the owner itself is.
    body: bool,
    /// Whether an attempt was running.
    running: bool,
}

impl Claim {
    /// Marks the claim as that of the thread that ran the task.
    #[inline]
    pub(crate) fn with_body(self) -> Claim {
        Claim { body: true, ..self }
    }

    /// Returns whether the claim has ended an attempt.
    #[inline]
    pub(crate) fn was_running(&self) -> bool {
        self.running
    }

    /// Returns whether the owner of the claim may access the task's body.
    #[inline]
    pub(crate) fn has_body(&self) -> bool {
        self.body
    }
}

/// The answer to a request to move the result out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Take {
    /// Granted to the caller, and never again.
    Granted,
    /// Not yet, because the result is being cloned.
    Borrowed,
    /// The result was moved out before.
    Gone,
}

/// What becomes of the typed handle that moves the result out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Handle {
    /// It keeps the join interest.
    Kept,
    /// It releases the join interest.
    Consumed,
}

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct State(AtomicU32);

/// A snapshot of the state.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Snapshot(u32);

impl Snapshot {
    #[inline]
    pub(crate) fn phase(self) -> Phase {
        match self.0 & PHASE {
            0 => Phase::New,
            1 => Phase::Delayed,
            2 => Phase::Queued,
            3 => Phase::Started,
            4 => Phase::Retrying,
            5 => Phase::Ending,
            _ => Phase::Ended,
        }
    }

    /// Returns whether the task has begun and was not claimed.
    #[inline]
    pub(crate) fn is_running(self) -> bool {
        self.phase() == Phase::Started
    }

    #[inline]
    pub(crate) fn is_ended(self) -> bool {
        self.phase() == Phase::Ended
    }

    /// Returns whether the task was asked to stop or has exceeded its time limit.
    #[inline]
    pub(crate) fn stopped(self) -> bool {
        self.0 & (STOP | LIMIT) != 0
    }

    #[inline]
    pub(crate) fn limit_exceeded(self) -> bool {
        self.0 & LIMIT != 0
    }

    #[inline]
    pub(crate) fn kill_requested(self) -> bool {
        self.0 & KILL != 0
    }

    #[inline]
    pub(crate) fn has_join_interest(self) -> bool {
        self.0 & JOIN_INTEREST != 0
    }

    #[inline]
    pub(crate) fn is_referenced(self) -> bool {
        self.0 & REFERENCED != 0
    }

    /// Returns whether the result was moved out, or is about to be.
    #[inline]
    pub(crate) fn is_taken(self) -> bool {
        self.0 & TAKEN != 0
    }

    /// Returns whether the result is being cloned.
    #[inline]
    pub(crate) fn is_borrowed(self) -> bool {
        self.0 & READERS != 0
    }

    #[inline]
    pub(crate) fn has_waiters(self) -> bool {
        self.0 & WAITERS != 0
    }

    #[inline]
    pub(crate) fn outcome(self) -> Option<Outcome> {
        match (self.0 & OUTCOME) >> OUTCOME_SHIFT {
            1 => Some(Outcome::Ok),
            2 => Some(Outcome::ReturnedErr),
            3 => Some(Outcome::Failed),
            _ => None,
        }
    }

    #[inline]
    pub(crate) fn status(self) -> TaskStatus {
        match self.phase() {
            Phase::New | Phase::Queued => TaskStatus::Queued,
            Phase::Delayed | Phase::Retrying => TaskStatus::Delayed,
            // The outcome is not visible while callbacks run.
            Phase::Started | Phase::Ending => TaskStatus::Started,
            Phase::Ended if self.0 & CANCELED != 0 => TaskStatus::Canceled,
            Phase::Ended => TaskStatus::Completed,
        }
    }
}

/// How a task ended. Finer than [`Outcome`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    Ok,
    ReturnedErr,
    Failed,
    TimedOut,
    Canceled,
}

impl Ending {
    #[inline]
    pub(crate) fn outcome(self) -> Outcome {
        match self {
            Ending::Ok => Outcome::Ok,
            Ending::ReturnedErr => Outcome::ReturnedErr,
            Ending::Failed | Ending::TimedOut | Ending::Canceled => Outcome::Failed,
        }
    }
}

impl State {
    #[inline]
    pub(crate) fn new() -> Self {
        State(AtomicU32::new(Phase::New as u32))
    }

    #[inline]
    pub(crate) fn read(&self) -> Snapshot {
        Snapshot(self.0.load(Ordering::Acquire))
    }

    /// Changes the phase, leaving the other bits as they are. Returns false if the phase was not
    /// `from`.
    #[inline]
    fn step(&self, from: Phase, to: Phase) -> bool {
        let mut now = self.0.load(Ordering::Acquire);
        while now & PHASE == from as u32 {
            let next = now & !PHASE | to as u32;
            match self.0.compare_exchange_weak(now, next, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return true,
                Err(seen) => now = seen,
            }
        }
        false
    }

    /// Changes the phase from `New` to `to`, which is `Delayed` or `Queued`.
    #[must_use]
    #[inline]
    pub(crate) fn launch(&self, to: Phase) -> bool {
        debug_assert!(matches!(to, Phase::Delayed | Phase::Queued));
        self.step(Phase::New, to)
    }

    /// Like [`launch`](Self::launch), for a task to which the launcher has exclusive access. Sets
    /// the join interest as well.
    #[inline]
    pub(crate) fn set_launched(&mut self, to: Phase) {
        debug_assert_eq!(self.0.load(Ordering::Relaxed), Phase::New as u32);
        debug_assert!(matches!(to, Phase::Delayed | Phase::Queued));
        *self = State(AtomicU32::new(to as u32 | JOIN_INTEREST));
    }

    /// Initializes the state of the copy of a task that has begun in another process.
    #[cfg(feature = "mp")]
    pub(crate) fn set_started(&mut self) {
        *self = State(AtomicU32::new(Phase::Started as u32));
    }

    /// Changes the phase to `Queued` after a delay. Returns false if the task was ended meanwhile.
    #[must_use]
    #[inline]
    pub(crate) fn queue(&self) -> bool {
        self.step(Phase::Delayed, Phase::Queued) || self.step(Phase::Retrying, Phase::Queued)
    }

    /// Changes the phase to `Started` before the function runs. Returns false if the task was ended
    /// meanwhile.
    #[must_use]
    #[inline]
    pub(crate) fn begin(&self) -> bool {
        self.step(Phase::Queued, Phase::Started)
    }

    /// Changes the phase from `Started` back to `Queued`: the run on another machine is over, and
    /// another one follows there. Returns false if the task was ended meanwhile.
    #[cfg(feature = "remote")]
    pub(crate) fn wait_again(&self) -> bool {
        self.step(Phase::Started, Phase::Queued)
    }

    /// Changes the phase to `Retrying` after a run, and clears the flag of its time limit. Returns
    /// false if the task was ended or asked to stop meanwhile.
    #[must_use]
    #[inline]
    pub(crate) fn retry(&self) -> bool {
        let mut now = self.0.load(Ordering::Acquire);
        while now & PHASE == Phase::Started as u32 && now & (STOP | KILL) == 0 {
            let next = now & !(PHASE | LIMIT) | Phase::Retrying as u32;
            match self.0.compare_exchange_weak(now, next, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return true,
                Err(seen) => now = seen,
            }
        }
        false
    }

    /// Claims the task if it is in this phase.
    #[inline]
    pub(crate) fn claim(&self, from: Phase) -> Option<Claim> {
        debug_assert!(!matches!(from, Phase::Ending | Phase::Ended));
        let running = from == Phase::Started;
        self.step(from, Phase::Ending).then_some(Claim { body: !running, running })
    }

    /// Publishes the outcome, which is stored by now. Returns the previous state.
    #[must_use = "the waiters must be woken"]
    #[inline]
    pub(crate) fn publish(&self, claim: Claim, ending: Ending) -> Snapshot {
        let Claim { .. } = claim;
        let outcome = match ending.outcome() {
            Outcome::Ok => 1,
            Outcome::ReturnedErr => 2,
            Outcome::Failed => 3,
        };
        let canceled = if ending == Ending::Canceled { CANCELED } else { 0 };
        let add = (Phase::Ended as u32 - Phase::Ending as u32) + (outcome << OUTCOME_SHIFT);
        // The phase is `Ending`, only the owner of the claim changes it, and the bits of OUTCOME
        // and CANCELED are 0. A single addition therefore replaces a compare-and-swap loop. Release
        // makes the outcome visible to every thread that reads the state with Acquire.
        let before = self.0.fetch_add(add + canceled, Ordering::AcqRel);
        debug_assert_eq!(before & (PHASE | OUTCOME | CANCELED), Phase::Ending as u32);
        Snapshot(before)
    }

    /// Sets the flag for a request to stop. Returns true if a waker may be registered.
    #[inline]
    pub(crate) fn request_stop(&self) -> bool {
        // All changes of the word have one order. So either this sees the flag of a waiter, or the
        // waiter, in `set_waiter`, sees this flag.
        self.0.fetch_or(STOP, Ordering::AcqRel) & WAITERS != 0
    }

    /// Sets the flag for an exceeded time limit. Returns whether a waker may be registered, or
    /// `None` if nothing is running: a limit that fires late must not affect the next attempt.
    #[inline]
    pub(crate) fn set_limit_exceeded(&self) -> Option<bool> {
        let mut now = self.0.load(Ordering::Acquire);
        while now & PHASE == Phase::Started as u32 {
            let next = now | LIMIT;
            match self.0.compare_exchange_weak(now, next, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return Some(now & WAITERS != 0),
                Err(seen) => now = seen,
            }
        }
        None
    }

    /// Sets the flags for a request to kill the task.
    #[inline]
    pub(crate) fn set_kill_requested(&self) {
        self.0.fetch_or(KILL | STOP, Ordering::AcqRel);
    }

    /// Sets the flag for registered wakers. Returns the previous state.
    #[inline]
    pub(crate) fn set_waiter(&self) -> Snapshot {
        // A read-modify-write even if the flag is set, because its position in the order of changes
        // decides which side sees the other.
        Snapshot(self.0.fetch_or(WAITERS, Ordering::AcqRel))
    }

    /// Acquires the join interest for a typed handle. Returns false if another handle has it.
    #[must_use]
    #[inline]
    pub(crate) fn set_join_interest(&self) -> bool {
        self.0.fetch_or(JOIN_INTEREST, Ordering::AcqRel) & JOIN_INTEREST == 0
    }

    /// Releases the join interest of the typed handle. Returns the previous state.
    #[inline]
    pub(crate) fn clear_join_interest(&self) -> Snapshot {
        // The previous state says whether the task has ended. If it has, the handle drops the
        // result; otherwise the thread that ends the task does.
        Snapshot(self.0.fetch_and(!JOIN_INTEREST, Ordering::AcqRel))
    }

    /// Borrows the result until [`return_result`](Self::return_result). Returns false if there is
    /// none, or no longer one.
    #[must_use]
    pub(crate) fn borrow_result(&self) -> bool {
        let mut now = self.0.load(Ordering::Acquire);
        loop {
            let snapshot = Snapshot(now);
            let has_value = matches!(snapshot.outcome(), Some(Outcome::Ok | Outcome::ReturnedErr));
            if !snapshot.is_ended() || !has_value || snapshot.is_taken() {
                return false;
            }
            let Some(next) = now.checked_add(READER) else {
                // The counter is at its maximum: wait until one of the readers is done.
                crate::sync::back_off(0);
                now = self.0.load(Ordering::Acquire);
                continue;
            };
            match self.0.compare_exchange_weak(now, next, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return true,
                Err(seen) => now = seen,
            }
        }
    }

    /// Ends the borrow of a result. Returns true if this was the last one and a waker may be
    /// registered.
    #[must_use = "the waiters must be woken"]
    pub(crate) fn return_result(&self) -> bool {
        // Release: the clone has read the result before another thread moves it out.
        let before = Snapshot(self.0.fetch_sub(READER, Ordering::AcqRel));
        before.0 & READERS == READER && before.has_waiters()
    }

    /// Requests to move out the result of an ended task. Called by the owner of the typed handle,
    /// which releases its join interest in the same step if it is used up by that.
    #[inline]
    pub(crate) fn take_result(&self, handle: Handle) -> Take {
        let cleared = match handle {
            Handle::Kept => 0,
            Handle::Consumed => JOIN_INTEREST,
        };
        let mut now = self.0.load(Ordering::Acquire);
        loop {
            if now & TAKEN != 0 {
                return Take::Gone;
            }
            if now & READERS != 0 {
                return Take::Borrowed;
            }
            let next = (now | TAKEN) & !cleared;
            match self.0.compare_exchange_weak(now, next, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return Take::Granted,
                Err(seen) => now = seen,
            }
        }
    }

    /// Requests to drop the result of an ended task that no handle can reach. Returns false if one
    /// can, or if the result is gone.
    #[must_use]
    #[inline]
    pub(crate) fn take_unreachable_result(&self) -> bool {
        let mut now = self.0.load(Ordering::Acquire);
        while now & (TAKEN | JOIN_INTEREST | REFERENCED | READERS) == 0 {
            let next = now | TAKEN;
            match self.0.compare_exchange_weak(now, next, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return true,
                Err(seen) => now = seen,
            }
        }
        false
    }

    /// Records that an untyped handle exists, which keeps the result as long as the task.
    pub(crate) fn set_referenced(&self) {
        self.0.fetch_or(REFERENCED, Ordering::AcqRel);
    }
}

#[cfg(all(test, not(atasker_loom)))]
mod tests {
    use super::*;

    #[test]
    fn one_claim_only() {
        let state = State::new();
        assert!(state.launch(Phase::Queued));
        assert!(!state.launch(Phase::Queued));
        assert!(state.begin());
        assert!(state.claim(Phase::Queued).is_none());
        let claim = state.claim(Phase::Started).unwrap();
        assert!(state.claim(Phase::Started).is_none());
        assert!(!state.retry());
        assert_eq!(state.read().status(), TaskStatus::Started);
        let ending = Ending::Canceled;
        assert!(!state.publish(claim, ending).has_waiters());
        assert_eq!(state.read().status(), TaskStatus::Canceled);
        assert_eq!(state.read().outcome(), Some(Outcome::Failed));
    }

    #[test]
    fn a_result_is_moved_out_once_and_by_no_one_while_it_is_read() {
        let mut state = State::new();
        state.set_launched(Phase::Queued);
        assert!(state.begin() && !state.borrow_result());
        let claim = state.claim(Phase::Started).unwrap();
        let _ = state.publish(claim, Ending::Ok);
        assert!(state.borrow_result() && state.borrow_result());
        assert_eq!(state.take_result(Handle::Kept), Take::Borrowed);
        assert!(!state.set_waiter().is_taken());
        assert!(!state.return_result(), "another one still reads");
        assert!(state.return_result(), "the waiters must be woken");
        assert!(!state.take_unreachable_result(), "there is a handle");
        assert_eq!(state.take_result(Handle::Kept), Take::Granted);
        assert_eq!(state.take_result(Handle::Kept), Take::Gone);
        assert!(!state.borrow_result());
        assert!(!state.clear_join_interest().is_referenced() && !state.take_unreachable_result());
    }

    #[test]
    fn a_handle_that_is_consumed_releases_its_interest_with_the_result() {
        let mut state = State::new();
        state.set_launched(Phase::Queued);
        assert!(state.begin());
        let claim = state.claim(Phase::Started).unwrap();
        assert!(state.publish(claim, Ending::Ok).has_join_interest());
        assert!(state.borrow_result());
        assert_eq!(state.take_result(Handle::Consumed), Take::Borrowed);
        assert!(!state.return_result() && state.read().has_join_interest());
        assert_eq!(state.take_result(Handle::Consumed), Take::Granted);
        assert!(state.set_join_interest(), "the next handle can have it");
    }

    #[test]
    fn a_stop_forbids_another_attempt() {
        let state = State::new();
        assert!(state.launch(Phase::Delayed) && state.queue() && state.begin());
        assert_eq!(state.set_limit_exceeded(), Some(false));
        assert!(state.retry());
        assert!(!state.read().stopped());
        assert_eq!(state.set_limit_exceeded(), None, "that run is over");
        assert!(state.queue() && state.begin());
        assert!(!state.read().stopped());
        state.request_stop();
        assert!(!state.retry());
    }
}
