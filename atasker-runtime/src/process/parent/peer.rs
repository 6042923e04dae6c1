//! The parent's handle of one worker process, which all threads share.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crate::error::DeathCause;
use crate::fork;
use crate::process::parent::outgoing::{Outgoing, Piece};
use crate::process::tracing::filter::Told;
use crate::process::transport::entry::{ArgsLocation, CallHeader};
use crate::process::transport::page::Page;
use crate::process::transport::region::{self, Side};
use crate::process::transport::ring::Ring;
use crate::process::transport::sockets;
use crate::remote::body::ArgBytes;
use crate::sync::lock::{Mutex, MutexGuard};
use crate::sys::ipc::{self, Doorbell, Interest, ReadMode};
use crate::sys::mapping::{Mapping, Region};
use crate::sys::reap::{self, CrashHint, Process};
use crate::task::AnyTask;
use crate::wire::buffer_pool::{self, PooledBuf};
use crate::wire::frame::{Filter, Message, ToWorker};

/// The handle of one worker process.
pub(crate) struct Peer {
    pub(crate) pid: u32,
    pub(crate) number: u64,
    pub(crate) page: Mapping<Page>,
    /// The page's file, with the regions behind it. `None` if the page is private: see
    /// `over_sockets`.
    file: Option<OwnedFd>,
    region_bytes: usize,
    /// The longest frame that the worker process can have the memory for, in bytes.
    pub(super) max_frame: u64,
    replies: Mutex<Region>,
    /// Replies in their region, in order, and whether each was copied.
    expected: Mutex<VecDeque<(u64, bool)>>,
    pub(super) data: OwnedFd,
    pub(super) control: OwnedFd,
    pub(super) doorbell: Doorbell,
    /// Readable once the process has ended.
    pub(super) end: Arc<OwnedFd>,
    args: Mutex<Region>,
    /// The standard output and error are pipes to the reader thread.
    pub(crate) has_stdio: bool,
    /// The number of frames that the reader thread has received and handled.
    pub(super) read: AtomicU64,
    /// What it was told about the program's filters.
    pub(crate) told: Mutex<Told>,
    outgoing: Mutex<Outgoing>,
    killed_deliberately: AtomicBool,
    /// `None` once the process was reaped.
    process: Mutex<Option<Process>>,
}

/// The parent's ends of the sockets of a worker process, and the doorbell of its reader thread.
pub(crate) struct Sockets {
    pub(crate) data: OwnedFd,
    pub(crate) control: OwnedFd,
    pub(crate) doorbell: Doorbell,
}

/// The memory shared with a worker process: the page, and the regions behind it.
pub(crate) struct SharedMemory {
    page: Mapping<Page>,
    file: Option<OwnedFd>,
    region_bytes: usize,
    max_frame: u64,
}

/// The longest frame that a worker process with this memory limit can send.
fn max_frame(memory_limit: Option<u64>) -> u64 {
    /// Address space that an allocator may have reserved before the limit applies: glibc reserves
    /// this much for each thread.
    const RESERVED: u64 = 64 << 20;
    memory_limit.map_or(u64::MAX, |bytes| bytes.saturating_add(RESERVED))
}

impl SharedMemory {
    /// `memory_limit` is the limit of the worker process in bytes.
    pub(crate) fn new(memory_limit: Option<u64>) -> std::io::Result<Self> {
        let region_bytes = region::region_bytes(memory_limit);
        let (page, file) = Mapping::<Page>::create(region_bytes)?;
        page.exclude_from_forks()?;
        let max_frame = max_frame(memory_limit);
        Ok(SharedMemory { page, file: Some(file), region_bytes, max_frame })
    }

    /// Creates a private page, without regions.
    pub(crate) fn private(memory_limit: Option<u64>) -> std::io::Result<Self> {
        let (page, max_frame) = (Mapping::private()?, max_frame(memory_limit));
        Ok(SharedMemory { page, file: None, region_bytes: 0, max_frame })
    }

    pub(crate) fn file(&self) -> Option<&OwnedFd> {
        self.file.as_ref()
    }
}

