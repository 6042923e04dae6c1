//! Messages between the parent and a worker process, and their framing. Pure: bytes in, values out.
//!
//! A frame is a length (8 bytes, little endian), a kind (1 byte) and the fields. [`Frames`] buffers
//! bytes as they arrive and returns complete frames. For any input it returns a frame, `None` (more
//! bytes are needed) or an error, and it never reserves much more memory than has arrived.

use crate::task::channel::MAX_MESSAGE_BYTES;

/// Bytes that are not a valid frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it violated the protocol: {0}")]
pub(crate) struct Malformed(pub(crate) &'static str);

/// The longest frame without a user's payload, in bytes.
const MAX_SMALL: u64 = 1 << 20;
/// The longest frame with texts, in bytes.
const MAX_TEXT_FRAME: u64 = 1 << 27;
/// The longest frame with a task's message, in bytes.
const MAX_MESSAGE: u64 = MAX_MESSAGE_BYTES as u64 + 64;
/// The longest frame of all, in bytes. A larger length is a protocol error.
const MAX_REPLY: u64 = 1 << 40;
/// Texts are truncated to this many bytes.
const MAX_TEXT: usize = MAX_TEXT_FRAME as usize / 8;
/// Bytes of the length in front of a frame.
const LENGTH_PREFIX: usize = 8;

/// A message from the worker process to its parent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ToParent<'a> {
    /// The worker process is ready.
    Ready { pid: u32 },
    /// The worker process can't serve, and the reason.
    StartFailed { reason: &'a str },
    /// A reply that is too large for the shared page: a result or an error.
    Reply { call: u64, ok: bool, bytes: &'a [u8] },
    /// A message from a task to its handle.
    Message { call: u64, bytes: &'a [u8] },
    /// The task has received `count` messages.
    Ack { call: u64, count: u64 },
    /// The text of a task's progress.
    ProgressMessage { call: u64, text: &'a str },
    /// A tracing event.
    Event {
        call: u64,
        level: u8,
        target: &'a str,
        message: &'a str,
        fields: &'a str,
        file: &'a str,
        line: u32,
    },
    /// A call has begun. Sent only where no page is shared.
    Begun { call: u64, at: u64 },
    /// The progress of a task. Sent only where no page is shared.
    Progress { call: u64, done: u64, total: u64 },
    /// A call has ended, and its reply follows. Sent only where no page is shared.
    Ended { call: u64, at: u64 },
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
}

/// Which channels a call has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ChannelSetup {
    None,
    Both,
    /// Both, and the task has no handle that can receive. Sent with the call, because the task has
    /// to know before it begins.
    NoReceiver,
}

impl ChannelSetup {
    /// Converts from the discriminant.
    pub(crate) fn from_number(number: u8) -> Self {
        match number {
            0 => ChannelSetup::None,
            1 => ChannelSetup::Both,
            _ => ChannelSetup::NoReceiver,
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
    /// The most verbose tracing level that a subscriber is interested in: 0 none, 1 error, .. 5
    /// trace.
    pub(crate) level: u8,
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
    /// The type name and the encoding of the worker data.
    pub(crate) data: Option<(&'a str, &'a [u8])>,
}

/// Writes one frame.
pub(crate) struct FieldWriter<'a> {
    to: &'a mut Vec<u8>,
    start: usize,
}

impl<'a> FieldWriter<'a> {
    fn new(to: &'a mut Vec<u8>, kind: u8) -> Self {
        let start = to.len();
        to.extend_from_slice(&[0; LENGTH_PREFIX]);
        to.push(kind);
        FieldWriter { to, start }
    }
    fn u8(self, value: u8) -> Self {
        self.to.push(value);
        self
    }
    fn u32(self, value: u32) -> Self {
        self.to.extend_from_slice(&value.to_le_bytes());
        self
    }
    fn u64(self, value: u64) -> Self {
        self.to.extend_from_slice(&value.to_le_bytes());
        self
    }
    fn bytes(self, value: &[u8]) -> Self {
        let this = self.u64(value.len() as u64);
        this.to.extend_from_slice(value);
        this
    }
    fn text(self, value: &str) -> Self {
        self.bytes(value.as_bytes())
    }
    /// Writes the text, truncated to `most` bytes at a character boundary.
    fn truncated_text(self, value: &str, most: usize) -> Self {
        let mut end = value.len().min(most);
        while !value.is_char_boundary(end) {
            end -= 1;
        }
        self.text(&value[..end])
    }
    fn option(self, value: Option<u64>) -> Self {
        match value {
            Some(value) => self.u8(1).u64(value),
            None => self.u8(0),
        }
    }
    fn end(self) {
        let length = (self.to.len() - self.start - LENGTH_PREFIX) as u64;
        self.to[self.start..self.start + LENGTH_PREFIX].copy_from_slice(&length.to_le_bytes());
    }
}

/// Reads the fields of one frame.
pub(crate) struct FieldReader<'a>(&'a [u8]);

impl<'a> FieldReader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        FieldReader(bytes)
    }
    fn take(&mut self, count: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(Malformed("a truncated field"))?;
        self.0 = rest;
        Ok(taken)
    }
    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let taken = self.take(N)?;
        taken.try_into().map_err(|_| Malformed("a truncated field"))
    }
    pub(crate) fn u8(&mut self) -> Result<u8, Malformed> {
        Ok(self.array::<1>()?[0])
    }
    fn u32(&mut self) -> Result<u32, Malformed> {
        Ok(u32::from_le_bytes(self.array()?))
    }
    fn u64(&mut self) -> Result<u64, Malformed> {
        Ok(u64::from_le_bytes(self.array()?))
    }
    fn bytes(&mut self) -> Result<&'a [u8], Malformed> {
        let length = self.u64()?;
        self.take(usize::try_from(length).map_err(|_| Malformed("a truncated field"))?)
    }
    pub(crate) fn text(&mut self) -> Result<&'a str, Malformed> {
        std::str::from_utf8(self.bytes()?).map_err(|_| Malformed("a text that is not UTF-8"))
    }
    fn option(&mut self) -> Result<Option<u64>, Malformed> {
        match self.u8()? {
            0 => Ok(None),
            1 => Ok(Some(self.u64()?)),
            _ => Err(Malformed("an invalid option tag")),
        }
    }
    pub(crate) fn end(self) -> Result<(), Malformed> {
        if self.0.is_empty() { Ok(()) } else { Err(Malformed("a frame with extra bytes")) }
    }
}

