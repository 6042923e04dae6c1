//! The command that starts a copy of this program, and what its errors mean: the same on each system.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::io::Errno;

use super::reap::Output;
use super::stdio;
use super::system::privileges;

/// Returns the command that starts a copy of this program, from this file, with `stdin` as its
/// descriptor 0.
pub(super) fn command(
    program: &Path,
    name: &str,
    stdin: OwnedFd,
    env: impl Iterator<Item = (String, String)>,
    output: Output,
) -> io::Result<Command> {
    if let Some(change) = privileges::change_in_copy() {
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, change));
    }
    let mut command = Command::new(program);
    command.arg0(name).envs(env).stdin(Stdio::from(stdin)).process_group(0);
    match output {
        Output::Inherit => {}
        Output::Null => {
            // Not `Stdio::null`: if this process has closed descriptor 0, std's descriptor for it
            // would get that number, and be replaced by `stdin` before it is copied.
            let null = stdio::null()?;
            command.stdout(Stdio::from(null.try_clone()?)).stderr(Stdio::from(null));
        }
        Output::To(out, err) => {
            command.stdout(Stdio::from(out)).stderr(Stdio::from(err));
        }
    }
    Ok(command)
}

/// Adds the cause to an error of `spawn`, if it is about the file. `missing` is the cause if a file is
/// missing that this system needs besides.
pub(super) fn not_started(
    error: io::Error,
    program: &Path,
    missing: Option<&'static str>,
) -> io::Error {
    let advice = match (Errno::from_io_error(&error), missing) {
        (Some(Errno::NOENT | Errno::NOTDIR | Errno::LOOP), Some(missing)) => missing,
        (Some(Errno::NOENT), None) => {
            "the dynamic loader that its file names is missing in this root directory"
        }
        (Some(Errno::ACCESS | Errno::PERM), _) => {
            "the program's file must be executable for this user, and its file system not be mounted \
             `noexec`"
        }
        (Some(Errno::TOOBIG), _) => "the environment is too large for another process",
        _ => return error,
    };
    let program = program.display();
    io::Error::new(error.kind(), format!("can't execute {program}: {error}: {advice}"))
}

/// The reason why a copy of this process would count as privileged, if its users or groups differ.
pub(super) fn ids_differ() -> Option<&'static str> {
    use rustix::process::{getegid, geteuid, getgid, getuid};
    (getuid() != geteuid() || getgid() != getegid()).then_some(
        "the real and the effective user or group of this process differ: a copy would count \
         as privileged, and would not serve; set both to the same",
    )
}
