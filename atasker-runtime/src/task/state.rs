//! The word that says how far a task has come. Every transition is a method here; nobody else
//! looks at bits.
//!
//! ```text
//!          launch                 queue              begin             claim        publish
//!   New ----------> Delayed -----------> Queued -----------> Started -------> Ending -------> Ended
//!      \____________________________________/ ^                |  ^
//!                    launch                   |    queue       |  | (any phase before Ended
//!                                             +---- Retrying <-+  |  can be claimed)
//! ```
//!
//! Whoever turns the phase to *Ending* holds the [`Claim`]: the right, and the duty, to store the
//! outcome and to publish it. There is one per task, ever.

use crate::info::{Outcome, TaskStatus};
use crate::sync::{AtomicU32, Ordering};

/// How far a task has come, in the finer steps that the library needs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub(crate) enum Phase {
    /// Built, not launched.
    New = 0,
    /// Waits for its delay.
    Delayed = 1,
    /// Waits for a slot, or was sent to a worker process and has not begun there.
    Queued = 2,
    /// Its function runs.
    Started = 3,
    /// Waits for its next attempt.
    Retrying = 4,
    /// Somebody holds the claim: the outcome is being stored, or callbacks run.
    Ending = 5,
    /// The outcome can be read.
    Ended = 6,
}

const PHASE: u32 = 0b111;
/// The user asked the task to stop.
const STOP: u32 = 1 << 3;
/// The time limit of the present run is over.
const LIMIT: u32 = 1 << 4;
/// Somebody waits for a change.
const WAITERS: u32 = 1 << 5;
/// The outcome: an [`Outcome`] plus one.
const OUTCOME: u32 = 0b11 << 6;
const OUTCOME_SHIFT: u32 = 6;
/// The task ended by `cancel`, `stop` before its begin, or `kill`.
const CANCELED: u32 = 1 << 8;
/// A typed `Task` exists.
const HELD: u32 = 1 << 9;
/// `kill` was called.
const KILL: u32 = 1 << 10;
/// An untyped handle was made.
const REFERRED: u32 = 1 << 11;

/// The right to end a task.
#[derive(Debug)]
#[must_use = "a claimed task must be ended, or its waiters wait for ever"]
pub(crate) struct Claim {
    /// The body is the owner's, too: nobody runs it, or he is the one who does.
    body: bool,
}

impl Claim {
    /// The one who ran the task has claimed it.
    #[inline]
    pub(crate) fn of_the_runner(self) -> Claim {
        Claim { body: true }
    }

    /// Whether the owner of the claim may touch the task's body.
    #[inline]
    pub(crate) fn has_body(&self) -> bool {
        self.body
    }
}

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct State(AtomicU32);

/// A reading of the state.
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
    /// Begun, and neither ended nor about to be.
    #[inline]
    pub(crate) fn is_running(self) -> bool {
        self.phase() == Phase::Started
    }
    #[inline]
    pub(crate) fn is_ended(self) -> bool {
        self.phase() == Phase::Ended
    }
    /// Asked to stop, by the user or by the end of its time.
    #[inline]
    pub(crate) fn stopped(self) -> bool {
        self.0 & (STOP | LIMIT) != 0
    }
    #[inline]
    pub(crate) fn limit_over(self) -> bool {
        self.0 & LIMIT != 0
    }
    #[inline]
    pub(crate) fn kill_asked(self) -> bool {
        self.0 & KILL != 0
    }
    #[inline]
    pub(crate) fn is_held(self) -> bool {
        self.0 & HELD != 0
    }
    #[inline]
    pub(crate) fn is_referred(self) -> bool {
        self.0 & REFERRED != 0
    }
    #[inline]
    pub(crate) fn is_waited_for(self) -> bool {
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
            // While callbacks run, the outcome is not visible yet.
            Phase::Started | Phase::Ending => TaskStatus::Started,
            Phase::Ended if self.0 & CANCELED != 0 => TaskStatus::Canceled,
            Phase::Ended => TaskStatus::Completed,
        }
    }
}

