//! The pool's state and its place interface.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::Duration;

use crossbeam_utils::CachePadded;
use parking_lot::{Mutex, MutexGuard};

use super::idle::Idler;
use super::inbox::{self, Inbox};
use super::run;
use crate::backlog::{Backlog, Limits, Ticket};
use crate::clock;
use crate::error::{KillError, TaskError, with_advice};
use crate::id::TaskId;
use crate::info::{ThreadPoolInfo, Waiting};
use crate::job::{Job, Place, WhenFull};
use crate::options::{Overflow, PoolConfig};
use crate::priority::Priority;
use crate::spin;
use crate::task::owners::OwnerKey;
use crate::task::panic::guarded;
use crate::task::state::Phase;
use crate::task::waiters::{WaiterKey, Waiters};
use crate::task::{AnyTask, park};
use crate::timer;

/// What an idle thread is told.
pub(super) enum Order {
    /// There is something to do: look into the backlog.
    Look,
    /// The pool is closed.
    Leave,
}

/// The threads of a supervisor.
pub(crate) struct ThreadPool {
    pub(super) shared: Arc<Shared>,
}

/// What threads and launchers share.
pub(super) struct Shared {
    /// The supervisor's id, for the threads' names.
    name: String,
    pub(super) owner: OwnerKey,
    pub(super) inbox: Inbox,
    pub(super) state: CachePadded<Mutex<PoolState>>,
    /// Threads that look for work without sleeping: at most one, so that the rest of the machine
    /// is left to the work.
    pub(super) spinning: CachePadded<AtomicBool>,
}

/// What every run looks at stands first, beside the lock: these lines of a cache move from thread to
/// thread.
#[repr(C)]
pub(super) struct PoolState {
    open: bool,
    /// A thread is on its way to look into the backlog: woken or started, and not there yet.
    coming: bool,
    /// How the inbox's gate stands.
    gate: u8,
    /// Jobs in `ready`.
    ready_count: usize,
    pub(super) tasks_run: u64,
    /// Launchers that wait for room in the queue.
    room: Waiters,
    pub(super) backlog: Backlog<Job>,
    /// Jobs that have their slot and wait for a thread to come, by priority.
    ready: [VecDeque<Job>; 4],
    /// The last to become idle is the first to be used: the others' time runs out, and caches are
    /// warm.
    idle: Vec<Arc<Idler<Order>>>,
    threads: usize,
    blocked: usize,
    config: PoolConfig,
    thread_number: u64,
    pub(super) overstayed: Vec<TaskId>,
    /// The system gave no thread: a pause, and then the next try.
    starved: Option<Duration>,
    last_pause: Option<Duration>,
}

/// Who is to come and look, after the lock is released.
#[must_use]
enum Call {
    /// Nobody: nothing may start, or somebody is coming already.
    Nobody,
    Idle(Arc<Idler<Order>>),
    New(NewThread),
}

/// A thread to be started.
struct NewThread {
    number: u64,
    stack: Option<usize>,
}

impl ThreadPool {
    pub(crate) fn new(supervisor_id: &str, owner: OwnerKey, config: PoolConfig) -> Self {
        ThreadPool {
            shared: Arc::new(Shared {
                name: supervisor_id.to_owned(),
                owner,
                spinning: CachePadded::new(AtomicBool::new(false)),
                inbox: Inbox::new(),
                state: CachePadded::new(Mutex::new(PoolState {
                    backlog: Backlog::new(limits(&config)),
                    ready: Default::default(),
                    ready_count: 0,
                    config,
                    idle: Vec::new(),
                    threads: 0,
                    coming: false,
                    blocked: 0,
                    open: true,
                    thread_number: 0,
                    tasks_run: 0,
                    overstayed: Vec::new(),
                    room: Waiters::NONE,
                    starved: None,
                    last_pause: None,
                    gate: u8::MAX,
                })),
            }),
        }
    }

