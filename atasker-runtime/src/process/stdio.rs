//! Forwards the standard output and error of workers to `tracing`, line by line.
//!
//! A worker's standard output and error are pipes, which its reader thread reads. Before a task
//! begins, the worker writes a *mark* to both: a NUL, a nonce known only to this pair of processes,
//! the id of the task, and a newline. A line can therefore be attributed to its task, however late
//! it is read. The reader thread reads the pipes after it has seen that a call is done, and before
//! it completes it, so the lines of a task come before its end.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use tracing::field::display;

use crate::id::TaskId;
use crate::sys::ipc::{self, ReadOutcome};
use crate::unwind::log;

/// The longest line in bytes; a longer one is split.
const MAX_LINE: usize = 16 * 1024;
/// A NUL, and three numbers of 16 digits separated by spaces.
const MARK_LEN: usize = 1 + 16 + 1 + 16 + 1 + 16;
/// Bytes that are read at a time. More than a pipe holds, so that everything that was in the pipe
/// is read.
const MAX_READ: usize = 1 << 20;

/// In the parent: the read ends of the pipes.
pub(super) struct StdioPipes {
    nonce: u64,
    streams: [Stream; 2],
}

struct Stream {
    name: &'static str,
    /// `None` once it has no writer any more.
    pipe: Option<OwnedFd>,
    lines: Lines,
}

impl StdioPipes {
    pub(super) fn new(out: OwnedFd, err: OwnedFd) -> Self {
        let nonce = RandomState::new().build_hasher().finish();
        let stream = |name, pipe| Stream { name, pipe: Some(pipe), lines: Lines::new(nonce) };
        StdioPipes { nonce, streams: [stream("stdout", out), stream("stderr", err)] }
    }

    /// The nonce at the start of the worker's marks.
    pub(super) fn nonce(&self) -> u64 {
        self.nonce
    }

    pub(super) fn pipes(&self) -> [Option<&OwnedFd>; 2] {
        self.streams.each_ref().map(|stream| stream.pipe.as_ref())
    }

    /// Reads without blocking.
    pub(super) fn read(&mut self, worker: u32) {
        for stream in &mut self.streams {
            stream.read(worker);
        }
    }

    /// Reads what a worker that has ended left behind. Its descendants may still hold the pipe
    /// open.
    pub(super) fn finish(&mut self, worker: u32) {
        for stream in &mut self.streams {
            stream.read(worker);
            stream.pipe = None;
            stream.lines.finish(&mut |task, line| log_line(stream.name, worker, task, line));
        }
    }
}

impl Stream {
    fn read(&mut self, worker: u32) {
        let mut buffer = [0; 8192];
        let mut left = MAX_READ;
        while let Some(pipe) = &self.pipe
            && left > 0
        {
            match ipc::read_pipe(pipe, &mut buffer) {
                Ok(ReadOutcome::Bytes(n)) => {
                    left = left.saturating_sub(n);
                    let mut log_line = |task, line: &str| log_line(self.name, worker, task, line);
                    self.lines.push(&buffer[..n], &mut log_line);
                }
                Ok(ReadOutcome::WouldBlock) => return,
                Ok(ReadOutcome::Eof) | Err(_) => self.pipe = None,
            }
        }
    }
}

fn log_line(stream: &'static str, worker: u32, task: Option<TaskId>, line: &str) {
    let task = task.map(display);
    if stream == "stdout" {
        log!(info, worker, task, stream, "{line}");
    } else {
        log!(warn, worker, task, stream, "{line}");
    }
}

/// Splits a stream of bytes into lines.
struct Lines {
    nonce: u64,
    /// The task of the latest mark.
    task: Option<TaskId>,
    /// The bytes since the last newline.
    partial: Vec<u8>,
}

impl Lines {
    fn new(nonce: u64) -> Self {
        Lines { nonce, task: None, partial: Vec::new() }
    }

    fn push(&mut self, mut bytes: &[u8], line: &mut impl FnMut(Option<TaskId>, &str)) {
        while let Some(finish) = bytes.iter().position(|byte| *byte == b'\n') {
            self.push_partial(&bytes[..finish], line);
            bytes = &bytes[finish + 1..];
            self.finish_line(line);
        }
        self.push_partial(bytes, line);
    }

    /// Appends to the current line, and emits what exceeds the longest line.
    fn push_partial(&mut self, bytes: &[u8], line: &mut impl FnMut(Option<TaskId>, &str)) {
        self.partial.extend_from_slice(bytes);
        while self.partial.len() > MAX_LINE {
            // Never split within a mark or a character.
            let mut cut = MAX_LINE - MARK_LEN;
            while self.partial[cut] & 0b1100_0000 == 0b1000_0000 && cut > MAX_LINE / 2 {
                cut -= 1;
            }
            line(self.task, &String::from_utf8_lossy(&self.partial[..cut]));
            self.partial.drain(..cut);
        }
    }

    /// Emits `partial` as a line: output, a mark, or output followed by a mark.
    fn finish_line(&mut self, line: &mut impl FnMut(Option<TaskId>, &str)) {
        let at = self.partial.len().checked_sub(MARK_LEN);
        let marked = at.and_then(|at| Some((at, parse_mark(self.nonce, &self.partial[at..])?)));
        let text = &self.partial[..marked.map_or(self.partial.len(), |(at, _)| at)];
        let text = text.strip_suffix(b"\r").unwrap_or(text);
        if marked.is_none() || !text.is_empty() {
            line(self.task, &String::from_utf8_lossy(text));
        }
        if let Some((_, task)) = marked {
            self.task = Some(task);
        }
        self.partial.clear();
    }

