//! Arbitrary bytes as the error of a task.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| atasker_runtime::fuzzed::error(bytes));
