//! Do configuration files accept the durations that the attributes accept?

use std::path::Path;
use std::time::Duration;

use atasker::{PoolConfig, background};

/// Reads a duration as a file does.
fn from_file(text: &str) -> Duration {
    let file = serde_json::json!({ "idle_timeout": text });
    serde_json::from_value::<PoolConfig>(file).unwrap().idle_timeout
}

/// Checks that each text is the same duration in a macro and in a file.
macro_rules! assert_same {
    ($($text:literal)*) => { $(
        let task = background!(|| (), delay = $text);
        // A delay of zero is none.
        let by_macro = task.info().delay.unwrap_or_default();
        task.cancel();
        assert_eq!(by_macro, from_file($text), $text);
    )* };
}

#[test]
fn macros_and_files_accept_the_same_texts() {
    assert_same! {
        "0s" "1ns" "999ms" "250ms" "5s" "2m" "2min" "5sec" "3 h" " 3h " "1_000_000us" "70000µs"
        "1.5s" ".5s" "5.s" "0.333333333333s" "1.999999999999999999999999999999999h"
        "9007199.254740993s" "18446744073709551615ns" "18446744073.709551616s"
        "18446744073709551615999999999ns"
    };
}

/// The same for the texts that are refused, which a macro does at compile time. Both crates contain
/// the rules, and test them.
#[test]
fn macros_and_files_have_the_same_rules() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let read = |path: &str| std::fs::read_to_string(root.join(path)).unwrap();
    let macros = read("atasker-macros/src/duration_syntax.rs");
    let runtime = read("atasker-runtime/src/time/duration_syntax.rs");
    assert!(macros == runtime, "change `duration_syntax.rs` in both crates in the same way");
}
