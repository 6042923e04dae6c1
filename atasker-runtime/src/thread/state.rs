//! The state of the pool under its lock, and the rules for it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Waker;

use super::injector::{self, Injector};
use super::parker::Parker;
use super::pool::Signal;
use crate::backlog::{Backlog, Limits, Ticket};
use crate::id::TaskId;
use crate::job::Job;
use crate::limit::{self, Admission, Parked, Reserved};
use crate::options::{Overflow, PoolConfig};
use crate::priority::Priority;
use crate::room::WaitingRoom;
use crate::task::AnyTask;
use crate::task::header::Header;

/// The state under the lock. `repr(C)` keeps the fields that every run uses next to the lock,
/// because their cache lines move from thread to thread.
#[repr(C)]
pub(super) struct PoolState {
    pub(super) open: bool,
    /// A thread was unparked or spawned, and has not reached the backlog yet.
    pub(super) waking: bool,
    /// The current gate of the injector.
    pub(super) gate: u8,
    /// The number of jobs in `admitted`.
    pub(super) admitted_count: usize,
    pub(super) tasks_run: u64,
    /// Launches that wait for space in the queue.
    pub(super) room: WaitingRoom,
    pub(super) backlog: Backlog<Job>,
    /// The number of jobs of each priority that wait for their limits, outside of the backlog.
    pub(super) parked: [usize; 4],
    /// Jobs that were taken out of the injector, by priority. They come behind those in the backlog.
    incoming: [VecDeque<Job>; 4],
    /// A bit for each priority with jobs in `incoming`.
    incoming_bits: u8,
    /// Jobs that have a slot and no thread yet, by priority.
    pub(super) admitted: [VecDeque<Job>; 4],
    /// A stack: the thread that became idle last is woken first, because its caches are warm, and
    /// because unneeded threads can then reach their idle timeout.
    pub(super) idle: Vec<Arc<Parker<Signal>>>,
    pub(super) threads: usize,
    pub(super) blocked: usize,
    pub(super) config: PoolConfig,
    pub(super) thread_number: u64,
    /// Tasks that have exceeded their time limits and still run.
    pub(super) overdue: Vec<TaskId>,
    /// Set after a thread could not be spawned, until the timer allows the next attempt.
    pub(super) backing_off: bool,
    /// Failures to spawn a thread, in a row.
    pub(super) spawn_failures: u32,
    /// The number of launches for which space is reserved.
    pub(super) reserved: usize,
}

/// The thread to wake after the lock is released.
#[must_use]
pub(super) enum Wake {
    /// No thread: no job may start, or a thread is waking already.
    None,
    Unpark(Arc<Parker<Signal>>),
    Spawn(NewThread),
}

/// A thread to spawn.
pub(super) struct NewThread {
    pub(super) number: u64,
    pub(super) stack: Option<usize>,
}

pub(super) fn limits(config: &PoolConfig) -> Limits {
    Limits {
        pool_size: config.pool_size,
        reserve_normal: config.reserve_normal,
        reserve_high: config.reserve_high,
        max_size: config.max_size,
        critical_extra: None,
    }
}

impl PoolState {
    pub(super) fn new(config: PoolConfig) -> Self {
        PoolState {
            backlog: Backlog::new(limits(&config)),
            parked: [0; 4],
            incoming: Default::default(),
            incoming_bits: 0,
            admitted: Default::default(),
            admitted_count: 0,
            config,
            idle: Vec::new(),
            threads: 0,
            waking: false,
            blocked: 0,
            open: true,
            thread_number: 0,
            tasks_run: 0,
            overdue: Vec::new(),
            room: WaitingRoom::default(),
            backing_off: false,
            spawn_failures: 0,
            reserved: 0,
            gate: u8::MAX,
        }
    }

    /// Gives a slot to every job that may have one. From here on, `stop` treats the task as one
    /// that runs.
    pub(super) fn admit(&mut self, injector: &Injector) {
        loop {
            self.admit_once(injector);
            let opens = self.set_gate(injector);
            if !opens {
                return;
            }
            // A launch may have pushed a job and seen the gate still closed, so check the injector
            // once more.
        }
    }

