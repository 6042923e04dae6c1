//! The page that a worker process shares with its parent: a ring of the calls in progress.
//!
//! Calls are numbered consecutively; call *n* is in entry *n* mod [`CAPACITY`]. The parent fills an
//! entry that it owns and sets its state to `Sent`. The side that changes the state next, by
//! compare-and-swap, owns the call:
//!
//! ```text
//!             parent           worker          worker
//!   (parent's) ----> Sent(n) ----------> Begun(n) ----> Done(n)       -> (parent's)
//!                       \--------> Revoked(n) --------> Skipped(n)    -> (parent's)
//!                         parent               worker
//! ```
//!
//! A call whose arguments go over the socket and were not written yet is set to `Withdrawn` instead
//! of `Revoked`, because the worker need not read them.
//!
//! The state includes the number of the call, so a transition for one call never affects another
//! call in the same entry. Small arguments and small replies are in the entry itself; larger ones
//! are in the regions behind the page (see `transport::region`), or they go over the data socket,
//! in the order of the calls. The page outlives the worker: after its death the page shows exactly
//! which call had begun, which had not, and which replies are complete.
//!
//! The sockets carry everything else: messages, tracing spans and events, and the end of either side.
//!
//! All fields are atomics, and what is read is never trusted: a worker that corrupts the page can
//! only harm its own calls.
//!
//! A copy of a worker made by `fork` does not have the page (`MADV_DONTFORK`). A task that forks,
//! and returns from its function in both processes, therefore replies once.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};
use std::time::Duration;

use super::entry::{
    ArgsLocation, CHANNELS_SHIFT, CallEntry, CallHeader, CallState, InlineReply, Next, Progress,
    ReplyLocation, Times, encode_state,
};
use super::journal::Journal;
use crate::sys::cpus;
use crate::sys::ipc::{self, WakeReason};
use crate::sys::mapping::Shared;
use crate::sys::monotonic;
use crate::wire::frame::ChannelSetup;

/// The most calls in progress, including tombstones of revoked ones.
pub(crate) const CAPACITY: usize = 512;
/// Bytes of arguments, or of a reply, that fit into an entry.
pub(crate) const INLINE: usize = 256;

/// The shared page. See the module documentation.
#[repr(C)]
pub(crate) struct Page {
    /// A futex that the worker's task thread sleeps on.
    doorbell: AtomicU32,
    /// 1 while the task thread sleeps, or is about to.
    asleep: AtomicU32,
    /// Why the worker ends, as recorded by itself: see `CrashHint`.
    pub(crate) crash_hint: AtomicU32,
    /// 1 if the parent is to be woken at the begin of every call.
    prompt: AtomicU32,
    /// The parent asks to be woken when this call is done; `AWAKE` if it is awake.
    wake_at: AtomicU64,
    /// The number of replies that the parent has copied out of their region.
    replies_copied: AtomicU64,
    /// The call that a thread of the parent spins for, so that the reader thread need not be woken;
    /// 0 for none.
    watched_call: AtomicU64,
    entries: [CallEntry; CAPACITY],
    /// What the call that runs has done, if it is a chunk of a map.
    pub(crate) journal: Journal,
}

// SAFETY: only atomics, by repr(C); all zero is a valid value.
unsafe impl Shared for Page {}

/// The value of `wake_at` while the parent is awake.
const AWAKE: u64 = u64::MAX;

impl Page {
    fn entry(&self, call: u64) -> &CallEntry {
        &self.entries[(call % CAPACITY as u64) as usize]
    }

    /// Returns the state of this call, or `None` if the entry is for another call, or invalid.
    pub(crate) fn state(&self, call: u64) -> Option<CallState> {
        // Acquire: what the other side wrote before its transition is visible after this load.
        let state = self.entry(call).state.load(Ordering::Acquire);
        if state >> 3 != call {
            return None;
        }
        Some(match state & 0b111 {
            1 => CallState::Sent,
            2 => CallState::Begun,
            3 => CallState::Revoked,
            4 => CallState::Done,
            5 => CallState::Skipped,
            6 => CallState::Withdrawn,
            _ => return None,
        })
    }

