//! Sockets between the parent and a worker process, descriptors sent over them, pipes, and
//! doorbells.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::{Errno, FdFlags};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags,
};

use crate::sys::reap::retry;
use crate::sys::stdio;
use crate::sys::system::descriptors::{CLOSE_ON_EXEC, NO_SIGNAL};

#[cfg_attr(not(feature = "mp"), allow(unused_imports))]
pub(crate) use crate::sys::system::descriptors::{Doorbell, pair, pipe};
#[cfg_attr(not(feature = "mp"), allow(unused_imports))]
pub(crate) use crate::sys::system::futex::{wait as futex_wait, wake as futex_wake};

/// Rings a doorbell. Ringing twice has no further effect. Returns `false` if the descriptor is not
/// a doorbell any more.
pub(crate) fn ring(doorbell: impl AsFd) -> bool {
    // `EAGAIN` means that the counter is at its maximum, so the doorbell is rung.
    matches!(retry(|| rustix::io::write(&doorbell, &1u64.to_ne_bytes())), Ok(_) | Err(Errno::AGAIN))
}

/// Clears a doorbell. Call this before checking for what it was rung for, or a later ring is lost.
pub(crate) fn clear(doorbell: &Doorbell) {
    // A pipe may hold more rings. Then the thread is woken once more.
    let _ = rustix::io::read(doorbell.listener(), &mut [0u8; 64]);
}

/// Shuts down a connection for both ends, even if other processes hold copies of this end.
pub(crate) fn shutdown(socket: impl AsFd) {
    // Ignored, because the socket may be closed already.
    let _ = rustix::net::shutdown(socket, rustix::net::Shutdown::Both);
}

/// Reads from a nonblocking pipe into `buffer`.
pub(crate) fn read_pipe(pipe: impl AsFd, buffer: &mut [u8]) -> io::Result<ReadOutcome> {
    match retry(|| rustix::io::read(&pipe, &mut *buffer)) {
        Ok(0) => Ok(ReadOutcome::Eof),
        Ok(n) => Ok(ReadOutcome::Bytes(n)),
        Err(Errno::AGAIN) => Ok(ReadOutcome::WouldBlock),
        Err(error) => Err(error.into()),
    }
}

/// Writes bytes that are few enough to be written atomically.
pub(crate) fn write_pipe(pipe: impl AsFd, bytes: &[u8]) {
    // Ignored, because without a reader the bytes are not needed.
    let _ = retry(|| rustix::io::write(&pipe, bytes));
}

/// Shuts down reading, which wakes a thread that is blocked in a read.
pub(crate) fn stop_reading(socket: impl AsFd) {
    // Ignored, because the socket may be closed already.
    let _ = rustix::net::shutdown(socket, rustix::net::Shutdown::Read);
}

/// The most descriptors that are sent to a new worker process.
const MAX_FDS: usize = 3;

/// Sends descriptors, together with `bytes`, because a message can't be empty.
pub(crate) fn send_fds(socket: impl AsFd, fds: &[&OwnedFd], bytes: &[u8]) -> io::Result<()> {
    let fds: Vec<_> = fds.iter().map(|fd| fd.as_fd()).collect();
    send_message(socket, &fds, bytes, NO_SIGNAL)
}

/// Sends descriptors and `bytes` without blocking. Returns an error if the socket is full.
pub(crate) fn try_send_fds(
    socket: impl AsFd,
    fds: &[BorrowedFd<'_>],
    bytes: &[u8],
) -> io::Result<()> {
    send_message(socket, fds, bytes, NO_SIGNAL | SendFlags::DONTWAIT)
}

fn send_message(
    socket: impl AsFd,
    fds: &[BorrowedFd<'_>],
    bytes: &[u8],
    flags: SendFlags,
) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() {
        control.push(SendAncillaryMessage::ScmRights(fds));
    }
    rustix::net::sendmsg(socket, &[IoSlice::new(bytes)], &mut control, flags)?;
    Ok(())
}

/// Receives descriptors, and discards the bytes.
pub(crate) fn recv_fds<const BYTES: usize>(socket: impl AsFd) -> io::Result<Vec<OwnedFd>> {
    Ok(receive::<BYTES>(socket)?.1)
}

/// Receives bytes, and the descriptors that were sent with them. Blocks until there are some.
pub(crate) fn receive<const BYTES: usize>(
    socket: impl AsFd,
) -> io::Result<([u8; BYTES], Vec<OwnedFd>)> {
    let mut bytes = [0u8; BYTES];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut buffers = [IoSliceMut::new(&mut bytes)];
    let outcome =
        retry(|| rustix::net::recvmsg(&socket, &mut buffers, &mut control, CLOSE_ON_EXEC))?;
    if outcome.bytes == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let mut fds = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            for fd in rights {
                let fd = stdio::above_stdio(fd)?;
                if CLOSE_ON_EXEC.is_empty() {
                    rustix::io::fcntl_setfd(&fd, FdFlags::CLOEXEC)?;
                }
                fds.push(fd);
            }
        }
    }
    if outcome.flags.contains(ReturnFlags::CTRUNC) {
        return Err(Errno::MFILE.into());
    }
    Ok((bytes, fds))
}

