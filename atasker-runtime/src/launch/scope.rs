//! Scopes: tasks that borrow from their caller.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::error::TaskError;
use crate::fork;
use crate::id::TaskId;
use crate::info::TaskType;
use crate::launch::TaskBuilder;
use crate::launch::builder::build;
use crate::limit::{self, TaskLimit};
use crate::observe::events::{self, Handle, Of};
use crate::place::WhenFull;
use crate::priority::Priority;
use crate::progress;
use crate::supervisor::{Core, Supervisor, supervisor};
use crate::task::scoped::{Packet, Returns, ScopeState, Scoped, Work};
use crate::task::state::Phase;
use crate::task::wait::{run_inline, wait_end};
use crate::task::{AnyTask, TaskArc, control, current, park, table};
use crate::unwind::{discard, guarded};

/// Runs `f`, which can spawn tasks that borrow from the caller, and waits for all of them.
///
/// The tasks run on pool threads of the default supervisor; [`Supervisor::scope`] selects another
/// one. They may borrow everything that outlives the call of `scope`, and `f` passes the results on
/// if it joins the tasks. This is [`std::thread::scope`] with tasks in place of threads.
///
/// ```
/// # use atasker_runtime as atasker;
/// let words = ["one", "three", "five"];
/// let mut longest = "";
/// let total = atasker::scope(|s| {
///     let total = s.spawn(|| words.iter().map(|word| word.len()).sum::<usize>());
///     s.spawn(|| longest = words.iter().max_by_key(|word| word.len()).unwrap());
///     total.join()
/// });
/// assert_eq!((total.unwrap(), longest), (12, "three"));
/// ```
///
/// `scope` returns when the functions of all its tasks have returned, everything that they have
/// captured is dropped, and the tasks have ended. This holds whatever becomes of the tasks and of
/// their handles: a task that exceeds its time limit ends at once, and so does a task that still
/// runs at the deadline of a stop of its supervisor, but `scope` waits until its function has
/// returned. A task that was canceled, or rejected, drops its function without calling it.
///
/// The wait releases the slot of a pool thread, as other waits do. So tasks can use scopes, at any
/// depth and in a pool of one thread.
///
/// A panic in a task becomes the error of that task, and goes no further. If it is not
/// [joined](ScopedTask::join), it is logged at ERROR. In a fork of the process, tasks end with an
/// error, and `scope` does not wait for tasks that were spawned before the fork.
///
/// # Panics
///
/// If `f` panics, the panic continues after the wait. Panics before it calls `f` on the thread of an
/// aloop, which must not block.
#[track_caller]
pub fn scope<'env, F, T>(f: F) -> T
where
    F: for<'scope> FnOnce(&'scope Scope<'scope, 'env>) -> T,
{
    park::assert_may_block("scope");
    run(supervisor().core(), Leaked::Report, f)
}

impl Supervisor {
    /// Runs `f`, which can spawn tasks of this supervisor that borrow from the caller, and waits for
    /// all of them. See [`scope`](crate::scope()).
    ///
    /// ```
    /// # use atasker_runtime as atasker;
    /// use atasker::{PoolConfig, Supervisor};
    /// let sup = Supervisor::builder().thread_pool(PoolConfig::new(2)).build();
    /// let mut halves = [0, 0];
    /// sup.scope(|s| {
    ///     for (n, half) in halves.iter_mut().enumerate() {
    ///         s.spawn(move || *half = n + 1);
    ///     }
    /// });
    /// assert_eq!(halves, [1, 2]);
    /// ```
    ///
    /// # Panics
    ///
    /// If `f` panics, the panic continues after the wait. Panics before it calls `f` on the thread
    /// of an aloop.
    #[track_caller]
    pub fn scope<'env, F, T>(&self, f: F) -> T
    where
        F: for<'scope> FnOnce(&'scope Scope<'scope, 'env>) -> T,
    {
        park::assert_may_block("scope");
        run(self.core(), Leaked::Report, f)
    }
}

/// What a scope does about tasks that have failed, and whose handles were leaked.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Leaked {
    Report,
    /// Nothing: their creator knows.
    Ignore,
}

