//! Do programs that tasks start have default signal actions if the program itself ignores signals?

use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use atasker_tests::{FAR, Watchdog};

/// Runs the program with these signals ignored from its start, as background jobs of a shell do.
fn run_ignoring(signals: &[i32]) -> String {
    let mut program = Command::new(env!("CARGO_BIN_EXE_startup"));
    program.arg("signals").stdin(Stdio::null());
    let signals = signals.to_vec();
    // SAFETY: `signal` may be called between fork and exec.
    unsafe {
        program.pre_exec(move || {
            for signal in &signals {
                libc::signal(*signal, libc::SIG_IGN);
            }
            Ok(())
        });
    }
    let output = program.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    text
}

fn set(signals: &[i32]) -> u64 {
    signals.iter().fold(0, |set, signal| set | 1 << (signal - 1))
}

#[test]
fn workers_ignore_no_signal() {
    let _watchdog = Watchdog::new("ignored signals", 2 * FAR);
    let many = [
        libc::SIGHUP,
        libc::SIGINT,
        libc::SIGQUIT,
        libc::SIGTERM,
        libc::SIGUSR1,
        libc::SIGTSTP,
        libc::SIGTTOU,
        libc::SIGCHLD,
        libc::SIGRTMAX(),
    ];
    let sets = [&[][..], &[libc::SIGCHLD], &[libc::SIGTERM], &[libc::SIGINT, libc::SIGQUIT], &many];
    for signals in sets {
        let out = run_ignoring(signals);
        let mut lines = out.lines();
        let program = lines.next().and_then(|line| line.strip_prefix("program ")?.parse().ok());
        let expected = set(signals);
        assert_eq!(program.map(|ignored: u64| ignored & expected), Some(expected), "{out}");
        // Rust programs ignore SIGPIPE.
        let pipe = set(&[libc::SIGPIPE]);
        let worker = format!("worker Ok(({pipe}, true, Some({})))", libc::SIGTERM);
        assert_eq!(lines.next(), Some(&*worker), "{signals:?}");
        // If the program ignores SIGCHLD, the system keeps no exit status.
        assert_eq!(lines.next(), Some("died true"), "{signals:?}");
        assert_eq!(lines.next(), Some("sum 3, elsewhere: true"), "{signals:?}");
    }
}
