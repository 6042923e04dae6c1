//! How many tasks work on a map.
//!
//! A *helper* is one of these tasks. The first helper runs alone. Another one is launched once it has
//! turned out that there is work for longer than it takes to wake a thread ([`SPLIT_AFTER`]): the
//! first helper finds that out by measuring its first items, or the caller, if an item takes longer.
//! From then on, a helper that has begun and found work launches the next one, up to the number of
//! CPUs. So a map never has more than one helper that waits for a slot.
//!
//! Further helpers help only if others are blocked, for example by input and output. So the caller
//! looks at the threads of the helpers, at intervals that double, and allows as many helpers more as
//! threads sleep, up to the number of slots.
//!
//! A helper ends when no item is left that has not begun, and then no other helper is launched.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use crate::error::TaskError;
use crate::fork;
use crate::options::cpus;
use crate::sync::lock::Mutex;
use crate::sys::threads;
use crate::task::control::{Include, cancel_pending};
use crate::task::{TaskArc, park, waiters};
use crate::time::clock;

/// Work that takes less is not divided. Several times what it takes to wake a thread.
pub(super) const SPLIT_AFTER: Duration = Duration::from_micros(200);

/// When the caller looks at the threads for the first time.
const LOOK_AFTER: Duration = Duration::from_millis(2);

/// What the helpers of a map and its caller share. A flag that is set stays set.
pub(super) struct Helpers {
    /// The most helpers that may be launched at present, and the most that may ever be.
    allowed: AtomicUsize,
    most: usize,
    /// The number of helpers that were launched.
    launched: AtomicUsize,
    /// A helper other than the first was launched and has not begun.
    is_launching: AtomicBool,
    /// That helper.
    launching: Mutex<Option<TaskArc>>,
    /// The helpers whose functions are not dropped.
    alive: AtomicUsize,
    /// The first helper has begun.
    begun: AtomicBool,
    /// Other helpers may be launched.
    open: AtomicBool,
    /// No further helper is needed, because no item is left that has not begun, or no helper.
    settled: AtomicBool,
    /// The thread of each helper while it runs; 0 for none.
    threads: Box<[AtomicU32]>,
    /// The caller, while it waits for a change.
    caller: Mutex<Option<Waker>>,
    /// The caller waits for the begin of the first helper.
    awaits_begin: AtomicBool,
}

/// A helper from its launch until its function is dropped.
pub(super) struct Helper<'a> {
    helpers: &'a Helpers,
    pub(super) number: usize,
}

impl Helpers {
    pub(super) fn new(most: usize) -> Self {
        Helpers {
            allowed: AtomicUsize::new(1),
            most,
            launched: AtomicUsize::new(0),
            is_launching: AtomicBool::new(false),
            launching: Mutex::new(None),
            alive: AtomicUsize::new(0),
            begun: AtomicBool::new(false),
            open: AtomicBool::new(false),
            settled: AtomicBool::new(false),
            threads: (0..most).map(|_| AtomicU32::new(0)).collect(),
            caller: Mutex::new(None),
            awaits_begin: AtomicBool::new(false),
        }
    }

