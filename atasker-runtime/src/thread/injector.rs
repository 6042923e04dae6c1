//! The queue through which launches submit jobs without the lock of the pool.
//!
//! While all slots that a priority may use are taken, a launch of that priority only appends a job
//! to the backlog. Such a launch pushes its job into the injector and returns. Threads that hold
//! the lock move jobs from the injector to the backlog.
//!
//! The *gate* tells launches, for each priority, whether they must check for a free slot:
//!
//! | step | a launch | a thread that releases a slot |
//! |---|---|---|
//! | 1 | pushes its job | opens the gate |
//! | 2 | reads the gate | checks the injector |
//!
//! Both have a full fence between the two steps, so at least one of them sees the step of the other
//! (Dekker's algorithm): no job is left behind with a free slot. The gate changes only under the
//! lock of the pool. A gate that is open for no reason costs a launch the lock, and nothing else.

use crossbeam_queue::SegQueue;
use crossbeam_utils::CachePadded;

use crate::job::Job;
use crate::priority::Priority;
use crate::sync::{AtomicU32, Ordering, fence};

/// The bit of the gate that requires launches to take the lock before they push, because the queue
/// has a limit or the pool is closed.
pub(super) const LOCK_FIRST: u8 = 1 << 4;

/// Returns the bit of the gate for a priority.
#[inline]
pub(super) fn bit(priority: Priority) -> u8 {
    1 << priority.index()
}

/// The gate of an injector. See the documentation of the module.
pub(super) struct Gate(AtomicU32);

impl Gate {
    pub(super) fn new() -> Self {
        Gate(AtomicU32::new(u8::MAX.into()))
    }

    /// Returns whether any of the bits is set. Called after a push.
    #[inline]
    pub(super) fn is_open(&self, bits: u8) -> bool {
        // Orders the push before the load: step 1 before step 2 of a launch.
        fence(Ordering::SeqCst);
        self.0.load(Ordering::Relaxed) & u32::from(bits) != 0
    }

    /// Sets the bits. A caller that opens the gate must check the injector afterwards.
    #[inline]
    pub(super) fn set(&self, bits: u8) {
        self.0.store(bits.into(), Ordering::Relaxed);
        // Orders the store before the caller's check of the injector. Pairs with the fence in
        // `is_open`.
        fence(Ordering::SeqCst);
    }
}

/// What a launch must do after it has pushed its job.
#[must_use]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum AfterPush {
    /// Nothing: the job has to wait, and a thread that releases a slot finds it.
    Return,
    /// Take the lock and dispatch, because the job may be able to start.
    Dispatch,
}

/// See the documentation of the module.
pub(super) struct Injector {
    queues: [SegQueue<Job>; 4],
    gate: CachePadded<Gate>,
}

impl Injector {
    /// Creates an injector with an open gate.
    pub(super) fn new() -> Self {
        Injector { queues: Default::default(), gate: CachePadded::new(Gate::new()) }
    }

    /// Returns whether a launch must take the lock before it pushes.
    #[inline]
    pub(super) fn must_lock(&self) -> bool {
        // No fence: a launch that misses a change checks the gate again after its push.
        self.gate.0.load(Ordering::Relaxed) & u32::from(LOCK_FIRST) != 0
    }

    /// Appends a job.
    #[inline]
    pub(super) fn push(&self, job: Job) -> AfterPush {
        let priority = job.priority();
        self.queues[priority.index()].push(job);
        if self.gate.is_open(bit(priority) | LOCK_FIRST) {
            AfterPush::Dispatch
        } else {
            AfterPush::Return
        }
    }

    /// Sets the gate, under the lock. A caller that opens it must check the injector once more.
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
