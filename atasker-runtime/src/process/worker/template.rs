//! A template: a process from which worker processes are forked. See `parent::template` for the
//! other side.
//!
//! It is started like a worker process, and has run `worker_init` on a thread like the task thread of
//! one. Then it waits for requests on that thread. The initial thread sleeps until that thread ends,
//! with all signals blocked, and there is no other thread. So at a fork, no lock is held that the copy could
//! wait for.
//!
//! In a copy, that thread becomes the task thread. What `worker_init` has left in its thread-local
//! variables is there, and it has the same stack. The control thread is started anew.
//!
//! **The group.** A copy is in the process group of the template until the program has taken it
//! over, and runs nothing of the user before: it waits for its settings, which the program sends
//! after that. So the program finds each copy that it has not taken over in that group.

use std::io::Write as _;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Barrier, mpsc};

use crate::process::tracing::worker as forwarding;
use crate::process::worker::control;
use crate::process::worker::start::{self, Parts};
use crate::sync::lock::Mutex;
use crate::sync::spin;
use crate::sys::lifeline::Lifeline;
use crate::sys::template::{Forked, Forker, Title};
use crate::sys::worker::{self, MemoryLimit, Parent};
use crate::sys::{fork, ipc, overflow, template};
use crate::unwind;
use crate::wire::frame::{Message, ToParent};
use crate::wire::framing::Frames;
use crate::{error::with_advice, id};

/// The answer to a request, together with a pidfd: 0, or else the error of the system.
pub(in crate::process) type Answer = [u8; 4];

/// The request for a worker process. With it come its data socket, and its standard output and
/// error, unless these are those of the template.
pub(in crate::process) const REQUEST: [u8; 1] = [b'f'];

/// Where a template sends frames to the program: what `worker_init` logs, and how it ends.
struct Link {
    data: OwnedFd,
    buffer: Vec<u8>,
}

static LINK: Mutex<Option<Link>> = Mutex::new(None);

/// This process is a template.
static IS_HERE: AtomicBool = AtomicBool::new(false);

/// Whether this process is a template.
pub(super) fn is_here() -> bool {
    IS_HERE.load(Ordering::Relaxed)
}

/// Sends the frames that `fill` appends, in a template.
pub(super) fn write_frames(fill: impl FnOnce(&mut Vec<u8>)) {
    if !is_here() || fork::is_copy() {
        return;
    }
    if let Some(Link { data, buffer }) = &mut *LINK.lock() {
        buffer.clear();
        fill(buffer);
        if ipc::write_all(&*data, buffer).is_err() {
            worker::exit_with_group();
        }
    }
}

fn write(message: &ToParent<'_>) {
    write_frames(|buffer| message.write(buffer));
}

/// Reports that no template can be made, and ends without the exit handlers of the program, which
/// are those of worker processes.
fn end(message: &ToParent<'_>) -> ! {
    write(message);
    fork::end_copy();
}

/// Serves as a template of this parent.
pub(super) fn serve(parent: Parent, data: OwnedFd, control: OwnedFd) -> ! {
    IS_HERE.store(true, Ordering::Relaxed);
    *LINK.lock() = Some(Link { data, buffer: Vec::new() });
    let mut frames = Frames::new();
    let read = |frames: &mut Frames| control::read(&parent, &control, frames);
    let memory = start::receive_setup(&mut frames, read, |setup| {
        start::prepare_program(setup).map(|()| setup.memory)
    });
    let memory = memory.unwrap_or_else(|reason| end(&ToParent::StartFailed { reason: &reason }));
    // Named as in a worker process, which it becomes in a copy.
    let thread = std::thread::Builder::new().name("atasker task".into());
    let (tell, told) = mpsc::channel();
    let spawned = thread.spawn(move || {
        // `worker_init` may end the thread. If that can't be noticed, it is after a time limit.
        let _ = tell.send(Lifeline::hold().ok());
        drop(tell);
        // A panic would leave a process without a thread that does anything.
        let panic = unwind::catch(|| Template::prepare(parent, control, memory).serve());
        if !is_here() {
            // A worker process, which notices the end of its task thread.
            return;
        }
        let reason = panic.err().map(|panic| panic.to_string()).unwrap_or_default();
        end(&ToParent::StartFailed { reason: &reason });
    });
    if let Err(error) = spawned {
        let reason = format!("it could start no thread: {}", with_advice(&error));
        end(&ToParent::StartFailed { reason: &reason });
    }
    template::hold_still(told.recv().ok().flatten())
}

struct Template {
    parent: Parent,
    control: OwnedFd,
    forker: Forker,
    title: Option<Title>,
    /// The address space that `worker_init` has taken, in bytes. It counts for the memory limit.
    taken: u64,
}

