//! The parent's end of one worker process: what others hand to it, and the thread that listens.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Mutex, MutexGuard};

use crate::clock;
use crate::error::{DeathCause, TaskError, WorkerDeath, with_advice};
use crate::process::carry;
use crate::process::lane::{Finished, Sent, Why};
use crate::process::logs::Logs;
use crate::process::news::Rest;
use crate::process::over_sockets::{self, Steps};
use crate::process::page::{ArgsAt, Order, Page, ReplyAt};
use crate::process::pool::{ProcessPool, note_progress, promote};
use crate::process::ring::Ring;
use crate::process::{errors, events};
use crate::sys::link::{self, Got, Wanted};
use crate::sys::mapping::{Area, Mapping};
use crate::sys::reap::Process;
use crate::task::AnyTask;
use crate::task::channel::CAPACITY;
use crate::task::owners;
use crate::task::panic::{self, guarded};
use crate::task::remote::Given;
use crate::task::state::Phase;
use crate::timer;
use crate::wire::frame::{Frames, Message, ToParent, ToWorker};
use crate::wire::spare::{self, Serving};

/// How long a worker process may take from its start until it can serve.
const START_LIMIT: Duration = Duration::from_secs(30);

/// A worker process.
pub(super) struct Worker {
    pub(super) pid: u32,
    pub(super) number: u64,
    pub(super) page: Mapping<Page>,
    /// The page's file, with the areas behind it. None where the page is this process's own: see
    /// `over_sockets`.
    file: Option<OwnedFd>,
    spared: usize,
    replies: Mutex<Area>,
    /// Replies that stand in their area, in order, and whether they are copied.
    expected: Mutex<VecDeque<(u64, bool)>>,
    data: OwnedFd,
    control: OwnedFd,
    bell: OwnedFd,
    pidfd: Arc<OwnedFd>,
    args: Mutex<Area>,
    /// What it prints comes to its link.
    pub(super) has_logs: bool,
    /// Frames that its link has read, and done what they say.
    read: AtomicU64,
    out: Mutex<Out>,
    /// Until it is buried.
    process: Mutex<Option<Process>>,
}

/// What a worker process shares with its parent: the page, and the areas behind it.
pub(super) struct Shared {
    page: Mapping<Page>,
    file: Option<OwnedFd>,
    spared: usize,
}

impl Shared {
    pub(super) fn new() -> std::io::Result<Self> {
        let spared = carry::spared();
        let (page, file) = Mapping::create(spared)?;
        Ok(Shared { page, file: Some(file), spared })
    }

    /// The page is this process's own.
    pub(super) fn nothing() -> std::io::Result<Self> {
        Ok(Shared { page: Mapping::own()?, file: None, spared: 0 })
    }

    pub(super) fn file(&self) -> Option<&OwnedFd> {
        self.file.as_ref()
    }
}

/// What waits to be written.
#[derive(Default)]
struct Out {
    /// Arguments that are too large to be copied at once.
    data: Queue,
    /// Frames.
    control: Queue,
    /// The worker isn't ready for calls that can't be taken back once they have set out.
    holds_data: bool,
}

#[derive(Default)]
struct Queue {
    pieces: VecDeque<Piece>,
    /// Of the first piece, so much is written.
    written: usize,
}

struct Piece {
    bytes: Arc<Serving>,
    /// It goes there in the area of arguments, and not through the socket.
    to: Option<usize>,
    /// The call that it belongs to, and whether it is the first one of it.
    of: u64,
    begins: bool,
}

impl Queue {
    fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// Writes what goes without waiting, or a part of it: true, if there is more that would. An error
    /// means that the worker is gone: then its link thread sees that, too.
    fn write(&mut self, to: &OwnedFd, args: &Mutex<Area>) -> bool {
        /// So much is copied without looking up: others may want to take it back, or to write.
        const COPIED: usize = 1 << 20;
        let mut room = COPIED;
        while let Some(piece) = self.pieces.front() {
            let bytes = &piece.bytes[self.written..];
            self.written += match piece.to {
                Some(_) if room == 0 => return true,
                Some(at) => {
                    let count = bytes.len().min(room);
                    args.lock().put(at + self.written, &bytes[..count]);
                    room -= count;
                    count
                }
                None => match link::write_now(to, bytes) {
                    Ok(0) => return false,
                    Ok(n) => n,
                    Err(_) => {
                        *self = Queue::default();
                        return false;
                    }
                },
            };
            if self.written == piece.bytes.len() {
                self.pieces.pop_front();
                self.written = 0;
            }
        }
        false
    }

