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
/// Frames of texts are never longer.
const MIDDLE: u64 = 1 << 27;
/// No frame is longer than this: a length beyond it is rubbish, not data.
const LARGE: u64 = 1 << 40;
/// A text is cut off there.
const TEXT: usize = MIDDLE as usize / 8;
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
    /// Tasks of low priority are nicer still.
    pub(crate) nice_by_priority: bool,
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
    /// The text, or its beginning if it is longer than that.
    fn text_of(self, value: &str, most: usize) -> Self {
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
    /// How long frames of this kind can be.
    fn longest(kind: u8) -> u64;
    /// Reads the fields of a frame of this kind.
    fn read(kind: u8, fields: &mut Reader<'a>) -> Result<Self, Malformed>;
}

impl<'a> Message<'a> for ToParent<'a> {
    fn write(&self, to: &mut Vec<u8>) {
        match self {
            ToParent::Ready { pid } => Writer::new(to, 1).u32(*pid),
            ToParent::Refused { reason } => Writer::new(to, 2).text_of(reason, SMALL as usize / 2),
            ToParent::Reply { call, ok, bytes } => {
                Writer::new(to, 3).u64(*call).u8(u8::from(*ok)).bytes(bytes)
            }
            ToParent::Message { call, bytes } => Writer::new(to, 4).u64(*call).bytes(bytes),
            ToParent::Taken { call, count } => Writer::new(to, 5).u64(*call).u64(*count),
            ToParent::Said { call, text } => Writer::new(to, 6).u64(*call).text_of(text, TEXT),
            ToParent::Event { call, level, target, message, fields, file, line } => {
                Writer::new(to, 7)
                    .u64(*call)
                    .u8(*level)
                    .text_of(target, TEXT)
                    .text_of(message, TEXT)
                    .text_of(fields, TEXT)
                    .text_of(file, TEXT)
                    .u32(*line)
            }
        }
        .end();
    }

    fn longest(kind: u8) -> u64 {
        match kind {
            3 | 4 => LARGE,
            6 | 7 => MIDDLE,
            _ => SMALL,
        }
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
                    .u8(u8::from(setup.nice_by_priority))
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

    fn longest(kind: u8) -> u64 {
        match kind {
            1 | 3 => LARGE,
            _ => SMALL,
        }
    }

    fn read(kind: u8, fields: &mut Reader<'a>) -> Result<Self, Malformed> {
        Ok(match kind {
            1 => ToWorker::Setup(Setup {
                fingerprint: fields.u64()?,
                first: fields.u64()?,
                level: fields.u8()?,
                nice: fields.u32()?.cast_signed(),
                nice_by_priority: fields.u8()? == 1,
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

const REPLY_HEAD: usize = PREFIX + 1 + 8 + 1 + 8;

/// What makes so many bytes behind it a [`ToParent::Reply`] frame: a large result is not copied for
/// that.
pub(crate) fn reply_head(call: u64, ok: bool, len: usize) -> [u8; REPLY_HEAD] {
    let mut head = [0; REPLY_HEAD];
    head[..8].copy_from_slice(&((REPLY_HEAD - PREFIX + len) as u64).to_le_bytes());
    head[8] = 3;
    head[9..17].copy_from_slice(&call.to_le_bytes());
    head[17] = u8::from(ok);
    head[18..26].copy_from_slice(&(len as u64).to_le_bytes());
    head
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
        if length == 0 {
            return Err(Malformed("an empty frame"));
        }
        let Some(&kind) = rest.first() else {
            return Ok(None);
        };
        if length > M::longest(kind) {
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

impl Frames {
    /// The call of the [`ToParent::Reply`] that comes next, if it has begun to come.
    pub(crate) fn reply_coming(&self) -> Option<u64> {
        let head = self.buffer.get(self.start + PREFIX..)?;
        match head.split_first()? {
            (3, rest) => rest.first_chunk().copied().map(u64::from_le_bytes),
            _ => None,
        }
    }
}

/// What [`Frames`] promises, for any bytes: asked by the tests and by the fuzzer.
#[cfg(any(test, fuzzing))]
pub(crate) mod promises {
    use super::*;

    /// Takes the next frame out and writes it again.
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

    /// All frames that `bytes` give, read in pieces of these sizes, over and over, and the error
    /// that they end with.
    pub(crate) fn all(
        next: Next,
        mut bytes: &[u8],
        pieces: &[usize],
    ) -> (Vec<Vec<u8>>, Option<Malformed>) {
        let mut frames = Frames::new();
        let (mut given, mut fed) = (Vec::new(), 0);
        for size in pieces.iter().cycle() {
            if bytes.is_empty() {
                break;
            }
            let (piece, rest) = bytes.split_at((*size).clamp(1, bytes.len()));
            bytes = rest;
            frames.room().extend_from_slice(piece);
            fed += piece.len();
            assert!(frames.buffer.capacity() <= 4 * CHUNK + 2 * fed, "{fed} bytes have come");
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

    /// However bytes arrive, they give the same frames, and what a frame says can be said again.
    pub(crate) fn check(next: Next, bytes: &[u8], pieces: &[usize]) {
        let whole = all(next, bytes, &[bytes.len()]);
        assert_eq!(all(next, bytes, pieces), whole);
        let again = all(next, &whole.0.concat(), &[usize::MAX]);
        assert_eq!(again, (whole.0, None));
    }
}

#[cfg(test)]
mod tests {
    use super::promises::{DIRECTIONS, all, check};
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
        let made = [&reply_head(77, true, 6)[..], b"result"].concat();
        assert_eq!(made, written);
    }

    #[test]
    fn setup_travels() {
        let setup = ToWorker::Setup(Setup {
            fingerprint: 1,
            first: 2,
            level: 5,
            nice: -3,
            nice_by_priority: true,
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
    fn a_text_that_is_too_long_is_cut_off() {
        let text = "é".repeat(TEXT);
        let mut frames = Frames::new();
        ToParent::Refused { reason: &text }.write(frames.room());
        ToParent::Said { call: 1, text: &text }.write(frames.room());
        let (target, message, fields, file) = (&*text, &*text, &*text, &*text);
        ToParent::Event { call: 1, level: 1, target, message, fields, file, line: 1 }
            .write(frames.room());
        let Ok(Some(ToParent::Refused { reason })) = frames.next() else { panic!() };
        assert_eq!(reason.len(), SMALL as usize / 2);
        let Ok(Some(ToParent::Said { text, .. })) = frames.next() else { panic!() };
        assert_eq!(text.len(), TEXT);
        let Ok(Some(ToParent::Event { file, .. })) = frames.next() else { panic!() };
        assert_eq!(file.len(), TEXT);
    }

    #[test]
    fn a_reply_is_known_by_its_head() {
        let mut wire = Vec::new();
        ToParent::Taken { call: 1, count: 2 }.write(&mut wire);
        let first = wire.len();
        ToParent::Reply { call: 77, ok: true, bytes: b"result" }.write(&mut wire);
        let mut frames = Frames::new();
        for (at, byte) in wire.iter().enumerate() {
            assert_eq!(frames.reply_coming(), (at >= first + PREFIX + 1 + 8).then_some(77));
            feed(&mut frames, &[*byte]);
            let _ = frames.next::<ToParent<'_>>().unwrap();
        }
        assert_eq!(frames.reply_coming(), None);
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

    fn text() -> impl Strategy<Value = String> {
        proptest::string::string_regex("[a-zé\0 ]{0,40}").expect("it is one")
    }

    fn bulk() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof![
            4 => prop::collection::vec(any::<u8>(), 0..300),
            1 => (0..2 * CHUNK).prop_map(|size| vec![7; size]),
        ]
    }

    /// A frame to the parent, or to a worker.
    fn frame(to_parent: bool) -> impl Strategy<Value = Vec<u8>> {
        let fields = (any::<(u64, u64, u32, u8)>(), text(), text(), bulk(), 0..7u8);
        fields.prop_map(move |((call, count, line, level), text, other, bulk, kind)| {
            let mut bytes = Vec::new();
            let some = (level & 1 != 0).then_some(count);
            match (to_parent, kind) {
                (true, 0) => ToParent::Ready { pid: line }.write(&mut bytes),
                (true, 1) => ToParent::Refused { reason: &text }.write(&mut bytes),
                (true, 2) => {
                    ToParent::Reply { call, ok: some.is_some(), bytes: &bulk }.write(&mut bytes);
                }
                (true, 3) => ToParent::Message { call, bytes: &bulk }.write(&mut bytes),
                (true, 4) => ToParent::Taken { call, count }.write(&mut bytes),
                (true, 5) => ToParent::Said { call, text: &text }.write(&mut bytes),
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
                    memory: count,
                    log: some,
                    init: None,
                    exit: some,
                    data: some.is_some().then_some((&text, &bulk)),
                })
                .write(&mut bytes),
                (false, 2) => ToWorker::Stop { call }.write(&mut bytes),
                (false, 3) => ToWorker::Message { call, bytes: &bulk }.write(&mut bytes),
                (false, 4) => ToWorker::Taken { call, count }.write(&mut bytes),
                (false, _) => ToWorker::Shutdown.write(&mut bytes),
            }
            bytes
        })
    }

    /// Frames that are as they should be, with the number of their direction.
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
        fn any_bytes_give_an_answer(
            bytes in prop::collection::vec(any::<u8>(), 0..400), pieces in pieces(),
        ) {
            for next in DIRECTIONS {
                check(next, &bytes, &pieces);
            }
        }

        /// A length and a kind that make sense, and any bytes after them.
        #[test]
        fn any_fields_give_an_answer(
            kind in 0..9u8,
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
        fn all_frames_come_out_however_they_are_read(
            (way, sent) in stream(), pieces in pieces(),
        ) {
            let bytes = sent.concat();
            check(DIRECTIONS[way], &bytes, &pieces);
            prop_assert_eq!(all(DIRECTIONS[way], &bytes, &pieces), (sent, None));
        }

        /// One that is cut off is waited for; those before it are there.
        #[test]
        fn a_frame_that_is_cut_off_is_not_given(
            (way, sent) in stream(), at in any::<prop::sample::Index>(),
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
            prop_assert_eq!(all(DIRECTIONS[way], &bytes[..cut], &[cut]), (whole, None));
        }

        #[test]
        fn a_damaged_frame_gives_an_answer(
            (way, sent) in stream(), at in any::<prop::sample::Index>(), to: u8, pieces in pieces(),
        ) {
            let mut bytes = sent.concat();
            // The first bytes of a frame are its length and its kind.
            let from = bytes.len().min(64);
            let index = at.index(from);
            bytes[index] = to;
            check(DIRECTIONS[way], &bytes, &pieces);
        }

        #[test]
        fn a_length_beyond_reason_is_an_error_or_waits(
            length: u64, kind in 0..9u8, bytes in prop::collection::vec(any::<u8>(), 0..100),
        ) {
            let mut wire = length.to_le_bytes().to_vec();
            wire.push(kind);
            wire.extend_from_slice(&bytes);
            for next in DIRECTIONS {
                check(next, &wire, &[1]);
                if length == 0 || length > LARGE {
                    prop_assert!(all(next, &wire, &[wire.len()]).1.is_some());
                }
            }
        }
    }
}
