//! A queue for jobs that would only have to wait, which launches push to without taking the pool's
//! lock.
//!
//! The holder of the pool's lock sets the priority up to which the injector is open. One more job
//! of such a priority would be queued behind others in the backlog: it would neither be sent, nor
//! cause a worker process to be started, nor calls to be revoked. The limit changes under both
//! locks, and at the same time all jobs above it are taken out. So no job stays here after the pool
//! could do something for it.
//!
//! Together, the backlog and, behind it for each priority, the injector form the queue of waiting
//! jobs. A thread that must find or count jobs drains the injector first. A thread that dispatches
//! jobs takes a batch when the backlog runs out. Nothing of a lower priority is sent before the
//! injector is closed to higher ones, so the order is that of one queue.

use std::collections::VecDeque;

use crate::sync::lock::Mutex;

use crate::job::Job;
use crate::priority::Priority;

/// The number of jobs that are taken out at once.
const BATCH: usize = 256;

/// See the module documentation.
#[derive(Default)]
pub(crate) struct Injector(Mutex<Queues>);

#[derive(Default)]
struct Queues {
    /// Jobs up to this priority may be pushed; `None` if the injector is closed.
    open_to: Option<Priority>,
    jobs: [VecDeque<Job>; 4],
}

impl Injector {
    /// Pushes a job, or returns it if the injector is closed to its priority.
    pub(crate) fn try_push(&self, priority: Priority, job: Job) -> Option<Job> {
        let mut contents = self.0.lock();
        if contents.open_to.is_none_or(|limit| priority > limit) {
            return Some(job);
        }
        contents.jobs[priority.index()].push_back(job);
        None
    }

    /// Takes out a batch of jobs of the highest priority present.
    pub(crate) fn take_batch(&self, out: &mut Vec<Job>) {
        let mut contents = self.0.lock();
        let first = Priority::ALL.into_iter().find(|p| !contents.jobs[p.index()].is_empty());
        if let Some(first) = first {
            let jobs = &mut contents.jobs[first.index()];
            let count = jobs.len().min(BATCH);
            out.extend(jobs.drain(..count));
        }
    }

    /// Sets the limit, and takes out all jobs above it.
    pub(crate) fn set_open_to(&self, limit: Option<Priority>, out: &mut Vec<Job>) {
        let mut contents = self.0.lock();
        contents.open_to = limit;
        contents.take_above(limit, out);
    }

    /// Takes out all jobs.
    pub(crate) fn take_all(&self, out: &mut Vec<Job>) {
        self.0.lock().take_above(None, out);
    }
}

impl Queues {
    fn take_above(&mut self, limit: Option<Priority>, out: &mut Vec<Job>) {
        for priority in Priority::ALL {
            if limit.is_none_or(|limit| priority > limit) {
                out.extend(std::mem::take(&mut self.jobs[priority.index()]));
            }
        }
    }
}