    /// Adds what need not stay whole with anything else.
    fn push(&mut self, bytes: Vec<u8>) {
        self.pieces.push_back(Piece {
            bytes: Arc::new(Serving::new(bytes)),
            to: None,
            of: 0,
            begins: true,
        });
    }

    /// Whether all pieces of a call are still here: nothing of them is written.
    fn is_whole(&self, call: u64) -> bool {
        let first = self.pieces.iter().position(|piece| piece.of == call && piece.begins);
        first.is_some_and(|at| at > 0 || self.written == 0)
    }
}

impl Worker {
    pub(super) fn new(
        number: u64,
        process: Process,
        shared: Shared,
        data: OwnedFd,
        control: OwnedFd,
        bell: OwnedFd,
        has_logs: bool,
    ) -> Self {
        let Shared { page, file, spared } = shared;
        let holds_data = file.is_none();
        let (args, replies) = carry::areas(spared, false);
        Worker {
            pid: process.id(),
            number,
            page,
            file,
            spared,
            args: Mutex::new(args),
            replies: Mutex::new(replies),
            expected: Mutex::default(),
            data,
            control,
            bell,
            pidfd: Arc::clone(process.pidfd()),
            has_logs,
            read: AtomicU64::new(0),
            out: Mutex::new(Out { holds_data, ..Out::default() }),
            process: Mutex::new(Some(process)),
        }
    }

    /// Ends the process, and all that it started, at once, unless it is buried.
    pub(super) fn kill(&self) {
        if let Some(process) = &*self.process.lock() {
            process.kill();
            // Should this process have given up the right to signal it since it was started: it
            // takes this for its parent's end.
            link::hang_up(&self.control);
        }
    }

    /// Whether the process has ended.
    fn has_ended(&self) -> bool {
        Process::has_ended(&self.pidfd, false)
    }

    /// Whether it is stopped, by a signal or by a debugger.
    pub(super) fn is_stopped(&self) -> bool {
        // Not once it is buried: the number may be another's.
        self.process.lock().as_ref().is_some_and(Process::is_stopped)
    }

    /// Waits for the process's end and says what it was.
    pub(super) fn bury(&self) -> DeathCause {
        Process::has_ended(&self.pidfd, true);
        // Under the lock: nobody may signal a number that is given anew.
        let mut process = self.process.lock();
        let overflow = || match self.file {
            Some(_) => self.page.overflow.load(Ordering::Acquire) != 0,
            // It writes nothing else there.
            None => {
                let read = link::read_into(&self.control, &mut Vec::with_capacity(1), false);
                matches!(read, Ok(Got::Bytes(_)))
            }
        };
        process.take().map_or(DeathCause::Other("it is gone".into()), |p| p.bury(overflow))
    }

    /// How many frames its link has read.
    pub(super) fn frames_read(&self) -> u64 {
        self.read.load(Ordering::Acquire)
    }

    /// Has its link thread look around.
    pub(super) fn ring_link(&self) {
        link::ring(&self.bell);
    }

    /// The places in its area of arguments.
    pub(super) fn places(&self) -> Ring {
        carry::ring(self.spared)
    }

    /// Whether the area of arguments can be used up to `end`.
    pub(super) fn reaches(&self, end: usize) -> bool {
        self.file.as_ref().is_some_and(|file| self.args.lock().reach(file, end).is_ok())
    }

    /// Puts arguments into their area.
    pub(super) fn put_args(&self, at: usize, name: &str, args: &[u8]) {
        let mut area = self.args.lock();
        area.put(at, name.as_bytes());
        area.put(at + name.len(), args);
    }

    /// Leaves arguments for the data socket, or for their area; see [`nudge`](Self::nudge).
    pub(super) fn post_args(&self, call: u64, name: &str, args: Arc<Serving>, at: ArgsAt) {
        let place = |offset| match at {
            ArgsAt::Announced(at) => Some(at + offset),
            _ => None,
        };
        let mut out = self.out.lock();
        let mut begins = true;
        let mut push = |bytes: Arc<Serving>, to| {
            if !bytes.is_empty() {
                let begins = std::mem::take(&mut begins);
                out.data.pieces.push_back(Piece { bytes, to, of: call, begins });
            }
        };
        push(Arc::new(Serving::new(name.as_bytes().to_vec())), place(0));
        if place(0).is_some() {
            // Who gives the area back clears the spare buffers, too.
            args.shall_serve_again();
        }
        push(args, place(name.len()));
        if place(0).is_some() {
            push(Arc::new(Serving::new(vec![0])), None);
        }
    }

