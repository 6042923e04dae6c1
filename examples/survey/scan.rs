//! What is done with one file: the only part that runs in worker processes. With `--threads` the
//! very same function runs on pool threads.

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

/// What one file holds.
#[derive(Serialize, Deserialize)]
pub struct FileReport {
    pub language: Language,
    pub lines: Lines,
    pub bytes: u64,
    pub hash: [u8; 32],
    /// The ten most frequent identifiers, and how often each occurs.
    pub identifiers: Vec<(String, u64)>,
    pub took: Duration,
}

/// Why there is no report. It must be able to leave the process, as an `io::Error` can't.
#[derive(Serialize, Deserialize)]
pub enum ScanError {
    Unreadable(String),
    /// A stop was asked for in the middle of the file.
    Stopped,
}

/// Reads a file and says what it holds.
///
/// The launcher encodes the arguments at once, so an `mp` function may borrow them from its caller.
/// The path travels as bytes, since a path need not be UTF-8. `ctx` is no argument of the launcher:
/// the supervisor gives it, and a stop reaches the function through it, in another process, too.
#[background_task(tt = "mp", priority = "low")]
pub fn scan_file(ctx: &TaskContext, path: &[u8], crash: bool) -> Result<FileReport, ScanError> {
    if crash {
        // As a bug in a C library might. It ends the worker process, and this task fails.
        std::process::abort();
    }
    read_file(ctx, Path::new(OsStr::from_bytes(path))).map_err(|error| match ctx.stopped() {
        true => ScanError::Stopped,
        false => ScanError::Unreadable(error.to_string()),
    })
}

/// Files are read in pieces of this size, so that memory stays flat whatever they are.
const PIECE: usize = 1 << 16;

fn read_file(ctx: &TaskContext, path: &Path) -> io::Result<FileReport> {
    let started = Instant::now();
    let source = Source { ctx, file: File::open(path)?, hash: blake3::Hasher::new(), bytes: 0 };
    let mut input = BufReader::with_capacity(PIECE, source);

    // Text has no zero byte; nearly everything else has one early.
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

/// A file that is hashed while it is read, and that ends with an error when the task is to stop.
struct Source<'a> {
    ctx: &'a TaskContext,
    file: File,
    hash: blake3::Hasher,
    bytes: u64,
}

impl Read for Source<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.ctx.stopped() {
            return Err(io::Error::other("stopped"));
        }
        let read = self.file.read(buffer)?;
        self.hash.update(&buffer[..read]);
        self.bytes += read as u64;
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_the_same_in_a_worker_process_and_here() {
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
    fn what_cannot_be_read_says_why() {
        let outcome = scan_file(b"no/such/file", false).join().unwrap();
        assert!(matches!(outcome, Err(ScanError::Unreadable(why)) if why.contains("No such file")));
        assert!(scan_file(b"any", true).join().is_err_and(|error| error.is_worker_died()));
    }
}
