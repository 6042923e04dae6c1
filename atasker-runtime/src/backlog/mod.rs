//! The queue of waiting tasks and the admission to slots. Plain data: no threads, no clock.
//!
//! Let *n* be the number of tasks that hold a slot of the pool. A waiting task may start while *n*
//! is below the limit of its priority:
//! is below the limit of its priority:
//!
//! | priority | limit |
//! |---|---|
//! | low | `pool_size` |
//! | normal | `pool_size + reserve_normal` |
//! | high | `pool_size + reserve_normal + reserve_high` |
//! | critical | none of these; see [`Limits::critical_extra`] |
//! Critical tasks beyond `critical_extra` run within the pool and count in *n* like all others.
//!
//! The limits increase with the priority. So if the most urgent waiting task may not start, no
//! other one may: [`Backlog::next`] examines a single queue, and no task overtakes a more urgent
//! one.

mod queue;
#[cfg(test)]
mod tests;

use crate::priority::Priority;
use queue::Queue;
pub(crate) use queue::Ticket;

/// The number of tasks of each priority that may hold a slot at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limits {
    /// 0 means no limit.
    pub pool_size: usize,
    pub reserve_normal: usize,
    pub reserve_high: usize,
    /// A maximum for all three.
    pub max_size: Option<usize>,
    /// The number of critical tasks that may run beyond the pool's slots; `None` means no limit.
    pub critical_extra: Option<usize>,
}

impl Limits {
    /// Returns the number of held slots below which a task of this priority may start.
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

    /// Returns the limits of all priorities, by index.
    fn of_all(&self) -> [usize; 4] {
        let mut all = [0; 4];
        for priority in Priority::ALL {
            all[priority.index()] = self.of(priority);
        }
        all
    }
}

