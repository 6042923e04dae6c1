//! What workers print, line by line, to `tracing`.
//!
//! A worker's standard output and error are pipes, which its link reads. Before a task begins, the
//! worker writes a *mark* to both: a NUL, a word that only this pair of processes knows, the task's
//! id, a line's end. So a line is known for its task's, however late it is read.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use tracing::field::display;

use crate::id::TaskId;
use crate::sys::link::{self, Got};

/// A longer line comes in pieces.
const LONGEST: usize = 16 * 1024;
/// A NUL, and three numbers of 16 digits with a space between them.
const MARK: usize = 1 + 16 + 1 + 16 + 1 + 16;
/// More than a pipe holds: so much is read at a time, and whatever was in it is read then.
const ROUND: usize = 1 << 20;

/// In the parent: the ends to read from.
pub(super) struct Logs {
    word: u64,
    streams: [Stream; 2],
}

struct Stream {
    name: &'static str,
    /// `None` once nobody can write to it any more.
    pipe: Option<OwnedFd>,
    lines: Lines,
}

impl Logs {
    pub(super) fn new(out: OwnedFd, err: OwnedFd) -> Self {
        let word = RandomState::new().build_hasher().finish();
        let stream = |name, pipe| Stream { name, pipe: Some(pipe), lines: Lines::new(word) };
        Logs { word, streams: [stream("stdout", out), stream("stderr", err)] }
    }

    /// What the worker's marks begin with.
    pub(super) fn word(&self) -> u64 {
        self.word
    }

    pub(super) fn pipes(&self) -> [Option<&OwnedFd>; 2] {
        self.streams.each_ref().map(|stream| stream.pipe.as_ref())
    }

    /// Reads what is there.
    pub(super) fn read(&mut self, worker: u32) {
        for stream in &mut self.streams {
            stream.read(worker);
        }
    }

    /// Reads what is left by a worker that has ended. What it has started may hold the pipe open.
    pub(super) fn end(&mut self, worker: u32) {
        for stream in &mut self.streams {
            stream.read(worker);
            stream.pipe = None;
            stream.lines.end(&mut |task, line| tell(stream.name, worker, task, line));
        }
    }
}

impl Stream {
    fn read(&mut self, worker: u32) {
        let mut buffer = [0; 8192];
        let mut left = ROUND;
        while let Some(pipe) = &self.pipe
            && left > 0
        {
            match link::read_pipe(pipe, &mut buffer) {
                Ok(Got::Bytes(n)) => {
                    left = left.saturating_sub(n);
                    let mut tell = |task, line: &str| tell(self.name, worker, task, line);
                    self.lines.feed(&buffer[..n], &mut tell);
                }
                Ok(Got::Nothing) => return,
                Ok(Got::End) | Err(_) => self.pipe = None,
            }
        }
    }
}

fn tell(stream: &'static str, worker: u32, task: Option<TaskId>, line: &str) {
    let task = task.map(display);
    if stream == "stdout" {
        tracing::info!(target: "atasker", worker, task, stream, "{line}");
    } else {
        tracing::warn!(target: "atasker", worker, task, stream, "{line}");
    }
}

/// Cuts a stream of bytes into lines.
struct Lines {
    word: u64,
    /// The task of the latest mark.
    task: Option<TaskId>,
    /// What has come since the last line's end.
    rest: Vec<u8>,
}

impl Lines {
    fn new(word: u64) -> Self {
        Lines { word, task: None, rest: Vec::new() }
    }

    fn feed(&mut self, mut bytes: &[u8], line: &mut impl FnMut(Option<TaskId>, &str)) {
        while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
            self.add(&bytes[..end], line);
            bytes = &bytes[end + 1..];
            self.whole(line);
        }
        self.add(bytes, line);
    }

    /// Adds to the line that is under way, and tells what is too much of it.
    fn add(&mut self, bytes: &[u8], line: &mut impl FnMut(Option<TaskId>, &str)) {
        self.rest.extend_from_slice(bytes);
        while self.rest.len() > LONGEST {
            // Never inside of a mark or of a character.
            let mut cut = LONGEST - MARK;
            while self.rest[cut] & 0b1100_0000 == 0b1000_0000 && cut > LONGEST / 2 {
                cut -= 1;
            }
            line(self.task, &String::from_utf8_lossy(&self.rest[..cut]));
            self.rest.drain(..cut);
        }
    }

    /// `rest` is a line: what somebody printed, a mark, or the one and then the other.
    fn whole(&mut self, line: &mut impl FnMut(Option<TaskId>, &str)) {
        let at = self.rest.len().checked_sub(MARK);
        let marked = at.and_then(|at| Some((at, read_mark(self.word, &self.rest[at..])?)));
        let text = &self.rest[..marked.map_or(self.rest.len(), |(at, _)| at)];
        let text = text.strip_suffix(b"\r").unwrap_or(text);
        if marked.is_none() || !text.is_empty() {
            line(self.task, &String::from_utf8_lossy(text));
        }
        if let Some((_, task)) = marked {
            self.task = Some(task);
        }
        self.rest.clear();
    }

    /// Nothing more will come.
    fn end(&mut self, line: &mut impl FnMut(Option<TaskId>, &str)) {
        if !self.rest.is_empty() {
            self.whole(line);
        }
    }
}

fn write_mark(word: u64, task: TaskId) -> String {
    let (origin, number) = task.to_parts();
    format!("\0{word:016x} {origin:016x} {number:016x}")
}

