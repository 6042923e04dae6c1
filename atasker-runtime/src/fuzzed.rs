//! The readers of what a worker process writes, for the fuzzer in `fuzz/`. Not there in other builds.

use crate::wire::frame::promises;

/// Bytes on a socket, in either direction, read in pieces of these sizes.
pub fn frames(bytes: &[u8], pieces: &[u8]) {
    let pieces: Vec<usize> = pieces.iter().map(|size| usize::from(*size)).collect();
    for next in promises::DIRECTIONS {
        promises::check(next, bytes, if pieces.is_empty() { &[1] } else { &pieces });
    }
}

/// The bytes of an error, as a task's reply.
pub fn error(bytes: &[u8]) {
    crate::process::fuzzed::error(bytes);
}

/// What a worker prints, read in pieces of these sizes.
pub fn prints(bytes: &[u8], pieces: &[u8]) {
    crate::process::fuzzed::prints(bytes, pieces);
}