    fn transition(&self, call: u64, from: CallState, to: CallState) -> bool {
        let state = &self.entry(call).state;
        let (from, to) = (encode_state(call, from), encode_state(call, to));
        // Release: publishes the fields of the side that makes the transition. Acquire: the winner
        // reads the fields of the other side.
        state.compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }
}

/// The parent's side.
impl Page {
    /// Fills the entry of this call, which must be owned by the parent, and sends the call.
    /// `inline` is the name and the arguments if they fit.
    pub(crate) fn send(&self, call: u64, header: &CallHeader, inline: &[u8]) {
        let entry = self.entry(call);
        entry.function.store(header.function, Ordering::Relaxed);
        entry.attempt.store(header.attempt, Ordering::Relaxed);
        entry.origin.store(header.id.0, Ordering::Relaxed);
        entry.number.store(header.id.1, Ordering::Relaxed);
        entry.name_len.store(header.name_len as u64, Ordering::Relaxed);
        entry.args_len.store(header.args_len as u64, Ordering::Relaxed);
        entry.args_at.store(header.at.encode(), Ordering::Relaxed);
        let channels = (header.channels as u32) << CHANNELS_SHIFT;
        entry.flags.store(u32::from(header.priority) | channels, Ordering::Relaxed);
        entry.put(0, inline);
        // Last, and with release: the worker that begins the call sees all fields above.
        entry.state.store(encode_state(call, CallState::Sent), Ordering::Release);
    }

    /// Clears the time at which an earlier call in the same entry began. Called before `send`.
    pub(crate) fn forget_begin(&self, call: u64) {
        self.entry(call).line.begun.store(0, Ordering::Relaxed);
    }

    /// Revokes a call that has not begun. Returns `false` if it has begun.
    #[must_use]
    pub(crate) fn revoke(&self, call: u64) -> bool {
        self.transition(call, CallState::Sent, CallState::Revoked)
    }

    /// Revokes a call that has not begun, and whose arguments will not be sent.
    #[must_use]
    pub(crate) fn withdraw(&self, call: u64) -> bool {
        self.transition(call, CallState::Sent, CallState::Withdrawn)
    }

    /// The time at which a call began.
    pub(crate) fn begun(&self, call: u64) -> u64 {
        self.entry(call).line.begun.load(Ordering::Relaxed)
    }

    /// The times at which a call began and ended. Valid once the call is done.
    pub(crate) fn times(&self, call: u64) -> Times {
        let line = &self.entry(call).line;
        Times {
            begun: line.begun.load(Ordering::Relaxed),
            ended: line.ended.load(Ordering::Relaxed),
        }
    }

    /// The progress that a call has reported.
    pub(crate) fn progress(&self, call: u64) -> Progress {
        let line = &self.entry(call).line;
        // A sequence lock: an odd version means that the worker is writing. A worker that dies
        // while writing leaves it odd, and then no progress is returned.
        for _ in 0..64 {
            let version = line.progress_version.load(Ordering::Acquire);
            if version == 0 {
                return None;
            }
            if version.is_multiple_of(2) {
                let done = line.done.load(Ordering::Relaxed);
                let total = line.total.load(Ordering::Relaxed);
                // The values are loaded before the version is checked again.
                fence(Ordering::Acquire);
                if line.progress_version.load(Ordering::Relaxed) == version {
                    return Some((done, total));
                }
            }
            std::hint::spin_loop();
        }
        None
    }

    /// Where the reply is, and how many frames the worker had written before it.
    pub(crate) fn reply(&self, call: u64) -> (ReplyLocation, u64) {
        let line = &self.entry(call).line;
        let reply = line.reply.load(Ordering::Relaxed);
        let at = ReplyLocation::decode(reply, line.reply_at.load(Ordering::Relaxed));
        (at, line.after.load(Ordering::Relaxed))
    }

