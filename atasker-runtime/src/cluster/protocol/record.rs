//! What is stored at the broker about a call: its entry in a queue, and its record.

use std::sync::Arc;
use std::time::Duration;

use super::bytes::{Reader, Unreadable, Writer};
use super::errors;
use crate::cluster::broker::Kept;
use crate::cluster::door::{CallHead, FunctionKey, NodeRef, RetryPause, UniqueKey};
use crate::error::TaskError;
use crate::id::TaskId;
use crate::priority::Priority;

/// The version of entries and records that is written. All up to it can be read.
const VERSION: u8 = 1;

/// A call as it waits in a queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct CallEntry {
    /// Shared with the run of the call.
    pub(super) head: Arc<CallHead>,
    /// The member that has launched it.
    pub(super) launcher: Arc<str>,
    pub(super) args: Payload,
}

/// Arguments or a result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Payload {
    Inline(Vec<u8>),
    /// It is in blocks, under this key.
    Blocks {
        kept: Kept,
        key: String,
        count: u32,
        bytes: u64,
    },
}

/// A payload that is about to be written.
#[derive(Clone, Copy, Debug)]
pub(super) enum Borrowed<'a> {
    Inline(&'a [u8]),
    Blocks { kept: Kept, key: &'a str, count: u32, bytes: u64 },
}

impl Payload {
    pub(super) fn as_borrowed(&self) -> Borrowed<'_> {
        match self {
            Payload::Inline(bytes) => Borrowed::Inline(bytes),
            &Payload::Blocks { kept, ref key, count, bytes } => {
                Borrowed::Blocks { kept, key, count, bytes }
            }
        }
    }
}

impl Borrowed<'_> {
    /// Returns about how many bytes it takes.
    fn room(self) -> usize {
        match self {
            Borrowed::Inline(bytes) => bytes.len(),
            Borrowed::Blocks { key, .. } => key.len(),
        }
    }

    fn write(self, to: &mut Writer) {
        match self {
            Borrowed::Inline(bytes) => to.u8(0).bytes(bytes),
            Borrowed::Blocks { kept, key, count, bytes } => {
                let kept = match kept {
                    Kept::AsRecords => 1,
                    Kept::AsLogs => 2,
                };
                to.u8(kept).text(key).int(count).int(bytes)
            }
        };
    }
}

/// The record of a call. Without one, no run has begun.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct CallRecord {
    pub(super) head: CallHead,
    pub(super) state: CallState,
}

/// See the diagram in the [module documentation](super).
#[derive(Clone, Debug, PartialEq)]
pub(super) enum CallState {
    /// A node holds it.
    Running {
        node: NodeRef,
        /// Distinguishes this claim from all others.
        claim: u64,
        /// The number of this run.
        attempt: u32,
        losses: u32,
    },
    /// It may be run again this long after the write of the record.
    Waiting { delay: Duration, attempt: u32, losses: u32 },
    /// It has its outcome.
    Ended { outcome: Outcome, attempt: u32, losses: u32, node: Option<NodeRef> },
}

/// The outcome of a call.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Outcome {
    Returned { result: Payload, is_err: bool },
    Failed(TaskError),
}

impl Outcome {
    /// Returns whether the call becomes a dead letter.
    pub(super) fn is_dead(&self) -> bool {
        match self {
            Outcome::Returned { is_err, .. } => *is_err,
            Outcome::Failed(error) => !error.is_canceled(),
        }
    }
}

/// The holder of a unique key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Holder {
    pub(super) id: TaskId,
    /// The member that has launched it.
    pub(super) launcher: String,
    /// How long the key stays taken after the end of the call.
    pub(super) keep: Duration,
}

/// A dead letter.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Dead {
    pub(super) entry: CallEntry,
    /// `None` if the function returned an `Err`.
    pub(super) error: Option<TaskError>,
}

