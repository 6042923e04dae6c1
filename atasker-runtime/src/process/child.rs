//! The worker's side: one call after the other, until the parent says so or is gone.
//!
//! Two threads. The *task thread* takes calls from the shared page, runs them and answers; it sleeps
//! on the page's bell. The *control thread* (the process's first one) reads the control socket:
//! requests to stop, messages, the end. When that socket closes, the parent is gone, and the thread
//! ends the whole process group, whatever the task thread is at.

use std::io::Write as _;
use std::process::exit;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;

use crate::clock;
use crate::error::{KillError, TaskError, with_advice};
use crate::id::TaskId;
use crate::info::TaskType;
use crate::priority::Priority;
use crate::process::carry::{self, Carried};
use crate::process::look::{self, Look};
use crate::process::over_sockets;
use crate::process::page::{ArgsAt, INLINE, Order, Page, ReplyAt, Turn};
use crate::process::{data, errors, events, logs};
use crate::registry::{Call, FUNCTIONS, Function, fingerprint};
use crate::sys::{cpus, entry, link, mapping::Mapping, overflow, tree, worker};
use crate::task::body::Once;
use crate::task::cell::Cell;
use crate::task::channel::{Bytes, Channel, Links, Port};
use crate::task::header::Header;
use crate::task::owners::{self, OwnerKey};
use crate::task::state::Ending;
use crate::task::{AnyTask, Owner, current, panic};
use crate::thread_start;
use crate::wire::frame::{Frames, Message, Setup, ToParent, ToWorker, reply_head};
use crate::wire::reply::Reply;

use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};

/// So much nicer are tasks of low priority, where niceness follows the priority.
const MORE_FOR_LOW: i32 = 10;

/// What both threads share.
pub(super) struct Child {
    page: Mapping<Page>,
    /// The page is this process's own: see `over_sockets`.
    over_sockets: bool,
    carried: Carried,
    data: OwnedFd,
    control: OwnedFd,
    /// Wakes the parent's link.
    bell: OwnedFd,
    /// Readable once the parent has ended.
    parent: Option<OwnedFd>,
    out: Mutex<Out>,
    now: Mutex<Now>,
    shutdown: AtomicBool,
    /// Marks off tasks in what this process prints.
    marker: OnceLock<logs::Marker>,
    /// Looks after the tasks that run here; what they know it by, and what keeps it.
    owner: OnceLock<(OwnerKey, Arc<dyn Owner>)>,
}

/// Frames on their way to the parent.
#[derive(Default)]
struct Out {
    buffer: Vec<u8>,
    /// How many frames were written since the start.
    written: u64,
}

/// The call under way.
#[derive(Default)]
struct Now {
    call: u64,
    task: Option<Arc<dyn AnyTask>>,
    /// What came for calls that have not begun.
    early: Vec<(u64, Early)>,
    /// What the task last said about its progress.
    said: Option<String>,
    /// The progress it last told.
    told: (u64, u64),
}

enum Early {
    Stop,
    Message(Bytes),
}

static CHILD: OnceLock<Child> = OnceLock::new();

/// Whether this process is a worker.
pub(crate) fn in_worker() -> bool {
    CHILD.get().is_some()
}

/// If this process was started as a worker, serves as one and does not return.
pub(super) fn take_over() {
    let Some(parent) = worker::take_marker() else {
        return;
    };
    if !worker::stdin_is_socket() {
        // Somebody has handed the marker down by accident; a worker's descriptor 0 is a socket.
        return;
    }
    worker::ignore_sigpipe();
    worker::unblock_signals();
    worker::set_name(c"atasker worker");
    let data = match worker::take_stdin() {
        Ok(data) => data,
        Err(error) => could_not_start(std::io::stdin(), &error),
    };
    let Parts { parent, control, page, over_sockets, carried, bell } =
        match Parts::receive(parent, &data) {
            Ok(parts) => parts,
            Err(error) => could_not_start(data, &error),
        };
    let child = CHILD.get_or_init(|| Child {
        page,
        over_sockets,
        carried,
        data,
        control,
        bell,
        parent,
        out: Mutex::default(),
        now: Mutex::default(),
        shutdown: AtomicBool::new(false),
        marker: OnceLock::new(),
        owner: OnceLock::new(),
    });
    serve(child, Frames::new())
}

