//! Jobs with limits that they share with others (see `limit`): they wait outside of the backlog, and
//! take their limit when they are sent.

use crate::backlog::Ticket;
use crate::job::Job;
use crate::limit::{self, Admission, Parked, Reserved};
use crate::priority::Priority;
use crate::process::pool::actions::Actions;
use crate::process::pool::call::bytes_of;
use crate::process::pool::location::Location;
use crate::process::pool::schedule::Scheduler;
use crate::process::transport::Transport;
use crate::time::clock::Stamp;

impl<T: Transport> Scheduler<T> {
    /// The number of jobs that wait for a slot or for a limit.
    pub(crate) fn waiting(&self) -> usize {
        self.backlog.waiting() + self.parked.iter().sum::<usize>()
    }

    /// Returns what a job reserves in the queue while it waits for its limit.
    fn reserved(&self, ticket: Ticket, job: &Job) -> Reserved {
        let bytes = self.config.queue_bytes.map_or(0, |_| bytes_of(job) as u64);
        Reserved { ticket: Some(ticket), bytes }
    }

    fn park(&mut self, priority: Priority, reserved: Reserved) {
        self.parked[priority.index()] += 1;
        self.parked_bytes += reserved.bytes;
        self.bytes += reserved.bytes;
    }

    /// Reserves the position of a job that waits for its limit.
    pub(crate) fn reserve(&mut self, job: &Job) -> Reserved {
        let priority = job.priority();
        let ticket = self.backlog.reserve_ticket(priority);
        let reserved = self.reserved(ticket, job);
        self.park(priority, reserved);
        reserved
    }

    fn unpark(&mut self, priority: Priority, reserved: Reserved) {
        self.parked[priority.index()] -= 1;
        self.parked_bytes -= reserved.bytes;
        self.bytes = self.bytes.saturating_sub(reserved.bytes);
    }

    /// Ends the reservation of a job that was revoked.
    pub(crate) fn unreserve(
        &mut self,
        priority: Priority,
        reserved: Reserved,
        actions: &mut Actions<T>,
    ) {
        self.unpark(priority, reserved);
        self.wake_launchers(actions);
    }

    /// Enqueues a job that has waited for its limit.
    fn enqueue_unparked(&mut self, parked: Parked) {
        let Parked { job, reserved } = parked;
        let priority = job.priority();
        self.unpark(priority, reserved);
        if self.config.queue_bytes.is_some() {
            self.bytes += bytes_of(&job) as u64;
        }
        let ticket = reserved.ticket.unwrap_or_else(|| self.backlog.reserve_ticket(priority));
        Location::Waiting(ticket.0).record(&**job.task());
        self.backlog.requeue(priority, ticket, job);
    }

    /// Enqueues a job whose limit has room, and sends it if it may have a slot.
    pub(crate) fn enqueue_parked(&mut self, parked: Parked, now: Stamp, actions: &mut Actions<T>) {
        if !self.open || self.is_stale(&parked.job) {
            self.unpark(parked.job.priority(), parked.reserved);
            return match self.open {
                true => actions.discard(parked.job),
                false => actions.reject(parked.job, crate::error::TaskError::SupervisorStopped),
            };
        }
        self.enqueue_unparked(parked);
        self.schedule(now, actions);
    }

    /// Returns a job that is about to be sent if its limit has room. Otherwise it waits for that, and
    /// those behind it may overtake it.
    pub(crate) fn admit(&mut self, priority: Priority, ticket: Ticket, job: Job) -> Option<Job> {
        if !limit::has_limit(job.header()) {
            return Some(job);
        }
        // Before the job is in the gate, where it is not in this pool.
        Location::Nowhere.record(&**job.task());
        let reserved = self.reserved(ticket, &job);
        let Admission { job, next } = limit::admit(job, reserved);
        if let Some(next) = next {
            self.enqueue_unparked(next);
        }
        if job.is_none() {
            self.park(priority, reserved);
        }
        job
    }

    /// Lets calls that were revoked from their lanes wait for their limits again.
    #[inline]
    pub(crate) fn put_back_revoked(&mut self, actions: &mut Actions<T>) {
        // After every event; there are some after few.
        if !self.revoked.is_empty() {
            self.put_back_all_revoked(actions);
        }
    }

    #[cold]
    fn put_back_all_revoked(&mut self, actions: &mut Actions<T>) {
        for (ticket, job) in std::mem::take(&mut self.revoked) {
            let task = job.task().clone();
            let (priority, reserved) = (job.priority(), self.reserved(ticket, &job));
            Location::Nowhere.record(&*task);
            match limit::put_back(job, reserved) {
                Some(job) => actions.discard(job),
                None => self.park(priority, reserved),
            }
            actions.pumped.push(task);
        }
    }
}
