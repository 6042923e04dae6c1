//! Starts worker processes, on one thread that never ends, because the kernel takes the end of the
//! thread that started a process for the end of its parent, and the workers would exit.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel, sync_channel};

use crate::sync::lock::Mutex;

use crate::error::with_advice;
use crate::process::config::{MpPoolConfig, WorkerStdio};
use crate::process::parent::peer::{Peer, SharedMemory, Sockets};
use crate::process::parent::reader;
use crate::process::pool::ProcessPool;
use crate::process::stdio::StdioPipes;
use crate::process::tracing::filter::Told;
use crate::process::tracing::max_levels;
use crate::process::transport::sockets;
use crate::remote::functions::fingerprint;
use crate::sys::advice::is_resource_shortage;
use crate::sys::ipc::{self, Doorbell};
use crate::sys::reap::{self, Output};
use crate::sys::worker::{self, Creator, Greeting};
use crate::sys::{entry, stdio};
use crate::unwind::{self, guarded};
use crate::wire::frame::{Message, Setup, ToWorker};

/// The stack of a reader thread in bytes. It decodes results, and drops those without an owner, so
/// the size must not depend on `RUST_MIN_STACK`.
const READER_STACK: usize = 4 << 20;

/// A request to start a worker process.
pub(crate) struct Request {
    pub(crate) pool: Arc<ProcessPool>,
    pub(crate) lane: usize,
    /// Its number in the pool.
    pub(crate) number: u64,
    /// The number of its first call.
    pub(crate) first: u64,
    pub(crate) supervisor: String,
    pub(crate) config: Arc<MpPoolConfig>,
}

/// Why a worker process could not be started.
pub(crate) struct StartFailure {
    pub(crate) why: String,
    /// Starts will fail until something outside of the program changes, unlike after a shortage.
    pub(crate) is_permanent: bool,
}

impl From<io::Error> for StartFailure {
    fn from(error: io::Error) -> Self {
        StartFailure { why: with_advice(&error), is_permanent: !is_resource_shortage(&error) }
    }
}

/// The reason why this process can't have worker processes at present.
pub(crate) fn unavailable_reason() -> Option<&'static str> {
    if entry::is_worker() {
        return Some("a worker process can't have worker processes");
    }
    if entry::is_prepared() {
        return entry::unavailable_reason();
    }
    if cfg!(feature = "pre-main") && entry::is_before_hook() {
        // Whether this is the program or a worker: the hook has not run yet, and will recognize a
        // worker.
        return Some(
            "a static constructor has launched it before `main`, and before this program was \
             prepared for worker processes: launch it from `main`",
        );
    }
    if worker::recognize().is_some() {
        // This is a worker process that has reached the program's code, where it must not continue.
        eprintln!(
            "atasker: a worker process was not recognized at its start: `atasker::init()` must \
             be the first line of `main`, in every run of the program"
        );
        std::process::exit(1);
    }
    Some(
        "a copy of this program would not be recognized as a worker process: use the feature \
         `pre-main` of atasker, or put `#[atasker::main]` on `main`, or call `atasker::init()` \
         in its first line",
    )
}

static SPAWNER: Mutex<Option<Sender<Request>>> = Mutex::new(None);

/// Requests the start of a worker process. The result is reported to the pool.
pub(crate) fn request(request: Request) {
    let mut spawner = SPAWNER.lock();
    let sender = match &*spawner {
        Some(sender) => sender,
        None => {
            let (sender, requests) = channel();
            let thread = std::thread::Builder::new().name("atasker spawner".into());
            if let Err(error) = thread.spawn(move || run(requests)) {
                drop(spawner);
                return request.pool.on_start_failed(request.lane, &error.into());
            }
            spawner.insert(sender)
        }
    };
    // Can't fail: the receiver is in a thread that never ends.
    let _ = sender.send(request);
}

fn run(requests: Receiver<Request>) {
    for request in requests {
        let (pool, lane) = (Arc::clone(&request.pool), request.lane);
        let outcome = unwind::catch(|| start(request));
        // Reporting may run code of the user, and so may dropping the pool. This thread must
        // survive that, because all worker processes end with it.
        guarded(move || match outcome {
            Ok(Ok(())) => {}
            Ok(Err(error)) => pool.on_start_failed(lane, &error.into()),
            Err(panic) => {
                pool.on_start_failed(
                    lane,
                    &StartFailure { why: panic.to_string(), is_permanent: false },
                );
            }
        });
    }
}