impl Peer {
    pub(crate) fn new(
        number: u64,
        process: Process,
        shared: SharedMemory,
        sockets: Sockets,
        has_stdio: bool,
        told: Told,
    ) -> Self {
        let Sockets { data, control, doorbell } = sockets;
        let SharedMemory { page, file, region_bytes, max_frame } = shared;
        let data_held = file.is_none();
        let (args, replies) = region::regions(region_bytes, Side::Parent);
        Peer {
            pid: process.id(),
            number,
            page,
            file,
            region_bytes,
            max_frame,
            args: Mutex::new(args),
            replies: Mutex::new(replies),
            expected: Mutex::default(),
            data,
            control,
            doorbell,
            end: Arc::clone(process.end()),
            has_stdio,
            read: AtomicU64::new(0),
            told: Mutex::new(told),
            outgoing: Mutex::new(Outgoing { data_held, ..Outgoing::default() }),
            killed_deliberately: AtomicBool::new(false),
            process: Mutex::new(Some(process)),
        }
    }

    /// Kills the process for a reason of this program: a kill, a time limit, a stop, new settings.
    pub(crate) fn kill_deliberately(&self) {
        // Release: read by the reader thread once the process has ended.
        self.killed_deliberately.store(true, Ordering::Release);
        self.kill();
    }

    /// Returns whether this program has killed the process for a reason other than its failure.
    pub(super) fn was_killed_deliberately(&self) -> bool {
        self.killed_deliberately.load(Ordering::Acquire)
    }

    /// Kills the process and its descendants, unless it was reaped.
    pub(crate) fn kill(&self) {
        if let Some(process) = &*self.process.lock() {
            process.kill();
            // If this process has lost the permission to signal the worker since it was started,
            // the worker takes this for the end of its parent, and exits.
            ipc::shutdown(&self.control);
        }
    }

    /// Whether the process has ended.
    pub(super) fn has_ended(&self) -> bool {
        reap::has_ended(&self.end)
    }

    /// Whether the process ends within this time.
    pub(super) fn ends_within(&self, time: Duration) -> bool {
        reap::ends_within(&self.end, time)
    }

    /// Whether the process has begun to exit.
    pub(super) fn is_exiting(&self) -> bool {
        // Under the lock, so that the process is not reaped meanwhile.
        self.process.lock().as_ref().is_some_and(Process::is_exiting)
    }

    /// Whether the process is stopped, by a signal or by a debugger.
    pub(crate) fn is_stopped(&self) -> bool {
        // Not once it is reaped, because the pid may be reused.
        self.process.lock().as_ref().is_some_and(Process::is_stopped)
    }

    /// Waits for the end of the process, reaps it, and returns the cause of death.
    pub(crate) fn reap_process(&self) -> DeathCause {
        reap::wait_for_end(&self.end);
        // Under the lock, so that no other thread signals a pid that may be reused.
        let mut process = self.process.lock();
        let crash_hint = || match self.file {
            Some(_) => CrashHint::decode(self.page.crash_hint.load(Ordering::Acquire) as u8),
            // A worker writes nothing else to this socket.
            None => {
                let mut byte = Vec::with_capacity(1);
                let _ = ipc::read_into(&self.control, &mut byte, ReadMode::Nonblocking);
                byte.first().map_or(CrashHint::None, |hint| CrashHint::decode(*hint))
            }
        };
        process.take().map_or(DeathCause::Other("it is gone".into()), |p| p.reap(crash_hint))
    }

    /// The number of frames that the reader thread has received.
    pub(crate) fn frames_read(&self) -> u64 {
        self.read.load(Ordering::Acquire)
    }

    /// Wakes the reader thread.
    pub(crate) fn wake_reader(&self) {
        ipc::ring(self.doorbell.button());
    }

    /// Returns the state as text.
    pub(crate) fn describe(&self) -> String {
        let outgoing = self.outgoing.try_lock().map(|outgoing| {
            (outgoing.data.pieces.len(), outgoing.control.pieces.len(), outgoing.data_held)
        });
        format!(
            "worker {} (number {}), ended {}, frames read {}, data and control left {outgoing:?}, {}",
            self.pid,
            self.number,
            self.has_ended(),
            self.frames_read(),
            self.page.describe()
        )
    }

    /// Creates the allocator for the region of arguments.
    pub(crate) fn args_ring(&self) -> Ring {
        region::ring(self.region_bytes)
    }

