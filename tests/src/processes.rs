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

/// The names of this process's threads.
pub fn thread_names() -> Vec<String> {
    let threads = fs::read_dir("/proc/self/task").expect("there is a /proc");
    let names =
        threads.filter_map(|thread| fs::read_to_string(thread.ok()?.path().join("comm")).ok());
    names.map(|name| name.trim_end().to_owned()).collect()
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
