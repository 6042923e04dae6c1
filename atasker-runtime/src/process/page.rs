//! The page that a worker process shares with its parent: a ring of the calls under way.
//!
//! Calls are numbered from first to last; call *n* stands in slot *n* mod [`SLOTS`]. The parent
//! fills a slot that is its own and turns its state to `Sent`; whoever then turns the state first,
//! by compare-and-swap, has the call:
//!
//! ```text
//!             parent           worker          worker
//!   (parent's) ----> Sent(n) ----------> Begun(n) ----> Done(n)       -> (parent's)
//!                       \--------> Revoked(n) --------> Skipped(n)    -> (parent's)
//!                         parent               worker
//! ```
//!
//! A call whose arguments go over the socket, and have not set out, is turned to `Withdrawn` instead
//! of `Revoked`: the worker need not read them.
//!
//! The state carries the call's number, so a transition meant for one call never hits another.
//! Small arguments and small replies stand in the slot itself; larger ones in the areas behind the
//! page (see `carry`), or they go over the data socket, in the order of the calls. The page survives
//! the worker: after its death it says exactly which call had begun, which had not, and which
//! replies are there.
//!
//! All fields are atomics, and what is read is never trusted: a worker that writes rubbish here
//! can spoil its own calls only.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};
use std::time::Duration;

use crate::sys::cpus::prefetch;
use crate::sys::link;
use crate::sys::mapping::Shared;
use crate::wire::encoded::Encoded;

/// Calls under way at once, tombstones of revoked ones included.
pub(super) const SLOTS: usize = 256;
/// Bytes of arguments, or of a reply, that fit into a slot.
pub(super) const INLINE: usize = 256;

/// See the module's documentation.
#[repr(C)]
pub(super) struct Page {
    /// The worker sleeps on this word.
    bell: AtomicU32,
    /// 1: the worker sleeps, or is about to.
    asleep: AtomicU32,
    /// 1: the task thread has overflowed its stack.
    pub(super) overflow: AtomicU32,
    _reserved: AtomicU32,
    /// The parent wants to be woken when this call is done; `AWAKE`: it is awake.
    wake_at: AtomicU64,
    /// So many replies the parent has copied out of their area.
    copied: AtomicU64,
    /// A thread of the parent looks whether this call is done: the link need not be told; 0: none.
    looked_at: AtomicU64,
    slots: [Slot; SLOTS],
}

// SAFETY: only atomics, by repr(C); all zero is a value.
unsafe impl Shared for Page {}

/// The parent needs no waking.
const AWAKE: u64 = u64::MAX;

/// One call under way.
#[repr(C, align(64))]
pub(super) struct Slot {
    // Written by the parent, before `Sent`.
    state: AtomicU64,
    function: AtomicU32,
    attempt: AtomicU32,
    origin: AtomicU64,
    number: AtomicU64,
    name_len: AtomicU64,
    args_len: AtomicU64,
    traits: AtomicU32,
    _reserved: AtomicU32,
    args_at: AtomicU64,
    // Written by the worker, the first half before `Begun`, the second before `Done`.
    line: Line,
    data: [AtomicU64; INLINE / 8],
}

#[repr(C, align(64))]
struct Line {
    begun: AtomicU64,
    progress_version: AtomicU64,
    done: AtomicU64,
    total: AtomicU64,
    ended: AtomicU64,
    reply: AtomicU64,
    reply_at: AtomicU64,
    after: AtomicU64,
}

/// How far a call has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Step {
    Sent = 1,
    Begun = 2,
    Revoked = 3,
    Done = 4,
    Skipped = 5,
    Withdrawn = 6,
}

/// What a worker does about the next call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Turn {
    Run,
    /// It was taken back; `with_args`: they come over the socket all the same.
    PassOver {
        with_args: bool,
    },
}

fn word(call: u64, step: Step) -> u64 {
    call << 3 | step as u64
}

/// What a call is, apart from its arguments.
#[derive(Clone, Copy, Debug)]
pub(super) struct Order {
    pub(super) function: u32,
    pub(super) id: (u64, u64),
    pub(super) attempt: u32,
    pub(super) priority: u8,
    /// It has channels.
    pub(super) linked: bool,
    pub(super) name_len: usize,
    pub(super) args_len: usize,
    pub(super) at: ArgsAt,
}