/// Runs `f`, then waits. The caller has checked that this thread may block, because the wait can't
/// be given up.
pub(super) fn run<'env, F, T>(core: &Arc<Core>, leaked: Leaked, f: F) -> T
where
    F: for<'scope> FnOnce(&'scope Scope<'scope, 'env>) -> T,
{
    let scope = Scope {
        core: Arc::clone(core),
        state: ScopeState::new(),
        lender: current::get().filter(|task| limit::has_limit(task.header())),
        is_waiting: AtomicBool::new(false),
        scope: PhantomData,
        env: PhantomData,
    };
    let result = catch_unwind(AssertUnwindSafe(|| f(&scope)));
    scope.wait();
    if leaked == Leaked::Report {
        scope.report_leaked();
    }
    match result {
        Ok(value) => value,
        Err(payload) => resume_unwind(payload),
    }
}

/// Spawns the tasks of a [`scope`](crate::scope()).
///
/// `'scope` is the lifetime of the scope: it begins before `f` is called and ends after the wait for
/// the tasks, so the scope and the handles of tasks can be passed to tasks. `'env` is the lifetime of
/// what the tasks borrow from outside of the scope.
///
/// ```
/// # use atasker_runtime as atasker;
/// use std::sync::atomic::{AtomicU32, Ordering};
/// let done = AtomicU32::new(0);
/// atasker::scope(|s| {
///     s.spawn(|| {
///         done.fetch_add(1, Ordering::Relaxed);
///         // Tasks can spawn further tasks of the same scope.
///         s.spawn(|| done.fetch_add(1, Ordering::Relaxed));
///     });
/// });
/// assert_eq!(done.into_inner(), 2);
/// ```
pub struct Scope<'scope, 'env: 'scope> {
    core: Arc<Core>,
    state: ScopeState,
    /// The task that waits for the scope, if it has a limit.
    lender: Option<TaskArc>,
    is_waiting: AtomicBool,
    // Invariant, as in std: `'scope` must not shrink to a lifetime that ends before the wait, nor
    // `'env` to one within `f`.
    scope: PhantomData<&'scope mut &'scope ()>,
    env: PhantomData<&'env mut &'env ()>,
}

impl<'scope, 'env> Scope<'scope, 'env> {
    /// Spawns a task that runs `f` on a pool thread, and returns its handle.
    ///
    /// Dropping the handle has no effect on the task. The launch never fails: if the supervisor is
    /// stopped or the queue is full, `f` is dropped and the task ends with the matching
    /// [`TaskError`].
    pub fn spawn<F, R>(&'scope self, f: F) -> ScopedTask<'scope, R>
    where
        F: FnOnce() -> R + Send + 'scope,
        R: Send + 'scope,
    {
        self.builder(f).start()
    }

    /// Creates a task that runs `f` on a pool thread, to set options before it is launched.
    ///
    /// ```
    /// # use atasker_runtime as atasker;
    /// use std::time::Duration;
    /// use atasker::Priority;
    /// let text = String::from("borrowed");
    /// let len = atasker::scope(|s| {
    ///     let task = s
    ///         .builder(|| text.len())
    ///         .name("measure")
    ///         .priority(Priority::High)
    ///         .timeout(Duration::from_secs(5))
    ///         .start();
    ///     task.join()
    /// });
    /// assert_eq!(len.unwrap(), 8);
    /// ```
    pub fn builder<F, R>(&'scope self, f: F) -> ScopedTaskBuilder<'scope, 'env, R>
    where
        F: FnOnce() -> R + Send + 'scope,
        R: Send + 'scope,
    {
        ScopedTaskBuilder {
            scope: self,
            packet: Arc::new(Packet::new(f)),
            name: None,
            priority: None,
            timeout: None,
            limit: None,
        }
    }

    /// Lends the share of the task that waits for the scope, if it does and has a limit: see `limit`.
    /// All tasks of the scope may use it, because the wait ends with the last one.
    fn lend_to(&self, task: &dyn AnyTask) {
        // SeqCst: either this sees that the scope waits, or the wait sees the task.
        if let Some(lender) = &self.lender
            && self.is_waiting.load(Ordering::SeqCst)
        {
            limit::lend_by(lender.header(), task.header());
        }
    }

    /// Waits until no task can use anything that it has borrowed.
    fn wait(&self) {
        /// Ends the process if the wait is left by a panic, because tasks would go on with borrows
        /// that have ended.
        struct Bomb;
        impl Drop for Bomb {
            fn drop(&mut self) {
                eprintln!("atasker: a panic in the wait of a scope, whose tasks may still run");
                std::process::abort();
            }
        }
        let bomb = Bomb;
        if self.lender.is_some() {
            self.is_waiting.store(true, Ordering::SeqCst);
            let mut tasks = self.core.live_tasks();
            tasks.retain(|task| task.is_in_scope(&self.state));
            tasks.iter().for_each(|task| self.lend_to(&**task));
        }
        if let Some(signal) = self.state.close() {
            park::block_unchecked(|context| signal.poll(context), || self.run_inline());
        }
        std::mem::forget(bomb);
    }

    /// Reports the failures of tasks whose handles were leaked.
    fn report_leaked(&self) {
        if fork::is_copy() {
            return;
        }
        for id in self.state.take_unreported() {
            if let Some(task) = table::get(id) {
                report(&*task, self.core.id());
            }
        }
    }

    /// Runs the tasks that wait in the queue on this thread: the last resort if no thread can be
    /// started. Returns whether there were any.
    pub(super) fn run_inline(&self) -> bool {
        let mut any = false;
        loop {
            let mut tasks = self.core.live_tasks();
            tasks.retain(|task| {
                task.header().state.read().phase() == Phase::Queued && task.is_in_scope(&self.state)
            });
            let mut ran = false;
            for task in tasks {
                // A destructor may panic.
                guarded(|| ran |= run_inline(&task));
            }
            if !ran {
                return any;
            }
            any = true;
        }
    }
}

impl fmt::Debug for Scope<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scope").field("supervisor", &self.core.id()).finish_non_exhaustive()
    }
}

