//! The task thread: takes calls, runs them and replies.

use std::io::Write as _;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::error::TaskError;
use crate::fork;
use crate::id::TaskId;
use crate::info::TaskType;
use crate::priority::Priority;
use crate::process::errors;
use crate::process::tracing::worker as forwarding;
use crate::process::transport::entry::{ArgsLocation, CallHeader, Next, ReplyLocation};
use crate::process::transport::page::INLINE;
use crate::process::transport::region;
use crate::process::transport::sockets;
use crate::process::worker::control::deliver;
use crate::process::worker::upstream::WorkerScheduler;
use crate::process::worker::{Outgoing, WorkerProcess};
use crate::remote::functions::{Call, FUNCTIONS, Function};
use crate::sync::spin::{self, SpinWindow};
use crate::sys::ipc::{self, ReadMode, WakeReason};
use crate::sys::monotonic;
use crate::sys::worker;
use crate::task::body::Once;
use crate::task::cell::Cell;
use crate::task::channel::{Bytes, Channel};
use crate::task::endpoint::{Channels, Codec};
use crate::task::header::Header;
use crate::task::scheduler;
use crate::task::{Schedule, TaskArc, current};
use crate::time::clock;
use crate::unwind;
use crate::wire::frame::{ChannelSetup, Message, ToParent, ToWorker, reply_header};
use crate::wire::framing::Frames;
use crate::wire::reply::Reply;

/// Added to the nice value for tasks of low priority, if niceness follows the priority.
const LOW_PRIORITY_NICE: i32 = 10;

impl WorkerProcess {
    pub(super) fn run_calls(&'static self, first: u64, nice: Option<worker::Niceness>) {
        let mut scratch = Scratch { nice, ..Scratch::default() };
        let mut spin = SpinWindow::new(spin::has_other_cpus());
        let mut call = first;
        loop {
            // A call that follows at once begins when the previous one ended, which saves reading
            // the clock.
            let begin = std::mem::take(&mut scratch.ended);
            let now = || if begin == 0 { monotonic::nanos() } else { begin };
            let next = self.page.try_begin(call, now);
            if begin != 0 {
                // Calls follow one another, so the next one is probably available.
                self.page.prefetch(call + 1);
            }
            match next {
                Some(Next::Run) => {
                    if self.page.claim_wakeup_at_begin() {
                        self.ring_parent();
                    }
                    self.run(call, &mut scratch);
                }
                Some(Next::Skip { with_args }) => {
                    self.skip_call(call, with_args, &mut scratch);
                }
                // Checked after the call was found missing: the parent requests the exit only once
                // it sends no more calls.
                None if self.shutdown.load(Ordering::Acquire) => return,
                None => {
                    if self.idle(call, call > first, &mut spin) == WakeReason::Timeout {
                        self.shm.decommit_idle(&self.page);
                        scratch.decommit_idle();
                    }
                    continue;
                }
            }
            // If another call is waiting, the parent is woken now; otherwise `idle` decides whether
            // that is needed.
            if self.page.parent_waits_for(call) && self.page.is_available(call + 1) {
                self.wake_reader();
            }
            call += 1;
        }
    }

    /// Like `run_calls`, where no page is shared.
    pub(super) fn run_calls_over_sockets(&'static self, nice: Option<worker::Niceness>) {
        let mut scratch = Scratch { nice, ..Scratch::default() };
        while let Some(call) = self.receive_call(&mut scratch) {
            self.run(call, &mut scratch);
        }
    }

    /// Returns the next call, which has begun. Its arguments remain to be received.
    fn receive_call(&self, scratch: &mut Scratch) -> Option<u64> {
        loop {
            match scratch.received.next() {
                Ok(Some(ToWorker::Call(head))) => {
                    let begun = sockets::begin(&self.page, &head, monotonic::nanos);
                    if begun.is_none() {
                        worker::exit_with_group();
                    }
                    let (call, at) = (head.call, self.page.begun(head.call));
                    self.write(&ToParent::Begun { call, at });
                    return Some(call);
                }
                Ok(None) => {}
                Ok(Some(_)) | Err(_) => worker::exit_with_group(),
            }
            if scratch.may_decommit && !ipc::has_bytes(&self.data, region::DECOMMIT_DELAY) {
                scratch.decommit_idle();
            }
            match ipc::read_into(&self.data, scratch.received.room(), ReadMode::Blocking) {
                Ok(ipc::ReadOutcome::Bytes(_)) => {}
                Ok(ipc::ReadOutcome::Eof) if self.shutdown.load(Ordering::Acquire) => return None,
                _ => worker::exit_with_group(),
            }
        }
    }