/// The waiting jobs in order, and the slots held by those that have started.
///
/// The fields that every start and end accesses come first and are adjacent, because their cache
/// lines move from thread to thread.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Backlog<J> {
    /// Held slots of the pool: those of all non-critical tasks, and of critical ones that run
    /// within the pool.
    held: usize,
    /// The number of critical tasks that have started.
    critical: usize,
    waiting: usize,
    /// A bit for each priority with waiting jobs.
    nonempty: u8,
    /// The limit of each priority, by index: see [`Limits::of`].
    limits_of: [usize; 4],
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
            nonempty: 0,
            limits_of: limits.of_all(),
            limits,
            queues: [Queue::new(), Queue::new(), Queue::new(), Queue::new()],
        }
    }

    #[inline]
    pub(crate) fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Changes the limits. Tasks that hold slots keep them.
    #[inline]
    pub(crate) fn set_limits(&mut self, limits: Limits) {
        self.held -= self.critical_within();
        self.limits = limits;
        self.limits_of = limits.of_all();
        self.held += self.critical_within();
    }

    /// Returns the number of critical tasks that run within the pool.
    #[inline]
    fn critical_within(&self) -> usize {
        self.critical.saturating_sub(self.limits.critical_extra.unwrap_or(usize::MAX))
    }

    /// Adds a job behind all others of its priority.
    #[inline]
    pub(crate) fn push(&mut self, priority: Priority, job: J) -> Ticket {
        self.waiting += 1;
        self.nonempty |= bit(priority);
        self.queues[priority.index()].push(job)
    }

    /// Returns the ticket of a job that starts without having waited, for
    /// [`requeue`](Self::requeue). No job of its priority may be waiting.
    #[inline]
    pub(crate) fn issue_ticket(&mut self, priority: Priority) -> Ticket {
        debug_assert!(self.queues[priority.index()].is_empty());
        self.queues[priority.index()].issue_ticket()
    }

    /// Returns the ticket of a job that is queued later, by [`requeue`](Self::requeue), at the
    /// position that it has if it is queued now.
    pub(crate) fn reserve_ticket(&mut self, priority: Priority) -> Ticket {
        self.queues[priority.index()].issue_ticket()
    }

    /// Returns a job to its former position among those of its priority. It was taken out with this
    /// ticket and did not start.
    pub(crate) fn requeue(&mut self, priority: Priority, ticket: Ticket, job: J) {
        self.waiting += 1;
        self.nonempty |= bit(priority);
        self.queues[priority.index()].requeue(ticket, job);
    }

    /// Returns the ticket that the next [`push`](Self::push) will return.
    #[inline]
    pub(crate) fn next_ticket(&self, priority: Priority) -> Ticket {
        self.queues[priority.index()].next_ticket()
    }

    /// Returns the next job in order.
    #[inline]
    pub(crate) fn peek(&self) -> Option<&J> {
        self.queues[self.first_priority()?.index()].peek()
    }

    /// Removes a waiting job from any position. Returns `None` if it was removed already.
    #[inline]
    pub(crate) fn remove(&mut self, priority: Priority, ticket: Ticket) -> Option<J> {
        let job = self.queues[priority.index()].remove(ticket)?;
        self.removed(priority);
        Some(job)
    }

    /// Updates the counts after the removal of a job of this priority.
    #[inline]
    fn removed(&mut self, priority: Priority) {
        self.waiting -= 1;
        if self.queues[priority.index()].is_empty() {
            self.nonempty &= !bit(priority);
        }
    }

    /// Returns the priority of the next job in order, whether or not the job may start.
    #[inline]
    pub(crate) fn first_priority(&self) -> Option<Priority> {
        Priority::highest(self.nonempty)
    }

    /// Returns the number of further tasks of this priority that would be admitted now.
    #[inline]
    pub(crate) fn free_for(&self, priority: Priority) -> usize {
        let limit = self.limits_of[priority.index()];
        if priority != Priority::Critical {
            return limit.saturating_sub(self.held);
        }
        let Some(extra) = self.limits.critical_extra else { return usize::MAX };
        let beyond = extra.saturating_sub(self.critical);
        beyond.saturating_add(limit.saturating_sub(self.held))
    }

    /// Returns whether a task of this priority would be admitted now.
    #[inline]
    pub(crate) fn may_start(&self, priority: Priority) -> bool {
        if priority == Priority::Critical {
            return self.free_for(priority) > 0;
        }
        self.held < self.limits_of[priority.index()]
    }

    /// Removes the next job if it may start. The job then holds a slot until
    /// [`release`](Self::release).
    #[inline]
    pub(crate) fn next(&mut self) -> Option<(Priority, J)> {
        let priority = self.first_priority()?;
        if !self.may_start(priority) {
            return None;
        }
        let (_, job) = self.queues[priority.index()].pop()?;
        self.removed(priority);
        self.acquire(priority);
        Some((priority, job))
    }

    /// Removes the next job in order without a slot, for a place that starts it later.
    #[inline]
    pub(crate) fn pop_first(&mut self) -> Option<(Priority, Ticket, J)> {
        let priority = self.first_priority()?;
        let (ticket, job) = self.queues[priority.index()].pop()?;
        self.removed(priority);
        Some((priority, ticket, job))
    }

    /// Acquires a slot unconditionally, for a task that continues after a wait.
    #[inline]
    pub(crate) fn acquire(&mut self, priority: Priority) {
        match priority {
            Priority::Critical => {
                self.held -= self.critical_within();
                self.critical += 1;
                self.held += self.critical_within();
            }
            _ => self.held += 1,
        }
    }

    /// Releases a slot.
    #[inline]
    pub(crate) fn release(&mut self, priority: Priority) {
        match priority {
            Priority::Critical => {
                self.held -= self.critical_within();
                self.critical -= 1;
                self.held += self.critical_within();
            }
            _ => self.held -= 1,
        }
    }

    /// Returns the number of held slots of the pool, including those of critical tasks that run
    /// within the pool.
    #[inline]
    pub(crate) fn held(&self) -> usize {
        self.held
    }

    /// Returns the number of critical tasks that have started.
    #[inline]
    pub(crate) fn critical(&self) -> usize {
        self.critical
    }

    /// Returns the number of waiting jobs.
    #[inline]
    pub(crate) fn waiting(&self) -> usize {
        self.waiting
    }

    /// Returns the number of waiting jobs of one priority.
    #[inline]
    pub(crate) fn waiting_of(&self, priority: Priority) -> usize {
        self.queues[priority.index()].len()
    }

    /// Returns whether a waiting job is among the first `count` in order.
    #[inline]
    pub(crate) fn is_among_first(&self, count: usize, priority: Priority, ticket: Ticket) -> bool {
        let higher = Priority::ALL.into_iter().filter(|other| *other > priority);
        let before: usize = higher.map(|other| self.waiting_of(other)).sum();
        count
            .checked_sub(before)
            .is_some_and(|rest| self.queues[priority.index()].is_among_first(rest, ticket))
    }

    /// Returns the waiting jobs, in no particular order.
    pub(crate) fn jobs(&self) -> impl Iterator<Item = &J> {
        self.queues.iter().flat_map(Queue::iter)
    }

    /// Removes all waiting jobs, the most urgent first.
    pub(crate) fn drain(&mut self) -> Vec<J> {
        let mut all = Vec::with_capacity(self.waiting);
        while let Some((_, _, job)) = self.pop_first() {
            all.push(job);
        }
        all
    }
}
