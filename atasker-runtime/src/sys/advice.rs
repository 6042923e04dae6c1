//! Advice on the errors of the system.

use std::io;

/// Returns the text of an error for lack of threads, processes, descriptors or memory, with advice
/// on the limit to raise.
pub(crate) fn with_advice(error: &io::Error) -> String {
    match advice(error) {
        Some(advice) => format!("{error}: {advice}"),
        None => error.to_string(),
    }
}

#[cfg(unix)]
fn advice(error: &io::Error) -> Option<&'static str> {
    match error.raw_os_error()? {
        libc::EMFILE => {
            Some("raise the process's limit on open files (`ulimit -n`), or close some")
        }
        libc::ENFILE => Some("the system-wide limit on open files is reached (`fs.file-max`)"),
        libc::ETOOMANYREFS => Some("raise the limit on open files (`ulimit -n`)"),
        libc::EAGAIN => Some(
            "check the limits on processes and threads (`ulimit -u`, `pids.max` of the cgroup) and \
             on memory",
        ),
        libc::ENOMEM => Some("check the memory limits (`ulimit -v`, `memory.max` of the cgroup)"),
        _ => None,
    }
}

/// Windows has other numbers, and no such limits.
#[cfg(not(unix))]
fn advice(_: &io::Error) -> Option<&'static str> {
    None
}

/// Whether the error is a temporary shortage of a resource, which says nothing about what the
/// system supports.
#[cfg(sys_processes)]
#[cfg_attr(not(feature = "mp"), allow(dead_code))]
pub(crate) fn is_resource_shortage(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let errno = Errno::from_io_error(error);
    let shortages = [Errno::MFILE, Errno::NFILE, Errno::NOMEM, Errno::AGAIN, Errno::INTR];
    errno.is_some_and(|errno| shortages.contains(&errno) || errno == Errno::TOOMANYREFS)
}
