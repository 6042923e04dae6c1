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

use crossbeam_queue::SegQueue;
use crossbeam_utils::CachePadded;

use crate::job::Job;
use crate::priority::Priority;
use crate::sync::{AtomicU32, Ordering, fence};

/// Launches must take the lock before they push: there are limits to look at, or the pool is closed.
pub(super) const CHECK: u8 = 1 << 4;

/// The gate's bit of a priority.
#[inline]
pub(super) fn bit(priority: Priority) -> u8 {
    1 << priority.index()
}

/// The gate of an inbox.
pub(super) struct Gate(AtomicU32);

impl Gate {
    pub(super) fn new() -> Self {
        Gate(AtomicU32::new(u8::MAX.into()))
    }

    /// The launcher's look, after it has pushed.
    #[inline]
    pub(super) fn is_open(&self, bits: u8) -> bool {
        fence(Ordering::SeqCst);
        self.0.load(Ordering::Relaxed) & u32::from(bits) != 0
    }

    /// Sets it; whoever opens it looks into the inbox afterwards.
    #[inline]
    pub(super) fn set(&self, bits: u8) {
        self.0.store(bits.into(), Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }
}

/// See the module's documentation.
pub(super) struct Inbox {
    queues: [SegQueue<Job>; 4],
    gate: CachePadded<Gate>,
}

impl Inbox {
    /// All gates are open.
    pub(super) fn new() -> Self {
        Inbox { queues: Default::default(), gate: CachePadded::new(Gate::new()) }
    }

    /// Whether the lock is to be taken before a job is pushed.
    #[inline]
    pub(super) fn must_check(&self) -> bool {
        self.gate.0.load(Ordering::Relaxed) & u32::from(CHECK) != 0
    }

    /// Leaves a job here. True: take the lock and look what can be started.
    #[must_use]
    #[inline]
    pub(super) fn push(&self, job: Job) -> bool {
        let priority = job.priority();
        self.queues[priority.index()].push(job);
        self.gate.is_open(bit(priority) | CHECK)
    }

    /// Sets the gate; under the lock. Where that opens it, look into the inbox once more.
    #[inline]
    pub(super) fn set_gate(&self, gate: u8) {
        self.gate.set(gate);
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
