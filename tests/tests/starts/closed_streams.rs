//! Does a program with closed standard streams work, and do its worker processes, and the processes
//! that tasks start, never have a descriptor of the library as a standard stream?

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use atasker_tests::{FAR, Watchdog};

/// When the streams are closed.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Closed {
    /// The program starts without the streams.
    AtStart,
    /// The program closes the streams, as a daemon does.
    Later,
}

const SUBSETS: [&str; 8] = ["", "0", "1", "2", "01", "02", "12", "012"];

fn run(closed: Closed, subset: &'static str, stdio: &str, sockets: bool) -> Vec<(String, String)> {
    let at = format!("{closed:?}-{subset}-{stdio}-{sockets}");
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("streams-{at}"));
    let _ = std::fs::remove_file(&path);
    let mut program = Command::new(env!("CARGO_BIN_EXE_startup"));
    program.arg("closed").arg(&path).arg(if closed == Closed::Later { subset } else { "" });
    program.arg(stdio).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    if sockets {
        program.env("ATASKER_WORKERS", "sockets");
    }
    if closed == Closed::AtStart {
        // SAFETY: `close` may be called between fork and exec.
        unsafe {
            program.pre_exec(move || {
                for digit in subset.bytes() {
                    libc::close(i32::from(digit - b'0'));
                }
                Ok(())
            });
        }
    }
    let output = program.output().unwrap();
    assert!(output.status.success(), "{at}: {output:?}");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::remove_file(path).unwrap();
    let pair = |line: &str| {
        // The key consists of one or two words, and no value begins with a letter that is in a key.
        let end = line.find(['[', ' ']).unwrap();
        let end = if line[end..].starts_with(" then") { end + 5 } else { end };
        (line[..end].to_owned(), line[end..].trim().to_owned())
    };
    text.lines().map(pair).collect()
}

fn check(closed: Closed, subset: &'static str, stdio: &str, sockets: bool) {
    let at = format!("{subset:?} closed {closed:?}, {stdio}, over sockets: {sockets}");
    let _watchdog = Watchdog::new(&at, FAR);
    let lines = run(closed, subset, stdio, sockets);
    let value = |key: &str| -> &str {
        &lines.iter().find(|(of, _)| of == key).unwrap_or_else(|| panic!("{at}: {lines:?}")).1
    };
    let list = |key: &str| -> Vec<&str> {
        let inner = value(key).trim_matches(['[', ']']);
        inner.split(", ").map(|entry| entry.trim_matches('"')).collect()
    };
    let program = list("program");
    for number in 0..3 {
        let is_closed = subset.contains(&number.to_string());
        assert_eq!(program[number] == "closed", is_closed, "{at}: {program:?}");
    }
    // No descriptor was opened in their place.
    assert_eq!(program, list("program then"), "{at}");
    let worker = list("worker");
    assert_eq!(worker.len(), 3, "{at}: {worker:?}");
    assert_eq!(worker[0], "/dev/null", "{at}");
    for number in [1, 2] {
        match stdio {
            "inherit" if program[number] != "closed" => {
                assert_eq!(worker[number], program[number], "{at}");
            }
            "log" => {
                assert!(worker[number].starts_with("pipe:"), "{at}: {worker:?}");
                assert!(!program.contains(&worker[number]), "{at}: {worker:?}");
            }
            _ => assert_eq!(worker[number], "/dev/null", "{at}"),
        }
    }
    assert_eq!(list("started"), worker, "{at}");
    assert_eq!((value("died"), stdio == "log" || value("again") == "true"), ("true", true), "{at}");
}

#[test]
fn program_starts_without_streams() {
    for subset in SUBSETS {
        for stdio in ["inherit", "null", "log"] {
            check(Closed::AtStart, subset, stdio, false);
        }
    }
}

#[test]
fn program_closes_streams() {
    for subset in SUBSETS {
        for stdio in ["inherit", "null", "log"] {
            check(Closed::Later, subset, stdio, false);
        }
    }
}

#[test]
fn closed_streams_over_sockets() {
    for subset in SUBSETS {
        for closed in [Closed::AtStart, Closed::Later] {
            check(closed, subset, "inherit", true);
        }
    }
    check(Closed::AtStart, "012", "null", true);
    check(Closed::Later, "012", "log", true);
}