impl CallEntry {
    pub(super) fn encode(&self) -> Vec<u8> {
        encode_entry(&self.head, &self.launcher, self.args.as_borrowed())
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<CallEntry, Unreadable> {
        let mut from = Reader::with_version(bytes, VERSION)?;
        let entry = read_entry(&mut from)?;
        from.end()?;
        Ok(entry)
    }
}

impl CallRecord {
    pub(super) fn decode(bytes: &[u8]) -> Result<CallRecord, Unreadable> {
        let mut from = Reader::with_version(bytes, VERSION)?;
        let head = read_head(&mut from)?;
        let state = read_state(&mut from)?;
        from.end()?;
        Ok(CallRecord { head, state })
    }
}

impl CallState {
    /// Decodes the state of a record, without the texts of the head. Most who read a record know its
    /// head.
    pub(super) fn decode(bytes: &[u8]) -> Result<CallState, Unreadable> {
        let mut from = Reader::with_version(bytes, VERSION)?;
        skip_head(&mut from)?;
        let state = read_state(&mut from)?;
        from.end()?;
        Ok(state)
    }
}

/// Encodes an entry without a copy of the head and of the arguments.
pub(super) fn encode_entry(head: &CallHead, launcher: &str, args: Borrowed<'_>) -> Vec<u8> {
    let mut to = Writer::with_room(VERSION, room_for(head) + args.room());
    write_entry(&mut to, head, launcher, args);
    to.into_bytes()
}

/// Encodes a record without a copy of the head.
pub(super) fn encode_record(head: &CallHead, state: &CallState) -> Vec<u8> {
    let room = match state {
        CallState::Ended { outcome: Outcome::Returned { result, .. }, .. } => {
            result.as_borrowed().room()
        }
        _ => 0,
    };
    let mut to = Writer::with_room(VERSION, room_for(head) + room);
    write_head(&mut to, head);
    write_state(&mut to, state);
    to.into_bytes()
}

/// Returns about how many bytes a head takes, and what is written with it besides a payload.
fn room_for(head: &CallHead) -> usize {
    let texts = [&head.name, &head.function.name, &head.queue, &head.types];
    let texts: usize = texts.iter().map(|text| text.len()).sum();
    texts + head.trace.as_ref().map_or(0, String::len) + 160
}

impl Holder {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut to = Writer::with_version(VERSION);
        to.id(self.id).text(&self.launcher).duration(self.keep);
        to.into_bytes()
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Holder, Unreadable> {
        let mut from = Reader::with_version(bytes, VERSION)?;
        let holder = Holder { id: from.id()?, launcher: from.text()?, keep: from.duration()? };
        from.end()?;
        Ok(holder)
    }
}

impl Dead {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut to = Writer::with_version(VERSION);
        let CallEntry { head, launcher, args } = &self.entry;
        write_entry(&mut to, head, launcher, args.as_borrowed());
        to.option(self.error.as_ref(), errors::write);
        to.into_bytes()
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Dead, Unreadable> {
        let mut from = Reader::with_version(bytes, VERSION)?;
        let dead = Dead { entry: read_entry(&mut from)?, error: from.option(errors::read)? };
        from.end()?;
        Ok(dead)
    }
}

/// The key of the record of a call.
pub(super) fn record_key(id: TaskId) -> String {
    let (origin, number) = id.to_parts();
    format!("c.{origin:016x}.{number:x}")
}

/// The inverse of [`record_key`].
pub(super) fn id_of_key(key: &str) -> Option<TaskId> {
    let (origin, number) = key.strip_prefix("c.")?.split_once('.')?;
    let hex = |text| u64::from_str_radix(text, 16).ok();
    Some(TaskId::from_parts(hex(origin)?, hex(number)?))
}

/// The filter for the records of all calls of one origin.
pub(super) fn record_filter(origin: u64) -> String {
    format!("c.{origin:016x}.*")
}

/// The key of the record of a unique key.
pub(super) fn unique_key(unique: &UniqueKey) -> String {
    let hex: String = unique.hash.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("u.{hex}")
}

fn write_entry(to: &mut Writer, head: &CallHead, launcher: &str, args: Borrowed<'_>) {
    write_head(to, head);
    to.text(launcher);
    args.write(to);
}

fn read_entry(from: &mut Reader<'_>) -> Result<CallEntry, Unreadable> {
    let (head, launcher) = (Arc::new(read_head(from)?), from.shared_text()?);
    Ok(CallEntry { head, launcher, args: read_payload(from)? })
}

fn read_payload(from: &mut Reader<'_>) -> Result<Payload, Unreadable> {
    let kept = match from.u8()? {
        0 => return Ok(Payload::Inline(from.bytes()?.to_vec())),
        1 => Kept::AsRecords,
        2 => Kept::AsLogs,
        _ => return Err(Unreadable::Malformed("an unknown kind of payload")),
    };
    Ok(Payload::Blocks { kept, key: from.text()?, count: from.u32()?, bytes: from.u64()? })
}

fn write_head(to: &mut Writer, head: &CallHead) {
    to.id(head.id).text(&head.name);
    to.text(&head.function.name).fixed(head.function.signature);
    to.text(&head.queue).u8(head.priority.index() as u8);
    to.option(head.timeout, |to, limit| _ = to.duration(limit));
    to.int(head.retries);
    match head.retry {
        RetryPause::Fixed(pause) => to.u8(0).duration(pause),
        RetryPause::Backoff { first, max, factor, jitter } => {
            to.u8(1).duration(first).duration(max).fixed(factor).bool(jitter)
        }
    };
    to.int(head.redeliver);
    to.option(head.expires, |to, after| _ = to.duration(after));
    to.option(head.unique.as_ref(), |to, unique| {
        to.array(&unique.hash).duration(unique.keep);
    });
    to.text(&head.types).bool(head.has_channels).optional_text(head.trace.as_deref());
}

fn read_head(from: &mut Reader<'_>) -> Result<CallHead, Unreadable> {
    Ok(CallHead {
        id: from.id()?,
        name: from.text()?,
        function: FunctionKey { name: from.text()?, signature: from.fixed()? },
        queue: from.text()?,
        priority: Priority::from_index(from.u8()?)
            .ok_or(Unreadable::Malformed("an unknown priority"))?,
        timeout: from.option(Reader::duration)?,
        retries: from.u32()?,
        retry: read_pause(from)?,
        redeliver: from.u32()?,
        expires: from.option(Reader::duration)?,
        unique: from.option(read_unique)?,
        types: from.text()?,
        has_channels: from.bool()?,
        trace: from.option(Reader::text)?,
    })
}

/// Passes over what [`read_head`] reads.
fn skip_head(from: &mut Reader<'_>) -> Result<(), Unreadable> {
    from.id()?;
    from.skip_bytes()?;
    from.skip_bytes()?;
    from.fixed()?;
    from.skip_bytes()?;
    from.u8()?;
    from.option(Reader::duration)?;
    from.u32()?;
    read_pause(from)?;
    from.u32()?;
    from.option(Reader::duration)?;
    from.option(read_unique)?;
    from.skip_bytes()?;
    from.bool()?;
    from.option(Reader::skip_bytes)?;
    Ok(())
}

fn read_pause(from: &mut Reader<'_>) -> Result<RetryPause, Unreadable> {
    match from.u8()? {
        0 => Ok(RetryPause::Fixed(from.duration()?)),
        1 => Ok(RetryPause::Backoff {
            first: from.duration()?,
            max: from.duration()?,
            factor: from.fixed()?,
            jitter: from.bool()?,
        }),
        _ => Err(Unreadable::Malformed("an unknown kind of pause")),
    }
}

fn read_unique(from: &mut Reader<'_>) -> Result<UniqueKey, Unreadable> {
    Ok(UniqueKey { hash: from.array()?, keep: from.duration()? })
}

fn write_node(to: &mut Writer, node: &NodeRef) {
    to.text(&node.id).text(&node.name);
}

fn read_node(from: &mut Reader<'_>) -> Result<NodeRef, Unreadable> {
    Ok(NodeRef { id: from.shared_text()?, name: from.shared_text()? })
}

fn write_state(to: &mut Writer, state: &CallState) {
    match state {
        CallState::Running { node, claim, attempt, losses } => {
            to.u8(1);
            write_node(to, node);
            to.fixed(*claim).int(*attempt).int(*losses);
        }
        CallState::Waiting { delay, attempt, losses } => {
            to.u8(2).duration(*delay).int(*attempt).int(*losses);
        }
        CallState::Ended { outcome, attempt, losses, node } => {
            to.u8(3).int(*attempt).int(*losses).option(node.as_ref(), write_node);
            match outcome {
                Outcome::Returned { result, is_err } => {
                    to.u8(0).bool(*is_err);
                    result.as_borrowed().write(to);
                }
                Outcome::Failed(error) => errors::write(to.u8(1), error),
            }
        }
    }
}

fn read_state(from: &mut Reader<'_>) -> Result<CallState, Unreadable> {
    match from.u8()? {
        1 => Ok(CallState::Running {
            node: read_node(from)?,
            claim: from.fixed()?,
            attempt: from.u32()?,
            losses: from.u32()?,
        }),
        2 => Ok(CallState::Waiting {
            delay: from.duration()?,
            attempt: from.u32()?,
            losses: from.u32()?,
        }),
        3 => {
            let (attempt, losses) = (from.u32()?, from.u32()?);
            let node = from.option(read_node)?;
            let outcome = match from.u8()? {
                0 => {
                    let is_err = from.bool()?;
                    Outcome::Returned { result: read_payload(from)?, is_err }
                }
                1 => Outcome::Failed(errors::read(from)?),
                _ => return Err(Unreadable::Malformed("an unknown kind of outcome")),
            };
            Ok(CallState::Ended { outcome, attempt, losses, node })
        }
        _ => Err(Unreadable::Malformed("an unknown state")),
    }
}
