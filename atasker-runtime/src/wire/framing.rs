//! Framing: complete frames out of a stream of bytes.
//!
//! [`Frames`] buffers bytes as they arrive and returns complete frames. For any input it returns a
//! frame, `None` (more bytes are needed) or an error, and it never reserves much more memory than
//! has arrived.

use super::field::{FieldReader, LENGTH_PREFIX, Malformed};
use super::frame::{MAX_REPLY, Message};

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

    /// The call of the [`Reply`](super::frame::ToParent::Reply) that comes next, if its header has arrived.
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
    use crate::wire::frame::{ToParent, ToWorker};

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
    use crate::wire::frame::*;
    use proptest::prelude::*;

    fn feed(frames: &mut Frames, bytes: &[u8]) {
        frames.room().extend_from_slice(bytes);
    }

    fn description() -> CallsiteDescription<'static> {
        CallsiteDescription {
            is_span: true,
            level: 3,
            name: "a span",
            target: "a::b",
            module_path: None,
            file: Some("f.rs"),
            line: Some(9),
            fields: vec!["message", "k"],
        }
    }

    fn record(message: &str) -> LogRecord<'_> {
        let (target, module_path, file) = ("a::b", Some("a"), None);
        LogRecord { level: 3, target, module_path, file, line: None, message }
    }

    #[test]
    fn frames_round_trip_in_pieces() {
        let sent = [
            ToParent::Ready { pid: 7 },
            ToParent::Reply { call: 1, ok: true, bytes: &[1, 2, 3] },
            ToParent::Message { call: 2, bytes: b"" },
            ToParent::ProgressMessage { call: 3, text: "half" },
            ToParent::Callsite { call: 1, number: 0, description: description() },
            ToParent::Event { call: 1, callsite: 0, parent: ParentSpan::Task, values: &[1, 2] },
            ToParent::SpanOpened {
                call: 1,
                span: 2,
                callsite: 0,
                parent: ParentSpan::Root,
                values: &[],
            },
            ToParent::SpanRecorded { span: 2, values: &[3] },
            ToParent::SpanFollows { call: 1, span: 2, from: ParentSpan::Span(1) },
            ToParent::SpanClosed { span: 2 },
            ToParent::SpansClosed { call: 1 },
            ToParent::LogRecord { call: 1, record: record("m") },
            ToParent::Items { call: 1, begun: 2, results: b"of the first" },
            ToParent::Declined { reason: "it has more threads" },
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
            levels: MaxLevels { tracing: 5, log: 4 },
            nice: -3,
            nice_by_priority: true,
            dumpable: false,
            memory: 4,
            stdio_nonce: Some(9),
            init: Some(5),
            exit: None,
            title: "program [atasker worker 2 of x]",
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
        ToParent::LogRecord { call: 1, record: record(&text) }.write(frames.room());
        let Ok(Some(ToParent::StartFailed { reason })) = frames.next() else { panic!() };
        assert_eq!(reason.len(), MAX_SMALL as usize / 2);
        let Ok(Some(ToParent::ProgressMessage { text, .. })) = frames.next() else { panic!() };
        assert_eq!(text.len(), MAX_TEXT);
        let Ok(Some(ToParent::LogRecord { record, .. })) = frames.next() else { panic!() };
        assert_eq!(record.message.len(), MAX_TEXT);
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
    fn an_encoded_filter_is_recognized() {
        let encoded = |message: &ToWorker<'_>| {
            let mut bytes = Vec::new();
            message.write(&mut bytes);
            bytes
        };
        let levels = MaxLevels { tracing: 3, log: 1 };
        let filter = Filter { levels, callsites: vec![(7, true), (9, false)] };
        assert_eq!(decode_filter(&encoded(&ToWorker::Filter(filter.clone()))), Some(filter));
        assert_eq!(decode_filter(&encoded(&ToWorker::Ack { call: 3, count: 9 })), None);
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
        let fields = (any::<(u64, u64, u32, u8)>(), text(), text(), bulk(), 0..20u8);
        fields.prop_map(move |((call, count, line, level), text, other, bulk, kind)| {
            let mut bytes = Vec::new();
            let some = (level & 1 != 0).then_some(count);
            let parent = match count {
                0..0x4000_0000_0000_0000 => ParentSpan::Task,
                0x4000_0000_0000_0000..0x8000_0000_0000_0000 => ParentSpan::Root,
                span => ParentSpan::Span(span - 1),
            };
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
                (true, 9) => {
                    let about = CallsiteDescription {
                        is_span: some.is_some(),
                        level,
                        name: &text,
                        target: &other,
                        module_path: some.map(|_| &*text),
                        file: some.is_none().then_some(&other),
                        line: some.map(|_| line),
                        fields: vec![&text; usize::from(level % 5)],
                    };
                    ToParent::Callsite { call, number: line, description: about }.write(&mut bytes);
                }
                (true, 10) => {
                    ToParent::Event { call, callsite: line, parent, values: &bulk }
                        .write(&mut bytes);
                }
                (true, 11) => {
                    let (span, callsite) = (count, line);
                    ToParent::SpanOpened { call, span, callsite, parent, values: &bulk }
                        .write(&mut bytes);
                }
                (true, 12) => {
                    ToParent::SpanRecorded { span: call, values: &bulk }.write(&mut bytes);
                }
                (true, 13) => {
                    ToParent::SpanFollows { call, span: count, from: parent }.write(&mut bytes);
                }
                (true, 14) => ToParent::SpanClosed { span: call }.write(&mut bytes),
                (true, 15) => ToParent::SpansClosed { call }.write(&mut bytes),
                (true, 16) => {
                    ToParent::Items { call, begun: line, results: &bulk }.write(&mut bytes);
                }
                (true, _) => {
                    let (target, module_path) = (&*other, some.map(|_| &*text));
                    let line = some.map(|_| line);
                    let record =
                        LogRecord { level, target, module_path, file: None, line, message: &text };
                    ToParent::LogRecord { call, record }.write(&mut bytes);
                }
                (false, 0 | 1) => ToWorker::Setup(Setup {
                    fingerprint: call,
                    first: count,
                    levels: MaxLevels { tracing: level, log: 255 - level },
                    nice: line.cast_signed(),
                    nice_by_priority: some.is_some(),
                    dumpable: some.is_none(),
                    memory: count,
                    stdio_nonce: some,
                    init: None,
                    exit: some,
                    title: &text,
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
                (false, 7..10) => {
                    let callsites = vec![(line, some.is_some()); usize::from(level % 7)];
                    let levels = MaxLevels { tracing: level, log: 1 };
                    ToWorker::Filter(Filter { levels, callsites }).write(&mut bytes);
                }
                (false, _) => ToWorker::Call(CallMessage {
                    call,
                    function: line,
                    id: (count, call),
                    attempt: line,
                    priority: level,
                    channels: ChannelSetup::from_number(level % 5),
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
            kind in 0..20u8,
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
            length: u64, kind in 0..20u8, bytes in prop::collection::vec(any::<u8>(), 0..100),
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