/// Writes without blocking. Returns the number of bytes written, 0 if the socket is full.
pub(crate) fn try_write(socket: impl AsFd, bytes: &[u8]) -> io::Result<usize> {
    let flags = NO_SIGNAL | SendFlags::DONTWAIT;
    match retry(|| rustix::net::send(&socket, bytes, flags)) {
        Ok(n) => Ok(n),
        Err(Errno::AGAIN) => Ok(0),
        Err(error) => Err(error.into()),
    }
}

/// Writes all bytes, blocking while the socket is full.
pub(crate) fn write_all(socket: impl AsFd, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        let n = retry(|| rustix::net::send(&socket, bytes, NO_SIGNAL))?;
        bytes = &bytes[n..];
    }
    Ok(())
}

/// Whether a read blocks until the first byte arrives.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum ReadMode {
    Blocking,
    Nonblocking,
}

/// The result of a read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum ReadOutcome {
    Bytes(usize),
    WouldBlock,
    Eof,
}

/// Appends to `buffer` what can be read, up to its capacity.
pub(crate) fn read_into(
    socket: impl AsFd,
    buffer: &mut Vec<u8>,
    mode: ReadMode,
) -> io::Result<ReadOutcome> {
    debug_assert!(buffer.capacity() > buffer.len());
    let flags = match mode {
        ReadMode::Blocking => RecvFlags::empty(),
        ReadMode::Nonblocking => RecvFlags::DONTWAIT,
    };
    let outcome = retry(|| {
        rustix::net::recv(&socket, rustix::buffer::spare_capacity(&mut *buffer), flags)
            .map(|(n, _)| n)
    });
    match outcome {
        Ok(0) => Ok(ReadOutcome::Eof),
        Ok(n) => Ok(ReadOutcome::Bytes(n)),
        Err(Errno::AGAIN) => Ok(ReadOutcome::WouldBlock),
        Err(Errno::CONNRESET) => Ok(ReadOutcome::Eof),
        Err(error) => Err(error.into()),
    }
}

/// The number of bytes that can be read from a socket now.
pub(crate) fn unread_bytes(socket: impl AsFd) -> usize {
    // The kernel reports it as an `int`.
    rustix::io::ioctl_fionread(socket)
        .map_or(0, |bytes| usize::try_from(bytes).unwrap_or(usize::MAX))
}

/// Whether there is something to read within this time.
pub(crate) fn has_bytes(socket: impl AsFd, within: Duration) -> bool {
    let within = Timespec { tv_sec: within.as_secs() as _, tv_nsec: within.subsec_nanos() as _ };
    let mut fds = [PollFd::new(&socket, PollFlags::IN)];
    rustix::event::poll(&mut fds, Some(&within)).is_ok_and(|count| count > 0)
}

/// Appends exactly `count` bytes to `buffer`, blocking until they arrive. Returns `false` if the
/// other end is closed.
pub(crate) fn read_exactly(
    socket: impl AsFd,
    buffer: &mut Vec<u8>,
    count: usize,
) -> io::Result<bool> {
    buffer.reserve(count);
    let end = buffer.len() + count;
    while buffer.len() < end {
        let (start, left) = (buffer.len(), end - buffer.len());
        let outcome = retry(|| {
            let room = &mut buffer.spare_capacity_mut()[..left];
            let ((read, _), _) = rustix::net::recv(&socket, room, RecvFlags::empty())?;
            Ok(read.len())
        });
        match outcome {
            Ok(0) | Err(Errno::CONNRESET) => return Ok(false),
            // SAFETY: these bytes have just been initialized, within the capacity.
            Ok(n) => unsafe { buffer.set_len(start + n) },
            Err(error) => return Err(error.into()),
        }
    }
    Ok(true)
}

