//! The queue through which launches submit jobs without the lock of the pool.
//!
//! While all slots that a priority may use are taken, or a thread is waking, a launch only appends a
//! job to the backlog. Such a launch pushes its job into the injector and returns. Threads that hold
//! the lock take the jobs out: all that were pushed so far, or a chunk of them, in constant time.
//!
//! The *gate* tells launches, for each priority, whether they must check for a free slot:
//!
//! | step | a launch | a thread that releases a slot |
//! |---|---|---|
//! | 1 | locks the queue of its priority, and pushes its job | opens the gate |
//! | 2 | reads the gate | locks the queue, and checks whether it contains a job |
//!
//! One of them has the lock first. If that is the launch, the other one finds the job. Otherwise
//! the launch sees the open gate. So no job is left behind with a free slot. The gate changes only
//! under the lock of the pool. A gate that is open for no reason costs a launch the lock, and
//! nothing else.

use std::collections::VecDeque;

use crossbeam_utils::CachePadded;

use crate::job::Job;
use crate::priority::Priority;
use crate::sync::lock::Mutex;
use crate::sync::{AtomicU32, Ordering};

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

    /// Returns whether any of the bits is set.
    #[inline]
    pub(super) fn is_open(&self, bits: u8) -> bool {
        // Relaxed: the lock of the queue orders it; see the documentation of the module.
        self.0.load(Ordering::Relaxed) & u32::from(bits) != 0
    }

    /// Sets the bits.
    #[inline]
    pub(super) fn set(&self, bits: u8) {
        self.0.store(bits.into(), Ordering::Relaxed);
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
    /// In one cache line, which every launch reads and few of them write.
    shared: CachePadded<Shared>,
    queues: [CachePadded<Mutex<Chunks>>; 4],
}

struct Shared {
    gate: Gate,
    /// A bit for each priority with jobs. Changes under the lock of that priority's queue.
    nonempty: AtomicU32,
}

impl Injector {
    /// Creates an injector with an open gate.
    pub(super) fn new() -> Self {
        let shared = Shared { gate: Gate::new(), nonempty: AtomicU32::new(0) };
        Injector { shared: CachePadded::new(shared), queues: Default::default() }
    }

    /// Returns whether a launch must take the lock before it pushes.
    #[inline]
    pub(super) fn must_lock(&self) -> bool {
        // A launch that misses a change checks the gate again after its push.
        self.shared.gate.is_open(LOCK_FIRST)
    }

    /// Appends a job.
    #[inline]
    pub(super) fn push(&self, job: Job) -> AfterPush {
        let priority = job.priority();
        {
            let mut chunks = self.queues[priority.index()].lock();
            if chunks.push(job) {
                self.shared.nonempty.fetch_or(bit(priority).into(), Ordering::Relaxed);
            }
        }
        if self.shared.gate.is_open(bit(priority) | LOCK_FIRST) {
            AfterPush::Dispatch
        } else {
            AfterPush::Return
        }
    }

    /// Sets the gate, under the lock of the pool. A caller that opens it must check `nonempty`
    /// afterwards.
    #[inline]
    pub(super) fn set_gate(&self, gate: u8, opened: u8) {
        self.shared.gate.set(gate);
        for priority in Priority::ALL {
            if opened & (bit(priority) | LOCK_FIRST) != 0 {
                // From here on, `nonempty` shows the jobs of launches that saw the gate closed.
                drop(self.queues[priority.index()].lock());
            }
        }
    }

    /// Returns the bits of the priorities with jobs.
    #[inline]
    pub(super) fn nonempty(&self) -> u8 {
        // Relaxed: the locks of the queues order it where that matters.
        self.shared.nonempty.load(Ordering::Relaxed) as u8
    }

    /// Replaces an empty queue of the pool by the oldest jobs of this priority, in constant time.
    pub(super) fn take(&self, priority: Priority, out: &mut VecDeque<Job>) {
        debug_assert!(out.is_empty());
        let mut chunks = self.queues[priority.index()].lock();
        if chunks.take(out) {
            self.shared.nonempty.fetch_and(!u32::from(bit(priority)), Ordering::Relaxed);
        }
    }

    pub(super) fn len(&self, priority: Priority) -> usize {
        if self.nonempty() & bit(priority) == 0 {
            return 0;
        }
        self.queues[priority.index()].lock().len()
    }
}

/// The jobs of one priority, in chunks: a queue of millions never moves in memory while a launch
/// waits for the lock, and is given back to the system piece by piece.
#[derive(Default)]
struct Chunks {
    /// Full chunks, the oldest first.
    full: VecDeque<VecDeque<Job>>,
    last: VecDeque<Job>,
}

impl Chunks {
    /// The number of jobs in a full chunk.
    const LENGTH: usize = 2048;

    /// Appends a job. Returns whether there were none.
    #[inline]
    fn push(&mut self, job: Job) -> bool {
        let was_empty = self.last.is_empty();
        if self.last.len() == Self::LENGTH {
            self.begin_chunk();
        }
        self.last.push_back(job);
        was_empty
    }

    #[cold]
    fn begin_chunk(&mut self) {
        let full = std::mem::replace(&mut self.last, VecDeque::with_capacity(Self::LENGTH));
        self.full.push_back(full);
    }

    /// Replaces an empty queue by the oldest chunk. Returns whether no job is left.
    fn take(&mut self, out: &mut VecDeque<Job>) -> bool {
        match self.full.pop_front() {
            Some(oldest) => {
                *out = oldest;
                if self.full.is_empty() {
                    self.full = VecDeque::new();
                }
                false
            }
            None => {
                // The buffer of the empty queue is used for the next jobs.
                std::mem::swap(&mut self.last, out);
                true
            }
        }
    }

    fn len(&self) -> usize {
        self.full.len() * Self::LENGTH + self.last.len()
    }
}

#[cfg(all(test, not(atasker_loom)))]
mod tests {
    use super::*;
    use crate::id::TaskId;
    use crate::info::TaskType;
    use crate::task::TaskArc;
    use crate::task::body::Once;
    use crate::task::cell::Cell;
    use crate::task::header::Header;

    fn job(priority: Priority) -> Job {
        let mut header = Header::new(TaskType::Thread, TaskId::next());
        header.priority = priority;
        Job::new(Cell::<(), _>::allocate(header, Once(Some(|_: &TaskArc| ())), ()).erase())
    }

    #[test]
    fn jobs_come_out_in_the_order_of_their_priority() {
        let injector = Injector::new();
        let many = 3 * Chunks::LENGTH + 5;
        let mut pushed = Vec::new();
        for _ in 0..many {
            let job = job(Priority::Low);
            pushed.push(job.header().id());
            assert_eq!(injector.push(job), AfterPush::Dispatch);
        }
        let _ = injector.push(job(Priority::High));
        assert_eq!(injector.nonempty(), bit(Priority::Low) | bit(Priority::High));
        assert_eq!((injector.len(Priority::Low), injector.len(Priority::High)), (many, 1));
        let (mut taken, mut queue) = (Vec::new(), VecDeque::new());
        while injector.nonempty() & bit(Priority::Low) != 0 {
            injector.take(Priority::Low, &mut queue);
            assert_eq!(injector.len(Priority::Low) + taken.len() + queue.len(), many);
            taken.extend(queue.drain(..).map(|job| job.header().id()));
        }
        assert_eq!(taken, pushed);
        injector.take(Priority::High, &mut queue);
        assert_eq!((queue.len(), injector.nonempty()), (1, 0));
    }
}