    /// Closes the gate until the thread that is about to be woken is at the backlog: it finds the
    /// jobs that are launched meanwhile.
    pub(super) fn begin_waking(&mut self, injector: &Injector) {
        self.waking = true;
        self.set_gate(injector);
    }

    /// Ends the time of a waking thread. Every job that may have a slot has one then.
    pub(super) fn end_waking(&mut self, injector: &Injector) {
        self.waking = false;
        self.admit(injector);
    }

    /// Updates the gate. Returns true if that opens it for any priority.
    pub(super) fn set_gate(&mut self, injector: &Injector) -> bool {
        let gate = self.compute_gate();
        let opened = gate & !self.gate;
        if gate != self.gate {
            self.gate = gate;
            injector.set_gate(gate, opened);
        }
        opened != 0
    }

    pub(super) fn admit_once(&mut self, injector: &Injector) {
        loop {
            match self.next_admitted(injector) {
                Some((priority, job)) => {
                    self.admitted[priority.index()].push_back(job);
                    self.admitted_count += 1;
                }
                None => return,
            }
        }
    }

    /// Removes the next job if it may start. The job then holds a slot, and its limit if it has one.
    ///
    /// A job whose limit has no room waits for that, and those behind it may overtake it.
    fn next_admitted(&mut self, injector: &Injector) -> Option<(Priority, Job)> {
        loop {
            let (priority, job) = self.next_waiting(injector)?;
            if !limit::has_limit(job.header()) {
                return Some((priority, job));
            }
            if let Some(job) = self.admit_limited(priority, job) {
                return Some((priority, job));
            }
        }
    }

    /// Returns the job if its limit has room. Otherwise releases its slot.
    #[cold]
    fn admit_limited(&mut self, priority: Priority, job: Job) -> Option<Job> {
        // Cleared first, because the job may be in the gate afterwards, and is not in the pool then.
        let tag = job.header().place_tag.swap(NOT_IN_POOL, Ordering::Relaxed);
        let Admission { job, next } =
            limit::admit(job, Reserved { ticket: ticket_of(tag), bytes: 0 });
        match &job {
            Some(job) => job.header().place_tag.store(tag, Ordering::Relaxed),
            None => {
                self.backlog.release(priority);
                self.parked[priority.index()] += 1;
            }
        }
        if let Some(next) = next {
            self.unpark(priority, next);
        }
        job
    }

    /// Reserves the position of a job that waits for its limit.
    pub(super) fn reserve(&mut self, priority: Priority) -> Reserved {
        self.parked[priority.index()] += 1;
        Reserved { ticket: Some(self.backlog.reserve_ticket(priority)), bytes: 0 }
    }

    /// Ends the reservation of a job.
    pub(super) fn unreserve(&mut self, priority: Priority) {
        self.parked[priority.index()] -= 1;
    }

    /// Queues a job that has waited for its limit.
    pub(super) fn unpark(&mut self, priority: Priority, parked: Parked) {
        self.unreserve(priority);
        let Parked { job, reserved } = parked;
        let ticket = reserved.ticket.unwrap_or_else(|| self.backlog.reserve_ticket(priority));
        job.header().place_tag.store(tag_of(ticket), Ordering::Relaxed);
        self.backlog.requeue(priority, ticket, job);
    }

    /// Removes the next job in order if it may start. The job then holds a slot.
    ///
    /// Within a priority, the jobs of the injector come behind those of the backlog.
    #[inline]
    fn next_waiting(&mut self, injector: &Injector) -> Option<(Priority, Job)> {
        let injected = Priority::highest(self.incoming_bits | injector.nonempty());
        match injected {
            Some(priority) if injected > self.backlog.first_priority() => {
                self.next_injected(injector, priority)
            }
            _ => self.backlog.next(),
        }
    }

