//! A first-in-first-out queue that supports removal from any position.

use std::collections::VecDeque;

/// Identifies an entry of a queue. Tickets increase from front to back.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Ticket(pub(crate) i64);

/// Entries are sorted by ticket and found by binary search. Removing one from the middle leaves a
/// gap. Gaps are closed once they make up more than half of the queue.
#[derive(Debug)]
pub(crate) struct Queue<J> {
    entries: VecDeque<(Ticket, Option<J>)>,
    gaps: usize,
    next: i64,
}

impl<J> Queue<J> {
    #[inline]
    pub(crate) fn new() -> Self {
        Queue { entries: VecDeque::new(), gaps: 0, next: 0 }
    }

    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.entries.len() - self.gaps
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    #[inline]
    pub(crate) fn push(&mut self, job: J) -> Ticket {
        let ticket = self.issue_ticket();
        self.entries.push_back((ticket, Some(job)));
        ticket
    }

    /// Returns the ticket of a job that starts without having waited.
    #[inline]
    pub(crate) fn issue_ticket(&mut self) -> Ticket {
        let ticket = self.next_ticket();
        self.next += 1;
        ticket
    }

    /// Returns a job that was popped, or started, with this ticket to its former position.
    pub(crate) fn requeue(&mut self, ticket: Ticket, job: J) {
        // Usually near the front, because popped entries are older than the remaining ones.
        let at = self.entries.partition_point(|(other, _)| *other < ticket);
        self.entries.insert(at, (ticket, Some(job)));
    }

    #[inline]
    pub(crate) fn next_ticket(&self) -> Ticket {
        Ticket(self.next)
    }

    #[inline]
    pub(crate) fn peek(&self) -> Option<&J> {
        self.iter().next()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &J> {
        self.entries.iter().filter_map(|(_, entry)| entry.as_ref())
    }

    #[inline]
    pub(crate) fn pop(&mut self) -> Option<(Ticket, J)> {
        while let Some((ticket, entry)) = self.entries.pop_front() {
            match entry {
                Some(job) => {
                    self.shrink();
                    return Some((ticket, job));
                }
                None => self.gaps -= 1,
            }
        }
        None
    }

    #[inline]
    pub(crate) fn remove(&mut self, ticket: Ticket) -> Option<J> {
        let at = self.entries.binary_search_by_key(&ticket, |(ticket, _)| *ticket).ok()?;
        let job = self.entries[at].1.take()?;
        self.gaps += 1;
        if self.gaps * 2 > self.entries.len() {
            self.entries.retain(|(_, job)| job.is_some());
            self.gaps = 0;
            self.shrink();
        }
        Some(job)
    }

    /// Returns whether an entry is among the first `count` remaining ones.
    #[inline]
    pub(crate) fn is_among_first(&self, count: usize, ticket: Ticket) -> bool {
        let nonempty = self.entries.iter().filter(|(_, job)| job.is_some());
        nonempty.take(count).take_while(|(t, _)| *t <= ticket).any(|(t, _)| *t == ticket)
    }

    /// Returns memory after a burst, because a service that once queued millions need not keep the
    /// capacity.
    fn shrink(&mut self) {
        const MIN_CAPACITY: usize = 1024;
        if self.entries.capacity() > MIN_CAPACITY
            && self.entries.len() < self.entries.capacity() / 8
        {
            self.entries.shrink_to((self.entries.len() * 2).max(MIN_CAPACITY));
        }
    }
}

#[cfg(test)]
impl<J> Queue<J> {
    /// Returns the number of stored entries, including gaps.
    #[inline]
    pub(crate) fn stored(&self) -> usize {
        self.entries.len()
    }
}