impl Order {
    /// How long name and arguments are.
    pub(super) fn len(&self) -> usize {
        self.name_len.saturating_add(self.args_len)
    }
}

/// Where name and arguments of a call are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum ArgsAt {
    Slot,
    /// They come over the data socket.
    Socket,
    /// They stand there in the area of arguments.
    Area(usize),
    /// They will: once they do, that is said by a byte on the data socket.
    Announced(usize),
}

impl ArgsAt {
    fn encode(self) -> u64 {
        match self {
            ArgsAt::Slot => 0,
            ArgsAt::Socket => 1,
            ArgsAt::Area(at) => (at as u64) << 2 | 2,
            ArgsAt::Announced(at) => (at as u64) << 2 | 3,
        }
    }
    fn decode(word: u64) -> Self {
        let at = (word >> 2) as usize;
        match word & 0b11 {
            0 => ArgsAt::Slot,
            1 => ArgsAt::Socket,
            2 => ArgsAt::Area(at),
            _ => ArgsAt::Announced(at),
        }
    }
}

impl ArgsAt {
    /// They are there when the call is.
    pub(super) fn is_there(self) -> bool {
        matches!(self, ArgsAt::Slot | ArgsAt::Area(_))
    }
}

/// Where the reply to a call is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum ReplyAt {
    /// In the slot; the reply is an error or not.
    Slot { ok: bool, len: usize },
    /// There in the area of replies.
    Area { ok: bool, len: usize, at: usize },
    /// It is the next frame on the data socket.
    Socket,
}

impl ReplyAt {
    fn encode(self) -> (u64, u64) {
        match self {
            ReplyAt::Slot { ok, len } => ((len as u64) << 3 | u64::from(ok) << 2, 0),
            ReplyAt::Socket => (1, 0),
            ReplyAt::Area { ok, len, at } => {
                ((len as u64) << 3 | u64::from(ok) << 2 | 2, at as u64)
            }
        }
    }
    fn decode(word: u64, at: u64) -> Self {
        let number = |word| usize::try_from(word).unwrap_or(usize::MAX);
        let (ok, len, at) = (word & 4 != 0, number(word >> 3), number(at));
        match word & 0b11 {
            0 => ReplyAt::Slot { ok, len: len.min(INLINE) },
            2 => ReplyAt::Area { ok, len, at },
            _ => ReplyAt::Socket,
        }
    }
}

/// When a call began and ended, by the monotonic clock.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Times {
    pub(super) begun: u64,
    pub(super) ended: u64,
}

/// What progress a call has made: done, total. `None`: none was told.
pub(super) type Done = Option<(u64, u64)>;

const LINKED: u32 = 1 << 8;

impl Slot {
    fn put(&self, offset: usize, bytes: &[u8]) {
        debug_assert!(offset.is_multiple_of(8) && offset + bytes.len() <= INLINE);
        let (chunks, rest) = bytes.as_chunks::<8>();
        let mut words = self.data[offset / 8..].iter();
        for (chunk, word) in chunks.iter().zip(words.by_ref()) {
            word.store(u64::from_ne_bytes(*chunk), Ordering::Relaxed);
        }
        if !rest.is_empty()
            && let Some(word) = words.next()
        {
            let mut last = [0; 8];
            last[..rest.len()].copy_from_slice(rest);
            word.store(u64::from_ne_bytes(last), Ordering::Relaxed);
        }
    }

    /// Copies the first bytes out, as many as `to` holds.
    fn get(&self, to: &mut [u8]) {
        debug_assert!(to.len() <= INLINE);
        let (chunks, rest) = to.as_chunks_mut::<8>();
        let mut words = self.data.iter();
        for (chunk, word) in chunks.iter_mut().zip(words.by_ref()) {
            *chunk = word.load(Ordering::Relaxed).to_ne_bytes();
        }
        if !rest.is_empty()
            && let Some(word) = words.next()
        {
            rest.copy_from_slice(&word.load(Ordering::Relaxed).to_ne_bytes()[..rest.len()]);
        }
    }
}

impl Page {
    fn slot(&self, call: u64) -> &Slot {
        &self.slots[(call % SLOTS as u64) as usize]
    }

