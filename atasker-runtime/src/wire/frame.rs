//! Messages between a process and its worker, and their framing: bytes in, values out.
//!
//! A frame is a length (8 bytes, little endian), a kind (1 byte) and its fields. [`Frames`] gathers
//! bytes as they come and gives whole frames out; whatever the bytes are, it answers with a frame,
//! with "more is needed" or with an error, and it never reserves much more memory than has arrived.

/// Bytes that are no frame of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it sent bytes that are no message: {0}")]
pub(crate) struct Malformed(pub(crate) &'static str);

/// Frames without a payload of the user's are never longer.
const SMALL: u64 = 1 << 20;
/// No frame is longer than this: a length beyond it is rubbish, not data.
const LARGE: u64 = 1 << 40;
/// The length in front of a frame.
const PREFIX: usize = 8;

/// From the worker to its parent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ToParent<'a> {
    /// The worker is ready.
    Ready { pid: u32 },
    /// The worker can't serve, and why.
    Refused { reason: &'a str },
    /// A reply that is too large for the shared page: a result, or an error.
    Reply { call: u64, ok: bool, bytes: &'a [u8] },
    /// A message from a task to its handle.
    Message { call: u64, bytes: &'a [u8] },
    /// The task has taken so many messages out of its inbox.
    Taken { call: u64, count: u64 },
    /// What a task says about its progress, in words.
    Said { call: u64, text: &'a str },
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
}

/// From the parent to its worker, apart from the calls themselves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ToWorker<'a> {
    /// The first frame: who the worker is.
    Setup(Setup<'a>),
    /// A task was asked to stop.
    Stop { call: u64 },
    /// A message to a task.
    Message { call: u64, bytes: &'a [u8] },
    /// The handle has taken so many messages of the task's.
    Taken { call: u64, count: u64 },
    /// Nothing more will come: end.
    Shutdown,
}

/// What a worker is told at its start.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub(crate) struct Setup<'a> {
    pub(crate) fingerprint: u64,
    /// The number of the first call.
    pub(crate) first: u64,
    /// The most verbose level of tracing that anybody listens to: 0 none, 1 error, .. 5 trace.
    pub(crate) level: u8,
    pub(crate) nice: i32,
    /// Bytes that may be added to the address space; 0: no limit.
    pub(crate) memory: u64,
    /// Standard output and error go to the parent's log: the word that marks off tasks in them.
    pub(crate) log: Option<u64>,
    /// Functions to run at the start and at the end, as offsets into the image.
    pub(crate) init: Option<u64>,
    pub(crate) exit: Option<u64>,
    /// The type and the encoding of the worker data.
    pub(crate) data: Option<(&'a str, &'a [u8])>,
}

/// Writes one frame.
pub(crate) struct Writer<'a> {
    to: &'a mut Vec<u8>,
    start: usize,
}

impl<'a> Writer<'a> {
    fn new(to: &'a mut Vec<u8>, kind: u8) -> Self {
        let start = to.len();
        to.extend_from_slice(&[0; PREFIX]);
        to.push(kind);
        Writer { to, start }
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
    fn option(self, value: Option<u64>) -> Self {
        match value {
            Some(value) => self.u8(1).u64(value),
            None => self.u8(0),
        }
    }
    fn end(self) {
        let length = (self.to.len() - self.start - PREFIX) as u64;
        self.to[self.start..self.start + PREFIX].copy_from_slice(&length.to_le_bytes());
    }
}

/// Reads the fields of one frame.
pub(crate) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Reader(bytes)
    }
    fn take(&mut self, count: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) =
            self.0.split_at_checked(count).ok_or(Malformed("a field is cut off"))?;
        self.0 = rest;
        Ok(taken)
    }
    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let taken = self.take(N)?;
        taken.try_into().map_err(|_| Malformed("a field is cut off"))
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
        self.take(usize::try_from(length).map_err(|_| Malformed("a field is cut off"))?)
    }
    pub(crate) fn text(&mut self) -> Result<&'a str, Malformed> {
        std::str::from_utf8(self.bytes()?).map_err(|_| Malformed("a text is not UTF-8"))
    }
    fn option(&mut self) -> Result<Option<u64>, Malformed> {
        match self.u8()? {
            0 => Ok(None),
            1 => Ok(Some(self.u64()?)),
            _ => Err(Malformed("neither something nor nothing")),
        }
    }
    pub(crate) fn end(self) -> Result<(), Malformed> {
        if self.0.is_empty() { Ok(()) } else { Err(Malformed("a frame is too long")) }
    }
}

/// Appends a text as a field, for what is encoded inside a field.
pub(crate) fn put_text(to: &mut Vec<u8>, text: &str) {
    to.extend_from_slice(&(text.len() as u64).to_le_bytes());
    to.extend_from_slice(text.as_bytes());
}

/// One direction's messages.
pub(crate) trait Message<'a>: Sized {
    /// Appends the message as a frame.
    fn write(&self, to: &mut Vec<u8>);
    /// Whether frames of this kind carry bytes of the user's, of any length.
    fn bulky(kind: u8) -> bool;
    /// Reads the fields of a frame of this kind.
    fn read(kind: u8, fields: &mut Reader<'a>) -> Result<Self, Malformed>;
}

