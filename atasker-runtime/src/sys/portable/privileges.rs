//! Whether this process, or a copy of it, has more privileges than its invoker: see `linux::privileges`.

use crate::sys::copy;
use crate::sys::system::image;

/// Whether the system has raised the privileges of this process above those of its invoker.
#[cfg(not(target_os = "linux"))]
pub(crate) fn are_elevated() -> bool {
    // SAFETY: `issetugid` has no preconditions.
    unsafe { libc::issetugid() != 0 }
}

/// Whether the system has raised the privileges of this process above those of its invoker.
#[cfg(target_os = "linux")]
pub(crate) fn are_elevated() -> bool {
    // Linux has no `issetugid`.
    // SAFETY: `getauxval` reads what the kernel passed at the start.
    unsafe { libc::getauxval(libc::AT_SECURE) != 0 }
}

/// The reason why a copy of this process would have other privileges, if it would.
pub(crate) fn change_in_copy() -> Option<&'static str> {
    if let Some(reason) = copy::ids_differ() {
        return Some(reason);
    }
    let (user, group) = (rustix::process::getuid(), rustix::process::getgid());
    let stat = image::program().ok().and_then(|file| rustix::fs::stat(file).ok())?;
    let is_setuid = stat.st_mode & libc::S_ISUID != 0 && stat.st_uid != user.as_raw();
    let is_setgid = stat.st_mode & libc::S_ISGID != 0 && stat.st_gid != group.as_raw();
    (is_setuid || is_setgid).then_some(
        "the program's file is setuid or setgid: a copy would have privileges that this process does \
         not have, or has dropped; remove these from the file",
    )
}