    /// Whether it shares no page, and calls go over the data socket.
    pub(super) fn is_over_sockets(&self) -> bool {
        self.file.is_none()
    }

    /// Leaves a call for the data socket; see [`nudge`](Self::nudge).
    pub(super) fn post_call(&self, call: u64, order: &Order, name: &str, args: Given<'_>) {
        /// Arguments up to here are copied, and written together with the rest.
        const SMALL: usize = 4096;
        let mut bytes = Vec::new();
        over_sockets::frame_of(call, order).write(&mut bytes);
        bytes.extend_from_slice(name.as_bytes());
        let more = if args.len() <= SMALL {
            bytes.extend_from_slice(&args);
            None
        } else {
            Some(args.shared())
        };
        let whole = Arc::new(Serving::new(bytes));
        let pieces = std::iter::once(whole).chain(more).enumerate();
        self.out.lock().data.pieces.extend(pieces.map(|(index, bytes)| Piece {
            bytes,
            to: None,
            of: call,
            begins: index == 0,
        }));
    }

    /// Whether nothing of a call left for the data socket has set out.
    pub(super) fn keeps(&self, call: u64) -> bool {
        self.out.lock().data.is_whole(call)
    }

    /// The worker is ready: calls set out.
    fn release(&self) {
        self.out.lock().holds_data = false;
        self.flush_or_ring();
    }

    /// Gives the memory of arguments back, of which so much was used.
    pub(super) fn forget_args(&self, used: usize) {
        self.args.lock().forget(used);
        spare::clear();
    }

    /// Whether a reply can stand there.
    pub(super) fn has_reply(&self, at: usize, len: usize) -> bool {
        at.checked_add(len).is_some_and(|end| end <= self.spared / 2)
    }

    /// A reply stands in its area, the next one there, and will be copied by whoever settles it.
    pub(super) fn expect_reply(&self, call: u64) {
        self.expected.lock().push_back((call, false));
    }

    /// Copies a reply out of its area.
    fn copy_reply(&self, call: u64, at: usize, len: usize) -> std::io::Result<Vec<u8>> {
        let bytes = || {
            let mut replies = self.replies.lock();
            let file = self.file.as_ref().ok_or(std::io::ErrorKind::NotFound)?;
            replies.reach(file, at + len)?;
            Ok(replies.copy(at, len))
        };
        // Whether or not: its place is free.
        let bytes = bytes();
        // Others may have copied later ones; the worker hears of them in order.
        let mut expected = self.expected.lock();
        if let Some((_, copied)) = expected.iter_mut().find(|(of, _)| *of == call) {
            *copied = true;
        }
        while expected.front().is_some_and(|(_, copied)| *copied) {
            expected.pop_front();
            self.page.note_copied();
        }
        bytes
    }

    /// Takes a call back that has not begun, and its arguments, as far as they have not set out: a
    /// worker that reads nothing for a while must not pile up what nobody wants any more.
    pub(super) fn revoke(&self, call: u64) -> bool {
        // Under the lock: nobody writes meanwhile.
        let mut out = self.out.lock();
        if !out.data.is_whole(call) {
            return !self.is_over_sockets() && self.page.revoke(call);
        }
        let withdrawn = self.page.withdraw(call);
        if withdrawn {
            out.data.pieces.retain(|piece| piece.of != call);
        }
        withdrawn
    }

    /// Leaves a frame for the control socket and writes it if that goes at once.
    pub(super) fn post(&self, frame: Vec<u8>) {
        self.out.lock().control.push(frame);
        self.flush_or_ring();
    }

    fn post_frame(&self, frame: &ToWorker<'_>) {
        let mut bytes = Vec::new();
        frame.write(&mut bytes);
        self.post(bytes);
    }

    pub(super) fn post_stop(&self, call: u64) {
        self.post_frame(&ToWorker::Stop { call });
    }

    pub(super) fn post_taken(&self, call: u64, count: u64) {
        self.post_frame(&ToWorker::Taken { call, count });
    }

