//! The worker process: runs one call after the other until the parent requests an exit or ends.
//!
//! There are two threads. The *task thread* takes calls from the shared page, runs them and
//! replies; it sleeps on the page's doorbell. The *control thread*, the initial thread of the
//! process, reads the control socket: requests to stop, messages, the shutdown. It sees the end of
//! the parent by that socket, or by a pidfd (a process that the parent has forked may hold copies
//! of the socket). It then kills the descendants of this process and the process group, whatever
//! the task thread is doing.
//!
//! A stopped worker (SIGSTOP) is continued by the kernel, which sends SIGCONT and SIGHUP when the
//! parent's spawner thread ends. Not SIGKILL, which would end the worker alone and leave what its
//! task had started. The end goes unnoticed only if the program calls `exec` while a forked copy of
//! it holds the sockets and the task ignores SIGHUP. A program that calls `exec` inherits dead
//! workers to wait for.
//!
//! | concern | file |
//! |---|---|
//! | preparing the process, and starting its threads | `start` |
//! | a process from which worker processes are forked | `template` |
//! | the control thread | `control` |
//! | the task thread | `calls` |
//! | what the running task sends to the parent | `upstream` |
//! | what a chunk of a map records | `journal` |

mod calls;
mod control;
#[cfg(all(test, feature = "pre-main"))]
pub(crate) mod faults;
mod journal;
mod start;
mod template;
mod upstream;

pub(crate) use journal::{JournalWriter, Recorded, begin_journal};
pub(crate) use start::serve_parent;
pub(in crate::process) use template::{Answer, REQUEST};

use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use crate::fork;
use crate::info::TaskType;
use crate::process::stdio;
use crate::process::transport::page::Page;
use crate::process::transport::region::ShmPayloads;
use crate::sync::lock::Mutex;
use crate::sys::mapping::Mapping;
use crate::sys::worker::Parent;
use crate::sys::{ipc, worker};
use crate::task::channel::Bytes;
use crate::task::scheduler::SchedulerKey;
use crate::task::{Schedule, TaskArc, current};
use crate::wire::frame::{Message, ToParent};

/// What both threads share.
pub(crate) struct WorkerProcess {
    page: Mapping<Page>,
    /// The page is private: see `transport::sockets`.
    over_sockets: bool,
    shm: ShmPayloads,
    data: OwnedFd,
    control: OwnedFd,
    /// Wakes the parent's reader thread.
    doorbell: OwnedFd,
    /// Notices the end of the parent.
    parent: Parent,
    outgoing: Mutex<Outgoing>,
    current: Mutex<Current>,
    shutdown: AtomicBool,
    /// Marks the output of each task, if it is captured.
    marker: OnceLock<stdio::TaskMarker>,
    /// The scheduler of the tasks that run here: its key, and the reference that keeps it alive.
    scheduler: OnceLock<(SchedulerKey, Arc<dyn Schedule>)>,
}

/// The writer of frames to the parent.
#[derive(Default)]
struct Outgoing {
    buffer: Vec<u8>,
    /// The number of frames written since the start.
    written: u64,
}

/// The call in progress.
#[derive(Default)]
struct Current {
    call: u64,
    task: Option<TaskArc>,
    /// Messages for calls that have not begun.
    early: Vec<(u64, EarlyMessage)>,
    /// The last progress text that was sent.
    sent_message: Option<String>,
    /// The last progress that was sent.
    sent_progress: (u64, u64),
}

enum EarlyMessage {
    Stop,
    Message(Bytes),
    Receiver(bool),
}

static WORKER: OnceLock<WorkerProcess> = OnceLock::new();

/// Whether this process is a worker process, or a template of worker processes.
pub(crate) fn in_worker() -> bool {
    WORKER.get().is_some() || template::is_here()
}

impl WorkerProcess {
    /// Sends a frame to the parent, after all earlier ones. A copy of this process sends none: it
    /// holds copies of the sockets, and what it writes there would be taken for the task's.
    pub(crate) fn write(&self, message: &ToParent<'_>) {
        self.write_frames(|buffer| {
            message.write(buffer);
            1
        });
    }

    /// Sends the frames that `fill` appends, whose number it returns. It is called while no other
    /// frames are written.
    pub(crate) fn write_frames(&self, fill: impl FnOnce(&mut Vec<u8>) -> u64) {
        if fork::is_copy() {
            return;
        }
        // Held over the write, so that frames are not interleaved.
        let mut outgoing = self.outgoing.lock();
        let Outgoing { buffer, written } = &mut *outgoing;
        buffer.clear();
        *written += fill(buffer);
        if ipc::write_all(&self.data, buffer).is_err() {
            worker::exit_with_group();
        }
        if buffer.capacity() > 1 << 20 {
            *buffer = Vec::new();
        }
    }
}

/// The call that this process is running; 0 for none.
pub(crate) fn current_call() -> u64 {
    current::with(|task| {
        task.filter(|header| header.tt == TaskType::Mp)
            .map_or(0, |header| header.place_tag.load(Ordering::Relaxed))
    })
}

/// Sends a frame to the parent, in a worker process.
pub(crate) fn send_to_parent(message: &ToParent<'_>) {
    match WORKER.get() {
        Some(process) => process.write(message),
        None => template::write_frames(|buffer| message.write(buffer)),
    }
}

/// Sends frames to the parent, in a worker process: see [`WorkerProcess::write_frames`].
pub(crate) fn send_frames_to_parent(fill: impl FnOnce(&mut Vec<u8>) -> u64) {
    match WORKER.get() {
        Some(process) => process.write_frames(fill),
        None => template::write_frames(|buffer| {
            fill(buffer);
        }),
    }
}
