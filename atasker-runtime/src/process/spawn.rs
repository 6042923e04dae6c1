//! Starting worker processes: one thread that never ends, because the kernel ends a worker when the
//! thread that started it does.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

use parking_lot::Mutex;

use crate::error::with_advice;
use crate::process::carry;
use crate::process::config::{MpPoolConfig, WorkerStdio};
use crate::process::events;
use crate::process::link::{self, Worker};
use crate::process::logs::Logs;
use crate::process::pool::ProcessPool;
use crate::registry::fingerprint;
use crate::sys::reap::{self, Output};
use crate::sys::{entry, link as sys_link, mapping::Mapping, worker};
use crate::task::panic::{self, guarded};
use crate::wire::frame::{Message, Setup, ToWorker};

/// A worker process that is wanted.
pub(super) struct Request {
    pub(super) pool: Arc<ProcessPool>,
    pub(super) lane: usize,
    /// Its number in the pool.
    pub(super) number: u64,
    /// The number of its first call.
    pub(super) first: u64,
    pub(super) supervisor: String,
    pub(super) config: Arc<MpPoolConfig>,
}

static SPAWNER: Mutex<Option<Sender<Request>>> = Mutex::new(None);

/// Has a worker process started; the pool is told how it went.
pub(super) fn request(request: Request) {
    let mut spawner = SPAWNER.lock();
    let sender = match &*spawner {
        Some(sender) => sender,
        None => {
            let (sender, requests) = channel();
            let thread = std::thread::Builder::new().name("atasker spawner".into());
            if let Err(error) = thread.spawn(move || run(requests)) {
                drop(spawner);
                return request.pool.failed(request.lane, &with_advice(&error));
            }
            spawner.insert(sender)
        }
    };
    // The receiver stands in a thread that never ends, and the sender in a static.
    let _ = sender.send(request);
}

fn run(requests: Receiver<Request>) {
    for request in requests {
        let (pool, lane) = (Arc::clone(&request.pool), request.lane);
        let outcome = panic::catch(|| start(request));
        // What is told may come to code of the user's, and so may the pool's end. This thread goes
        // on whatever happens there: all worker processes end with it.
        guarded(move || match outcome {
            Ok(Ok(())) => {}
            Ok(Err(error)) => pool.failed(lane, &with_advice(&error)),
            Err(panic) => pool.failed(lane, &panic.to_string()),
        });
    }
}

fn start(request: Request) -> io::Result<()> {
    let Request { pool, lane, number, first, supervisor, config } = request;
    let (data, theirs) = sys_link::pair()?;
    let (control, their_control) = sys_link::pair()?;
    let bell = sys_link::bell()?;
    let spared = carry::spared();
    let (page, page_fd) = Mapping::create(spared)?;
    // Before the process is there: the kernel keeps it for the worker, who need not be waited for.
    sys_link::send_fds(&data, [&their_control, &page_fd, &bell])?;
    let (output, logs) = match config.stdio {
        WorkerStdio::Inherit => (Output::Inherit, None),
        WorkerStdio::Null => (Output::Null, None),
        WorkerStdio::Log => {
            let ((out, their_out), (err, their_err)) = (sys_link::pipe()?, sys_link::pipe()?);
            (Output::To(their_out, their_err), Some(Logs::new(out, err)))
        }
    };
    // A test has its workers find that they are another program.
    let distortion = u64::from(cfg!(test) && supervisor == "another program");
    let setup = ToWorker::Setup(Setup {
        fingerprint: fingerprint() ^ distortion,
        first,
        level: events::level(),
        nice: config.nice,
        nice_by_priority: config.nice_by_priority,
        memory: config.memory_limit.unwrap_or(0),
        log: logs.as_ref().map(Logs::word),
        init: config.worker_init.map(entry::offset_of),
        exit: config.worker_exit.map(entry::offset_of),
        data: config.worker_data.as_ref().map(|data| (&*data.type_name, &*data.bytes)),
    });
    let mut hello = Vec::new();
    setup.write(&mut hello);

    let name = format!("{} [atasker worker {number} of {supervisor}]", program());
    let marker = (worker::MARKER.to_owned(), worker::pid().to_string());
    let env = config.env.iter().cloned().chain([marker]);
    let process = reap::start_copy(&name, theirs, env, output)?;
    drop(their_control);

    let shared = link::Shared::new(page, page_fd, spared);
    let has_logs = logs.is_some();
    let worker = Arc::new(Worker::new(number, process, shared, data, control, bell, has_logs));
    worker.post(hello);
    let name = format!("atasker link {number}");
    let thread = std::thread::Builder::new().name(name).spawn({
        let (pool, worker) = (Arc::clone(&pool), Arc::clone(&worker));
        move || link::run(&pool, lane, &worker, logs)
    });
    if let Err(error) = thread {
        worker.kill();
        worker.bury();
        return Err(error);
    }
    Ok(())
}

/// The program's name, for `ps`.
fn program() -> String {
    let name = std::env::args_os().next();
    let name = name.as_deref().map(std::path::Path::new).and_then(|path| path.file_name());
    name.map_or_else(|| "program".into(), |name| name.to_string_lossy().into_owned())
}