/// What a worker gets to know at its start.
struct Parts {
    parent: Option<OwnedFd>,
    control: OwnedFd,
    page: Mapping<Page>,
    over_sockets: bool,
    carried: Carried,
    bell: OwnedFd,
}

impl Parts {
    fn receive(parent: u32, data: &OwnedFd) -> std::io::Result<Parts> {
        let parent = worker::follow_parent(parent)?;
        let mut fds = link::recv_fds(data)?.into_iter();
        let (Some(control), Some(bell)) = (fds.next(), fds.next()) else {
            return Err(std::io::Error::other("the descriptors did not arrive"));
        };
        let file = fds.next();
        let over_sockets = file.is_none();
        let (page, carried) = match file {
            Some(file) => {
                let (page, spared) = Mapping::<Page>::open(&file)?;
                (page, Carried::open(&file, spared)?)
            }
            None => (Mapping::own()?, Carried::nothing()),
        };
        page.keep_from_forks()?;
        Ok(Parts { parent, control, page, over_sockets, carried, bell })
    }
}

/// Tells the parent, for the tasks that wait for a worker.
fn could_not_start(parent: impl AsFd, error: &std::io::Error) -> ! {
    // If the program has ended meanwhile, that is nothing to tell its user.
    if error.kind() != std::io::ErrorKind::UnexpectedEof {
        let mut frame = Vec::new();
        ToParent::Refused { reason: &with_advice(error) }.write(&mut frame);
        let _ = link::write_all(parent, &frame);
    }
    exit(1);
}

fn serve(child: &'static Child, mut frames: Frames) -> ! {
    let (first, memory, by_priority) = loop {
        match frames.next::<ToWorker<'_>>() {
            Ok(Some(ToWorker::Setup(setup))) => match child.prepare(&setup) {
                Ok(()) => break (setup.first, setup.memory, setup.nice_by_priority),
                Err(reason) => child.refuse(&reason),
            },
            Ok(None) => child.read_control(&mut frames),
            _ => child.refuse("its parent did not introduce itself"),
        }
    };
    let (init, exit_hook) = child.hooks();
    let task_thread = std::thread::Builder::new().name("atasker task".into()).spawn(move || {
        overflow::watch_this_thread();
        worker::continue_after_parent();
        // From here on: what this thread needed for itself is not the tasks' expense.
        if memory > 0
            && let Err(error) = worker::limit_memory(memory)
        {
            child.refuse(&format!("its memory can't be limited: {error}"));
        }
        if let Some(offset) = init
            && let Err(error) = panic::catch(|| run_hook(offset))
        {
            child.refuse(&format!("its `worker_init` failed: {error}"));
        }
        child.write(&ToParent::Ready { pid: worker::pid() });
        let nice = by_priority.then(worker::Niceness::new).flatten();
        if by_priority && nice.is_none() {
            tracing::debug!(
                target: "atasker",
                "tasks of low priority can't be nicer: the others after them would have to stay so"
            );
        }
        match child.over_sockets {
            true => child.run_calls_over_sockets(nice),
            false => child.run_calls(first, nice),
        }
        if let Some(offset) = exit_hook
            && let Err(error) = panic::catch(|| run_hook(offset))
        {
            tracing::error!(target: "atasker", %error, "the pool's `worker_exit` failed");
        }
        tree::end_what_this_has_started();
        exit(0);
    });
    if let Err(error) = task_thread {
        child.refuse(&format!("it could start no thread: {}", with_advice(&error)));
    }
    child.listen(frames)
}

