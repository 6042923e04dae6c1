//! Starts worker processes, on one thread that never ends, because the kernel takes the end of the
//! thread that started a process for the end of its parent, and the workers would exit.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel, sync_channel};

use crate::sync::lock::Mutex;

use crate::error::with_advice;
use crate::process::config::{MpPoolConfig, WorkerStdio};
use crate::process::parent::peer::{Peer, SharedMemory, Sockets};
use crate::process::parent::{reader, template};
use crate::process::pool::ProcessPool;
use crate::process::stdio::StdioPipes;
use crate::process::tracing::filter::Told;
use crate::process::tracing::max_levels;
use crate::process::transport::sockets;
use crate::remote::functions::fingerprint;
use crate::sys::advice::is_resource_shortage;
use crate::sys::ipc::{self, Doorbell};
use crate::sys::reap::{self, Output, Process};
use crate::sys::worker::{self, Creator, Greeting};
use crate::sys::{entry, stdio};
use crate::unwind::{self, guarded};
use crate::wire::frame::{MaxLevels, Message, Setup, ToWorker};

/// The stack of a reader thread in bytes. It decodes results, and drops those without an owner, so
/// the size must not depend on `RUST_MIN_STACK`.
const READER_STACK: usize = 4 << 20;

/// A request to start a worker process.
#[derive(Clone)]
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

/// What the spawner thread is asked for.
enum Order {
    /// A worker process, in whichever way.
    Start(Request),
    /// A worker process that could not be forked from a template.
    Execute(Request),
    /// A template of worker processes.
    Template(Arc<ProcessPool>, Arc<MpPoolConfig>),
}

static SPAWNER: Mutex<Option<Sender<Order>>> = Mutex::new(None);

/// Requests the start of a worker process. The result is reported to the pool.
pub(crate) fn request(request: Request) {
    order_start(request, Order::Start);
}

/// Requests that a worker process which could not be forked is started by `exec`.
///
/// From the beginning: if the template has forked a process after all, that has taken what was
/// prepared out of the socket, and another process would not be recognized as a worker process.
pub(super) fn execute(prepared: Box<Prepared>) {
    let request = prepared.request.clone();
    drop(prepared);
    order_start(request, Order::Execute);
}

fn order_start(request: Request, way: fn(Request) -> Order) {
    let (pool, lane) = (Arc::clone(&request.pool), request.lane);
    if let Err(error) = order(way(request)) {
        pool.on_start_failed(lane, &error.into());
    }
}

/// Requests the start of a template, which the pool has recorded.
pub(super) fn request_template(pool: Arc<ProcessPool>, config: Arc<MpPoolConfig>) {
    let places = Arc::clone(&pool.template);
    if let Err(error) = order(Order::Template(pool, config)) {
        places.on_start_failed(&error);
    }
}

fn order(order: Order) -> io::Result<()> {
    let mut spawner = SPAWNER.lock();
    let sender = match &*spawner {
        Some(sender) => sender,
        None => {
            let (sender, orders) = channel();
            let thread = std::thread::Builder::new().name("atasker spawner".into());
            thread.spawn(move || run(orders))?;
            spawner.insert(sender)
        }
    };
    // Can't fail: the receiver is in a thread that never ends.
    let _ = sender.send(order);
    Ok(())
}

fn run(orders: Receiver<Order>) {
    for order in orders {
        match order {
            Order::Start(request) => {
                let (pool, lane) = (Arc::clone(&request.pool), request.lane);
                report(pool, lane, || start(request));
            }
            Order::Execute(request) => {
                let (pool, lane) = (Arc::clone(&request.pool), request.lane);
                report(pool, lane, || Prepared::new(request)?.execute());
            }
            Order::Template(pool, config) => guarded(move || template::start(&pool, config)),
        }
    }
}