/// Logs the failure of a task that was not joined.
fn report(task: &dyn AnyTask, supervisor: &str) {
    let header = task.header();
    if let Some(outcome) = header.state.read().outcome() {
        let of = Of { supervisor, node: None };
        events::task_ended(header, of, outcome, task.error(), Handle::Gone);
    }
}

/// A task of a scope under construction. See [`Scope::builder`].
#[must_use = "a builder does nothing until `start()` is called"]
pub struct ScopedTaskBuilder<'scope, 'env: 'scope, R> {
    scope: &'scope Scope<'scope, 'env>,
    packet: Arc<dyn Returns<R> + 'scope>,
    name: Option<Cow<'static, str>>,
    priority: Option<Priority>,
    timeout: Option<Duration>,
    limit: Option<limit::Source>,
}

impl<'scope, R> ScopedTaskBuilder<'scope, '_, R> {
    /// Sets the name of the task, shown in logs and in [`TaskInfo`](crate::TaskInfo).
    pub fn name(mut self, name: impl Into<Cow<'static, str>>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Sets the priority of the task. The default is [`Priority::Normal`].
    pub fn priority(mut self, priority: Priority) -> Self {
        self.priority = Some(priority);
        self
    }

    /// Limits how long the task may run, measured from its start.
    ///
    /// When the limit is exceeded, the outcome becomes [`TaskError::TimedOut`] immediately. The
    /// function can't be stopped from outside. It occupies its slot, and the scope waits for it,
    /// until it returns.
    pub fn timeout(mut self, limit: Duration) -> Self {
        self.timeout = Some(limit);
        self
    }

    /// Sets the limit that the task shares with others: a [`Limit`](crate::Limit), or the key of a
    /// [`KeyedLimit`](crate::KeyedLimit). The last call applies.
    ///
    /// ```
    /// # use atasker_runtime as atasker;
    /// use atasker::Limit;
    /// static DISK: Limit = Limit::concurrency(1);
    /// let paths = ["a", "b"];
    /// atasker::scope(|s| {
    ///     for path in &paths {
    ///         s.builder(move || path.len()).limit(&DISK).start();
    ///     }
    /// });
    /// ```
    pub fn limit(mut self, limit: impl TaskLimit) -> Self {
        // The one before may hold the last reference to a key, which is a value of the user.
        discard(self.limit.replace(limit.__source()));
        self
    }

    /// Launches the task, and returns its handle.
    pub fn start(self) -> ScopedTask<'scope, R> {
        self.start_as(WhenFull::Wait)
    }

    /// Launches the task, and returns it without a handle that would report its failure.
    pub(super) fn start_quiet(self, when_full: WhenFull) -> TaskArc {
        self.start_as(when_full).into_task()
    }

    fn start_as(self, when_full: WhenFull) -> ScopedTask<'scope, R> {
        let ScopedTaskBuilder { scope, packet, name, priority, timeout, limit } = self;
        let work: Arc<dyn Work + 'scope> = Arc::<dyn Returns<R> + 'scope>::clone(&packet);
        // SAFETY: `run` owns the `Scope` that is borrowed here for `'scope`, and waits before it
        // drops the scope or returns: until nothing is pending, or for nothing in a forked copy. A
        // panic in the wait aborts the process. The scope is not moved while it is borrowed.
        let (body, data) = unsafe { Scoped::new(work, &scope.state) };
        let mut builder: TaskBuilder<()> = build(TaskType::Thread, body, data, None);
        if let Some(name) = name {
            builder = builder.name(name);
        }
        if let Some(priority) = priority {
            builder = builder.priority(priority);
        }
        if let Some(limit) = timeout {
            builder = builder.timeout(limit);
        }
        if let Some(limit) = limit {
            builder = builder.limit(limit);
        }
        let cell = builder.launch_cell(Some(&scope.core), when_full);
        let task = cell.erase();
        scope.lend_to(&*task);
        ScopedTask { task, packet, scope: &scope.state, on_drop: OnDrop::Report }
    }
}

