//! The life of a worker: start, stop, hooks, and the end of a generation.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};

use crate::background::engine::{Engine, Hook, Phase, State};
use crate::background::wall_clock;
use crate::error::TaskError;
use crate::fork;
use crate::info::WorkerKind;
use crate::supervisor::ActiveWorker;
use crate::sync::lock::MutexGuard;
use crate::task::waiters::WaiterKey;
use crate::task::{control, current, park};
use crate::time::timer;
use crate::unwind::{self, log};

impl Engine {
    /// Starts a generation. Returns false if the worker is active, or if its supervisor is stopped.
    /// May block until the previous generation has ended.
    #[track_caller]
    pub(in crate::background) fn start(&self) -> bool {
        if fork::is_copy() {
            return false;
        }
        let generation = loop {
            let mut state = self.state.lock();
            match state.phase {
                Phase::Active => return false,
                Phase::New | Phase::Stopped => {
                    state.phase = Phase::Active;
                    state.restart = false;
                    state.generation += 1;
                    state.in_flight += 1;
                    state.starting = true;
                    state.stop_announced = false;
                    // Before the hooks, so that their requests for runs count.
                    state.schedule.start(&self.now());
                    self.active_generation.store(state.generation, Ordering::Release);
                    let generation = state.generation;
                    // Once per engine: the list of watched engines has no duplicates.
                    let watches = state.schedule.uses_wall_clock() && generation == 1;
                    drop(state);
                    if watches {
                        wall_clock::watch(Weak::<Engine>::clone(&self.this));
                    }
                    break generation;
                }
                // To wait for its own end would be a deadlock: `release` starts the worker again.
                Phase::Stopping if self.is_inside(&state) => {
                    return !std::mem::replace(&mut state.restart, true);
                }
                Phase::Stopping if state.restart => return false,
                Phase::Stopping => {
                    let generation = state.generation;
                    drop(state);
                    self.wait_until_stopped(generation);
                }
            }
        };
        self.finish_start(generation)
    }

    /// Finishes a start. The caller has counted it in `in_flight`.
    fn finish_start(&self, generation: u64) -> bool {
        let member: Arc<dyn ActiveWorker> = self.arc();
        let registered = self.core.upgrade().and_then(|core| core.register(member));
        if registered.is_some() {
            log!(
                debug, worker = self.spec.name(), kind = ?self.spec.kind,
                "background worker started"
            );
            self.call_hooks(self.spec.hooks(|all| &all.before_start), generation);
            self.call_hooks(self.spec.hooks(|all| &all.after_start), generation);
        } else {
            log!(
                warn,
                worker = self.spec.name(),
                "a background worker can't start: its supervisor is stopped"
            );
        }
        let mut state = self.state.lock();
        state.starting = false;
        state.registered = registered;
        if registered.is_none() {
            // The generation never began, so the hooks of a stop are not called.
            state.stop_announced = true;
            self.begin_stopping(&mut state);
        }
        self.release(state);
        registered.is_some()
    }

    /// Starts a generation now, or when the one that is ending has ended.
    #[cfg_attr(not(feature = "dashboard"), allow(dead_code))]
    pub(super) fn start_nowait(&self) {
        if fork::is_copy() {
            return;
        }
        let mut state = self.state.lock();
        if state.phase == Phase::Stopping {
            state.restart = true;
            return;
        }
        drop(state);
        self.start();
    }

    /// Asks the current generation to end, without waiting. Returns that generation, if there is
    /// one.
    pub(in crate::background) fn stop_nowait(&self) -> Option<u64> {
        if fork::is_copy() {
            return None;
        }
        let mut state = self.state.lock();
        state.restart = false;
        match state.phase {
            Phase::New | Phase::Stopped => return None,
            Phase::Stopping => return Some(state.generation),
            Phase::Active => {}
        }
        let generation = state.generation;
        self.begin_stopping(&mut state);
        // Keeps the generation from ending before its hooks have returned and its task was stopped.
        state.in_flight += 1;
        let task = state.task.clone();
        state = self.announce_stop(state);
        if let Some(task) = task {
            // Dropped there as well, because this may be the last reference.
            MutexGuard::unlocked(&mut state, move || {
                control::stop(&task);
                drop(task);
            });
        }
        self.release(state);
        Some(generation)
    }

    /// Asks the current generation to end, and blocks until it has, except inside the worker
    /// itself.
    #[track_caller]
    pub(in crate::background) fn stop(&self) {
        if let Some(generation) = self.stop_nowait()
            && !self.is_inside(&self.state.lock())
        {
            self.wait_until_stopped(generation);
        }
    }

    /// The async form of `stop`.
    pub(in crate::background) async fn stop_async(&self) {
        let Some(generation) = self.stop_nowait() else { return };
        if self.is_inside(&self.state.lock()) {
            return;
        }
        let wait = WaitStopped { engine: self, key: WaiterKey::next(), generation };
        std::future::poll_fn(|context| wait.poll(context)).await;
    }