    /// How far this call has come; `None` if the slot speaks of another call, or nonsense.
    pub(super) fn step(&self, call: u64) -> Option<Step> {
        let state = self.slot(call).state.load(Ordering::Acquire);
        if state >> 3 != call {
            return None;
        }
        Some(match state & 0b111 {
            1 => Step::Sent,
            2 => Step::Begun,
            3 => Step::Revoked,
            4 => Step::Done,
            5 => Step::Skipped,
            6 => Step::Withdrawn,
            _ => return None,
        })
    }

    fn turn(&self, call: u64, from: Step, to: Step) -> bool {
        let state = &self.slot(call).state;
        let (from, to) = (word(call, from), word(call, to));
        state.compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }
}

/// The parent's part.
impl Page {
    /// Fills the slot of this call, which is the parent's, and sends it. `inline` is name and
    /// arguments where they fit.
    pub(super) fn send(&self, call: u64, order: &Order, inline: &[u8]) {
        let slot = self.slot(call);
        slot.function.store(order.function, Ordering::Relaxed);
        slot.attempt.store(order.attempt, Ordering::Relaxed);
        slot.origin.store(order.id.0, Ordering::Relaxed);
        slot.number.store(order.id.1, Ordering::Relaxed);
        slot.name_len.store(order.name_len as u64, Ordering::Relaxed);
        slot.args_len.store(order.args_len as u64, Ordering::Relaxed);
        slot.args_at.store(order.at.encode(), Ordering::Relaxed);
        let linked = if order.linked { LINKED } else { 0 };
        slot.traits.store(u32::from(order.priority) | linked, Ordering::Relaxed);
        slot.put(0, inline);
        slot.state.store(word(call, Step::Sent), Ordering::Release);
    }

    /// Takes a call back that has not begun.
    #[must_use]
    pub(super) fn revoke(&self, call: u64) -> bool {
        self.turn(call, Step::Sent, Step::Revoked)
    }

    /// Takes a call back that has not begun, and whose arguments will not come.
    #[must_use]
    pub(super) fn withdraw(&self, call: u64) -> bool {
        self.turn(call, Step::Sent, Step::Withdrawn)
    }

    /// When a call began.
    pub(super) fn begun(&self, call: u64) -> u64 {
        self.slot(call).line.begun.load(Ordering::Relaxed)
    }

    /// When it began and ended; valid once it is done.
    pub(super) fn times(&self, call: u64) -> Times {
        let line = &self.slot(call).line;
        Times {
            begun: line.begun.load(Ordering::Relaxed),
            ended: line.ended.load(Ordering::Relaxed),
        }
    }

    /// What progress a call has told.
    pub(super) fn progress(&self, call: u64) -> Done {
        let line = &self.slot(call).line;
        // A sequence lock: an odd version is one being written. A worker that died while writing
        // leaves it odd: then nothing is told.
        for _ in 0..64 {
            let version = line.progress_version.load(Ordering::Acquire);
            if version == 0 {
                return None;
            }
            if version.is_multiple_of(2) {
                let done = line.done.load(Ordering::Relaxed);
                let total = line.total.load(Ordering::Relaxed);
                fence(Ordering::Acquire);
                if line.progress_version.load(Ordering::Relaxed) == version {
                    return Some((done, total));
                }
            }
            std::hint::spin_loop();
        }
        None
    }

    /// Where the reply is, and how many frames the worker had written before.
    pub(super) fn reply(&self, call: u64) -> (ReplyAt, u64) {
        let line = &self.slot(call).line;
        let reply = line.reply.load(Ordering::Relaxed);
        let at = ReplyAt::decode(reply, line.reply_at.load(Ordering::Relaxed));
        (at, line.after.load(Ordering::Relaxed))
    }

    /// Copies a reply out of the slot.
    pub(super) fn reply_bytes(&self, call: u64, len: usize) -> Encoded {
        let mut bytes = Encoded::zeroed(len);
        self.slot(call).get(bytes.as_mut());
        bytes
    }

    /// One more reply, the next one, has been copied out of the area: the worker may use its place.
    pub(super) fn note_copied(&self) {
        self.copied.fetch_add(1, Ordering::Release);
    }