fn run_hook(offset: u64) {
    // SAFETY: the parent took it from its own image, and the fingerprints of both images agree.
    unsafe { entry::call_at(offset) };
}

/// `worker_init` and `worker_exit`, as offsets.
static HOOKS: OnceLock<(Option<u64>, Option<u64>)> = OnceLock::new();

impl Child {
    fn prepare(&'static self, setup: &Setup<'_>) -> Result<(), String> {
        if setup.fingerprint != fingerprint() {
            return Err("its functions are not those of its parent: \
                        /proc/self/exe is another program"
                .into());
        }
        if let Some((type_name, bytes)) = setup.data {
            data::set(Arc::new(data::WorkerData {
                type_name: type_name.to_owned(),
                bytes: bytes.to_owned(),
            }));
        }
        let _ = HOOKS.set((setup.init, setup.exit));
        let told = self.over_sockets.then(|| self.control.as_raw_fd());
        overflow::install(&self.page.overflow, told);
        thread_start::set(overflow::watch_this_thread);
        report_aborting_panics(self);
        events::install(setup.level);
        if let Err(error) = worker::add_nice(setup.nice) {
            // A negative one needs a permission, and the tasks can do without.
            let nice = setup.nice;
            tracing::warn!(target: "atasker", nice, %error, "a worker process can't be that nice");
        }
        if let Some(word) = setup.log {
            let marker = logs::Marker::new(word)
                .map_err(|error| format!("its output can't be taken: {error}"))?;
            let _ = self.marker.set(marker);
        }
        Ok(())
    }

    fn hooks(&self) -> (Option<u64>, Option<u64>) {
        HOOKS.get().copied().unwrap_or_default()
    }

    fn refuse(&self, reason: &str) -> ! {
        self.write(&ToParent::Refused { reason });
        exit(1);
    }

    /// Waits for more bytes; does not return when the parent is gone.
    fn read_control(&self, frames: &mut Frames) {
        if !link::wait_for_bytes(&self.control, self.parent.as_ref()) {
            worker::end_group();
        }
        match link::read_into(&self.control, frames.room(), true) {
            Ok(link::Got::Bytes(_)) => {}
            Ok(link::Got::Nothing) => {}
            Ok(link::Got::End) | Err(_) => worker::end_group(),
        }
    }

    /// Sends a frame to the parent, after all that were sent before.
    pub(super) fn write(&self, message: &ToParent<'_>) {
        let mut out = self.out.lock();
        let Out { buffer, written } = &mut *out;
        buffer.clear();
        message.write(buffer);
        *written += 1;
        if link::write_all(&self.data, buffer).is_err() {
            worker::end_group();
        }
        if buffer.capacity() > 1 << 20 {
            *buffer = Vec::new();
        }
    }
}

/// The control thread.
impl Child {
    fn listen(&self, mut frames: Frames) -> ! {
        loop {
            match frames.next::<ToWorker<'_>>() {
                Ok(Some(ToWorker::Stop { call })) => self.meet(call, Early::Stop),
                Ok(Some(ToWorker::Message { call, bytes })) => {
                    self.meet(call, Early::Message(bytes.into()));
                }
                Ok(Some(ToWorker::Taken { call, count })) => {
                    let now = self.now.lock();
                    if now.call == call
                        && let Some(task) = now.task.clone()
                    {
                        drop(now);
                        if let Some(outbox) = outbox(&*task) {
                            outbox.taken(usize::try_from(count).unwrap_or(usize::MAX));
                        }
                    }
                }
                Ok(Some(ToWorker::Shutdown)) => {
                    self.shutdown.store(true, Ordering::Release);
                    match self.over_sockets {
                        true => link::stop_reading(&self.data),
                        false => self.page.rouse(),
                    }
                }
                Ok(None) => self.read_control(&mut frames),
                Ok(Some(ToWorker::Setup(_) | ToWorker::Call(_))) | Err(_) => worker::end_group(),
            }
        }
    }

    /// Something for a call: under way, still to come, or over.
    fn meet(&self, call: u64, what: Early) {
        let mut now = self.now.lock();
        if now.call == call
            && let Some(task) = now.task.clone()
        {
            drop(now);
            hand(&*task, what);
        } else if call > now.call {
            now.early.push((call, what));
        }
    }
}

