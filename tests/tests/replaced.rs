//! Does a program whose file is replaced or removed while it runs go on starting worker processes?

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use atasker_tests::{FAR, Watchdog};

#[test]
fn workers_start_from_the_image_that_runs() {
    let _watchdog = Watchdog::new("a program that is replaced", FAR);
    let directory = std::env::temp_dir().join(format!("atasker-replaced-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let (program, other) = (directory.join("program"), directory.join("other"));
    std::fs::copy(env!("CARGO_BIN_EXE_replaced"), &program).unwrap();
    // A script, so that it does not matter where the shell is.
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
        let line = from.next().expect("it answers").unwrap();
        let (doubled, pid) = line.split_once(' ').unwrap();
        assert_eq!(doubled, (2 * n).to_string(), "{line}");
        pid.parse::<u32>().expect(&line)
    };

    let mut pids = vec![ask(1), ask(2)];
    // As an update does it.
    std::fs::rename(&other, &program).unwrap();
    assert_eq!(Command::new(&program).output().unwrap().stdout, b"this is another program\n");
    assert_ne!(std::fs::read_link(&image).unwrap(), program);
    pids.extend([ask(3), ask(4)]);
    // As another kind of update does it.
    std::fs::remove_dir_all(&directory).unwrap();
    assert!(!Path::new(&program).exists());
    pids.extend([ask(5), ask(6)]);
    pids.sort();
    pids.dedup();
    assert_eq!(pids.len(), 6, "each in a worker process of its own");

    drop(to);
    assert!(child.wait().unwrap().success());
}