    /// Wakes the worker if it sleeps; to be called after sending.
    pub(super) fn wake_worker(&self) {
        // The sent state is visible before we look, as the worker's note is before it looks again.
        fence(Ordering::SeqCst);
        if self.asleep.load(Ordering::Relaxed) != 0 && self.asleep.swap(0, Ordering::AcqRel) != 0 {
            self.bell.fetch_add(1, Ordering::Release);
            link::wake_on(&self.bell);
        }
    }

    /// Whether the worker waits for a call.
    pub(super) fn worker_sleeps(&self) -> bool {
        self.asleep.load(Ordering::Relaxed) != 0
    }

    /// Asks to be woken when `call` is done, or when the worker falls asleep before. False: look
    /// again instead, there is something to take in.
    pub(super) fn sleep_until(&self, call: u64, first: u64) -> bool {
        self.wake_at.store(call, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        let ready = |call| matches!(self.step(call), Some(Step::Done | Step::Skipped));
        !(ready(call) || self.worker_sleeps() && ready(first))
    }

    /// The call at which the parent wants to be woken, if it sleeps.
    pub(super) fn wakes_at(&self) -> Option<u64> {
        Some(self.wake_at.load(Ordering::Relaxed)).filter(|call| *call != AWAKE)
    }

    /// A thread looks for the end of this call until [`look_away`](Self::look_away): while it does,
    /// the worker leaves it to that thread to take the reply in, or to have the link do it.
    pub(super) fn look_at(&self, call: u64) {
        self.looked_at.store(call, Ordering::SeqCst);
    }

    /// It looks no longer. True: the call is over, and the worker may have left it to the thread.
    #[must_use]
    pub(super) fn look_away(&self, call: u64) -> bool {
        let (order, seen) = (Ordering::SeqCst, Ordering::Relaxed);
        // Another thread may look by now, for another call.
        let _ = self.looked_at.compare_exchange(call, 0, order, seen);
        // The worker turns the call to done and then sees who looks; here it is the other way round.
        fence(Ordering::SeqCst);
        matches!(self.step(call), Some(Step::Done | Step::Skipped))
    }

    /// The parent is awake.
    pub(super) fn awake(&self) {
        self.wake_at.store(AWAKE, Ordering::Relaxed);
    }
}

/// The worker's part.
impl Page {
    /// What is there to do about this call; `None`: nothing yet. One to run has begun, at the
    /// time that `now` tells.
    pub(super) fn take(&self, call: u64, now: impl Fn() -> u64) -> Option<Turn> {
        loop {
            match self.step(call)? {
                Step::Sent => {
                    let line = &self.slot(call).line;
                    line.progress_version.store(0, Ordering::Relaxed);
                    line.begun.store(now(), Ordering::Relaxed);
                    if self.turn(call, Step::Sent, Step::Begun) {
                        return Some(Turn::Run);
                    }
                }
                Step::Revoked => return Some(Turn::PassOver { with_args: true }),
                Step::Withdrawn => return Some(Turn::PassOver { with_args: false }),
                _ => return None,
            }
        }
    }

    /// This call will be looked at soon.
    pub(super) fn expect(&self, call: u64) {
        prefetch(self.slot(call));
    }

    /// Whether a call has been sent or taken back.
    pub(super) fn is_there(&self, call: u64) -> bool {
        matches!(self.step(call), Some(Step::Sent | Step::Revoked | Step::Withdrawn))
    }

    pub(super) fn order(&self, call: u64) -> Order {
        let slot = self.slot(call);
        let traits = slot.traits.load(Ordering::Relaxed);
        Order {
            function: slot.function.load(Ordering::Relaxed),
            id: (slot.origin.load(Ordering::Relaxed), slot.number.load(Ordering::Relaxed)),
            attempt: slot.attempt.load(Ordering::Relaxed),
            priority: (traits & 0xff) as u8,
            linked: traits & LINKED != 0,
            name_len: slot.name_len.load(Ordering::Relaxed) as usize,
            args_len: slot.args_len.load(Ordering::Relaxed) as usize,
            at: ArgsAt::decode(slot.args_at.load(Ordering::Relaxed)),
        }
    }

