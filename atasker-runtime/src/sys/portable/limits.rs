//! What a worker process may do and use.

use std::ffi::CStr;
use std::io;

use rustix::process::{Resource, Rlimit};

#[cfg(not(target_vendor = "apple"))]
use crate::sys::errno;

/// Does nothing: the `argv[0]` of the process says what it is.
pub(crate) fn set_name(_: &CStr) {}

/// Forbids core files, for this process and for those that its tasks start. Unlike on Linux, other
/// processes of the same user may still trace it.
pub(crate) fn forbid_dumps() -> io::Result<()> {
    let old = rustix::process::getrlimit(Resource::Core);
    let new = Rlimit { current: Some(0), maximum: old.maximum };
    Ok(rustix::process::setrlimit(Resource::Core, new)?)
}

/// Whether this process may lower its nice value again once it was raised. Not tried, because the
/// value is that of the process, and would stay raised.
pub(crate) fn may_lower_nice(_usual: i32) -> bool {
    rustix::process::geteuid().is_root()
}

/// The address space of this process, in bytes. No call reports it. It is what the largest mapping
/// leaves of a limit: mappings of various sizes, without memory, are tried, and removed at once.
#[cfg(not(target_vendor = "apple"))]
pub(crate) fn address_space() -> io::Result<u64> {
    use std::ptr;

    /// Far more than a worker process maps.
    const MOST: u64 = if cfg!(target_pointer_width = "64") { 1 << 42 } else { 3 << 30 };
    let page = rustix::param::page_size() as u64;
    let fits = |pages: u64| {
        let length = (pages * page) as usize;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANON;
        // SAFETY: a new mapping at an address chosen by the kernel touches no other memory, and
        // nothing refers to it when it is removed.
        unsafe {
            let address = libc::mmap(ptr::null_mut(), length, libc::PROT_NONE, flags, -1, 0);
            address != libc::MAP_FAILED && libc::munmap(address, length) == 0
        }
    };
    let old = rustix::process::getrlimit(Resource::As);
    let most = [old.current, old.maximum].into_iter().flatten().fold(MOST, u64::min);
    let limited = Rlimit { current: Some(most), maximum: old.maximum };
    rustix::process::setrlimit(Resource::As, limited)?;
    let (mut fitting, mut too_large) = (0, most / page + 1);
    while too_large - fitting > 1 {
        let middle = fitting + (too_large - fitting) / 2;
        match fits(middle) {
            true => fitting = middle,
            false => too_large = middle,
        }
    }
    rustix::process::setrlimit(Resource::As, old)?;
    // A later abort would be blamed on the lack of memory that was provoked here.
    errno::set(0);
    Ok(most - fitting * page)
}

/// macOS does not limit the address space of a process.
#[cfg(target_vendor = "apple")]
pub(crate) fn address_space() -> io::Result<u64> {
    let text = "macOS does not limit the memory of a process: remove `memory_limit`";
    Err(io::Error::new(io::ErrorKind::Unsupported, text))
}
