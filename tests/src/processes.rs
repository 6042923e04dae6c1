//! Information about this process and its children from `/proc`.

use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};
use std::time::Duration;

/// A process as shown by `/proc/<pid>/stat`.
pub struct Process {
    pub pid: u32,
    pub parent: u32,
    /// `R`, `S`, `T`, `Z`, ...
    pub state: char,
}

impl Process {
    pub fn of(pid: u32) -> Option<Process> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name may contain any character, including parentheses and spaces.
        let mut fields = stat.rsplit_once(") ")?.1.split(' ');
        let state = fields.next()?.chars().next()?;
        Some(Process { pid, parent: fields.next()?.parse().ok()?, state })
    }

    /// Whether the process has ended, reaped or not.
    pub fn is_gone(pid: u32) -> bool {
        // `X`: the kernel is about to remove it, which it does without a zombie if SIGCHLD is ignored.
        Process::of(pid).is_none_or(|process| matches!(process.state, 'Z' | 'X'))
    }
}

/// Runs a shell with `script`, which prints the ids of the processes that it starts in one line.
/// Returns the id of the shell and these ids.
///
/// # Panics
/// If the shell can't be started, or prints something else.
#[allow(clippy::zombie_processes)] // What becomes of it is the question of its callers.
pub fn shell(script: &str, own_session: bool) -> Vec<u32> {
    let mut command = Command::new("sh");
    if own_session {
        // SAFETY: `setsid` may be called between fork and exec.
        unsafe {
            command.pre_exec(|| {
                libc::setsid();
                Ok(())
            });
        }
    }
    let mut child = command.args(["-c", script]).stdout(Stdio::piped()).spawn().unwrap();
    let mut pids = vec![child.id()];
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    pids.extend(line.split_whitespace().map(|pid| pid.parse::<u32>().unwrap()));
    pids
}

/// The children of this process, including zombies.
pub fn children() -> Vec<Process> {
    let me = std::process::id();
    let all = fs::read_dir("/proc").expect("there is a /proc");
    let pids = all.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    pids.filter_map(Process::of).filter(|process| process.parent == me).collect()
}

/// The number of open descriptors of this process.
pub fn descriptors() -> usize {
    // One of them belongs to the directory itself.
    fs::read_dir("/proc/self/fd").expect("there is a /proc").count() - 1
}

/// The CPU time used by this process.
pub fn cpu_time() -> Duration {
    let mut usage = std::mem::MaybeUninit::<libc::rusage>::uninit();
    // SAFETY: the pointer is to a `rusage`, which is initialized if the call returns 0.
    let usage = unsafe {
        assert_eq!(libc::getrusage(libc::RUSAGE_SELF, usage.as_mut_ptr()), 0);
        usage.assume_init()
    };
    let time = |t: libc::timeval| {
        Duration::from_secs(t.tv_sec as u64) + Duration::from_micros(t.tv_usec as u64)
    };
    time(usage.ru_utime) + time(usage.ru_stime)
}

/// The open descriptors of this process and their targets.
pub fn open_descriptors() -> Vec<(u32, String)> {
    let all = fs::read_dir("/proc/self/fd").expect("there is a /proc");
    let mut open: Vec<_> = all
        .filter_map(|entry| {
            let entry = entry.ok()?;
            let number = entry.file_name().to_str()?.parse().ok()?;
            Some((number, fs::read_link(entry.path()).ok()?.to_string_lossy().into_owned()))
        })
        // The descriptor of the directory itself.
        .filter(|(_, target)| !target.starts_with("/proc/"))
        .collect();
    open.sort();
    open
}

/// The names of the threads of this process.
pub fn thread_names() -> Vec<String> {
    let threads = fs::read_dir("/proc/self/task").expect("there is a /proc");
    let names =
        threads.filter_map(|thread| fs::read_to_string(thread.ok()?.path().join("comm")).ok());
    names.map(|name| name.trim_end().to_owned()).collect()
}

/// The mappings of this process, one line each.
pub fn mappings() -> Vec<String> {
    let maps = fs::read_to_string("/proc/self/maps").expect("there is a /proc");
    maps.lines().map(str::to_owned).collect()
}

