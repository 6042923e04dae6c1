//! Does a program that stops its supervisor on a signal shut down gracefully? SIGTERM, SIGINT and
//! SIGHUP are sent to the program only, to its process group, and by a terminal: worker processes
//! do not receive them, end their tasks, and nothing is left behind.
//!
//! The program is `src/bin/graceful.rs`. All its descendants inherit its standard output, a pipe:
//! at its end of file, none of them is left.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::{FromRawFd, OwnedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};

use atasker_tests::processes::Process;
use atasker_tests::{FAR, Watchdog, eventually};

const HOW: [&str; 3] = ["thread", "tokio", "sigwait"];
const SIGNALS: [i32; 3] = [libc::SIGTERM, libc::SIGINT, libc::SIGHUP];

struct Program {
    child: Child,
    out: BufReader<ChildStdout>,
    /// Worker processes, and the processes that tasks have started.
    others: Vec<u32>,
}

impl Program {
    /// Returns when tasks of all kinds are running. With a terminal, the program leads the session
    /// of the terminal, otherwise a separate process group.
    fn start(how: &str, what: &str, terminal: Option<OwnedFd>) -> Program {
        let mut command = Command::new(env!("CARGO_BIN_EXE_graceful"));
        command.args([how, what]).stdout(Stdio::piped());
        let has_terminal = terminal.is_some();
        match terminal {
            Some(slave) => {
                command.stderr(slave.try_clone().unwrap()).stdin(slave);
            }
            None => {
                command.stdin(Stdio::null()).process_group(0);
            }
        }
        let prepare = move || {
            // SAFETY: no preconditions; all of them may be called between fork and exec.
            unsafe {
                // Otherwise SIGQUIT would write a core file.
                let none = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
                libc::setrlimit(libc::RLIMIT_CORE, &none);
                // A shell without job control ignores it in what it runs in the background.
                libc::signal(libc::SIGQUIT, libc::SIG_DFL);
                if has_terminal && (libc::setsid() < 0 || libc::ioctl(0, libc::TIOCSCTTY, 0) < 0) {
                    return Err(std::io::Error::last_os_error());
                }
            }
            Ok(())
        };
        // SAFETY: `prepare` makes only system calls.
        let mut child = unsafe { command.pre_exec(prepare) }.spawn().unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        out.read_line(&mut line).unwrap();
        let pids = line.trim_end().strip_prefix("ready ").expect(&line).split(' ');
        let others: Vec<u32> = pids.map(|pid| pid.parse().unwrap()).collect();
        assert!(others.len() >= 2 && others.iter().all(|pid| !Process::is_gone(*pid)));
        Program { child, out, others }
    }

    fn pid(&self) -> i32 {
        self.child.id().try_into().unwrap()
    }

    fn signal(&self, signal: i32) {
        kill(self.pid(), signal);
    }

    fn signal_group(&self, signal: i32) {
        kill(-self.pid(), signal);
    }

    /// The remaining output and the exit status. Asserts that nothing is left of the program.
    fn end(mut self) -> (ExitStatus, String) {
        let mut text = String::new();
        self.out.read_to_string(&mut text).unwrap();
        let status = self.child.wait().unwrap();
        for pid in &self.others {
            eventually(|| Process::is_gone(*pid));
        }
        (status, text)
    }

    #[track_caller]
    fn shuts_down_gracefully(self, signal: i32) {
        let (status, text) = self.end();
        let done = "done, SigBlk: 0000000000000000";
        let expected = format!(
            "signal {signal}\nworks: {done}\nworks: {done}\nworks_on_a_thread: done\n\
             works_on_an_aloop: done\ncompleted 4, canceled 3, abandoned 0\n"
        );
        assert_eq!(text, expected);
        assert_eq!(status.code(), Some(0));
    }
}

fn kill(pid: i32, signal: i32) {
    // SAFETY: the process is a child of this one that was not waited for.
    assert_eq!(unsafe { libc::kill(pid, signal) }, 0);
}