impl<'a> Message<'a> for ToParent<'a> {
    fn write(&self, to: &mut Vec<u8>) {
        match self {
            ToParent::Ready { pid } => Writer::new(to, 1).u32(*pid),
            ToParent::Refused { reason } => Writer::new(to, 2).text(reason),
            ToParent::Reply { call, ok, bytes } => {
                Writer::new(to, 3).u64(*call).u8(u8::from(*ok)).bytes(bytes)
            }
            ToParent::Message { call, bytes } => Writer::new(to, 4).u64(*call).bytes(bytes),
            ToParent::Taken { call, count } => Writer::new(to, 5).u64(*call).u64(*count),
            ToParent::Said { call, text } => Writer::new(to, 6).u64(*call).text(text),
            ToParent::Event { call, level, target, message, fields, file, line } => {
                Writer::new(to, 7)
                    .u64(*call)
                    .u8(*level)
                    .text(target)
                    .text(message)
                    .text(fields)
                    .text(file)
                    .u32(*line)
            }
        }
        .end();
    }

    fn bulky(kind: u8) -> bool {
        matches!(kind, 3 | 4 | 6 | 7)
    }

    fn read(kind: u8, fields: &mut Reader<'a>) -> Result<Self, Malformed> {
        Ok(match kind {
            1 => ToParent::Ready { pid: fields.u32()? },
            2 => ToParent::Refused { reason: fields.text()? },
            3 => {
                let (call, ok) = (fields.u64()?, fields.u8()? == 1);
                ToParent::Reply { call, ok, bytes: fields.bytes()? }
            }
            4 => ToParent::Message { call: fields.u64()?, bytes: fields.bytes()? },
            5 => ToParent::Taken { call: fields.u64()?, count: fields.u64()? },
            6 => ToParent::Said { call: fields.u64()?, text: fields.text()? },
            7 => ToParent::Event {
                call: fields.u64()?,
                level: fields.u8()?,
                target: fields.text()?,
                message: fields.text()?,
                fields: fields.text()?,
                file: fields.text()?,
                line: fields.u32()?,
            },
            _ => return Err(Malformed("an unknown kind of frame")),
        })
    }
}

impl<'a> Message<'a> for ToWorker<'a> {
    fn write(&self, to: &mut Vec<u8>) {
        match self {
            ToWorker::Setup(setup) => {
                let writer = Writer::new(to, 1)
                    .u64(setup.fingerprint)
                    .u64(setup.first)
                    .u8(setup.level)
                    .u32(setup.nice.cast_unsigned())
                    .u64(setup.memory)
                    .option(setup.log)
                    .option(setup.init)
                    .option(setup.exit);
                match setup.data {
                    Some((name, bytes)) => writer.u8(1).text(name).bytes(bytes),
                    None => writer.u8(0),
                }
            }
            ToWorker::Stop { call } => Writer::new(to, 2).u64(*call),
            ToWorker::Message { call, bytes } => Writer::new(to, 3).u64(*call).bytes(bytes),
            ToWorker::Taken { call, count } => Writer::new(to, 4).u64(*call).u64(*count),
            ToWorker::Shutdown => Writer::new(to, 5),
        }
        .end();
    }

    fn bulky(kind: u8) -> bool {
        matches!(kind, 1 | 3)
    }

    fn read(kind: u8, fields: &mut Reader<'a>) -> Result<Self, Malformed> {
        Ok(match kind {
            1 => ToWorker::Setup(Setup {
                fingerprint: fields.u64()?,
                first: fields.u64()?,
                level: fields.u8()?,
                nice: fields.u32()?.cast_signed(),
                memory: fields.u64()?,
                log: fields.option()?,
                init: fields.option()?,
                exit: fields.option()?,
                data: match fields.u8()? {
                    0 => None,
                    _ => Some((fields.text()?, fields.bytes()?)),
                },
            }),
            2 => ToWorker::Stop { call: fields.u64()? },
            3 => ToWorker::Message { call: fields.u64()?, bytes: fields.bytes()? },
            4 => ToWorker::Taken { call: fields.u64()?, count: fields.u64()? },
            5 => ToWorker::Shutdown,
            _ => return Err(Malformed("an unknown kind of frame")),
        })
    }
}

/// The room in front of a reply's bytes for what makes them a frame.
pub(crate) const REPLY_HEAD: usize = PREFIX + 1 + 8 + 1 + 8;

/// Makes `buffer`, which holds a reply after [`REPLY_HEAD`] bytes, a [`ToParent::Reply`] frame: a
/// large result is not copied for that.
pub(crate) fn head_reply(buffer: &mut [u8], call: u64, ok: bool) {
    let (length, reply) = ((buffer.len() - PREFIX) as u64, (buffer.len() - REPLY_HEAD) as u64);
    buffer[..8].copy_from_slice(&length.to_le_bytes());
    buffer[8] = 3;
    buffer[9..17].copy_from_slice(&call.to_le_bytes());
    buffer[17] = u8::from(ok);
    buffer[18..26].copy_from_slice(&reply.to_le_bytes());
}

