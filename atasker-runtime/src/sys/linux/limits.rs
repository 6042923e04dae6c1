//! What a worker process may do and use.

use std::ffi::CStr;
use std::io;

/// Sets the short name of the process, in addition to its `argv[0]`.
pub(crate) fn set_name(name: &CStr) {
    let _ = rustix::thread::set_name(name);
}

/// Makes the system treat this process as one with secrets: no core file is written, and other
/// processes of the same user can't trace it or read its memory. Processes that tasks start are not
/// affected.
pub(crate) fn forbid_dumps() -> io::Result<()> {
    // SAFETY: the option takes plain integers.
    match unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 0, 0, 0, 0) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Whether this process may lower its nice value again once it was raised.
pub(crate) fn may_lower_nice(usual: i32) -> bool {
    // Tried on a temporary thread, because each thread has its own nice value, which may stay
    // raised.
    let try_both = move || {
        let set = |nice| rustix::process::setpriority_process(None, nice).is_ok();
        set((usual + 1).min(19)) && set(usual)
    };
    let tried = std::thread::Builder::new().name("atasker nice".into()).spawn(try_both);
    tried.is_ok_and(|thread| thread.join().unwrap_or(false))
}

/// The address space of this process, in bytes.
pub(crate) fn address_space() -> io::Result<u64> {
    let statm = std::fs::read_to_string("/proc/self/statm")?;
    let pages = statm.split(' ').next().and_then(|pages| pages.parse::<u64>().ok());
    Ok(pages.ok_or(io::ErrorKind::InvalidData)? * rustix::param::page_size() as u64)
}
