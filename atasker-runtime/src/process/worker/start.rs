//! The start of a worker process: receives its settings, prepares itself, and starts its threads.

use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};
use std::process::exit;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier, OnceLock};

use crate::error::{TaskError, with_advice};
use crate::process::tracing::worker as forwarding;
use crate::process::transport::page::Page;
use crate::process::transport::region::ShmPayloads;
use crate::process::worker::{WORKER, WorkerProcess, current_call, template};
use crate::process::{data, errors, stdio};
use crate::remote::functions::fingerprint;
use crate::sync::lock::Mutex;
use crate::sys::hooks::Hook;
use crate::sys::lifeline::Lifeline;
use crate::sys::mapping::Mapping;
use crate::sys::reap::CrashHint;
use crate::sys::worker::{self, Greeting, Parent};
use crate::sys::{entry, ipc, overflow, tree};
use crate::unwind::{self, log};
use crate::wire::frame::{Message, Setup, ToParent, ToWorker};
use crate::wire::framing::Frames;
use crate::wire::reply::Reply;
use crate::{fork, thread_start};

/// Serves as a worker process of this parent.
pub(crate) fn serve_parent(parent: u32) -> ! {
    // Before any other thread can fork, or a function of the program runs here.
    fork::watch();
    entry::mark_worker();
    worker::reset_signals();
    worker::unblock_signals();
    worker::set_name(c"atasker worker");
    let data = match worker::take_stdin() {
        Ok(data) => data,
        Err(error) => fail_start(std::io::stdin(), &error),
    };
    let start = Parent::follow(parent).and_then(|parent| Start::receive(parent, &data));
    match start {
        Ok(Start::Worker(parts)) => serve(parts.into_process(data), Frames::new()),
        Ok(Start::Template { parent, control }) => template::serve(parent, data, control),
        Err(error) => fail_start(data, &error),
    }
}

/// What a new process receives at its start, by which it knows what it is to be.
enum Start {
    Worker(Parts),
    Template { parent: Parent, control: OwnedFd },
}

impl Start {
    fn receive(parent: Parent, data: &OwnedFd) -> std::io::Result<Start> {
        let mut fds = ipc::recv_fds::<{ Greeting::LENGTH }>(data)?;
        if fds.len() == 1
            && let Some(control) = fds.pop()
        {
            return Ok(Start::Template { parent, control });
        }
        Parts::new(parent, fds).map(Start::Worker)
    }
}

/// What a worker process receives at its start.
pub(super) struct Parts {
    parent: Parent,
    control: OwnedFd,
    page: Mapping<Page>,
    over_sockets: bool,
    shm: ShmPayloads,
    doorbell: OwnedFd,
}

impl Parts {
    /// Receives them in a process that was forked from a template.
    pub(super) fn receive(parent: Parent, data: &OwnedFd) -> std::io::Result<Parts> {
        Parts::new(parent, ipc::recv_fds::<{ Greeting::LENGTH }>(data)?)
    }

    fn new(parent: Parent, fds: Vec<OwnedFd>) -> std::io::Result<Parts> {
        let mut fds = fds.into_iter();
        let (Some(control), Some(doorbell)) = (fds.next(), fds.next()) else {
            return Err(std::io::Error::other("the descriptors did not arrive"));
        };
        let file = fds.next();
        let over_sockets = file.is_none();
        let (page, shm) = match file {
            Some(file) => {
                let (page, region_bytes) = Mapping::<Page>::open(&file)?;
                (page, ShmPayloads::open(&file, region_bytes)?)
            }
            None => (Mapping::private()?, ShmPayloads::none()),
        };
        page.exclude_from_forks()?;
        Ok(Parts { parent, control, page, over_sockets, shm, doorbell })
    }

    /// Makes this process a worker process.
    pub(super) fn into_process(self, data: OwnedFd) -> &'static WorkerProcess {
        let Parts { parent, control, page, over_sockets, shm, doorbell } = self;
        WORKER.get_or_init(|| WorkerProcess {
            page,
            over_sockets,
            shm,
            data,
            control,
            doorbell,
            parent,
            outgoing: Mutex::default(),
            current: Mutex::default(),
            shutdown: AtomicBool::new(false),
            marker: OnceLock::new(),
            scheduler: OnceLock::new(),
        })
    }
}

