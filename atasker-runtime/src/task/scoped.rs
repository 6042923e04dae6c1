//! Tasks of a scope, which borrow from the caller of `scope`.
//!
//! A cell must be `'static`: handles, tables and queues keep it for as long as they like. So the
//! function of such a task and its result are not in its cell, but in a [`Packet`] beside it:
//!
//! ```text
//!   cell: Body = Scoped --(Erased)--> Packet { function or result } <-- ScopedTask<'scope, R>
//!           \                            'scope
//!            \--> ScopeState: how many of these are left <-- the thread in `scope`, which waits
//! ```
//!
//! The cell's reference to the packet is the only one whose lifetime is erased. It is dropped with
//! the body of the cell: after the function has returned, or by the thread that ends a task which
//! never runs. Whatever else keeps the cell alive keeps only the empty body. The reference counts
//! down when it has been dropped, together with the function and, if no handle is left, the result.
//! All other references have the lifetime `'scope`, so the compiler ensures that they are dropped,
//! or leaked, before the wait of the scope ends.
//!
//! A task is counted twice: until its function is dropped, and until its end is published and
//! reported. The first is what soundness requires. The second is for the user: when `scope` has
//! returned, its tasks have ended. Neither implies the other, because a time limit or the end of
//! the supervisor ends a task whose function still runs.
//!
//! The scope has a count of its own, which it gives up before it waits. So the count becomes zero
//! once. Counts refer to the state by a pointer, because a reference count of it would be changed by
//! all launches and all ends. Whatever has given up its count does not touch the state any more,
//! except for the last one: the scope waits for its signal, which is allocated separately.

use std::collections::BTreeSet;
use std::ptr::NonNull;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use crate::error::TaskError;
use crate::fork;
use crate::id::TaskId;
use crate::observe::events::Handle;
use crate::sync::{AtomicU32, AtomicU64, Mutex, Ordering};
use crate::task::TaskArc;
use crate::task::cell::Body;
use crate::task::header::Header;
use crate::task::waiters;
use crate::unwind::discard;

/// What the tasks of a scope share with the thread that waits for them.
pub(crate) struct ScopeState {
    /// The functions that are not dropped, the tasks whose end is not published, and 1 for the scope
    /// until it waits.
    pending: AtomicU64,
    signal: Arc<Signal>,
    /// Tasks that have failed while they had a handle which has not reported that.
    unreported: Mutex<BTreeSet<TaskId>>,
}

/// What a scope waits for: nothing is pending, and nothing will touch its state.
pub(crate) struct Signal {
    is_set: AtomicU32,
    waiter: Mutex<Option<Waker>>,
}

impl ScopeState {
    pub(crate) fn new() -> Self {
        ScopeState {
            pending: AtomicU64::new(1),
            signal: Arc::new(Signal { is_set: AtomicU32::new(0), waiter: Mutex::new(None) }),
            unreported: Mutex::new(BTreeSet::new()),
        }
    }

    /// Gives up the count of the scope itself, once. Returns the signal to wait for, if anything is
    /// pending.
    pub(crate) fn close(&self) -> Option<&Signal> {
        // Acquire: if nothing is pending, everything that the tasks have done precedes the return
        // of the scope. Release: see `Pending::drop`.
        let last = self.pending.fetch_sub(1, Ordering::AcqRel) == 1;
        (!last).then_some(&*self.signal)
    }

    /// Records that the handle of a task has reported its failure, or passed it on.
    pub(crate) fn set_reported(&self, task: TaskId) {
        self.unreported.lock().remove(&task);
    }

    /// Returns the tasks whose failures no handle has reported, because the handles were leaked.
    pub(crate) fn take_unreported(&self) -> BTreeSet<TaskId> {
        std::mem::take(&mut *self.unreported.lock())
    }
}

impl Signal {
    fn set(&self) {
        // Release: everything that the tasks have done precedes the return of the scope.
        self.is_set.store(1, Ordering::Release);
        let waiter = self.waiter.lock().take();
        if let Some(waiter) = waiter {
            waiter.wake();
        }
    }