    /// Copies a reply out of the entry.
    #[inline]
    pub(crate) fn inline_reply(&self, call: u64, len: usize) -> InlineReply {
        self.entry(call).inline_reply(len)
    }

    /// Records that the next reply was copied out of its region, so that the worker may reuse its
    /// space.
    pub(crate) fn record_copied(&self) {
        // Release: the copy is complete before the worker overwrites the space.
        self.replies_copied.fetch_add(1, Ordering::Release);
    }

    /// Wakes the worker if it sleeps. Call this after sending.
    pub(crate) fn wake_worker(&self) {
        // Pairs with the fence in `sleep`: either this thread sees `asleep`, or the worker sees the
        // sent call when it checks again. The store of the state and this load must not be
        // reordered.
        fence(Ordering::SeqCst);
        if self.asleep.load(Ordering::Relaxed) != 0 && self.asleep.swap(0, Ordering::AcqRel) != 0 {
            // Only the thread that cleared the flag wakes. The value changes before the wake, so
            // that a worker that is about to sleep does not sleep on the old value.
            self.doorbell.fetch_add(1, Ordering::Release);
            ipc::futex_wake(&self.doorbell);
        }
    }

    /// Whether the worker waits for a call.
    pub(crate) fn worker_sleeps(&self) -> bool {
        self.asleep.load(Ordering::Relaxed) != 0
    }

    /// Asks to be woken when `call` is done, or when the worker goes to sleep before that. Returns
    /// `false` if there is something to take out already.
    pub(crate) fn may_sleep_until(&self, call: u64, first: u64) -> bool {
        self.wake_at.store(call, Ordering::Relaxed);
        // Pairs with the swap in `finish_at`: either the worker sees `wake_at`, or the state loaded
        // below is done already.
        fence(Ordering::SeqCst);
        let ready = |call| matches!(self.state(call), Some(CallState::Done | CallState::Skipped));
        !(ready(call) || self.worker_sleeps() && ready(first))
    }

    /// The call at which the parent asks to be woken, if it sleeps.
    pub(crate) fn wakes_at(&self) -> Option<u64> {
        Some(self.wake_at.load(Ordering::Relaxed)).filter(|call| *call != AWAKE)
    }

    /// Announces that a thread spins for the end of this call until [`unwatch`](Self::unwatch).
    /// Meanwhile, the worker leaves it to that thread to take the reply out or to wake the reader
    /// thread.
    pub(crate) fn watch(&self, call: u64) {
        self.watched_call.store(call, Ordering::SeqCst);
    }

    /// Ends the announcement. Returns `true` if the call is over, in which case the worker may have
    /// left the reply to this thread.
    #[must_use]
    pub(crate) fn unwatch(&self, call: u64) -> bool {
        let (order, seen) = (Ordering::SeqCst, Ordering::Relaxed);
        // Fails if another thread now watches another call.
        let _ = self.watched_call.compare_exchange(call, 0, order, seen);
        // Pairs with `finish_at`: the worker sets the state to done and then loads `watched_call`;
        // this thread clears `watched_call` and then loads the state. At least one of the two sees
        // the other's store.
        fence(Ordering::SeqCst);
        matches!(self.state(call), Some(CallState::Done | CallState::Skipped))
    }

    /// Records that the parent is awake.
    pub(crate) fn set_awake(&self) {
        // Relaxed: a worker that still sees the old value only wakes the parent once too often.
        self.wake_at.store(AWAKE, Ordering::Relaxed);
    }

    /// Sets whether the worker wakes the parent at the begin of every call.
    pub(crate) fn set_prompt(&self, prompt: bool) {
        // Relaxed: calls that begin about now may be reported late.
        self.prompt.store(prompt.into(), Ordering::Relaxed);
    }