    /// New sizes and rules, from now on; tasks that run keep their slots.
    pub(crate) fn set_config(&self, config: PoolConfig, active: bool) {
        let mut state = self.shared.state.lock();
        state.backlog.set_limits(limits(&config));
        state.config = config;
        let room = std::mem::take(&mut state.room);
        self.shared.dispatch(state);
        room.wake();
        // Idle threads look how long they may stay from now on.
        let idle = std::mem::take(&mut self.shared.state.lock().idle);
        for idler in idle {
            idler.hand(Order::Look);
        }
        if active {
            self.open();
        }
    }

    pub(crate) fn info(&self) -> ThreadPoolInfo {
        let state = self.shared.state.lock();
        let inbox = &self.shared.inbox;
        let of = |priority| state.backlog.waiting_of(priority) + inbox.len(priority);
        ThreadPoolInfo {
            pool_size: state.config.pool_size,
            reserve_normal: state.config.reserve_normal,
            reserve_high: state.config.reserve_high,
            running: state.backlog.held(),
            running_critical: state.backlog.critical(),
            waiting: Waiting {
                low: of(Priority::Low),
                normal: of(Priority::Normal),
                high: of(Priority::High),
                critical: of(Priority::Critical),
            },
            threads: state.threads,
            idle: state.idle.len(),
            blocked: state.blocked,
            overstayed: state.overstayed.clone(),
            tasks_run: state.tasks_run,
        }
    }

    /// Whether this thread is one of the pool's.
    pub(crate) fn is_own_thread(&self) -> bool {
        run::is_thread_of(&self.shared)
    }

    /// Runs a queued task on this very thread, if it still waits here.
    pub(crate) fn run_here(&self, task: &Arc<dyn AnyTask>) -> bool {
        let queued = task.header().state.read().phase() == Phase::Queued;
        let ours = queued && self.is_own_thread() && self.revoke(&**task, true);
        if ours {
            run::execute(Job::new(Arc::clone(task)), &self.shared, false);
        }
        ours
    }

    /// Whether it takes jobs.
    pub(crate) fn is_open(&self) -> bool {
        self.shared.state.lock().open
    }
}

fn limits(config: &PoolConfig) -> Limits {
    Limits {
        pool_size: config.pool_size,
        reserve_normal: config.reserve_normal,
        reserve_high: config.reserve_high,
        max_size: config.max_size,
        critical_total: None,
    }
}

impl PoolState {
    /// Gives a slot to every job that may have one. From here on the task counts as one that runs:
    /// a stop asks it.
    fn admit(&mut self, inbox: &Inbox) {
        loop {
            self.admit_once(inbox);
            let opens = self.set_gate(inbox);
            if !opens {
                return;
            }
            // Somebody may have found it closed just now.
        }
    }

    /// Has the gate stand as it should. True: that opens it.
    fn set_gate(&mut self, inbox: &Inbox) -> bool {
        let gate = self.gate_now();
        let opens = gate & !self.gate != 0;
        if gate != self.gate {
            self.gate = gate;
            inbox.set_gate(gate);
        }
        opens
    }

    fn admit_once(&mut self, inbox: &Inbox) {
        loop {
            self.refill(inbox);
            match self.backlog.next() {
                Some((priority, job)) => {
                    self.ready[priority.index()].push_back(job);
                    self.ready_count += 1;
                }
                None => return,
            }
        }
    }

    /// Sees to it that the backlog has the job that is next in order: the inbox holds later ones of
    /// each priority only.
    fn refill(&mut self, inbox: &Inbox) {
        /// A few at a time, so that a long queue holds nobody up.
        const SOME: usize = 32;
        let first = self.backlog.first();
        let urgent = Priority::ALL.into_iter().take_while(|p| first.is_none_or(|first| *p > first));
        for priority in urgent {
            if self.take_in(inbox, priority, SOME) > 0 {
                return;
            }
        }
    }

    /// Moves jobs of one priority from the inbox to the backlog.
    fn take_in(&mut self, inbox: &Inbox, priority: Priority, most: usize) -> usize {
        if inbox.is_empty(priority) {
            return 0;
        }
        let mut count = 0;
        while count < most
            && let Some(job) = inbox.pop(priority)
        {
            let mark = mark(self.backlog.next_ticket(priority));
            job.header().mark.store(mark, Ordering::Relaxed);
            self.backlog.push(priority, job);
            count += 1;
        }
        count
    }