    /// Returns the first helper.
    pub(super) fn first(&self) -> Helper<'_> {
        self.launched.store(1, Ordering::Relaxed);
        self.helper(0)
    }

    fn helper(&self, number: usize) -> Helper<'_> {
        self.alive.fetch_add(1, Ordering::Relaxed);
        Helper { helpers: self, number }
    }

    /// Returns a further helper, which the caller launches at once and passes to
    /// [`launched`](Self::launched). Returns `None` if none is allowed, or the last one has not
    /// begun.
    pub(super) fn next(&self) -> Option<Helper<'_>> {
        let may_launch = || {
            let launched = self.launched.load(Ordering::Relaxed);
            launched < self.allowed.load(Ordering::Relaxed) && !self.settled.load(Ordering::SeqCst)
        };
        // Acquire: the thread that has reset the flag has changed `launched` before.
        if !may_launch() || self.is_launching.swap(true, Ordering::AcqRel) {
            return None;
        }
        if !may_launch() {
            self.is_launching.store(false, Ordering::Release);
            return None;
        }
        Some(self.helper(self.launched.fetch_add(1, Ordering::Relaxed)))
    }

    /// Records that a further helper was launched.
    pub(super) fn launched(&self, task: TaskArc) {
        if task.error().is_some() {
            // The supervisor does not accept it: the others have to do.
            self.allowed.store(0, Ordering::Relaxed);
        }
        *self.launching.lock() = Some(task);
        // Sequentially consistent, here and in `settle`: that call finds the task, or this thread
        // finds that it is not needed.
        if self.settled.load(Ordering::SeqCst) {
            self.cancel_launching();
        }
    }

    /// Ends the helper that waits for a slot.
    fn cancel_launching(&self) {
        let task = self.launching.lock().take();
        if let Some(task) = task {
            cancel_pending(&task, TaskError::Canceled, Include::Admitted);
        }
    }

    /// Returns whether other helpers may be launched.
    pub(super) fn is_open(&self) -> bool {
        self.open.load(Ordering::Relaxed)
    }

    /// Allows other helpers, because there is work for more than one.
    pub(super) fn open(&self) {
        self.allowed.fetch_max(cpus().min(self.most), Ordering::Relaxed);
        self.open.store(true, Ordering::Relaxed);
    }

    /// Records that no item is left that has not begun, or no helper.
    pub(super) fn settle(&self) {
        if !self.settled.swap(true, Ordering::SeqCst) {
            self.cancel_launching();
            self.wake_caller();
        }
    }

    fn wake_caller(&self) {
        let caller = self.caller.lock().take();
        if let Some(caller) = caller {
            caller.wake();
        }
    }

    /// Called by the thread that has launched the first helper: calls `launch` when another helper may
    /// help, until none can. `run_inline` runs the helpers on this thread if no thread can be started.
    pub(super) fn supervise(&self, launch: impl Fn(), run_inline: impl Fn() -> bool) {
        let mut pause = SPLIT_AFTER;
        while !self.is_settled_within(Some(pause), &run_inline) {
            if !self.begun.load(Ordering::Acquire) {
                // It waits for a slot, so another one would wait as well.
                self.is_settled_within(None, &run_inline);
                continue;
            }
            if pause < LOOK_AFTER {
                self.open();
                pause = LOOK_AFTER;
            } else {
                let more = self.threads.iter().filter(|thread| is_asleep(thread)).count();
                let allowed = self.launched.load(Ordering::Relaxed) + more;
                self.allowed.fetch_max(allowed.min(self.most), Ordering::Relaxed);
                pause = pause.saturating_mul(2);
            }
            launch();
            if self.launched.load(Ordering::Relaxed) >= self.most {
                return;
            }
        }
    }

    /// Waits until no further helper is needed, at most for `pause`. Without `pause`, waits until the
    /// first helper has begun.
    fn is_settled_within(&self, pause: Option<Duration>, run_inline: impl Fn() -> bool) -> bool {
        if pause.is_none() {
            // Sequentially consistent, here and in `begin`: that call wakes this thread, or this
            // thread sees below that the helper has begun.
            self.awaits_begin.store(true, Ordering::SeqCst);
        }
        let is_over = || {
            self.settled.load(Ordering::SeqCst)
                || pause.is_none() && self.begun.load(Ordering::SeqCst)
        };
        let poll = |context: &mut Context<'_>| {
            let waker = context.waker().clone();
            let before = self.caller.lock().replace(waker);
            waiters::drop_waker(before);
            // After the waker was stored: whichever thread changes that now finds it.
            if is_over() { Poll::Ready(()) } else { Poll::Pending }
        };
        park::block_on_or_run_inline(pause.map(clock::after), poll, run_inline);
        self.settled.load(Ordering::SeqCst) || fork::is_copy()
    }
}

fn is_asleep(thread: &AtomicU32) -> bool {
    match thread.load(Ordering::Relaxed) {
        0 => false,
        // Where that is unknown, another thread may help.
        id => threads::is_asleep(id).unwrap_or(true),
    }
}

impl Helper<'_> {
    /// Records that the helper has begun on this thread.
    pub(super) fn begin(&self) {
        self.helpers.threads[self.number].store(threads::id(), Ordering::Relaxed);
        match self.number {
            0 => {
                self.helpers.begun.store(true, Ordering::SeqCst);
                if self.helpers.awaits_begin.load(Ordering::SeqCst) {
                    self.helpers.wake_caller();
                }
            }
            _ => self.helpers.is_launching.store(false, Ordering::Release),
        }
    }
}

impl Drop for Helper<'_> {
    fn drop(&mut self) {
        self.helpers.threads[self.number].store(0, Ordering::Relaxed);
        if self.helpers.alive.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.helpers.settle();
        }
    }
}