/// Appends a text as a field, for values that are encoded inside a field.
pub(crate) fn write_text(to: &mut Vec<u8>, text: &str) {
    to.extend_from_slice(&(text.len() as u64).to_le_bytes());
    to.extend_from_slice(text.as_bytes());
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
            ToParent::Event { call, level, target, message, fields, file, line } => {
                FieldWriter::new(to, 7)
                    .u64(*call)
                    .u8(*level)
                    .truncated_text(target, MAX_TEXT)
                    .truncated_text(message, MAX_TEXT)
                    .truncated_text(fields, MAX_TEXT)
                    .truncated_text(file, MAX_TEXT)
                    .u32(*line)
            }
            ToParent::Begun { call, at } => FieldWriter::new(to, 8).u64(*call).u64(*at),
            ToParent::Progress { call, done, total } => {
                FieldWriter::new(to, 9).u64(*call).u64(*done).u64(*total)
            }
            ToParent::Ended { call, at } => FieldWriter::new(to, 10).u64(*call).u64(*at),
        }
        .end();
    }

    fn max_len(kind: u8) -> u64 {
        match kind {
            3 => MAX_REPLY,
            4 => MAX_MESSAGE,
            6 | 7 => MAX_TEXT_FRAME,
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
            7 => ToParent::Event {
                call: fields.u64()?,
                level: fields.u8()?,
                target: fields.text()?,
                message: fields.text()?,
                fields: fields.text()?,
                file: fields.text()?,
                line: fields.u32()?,
            },
            8 => ToParent::Begun { call: fields.u64()?, at: fields.u64()? },
            9 => ToParent::Progress {
                call: fields.u64()?,
                done: fields.u64()?,
                total: fields.u64()?,
            },
            10 => ToParent::Ended { call: fields.u64()?, at: fields.u64()? },
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
                    .u8(setup.level)
                    .u32(setup.nice.cast_unsigned())
                    .u8(u8::from(setup.nice_by_priority))
                    .u8(u8::from(setup.dumpable))
                    .u64(setup.memory)
                    .option(setup.stdio_nonce)
                    .option(setup.init)
                    .option(setup.exit);
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
                level: fields.u8()?,
                nice: fields.u32()?.cast_signed(),
                nice_by_priority: fields.u8()? == 1,
                dumpable: fields.u8()? == 1,
                memory: fields.u64()?,
                stdio_nonce: fields.option()?,
                init: fields.option()?,
                exit: fields.option()?,
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

const REPLY_HEADER_LEN: usize = LENGTH_PREFIX + 1 + 8 + 1 + 8;

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

/// Buffers bytes and returns complete frames. See the module documentation.
#[derive(Debug)]
pub(crate) struct Frames {
    /// The longest frame that is accepted, in addition to the limits of each kind.
    max_len: u64,
    buffer: Vec<u8>,
    /// Bytes of the buffer that were already returned.
    start: usize,
}

impl Default for Frames {
    fn default() -> Self {
        Frames::limited_to(MAX_REPLY)
    }
}

/// Bytes that are read at once.
const CHUNK: usize = 64 * 1024;

impl Frames {
    pub(crate) fn new() -> Self {
        Frames::default()
    }

    /// Accepts no frame longer than `max_len` bytes.
    pub(crate) fn limited_to(max_len: u64) -> Self {
        Frames { max_len, buffer: Vec::new(), start: 0 }
    }

    /// Returns the buffer to append the next bytes to, with spare capacity.
    pub(crate) fn room(&mut self) -> &mut Vec<u8> {
        if self.start > 0 {
            self.buffer.drain(..self.start);
            self.start = 0;
            // Free what one large frame needed.
            if self.buffer.capacity() > 16 * CHUNK && self.buffer.len() < CHUNK {
                self.buffer.shrink_to(CHUNK);
            }
        }
        if self.buffer.capacity() - self.buffer.len() < CHUNK / 4 {
            // At most doubles, so that a false length in a frame reserves no memory.
            self.buffer.reserve(CHUNK.max(self.buffer.len()));
        }
        &mut self.buffer
    }

    /// Returns the next frame, or `None` if more bytes are needed.
    pub(crate) fn next<'a, M: Message<'a>>(&'a mut self) -> Result<Option<M>, Malformed> {
        let bytes = &self.buffer[self.start..];
        let Some((prefix, rest)) = bytes.split_at_checked(LENGTH_PREFIX) else {
            return Ok(None);
        };
        let length = u64::from_le_bytes(prefix.try_into().expect("split at its length"));
        if length == 0 {
            return Err(Malformed("an empty frame"));
        }
        let Some(&kind) = rest.first() else {
            return Ok(None);
        };
        if length > M::max_len(kind) {
            return Err(Malformed("a frame with an invalid length"));
        }
        if length > self.max_len {
            return Err(Malformed("a frame that is longer than the memory limit of its sender"));
        }
        let length = usize::try_from(length)
            .map_err(|_| Malformed("a frame that is too long for this machine"))?;
        let Some(frame) = rest.get(..length) else {
            return Ok(None);
        };
        self.start += LENGTH_PREFIX + length;
        let mut fields = FieldReader::new(&frame[1..]);
        let message = M::read(kind, &mut fields)?;
        fields.end()?;
        Ok(Some(message))
    }
}

impl Frames {
    /// Takes raw bytes that follow a frame: at most `count`, of those that have arrived.
    pub(crate) fn take_raw(&mut self, count: usize) -> &[u8] {
        let start = self.start;
        self.start = start.saturating_add(count).min(self.buffer.len());
        &self.buffer[start..self.start]
    }

    /// The call of the [`ToParent::Reply`] that comes next, if its header has arrived.
    pub(crate) fn incoming_reply(&self) -> Option<u64> {
        let header = self.buffer.get(self.start + LENGTH_PREFIX..)?;
        match header.split_first()? {
            (3, rest) => rest.first_chunk().copied().map(u64::from_le_bytes),
            _ => None,
        }
    }
}

/// Properties of [`Frames`] for any input, checked by the tests and by the fuzzer.
#[cfg(any(test, fuzzing))]
pub(crate) mod properties {
    use super::*;

    /// Takes the next frame and encodes it again.
    pub(crate) type Next = fn(&mut Frames) -> Result<Option<Vec<u8>>, Malformed>;

    fn rewritten<'a, M: Message<'a>>(frames: &'a mut Frames) -> Result<Option<Vec<u8>>, Malformed> {
        Ok(frames.next::<M>()?.map(|message| {
            let mut bytes = Vec::new();
            message.write(&mut bytes);
            bytes
        }))
    }

    /// Both directions.
    pub(crate) const DIRECTIONS: [Next; 2] =
        [|frames| rewritten::<ToParent<'_>>(frames), |frames| rewritten::<ToWorker<'_>>(frames)];

    /// Returns all frames in `bytes`, read in pieces of these sizes (repeated), and the error at
    /// the end, if any.
    pub(crate) fn all(
        next: Next,
        mut bytes: &[u8],
        pieces: &[usize],
    ) -> (Vec<Vec<u8>>, Option<Malformed>) {
        let mut frames = Frames::new();
        let (mut given, mut consumed) = (Vec::new(), 0);
        for size in pieces.iter().cycle() {
            if bytes.is_empty() {
                break;
            }
            let (piece, rest) = bytes.split_at((*size).clamp(1, bytes.len()));
            bytes = rest;
            frames.room().extend_from_slice(piece);
            consumed += piece.len();
            assert!(
                frames.buffer.capacity() <= 4 * CHUNK + 2 * consumed,
                "{consumed} bytes have come"
            );
            loop {
                match next(&mut frames) {
                    Ok(Some(frame)) => given.push(frame),
                    Ok(None) => break,
                    Err(malformed) => return (given, Some(malformed)),
                }
            }
        }
        (given, None)
    }

    /// The way in which bytes are split has no effect on the frames, and encoding is the inverse of
    /// decoding.
    pub(crate) fn check(next: Next, bytes: &[u8], pieces: &[usize]) {
        let whole = all(next, bytes, &[bytes.len()]);
        assert_eq!(all(next, bytes, pieces), whole);
        let again = all(next, &whole.0.concat(), &[usize::MAX]);
        assert_eq!(again, (whole.0, None));
    }
}

#[cfg(test)]
mod tests {
    use super::properties::{DIRECTIONS, all, check};
    use super::*;
    use proptest::prelude::*;

    fn feed(frames: &mut Frames, bytes: &[u8]) {
        frames.room().extend_from_slice(bytes);
    }

    #[test]
    fn frames_round_trip_in_pieces() {
        let sent = [
            ToParent::Ready { pid: 7 },
            ToParent::Reply { call: 1, ok: true, bytes: &[1, 2, 3] },
            ToParent::Message { call: 2, bytes: b"" },
            ToParent::ProgressMessage { call: 3, text: "half" },
            ToParent::Event {
                call: 1,
                level: 3,
                target: "a::b",
                message: "m",
                fields: "k=1",
                file: "f.rs",
                line: 9,
            },
        ];
        let mut bytes = Vec::new();
        sent.iter().for_each(|message| message.write(&mut bytes));
        let mut frames = Frames::new();
        let mut at = 0;
        for byte in bytes {
            feed(&mut frames, &[byte]);
            if let Some(message) = frames.next::<ToParent<'_>>().unwrap() {
                assert_eq!(message, sent[at]);
                at += 1;
            }
        }
        assert_eq!(at, sent.len());
    }

    #[test]
    fn reply_header_matches_a_written_frame() {
        let mut written = Vec::new();
        ToParent::Reply { call: 77, ok: true, bytes: b"result" }.write(&mut written);
        let made = [&reply_header(77, true, 6)[..], b"result"].concat();
        assert_eq!(made, written);
    }

    #[test]
    fn setup_round_trips() {
        let setup = ToWorker::Setup(Setup {
            fingerprint: 1,
            first: 2,
            level: 5,
            nice: -3,
            nice_by_priority: true,
            dumpable: false,
            memory: 4,
            stdio_nonce: Some(9),
            init: Some(5),
            exit: None,
            data: Some(("u8", &[1])),
        });
        let mut frames = Frames::new();
        setup.write(frames.room());
        assert_eq!(frames.next::<ToWorker<'_>>().unwrap(), Some(setup));
    }

    #[test]
    fn raw_bytes_after_a_frame_are_returned() {
        let mut frames = Frames::new();
        ToWorker::Shutdown.write(frames.room());
        feed(&mut frames, b"argu");
        assert_eq!(frames.next::<ToWorker<'_>>(), Ok(Some(ToWorker::Shutdown)));
        assert_eq!(frames.take_raw(3), b"arg");
        assert_eq!(frames.take_raw(usize::MAX), b"u");
        assert_eq!(frames.take_raw(1), b"");
        ToWorker::Stop { call: 1 }.write(frames.room());
        assert_eq!(frames.next::<ToWorker<'_>>(), Ok(Some(ToWorker::Stop { call: 1 })));
    }

    #[test]
    fn too_long_text_is_truncated() {
        let text = "é".repeat(MAX_TEXT);
        let mut frames = Frames::new();
        ToParent::StartFailed { reason: &text }.write(frames.room());
        ToParent::ProgressMessage { call: 1, text: &text }.write(frames.room());
        let (target, message, fields, file) = (&*text, &*text, &*text, &*text);
        ToParent::Event { call: 1, level: 1, target, message, fields, file, line: 1 }
            .write(frames.room());
        let Ok(Some(ToParent::StartFailed { reason })) = frames.next() else { panic!() };
        assert_eq!(reason.len(), MAX_SMALL as usize / 2);
        let Ok(Some(ToParent::ProgressMessage { text, .. })) = frames.next() else { panic!() };
        assert_eq!(text.len(), MAX_TEXT);
        let Ok(Some(ToParent::Event { file, .. })) = frames.next() else { panic!() };
        assert_eq!(file.len(), MAX_TEXT);
    }

    #[test]
    fn incoming_reply_is_known_by_its_header() {
        let mut wire = Vec::new();
        ToParent::Ack { call: 1, count: 2 }.write(&mut wire);
        let first = wire.len();
        ToParent::Reply { call: 77, ok: true, bytes: b"result" }.write(&mut wire);
        let mut frames = Frames::new();
        for (at, byte) in wire.iter().enumerate() {
            assert_eq!(
                frames.incoming_reply(),
                (at >= first + LENGTH_PREFIX + 1 + 8).then_some(77)
            );
            feed(&mut frames, &[*byte]);
            let _ = frames.next::<ToParent<'_>>().unwrap();
        }
        assert_eq!(frames.incoming_reply(), None);
    }

    #[test]
    fn a_frame_beyond_the_limit_is_refused_at_its_head() {
        let header = |len| reply_header(7, true, len);
        let over = REPLY_HEADER_LEN - LENGTH_PREFIX;
        let mut frames = Frames::limited_to(1000);
        feed(&mut frames, &header(1000 - over));
        assert_eq!(frames.next::<ToParent<'_>>(), Ok(None));
        let mut frames = Frames::limited_to(1000);
        feed(&mut frames, &header(1000 - over + 1));
        assert!(frames.next::<ToParent<'_>>().is_err());
    }

    #[test]
    fn an_encoded_ack_is_recognized() {
        let encoded = |message: &ToWorker<'_>| {
            let mut bytes = Vec::new();
            message.write(&mut bytes);
            bytes
        };
        assert_eq!(decode_ack(&encoded(&ToWorker::Ack { call: 3, count: 9 })), Some((3, 9)));
        assert_eq!(decode_ack(&encoded(&ToWorker::Stop { call: 3 })), None);
        assert_eq!(decode_ack(&encoded(&ToWorker::Message { call: 3, bytes: &[0; 8] })), None);
    }

    #[test]
    fn false_length_reserves_no_memory() {
        let mut frames = Frames::new();
        feed(&mut frames, &(MAX_REPLY - 1).to_le_bytes());
        feed(&mut frames, &[3]);
        assert_eq!(frames.next::<ToParent<'_>>(), Ok(None));
        assert!(frames.room().capacity() <= 4 * CHUNK);
        let mut frames = Frames::new();
        feed(&mut frames, &(MAX_SMALL + 1).to_le_bytes());
        feed(&mut frames, &[1]);
        assert!(frames.next::<ToParent<'_>>().is_err());
    }

    fn text() -> impl Strategy<Value = String> {
        proptest::string::string_regex("[a-zé\0 ]{0,40}").expect("it is one")
    }

    fn bulk() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof![
            4 => prop::collection::vec(any::<u8>(), 0..300),
            1 => (0..2 * CHUNK).prop_map(|size| vec![7; size]),
        ]
    }

    /// A frame to the parent or to a worker process.
    fn frame(to_parent: bool) -> impl Strategy<Value = Vec<u8>> {
        let fields = (any::<(u64, u64, u32, u8)>(), text(), text(), bulk(), 0..10u8);
        fields.prop_map(move |((call, count, line, level), text, other, bulk, kind)| {
            let mut bytes = Vec::new();
            let some = (level & 1 != 0).then_some(count);
            match (to_parent, kind) {
                (true, 0) => ToParent::Ready { pid: line }.write(&mut bytes),
                (true, 1) => ToParent::StartFailed { reason: &text }.write(&mut bytes),
                (true, 2) => {
                    ToParent::Reply { call, ok: some.is_some(), bytes: &bulk }.write(&mut bytes);
                }
                (true, 3) => ToParent::Message { call, bytes: &bulk }.write(&mut bytes),
                (true, 4) => ToParent::Ack { call, count }.write(&mut bytes),
                (true, 5) => ToParent::ProgressMessage { call, text: &text }.write(&mut bytes),
                (true, 6) => ToParent::Begun { call, at: count }.write(&mut bytes),
                (true, 7) => ToParent::Ended { call, at: count }.write(&mut bytes),
                (true, 8) => {
                    ToParent::Progress { call, done: count, total: call }.write(&mut bytes)
                }
                (true, _) => {
                    let (target, message, fields, file) = (&*text, &*other, &*text, &*other);
                    ToParent::Event { call, level, target, message, fields, file, line }
                        .write(&mut bytes);
                }
                (false, 0 | 1) => ToWorker::Setup(Setup {
                    fingerprint: call,
                    first: count,
                    level,
                    nice: line.cast_signed(),
                    nice_by_priority: some.is_some(),
                    dumpable: some.is_none(),
                    memory: count,
                    stdio_nonce: some,
                    init: None,
                    exit: some,
                    data: some.is_some().then_some((&text, &bulk)),
                })
                .write(&mut bytes),
                (false, 2) => ToWorker::Stop { call }.write(&mut bytes),
                (false, 3) => ToWorker::Message { call, bytes: &bulk }.write(&mut bytes),
                (false, 4) => ToWorker::Ack { call, count }.write(&mut bytes),
                (false, 5) => ToWorker::Shutdown.write(&mut bytes),
                (false, 6) => {
                    ToWorker::Receiver { call, present: some.is_some() }.write(&mut bytes)
                }
                (false, _) => ToWorker::Call(CallMessage {
                    call,
                    function: line,
                    id: (count, call),
                    attempt: line,
                    priority: level,
                    channels: ChannelSetup::from_number(level % 3),
                    name_len: count,
                    args_len: call,
                })
                .write(&mut bytes),
            }
            bytes
        })
    }

    /// Valid frames, with the index of their direction.
    fn stream() -> impl Strategy<Value = (usize, Vec<Vec<u8>>)> {
        any::<bool>().prop_flat_map(|to_parent| {
            let frames = prop::collection::vec(frame(to_parent), 1..6);
            (Just(usize::from(!to_parent)), frames)
        })
    }

    fn pieces() -> impl Strategy<Value = Vec<usize>> {
        prop::collection::vec(prop_oneof![1..20usize, 1..CHUNK, Just(CHUNK)], 1..8)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn any_bytes_are_parsed_or_rejected(
            bytes in prop::collection::vec(any::<u8>(), 0..400), pieces in pieces(),
        ) {
            for next in DIRECTIONS {
                check(next, &bytes, &pieces);
            }
        }

        /// A valid length and kind, followed by any bytes.
        #[test]
        fn any_fields_are_parsed_or_rejected(
            kind in 0..12u8,
            fields in prop::collection::vec(prop_oneof![Just(0u8), Just(1), any::<u8>()], 0..200),
            pieces in pieces(),
        ) {
            let mut bytes = ((fields.len() + 1) as u64).to_le_bytes().to_vec();
            bytes.push(kind);
            bytes.extend_from_slice(&fields);
            for next in DIRECTIONS {
                check(next, &bytes, &pieces);
            }
        }

        #[test]
        fn frames_are_complete_however_they_are_split(
            (direction, sent) in stream(), pieces in pieces(),
        ) {
            let bytes = sent.concat();
            check(DIRECTIONS[direction], &bytes, &pieces);
            prop_assert_eq!(all(DIRECTIONS[direction], &bytes, &pieces), (sent, None));
        }

        /// A truncated frame is not returned; the frames before it are.
        #[test]
        fn truncated_frame_is_not_returned(
            (direction, sent) in stream(), at in any::<prop::sample::Index>(),
        ) {
            let bytes = sent.concat();
            let cut = at.index(bytes.len());
            let (mut whole, mut end) = (Vec::new(), 0);
            for frame in sent {
                end += frame.len();
                if end <= cut {
                    whole.push(frame);
                }
            }
            prop_assert_eq!(all(DIRECTIONS[direction], &bytes[..cut], &[cut]), (whole, None));
        }

        #[test]
        fn damaged_frame_is_parsed_or_rejected(
            (direction, sent) in stream(), at in any::<prop::sample::Index>(), to: u8, pieces in pieces(),
        ) {
            let mut bytes = sent.concat();
            // The first bytes of a frame are its length and its kind.
            let from = bytes.len().min(64);
            let index = at.index(from);
            bytes[index] = to;
            check(DIRECTIONS[direction], &bytes, &pieces);
        }

        #[test]
        fn excessive_length_is_an_error_or_waits(
            length: u64, kind in 0..12u8, bytes in prop::collection::vec(any::<u8>(), 0..100),
        ) {
            let mut wire = length.to_le_bytes().to_vec();
            wire.push(kind);
            wire.extend_from_slice(&bytes);
            for next in DIRECTIONS {
                check(next, &wire, &[1]);
                if length == 0 || length > MAX_REPLY {
                    prop_assert!(all(next, &wire, &[wire.len()]).1.is_some());
                }
            }
        }
    }
}