    /// For which priorities a launch must look whether its job may start.
    fn gate_now(&self) -> u8 {
        let mut gate = 0;
        if !self.open || self.config.queue_limit.is_some() {
            gate |= inbox::CHECK;
        }
        for priority in Priority::ALL {
            if self.backlog.may_start(priority) {
                gate |= inbox::bit(priority);
            }
        }
        gate
    }

    /// The job that takes the slot which has just been given up, in the usual case: nobody waits for
    /// a thread, nor for room. As many slots are held as before, so the gate stands as it did.
    fn hand_over(&mut self, inbox: &Inbox) -> Option<Job> {
        if self.ready_count > 0 || !self.room.is_empty() {
            return None;
        }
        self.refill(inbox);
        Some(self.backlog.next()?.1)
    }

    /// The most urgent job that has a slot and no thread.
    fn take_ready(&mut self) -> Option<Job> {
        if self.ready_count == 0 {
            return None;
        }
        self.ready_count -= 1;
        self.ready.iter_mut().rev().find_map(VecDeque::pop_front)
    }

    /// Takes a job back that has a slot and no thread.
    fn take_back(&mut self, task: &dyn AnyTask) -> Option<Job> {
        let header = task.header();
        let ready = &mut self.ready[header.priority.index()];
        let at = ready.iter().position(|job| job.header().id == header.id)?;
        let job = ready.remove(at)?;
        self.ready_count -= 1;
        self.backlog.release(header.priority);
        Some(job)
    }

    /// Calls a thread if a job has a slot and nobody is coming. One at a time will do: whoever comes
    /// calls the next, and threads that are through with their work look by themselves. So a burst
    /// of short tasks costs few wake-ups.
    fn call(&mut self, inbox: &Inbox) -> Call {
        self.admit(inbox);
        if self.coming || self.ready_count == 0 {
            return Call::Nobody;
        }
        if let Some(idler) = self.idle.pop() {
            self.coming = true;
            return Call::Idle(idler);
        }
        if self.starved.is_some() {
            return Call::Nobody;
        }
        self.coming = true;
        Call::New(self.new_thread())
    }

    /// Takes all jobs out that no thread has.
    fn take_all(&mut self, inbox: &Inbox) -> Vec<Job> {
        let mut all = Vec::new();
        for priority in Priority::ALL {
            self.take_in(inbox, priority, usize::MAX);
        }
        while let Some(job) = self.take_ready() {
            self.backlog.release(job.priority());
            all.push(job);
        }
        all.extend(self.backlog.drain());
        all
    }

    fn new_thread(&mut self) -> NewThread {
        self.threads += 1;
        self.thread_number += 1;
        NewThread { number: self.thread_number, stack: self.config.stack_size }
    }

    /// Whether one more of this priority would have to wait in a queue that is full. One that may
    /// start does not wait: no job waits that may have a slot, so it would overtake nobody.
    fn is_full(&self, inbox: &Inbox, priority: Priority) -> bool {
        let waiting = || {
            let inbox = Priority::ALL.into_iter().map(|priority| inbox.len(priority));
            self.backlog.waiting() + inbox.sum::<usize>()
        };
        self.config.queue_limit.is_some_and(|(limit, _)| waiting() >= limit)
            && !self.backlog.may_start(priority)
    }
}

impl Shared {
    /// Has a thread come if there is something to start, and lets the lock go. False: the system
    /// gives no thread.
    fn dispatch(self: &Arc<Self>, mut state: MutexGuard<'_, PoolState>) -> bool {
        if !state.open {
            self.turn_away(&mut state);
        }
        let call = state.call(&self.inbox);
        let fed = state.starved.is_none();
        drop(state);
        match call {
            Call::Nobody => fed,
            Call::Idle(idler) => {
                idler.hand(Order::Look);
                true
            }
            Call::New(thread) => {
                let shared = Arc::clone(self);
                match self.spawn(&thread, move || run::thread(&shared, true)) {
                    Ok(()) => true,
                    Err(error) => {
                        self.could_not_spawn(&error);
                        false
                    }
                }
            }
        }
    }

