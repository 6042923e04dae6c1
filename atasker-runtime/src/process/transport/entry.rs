//! One call in the page: its state, and where its arguments and its reply are.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use super::page::INLINE;
use crate::wire::frame::ChannelSetup;

/// One call in progress.
#[repr(C, align(64))]
pub(crate) struct CallEntry {
    // Written by the parent, before `Sent`.
    pub(super) state: AtomicU64,
    pub(super) function: AtomicU32,
    pub(super) attempt: AtomicU32,
    pub(super) origin: AtomicU64,
    pub(super) number: AtomicU64,
    pub(super) name_len: AtomicU64,
    pub(super) args_len: AtomicU64,
    pub(super) flags: AtomicU32,
    pub(super) _reserved: AtomicU32,
    pub(super) args_at: AtomicU64,
    // Written by the worker: `begun` before `Begun`, the rest before `Done`.
    pub(super) line: WorkerLine,
    pub(super) data: [AtomicU64; INLINE / 8],
}

#[repr(C, align(64))]
pub(super) struct WorkerLine {
    pub(super) begun: AtomicU64,
    pub(super) progress_version: AtomicU64,
    pub(super) done: AtomicU64,
    pub(super) total: AtomicU64,
    pub(super) ended: AtomicU64,
    pub(super) reply: AtomicU64,
    pub(super) reply_at: AtomicU64,
    pub(super) after: AtomicU64,
}

/// The state of a call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum CallState {
    Sent = 1,
    Begun = 2,
    Revoked = 3,
    Done = 4,
    Skipped = 5,
    Withdrawn = 6,
}

/// What the worker does with the next call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Next {
    Run,
    /// The call was revoked. `with_args`: its arguments are still sent over the socket.
    Skip {
        with_args: bool,
    },
}

pub(super) fn encode_state(call: u64, state: CallState) -> u64 {
    call << 3 | state as u64
}

/// The header of a call: everything except name and arguments.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CallHeader {
    pub(crate) function: u32,
    pub(crate) id: (u64, u64),
    pub(crate) attempt: u32,
    pub(crate) priority: u8,
    pub(crate) channels: ChannelSetup,
    pub(crate) name_len: usize,
    pub(crate) args_len: usize,
    pub(crate) at: ArgsLocation,
}

impl CallHeader {
    /// The length of name and arguments in bytes.
    pub(crate) fn len(&self) -> usize {
        self.name_len.saturating_add(self.args_len)
    }
}

/// Where the name and the arguments of a call are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum ArgsLocation {
    Inline,
    /// On the data socket.
    Socket,
    /// At this offset in the region of arguments.
    Region(usize),
    /// At this offset in the region of arguments, once a byte on the data socket announces them.
    Announced(usize),
}

impl ArgsLocation {
    pub(super) fn encode(self) -> u64 {
        match self {
            ArgsLocation::Inline => 0,
            ArgsLocation::Socket => 1,
            ArgsLocation::Region(at) => (at as u64) << 2 | 2,
            ArgsLocation::Announced(at) => (at as u64) << 2 | 3,
        }
    }
    pub(super) fn decode(word: u64) -> Self {
        let at = (word >> 2) as usize;
        match word & 0b11 {
            0 => ArgsLocation::Inline,
            1 => ArgsLocation::Socket,
            2 => ArgsLocation::Region(at),
            _ => ArgsLocation::Announced(at),
        }
    }
}

impl ArgsLocation {
    /// Whether the arguments are available as soon as the call is.
    pub(crate) fn is_available(self) -> bool {
        matches!(self, ArgsLocation::Inline | ArgsLocation::Region(_))
    }
}

/// Where the reply to a call is. `ok` is false if the reply is an error.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum ReplyLocation {
    /// In the entry.
    Inline { ok: bool, len: usize },
    /// At this offset in the region of replies.
    Region { ok: bool, len: usize, at: usize },
    /// In the next frame on the data socket.
    Socket,
}

impl ReplyLocation {
    pub(super) fn encode(self) -> (u64, u64) {
        match self {
            ReplyLocation::Inline { ok, len } => ((len as u64) << 3 | u64::from(ok) << 2, 0),
            ReplyLocation::Socket => (1, 0),
            ReplyLocation::Region { ok, len, at } => {
                ((len as u64) << 3 | u64::from(ok) << 2 | 2, at as u64)
            }
        }
    }
    pub(super) fn decode(word: u64, at: u64) -> Self {
        let number = |word| usize::try_from(word).unwrap_or(usize::MAX);
        let (ok, len, at) = (word & 4 != 0, number(word >> 3), number(at));
        match word & 0b11 {
            0 => ReplyLocation::Inline { ok, len: len.min(INLINE) },
            2 => ReplyLocation::Region { ok, len, at },
            _ => ReplyLocation::Socket,
        }
    }
}

/// A reply that was copied out of an entry. Most often it is a few words, which need no allocation.
pub(crate) enum InlineReply {
    Short { words: [[u8; 8]; SHORT_WORDS], len: usize },
    Long(Vec<u8>),
}

const SHORT_WORDS: usize = 4;

impl InlineReply {
    pub(crate) const NONE: InlineReply =
        InlineReply::Short { words: [[0; 8]; SHORT_WORDS], len: 0 };

    pub(crate) fn bytes(&self) -> &[u8] {
        match self {
            InlineReply::Short { words, len } => &words.as_flattened()[..*len],
            InlineReply::Long(bytes) => bytes,
        }
    }
}

/// When a call began and ended, in nanoseconds of the monotonic clock.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Times {
    pub(crate) begun: u64,
    pub(crate) ended: u64,
}

/// The progress of a call: done and total. `None` if it has reported none.
pub(crate) type Progress = Option<(u64, u64)>;

/// The channels are in the flags above the priority, shifted by this many bits.
pub(super) const CHANNELS_SHIFT: u32 = 8;

impl CallEntry {
    pub(super) fn put(&self, offset: usize, bytes: &[u8]) {
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

    /// Copies the first `len` bytes out.
    #[inline]
    pub(super) fn inline_reply(&self, len: usize) -> InlineReply {
        const SHORT_MAX: usize = 8 * SHORT_WORDS;
        if len > SHORT_MAX {
            let mut bytes = vec![0; len];
            self.get(&mut bytes);
            return InlineReply::Long(bytes);
        }
        let mut words = [[0; 8]; SHORT_WORDS];
        for (word, from) in words.iter_mut().zip(&self.data).take(len.div_ceil(8)) {
            *word = from.load(Ordering::Relaxed).to_ne_bytes();
        }
        InlineReply::Short { words, len }
    }

    /// Copies the first `to.len()` bytes out.
    pub(super) fn get(&self, to: &mut [u8]) {
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
