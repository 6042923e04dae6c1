//! The pool's state and its place interface.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};

use super::idle::Idler;
use super::run;
use crate::backlog::{Backlog, Limits, Ticket};
use crate::clock;
use crate::error::{KillError, TaskError};
use crate::id::TaskId;
use crate::info::{ThreadPoolInfo, Waiting};
use crate::job::{Job, Place};
use crate::options::{Overflow, PoolConfig};
use crate::priority::Priority;
use crate::task::waiters::{WaiterKey, Waiters};
use crate::task::{AnyTask, park};
use crate::timer;

/// What a thread is told.
pub(super) enum Order {
    /// Run this; the slot is taken already.
    Run(Job),
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
    pub(super) state: Mutex<PoolState>,
    /// Threads that look for work without sleeping: at most one, so that the rest of the machine
    /// is left to the work.
    pub(super) spinning: AtomicUsize,
}

pub(super) struct PoolState {
    pub(super) backlog: Backlog<Job>,
    config: PoolConfig,
    /// The last to become idle is the first to be used: the others' time runs out, and caches are
    /// warm.
    idle: Vec<Arc<Idler<Order>>>,
    threads: usize,
    blocked: usize,
    open: bool,
    thread_number: u64,
    pub(super) tasks_run: u64,
    pub(super) overstayed: Vec<TaskId>,
    /// Launchers that wait for room in the queue.
    room: Waiters,
    /// The system gave no thread: wait this long before the next try.
    starved: Option<Duration>,
}

/// Something to be done after the lock is released.
struct Start {
    idler: Option<Arc<Idler<Order>>>,
    job: Job,
}

