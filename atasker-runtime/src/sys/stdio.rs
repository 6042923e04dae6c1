//! Keeps descriptors 0, 1 and 2 reserved for the standard streams.
//!
//! The kernel gives the lowest free number to a new descriptor. In a program that has closed a
//! standard stream this may be 0, 1 or 2, and then anything that is printed would go to a socket or
//! an eventfd of this crate. Therefore each descriptor that the crate opens passes through
//! [`above_stdio`], and a worker process opens the standard streams that it lacks before it opens
//! anything else.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use crate::sys::advice::with_advice;

/// The lowest number that is not a standard stream.
const FIRST_ABOVE_STDIO: i32 = 3;

/// Moves a descriptor to a number above the standard streams.
pub(crate) fn above_stdio(fd: OwnedFd) -> rustix::io::Result<OwnedFd> {
    if fd.as_raw_fd() >= FIRST_ABOVE_STDIO {
        return Ok(fd);
    }
    rustix::io::fcntl_dupfd_cloexec(&fd, FIRST_ABOVE_STDIO)
}

/// Opens `/dev/null` for reading and writing; close-on-exec.
pub(crate) fn null() -> io::Result<OwnedFd> {
    let flags = OFlags::RDWR | OFlags::CLOEXEC;
    let null = rustix::fs::open(c"/dev/null", flags, Mode::empty()).and_then(above_stdio);
    null.map_err(|error| match error {
        // A shortage is not about this file, and `with_advice` explains it.
        Errno::MFILE | Errno::NFILE | Errno::NOMEM => error.into(),
        _ => {
            let text = "can't open /dev/null, which worker processes read from";
            let text = format!("{text}: {}: mount /dev, or make it", with_advice(&error.into()));
            io::Error::new(error.kind(), text)
        }
    })
}

/// The standard output and the standard error of this process, as far as they are open.
#[cfg_attr(not(feature = "mp"), allow(dead_code))]
pub(crate) fn outputs() -> [Option<BorrowedFd<'static>>; 2] {
    [libc::STDOUT_FILENO, libc::STDERR_FILENO].map(|number| {
        // SAFETY: the number is that of a standard stream, which no code owns. If the program closes
        // it at this moment, a system call fails.
        let stream = unsafe { BorrowedFd::borrow_raw(number) };
        rustix::io::fcntl_getfd(stream).is_ok().then_some(stream)
    })
}

/// Opens `/dev/null` in place of each standard stream that is closed.
pub(crate) fn open_closed_streams() -> io::Result<()> {
    for number in 0..FIRST_ABOVE_STDIO {
        // SAFETY: the number is only queried, and used below if it is free.
        let stream = unsafe { BorrowedFd::borrow_raw(number) };
        if rustix::io::fcntl_getfd(stream) == Err(Errno::BADF) {
            let null = null()?;
            // Unlike what `null` returns, this descriptor is inherited by the programs that tasks
            // start.
            // SAFETY: `dup2` takes any two integers, and `number` was free.
            if unsafe { libc::dup2(null.as_raw_fd(), number) } < 0 {
                return Err(io::Error::last_os_error());
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use rustix::io::FdFlags;

    use super::*;

    /// Whether a standard stream is open, and inherited by other programs.
    fn is_inherited(number: i32) -> bool {
        // SAFETY: the number is only queried.
        let stream = unsafe { BorrowedFd::borrow_raw(number) };
        rustix::io::fcntl_getfd(stream).is_ok_and(|flags| !flags.contains(FdFlags::CLOEXEC))
    }

    #[test]
    fn null_is_above_the_standard_streams() {
        assert!(null().unwrap().as_raw_fd() >= FIRST_ABOVE_STDIO);
    }

    #[test]
    fn open_streams_are_unchanged() {
        let before: Vec<_> = (0..FIRST_ABOVE_STDIO).map(is_inherited).collect();
        open_closed_streams().unwrap();
        assert_eq!((0..FIRST_ABOVE_STDIO).map(is_inherited).collect::<Vec<_>>(), before);
    }
}
