//! How the scheduler reaches the calls of a worker process.

use crate::error::TaskError;
use crate::job::Job;
use crate::priority::Priority;
use crate::process::parent::peer::Peer;
use crate::process::transport::entry::{
    ArgsLocation, CallHeader, CallState, InlineReply, ReplyLocation, Times,
};
use crate::process::transport::page::INLINE;
use crate::process::transport::region::COPY_UNDER_LOCK_MAX;
use crate::process::transport::ring::Ring;
use crate::process::transport::{Revoked, Taken, TakenBy, Transport, Written};
use crate::remote::functions;
use crate::task::AnyTask;
use crate::task::channel::Acks;
use crate::task::header::Header;
use crate::time::clock::{self, Stamp};
use crate::wire::frame::ChannelSetup;

/// The reply of a call in a worker process.
pub(crate) struct Reply {
    pub(crate) times: Times,
    pub(crate) progress: Option<(u64, u64)>,
    pub(crate) location: ReplyLocation,
    /// The reply, if it was in the entry.
    pub(crate) inline: InlineReply,
    /// The number of frames that precede the reply.
    pub(crate) after: u64,
}

impl Transport for Peer {
    type Reply = Reply;

    fn is_pipelined(&self) -> bool {
        !self.is_over_sockets()
    }

    fn args_ring(&self) -> Ring {
        Peer::args_ring(self)
    }

    fn send(
        &self,
        call: u64,
        job: &Job,
        priority: Priority,
        args_ring: Option<&mut Ring>,
    ) -> Result<Written, TaskError> {
        let task = &**job.task();
        let header = task.header();
        let Some((remote, args)) = task.remote().and_then(|r| Some((r, r.args().get()?))) else {
            return Err(TaskError::not_started("its encoded arguments are gone"));
        };
        let function = remote.function();
        let Some(index) = functions::index_of(function) else {
            return Err(TaskError::not_started(
                "the function is not in the program's table: it belongs to a library that was \
                 loaded at run time",
            ));
        };
        let name = header.name();
        let name = if is_same(name, function.name) { "" } else { name };
        let over_sockets = self.is_over_sockets();
        let at = match name.len() + args.len() {
            _ if over_sockets => ArgsLocation::Socket,
            0..=INLINE => ArgsLocation::Inline,
            len => args_ring.map_or(ArgsLocation::Socket, |ring| place_args(self, ring, call, len)),
        };
        let call_header = CallHeader {
            function: index,
            id: header.id().to_parts(),
            attempt: header.attempt() + 1,
            priority: priority.index() as u8,
            channels: channels_of(header),
            name_len: name.len(),
            args_len: args.len(),
            at,
        };
        if header.timeout().is_some() {
            self.page.forget_begin(call);
        }
        match at {
            ArgsLocation::Inline if name.is_empty() => self.page.send(call, &call_header, &args),
            ArgsLocation::Inline => {
                let mut both = Vec::with_capacity(INLINE);
                both.extend_from_slice(name.as_bytes());
                both.extend_from_slice(&args);
                self.page.send(call, &call_header, &both);
            }
            ArgsLocation::Region(at) => {
                self.put_args(at, name, &args);
                self.page.send(call, &call_header, &[]);
            }
            ArgsLocation::Socket if over_sockets => {
                // Sent in the page first, because the reader thread may receive at once that the
                // call has begun.
                self.page.send(call, &call_header, &[]);
                self.post_call(call, &call_header, name, args);
            }
            ArgsLocation::Announced(_) | ArgsLocation::Socket => {
                self.post_args(call, name, args.shared(), at);
                self.page.send(call, &call_header, &[]);
            }
        }
        Ok(Written { inline: at.is_available() })
    }

    fn post_messages(&self, call: u64, task: &dyn AnyTask) {
        Peer::post_messages(self, call, task);
    }

    #[inline]
    fn state(&self, call: u64) -> Option<CallState> {
        self.page.state(call)
    }