    /// Ends jobs that have come since the pool was closed. What the library itself has to run
    /// (callbacks) is no task of the user's: it still runs.
    fn turn_away(&self, state: &mut MutexGuard<'_, PoolState>) {
        // First the gate, so that whoever still comes sees it.
        state.set_gate(&self.inbox);
        let (late, ours): (Vec<Job>, Vec<Job>) =
            state.take_all(&self.inbox).into_iter().partition(|job| job.header().owner.is_some());
        for job in ours {
            state.backlog.push(job.priority(), job);
        }
        if !late.is_empty() {
            // Each ends with `SupervisorStopped`.
            MutexGuard::unlocked(state, || drop(late));
        }
    }

    fn spawn(
        &self,
        thread: &NewThread,
        run: impl FnOnce() + Send + 'static,
    ) -> std::io::Result<()> {
        let name = format!("supervisor_{}_pool_{}", self.name, thread.number);
        let mut builder = std::thread::Builder::new().name(name);
        if let Some(bytes) = thread.stack {
            builder = builder.stack_size(bytes);
        }
        builder.spawn(run).map(drop)
    }

    /// Tries again later; if there is nobody to try, the waiting tasks end with an error.
    fn could_not_spawn(self: &Arc<Self>, error: &std::io::Error) {
        const FIRST: Duration = Duration::from_millis(20);
        const LONGEST: Duration = Duration::from_secs(1);
        // Under guard: whatever comes of it, the pool goes on.
        guarded(|| {
            tracing::error!(
                target: "atasker", supervisor = %self.name, %error,
                "no thread could be started: tasks wait until the system has room again"
            );
        });
        let pause = {
            let mut state = self.state.lock();
            state.threads -= 1;
            state.coming = false;
            let pause = state.last_pause.map_or(FIRST, |last| (last * 2).min(LONGEST));
            state.last_pause = Some(pause);
            state.starved = Some(pause);
            pause
        };
        let weak = Arc::downgrade(self);
        timer::at(clock::after(pause), move || {
            if let Some(shared) = weak.upgrade() {
                let mut state = shared.state.lock();
                state.starved = None;
                if shared.dispatch(state) {
                    shared.state.lock().last_pause = None;
                }
            }
        });
        if timer::is_running() {
            return;
        }
        // No timer will come: the next launch tries at once.
        let mut state = self.state.lock();
        state.starved = None;
        if state.threads == 0 {
            // Their slots will be free: whoever comes from here on looks again.
            state.gate = u8::MAX;
            self.inbox.set_gate(state.gate);
            let lost = state.take_all(&self.inbox);
            let room = std::mem::take(&mut state.room);
            drop(state);
            room.wake();
            for job in lost {
                let detail = format!("the system gives no thread: {}", with_advice(error));
                guarded(|| job.end(TaskError::not_started(detail)));
            }
        }
    }

    /// A thread that was called has come: its first job, and another thread is called if there is
    /// more to start.
    pub(super) fn first_job(self: &Arc<Self>, idler: &Arc<Idler<Order>>) -> Option<Job> {
        // In a loop: a thread may be called in vain many times, one after the other.
        loop {
            let mut state = self.state.lock();
            state.coming = false;
            if let Some(job) = state.take_ready() {
                let room = std::mem::take(&mut state.room);
                self.dispatch(state);
                room.wake();
                return Some(job);
            }
            if !self.be_idle(state, idler) {
                return None;
            }
        }
    }

    /// What an idle thread does that was called, or is not wanted any more.
    fn idle(
        self: &Arc<Self>,
        state: MutexGuard<'_, PoolState>,
        idler: &Arc<Idler<Order>>,
    ) -> Option<Job> {
        if self.be_idle(state, idler) { self.first_job(idler) } else { None }
    }