fn hand(task: &dyn AnyTask, what: Early) {
    match what {
        Early::Stop => task.header().ask_stop(),
        Early::Message(bytes) => {
            if let Some(inbox) = task.header().links().and_then(|links| links.inbox_bytes()) {
                inbox.deliver(bytes, usize::MAX);
            }
        }
    }
}

fn outbox(task: &dyn AnyTask) -> Option<&Arc<Channel<Bytes>>> {
    task.header().links()?.outbox_bytes()
}

/// The task thread.
impl Child {
    fn run_calls(&'static self, first: u64, nice: Option<worker::Niceness>) {
        let mut scratch = Scratch { nice, ..Scratch::default() };
        let mut look = Look::new(cpus::several());
        let mut call = first;
        loop {
            // A call that follows at once begins where the one before ended.
            let begin = std::mem::take(&mut scratch.ended);
            let now = || if begin == 0 { link::monotonic() } else { begin };
            let turn = self.page.take(call, now);
            if begin != 0 {
                // One of many: the next one is there, too.
                self.page.expect(call + 1);
            }
            match turn {
                Some(Turn::Run) => self.run(call, &mut scratch),
                Some(Turn::PassOver { with_args }) => {
                    self.pass_over(call, with_args, &mut scratch);
                }
                None if self.shutdown.load(Ordering::Acquire) => return,
                None => {
                    if !self.rest(call, call > first, &mut look) {
                        self.carried.cool(&self.page);
                        scratch.cool();
                    }
                    continue;
                }
            }
            // If nothing is left to do, the parent may see by itself that the call is done: see `rest`.
            if self.page.parent_waits_for(call) && self.page.is_there(call + 1) {
                self.tell();
            }
            call += 1;
        }
    }

    /// The same where no page is shared.
    fn run_calls_over_sockets(&'static self, nice: Option<worker::Niceness>) {
        let mut scratch = Scratch { nice, ..Scratch::default() };
        while let Some(call) = self.await_call(&mut scratch) {
            self.run(call, &mut scratch);
        }
    }

    /// The next call, which has begun; its arguments are still to be received.
    fn await_call(&self, scratch: &mut Scratch) -> Option<u64> {
        loop {
            match scratch.came.next() {
                Ok(Some(ToWorker::Call(head))) => {
                    let begun = over_sockets::begin(&self.page, &head, link::monotonic);
                    if begun.is_none() {
                        worker::end_group();
                    }
                    let (call, at) = (head.call, self.page.begun(head.call));
                    self.write(&ToParent::Begun { call, at });
                    return Some(call);
                }
                Ok(None) => {}
                Ok(Some(_)) | Err(_) => worker::end_group(),
            }
            if scratch.is_warm && !link::has_bytes(&self.data, carry::KEEP) {
                scratch.cool();
            }
            match link::read_into(&self.data, scratch.came.room(), true) {
                Ok(link::Got::Bytes(_)) => {}
                Ok(link::Got::End) if self.shutdown.load(Ordering::Acquire) => return None,
                _ => worker::end_group(),
            }
        }
    }