    /// Returns the page-wide fields as text.
    pub(crate) fn describe(&self) -> String {
        format!(
            "worker sleeps {}, parent wakes at {:?}, replies copied {}, watched call {}",
            self.worker_sleeps(),
            self.wakes_at(),
            self.replies_copied(),
            self.watched_call.load(Ordering::Relaxed)
        )
    }
}

/// The worker's side.
impl Page {
    /// Begins this call if it was sent, at the time returned by `now`. Returns `None` if there is
    /// nothing to do yet.
    pub(crate) fn try_begin(&self, call: u64, now: impl Fn() -> u64) -> Option<Next> {
        loop {
            match self.state(call)? {
                CallState::Sent => {
                    let line = &self.entry(call).line;
                    // Before the transition, which publishes it: the parent must not read the
                    // progress of an earlier call in this entry.
                    line.progress_version.store(0, Ordering::Relaxed);
                    line.begun.store(now(), Ordering::Relaxed);
                    if self.transition(call, CallState::Sent, CallState::Begun) {
                        return Some(Next::Run);
                    }
                }
                CallState::Revoked => return Some(Next::Skip { with_args: true }),
                CallState::Withdrawn => return Some(Next::Skip { with_args: false }),
                _ => return None,
            }
        }
    }

    /// Prefetches the entry of a call that will be read soon.
    pub(crate) fn prefetch(&self, call: u64) {
        cpus::prefetch(self.entry(call));
    }

    /// Whether a call was sent or revoked.
    pub(crate) fn is_available(&self, call: u64) -> bool {
        matches!(
            self.state(call),
            Some(CallState::Sent | CallState::Revoked | CallState::Withdrawn)
        )
    }

    pub(crate) fn call_header(&self, call: u64) -> CallHeader {
        let entry = self.entry(call);
        let flags = entry.flags.load(Ordering::Relaxed);
        CallHeader {
            function: entry.function.load(Ordering::Relaxed),
            id: (entry.origin.load(Ordering::Relaxed), entry.number.load(Ordering::Relaxed)),
            attempt: entry.attempt.load(Ordering::Relaxed),
            priority: (flags & 0xff) as u8,
            channels: ChannelSetup::from_number((flags >> CHANNELS_SHIFT) as u8),
            name_len: entry.name_len.load(Ordering::Relaxed) as usize,
            args_len: entry.args_len.load(Ordering::Relaxed) as usize,
            at: ArgsLocation::decode(entry.args_at.load(Ordering::Relaxed)),
        }
    }