impl ThreadPool {
    pub(crate) fn new(supervisor_id: &str, config: PoolConfig) -> Self {
        ThreadPool {
            shared: Arc::new(Shared {
                name: supervisor_id.to_owned(),
                spinning: AtomicUsize::new(0),
                state: Mutex::new(PoolState {
                    backlog: Backlog::new(limits(&config)),
                    config,
                    idle: Vec::new(),
                    threads: 0,
                    blocked: 0,
                    open: true,
                    thread_number: 0,
                    tasks_run: 0,
                    overstayed: Vec::new(),
                    room: Waiters::None,
                    starved: None,
                }),
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
        if active {
            self.open();
        }
    }

    pub(crate) fn info(&self) -> ThreadPoolInfo {
        let state = self.shared.state.lock();
        let of = |priority| state.backlog.waiting_of(priority);
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
        let ours = self.is_own_thread() && self.revoke(&**task);
        if ours {
            run::execute(Job::new(Arc::clone(task)), &self.shared);
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
    /// The next job that may start, if there is a thread for it or one could be started.
    fn next_start(&mut self) -> Option<Start> {
        let priority = self.backlog.first()?;
        if !self.backlog.may_start(priority) {
            return None;
        }
        let idler = self.idle.pop();
        if idler.is_none() {
            if self.starved.is_some() {
                return None;
            }
            self.threads += 1;
        }
        let (_, job) = self.backlog.next()?;
        Some(Start { idler, job })
    }

    fn is_full(&self, priority: Priority, limit: usize) -> bool {
        let waits = self.backlog.waiting() > 0 || !self.backlog.may_start(priority);
        waits && self.backlog.waiting() >= limit
    }
}

impl Shared {
    /// Starts whatever may start, and lets the lock go. False: some of it had to stay, for the
    /// system gives no thread.
    fn dispatch(self: &Arc<Self>, mut state: MutexGuard<'_, PoolState>) -> bool {
        let mut fed = true;
        while let Some(start) = state.next_start() {
            let room = std::mem::take(&mut state.room);
            let number = state.thread_number;
            let stack = state.config.stack_size;
            state.thread_number += u64::from(start.idler.is_none());
            MutexGuard::unlocked(&mut state, || {
                room.wake();
                fed &= self.carry_out(start, number, stack);
            });
        }
        fed && state.starved.is_none()
    }

    /// Gives the job to its thread, a new one if need be.
    fn carry_out(self: &Arc<Self>, start: Start, number: u64, stack: Option<usize>) -> bool {
        let Start { idler, job } = start;
        let Some(idler) = idler else {
            let idler = Arc::new(Idler::new());
            return match self.spawn(number, stack, Arc::clone(&idler)) {
                Ok(()) => {
                    idler.hand(Order::Run(job));
                    true
                }
                Err(error) => {
                    self.could_not_spawn(job, &error);
                    false
                }
            };
        };
        idler.hand(Order::Run(job));
        true
    }

    fn spawn(
        self: &Arc<Self>,
        number: u64,
        stack: Option<usize>,
        idler: Arc<Idler<Order>>,
    ) -> std::io::Result<()> {
        let shared = Arc::clone(self);
        let mut builder =
            std::thread::Builder::new().name(format!("supervisor_{}_pool_{number}", self.name));
        if let Some(bytes) = stack {
            builder = builder.stack_size(bytes);
        }
        builder.spawn(move || run::thread(&shared, idler)).map(drop)
    }

    /// Puts the job back where it was and tries again later; if there is nobody to try, the task
    /// ends with an error.
    fn could_not_spawn(self: &Arc<Self>, job: Job, error: &std::io::Error) {
        const FIRST: Duration = Duration::from_millis(20);
        const LONGEST: Duration = Duration::from_secs(1);
        tracing::error!(
            target: "atasker", supervisor = %self.name, %error,
            "no thread could be started: tasks wait until the system has room again"
        );
        let mut state = self.state.lock();
        state.threads -= 1;
        let priority = job.priority();
        state.backlog.release(priority);
        let pause = state.starved.map_or(FIRST, |last| (last * 2).min(LONGEST));
        state.starved = Some(pause);
        let weak = Arc::downgrade(self);
        timer::at(clock::after(pause), move || {
            let Some(shared) = weak.upgrade() else { return };
            let mut state = shared.state.lock();
            let waited = state.starved.take();
            if state.backlog.waiting() > 0 {
                // Still counts as starved for the length of the next pause if this fails again.
                state.starved = None;
                drop(state);
                shared.try_again(waited);
            }
        });
        if state.threads == 0 && !timer::is_running() {
            drop(state);
            job.end(TaskError::not_started(format!(
                "the system gives no thread ({error}): look at the limits of threads and memory"
            )));
            return;
        }
        put_back(&mut state, job);
    }

    /// After a pause: the next failure shall wait longer than the last.
    fn try_again(self: &Arc<Self>, waited: Option<Duration>) {
        let state = self.state.lock();
        if !self.dispatch(state) {
            let mut state = self.state.lock();
            if let (Some(pause), Some(waited)) = (state.starved.as_mut(), waited) {
                *pause = (*pause).max(waited);
            }
        }
    }

    /// A run is over, its slot free: what this thread does next. `None`: leave.
    pub(super) fn next_job(
        self: &Arc<Self>,
        idler: &Arc<Idler<Order>>,
        done: Priority,
    ) -> Option<Job> {
        let mut state = self.state.lock();
        state.backlog.release(done);
        state.tasks_run += 1;
        if let Some((_, job)) = state.backlog.next() {
            let room = std::mem::take(&mut state.room);
            drop(state);
            room.wake();
            return Some(job);
        }
        // The thread is idle.
        if !state.open {
            state.threads -= 1;
            return None;
        }
        state.idle.push(Arc::clone(idler));
        let stay = state.config.idle_timeout;
        drop(state);
        self.wait_for_order(idler, stay)
    }

    /// Waits on the list of idle threads.
    pub(super) fn wait_for_order(
        self: &Arc<Self>,
        idler: &Arc<Idler<Order>>,
        stay: Duration,
    ) -> Option<Job> {
        let order = self
            .spin(idler)
            .or_else(|| idler.sleep(Some(clock::after(stay))));
        let order = order.or_else(|| {
            let mut state = self.state.lock();
            let at = state
                .idle
                .iter()
                .position(|other| Arc::ptr_eq(other, idler));
            match at {
                Some(_) if state.threads <= state.config.min_size => {
                    drop(state);
                    idler.sleep(None)
                }
                Some(at) => {
                    state.idle.remove(at);
                    state.threads -= 1;
                    None
                }
                // Somebody has taken us off the list: the order is on its way.
                None => {
                    drop(state);
                    idler.sleep(None)
                }
            }
        });
        match order? {
            Order::Run(job) => Some(job),
            Order::Leave => {
                self.state.lock().threads -= 1;
                None
            }
        }
    }

    fn spin(&self, idler: &Idler<Order>) -> Option<Order> {
        const ROUNDS: u32 = 200;
        if self.spinning.load(Ordering::Relaxed) > 0 {
            return None;
        }
        self.spinning.fetch_add(1, Ordering::Relaxed);
        let order = idler.spin(ROUNDS);
        self.spinning.fetch_sub(1, Ordering::Relaxed);
        order
    }

    /// A task waits: its slot is free for another. False: no thread for another.
    pub(super) fn leave(self: &Arc<Self>, priority: Priority) -> bool {
        let mut state = self.state.lock();
        state.backlog.release(priority);
        state.blocked += 1;
        self.dispatch(state)
    }

    /// A task goes on after a wait, whether or not there is a slot.
    pub(super) fn come_back(&self, priority: Priority) {
        let mut state = self.state.lock();
        state.backlog.acquire(priority);
        state.blocked -= 1;
    }
}

fn put_back(state: &mut PoolState, job: Job) {
    let task = Arc::clone(job.task());
    let ticket = state.backlog.push_front(job.priority(), job);
    note_ticket(&*task, ticket);
}

fn note_ticket(task: &dyn AnyTask, Ticket(ticket): Ticket) {
    task.header().mark.store(ticket as u64, Ordering::Relaxed);
}

impl Place for ThreadPool {
    fn start(&self, job: Job, may_block: bool) {
        let shared = &self.shared;
        let mut state = shared.state.lock();
        let priority = job.priority();
        if let Some((limit, overflow)) = state.config.queue_limit
            && state.is_full(priority, limit)
        {
            match overflow {
                Overflow::Reject => {
                    drop(state);
                    return job.end(TaskError::QueueFull);
                }
                Overflow::Block if may_block => {
                    drop(state);
                    shared.wait_for_room(priority);
                    state = shared.state.lock();
                }
                Overflow::Block => {}
            }
        }
        if !state.open {
            drop(state);
            return job.end(TaskError::SupervisorStopped);
        }
        let task = Arc::clone(job.task());
        let ticket = state.backlog.push(priority, job);
        note_ticket(&*task, ticket);
        shared.dispatch(state);
    }

    fn credits(&self, priority: Priority) -> usize {
        let state = self.shared.state.lock();
        match priority {
            Priority::Critical => usize::MAX,
            _ => state
                .backlog
                .limits()
                .of(priority)
                .saturating_sub(state.backlog.held()),
        }
    }

    fn revoke(&self, task: &dyn AnyTask) -> bool {
        let header = task.header();
        let mut state = self.shared.state.lock();
        let ticket = Ticket(header.mark.load(Ordering::Relaxed) as i64);
        let Some(job) = state.backlog.remove(header.priority, ticket) else {
            return false;
        };
        let room = std::mem::take(&mut state.room);
        drop(state);
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
            let number = state.thread_number;
            let (stack, stay) = (state.config.stack_size, state.config.idle_timeout);
            state.thread_number += 1;
            state.threads += 1;
            let idler = Arc::new(Idler::new());
            state.idle.push(Arc::clone(&idler));
            let spawned = MutexGuard::unlocked(&mut state, || {
                let shared = Arc::clone(&self.shared);
                let mut builder = std::thread::Builder::new()
                    .name(format!("supervisor_{}_pool_{number}", shared.name));
                if let Some(bytes) = stack {
                    builder = builder.stack_size(bytes);
                }
                let idler = Arc::clone(&idler);
                builder.spawn(move || run::idle_thread(&shared, idler, stay))
            });
            if let Err(error) = spawned {
                tracing::error!(target: "atasker", %error, "no thread could be started in advance");
                self.shared.give_up_on(state, &idler);
                return;
            }
        }
    }

    fn close(&self) {
        let mut state = self.shared.state.lock();
        state.open = false;
        let idle = std::mem::take(&mut state.idle);
        let left = state.backlog.drain();
        let room = std::mem::take(&mut state.room);
        drop(state);
        room.wake();
        drop(left);
        for idler in idle {
            idler.hand(Order::Leave);
        }
    }
}

impl Shared {
    /// A thread that was promised could not be started: if it was given a job meanwhile, that goes
    /// back.
    fn give_up_on(
        self: &Arc<Self>,
        mut state: MutexGuard<'_, PoolState>,
        idler: &Arc<Idler<Order>>,
    ) {
        state.threads -= 1;
        match state
            .idle
            .iter()
            .position(|other| Arc::ptr_eq(other, idler))
        {
            Some(at) => {
                state.idle.remove(at);
            }
            None => {
                drop(state);
                if let Some(Order::Run(job)) = idler.sleep(None) {
                    let mut state = self.state.lock();
                    state.backlog.release(job.priority());
                    put_back(&mut state, job);
                    self.dispatch(state);
                }
            }
        }
    }

    /// Blocks the launcher until there is room in the queue.
    fn wait_for_room(&self, priority: Priority) {
        let key = WaiterKey::next();
        park::block_on(None, |context| {
            let mut state = self.state.lock();
            let full = state.open
                && state
                    .config
                    .queue_limit
                    .is_some_and(|(limit, _)| state.is_full(priority, limit));
            if !full {
                return Poll::Ready(());
            }
            state.room.add(key, context.waker());
            Poll::Pending
        });
    }
}