    /// There is no call yet: looks for a moment, for another often follows at once, then sleeps.
    ///
    /// A thread of the parent that waits for the call before sees its end in the page, and takes
    /// the reply in by itself; only if nobody does so for a moment, the link is woken. That moment is
    /// over as soon as there is anything else to do. False: it slept for so long that memory which is
    /// kept for the next call is to be given back.
    fn rest(&self, call: u64, mut untold: bool, look: &mut Look) -> bool {
        /// Long enough to take a reply in.
        const MOMENT: u64 = 1_500;
        // It is told before this thread may lose its CPU.
        const { assert!(MOMENT < look::ALONE) };
        let mut tell = || {
            if std::mem::take(&mut untold) && self.page.parent_waits_for(call - 1) {
                self.tell();
            }
        };
        let found = look.look(|passed| {
            if passed >= MOMENT {
                tell();
            }
            self.page.is_there(call)
        });
        tell();
        if !found {
            let quit = || self.shutdown.load(Ordering::Acquire);
            let most = self.carried.is_warm().then_some(carry::KEEP);
            return self.page.sleep(call, quit, most);
        }
        true
    }

    /// Wakes the parent's link, if nobody else does.
    fn tell(&self) {
        if self.page.takes_waking() && !link::ring(&self.bell) {
            // A task has closed it: nobody would ever hear of what is done here.
            worker::end_group();
        }
    }

    /// Skips a call that was taken back.
    fn pass_over(&self, call: u64, with_args: bool, scratch: &mut Scratch) {
        let order = self.page.order(call);
        if with_args {
            match order.at {
                ArgsAt::Socket => scratch.receive(&self.data, order.len()),
                ArgsAt::Announced(_) => scratch.receive(&self.data, 1),
                ArgsAt::Slot | ArgsAt::Area(_) => {}
            }
        }
        self.page.skip(call);
    }

    fn run(&'static self, call: u64, scratch: &mut Scratch) {
        let order = self.page.order(call);
        let mut inline = [0; INLINE];
        let bytes = match order.at {
            ArgsAt::Slot => self.page.inline(call, order.len(), &mut inline),
            ArgsAt::Area(at) => self.carried.args(at, order.len()),
            ArgsAt::Announced(at) => {
                scratch.receive(&self.data, 1);
                self.carried.args(at, order.len())
            }
            ArgsAt::Socket => {
                scratch.receive(&self.data, order.len());
                &scratch.args[..]
            }
        };
        let (name, args) = bytes.split_at(order.name_len.min(bytes.len()));
        let function = FUNCTIONS.get(order.function as usize);
        let header = self.local_header(call, &order, function, name);
        let task = local_task(&mut scratch.spare, header);
        self.begin(call, &task);
        if let Some(nice) = &mut scratch.nice {
            nice.be(if task.header().priority == Priority::Low { MORE_FOR_LOW } else { 0 });
        }
        if let Some(marker) = self.marker.get() {
            marker.begin(task.header().id);
        }

        let mut reply = std::mem::take(&mut scratch.reply);
        reply.clear();
        let mut under_way = Call::with_reply(args, Reply::within(reply), &task);
        let outcome = match function {
            Some(function) => {
                let call = || panic::catch(|| (function.call)(&mut under_way));
                current::during(&task, call).and_then(|result| result)
            }
            None => Err(TaskError::not_started("the worker process does not know the function")),
        };
        let mut reply = under_way.into_reply();
        let ok = outcome.is_ok();
        if let Err(error) = outcome {
            reply.replace(&errors::encode(&error));
        }
        // What the task has printed is out when its result is: this process may be killed any time.
        let _ = std::io::stdout().flush();
        self.end(&task);
        scratch.ended = self.answer(call, ok, &reply);
        scratch.keep(reply.into_buffer());
        // Not with its channels: what a task did not take goes.
        scratch.spare = (!order.linked).then_some(task);
    }

    /// Completes a call. Returns the time of its end.
    fn answer(&self, call: u64, ok: bool, reply: &Reply) -> u64 {
        let len = reply.len();
        if self.over_sockets {
            return self.answer_over_sockets(call, ok, reply);
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
            let out = self.out.lock();
            return self.page.finish(call, ReplyAt::Slot { ok, len }, inline, out.written);
        }
        if let Some(at) = self.carried.put(&self.page, call, ok, reply) {
            let out = self.out.lock();
            return self.page.finish(call, at, &[], out.written);
        }
        let out = &mut *self.out.lock();
        // Done first, and then the frame: if this process dies in between, the parent sees that the
        // reply is missing, and knows whose it is.
        let ended = self.page.finish(call, ReplyAt::Socket, &[], out.written);
        out.written += 1;
        let [block, rest] = reply.parts();
        for part in [&reply_head(call, ok, len)[..], block, rest] {
            if link::write_all(&self.data, part).is_err() {
                worker::end_group();
            }
        }
        ended
    }

