//! The signals that ask a process to end: SIGTERM and SIGINT.
//!
//! The handlers are installed while something waits for one, and the earlier ones are restored
//! afterwards. The first signal wakes all that wait. A further one ends the process by the default
//! action, so a program that hangs while it ends can be ended from its terminal.

use std::fs::File;
use std::io::{self, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, AtomicU32, Ordering};
use std::task::Wake;

use crate::sync::lock::Mutex;
use crate::sys::errno;

const SIGNALS: [libc::c_int; 2] = [libc::SIGTERM, libc::SIGINT];

/// How many can wait at once.
const MOST: usize = 16;

/// The byte that wakes a waiter without a signal.
const WOKEN: u8 = 0;

/// The pipes that a handler writes to; -1 for none. A pipe that was opened stays open, because a
/// handler may be about to write to it.
static PIPES: [AtomicI32; MOST] = [const { AtomicI32::new(-1) }; MOST];

/// The number of signals since the handlers were installed.
static SEEN: AtomicU32 = AtomicU32::new(0);

/// The process that has installed the handlers. A copy made by `fork` has the same pipes.
static PROCESS: AtomicI32 = AtomicI32::new(0);

static INSTALLED: Mutex<Installed> =
    Mutex::new(Installed { waiters: 0, used: [false; MOST], before: None, pipes: Vec::new() });

struct Installed {
    waiters: usize,
    used: [bool; MOST],
    before: Option<[libc::sigaction; 2]>,
    /// The pipe of each place.
    pipes: Vec<Arc<Pipe>>,
}

struct Pipe {
    reader: File,
    writer: File,
}

impl Pipe {
    fn new() -> io::Result<Pipe> {
        let mut ends = [0; 2];
        // SAFETY: `ends` has room for two descriptors.
        if unsafe { libc::pipe(ends.as_mut_ptr()) } != 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the call has returned two open descriptors, which nothing else owns.
        let [reader, writer] = ends.map(|end| unsafe { OwnedFd::from_raw_fd(end) });
        for end in [&reader, &writer] {
            set_flag(end.as_raw_fd(), libc::F_GETFD, libc::F_SETFD, libc::FD_CLOEXEC)?;
        }
        // A handler must not block.
        set_flag(writer.as_raw_fd(), libc::F_GETFL, libc::F_SETFL, libc::O_NONBLOCK)?;
        Ok(Pipe { reader: reader.into(), writer: writer.into() })
    }

    /// Reads what an earlier waiter has not.
    fn drain(&self) -> io::Result<()> {
        loop {
            let fd = self.reader.as_raw_fd();
            let mut poll = libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
            // SAFETY: there is one entry.
            if unsafe { libc::poll(&mut poll, 1, 0) } != 1 {
                return Ok(());
            }
            (&self.reader).read_exact(&mut [0])?;
        }
    }
}

fn set_flag(fd: RawFd, get: libc::c_int, set: libc::c_int, flag: libc::c_int) -> io::Result<()> {
    // SAFETY: both commands only read and write the flags of a descriptor.
    let is_set = unsafe {
        let flags = libc::fcntl(fd, get);
        flags >= 0 && libc::fcntl(fd, set, flags | flag) == 0
    };
    if is_set { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// What has ended a wait.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Why {
    Signal(&'static str),
    /// The [waker](EndSignals::waker) was used.
    Woken,
}

/// Handles the signals until it is dropped.
pub(crate) struct EndSignals {
    place: usize,
    pipe: Arc<Pipe>,
}

impl EndSignals {
    /// Begins to handle the signals.
    ///
    /// # Errors
    ///
    /// Returns an error if no pipe can be opened, or 16 threads wait already.
    pub(crate) fn watch() -> io::Result<EndSignals> {
        let mut installed = INSTALLED.lock();
        let place = installed.used.iter().position(|used| !used);
        let place = place.ok_or_else(|| io::Error::other("too many threads wait for a signal"))?;
        if installed.pipes.len() == place {
            let pipe = Arc::new(Pipe::new()?);
            installed.pipes.push(pipe);
        }
        let pipe = Arc::clone(&installed.pipes[place]);
        pipe.drain()?;
        installed.used[place] = true;
        PIPES[place].store(pipe.writer.as_raw_fd(), Ordering::SeqCst);
        installed.waiters += 1;
        if installed.waiters == 1 {
            SEEN.store(0, Ordering::SeqCst);
            // SAFETY: `getpid` has no preconditions.
            PROCESS.store(unsafe { libc::getpid() }, Ordering::SeqCst);
            installed.before = Some(SIGNALS.map(set_handler));
        }
        Ok(EndSignals { place, pipe })
    }

    /// Returns what ends a wait without a signal.
    pub(crate) fn waker(&self) -> Arc<EndWaker> {
        Arc::new(EndWaker(Arc::clone(&self.pipe)))
    }

    /// Blocks until there is a signal, or the waker was used.
    pub(crate) fn wait(&self) -> io::Result<Why> {
        let mut byte = [WOKEN];
        // Retried if it is interrupted by another signal.
        (&self.pipe.reader).read_exact(&mut byte)?;
        Ok(match libc::c_int::from(byte[0]) {
            libc::SIGTERM => Why::Signal("SIGTERM"),
            libc::SIGINT => Why::Signal("SIGINT"),
            _ => Why::Woken,
        })
    }
}

impl Drop for EndSignals {
    fn drop(&mut self) {
        let mut installed = INSTALLED.lock();
        installed.waiters -= 1;
        if installed.waiters == 0
            && let Some(before) = installed.before.take()
        {
            for (signal, before) in SIGNALS.into_iter().zip(before) {
                // SAFETY: this is the action that `sigaction` has returned.
                unsafe { libc::sigaction(signal, &before, ptr::null_mut()) };
            }
        }
        PIPES[self.place].store(-1, Ordering::SeqCst);
        installed.used[self.place] = false;
    }
}

/// Ends the wait of an [`EndSignals`].
pub(crate) struct EndWaker(Arc<Pipe>);

impl Wake for EndWaker {
    fn wake(self: Arc<Self>) {
        // Fails only if the pipe is full of wake-ups.
        let _ = (&self.0.writer).write(&[WOKEN]);
    }
}

fn set_handler(signal: libc::c_int) -> libc::sigaction {
    // SAFETY: all zero is a valid `sigaction`; the handler is async-signal-safe.
    unsafe {
        let mut action: libc::sigaction = MaybeUninit::zeroed().assume_init();
        action.sa_sigaction = handler as *const () as usize;
        action.sa_flags = libc::SA_RESTART;
        let mut before: libc::sigaction = MaybeUninit::zeroed().assume_init();
        libc::sigaction(signal, &action, &mut before);
        before
    }
}

/// Uses only system calls and atomics, as a handler must.
extern "C" fn handler(signal: libc::c_int) {
    // SAFETY: `getpid` has no preconditions.
    let is_ours = unsafe { libc::getpid() } == PROCESS.load(Ordering::SeqCst);
    if !is_ours || SEEN.fetch_add(1, Ordering::SeqCst) > 0 {
        // SAFETY: both are async-signal-safe. The signal is pending until the handler returns.
        unsafe {
            libc::signal(signal, libc::SIG_DFL);
            libc::raise(signal);
        }
        return;
    }
    let error = errno::get();
    let byte = signal as u8;
    for pipe in &PIPES {
        let fd = pipe.load(Ordering::SeqCst);
        if fd >= 0 {
            // SAFETY: `write` is async-signal-safe, and the byte outlives the call.
            unsafe { libc::write(fd, (&raw const byte).cast(), 1) };
        }
    }
    errno::set(error);
}
