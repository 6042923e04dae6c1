//! Where launches leave jobs that would only have to wait, without the pool's lock.
//!
//! Whoever holds the pool's lock says here for which priorities there is nothing at present: one more
//! job of such a priority would go behind others in the backlog, and neither be sent, nor have a worker
//! process started, nor have anything taken back. Jobs that are left here are taken into the
//! backlog, in their order, before anything else is done under the pool's lock; so nobody who
//! holds it can tell them from those that went there at once.
//!
//! What is said changes under both locks, and only together with that the inbox is emptied: no job
//! is left here after there is something for it.

use parking_lot::Mutex;

use crate::job::Job;
use crate::priority::Priority;

/// See the module's documentation.
#[derive(Default)]
pub(super) struct Inbox(Mutex<Contents>);

#[derive(Default)]
struct Contents {
    /// Up to this priority jobs may be left.
    open_to: Option<Priority>,
    jobs: Vec<Job>,
}

impl Inbox {
    /// Leaves a job, or gives it back: then it needs the pool's lock.
    pub(super) fn leave(&self, priority: Priority, job: Job) -> Option<Job> {
        let mut contents = self.0.lock();
        if contents.open_to.is_none_or(|most| priority > most) {
            return Some(job);
        }
        contents.jobs.push(job);
        None
    }

    /// Takes all jobs out; to be called under the pool's lock.
    pub(super) fn empty(&self) -> Vec<Job> {
        std::mem::take(&mut self.0.lock().jobs)
    }

    /// Says for which priorities there is nothing; to be called under the pool's lock. Gives the
    /// jobs out that were left under the former rule.
    pub(super) fn open_to(&self, most: Option<Priority>) -> Vec<Job> {
        let mut contents = self.0.lock();
        contents.open_to = most;
        std::mem::take(&mut contents.jobs)
    }
}