    /// The same where no page is shared.
    fn answer_over_sockets(&self, call: u64, ok: bool, reply: &Reply) -> u64 {
        /// Replies up to here are copied, and written together with the rest.
        const SMALL: usize = 4096;
        let Out { buffer, written } = &mut *self.out.lock();
        let at = self.page.finish(call, ReplyAt::Socket, &[], *written);
        buffer.clear();
        ToParent::Ended { call, at }.write(buffer);
        buffer.extend_from_slice(&reply_head(call, ok, reply.len()));
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
            if link::write_all(&self.data, part).is_err() {
                worker::end_group();
            }
        }
        at
    }

    /// What the task is, as this process sees it: it has begun.
    fn local_header(
        &'static self,
        call: u64,
        order: &Order,
        function: Option<&Function>,
        name: &[u8],
    ) -> Header {
        let mut header = Header::new(TaskType::Mp);
        header.id = TaskId::from_parts(order.id.0, order.id.1);
        header.priority = Priority::from_index(order.priority).unwrap_or_default();
        if !name.is_empty() {
            header.set_name(String::from_utf8_lossy(name).into_owned().into());
        } else if let Some(function) = function {
            header.set_name(function.name.into());
        }
        header.mark.store(call, Ordering::Relaxed);
        header.owner = Some(
            self.owner
                .get_or_init(|| {
                    let owner: Arc<dyn Owner> = Arc::new(ChildOwner(self));
                    (owners::register(Arc::downgrade(&owner)), owner)
                })
                .0,
        );
        if order.linked {
            let ports = (as_they_are(), as_they_are());
            header.extras_mut().links =
                Some(Links::<Bytes, Bytes>::coded(Channel::new(), Channel::new(), ports));
        }
        header.set_begun(clock::from_monotonic(self.page.begun(call)), order.attempt);
        header
    }

    fn begin(&self, call: u64, task: &Arc<dyn AnyTask>) {
        let mut now = self.now.lock();
        now.call = call;
        now.task = Some(Arc::clone(task));
        now.said = None;
        now.told = (0, 0);
        if now.early.is_empty() {
            return;
        }
        let mut early = std::mem::take(&mut now.early);
        now.early = early.extract_if(.., |(of, _)| *of > call).collect();
        // Under the lock, so that what comes now stays behind. Nobody waits for it yet whose waker
        // could want the lock.
        for (of, what) in early {
            if of == call {
                hand(&**task, what);
            }
        }
    }

    fn end(&self, task: &Arc<dyn AnyTask>) {
        let ended = self.now.lock().task.take();
        drop(ended);
        if let Some(links) = task.header().links() {
            links.close();
        }
    }
}

/// A task with this header: the one of an earlier call, where nobody holds it any more.
fn local_task(spare: &mut Option<Arc<dyn AnyTask>>, header: Header) -> Arc<dyn AnyTask> {
    if let Some(mut task) = spare.take()
        && let Some(alone) = Arc::get_mut(&mut task)
    {
        *alone.header_mut() = header;
        return task;
    }
    Cell::<(), _>::new(header, Once(Some(|_: &Arc<dyn AnyTask>| ())), ())
}