/// What the reader thread of a worker process was woken by.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Events {
    pub(crate) data: bool,
    pub(crate) dead: bool,
    pub(crate) doorbell: bool,
    pub(crate) stdio: bool,
}

/// The sockets that the reader thread waits to become writable.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Interest {
    pub(crate) data_writable: bool,
    pub(crate) control_writable: bool,
}

/// The descriptors that the reader thread of a worker process waits on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sources<'a> {
    pub(crate) data: &'a OwnedFd,
    pub(crate) control: &'a OwnedFd,
    /// Readable once the process has ended.
    pub(crate) end: &'a OwnedFd,
    pub(crate) doorbell: &'a Doorbell,
    /// The read ends of the worker's standard output and error, if they are pipes to this process.
    pub(crate) stdio: [Option<&'a OwnedFd>; 2],
}

/// Blocks until an event occurs, for at most `nanos` nanoseconds.
pub(crate) fn wait(from: Sources<'_>, interest: Interest, nanos: Option<u64>) -> Events {
    let room = |interest| {
        if interest { PollFlags::OUT } else { PollFlags::empty() }
    };
    let unused = || PollFd::new(from.doorbell.listener(), PollFlags::empty());
    let mut fds = [
        PollFd::new(from.data, PollFlags::IN | room(interest.data_writable)),
        PollFd::new(from.end, PollFlags::IN),
        PollFd::new(from.doorbell.listener(), PollFlags::IN),
        unused(),
        unused(),
        unused(),
    ];
    let mut count = 3;
    for pipe in from.stdio.into_iter().flatten() {
        fds[count] = PollFd::new(pipe, PollFlags::IN);
        count += 1;
    }
    let stdio = 3..count;
    if interest.control_writable {
        fds[count] = PollFd::new(from.control, room(true));
        count += 1;
    }
    let timeout = nanos.map(|nanos| Timespec {
        tv_sec: (nanos / 1_000_000_000) as _,
        tv_nsec: (nanos % 1_000_000_000) as _,
    });
    if rustix::event::poll(&mut fds[..count], timeout.as_ref()).is_err() {
        // Interrupted, or the kernel is out of memory: report everything that can be polled again.
        return Events { data: true, dead: false, doorbell: true, stdio: true };
    }
    let readable = PollFlags::IN | PollFlags::HUP | PollFlags::ERR;
    let is_readable = |fd: &PollFd<'_>| fd.revents().intersects(readable);
    Events {
        data: is_readable(&fds[0]),
        dead: is_readable(&fds[1]),
        doorbell: is_readable(&fds[2]),
        stdio: fds[stdio].iter().any(is_readable),
    }
}

/// Waits until one of these descriptors is readable, or `writable` is, for at most this time.
/// Returns which of them are, the last being `writable`: none after an interruption.
pub(crate) fn wait_for_any(
    readable: &[&OwnedFd],
    writable: Option<&OwnedFd>,
    timeout: Option<Duration>,
) -> Vec<bool> {
    let mut fds: Vec<_> = readable.iter().map(|fd| PollFd::new(*fd, PollFlags::IN)).collect();
    fds.extend(writable.map(|fd| PollFd::new(fd, PollFlags::OUT)));
    let timeout = timeout.map(|timeout| Timespec {
        tv_sec: timeout.as_secs() as _,
        tv_nsec: timeout.subsec_nanos() as _,
    });
    match rustix::event::poll(&mut fds, timeout.as_ref()) {
        Ok(_) => fds.iter().map(|fd| !fd.revents().is_empty()).collect(),
        Err(_) => vec![false; fds.len()],
    }
}

/// Why a thread that slept continues.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum WakeReason {
    /// It was woken, perhaps spuriously, or did not have to sleep.
    Woken,
    Timeout,
}
