//! The runners of an aloop: tokio tasks that poll the futures of the aloop's tasks.
//!
//! A runner polls up to [`POLLS_PER_TICK`] futures, a *tick*, and then yields to the runtime.
//! Between two ticks, tokio handles sockets, timers and its own tasks, as between the ticks
//! of its schedulers. A tick also ends when tokio's cooperative budget is used up.
//!
//! An aloop with one thread has one runner. An aloop with several threads always has one runner
//! that is not in a tick, because a task may block its thread and with it the runner
//! (`tokio::task::block_in_place`).

use std::hint;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;

use tokio::runtime::Handle;
use tokio::task::{coop, yield_now};

use crate::fork;
use crate::task::future::queue::Queue;
use crate::task::park;
use crate::task::scheduler::{self, SchedulerKey};
use crate::unwind;

/// The maximum number of polls in one tick. tokio's schedulers poll as many tasks before they check
/// for events.
const POLLS_PER_TICK: u32 = 61;

/// How a tick ended.
#[derive(PartialEq)]
enum Tick {
    /// More futures are ready.
    More,
    /// No future is ready after some polls.
    Drained,
    /// No future was ready.
    Idle,
}

/// The runners of one aloop.
pub(super) struct Runners {
    queue: Arc<Queue>,
    scheduler: Option<SchedulerKey>,
    /// The number of runners while no task blocks one.
    base_count: usize,
    /// Two counts in one word, so that both are read at once: the number of runners in the upper
    /// half (in units of [`RUNNER`]), and the number of runners in a tick in the lower half.
    counts: AtomicUsize,
    /// The number of the next runner.
    next_number: AtomicUsize,
}

/// One runner in `counts`.
const RUNNER: usize = 1 << (usize::BITS / 2);

impl Runners {
    /// Starts the runners of a runtime with `threads` threads.
    pub(super) fn start(
        queue: Arc<Queue>,
        scheduler: Option<SchedulerKey>,
        runtime: &Handle,
        threads: usize,
    ) -> Arc<Runners> {
        let base_count = if threads == 1 { 1 } else { threads + 1 };
        let runners = Arc::new(Runners {
            queue,
            scheduler,
            base_count,
            counts: AtomicUsize::new(0),
            next_number: AtomicUsize::new(0),
        });
        (0..base_count).for_each(|_| runners.spawn_runner(runtime));
        runners
    }

    fn spawn_runner(self: &Arc<Self>, runtime: &Handle) {
        self.counts.fetch_add(RUNNER, Ordering::Relaxed);
        let number = self.next_number.fetch_add(1, Ordering::Relaxed);
        runtime.spawn(run(Arc::clone(self), number));
    }

    /// Returns the number of runners.
    pub(super) fn count(&self) -> usize {
        self.counts.load(Ordering::Relaxed) / RUNNER
    }

    fn tick(self: &Arc<Self>) -> Tick {
        if self.base_count == 1 {
            return tick(&self.queue);
        }
        // Relaxed: the counts guard no other data. Each change is atomic, so exactly one of the
        // runners that enter a tick sees that it is the last one.
        let before = self.counts.fetch_add(1, Ordering::Relaxed);
        // All runners are in a tick now: add one, which stays available if a task blocks this one.
        if before % RUNNER + 1 == before / RUNNER {
            self.spawn_runner(&Handle::current());
        }
        let ended = {
            let _entered = self.scheduler.map(scheduler::enter);
            tick(&self.queue)
        };
        self.counts.fetch_sub(1, Ordering::Relaxed);
        ended
    }

    /// Called by a runner that is about to sleep. Returns true, and removes the runner from the
    /// count, if there are more runners than needed.
    fn try_retire(&self) -> bool {
        let without_one = |counts| {
            let (all, idle) = (counts / RUNNER, counts / RUNNER - counts % RUNNER);
            (all > self.base_count && idle > 1).then(|| counts - RUNNER)
        };
        self.counts.fetch_update(Ordering::Relaxed, Ordering::Relaxed, without_one).is_ok()
    }
}

/// Polls the futures of an aloop until the runtime drops the runner, or the runner retires.
async fn run(runners: Arc<Runners>, number: usize) {
    let queue = &*runners.queue;
    let mut spin_budget = SpinBudget::new();
    loop {
        match runners.tick() {
            Tick::More => yield_now().await,
            Tick::Drained if spin_budget.spin(queue).await => {}
            Tick::Drained | Tick::Idle if runners.try_retire() => return,
            Tick::Drained | Tick::Idle => sleep(queue, number).await,
        }
    }
}

fn tick(queue: &Queue) -> Tick {
    // A tokio task on the same runtime may have forked.
    fork::end_if_copy();
    let polls = || {
        let _on_aloop = park::enter_aloop();
        for poll in 0..POLLS_PER_TICK {
            if !queue.poll_next() {
                return if poll == 0 { Tick::Idle } else { Tick::Drained };
            }
            // Without budget, tokio's resources return `Pending` and wake the future at once, so
            // further polls would make no progress.
            if !coop::has_budget_remaining() {
                return Tick::More;
            }
        }
        Tick::More
    };
    // A poll catches the panics of its future. Any other panic, as in a destructor, must not end
    // the runner and with it all other tasks of the aloop.
    unwind::attempt(polls).unwrap_or(Tick::More)
}

/// Sleeps until a future is ready.
async fn sleep(queue: &Queue, number: usize) {
    struct Registration<'a>(&'a Queue, usize);
    impl Drop for Registration<'_> {
        fn drop(&mut self) {
            self.0.unregister_sleeper(self.1);
        }
    }
    let _registration = Registration(queue, number);
    let mut registered = false;
    std::future::poll_fn(|context| {
        if std::mem::replace(&mut registered, true) {
            return Poll::Ready(());
        }
        queue.register_sleeper(number, context.waker())
    })
    .await;
}

/// How long an idle runner spins before it sleeps.
///
/// Waking a thread costs more than spinning until a prompt answer arrives. The budget doubles when
/// a future became ready in time, and is halved when none did.
struct SpinBudget {
    rounds: u32,
}

impl SpinBudget {
    const MIN_ROUNDS: u32 = 1;
    const MAX_ROUNDS: u32 = 16;

    fn new() -> Self {
        SpinBudget { rounds: Self::MIN_ROUNDS }
    }

    /// Spins. Returns whether a future is ready.
    async fn spin(&mut self, queue: &Queue) -> bool {
        if !queue.may_spin() {
            return false;
        }
        for _ in 0..self.rounds {
            for _ in 0..64 {
                if !queue.is_empty() {
                    self.rounds = Self::MAX_ROUNDS.min(self.rounds * 2);
                    return true;
                }
                hint::spin_loop();
            }
            // Lets tokio handle events and timers.
            yield_now().await;
        }
        self.rounds = Self::MIN_ROUNDS.max(self.rounds / 2);
        !queue.is_empty()
    }
}
