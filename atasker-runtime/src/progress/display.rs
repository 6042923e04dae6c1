//! The table of bars, and the thread that draws them.
//!
//! A terminal can block for any time (Ctrl-S), and a draw target is user code. So only one thread
//! calls them: not the threads that run tasks, nor the timer. It exists while there are bars to
//! draw. Events (a task has ended, a task has reported progress) set a flag, and wake the thread if
//! the flag was not set.
//!
//! A bar is drawn before the call that creates it returns, and cleared before the call that ends it
//! returns: the caller waits until the thread has done so ([`Display::pass`]), for a limited time,
//! because it may hold a lock that the target needs. That also clears bars of a panicking thread,
//! which indicatif refuses to draw.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::bar::Spec;
use super::screen::{Screen, Work};
use crate::id::TaskId;
use crate::sync::lock::{Condvar, Mutex, MutexGuard};
use crate::unwind::{attempt, log};
use crate::{fork, panic_hook, sys};

/// Identifies a bar.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct BarKey(u64);

/// How long a caller waits for the drawing thread. Longer than any delay of a busy machine; the
/// terminal must not hold up the program for longer.
const PATIENCE: Duration = Duration::from_secs(2);

/// All bars.
pub(super) static DISPLAY: Display = Display {
    state: Mutex::new(State {
        bars: BTreeMap::new(),
        tasks: BTreeMap::new(),
        next_key: 0,
        added: Vec::new(),
        ended: Vec::new(),
        suspenders: 0,
        requested: 0,
        done: 0,
        is_stuck: false,
        is_broken: false,
        thread_runs: false,
    }),
    has_work: Condvar::new(),
    pass_done: Condvar::new(),
    changed: AtomicBool::new(false),
    task_bars: AtomicUsize::new(0),
};

pub(super) struct Display {
    state: Mutex<State>,
    /// Wakes the drawing thread.
    has_work: Condvar,
    /// Wakes those that wait for a pass.
    pass_done: Condvar,
    /// Values have changed since the last frame.
    changed: AtomicBool,
    /// The length of `State::tasks`, for a cheap check.
    task_bars: AtomicUsize,
}

struct State {
    /// The bars, and the task of a bar of a task.
    bars: BTreeMap<BarKey, Option<TaskId>>,
    /// The bars of tasks.
    tasks: BTreeMap<TaskId, BarKey>,
    next_key: u64,
    /// Bars that the thread has not seen yet.
    added: Vec<(BarKey, Spec)>,
    /// Bars that the thread has not removed yet.
    ended: Vec<BarKey>,
    /// The number of threads that print something else.
    suspenders: u32,
    /// The number of the last requested pass, and of the last one that is done.
    requested: u64,
    done: u64,
    /// The wait of a caller has timed out: the others don't wait until the thread goes on.
    is_stuck: bool,
    /// The draw target has panicked, which makes indicatif unusable.
    is_broken: bool,
    thread_runs: bool,
}

thread_local! {
    /// This is the drawing thread.
    static DRAWS: Cell<bool> = const { Cell::new(false) };
}

impl Display {
    /// Adds a bar, and waits until it is drawn. A bar of a task replaces an earlier one.
    pub(super) fn add(&'static self, spec: Spec, task: Option<TaskId>) -> Option<BarKey> {
        let mut state = self.state.lock();
        if state.is_broken || !self.ensure_thread(&mut state) {
            return None;
        }
        let key = BarKey(state.next_key);
        state.next_key += 1;
        if let Some(task) = task
            && let Some(before) = state.tasks.insert(task, key)
        {
            state.end(before);
        }
        self.task_bars.store(state.tasks.len(), Ordering::Relaxed);
        state.bars.insert(key, task);
        state.added.push((key, spec));
        self.pass(&mut state);
        Some(key)
    }

    /// Removes a bar, and waits until it is cleared.
    pub(super) fn remove(&self, key: BarKey) {
        let mut state = self.state.lock();
        if state.end(key) {
            self.pass(&mut state);
        }
    }

    /// Removes a bar, for the thread that ends a task, which must not wait.
    pub(super) fn remove_soon(&self, key: BarKey) {
        let mut state = self.state.lock();
        if state.end(key) {
            self.has_work.notify_one();
        }
    }

    /// Returns whether there are bars of tasks.
    #[inline]
    pub(super) fn has_task_bars(&self) -> bool {
        self.task_bars.load(Ordering::Relaxed) != 0
    }

    /// Removes the bar of a task that has ended, if it has one, and waits until it is cleared.
    #[cold]
    pub(super) fn remove_task(&self, task: TaskId) {
        if fork::is_copy() {
            return;
        }
        let mut state = self.state.lock();
        if let Some(key) = state.tasks.get(&task).copied() {
            state.end(key);
            self.pass(&mut state);
        }
    }

    /// Records that values have changed. Called on any thread, for each event.
    pub(super) fn set_changed(&self) {
        // Always a read-modify-write: either the thread's own `swap` comes later, and sees the
        // values that were stored before this one, or this one returns false and wakes the thread.
        if !self.changed.swap(true, Ordering::AcqRel) {
            // Under the lock, the thread is either waiting or about to check the flag.
            let _state = self.state.lock();
            self.has_work.notify_one();
        }
    }

    pub(super) fn has_changed(&self) -> bool {
        self.changed.load(Ordering::Relaxed)
    }

