//! Sockets between a process and its worker, descriptors sent over them, and bells.

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

/// Two ends of a connection. Reading and writing block unless said otherwise at the call.
pub(crate) fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let kind = SocketType::STREAM;
    Ok(rustix::net::socketpair(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None)?)
}

/// A counter that wakes who polls it.
pub(crate) fn bell() -> io::Result<OwnedFd> {
    Ok(rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?)
}

/// Rings a bell. One that rang already stays rung. False: it is none any more.
pub(crate) fn ring(bell: impl AsFd) -> bool {
    // If the counter is at its end, it is rung.
    matches!(retry(|| rustix::io::write(&bell, &1u64.to_ne_bytes())), Ok(_) | Err(Errno::AGAIN))
}

/// Takes a bell's ringing back; to be done before looking at what it rang for.
pub(crate) fn hush(bell: impl AsFd) {
    let _ = rustix::io::read(bell, &mut [0u8; 8]);
}

/// A pipe: the end to read from, which never waits, and the end to write to.
pub(crate) fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let (read, write) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
    rustix::fs::fcntl_setfl(&read, rustix::fs::OFlags::NONBLOCK)?;
    Ok((read, write))
}

/// Closes a connection for both ends, whoever else holds copies of this one.
pub(crate) fn hang_up(socket: impl AsFd) {
    // It may be closed already.
    let _ = rustix::net::shutdown(socket, rustix::net::Shutdown::Both);
}

/// Reads what is there from a pipe, as far as `buffer` reaches.
pub(crate) fn read_pipe(pipe: impl AsFd, buffer: &mut [u8]) -> io::Result<Got> {
    match retry(|| rustix::io::read(&pipe, &mut *buffer)) {
        Ok(0) => Ok(Got::End),
        Ok(n) => Ok(Got::Bytes(n)),
        Err(Errno::AGAIN) => Ok(Got::Nothing),
        Err(error) => Err(error.into()),
    }
}

/// Writes bytes that are few enough to go as one.
pub(crate) fn write_pipe(pipe: impl AsFd, bytes: &[u8]) {
    // Nobody reads any more: then nobody misses them.
    let _ = retry(|| rustix::io::write(&pipe, bytes));
}

/// How many descriptors a new worker is sent.
pub(crate) const PARCEL: usize = 3;

/// Sends descriptors, with one byte to carry them.
pub(crate) fn send_fds(socket: impl AsFd, fds: [&OwnedFd; PARCEL]) -> io::Result<()> {
    let fds = fds.map(AsFd::as_fd);
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(PARCEL))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    control.push(SendAncillaryMessage::ScmRights(&fds));
    rustix::net::sendmsg(socket, &[IoSlice::new(b"A")], &mut control, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// Receives them.
pub(crate) fn recv_fds(socket: impl AsFd) -> io::Result<[OwnedFd; PARCEL]> {
    let mut byte = [0u8; 1];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(PARCEL))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut buffers = [IoSliceMut::new(&mut byte)];
    let flags = RecvFlags::CMSG_CLOEXEC;
    let got = retry(|| rustix::net::recvmsg(&socket, &mut buffers, &mut control, flags))?;
    if got.bytes == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let mut fds = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            fds.extend(rights);
        }
    }
    if got.flags.contains(ReturnFlags::CTRUNC) {
        return Err(Errno::MFILE.into());
    }
    fds.try_into().map_err(|_| io::Error::other("the descriptors did not arrive"))
}

fn retry<T>(mut f: impl FnMut() -> rustix::io::Result<T>) -> rustix::io::Result<T> {
    loop {
        match f() {
            Err(Errno::INTR) => {}
            other => return other,
        }
    }
}

/// Writes what goes without waiting: how many bytes went; 0 when there is no room.
pub(crate) fn write_now(socket: impl AsFd, bytes: &[u8]) -> io::Result<usize> {
    let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
    match retry(|| rustix::net::send(&socket, bytes, flags)) {
        Ok(n) => Ok(n),
        Err(Errno::AGAIN) => Ok(0),
        Err(error) => Err(error.into()),
    }
}

/// Writes all, waiting for room.
pub(crate) fn write_all(socket: impl AsFd, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        let n = retry(|| rustix::net::send(&socket, bytes, SendFlags::NOSIGNAL))?;
        bytes = &bytes[n..];
    }
    Ok(())
}

/// What a read gave.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Got {
    Bytes(usize),
    Nothing,
    End,
}

/// Appends to `buffer` what is there, as far as its capacity reaches. `wait` says whether to wait
/// for the first byte.
pub(crate) fn read_into(socket: impl AsFd, buffer: &mut Vec<u8>, wait: bool) -> io::Result<Got> {
    debug_assert!(buffer.capacity() > buffer.len());
    let flags = if wait { RecvFlags::empty() } else { RecvFlags::DONTWAIT };
    let got = retry(|| {
        rustix::net::recv(&socket, rustix::buffer::spare_capacity(&mut *buffer), flags)
            .map(|(n, _)| n)
    });
    match got {
        Ok(0) => Ok(Got::End),
        Ok(n) => Ok(Got::Bytes(n)),
        Err(Errno::AGAIN) => Ok(Got::Nothing),
        Err(Errno::CONNRESET) => Ok(Got::End),
        Err(error) => Err(error.into()),
    }
}