    /// Spins until the next call is available, because calls often follow one another, then sleeps.
    ///
    /// A thread of the parent that waits for the previous call sees its end in the page and takes
    /// the reply out itself. Only if no thread does that within a moment, or as soon as there is
    /// anything else to do, the reader thread is woken. A timeout means that memory kept for the
    /// next call is to be decommitted.
    fn idle(&self, call: u64, mut unnotified: bool, spin: &mut SpinWindow) -> WakeReason {
        /// Long enough, in nanoseconds, to take a reply out.
        const NOTIFY_AFTER: u64 = 1_500;
        // The parent is notified before this thread may lose its CPU.
        const { assert!(NOTIFY_AFTER < spin::YIELD_AFTER) };
        let mut notify = || {
            if std::mem::take(&mut unnotified) && self.page.parent_waits_for(call - 1) {
                self.wake_reader();
            }
        };
        let found = spin.spin(|elapsed| {
            if elapsed >= NOTIFY_AFTER {
                notify();
            }
            self.page.is_available(call)
        });
        notify();
        if !found {
            let should_stop = || self.shutdown.load(Ordering::Acquire);
            let timeout = self.shm.may_decommit().then_some(region::DECOMMIT_DELAY);
            return self.page.sleep(call, should_stop, timeout);
        }
        WakeReason::Woken
    }

    /// Wakes the parent's reader thread, unless another thread does.
    fn wake_reader(&self) {
        if self.page.claim_wakeup() {
            self.ring_parent();
        }
    }

    fn ring_parent(&self) {
        if !ipc::ring(&self.doorbell) {
            // A task has closed the descriptor, so the parent would never be notified again.
            worker::exit_with_group();
        }
    }

    /// Skips a revoked call.
    fn skip_call(&self, call: u64, with_args: bool, scratch: &mut Scratch) {
        let call_header = self.page.call_header(call);
        if with_args {
            match call_header.at {
                ArgsLocation::Socket => scratch.receive(&self.data, call_header.len()),
                ArgsLocation::Announced(_) => scratch.receive(&self.data, 1),
                ArgsLocation::Inline | ArgsLocation::Region(_) => {}
            }
        }
        self.page.skip(call);
    }

    fn run(&'static self, call: u64, scratch: &mut Scratch) {
        let call_header = self.page.call_header(call);
        let mut inline = [0; INLINE];
        let bytes = match call_header.at {
            ArgsLocation::Inline => self.page.inline(call, call_header.len(), &mut inline),
            ArgsLocation::Region(at) => self.shm.args(at, call_header.len()),
            ArgsLocation::Announced(at) => {
                scratch.receive(&self.data, 1);
                self.shm.args(at, call_header.len())
            }
            ArgsLocation::Socket => {
                scratch.receive(&self.data, call_header.len());
                &scratch.args[..]
            }
        };
        let (name, args) = bytes.split_at(call_header.name_len.min(bytes.len()));
        let function = FUNCTIONS.get(call_header.function as usize);
        let id = TaskId::from_parts(call_header.id.0, call_header.id.1);
        let fill = |header: &mut Header| {
            self.fill_header(header, call, &call_header, function, name);
        };
        let task = local_task(&mut scratch.reusable_task, id, fill);
        self.begin(call, &task);
        forwarding::begin_call(call);
        if let Some(nice) = &mut scratch.nice {
            nice.set_extra(if task.header().priority == Priority::Low {
                LOW_PRIORITY_NICE
            } else {
                0
            });
        }
        if let Some(marker) = self.marker.get() {
            marker.begin_task(task.header().id());
        }

        let mut reply = std::mem::take(&mut scratch.reply);
        reply.clear();
        let mut invocation = Call::with_reply(args, Reply::with_buffer(reply), &task);
        let outcome = match function {
            Some(function) => {
                let call = || unwind::catch(|| (function.call)(&mut invocation));
                let outcome = current::scope(&task, call).and_then(|result| result);
                // A copy made by a fork in the task ends here, because the worker itself replies.
                fork::end_if_copy();
                outcome
            }
            None => Err(TaskError::not_started("the worker process does not know the function")),
        };
        let mut reply = invocation.into_reply();
        let ok = outcome.is_ok();
        if let Err(error) = outcome {
            reply.replace(&errors::encode(&error));
        }
        // The output of the task precedes its result, because this process may be killed at any
        // time.
        let _ = std::io::stdout().flush();
        forwarding::end_call(call);
        self.end(&task);
        scratch.ended = self.send_reply(call, ok, &reply);
        scratch.keep(reply.into_buffer());
        // Not with channels, because messages that the task did not receive must be dropped.
        scratch.reusable_task = (call_header.channels == ChannelSetup::None).then_some(task);
    }