    pub(super) fn take_changed(&self) {
        self.changed.swap(false, Ordering::AcqRel);
    }

    /// Returns whether the draw target has panicked.
    pub(super) fn is_broken(&self) -> bool {
        self.state.lock().is_broken
    }

    /// Calls `print` while the bars are off the screen.
    pub(super) fn suspended(&self, print: impl FnOnce()) {
        let suspended = self.suspend();
        print();
        if suspended {
            let mut state = self.state.lock();
            state.suspenders -= 1;
            state.requested += 1;
            self.has_work.notify_one();
        }
    }

    /// Takes the bars off the screen. Returns false if that was not necessary or is impossible.
    fn suspend(&self) -> bool {
        if fork::is_copy() || DRAWS.get() {
            return false;
        }
        // A panic hook may run while its thread holds any lock.
        let Some(mut state) = self.state.try_lock_for(PATIENCE) else { return false };
        if !state.thread_runs {
            return false;
        }
        state.suspenders += 1;
        self.pass(&mut state);
        true
    }

    /// Waits until the drawing thread has done what was requested before.
    fn pass(&self, state: &mut MutexGuard<'_, State>) {
        if !state.thread_runs {
            return;
        }
        state.requested += 1;
        let pass = state.requested;
        self.has_work.notify_one();
        // The draw target itself may use the library.
        if DRAWS.get() {
            return;
        }
        let deadline = Instant::now() + PATIENCE;
        while state.done < pass && state.thread_runs && !state.is_stuck {
            let timed_out = self.pass_done.wait_until(state, deadline).timed_out();
            state.is_stuck |= timed_out && state.done < pass;
        }
    }

    /// Starts the thread unless it runs. Returns false if that fails.
    fn ensure_thread(&'static self, state: &mut MutexGuard<'_, State>) -> bool {
        if !state.thread_runs {
            // The thread waits for the lock, so it finds the bar.
            let thread = std::thread::Builder::new().name("atasker bars".into());
            let spawned = thread.spawn(|| self.run());
            state.thread_runs = spawned.is_ok();
            if let Err(error) = spawned {
                MutexGuard::unlocked(state, || {
                    log!(warn, %error, "no thread could be started to draw a progress bar");
                });
            }
        }
        state.thread_runs
    }

    /// The drawing thread.
    fn run(&self) {
        DRAWS.set(true);
        prepare();
        let mut screen = Screen::new();
        let mut state = self.state.lock();
        loop {
            let pass = state.requested;
            let work = Work {
                added: std::mem::take(&mut state.added),
                ended: std::mem::take(&mut state.ended),
                suspended: state.suspenders > 0,
            };
            let ended = work.ended.clone();
            let drawn =
                MutexGuard::unlocked(&mut state, || attempt(|| screen.update(work)).is_some());
            if !drawn {
                state.give_up();
            }
            state.forget(&ended);
            self.task_bars.store(state.tasks.len(), Ordering::Relaxed);
            state.done = pass;
            state.is_stuck = false;
            if state.bars.is_empty() {
                // Nothing is left to be done for those that wait for a later pass.
                state.thread_runs = false;
                self.pass_done.notify_all();
                break;
            }
            self.pass_done.notify_all();
            if state.requested != pass || !state.ended.is_empty() {
                continue;
            }
            match screen.next_frame() {
                None => self.has_work.wait(&mut state),
                Some(at) if at > Instant::now() => {
                    self.has_work.wait_until(&mut state, at);
                }
                Some(_) => {}
            }
        }
        let is_broken = state.is_broken;
        drop(state);
        if is_broken {
            log!(error, "the draw target panicked, and no more progress bars are shown");
        }
    }
}

impl State {
    /// Drops all bars, after the draw target has panicked.
    fn give_up(&mut self) {
        self.is_broken = true;
        self.bars.clear();
        self.tasks.clear();
        self.added.clear();
        self.ended.clear();
    }

    /// Marks a bar as ended. Returns false if it is gone already.
    fn end(&mut self, key: BarKey) -> bool {
        let Some(task) = self.bars.get_mut(&key) else { return false };
        // The drawing thread has not seen it: there is nothing to clear.
        if let Some(new) = self.added.iter().position(|(added, _)| *added == key) {
            let task = *task;
            self.added.remove(new);
            self.remove(key, task);
            return false;
        }
        if !self.ended.contains(&key) {
            self.ended.push(key);
        }
        true
    }

    /// Removes bars that are off the screen.
    fn forget(&mut self, ended: &[BarKey]) {
        for key in ended {
            if let Some(task) = self.bars.get(key).copied() {
                self.remove(*key, task);
            }
        }
    }

    fn remove(&mut self, key: BarKey, task: Option<TaskId>) {
        self.bars.remove(&key);
        if let Some(task) = task
            && self.tasks.get(&task) == Some(&key)
        {
            self.tasks.remove(&task);
        }
    }
}

/// Has the bars taken off the screen while a panic is reported, and when the program ends.
fn prepare() {
    static PREPARED: AtomicBool = AtomicBool::new(false);
    extern "C" fn at_exit() {
        DISPLAY.suspend();
    }
    if !PREPARED.swap(true, Ordering::Relaxed) {
        panic_hook::report_within(|report| DISPLAY.suspended(report));
        sys::exit::at_exit(at_exit);
    }
}