/// A command that runs one ignored test of this test program in a separate process.
pub fn rerun(test: &str) -> std::process::Command {
    let program = std::env::current_exe().expect("a test program knows where it is");
    let mut command = std::process::Command::new(program);
    command.args(["--exact", test, "--ignored", "--nocapture", "--test-threads=1"]);
    command
}

/// The resident memory in bytes.
pub fn resident() -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("there is a /proc");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|rest| rest.trim().split(' ').next()?.parse::<u64>().ok());
    kib.expect("there is a VmRSS") * 1024
}

/// The state of every thread of this process and of its children: name, state, and where it waits.
pub fn threads() -> String {
    let mut text = String::new();
    let children = children().into_iter().map(|child| child.pid);
    for pid in std::iter::once(std::process::id()).chain(children) {
        let command = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let _ = writeln!(text, "process {pid}: {}", command.replace('\0', " "));
        let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else { continue };
        for thread in threads.filter_map(Result::ok) {
            let read = |file: &str| {
                let read = fs::read_to_string(thread.path().join(file));
                read.unwrap_or_default().trim_end().to_owned()
            };
            let status = read("status");
            let line = |key: &str| {
                let line = status.lines().find(|line| line.starts_with(key));
                line.unwrap_or_default().replace('\t', " ")
            };
            let _ = writeln!(
                text,
                "  {:?} {:20} {} wchan {} syscall {} {} {}",
                thread.file_name(),
                read("comm"),
                line("State"),
                read("wchan"),
                read("syscall"),
                line("SigBlk"),
                line("voluntary"),
            );
            for frame in read("stack").lines() {
                let _ = writeln!(text, "      {frame}");
            }
        }
    }
    text
}

/// Whether a thread of this process, other than the caller, or one of its children is runnable or
/// in uninterruptible sleep (state `D`): it waits for a CPU, or in the kernel for a disk or a lock,
/// so the machine causes the delay. In a deadlock of the program all threads sleep.
pub fn is_held_up() -> bool {
    // SAFETY: no preconditions.
    let me = unsafe { libc::gettid() }.to_string();
    let pids = children().into_iter().map(|child| child.pid);
    pids.chain([std::process::id()]).any(|pid| {
        let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else { return false };
        threads.filter_map(Result::ok).any(|thread| {
            let stat = fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
            let state = stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
            thread.file_name().to_str() != Some(&me) && matches!(state, Some('R' | 'D'))
        })
    })
}

/// Sends a signal to a process.
///
/// # Panics
/// If no process has this id.
#[track_caller]
pub fn signal(pid: u32, signal: i32) {
    // SAFETY: no preconditions; the number is a process id, never that of a group.
    let sent = unsafe { libc::kill(i32::try_from(pid).expect("a process id"), signal) };
    assert_eq!(sent, 0, "signal {signal} to {pid}: {}", std::io::Error::last_os_error());
}

/// Stops all threads of a process by SIGSTOP.
///
/// # Panics
/// If no process has this id.
#[track_caller]
pub fn stop(pid: u32) {
    signal(pid, libc::SIGSTOP);
    let stopped = |thread: fs::DirEntry| {
        // The directory of a thread has a `stat` file like that of a process.
        let stat = fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
        stat.rsplit_once(") ").is_none_or(|(_, rest)| rest.starts_with('T'))
    };
    crate::eventually(|| {
        let threads = fs::read_dir(format!("/proc/{pid}/task")).expect("the process exists");
        threads.filter_map(Result::ok).all(stopped)
    });
}

/// Copies a program in another process. If this process wrote the copy, a thread that forks
/// meanwhile would keep the copy open for writing until its exec, and executing the copy would fail
/// with "Text file busy".
///
/// # Panics
/// If the copy fails.
#[track_caller]
pub fn copy_program(from: impl AsRef<std::path::Path>, to: impl AsRef<std::path::Path>) {
    let status = std::process::Command::new("cp").arg(from.as_ref()).arg(to.as_ref()).status();
    assert!(status.expect("there is a cp").success());
}
