//! What can be seen of this process and of its children in `/proc`.

use std::fmt::Write as _;
use std::fs;
use std::time::Duration;

/// A process as `/proc/<pid>/stat` shows it.
pub struct Process {
    pub pid: u32,
    pub parent: u32,
    /// `R`, `S`, `T`, `Z`, ...
    pub state: char,
}

impl Process {
    pub fn of(pid: u32) -> Option<Process> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name may hold anything, brackets and spaces included.
        let mut fields = stat.rsplit_once(") ")?.1.split(' ');
        let state = fields.next()?.chars().next()?;
        Some(Process { pid, parent: fields.next()?.parse().ok()?, state })
    }

    /// Whether it has ended, be it buried or not.
    pub fn is_gone(pid: u32) -> bool {
        Process::of(pid).is_none_or(|process| process.state == 'Z')
    }
}

/// The children of this process, zombies included.
pub fn children() -> Vec<Process> {
    let me = std::process::id();
    let all = fs::read_dir("/proc").expect("there is a /proc");
    let pids = all.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    pids.filter_map(Process::of).filter(|process| process.parent == me).collect()
}

/// How many descriptors this process has open.
pub fn descriptors() -> usize {
    // One of them is that of the directory itself.
    fs::read_dir("/proc/self/fd").expect("there is a /proc").count() - 1
}

/// The CPU time that this process has used.
pub fn cpu_time() -> Duration {
    let mut usage = std::mem::MaybeUninit::<libc::rusage>::uninit();
    // SAFETY: the pointer is to a `rusage`, which a call that returns 0 has filled.
    let usage = unsafe {
        assert_eq!(libc::getrusage(libc::RUSAGE_SELF, usage.as_mut_ptr()), 0);
        usage.assume_init()
    };
    let time = |t: libc::timeval| {
        Duration::from_secs(t.tv_sec as u64) + Duration::from_micros(t.tv_usec as u64)
    };
    time(usage.ru_utime) + time(usage.ru_stime)
}

/// The descriptors that this process has open, and what they are.
pub fn open_descriptors() -> Vec<(u32, String)> {
    let all = fs::read_dir("/proc/self/fd").expect("there is a /proc");
    let mut open: Vec<_> = all
        .filter_map(|entry| {
            let entry = entry.ok()?;
            let number = entry.file_name().to_str()?.parse().ok()?;
            Some((number, fs::read_link(entry.path()).ok()?.to_string_lossy().into_owned()))
        })
        // That of the directory itself.
        .filter(|(_, target)| !target.starts_with("/proc/"))
        .collect();
    open.sort();
    open
}

/// The names of this process's threads.
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

/// A run of one ignored test of this very test program, in a process of its own.
pub fn rerun(test: &str) -> std::process::Command {
    let program = std::env::current_exe().expect("a test program knows where it is");
    let mut command = std::process::Command::new(program);
    command.args(["--exact", test, "--ignored", "--nocapture", "--test-threads=1"]);
    command
}

/// The memory that is resident, in bytes.
pub fn resident() -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("there is a /proc");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|rest| rest.trim().split(' ').next()?.parse::<u64>().ok());
    kib.expect("there is a VmRSS") * 1024
}

/// What every thread of this process and of its children does: name, state, and where it waits.
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

/// Sends a signal to a process.
///
/// # Panics
/// If there is none of this number.
#[track_caller]
pub fn signal(pid: u32, signal: i32) {
    // SAFETY: no preconditions; the number is a process's, never a group's.
    let sent = unsafe { libc::kill(i32::try_from(pid).expect("a process's number"), signal) };
    assert_eq!(sent, 0, "signal {signal} to {pid}: {}", std::io::Error::last_os_error());
}

/// Stops a process, all threads of it.
///
/// # Panics
/// If there is none of this number.
#[track_caller]
pub fn stop(pid: u32) {
    signal(pid, libc::SIGSTOP);
    let stopped = |thread: fs::DirEntry| {
        // A thread's directory has a file as a process's has.
        let stat = fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
        stat.rsplit_once(") ").is_none_or(|(_, rest)| rest.starts_with('T'))
    };
    crate::eventually(|| {
        let threads = fs::read_dir(format!("/proc/{pid}/task")).expect("the process is there");
        threads.filter_map(Result::ok).all(stopped)
    });
}