    pub(crate) fn poll(&self, context: &Context<'_>) -> Poll<()> {
        // Acquire, here and below: pairs with the release in `set`.
        if self.is_set.load(Ordering::Acquire) == 1 {
            return Poll::Ready(());
        }
        let waker = context.waker().clone();
        let before = self.waiter.lock().replace(waker);
        waiters::drop_waker(before);
        // Once more: it may have been set before the waker was there. If it is set later, that
        // thread takes the lock after this one, and wakes it.
        match self.is_set.load(Ordering::Acquire) {
            1 => Poll::Ready(()),
            _ => Poll::Pending,
        }
    }
}

/// One of the things that a scope waits for. Counts down when it is dropped.
struct Pending(NonNull<ScopeState>);

// SAFETY: it is used like a shared reference to the state, which is `Sync`.
unsafe impl Send for Pending {}

impl Pending {
    /// Returns two, for a task.
    fn of_task(scope: &ScopeState) -> [Self; 2] {
        // Relaxed: the scope can't end meanwhile, because the caller has borrowed it.
        scope.pending.fetch_add(2, Ordering::Relaxed);
        [Pending(NonNull::from(scope)), Pending(NonNull::from(scope))]
    }

    fn scope(&self) -> &ScopeState {
        // SAFETY: the state exists as long as anything is pending, which this is until it is
        // dropped: see `Scoped::new`.
        unsafe { self.0.as_ref() }
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        // SAFETY: as above. Only this field is borrowed, because the rest may be gone as soon as
        // the count is given up.
        let pending = unsafe { &(*self.0.as_ptr()).pending };
        // Release: what this task has done precedes the end of the scope. Acquire: for the last
        // one, which passes that on for all others.
        if pending.fetch_sub(1, Ordering::AcqRel) != 1 {
            return;
        }
        // SAFETY: the scope has given up its own count, and waits for the signal, which only this
        // thread sets.
        let signal = unsafe { Arc::clone(&(*self.0.as_ptr()).signal) };
        // In a copy, no thread waits.
        if !fork::is_copy() {
            signal.set();
        }
    }
}

/// The function of a task, later its result. See the documentation of the module.
pub(crate) struct Packet<F, R>(Mutex<Content<F, R>>);

enum Content<F, R> {
    Function(F),
    /// The function runs, has panicked, or will never run; or the result was taken.
    Empty,
    Result(R),
}

impl<F, R> Packet<F, R> {
    pub(crate) fn new(function: F) -> Self {
        Packet(Mutex::new(Content::Function(function)))
    }

    fn replace(&self, with: Content<F, R>) -> Content<F, R> {
        std::mem::replace(&mut *self.0.lock(), with)
    }
}

impl<F, R> Drop for Packet<F, R> {
    fn drop(&mut self) {
        discard(std::mem::replace(self.0.get_mut(), Content::Empty));
    }
}

/// A packet, as the task sees it.
pub(crate) trait Work: Send + Sync {
    /// Calls the function and stores its result. Returns false if the function is gone.
    fn run(&self) -> bool;
    /// Drops what it contains.
    fn clear(&self);
}

/// A packet, as the handle sees it.
pub(crate) trait Returns<R>: Work {
    fn take_result(&self) -> Option<R>;
}

impl<F: FnOnce() -> R + Send, R: Send> Work for Packet<F, R> {
    fn run(&self) -> bool {
        let Content::Function(function) = self.replace(Content::Empty) else { return false };
        let result = function();
        let before = self.replace(Content::Result(result));
        debug_assert!(matches!(before, Content::Empty));
        true
    }

    fn clear(&self) {
        discard(self.replace(Content::Empty));
    }
}

impl<F: FnOnce() -> R + Send, R: Send> Returns<R> for Packet<F, R> {
    fn take_result(&self) -> Option<R> {
        match self.replace(Content::Empty) {
            Content::Result(result) => Some(result),
            Content::Function(_) | Content::Empty => None,
        }
    }
}

/// A packet without its lifetime. The scope waits until it is dropped.
struct Erased {
    /// `None` only while it is dropped.
    work: Option<Arc<dyn Work>>,
    /// The function was called.
    has_run: bool,
    /// Dropped last.
    _pending: Pending,
}