impl<R> fmt::Debug for ScopedTaskBuilder<'_, '_, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScopedTaskBuilder")
            .field("name", &self.name)
            .field("priority", &self.priority)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

/// A task of a [`scope`](crate::scope()), and the owner of its result.
///
/// Dropping the handle has no effect on the task. The scope waits for the task in any case.
///
/// [`Supervisor::task`] finds the task as long as it is delayed, queued or running. The untyped handle
/// does not reach the result, which may borrow: for it, the task returns `()`.
pub struct ScopedTask<'scope, R> {
    task: TaskArc,
    packet: Arc<dyn Returns<R> + 'scope>,
    scope: &'scope ScopeState,
    on_drop: OnDrop,
}

/// What happens when a handle is dropped whose task has failed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum OnDrop {
    Report,
    /// Nothing: the error was passed on to the caller of `join`.
    Joined,
    /// Nothing, also if the task fails later.
    Keep,
}

impl<R> ScopedTask<'_, R> {
    /// Returns the id of the task.
    pub fn id(&self) -> TaskId {
        self.task.header().id()
    }

    /// Returns whether the task has ended, successfully or not. A task that has exceeded its time
    /// limit has ended, even if its function still runs.
    pub fn is_completed(&self) -> bool {
        self.task.header().state.read().is_ended()
    }

    /// Asks the task to stop, which a running task notices through [`current`](crate::current()). A
    /// task that has not begun is canceled.
    pub fn stop(&self) {
        control::stop(&self.task);
    }

    /// Cancels the task and returns `true` if it has not begun, in which case it never will, and
    /// its function is dropped. Otherwise asks it to stop and returns `false`.
    pub fn cancel(&self) -> bool {
        control::cancel(&self.task)
    }

    /// Waits for the result and moves it out.
    ///
    /// # Errors
    ///
    /// Returns the error with which the task ended: [`TaskError::Panicked`] if its function
    /// panicked, [`TaskError::TimedOut`] as soon as its time limit is exceeded, and so on.
    ///
    /// # Panics
    ///
    /// Panics on the thread of an aloop if it would have to block.
    #[track_caller]
    pub fn join(mut self) -> Result<R, TaskError> {
        wait_end(&self.task, None);
        if !self.is_completed() {
            // The task runs on in the parent process, from which this process was forked.
            return Err(fork::error());
        }
        progress::end_of(|| self.id());
        self.on_drop = OnDrop::Joined;
        match self.task.error() {
            Some(error) => Err(error.clone()),
            None => Ok(self.packet.take_result().expect("a task without an error has a result")),
        }
    }
}

impl<R> ScopedTask<'_, R> {
    /// Returns the task, which keeps its join interest.
    fn into_task(mut self) -> TaskArc {
        self.on_drop = OnDrop::Keep;
        self.task.clone()
    }
}

impl<R> Drop for ScopedTask<'_, R> {
    fn drop(&mut self) {
        if self.on_drop == OnDrop::Keep || fork::is_copy() {
            return;
        }
        let header = self.task.header();
        let before = header.state.clear_join_interest();
        // If the task ends later, its end is reported there, because there is no handle.
        if before.is_ended() && self.task.error().is_some() {
            if self.on_drop == OnDrop::Report {
                let scheduler = header.scheduler();
                let observers = scheduler.as_ref().and_then(|scheduler| scheduler.observers());
                report(&*self.task, observers.map_or("", |observers| &observers.supervisor));
            }
            self.scope.set_reported(header.id());
        }
    }
}

impl<R> fmt::Debug for ScopedTask<'_, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let header = self.task.header();
        f.debug_struct("ScopedTask")
            .field("id", &header.id())
            .field("name", &header.name())
            .field("status", &header.status())
            .finish_non_exhaustive()
    }
}