impl Template {
    /// Runs `worker_init`, and reports that this process is ready, unless it can't be forked.
    fn prepare(parent: Parent, control: OwnedFd, memory: u64) -> Template {
        let fail = |reason: &str| -> ! { end(&ToParent::StartFailed { reason }) };
        overflow::watch_this_thread();
        worker::continue_after_parent();
        let limit = (memory > 0).then(|| MemoryLimit::set(memory)).transpose();
        let limit = limit.unwrap_or_else(|error| {
            fail(&format!("its memory can't be limited: {error}"));
        });
        if let Err(reason) = start::run_init() {
            fail(&reason);
        }
        // Each copy limits itself again, once it has the threads and mappings of a worker process.
        let taken = limit.map_or(Ok(0), MemoryLimit::lift).unwrap_or_else(|error| {
            fail(&format!("its memory can't be limited anew: {error}"));
        });
        // Now, and not in each copy, which would read files for it.
        let _ = spin::has_other_cpus();
        // Each copy would write what is buffered.
        let _ = std::io::stdout().flush();
        template::flush_c_streams();
        let forker = match Forker::new() {
            Ok(forker) => forker,
            Err(reason) => end(&ToParent::Declined { reason: &reason }),
        };
        write(&ToParent::Ready { pid: worker::pid() });
        Template { parent, control, forker, title: Title::find(), taken }
    }

    /// Forks a worker process for each request. Returns in none.
    fn serve(self) -> ! {
        loop {
            if !self.parent.wait_for_bytes(&self.control) {
                worker::exit_with_group();
            }
            let fds = match ipc::receive::<{ REQUEST.len() }>(&self.control) {
                Ok((_, fds)) => fds,
                Err(_) => worker::exit_with_group(),
            };
            let answer = match self.forker.fork() {
                Ok(Forked::Copy) => self.into_worker(fds),
                Ok(Forked::Original(pidfd)) => {
                    ipc::send_fds(&self.control, &[&pidfd], &Answer::default())
                }
                Err(error) => {
                    let error: Answer = error.raw_os_error().unwrap_or(libc::EIO).to_ne_bytes();
                    ipc::write_all(&self.control, &error)
                }
            };
            if answer.is_err() {
                worker::exit_with_group();
            }
        }
    }

    /// Continues as a worker process, in a copy.
    fn into_worker(self, fds: Vec<OwnedFd>) -> ! {
        // First, because until then this process counts as a copy of a worker process.
        fork::begin_anew();
        IS_HERE.store(false, Ordering::Relaxed);
        id::renew(template::random());
        let Template { parent, control, forker: _, title, taken } = self;
        // The template's, which it would be unable to close for good.
        drop(control);
        drop(LINK.lock().take());
        let mut fds = fds.into_iter();
        let Some(data) = fds.next() else { worker::exit_with_group() };
        for (stream, fd) in (1..).zip(fds) {
            if let Err(error) = template::replace_stream(stream, &fd) {
                start::fail_start(data, &error);
            }
        }
        let process = match Parts::receive(parent, &data) {
            Ok(parts) => parts.into_process(data),
            Err(error) => start::fail_start(data, &error),
        };
        let mut frames = Frames::new();
        let read = |frames: &mut Frames| process.read_control(frames);
        let settings = start::receive_setup(&mut frames, read, |setup| {
            process.prepare(setup)?;
            forwarding::renew(setup.levels);
            if let Some(title) = title {
                title.set(setup.title);
            }
            Ok((setup.first, setup.memory, setup.nice_by_priority))
        });
        let (first, memory, by_priority) =
            settings.unwrap_or_else(|reason| process.fail_to_start(&reason));
        worker::continue_after_parent();
        // Starting threads takes address space, which must be taken before it is limited. So does
        // the first allocation of a thread.
        static STARTED: Barrier = Barrier::new(2);
        let thread = std::thread::Builder::new().name("atasker control".into());
        let spawned = thread.spawn(move || {
            if process.parent.follow_again().is_err() {
                // It has ended.
                worker::exit_with_group();
            }
            if memory > 0 {
                drop(std::hint::black_box(Vec::<u8>::with_capacity(64)));
                STARTED.wait();
            }
            process.listen(frames)
        });
        if let Err(error) = spawned {
            process.fail_to_start(&format!("it could start no thread: {}", with_advice(&error)));
        }
        process.watch_this_thread(memory > 0);
        if memory > 0 {
            STARTED.wait();
            if let Err(error) = worker::limit_memory(memory.saturating_sub(taken)) {
                process.fail_to_start(&format!("its memory can't be limited: {error}"));
            }
        }
        process.work(first, by_priority)
    }
}