    /// Maps the first `end` bytes of the region of arguments. Returns `false` if that fails.
    pub(crate) fn ensure_args_mapped(&self, end: usize) -> bool {
        self.file.as_ref().is_some_and(|file| self.args.lock().ensure_mapped(file, end).is_ok())
    }

    /// Copies arguments into their region.
    pub(crate) fn put_args(&self, at: usize, name: &str, args: &[u8]) {
        let mut region = self.args.lock();
        region.write(at, name.as_bytes());
        region.write(at + name.len(), args);
    }

    /// Queues arguments for the data socket, or for their region; see [`notify`](Self::notify).
    pub(crate) fn post_args(&self, call: u64, name: &str, args: Arc<PooledBuf>, at: ArgsLocation) {
        let place = |offset| match at {
            ArgsLocation::Announced(at) => Some(at + offset),
            _ => None,
        };
        let mut outgoing = self.outgoing.lock();
        let mut starts_call = true;
        let mut push = |bytes: Arc<PooledBuf>, to| {
            if !bytes.is_empty() {
                let starts_call = std::mem::take(&mut starts_call);
                outgoing.data.pieces.push_back(Piece { bytes, to, of: call, starts_call });
            }
        };
        push(Arc::new(PooledBuf::new(name.as_bytes().to_vec())), place(0));
        if place(0).is_some() {
            // The reader thread clears the buffer pool when it decommits the region.
            args.mark_reusable();
        }
        push(args, place(name.len()));
        if place(0).is_some() {
            push(Arc::new(PooledBuf::new(vec![0])), None);
        }
    }

    /// Whether no page is shared, so that calls go over the data socket.
    pub(crate) fn is_over_sockets(&self) -> bool {
        self.file.is_none()
    }

    /// Queues a call for the data socket; see [`notify`](Self::notify).
    pub(crate) fn post_call(&self, call: u64, header: &CallHeader, name: &str, args: ArgBytes<'_>) {
        /// Arguments up to this size are copied, and written together with the header.
        const SMALL: usize = 4096;
        let mut bytes = Vec::new();
        sockets::call_message(call, header).write(&mut bytes);
        bytes.extend_from_slice(name.as_bytes());
        let more = if args.len() <= SMALL {
            bytes.extend_from_slice(&args);
            None
        } else {
            Some(args.shared())
        };
        let whole = Arc::new(PooledBuf::new(bytes));
        let pieces = std::iter::once(whole).chain(more).enumerate();
        self.outgoing.lock().data.pieces.extend(pieces.map(|(index, bytes)| Piece {
            bytes,
            to: None,
            of: call,
            starts_call: index == 0,
        }));
    }

    /// Whether no byte of a call was written to the data socket.
    pub(crate) fn is_unsent(&self, call: u64) -> bool {
        self.outgoing.lock().data.is_whole(call)
    }

    /// Starts to send calls, because the worker is ready.
    pub(super) fn release_calls(&self) {
        self.outgoing.lock().data_held = false;
        self.flush_or_wake_reader();
    }

    /// Decommits the first `end` bytes of the region of arguments.
    pub(crate) fn decommit_args(&self, end: usize) {
        self.args.lock().decommit(end);
        buffer_pool::clear();
    }

    /// Whether a reply at this place is within its region.
    pub(crate) fn is_valid_reply(&self, at: usize, len: usize) -> bool {
        at.checked_add(len).is_some_and(|end| end <= self.region_bytes / 2)
    }

    /// Records that the next reply in the region of replies is that of this call, which will be
    /// copied by the thread that completes the call.
    pub(crate) fn expect_reply(&self, call: u64) {
        self.expected.lock().push_back((call, false));
    }

    /// Copies a reply out of its region.
    pub(super) fn read_reply(&self, call: u64, at: usize, len: usize) -> std::io::Result<Vec<u8>> {
        let bytes = || {
            let mut replies = self.replies.lock();
            let file = self.file.as_ref().ok_or(std::io::ErrorKind::NotFound)?;
            replies.ensure_mapped(file, at + len)?;
            Ok(replies.read(at, len))
        };
        // Recorded below even on an error, because the space is free in any case.
        let bytes = bytes();
        // Other threads may have copied later replies, but the worker frees them in order.
        let mut expected = self.expected.lock();
        if let Some((_, copied)) = expected.iter_mut().find(|(of, _)| *of == call) {
            *copied = true;
        }
        while expected.front().is_some_and(|(_, copied)| *copied) {
            expected.pop_front();
            self.page.record_copied();
        }
        bytes
    }