    /// Emits the last line, because nothing more follows.
    fn finish(&mut self, line: &mut impl FnMut(Option<TaskId>, &str)) {
        if !self.partial.is_empty() {
            self.finish_line(line);
        }
    }
}

fn format_mark(nonce: u64, task: TaskId) -> String {
    let (origin, number) = task.to_parts();
    format!("\0{nonce:016x} {origin:016x} {number:016x}")
}

fn parse_mark(nonce: u64, mark: &[u8]) -> Option<TaskId> {
    let text = std::str::from_utf8(mark.strip_prefix(b"\0")?).ok()?;
    let mut numbers = text.split(' ').map(|digits| u64::from_str_radix(digits, 16));
    let mut next = || numbers.next()?.ok();
    (next()? == nonce).then_some(())?;
    Some(TaskId::from_parts(next()?, next()?))
}

/// In the worker: writes the marks.
pub(super) struct TaskMarker {
    nonce: u64,
    /// Duplicates, because a task may close or replace its own.
    streams: [OwnedFd; 2],
}

impl TaskMarker {
    pub(super) fn new(nonce: u64) -> io::Result<Self> {
        let copy = |fd: std::os::fd::BorrowedFd<'_>| fd.try_clone_to_owned();
        let streams = [copy(io::stdout().as_fd())?, copy(io::stderr().as_fd())?];
        Ok(TaskMarker { nonce, streams })
    }

    /// Attributes all output from now on to this task.
    pub(super) fn begin_task(&self, task: TaskId) {
        let mut mark = format_mark(self.nonce, task);
        mark.push('\n');
        for stream in &self.streams {
            ipc::write_pipe(stream, mark.as_bytes());
        }
    }
}

/// Properties of [`Lines`] for any input, checked by the tests and by the fuzzer.
#[cfg(any(test, fuzzing))]
pub(super) mod properties {
    use super::*;

    pub(super) const NONCE: u64 = 0x1234;

    pub(super) fn collect_lines(chunks: &[&[u8]]) -> Vec<(Option<TaskId>, String)> {
        let mut collected = Vec::new();
        let mut log_line = |task, line: &str| collected.push((task, line.to_owned()));
        let mut lines = Lines::new(NONCE);
        for chunk in chunks {
            lines.push(chunk, &mut log_line);
            assert!(lines.partial.len() <= MAX_LINE);
        }
        lines.finish(&mut log_line);
        collected
    }

    /// The way in which bytes are split has no effect on the lines, and no line is too long.
    pub(crate) fn any_bytes(bytes: &[u8], pieces: &[u8]) {
        let mut chunks = Vec::new();
        let mut partial = bytes;
        for size in pieces.iter().chain(&[u8::MAX]).cycle() {
            if partial.is_empty() {
                break;
            }
            // Some pieces are longer than the longest line.
            let size = 1 + usize::from(*size) * if size % 2 == 0 { 1 } else { 100 };
            let (chunk, left) = partial.split_at(size.min(partial.len()));
            chunks.push(chunk);
            partial = left;
        }
        let collected = collect_lines(&chunks);
        // A byte that is not valid UTF-8 becomes one character of three bytes.
        assert!(collected.iter().all(|(_, line)| line.len() <= 3 * MAX_LINE));
        assert_eq!(collected, collect_lines(&[bytes]));
    }
}

#[cfg(test)]
mod tests {
    use super::properties::{NONCE, any_bytes, collect_lines};
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]

        #[test]
        fn any_bytes_are_split_into_lines(
            lines in prop::collection::vec(
                prop_oneof![
                    prop::collection::vec(any::<u8>(), 0..50),
                    prop::collection::vec(prop_oneof![Just(0x80u8), any::<u8>()], 0..20_000),
                    (any::<u64>(), any::<u64>()).prop_map(|(origin, number)| {
                        let mark = format_mark(NONCE, TaskId::from_parts(origin, number));
                        mark.into_bytes()
                    }),
                    Just(b"\n".to_vec()),
                ],
                0..8,
            ),
            pieces: Vec<u8>,
        ) {
            any_bytes(&lines.concat(), &pieces);
        }
    }

    #[test]
    fn lines_are_attributed_to_their_tasks() {
        let (first, second) = (TaskId::from_parts(7, 1), TaskId::from_parts(7, 2));
        let text = [
            "before\r\n",
            &format_mark(NONCE, first),
            "\nhello\n\nhalf",
            &format_mark(NONCE, second),
            "\n",
            &format_mark(NONCE + 1, first),
            "\nöö",
        ]
        .concat();
        let foreign = format_mark(NONCE + 1, first);
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
        assert_eq!(collect_lines(&[bytes]), expected);
        // At every position.
        for cut in 0..bytes.len() {
            assert_eq!(collect_lines(&[&bytes[..cut], &bytes[cut..]]), expected, "{cut}");
        }
    }

    #[test]
    fn long_line_is_split_without_loss() {
        let long = "äbc".repeat(20_000);
        let mut text = long.clone();
        let task = TaskId::from_parts(1, 2);
        text.push_str(&format_mark(NONCE, task));
        text.push_str("\nend\n");
        let chunks: Vec<&[u8]> = text.as_bytes().chunks(1000).collect();
        let collected = collect_lines(&chunks);
        let (last, pieces) = collected.split_last().unwrap();
        assert_eq!(*last, (Some(task), "end".to_owned()));
        assert!(pieces.iter().all(|(task, piece)| task.is_none() && piece.len() <= MAX_LINE));
        assert_eq!(pieces.iter().map(|(_, piece)| piece.as_str()).collect::<String>(), long);
    }
}