/// Waits until there is something to read; false: the process that `ends` stands for has ended.
pub(crate) fn wait_for_bytes(socket: &OwnedFd, ends: Option<&OwnedFd>) -> bool {
    let ends = ends
        .map_or(PollFd::new(socket, PollFlags::empty()), |pidfd| PollFd::new(pidfd, PollFlags::IN));
    let mut fds = [PollFd::new(socket, PollFlags::IN), ends];
    // On an error, which is an interruption or a lack of memory, the reader waits by itself.
    rustix::event::poll(&mut fds, None).is_err() || !fds[1].revents().contains(PollFlags::IN)
}

/// Appends exactly `count` bytes to `buffer`, waiting for them. False: the other end is gone.
pub(crate) fn read_exactly(
    socket: impl AsFd,
    buffer: &mut Vec<u8>,
    count: usize,
) -> io::Result<bool> {
    buffer.reserve(count);
    let end = buffer.len() + count;
    while buffer.len() < end {
        let (start, left) = (buffer.len(), end - buffer.len());
        let got = retry(|| {
            let room = &mut buffer.spare_capacity_mut()[..left];
            let ((read, _), _) = rustix::net::recv(&socket, room, RecvFlags::empty())?;
            Ok(read.len())
        });
        match got {
            Ok(0) | Err(Errno::CONNRESET) => return Ok(false),
            // SAFETY: these bytes have just been written, within the capacity.
            Ok(n) => unsafe { buffer.set_len(start + n) },
            Err(error) => return Err(error.into()),
        }
    }
    Ok(true)
}

/// What a worker's link waits for.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Events {
    pub(crate) data: bool,
    pub(crate) dead: bool,
    pub(crate) bell: bool,
    pub(crate) logs: bool,
}

/// What to wait for room to write to.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Wanted {
    pub(crate) data_room: bool,
    pub(crate) control_room: bool,
}

/// What a worker's link listens to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sources<'a> {
    pub(crate) data: &'a OwnedFd,
    pub(crate) control: &'a OwnedFd,
    pub(crate) pidfd: &'a OwnedFd,
    pub(crate) bell: &'a OwnedFd,
    /// The worker's standard output and error, where they come here.
    pub(crate) logs: [Option<&'a OwnedFd>; 2],
}

/// Waits until something happens, or so many nanoseconds.
pub(crate) fn wait(from: Sources<'_>, wanted: Wanted, nanos: Option<u64>) -> Events {
    let room = |wanted| {
        if wanted { PollFlags::OUT } else { PollFlags::empty() }
    };
    let unused = || PollFd::new(from.bell, PollFlags::empty());
    let mut fds = [
        PollFd::new(from.data, PollFlags::IN | room(wanted.data_room)),
        PollFd::new(from.pidfd, PollFlags::IN),
        PollFd::new(from.bell, PollFlags::IN),
        unused(),
        unused(),
        unused(),
    ];
    let mut count = 3;
    for log in from.logs.into_iter().flatten() {
        fds[count] = PollFd::new(log, PollFlags::IN);
        count += 1;
    }
    let logs = 3..count;
    if wanted.control_room {
        fds[count] = PollFd::new(from.control, room(true));
        count += 1;
    }
    let timeout = nanos.map(|nanos| Timespec {
        tv_sec: (nanos / 1_000_000_000) as _,
        tv_nsec: (nanos % 1_000_000_000) as _,
    });
    if rustix::event::poll(&mut fds[..count], timeout.as_ref()).is_err() {
        // Interrupted; or no memory in the kernel, and then the next round tries again.
        return Events { data: true, dead: false, bell: true, logs: true };
    }
    let readable = PollFlags::IN | PollFlags::HUP | PollFlags::ERR;
    let is_readable = |fd: &PollFd<'_>| fd.revents().intersects(readable);
    Events {
        data: is_readable(&fds[0]),
        dead: is_readable(&fds[1]),
        bell: is_readable(&fds[2]),
        logs: fds[logs].iter().any(is_readable),
    }
}

/// Sleeps while `word` is `value`, so long at most; returns also for no reason. False: the time is
/// over.
pub(crate) fn sleep_on(word: &AtomicU32, value: u32, most: Option<Duration>) -> bool {
    let most = most
        .map(|most| Timespec { tv_sec: most.as_secs() as _, tv_nsec: most.subsec_nanos() as _ });
    // Not private: the word is in memory shared by two processes.
    futex::wait(word, futex::Flags::empty(), value, most.as_ref()) != Err(Errno::TIMEDOUT)
}

/// Wakes who sleeps on `word`.
pub(crate) fn wake_on(word: &AtomicU32) {
    let _ = futex::wake(word, futex::Flags::empty(), 1);
}

/// Nanoseconds of the monotonic clock, which all processes of a machine share.
pub(crate) fn monotonic() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}
