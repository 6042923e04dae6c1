//! Whether this process, or a copy of it, has more privileges than its invoker: see `linux::privileges`.

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
    let (user, effective_user) = (rustix::process::getuid(), rustix::process::geteuid());
    let (group, effective_group) = (rustix::process::getgid(), rustix::process::getegid());
    if user != effective_user || group != effective_group {
        return Some(
            "the real and the effective user or group of this process differ: a copy would count \
             as privileged, and would not serve; set both to the same",
        );
    }
    let stat = image::program().ok().and_then(|file| rustix::fs::stat(file).ok())?;
    let is_setuid = stat.st_mode & libc::S_ISUID != 0 && stat.st_uid != user.as_raw();
    let is_setgid = stat.st_mode & libc::S_ISGID != 0 && stat.st_gid != group.as_raw();
    (is_setuid || is_setgid).then_some(
        "the program's file is setuid or setgid: a copy would have privileges that this process does \
         not have, or has dropped; remove these from the file",
    )
}
