//! The control thread: receives requests to stop, messages and the shutdown from the parent.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::fork;
use crate::process::tracing::worker as forwarding;
use crate::process::worker::{EarlyMessage, WorkerProcess};
use crate::sys::ipc::{self, ReadMode};
use crate::sys::worker::{self, Parent};
use crate::task::AnyTask;
use crate::task::channel::{Bytes, Channel};
use crate::wire::frame::ToWorker;
use crate::wire::framing::Frames;

impl WorkerProcess {
    pub(super) fn listen(&self, mut frames: Frames) -> ! {
        let mut is_filter_new = false;
        loop {
            match frames.next::<ToWorker<'_>>() {
                Ok(Some(ToWorker::Filter(filter))) => {
                    forwarding::apply(&filter);
                    is_filter_new = true;
                }
                // Once for several changes that have arrived together.
                Ok(None) if std::mem::take(&mut is_filter_new) => forwarding::refresh(),
                Ok(Some(ToWorker::Stop { call })) => self.route(call, EarlyMessage::Stop),
                Ok(Some(ToWorker::Message { call, bytes })) => {
                    self.route(call, EarlyMessage::Message(bytes.into()));
                }
                Ok(Some(ToWorker::Ack { call, count })) => {
                    let current = self.current.lock();
                    if current.call == call
                        && let Some(task) = current.task.clone()
                    {
                        drop(current);
                        if let Some(outbox) = outbox(&*task) {
                            let _ = outbox.ack(usize::try_from(count).unwrap_or(usize::MAX));
                        }
                    }
                }
                Ok(Some(ToWorker::Receiver { call, present })) => {
                    self.route(call, EarlyMessage::Receiver(present));
                }
                Ok(Some(ToWorker::Shutdown)) => {
                    // Before the wake-up: the task thread checks this flag after it has announced
                    // that it sleeps.
                    self.shutdown.store(true, Ordering::Release);
                    match self.over_sockets {
                        true => ipc::stop_reading(&self.data),
                        false => self.page.wake_task_thread(),
                    }
                }
                Ok(None) => self.read_control(&mut frames),
                Ok(Some(ToWorker::Setup(_) | ToWorker::Call(_))) | Err(_) => {
                    worker::exit_with_group()
                }
            }
        }
    }

    /// Passes a message to its call: in progress, still to come, or over.
    fn route(&self, call: u64, what: EarlyMessage) {
        let mut current = self.current.lock();
        if current.call == call
            && let Some(task) = current.task.clone()
        {
            // Without the lock, because a woken task may send a frame, which takes it.
            drop(current);
            deliver(&*task, what);
        } else if call > current.call {
            current.early.push((call, what));
        }
    }

    /// Blocks until more bytes arrive. Never returns if the parent has ended.
    pub(super) fn read_control(&self, frames: &mut Frames) {
        read(&self.parent, &self.control, frames);
    }
}

/// Blocks until more bytes arrive on the control socket. Never returns if the parent has ended.
pub(super) fn read(parent: &Parent, control: &OwnedFd, frames: &mut Frames) {
    // A waker on this thread may have forked.
    fork::end_if_copy();
    if !parent.wait_for_bytes(control) {
        worker::exit_with_group();
    }
    match ipc::read_into(control, frames.room(), ReadMode::Blocking) {
        Ok(ipc::ReadOutcome::Bytes(_)) => {}
        Ok(ipc::ReadOutcome::WouldBlock) => {}
        Ok(ipc::ReadOutcome::Eof) | Err(_) => worker::exit_with_group(),
    }
}

pub(super) fn deliver(task: &dyn AnyTask, what: EarlyMessage) {
    match what {
        EarlyMessage::Stop => task.header().request_stop(),
        EarlyMessage::Message(bytes) => {
            if let Some(inbox) =
                task.header().channels().and_then(|channels| channels.inbox_bytes())
            {
                inbox.deliver(bytes, usize::MAX);
            }
        }
        EarlyMessage::Receiver(present) => {
            if let Some(outbox) = outbox(task) {
                outbox.set_receiver(present);
            }
        }
    }
}

pub(super) fn outbox(task: &dyn AnyTask) -> Option<&Arc<Channel<Bytes>>> {
    task.header().channels()?.outbox_bytes()
}