    /// A run is over, its slot free: what this thread does next (`None`: leave), and whether it was
    /// idle in between.
    pub(super) fn next_job(
        self: &Arc<Self>,
        idler: &Arc<Idler<Order>>,
        done: Priority,
    ) -> (Option<Job>, bool) {
        let mut state = self.state.lock();
        state.backlog.release(done);
        state.tasks_run += 1;
        if let Some(job) = state.hand_over(&self.inbox) {
            return (Some(job), false);
        }
        state.admit(&self.inbox);
        // A free slot is room, too, for one that need not wait then.
        let mut room = std::mem::take(&mut state.room);
        loop {
            match state.take_ready() {
                Some(job) => {
                    // One slot came, one job goes: whatever else is ready was so before, and
                    // somebody is coming for it.
                    drop(state);
                    room.wake();
                    return (Some(job), false);
                }
                None if room.is_empty() => return (self.idle(state, idler), true),
                None => {
                    let room = std::mem::take(&mut room);
                    MutexGuard::unlocked(&mut state, || room.wake());
                }
            }
        }
    }

    /// Stands in the list of idle threads until called: true, come and look; false, leave.
    fn be_idle(&self, mut state: MutexGuard<'_, PoolState>, idler: &Arc<Idler<Order>>) -> bool {
        if !state.open {
            state.threads -= 1;
            return false;
        }
        let stay = state.config.idle_timeout;
        // The one that spins stands on top, where it is called first.
        let spins = self.spinning.swap(true, Ordering::Relaxed);
        let at = if spins { state.idle.len().saturating_sub(1) } else { state.idle.len() };
        state.idle.insert(at, Arc::clone(idler));
        drop(state);
        let order = if spins {
            None
        } else {
            let called = spin::until(|| idler.is_called());
            self.spinning.store(false, Ordering::Relaxed);
            if called { idler.take() } else { None }
        };
        let order = order.or_else(|| idler.sleep(Some(clock::after(stay))));
        match order.or_else(|| self.still_wanted(idler)) {
            Some(Order::Look) => true,
            // It is not counted any more.
            Some(Order::Leave) | None => false,
        }
    }

    /// An idle thread's time is over: it leaves, unless it is one of `min_size`, or was called at
    /// this very moment.
    fn still_wanted(&self, idler: &Arc<Idler<Order>>) -> Option<Order> {
        let mut state = self.state.lock();
        let at = state.idle.iter().position(|other| Arc::ptr_eq(other, idler));
        if let Some(at) = at
            && state.threads > state.config.min_size
        {
            state.idle.remove(at);
            state.threads -= 1;
            return None;
        }
        drop(state);
        idler.sleep(None)
    }

    /// A thread that was started in advance.
    pub(super) fn idle_from_start(self: &Arc<Self>, idler: &Arc<Idler<Order>>) -> Option<Job> {
        let state = self.state.lock();
        self.idle(state, idler)
    }

    /// A task waits: its slot is free for another. False: no thread for another.
    pub(super) fn leave(self: &Arc<Self>, priority: Priority) -> bool {
        let mut state = self.state.lock();
        state.backlog.release(priority);
        state.blocked += 1;
        let room = std::mem::take(&mut state.room);
        let fed = self.dispatch(state);
        room.wake();
        fed
    }

    /// A task goes on after a wait, whether or not there is a slot.
    pub(super) fn come_back(&self, priority: Priority) {
        let mut state = self.state.lock();
        state.backlog.acquire(priority);
        state.blocked -= 1;
        state.admit(&self.inbox);
    }
}

/// The mark of a task that is not in the pool: not yet, or no longer.
pub(super) const NOT_HERE: u64 = 0;

/// Tickets are small numbers, so none of them turns into [`NOT_HERE`].
fn mark(Ticket(ticket): Ticket) -> u64 {
    (ticket ^ i64::MIN) as u64
}

fn ticket(mark: u64) -> Option<Ticket> {
    (mark != NOT_HERE).then_some(Ticket(mark as i64 ^ i64::MIN))
}