/// What the task thread keeps from one call to the next: what is used again.
#[derive(Default)]
struct Scratch {
    args: Vec<u8>,
    reply: Vec<u8>,
    /// The task of the call before.
    spare: Option<Arc<dyn AnyTask>>,
    /// When the call before ended, unless time has passed since.
    ended: u64,
    /// Where it follows the task's priority.
    nice: Option<worker::Niceness>,
    /// What came over the data socket and is not used, where calls come there.
    came: Frames,
    /// Memory was in use that nobody needs in between.
    is_warm: bool,
}

impl Scratch {
    /// Larger ones are given back.
    const KEEP: usize = 1 << 20;
    /// Less is not worth to be given back.
    const COLD: usize = 64 << 10;

    fn receive(&mut self, from: &OwnedFd, count: usize) {
        if self.args.capacity() > Self::KEEP {
            self.args = Vec::new();
        }
        self.args.clear();
        self.args.extend_from_slice(self.came.raw(count));
        let missing = count - self.args.len();
        if !link::read_exactly(from, &mut self.args, missing).unwrap_or(false) {
            worker::end_group();
        }
        self.is_warm |= count > Self::COLD;
    }

    /// Nothing is done for a while.
    fn cool(&mut self) {
        self.is_warm = false;
        worker::trim_memory();
    }

    fn keep(&mut self, reply: Vec<u8>) {
        self.is_warm |= reply.capacity() > Self::COLD;
        if reply.capacity() <= Self::KEEP {
            self.reply = reply;
        }
    }
}

/// Messages that are bytes already.
fn as_they_are() -> Port<Bytes> {
    Port { encode: |bytes| Ok(bytes.to_vec()), decode: |bytes| Ok(bytes.into()) }
}

/// The call that this process runs at the moment; 0 for none.
pub(super) fn current_call() -> u64 {
    let task = current::get();
    task.filter(|task| task.header().tt == TaskType::Mp)
        .map_or(0, |task| task.header().mark.load(Ordering::Relaxed))
}

/// Sends a frame to the parent, from a worker process.
pub(super) fn tell(message: &ToParent<'_>) {
    if let Some(child) = CHILD.get() {
        child.write(message);
    }
}

/// Writes bytes to the data socket.
#[cfg(all(test, feature = "pre-main"))]
pub(super) fn tell_raw(bytes: &[u8]) {
    if let Some(child) = CHILD.get() {
        let _out = child.out.lock();
        let _ = link::write_all(&child.data, bytes);
    }
}

/// Writes bytes to the control socket.
#[cfg(all(test, feature = "pre-main"))]
pub(super) fn tell_control(bytes: &[u8]) {
    if let Some(child) = CHILD.get() {
        let _ = link::write_all(&child.control, bytes);
    }
}

/// The descriptors of data, control and bell.
#[cfg(all(test, feature = "pre-main"))]
pub(super) fn descriptors() -> [std::os::fd::RawFd; 3] {
    use std::os::fd::AsRawFd;
    let child = CHILD.get().expect("this is a worker");
    [&child.data, &child.control, &child.bell].map(AsRawFd::as_raw_fd)
}

/// Spoils the page, and goes on.
#[cfg(all(test, feature = "pre-main"))]
pub(super) fn spoil_page(pattern: u64) {
    if let Some(child) = CHILD.get() {
        child.page.spoil(pattern);
    }
}

/// Answers, by the page for its own call, by the frame for another.
#[cfg(all(test, feature = "pre-main"))]
pub(super) fn reply_for_another() {
    let Some(child) = CHILD.get() else { return };
    let call = current_call();
    child.page.finish(call, ReplyAt::Socket, &[], child.out.lock().written);
    child.write(&ToParent::Reply { call: call + 1, ok: true, bytes: &[] });
    loop {
        std::thread::park();
    }
}

/// Answers, and says that frames were written before which were not.
#[cfg(all(test, feature = "pre-main"))]
pub(super) fn claim_frames() {
    if let Some(child) = CHILD.get() {
        child.out.lock().written += 1;
    }
}

