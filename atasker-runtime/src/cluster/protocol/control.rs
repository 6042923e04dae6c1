//! What members tell each other directly, at the subject `m.{member}`.

use std::sync::Arc;

use super::bytes::{Reader, Unreadable, Writer};
use crate::id::TaskId;

const VERSION: u8 = 1;

/// A message to another member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Frame {
    /// Asks a node to do something about a call that it holds. Answered by a [`Reply`].
    Do { id: TaskId, claim: u64, verb: Verb },
    /// Asks whether a member holds a call: a node by this claim, or a launcher (`claim` is 0).
    /// Answered by a [`Reply`]. `token` is that of a later delivery of the entry, which the node takes
    /// over.
    Holds { id: TaskId, claim: u64, token: Option<String> },
    /// From now on, messages of this call go to that member. Answered by a [`Reply`].
    Attach { id: TaskId, claim: u64, member: Arc<str> },
    /// Items of the stream from one end of a call to the other, numbered from `first` on. `from` is
    /// the member that sends them.
    Items { from: Arc<str>, stream: Stream, first: u64, items: Vec<Item> },
    /// All items before `next` have arrived.
    Ack { stream: Stream, next: u64 },
    /// The node does not take items from this member, because another one has attached.
    Detached { stream: Stream },
    /// Answered by a [`Reply`] by every member.
    Ping,
}

/// What a node may be asked to do about a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verb {
    /// Cancel it if it has not begun, else ask it to stop.
    Cancel,
    /// Ask it to stop.
    Stop,
    /// End its worker process.
    Kill,
}

/// The answer to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reply {
    /// The call is held, or what was asked for is done.
    Yes,
    /// The call is not held by that claim, any more or yet.
    NotHeld,
    /// The call has not begun, and has ended with `Canceled` now.
    Canceled,
    /// The run was asked to stop, or is being killed.
    Asked,
    /// The run can't be killed.
    Unsupported,
}

/// The stream of items from one end of a call to the other. A new one is begun for each claim, and
/// when another member attaches.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Stream {
    pub(super) id: TaskId,
    pub(super) claim: u64,
    /// The member that launched the call, or has attached to it: the sender or the receiver.
    pub(super) member: Arc<str>,
    /// How often the stream of this claim was begun anew.
    pub(super) epoch: u32,
}

/// What travels between a task and its handle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Item {
    Message(Arc<[u8]>),
    /// This many further messages of the other direction were taken.
    Taken(u32),
    /// Whether messages have a receiver. Only to the node.
    HasReceiver(bool),
    /// The function runs in this process. Only from the node.
    Process(u32),
    Progress {
        done: u64,
        total: u64,
    },
    Text(String),
}

/// The subject of a member.
pub(super) fn subject(member: &str) -> String {
    format!("m.{member}")
}

impl Frame {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut to = Writer::with_version(VERSION);
        match self {
            Frame::Do { id, claim, verb } => {
                let verb = match verb {
                    Verb::Cancel => 0,
                    Verb::Stop => 1,
                    Verb::Kill => 2,
                };
                to.u8(1).id(*id).fixed(*claim).u8(verb);
            }
            Frame::Holds { id, claim, token } => {
                to.u8(2).id(*id).fixed(*claim).optional_text(token.as_deref());
            }
            Frame::Attach { id, claim, member } => {
                to.u8(3).id(*id).fixed(*claim).text(member);
            }
            Frame::Items { from, stream, first, items } => {
                to.u8(4).text(from);
                write_stream(&mut to, stream);
                to.int(*first).len(items.len());
                for item in items {
                    write_item(&mut to, item);
                }
            }
            Frame::Ack { stream, next } => {
                to.u8(5);
                write_stream(&mut to, stream);
                to.int(*next);
            }
            Frame::Detached { stream } => {
                to.u8(6);
                write_stream(&mut to, stream);
            }
            Frame::Ping => drop(to.u8(7)),
        }
        to.into_bytes()
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Frame, Unreadable> {
        let mut from = Reader::with_version(bytes, VERSION)?;
        let frame = match from.u8()? {
            1 => Frame::Do {
                id: from.id()?,
                claim: from.fixed()?,
                verb: match from.u8()? {
                    0 => Verb::Cancel,
                    1 => Verb::Stop,
                    2 => Verb::Kill,
                    _ => return Err(Unreadable::Malformed("an unknown verb")),
                },
            },
            2 => Frame::Holds {
                id: from.id()?,
                claim: from.fixed()?,
                token: from.option(Reader::text)?,
            },
            3 => {
                let (id, claim) = (from.id()?, from.fixed()?);
                Frame::Attach { id, claim, member: from.shared_text()? }
            }
            4 => {
                let (sender, stream) = (from.shared_text()?, read_stream(&mut from)?);
                let first = from.u64()?;
                let items = (0..from.count()?).map(|_| read_item(&mut from));
                let items = items.collect::<Result<_, _>>()?;
                Frame::Items { from: sender, stream, first, items }
            }
            5 => Frame::Ack { stream: read_stream(&mut from)?, next: from.u64()? },
            6 => Frame::Detached { stream: read_stream(&mut from)? },
            7 => Frame::Ping,
            _ => return Err(Unreadable::Malformed("an unknown frame")),
        };
        from.end()?;
        Ok(frame)
    }
}

impl Reply {
    pub(super) fn encode(self) -> Vec<u8> {
        let kind = match self {
            Reply::Yes => 0,
            Reply::NotHeld => 1,
            Reply::Canceled => 2,
            Reply::Asked => 3,
            Reply::Unsupported => 4,
        };
        vec![VERSION, kind]
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Reply, Unreadable> {
        let mut from = Reader::with_version(bytes, VERSION)?;
        let reply = match from.u8()? {
            0 => Reply::Yes,
            1 => Reply::NotHeld,
            2 => Reply::Canceled,
            3 => Reply::Asked,
            4 => Reply::Unsupported,
            _ => return Err(Unreadable::Malformed("an unknown reply")),
        };
        from.end()?;
        Ok(reply)
    }
}

fn write_stream(to: &mut Writer, stream: &Stream) {
    to.id(stream.id).fixed(stream.claim).text(&stream.member).int(stream.epoch);
}

fn read_stream(from: &mut Reader<'_>) -> Result<Stream, Unreadable> {
    let (id, claim) = (from.id()?, from.fixed()?);
    Ok(Stream { id, claim, member: from.shared_text()?, epoch: from.u32()? })
}

fn write_item(to: &mut Writer, item: &Item) {
    match item {
        Item::Message(message) => to.u8(0).bytes(message),
        Item::Taken(count) => to.u8(1).int(*count),
        Item::HasReceiver(is_there) => to.u8(2).bool(*is_there),
        Item::Process(pid) => to.u8(3).int(*pid),
        Item::Progress { done, total } => to.u8(4).int(*done).int(*total),
        Item::Text(text) => to.u8(5).text(text),
    };
}

fn read_item(from: &mut Reader<'_>) -> Result<Item, Unreadable> {
    Ok(match from.u8()? {
        0 => Item::Message(from.bytes()?.into()),
        1 => Item::Taken(from.u32()?),
        2 => Item::HasReceiver(from.bool()?),
        3 => Item::Process(from.u32()?),
        4 => Item::Progress { done: from.u64()?, total: from.u64()? },
        5 => Item::Text(from.text()?),
        _ => return Err(Unreadable::Malformed("an unknown item")),
    })
}