/// Gathers bytes and gives frames out. See the module's documentation.
#[derive(Debug, Default)]
pub(crate) struct Frames {
    buffer: Vec<u8>,
    /// Up to here the buffer has been given out.
    start: usize,
}

/// How much is read at once.
const CHUNK: usize = 64 * 1024;

impl Frames {
    pub(crate) fn new() -> Self {
        Frames::default()
    }

    /// The buffer to append the next bytes to, with room for some.
    pub(crate) fn room(&mut self) -> &mut Vec<u8> {
        if self.start > 0 {
            self.buffer.drain(..self.start);
            self.start = 0;
            // What one large frame needed is given back.
            if self.buffer.capacity() > 16 * CHUNK && self.buffer.len() < CHUNK {
                self.buffer.shrink_to(CHUNK);
            }
        }
        if self.buffer.capacity() - self.buffer.len() < CHUNK / 4 {
            // Doubles at most: a length that lies costs no memory.
            self.buffer.reserve(CHUNK.max(self.buffer.len()));
        }
        &mut self.buffer
    }

    /// The next frame; `None` when more bytes are needed.
    pub(crate) fn next<'a, M: Message<'a>>(&'a mut self) -> Result<Option<M>, Malformed> {
        let bytes = &self.buffer[self.start..];
        let Some((prefix, rest)) = bytes.split_at_checked(PREFIX) else {
            return Ok(None);
        };
        let length = u64::from_le_bytes(prefix.try_into().expect("split at its length"));
        let Some(&kind) = rest.first() else {
            return if length == 0 { Err(Malformed("an empty frame")) } else { Ok(None) };
        };
        if length == 0 || length > if M::bulky(kind) { LARGE } else { SMALL } {
            return Err(Malformed("the length of a frame makes no sense"));
        }
        let length = usize::try_from(length).map_err(|_| Malformed("too long for this machine"))?;
        let Some(frame) = rest.get(..length) else {
            return Ok(None);
        };
        self.start += PREFIX + length;
        let mut fields = Reader::new(&frame[1..]);
        let message = M::read(kind, &mut fields)?;
        fields.end()?;
        Ok(Some(message))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn feed(frames: &mut Frames, bytes: &[u8]) {
        frames.room().extend_from_slice(bytes);
    }

    #[test]
    fn there_and_back_in_pieces() {
        let sent = [
            ToParent::Ready { pid: 7 },
            ToParent::Reply { call: 1, ok: true, bytes: &[1, 2, 3] },
            ToParent::Message { call: 2, bytes: b"" },
            ToParent::Said { call: 3, text: "half" },
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
    fn a_reply_made_in_place_is_the_same() {
        let mut written = Vec::new();
        ToParent::Reply { call: 77, ok: true, bytes: b"result" }.write(&mut written);
        let mut made = vec![0; REPLY_HEAD];
        made.extend_from_slice(b"result");
        head_reply(&mut made, 77, true);
        assert_eq!(made, written);
    }

    #[test]
    fn setup_travels() {
        let setup = ToWorker::Setup(Setup {
            fingerprint: 1,
            first: 2,
            level: 5,
            nice: -3,
            memory: 4,
            log: Some(9),
            init: Some(5),
            exit: None,
            data: Some(("u8", &[1])),
        });
        let mut frames = Frames::new();
        setup.write(frames.room());
        assert_eq!(frames.next::<ToWorker<'_>>().unwrap(), Some(setup));
    }

    #[test]
    fn a_length_that_lies_costs_no_memory() {
        let mut frames = Frames::new();
        feed(&mut frames, &(LARGE - 1).to_le_bytes());
        feed(&mut frames, &[3]);
        assert_eq!(frames.next::<ToParent<'_>>(), Ok(None));
        assert!(frames.room().capacity() <= 4 * CHUNK);
        let mut frames = Frames::new();
        feed(&mut frames, &(SMALL + 1).to_le_bytes());
        feed(&mut frames, &[1]);
        assert!(frames.next::<ToParent<'_>>().is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_give_an_answer(
            chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..64), 0..16),
        ) {
            let mut frames = Frames::new();
            let mut fed = 0;
            'all: for chunk in chunks {
                fed += chunk.len();
                feed(&mut frames, &chunk);
                loop {
                    match frames.next::<ToParent<'_>>() {
                        Ok(Some(_)) => {}
                        Ok(None) => break,
                        Err(_) => break 'all,
                    }
                }
            }
            prop_assert!(frames.buffer.capacity() <= 4 * CHUNK + 2 * fed);
        }

        #[test]
        fn a_damaged_frame_gives_an_answer(
            call: u64, bytes: Vec<u8>, at: prop::sample::Index, to: u8,
        ) {
            let mut wire = Vec::new();
            ToParent::Reply { call, ok: true, bytes: &bytes }.write(&mut wire);
            let index = at.index(wire.len());
            wire[index] = to;
            let mut frames = Frames::new();
            feed(&mut frames, &wire);
            while let Ok(Some(_)) = frames.next::<ToParent<'_>>() {}
        }
    }
}
