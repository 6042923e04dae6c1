//! Scans one file: the only part that runs in worker processes. With `--threads` the same function
//! runs on pool threads.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::{Duration, Instant};

use atasker::{TaskContext, background_task};
use serde::{Deserialize, Serialize};

use crate::count::{Counter, Lines};
use crate::language::Language;

/// The content of one file.
#[derive(Serialize, Deserialize)]
pub struct FileReport {
    pub language: Language,
    pub lines: Lines,
    pub bytes: u64,
    pub hash: [u8; 32],
    /// The ten most frequent identifiers and their counts.
    pub identifiers: Vec<(String, u64)>,
    pub took: Duration,
}

/// Why there is no report. An error must be encodable, which an `io::Error` is not.
#[derive(Serialize, Deserialize)]
pub enum ScanError {
    Unreadable(String),
    /// A stop was requested in the middle of the file.
    Stopped,
}

/// Reads a file and reports its content.
///
/// The launcher encodes the arguments before it returns, so an `mp` function may borrow them from
/// its caller. The path is passed as bytes, because it need not be UTF-8. `ctx` is supplied by the
/// supervisor and is not an argument of the launcher; a stop request reaches the function through
/// it, also in another process.
#[background_task(tt = "mp", priority = "low")]
pub fn scan_file(ctx: &TaskContext, path: &[u8], crash: bool) -> Result<FileReport, ScanError> {
    if crash {
        // Simulates a bug in a C library. The worker process ends, and this task fails.
        std::process::abort();
    }
    read_file(ctx, Path::new(OsStr::from_bytes(path))).map_err(|error| match ctx.stopped() {
        true => ScanError::Stopped,
        false => ScanError::Unreadable(error.to_string()),
    })
}

/// Files are read in pieces of this size, so the memory is bounded for any file.
const PIECE: usize = 1 << 16;

fn read_file(ctx: &TaskContext, path: &Path) -> io::Result<FileReport> {
    scan(ctx, path, File::open(path)?)
}

/// Scans the content of the file with this path.
pub fn scan(ctx: &TaskContext, path: &Path, content: impl Read) -> io::Result<FileReport> {
    let started = Instant::now();
    let source = Source { ctx, content, hash: blake3::Hasher::new(), bytes: 0 };
    let mut input = BufReader::with_capacity(PIECE, source);

    // Text contains no zero byte; nearly all other files have one early.
    let binary = input.fill_buf()?.iter().take(8192).any(|byte| *byte == 0);
    let language = if binary { Language::BINARY } else { Language::of(path) };
    let mut counter = Counter::new(language);
    if binary {
        io::copy(&mut input, &mut io::sink())?;
    } else {
        let mut line = Vec::new();
        while input.by_ref().take(PIECE as u64).read_until(b'\n', &mut line)? > 0 {
            counter.line(&line);
            line.clear();
        }
    }

    let source = input.into_inner();
    Ok(FileReport {
        language,
        lines: counter.lines,
        bytes: source.bytes,
        hash: *source.hash.finalize().as_bytes(),
        identifiers: counter.identifiers.top(10),
        took: started.elapsed(),
    })
}

/// A file that is hashed while it is read, and that fails when the task is asked to stop.
struct Source<'a, R> {
    ctx: &'a TaskContext,
    content: R,
    hash: blake3::Hasher,
    bytes: u64,
}

impl<R: Read> Read for Source<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.ctx.stopped() {
            return Err(io::Error::other("stopped"));
        }
        let read = self.content.read(buffer)?;
        self.hash.update(&buffer[..read]);
        self.bytes += read as u64;
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn worker_process_and_program_agree() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/survey/scan.rs").as_bytes();
        let there = scan_file(path, false).join().unwrap();
        let here = scan_file::call(&TaskContext::detached(), path, false);
        let (Ok(there), Ok(here)) = (there, here) else { panic!("this file can be read") };
        assert_eq!(there.hash, *blake3::hash(include_bytes!("scan.rs")).as_bytes());
        assert_eq!((there.hash, there.bytes), (here.hash, here.bytes));
        assert_eq!(there.identifiers, here.identifiers);
        assert_eq!(there.language.syntax().name, "Rust");
    }

    #[test]
    fn unreadable_file_has_a_reason() {
        let outcome = scan_file(b"no/such/file", false).join().unwrap();
        assert!(matches!(outcome, Err(ScanError::Unreadable(why)) if why.contains("No such file")));
        assert!(scan_file(b"any", true).join().is_err_and(|error| error.is_worker_died()));
    }
}
