//! Sockets between the parent and a worker process, descriptors sent over them, pipes, doorbells
//! (eventfds) and futexes.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::AtomicU32;
use std::time::Duration;

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags,
    SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
};
use rustix::pipe::PipeFlags;
use rustix::thread::futex;

use crate::sys::stdio;

/// Creates a connected pair of sockets. Reads and writes block unless stated otherwise.
pub(crate) fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let kind = SocketType::STREAM;
    let (one, other) =
        rustix::net::socketpair(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None)?;
    Ok((stdio::above_stdio(one)?, stdio::above_stdio(other)?))
}

/// Creates an eventfd that wakes a thread polling it.
pub(crate) fn doorbell() -> io::Result<OwnedFd> {
    let doorbell = rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
    Ok(stdio::above_stdio(doorbell)?)
}

/// Rings a doorbell. Ringing twice has no further effect. Returns `false` if the descriptor is not
/// a doorbell any more.
pub(crate) fn ring(doorbell: impl AsFd) -> bool {
    // `EAGAIN` means that the counter is at its maximum, so the doorbell is rung.
    matches!(retry(|| rustix::io::write(&doorbell, &1u64.to_ne_bytes())), Ok(_) | Err(Errno::AGAIN))
}

/// Clears a doorbell. Call this before checking for what it was rung for, or a later ring is lost.
pub(crate) fn clear(doorbell: impl AsFd) {
    let _ = rustix::io::read(doorbell, &mut [0u8; 8]);
}

/// Creates a pipe: a nonblocking end to read from, and an end to write to.
pub(crate) fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let (read, write) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
    rustix::fs::fcntl_setfl(&read, rustix::fs::OFlags::NONBLOCK)?;
    Ok((stdio::above_stdio(read)?, stdio::above_stdio(write)?))
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
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    control.push(SendAncillaryMessage::ScmRights(&fds));
    rustix::net::sendmsg(socket, &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// Receives descriptors, and discards the bytes.
pub(crate) fn recv_fds<const BYTES: usize>(socket: impl AsFd) -> io::Result<Vec<OwnedFd>> {
    let mut bytes = [0u8; BYTES];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut buffers = [IoSliceMut::new(&mut bytes)];
    let flags = RecvFlags::CMSG_CLOEXEC;
    let outcome = retry(|| rustix::net::recvmsg(&socket, &mut buffers, &mut control, flags))?;
    if outcome.bytes == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let mut fds = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            for fd in rights {
                fds.push(stdio::above_stdio(fd)?);
            }
        }
    }
    if outcome.flags.contains(ReturnFlags::CTRUNC) {
        return Err(Errno::MFILE.into());
    }
    Ok(fds)
}

fn retry<T>(mut f: impl FnMut() -> rustix::io::Result<T>) -> rustix::io::Result<T> {
    loop {
        match f() {
            Err(Errno::INTR) => {}
            other => return other,
        }
    }
}

/// Writes without blocking. Returns the number of bytes written, 0 if the socket is full.
pub(crate) fn try_write(socket: impl AsFd, bytes: &[u8]) -> io::Result<usize> {
    let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
    match retry(|| rustix::net::send(&socket, bytes, flags)) {
        Ok(n) => Ok(n),
        Err(Errno::AGAIN) => Ok(0),
        Err(error) => Err(error.into()),
    }
}

/// Writes all bytes, blocking while the socket is full.
pub(crate) fn write_all(socket: impl AsFd, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        let n = retry(|| rustix::net::send(&socket, bytes, SendFlags::NOSIGNAL))?;
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

/// Blocks until there is something to read. Returns `false` if the process of the pidfd `ends` has
/// ended.
pub(crate) fn wait_for_bytes(socket: &OwnedFd, ends: Option<&OwnedFd>) -> bool {
    let ends = ends
        .map_or(PollFd::new(socket, PollFlags::empty()), |pidfd| PollFd::new(pidfd, PollFlags::IN));
    let mut fds = [PollFd::new(socket, PollFlags::IN), ends];
    // An error is an interruption or a lack of memory, and then the caller blocks in its read.
    rustix::event::poll(&mut fds, None).is_err() || !fds[1].revents().contains(PollFlags::IN)
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
    pub(crate) pidfd: &'a OwnedFd,
    pub(crate) doorbell: &'a OwnedFd,
    /// The read ends of the worker's standard output and error, if they are pipes to this process.
    pub(crate) stdio: [Option<&'a OwnedFd>; 2],
}

/// Blocks until an event occurs, for at most `nanos` nanoseconds.
pub(crate) fn wait(from: Sources<'_>, interest: Interest, nanos: Option<u64>) -> Events {
    let room = |interest| {
        if interest { PollFlags::OUT } else { PollFlags::empty() }
    };
    let unused = || PollFd::new(from.doorbell, PollFlags::empty());
    let mut fds = [
        PollFd::new(from.data, PollFlags::IN | room(interest.data_writable)),
        PollFd::new(from.pidfd, PollFlags::IN),
        PollFd::new(from.doorbell, PollFlags::IN),
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

/// Why a thread that slept continues.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum WakeReason {
    /// It was woken, perhaps spuriously, or did not have to sleep.
    Woken,
    Timeout,
}

/// Sleeps while `word` equals `value`, for at most `timeout`.
pub(crate) fn futex_wait(word: &AtomicU32, value: u32, timeout: Option<Duration>) -> WakeReason {
    let timeout = timeout.map(|timeout| Timespec {
        tv_sec: timeout.as_secs() as _,
        tv_nsec: timeout.subsec_nanos() as _,
    });
    // Not a private futex, because the word is in memory shared by two processes.
    match futex::wait(word, futex::Flags::empty(), value, timeout.as_ref()) {
        Err(Errno::TIMEDOUT) => WakeReason::Timeout,
        _ => WakeReason::Woken,
    }
}

/// Wakes one thread that sleeps on `word`.
pub(crate) fn futex_wake(word: &AtomicU32) {
    let _ = futex::wake(word, futex::Flags::empty(), 1);
}

/// Checks whether futexes in shared memory work on this system.
pub(crate) fn probe_futex(word: &AtomicU32, other_value: u32) -> io::Result<()> {
    let flags = futex::Flags::empty();
    futex::wake(word, flags, 1)?;
    match futex::wait(word, flags, other_value, None) {
        // The word has another value, so nothing sleeps.
        Ok(()) | Err(Errno::AGAIN) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Returns the monotonic clock in nanoseconds, which is the same in all processes of a machine.
pub(crate) fn monotonic() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}
