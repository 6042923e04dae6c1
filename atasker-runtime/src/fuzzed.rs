//! Entry points for the fuzzer in `fuzz/`: the parsers of what a worker process writes. Compiled
//! with `--cfg fuzzing` only.

use crate::wire::framing::properties;

/// Parses bytes of a socket, in both directions, read in pieces of these sizes.
pub fn frames(bytes: &[u8], pieces: &[u8]) {
    let pieces: Vec<usize> = pieces.iter().map(|size| usize::from(*size)).collect();
    for next in properties::DIRECTIONS {
        properties::check(next, bytes, if pieces.is_empty() { &[1] } else { &pieces });
    }
}

/// Parses the bytes of an error, as the reply of a task.
pub fn error(bytes: &[u8]) {
    crate::process::fuzzed::error(bytes);
}

/// Parses the output of a worker process, read in pieces of these sizes.
pub fn prints(bytes: &[u8], pieces: &[u8]) {
    crate::process::fuzzed::worker_output(bytes, pieces);
}

/// Parses the values of the fields of a tracing span or event.
pub fn values(bytes: &[u8]) {
    crate::process::fuzzed::values(bytes);
}
