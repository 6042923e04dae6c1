//! Where launches leave their jobs without the pool's lock.
//!
//! While all slots that a priority may take are held, a launch of that priority changes nothing but
//! the order of those that wait: it leaves its job here and goes. Threads that come by, under the
//! lock, move jobs on to the backlog. The *gate* says for each priority whether a launch must look
//! further:
//!
//! | | the launcher | a thread that gives a slot up |
//! |---|---|---|
//! | 1 | pushes its job | opens the gate |
//! | 2 | looks at the gate | looks into the inbox |
//!
//! with a full fence between 1 and 2 on both sides, so that one of them sees the other (Dekker's
//! rule). The gate changes under the pool's lock only. An open gate does no harm: it costs a launch
//! the lock.

use std::sync::atomic::{AtomicU8, Ordering, fence};

use crossbeam_queue::SegQueue;
use crossbeam_utils::CachePadded;

use crate::job::Job;
use crate::priority::Priority;

/// Launches must take the lock before they push: there are limits to look at, or the pool is closed.
pub(super) const CHECK: u8 = 1 << 4;

/// The gate's bit of a priority.
#[inline]
pub(super) fn bit(priority: Priority) -> u8 {
    1 << priority.index()
}

/// See the module's documentation.
pub(super) struct Inbox {
    queues: [SegQueue<Job>; 4],
    gate: CachePadded<AtomicU8>,
}

impl Inbox {
    /// All gates are open.
    pub(super) fn new() -> Self {
        Inbox { queues: Default::default(), gate: CachePadded::new(AtomicU8::new(u8::MAX)) }
    }

    /// Whether the lock is to be taken before a job is pushed.
    #[inline]
    pub(super) fn must_check(&self) -> bool {
        self.gate.load(Ordering::Relaxed) & CHECK != 0
    }

    /// Leaves a job here. True: take the lock and look what can be started.
    #[must_use]
    #[inline]
    pub(super) fn push(&self, job: Job) -> bool {
        let priority = job.priority();
        self.queues[priority.index()].push(job);
        fence(Ordering::SeqCst);
        self.gate.load(Ordering::Relaxed) & (bit(priority) | CHECK) != 0
    }

    /// Sets the gate; under the lock. Where that opens it, look into the inbox once more.
    #[inline]
    pub(super) fn set_gate(&self, gate: u8) {
        self.gate.store(gate, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }

    #[inline]
    pub(super) fn is_empty(&self, priority: Priority) -> bool {
        self.queues[priority.index()].is_empty()
    }

    #[inline]
    pub(super) fn pop(&self, priority: Priority) -> Option<Job> {
        self.queues[priority.index()].pop()
    }

    #[inline]
    pub(super) fn len(&self, priority: Priority) -> usize {
        self.queues[priority.index()].len()
    }
}