/// Runs `start`, and tells the pool if it fails.
pub(super) fn report(pool: Arc<ProcessPool>, lane: usize, start: impl FnOnce() -> io::Result<()>) {
    let outcome = unwind::catch(start);
    // Reporting may run code of the user, and so may dropping the pool. This thread must survive
    // that, because all worker processes end with it.
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

fn start(request: Request) -> io::Result<()> {
    let template = template::for_request(&request.pool, &request.config);
    let prepared = Box::new(Prepared::new(request)?);
    match template {
        Some(template) => match template.fork(prepared) {
            Ok(()) => Ok(()),
            Err(prepared) => prepared.execute(),
        },
        None => prepared.execute(),
    }
}

/// Everything that a worker process needs before it is started.
pub(super) struct Prepared {
    /// The socket that becomes the worker's descriptor 0. In it are the greeting and the other
    /// descriptors that the worker needs.
    pub(super) theirs: OwnedFd,
    pub(super) output: Output,
    title: String,
    request: Request,
    pub(super) connection: Connection,
}

/// The parent's side of a worker process that is about to start.
pub(super) struct Connection {
    pub(super) pool: Arc<ProcessPool>,
    pub(super) lane: usize,
    number: u64,
    sockets: Sockets,
    shared: SharedMemory,
    pipes: Option<StdioPipes>,
    told: Told,
    /// The first frame that it gets.
    setup: Vec<u8>,
}

impl Prepared {
    fn new(request: Request) -> io::Result<Prepared> {
        let Request { pool, lane, number, first, supervisor, config } = &request;
        let (data, theirs) = ipc::pair()?;
        let (control, their_control) = ipc::pair()?;
        let doorbell = Doorbell::new()?;
        let shared = match sockets::is_wanted(config) {
            true => SharedMemory::private(config.memory_limit)?,
            false => SharedMemory::new(config.memory_limit)?,
        };
        let fds = [&their_control, doorbell.button()].into_iter().chain(shared.file());
        greet(&data, &theirs, &fds.collect::<Vec<_>>())?;
        let (output, pipes) = outputs(config.stdio)?;
        let levels = max_levels();
        let title = title(&format!("worker {number}"), supervisor);
        // A test makes its workers detect another program.
        let distortion = u64::from(cfg!(test) && supervisor == "another program");
        let common = common_setup(config, levels);
        let mut setup = Vec::new();
        ToWorker::Setup(Setup {
            fingerprint: common.fingerprint ^ distortion,
            first: *first,
            stdio_nonce: pipes.as_ref().map(StdioPipes::nonce),
            title: &title,
            ..common
        })
        .write(&mut setup);
        let sockets = Sockets { data, control, doorbell };
        let told = Told::new(levels);
        let (pool, lane, number) = (Arc::clone(pool), *lane, *number);
        let connection = Connection { pool, lane, number, sockets, shared, pipes, told, setup };
        Ok(Prepared { theirs, output, title, request, connection })
    }

    /// Starts the process as a copy of the program.
    fn execute(self) -> io::Result<()> {
        let env = self.request.config.env.clone().into_iter();
        let process = reap::spawn_copy(&self.title, self.theirs, env, self.output)?;
        self.connection.attach(process)
    }
}

impl Connection {
    /// The process has been started: sends it its settings, and starts its reader thread.
    pub(super) fn attach(self, process: Process) -> io::Result<()> {
        let Connection { pool, lane, number, sockets, shared, pipes, told, setup } = self;
        let has_stdio = pipes.is_some();
        let worker = Arc::new(Peer::new(number, process, shared, sockets, has_stdio, told));
        worker.post(setup);
        // Moved and not shared, because the reader thread reports when nothing is left of the
        // worker.
        let (sender, receiver) = sync_channel(1);
        let name = format!("atasker reader {number}");
        let thread = std::thread::Builder::new().name(name).stack_size(READER_STACK);
        let spawned = thread.spawn(move || {
            if let Ok(worker) = receiver.recv() {
                reader::run(&pool, lane, worker, pipes);
            }
        });
        if let Err(error) = spawned {
            worker.kill();
            worker.reap_process();
            return Err(error);
        }
        // The thread waits for it.
        let _ = sender.send(worker);
        Ok(())
    }
}

/// Writes the greeting and descriptors into the socket that becomes descriptor 0 of a new process.
/// The kernel keeps the message for it, so that this thread need not wait.
pub(super) fn greet(ours: &OwnedFd, theirs: &OwnedFd, fds: &[&OwnedFd]) -> io::Result<()> {
    let greeting = Greeting::ours()
        .ok_or_else(|| io::Error::other("this code is not part of the program's executable"))?;
    ipc::send_fds(ours, fds, greeting.bytes())?;
    // A process that would not recognize its parent by this socket would run `main`, or end.
    match worker::creator_of(theirs, worker::pid()) {
        Some(Creator::Trusted(creator)) if creator == worker::pid() => Ok(()),
        Some(Creator::OtherUser(creator)) if creator == worker::pid() => {
            let text = "this process has changed its user or group while it started a worker process: \
                        run tasks with tt = \"mp\" as one user";
            Err(io::Error::new(io::ErrorKind::PermissionDenied, text))
        }
        _ => {
            let text = "the system does not report the creator of a socket (SO_PEERCRED)";
            Err(io::Error::other(text))
        }
    }
}

/// Where the output of a new process goes, and the pipes by which this process reads it.
pub(super) fn outputs(stdio: WorkerStdio) -> io::Result<(Output, Option<StdioPipes>)> {
    // Checked here, because the process needs it before it can report its absence.
    drop(stdio::null()?);
    Ok(match stdio {
        WorkerStdio::Inherit => (Output::Inherit, None),
        WorkerStdio::Null => (Output::Null, None),
        WorkerStdio::Log => {
            let ((out, their_out), (err, their_err)) = (ipc::pipe()?, ipc::pipe()?);
            (Output::To(their_out, their_err), Some(StdioPipes::new(out, err)))
        }
    })
}

/// The settings that a template and its worker processes have in common.
pub(super) fn common_setup(config: &MpPoolConfig, levels: MaxLevels) -> Setup<'_> {
    Setup {
        fingerprint: fingerprint(),
        levels,
        nice: config.nice,
        nice_by_priority: config.nice_by_priority,
        memory: config.memory_limit.unwrap_or(0),
        dumpable: config.dumpable,
        init: config.worker_init.map(|hook| hook.offset),
        exit: config.worker_exit.map(|hook| hook.offset),
        data: config.worker_data.as_ref().map(|data| (&*data.type_name, &*data.bytes)),
        ..Setup::default()
    }
}

/// What `ps` shows of a process.
pub(super) fn title(role: &str, supervisor: &str) -> String {
    // Truncated, because the system limits the length of arguments, and ids may have any length.
    let supervisor: String = supervisor.chars().take(200).collect();
    format!("{} [atasker {role} of {supervisor}]", program())
}

/// The program's name, for `ps`.
fn program() -> String {
    let name = std::env::args_os().next();
    let name = name.as_deref().map(std::path::Path::new).and_then(|path| path.file_name());
    name.map_or_else(|| "program".into(), |name| name.to_string_lossy().into_owned())
}