    /// Copies name and arguments out of the entry.
    pub(crate) fn inline<'b>(&self, call: u64, len: usize, to: &'b mut [u8; INLINE]) -> &'b [u8] {
        let to = &mut to[..len.min(INLINE)];
        self.entry(call).get(to);
        to
    }

    /// Writes the progress. Must be called by one thread at a time.
    pub(crate) fn write_progress(&self, call: u64, done: u64, total: u64) {
        let line = &self.entry(call).line;
        let version = line.progress_version.load(Ordering::Relaxed);
        line.progress_version.store(version + 1, Ordering::Relaxed);
        // The odd version must be visible before the new values are.
        fence(Ordering::Release);
        line.done.store(done, Ordering::Relaxed);
        line.total.store(total, Ordering::Relaxed);
        // Release: the new values are visible before the even version is.
        line.progress_version.store(version + 2, Ordering::Release);
    }

    /// Completes the call, and returns the time of its end. `inline` is the reply if it is in the
    /// entry; `after` is the number of frames that were written before.
    pub(crate) fn finish(&self, call: u64, at: ReplyLocation, inline: &[u8], after: u64) -> u64 {
        self.finish_at(call, at, inline, after, monotonic::nanos)
    }

    /// Like [`finish`](Self::finish), at the time returned by `now`.
    pub(crate) fn finish_at(
        &self,
        call: u64,
        at: ReplyLocation,
        inline: &[u8],
        after: u64,
        now: impl FnOnce() -> u64,
    ) -> u64 {
        let entry = self.entry(call);
        entry.put(0, inline);
        let (reply, reply_at) = at.encode();
        entry.line.reply.store(reply, Ordering::Relaxed);
        entry.line.reply_at.store(reply_at, Ordering::Relaxed);
        entry.line.after.store(after, Ordering::Relaxed);
        let now = now();
        entry.line.ended.store(now, Ordering::Relaxed);
        // A sequentially consistent swap, because the loads in `parent_waits_for` must not be
        // reordered before it.
        entry.state.swap(encode_state(call, CallState::Done), Ordering::SeqCst);
        now
    }

    /// The number of replies that the parent has copied out of their region.
    pub(crate) fn replies_copied(&self) -> u64 {
        self.replies_copied.load(Ordering::Acquire)
    }

    /// Marks a revoked call as skipped.
    pub(crate) fn skip(&self, call: u64) {
        self.entry(call).state.swap(encode_state(call, CallState::Skipped), Ordering::SeqCst);
    }

    /// Whether the parent must be woken now that `call` is done or skipped.
    pub(crate) fn parent_waits_for(&self, call: u64) -> bool {
        self.wake_at.load(Ordering::SeqCst) <= call
            && self.watched_call.load(Ordering::SeqCst) != call
    }

    /// Returns whether the parent, which sleeps, is to be woken for a call that has just begun. The
    /// caller wakes it then.
    #[must_use]
    pub(crate) fn claim_wakeup_at_begin(&self) -> bool {
        if self.prompt.load(Ordering::Relaxed) == 0 {
            return false;
        }
        // Pairs with the fence in `may_sleep_until`: either this thread sees `wake_at`, or the
        // parent sees that the call has begun before it sleeps.
        fence(Ordering::SeqCst);
        self.claim_wakeup()
    }

    /// Claims the right to wake the parent. Returns `false` if another thread does it.
    #[must_use]
    pub(crate) fn claim_wakeup(&self) -> bool {
        self.wake_at.swap(AWAKE, Ordering::AcqRel) != AWAKE
    }

    /// Sleeps until woken, unless `call` is available already or `should_stop` returns true.
    pub(crate) fn sleep(
        &self,
        call: u64,
        should_stop: impl Fn() -> bool,
        timeout: Option<Duration>,
    ) -> WakeReason {
        let mut reason = WakeReason::Woken;
        let seen = self.doorbell.load(Ordering::Acquire);
        self.asleep.store(1, Ordering::Relaxed);
        // Pairs with the fence in `wake_worker`, see there. The doorbell was loaded before: if it
        // is rung after this check, the futex value differs and the wait returns at once.
        fence(Ordering::SeqCst);
        if !self.is_available(call) && !should_stop() {
            reason = ipc::futex_wait(&self.doorbell, seen, timeout);
        }
        self.asleep.store(0, Ordering::Relaxed);
        reason
    }

    /// Overwrites everything with a pattern.
    #[cfg(all(test, feature = "pre-main"))]
    pub(crate) fn corrupt(&self, pattern: u64) {
        for word in [&self.doorbell, &self.asleep, &self.crash_hint] {
            word.store(pattern as u32, Ordering::Relaxed);
        }
        self.wake_at.store(pattern, Ordering::Relaxed);
        self.replies_copied.store(pattern, Ordering::Relaxed);
        self.watched_call.store(pattern, Ordering::Relaxed);
        self.journal.corrupt(pattern);
        for entry in &self.entries {
            let line = &entry.line;
            let words = [&line.begun, &line.done, &line.total, &line.ended, &line.reply];
            let more = [&line.reply_at, &line.after, &line.progress_version, &entry.args_at];
            for word in words.into_iter().chain(more) {
                word.store(pattern, Ordering::Relaxed);
            }
            entry.state.store(pattern, Ordering::Relaxed);
        }
    }

    /// Wakes the task thread, called by another thread of the worker process.
    pub(crate) fn wake_task_thread(&self) {
        self.doorbell.fetch_add(1, Ordering::Release);
        ipc::futex_wake(&self.doorbell);
    }
}
