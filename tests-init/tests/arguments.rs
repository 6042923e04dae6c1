//! Are a program's own arguments independent of its worker processes?

use std::process::{Command, Output, Stdio};

fn run(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_with_clap")).args(args).stdin(Stdio::null()).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The children of this process, including zombies.
fn children() -> Vec<String> {
    let me = std::process::id().to_string();
    let stats = std::fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| std::fs::read_to_string(entry.ok()?.path().join("stat")).ok());
    stats
        .filter(|stat| {
            stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.split(' ').nth(1) == Some(&me))
        })
        .collect()
}

/// The only test of this file, because it lists the children of the process.
#[test]
fn worker_has_no_arguments_and_starts_on_demand() {
    // Orphaned processes of the program become children of this process.
    // SAFETY: no preconditions.
    assert_eq!(unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1) }, 0);
    let help = run(&["--help"]);
    assert!(help.status.success());
    let out = text(&help.stdout);
    assert_eq!(out.matches("Usage: with_clap").count(), 1, "{out}");
    // The argument is required in the program, but not in its worker processes.
    let wrong = run(&[]);
    assert_eq!(wrong.status.code(), Some(2));
    let errors = text(&wrong.stderr);
    assert_eq!(errors.matches("Usage: with_clap").count(), 1, "{errors}");
    assert_eq!(children(), [""; 0], "neither needs a worker process");

    let right = run(&["world", "--times", "2"]);
    let line = "hello world, from [\"with_clap [atasker worker 1 of default]\"]\n";
    assert_eq!(text(&right.stdout), line.repeat(2), "{}", text(&right.stderr));
    assert!(right.status.success() && right.stderr.is_empty());
    // This run started a worker process, so the check above would have detected one.
    assert_eq!(children().len(), 1);
}