/// How a task ended, as the state keeps it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ending {
    pub outcome: Outcome,
    pub canceled: bool,
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

    /// Moves from one phase to another, keeping all else. False if the phase was another.
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

    /// Out of the builder's hands: `New` to `Delayed` or `Queued`.
    #[must_use]
    #[inline]
    pub(crate) fn launch(&self, delayed: bool) -> bool {
        self.step(Phase::New, if delayed { Phase::Delayed } else { Phase::Queued })
    }

    /// The same for a task that its launcher still has alone, together with its typed handle.
    #[inline]
    pub(crate) fn set_launched(&mut self, delayed: bool) {
        debug_assert_eq!(self.0.load(Ordering::Relaxed), Phase::New as u32);
        let phase = if delayed { Phase::Delayed } else { Phase::Queued };
        *self = State(AtomicU32::new(phase as u32 | HELD));
    }

    /// A copy of a task that has begun elsewhere.
    #[cfg(feature = "mp")]
    pub(crate) fn set_started(&mut self) {
        *self = State(AtomicU32::new(Phase::Started as u32));
    }

    /// The delay is over: into the queue. False if the task was ended meanwhile.
    #[must_use]
    #[inline]
    pub(crate) fn queue(&self) -> bool {
        self.step(Phase::Delayed, Phase::Queued) || self.step(Phase::Retrying, Phase::Queued)
    }

    /// Its function is about to run. False if the task was ended meanwhile.
    #[must_use]
    #[inline]
    pub(crate) fn begin(&self) -> bool {
        self.step(Phase::Queued, Phase::Started)
    }

    /// The run is over and another shall follow. False if the task was ended or asked to stop
    /// meanwhile. The mark of the run's time limit is wiped.
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

    /// Claims the task in this phase, and in no other.
    #[inline]
    pub(crate) fn claim(&self, from: Phase) -> Option<Claim> {
        debug_assert!(!matches!(from, Phase::Ending | Phase::Ended));
        self.step(from, Phase::Ending).then_some(Claim { body: from != Phase::Started })
    }

    /// The outcome is stored: everybody may read it. The reading is from before.
    #[must_use = "the waiters must be woken"]
    #[inline]
    pub(crate) fn publish(&self, claim: Claim, ending: Ending) -> Snapshot {
        let Claim { .. } = claim;
        let outcome = match ending.outcome {
            Outcome::Ok => 1,
            Outcome::ReturnedErr => 2,
            Outcome::Failed => 3,
        };
        let canceled = if ending.canceled { CANCELED } else { 0 };
        let add = (Phase::Ended as u32 - Phase::Ending as u32) + (outcome << OUTCOME_SHIFT);
        // The phase is Ending and only the claim's owner changes it; outcome and CANCELED are 0.
        // So an addition does in one step what a loop of compare-and-swap would.
        let before = self.0.fetch_add(add + canceled, Ordering::AcqRel);
        debug_assert_eq!(before & (PHASE | OUTCOME | CANCELED), Phase::Ending as u32);
        Snapshot(before)
    }

    /// Asks the task to stop. True if somebody waits.
    #[inline]
    pub(crate) fn ask_stop(&self) -> bool {
        self.0.fetch_or(STOP, Ordering::AcqRel) & WAITERS != 0
    }

    /// Says that the present run's time is over. True if somebody waits; `None` if nothing runs:
    /// a limit that comes late must not mark the attempt that follows.
    #[inline]
    pub(crate) fn ask_limit(&self) -> Option<bool> {
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

    /// Notes that the task shall be killed.
    #[inline]
    pub(crate) fn ask_kill(&self) {
        self.0.fetch_or(KILL | STOP, Ordering::AcqRel);
    }

    /// Notes that somebody waits; the reading is from before.
    #[inline]
    pub(crate) fn note_waiter(&self) -> Snapshot {
        Snapshot(self.0.fetch_or(WAITERS, Ordering::AcqRel))
    }

    /// A typed handle comes into being. False if there is one already.
    #[must_use]
    #[inline]
    pub(crate) fn hold(&self) -> bool {
        self.0.fetch_or(HELD, Ordering::AcqRel) & HELD == 0
    }

    /// The typed handle is gone. The reading is from before.
    #[inline]
    pub(crate) fn let_go(&self) -> Snapshot {
        Snapshot(self.0.fetch_and(!HELD, Ordering::AcqRel))
    }

    /// An untyped handle comes into being: the result stays as long as the task does.
    pub(crate) fn refer(&self) {
        self.0.fetch_or(REFERRED, Ordering::AcqRel);
    }
}

#[cfg(all(test, not(atasker_loom)))]
mod tests {
    use super::*;

    #[test]
    fn one_claim_only() {
        let state = State::new();
        assert!(state.launch(false));
        assert!(!state.launch(false));
        assert!(state.begin());
        assert!(state.claim(Phase::Queued).is_none());
        let claim = state.claim(Phase::Started).unwrap();
        assert!(state.claim(Phase::Started).is_none());
        assert!(!state.retry());
        assert_eq!(state.read().status(), TaskStatus::Started);
        let ending = Ending { outcome: Outcome::Failed, canceled: true };
        assert!(!state.publish(claim, ending).is_waited_for());
        assert_eq!(state.read().status(), TaskStatus::Canceled);
        assert_eq!(state.read().outcome(), Some(Outcome::Failed));
    }

    #[test]
    fn a_stop_forbids_another_attempt() {
        let state = State::new();
        assert!(state.launch(true) && state.queue() && state.begin());
        assert_eq!(state.ask_limit(), Some(false));
        assert!(state.retry());
        assert!(!state.read().stopped());
        assert_eq!(state.ask_limit(), None, "that run is over");
        assert!(state.queue() && state.begin());
        assert!(!state.read().stopped());
        state.ask_stop();
        assert!(!state.retry());
    }
}
