//! Does the example `in_memory` get each outcome once, although messages are lost and a node freezes?

use std::process::{Command, Stdio};

#[test]
fn calls_survive_lost_messages_and_a_frozen_node() {
    // Next to the directory of the tests. `cargo test` builds the examples before it runs tests;
    // with `--test in_memory` it does not.
    let path = std::env::current_exe().unwrap();
    let path = path.parent().unwrap().parent().unwrap().join("examples/in_memory");
    let output = Command::new(path).stdin(Stdio::null()).output();
    let output = output.expect("run `cargo build --examples` first");
    let err = String::from_utf8_lossy(&output.stderr);
    let lines = [
        "first words: 0 .. 49",
        "begun: 6 words",
        "begun again: 6 words",
        "weight 42, after 1 loss",
        "failed: Err(\"no words\")",
        "dead letters: 1",
    ];
    assert_eq!(String::from_utf8_lossy(&output.stdout), lines.join("\n") + "\n", "{err}");
    assert_eq!(output.status.code(), Some(0), "{err}");
}