/// Dies like a worker that is killed in the middle of a large reply.
#[cfg(all(test, feature = "pre-main"))]
pub(super) fn die_in_reply(size: usize) {
    let Some(child) = CHILD.get() else { return };
    let call = current_call();
    child.page.finish(call, ReplyAt::Socket, &[], child.out.lock().written);
    let _ = link::write_all(&child.data, &reply_head(call, true, size));
    let _ = link::write_all(&child.data, &vec![0; size / 2]);
    worker::end_group();
}

/// Looks after the one task that runs here for the parent.
struct ChildOwner(&'static Child);

impl ChildOwner {
    fn call_of(task: &dyn AnyTask) -> u64 {
        task.header().mark.load(Ordering::Relaxed)
    }
}

impl Owner for ChildOwner {
    fn ended(&self, _ending: Ending) {}

    fn run_callbacks(&self, run: Box<dyn FnOnce() + Send>) {
        run();
    }

    fn again(&self, task: Arc<dyn AnyTask>) {
        // The parent decides about further attempts: the copy of the task here has none.
        drop(task);
    }

    fn revoke(&self, _task: &dyn AnyTask, _even_with_slot: bool) -> bool {
        false
    }

    fn stop_asked(&self, _task: &dyn AnyTask) {}

    fn message(&self, task: &dyn AnyTask) {
        let Some(outbox) = outbox(task) else { return };
        // One at a time, so that they travel in the order in which they were sent.
        let now = self.0.now.lock();
        if now.call != Self::call_of(task) || now.task.is_none() {
            return;
        }
        while let Some(bytes) = outbox.pass_on() {
            self.0.write(&ToParent::Message { call: now.call, bytes: &bytes });
        }
    }

    fn received(&self, task: &dyn AnyTask) {
        let inbox = task.header().links().and_then(|links| links.inbox_bytes());
        if let Some(count) = inbox.and_then(|inbox| inbox.worth_telling()) {
            let count = count as u64;
            self.0.write(&ToParent::Taken { call: Self::call_of(task), count });
        }
    }

    fn progressed(&self, task: &dyn AnyTask) {
        let Some(extras) = task.header().extras() else {
            return;
        };
        let mut now = self.0.now.lock();
        if now.call != Self::call_of(task) || now.task.is_none() {
            return;
        }
        let progress = extras.progress.lock();
        let Some(progress) = progress.as_ref() else {
            return;
        };
        let told = (progress.done, progress.total);
        if now.told != told {
            now.told = told;
            let (call, done, total) = (now.call, told.0, told.1);
            match self.0.over_sockets {
                true => self.0.write(&ToParent::Progress { call, done, total }),
                false => self.0.page.tell_progress(call, done, total),
            }
        }
        if now.said != progress.message
            && let Some(text) = &progress.message
        {
            self.0.write(&ToParent::Said { call: now.call, text });
            now.said = Some(text.clone());
        }
    }

    fn kill(&self, _task: &Arc<dyn AnyTask>) -> Result<(), KillError> {
        Err(KillError::Unsupported)
    }

    fn refresh(&self, _task: &dyn AnyTask) {}

    fn run_here(&self, _task: &Arc<dyn AnyTask>) -> bool {
        false
    }
}

/// Where a panic aborts the process, it is told to the parent before.
#[cfg(panic = "abort")]
fn report_aborting_panics(child: &'static Child) {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        before(info);
        let call = current_call();
        if call == 0 {
            return;
        }
        let message = info.payload_as_str().unwrap_or("a panic with a value that is no text");
        let backtrace = std::backtrace::Backtrace::capture();
        let captured = backtrace.status() == std::backtrace::BacktraceStatus::Captured;
        let error = TaskError::Panicked {
            message: message.to_owned(),
            location: info.location().map(ToString::to_string),
            backtrace: captured.then(|| backtrace.to_string()),
        };
        child.answer(call, false, &Reply::within(errors::encode(&error)));
    }));
}

#[cfg(not(panic = "abort"))]
fn report_aborting_panics(_child: &'static Child) {}
