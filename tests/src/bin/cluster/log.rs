//! What the processes of a run write down: lines of fields, each in one write, so that the lines of
//! several processes don't mix and none is lost when a process is killed.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;

/// A file of lines.
pub struct Log(File);

impl Log {
    /// # Panics
    /// If the file can't be opened.
    pub fn open(path: impl AsRef<Path>) -> Log {
        Log(File::options().append(true).create(true).open(path).expect("the folder of the run"))
    }

    /// # Panics
    /// If the line can't be written.
    pub fn line(&self, line: &str) {
        (&self.0).write_all(format!("{line}\n").as_bytes()).expect("there is space on the disk");
    }
}

/// Nanoseconds since the machine has started, the same in all processes.
pub fn now() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is to a `timespec`.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// The file of the runs: `B call attempt time node pid key` at the begin of each, `E call attempt time`
/// at its end.
pub const RUNS: &str = "runs.log";

/// The file of what was done to the processes.
pub const FAULTS: &str = "faults.log";

/// The file of what became of the calls of a submitter.
pub fn calls(submitter: &str) -> String {
    format!("calls-{submitter}.log")
}
