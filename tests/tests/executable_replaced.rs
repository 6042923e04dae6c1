//! Can a program start worker processes after its file was replaced or removed?

use std::io::{BufRead, BufReader, Write};
#[cfg(not(atasker_portable))]
use std::path::Path;
use std::process::{Command, Stdio};

use atasker_tests::{FAR, Watchdog};

/// Linux alone has a name for the file of a running program that was replaced.
#[cfg(not(atasker_portable))]
#[test]
fn workers_start_from_running_image() {
    let _watchdog = Watchdog::new("replaced executable", FAR);
    let directory = std::env::temp_dir().join(format!("atasker-replaced-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let (program, other) = (directory.join("program"), directory.join("other"));
    std::fs::copy(env!("CARGO_BIN_EXE_executable_replaced"), &program).unwrap();
    // A script, so that the location of the shell does not matter.
    std::fs::write(&other, "#!/bin/sh\necho this is another program\n").unwrap();
    let permissions = std::fs::metadata(&program).unwrap().permissions();
    std::fs::set_permissions(&other, permissions).unwrap();

    let mut child =
        Command::new(&program).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let image = format!("/proc/{}/exe", child.id());
    let mut to = child.stdin.take().unwrap();
    let mut from = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut ask = |n: u64| {
        writeln!(to, "{n}").unwrap();
        let line = from.next().expect("the program replies").unwrap();
        let (doubled, pid) = line.split_once(' ').unwrap();
        assert_eq!(doubled, (2 * n).to_string(), "{line}");
        pid.parse::<u32>().expect(&line)
    };

    let mut pids = vec![ask(1), ask(2)];
    // Replaced by a rename, as some updates do.
    std::fs::rename(&other, &program).unwrap();
    assert_eq!(Command::new(&program).output().unwrap().stdout, b"this is another program\n");
    assert_ne!(std::fs::read_link(&image).unwrap(), program);
    pids.extend([ask(3), ask(4)]);
    // Removed and created again, as other updates do.
    std::fs::remove_dir_all(&directory).unwrap();
    assert!(!Path::new(&program).exists());
    pids.extend([ask(5), ask(6)]);
    pids.sort();
    pids.dedup();
    assert_eq!(pids.len(), 6, "each task has a separate worker process");

    drop(to);
    assert!(child.wait().unwrap().success());
}

/// The file that took its place might run `main` instead of serving.
#[cfg(atasker_portable)]
#[test]
fn replaced_program_starts_no_workers() {
    let _watchdog = Watchdog::new("replaced executable", FAR);
    let directory = std::env::temp_dir().join(format!("atasker-replaced-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let (program, other) = (directory.join("program"), directory.join("other"));
    for file in [&program, &other] {
        std::fs::copy(env!("CARGO_BIN_EXE_executable_replaced"), file).unwrap();
    }
    let mut child =
        Command::new(&program).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut to = child.stdin.take().unwrap();
    let mut from = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut ask = |n: u64| {
        writeln!(to, "{n}").unwrap();
        from.next().expect("the program replies").unwrap()
    };
    assert!(ask(1).starts_with("2 "));
    std::fs::rename(&other, &program).unwrap();
    let error = ask(2);
    assert!(error.contains("was replaced since this program was started"), "{error}");
    drop(to);
    assert!(child.wait().unwrap().success());
    std::fs::remove_dir_all(&directory).unwrap();
}
