//! Programs whose stderr is a terminal.

use std::fs::File;
use std::io::Read as _;
use std::os::fd::{FromRawFd as _, OwnedFd};
use std::process::{Command, ExitStatus, Stdio};
use std::ptr;

use atasker::progress::indicatif::{InMemoryTerm, TermLike as _};

/// What a program has written to its terminal.
pub struct Session {
    pub status: ExitStatus,
    /// Everything it wrote, with escape sequences.
    pub bytes: String,
    /// What the screen shows at the end.
    pub screen: String,
}

/// Runs a program whose stdout and stderr are a terminal.
///
/// # Panics
/// If there are no terminals, or the program can't be started.
pub fn run(mut command: Command) -> Session {
    let (mut ours, theirs) = open();
    command.env("TERM", "xterm").env_remove("NO_COLOR");
    command.stdin(Stdio::null()).stdout(theirs.try_clone().unwrap()).stderr(theirs);
    let mut child = command.spawn().unwrap();
    // It holds the other end, and so would keep the terminal open.
    drop(command);
    let mut bytes = Vec::new();
    let mut piece = [0; 4096];
    // The error EIO is the end: no process has the terminal open.
    while let Ok(read @ 1..) = ours.read(&mut piece) {
        bytes.extend_from_slice(&piece[..read]);
    }
    let status = child.wait().unwrap();
    let bytes = String::from_utf8_lossy(&bytes).into_owned();
    let term = InMemoryTerm::new(ROWS, COLUMNS);
    term.write_str(&bytes).unwrap();
    Session { status, bytes, screen: term.contents() }
}

const ROWS: u16 = 24;
/// Enough for the reports of panics.
const COLUMNS: u16 = 200;

fn open() -> (File, OwnedFd) {
    let (mut ours, mut theirs) = (-1, -1);
    let size = libc::winsize { ws_row: ROWS, ws_col: COLUMNS, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: the pointers are to variables of this function, or null where that is allowed.
    let opened =
        unsafe { libc::openpty(&mut ours, &mut theirs, ptr::null_mut(), ptr::null_mut(), &size) };
    assert_eq!(opened, 0, "openpty: {}", std::io::Error::last_os_error());
    // A child that is started meanwhile by another test must not keep the terminal open.
    for descriptor in [ours, theirs] {
        // SAFETY: both descriptors were just opened.
        unsafe { libc::fcntl(descriptor, libc::F_SETFD, libc::FD_CLOEXEC) };
    }
    // SAFETY: both descriptors were just opened, and nothing else owns them.
    unsafe { (File::from_raw_fd(ours), OwnedFd::from_raw_fd(theirs)) }
}