impl Place for ThreadPool {
    fn start(&self, job: Job, when_full: WhenFull) {
        let shared = &self.shared;
        if shared.inbox.must_check() {
            return shared.start_checked(job, when_full);
        }
        if shared.inbox.push(job) {
            shared.dispatch(shared.state.lock());
        }
    }

    fn revoke(&self, task: &dyn AnyTask, even_with_slot: bool) -> bool {
        let (shared, header) = (&self.shared, task.header());
        let mut state = shared.state.lock();
        if header.mark.load(Ordering::Relaxed) == NOT_HERE {
            // Where it can be found, and leaves no gap behind.
            state.take_in(&shared.inbox, header.priority, usize::MAX);
        }
        let Some(ticket) = ticket(header.mark.load(Ordering::Relaxed)) else {
            // Its launcher waits for room, or is just about to bring it: nothing to take back. If it
            // comes and begins after all, the caller sees that.
            return true;
        };
        let mut job = state.backlog.remove(header.priority, ticket);
        if job.is_none() && even_with_slot {
            job = state.take_back(task);
        }
        let Some(job) = job else { return false };
        let room = std::mem::take(&mut state.room);
        // Its slot, if it had one, is for another.
        shared.dispatch(state);
        room.wake();
        // The caller ends the task; the job only held it.
        drop(job.into_task());
        true
    }

    fn kill(&self, _task: &Arc<dyn AnyTask>) -> Result<(), KillError> {
        Err(KillError::Unsupported)
    }

    fn open(&self) {
        let mut state = self.shared.state.lock();
        state.open = true;
        while state.threads < state.config.min_size {
            let thread = state.new_thread();
            let spawned = MutexGuard::unlocked(&mut state, || {
                let shared = Arc::clone(&self.shared);
                self.shared.spawn(&thread, move || run::thread(&shared, false))
            });
            if let Err(error) = spawned {
                state.threads -= 1;
                drop(state);
                tracing::error!(target: "atasker", %error, "no thread could be started in advance");
                return;
            }
        }
    }

    fn close(&self) {
        let mut state = self.shared.state.lock();
        state.open = false;
        let room = std::mem::take(&mut state.room);
        let idle = std::mem::take(&mut state.idle);
        state.threads -= idle.len();
        self.shared.dispatch(state);
        room.wake();
        for idler in idle {
            idler.hand(Order::Leave);
        }
    }
}

impl Shared {
    /// A launch where a limit of the queue, or the end of the pool, is to be looked at first.
    fn start_checked(self: &Arc<Self>, job: Job, when_full: WhenFull) {
        let priority = job.priority();
        let mut state = self.state.lock();
        while state.open && state.is_full(&self.inbox, priority) {
            match state.config.queue_limit {
                Some((_, Overflow::Reject)) if when_full != WhenFull::Pass => {
                    drop(state);
                    return job.end(TaskError::QueueFull);
                }
                Some((_, Overflow::Block)) if when_full.may_wait() => {
                    drop(state);
                    self.wait_for_room(&job);
                    if job.header().state.read().phase() != Phase::Queued {
                        // Canceled meanwhile.
                        return drop(job.into_task());
                    }
                    // Of several that were woken, one finds room.
                    state = self.state.lock();
                }
                _ => break,
            }
        }
        if !state.open {
            drop(state);
            return job.end(TaskError::SupervisorStopped);
        }
        // Under the lock, so that the limit holds; behind all that came before.
        let _ = self.inbox.push(job);
        self.dispatch(state);
    }

    /// Blocks the launcher until there seems to be room in the queue, or its task has ended.
    fn wait_for_room(&self, job: &Job) {
        let (key, task) = (WaiterKey::next(), job.header());
        park::block_on(None, |context| {
            // The task first: its end wakes us, too.
            let ended = !task.watch(key, context.waker());
            let mut state = self.state.lock();
            let ready = ended || !state.open || !state.is_full(&self.inbox, job.priority());
            let old = match ready {
                true => state.room.remove(key),
                false => state.room.add(key, context.waker()),
            };
            drop(state);
            drop(old);
            if ready { Poll::Ready(()) } else { Poll::Pending }
        });
        task.unwatch(key);
    }
}
