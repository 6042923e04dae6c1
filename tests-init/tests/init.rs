//! Is a worker process recognized without the pre-main hook, and does `main` never run twice?

use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

fn output(program: &str) -> String {
    let output = Command::new(program).stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn init_in_first_line() {
    assert_eq!(output(env!("CARGO_BIN_EXE_by_init")), "main\nsum 3, elsewhere: true\n");
}

#[test]
fn attribute_on_main() {
    assert_eq!(output(env!("CARGO_BIN_EXE_by_attribute")), "main\nsum 3, elsewhere: true\n");
}

#[test]
fn missing_init_is_an_error_with_advice() {
    let output = output(env!("CARGO_BIN_EXE_by_nothing"));
    // In a build of the whole workspace, another package enables the hook.
    if atasker::__private::PRE_MAIN {
        assert_eq!(output, "main\nsum 3, elsewhere: true\n");
        return;
    }
    assert_eq!(output.matches("main\n").count(), 1, "{output}");
    for way in ["pre-main", "#[atasker::main]", "atasker::init()"] {
        assert!(output.contains(way), "{output}");
    }
}

#[test]
fn worker_reaching_program_code_exits_with_message() {
    let output =
        Command::new(env!("CARGO_BIN_EXE_by_chance")).stdin(Stdio::null()).output().unwrap();
    let out = String::from_utf8_lossy(&output.stdout);
    if atasker::__private::PRE_MAIN {
        assert_eq!(out, "main\nsum 3, elsewhere: true\n");
        return;
    }
    let last = out.lines().last().unwrap();
    assert!(last.starts_with("error: ") && last.contains("exit code 1"), "{out}");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(errors.contains("`atasker::init()` must be the first line of `main`"), "{errors}");
}

/// A program that is not a worker process is started like one.
#[test]
fn program_resembling_worker_is_not_one() {
    for greets in [false, true] {
        let (mut ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
        if greets {
            std::io::Write::write_all(&mut ours, b"atasker1........").unwrap();
        }
        let output = Command::new(env!("CARGO_BIN_EXE_by_init"))
            .arg0("by_init [atasker worker 1 of default]")
            .stdin(std::os::fd::OwnedFd::from(theirs))
            .env("ATASKER_WORKER_OF", std::process::id().to_string())
            .output()
            .unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stdout), "main\nsum 3, elsewhere: true\n");
    }
}

#[test]
fn panics_are_reported() {
    assert_eq!(output(env!("CARGO_BIN_EXE_panics")), "panics are reported, and panics unwind\n");
}