    pub(super) fn post_shutdown(&self) {
        self.post_frame(&ToWorker::Shutdown);
    }

    /// Leaves the messages that wait for a task; see [`flush_or_ring`](Self::flush_or_ring).
    pub(super) fn post_messages(&self, call: u64, task: &dyn AnyTask) {
        let Some(inbox) = task.header().links().and_then(|links| links.inbox_bytes()) else {
            return;
        };
        let mut out = self.out.lock();
        while let Some(bytes) = inbox.pass_on() {
            let mut frame = Vec::new();
            ToWorker::Message { call, bytes: &bytes }.write(&mut frame);
            out.control.push(frame);
        }
    }

    /// Writes what goes at once. The rest is left to the link thread: it is rung for.
    pub(super) fn flush_or_ring(&self) {
        let wanted = self.flush();
        if wanted.data_room || wanted.control_room {
            self.ring_link();
        }
    }

    /// Writes what goes at once, and says what is left.
    fn flush(&self) -> Wanted {
        loop {
            let mut out = self.out.lock();
            if !out.control.is_empty() {
                out.control.write(&self.control, &self.args);
            }
            let sends = !out.holds_data;
            if sends && !out.data.is_empty() && out.data.write(&self.data, &self.args) {
                MutexGuard::bump(&mut out);
                continue;
            }
            return Wanted {
                data_room: sends && !out.data.is_empty(),
                control_room: !out.control.is_empty(),
            };
        }
    }

    /// Calls were sent: wakes the worker, and writes their arguments where these are not in the page.
    pub(super) fn nudge(&self, with_args: bool) {
        self.page.wake_worker();
        if with_args {
            self.flush_or_ring();
        }
    }
}

/// Why a link comes to its end.
enum Broken {
    /// The process has ended, or its socket is closed.
    Gone,
    /// It sent what makes no sense.
    Rubbish(&'static str),
    /// It did not come to serve in time.
    TooSlow,
    /// The thread that listened to it panicked: a fault of ours, that shall cost no other task.
    Panicked,
}

const UNASKED: Broken = Broken::Rubbish("a reply that no call asked for");
const OUT_OF_TURN: Broken = Broken::Rubbish("a step of a call that is not at it");

/// One worker process, from its link thread.
struct Link<'a> {
    pool: &'a ProcessPool,
    lane: usize,
    worker: &'a Arc<Worker>,
    frames: Frames,
    /// Calls that are done, in order, whose replies are not all there.
    finished: VecDeque<Finished>,
    proven: bool,
    refused: Option<String>,
    /// What the worker prints, where it comes here.
    logs: Option<Logs>,
    /// The page makes no sense.
    spoiled: bool,
    /// Where the page is our own: what keeps it in step.
    steps: Option<Steps>,
    /// What the worker says after something was not understood is not read.
    deaf: bool,
}

/// Listens to one worker process until it has ended, and buries it.
pub(super) fn run(pool: &ProcessPool, lane: usize, worker: &Arc<Worker>, logs: Option<Logs>) {
    let _works_for = pool.owner.map(owners::work_for);
    let wanted = pool.joined(lane, worker);
    let mut link = Link {
        pool,
        lane,
        worker,
        frames: Frames::new(),
        finished: VecDeque::new(),
        proven: false,
        refused: None,
        logs,
        spoiled: false,
        steps: worker.is_over_sockets().then(Steps::default),
        deaf: false,
    };
    if !wanted {
        worker.kill();
        worker.bury();
        return;
    }
    let why = panic::catch(|| link.listen()).unwrap_or(Broken::Panicked);
    link.bury(why);
}