    /// The same for the jobs of one priority that were pushed to the injector. None of them is in
    /// the backlog.
    #[inline]
    fn next_injected(
        &mut self,
        injector: &Injector,
        priority: Priority,
    ) -> Option<(Priority, Job)> {
        if !self.backlog.may_start(priority) {
            return None;
        }
        let job = self.pop_injected(injector, priority)?;
        // With a ticket, because the job has no thread yet, and may be looked for until it has one.
        let tag = tag_of(self.backlog.issue_ticket(priority));
        // Relaxed: the pool reads and writes tags of waiting jobs under its lock only.
        job.header().place_tag.store(tag, Ordering::Relaxed);
        self.backlog.acquire(priority);
        Some((priority, job))
    }

    /// Removes the first job of a priority that was pushed to the injector.
    #[inline]
    fn pop_injected(&mut self, injector: &Injector, priority: Priority) -> Option<Job> {
        let queue = &mut self.incoming[priority.index()];
        if queue.is_empty() {
            injector.take(priority, queue);
            self.incoming_bits |= injector::bit(priority);
        }
        self.pop_incoming(priority)
    }

    /// Removes the first job of a priority that was taken out of the injector.
    #[inline]
    fn pop_incoming(&mut self, priority: Priority) -> Option<Job> {
        let queue = &mut self.incoming[priority.index()];
        let job = queue.pop_front();
        if queue.is_empty() {
            self.incoming_bits &= !injector::bit(priority);
        }
        job
    }

    /// Appends a job to those of its priority.
    pub(super) fn push(&mut self, injector: &Injector, job: Job) {
        let priority = job.priority();
        self.drain_injector(injector, priority);
        self.push_to_backlog(priority, job);
    }

    fn push_to_backlog(&mut self, priority: Priority, job: Job) {
        let tag = tag_of(self.backlog.next_ticket(priority));
        // Relaxed: the pool reads and writes tags of waiting jobs under its lock only.
        job.header().place_tag.store(tag, Ordering::Relaxed);
        self.backlog.push(priority, job);
    }

    /// Moves all jobs of one priority from the injector to the backlog, where they can be found.
    pub(super) fn drain_injector(&mut self, injector: &Injector, priority: Priority) {
        if (self.incoming_bits | injector.nonempty()) & injector::bit(priority) == 0 {
            return;
        }
        while let Some(job) = self.pop_injected(injector, priority) {
            self.push_to_backlog(priority, job);
        }
    }

    /// Returns the number of jobs of one priority that were pushed to the injector and wait.
    pub(super) fn injected(&self, injector: &Injector, priority: Priority) -> usize {
        self.incoming[priority.index()].len() + injector.len(priority)
    }

    /// Returns the gate for the current state: the priorities whose launches must dispatch.
    pub(super) fn compute_gate(&self) -> u8 {
        let mut gate = 0;
        if !self.open || self.config.queue_limit.is_some() {
            gate |= injector::LOCK_FIRST;
        }
        if self.waking {
            return gate;
        }
        for priority in Priority::ALL {
            if self.backlog.may_start(priority) {
                gate |= injector::bit(priority);
            }
        }
        gate
    }

    /// Returns the job that takes over the slot that was just released. This is the fast path for
    /// the usual case, in which no job waits for a thread and no launch waits for space. The number
    /// of taken slots stays the same, so the gate needs no update.
    #[inline]
    pub(super) fn hand_off_slot(&mut self, injector: &Injector) -> Option<Job> {
        if self.admitted_count > 0 || !self.room.is_empty() {
            return None;
        }
        match self.next_injected_only(injector) {
            Some(job) => Some(job),
            None => Some(self.next_admitted(injector)?.1),
        }
    }

    /// The fast path for jobs of one priority that were all pushed to the injector, and have no
    /// limits.
    #[inline]
    fn next_injected_only(&mut self, injector: &Injector) -> Option<Job> {
        // What is in the injector itself may be more urgent.
        let priority = Priority::highest(self.incoming_bits | injector.nonempty())?;
        let first = self.incoming[priority.index()].front()?;
        let is_next = self.backlog.first_priority().is_none() && self.backlog.may_start(priority);
        if !is_next || limit::has_limit(first.header()) {
            return None;
        }
        // It needs no ticket of its own, because a thread begins it now. Until then it is one that
        // can't be removed.
        first.header().place_tag.store(tag_of(NEVER_WAITS), Ordering::Relaxed);
        self.backlog.acquire(priority);
        self.pop_incoming(priority)
    }

