//! New descriptors, all of them close-on-exec from the start.

use std::io;
use std::os::fd::OwnedFd;

use rustix::event::EventfdFlags;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};
use rustix::pipe::PipeFlags;

use crate::sys::stdio;

/// A write to a socket whose other end is closed raises no signal.
pub(crate) const NO_SIGNAL: SendFlags = SendFlags::NOSIGNAL;

/// Received descriptors are close-on-exec.
pub(crate) const CLOSE_ON_EXEC: RecvFlags = RecvFlags::CMSG_CLOEXEC;

/// Creates a connected pair of sockets. Reads and writes block unless stated otherwise.
pub(crate) fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let kind = SocketType::STREAM;
    let (one, other) =
        rustix::net::socketpair(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None)?;
    Ok((stdio::above_stdio(one)?, stdio::above_stdio(other)?))
}

/// Wakes a thread that polls it: an eventfd.
#[derive(Debug)]
pub(crate) struct Doorbell(OwnedFd);

impl Doorbell {
    pub(crate) fn new() -> io::Result<Doorbell> {
        let doorbell = rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Doorbell(stdio::above_stdio(doorbell)?))
    }

    /// The descriptor to poll.
    pub(crate) fn listener(&self) -> &OwnedFd {
        &self.0
    }

    /// The descriptor to ring by.
    pub(crate) fn button(&self) -> &OwnedFd {
        &self.0
    }
}

/// Creates a pipe: a nonblocking end to read from, and an end to write to.
pub(crate) fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let (read, write) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
    rustix::fs::fcntl_setfl(&read, rustix::fs::OFlags::NONBLOCK)?;
    Ok((stdio::above_stdio(read)?, stdio::above_stdio(write)?))
}