    /// Completes a call. Returns the time of its end.
    pub(super) fn send_reply(&self, call: u64, ok: bool, reply: &Reply) -> u64 {
        let len = reply.len();
        if self.over_sockets {
            return self.send_reply_over_sockets(call, ok, reply);
        }
        if len <= INLINE {
            let mut both = [0; INLINE];
            let inline = match reply.parts() {
                [[], rest] => rest,
                [block, []] => block,
                [block, rest] => {
                    both[..block.len()].copy_from_slice(block);
                    both[block.len()..len].copy_from_slice(rest);
                    &both[..len]
                }
            };
            // Locked, so that `written` counts exactly the frames before the reply.
            let outgoing = self.outgoing.lock();
            return self.page.finish(
                call,
                ReplyLocation::Inline { ok, len },
                inline,
                outgoing.written,
            );
        }
        if let Some(at) = self.shm.put(&self.page, call, ok, reply) {
            let outgoing = self.outgoing.lock();
            return self.page.finish(call, at, &[], outgoing.written);
        }
        let outgoing = &mut *self.outgoing.lock();
        // Marked as done before the frame is written: if this process dies in between, the parent
        // sees that the reply is missing, and of which call.
        let ended = self.page.finish(call, ReplyLocation::Socket, &[], outgoing.written);
        outgoing.written += 1;
        let [block, rest] = reply.parts();
        for part in [&reply_header(call, ok, len)[..], block, rest] {
            if ipc::write_all(&self.data, part).is_err() {
                worker::exit_with_group();
            }
        }
        ended
    }

    /// Like `send_reply`, where no page is shared.
    fn send_reply_over_sockets(&self, call: u64, ok: bool, reply: &Reply) -> u64 {
        /// Replies up to this size are copied, and written together with the header.
        const SMALL: usize = 4096;
        let Outgoing { buffer, written } = &mut *self.outgoing.lock();
        let at = self.page.finish(call, ReplyLocation::Socket, &[], *written);
        buffer.clear();
        ToParent::Ended { call, at }.write(buffer);
        buffer.extend_from_slice(&reply_header(call, ok, reply.len()));
        *written += 2;
        let [block, rest] = reply.parts();
        let mut parts = [&[][..], block, rest];
        if reply.len() <= SMALL {
            buffer.extend_from_slice(block);
            buffer.extend_from_slice(rest);
            parts = [&[]; 3];
        }
        parts[0] = buffer;
        for part in parts {
            if ipc::write_all(&self.data, part).is_err() {
                worker::exit_with_group();
            }
        }
        at
    }