    fn is_reply_in_transit(&self, call: u64) -> bool {
        self.page.reply(call).0 == ReplyLocation::Socket
    }

    fn is_in_transit(&self, call: u64) -> bool {
        self.is_over_sockets()
            && self.page.state(call) == Some(CallState::Sent)
            && !self.is_unsent(call)
    }

    fn begun(&self, call: u64) -> Stamp {
        clock::from_monotonic(self.page.begun(call))
    }

    fn noted_begin(&self, call: u64) -> Option<Stamp> {
        let begun = self.page.begun(call);
        (begun != 0).then(|| clock::from_monotonic(begun))
    }

    fn revoke(&self, call: u64) -> Revoked {
        match Peer::revoke(self, call) {
            false => Revoked::No,
            // One call at a time, so all calls before it are done.
            true if self.is_over_sockets() => Revoked::Unseen,
            true => Revoked::ToSkip,
        }
    }

    fn assume_begun(&self, call: u64, now: Stamp) {
        let _ = self.page.try_begin(call, || clock::to_monotonic(now));
    }

    fn set_prompt(&self, prompt: bool) {
        self.page.set_prompt(prompt);
    }

    #[inline]
    fn take_reply(&self, call: u64, by: TakenBy) -> Taken<Reply> {
        let page = &self.page;
        // Before the reply, which says how many frames come before it.
        let read = match by {
            TakenBy::Reader => u64::MAX,
            TakenBy::Waiter if self.has_stdio => return Taken::NotYet,
            TakenBy::Waiter => self.frames_read(),
        };
        // Read once, because the worker may write there meanwhile.
        let (location, after) = page.reply(call);
        if by == TakenBy::Waiter && (location == ReplyLocation::Socket || after > read) {
            return Taken::NotYet;
        }
        let inline = match location {
            ReplyLocation::Inline { len, .. } => page.inline_reply(call, len),
            ReplyLocation::Region { len, at, .. } => {
                if !self.is_valid_reply(at, len) {
                    return Taken::Invalid;
                }
                self.expect_reply(call);
                InlineReply::NONE
            }
            ReplyLocation::Socket => InlineReply::NONE,
        };
        let (times, progress) = (page.times(call), page.progress(call));
        Taken::Reply {
            reply: Reply { times, progress, location, inline, after },
            nanos: times.ended.saturating_sub(times.begun),
            // Without a shared page, the reply has arrived when the call is done.
            in_transit: location == ReplyLocation::Socket && !self.is_over_sockets(),
        }
    }
}

/// Allocates space for arguments that do not fit into the page.
fn place_args(worker: &Peer, args_ring: &mut Ring, call: u64, len: usize) -> ArgsLocation {
    // One large call at a time: calls that are revoked from a stopped worker keep their space
    // until it continues, and must not accumulate.
    if len > COPY_UNDER_LOCK_MAX && !args_ring.is_empty() {
        return ArgsLocation::Socket;
    }
    match args_ring.alloc(call, len) {
        Some(at) if !worker.ensure_args_mapped(at + len) => {
            args_ring.undo();
            ArgsLocation::Socket
        }
        Some(at) if len <= COPY_UNDER_LOCK_MAX => ArgsLocation::Region(at),
        Some(at) => ArgsLocation::Announced(at),
        None => ArgsLocation::Socket,
    }
}

/// Returns what a worker needs to know about the channels of a call before it begins.
fn channels_of(header: &Header) -> ChannelSetup {
    let Some(channels) = header.channels() else { return ChannelSetup::None };
    let change = channels.outbox_bytes().and_then(|outbox| outbox.receiver_change());
    let acks = channels.inbox_bytes().map_or(Acks::Batched, |inbox| inbox.acks());
    ChannelSetup::of(change != Some(false), acks)
}

/// Whether two names are equal. Most often they are the same string.
fn is_same(a: &str, b: &str) -> bool {
    std::ptr::eq(a, b) || a == b
}
