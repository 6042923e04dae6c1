//! Arbitrary bytes, in arbitrary pieces, on the socket between a program and its worker process.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (&[u8], &[u8])| {
    let (pieces, bytes) = input;
    atasker_runtime::fuzzed::frames(bytes, pieces);
});
