//! What the running task sends to the parent: messages, acknowledgments and progress.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::error::KillError;
use crate::info::TaskType;
use crate::job::Job;
use crate::observe::registry::Observers;
use crate::place::{Closing, Place, WhenFull};
use crate::process::worker::WorkerProcess;
use crate::process::worker::control::outbox;
use crate::task::control::Include;
use crate::task::header::Header;
use crate::task::state::Ending;
use crate::task::{AnyTask, Schedule, TaskArc};
use crate::wire::frame::ToParent;

/// The scheduler of the one task that runs here for the parent.
pub(super) struct WorkerScheduler(pub(super) &'static WorkerProcess);

impl WorkerScheduler {
    fn call_of(task: &dyn AnyTask) -> u64 {
        task.header().place_tag.load(Ordering::Relaxed)
    }
}

impl Schedule for WorkerScheduler {
    fn ended(&self, _task: &Header, _ending: Ending) {}

    fn observers(&self) -> Option<&Arc<Observers>> {
        None
    }

    fn run_callbacks(&self, run: Box<dyn FnOnce() + Send>) {
        run();
    }

    fn retry(&self, task: TaskArc, _pause: Duration) {
        // The parent decides about retries; the local task has none.
        drop(task);
    }

    fn place(&self, _tt: TaskType) -> &dyn Place {
        self
    }
}

/// The place of that task is the parent: what happens to the task here is sent there. The parent
/// alone starts, revokes and kills it.
impl Place for WorkerScheduler {
    fn start(&self, job: Job, _when_full: WhenFull) {
        drop(job);
    }

    fn revoke(&self, _task: &dyn AnyTask, _include: Include) -> bool {
        false
    }

    fn kill(&self, _task: &TaskArc) -> Result<(), KillError> {
        Err(KillError::Unsupported)
    }

    fn close(&self, _closing: &Closing<'_>) {}

    fn flush_messages(&self, task: &dyn AnyTask) {
        let Some(outbox) = outbox(task) else { return };
        // Under the lock, so that messages are sent in order.
        let current = self.0.current.lock();
        if current.call != Self::call_of(task) || current.task.is_none() {
            return;
        }
        while let Some(bytes) = outbox.next_in_flight() {
            self.0.write(&ToParent::Message { call: current.call, bytes: &bytes });
        }
    }

    fn message_received(&self, task: &dyn AnyTask) {
        let inbox = task.header().channels().and_then(|channels| channels.inbox_bytes());
        if let Some(count) = inbox.and_then(|inbox| inbox.take_acks()) {
            let count = count as u64;
            self.0.write(&ToParent::Ack { call: Self::call_of(task), count });
        }
    }

    fn progress_changed(&self, task: &dyn AnyTask) {
        let Some(extras) = task.header().extras() else {
            return;
        };
        let mut current = self.0.current.lock();
        if current.call != Self::call_of(task) || current.task.is_none() {
            return;
        }
        let progress = extras.progress.lock();
        let Some(progress) = progress.as_ref() else {
            return;
        };
        let reported = (progress.done, progress.total);
        if current.sent_progress != reported {
            current.sent_progress = reported;
            let (call, done, total) = (current.call, reported.0, reported.1);
            match self.0.over_sockets {
                true => self.0.write(&ToParent::Progress { call, done, total }),
                false => self.0.page.write_progress(call, done, total),
            }
        }
        if current.sent_message != progress.message
            && let Some(text) = &progress.message
        {
            self.0.write(&ToParent::ProgressMessage { call: current.call, text });
            current.sent_message = Some(text.clone());
        }
    }
}