/// A terminal: the user's end, and the end for programs.
fn terminal() -> (File, OwnedFd) {
    let (mut master, mut slave) = (-1, -1);
    use std::ptr::{null, null_mut};
    // SAFETY: both pointers are valid; no other options are used.
    let opened = unsafe { libc::openpty(&mut master, &mut slave, null_mut(), null(), null()) };
    assert_eq!(opened, 0, "{}", std::io::Error::last_os_error());
    for fd in [master, slave] {
        // SAFETY: no preconditions. Only the program inherits the replica.
        assert_eq!(unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) }, 0);
    }
    // SAFETY: the descriptors were opened just now and have no other owner.
    unsafe { (File::from_raw_fd(master), OwnedFd::from_raw_fd(slave)) }
}

#[test]
fn signal_to_program_only() {
    let _watchdog = Watchdog::new("a signal to the program alone", 3 * FAR);
    for how in HOW {
        for signal in SIGNALS {
            let program = Program::start(how, "quick", None);
            program.signal(signal);
            program.shuts_down_gracefully(signal);
        }
    }
}

#[test]
fn signal_to_process_group() {
    let _watchdog = Watchdog::new("a signal to the process group", 3 * FAR);
    for how in HOW {
        for signal in SIGNALS {
            let program = Program::start(how, "quick", None);
            for worker in &program.others {
                // SAFETY: no preconditions.
                let group = unsafe { libc::getpgid(*worker as i32) };
                assert_eq!(group, *worker as i32, "a worker process leads its own group");
            }
            program.signal_group(signal);
            program.shuts_down_gracefully(signal);
        }
    }
}

#[test]
fn ctrl_c_in_terminal() {
    let _watchdog = Watchdog::new("Ctrl-C", FAR);
    for how in HOW {
        let (mut master, slave) = terminal();
        let program = Program::start(how, "quick", Some(slave));
        master.write_all(b"\x03").unwrap();
        program.shuts_down_gracefully(libc::SIGINT);
    }
}

#[test]
fn signal_to_terminal_foreground() {
    let _watchdog = Watchdog::new("a signal to the foreground", FAR);
    let (_master, slave) = terminal();
    let program = Program::start("thread", "quick", Some(slave));
    program.signal_group(libc::SIGTERM);
    program.shuts_down_gracefully(libc::SIGTERM);
}

#[test]
fn closed_terminal() {
    let _watchdog = Watchdog::new("a closed terminal", FAR);
    for how in HOW {
        let (master, slave) = terminal();
        let program = Program::start(how, "quick", Some(slave));
        drop(master);
        program.shuts_down_gracefully(libc::SIGHUP);
    }
}

#[test]
fn unresponsive_task_is_ended_at_deadline() {
    let _watchdog = Watchdog::new("a deadline", FAR);
    for how in HOW {
        let program = Program::start(how, "stubborn", None);
        assert_eq!(
            program.others.len(),
            3,
            "two worker processes, and a process that a task has started"
        );
        program.signal(libc::SIGTERM);
        let (status, text) = program.end();
        assert_eq!(status.code(), Some(1), "{text}");
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[2], "does_not_listen: SupervisorStopped", "{text}");
        assert_eq!(lines[5], "completed 3, canceled 3, abandoned 1", "{text}");
    }
}

/// Ctrl-\ is meant for a program that hangs: there is no graceful shutdown, and nothing is left
/// either.
#[test]
fn ctrl_backslash_ends_everything() {
    let _watchdog = Watchdog::new("Ctrl-\\", FAR);
    let (mut master, slave) = terminal();
    let program = Program::start("thread", "stubborn", Some(slave));
    master.write_all(b"\x1c").unwrap();
    let (status, text) = program.end();
    assert_eq!((status.signal(), text.as_str()), (Some(libc::SIGQUIT), ""));
}

/// Ctrl-Z stops only the program. The program alone leads its session, so the system would ignore
/// the key; the test sends the signal, as the kernel does for a job of a shell.
#[test]
fn suspended_program_handles_signal_on_resume() {
    let _watchdog = Watchdog::new("a stopped program", FAR);
    let program = Program::start("thread", "quick", None);
    let is_stopped = |pid: u32| Process::of(pid).unwrap().state == 'T';
    program.signal_group(libc::SIGSTOP);
    let parent = program.child.id();
    eventually(|| is_stopped(parent));
    assert!(!program.others.iter().any(|worker| is_stopped(*worker)));
    // The program handles this signal when it continues.
    program.signal(libc::SIGTERM);
    program.signal_group(libc::SIGCONT);
    program.shuts_down_gracefully(libc::SIGTERM);
}