impl Link<'_> {
    fn listen(&mut self) -> Broken {
        let started = Instant::now();
        loop {
            self.take_in();
            if self.spoiled {
                return Broken::Rubbish("in the page that both share");
            }
            if self.misses_frames() {
                // They were written before the call was done: they are there.
                match self.read() {
                    Ok(Got::Bytes(_)) => continue,
                    Ok(_) => return Broken::Rubbish("a reply after frames that never came"),
                    Err(broken) => return broken,
                }
            }
            let wanted = self.worker.flush();
            let nanos = match self.pool.rest(self.lane, self.worker) {
                Rest::Not => {
                    self.worker.page.awake();
                    continue;
                }
                Rest::Until(_) if !self.proven => {
                    let left = START_LIMIT.saturating_sub(started.elapsed());
                    if left.is_zero() {
                        return Broken::TooSlow;
                    }
                    Some(left.as_nanos() as u64)
                }
                Rest::Until(nanos) => nanos,
            };
            let Worker { data, control, bell, pidfd, .. } = &**self.worker;
            let logs = self.logs.as_ref().map_or([None, None], Logs::pipes);
            let from = link::Sources { data, control, pidfd, bell, logs };
            let events = link::wait(from, wanted, nanos);
            self.worker.page.awake();
            if events.bell {
                link::hush(bell);
            }
            if events.data
                && let Err(broken) = self.read()
            {
                return broken;
            }
            if events.dead {
                return Broken::Gone;
            }
            if events.logs {
                self.read_logs();
            }
            // Whoever rings or prints all the time does not keep the link from looking.
            if nanos == Some(0) || !(events.bell || events.data || events.logs) {
                self.take_in();
                self.pool.overslept(self.lane, self.worker);
            }
        }
    }

    /// Takes in what is done, and settles what can be settled.
    fn take_in(&mut self) {
        let before = self.finished.len();
        self.spoiled |= !self.pool.reap(self.lane, &mut self.finished);
        if self.finished.len() > before {
            // What a task has printed comes before its end.
            self.read_logs();
        }
        self.settle_ready();
    }

    fn read_logs(&mut self) {
        if let Some(logs) = &mut self.logs {
            guarded(|| logs.read(self.worker.pid));
        }
    }

    /// Whether the next reply is here, and frames that came before it are not.
    fn misses_frames(&self) -> bool {
        self.finished.front().is_some_and(|done| {
            done.reply != ReplyAt::Socket && done.after > self.worker.frames_read()
        })
    }

    /// Reads what is there.
    fn read(&mut self) -> Result<Got, Broken> {
        match link::read_into(&self.worker.data, self.frames.room(), false) {
            Ok(got @ Got::Bytes(_)) => self.digest().map(|()| got),
            Ok(Got::Nothing) => Ok(Got::Nothing),
            Ok(Got::End) | Err(_) => Err(Broken::Gone),
        }
    }

    /// Does what the frames say.
    fn digest(&mut self) -> Result<(), Broken> {
        let mut frames = std::mem::take(&mut self.frames);
        let result = loop {
            match frames.next::<ToParent<'_>>() {
                Ok(Some(frame)) => match self.take_frame(frame) {
                    Ok(()) => {
                        self.worker.read.fetch_add(1, Ordering::Release);
                    }
                    Err(broken) => break Err(broken),
                },
                Ok(None) => break Ok(()),
                Err(malformed) => break Err(Broken::Rubbish(malformed.0)),
            }
        };
        // Before all of it is there: what nobody waits for may have no end.
        let result = result.and_then(|()| match frames.reply_coming() {
            Some(call) if !self.is_asked(call) => Err(UNASKED),
            _ => Ok(()),
        });
        self.frames = frames;
        self.deaf |= result.is_err();
        self.settle_ready();
        result
    }

    /// Does what the worker says of a call in our own page.
    fn step(&mut self, does: impl FnOnce(&mut Steps, &Page) -> bool) -> Result<(), Broken> {
        let Some(steps) = self.steps.as_mut().filter(|_| self.proven) else {
            return Err(OUT_OF_TURN);
        };
        if does(steps, &self.worker.page) { Ok(()) } else { Err(OUT_OF_TURN) }
    }

    fn take_frame(&mut self, frame: ToParent<'_>) -> Result<(), Broken> {
        match frame {
            ToParent::Ready { .. } | ToParent::Refused { .. } if self.proven => {
                return Err(Broken::Rubbish("what is said at the start, once more"));
            }
            ToParent::Ready { .. } => {
                self.proven = true;
                self.pool.proven(self.lane);
                self.worker.release();
            }
            ToParent::Refused { reason } => self.refused = Some(reason.to_owned()),
            ToParent::Begun { call, at } => {
                self.step(|steps, page| steps.begun(page, call, at))?;
            }
            ToParent::Progress { call, done, total } => {
                self.step(|steps, page| steps.progressed(page, call, done, total))?;
            }
            ToParent::Ended { call, at } => {
                self.step(|steps, page| steps.ended(page, call, at))?;
            }
            ToParent::Reply { call, ok, bytes } => {
                if let Some(steps) = &mut self.steps
                    && !steps.replied(&self.worker.page, call)
                {
                    return Err(UNASKED);
                }
                // Else it stays, and ends with the worker.
                match if self.is_asked(call) { self.finished.pop_front() } else { None } {
                    Some(done) => {
                        self.pool.arrived(self.lane, call);
                        self.settle(done, ok, Some(bytes));
                    }
                    None => return Err(UNASKED),
                }
            }
            ToParent::Message { call, bytes } => {
                if let Some(task) = self.task_of(call)
                    && let Some(outbox) =
                        task.header().links().and_then(|links| links.outbox_bytes())
                {
                    // The worker waits for room. An attempt that was cut short may have left some.
                    let most = 2 * CAPACITY * (task.header().attempt() as usize + 1);
                    if !outbox.deliver(bytes.into(), most) {
                        return Err(Broken::Rubbish("more messages than there is room for"));
                    }
                }
            }
            ToParent::Taken { call, count } => {
                if let Some(task) = self.task_of(call)
                    && let Some(inbox) = task.header().links().and_then(|links| links.inbox_bytes())
                {
                    inbox.taken(usize::try_from(count).unwrap_or(usize::MAX));
                }
            }
            ToParent::Said { call, text } => {
                if let Some(task) = self.task_of(call) {
                    let mut progress = task.header().extras_or_new().progress.lock();
                    progress.get_or_insert_default().message = Some(text.to_owned());
                }
            }
            ToParent::Event { call, level, target, message, fields, file, line } => {
                let task = self.task_of(call).map(|task| task.header().id);
                let event = events::Told { level, target, message, fields, file, line };
                guarded(|| events::emit(&event, task, self.worker.pid));
            }
        }
        Ok(())
    }

    /// Whether the next reply on the socket is this call's.
    fn is_asked(&mut self, call: u64) -> bool {
        if self.steps.as_ref().is_some_and(|steps| steps.awaits(call)) {
            return true;
        }
        let asked = |link: &Self| {
            let next = link.finished.front();
            next.is_some_and(|done| done.call == call && done.reply == ReplyAt::Socket)
        };
        if !asked(self) {
            // The call was done before its reply was written.
            self.take_in();
        }
        asked(self)
    }

    /// The task of a call that is not over for us.
    fn task_of(&self, call: u64) -> Option<Arc<dyn AnyTask>> {
        let here = self.finished.iter().find(|done| done.call == call);
        match here {
            Some(done) => Some(Arc::clone(done.sent.job.task())),
            None => self.pool.task_of(self.lane, call),
        }
    }

    /// Settles the calls whose replies are here, with all that was said before.
    fn settle_ready(&mut self) {
        while let Some(done) = self.finished.front() {
            let (ReplyAt::Slot { ok, .. } | ReplyAt::Area { ok, .. }) = done.reply else {
                return;
            };
            if done.after > self.worker.frames_read() {
                return;
            }
            if let Some(done) = self.finished.pop_front() {
                self.settle(done, ok, None);
            }
        }
    }

    fn settle(&self, done: Finished, ok: bool, reply: Option<&[u8]>) {
        settle(self.worker, done, ok, reply);
    }

    /// The process has ended, or must: settles what is left.
    fn bury(mut self, why: Broken) {
        self.pool.dying(self.lane);
        if !matches!(why, Broken::Gone) {
            self.worker.kill();
        }
        // A worker whose sockets are closed is of no use even if it goes on.
        if matches!(why, Broken::Gone) && !self.worker.has_ended() {
            self.worker.kill();
        }
        let mut cause = self.worker.bury();
        // What it has said before its end still counts.
        if matches!(why, Broken::Gone) {
            while self.read_rest() {}
        }
        self.take_in();
        if let Some(logs) = &mut self.logs {
            logs.end(self.worker.pid);
        }
        let all_read = matches!(why, Broken::Gone) && !self.deaf;
        match why {
            Broken::Gone => {}
            Broken::Rubbish(what) => {
                cause =
                    DeathCause::Other(format!("it sent bytes that make no sense ({what})").into());
            }
            Broken::TooSlow => {
                cause = DeathCause::Other(
                    format!("it was not ready after {START_LIMIT:?}, and was killed").into(),
                );
            }
            Broken::Panicked => {
                cause = DeathCause::Other(
                    "it was killed: the thread that listened to it panicked".into(),
                );
            }
        }
        let never_served = (!self.proven).then(|| match &self.refused {
            Some(reason) => reason.clone(),
            None => format!("it ended before it was ready: {cause}"),
        });
        let leavings = self.pool.lost(self.lane, never_served.as_deref(), all_read);
        // A stop returns when these tasks have ended, too.
        let _settled = Settled(self.pool);
        let in_order = cause == DeathCause::Exit(0) && leavings.was_closing;
        if self.finished.is_empty()
            && leavings.begun.is_empty()
            && leavings.doomed.is_none()
            && never_served.is_none()
            && !in_order
        {
            guarded(|| {
                tracing::warn!(
                    target: "atasker", worker = self.worker.pid, %cause,
                    "a worker process died that ran no task"
                );
            });
        }
        let death = WorkerDeath::new(self.worker.pid, cause);
        let page = &self.worker.page;
        let half_written =
            self.finished.into_iter().map(|done| (done.call, done.times.begun, done.sent));
        let begun = leavings.begun.into_iter().map(|(call, sent)| (call, page.begun(call), sent));
        for (call, begun, sent) in half_written.chain(begun) {
            let task = leave(sent, begun, page.progress(call));
            let why = leavings.doomed.filter(|(doomed, _)| *doomed == call).map(|(_, why)| why);
            let death = death.clone();
            guarded(move || match why {
                Some(Why::Limit(limit)) => task.fail(&task, TaskError::TimedOut { limit }),
                Some(Why::Kill) => end(task, TaskError::Canceled),
                Some(Why::Stop) => end(task, TaskError::SupervisorStopped),
                None => task.fail(&task, TaskError::WorkerDied(death)),
            });
        }
        // The last ones' arguments may be among them.
        spare::clear();
    }

    /// Reads once more; false when nothing is left.
    fn read_rest(&mut self) -> bool {
        match link::read_into(&self.worker.data, self.frames.room(), false) {
            Ok(Got::Bytes(_)) => self.digest().is_ok(),
            _ => false,
        }
    }
}