    /// Revokes a call that has not begun, together with its arguments, if they were not written
    /// yet. Otherwise a worker that reads nothing for a while would accumulate arguments that are
    /// not needed any more.
    pub(crate) fn revoke(&self, call: u64) -> bool {
        // Under the lock, so that no thread writes the arguments meanwhile.
        let mut outgoing = self.outgoing.lock();
        if !outgoing.data.is_whole(call) {
            return !self.is_over_sockets() && self.page.revoke(call);
        }
        let withdrawn = self.page.withdraw(call);
        if withdrawn {
            outgoing.data.pieces.retain(|piece| piece.of != call);
        }
        withdrawn
    }

    /// Queues a frame for the control socket, and writes as much as possible without blocking.
    pub(crate) fn post(&self, frame: Vec<u8>) {
        self.outgoing.lock().control.push(frame);
        self.flush_or_wake_reader();
    }

    fn post_frame(&self, frame: &ToWorker<'_>) {
        let mut bytes = Vec::new();
        frame.write(&mut bytes);
        self.post(bytes);
    }

    pub(crate) fn post_stop(&self, call: u64) {
        self.post_frame(&ToWorker::Stop { call });
    }

    pub(crate) fn post_ack(&self, call: u64, count: u64) {
        self.outgoing.lock().control.push_ack(call, count);
        self.flush_or_wake_reader();
    }

    /// Tells the worker process what is wanted of its spans, events and log records.
    pub(crate) fn post_filter(&self, filter: Filter) {
        self.outgoing.lock().control.push_filter(filter);
        self.flush_or_wake_reader();
    }

    pub(crate) fn post_shutdown(&self) {
        self.post_frame(&ToWorker::Shutdown);
    }

    /// Queues the waiting messages of a task, and whether its own messages have a receiver; see
    /// [`flush_or_wake_reader`](Self::flush_or_wake_reader).
    pub(crate) fn post_messages(&self, call: u64, task: &dyn AnyTask) {
        let Some(channels) = task.header().channels() else { return };
        let (Some(inbox), Some(outbox)) = (channels.inbox_bytes(), channels.outbox_bytes()) else {
            return;
        };
        let mut outgoing = self.outgoing.lock();
        // Read under the lock, so that the last frame reports the current state.
        if let Some(present) = outbox.receiver_change() {
            let mut frame = Vec::new();
            ToWorker::Receiver { call, present }.write(&mut frame);
            outgoing.control.push(frame);
        }
        while let Some(bytes) = inbox.next_in_flight() {
            let mut frame = Vec::new();
            ToWorker::Message { call, bytes: &bytes }.write(&mut frame);
            outgoing.control.push(frame);
        }
    }

    /// Writes as much as possible without blocking. The rest is left to the reader thread, which is
    /// woken.
    pub(crate) fn flush_or_wake_reader(&self) {
        let interest = self.flush();
        if interest.data_writable || interest.control_writable {
            self.wake_reader();
        }
    }

    /// Writes as much as possible without blocking, and returns what remains.
    pub(super) fn flush(&self) -> Interest {
        if fork::is_copy() {
            // User code on this thread (a `Deserialize`, a waker) has forked.
            return Interest::default();
        }
        loop {
            let mut outgoing = self.outgoing.lock();
            // Control frames first: a stop must not wait behind large arguments.
            if !outgoing.control.is_empty() {
                outgoing.control.write(&self.control, &self.args);
            }
            let sends = !outgoing.data_held;
            if sends && !outgoing.data.is_empty() && outgoing.data.write(&self.data, &self.args) {
                // Other threads get the lock between two chunks.
                MutexGuard::bump(&mut outgoing);
                continue;
            }
            return Interest {
                data_writable: sends && !outgoing.data.is_empty(),
                control_writable: !outgoing.control.is_empty(),
            };
        }
    }

    /// Calls were sent: wakes the worker, and writes their arguments that are not in the page.
    pub(crate) fn notify(&self, with_args: bool) {
        // Woken first, because the worker can begin while arguments are still being written.
        self.page.wake_worker();
        if with_args {
            self.flush_or_wake_reader();
        }
    }
}