    #[track_caller]
    pub(in crate::background) fn restart(&self) {
        if fork::is_copy() {
            return;
        }
        if self.is_inside(&self.state.lock()) {
            self.stop_nowait();
            self.start();
            return;
        }
        self.stop();
        self.start();
    }

    #[track_caller]
    fn wait_until_stopped(&self, generation: u64) {
        let wait = WaitStopped { engine: self, key: WaiterKey::next(), generation };
        park::block_on(None, |context| wait.poll(context));
    }

    /// Returns whether the caller is part of this worker: its function or a hook.
    pub(super) fn is_inside(&self, state: &State) -> bool {
        state.inside_threads.contains(&this_thread())
            || state.task.as_ref().is_some_and(|task| {
                current::with(|header| header.is_some_and(|h| h.id() == task.header().id()))
            })
    }

    pub(super) fn begin_stopping(&self, state: &mut State) {
        state.phase = Phase::Stopping;
        // Before waiters are woken: they check it.
        self.active_generation.store(0, Ordering::Release);
        if let Some(key) = state.timer.take() {
            timer::cancel(key);
        }
    }

    /// Wakes waiters and calls the hooks of a stop, once per generation. The caller is counted in
    /// `in_flight`, so the generation can't end while the lock is released.
    pub(super) fn announce_stop<'a>(
        &'a self,
        mut state: MutexGuard<'a, State>,
    ) -> MutexGuard<'a, State> {
        let waiters = std::mem::take(&mut state.waiters);
        let announced = std::mem::replace(&mut state.stop_announced, true);
        let hooks = if announced { &[] } else { self.spec.hooks(|all| &all.before_stop) };
        // Most jobs have neither, and are canceled one by one.
        if !waiters.is_empty() || !hooks.is_empty() {
            let generation = state.generation;
            drop(state);
            waiters.wake();
            self.call_hooks(hooks, generation);
            state = self.state.lock();
        }
        state
    }

    fn call_hooks(&self, hooks: &[Hook], generation: u64) {
        if hooks.is_empty() {
            return;
        }
        let engine = self.arc();
        for hook in hooks {
            if self.enter(|| hook(&engine, generation)).is_err() {
                log!(error, worker = self.spec.name(), "a hook of a background worker panicked");
            }
        }
    }

    /// Calls user code outside of a task, and records the thread for `is_inside`.
    pub(in crate::background) fn enter<T>(&self, f: impl FnOnce() -> T) -> Result<T, TaskError> {
        let thread = this_thread();
        self.state.lock().inside_threads.push(thread);
        let outcome = unwind::catch(f);
        let mut state = self.state.lock();
        if let Some(at) = state.inside_threads.iter().position(|other| *other == thread) {
            state.inside_threads.swap_remove(at);
        }
        outcome
    }

    /// Releases one operation in flight. Ends the generation if it was the last one, otherwise
    /// makes the next run if one is due.
    pub(super) fn release(&self, mut state: MutexGuard<'_, State>) {
        state.in_flight -= 1;
        if state.in_flight > 0 || state.phase != Phase::Stopping {
            return self.advance(state);
        }
        // This thread ends the generation. The count keeps others from doing so while the lock is
        // released for the hooks.
        state.in_flight = 1;
        let registered = state.registered.take();
        let generation = state.generation;
        drop(self.announce_stop(state));
        if let Some(key) = registered {
            self.call_hooks(self.spec.hooks(|all| &all.after_stop), generation);
            if let Some(core) = self.core.upgrade() {
                core.unregister(key);
            }
            log!(debug, worker = self.spec.name(), runs = self.runs(), "background worker stopped");
        }
        if self.spec.kind == WorkerKind::Job {
            self.executor.release();
        }
        // Only now, so that `stop` returns after the hooks, and a new generation can't overlap with
        // them.
        let mut state = self.state.lock();
        state.in_flight = 0;
        state.phase = Phase::Stopped;
        let restart = std::mem::take(&mut state.restart);
        let waiters = std::mem::take(&mut state.waiters);
        drop(state);
        waiters.wake();
        if restart {
            self.start();
        }
    }
}

/// Returns a unique number for the current thread. `std::thread::current` is not available while a
/// thread ends.
fn this_thread() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    thread_local! {
        static MINE: Cell<u64> = const { Cell::new(0) };
    }
    if MINE.get() == 0 {
        MINE.set(NEXT.fetch_add(1, Ordering::Relaxed));
    }
    MINE.get()
}

/// Waits for the end of a generation.
struct WaitStopped<'a> {
    engine: &'a Engine,
    key: WaiterKey,
    /// The generation to wait for. Another one may have begun by the time the waiter is polled.
    generation: u64,
}

impl WaitStopped<'_> {
    fn poll(&self, context: &Context<'_>) -> Poll<()> {
        self.engine.poll(self.key, context, |state| {
            state.generation != self.generation
                || matches!(state.phase, Phase::New | Phase::Stopped)
        })
    }
}

impl Drop for WaitStopped<'_> {
    fn drop(&mut self) {
        self.engine.forget_waiter(self.key);
    }
}
