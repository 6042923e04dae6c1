//! Whether this process, or a copy of it, has more privileges than its invoker.
//!
//! A worker process executes what its parent sends. A program that has more privileges than its
//! invoker (setuid, setgid, file capabilities) must therefore not act as a worker process. A
//! program whose copies would have other privileges than itself starts no worker processes, because
//! such a copy would not serve but run `main`.

use std::ffi::{CStr, c_ulong};

use crate::sys::copy;

use rustix::fs::StatVfsMountFlags;
use rustix::process::{Gid, Uid};

/// Whether the kernel has raised the privileges of this process above those of its invoker.
pub(crate) fn are_elevated() -> bool {
    auxiliary(libc::AT_SECURE) != 0
}

/// The reason why a copy of this process would have other privileges, if it would.
///
/// Checked before each copy, because a process may change its user, and its file may become setuid, at
/// any time.
pub(crate) fn change_in_copy() -> Option<&'static str> {
    if let Some(reason) = copy::ids_differ() {
        return Some(reason);
    }
    file_changes_rights(rustix::process::getuid(), rustix::process::getgid()).then_some(
        "the program's file is setuid or setgid or has capabilities: a copy would have privileges \
         that this process does not have, or has dropped; remove these from the file",
    )
}

/// Returns a value of the auxiliary vector, which the kernel passes to each program.
pub(super) fn auxiliary(kind: c_ulong) -> c_ulong {
    // SAFETY: `getauxval` reads what the kernel passed at the start; an unknown kind gives 0.
    unsafe { libc::getauxval(kind) }
}

/// Whether the kernel would give a process of this user and group that executes the program's file
/// another user or group, or capabilities.
fn file_changes_rights(user: Uid, group: Gid) -> bool {
    let file = c"/proc/self/exe";
    // Without this file, no copy can be started either.
    let Ok(stat) = rustix::fs::stat(file) else { return false };
    let is_setuid = stat.st_mode & libc::S_ISUID != 0 && stat.st_uid != user.as_raw();
    let is_setgid = stat.st_mode & libc::S_ISGID != 0 && stat.st_gid != group.as_raw();
    // Root has all capabilities in any case.
    let has_capabilities = || {
        let name = c"security.capability";
        !user.is_root() && rustix::fs::getxattr(file, name, &mut [0u8; 64][..]).is_ok()
    };
    (is_setuid || is_setgid || has_capabilities()) && !is_ignored(file)
}

/// Whether the kernel ignores what the file says about privileges.
fn is_ignored(file: &CStr) -> bool {
    rustix::thread::no_new_privs().unwrap_or(false)
        || rustix::fs::statvfs(file).is_ok_and(|fs| fs.f_flag.contains(StatVfsMountFlags::NOSUID))
}

#[cfg(test)]
mod tests {
    #[test]
    fn test_program_has_no_more_privileges_than_its_invoker() {
        assert!(!super::are_elevated());
        assert_eq!(super::change_in_copy(), None);
    }
}