impl Drop for Erased {
    fn drop(&mut self) {
        if let Some(work) = self.work.take() {
            if !self.has_run {
                // Also if a handle keeps the packet: its function must go now.
                work.clear();
            }
            // The result goes as well, if no handle is left.
            drop(work);
        }
        // Now `_pending` counts down. From then on, nothing of the packet is used through here.
    }
}

/// The body of a task of a scope.
pub(crate) struct Scoped(Erased);

/// What the cell of such a task keeps beside the body.
pub(crate) struct ScopedData {
    /// `None` once the end is published. Dropped with the cell if the launch is lost before that.
    pending: Mutex<Option<Pending>>,
}

impl Scoped {
    /// Creates the body of a task that runs `work`, and the data beside it.
    ///
    /// # Safety
    ///
    /// Neither may `'scope` end, nor `scope` be moved or dropped, before [`ScopeState::close`] has
    /// returned `None` or its signal is set. An exception is a copy of this process made by `fork`,
    /// in which neither of the returned values is used any more.
    pub(crate) unsafe fn new<'scope>(
        work: Arc<dyn Work + 'scope>,
        scope: &'scope ScopeState,
    ) -> (Scoped, ScopedData) {
        // SAFETY: the types differ in a lifetime only. The returned reference is used until it is
        // dropped by `Erased::drop`, which counts down afterwards. It is not dropped later than
        // `'scope` ends, because the caller ensures that `'scope` lasts until everything has
        // counted down. A reference that is leaked, with the cell of its task, is not used either,
        // and the signal is never set then. In a copy of the process, the threads that could use
        // it don't exist, and the library does not touch the tasks of the parent.
        let work =
            unsafe { std::mem::transmute::<Arc<dyn Work + 'scope>, Arc<dyn Work + 'static>>(work) };
        let [of_function, of_end] = Pending::of_task(scope);
        let erased = Erased { work: Some(work), has_run: false, _pending: of_function };
        (Scoped(erased), ScopedData { pending: Mutex::new(Some(of_end)) })
    }
}

impl Body<()> for Scoped {
    type PlaceData = ScopedData;

    fn run(&mut self, task: &TaskArc) -> Result<(), TaskError> {
        let work = self.0.work.as_ref().expect("there until it is dropped");
        self.0.has_run = true;
        if !work.run() {
            return Err(TaskError::not_started(
                "the function can run only once and has run already",
            ));
        }
        if !task.header().state.read().is_running() {
            // The task has timed out, or was abandoned, so no handle will take the result.
            work.clear();
        }
        Ok(())
    }

    fn ended(data: &ScopedData, task: &Header, failed: bool, handle: Handle) {
        let Some(pending) = data.pending.lock().take() else { return };
        if failed && handle == Handle::Held && !fork::is_copy() {
            let mut unreported = pending.scope().unreported.lock();
            // Under the lock: a handle that gives up its interest calls `set_reported` afterwards,
            // which finds the entry, or has given it up before this check.
            if task.state.read().has_join_interest() {
                unreported.insert(task.id());
            }
        }
    }

    fn is_in_scope(data: &ScopedData, scope: &ScopeState) -> bool {
        data.pending.lock().as_ref().is_some_and(|pending| std::ptr::eq(pending.0.as_ptr(), scope))
    }
}

#[cfg(all(test, atasker_loom))]
mod loom_tests {
    use super::*;
    use crate::info::TaskType;
    use crate::job::{Job, end_waiting};
    use crate::sync::UnsafeCell;
    use crate::task::cell::Cell;
    use crate::task::state::Phase;
    use crate::time::clock;
    use loom::thread;
    use std::task::Wake;

    /// What the tasks borrow: an access that is not before the end of the scope, or after it, is a
    /// race, which loom reports.
    struct Borrowed(UnsafeCell<u32>);

    // SAFETY: the model checks that accesses are ordered.
    unsafe impl Sync for Borrowed {}

    impl Borrowed {
        fn use_it(&self) {
            self.0.with_mut(|value| {
                // SAFETY: as above.
                unsafe { *value += 1 }
            });
        }
    }