/// Reports the reason to the parent, for the tasks that wait for a worker, and exits.
pub(super) fn fail_start(parent: impl AsFd, error: &std::io::Error) -> ! {
    // `UnexpectedEof` means that the parent has ended meanwhile, which needs no report.
    if error.kind() != std::io::ErrorKind::UnexpectedEof {
        let mut frame = Vec::new();
        ToParent::StartFailed { reason: &with_advice(error) }.write(&mut frame);
        let _ = ipc::write_all(parent, &frame);
    }
    exit(1);
}

fn serve(process: &'static WorkerProcess, mut frames: Frames) -> ! {
    let read = |frames: &mut Frames| process.read_control(frames);
    let settings = receive_setup(&mut frames, read, |setup| {
        prepare_program(setup).and_then(|()| process.prepare(setup))?;
        Ok((setup.first, setup.memory, setup.nice_by_priority))
    });
    let (first, memory, by_priority) =
        settings.unwrap_or_else(|reason| process.fail_to_start(&reason));
    let task_thread = std::thread::Builder::new().name("atasker task".into()).spawn(move || {
        overflow::watch_this_thread();
        worker::continue_after_parent();
        process.watch_this_thread(memory > 0);
        // Limited only now, so that the memory this thread needed for itself does not count.
        if memory > 0
            && let Err(error) = worker::limit_memory(memory)
        {
            process.fail_to_start(&format!("its memory can't be limited: {error}"));
        }
        if let Err(reason) = run_init() {
            process.fail_to_start(&reason);
        }
        process.work(first, by_priority);
    });
    if let Err(error) = task_thread {
        process.fail_to_start(&format!("it could start no thread: {}", with_advice(&error)));
    }
    process.listen(frames)
}

/// Waits for the settings, which come first, and passes them to `prepare`. `read` receives more
/// frames.
pub(super) fn receive_setup<T>(
    frames: &mut Frames,
    read: impl Fn(&mut Frames),
    prepare: impl FnOnce(&Setup<'_>) -> Result<T, String>,
) -> Result<T, String> {
    loop {
        match frames.next::<ToWorker<'_>>() {
            Ok(Some(ToWorker::Setup(setup))) => return prepare(&setup),
            Ok(None) => {}
            _ => return Err("its parent sent no settings".into()),
        }
        read(frames);
    }
}

/// Runs `worker_init`.
pub(super) fn run_init() -> Result<(), String> {
    if let Some(init) = hooks().init
        && let Err(error) = unwind::catch(init)
    {
        return Err(format!("its `worker_init` failed: {error}"));
    }
    fork::end_if_copy();
    forwarding::after_init();
    Ok(())
}

/// The functions `worker_init` and `worker_exit`.
#[derive(Clone, Copy, Default)]
struct Hooks {
    init: Option<fn()>,
    exit: Option<fn()>,
}

static HOOKS: OnceLock<Hooks> = OnceLock::new();

fn hooks() -> Hooks {
    HOOKS.get().copied().unwrap_or_default()
}

/// Returns the function that the parent has identified. It must be one of those that the program
/// registers.
fn find_hook(offset: Option<u64>) -> Result<Option<fn()>, String> {
    match offset {
        None => Ok(None),
        Some(offset) => match Hook::find(offset) {
            Some(hook) => Ok(Some(hook)),
            None => Err("it was asked to run a function that the program passes neither to \
                         `worker_init` nor to `worker_exit`"
                .into()),
        },
    }
}

/// Prepares the program in this process, before `worker_init` runs: what all worker processes of a
/// template have in common.
pub(super) fn prepare_program(setup: &Setup<'_>) -> Result<(), String> {
    if setup.fingerprint != fingerprint() {
        return Err(format!(
            "its functions are not those of its parent: {} is another program",
            entry::FILE
        ));
    }
    if !setup.dumpable {
        let forbidden = worker::forbid_dumps();
        forbidden.map_err(|error| format!("core dumps and tracing can't be disabled: {error}"))?;
    }
    let _ = HOOKS.set(Hooks { init: find_hook(setup.init)?, exit: find_hook(setup.exit)? });
    if let Some((type_name, bytes)) = setup.data {
        data::set(Arc::new(data::WorkerData {
            type_name: type_name.to_owned(),
            bytes: bytes.to_owned(),
        }));
    }
    thread_start::set_hook(overflow::watch_this_thread);
    report_aborting_panics();
    crate::panic_hook::prepare(crate::panic_hook::Install::InPlace);
    forwarding::prepare(setup.levels);
    if let Err(error) = worker::add_nice(setup.nice) {
        // A negative value needs a permission, and tasks can run without it.
        let nice = setup.nice;
        log!(warn, nice, %error, "a worker process can't set its nice value");
    }
    Ok(())
}