fn start(request: Request) -> io::Result<()> {
    let Request { pool, lane, number, first, supervisor, config } = request;
    let (data, theirs) = ipc::pair()?;
    let (control, their_control) = ipc::pair()?;
    let doorbell = Doorbell::new()?;
    let shared = match sockets::is_wanted(&config) {
        true => SharedMemory::private(config.memory_limit)?,
        false => SharedMemory::new(config.memory_limit)?,
    };
    // Before the process is started: the kernel keeps the message for it, so that this thread need
    // not wait.
    let fds = [&their_control, doorbell.button()].into_iter().chain(shared.file());
    let greeting = Greeting::ours()
        .ok_or_else(|| io::Error::other("this code is not part of the program's executable"))?;
    ipc::send_fds(&data, &fds.collect::<Vec<_>>(), greeting.bytes())?;
    // A process that would not recognize its parent by this socket would run `main`, or end.
    match worker::creator_of(&theirs, worker::pid()) {
        Some(Creator::Trusted(creator)) if creator == worker::pid() => {}
        Some(Creator::OtherUser(creator)) if creator == worker::pid() => {
            let text = "this process has changed its user or group while it started a worker process: \
                        run tasks with tt = \"mp\" as one user";
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, text));
        }
        _ => {
            let text = "the system does not report the creator of a socket (SO_PEERCRED)";
            return Err(io::Error::other(text));
        }
    }
    // Checked here, because the worker needs it before it can report its absence.
    drop(stdio::null()?);
    let (output, pipes) = match config.stdio {
        WorkerStdio::Inherit => (Output::Inherit, None),
        WorkerStdio::Null => (Output::Null, None),
        WorkerStdio::Log => {
            let ((out, their_out), (err, their_err)) = (ipc::pipe()?, ipc::pipe()?);
            (Output::To(their_out, their_err), Some(StdioPipes::new(out, err)))
        }
    };
    let levels = max_levels();
    // A test makes its workers detect another program.
    let distortion = u64::from(cfg!(test) && supervisor == "another program");
    let setup = ToWorker::Setup(Setup {
        fingerprint: fingerprint() ^ distortion,
        first,
        levels,
        nice: config.nice,
        nice_by_priority: config.nice_by_priority,
        memory: config.memory_limit.unwrap_or(0),
        stdio_nonce: pipes.as_ref().map(StdioPipes::nonce),
        dumpable: config.dumpable,
        init: config.worker_init.map(|hook| hook.offset),
        exit: config.worker_exit.map(|hook| hook.offset),
        data: config.worker_data.as_ref().map(|data| (&*data.type_name, &*data.bytes)),
    });
    let mut setup_frame = Vec::new();
    setup.write(&mut setup_frame);

    // Truncated, because the system limits the length of arguments, and ids may have any length.
    let supervisor_name: String = supervisor.chars().take(200).collect();
    let name = format!("{} [atasker worker {number} of {supervisor_name}]", program());
    let process = reap::spawn_copy(&name, theirs, config.env.clone().into_iter(), output)?;
    drop(their_control);

    let has_stdio = pipes.is_some();
    let sockets = Sockets { data, control, doorbell };
    let told = Told::new(levels);
    let worker = Arc::new(Peer::new(number, process, shared, sockets, has_stdio, told));
    worker.post(setup_frame);
    // Moved and not shared, because the reader thread reports when nothing is left of the worker.
    let (sender, receiver) = sync_channel(1);
    let name = format!("atasker reader {number}");
    let thread = std::thread::Builder::new().name(name).stack_size(READER_STACK).spawn(move || {
        if let Ok(worker) = receiver.recv() {
            reader::run(&pool, lane, worker, pipes);
        }
    });
    if let Err(error) = thread {
        worker.kill();
        worker.reap_process();
        return Err(error);
    }
    // The thread waits for it.
    let _ = sender.send(worker);
    Ok(())
}

/// The program's name, for `ps`.
fn program() -> String {
    let name = std::env::args_os().next();
    let name = name.as_deref().map(std::path::Path::new).and_then(|path| path.file_name());
    name.map_or_else(|| "program".into(), |name| name.to_string_lossy().into_owned())
}