    /// Uses what it borrows when it is dropped.
    struct User(Arc<Borrowed>);

    impl Drop for User {
        fn drop(&mut self) {
            self.0.use_it();
        }
    }

    struct Flag(loom::sync::Mutex<bool>, loom::sync::Condvar);

    impl Wake for Flag {
        fn wake(self: Arc<Self>) {
            *self.0.lock().unwrap() = true;
            self.1.notify_one();
        }
    }

    /// Waits like a scope, then uses what the tasks have borrowed.
    fn wait(scope: &ScopeState, borrowed: &Borrowed) {
        let flag = Arc::new(Flag(loom::sync::Mutex::new(false), loom::sync::Condvar::new()));
        let waker = Waker::from(Arc::clone(&flag));
        if let Some(signal) = scope.close() {
            while signal.poll(&Context::from_waker(&waker)).is_pending() {
                let mut woken = flag.0.lock().unwrap();
                while !std::mem::take(&mut *woken) {
                    woken = flag.1.wait(woken).unwrap();
                }
            }
        }
        borrowed.use_it();
    }

    type Handle = Arc<dyn Returns<User>>;

    /// A queued task whose function owns, uses and returns something that borrows.
    fn queued(scope: &'static ScopeState, borrowed: &Arc<Borrowed>) -> (TaskArc, Handle) {
        let user = User(Arc::clone(borrowed));
        let packet: Handle = Arc::new(Packet::new(move || {
            user.0.use_it();
            user
        }));
        let work: Arc<dyn Work> = Arc::<dyn Returns<User>>::clone(&packet);
        // SAFETY: it borrows nothing, and the state is leaked.
        let (body, data) = unsafe { Scoped::new(work, scope) };
        let cell =
            Cell::<(), _>::allocate(Header::new(TaskType::Thread, TaskId::next()), body, data);
        cell.header().record_queued();
        assert!(cell.header().state.launch(Phase::Queued));
        (cell.erase(), packet)
    }

    fn model(f: impl Fn(&'static ScopeState, &Arc<Borrowed>) + Send + Sync + 'static) {
        let mut builder = loom::model::Builder::new();
        builder.preemption_bound = Some(3);
        builder.check(move || {
            let borrowed = Arc::new(Borrowed(UnsafeCell::new(0)));
            // Leaked, but used by no thread after the wait, which would be a race with its end.
            f(Box::leak(Box::new(ScopeState::new())), &borrowed);
        });
    }

    fn run(task: TaskArc) {
        if let Some(run) = Job::new(task).begin(clock::now()) {
            run.execute();
        }
    }

    #[test]
    fn loom_scope_waits_for_a_task_that_runs_or_is_canceled() {
        model(|scope, borrowed| {
            let (task, handle) = queued(scope, borrowed);
            drop(handle);
            let other = task.clone();
            let runner = thread::spawn(move || run(task));
            let cancels = thread::spawn(move || end_waiting(other, TaskError::Canceled));
            wait(scope, borrowed);
            runner.join().unwrap();
            cancels.join().unwrap();
        });
    }

    #[test]
    fn loom_scope_waits_for_the_function_of_a_task_that_has_ended() {
        model(|scope, borrowed| {
            let (task, handle) = queued(scope, borrowed);
            let other = task.clone();
            let runner = thread::spawn(move || run(task));
            let watch = thread::spawn(move || {
                if let Some(claim) = other.header().state.claim(Phase::Started) {
                    claim.end(&other, TaskError::SupervisorStopped);
                }
            });
            // The handle is dropped while the task runs.
            drop(handle);
            wait(scope, borrowed);
            runner.join().unwrap();
            watch.join().unwrap();
        });
    }

    #[test]
    fn loom_result_is_taken_before_the_scope_ends() {
        model(|scope, borrowed| {
            let (task, handle) = queued(scope, borrowed);
            let header = task.clone();
            let runner = thread::spawn(move || run(task));
            if header.header().state.read().is_ended() {
                drop(handle.take_result().expect("it has ended"));
            }
            drop(handle);
            wait(scope, borrowed);
            runner.join().unwrap();
        });
    }
}