    /// Fills the local header of the task, which has begun.
    #[inline]
    fn fill_header(
        &'static self,
        header: &mut Header,
        call: u64,
        call_header: &CallHeader,
        function: Option<&Function>,
        name: &[u8],
    ) {
        header.priority = Priority::from_index(call_header.priority).unwrap_or_default();
        if !name.is_empty() {
            header.set_name(String::from_utf8_lossy(name).into_owned().into());
        } else if let Some(function) = function {
            header.set_name(function.name.into());
        }
        header.place_tag.store(call, Ordering::Relaxed);
        header.scheduler = Some(
            self.scheduler
                .get_or_init(|| {
                    let scheduler: Arc<dyn Schedule> = Arc::new(WorkerScheduler(self));
                    (scheduler::register(Arc::downgrade(&scheduler)), scheduler)
                })
                .0,
        );
        if call_header.channels != ChannelSetup::None {
            let codecs = (identity_codec(), identity_codec());
            let inbox = Channel::of_bytes_with(call_header.channels.acks());
            let channels = Channels::<Bytes, Bytes>::encoded(inbox, Channel::of_bytes(), codecs);
            if !call_header.channels.has_receiver() {
                channels.set_receiver(false);
            }
            header.extras_mut().channels = Some(channels);
        }
        header.set_started(clock::from_monotonic(self.page.begun(call)), call_header.attempt);
    }

    fn begin(&self, call: u64, task: &TaskArc) {
        let mut current = self.current.lock();
        current.call = call;
        current.task = Some(task.clone());
        current.sent_message = None;
        current.sent_progress = (0, 0);
        if current.early.is_empty() {
            return;
        }
        let mut early = std::mem::take(&mut current.early);
        current.early = early.extract_if(.., |(of, _)| *of > call).collect();
        // Under the lock, so that later messages come after these. That can't deadlock, because no
        // waker is registered yet.
        for (of, what) in early {
            if of == call {
                deliver(&**task, what);
            }
        }
    }

    fn end(&self, task: &TaskArc) {
        let ended = self.current.lock().task.take();
        drop(ended);
        if let Some(channels) = task.header().channels() {
            channels.close();
        }
    }
}

/// Creates a task, or reuses the task of an earlier call if it has no other references. `fill` fills
/// its header in place, because a header is large.
#[inline]
fn local_task(
    reusable_task: &mut Option<TaskArc>,
    id: TaskId,
    fill: impl FnOnce(&mut Header),
) -> TaskArc {
    if let Some(mut task) = reusable_task.take()
        && let Some(alone) = task.get_mut()
    {
        let header = alone.header_mut();
        *header = Header::new(TaskType::Mp, id);
        fill(header);
        return task;
    }
    let mut header = Header::new(TaskType::Mp, id);
    fill(&mut header);
    Cell::<(), _>::allocate(header, Once(Some(|_: &TaskArc| ())), ()).erase()
}

/// What the task thread reuses from one call to the next.
#[derive(Default)]
struct Scratch {
    args: Vec<u8>,
    reply: Vec<u8>,
    /// The task of the previous call.
    reusable_task: Option<TaskArc>,
    /// The time at which the previous call ended, if this thread has not idled since; otherwise 0.
    ended: u64,
    /// Set if niceness follows the priority.
    nice: Option<worker::Niceness>,
    /// Bytes received over the data socket and not used yet, where calls arrive there.
    received: Frames,
    /// Memory is in use that is not needed while idle.
    may_decommit: bool,
}

impl Scratch {
    /// Larger buffers are freed after a call.
    const KEEP_MAX: usize = 1 << 20;
    /// Smaller ones are not worth returning to the system.
    const DECOMMIT_MIN: usize = 64 << 10;

    fn receive(&mut self, from: &OwnedFd, count: usize) {
        if self.args.capacity() > Self::KEEP_MAX {
            self.args = Vec::new();
        }
        self.args.clear();
        self.args.extend_from_slice(self.received.take_raw(count));
        let missing = count - self.args.len();
        if !ipc::read_exactly(from, &mut self.args, missing).unwrap_or(false) {
            worker::exit_with_group();
        }
        self.may_decommit |= count > Self::DECOMMIT_MIN;
    }

    /// Returns unused memory, because nothing has happened for a while.
    fn decommit_idle(&mut self) {
        self.may_decommit = false;
        worker::trim_memory();
    }

    fn keep(&mut self, reply: Vec<u8>) {
        self.may_decommit |= reply.capacity() > Self::DECOMMIT_MIN;
        if reply.capacity() <= Self::KEEP_MAX {
            self.reply = reply;
        }
    }
}

/// The codec of messages that are bytes already.
fn identity_codec() -> Codec<Bytes> {
    Codec { encode: |bytes| Ok(bytes.to_vec()), decode: |bytes| Ok(bytes.into()) }
}
