//! A first-in-first-out queue whose entries can be taken out of the middle.

use std::collections::VecDeque;

/// Names an entry of a queue. Tickets rise from front to back.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Ticket(pub(crate) i64);

/// Entries stay sorted by ticket, so that one is found by binary search. One that was taken out of
/// the middle leaves a gap; gaps are closed when they are more than half of the queue.
#[derive(Debug)]
pub(crate) struct Queue<J> {
    entries: VecDeque<(Ticket, Option<J>)>,
    gaps: usize,
    next_back: i64,
    next_front: i64,
}

impl<J> Queue<J> {
    #[inline]
    pub(crate) fn new() -> Self {
        Queue { entries: VecDeque::new(), gaps: 0, next_back: 0, next_front: -1 }
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
        let ticket = Ticket(self.next_back);
        self.next_back += 1;
        self.entries.push_back((ticket, Some(job)));
        ticket
    }

    #[inline]
    pub(crate) fn push_front(&mut self, job: J) -> Ticket {
        let ticket = Ticket(self.next_front);
        self.next_front -= 1;
        self.entries.push_front((ticket, Some(job)));
        ticket
    }

    #[inline]
    pub(crate) fn next_ticket(&self) -> Ticket {
        Ticket(self.next_back)
    }

    #[inline]
    pub(crate) fn next_front_ticket(&self) -> Ticket {
        Ticket(self.next_front)
    }

    #[inline]
    pub(crate) fn peek(&self) -> Option<&J> {
        self.entries.iter().find_map(|(_, entry)| entry.as_ref())
    }

    #[inline]
    pub(crate) fn pop(&mut self) -> Option<J> {
        while let Some((_, entry)) = self.entries.pop_front() {
            match entry {
                Some(job) => {
                    self.shrink();
                    return Some(job);
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

    /// Whether an entry is among the first `count` of those that are still there.
    #[inline]
    pub(crate) fn is_among_first(&self, count: usize, ticket: Ticket) -> bool {
        let there = self.entries.iter().filter(|(_, job)| job.is_some());
        there.take(count).take_while(|(t, _)| *t <= ticket).any(|(t, _)| *t == ticket)
    }

    /// Gives memory back after a burst: a service that once queued millions need not keep the room.
    fn shrink(&mut self) {
        const KEEP: usize = 1024;
        if self.entries.capacity() > KEEP && self.entries.len() < self.entries.capacity() / 8 {
            self.entries.shrink_to((self.entries.len() * 2).max(KEEP));
        }
    }
}

#[cfg(test)]
impl<J> Queue<J> {
    /// Entries kept, gaps included.
    #[inline]
    pub(crate) fn stored(&self) -> usize {
        self.entries.len()
    }
}
