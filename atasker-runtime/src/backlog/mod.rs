//! The order of waiting tasks, and who may start now. Values in, values out: no threads, no clock.
//!
//! Let *n* be the number of non-critical tasks that hold a slot. A waiting task may start while *n*
//! is below the limit of its priority:
//!
//! | priority | limit |
//! |---|---|
//! | low | `pool_size` |
//! | normal | `pool_size + reserve_normal` |
//! | high | `pool_size + reserve_normal + reserve_high` |
//! | critical | none of these; see [`Limits::critical_total`] |
//!
//! Limits rise with the priority, so if the most urgent waiting task may not start, no other may:
//! [`Backlog::next`] looks at one queue only, and no task overtakes a more urgent one.

mod queue;
#[cfg(test)]
mod tests;

use crate::priority::Priority;
use queue::Queue;
pub(crate) use queue::Ticket;

/// How many tasks of each priority may hold a slot at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limits {
    /// 0: no limit.
    pub pool_size: usize,
    pub reserve_normal: usize,
    pub reserve_high: usize,
    /// A cap over all three.
    pub max_size: Option<usize>,
    /// How many tasks may run in all, critical ones included, when a critical one wants to start;
    /// `None`: no limit.
    pub critical_total: Option<usize>,
}

impl Limits {
    /// A task of this priority may start while fewer than so many slots are held.
    #[inline]
    pub(crate) fn of(&self, priority: Priority) -> usize {
        if self.pool_size == 0 {
            return self.max_size.unwrap_or(usize::MAX);
        }
        let wanted = match priority {
            Priority::Low => self.pool_size,
            Priority::Normal => self.pool_size.saturating_add(self.reserve_normal),
            Priority::High | Priority::Critical => {
                self.pool_size.saturating_add(self.reserve_normal).saturating_add(self.reserve_high)
            }
        };
        wanted.min(self.max_size.unwrap_or(usize::MAX))
    }
}

/// Waiting jobs in their order, and the slots held by those that have started.
///
/// What every start and end looks at stands together, and first: the lines of a cache that hold it
/// move from thread to thread.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Backlog<J> {
    /// Slots held by non-critical tasks.
    held: usize,
    /// Critical tasks that have started.
    critical: usize,
    waiting: usize,
    /// A bit for each priority of which a job waits.
    there: u8,
    limits: Limits,
    queues: [Queue<J>; 4],
}

fn bit(priority: Priority) -> u8 {
    1 << priority.index()
}

impl<J> Backlog<J> {
    #[inline]
    pub(crate) fn new(limits: Limits) -> Self {
        Backlog {
            held: 0,
            critical: 0,
            waiting: 0,
            there: 0,
            limits,
            queues: [Queue::new(), Queue::new(), Queue::new(), Queue::new()],
        }
    }

    #[inline]
    pub(crate) fn limits(&self) -> &Limits {
        &self.limits
    }

