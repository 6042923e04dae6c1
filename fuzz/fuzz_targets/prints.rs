//! Arbitrary bytes, in arbitrary pieces, as the output of a worker process.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (&[u8], &[u8])| {
    let (pieces, bytes) = input;
    atasker_runtime::fuzzed::prints(bytes, pieces);
});
