//! Where launches leave jobs that would only have to wait, without the pool's lock.
//!
//! Whoever holds the pool's lock says here up to which priority there is nothing at present: one more
//! job of such a priority would go behind others in the backlog, and neither be sent, nor have a worker
//! process started, nor have anything taken back. What is said changes under both locks, and
//! together with that all jobs are taken out to which it does not apply any more. So no job is left
//! here after there is something for it.
//!
//! The queue of waiting jobs is the backlog and behind it, priority by priority, the inbox. Whoever
//! must find a job in it, or counts, takes the inbox in first; whoever sends jobs takes some in when
//! the backlog gets short.

use std::collections::VecDeque;

use parking_lot::Mutex;

use crate::job::Job;
use crate::priority::Priority;

/// So many jobs are taken in at once by whoever sends some.
const SOME: usize = 256;

/// See the module's documentation.
#[derive(Default)]
pub(super) struct Inbox(Mutex<Contents>);

#[derive(Default)]
struct Contents {
    /// Up to this priority jobs may be left.
    open_to: Option<Priority>,
    jobs: [VecDeque<Job>; 4],
}

impl Inbox {
    /// Leaves a job, or gives it back: then it needs the pool's lock.
    pub(super) fn leave(&self, priority: Priority, job: Job) -> Option<Job> {
        let mut contents = self.0.lock();
        if contents.open_to.is_none_or(|most| priority > most) {
            return Some(job);
        }
        contents.jobs[priority.index()].push_back(job);
        None
    }

    /// Takes some jobs out, of the highest priority that there is.
    pub(super) fn some(&self, out: &mut Vec<Job>) {
        let mut contents = self.0.lock();
        let first = Priority::ALL.into_iter().find(|p| !contents.jobs[p.index()].is_empty());
        if let Some(first) = first {
            let jobs = &mut contents.jobs[first.index()];
            let count = jobs.len().min(SOME);
            out.extend(jobs.drain(..count));
        }
    }

    /// Says up to which priority there is nothing, and takes all jobs above it out.
    pub(super) fn open_to(&self, most: Option<Priority>, out: &mut Vec<Job>) {
        let mut contents = self.0.lock();
        contents.open_to = most;
        contents.take_above(most, out);
    }

    /// Takes all jobs out.
    pub(super) fn all(&self, out: &mut Vec<Job>) {
        self.0.lock().take_above(None, out);
    }
}

impl Contents {
    fn take_above(&mut self, most: Option<Priority>, out: &mut Vec<Job>) {
        for priority in Priority::ALL {
            if most.is_none_or(|most| priority > most) {
                out.extend(std::mem::take(&mut self.jobs[priority.index()]));
            }
        }
    }
}