    /// New limits; tasks that hold slots keep them.
    #[inline]
    pub(crate) fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
    }

    /// Adds a job behind all of its priority.
    #[inline]
    pub(crate) fn push(&mut self, priority: Priority, job: J) -> Ticket {
        self.waiting += 1;
        self.there |= bit(priority);
        self.queues[priority.index()].push(job)
    }

    /// Puts a job back in front of all of its priority: it had been taken out and did not start.
    /// Of several, put back the last taken first.
    #[inline]
    pub(crate) fn push_front(&mut self, priority: Priority, job: J) -> Ticket {
        self.waiting += 1;
        self.there |= bit(priority);
        self.queues[priority.index()].push_front(job)
    }

    /// The ticket that the next [`push`](Self::push) gives.
    #[inline]
    pub(crate) fn next_ticket(&self, priority: Priority) -> Ticket {
        self.queues[priority.index()].next_ticket()
    }

    /// The ticket that the next [`push_front`](Self::push_front) gives.
    #[inline]
    pub(crate) fn next_front_ticket(&self, priority: Priority) -> Ticket {
        self.queues[priority.index()].next_front_ticket()
    }

    /// The job that is next in order.
    #[inline]
    pub(crate) fn peek(&self) -> Option<&J> {
        self.queues[self.first()?.index()].peek()
    }

    /// Takes a waiting job out, wherever it stands; `None` if it was taken already.
    #[inline]
    pub(crate) fn remove(&mut self, priority: Priority, ticket: Ticket) -> Option<J> {
        let job = self.queues[priority.index()].remove(ticket)?;
        self.left(priority);
        Some(job)
    }

    /// A job of this priority waits no longer.
    #[inline]
    fn left(&mut self, priority: Priority) {
        self.waiting -= 1;
        if self.queues[priority.index()].is_empty() {
            self.there &= !bit(priority);
        }
    }

    /// The priority of the job that is next in order, whether or not it may start.
    #[inline]
    pub(crate) fn first(&self) -> Option<Priority> {
        // Indices rise with the priority.
        Priority::from_index(7u8.checked_sub(self.there.leading_zeros() as u8)?)
    }

    /// Whether a task of this priority would find a slot now.
    #[inline]
    pub(crate) fn may_start(&self, priority: Priority) -> bool {
        if priority == Priority::Critical {
            let running = self.held + self.critical;
            return self.limits.critical_total.is_none_or(|total| running < total);
        }
        self.held < self.limits.of(priority)
    }

    /// The next job, if it may start; it then holds a slot until [`release`](Self::release).
    #[inline]
    pub(crate) fn next(&mut self) -> Option<(Priority, J)> {
        let priority = self.first()?;
        if !self.may_start(priority) {
            return None;
        }
        let job = self.queues[priority.index()].pop()?;
        self.left(priority);
        self.acquire(priority);
        Some((priority, job))
    }

    /// The next job in order without a slot: for a place that starts it later on.
    #[inline]
    pub(crate) fn take_first(&mut self) -> Option<(Priority, J)> {
        let priority = self.first()?;
        let job = self.queues[priority.index()].pop()?;
        self.left(priority);
        Some((priority, job))
    }

    /// Takes a slot without asking: for a task that goes on after a wait.
    #[inline]
    pub(crate) fn acquire(&mut self, priority: Priority) {
        match priority {
            Priority::Critical => self.critical += 1,
            _ => self.held += 1,
        }
    }

    /// Gives a slot back.
    #[inline]
    pub(crate) fn release(&mut self, priority: Priority) {
        match priority {
            Priority::Critical => self.critical -= 1,
            _ => self.held -= 1,
        }
    }

    /// Slots held by non-critical tasks.
    #[inline]
    pub(crate) fn held(&self) -> usize {
        self.held
    }

    /// Critical tasks that have started.
    #[inline]
    pub(crate) fn critical(&self) -> usize {
        self.critical
    }

    /// Jobs that wait.
    #[inline]
    pub(crate) fn waiting(&self) -> usize {
        self.waiting
    }

    /// Jobs of one priority that wait.
    #[inline]
    pub(crate) fn waiting_of(&self, priority: Priority) -> usize {
        self.queues[priority.index()].len()
    }

    /// Whether a waiting job is among the first `count` in order.
    #[inline]
    pub(crate) fn is_among_first(&self, count: usize, priority: Priority, ticket: Ticket) -> bool {
        let higher = Priority::ALL.into_iter().filter(|other| *other > priority);
        let before: usize = higher.map(|other| self.waiting_of(other)).sum();
        count
            .checked_sub(before)
            .is_some_and(|rest| self.queues[priority.index()].is_among_first(rest, ticket))
    }

    /// Takes all waiting jobs out, the most urgent first.
    pub(crate) fn drain(&mut self) -> Vec<J> {
        let mut all = Vec::with_capacity(self.waiting);
        while let Some((_, job)) = self.take_first() {
            all.push(job);
        }
        all
    }
}