fn read_mark(word: u64, mark: &[u8]) -> Option<TaskId> {
    let text = std::str::from_utf8(mark.strip_prefix(b"\0")?).ok()?;
    let mut numbers = text.split(' ').map(|digits| u64::from_str_radix(digits, 16));
    let mut next = || numbers.next()?.ok();
    (next()? == word).then_some(())?;
    Some(TaskId::from_parts(next()?, next()?))
}

/// In the worker: writes the marks.
pub(super) struct Marker {
    word: u64,
    /// Copies: a task may close or replace its own.
    streams: [OwnedFd; 2],
}

impl Marker {
    pub(super) fn new(word: u64) -> io::Result<Self> {
        let copy = |fd: std::os::fd::BorrowedFd<'_>| fd.try_clone_to_owned();
        let streams = [copy(io::stdout().as_fd())?, copy(io::stderr().as_fd())?];
        Ok(Marker { word, streams })
    }

    /// What is printed from now on is this task's.
    pub(super) fn begin(&self, task: TaskId) {
        let mut mark = write_mark(self.word, task);
        mark.push('\n');
        for stream in &self.streams {
            link::write_pipe(stream, mark.as_bytes());
        }
    }
}

/// What [`Lines`] promises, for any bytes: asked by the tests and by the fuzzer.
#[cfg(any(test, fuzzing))]
pub(super) mod promises {
    use super::*;

    pub(super) const WORD: u64 = 0x1234;

    pub(super) fn lines_of(chunks: &[&[u8]]) -> Vec<(Option<TaskId>, String)> {
        let mut told = Vec::new();
        let mut tell = |task, line: &str| told.push((task, line.to_owned()));
        let mut lines = Lines::new(WORD);
        for chunk in chunks {
            lines.feed(chunk, &mut tell);
            assert!(lines.rest.len() <= LONGEST);
        }
        lines.end(&mut tell);
        told
    }

    /// However bytes arrive, they give the same lines, and no line is longer than it may be.
    pub(crate) fn prints(bytes: &[u8], pieces: &[u8]) {
        let mut chunks = Vec::new();
        let mut rest = bytes;
        for size in pieces.iter().chain(&[u8::MAX]).cycle() {
            if rest.is_empty() {
                break;
            }
            // Some of them longer than a line may be.
            let size = 1 + usize::from(*size) * if size % 2 == 0 { 1 } else { 100 };
            let (chunk, left) = rest.split_at(size.min(rest.len()));
            chunks.push(chunk);
            rest = left;
        }
        let told = lines_of(&chunks);
        // A byte that is no text becomes one character of three bytes.
        assert!(told.iter().all(|(_, line)| line.len() <= 3 * LONGEST));
        assert_eq!(told, lines_of(&[bytes]));
    }
}

#[cfg(test)]
mod tests {
    use super::promises::{WORD, lines_of, prints};
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]

        #[test]
        fn any_bytes_are_lines(
            lines in prop::collection::vec(
                prop_oneof![
                    prop::collection::vec(any::<u8>(), 0..50),
                    prop::collection::vec(prop_oneof![Just(0x80u8), any::<u8>()], 0..20_000),
                    (any::<u64>(), any::<u64>()).prop_map(|(origin, number)| {
                        let mark = write_mark(WORD, TaskId::from_parts(origin, number));
                        mark.into_bytes()
                    }),
                    Just(b"\n".to_vec()),
                ],
                0..8,
            ),
            pieces: Vec<u8>,
        ) {
            prints(&lines.concat(), &pieces);
        }
    }

    #[test]
    fn lines_and_whose_they_are() {
        let (first, second) = (TaskId::from_parts(7, 1), TaskId::from_parts(7, 2));
        let text = [
            "before\r\n",
            &write_mark(WORD, first),
            "\nhello\n\nhalf",
            &write_mark(WORD, second),
            "\n",
            &write_mark(WORD + 1, first),
            "\nöö",
        ]
        .concat();
        let foreign = write_mark(WORD + 1, first);
        let expected = [
            (None, "before"),
            (Some(first), "hello"),
            (Some(first), ""),
            (Some(first), "half"),
            (Some(second), &foreign),
            (Some(second), "öö"),
        ]
        .map(|(task, line)| (task, line.to_owned()));
        let bytes = text.as_bytes();
        assert_eq!(lines_of(&[bytes]), expected);
        // Wherever it is cut.
        for cut in 0..bytes.len() {
            assert_eq!(lines_of(&[&bytes[..cut], &bytes[cut..]]), expected, "{cut}");
        }
    }

    #[test]
    fn a_long_line_comes_in_pieces_and_whole() {
        let long = "äbc".repeat(20_000);
        let mut text = long.clone();
        let task = TaskId::from_parts(1, 2);
        text.push_str(&write_mark(WORD, task));
        text.push_str("\nend\n");
        let chunks: Vec<&[u8]> = text.as_bytes().chunks(1000).collect();
        let told = lines_of(&chunks);
        let (last, pieces) = told.split_last().unwrap();
        assert_eq!(*last, (Some(task), "end".to_owned()));
        assert!(pieces.iter().all(|(task, piece)| task.is_none() && piece.len() <= LONGEST));
        assert_eq!(pieces.iter().map(|(_, piece)| piece.as_str()).collect::<String>(), long);
    }
}