impl WorkerProcess {
    /// Prepares what this worker process has for itself.
    pub(super) fn prepare(&'static self, setup: &Setup<'_>) -> Result<(), String> {
        let hint_socket = self.over_sockets.then(|| self.control.as_raw_fd());
        overflow::install(&self.page.crash_hint, hint_socket, setup.memory > 0);
        if let Some(nonce) = setup.stdio_nonce {
            let marker = stdio::TaskMarker::new(nonce)
                .map_err(|error| format!("its output can't be captured: {error}"))?;
            let _ = self.marker.set(marker);
        }
        Ok(())
    }

    /// Runs calls until the parent requests an exit.
    pub(super) fn work(&'static self, first: u64, by_priority: bool) -> ! {
        self.write(&ToParent::Ready { pid: worker::pid() });
        let nice = by_priority.then(worker::Niceness::new).flatten();
        if by_priority && nice.is_none() {
            log!(
                debug,
                "low-priority tasks run at the usual nice value, because it could not be lowered again"
            );
        }
        match self.over_sockets {
            true => self.run_calls_over_sockets(nice),
            false => self.run_calls(first, nice),
        }
        if let Some(at_exit) = hooks().exit
            && let Err(error) = unwind::catch(at_exit)
        {
            log!(error, %error, "the pool's `worker_exit` failed");
        }
        fork::end_if_copy();
        tree::kill_descendants();
        exit(0);
    }

    /// Ends the process, and records why, if this thread ends unexpectedly. Otherwise no thread
    /// would run the calls that are sent.
    pub(super) fn watch_this_thread(&'static self, is_limited: bool) {
        /// The thread only waits, and ends the process.
        const STACK: usize = 64 << 10;
        // Starting the thread takes address space, which must be taken before it is limited. It is
        // not waited for otherwise, because a worker process starts faster without that.
        static STARTED: Barrier = Barrier::new(2);
        // If the system permits no more threads, tasks can still run.
        let Ok(lifeline) = Lifeline::hold() else { return };
        let watch = std::thread::Builder::new().name("atasker watch".into()).stack_size(STACK);
        let spawned = watch.spawn(move || {
            if is_limited {
                STARTED.wait();
            }
            if lifeline.wait() {
                self.page.crash_hint.store(CrashHint::THREAD_ENDED.into(), Ordering::Release);
                if self.over_sockets {
                    let _ = ipc::try_write(&self.control, &[CrashHint::THREAD_ENDED]);
                }
                worker::exit_with_group();
            }
        });
        if spawned.is_ok() && is_limited {
            STARTED.wait();
        }
    }

    pub(super) fn fail_to_start(&self, reason: &str) -> ! {
        self.write(&ToParent::StartFailed { reason });
        exit(1);
    }
}

/// With `panic = "abort"`, reports a panic to the parent before the process aborts.
fn report_aborting_panics() {
    // Not conditional compilation, so that every build checks the code below.
    if !cfg!(panic = "abort") {
        return;
    }
    let previous = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        previous(info);
        let call = current_call();
        // The page is not there in a copy.
        let Some(process) = WORKER.get().filter(|_| call != 0 && !fork::is_copy()) else {
            return;
        };
        let message = unwind::message(info.payload());
        let backtrace = std::backtrace::Backtrace::capture();
        let captured = backtrace.status() == std::backtrace::BacktraceStatus::Captured;
        let error = TaskError::Panicked {
            message,
            location: info.location().map(ToString::to_string),
            backtrace: captured.then(|| backtrace.to_string()),
        };
        process.send_reply(call, false, &Reply::with_buffer(errors::encode(&error)));
    }));
}
