//! Arbitrary bytes as the values of the fields of a tracing span or event.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| atasker_runtime::fuzzed::values(bytes));