    /// Copies name and arguments out of the slot.
    pub(super) fn inline<'b>(&self, call: u64, len: usize, to: &'b mut [u8; INLINE]) -> &'b [u8] {
        let to = &mut to[..len.min(INLINE)];
        self.slot(call).get(to);
        to
    }

    /// Tells progress. One thread at a time.
    pub(super) fn tell_progress(&self, call: u64, done: u64, total: u64) {
        let line = &self.slot(call).line;
        let version = line.progress_version.load(Ordering::Relaxed);
        line.progress_version.store(version + 1, Ordering::Relaxed);
        fence(Ordering::Release);
        line.done.store(done, Ordering::Relaxed);
        line.total.store(total, Ordering::Relaxed);
        line.progress_version.store(version + 2, Ordering::Release);
    }

    /// The call is done, at the time that is returned. `inline` is the reply where it stands in the
    /// slot; `after` is how many frames were written before.
    pub(super) fn finish(&self, call: u64, at: ReplyAt, inline: &[u8], after: u64) -> u64 {
        self.finish_at(call, at, inline, after, link::monotonic)
    }

    /// The same, at a time that `now` tells.
    pub(super) fn finish_at(
        &self,
        call: u64,
        at: ReplyAt,
        inline: &[u8],
        after: u64,
        now: impl FnOnce() -> u64,
    ) -> u64 {
        let slot = self.slot(call);
        slot.put(0, inline);
        let (reply, reply_at) = at.encode();
        slot.line.reply.store(reply, Ordering::Relaxed);
        slot.line.reply_at.store(reply_at, Ordering::Relaxed);
        slot.line.after.store(after, Ordering::Relaxed);
        let now = now();
        slot.line.ended.store(now, Ordering::Relaxed);
        // A swap, for what follows (see `parent_waits_for`) must not be seen before it.
        slot.state.swap(word(call, Step::Done), Ordering::SeqCst);
        now
    }

    /// How many replies the parent has copied out of their area.
    pub(super) fn copied(&self) -> u64 {
        self.copied.load(Ordering::Acquire)
    }

    /// A revoked call is passed over.
    pub(super) fn skip(&self, call: u64) {
        self.slot(call).state.swap(word(call, Step::Skipped), Ordering::SeqCst);
    }

    /// Whether the parent must be woken now that `call` is done or skipped.
    pub(super) fn parent_waits_for(&self, call: u64) -> bool {
        self.wake_at.load(Ordering::SeqCst) <= call && self.looked_at.load(Ordering::SeqCst) != call
    }

    /// The parent is about to be woken. False: somebody else does it.
    #[must_use]
    pub(super) fn takes_waking(&self) -> bool {
        self.wake_at.swap(AWAKE, Ordering::AcqRel) != AWAKE
    }

    /// Sleeps until woken, unless `call` is there already or `quit` says so. False: it slept for so
    /// long.
    pub(super) fn sleep(&self, call: u64, quit: impl Fn() -> bool, most: Option<Duration>) -> bool {
        let mut woken = true;
        let rung = self.bell.load(Ordering::Acquire);
        self.asleep.store(1, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        if !self.is_there(call) && !quit() {
            woken = link::sleep_on(&self.bell, rung, most);
        }
        self.asleep.store(0, Ordering::Relaxed);
        woken
    }

    /// Writes nonsense everywhere.
    #[cfg(all(test, feature = "pre-main"))]
    pub(super) fn spoil(&self, pattern: u64) {
        for word in [&self.bell, &self.asleep, &self.overflow] {
            word.store(pattern as u32, Ordering::Relaxed);
        }
        self.wake_at.store(pattern, Ordering::Relaxed);
        self.copied.store(pattern, Ordering::Relaxed);
        self.looked_at.store(pattern, Ordering::Relaxed);
        for slot in &self.slots {
            let line = &slot.line;
            let words = [&line.begun, &line.done, &line.total, &line.ended, &line.reply];
            let more = [&line.reply_at, &line.after, &line.progress_version, &slot.args_at];
            for word in words.into_iter().chain(more) {
                word.store(pattern, Ordering::Relaxed);
            }
            slot.state.store(pattern, Ordering::Relaxed);
        }
    }

    /// Wakes the task thread from within the worker, for it to look around.
    pub(super) fn rouse(&self) {
        self.bell.fetch_add(1, Ordering::Release);
        link::wake_on(&self.bell);
    }
}