/// Ends a task that has its reply: this one, or the one that stood in the page.
pub(super) fn settle(worker: &Worker, done: Finished, ok: bool, reply: Option<&[u8]>) {
    let Finished { call, sent, times, progress, inline, reply: at, .. } = done;
    let task = leave(sent, times.begun, progress);
    let died = |why: String| {
        TaskError::WorkerDied(WorkerDeath::new(worker.pid, DeathCause::Other(why.into())))
    };
    let reply: Cow<'_, [u8]> = match (reply, at) {
        (Some(reply), _) => reply.into(),
        (None, ReplyAt::Area { len, at, .. }) => match worker.copy_reply(call, at, len) {
            Ok(reply) => reply.into(),
            Err(error) => {
                let why = format!("its reply can't be read: {}", with_advice(&error));
                let error = died(why);
                return guarded(move || task.fail(&task, error));
            }
        },
        (None, _) => (&*inline).into(),
    };
    if ok {
        // The task goes within the guard, too: this may be the last hold on it.
        return guarded(move || task.reply(&task, reply));
    }
    let error = errors::decode(&reply).unwrap_or_else(|bad| died(bad.to_string()));
    guarded(move || task.fail(&task, error));
}

/// Tells the pool that what was taken out of it is ended.
pub(super) struct Settled<'a>(pub(super) &'a ProcessPool);

impl Drop for Settled<'_> {
    fn drop(&mut self) {
        self.0.settled();
    }
}

/// Takes a task out of the pool's hands: it has begun, and its run is over.
fn leave(sent: Sent, begun: u64, progress: Option<(u64, u64)>) -> Arc<dyn AnyTask> {
    if let Some(key) = sent.limit {
        timer::cancel(key);
    }
    let task = sent.job.into_task();
    promote(&*task, clock::from_monotonic(begun));
    note_progress(&*task, progress);
    if let Some(extras) = task.header().extras() {
        extras.worker_pid.store(0, Ordering::Relaxed);
    }
    task
}

/// Ends a task whatever attempts are left.
fn end(task: Arc<dyn AnyTask>, error: TaskError) {
    if let Some(claim) = task.header().state.claim(Phase::Started) {
        task.end(&task, claim.of_the_runner(), error);
    }
}
