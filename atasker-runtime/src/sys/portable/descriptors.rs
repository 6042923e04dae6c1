//! New descriptors. They are close-on-exec from the start, except on macOS, which can't open such a
//! descriptor: a program that another thread starts in between inherits it.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::OFlags;
use rustix::io::FdFlags;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};

use crate::sys::stdio;

/// A write to a socket whose other end is closed raises no signal. On macOS that is an option of the
/// socket.
#[cfg(not(target_vendor = "apple"))]
pub(crate) const NO_SIGNAL: SendFlags = SendFlags::NOSIGNAL;
#[cfg(target_vendor = "apple")]
pub(crate) const NO_SIGNAL: SendFlags = SendFlags::empty();

/// Empty: received descriptors must be made close-on-exec. A worker process receives them before its
/// first task, so that no program is started in between.
pub(crate) const CLOSE_ON_EXEC: RecvFlags = RecvFlags::empty();

/// Creates a connected pair of sockets. Reads and writes block unless stated otherwise.
pub(crate) fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let (family, kind) = (AddressFamily::UNIX, SocketType::STREAM);
    #[cfg(target_vendor = "apple")]
    let flags = SocketFlags::empty();
    #[cfg(not(target_vendor = "apple"))]
    let flags = SocketFlags::CLOEXEC;
    let (one, other) = rustix::net::socketpair(family, kind, flags, None)?;
    let (one, other) = (ours(one)?, ours(other)?);
    #[cfg(target_vendor = "apple")]
    for socket in [&one, &other] {
        rustix::net::sockopt::set_socket_nosigpipe(socket, true)?;
    }
    Ok((one, other))
}

/// Creates a pipe: a nonblocking end to read from, and an end to write to.
pub(crate) fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    #[cfg(target_vendor = "apple")]
    let (read, write) = rustix::pipe::pipe()?;
    #[cfg(not(target_vendor = "apple"))]
    let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    rustix::fs::fcntl_setfl(&read, OFlags::NONBLOCK)?;
    Ok((ours(read)?, ours(write)?))
}

/// Makes a new descriptor close-on-exec, if it is not yet, and moves it above the standard streams.
fn ours(fd: OwnedFd) -> io::Result<OwnedFd> {
    rustix::io::fcntl_setfd(&fd, FdFlags::CLOEXEC)?;
    Ok(stdio::above_stdio(fd)?)
}

/// Wakes a thread that polls it: a pipe, which is rung by writing to it.
#[derive(Debug)]
pub(crate) struct Doorbell {
    listener: OwnedFd,
    button: OwnedFd,
}

impl Doorbell {
    pub(crate) fn new() -> io::Result<Doorbell> {
        let (listener, button) = pipe()?;
        // A full pipe has been rung.
        rustix::fs::fcntl_setfl(button.as_fd(), OFlags::NONBLOCK)?;
        Ok(Doorbell { listener, button })
    }

    /// The descriptor to poll.
    pub(crate) fn listener(&self) -> &OwnedFd {
        &self.listener
    }

    /// The descriptor to ring by.
    pub(crate) fn button(&self) -> &OwnedFd {
        &self.button
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::ipc;

    #[test]
    fn all_are_close_on_exec() {
        let (one, other) = pair().unwrap();
        let (read, write) = pipe().unwrap();
        let bell = Doorbell::new().unwrap();
        for fd in [&one, &other, &read, &write, bell.listener(), bell.button()] {
            assert!(rustix::io::fcntl_getfd(fd).unwrap().contains(FdFlags::CLOEXEC));
        }
        ipc::send_fds(&one, &[&read, &write], b"x").unwrap();
        let received = ipc::recv_fds::<1>(&other).unwrap();
        assert_eq!(received.len(), 2);
        for fd in &received {
            assert!(rustix::io::fcntl_getfd(fd).unwrap().contains(FdFlags::CLOEXEC));
        }
    }

    #[test]
    fn doorbell_never_blocks_and_is_cleared() {
        let bell = Doorbell::new().unwrap();
        let is_rung = || ipc::has_bytes(bell.listener(), std::time::Duration::ZERO);
        assert!(!is_rung());
        // More than the pipe holds.
        for _ in 0..20_000 {
            assert!(ipc::ring(bell.button()));
        }
        assert!(is_rung());
        while is_rung() {
            ipc::clear(&bell);
        }
        assert!(ipc::ring(bell.button()) && is_rung());
    }
}
