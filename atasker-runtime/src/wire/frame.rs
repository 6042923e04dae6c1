//! Messages between the parent and a worker process. Pure: bytes in, values out.
//!
//! A frame is a length (8 bytes, little endian), a kind (1 byte) and the fields.

use std::collections::BTreeMap;

use super::field::{FieldReader, FieldWriter, LENGTH_PREFIX, Malformed};
use crate::task::channel::{Acks, MAX_MESSAGE_BYTES};

/// The longest frame without a user's payload, in bytes.
pub(super) const MAX_SMALL: u64 = 1 << 20;
/// The longest frame with texts, in bytes.
const MAX_TEXT_FRAME: u64 = 1 << 27;
/// The longest frame with a task's message, in bytes.
const MAX_MESSAGE: u64 = MAX_MESSAGE_BYTES as u64 + 64;
/// The longest frame of all, in bytes. A larger length is a protocol error.
pub(super) const MAX_REPLY: u64 = 1 << 40;
/// Texts are truncated to this many bytes.
pub(super) const MAX_TEXT: usize = MAX_TEXT_FRAME as usize / 8;

/// A message from the worker process to its parent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ToParent<'a> {
    /// The worker process is ready.
    Ready { pid: u32 },
    /// The worker process can't serve, and the reason.
    StartFailed { reason: &'a str },
    /// The process can't be a template, and the reason. Worker processes can serve without it.
    Declined { reason: &'a str },
    /// A reply that is too large for the shared page: a result or an error.
    Reply { call: u64, ok: bool, bytes: &'a [u8] },
    /// A message from a task to its handle.
    Message { call: u64, bytes: &'a [u8] },
    /// The task has received `count` messages.
    Ack { call: u64, count: u64 },
    /// The text of a task's progress.
    ProgressMessage { call: u64, text: &'a str },
    /// The description of a tracing callsite, which precedes all that refers to it. Callsites are
    /// numbered in the order of their descriptions, from 0.
    Callsite { call: u64, number: u32, description: CallsiteDescription<'a> },
    /// A tracing event. See `process::tracing::values` for the values of its fields, also below.
    Event { call: u64, callsite: u32, parent: ParentSpan, values: &'a [u8] },
    /// A tracing span was opened.
    SpanOpened { call: u64, span: u64, callsite: u32, parent: ParentSpan, values: &'a [u8] },
    /// Values of fields of a span were recorded.
    SpanRecorded { span: u64, values: &'a [u8] },
    /// A span follows from another one.
    SpanFollows { call: u64, span: u64, from: ParentSpan },
    /// A span was closed.
    SpanClosed { span: u64 },
    /// All spans that a call has left open are closed.
    SpansClosed { call: u64 },
    /// A record of the crate `log`.
    LogRecord { call: u64, record: LogRecord<'a> },
    /// A call has begun. Sent only where no page is shared.
    Begun { call: u64, at: u64 },
    /// The progress of a task. Sent only where no page is shared.
    Progress { call: u64, done: u64, total: u64 },
    /// A call has ended, and its reply follows. Sent only where no page is shared.
    Ended { call: u64, at: u64 },
    /// A chunk of a map begins an item. `results` are those of the items that it has finished since
    /// the last such frame. Sent only where no page is shared.
    Items { call: u64, begun: u32, results: &'a [u8] },
}

/// The parent of a tracing span or event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ParentSpan {
    /// None: it is a root.
    Root,
    /// The span of the call's task, in the parent process.
    Task,
    /// A span of the worker process, by its number.
    Span(u64),
}

impl ParentSpan {
    fn to_number(self) -> u64 {
        match self {
            ParentSpan::Task => 0,
            ParentSpan::Root => u64::MAX,
            ParentSpan::Span(number) => number,
        }
    }

    fn from_number(number: u64) -> Self {
        match number {
            0 => ParentSpan::Task,
            u64::MAX => ParentSpan::Root,
            number => ParentSpan::Span(number),
        }
    }
}

/// The description of a tracing callsite.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct CallsiteDescription<'a> {
    /// It opens spans; otherwise it emits events.
    pub(crate) is_span: bool,
    /// 1 error, .. 5 trace.
    pub(crate) level: u8,
    pub(crate) name: &'a str,
    pub(crate) target: &'a str,
    pub(crate) module_path: Option<&'a str>,
    pub(crate) file: Option<&'a str>,
    pub(crate) line: Option<u32>,
    /// The names of its fields.
    pub(crate) fields: Vec<&'a str>,
}

/// A record of the crate `log`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LogRecord<'a> {
    /// 1 error, .. 5 trace.
    pub(crate) level: u8,
    pub(crate) target: &'a str,
    pub(crate) module_path: Option<&'a str>,
    pub(crate) file: Option<&'a str>,
    pub(crate) line: Option<u32>,
    pub(crate) message: &'a str,
}

/// A message from the parent to its worker process. Where a page is shared, calls are not sent as
/// messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ToWorker<'a> {
    /// The first frame: the settings of the worker process.
    Setup(Setup<'a>),
    /// A task was asked to stop.
    Stop { call: u64 },
    /// A message to a task.
    Message { call: u64, bytes: &'a [u8] },
    /// The handle has received `count` messages of the task.
    Ack { call: u64, count: u64 },
    /// No more frames follow: the worker process is to exit.
    Shutdown,
    /// A call, on the data socket. Its name and arguments follow as raw bytes.
    Call(CallMessage),
    /// Whether the task has a handle that can receive its messages. Sent only if it lacked one at
    /// some time.
    Receiver { call: u64, present: bool },
    /// The filters of the program's tracing subscribers and logger have changed.
    Filter(Filter),
}

/// The kind of [`ToWorker::Filter`].
const FILTER: u8 = 8;

/// What a program wants of the spans, events and log records of its worker processes.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub(crate) struct Filter {
    pub(crate) levels: MaxLevels,
    /// Callsites by number, and whether they are wanted: those for which this has changed.
    pub(crate) callsites: Vec<(u32, bool)>,
}

impl Filter {
    /// Both filters in one: this one, then `later`.
    pub(crate) fn followed_by(self, later: Filter) -> Filter {
        let callsites: BTreeMap<_, _> = self.callsites.into_iter().chain(later.callsites).collect();
        Filter { levels: later.levels, callsites: callsites.into_iter().collect() }
    }
}

/// The most verbose levels that are wanted: 0 none, 1 error, .. 5 trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(crate) struct MaxLevels {
    pub(crate) tracing: u8,
    pub(crate) log: u8,
}

/// Which channels a call has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ChannelSetup {
    None,
    Both,
    /// Both, and the task has no handle that can receive. Sent with the call, because the task has
    /// to know before it begins.
    NoReceiver,
    /// As `Both`, and the task acknowledges each message at once.
    BothAcked,
    /// As `NoReceiver`, and the task acknowledges each message at once.
    NoReceiverAcked,
}

impl ChannelSetup {
    /// Converts from the discriminant.
    pub(crate) fn from_number(number: u8) -> Self {
        match number {
            0 => ChannelSetup::None,
            1 => ChannelSetup::Both,
            3 => ChannelSetup::BothAcked,
            4 => ChannelSetup::NoReceiverAcked,
            _ => ChannelSetup::NoReceiver,
        }
    }

    /// Returns how the channels of a task are set up, if it has any.
    pub(crate) fn of(has_receiver: bool, acks: Acks) -> Self {
        match (has_receiver, acks) {
            (true, Acks::Batched) => ChannelSetup::Both,
            (false, Acks::Batched) => ChannelSetup::NoReceiver,
            (true, Acks::AtOnce) => ChannelSetup::BothAcked,
            (false, Acks::AtOnce) => ChannelSetup::NoReceiverAcked,
        }
    }

    /// Returns whether the task has a handle that can receive.
    pub(crate) fn has_receiver(self) -> bool {
        matches!(self, ChannelSetup::Both | ChannelSetup::BothAcked)
    }

    /// Returns when the task acknowledges messages.
    pub(crate) fn acks(self) -> Acks {
        match self {
            ChannelSetup::BothAcked | ChannelSetup::NoReceiverAcked => Acks::AtOnce,
            _ => Acks::Batched,
        }
    }
}

/// The header of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CallMessage {
    pub(crate) call: u64,
    pub(crate) function: u32,
    pub(crate) id: (u64, u64),
    pub(crate) attempt: u32,
    pub(crate) priority: u8,
    pub(crate) channels: ChannelSetup,
    pub(crate) name_len: u64,
    pub(crate) args_len: u64,
}

/// The settings of a worker process.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub(crate) struct Setup<'a> {
    pub(crate) fingerprint: u64,
    /// The number of the first call.
    pub(crate) first: u64,
    pub(crate) levels: MaxLevels,
    pub(crate) nice: i32,
    /// Tasks of low priority run with a higher nice value.
    pub(crate) nice_by_priority: bool,
    /// The system may write core files, and other processes may read this process's memory.
    pub(crate) dumpable: bool,
    /// Bytes that may be added to the address space; 0 means no limit.
    pub(crate) memory: u64,
    /// Standard output and error are pipes to the parent: the nonce that marks tasks in them.
    pub(crate) stdio_nonce: Option<u64>,
    /// Functions to run at the start and at the exit, as offsets into the image: see `sys::hooks`.
    pub(crate) init: Option<u64>,
    pub(crate) exit: Option<u64>,
    /// The title of a process that was forked from a template; empty in others, which have it from
    /// their start.
    pub(crate) title: &'a str,
    /// The type name and the encoding of the worker data.
    pub(crate) data: Option<(&'a str, &'a [u8])>,
}

/// The messages of one direction.
pub(crate) trait Message<'a>: Sized {
    /// Appends the message as a frame.
    fn write(&self, to: &mut Vec<u8>);
    /// The longest frame of this kind, in bytes.
    fn max_len(kind: u8) -> u64;
    /// Reads the fields of a frame of this kind.
    fn read(kind: u8, fields: &mut FieldReader<'a>) -> Result<Self, Malformed>;
}

impl<'a> Message<'a> for ToParent<'a> {
    fn write(&self, to: &mut Vec<u8>) {
        match self {
            ToParent::Ready { pid } => FieldWriter::new(to, 1).u32(*pid),
            ToParent::StartFailed { reason } => {
                FieldWriter::new(to, 2).truncated_text(reason, MAX_SMALL as usize / 2)
            }
            ToParent::Reply { call, ok, bytes } => {
                FieldWriter::new(to, 3).u64(*call).u8(u8::from(*ok)).bytes(bytes)
            }
            ToParent::Message { call, bytes } => FieldWriter::new(to, 4).u64(*call).bytes(bytes),
            ToParent::Ack { call, count } => FieldWriter::new(to, 5).u64(*call).u64(*count),
            ToParent::ProgressMessage { call, text } => {
                FieldWriter::new(to, 6).u64(*call).truncated_text(text, MAX_TEXT)
            }
            ToParent::Callsite { call, number, description: about } => {
                let mut writer = FieldWriter::new(to, 7)
                    .u64(*call)
                    .u32(*number)
                    .u8(u8::from(about.is_span))
                    .u8(about.level)
                    .text(about.name)
                    .text(about.target)
                    .option_text(about.module_path)
                    .option_text(about.file)
                    .option_u32(about.line)
                    .u32(about.fields.len() as u32);
                for name in &about.fields {
                    writer = writer.text(name);
                }
                writer
            }
            ToParent::Begun { call, at } => FieldWriter::new(to, 8).u64(*call).u64(*at),
            ToParent::Progress { call, done, total } => {
                FieldWriter::new(to, 9).u64(*call).u64(*done).u64(*total)
            }
            ToParent::Ended { call, at } => FieldWriter::new(to, 10).u64(*call).u64(*at),
            ToParent::Event { call, callsite, parent, values } => FieldWriter::new(to, 11)
                .u64(*call)
                .u32(*callsite)
                .u64(parent.to_number())
                .bytes(values),
            ToParent::SpanOpened { call, span, callsite, parent, values } => {
                FieldWriter::new(to, 12)
                    .u64(*call)
                    .u64(*span)
                    .u32(*callsite)
                    .u64(parent.to_number())
                    .bytes(values)
            }
            ToParent::SpanRecorded { span, values } => {
                FieldWriter::new(to, 13).u64(*span).bytes(values)
            }
            ToParent::SpanFollows { call, span, from } => {
                FieldWriter::new(to, 14).u64(*call).u64(*span).u64(from.to_number())
            }
            ToParent::SpanClosed { span } => FieldWriter::new(to, 15).u64(*span),
            ToParent::SpansClosed { call } => FieldWriter::new(to, 16).u64(*call),
            ToParent::LogRecord { call, record } => FieldWriter::new(to, 17)
                .u64(*call)
                .u8(record.level)
                .truncated_text(record.target, MAX_TEXT)
                .truncated_option_text(record.module_path, MAX_TEXT)
                .truncated_option_text(record.file, MAX_TEXT)
                .option_u32(record.line)
                .truncated_text(record.message, MAX_TEXT),
            ToParent::Items { call, begun, results } => {
                FieldWriter::new(to, 18).u64(*call).u32(*begun).bytes(results)
            }
            ToParent::Declined { reason } => {
                FieldWriter::new(to, 19).truncated_text(reason, MAX_SMALL as usize / 2)
            }
        }
        .end();
    }

    fn max_len(kind: u8) -> u64 {
        match kind {
            3 => MAX_REPLY,
            4 => MAX_MESSAGE,
            6 | 11..=13 | 17 => MAX_TEXT_FRAME,
            _ => MAX_SMALL,
        }
    }

    fn read(kind: u8, fields: &mut FieldReader<'a>) -> Result<Self, Malformed> {
        Ok(match kind {
            1 => ToParent::Ready { pid: fields.u32()? },
            2 => ToParent::StartFailed { reason: fields.text()? },
            3 => {
                let (call, ok) = (fields.u64()?, fields.u8()? == 1);
                ToParent::Reply { call, ok, bytes: fields.bytes()? }
            }
            4 => ToParent::Message { call: fields.u64()?, bytes: fields.bytes()? },
            5 => ToParent::Ack { call: fields.u64()?, count: fields.u64()? },
            6 => ToParent::ProgressMessage { call: fields.u64()?, text: fields.text()? },
            7 => ToParent::Callsite {
                call: fields.u64()?,
                number: fields.u32()?,
                description: CallsiteDescription {
                    is_span: fields.u8()? == 1,
                    level: fields.u8()?,
                    name: fields.text()?,
                    target: fields.text()?,
                    module_path: fields.option_text()?,
                    file: fields.option_text()?,
                    line: fields.option_u32()?,
                    fields: {
                        let count = fields.u32()?;
                        // Not with capacity, because the count may be false.
                        (0..count).map(|_| fields.text()).collect::<Result<_, _>>()?
                    },
                },
            },
            8 => ToParent::Begun { call: fields.u64()?, at: fields.u64()? },
            9 => ToParent::Progress {
                call: fields.u64()?,
                done: fields.u64()?,
                total: fields.u64()?,
            },
            10 => ToParent::Ended { call: fields.u64()?, at: fields.u64()? },
            11 => ToParent::Event {
                call: fields.u64()?,
                callsite: fields.u32()?,
                parent: ParentSpan::from_number(fields.u64()?),
                values: fields.bytes()?,
            },
            12 => ToParent::SpanOpened {
                call: fields.u64()?,
                span: fields.u64()?,
                callsite: fields.u32()?,
                parent: ParentSpan::from_number(fields.u64()?),
                values: fields.bytes()?,
            },
            13 => ToParent::SpanRecorded { span: fields.u64()?, values: fields.bytes()? },
            14 => ToParent::SpanFollows {
                call: fields.u64()?,
                span: fields.u64()?,
                from: ParentSpan::from_number(fields.u64()?),
            },
            15 => ToParent::SpanClosed { span: fields.u64()? },
            16 => ToParent::SpansClosed { call: fields.u64()? },
            17 => ToParent::LogRecord {
                call: fields.u64()?,
                record: LogRecord {
                    level: fields.u8()?,
                    target: fields.text()?,
                    module_path: fields.option_text()?,
                    file: fields.option_text()?,
                    line: fields.option_u32()?,
                    message: fields.text()?,
                },
            },
            18 => ToParent::Items {
                call: fields.u64()?,
                begun: fields.u32()?,
                results: fields.bytes()?,
            },
            19 => ToParent::Declined { reason: fields.text()? },
            _ => return Err(Malformed("an unknown kind of frame")),
        })
    }
}

impl<'a> Message<'a> for ToWorker<'a> {
    fn write(&self, to: &mut Vec<u8>) {
        match self {
            ToWorker::Setup(setup) => {
                let writer = FieldWriter::new(to, 1)
                    .u64(setup.fingerprint)
                    .u64(setup.first)
                    .u8(setup.levels.tracing)
                    .u8(setup.levels.log)
                    .u32(setup.nice.cast_unsigned())
                    .u8(u8::from(setup.nice_by_priority))
                    .u8(u8::from(setup.dumpable))
                    .u64(setup.memory)
                    .option(setup.stdio_nonce)
                    .option(setup.init)
                    .option(setup.exit)
                    .text(setup.title);
                match setup.data {
                    Some((name, bytes)) => writer.u8(1).text(name).bytes(bytes),
                    None => writer.u8(0),
                }
            }
            ToWorker::Stop { call } => FieldWriter::new(to, 2).u64(*call),
            ToWorker::Message { call, bytes } => FieldWriter::new(to, 3).u64(*call).bytes(bytes),
            ToWorker::Ack { call, count } => FieldWriter::new(to, 4).u64(*call).u64(*count),
            ToWorker::Shutdown => FieldWriter::new(to, 5),
            ToWorker::Call(call) => FieldWriter::new(to, 6)
                .u64(call.call)
                .u32(call.function)
                .u64(call.id.0)
                .u64(call.id.1)
                .u32(call.attempt)
                .u8(call.priority)
                .u8(call.channels as u8)
                .u64(call.name_len)
                .u64(call.args_len),
            ToWorker::Receiver { call, present } => {
                FieldWriter::new(to, 7).u64(*call).u8(u8::from(*present))
            }
            ToWorker::Filter(Filter { levels, callsites }) => {
                let mut writer = FieldWriter::new(to, FILTER)
                    .u8(levels.tracing)
                    .u8(levels.log)
                    .u32(callsites.len() as u32);
                for (number, wanted) in callsites {
                    writer = writer.u32(*number).u8(u8::from(*wanted));
                }
                writer
            }
        }
        .end();
    }

    fn max_len(kind: u8) -> u64 {
        match kind {
            1 => MAX_REPLY,
            3 => MAX_MESSAGE,
            _ => MAX_SMALL,
        }
    }

    fn read(kind: u8, fields: &mut FieldReader<'a>) -> Result<Self, Malformed> {
        Ok(match kind {
            1 => ToWorker::Setup(Setup {
                fingerprint: fields.u64()?,
                first: fields.u64()?,
                levels: MaxLevels { tracing: fields.u8()?, log: fields.u8()? },
                nice: fields.u32()?.cast_signed(),
                nice_by_priority: fields.u8()? == 1,
                dumpable: fields.u8()? == 1,
                memory: fields.u64()?,
                stdio_nonce: fields.option()?,
                init: fields.option()?,
                exit: fields.option()?,
                title: fields.text()?,
                data: match fields.u8()? {
                    0 => None,
                    _ => Some((fields.text()?, fields.bytes()?)),
                },
            }),
            2 => ToWorker::Stop { call: fields.u64()? },
            3 => ToWorker::Message { call: fields.u64()?, bytes: fields.bytes()? },
            4 => ToWorker::Ack { call: fields.u64()?, count: fields.u64()? },
            5 => ToWorker::Shutdown,
            6 => ToWorker::Call(CallMessage {
                call: fields.u64()?,
                function: fields.u32()?,
                id: (fields.u64()?, fields.u64()?),
                attempt: fields.u32()?,
                priority: fields.u8()?,
                channels: ChannelSetup::from_number(fields.u8()?),
                name_len: fields.u64()?,
                args_len: fields.u64()?,
            }),
            7 => ToWorker::Receiver { call: fields.u64()?, present: fields.u8()? == 1 },
            FILTER => ToWorker::Filter(Filter {
                levels: MaxLevels { tracing: fields.u8()?, log: fields.u8()? },
                callsites: {
                    let count = fields.u32()?;
                    let callsite = |_| Ok((fields.u32()?, fields.u8()? == 1));
                    (0..count).map(callsite).collect::<Result<_, Malformed>>()?
                },
            }),
            _ => return Err(Malformed("an unknown kind of frame")),
        })
    }
}

/// The call and the count of an encoded [`ToWorker::Ack`], and of no other frame.
pub(crate) fn decode_ack(frame: &[u8]) -> Option<(u64, u64)> {
    let (kind, fields) = frame.get(LENGTH_PREFIX..)?.split_first()?;
    match ToWorker::read(*kind, &mut FieldReader::new(fields)) {
        Ok(ToWorker::Ack { call, count }) => Some((call, count)),
        _ => None,
    }
}

/// The filter of an encoded [`ToWorker::Filter`], and of no other frame.
pub(crate) fn decode_filter(frame: &[u8]) -> Option<Filter> {
    let (kind, fields) = frame.get(LENGTH_PREFIX..)?.split_first()?;
    if *kind != FILTER {
        return None;
    }
    match ToWorker::read(*kind, &mut FieldReader::new(fields)) {
        Ok(ToWorker::Filter(filter)) => Some(filter),
        _ => None,
    }
}

pub(super) const REPLY_HEADER_LEN: usize = LENGTH_PREFIX + 1 + 8 + 1 + 8;

/// Returns the header that turns the `len` bytes behind it into a [`ToParent::Reply`] frame, so
/// that a large result need not be copied into the frame.
pub(crate) fn reply_header(call: u64, ok: bool, len: usize) -> [u8; REPLY_HEADER_LEN] {
    let mut header = [0; REPLY_HEADER_LEN];
    header[..8].copy_from_slice(&((REPLY_HEADER_LEN - LENGTH_PREFIX + len) as u64).to_le_bytes());
    header[8] = 3;
    header[9..17].copy_from_slice(&call.to_le_bytes());
    header[17] = u8::from(ok);
    header[18..26].copy_from_slice(&(len as u64).to_le_bytes());
    header
}
