//! Advice on the errors of the system.

use std::io;

/// Returns the text of an error for lack of threads, processes, descriptors or memory, with advice
/// on the limit to raise.
pub(crate) fn with_advice(error: &io::Error) -> String {
    const EAGAIN: i32 = 11;
    const ENOMEM: i32 = 12;
    const ENFILE: i32 = 23;
    const EMFILE: i32 = 24;
    const ETOOMANYREFS: i32 = 109;
    let advice = match error.raw_os_error() {
        Some(EMFILE) => "raise the process's limit on open files (`ulimit -n`), or close some",
        Some(ENFILE) => "the system-wide limit on open files is reached (`fs.file-max`)",
        Some(ETOOMANYREFS) => "raise the limit on open files (`ulimit -n`)",
        Some(EAGAIN) => {
            "check the limits on processes and threads (`ulimit -u`, `pids.max` of the cgroup) and \
             on memory"
        }
        Some(ENOMEM) => "check the memory limits (`ulimit -v`, `memory.max` of the cgroup)",
        _ => return error.to_string(),
    };
    format!("{error}: {advice}")
}