    /// Removes the most urgent job that has a slot and no thread.
    pub(super) fn pop_admitted(&mut self) -> Option<Job> {
        if self.admitted_count == 0 {
            return None;
        }
        self.admitted_count -= 1;
        self.admitted.iter_mut().rev().find_map(VecDeque::pop_front)
    }

    /// Removes the job of a task that has a slot and no thread, and releases the slot.
    pub(super) fn remove_admitted(&mut self, task: &dyn AnyTask) -> Option<Job> {
        let header = task.header();
        let jobs = &mut self.admitted[header.priority.index()];
        let at = jobs.iter().position(|job| job.header().id() == header.id())?;
        let job = jobs.remove(at)?;
        self.admitted_count -= 1;
        self.backlog.release(header.priority);
        Some(job)
    }

    /// Returns whether a task has a slot and no thread.
    pub(super) fn is_admitted(&self, header: &Header) -> bool {
        let jobs = &self.admitted[header.priority.index()];
        jobs.iter().any(|job| job.header().id() == header.id())
    }

    /// Makes the tag of a task say where in the pool it is.
    pub(super) fn find(&mut self, injector: &Injector, header: &Header) {
        if header.place_tag.load(Ordering::Relaxed) == NOT_IN_POOL {
            // The job may be in the injector. It gets a slot if there is one, as if the thread that
            // is waking had come already.
            self.admit(injector);
        }
        if header.place_tag.load(Ordering::Relaxed) == NOT_IN_POOL {
            // From there it can't be removed: move it to the backlog.
            self.drain_injector(injector, header.priority);
        }
    }

    /// Selects a thread to wake, if a job has a slot and no thread is waking. One at a time is
    /// enough: the woken thread wakes the next one, and threads that complete a job check for more
    /// by themselves. A burst of short tasks therefore costs few wake-ups.
    pub(super) fn plan_wake(&mut self, injector: &Injector) -> Wake {
        self.admit(injector);
        if self.waking || self.admitted_count == 0 {
            return Wake::None;
        }
        if let Some(parker) = self.idle.pop() {
            self.begin_waking(injector);
            return Wake::Unpark(parker);
        }
        if self.backing_off {
            return Wake::None;
        }
        self.begin_waking(injector);
        Wake::Spawn(self.new_thread())
    }

    /// Removes all jobs that no thread has taken.
    pub(super) fn drain_all(&mut self, injector: &Injector) -> Vec<Job> {
        let mut all = Vec::new();
        for priority in Priority::ALL {
            self.drain_injector(injector, priority);
        }
        while let Some(job) = self.pop_admitted() {
            self.backlog.release(job.priority());
            all.push(job);
        }
        all.extend(self.backlog.drain());
        all
    }

    pub(super) fn new_thread(&mut self) -> NewThread {
        self.threads += 1;
        self.thread_number += 1;
        NewThread { number: self.thread_number, stack: self.config.stack_size }
    }

    /// Returns whether the queue is full for one more job of this priority. `may_start` says whether
    /// the job may start as soon as it has a slot.
    pub(super) fn is_full(&self, injector: &Injector, priority: Priority, may_start: bool) -> bool {
        self.config.queue_limit.is_some_and(|(limit, _)| {
            !self.has_space(injector, limit, priority, may_start, self.reserved)
        })
    }

    /// Returns whether the queue has space for one more job of this priority, behind `before` others
    /// for which it has space. A job that may start needs no space in the queue, and it can't
    /// overtake another one, because no job waits that could have a slot.
    fn has_space(
        &self,
        injector: &Injector,
        limit: usize,
        priority: Priority,
        may_start: bool,
        before: usize,
    ) -> bool {
        let injected = Priority::ALL.into_iter().map(|priority| self.injected(injector, priority));
        let parked = self.parked.iter().sum::<usize>();
        let waiting = self.backlog.waiting() + injected.sum::<usize>() + parked;
        waiting + before < limit || may_start && before < self.backlog.free_for(priority)
    }

