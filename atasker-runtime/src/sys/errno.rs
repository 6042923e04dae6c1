//! The number of the last error of a call on this thread.

use std::io;

/// Returns the number.
#[cfg_attr(not(feature = "remote"), allow(dead_code))]
pub(crate) fn get() -> libc::c_int {
    io::Error::last_os_error().raw_os_error().unwrap_or(0)
}

/// Sets the number, after a call whose error means nothing to others.
#[cfg_attr(not(all(feature = "remote", sys_linux)), allow(dead_code))]
pub(crate) fn set(error: libc::c_int) {
    #[cfg(target_os = "linux")]
    // SAFETY: the location is that of this thread.
    unsafe {
        *libc::__errno_location() = error;
    }
    #[cfg(any(target_vendor = "apple", target_os = "freebsd"))]
    // SAFETY: the location is that of this thread.
    unsafe {
        *libc::__error() = error;
    }
    // Other systems have no worker processes, and keep the number of a call that has succeeded.
    #[cfg(not(any(target_os = "linux", target_vendor = "apple", target_os = "freebsd")))]
    let _ = error;
}