    /// Takes out the launches for which there may be space now. To be called after each change that
    /// may make space; the caller wakes them without the lock.
    #[inline]
    pub(super) fn take_launchers(&mut self, injector: &Injector) -> Vec<Waker> {
        match self.room.is_empty() {
            true => Vec::new(),
            false => self.take_some_launchers(injector),
        }
    }

    #[cold]
    fn take_some_launchers(&mut self, injector: &Injector) -> Vec<Waker> {
        // Jobs that may start leave the queue first.
        self.admit(injector);
        let mut room = std::mem::take(&mut self.room);
        let taken = match self.config.queue_limit {
            // In an idle pool no further change would wake those that are left if the first ones
            // don't launch anything, because they are not polled.
            Some((limit, Overflow::Block)) if self.open && !self.is_idle(injector) => room
                .take_while(|launcher, taken| {
                    let (priority, may_start) = (launcher.priority(), !launcher.has_limit());
                    let before = self.reserved + taken;
                    self.has_space(injector, limit, priority, may_start, before)
                }),
            _ => room.take_all(),
        };
        self.room = room;
        taken
    }

    /// Returns whether a job waits, for a slot or for a thread.
    pub(super) fn has_waiting(&self, injector: &Injector) -> bool {
        let injected = self.incoming_bits | injector.nonempty();
        self.admitted_count + self.backlog.waiting() > 0 || injected != 0
    }

    /// Returns whether no job waits or holds a slot.
    fn is_idle(&self, injector: &Injector) -> bool {
        let waiting = self.backlog.waiting() + self.parked.iter().sum::<usize>();
        self.backlog.held() + waiting + self.reserved == 0
            && self.incoming_bits | injector.nonempty() == 0
    }
}

/// The ticket of no job that waits.
const NEVER_WAITS: Ticket = Ticket(i64::MAX);

/// The tag of a task that is not in the pool.
pub(super) const NOT_IN_POOL: u64 = 0;

/// Returns the tag for a ticket. Tickets are small numbers, so no tag is equal to [`NOT_IN_POOL`].
pub(super) fn tag_of(Ticket(ticket): Ticket) -> u64 {
    (ticket ^ i64::MIN) as u64
}

pub(super) fn ticket_of(tag: u64) -> Option<Ticket> {
    (tag != NOT_IN_POOL).then_some(Ticket(tag as i64 ^ i64::MIN))
}

#[cfg(all(test, not(atasker_loom)))]
mod tests {
    use super::*;
    use crate::info::TaskType;
    use crate::task::TaskArc;
    use crate::task::body::Once;
    use crate::task::cell::Cell;

    #[test]
    fn job_that_takes_over_a_slot_can_not_be_removed() {
        let (injector, mut state) = (Injector::new(), PoolState::new(PoolConfig::new(1)));
        for _ in 0..3 {
            let header = Header::new(TaskType::Thread, TaskId::next());
            let body = Once(Some(|_: &TaskArc| ()));
            let _ = injector.push(Job::new(Cell::<(), _>::allocate(header, body, ()).erase()));
        }
        state.admit(&injector);
        let mut running = state.pop_admitted().unwrap();
        for _ in 0..2 {
            drop(running.into_task());
            state.backlog.release(Priority::Normal);
            running = state.hand_off_slot(&injector).unwrap();
            state.find(&injector, running.header());
            let tag = running.header().place_tag.load(Ordering::Relaxed);
            let ticket = ticket_of(tag).expect("it is not one that waits for space");
            assert!(state.backlog.remove(Priority::Normal, ticket).is_none());
            assert!(state.remove_admitted(&**running.task()).is_none());
        }
        assert!(state.hand_off_slot(&injector).is_none());
        drop(running.into_task());
    }
}
